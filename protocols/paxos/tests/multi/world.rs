//! A cluster in a box: messages late, lost, twice and out of order, slow disks, clocks that drift, crashes between any two
//! steps, cuts, snapshots and changes of members. After every step a dumb twin, which sees all disks at once, says what is
//! chosen, and nobody may say otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::multi::{
    Answer, Ask, Config, Event, Members, Message, MultiPaxos, Request, Role, Saved, Slot, Value, Write,
};

/// How many members there are at first.
const MEMBERS: u64 = 3;
const MILLION: u64 = 1_000_000;
/// No answer is wanted to what is told, not asked.
const NOBODY: RequestId = RequestId(u64::MAX);

struct Node {
    running: MultiPaxos,
    config: Config,
    disk: Saved,
    unstored: VecDeque<(WriteId, Write)>,
    asks: Vec<(AskId, Ask)>,
    /// The first slot that its state machine has not applied, and the first that it would apply after a crash.
    machine: (Slot, Slot),
    /// By how much its clock runs fast, in parts per million, from a million below 0.
    rate: u64,
}

impl Node {
    fn clock(&self, real: u64) -> Time {
        Time::from_nanos(u64::try_from(u128::from(real) * u128::from(self.rate) / u128::from(MILLION)).unwrap())
    }

    /// When its deadline has passed for certain, by the clock on the wall.
    fn due(&self) -> Option<u64> {
        let at = u128::from(self.running.deadline()?.as_nanos());
        Some(u64::try_from(at * u128::from(MILLION) / u128::from(self.rate)).unwrap() + 1)
    }
}

/// What one run is made of, and what it has seen.
pub(crate) struct World {
    rng: Rng,
    /// Whether its members never change, and campaign as soon as they may: every other run is one about leases.
    settled: bool,
    /// How often of a thousand times a disk that has something to do does it.
    speed: u64,
    /// How many letters of a thousand are late.
    lateness: u64,
    real: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// What is on its way, from whom, to whom, and when it may arrive.
    letters: Vec<(NodeId, NodeId, Message, u64)>,
    /// Whom nobody hears, and who hears nobody but in a run about leases: answers may come late then.
    cut: BTreeSet<NodeId>,
    requests: u64,
    /// What was asked for and is not answered, at whom, and what it would put into the log.
    waiting: BTreeMap<u64, (NodeId, Option<Value>)>,
    refused: BTreeSet<Value>,
    /// What was stored, by slot and ballot: a value, and by whom.
    stored: BTreeMap<Slot, BTreeMap<Ballot, (Value, Members)>>,
    /// What was told of as chosen, slot by slot.
    pub(crate) told: Vec<Value>,
    /// All before this slot was told to somebody to be done.
    done: Slot,
    pub(crate) seen: Seen,
}

/// What happened in a run, so that nobody takes one in which nothing did for a success.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) losses: u32,
    pub(crate) ballots: usize,
    pub(crate) reads: u32,
    pub(crate) done: u32,
    pub(crate) unknown: u32,
    pub(crate) snapshots: u32,
    pub(crate) changes: u32,
    pub(crate) holes: u32,
}

impl World {
    pub(crate) fn new(seed: u64, prepare: impl Fn(&mut Config)) -> Self {
        let mut world = Self {
            rng: Rng::new(seed),
            settled: seed % 2 == 1,
            lateness: seed % 2 * 150,
            speed: if seed.is_multiple_of(3) { 200 } else { 900 },
            real: 1_000_000_000,
            nodes: BTreeMap::new(),
            letters: Vec::new(),
            cut: BTreeSet::new(),
            requests: 0,
            waiting: BTreeMap::new(),
            refused: BTreeSet::new(),
            stored: BTreeMap::new(),
            told: Vec::new(),
            done: Slot::FIRST,
            seen: Seen::default(),
        };
        for id in (1..=if world.settled { MEMBERS } else { MEMBERS + 2 }).map(NodeId) {
            let mut config = Config::new(id, (1..=MEMBERS).map(NodeId).collect());
            config.alpha = 3;
            config.lease = Duration::from_millis(300);
            config.heartbeat_interval = Duration::from_millis(60);
            config.campaign_pause = Duration::from_millis(if world.settled { 5 } else { 60 });
            config.drift_ppm = if seed % 4 == 1 { 0 } else { 200_000 };
            config.kept_max = 4;
            config.unapplied_max = 12;
            config.batch_bytes_max = 300;
            prepare(&mut config);
            let drift = u64::from(config.drift_ppm);
            let slow = if world.settled { id.0 == 1 + seed / 4 % MEMBERS } else { world.rng.chance(500) };
            let rate = if slow { MILLION - drift } else { MILLION + drift };
            world.start(id, config, Saved::default(), Slot::FIRST, rate);
        }
        world
    }

    fn start(&mut self, id: NodeId, config: Config, disk: Saved, machine: Slot, rate: u64) {
        let (mut out, rng) = (Vec::new(), self.rng.fork());
        let (unstored, asks, machine) = (VecDeque::new(), Vec::new(), (machine, machine));
        let now = Time::from_nanos(u64::try_from(u128::from(self.real) * u128::from(rate) / 1_000_000).unwrap());
        let running = MultiPaxos::start(now, config.clone(), disk.clone(), rng, &mut out);
        self.nodes.insert(id, Node { running, config, disk, unstored, asks, machine, rate });
        self.carry_out(id, out);
        self.applied(id);
    }

    fn hand(&mut self, id: NodeId, input: Input<MultiPaxos>) {
        let mut out = Vec::new();
        let node = self.nodes.get_mut(&id).unwrap();
        let now = node.clock(self.real);
        node.running.handle(now, input, &mut out);
        let running = &node.running;
        assert!(running.first() <= running.unapplied() && running.unapplied() <= running.open());
        assert!(running.deadline().is_some());
        self.carry_out(id, out);
        let masters = self.nodes.values().filter(|node| node.running.is_master(node.clock(self.real)));
        let masters: Vec<_> = masters.map(|node| node.running.id()).collect();
        assert!(masters.len() <= 1, "two masters at once: {masters:?}");
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<MultiPaxos>>) {
        for effect in out {
            // In a run about leases, answers must come late now and then.
            let late = if self.rng.chance(self.lateness) { self.rng.below(300_000_000) } else { 0 };
            let node = self.nodes.get_mut(&id).unwrap();
            match effect {
                Effect::Send { to, message } => self.letters.push((id, to, message, self.real + late)),
                Effect::Store { id: write_id, write } => node.unstored.push_back((write_id, write)),
                Effect::Ask { id: ask_id, ask } => node.asks.push((ask_id, ask)),
                Effect::Emit(event) => self.on_event(id, event),
            }
        }
    }

    fn on_event(&mut self, id: NodeId, event: Event) {
        let real = self.real;
        let node = self.nodes.get_mut(&id).unwrap();
        match event {
            Event::Chosen { slot, value } => {
                if slot == node.machine.0 {
                    node.machine.0 = slot.next();
                } else {
                    assert!(slot < node.machine.0, "{id} is told of {slot} before {}", node.machine.0);
                }
                self.tell(slot, value);
            }
            Event::Done { id: request, slot } => {
                let (_, value) = self.answered(request);
                assert_eq!(self.told.get(place(slot)), value.as_ref(), "{request} is done at {slot}");
                self.done = self.done.max(slot.next());
                self.seen.done += 1;
            }
            Event::Readable { id: request, until } => {
                assert!(node.clock(real) < until, "a read is served after the lease");
                let stands = node.machine.0;
                assert!(stands >= self.done, "{id} reads as of {stands}, and all before {} is done", self.done);
                self.answered(request);
                self.seen.reads += 1;
            }
            Event::Refused { id: request, .. } => {
                let (_, value) = self.answered(request);
                if let Some(value @ Value::Command(_)) = value {
                    assert!(!self.told.contains(&value));
                    self.refused.insert(value);
                }
            }
            Event::Unknown { id: request } => {
                self.answered(request);
                self.seen.unknown += 1;
            }
            Event::MasterChanged(_) => {}
        }
    }

    fn answered(&mut self, request: RequestId) -> (NodeId, Option<Value>) {
        self.waiting.remove(&request.0).unwrap_or_else(|| panic!("{request} is answered twice"))
    }

    /// Somebody is told that this is chosen: the disks say so too, and nobody was told otherwise.
    fn tell(&mut self, slot: Slot, value: Value) {
        if let Some(told) = self.told.get(place(slot)) {
            return assert_eq!(*told, value, "two values in slot {slot}");
        }
        assert_eq!(place(slot), self.told.len(), "a slot is left out");
        assert!(self.chosen(slot).contains(&&value), "slot {slot}: {value:?} is told of before it is chosen");
        if let Value::Command(_) = value {
            assert!(!self.told.contains(&value), "{value:?} is chosen twice");
            assert!(!self.refused.contains(&value), "{value:?} was refused");
        }
        self.seen.holes += u32::from(value == Value::NoOp);
        self.seen.changes += u32::from(matches!(value, Value::Members(_)));
        self.told.push(value);
    }

    /// Who accepts there, by what was told.
    fn members(&self, slot: Slot) -> Members {
        let alpha = self.nodes[&NodeId(1)].config.alpha;
        let decided = usize::try_from(slot.0.saturating_sub(alpha)).unwrap().min(self.told.len());
        let named = self.told[..decided].iter().rev().find_map(|value| match value {
            Value::Members(members) => Some(members.clone()),
            Value::Command(_) | Value::NoOp => None,
        });
        named.unwrap_or_else(|| (1..=MEMBERS).map(NodeId).collect())
    }

    /// What a majority has on disk at one ballot.
    fn chosen(&self, slot: Slot) -> BTreeSet<&Value> {
        let members = self.members(slot);
        let majority = members.len() / 2 + 1;
        let ballots = self.stored.get(&slot).into_iter().flat_map(BTreeMap::values);
        ballots.filter(|(_, by)| by.intersection(&members).count() >= majority).map(|(value, _)| value).collect()
    }

    fn any(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.nodes.len() as u64))
    }

    /// Somebody whose disk has something to do.
    fn busy(&mut self) -> Option<NodeId> {
        let busy: Vec<_> = self.nodes.iter().filter(|(_, node)| !node.unstored.is_empty()).map(|(id, _)| *id).collect();
        let at = self.rng.below(busy.len().max(1) as u64);
        busy.get(usize::try_from(at).unwrap()).copied()
    }

    /// Somebody who takes himself for the master, or anybody.
    fn some_master(&mut self) -> NodeId {
        let masters: Vec<_> =
            self.nodes.iter().filter(|(_, node)| node.running.role() == Role::Master).map(|(id, _)| *id).collect();
        if masters.is_empty() || self.rng.chance(50) {
            return self.any();
        }
        masters[usize::try_from(self.rng.below(masters.len() as u64)).unwrap()]
    }

    fn request(&mut self, id: NodeId, request: Request) {
        self.requests += 1;
        let value = match &request {
            Request::Propose(bytes) => Some(Value::Command(bytes.clone())),
            Request::Reconfigure(members) => Some(Value::Members(members.clone())),
            Request::Read | Request::Applied(_) => None,
        };
        self.waiting.insert(self.requests, (id, value));
        self.hand(id, Input::Request { id: RequestId(self.requests), request });
    }

    pub(crate) fn propose(&mut self) {
        let id = self.some_master();
        self.request(id, Request::Propose(Bytes::from(format!("value {}", self.requests))));
    }

    fn read(&mut self) {
        // Whoever believes to be master may be asked, also one that is cut off.
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for id in ids {
            if self.nodes[&id].running.role() == Role::Master {
                self.request(id, Request::Read);
            }
        }
    }

    fn reconfigure(&mut self) {
        let id = self.some_master();
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        let mut members: Members = ids.into_iter().filter(|_| self.rng.chance(600)).collect();
        members.insert(self.any());
        self.request(id, Request::Reconfigure(members));
    }

    /// The state machine says how far it would be after a crash.
    fn applied(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.machine.1 = node.machine.0;
        let applied = Slot(node.machine.1.0 - 1);
        self.hand(id, Input::Request { id: NOBODY, request: Request::Applied(applied) });
    }

    fn deliver(&mut self, keep: bool) {
        if self.letters.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
        if self.letters[at].3 > self.real {
            return;
        }
        let (from, to, message, _) = match keep {
            true => self.letters[at].clone(),
            false => self.letters.swap_remove(at),
        };
        if !self.cut.contains(&from) && (self.settled || !self.cut.contains(&to)) {
            self.hand(to, Input::Message { from, message });
        }
    }

    fn store(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some((write_id, write)) = node.unstored.pop_front() else { return };
        MultiPaxos::save(&mut node.disk, &write);
        if let Write::Entry { slot, entry } = write {
            let ballots = self.stored.entry(slot).or_default();
            let (value, by) = ballots.entry(entry.ballot).or_insert_with(|| (entry.value.clone(), Members::new()));
            assert_eq!(*value, entry.value, "a ballot has one value in slot {slot}");
            by.insert(id);
            let decided = place(slot) < self.told.len() + usize::try_from(node.config.alpha).unwrap();
            if decided {
                let chosen = self.chosen(slot);
                assert!(chosen.len() <= 1, "slot {slot}: {chosen:?}");
            }
        }
        self.hand(id, Input::Stored(write_id));
    }

    /// Local work is done, in any order.
    fn answer(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.asks.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(node.asks.len() as u64)).unwrap();
        let (ask_id, ask) = node.asks.swap_remove(at);
        let answer = match ask {
            Ask::TakeSnapshot { .. } => {
                let stands = node.machine.0.0;
                Answer::SnapshotTaken((stands > 1).then(|| Slot(stands - 1)))
            }
            Ask::FetchSnapshot { from, base, .. } => {
                let had = !self.cut.contains(&from) && self.rng.chance(800);
                if had && node.machine.0 < base.first {
                    node.machine = (base.first, base.first);
                    self.seen.snapshots += 1;
                }
                Answer::SnapshotFetched(had)
            }
        };
        self.hand(id, Input::Answered { id: ask_id, answer });
    }

    fn crash(&mut self, id: NodeId) {
        let Node { config, disk, unstored, machine, rate, .. } = self.nodes.remove(&id).unwrap();
        self.seen.losses += u32::from(!unstored.is_empty());
        self.waiting.retain(|_, (asked, _)| *asked != id);
        self.start(id, config, disk, machine.1, rate);
    }

    /// The deadline that comes first passes.
    fn pass(&mut self) {
        let due = self.nodes.iter().filter_map(|(id, node)| Some((node.due()?, *id))).min();
        if let Some((at, id)) = due {
            self.real = self.real.max(at);
            self.hand(id, Input::Timeout);
            let node = &self.nodes[&id];
            assert!(node.running.deadline() > Some(node.clock(self.real)), "a timeout is over");
        }
    }

    pub(crate) fn step(&mut self) {
        match self.rng.below(200) {
            0..8 => self.propose(),
            8..12 => self.read(),
            12..14 if !self.settled => self.reconfigure(),
            14..110 => self.deliver(false),
            110..114 => self.deliver(true),
            114..117 if !self.letters.is_empty() => {
                let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
                self.letters.swap_remove(at);
            }
            117..120 if self.rng.chance(700) => {
                // Best, at times, where a disk is behind.
                let any = self.any();
                let id = if self.rng.chance(500) { any } else { self.busy().unwrap_or(any) };
                self.crash(id);
            }
            120..122 if !self.settled || self.rng.chance(300) => {
                // Half of the time all hear each other.
                self.cut.clear();
                if self.rng.chance(500) {
                    let (one, other) = (self.some_master(), self.any());
                    self.cut.insert(one);
                    self.cut.extend((!self.settled).then_some(other));
                }
            }
            122..125 => {
                let id = self.any();
                self.applied(id);
            }
            125..130 => {
                let id = self.any();
                self.answer(id);
            }
            130..145 => self.pass(),
            145..150 => self.real += self.rng.below(30_000_000),
            _ => {
                if let Some(id) = self.busy().filter(|_| self.rng.chance(self.speed)) {
                    self.store(id);
                }
            }
        }
    }

    /// All is well from now on. How many steps it takes, at most so many, until a command is done that was asked for by then, and
    /// all members know all that was told.
    pub(crate) fn heal(&mut self, steps_max: u32) -> Option<u32> {
        self.cut.clear();
        self.lateness = 0;
        self.letters.iter_mut().for_each(|letter| letter.3 = 0);
        let done = self.seen.done;
        for step in 0..steps_max {
            let ids: Vec<_> = self.nodes.keys().copied().collect();
            let end = Slot(self.told.len() as u64 + 1);
            let members = self.members(end);
            if self.seen.done > done && members.iter().all(|id| self.nodes[id].running.open() == end) {
                return Some(step);
            }
            if let Some(id) = ids.iter().find(|id| !self.nodes[id].unstored.is_empty()) {
                self.store(*id);
            } else if let Some(id) = ids.iter().find(|id| !self.nodes[id].asks.is_empty()) {
                self.answer(*id);
            } else if let Some(id) = ids.iter().find(|id| self.nodes[id].machine.0 > self.nodes[id].machine.1) {
                self.applied(*id);
            } else if !self.letters.is_empty() {
                self.real += 100_000;
                self.deliver(false);
            } else {
                self.pass();
                if self.seen.done == done && self.rng.chance(200) {
                    self.propose();
                }
            }
        }
        None
    }

    /// How things stand, for whoever looks for what went wrong.
    pub(crate) fn status(&self) -> String {
        let mut text = format!("told {} done {}\n", self.told.len(), self.done);
        for (id, node) in &self.nodes {
            let (running, now) = (&node.running, node.clock(self.real));
            text += &format!(
                "{id} {:?} ballot {:?} promised {:?} first {} unapplied {} open {} lease {:?} master {:?} members {:?} machine {:?} fetching {} now {now} deadline {:?}\n",
                running.role(),
                running.ballot(),
                running.promised(),
                running.first(),
                running.unapplied(),
                running.open(),
                running.lease(),
                running.master(),
                running.members_at(running.open()),
                node.machine,
                running.is_fetching(),
                running.deadline(),
            );
        }
        text
    }

    pub(crate) fn count_ballots(&mut self) {
        let ballots: BTreeSet<_> = self.stored.values().flat_map(BTreeMap::keys).collect();
        self.seen.ballots = ballots.len();
    }
}

/// Where a slot stands among those told.
fn place(slot: Slot) -> usize {
    usize::try_from(slot.0).unwrap() - 1
}
