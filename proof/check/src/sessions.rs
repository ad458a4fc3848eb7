//! What a client may rely on from one of its operations to the next: the four session guarantees (Terry and others, 1994).
//!
//! Each guarantee says of some pairs of versions of a key that one is not older than the other. If versions would have to
//! go in a circle, a guarantee that the circle rests on was broken. Besides the guarantees it is taken for granted that a
//! key is absent at first, that a swap makes a version later than the one it found, and, if the caller says so, that of two
//! writes the one that began after the other had ended is the later version. Keys are looked at one by one, and every
//! write of a key must have a value of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Answer, Call, History, Operation};
use crate::isolation::graph::{Class, Edge, Graph, Kind, Order};

/// What is guaranteed within a session, which is all that one client does, one operation after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// A read finds what the client wrote before, or something later.
    ReadYourWrites,
    /// A read finds what the client's earlier reads found, or something later.
    MonotonicReads,
    /// A write comes after the client's earlier writes.
    MonotonicWrites,
    /// A write comes after what the client read before.
    WritesFollowReads,
}

impl Guarantee {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 4] = [
        ("read-your-writes", Self::ReadYourWrites),
        ("monotonic-reads", Self::MonotonicReads),
        ("monotonic-writes", Self::MonotonicWrites),
        ("writes-follow-reads", Self::WritesFollowReads),
    ];
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, guarantee)| guarantee == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// What a history shows of its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionVerdict {
    /// On every key some order of the versions fits what all sessions saw, as far as each set of guarantees goes.
    Kept,
    /// On these keys none does.
    Broken(Vec<SessionViolation>),
    /// Of these keys nothing can be said, and why, as sentences without their full stops; the others are kept.
    Unknown(Vec<String>),
}

/// Versions of a key that would have to go in a circle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionViolation {
    /// Of which key.
    pub key: String,
    /// At least one of these was broken; with one, it was that. With none, what is taken for granted does not hold.
    pub guarantees: Vec<Guarantee>,
    /// Why each version of the circle cannot be later than the next: sentences without their full stops.
    pub reasons: Vec<String>,
    /// The operations that the reasons speak of, by time of call.
    pub operations: Vec<Operation>,
}

/// Checks these guarantees. `by_time` says that versions keep to the order of writes in time, as in every store with
/// one copy; a store that lets clocks decide may not.
#[must_use]
pub fn check_sessions(history: &History, guarantees: &[Guarantee], by_time: bool) -> SessionVerdict {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let (mut broken, mut unknown) = (Vec::new(), Vec::new());
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.called);
        match Key::new(key, operations) {
            Ok(mut of_key) => {
                of_key.add_facts(by_time);
                broken.extend(of_key.violations(guarantees));
            }
            Err(why) => unknown.push(why),
        }
    }
    match (broken.is_empty(), unknown.is_empty()) {
        (false, _) => SessionVerdict::Broken(broken),
        (true, false) => SessionVerdict::Unknown(unknown),
        (true, true) => SessionVerdict::Kept,
    }
}

/// Why one version is not later than another.
#[derive(Clone, Copy)]
enum Because {
    /// Keys are absent at first.
    Initial,
    /// A swap found the one and made the other.
    Swapped,
    /// Writes, the one after the other.
    Time,
    /// What one client did and saw.
    Session(Guarantee),
}

struct Fact {
    from: u32,
    to: u32,
    because: Because,
    /// The operations it rests on, as places in the key's.
    earlier: usize,
    later: usize,
}

struct Key<'a> {
    name: &'a str,
    operations: Vec<&'a Operation>,
    /// By value: its number. Number 0 is absence.
    numbers: BTreeMap<&'a str, u32>,
    /// By number, from 1: the value, and the place of the operation that wrote it.
    written: Vec<(&'a str, usize)>,
    facts: Vec<Fact>,
}

impl<'a> Key<'a> {
    fn new(name: &'a str, operations: Vec<&'a Operation>) -> Result<Self, String> {
        let mut key = Self { name, operations, numbers: BTreeMap::new(), written: Vec::new(), facts: Vec::new() };
        let mut busy_until: BTreeMap<u64, u64> = BTreeMap::new();
        for (place, operation) in key.operations.iter().enumerate() {
            let client = operation.client;
            if let Some(outcome) = &operation.outcome
                && busy_until.insert(client, outcome.at).is_some_and(|until| until > operation.called)
            {
                return Err(format!(
                    "client {client} is at two operations on key {name:?} at {}, which is no session",
                    operation.called
                ));
            }
            if operation.call == Call::Delete {
                let at = operation.called;
                return Err(format!(
                    "key {name:?} is deleted at {at}, and a read of nothing does not tell which absence it saw"
                ));
            }
            let Some(value) = wrote(operation) else { continue };
            let number = u32::try_from(key.written.len() + 1).expect("a history holds fewer than 2^32 writes");
            key.written.push((value, place));
            if key.numbers.insert(value, number).is_some() {
                return Err(format!(
                    "key {name:?} is set to {value:?} twice, so that a read of it does not tell which it saw: record a \
                     history in which every write of a key has a value of its own"
                ));
            }
        }
        let stranger = key
            .operations
            .iter()
            .filter_map(|operation| found(operation)?)
            .find(|value| !key.numbers.contains_key(value));
        match stranger {
            Some(value) => Err(format!("key {name:?} was found to be {value:?}, which nobody wrote")),
            None => Ok(key),
        }
    }

    fn add(&mut self, from: u32, to: u32, because: Because, earlier: usize, later: usize) {
        if from != to {
            self.facts.push(Fact { from, to, because, earlier, later });
        }
    }

    fn number(&self, found: Option<&str>) -> u32 {
        found.and_then(|value| self.numbers.get(value)).copied().unwrap_or(0)
    }

    fn add_facts(&mut self, by_time: bool) {
        let seen: BTreeSet<u32> =
            self.operations.iter().filter_map(|o| found(o)).map(|found| self.number(found)).collect();
        for (number, (_, place)) in (1..).zip(self.written.clone()) {
            let operation = self.operations[place];
            if operation.outcome.is_some() || seen.contains(&number) {
                self.add(0, number, Because::Initial, place, place);
            }
            if let Some(expected) = found(operation) {
                self.add(self.number(expected), number, Because::Swapped, place, place);
            }
        }
        if by_time {
            self.add_time();
        }
        self.add_sessions();
    }

    fn add_time(&mut self) {
        let writes: Vec<(u32, usize)> = (1..).zip(self.written.iter().map(|(_, place)| *place)).collect();
        let mut ends: Vec<(u64, u32, usize)> = writes
            .iter()
            .filter_map(|(number, place)| Some((self.operations[*place].outcome.as_ref()?.at, *number, *place)))
            .collect();
        ends.sort_unstable();
        let mut ends = ends.into_iter().peekable();
        // Writes that have ended and that none that has ended began after: the others are before one of these.
        let mut frontier: Vec<(u64, u32, usize)> = Vec::new();
        for (number, place) in writes {
            while let Some(ended) = ends.next_if(|(at, ..)| *at < self.operations[place].called) {
                let called = self.operations[ended.2].called;
                frontier.retain(|(at, ..)| *at >= called);
                frontier.push(ended);
            }
            for (_, from, earlier) in &frontier {
                self.add(*from, number, Because::Time, *earlier, place);
            }
        }
    }

    /// What each client did and saw, one after the other.
    fn add_sessions(&mut self) {
        #[derive(Default)]
        struct Session {
            wrote: Option<(u32, usize)>,
            read: Option<(u32, usize)>,
            /// Reads since the last write.
            read_since: Vec<(u32, usize)>,
        }
        let mut sessions: BTreeMap<u64, Session> = BTreeMap::new();
        for place in 0..self.operations.len() {
            let operation = self.operations[place];
            let session = sessions.entry(operation.client).or_default();
            if let Some(found) = found(operation) {
                let to = self.number(found);
                if let Some((from, earlier)) = session.wrote {
                    self.add(from, to, Because::Session(Guarantee::ReadYourWrites), earlier, place);
                }
                if let Some((from, earlier)) = session.read.replace((to, place)) {
                    self.add(from, to, Because::Session(Guarantee::MonotonicReads), earlier, place);
                }
                session.read_since.push((to, place));
            }
            let Some(value) = wrote(operation) else { continue };
            let to = self.number(Some(value));
            if let Some((from, earlier)) = session.wrote {
                self.add(from, to, Because::Session(Guarantee::MonotonicWrites), earlier, place);
            }
            for (from, earlier) in &session.read_since {
                self.add(*from, to, Because::Session(Guarantee::WritesFollowReads), *earlier, place);
            }
            // What nobody knows the outcome of may take effect long after the session has gone on.
            if operation.outcome.is_some() {
                session.read_since.clear();
                session.wrote = Some((to, place));
            }
        }
    }

    fn tell(&self, fact: &Fact) -> String {
        let value = |number: u32| {
            let written = self.written.get((number as usize).wrapping_sub(1));
            written.map_or("nothing".to_owned(), |(value, _)| format!("{value:?}"))
        };
        let (from, to) = (value(fact.from), value(fact.to));
        let client = self.operations[fact.later].client;
        match fact.because {
            Because::Initial => format!("{:?} is absent at first", self.name),
            Because::Swapped => format!("client {client} swapped {from} for {to}"),
            Because::Time => format!("the write of {from} had ended when that of {to} began"),
            Because::Session(Guarantee::ReadYourWrites) => format!("client {client} wrote {from} and then found {to}"),
            Because::Session(Guarantee::MonotonicReads) => format!("client {client} found {from} and then {to}"),
            Because::Session(Guarantee::MonotonicWrites) => format!("client {client} wrote {from} and then {to}"),
            Because::Session(Guarantee::WritesFollowReads) => {
                format!("client {client} found {from} and then wrote {to}")
            }
        }
    }

    /// Circles that rest on as few guarantees as can be, the shortest of each.
    fn violations(&self, guarantees: &[Guarantee]) -> Vec<SessionViolation> {
        let mut broken: Vec<(BTreeSet<Guarantee>, SessionViolation)> = Vec::new();
        for set in subsets(guarantees) {
            if broken.iter().any(|(smaller, _)| smaller.is_subset(&set)) {
                continue;
            }
            if let Some(violation) = self.violation(&set) {
                broken.push((set, violation));
            }
        }
        broken.into_iter().map(|(_, violation)| violation).collect()
    }

    fn violation(&self, set: &BTreeSet<Guarantee>) -> Option<SessionViolation> {
        let is_used = |fact: &Fact| match fact.because {
            Because::Session(guarantee) => set.contains(&guarantee),
            Because::Initial | Because::Swapped | Because::Time => true,
        };
        let used = (0..).zip(&self.facts).filter(|(_, fact)| is_used(fact)).map(|(about, fact)| {
            let Fact { from, to, .. } = *fact;
            Edge { from, to, kind: Kind::Ww, order: Order::Data, about }
        });
        let nodes = self.written.len() + 1;
        let graph = Graph::new(nodes, nodes, used.collect());
        let mut view = graph.view(Class::Writes, Order::Data, 1_000_000);
        let parts = view.parts();
        let cycle = parts.iter().map(|part| view.shortest_cycle(part)).min_by_key(Vec::len)?;
        let facts: Vec<&Fact> = cycle.iter().map(|edge| &self.facts[graph.edge(*edge).about as usize]).collect();
        let shown: BTreeSet<usize> = facts.iter().flat_map(|fact| [fact.earlier, fact.later]).collect();
        Some(SessionViolation {
            key: self.name.to_owned(),
            guarantees: set.iter().copied().collect(),
            reasons: facts.iter().map(|fact| self.tell(fact)).collect(),
            operations: shown.into_iter().map(|place| self.operations[place].clone()).collect(),
        })
    }
}

/// The sets of these, the smaller first; the empty one is what is taken for granted.
fn subsets(guarantees: &[Guarantee]) -> Vec<BTreeSet<Guarantee>> {
    let mut sets = vec![BTreeSet::new()];
    for guarantee in guarantees {
        let with = sets.iter().map(|set: &BTreeSet<Guarantee>| set.iter().copied().chain([*guarantee]).collect());
        sets.extend(with.collect::<Vec<_>>());
    }
    sets.sort_by_key(BTreeSet::len);
    sets
}

fn answer(operation: &Operation) -> Option<&Answer> {
    operation.outcome.as_ref().map(|outcome| &outcome.answer)
}

/// The value that an operation may have left.
fn wrote(operation: &Operation) -> Option<&str> {
    match &operation.call {
        Call::Put(value) => Some(value),
        Call::Cas { value, .. } => (answer(operation) != Some(&Answer::Swapped(false))).then_some(value),
        Call::Get | Call::Delete => None,
    }
}

/// What an operation found: a read, or a swap that succeeded.
fn found(operation: &Operation) -> Option<Option<&str>> {
    match (&operation.call, answer(operation)) {
        (Call::Get, Some(Answer::Found(found))) => Some(found.as_deref()),
        (Call::Cas { expected, .. }, Some(Answer::Swapped(true))) => Some(expected.as_deref()),
        _ => None,
    }
}
