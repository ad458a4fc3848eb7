//! A world in which the assumption holds: no message between nodes that are up is lost, and every round trip, with a disk in
//! it, is short enough. Nodes crash between any two of their effects, come back or not, and what was not stored is lost.
//! Beside it runs a dumb twin that knows what everybody was told. Where a history is *rough*, the assumption is broken: nodes are
//! cut off from each other, and messages lost or late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_commit::three_phase::{Message, Saved, ThreePhase, Write};
use hezong_commit::{Config, Event, Outcome, Request, TransactionId, Work};

/// The longest way of a message. Two of them, and what a disk takes, are less than a round trip.
const WAY_MAX: Duration = Duration::from_millis(400);
/// The longest time that a disk takes, and as a rule a user.
const WORK_MAX: Duration = Duration::from_millis(190);
const NODES: u64 = 4;
/// How often a node crashes in a history.
const CRASHES_MAX: u32 = 3;

/// What happens at a certain time.
enum Happening {
    Letter(NodeId, NodeId, Message),
    /// Of which life, lest a crash be survived by what it took.
    Stored(NodeId, u32, WriteId, Write),
    Answer(NodeId, u32, Request),
    Begin(NodeId, Work),
    Start(NodeId),
    /// These are cut off from the others.
    Cut(BTreeSet<NodeId>),
    /// The assumption holds from now on.
    Heal,
}

struct Node {
    running: Option<ThreePhase>,
    life: u32,
    disk: Saved,
    /// Writes are carried out in order: when the last one is.
    disk_at: Time,
    /// How many more effects are carried out before it crashes.
    fuse: Option<u64>,
    /// What the user has locked, on a disk of its own.
    held: BTreeSet<TransactionId>,
}

/// What is known of a transaction by somebody who sees everything.
#[derive(Default)]
struct Twin {
    participants: BTreeSet<NodeId>,
    yes: BTreeSet<NodeId>,
    /// Who was told what: as participant, or as the one who began it.
    told: BTreeMap<Outcome, BTreeSet<(NodeId, bool)>>,
    applied: BTreeSet<NodeId>,
}

pub(crate) struct World {
    rng: Rng,
    now: Time,
    config: Config,
    nodes: BTreeMap<NodeId, Node>,
    /// By time, and then in the order of coming up.
    agenda: BTreeMap<(Time, u64), Happening>,
    count: u64,
    cut: BTreeSet<NodeId>,
    twins: BTreeMap<TransactionId, Twin>,
    /// Who was never gone.
    steady: BTreeSet<NodeId>,
    /// Whether the assumption is broken, and whether it ever was.
    is_rough: bool,
    was_rough: bool,
    /// The first thing that is not as it should be, assumption or not.
    pub(crate) fault: Option<String>,
    /// Committed by one and aborted by another. A fault, where the assumption holds.
    pub(crate) split: Option<String>,
    /// Transactions committed and aborted; crashes; times when all were down.
    pub(crate) seen: [usize; 4],
}

fn all() -> BTreeSet<NodeId> {
    (1..=NODES).map(NodeId).collect()
}

impl World {
    fn new(seed: u64, rough: bool, prepare: &dyn Fn(&mut Config)) -> Self {
        let rng = Rng::new(seed);
        let mut config = Config::new(NodeId(1), all());
        prepare(&mut config);
        let (nodes, agenda, cut, twins) = Default::default();
        let (now, steady, seen) = (Time::from_millis(1_000), all(), [0; 4]);
        let (fault, split, count, is_rough) = (None, None, 0, rough);
        let mut world = Self {
            rng,
            now,
            config,
            nodes,
            agenda,
            count,
            cut,
            twins,
            steady,
            is_rough,
            was_rough: rough,
            fault,
            split,
            seen,
        };
        for id in all() {
            let (disk, held) = Default::default();
            world.nodes.insert(id, Node { running: None, life: 0, disk, disk_at: Time::ZERO, fuse: None, held });
            world.start(id);
        }
        world
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn within(&mut self, span: Duration, happening: Happening) {
        let at = self.now + self.takes(span);
        self.at(at, happening);
    }

    /// Up to so long; often hardly any time, and often all of it.
    fn takes(&mut self, span: Duration) -> Duration {
        let least = match self.rng.below(4) {
            0 => return Duration::from_nanos(1),
            1 | 2 => span.mul_f64(0.97),
            _ => Duration::from_nanos(1),
        };
        self.rng.between(least, span)
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.count += 1;
        self.agenda.insert((at, self.count), happening);
    }

    fn start(&mut self, id: NodeId) {
        if self.nodes[&id].running.is_some() {
            return;
        }
        let (mut out, rng, now) = (Vec::new(), self.rng.fork(), self.now);
        let config = Config { id, ..self.config.clone() };
        let node = self.node(id);
        node.life += 1;
        node.running = Some(ThreePhase::start(now, config, node.disk.clone(), rng, &mut out));
        let in_doubt = |effect: &Effect<ThreePhase>| match effect {
            Effect::Emit(Event::InDoubt { tx, .. }) => Some(*tx),
            Effect::Emit(_) | Effect::Send { .. } | Effect::Store { .. } | Effect::Ask { .. } => None,
        };
        let named: BTreeSet<TransactionId> = out.iter().filter_map(in_doubt).collect();
        node.held.retain(|tx| named.contains(tx));
        self.carry_out(id, out);
    }

    fn hand(&mut self, id: NodeId, input: Input<ThreePhase>) {
        let (mut out, now) = (Vec::new(), self.now);
        if let Some(running) = &mut self.node(id).running {
            running.handle(now, input, &mut out);
            self.carry_out(id, out);
        }
    }

    /// One effect after the other, in the middle of which the node may crash.
    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<ThreePhase>>) {
        let life = self.nodes[&id].life;
        for effect in out {
            match &mut self.node(id).fuse {
                Some(0) => return self.crash(id),
                Some(left) => *left -= 1,
                None => {}
            }
            match effect {
                Effect::Send { to, message } => {
                    let twice = self.rng.chance(50);
                    for _ in 0..1 + u8::from(twice) {
                        let late = if self.is_rough && self.rng.chance(100) { 20 } else { 1 };
                        self.within(WAY_MAX * late, Happening::Letter(id, to, message.clone()));
                    }
                }
                Effect::Store { id: write_id, write } => {
                    let takes = self.takes(WORK_MAX);
                    let at = self.now + takes;
                    let node = self.node(id);
                    // One after another, and not longer for that: a disk stores many at once.
                    node.disk_at = node.disk_at.max(at);
                    let at = node.disk_at;
                    self.at(at, Happening::Stored(id, life, write_id, write));
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.tell(id, life, event),
            }
        }
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        (node.running, node.disk_at, node.fuse) = (None, Time::ZERO, None);
        let lives = node.life;
        self.steady.remove(&id);
        self.seen[2] += 1;
        self.seen[3] += usize::from(self.nodes.values().all(|node| node.running.is_none()));
        // Some of what it said last is lost with it.
        if self.rng.chance(300) {
            let rng = &mut self.rng;
            self.agenda.retain(|_, happening| match happening {
                Happening::Letter(from, ..) if *from == id => rng.chance(500),
                _ => true,
            });
        }
        let back = match self.rng.below(3) {
            0 => Duration::from_millis(500),
            1 => Duration::from_secs(30),
            _ => return,
        };
        self.within(back, Happening::Start(id));
        if lives < CRASHES_MAX && self.rng.chance(500) {
            self.node(id).fuse = Some(self.rng.below(15));
        }
    }

    fn tell(&mut self, id: NodeId, life: u32, event: Event) {
        let request = match event {
            Event::Prepare { tx, .. } => {
                self.node(id).held.insert(tx);
                Request::Vote { tx, yes: self.rng.chance(970) }
            }
            Event::Apply { tx, outcome } => {
                self.learn(id, true, tx, outcome);
                Request::Applied(tx)
            }
            Event::Outcome { tx, outcome, .. } => return self.learn(id, false, tx, outcome),
            Event::InDoubt { tx, .. } => {
                let twin = &self.twins[&tx];
                let (voted, applied) = (twin.yes.contains(&id), twin.applied.contains(&id));
                if !voted || !applied && !self.nodes[&id].held.contains(&tx) {
                    self.blame(format!("{id} is in doubt about {tx}, has not voted yes, or holds nothing for it"));
                }
                return;
            }
            Event::Refused { refusal, .. } => panic!("{refusal:?}"),
        };
        // A user that takes long is waited for until the votes are due.
        let takes = match self.rng.chance(150) {
            true => self.rng.between(WORK_MAX, self.config.vote_timeout),
            false => self.takes(WORK_MAX),
        };
        self.at(self.now + takes, Happening::Answer(id, life, request));
    }

    fn learn(&mut self, id: NodeId, takes_part: bool, tx: TransactionId, outcome: Outcome) {
        let twin = self.twins.get_mut(&tx).unwrap();
        twin.told.entry(outcome).or_default().insert((id, takes_part));
        let split = (twin.told.len() > 1).then(|| format!("{tx} is committed and aborted"));
        let both = twin.told.values().filter(|told| told.contains(&(id, takes_part))).count() > 1;
        let missing = !twin.participants.is_subset(&twin.yes);
        if both {
            self.blame(format!("{id} is told that {tx} is committed, and aborted"));
        }
        if outcome == Outcome::Committed && missing {
            self.blame(format!("{tx} is committed, and not all have voted yes"));
        }
        self.split = self.split.take().or(split);
        if !self.was_rough {
            self.fault = self.fault.take().or_else(|| self.split.clone());
        }
    }

    fn answer(&mut self, id: NodeId, request: Request) {
        match &request {
            Request::Vote { tx, yes: true } => {
                self.twins.get_mut(tx).unwrap().yes.insert(id);
            }
            Request::Applied(tx) => {
                self.twins.get_mut(tx).unwrap().applied.insert(id);
                self.node(id).held.remove(tx);
            }
            Request::Vote { tx, yes: false } => {
                self.node(id).held.remove(tx);
            }
            Request::Begin(_) => {}
        }
        self.hand(id, Input::Request { id: RequestId(0), request });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Letter(from, to, _) if self.cut.contains(&from) != self.cut.contains(&to) => {}
            Happening::Letter(..) if self.is_rough && self.rng.chance(50) => {}
            Happening::Letter(from, to, message) => self.hand(to, Input::Message { from, message }),
            Happening::Stored(id, life, write_id, write) => {
                let node = self.node(id);
                if node.life == life && node.running.is_some() {
                    ThreePhase::save(&mut node.disk, &write);
                    self.hand(id, Input::Stored(write_id));
                }
            }
            Happening::Answer(id, life, request) => {
                if self.nodes[&id].life == life && self.nodes[&id].running.is_some() {
                    self.answer(id, request);
                }
            }
            Happening::Begin(id, work) => {
                // The number it will get, if it is up: the next one.
                let number = self.nodes[&id].disk.last.unwrap_or(0) + 1;
                let participants = work.keys().copied().collect();
                self.twins.insert(TransactionId { coordinator: id, number }, Twin { participants, ..Twin::default() });
                self.hand(id, Input::Request { id: RequestId(1), request: Request::Begin(work) });
            }
            Happening::Start(id) => self.start(id),
            Happening::Cut(side) => self.cut = side,
            Happening::Heal => (self.cut, self.is_rough) = (BTreeSet::new(), false),
        }
    }

    /// Lets time pass, up to so much of it.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.fault.is_none() {
            let deadline = |node: &Node| node.running.as_ref().and_then(ThreePhase::deadline);
            let due = self.nodes.iter().filter_map(|(id, node)| Some((deadline(node)?, *id))).min();
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            match (next, due) {
                // What arrived before a deadline is handed in before it.
                (Some(at), due) if at <= end && due.is_none_or(|(due, _)| at <= due) => {
                    self.now = at;
                    let (_, happening) = self.agenda.pop_first().unwrap();
                    self.happen(happening);
                }
                (_, Some((at, id))) if at <= end => {
                    self.now = self.now.max(at);
                    self.hand(id, Input::Timeout);
                    let next = deadline(&self.nodes[&id]);
                    assert!(next.is_none_or(|next| next > self.now), "a timeout is over");
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    /// Nobody who was never gone waits for those who are gone: what three-phase commit is for.
    fn check_steady(&mut self) {
        let doubts = |node: &Node| node.running.as_ref().is_some_and(|running| running.in_doubt().count() > 0);
        if let Some(id) = self.steady.iter().find(|id| doubts(&self.nodes[id])).copied() {
            self.blame(format!("{id} was always up, and is in doubt"));
        }
    }

    /// All are up: nothing is left, and what is committed all have applied.
    fn check_end(&mut self) {
        for id in all() {
            let node = &self.nodes[&id];
            let running = node.running.as_ref().unwrap();
            if running.under_way() != (0, 0) || running.deadline().is_some() || !node.held.is_empty() {
                self.blame(format!("{id} does not come to its end"));
            }
        }
        let mut faults = Vec::new();
        for (tx, twin) in &self.twins {
            let is_committed = twin.told.contains_key(&Outcome::Committed);
            self.seen[usize::from(!is_committed)] += 1;
            if is_committed && !self.was_rough && twin.applied != twin.participants {
                faults.push(format!("{tx} is committed, and only {:?} have applied it", twin.applied));
            }
        }
        faults.into_iter().for_each(|fault| self.blame(fault));
    }
}

/// One or two transactions, during which nodes crash, and for half a minute the assumption is broken if so wished.
pub(crate) fn history(seed: u64, rough: bool, prepare: &dyn Fn(&mut Config)) -> World {
    let mut world = World::new(seed, rough, prepare);
    let first = world.rng.below(NODES);
    for n in 0..1 + world.rng.below(2) {
        let (coordinator, from) = (NodeId(1 + (first + n) % NODES), world.rng.below(NODES));
        let count = [2, 3, 4, 4][usize::try_from(world.rng.below(4)).unwrap()];
        let work = (0..count).map(|n| (NodeId(1 + (from + n) % NODES), Bytes::from("work"))).collect();
        world.within(Duration::from_secs(2), Happening::Begin(coordinator, work));
    }
    // The first coordinator as a rule, and as a rule before it has told all; where all are to crash, all.
    let all_crash = world.rng.chance(250);
    for id in all() {
        let odds = match id == NodeId(1 + first) {
            _ if rough => 200,
            _ if all_crash => 1_000,
            true => 800,
            false => 400,
        };
        if world.rng.chance(odds) {
            let left = world.rng.below(16);
            world.node(id).fuse = Some(left);
        }
    }
    if rough {
        let side = all().into_iter().filter(|_| world.rng.chance(500)).collect();
        world.within(Duration::from_secs(4), Happening::Cut(side));
        let healed = world.now + Duration::from_secs(30);
        world.at(healed, Happening::Heal);
    }
    world.run(Duration::from_secs(120));
    world.check_steady();
    for id in all() {
        world.node(id).fuse = None;
        world.start(id);
    }
    world.run(Duration::from_secs(120));
    world.check_end();
    world
}
