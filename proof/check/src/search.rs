//! The search for an order, on the operations of one key.
//!
//! It is Wing and Gong's: of the operations not yet linearized, those that no other has wholly preceded are candidates;
//! take one that the present value allows, go on, step back when stuck. Lowe's two improvements make it fast: calls and
//! returns in one linked list, so that candidates are simply what stands before the first return; and a memory of every
//! pair (set of operations linearized, value) that led nowhere. Five shortcuts keep it from blowing up:
//!
//! - **Observers first.** A read (or a failed compare-and-swap) that the present value explains is taken at once and never
//!   reconsidered: it changes nothing, so whatever order works with it later works with it now.
//! - **Unknown ones only to be seen.** A write nobody knows the outcome of is tried after all others, and only where the
//!   next thing to happen observes its value. One that is overwritten unseen may as well never have happened, so an order
//!   with the fewest of them contains none such. Without this each of them doubles the search.
//! - **Unread ones under the next.** A write whose value nothing is left to observe is taken right before the next blind
//!   write, whichever that is: there it does no harm, and it has to happen somewhere. (Not while a failed compare-and-swap
//!   is left, which observes every value but one.)
//! - **No value lost.** A value that some answer still needs, and that nothing left can bring back, is not overwritten.
//! - **Sets by their fingerprint.** A set of operations is the exclusive or of a random 128-bit number for each. Two
//!   different sets among the ten million we ever remember meet in one with a chance of about 10^-25.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::history::{Answer, Call, Operation, Outcome};

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An order that explains everything.
    Order,
    /// There is none.
    Nothing,
    /// The budget ran out first.
    GaveUp,
}

/// A value, by number; values are compared and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Value(u32);

/// The key is absent.
const ABSENT: Value = Value(0);

/// What an operation demands of the present value, and what it makes of it.
#[derive(Clone, Copy)]
enum Effect {
    /// The value is this, and stays.
    Is(Value),
    /// The value is another than this, and stays: a compare-and-swap that failed.
    IsNot(Value),
    /// Whatever the value is, it becomes this.
    Become(Value),
    /// The value is `from` and becomes `to`.
    Swap { from: Value, to: Value },
    /// Nothing explains this.
    Never,
}

impl Effect {
    /// Observes and changes nothing.
    fn observes(self, value: Value) -> bool {
        match self {
            Self::Is(is) => is == value,
            Self::IsNot(other) => other != value,
            Self::Become(_) | Self::Swap { .. } | Self::Never => false,
        }
    }

    /// What a write makes of the value; `None` if it is none, or not possible now.
    fn write(self, value: Value) -> Option<Value> {
        match self {
            Self::Become(to) => Some(to),
            Self::Swap { from, to } => (from == value).then_some(to),
            Self::Is(_) | Self::IsNot(_) | Self::Never => None,
        }
    }
}

struct Op {
    effect: Effect,
    /// Its outcome is known, so it must be linearized.
    known: bool,
    /// Its share in the fingerprint of a set.
    share: u128,
}

/// How long to go on.
pub(crate) struct Patience<'a> {
    /// Steps of one search.
    pub(crate) steps_max: u64,
    /// Asked every [`STEPS_ASKED`] steps with how many there were since; `false` ends the search.
    pub(crate) go_on: &'a mut dyn FnMut(u64) -> bool,
}

/// Some milliseconds.
const STEPS_ASKED: u64 = 1 << 16;

/// Looks for an order of these operations of one key.
pub(crate) fn search(operations: &[&Operation], patience: &mut Patience<'_>) -> Found {
    Search::new(operations).run(patience)
}

/// A place in the list: the head, or the call or return of an operation.
type Node = u32;
const HEAD: Node = 0;
const END: Node = Node::MAX;

fn call(op: usize) -> Node {
    u32::try_from(1 + 2 * op).expect("a history holds fewer than 2^31 operations of one key")
}

/// The operation, and whether this is its call.
fn op_of(node: Node) -> (usize, bool) {
    (((node - 1) / 2) as usize, node % 2 == 1)
}

/// A write that was taken, and how things stood before.
struct Choice {
    /// Which operation.
    op: usize,
    /// The value before it.
    value: Value,
    /// How many operations were linearized before it.
    depth: usize,
    /// What could be taken before it.
    allowed: Allowed,
}

/// What may be taken next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Any write.
    Any,
    /// Only a swap: the write before it has an unknown outcome and nothing has seen it yet.
    Observer,
}

/// What the operations not linearized yet have to do with one value.
#[derive(Clone, Copy, Default)]
struct Demand {
    /// Those that observe it, of known outcome or not.
    may_observe: u32,
    /// Those that observe it for certain.
    must_observe: u32,
    /// Those that bring it about, of known outcome or not.
    may_bring: u32,
}

struct Search {
    ops: Vec<Op>,
    next: Vec<Node>,
    previous: Vec<Node>,
    /// Operations linearized, in order.
    order: Vec<usize>,
    /// Their fingerprint.
    set: u128,
    /// The value they leave.
    value: Value,
    /// Known operations not linearized yet.
    left: usize,
    /// By value: what is left that may observe it, must observe it, may bring it about.
    demand: Vec<Demand>,
    /// Failed compare-and-swaps left.
    refusals_left: usize,
    seen: HashSet<(u128, Value), BuildHasherDefault<Fold>>,
}

impl Search {
    fn new(operations: &[&Operation]) -> Self {
        let mut values = BTreeMap::new();
        let mut random = SplitMix(0x4865_7a6f_6e67);
        let mut ops = Vec::new();
        // (time, is a return, node): a call in the instant of a return comes first, so the two are concurrent.
        let mut events = Vec::new();
        for operation in operations {
            let known = operation.outcome.is_some();
            let Some(effect) = effect(operation, &mut values) else { continue };
            let node = call(ops.len());
            events.push((operation.called, false, node));
            if let Some(Outcome { at, .. }) = operation.outcome {
                events.push((at.max(operation.called), true, node + 1));
            }
            ops.push(Op { effect, known, share: random.next_u128() });
        }
        events.sort_unstable();
        let nodes = 1 + 2 * ops.len();
        let (mut next, mut previous) = (vec![END; nodes], vec![END; nodes]);
        let mut last = HEAD;
        for (_, _, node) in events {
            next[last as usize] = node;
            previous[node as usize] = last;
            last = node;
        }
        let mut search = Self {
            demand: vec![Demand::default(); values.len() + 1],
            ops,
            next,
            previous,
            order: Vec::new(),
            set: 0,
            value: ABSENT,
            left: 0,
            refusals_left: 0,
            seen: HashSet::default(),
        };
        (0..search.ops.len()).for_each(|op| search.count(op, 1));
        search
    }

    fn run(&mut self, patience: &mut Patience<'_>) -> Found {
        let mut choices: Vec<Choice> = Vec::new();
        let mut allowed = Allowed::Any;
        // Candidates are tried in order; this is the one tried last at this place.
        let mut tried: Option<usize> = None;
        let mut steps = 0_u64;
        if self.ops.iter().any(|op| matches!(op.effect, Effect::Never)) {
            return Found::Nothing;
        }
        self.take_observers();
        loop {
            if self.left == 0 {
                return Found::Order;
            }
            let asks = steps > 0 && steps.is_multiple_of(STEPS_ASKED);
            if steps >= patience.steps_max || asks && !(patience.go_on)(STEPS_ASKED) {
                return Found::GaveUp;
            }
            steps += 1;
            let Some(op) = self.candidate_after(tried, allowed) else {
                let Some(choice) = choices.pop() else { return Found::Nothing };
                self.step_back(choice.depth);
                self.value = choice.value;
                allowed = choice.allowed;
                tried = Some(choice.op);
                continue;
            };
            let before = Choice { op, value: self.value, depth: self.order.len(), allowed };
            if matches!(self.ops[op].effect, Effect::Become(_)) {
                self.take_unread(op);
            }
            self.value = self.ops[op].effect.write(self.value).expect("a candidate is a write possible now");
            self.linearize(op);
            let observed = self.take_observers();
            let unseen = !self.ops[op].known && !observed;
            // Remembered together with whether it is seen: what is allowed afterwards depends on it.
            if self.seen.insert((self.set ^ u128::from(unseen), self.value)) {
                choices.push(before);
                allowed = if unseen { Allowed::Observer } else { Allowed::Any };
                tried = None;
            } else {
                self.step_back(before.depth);
                self.value = before.value;
                tried = Some(op);
            }
        }
    }

    /// Linearizes every read that the present value explains; tells whether there was one.
    fn take_observers(&mut self) -> bool {
        let before = self.order.len();
        let mut node = self.next[HEAD as usize];
        while node != END {
            let (op, is_call) = op_of(node);
            if !is_call {
                break;
            }
            // The list's links out of a removed call still lead on.
            if self.ops[op].effect.observes(self.value) {
                self.linearize(op);
            }
            node = self.next[node as usize];
        }
        self.order.len() > before
    }

    /// Linearizes every blind write, other than `op` which comes next, whose value nothing left would see.
    fn take_unread(&mut self, op: usize) {
        let mut node = self.next[HEAD as usize];
        while node != END && self.refusals_left == 0 {
            let (other, is_call) = op_of(node);
            if !is_call {
                break;
            }
            if let Op { effect: Effect::Become(to), known: true, .. } = self.ops[other]
                && other != op
                && self.demand[to.0 as usize].may_observe == 0
            {
                self.linearize(other);
            }
            node = self.next[node as usize];
        }
    }

    /// Whether `op` may make `to` of the value: not if that would lose the value to an answer that needs it.
    fn may_overwrite(&self, effect: Effect, to: Value) -> bool {
        let demand = self.demand[self.value.0 as usize];
        let own = u32::from(matches!(effect, Effect::Swap { .. }));
        to == self.value || demand.may_bring > 0 || demand.must_observe <= own
    }

    /// The next candidate to try: writes before the first return that are possible now, the known ones first, each group
    /// in the order of their calls.
    fn candidate_after(&self, tried: Option<usize>, allowed: Allowed) -> Option<usize> {
        let tried_known = tried.map(|op| self.ops[op].known);
        let known = (tried_known != Some(false)).then(|| self.candidate_of(tried, true, allowed)).flatten();
        known.or_else(|| self.candidate_of(tried.filter(|_| tried_known == Some(false)), false, allowed))
    }

    fn candidate_of(&self, after: Option<usize>, known: bool, allowed: Allowed) -> Option<usize> {
        let mut node = self.next[after.map_or(HEAD, call) as usize];
        while node != END {
            let (op, is_call) = op_of(node);
            if !is_call {
                return None;
            }
            let Op { effect, known: op_known, .. } = self.ops[op];
            let fits = allowed == Allowed::Any || matches!(effect, Effect::Swap { .. });
            let to = effect.write(self.value).filter(|to| fits && op_known == known && self.may_overwrite(effect, *to));
            if to.is_some() {
                return Some(op);
            }
            node = self.next[node as usize];
        }
        None
    }

    fn linearize(&mut self, op: usize) {
        self.order.push(op);
        self.set ^= self.ops[op].share;
        self.count(op, -1);
        if self.ops[op].known {
            self.remove(call(op) + 1);
        }
        self.remove(call(op));
    }

    /// Counts an operation among those left, or out of them.
    fn count(&mut self, op: usize, by: i32) {
        let Op { effect, known, .. } = self.ops[op];
        let sure = if known { by } else { 0 };
        self.left = self.left.wrapping_add_signed(sure as isize);
        let (observed, brought) = match effect {
            Effect::Is(value) => (Some(value), None),
            Effect::Become(to) => (None, Some(to)),
            Effect::Swap { from, to } => (Some(from), Some(to)),
            Effect::IsNot(_) => {
                self.refusals_left = self.refusals_left.wrapping_add_signed(by as isize);
                (None, None)
            }
            Effect::Never => (None, None),
        };
        if let Some(value) = observed {
            let demand = &mut self.demand[value.0 as usize];
            demand.may_observe = demand.may_observe.wrapping_add_signed(by);
            demand.must_observe = demand.must_observe.wrapping_add_signed(sure);
        }
        if let Some(value) = brought {
            let demand = &mut self.demand[value.0 as usize];
            demand.may_bring = demand.may_bring.wrapping_add_signed(by);
        }
    }

    /// Takes back what was linearized beyond `depth`. In reverse order, or the links would not fit.
    fn step_back(&mut self, depth: usize) {
        while self.order.len() > depth
            && let Some(op) = self.order.pop()
        {
            self.set ^= self.ops[op].share;
            self.count(op, 1);
            insert(&mut self.next, &mut self.previous, call(op));
            if self.ops[op].known {
                insert(&mut self.next, &mut self.previous, call(op) + 1);
            }
        }
    }

    fn remove(&mut self, node: Node) {
        let (before, after) = (self.previous[node as usize], self.next[node as usize]);
        self.next[before as usize] = after;
        if after != END {
            self.previous[after as usize] = before;
        }
    }
}

/// Puts a node back where it was removed: it kept its own links.
fn insert(next: &mut [Node], previous: &mut [Node], node: Node) {
    let (before, after) = (previous[node as usize], next[node as usize]);
    next[before as usize] = node;
    if after != END {
        previous[after as usize] = node;
    }
}

/// What an operation does; `None` for one that says nothing: a read without an answer.
fn effect<'a>(operation: &'a Operation, values: &mut BTreeMap<&'a str, Value>) -> Option<Effect> {
    let mut number = |value: &'a str| {
        let next = u32::try_from(values.len() + 1).expect("a history holds fewer than 2^32 values");
        *values.entry(value).or_insert(Value(next))
    };
    let answer = operation.outcome.as_ref().map(|outcome| &outcome.answer);
    Some(match (&operation.call, answer) {
        (Call::Get, None) => return None,
        (Call::Get, Some(Answer::Found(found))) => Effect::Is(found.as_deref().map_or(ABSENT, number)),
        (Call::Put(value), None | Some(Answer::Done)) => Effect::Become(number(value)),
        (Call::Delete, None | Some(Answer::Done)) => Effect::Become(ABSENT),
        (Call::Cas { expected, value }, None | Some(Answer::Swapped(true))) => {
            let from = expected.as_deref().map_or(ABSENT, &mut number);
            Effect::Swap { from, to: number(value) }
        }
        (Call::Cas { expected, .. }, Some(Answer::Swapped(false))) => {
            Effect::IsNot(expected.as_deref().map_or(ABSENT, number))
        }
        (Call::Get, Some(Answer::Done | Answer::Swapped(_)))
        | (Call::Put(_) | Call::Delete, Some(Answer::Found(_) | Answer::Swapped(_)))
        | (Call::Cas { .. }, Some(Answer::Found(_) | Answer::Done)) => Effect::Never,
    })
}

/// Numbers for fingerprints (Steele, Lea and Flood, 2014); fixed, so that every run decides alike.
struct SplitMix(u64);

impl SplitMix {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn next_u128(&mut self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }
}

/// A hash for keys that are random already. Not the default one: that starts from a seed of its own in each process,
/// which changes no verdict but makes runs differ in time and memory.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, value: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "either half of a random number is random")]
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
