//! Random histories, the same for every module: messages late, lost, twice and out of order, disks and users that take their
//! time, crashes between any two steps. Beside them runs a dumb twin that knows what everybody was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};
use hezong_commit::{Config, Event, Outcome, Request, TransactionId, Work};
use hezong_script::commit::Told;

struct Node<P: Told> {
    running: Option<P>,
    config: Config,
    disk: P::Saved,
    unstored: VecDeque<(WriteId, P::Write)>,
    /// What the user is about to answer.
    answers: Vec<Request>,
    /// What the user has locked or reserved, on a disk of its own.
    held: BTreeSet<TransactionId>,
}

/// What is known of a transaction by somebody who sees everything.
#[derive(Default)]
struct Twin {
    /// Everybody's work; it names the request.
    work: Option<Work>,
    yes: BTreeSet<NodeId>,
    /// Everybody who was told an outcome, the user who began it with the coordinator's name and all others by theirs.
    told: BTreeMap<Outcome, BTreeSet<NodeId>>,
    applied: BTreeSet<NodeId>,
}

/// What one run is made of, and what it has seen.
pub(crate) struct World<P: Told> {
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    nodes: BTreeMap<NodeId, Node<P>>,
    letters: Vec<(NodeId, NodeId, P::Message)>,
    begun: BTreeMap<u64, Work>,
    twins: BTreeMap<TransactionId, Twin>,
    /// The first thing that is not as it should be.
    pub(crate) fault: Option<String>,
    /// Crashes that took writes with them; transactions committed and aborted.
    pub(crate) seen: (usize, usize, usize),
}

impl<P: Told> World<P> {
    pub(crate) fn new(seed: u64, prepare: impl Fn(&mut Config)) -> Self {
        let rng = Rng::new(seed);
        let (nodes, letters, begun, twins) = Default::default();
        let now = Time::from_millis(1_000);
        let mut world = Self { rng, now, nodes, letters, begun, twins, fault: None, seen: (0, 0, 0) };
        let all: BTreeSet<NodeId> = (1..=4).map(NodeId).collect();
        for id in all.iter().copied() {
            let mut config = Config::new(id, all.clone());
            prepare(&mut config);
            let (disk, unstored, answers, held) = Default::default();
            world.nodes.insert(id, Node { running: None, config, disk, unstored, answers, held });
            world.start(id);
        }
        world
    }

    fn start(&mut self, id: NodeId) {
        let (mut out, rng) = (Vec::new(), self.rng.fork());
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.is_none() {
            node.running = Some(P::start(self.now, node.config.clone(), node.disk.clone(), rng, &mut out));
            let in_doubt = |effect: &Effect<P>| match effect {
                Effect::Emit(Event::InDoubt { tx, .. }) => Some(*tx),
                Effect::Emit(_) | Effect::Send { .. } | Effect::Store { .. } | Effect::Ask { .. } => None,
            };
            let named: BTreeSet<TransactionId> = out.iter().filter_map(in_doubt).collect();
            node.held.retain(|tx| named.contains(tx));
            self.carry_out(id, out);
        }
    }

    fn hand(&mut self, id: NodeId, input: Input<P>) {
        let mut out = Vec::new();
        if let Some(running) = &mut self.nodes.get_mut(&id).unwrap().running {
            running.handle(self.now, input, &mut out);
            self.carry_out(id, out);
        }
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<P>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.letters.push((id, to, message)),
                Effect::Store { id: write_id, write } => {
                    self.nodes.get_mut(&id).unwrap().unstored.push_back((write_id, write));
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.tell(id, event),
            }
        }
    }

    fn tell(&mut self, id: NodeId, event: Event) {
        match event {
            Event::Refused { id, refusal } => self.blame(format!("{id} is refused: {refusal:?}")),
            Event::Outcome { id: request, tx, outcome } => {
                let work = self.begun[&request.0].clone();
                self.check_work(tx, &work);
                self.learn(id, tx, outcome);
            }
            Event::Prepare { tx, work } => {
                self.check_part(tx, &work);
                let committed = self.twins[&tx].told.get(&Outcome::Committed);
                if committed.is_some_and(|told| told.contains(&id)) && self.twins[&tx].applied.contains(&id) {
                    self.blame(format!("{id} is to prepare {tx}, which it has committed"));
                }
                let yes = self.rng.chance(850);
                let node = self.nodes.get_mut(&id).unwrap();
                // Who is asked anew has done with what it was asked before.
                node.answers.retain(
                    |answer| !matches!(answer, Request::Vote { tx: old, .. } | Request::Applied(old) if *old == tx),
                );
                node.answers.push(Request::Vote { tx, yes });
                node.held.insert(tx);
            }
            Event::InDoubt { tx, work } => {
                self.check_part(tx, &work);
                if !self.twins[&tx].yes.contains(&id) {
                    self.blame(format!("{id} is in doubt about {tx}, and has not voted yes"));
                }
                if !self.nodes[&id].held.contains(&tx) && !self.twins[&tx].applied.contains(&id) {
                    self.blame(format!("{id} is in doubt about {tx}, and holds nothing for it"));
                }
            }
            Event::Apply { tx, outcome } => {
                self.learn(id, tx, outcome);
                self.nodes.get_mut(&id).unwrap().answers.push(Request::Applied(tx));
            }
        }
    }

    /// A transaction is one request's: its work names it.
    fn check_work(&mut self, tx: TransactionId, work: &Work) {
        let known = self.twins.entry(tx).or_default().work.get_or_insert_with(|| work.clone());
        if known != work {
            self.blame(format!("{tx} stands for two requests"));
        }
    }

    fn check_part(&mut self, tx: TransactionId, part: &Bytes) {
        let request: u64 = std::str::from_utf8(part).unwrap().parse().unwrap();
        let work = self.begun[&request].clone();
        self.check_work(tx, &work);
    }

    fn learn(&mut self, id: NodeId, tx: TransactionId, outcome: Outcome) {
        let twin = self.twins.entry(tx).or_default();
        twin.told.entry(outcome).or_default().insert(id);
        let missing = twin.work.iter().flat_map(Work::keys).any(|id| !twin.yes.contains(id));
        let (split, wrong) = (twin.told.len() > 1, outcome == Outcome::Committed && missing);
        if split {
            self.blame(format!("{tx} is committed and aborted"));
        }
        if wrong {
            self.blame(format!("{tx} is committed, and not all have voted yes"));
        }
    }

    pub(crate) fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn any(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.nodes.len() as u64))
    }

    pub(crate) fn begin(&mut self) {
        let coordinator = self.any();
        if self.nodes[&coordinator].running.is_none() {
            return;
        }
        let request = self.begun.len() as u64;
        let (count, first) = (2 + self.rng.below(2), self.rng.below(4));
        let work: Work = (0..count).map(|n| (NodeId(1 + (first + n) % 4), Bytes::from(request.to_string()))).collect();
        self.begun.insert(request, work.clone());
        self.hand(coordinator, Input::Request { id: RequestId(request), request: Request::Begin(work) });
    }

    pub(crate) fn deliver(&mut self, keep: bool) {
        if self.letters.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
        let (from, to, message) = if keep { self.letters[at].clone() } else { self.letters.swap_remove(at) };
        self.hand(to, Input::Message { from, message });
    }

    pub(crate) fn store(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some((write_id, write)) = node.unstored.pop_front() else { return };
        P::save(&mut node.disk, &write);
        self.hand(id, Input::Stored(write_id));
    }

    /// The user answers one of what it is asked.
    pub(crate) fn answer(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.answers.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(node.answers.len() as u64)).unwrap();
        let request = node.answers.swap_remove(at);
        match &request {
            Request::Vote { tx, yes: true } => {
                self.twins.get_mut(tx).unwrap().yes.insert(id);
            }
            Request::Applied(tx) => {
                self.twins.get_mut(tx).unwrap().applied.insert(id);
                node.held.remove(tx);
            }
            Request::Vote { tx, yes: false } => {
                node.held.remove(tx);
            }
            Request::Begin(_) => {}
        }
        self.hand(id, Input::Request { id: RequestId(u64::MAX), request });
    }

    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.take().is_some() {
            node.answers.clear();
            self.seen.0 += usize::from(!node.unstored.is_empty());
            node.unstored.clear();
        }
    }

    /// The deadline that comes first passes.
    pub(crate) fn pass(&mut self) {
        let due = |node: &Node<P>| node.running.as_ref().and_then(Protocol::deadline);
        let first = self.nodes.iter().filter_map(|(id, node)| Some((due(node)?, *id))).min();
        if let Some((at, id)) = first {
            self.now = self.now.max(at);
            self.hand(id, Input::Timeout);
            let next = due(&self.nodes[&id]);
            assert!(next.is_none_or(|next| next > self.now), "a timeout is over");
        }
    }

    pub(crate) fn step(&mut self) {
        let id = self.any();
        match self.rng.below(100) {
            0..3 => self.begin(),
            3..45 => self.deliver(false),
            45..50 => self.deliver(true),
            50..55 if !self.letters.is_empty() => {
                let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
                self.letters.swap_remove(at);
            }
            55..57 => self.crash(id),
            57..62 => self.start(id),
            62..68 => self.pass(),
            68..83 => self.answer(id),
            _ => self.store(id),
        }
    }

    /// All is well from now on, until nothing is under way any more; at most so many steps.
    pub(crate) fn heal(&mut self, steps_max: u32) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.start(id);
        }
        for _ in 0..steps_max {
            let busy = |node: &Node<P>| node.running.as_ref().is_some_and(|running| running.under_way() != (0, 0));
            let storing = self.nodes.iter().find(|(_, node)| !node.unstored.is_empty()).map(|(id, _)| *id);
            let answering = self.nodes.iter().find(|(_, node)| !node.answers.is_empty()).map(|(id, _)| *id);
            match (storing, answering) {
                (Some(id), _) => self.store(id),
                (None, Some(id)) => self.answer(id),
                (None, None) if !self.letters.is_empty() => self.deliver(false),
                (None, None) if self.nodes.values().any(busy) => self.pass(),
                (None, None) => return self.check_end(),
            }
        }
        self.blame("something does not come to its end".to_owned());
    }

    /// What is committed all have applied; nothing is held, and nothing waits for a time.
    fn check_end(&mut self) {
        let waits = |node: &Node<P>| node.running.as_ref().and_then(Protocol::deadline).is_some();
        if self.nodes.values().any(waits) {
            self.blame("a node waits for nothing".to_owned());
        }
        let held = self.nodes.iter().find_map(|(id, node)| Some((*id, *node.held.first()?)));
        if let Some((id, tx)) = held {
            self.blame(format!("{id} holds what it needs for {tx} for ever"));
        }
        let mut faults = Vec::new();
        for (tx, twin) in &self.twins {
            let is_committed = twin.told.contains_key(&Outcome::Committed);
            self.seen.1 += usize::from(is_committed);
            self.seen.2 += usize::from(!is_committed);
            let missing = twin.work.iter().flat_map(Work::keys).find(|id| !twin.applied.contains(id));
            if let Some(id) = missing.filter(|_| is_committed) {
                faults.push(format!("{tx} is committed, and {id} has not applied it"));
            }
        }
        faults.into_iter().for_each(|fault| self.blame(fault));
    }
}

/// One history.
pub(crate) fn run<P: Told>(seed: u64, steps: u32, prepare: impl Fn(&mut Config)) -> World<P> {
    let mut world = World::new(seed, prepare);
    world.begin();
    for _ in 0..steps {
        world.step();
        if world.fault.is_some() {
            return world;
        }
    }
    world.heal(20_000);
    world
}

/// Many histories: nothing is wrong in any, and enough was tried.
pub(crate) fn check<P: Told>(seeds: u64) {
    let (mut losses, mut committed, mut aborted) = (0, 0, 0);
    for seed in 0..seeds {
        let world = run::<P>(seed, 600, |_| {});
        assert_eq!(world.fault, None, "seed {seed}");
        losses += world.seen.0;
        committed += world.seen.1;
        aborted += world.seen.2;
    }
    let least = usize::try_from(seeds).unwrap();
    assert!(losses > least && committed > least && aborted > least, "{losses} {committed} {aborted}");
}

/// Every known bug shows within so many histories.
#[cfg(feature = "weakened")]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
pub(crate) fn check_weaknesses<P: Told>(name: &str, weaknesses: &[hezong_commit::Weakness], seeds: u64) {
    for weakness in weaknesses {
        let weaken = |config: &mut Config| config.weakness = Some(*weakness);
        let caught = (0..seeds).find_map(|seed| run::<P>(seed, 600, weaken).fault.map(|fault| (seed, fault)));
        let (seed, fault) = caught.unwrap_or_else(|| panic!("{weakness:?} is not seen in {seeds} histories"));
        println!("bug\t{name}::{weakness:?}\t{}\t{} histories\t{fault}", weakness.origin(), seed + 1);
    }
}
