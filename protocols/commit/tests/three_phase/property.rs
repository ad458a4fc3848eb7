//! Random histories in which the assumption holds: no message between nodes that are up is lost, and every round trip, with
//! disk and user, is short enough. Nodes crash at any time, some come back, and what was not stored is lost.
//!
//! Those that stay up come to an end while others are gone; all come to the same end once all are back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_commit::three_phase::{Message, Saved, ThreePhase, Write};
use hezong_commit::{Config, Event, Outcome, Request, TransactionId};

/// The longest way of a message, and twice what a disk or a user takes: four of either are less than a round trip.
const STEP_MAX: Duration = Duration::from_millis(200);
const NODES: u64 = 4;

/// What happens at a certain time.
enum Happening {
    Letter(NodeId, NodeId, Message),
    /// Of which life, lest a crash be survived by what it took.
    Stored(NodeId, u32, WriteId, Write),
    Answer(NodeId, u32, Request),
    Begin(NodeId),
    Crash(NodeId),
    Start(NodeId),
}

struct Node {
    running: Option<ThreePhase>,
    life: u32,
    disk: Saved,
    /// Writes are carried out in order: when the last one is.
    disk_at: Time,
}

struct World {
    rng: Rng,
    now: Time,
    config: Config,
    nodes: BTreeMap<NodeId, Node>,
    /// By time, and then in the order of coming up.
    agenda: BTreeMap<(Time, u64), Happening>,
    count: u64,
    told: BTreeMap<TransactionId, BTreeMap<Outcome, BTreeSet<NodeId>>>,
    yes: BTreeMap<TransactionId, BTreeSet<NodeId>>,
    /// Who begins, and so is a transaction's participants; the coordinator may be one.
    participants: BTreeSet<NodeId>,
    fault: Option<String>,
}

impl World {
    fn new(seed: u64, prepare: &dyn Fn(&mut Config)) -> Self {
        let mut rng = Rng::new(seed);
        let all: BTreeSet<NodeId> = (1..=NODES).map(NodeId).collect();
        let mut config = Config::new(NodeId(1), all.clone());
        prepare(&mut config);
        let first = if rng.chance(300) { 1 } else { 2 };
        let participants = (first..=NODES).map(NodeId).collect();
        let (nodes, agenda, told, yes) = Default::default();
        let now = Time::from_millis(1_000);
        let mut world = Self { rng, now, config, nodes, agenda, count: 0, told, yes, participants, fault: None };
        for id in all {
            world.nodes.insert(id, Node { running: None, life: 0, disk: Saved::default(), disk_at: Time::ZERO });
            world.start(id);
        }
        world
    }

    fn later(&mut self, span: Duration, happening: Happening) {
        let wait = self.rng.between(Duration::from_nanos(1), span);
        self.at(self.now + wait, happening);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.count += 1;
        self.agenda.insert((at, self.count), happening);
    }

    fn start(&mut self, id: NodeId) {
        let (mut out, rng) = (Vec::new(), self.rng.fork());
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.is_none() {
            let config = Config { id, ..self.config.clone() };
            node.life += 1;
            node.running = Some(ThreePhase::start(self.now, config, node.disk.clone(), rng, &mut out));
            self.carry_out(id, out);
        }
    }

    fn hand(&mut self, id: NodeId, input: Input<ThreePhase>) {
        let mut out = Vec::new();
        if let Some(running) = &mut self.nodes.get_mut(&id).unwrap().running {
            running.handle(self.now, input, &mut out);
            self.carry_out(id, out);
        }
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<ThreePhase>>) {
        let life = self.nodes[&id].life;
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.later(STEP_MAX, Happening::Letter(id, to, message)),
                Effect::Store { id: write_id, write } => {
                    let takes = self.rng.between(Duration::from_nanos(1), STEP_MAX / 2);
                    let node = self.nodes.get_mut(&id).unwrap();
                    // One after another, and not longer for that: a disk stores many at once.
                    node.disk_at = (self.now + takes).max(node.disk_at);
                    let at = node.disk_at;
                    self.at(at, Happening::Stored(id, life, write_id, write));
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.tell(id, life, event),
            }
        }
    }

    fn tell(&mut self, id: NodeId, life: u32, event: Event) {
        let request = match event {
            Event::Prepare { tx, .. } => {
                let yes = self.rng.chance(950);
                Request::Vote { tx, yes }
            }
            Event::Apply { tx, outcome } => {
                self.learn(id, tx, outcome);
                Request::Applied(tx)
            }
            Event::Outcome { tx, outcome, .. } => return self.learn(id, tx, outcome),
            Event::InDoubt { .. } => return,
            Event::Refused { refusal, .. } => panic!("{refusal:?}"),
        };
        self.later(STEP_MAX / 2, Happening::Answer(id, life, request));
    }

    fn learn(&mut self, id: NodeId, tx: TransactionId, outcome: Outcome) {
        let told = self.told.entry(tx).or_default();
        told.entry(outcome).or_default().insert(id);
        if told.len() > 1 {
            self.fault.get_or_insert(format!("{tx}: {told:?}"));
        }
        let all_yes = self.yes.get(&tx).is_some_and(|yes| yes.len() == self.participants.len());
        if outcome == Outcome::Committed && !all_yes {
            self.fault.get_or_insert(format!("{tx} is committed, and not all have voted yes"));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Letter(from, to, message) => self.hand(to, Input::Message { from, message }),
            Happening::Stored(id, life, write_id, write) => {
                let node = self.nodes.get_mut(&id).unwrap();
                if node.life == life && node.running.is_some() {
                    ThreePhase::save(&mut node.disk, &write);
                    self.hand(id, Input::Stored(write_id));
                }
            }
            Happening::Answer(id, life, request) => {
                if self.nodes[&id].life == life {
                    if let Request::Vote { tx, yes: true } = request {
                        self.yes.entry(tx).or_default().insert(id);
                    }
                    self.hand(id, Input::Request { id: RequestId(0), request });
                }
            }
            Happening::Begin(id) => {
                let work = self.participants.iter().map(|id| (*id, Bytes::from("work"))).collect();
                self.hand(id, Input::Request { id: RequestId(1), request: Request::Begin(work) });
            }
            Happening::Crash(id) => {
                let node = self.nodes.get_mut(&id).unwrap();
                (node.running, node.disk_at) = (None, Time::ZERO);
                // It was in the middle of saying something: some have left, some have not.
                let rng = &mut self.rng;
                self.agenda.retain(|_, happening| match happening {
                    Happening::Letter(from, ..) if *from == id => rng.chance(300),
                    _ => true,
                });
            }
            Happening::Start(id) => self.start(id),
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
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn in_doubt(&self) -> BTreeSet<NodeId> {
        let doubts = |node: &&Node| node.running.as_ref().is_some_and(|running| running.in_doubt().count() > 0);
        self.nodes.iter().filter(|(_, node)| doubts(node)).map(|(id, _)| *id).collect()
    }
}

/// A transaction during which nodes crash, and what was wrong. How it ended, and how many crashed.
fn history(seed: u64, prepare: &dyn Fn(&mut Config)) -> (Option<String>, bool, usize) {
    let mut world = World::new(seed, prepare);
    let coordinator = NodeId(1);
    world.happen(Happening::Begin(coordinator));
    let mut gone = BTreeSet::new();
    for id in (1..=NODES).map(NodeId) {
        // The coordinator as a rule, early; the others too, and later, when one of them is the backup.
        let (odds, from, to) = if id == coordinator { (700, 200, 1_200) } else { (400, 0, 12_000) };
        if world.rng.chance(odds) {
            let at = world.rng.between(Duration::from_millis(from), Duration::from_millis(to));
            world.at(world.now + at, Happening::Crash(id));
            gone.insert(id);
            if world.rng.chance(300) {
                let back = at + world.rng.between(Duration::ZERO, Duration::from_secs(5));
                world.at(world.now + back, Happening::Start(id));
            }
        }
    }
    world.run(Duration::from_secs(60));
    // Whoever was never gone knows by now.
    if let Some(id) = world.in_doubt().difference(&gone).next() {
        world.fault.get_or_insert(format!("{id} was always up, and is in doubt"));
    }
    (1..=NODES).for_each(|id| world.start(NodeId(id)));
    world.run(Duration::from_secs(60));
    let busy = |node: &Node| node.running.as_ref().is_some_and(|running| running.under_way() != (0, 0));
    if world.nodes.values().any(busy) {
        world.fault.get_or_insert("something does not come to its end".to_owned());
    }
    let committed = world.told.values().any(|told| told.contains_key(&Outcome::Committed));
    (world.fault, committed, gone.len())
}

#[test]
fn agreement_random_crashes_within_the_assumption() {
    let (mut commits, mut crashes) = (0, 0);
    for seed in 0..3_000 {
        let (fault, committed, gone) = history(seed, &|_| {});
        assert_eq!(fault, None, "seed {seed}");
        commits += usize::from(committed);
        crashes += gone;
    }
    assert!(commits > 500 && commits < 2_800 && crashes > 3_000, "{commits} {crashes}");
}

/// Each known bug that these histories can show; which they do not is said by `eprintln`, and counted.
#[cfg(feature = "weakened")]
#[test]
fn known_bugs_are_caught_by_random_histories() {
    let mut caught = Vec::new();
    for weakness in hezong_commit::Weakness::THREE_PHASE {
        let weaken = |config: &mut Config| config.weakness = Some(weakness);
        match (0..6_000).find_map(|seed| history(seed, &weaken).0.map(|fault| (seed, fault))) {
            Some((seed, fault)) => {
                eprintln!("{weakness:?}: seed {seed}: {fault} ({})", weakness.origin());
                caught.push(weakness);
            }
            None => eprintln!("{weakness:?}: not seen"),
        }
    }
    assert!(caught.contains(&hezong_commit::Weakness::CommitWithoutReady));
}
