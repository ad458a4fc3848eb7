//! Random histories of a replicated coordinator: messages late, lost, twice and out of order, links cut, disks and users that
//! take their time, clocks that run at very different rates, so that who was cut off goes on acting for long, and crashes
//! between any two steps. Beside them runs a dumb twin that knows what everybody was told. In the end all is well but for one
//! member, which may stay down for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};
use hezong_commit::{Outcome, Request, TransactionId, Work};
use hezong_replicated::{Config, Event, Replicable, Replicated};

type WriteOf<P> = <Replicated<P> as Protocol>::Write;
type SavedOf<P> = <Replicated<P> as Protocol>::Saved;
type MessageOf<P> = <Replicated<P> as Protocol>::Message;

const MEMBERS: u64 = 3;
const NODES: u64 = 7;
const GROUP: NodeId = NodeId(9);

struct Node<P: Replicable> {
    running: Option<Replicated<P>>,
    disk: SavedOf<P>,
    unstored: VecDeque<(WriteId, WriteOf<P>)>,
    /// What the user is about to answer.
    answers: Vec<Request>,
    /// What the user has locked or reserved, on a disk of its own.
    held: BTreeSet<TransactionId>,
    /// What its clock shows, and how fast it runs, in parts per thousand.
    clock: Time,
    rate: u64,
}

/// What is known of a transaction by somebody who sees everything.
#[derive(Default)]
struct Twin {
    work: Option<Work>,
    yes: BTreeSet<NodeId>,
    told: BTreeSet<Outcome>,
    applied: BTreeSet<NodeId>,
}

/// What a run has met.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) committed: usize,
    pub(crate) aborted: usize,
    /// How often a member began to act, and how often one did while another did too.
    pub(crate) acting: usize,
    pub(crate) beside: usize,
    pub(crate) snapshots: usize,
}

pub(crate) struct World<P: Replicable> {
    rng: Rng,
    config: Config,
    nodes: BTreeMap<NodeId, Node<P>>,
    letters: VecDeque<(NodeId, NodeId, MessageOf<P>)>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    begun: BTreeMap<u64, Work>,
    answered: BTreeSet<u64>,
    twins: BTreeMap<TransactionId, Twin>,
    /// The first thing that is not as it should be.
    pub(crate) fault: Option<String>,
    pub(crate) seen: Seen,
}

impl<P: Replicable> World<P> {
    fn new(seed: u64, prepare: &impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::new(seed);
        let members = (1..=MEMBERS).map(NodeId).collect();
        let participants = (MEMBERS + 1..=NODES).map(NodeId).collect();
        let mut config = Config::new(NodeId(1), GROUP, members, participants);
        config.log_kept = 1 + rng.below(4);
        if rng.chance(200) {
            config.raft.uncommitted_bytes_max = 1;
        }
        prepare(&mut config);
        let (letters, cuts, begun, answered, twins, seen) = Default::default();
        let (nodes, now) = (BTreeMap::new(), Time::from_millis(1_000));
        let mut world = Self { rng, config, nodes, letters, cuts, begun, answered, twins, fault: None, seen };
        for id in (1..=NODES).map(NodeId) {
            let (disk, unstored, answers, held) = Default::default();
            world.nodes.insert(id, Node { running: None, disk, unstored, answers, held, clock: now, rate: 1_000 });
            world.start(id);
        }
        world
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = self.config.clone();
        config.id = id;
        config.raft.id = id;
        config.commit.id = if id.0 <= MEMBERS { GROUP } else { id };
        config
    }

    /// What a node's clock shows.
    fn local(&self, id: NodeId) -> Time {
        self.nodes[&id].clock
    }

    fn start(&mut self, id: NodeId) {
        let (config, now, rng) = (self.config(id), self.local(id), self.rng.fork());
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.is_some() {
            return;
        }
        let mut out = Vec::new();
        node.running = Some(Replicated::start(now, config, node.disk.clone(), rng, &mut out));
        let in_doubt = |effect: &Effect<Replicated<P>>| match effect {
            Effect::Emit(Event::Commit(hezong_commit::Event::InDoubt { tx, .. })) => Some(*tx),
            Effect::Emit(_) | Effect::Send { .. } | Effect::Store { .. } | Effect::Ask { .. } => None,
        };
        let named: BTreeSet<TransactionId> = out.iter().filter_map(in_doubt).collect();
        node.held.retain(|tx| named.contains(tx));
        self.carry_out(id, out);
    }

    fn hand(&mut self, id: NodeId, input: Input<Replicated<P>>) {
        let (now, mut out) = (self.local(id), Vec::new());
        if let Some(running) = &mut self.nodes.get_mut(&id).unwrap().running {
            running.handle(now, input, &mut out);
            self.carry_out(id, out);
        }
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<Replicated<P>>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => {
                    self.seen.snapshots += usize::from(matches!(message, hezong_replicated::Message::Snapshot { .. }));
                    self.letters.push_back((id, to, message));
                }
                Effect::Store { id: write_id, write } => {
                    self.nodes.get_mut(&id).unwrap().unstored.push_back((write_id, write));
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(Event::Commit(event)) => self.tell(id, event),
                Effect::Emit(Event::NotActing { id, .. }) => {
                    self.answered.insert(id.0);
                }
                Effect::Emit(Event::Acting(acts)) => {
                    let others = self.acting().into_iter().filter(|other| *other != id).count();
                    self.seen.acting += usize::from(acts);
                    self.seen.beside += usize::from(acts && others > 0);
                }
            }
        }
    }

    fn acting(&self) -> Vec<NodeId> {
        let acts = |node: &Node<P>| node.running.as_ref().is_some_and(Replicated::is_acting);
        self.nodes.iter().filter(|(_, node)| acts(node)).map(|(id, _)| *id).collect()
    }

    fn tell(&mut self, id: NodeId, event: hezong_commit::Event) {
        match event {
            hezong_commit::Event::Refused { id, .. } => {
                self.answered.insert(id.0);
            }
            hezong_commit::Event::Outcome { id: request, tx, outcome } => {
                self.answered.insert(request.0);
                self.check_part(tx, request.0);
                self.learn(tx, outcome);
            }
            hezong_commit::Event::Prepare { tx, work } => {
                self.check_part(tx, number(&work));
                let yes = self.rng.chance(900);
                let node = self.nodes.get_mut(&id).unwrap();
                // Who is asked anew has done with what it was asked before.
                node.answers.retain(
                    |answer| !matches!(answer, Request::Vote { tx: old, .. } | Request::Applied(old) if *old == tx),
                );
                node.answers.push(Request::Vote { tx, yes });
                node.held.insert(tx);
            }
            hezong_commit::Event::InDoubt { tx, work } => {
                self.check_part(tx, number(&work));
                if !self.twins[&tx].yes.contains(&id) {
                    self.blame(format!("{id} is in doubt about {tx}, and has not voted yes"));
                }
            }
            hezong_commit::Event::Apply { tx, outcome } => {
                self.learn(tx, outcome);
                self.nodes.get_mut(&id).unwrap().answers.push(Request::Applied(tx));
            }
        }
    }

    /// A transaction is one request's: its work names it.
    fn check_part(&mut self, tx: TransactionId, request: u64) {
        let work = &self.begun[&request];
        let known = self.twins.entry(tx).or_default().work.get_or_insert_with(|| work.clone());
        if known != work {
            self.blame(format!("{tx} stands for two requests"));
        }
    }

    fn learn(&mut self, tx: TransactionId, outcome: Outcome) {
        let twin = self.twins.entry(tx).or_default();
        twin.told.insert(outcome);
        let missing = twin.work.iter().flat_map(Work::keys).any(|id| !twin.yes.contains(id));
        let (split, wrong) = (twin.told.len() > 1, outcome == Outcome::Committed && missing);
        if split {
            self.blame(format!("{tx} is committed and aborted"));
        }
        if wrong {
            self.blame(format!("{tx} is committed, and not all have voted yes"));
        }
    }

    fn blame(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn any(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(NODES))
    }

    /// Asks a member that acts, if there is one, to begin a transaction.
    fn begin(&mut self) {
        let acting = self.acting();
        let at = usize::try_from(self.rng.below(acting.len() as u64 + 1)).unwrap();
        let asked = acting.get(at).copied().unwrap_or(NodeId(1 + self.rng.below(MEMBERS)));
        if self.nodes[&asked].running.is_some() {
            self.begin_at(asked);
        }
    }

    fn begin_at(&mut self, asked: NodeId) -> u64 {
        let request = self.begun.len() as u64;
        let (count, first) = (2 + self.rng.below(2), self.rng.below(4));
        let part = |n| (NodeId(MEMBERS + 1 + (first + n) % 4), Bytes::from(request.to_string()));
        let work: Work = (0..count).map(part).collect();
        self.begun.insert(request, work.clone());
        self.hand(asked, Input::Request { id: RequestId(request), request: Request::Begin(work) });
        request
    }

    fn deliver(&mut self, at: usize, keep: bool) {
        let letter = if keep { self.letters.get(at).cloned() } else { self.letters.swap_remove_back(at) };
        let Some((from, to, message)) = letter else { return };
        if to.0 <= NODES && !self.cuts.contains(&(from, to)) {
            self.hand(to, Input::Message { from, message });
        }
    }

    fn store(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some((write_id, write)) = node.unstored.pop_front() else { return };
        Replicated::<P>::save(&mut node.disk, &write);
        self.hand(id, Input::Stored(write_id));
    }

    /// The user answers one of what it is asked.
    fn answer(&mut self, id: NodeId) {
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

    fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.running.take().is_some() {
            node.answers.clear();
            node.unstored.clear();
        }
    }

    /// The deadline that comes first passes.
    fn pass(&mut self) {
        let due = |node: &Node<P>| {
            let at = node.running.as_ref().and_then(Protocol::deadline)?;
            Some(at.since(node.clock) * 1_000 / u32::try_from(node.rate).unwrap())
        };
        let first = self.nodes.iter().filter_map(|(id, node)| Some((due(node)?, *id))).min();
        if let Some((wait, id)) = first {
            for node in self.nodes.values_mut() {
                node.clock = node.clock + wait * u32::try_from(node.rate).unwrap() / 1_000;
            }
            let node = self.nodes.get_mut(&id).unwrap();
            node.clock = node.clock.max(node.running.as_ref().and_then(Protocol::deadline).unwrap());
            self.hand(id, Input::Timeout);
            let next = self.nodes[&id].running.as_ref().and_then(Protocol::deadline);
            assert!(next.is_none_or(|next| next > self.local(id)), "a timeout is over");
        }
    }

    /// Cuts a member off, in both directions or one: one that acts, as a rule, from the others only, and its clock slows down, so
    /// that it acts on.
    fn cut(&mut self) {
        let acting = self.acting().first().copied().filter(|_| self.rng.chance(700));
        let one = acting.unwrap_or(NodeId(1 + self.rng.below(MEMBERS)));
        self.nodes.get_mut(&one).unwrap().rate = 20;
        let (others, both) = (if self.rng.chance(700) { MEMBERS } else { NODES }, self.rng.chance(700));
        for other in (1..=others).map(NodeId) {
            self.cuts.insert((one, other));
            if both {
                self.cuts.insert((other, one));
            }
        }
    }

    fn mend(&mut self) {
        self.cuts.clear();
        self.nodes.values_mut().for_each(|node| node.rate = 1_000);
    }

    fn step(&mut self) {
        let id = self.any();
        let at = usize::try_from(self.rng.below(self.letters.len().max(1) as u64)).unwrap();
        match self.rng.below(1_000) {
            0..25 => self.begin(),
            25..600 => self.deliver(at, false),
            600..620 => self.deliver(at, true),
            620..640 => drop(self.letters.swap_remove_back(at)),
            640..645 => self.crash(id),
            645..665 => self.start(id),
            665..669 => self.cut(),
            669..671 => self.mend(),
            671..710 => self.pass(),
            710..740 => self.deliver(0, false),
            740..800 => self.answer(id),
            _ => self.store(id),
        }
    }

    /// All is well from now on, but for one member that may be gone; until nothing is under way. At most so many steps.
    fn heal(&mut self, steps_max: u32) {
        self.mend();
        let lost = NodeId(1 + self.rng.below(MEMBERS * 2));
        let is_lost = |id: &NodeId| *id == lost && lost.0 <= MEMBERS;
        (1..=NODES).map(NodeId).filter(|id| !is_lost(id)).for_each(|id| self.start(id));
        if is_lost(&lost) {
            self.crash(lost);
        }
        self.run_until(steps_max, "something does not come to its end", Self::is_quiet);
        self.check_end();
        // Whoever acts still serves. What was begun right before a change of leader is not answered, and another is.
        let serves = |world: &mut Self| {
            let Some(asked) = world.acting().first().copied() else { return false };
            let last = world.begin_at(asked);
            world.run_on(steps_max / 4, |world| world.answered.contains(&last) && world.is_quiet())
        };
        if !(0..4).any(|_| serves(self)) {
            self.blame("nobody is served".to_owned());
        }
    }

    fn run_until(&mut self, steps_max: u32, otherwise: &str, is_done: impl Fn(&Self) -> bool) {
        if !self.run_on(steps_max, is_done) {
            self.blame(otherwise.to_owned());
        }
    }

    fn run_on(&mut self, steps_max: u32, is_done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..steps_max {
            if self.fault.is_some() {
                return true;
            }
            let storing = self.nodes.iter().find(|(_, node)| !node.unstored.is_empty()).map(|(id, _)| *id);
            let answering = self.nodes.iter().find(|(_, node)| !node.answers.is_empty()).map(|(id, _)| *id);
            match (storing, answering) {
                (Some(id), _) => self.store(id),
                (None, Some(id)) => self.answer(id),
                (None, None) if is_done(self) => return true,
                (None, None) => match self.letters.pop_front() {
                    Some((from, to, message)) if to.0 <= NODES => self.hand(to, Input::Message { from, message }),
                    Some(_) => {}
                    None => self.pass(),
                },
            }
        }
        false
    }

    /// Nothing is under way, and somebody acts.
    fn is_quiet(&self) -> bool {
        let idle = |node: &Node<P>| {
            let inner = node.running.as_ref().and_then(Replicated::inner);
            inner.is_none_or(|inner| inner.under_way() == (0, 0))
        };
        !self.acting().is_empty() && self.nodes.values().all(idle)
    }

    /// What is committed all have applied, and nothing is held.
    fn check_end(&mut self) {
        let held = self.nodes.iter().find_map(|(id, node)| Some((*id, *node.held.first()?)));
        if let Some((id, tx)) = held {
            self.blame(format!("{id} holds what it needs for {tx} for ever"));
        }
        let mut faults = Vec::new();
        for (tx, twin) in &self.twins {
            let is_committed = twin.told.contains(&Outcome::Committed);
            self.seen.committed += usize::from(is_committed);
            self.seen.aborted += usize::from(!is_committed);
            let missing = twin.work.iter().flat_map(Work::keys).find(|id| !twin.applied.contains(id));
            if let Some(id) = missing.filter(|_| is_committed) {
                faults.push(format!("{tx} is committed, and {id} has not applied it"));
            }
        }
        faults.into_iter().for_each(|fault| self.blame(fault));
    }
}

fn number(part: &Bytes) -> u64 {
    std::str::from_utf8(part).unwrap().parse().unwrap()
}

/// One history.
pub(crate) fn run<P: Replicable>(seed: u64, prepare: &impl Fn(&mut Config)) -> World<P> {
    let mut world = World::new(seed, prepare);
    for _ in 0..3_000 {
        world.step();
        if world.fault.is_some() {
            return world;
        }
    }
    world.heal(60_000);
    world
}

/// Many histories: nothing is wrong in any, and enough was tried.
pub(crate) fn check<P: Replicable>(seeds: std::ops::Range<u64>) {
    let least = usize::try_from(seeds.end - seeds.start).unwrap();
    let mut all = Seen::default();
    for seed in seeds {
        let world = run::<P>(seed, &|_| {});
        assert_eq!(world.fault, None, "seed {seed}");
        all.committed += world.seen.committed;
        all.aborted += world.seen.aborted;
        all.acting += world.seen.acting;
        all.beside += world.seen.beside;
        all.snapshots += world.seen.snapshots;
    }
    let Seen { committed, aborted, acting, beside, snapshots } = all;
    let told = format!(
        "{committed} committed, {aborted} aborted, {acting} acted, {beside} beside another, {snapshots} snapshots"
    );
    assert!(
        committed > least && aborted > least && acting > least * 2 && beside * 20 > least && snapshots * 4 > least,
        "{told}"
    );
}

/// Every known bug shows within so many histories.
#[cfg(feature = "weakened")]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
pub(crate) fn check_weakness<P: Replicable>(name: &str, origin: &str, seeds: u64, weaken: &impl Fn(&mut Config)) {
    let caught = (0..seeds).find_map(|seed| run::<P>(seed, weaken).fault.map(|fault| (seed, fault)));
    let (seed, fault) = caught.unwrap_or_else(|| panic!("{name} is not seen in {seeds} histories"));
    println!("bug\t{name}\t{origin}\t{} histories\t{fault}", seed + 1);
}
