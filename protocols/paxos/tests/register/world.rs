//! What random histories are made of: nodes, disks that take their time, letters late, lost, twice and out of order, and all
//! that was asked and answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::register::{
    Change, Config, Epoch, Event, Membership, Message, Registers, Request, Saved, State, Write,
};

use crate::linear::{Ask, End, Op, Value, is_linearizable};

/// The registers of a history.
pub(crate) const KEYS: [&str; 2] = ["a", "b"];

pub(crate) struct Node {
    pub(crate) running: Registers,
    config: Config,
    pub(crate) disk: Saved,
    unstored: VecDeque<(WriteId, Write)>,
}

/// What one run is made of, and what it has seen.
pub(crate) struct World {
    pub(crate) rng: Rng,
    now: Time,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    letters: Vec<(NodeId, NodeId, Message)>,
    /// Who is cut off from all others.
    pub(crate) alone: BTreeSet<NodeId>,
    /// The step that is being taken: what the twin tells the time by.
    clock: u64,
    pub(crate) ops: BTreeMap<&'static str, Vec<Op>>,
    /// What is asked and not answered: at whom, about which register, its place in the history.
    waiting: BTreeMap<u64, (NodeId, &'static str, usize)>,
    requests: u64,
    /// What was told of each version.
    versions: BTreeMap<(&'static str, Ballot), Value>,
    /// What was stored at each ballot.
    accepted: BTreeMap<(Bytes, Ballot), State>,
    /// What whoever operates the nodes has asked for and of whom, while that is not answered.
    pub(crate) orders: BTreeMap<u64, NodeId>,
    /// Which of it was carried out, and which refused.
    pub(crate) outcomes: BTreeMap<u64, bool>,
    /// What went wrong first.
    pub(crate) broken: Option<String>,
    /// How many changes were done, were unknown, and how many registers collected; crashes that took writes with them.
    pub(crate) done: u32,
    pub(crate) unknown: u32,
    pub(crate) collected: u32,
    pub(crate) losses: u32,
    /// How many of a hundred steps lose or double a letter, or crash a node.
    trouble: u64,
    /// Whether disks take their time, and what is promised and accepted is long not stored.
    slow: bool,
}

impl World {
    pub(crate) fn new(seed: u64, acceptors: u64, count: u64, prepare: impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::new(seed);
        let (trouble, slow) = (1 + rng.below(8), rng.chance(500));
        let mut world = Self {
            rng,
            now: Time::from_millis(1_000),
            nodes: BTreeMap::new(),
            letters: Vec::new(),
            alone: BTreeSet::new(),
            clock: 0,
            ops: KEYS.into_iter().map(|key| (key, Vec::new())).collect(),
            waiting: BTreeMap::new(),
            requests: 0,
            versions: BTreeMap::new(),
            accepted: BTreeMap::new(),
            orders: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            broken: None,
            done: 0,
            unknown: 0,
            collected: 0,
            losses: 0,
            trouble,
            slow,
        };
        let acceptors: BTreeSet<NodeId> = (1..=acceptors).map(NodeId).collect();
        for id in (1..=count).map(NodeId) {
            let mut config = Config::new(id, acceptors.clone());
            config.proposers = (1..=count).map(NodeId).collect();
            config.collect_delay = std::time::Duration::from_millis(10);
            config.collect_tries_max = 1_000;
            config.rounds_reserved = 3;
            prepare(&mut config);
            world.start(id, config, Saved::default());
        }
        world
    }

    fn start(&mut self, id: NodeId, config: Config, disk: Saved) {
        let (mut out, rng) = (Vec::new(), self.rng.fork());
        let running = Registers::start(self.now, config.clone(), disk.clone(), rng, &mut out);
        self.nodes.insert(id, Node { running, config, disk, unstored: VecDeque::new() });
        self.carry_out(id, out);
    }

    pub(crate) fn break_it(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    fn hand(&mut self, id: NodeId, input: Input<Registers>) {
        let mut out = Vec::new();
        let node = self.nodes.get_mut(&id).unwrap();
        node.running.handle(self.now, input, &mut out);
        self.carry_out(id, out);
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<Registers>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.letters.push((id, to, message)),
                Effect::Store { id: write_id, write } => {
                    self.nodes.get_mut(&id).unwrap().unstored.push_back((write_id, write));
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        let clock = self.clock;
        match event {
            Event::Done { id, took, state } => {
                let Some((_, key, at)) = self.waiting.remove(&id.0) else {
                    return self.break_it(format!("{id} is answered twice"));
                };
                let value = state.value.map(|value| String::from_utf8(value.to_vec()).unwrap());
                self.done += 1;
                if let Some(version) = state.version {
                    let told = self.versions.entry((key, version)).or_insert_with(|| value.clone());
                    if *told != value {
                        self.break_it(format!("{key} has two states of version {version}"));
                    }
                }
                self.ops.get_mut(key).unwrap()[at].end = End::Done(clock, took, value);
            }
            Event::Refused { id, .. } if self.orders.remove(&id.0).is_some() => {
                self.outcomes.insert(id.0, false);
            }
            Event::Refused { id, .. } => {
                let Some((_, key, at)) = self.waiting.remove(&id.0) else {
                    return self.break_it(format!("{id} is answered twice"));
                };
                self.ops.get_mut(key).unwrap()[at].end = End::Refused;
            }
            Event::Unknown { id } => {
                self.unknown += 1;
                if self.waiting.remove(&id.0).is_none() {
                    self.break_it(format!("{id} is answered twice"));
                }
            }
            Event::Collected(_) => self.collected += 1,
            Event::NotCollected(_) => {}
            Event::Reconfigured { id, .. } | Event::Rewritten { id, .. } => {
                self.orders.remove(&id.0);
                self.outcomes.insert(id.0, true);
            }
        }
    }

    pub(crate) fn any(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.nodes.len() as u64))
    }

    /// Somebody wants something.
    fn ask(&mut self, key: &'static str) {
        // The twin has to try out when each was made of which nobody knows.
        let open = self.ops[key].iter().filter(|op| op.end == End::Open).count();
        if self.ops[key].len() >= 20 || open >= 6 {
            return;
        }
        let token = format!(".{}", self.requests + 1);
        let known: Vec<_> = self.versions.iter().filter(|((of, _), value)| *of == key && value.is_some()).collect();
        let (change, ask) = match self.rng.below(10) {
            0..2 => (Change::Read, Ask::Read),
            2..4 => (Change::Append(token.clone().into()), Ask::Append(token)),
            4 => (Change::Set(token.clone().into()), Ask::Set(token)),
            5 => (Change::InitialiseIfEmpty(token.clone().into()), Ask::Initialise(token)),
            6 if !known.is_empty() => {
                let ((_, version), value) = known[known.len() - 1];
                let value = value.clone().unwrap();
                let change = Change::CompareAndSet { expected: *version, value: token.clone().into() };
                (change, Ask::CompareAndSet(value, token))
            }
            _ => (Change::Delete, Ask::Delete),
        };
        let id = self.any();
        self.ask_of(id, key, change, ask);
    }

    pub(crate) fn ask_of(&mut self, id: NodeId, key: &'static str, change: Change, ask: Ask) {
        self.requests += 1;
        let ops = self.ops.get_mut(key).unwrap();
        ops.push(Op { ask, from: self.clock, end: End::Open });
        self.waiting.insert(self.requests, (id, key, ops.len() - 1));
        let request = Request::Change { key: key.into(), change };
        self.hand(id, Input::Request { id: RequestId(self.requests), request });
    }

    /// Whoever operates the nodes wants something; under which number.
    pub(crate) fn order(&mut self, id: NodeId, request: Request) -> u64 {
        self.requests += 1;
        let number = self.requests;
        self.orders.insert(number, id);
        self.hand(id, Input::Request { id: RequestId(number), request });
        number
    }

    fn deliver(&mut self, keep: bool) {
        if self.letters.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
        let (from, to, message) = match keep {
            true => self.letters[at].clone(),
            false => self.letters.swap_remove(at),
        };
        if !self.alone.contains(&from) && !self.alone.contains(&to) {
            self.hand(to, Input::Message { from, message });
        }
    }

    fn store(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some((write_id, write)) = node.unstored.pop_front() else { return };
        Registers::save(&mut node.disk, &write);
        if let Write::Accept { key, proposal, .. } = write {
            let ballot = proposal.ballot;
            let stored = self.accepted.entry((key.clone(), ballot)).or_insert_with(|| proposal.state.clone());
            if *stored != proposal.state {
                self.break_it(format!("{key:?} has two states at ballot {ballot}"));
            }
        }
        self.hand(id, Input::Stored(write_id));
    }

    fn crash(&mut self, id: NodeId) {
        let Node { config, disk, unstored, .. } = self.nodes.remove(&id).unwrap();
        self.losses += u32::from(!unstored.is_empty());
        // Nobody will tell what came of these.
        self.waiting.retain(|_, (asked, ..)| *asked != id);
        self.orders.retain(|_, asked| *asked != id);
        self.start(id, config, disk);
    }

    /// The deadline that comes first passes.
    fn pass(&mut self) {
        let due = self.nodes.iter().filter_map(|(id, node)| Some((node.running.deadline()?, *id))).min();
        if let Some((at, id)) = due {
            self.now = self.now.max(at);
            self.hand(id, Input::Timeout);
            if self.nodes[&id].running.deadline().is_some_and(|next| next <= self.now) {
                self.break_it(format!("{id} wants its timeout again at once"));
            }
        }
    }

    pub(crate) fn step(&mut self) {
        self.clock += 1;
        let (trouble, hot) = (self.trouble, KEYS[usize::try_from(self.rng.below(2)).unwrap()]);
        match self.rng.below(100) {
            // Often two at once, who outbid each other.
            0..2 => (0..=self.rng.below(2)).for_each(|_| self.ask(hot)),
            2..50 => self.deliver(false),
            50..60 if self.rng.below(10) < trouble => self.deliver(true),
            60..63 if !self.letters.is_empty() && self.rng.below(10) < trouble => {
                let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
                self.letters.swap_remove(at);
            }
            63..65 if self.rng.below(10) < trouble => {
                // Whoever has something to lose, if there is any.
                let any = self.any();
                let losing = |(id, node): (&NodeId, &Node)| (!node.unstored.is_empty()).then_some(*id);
                let losing: Vec<_> = self.nodes.iter().filter_map(losing).collect();
                let id = losing.get(usize::try_from(any.0).unwrap() % losing.len().max(1)).copied().unwrap_or(any);
                self.crash(id);
            }
            65..69 => self.pass(),
            69..90 if self.slow => self.deliver(false),
            _ => {
                let id = self.any();
                self.store(id);
            }
        }
    }

    /// All is well from now on. How many steps it takes until everybody is answered and nothing is left to be collected, at most
    /// so many.
    pub(crate) fn heal(&mut self, steps_max: u32) -> Option<u32> {
        for step in 0..steps_max {
            self.clock += 1;
            let is_quiet = self.nodes.values().all(|node| !node.running.is_collecting());
            if self.broken.is_some() || (is_quiet && self.waiting.is_empty() && self.orders.is_empty()) {
                return Some(step);
            }
            let storing = self.nodes.iter().find(|(_, node)| !node.unstored.is_empty()).map(|(id, _)| *id);
            match storing {
                Some(id) => self.store(id),
                None if !self.letters.is_empty() => self.deliver(false),
                None => self.pass(),
            }
        }
        None
    }

    /// Everybody reads everything; whether that and all that went before could have happened one after another.
    pub(crate) fn check(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            for key in KEYS {
                self.ask_of(id, key, Change::Read, Ask::Read);
            }
            if self.heal(40_000).is_none() {
                self.break_it("reads take for ever".to_owned());
            }
        }
        for key in KEYS {
            if !is_linearizable(&self.ops[key]) {
                self.break_it(format!("{key} is not linearizable: {:#?}", self.ops[key]));
            }
        }
    }
}

/// A membership.
pub(crate) fn membership(epoch: u64, acceptors: impl IntoIterator<Item = u64>) -> Membership {
    Membership { epoch: Epoch(epoch), acceptors: acceptors.into_iter().map(NodeId).collect() }
}
