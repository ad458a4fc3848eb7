//! Atomic commit: at each node a user who begins transactions, and a resource that is asked to vote, holds what it has said yes
//! to, and applies what it is told to, at once or later. What it holds outlives a crash; what it was asked does not, and what
//! the start of its node does not name it gives back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_commit::tcc::Tcc;
use hezong_commit::three_phase::ThreePhase;
use hezong_commit::two_phase::TwoPhase;
use hezong_commit::{Config, Event, Request, TransactionId, Weakness, Work};
use hezong_invariants::{CommitInvariants, Commits};
use hezong_script::commit::{CommitDialect, Told};

use super::subject::{AnswerOf, AskOf, SavedOf};
use super::{Outcome, Subject};

/// One of the protocols of atomic commit.
pub trait Simulated: Commits + Told {
    /// The bugs it can be given.
    const WEAKNESSES: &'static [Weakness];
    /// Those of them that chance meets too seldom.
    const UNSEEN: &'static [&'static str];
    /// See [`Subject::IS_SYNCHRONOUS`].
    const IS_SYNCHRONOUS: bool = false;
}

impl Simulated for TwoPhase {
    const WEAKNESSES: &'static [Weakness] = &Weakness::TWO_PHASE;
    const UNSEEN: &'static [&'static str] = &[];
}

impl Simulated for Tcc {
    const WEAKNESSES: &'static [Weakness] = &Weakness::TCC;
    // No coordinator says both; the tests of the protocol have one that does.
    const UNSEEN: &'static [&'static str] = &["ConfirmAfterCancel"];
}

impl Simulated for ThreePhase {
    const WEAKNESSES: &'static [Weakness] = &Weakness::THREE_PHASE;
    // The coordinator and then its backup must die, each at its moment.
    const UNSEEN: &'static [&'static str] = &["CommitUnpromoted"];
    const IS_SYNCHRONOUS: bool = true;
}

/// Nodes with transactions.
#[derive(Debug)]
pub struct CommitSubject<P> {
    nodes: u64,
    /// Of a thousand votes, how many are yes.
    yes: u64,
    /// Of a thousand answers of a resource, how many are given at once.
    prompt: u64,
    /// Of a thousand outcomes, how many have the user begin another at once: several may be under way.
    follow: u64,
    transactions_max: usize,
    invariants: CommitInvariants<P>,
    #[cfg(feature = "weakened")]
    weakness: Option<Weakness>,
}

/// Two-phase commit.
pub type TwoPhaseSubject = CommitSubject<TwoPhase>;
/// Three-phase commit.
pub type ThreePhaseSubject = CommitSubject<ThreePhase>;
/// Try-Confirm-Cancel.
pub type TccSubject = CommitSubject<Tcc>;

/// What a node's transactions are about.
#[derive(Debug, Default)]
pub struct Resource {
    /// What it has said yes to and not applied yet, on a disk of its own; and whether that was named since its node started.
    held: BTreeMap<TransactionId, bool>,
    /// What it has applied, on that disk too.
    applied: BTreeSet<TransactionId>,
    /// What it is asked and has not answered.
    asked: BTreeSet<TransactionId>,
    /// What it is told to apply and has not.
    told: BTreeSet<TransactionId>,
}

impl Resource {
    fn vote(&mut self, tx: TransactionId, yes: bool) -> Request {
        self.asked.remove(&tx);
        if yes {
            self.held.insert(tx, true);
        }
        Request::Vote { tx, yes }
    }

    fn apply(&mut self, tx: TransactionId) -> Request {
        self.told.remove(&tx);
        self.held.remove(&tx);
        self.applied.insert(tx);
        Request::Applied(tx)
    }
}

impl<P> CommitSubject<P> {
    /// This for one to three of the nodes, whoever asks for it.
    fn work(&self, part: &str, rng: &mut Rng) -> Work {
        let (count, first) = (1 + rng.below(self.nodes.min(3)), rng.below(self.nodes));
        let part = |_| Bytes::copy_from_slice(part.as_bytes());
        (first..first + count).map(|at| (NodeId(1 + at % self.nodes), part(at))).collect()
    }
}

impl<P: Simulated> Subject for CommitSubject<P> {
    type Invariants = CommitInvariants<P>;
    type Dialect = CommitDialect<P>;
    type Machine = Resource;

    const IS_SYNCHRONOUS: bool = P::IS_SYNCHRONOUS;
    const UNSEEN: &'static [&'static str] = P::UNSEEN;

    fn draw(rng: &mut Rng, _weakness: Option<&str>) -> Self {
        Self {
            nodes: 2 + rng.below(4),
            yes: [700, 900, 1_000][rng.below(3) as usize],
            prompt: [200, 800, 1_000][rng.below(3) as usize],
            follow: [0, 400, 700][rng.below(3) as usize],
            transactions_max: if rng.chance(300) { 1 + rng.below(4) as usize } else { 1_024 },
            invariants: CommitInvariants::new(true),
            #[cfg(feature = "weakened")]
            weakness: super::subject::named(P::WEAKNESSES, _weakness),
        }
    }

    fn weaknesses() -> Vec<(String, &'static str)> {
        #[cfg(not(feature = "weakened"))]
        return Vec::new();
        #[cfg(feature = "weakened")]
        P::WEAKNESSES.iter().map(|it| (format!("{it:?}"), it.origin())).collect()
    }

    fn invariants(&self) -> &CommitInvariants<P> {
        &self.invariants
    }

    fn nodes(&self) -> u64 {
        self.nodes
    }

    fn config(&self, id: NodeId, patience: Duration) -> Config {
        let mut config = Config::new(id, (1..=self.nodes).map(NodeId).collect());
        (config.vote_timeout, config.round_trip_max) = (patience, patience);
        (config.retry_min, config.retry_max) = (patience / 8, patience);
        (config.transactions_max, config.work_bytes_max) = (self.transactions_max, 16);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn disk(&self, _: NodeId) -> SavedOf<Self> {
        SavedOf::<Self>::default()
    }

    fn machine(&self, _: &SavedOf<Self>) -> Resource {
        Resource::default()
    }

    fn revive(&self, left: Resource, _: &SavedOf<Self>) -> Resource {
        let held = left.held.into_keys().map(|tx| (tx, false)).collect();
        Resource { held, applied: left.applied, ..Resource::default() }
    }

    fn started(&self, machine: &mut Resource) {
        machine.held.retain(|_, is_named| *is_named);
    }

    fn request(&self, _: &P, nth: u64, rng: &mut Rng) -> Option<Request> {
        // Some are not to be begun: of nobody, of somebody unknown, or with too much to do.
        let kind = rng.below(50);
        let part = if kind == 0 { format!("too long a work {nth}") } else { format!("v{nth}") };
        let mut work = self.work(&part, rng);
        match kind {
            1 => work.clear(),
            2 => drop(work.insert(NodeId(self.nodes + 1), Bytes::from(part))),
            _ => {}
        }
        Some(Request::Begin(work))
    }

    fn hear(&self, machine: &mut Resource, event: &Event, rng: &mut Rng) -> Vec<Request> {
        let is_prompt = rng.chance(self.prompt);
        match event {
            Event::Prepare { tx, .. } => {
                machine.asked.insert(*tx);
                let yes = rng.chance(self.yes);
                is_prompt.then(|| machine.vote(*tx, yes)).into_iter().collect()
            }
            Event::InDoubt { tx, .. } => {
                // It is named: it is kept. What it has applied it does not hold any more.
                machine.held.entry(*tx).and_modify(|is_named| *is_named = true);
                Vec::new()
            }
            Event::Apply { tx, outcome } => {
                let is_able = machine.held.contains_key(tx) || machine.applied.contains(tx);
                let is_asked = *outcome == hezong_commit::Outcome::Aborted || is_able;
                assert!(is_asked, "a resource is to commit {tx}, and has given back what it held for it");
                machine.asked.remove(tx);
                machine.told.insert(*tx);
                is_prompt.then(|| machine.apply(*tx)).into_iter().collect()
            }
            Event::Outcome { tx, .. } => {
                let follows = rng.chance(self.follow);
                follows.then(|| Request::Begin(self.work(&format!("w{tx}"), rng))).into_iter().collect()
            }
            Event::Refused { .. } => Vec::new(),
        }
    }

    fn idle(&self, machine: &mut Resource, rng: &mut Rng) -> Option<Request> {
        if let Some(tx) = machine.told.first().copied() {
            return Some(machine.apply(tx));
        }
        let yes = rng.chance(self.yes);
        machine.asked.first().copied().map(|tx| machine.vote(tx, yes))
    }

    fn outcome(&self, event: &Event) -> Option<(RequestId, Outcome)> {
        match event {
            Event::Outcome { id, outcome: hezong_commit::Outcome::Committed, .. } => Some((*id, Outcome::Done)),
            Event::Outcome { id, .. } | Event::Refused { id, .. } => Some((*id, Outcome::Failed)),
            Event::Prepare { .. } | Event::InDoubt { .. } | Event::Apply { .. } => None,
        }
    }

    fn answer(&self, _: &mut Resource, _: &SavedOf<Self>, ask: &AskOf<Self>) -> AnswerOf<Self> {
        match *ask {}
    }

    fn is_well(&self, nodes: &[&P], machines: &[&Resource], served: &[bool]) -> bool {
        let is_free =
            |machine: &&Resource| machine.held.is_empty() && machine.asked.is_empty() && machine.told.is_empty();
        served.iter().all(|served| *served)
            && nodes.iter().all(|node| node.under_way() == (0, 0))
            && machines.iter().all(is_free)
    }
}
