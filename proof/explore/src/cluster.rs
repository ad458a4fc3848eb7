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

mod known;
mod names;
mod network;
mod numbered;
mod script;
mod twins;

use std::collections::HashMap;
use std::hash::RandomState;
use std::rc::Rc;

use hezong_base::{NodeId, RequestId};
use hezong_invariants::Invariants;
use hezong_script::Dialect;

use self::known::{Known, Letter, Outcome, Past};
use self::names::permutations;
use self::network::{Network, Usefulness};
use self::numbered::Numbered;
use crate::digest::ByDigest;
use crate::node::{How, Node, Touched};
use crate::subject::{MessageOf, PastOf, Subject};
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

/// The cluster. See the module's page.
pub struct Cluster<S: Subject> {
    subject: S,
    invariants: S::Invariants,
    bounds: Bounds,
    /// All ways of naming the nodes; the first is as they are.
    namings: Vec<Vec<u8>>,
    /// The states of single nodes, by digest.
    known: Numbered<u64, Known<S>, ByDigest>,
    /// The messages, by digest.
    letters: Numbered<u64, Letter<S>, ByDigest>,
    /// What comes of inputs, by the node's state and what happens.
    outcomes: Numbered<(u32, Step, How), Outcome<S>, ByDigest>,
    /// What is remembered.
    pasts: Numbered<PastOf<S>, Past<S>, RandomState>,
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
    /// Nodes that were found equal to one known already, but in another way: kept for [`Cluster::compare_twins`].
    twins: Option<Vec<(u32, Node<S>)>>,
}

impl<S: Subject> Cluster<S> {
    /// A cluster whose nodes have just started.
    ///
    /// # Panics
    /// When the bounds ask for more nodes than [`NODES_MAX`], or for none.
    pub fn new(subject: S) -> Self {
        let (bounds, invariants) = (subject.general(), subject.invariants());
        assert!((1..=NODES_MAX).contains(&usize::from(bounds.nodes)), "one to {NODES_MAX} nodes");
        let same: Vec<u8> = (0..bounds.nodes).collect();
        let mut cluster = Self {
            subject,
            invariants,
            bounds,
            namings: if bounds.symmetry { permutations(&same) } else { vec![same] },
            known: Numbered::default(),
            letters: Numbered::default(),
            outcomes: Numbered::default(),
            pasts: Numbered::default(),
            usefulness: Vec::new(),
            past_after: HashMap::default(),
            first: Vec::new(),
            first_letters: Vec::new(),
            start: None,
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
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.known.len(), self.letters.len(), self.outcomes.len())
    }

    /// The subject.
    pub fn subject(&self) -> &S {
        &self.subject
    }

    /// A node of a state, counted from 0.
    pub fn node(&self, state: &State, at: u8) -> &S::Protocol {
        &self.known[state.nodes[usize::from(at)]].node.protocol
    }

    /// A message by its number: who sent it, to whom, and what it says.
    pub fn letter(&self, number: u32) -> (NodeId, NodeId, &MessageOf<S>) {
        let letter = &self.letters[number];
        (name(letter.from), name(letter.to), &letter.message)
    }

    /// The fingerprint of a state but for the messages on their way.
    pub fn fingerprint_of_nodes(&mut self, state: &State) -> u64 {
        let network = self.nothing();
        self.fingerprint(&State { network, ..*state })
    }

    /// What is remembered behind a step.
    fn remembered(&self, state: &State, action: &Action, became: u32) -> Result<PastOf<S>, Violation> {
        let (invariants, known) = (&self.invariants, &self.known[became]);
        let mut past = self.pasts[state.past].past.clone();
        if let (Step::Request(nth), true) = (action.step, self.subject.users_are_heard())
            && let Some(request) = self.subject.request(self.node(state, action.node), nth)
        {
            invariants.asked(&mut past, known.node.id, RequestId(u64::from(nth)), &request);
        }
        invariants.remember(&mut past, known.node.id, &known.view)?;
        if let Outcome::Next(.., events) = &self.outcomes[action.outcome] {
            events.iter().try_for_each(|event| invariants.hear(&mut past, known.node.id, event))?;
        }
        Ok(past)
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
        if may_crash && step != Step::Restart && matches!(&self.outcomes[soon], Outcome::Next(_, _, true, _)) {
            let crashing = self.outcome(key, step, How::Crashing);
            actions.push(Action { node, step, how: How::Crashing, outcome: crashing });
        }
    }

    /// Whether it may make a difference how late an input comes: a deadline may then be that of something else.
    fn minds_time(&self, key: u32, step: Step) -> bool {
        let known = &self.known[key];
        known.later != known.digests[0] || !self.subject.time_shows() && step == Step::Timeout
    }

    /// Whether an outcome leads anywhere.
    fn changes(&self, state: &State, key: u32, outcome: u32) -> bool {
        match &self.outcomes[outcome] {
            Outcome::Broken(_) => true,
            Outcome::Next(next, sends, ..) => *next != key || sends.iter().any(|sent| !state.network.has(*sent)),
        }
    }

    /// Whether time that passes before the input makes another difference than if it passes behind it, which it still may.
    fn differ(&self, state: &State, soon: u32, late: u32) -> bool {
        let (Outcome::Next(soon, soon_sends, ..), Outcome::Next(late, late_sends, ..)) =
            (&self.outcomes[soon], &self.outcomes[late])
        else {
            return true;
        };
        let new = |sends: &[u32], others: &[u32]| {
            sends.iter().any(|sent| !state.network.has(*sent) && others.binary_search(sent).is_err())
        };
        self.known[*soon].later != self.known[*late].later || new(soon_sends, late_sends) || new(late_sends, soon_sends)
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
            let known = &self.known[state.nodes[usize::from(node)]];
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
            self.choose(state, self.letters[*letter].to, Step::Deliver(*letter), actions);
        }
    }

    fn next(&mut self, state: &State, action: &Action) -> Result<State, Violation> {
        let (became, sends) = match &self.outcomes[action.outcome] {
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
            let known = &self.known[state.nodes[at]];
            (known.node.id, &known.view)
        });
        self.invariants.check(&views[..nodes], &self.pasts[state.past].past)
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
                let Letter { from, message, .. } = &self.letters[letter];
                format!("{id} gets from {}: {}", name(*from), subject.show_message(message))
            }
            Step::Timeout => format!("{id} times out"),
            Step::Stored => format!("{id} has stored its oldest write"),
            Step::Restart => format!("{id} crashes and restarts with what it had stored"),
            Step::Request(nth) => {
                let request = subject.request(&self.known[key].node.protocol, nth);
                format!("{id} is asked: {}", request.map(|request| subject.show_request(&request)).unwrap_or_default())
            }
        };
        text += match action.how {
            How::Soon => "",
            How::Late => ", after a long time",
            How::Crashing => ", crashes before it has stored what it writes, and restarts",
        };
        match self.touch(&self.known[key].node, action.step, action.how) {
            Err(violation) => text += &format!("\n    {violation}"),
            Ok(Touched { sends, writes, events, .. }) => {
                writes.iter().for_each(|write| text += &format!("\n    writes {}", S::Dialect::show_write(write)));
                for (to, sent) in &sends {
                    text += &format!("\n    sends {to}: {}", subject.show_message(sent));
                }
                events.iter().for_each(|event| text += &format!("\n    tells: {}", S::Dialect::event(event)));
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
