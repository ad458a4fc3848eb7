//! Random histories: messages late, lost, twice and out of order, disks that take their time, crashes between any two
//! steps. At most one value is ever chosen, everybody learns that one, and once all is well it does not take long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Event, Message, Paxos, Request, Saved, Write};

struct Node {
    running: Paxos,
    config: Config,
    disk: Saved,
    unstored: VecDeque<(WriteId, Write)>,
}

/// What one run is made of, and what it has seen.
struct World {
    rng: Rng,
    now: Time,
    nodes: BTreeMap<NodeId, Node>,
    letters: Vec<(NodeId, NodeId, Message)>,
    requests: u64,
    /// Whose proposals have not been answered; those of a node that crashes never are.
    waiting: BTreeMap<u64, NodeId>,
    /// What was stored as accepted, by ballot: a value, and by whom.
    accepted: BTreeMap<Ballot, (Bytes, BTreeSet<NodeId>)>,
    told: BTreeSet<Bytes>,
    proposed: BTreeSet<Bytes>,
    /// Crashes that took writes with them.
    losses: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = 3 + 2 * rng.below(2);
        let acceptors: BTreeSet<NodeId> = (1..=count).map(NodeId).collect();
        let (now, nodes) = (Time::from_millis(1_000), BTreeMap::new());
        let (letters, waiting, accepted, told, proposed) = Default::default();
        let mut world = Self { rng, now, nodes, letters, requests: 0, waiting, accepted, told, proposed, losses: 0 };
        // One proposes and learns only.
        for id in (1..=count + 1).map(NodeId) {
            let mut config = Config::new(id, acceptors.clone());
            config.learners = [NodeId(count + 1)].into();
            world.start(id, config, Saved::default());
        }
        world
    }

    fn start(&mut self, id: NodeId, config: Config, disk: Saved) {
        let (mut out, rng) = (Vec::new(), self.rng.fork());
        let running = Paxos::start(self.now, config.clone(), disk.clone(), rng, &mut out);
        self.nodes.insert(id, Node { running, config, disk, unstored: VecDeque::new() });
        self.carry_out(id, out);
    }

    fn hand(&mut self, id: NodeId, input: Input<Paxos>) {
        let mut out = Vec::new();
        let node = self.nodes.get_mut(&id).unwrap();
        node.running.handle(self.now, input, &mut out);
        assert!(node.running.accepted().map(|accepted| accepted.ballot) <= node.running.promised());
        self.carry_out(id, out);
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<Paxos>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.letters.push((id, to, message)),
                Effect::Store { id: write_id, write } => {
                    self.nodes.get_mut(&id).unwrap().unstored.push_back((write_id, write));
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(Event::Chosen(value)) => self.tell(value),
                Effect::Emit(Event::Answered { id, value }) => {
                    self.tell(value);
                    assert!(self.waiting.remove(&id.0).is_some(), "answered once");
                }
                Effect::Emit(Event::Refused { id, refusal }) => panic!("{id} is refused: {refusal:?}"),
            }
        }
    }

    fn tell(&mut self, value: Bytes) {
        assert!(self.chosen().contains(&value), "{value:?} is told of before it is chosen");
        self.told.insert(value);
    }

    fn any(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.nodes.len() as u64))
    }

    fn propose(&mut self) {
        let id = self.any();
        self.propose_at(id);
    }

    fn propose_at(&mut self, id: NodeId) {
        self.requests += 1;
        self.waiting.insert(self.requests, id);
        let value = Bytes::from(format!("value {}", self.requests));
        self.proposed.insert(value.clone());
        self.hand(id, Input::Request { id: RequestId(self.requests), request: Request::Propose(value) });
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
        self.hand(to, Input::Message { from, message });
    }

    fn store(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some((write_id, write)) = node.unstored.pop_front() else { return };
        Paxos::save(&mut node.disk, &write);
        if let Write::Accept(proposal) = write {
            assert!(self.proposed.contains(&proposal.value), "nobody has proposed {:?}", proposal.value);
            let entry = self.accepted.entry(proposal.ballot);
            let (value, by) = entry.or_insert_with(|| (proposal.value.clone(), BTreeSet::new()));
            assert_eq!(*value, proposal.value, "a ballot has one value");
            by.insert(id);
        }
        self.hand(id, Input::Stored(write_id));
    }

    fn crash(&mut self, id: NodeId) {
        let Node { config, disk, unstored, .. } = self.nodes.remove(&id).unwrap();
        self.losses += u32::from(!unstored.is_empty());
        self.waiting.retain(|_, asked| *asked != id);
        self.start(id, config, disk);
    }

    /// The deadline that comes first passes.
    fn pass(&mut self) {
        let due = self.nodes.iter().filter_map(|(id, node)| Some((node.running.deadline()?, *id))).min();
        if let Some((at, id)) = due {
            self.now = self.now.max(at);
            self.hand(id, Input::Timeout);
            assert!(self.nodes[&id].running.deadline().is_none_or(|next| next > self.now), "a timeout is over");
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..2 => self.propose(),
            2..55 => self.deliver(false),
            55..60 => self.deliver(true),
            60..64 if !self.letters.is_empty() => {
                let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
                self.letters.swap_remove(at);
            }
            64..67 => {
                let id = self.any();
                self.crash(id);
            }
            67..72 => self.pass(),
            _ => {
                let id = self.any();
                self.store(id);
            }
        }
    }

    /// All is well from now on. How many steps it takes until all know who have proposed or accepted, at most so many.
    fn heal(&mut self, steps_max: u32) -> Option<u32> {
        for step in 0..steps_max {
            let knows = |node: &Node| node.running.chosen().is_some() || node.running.accepted().is_none();
            if self.nodes.values().all(knows) && self.waiting.is_empty() {
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

    /// What majorities have stored as accepted at one ballot.
    fn chosen(&self) -> BTreeSet<&Bytes> {
        let majority = (self.nodes.len() - 1) / 2 + 1;
        self.accepted.values().filter(|(_, by)| by.len() >= majority).map(|(value, _)| value).collect()
    }
}

/// One history, and how it was when all was well again.
fn run(seed: u64, steps: u32) -> (World, Option<u32>) {
    let mut world = World::new(seed);
    world.propose();
    (0..steps).for_each(|_| world.step());
    // Those who crashed have nothing to propose any more.
    world.propose();
    let healed = world.heal(20_000);
    (world, healed)
}

#[test]
fn agreement_random_histories_one_value_and_progress() {
    let (mut outbid, mut losses) = (0, 0);
    for seed in 0..1_000 {
        let (mut world, healed) = run(seed, 600);
        assert!(healed.is_some(), "seed {seed}: not all know what was chosen");
        // Whoever only listened and was told nothing finds out by proposing.
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.propose_at(id);
        }
        assert!(world.heal(20_000).is_some(), "seed {seed}");
        assert!(world.nodes.values().all(|node| node.running.chosen().is_some()), "seed {seed}");
        let chosen = world.chosen();
        assert_eq!(chosen.len(), 1, "seed {seed}: {chosen:?}");
        assert_eq!(world.told.iter().collect::<BTreeSet<_>>(), chosen, "seed {seed}");
        outbid += u32::from(world.accepted.len() > 1);
        losses += world.losses;
    }
    // Or nothing would have been tried.
    assert!(outbid > 50 && losses > 500, "{outbid} with several ballots, {losses} crashes that lost something");
}
