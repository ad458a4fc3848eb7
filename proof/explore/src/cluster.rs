//! A whole cluster as a model: nodes, the messages they ever sent, and what the checks remember.
//!
//! What may happen:
//! - **messages** arrive in any order, any number of times, or never: whatever was sent stays on its way for good, which is
//!   loss, delay, reordering and duplication in one; only what can make nothing of its receiver any more is taken off it;
//! - **deadlines** pass at any node at any time, and more time than anything waits for may pass before any input;
//! - **writes** are stored one after the other, at any time; or, with prompt disks, at the end of the step that issues them,
//!   unless the node crashes right then;
//! - **crashes**, so many in all: a node loses its memory and the writes that were not reported as stored, and starts with
//!   the rest. A node that stays down for a while is one that gets no messages; a write that was stored and not reported is
//!   one that was, right before the crash, whose consequences were lost on the way;
//! - **requests**, so many in all.
//!
//! What makes it fast: every state of a node is kept once, with a number, and so is every message; what an input makes of
//! a node is found out by `handle` once, and looked up from then on. A state of the cluster is then a handful of numbers,
//! and its fingerprint a sum.

mod names;
mod network;
mod script;
mod twins;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use hezong_base::{NodeId, RequestId};
use hezong_invariants::Invariants;

use self::names::permutations;
use self::network::{Network, Usefulness};
use crate::digest::{ByDigest, Digest};
use crate::node::{How, Node, Touch, Touched};
use crate::subject::{EventOf, MessageOf, PastOf, Subject, ViewOf};
use crate::{Model, Violation};

/// The largest cluster; states are kept small.
pub const NODES_MAX: usize = 5;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Nodes, at most [`NODES_MAX`].
    pub nodes: u8,
    /// Crashes in all.
    pub crashes: u8,
    /// Requests in all.
    pub requests: u8,
    /// Whether states that are the same but for names are folded.
    pub symmetry: bool,
}

/// What happens to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A message, by its number, arrives.
    Deliver(u32),
    /// Its deadline passes.
    Timeout,
    /// Its oldest write under way is on disk.
    Stored,
    /// It crashes and starts again.
    Restart,
    /// It gets the request of this number.
    Request(u8),
}

/// What may happen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// To which node, counted from 0.
    pub node: u8,
    /// What.
    pub step: Step,
    /// Under which circumstances.
    pub how: How,
    /// What comes of it, by number.
    outcome: u32,
}

/// A state of the cluster.
#[derive(Clone, Debug)]
pub struct State {
    /// The state of each node, by number.
    nodes: [u32; NODES_MAX],
    network: Rc<Network>,
    /// What is remembered, by number.
    past: u32,
    crashes: u8,
    requests: u8,
}

/// A state of a node.
struct Known<S: Subject> {
    node: Node<S>,
    view: ViewOf<S>,
    /// Once a long time has passed.
    later: u64,
    may_time_out: bool,
    /// The first way in which it was found. `None`: it is the beginning.
    origin: Option<(u32, Step, How)>,
    /// For each way of naming the nodes, what it is then, once that is known.
    renamed: Box<[Option<u32>]>,
    /// The digests of these.
    digests: Box<[u64]>,
}

/// A message on its way.
struct Letter<S: Subject> {
    from: u8,
    to: u8,
    message: MessageOf<S>,
    /// Of the message alone.
    digest: u64,
}

/// What comes of an input.
enum Outcome<S: Subject> {
    /// The node's next state, the messages that it sends, whether it has written anything, and what its user is told, if
    /// that is looked at.
    Next(u32, Rc<[u32]>, bool, Box<[EventOf<S>]>),
    /// The step breaks a property.
    Broken(Violation),
}

/// The cluster. See the module's page.
pub struct Cluster<S: Subject> {
    subject: S,
    bounds: Bounds,
    /// All ways of naming the nodes; the first is as they are.
    namings: Vec<Vec<u8>>,
    known: Vec<Known<S>>,
    known_by_digest: HashMap<u64, u32, ByDigest>,
    letters: Vec<Letter<S>>,
    letter_by_digest: HashMap<u64, u32, ByDigest>,
    outcomes: Vec<Outcome<S>>,
    /// What comes of an input, by the node's state and what happens.
    outcome_of: HashMap<(u32, u32), u32, ByDigest>,
    pasts: Vec<(PastOf<S>, Box<[u64]>)>,
    past_by_value: HashMap<PastOf<S>, u32>,
    /// Whether a message still matters, by the receiver's state, the message, and whether anybody may still crash.
    usefulness: Vec<Vec<Option<Usefulness>>>,
    /// What is remembered next, by what is remembered and what a node has become, or what has come of an input where users
    /// are heard.
    past_after: HashMap<(u32, u32), u32, ByDigest>,
    /// Where each node begins.
    first: Vec<u32>,
    /// What they say at birth.
    first_letters: Vec<u32>,
    /// Where exploration begins, once that is known.
    start: Option<State>,
    /// How often `handle` was called to find something out.
    handled: u64,
    /// Nodes that were found equal to one known already, but in another way: kept for [`Cluster::compare_twins`].
    twins: Option<Vec<(u32, Node<S>)>>,
}

impl<S: Subject> Cluster<S> {
    /// A cluster whose nodes have just started.
    ///
    /// # Panics
    /// When the bounds ask for more nodes than [`NODES_MAX`], or for none.
    pub fn new(subject: S, bounds: Bounds) -> Self {
        assert!((1..=NODES_MAX).contains(&usize::from(bounds.nodes)), "one to {NODES_MAX} nodes");
        let same: Vec<u8> = (0..bounds.nodes).collect();
        let mut cluster = Self {
            subject,
            bounds,
            namings: if bounds.symmetry { permutations(&same) } else { vec![same] },
            known: Vec::new(),
            known_by_digest: HashMap::default(),
            letters: Vec::new(),
            letter_by_digest: HashMap::default(),
            outcomes: Vec::new(),
            outcome_of: HashMap::default(),
            pasts: Vec::new(),
            past_by_value: HashMap::default(),
            usefulness: Vec::new(),
            past_after: HashMap::default(),
            first: Vec::new(),
            first_letters: Vec::new(),
            start: None,
            handled: 0,
            twins: None,
        };
        for at in 0..bounds.nodes {
            let Touched { node, sends, .. } = Node::first(&cluster.subject, name(at));
            let key = cluster.know(node, None);
            cluster.first.push(key);
            for (to, sent) in sends {
                let letter = cluster.know_letter(at, place(to), sent);
                cluster.first_letters.push(letter);
            }
        }
        cluster.know_past(PastOf::<S>::default());
        cluster
    }

    /// How many states of single nodes were met, how many messages, and how often `handle` was called.
    pub fn counts(&self) -> (usize, usize, u64) {
        (self.known.len(), self.letters.len(), self.handled)
    }

    /// The subject.
    pub fn subject(&self) -> &S {
        &self.subject
    }

    /// A node of a state, counted from 0.
    pub fn node(&self, state: &State, at: u8) -> &S::Protocol {
        &self.known[state.nodes[usize::from(at)] as usize].node.protocol
    }

    /// A message by its number: who sent it, to whom, and what it says.
    pub fn letter(&self, number: u32) -> (NodeId, NodeId, &MessageOf<S>) {
        let letter = &self.letters[number as usize];
        (name(letter.from), name(letter.to), &letter.message)
    }

    /// The fingerprint of a state but for the messages on their way.
    pub fn fingerprint_of_nodes(&mut self, state: &State) -> u64 {
        let network = self.nothing();
        self.fingerprint(&State { network, ..*state })
    }

    /// The number of a node's state; a new one if it was never met.
    fn know(&mut self, node: Node<S>, origin: Option<(u32, Step, How)>) -> u32 {
        let digest = node.digest(&self.subject, false);
        if let Some(key) = self.known_by_digest.get(&digest) {
            if let Some(twins) = &mut self.twins
                && self.known[*key as usize].origin != origin
            {
                twins.push((*key, node));
            }
            return *key;
        }
        let key = number(self.known.len());
        let later = node.digest(&self.subject, true);
        let (view, may_time_out) = (node.view(&self.subject), self.subject.may_time_out(&node.protocol));
        let mut renamed = vec![None; self.namings.len()].into_boxed_slice();
        let mut digests = vec![0; self.namings.len()].into_boxed_slice();
        (renamed[0], digests[0]) = (Some(key), digest);
        self.known.push(Known { node, view, later, may_time_out, origin, renamed, digests });
        self.known_by_digest.insert(digest, key);
        key
    }

    fn know_letter(&mut self, from: u8, to: u8, message: MessageOf<S>) -> u32 {
        let mut digest = Digest::default();
        self.subject.hash_message(&message, &mut digest);
        let digest = digest.finish();
        let letters = &mut self.letters;
        *self.letter_by_digest.entry(addressed(digest, from, to)).or_insert_with(|| {
            letters.push(Letter { from, to, message, digest });
            number(letters.len() - 1)
        })
    }

    fn know_past(&mut self, past: PastOf<S>) -> u32 {
        if let Some(key) = self.past_by_value.get(&past) {
            return *key;
        }
        let digest = |naming: &Vec<u8>| {
            let mut digest = Digest::default();
            let named = |id: NodeId| name(naming[usize::from(place(id))]);
            S::Invariants::renamed(&past, &named).hash(&mut digest);
            digest.finish()
        };
        let digests = self.namings.iter().map(digest).collect();
        let key = number(self.pasts.len());
        self.pasts.push((past.clone(), digests));
        self.past_by_value.insert(past, key);
        key
    }

    /// What comes of an input, by number.
    fn outcome(&mut self, key: u32, step: Step, how: How) -> u32 {
        let place = (key, code(step, how));
        if let Some(outcome) = self.outcome_of.get(&place) {
            return *outcome;
        }
        self.handled += 1;
        let outcome = match self.touch(&self.known[key as usize].node, step, how) {
            Err(violation) => Outcome::Broken(violation),
            Ok(Touched { node, sends, writes, events }) => {
                let from = place_of(&node);
                let next = self.know(node, Some((key, step, how)));
                let (before, after) = (&self.known[key as usize], &self.known[next as usize]);
                match self.subject.invariants().check_step(before.node.id, &before.view, &after.view) {
                    Err(violation) => Outcome::Broken(violation),
                    Ok(()) => {
                        let sends = sends.into_iter().map(|(to, sent)| self.know_letter(from, self::place(to), sent));
                        let mut sends: Vec<_> = sends.collect();
                        sends.sort_unstable();
                        sends.dedup();
                        // What was told right before a crash is forgotten with it.
                        let heard = self.subject.users_are_heard() && how != How::Crashing;
                        let events = if heard { events.into() } else { Box::default() };
                        Outcome::Next(next, sends.into(), !writes.is_empty(), events)
                    }
                }
            }
        };
        self.outcomes.push(outcome);
        let outcome = number(self.outcomes.len() - 1);
        self.outcome_of.insert(place, outcome);
        outcome
    }

    /// What is remembered behind a step.
    fn remembered(&self, state: &State, action: &Action, became: u32) -> Result<PastOf<S>, Violation> {
        let (invariants, known) = (self.subject.invariants(), &self.known[became as usize]);
        let mut past = self.pasts[state.past as usize].0.clone();
        if let (Step::Request(nth), true) = (action.step, self.subject.users_are_heard())
            && let Some(request) = self.subject.request(self.node(state, action.node), nth)
        {
            invariants.asked(&mut past, known.node.id, RequestId(u64::from(nth)), &request);
        }
        invariants.remember(&mut past, known.node.id, &known.view)?;
        if let Outcome::Next(.., events) = &self.outcomes[action.outcome as usize] {
            events.iter().try_for_each(|event| invariants.hear(&mut past, known.node.id, event))?;
        }
        Ok(past)
    }

    /// Hands a node its input.
    fn touch(&self, node: &Node<S>, step: Step, how: How) -> Result<Touched<S>, Violation> {
        let touch = match step {
            Step::Deliver(letter) => {
                let letter = &self.letters[letter as usize];
                Touch::Deliver(name(letter.from), &letter.message)
            }
            Step::Timeout => Touch::Timeout,
            Step::Stored => Touch::Stored,
            Step::Restart => Touch::Restart,
            Step::Request(nth) => {
                let request = self.subject.request(&node.protocol, nth);
                Touch::Request(nth, request.expect("only what may be asked is"))
            }
        };
        node.touch(&self.subject, touch, how)
    }

    /// Adds what may happen to a node by this input: at once; late, and with a crash, if that makes a difference.
    fn choose(&mut self, state: &State, node: u8, step: Step, actions: &mut Vec<Action>) {
        let key = state.nodes[usize::from(node)];
        let soon = self.outcome(key, step, How::Soon);
        if self.changes(state, key, soon) {
            actions.push(Action { node, step, how: How::Soon, outcome: soon });
        }
        if self.minds_time(key, step) {
            let late = self.outcome(key, step, How::Late);
            if self.changes(state, key, late) && self.differ(state, soon, late) {
                actions.push(Action { node, step, how: How::Late, outcome: late });
            }
        }
        let may_crash = self.subject.disks_are_prompt() && state.crashes < self.bounds.crashes;
        if may_crash && step != Step::Restart && matches!(&self.outcomes[soon as usize], Outcome::Next(_, _, true, _)) {
            let crashing = self.outcome(key, step, How::Crashing);
            actions.push(Action { node, step, how: How::Crashing, outcome: crashing });
        }
    }

    /// Whether it may make a difference how late an input comes: a deadline may then be that of something else.
    fn minds_time(&self, key: u32, step: Step) -> bool {
        let known = &self.known[key as usize];
        known.later != known.digests[0] || !self.subject.time_shows() && step == Step::Timeout
    }

    /// Whether an outcome leads anywhere.
    fn changes(&self, state: &State, key: u32, outcome: u32) -> bool {
        match &self.outcomes[outcome as usize] {
            Outcome::Broken(_) => true,
            Outcome::Next(next, sends, ..) => *next != key || sends.iter().any(|sent| !state.network.has(*sent)),
        }
    }

    /// Whether time that passes before the input makes another difference than if it passes behind it, which it still may.
    fn differ(&self, state: &State, soon: u32, late: u32) -> bool {
        let (Outcome::Next(soon, soon_sends, ..), Outcome::Next(late, late_sends, ..)) =
            (&self.outcomes[soon as usize], &self.outcomes[late as usize])
        else {
            return true;
        };
        let new = |sends: &[u32], others: &[u32]| {
            sends.iter().any(|sent| !state.network.has(*sent) && others.binary_search(sent).is_err())
        };
        self.known[*soon as usize].later != self.known[*late as usize].later
            || new(soon_sends, late_sends)
            || new(late_sends, soon_sends)
    }
}

impl<S: Subject> Model for Cluster<S> {
    type State = State;
    type Action = Action;

    fn initial(&mut self) -> State {
        if let Some(start) = &self.start {
            return start.clone();
        }
        let start = self.play();
        self.start = Some(start.clone());
        start
    }

    fn actions(&mut self, state: &State, actions: &mut Vec<Action>) {
        for node in 0..self.bounds.nodes {
            let known = &self.known[state.nodes[usize::from(node)] as usize];
            let nth = state.requests + 1;
            let steps = [
                known.may_time_out.then_some(Step::Timeout),
                known.node.is_storing().then_some(Step::Stored),
                (state.crashes < self.bounds.crashes).then_some(Step::Restart),
                (nth <= self.bounds.requests && self.subject.request(&known.node.protocol, nth).is_some())
                    .then_some(Step::Request(nth)),
            ];
            for step in steps.into_iter().flatten() {
                self.choose(state, node, step, actions);
            }
        }
        for letter in &state.network.letters {
            self.choose(state, self.letters[*letter as usize].to, Step::Deliver(*letter), actions);
        }
    }

    fn next(&mut self, state: &State, action: &Action) -> Result<State, Violation> {
        let (became, sends) = match &self.outcomes[action.outcome as usize] {
            Outcome::Broken(violation) => return Err(violation.clone()),
            Outcome::Next(became, sends, ..) => (*became, sends.clone()),
        };
        let now = (state.past, if self.subject.users_are_heard() { action.outcome } else { became });
        let past = match self.past_after.get(&now) {
            Some(past) => *past,
            None => {
                let past = self.remembered(state, action, became)?;
                let past = self.know_past(past);
                self.past_after.insert(now, past);
                past
            }
        };
        let mut nodes = state.nodes;
        nodes[usize::from(action.node)] = became;
        let crashes = state.crashes + u8::from(action.step == Step::Restart || action.how == How::Crashing);
        let requests = state.requests + u8::from(matches!(action.step, Step::Request(_)));
        let network = self.network(state, &sends, action.node, &nodes, crashes);
        Ok(State { nodes, network, past, crashes, requests })
    }

    fn check(&mut self, state: &State) -> Result<(), Violation> {
        let nodes = usize::from(self.bounds.nodes);
        let views: [_; NODES_MAX] = std::array::from_fn(|at| {
            let known = &self.known[state.nodes[at] as usize];
            (known.node.id, &known.view)
        });
        self.subject.invariants().check(&views[..nodes], &self.pasts[state.past as usize].0)
    }

    fn fingerprint(&mut self, state: &State) -> u64 {
        let all = (0..self.namings.len()).map(|naming| self.fingerprint_under(state, naming));
        all.min().expect("there is at least one naming")
    }

    fn tell(&mut self, state: &State, action: &Action) -> String {
        let key = state.nodes[usize::from(action.node)];
        let (id, subject) = (name(action.node), &self.subject);
        let mut text = match action.step {
            Step::Deliver(letter) => {
                let Letter { from, message, .. } = &self.letters[letter as usize];
                format!("{id} gets from {}: {}", name(*from), subject.show_message(message))
            }
            Step::Timeout => format!("{id} times out"),
            Step::Stored => format!("{id} has stored its oldest write"),
            Step::Restart => format!("{id} crashes and restarts with what it had stored"),
            Step::Request(nth) => {
                let request = subject.request(&self.known[key as usize].node.protocol, nth);
                format!("{id} is asked: {}", request.map(|request| subject.show_request(&request)).unwrap_or_default())
            }
        };
        text += match action.how {
            How::Soon => "",
            How::Late => ", after a long time",
            How::Crashing => ", crashes before it has stored what it writes, and restarts",
        };
        match self.touch(&self.known[key as usize].node, action.step, action.how) {
            Err(violation) => text += &format!("\n    {violation}"),
            Ok(Touched { sends, writes, events, .. }) => {
                writes.iter().for_each(|write| text += &format!("\n    writes {}", subject.show_write(write)));
                sends
                    .iter()
                    .for_each(|(to, sent)| text += &format!("\n    sends {to}: {}", subject.show_message(sent)));
                events.iter().for_each(|event| text += &format!("\n    tells: {}", subject.show_event(event)));
            }
        }
        text
    }
}

/// How the node at this place is called.
fn name(at: u8) -> NodeId {
    NodeId(u64::from(at) + 1)
}

fn place(id: NodeId) -> u8 {
    u8::try_from(id.0 - 1).expect("a handful of nodes")
}

fn place_of<S: Subject>(node: &Node<S>) -> u8 {
    place(node.id)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("memory is full long before")
}

/// An input as a number.
fn code(step: Step, how: How) -> u32 {
    let step = match step {
        Step::Timeout => 0,
        Step::Stored => 1,
        Step::Restart => 2,
        Step::Request(nth) => u32::from(nth) << 3 | 3,
        Step::Deliver(letter) => letter << 3 | 4,
    };
    let how = match how {
        How::Soon => 0,
        How::Late => 1,
        How::Crashing => 2,
    };
    step << 2 | how
}

/// The input of that number.
fn input_of(code: u32) -> (Step, How) {
    let step = match (code >> 2 & 7, code >> 5) {
        (0, _) => Step::Timeout,
        (1, _) => Step::Stored,
        (2, _) => Step::Restart,
        (3, nth) => Step::Request(u8::try_from(nth).expect("requests are counted in a byte")),
        (_, letter) => Step::Deliver(letter),
    };
    let how = match code & 3 {
        0 => How::Soon,
        1 => How::Late,
        _ => How::Crashing,
    };
    (step, how)
}

/// The digest of a message with its addresses.
fn addressed(digest: u64, from: u8, to: u8) -> u64 {
    Digest::of(digest, u64::from(from) << 8 | u64::from(to))
}
