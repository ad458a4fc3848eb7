//! Known bugs within reach: each with bounds that hold what it breaks, and how far that is.

use std::fmt::Debug;

use hezong_paxos::basic::Weakness as OfPaxos;
use hezong_raft::Weakness as OfRaft;

use crate::{
    Action, Bounds, Cluster, Limits, Model, Order, PaxosBounds, PaxosSubject, RaftBounds, RaftSubject, Report, Subject,
    explore,
};

/// A subject that can be given known bugs.
pub trait Weakened: Subject + Sized {
    /// What stands before the names of its bugs, to tell them from those of other protocols.
    const PREFIX: &'static str;
    /// Its bugs.
    type Weakness: Copy + Debug;
    /// How far to go with it.
    type Bounds: Copy;

    /// The subject, with a bug in every node or without.
    fn with(bounds: Self::Bounds, weakness: Option<Self::Weakness>) -> Self;
    /// The part of the bounds that every protocol shares.
    fn general(bounds: Self::Bounds) -> Bounds;
    /// Who has made this mistake, or warns of it.
    fn origin(weakness: Self::Weakness) -> &'static str;
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Mutant<S: Weakened> {
    /// What is put into every node.
    pub weakness: S::Weakness,
    /// What may happen.
    pub bounds: S::Bounds,
    /// What it breaks.
    pub property: &'static str,
    /// After how many steps, at least.
    pub steps: usize,
}

const RAFT: RaftBounds = RaftBounds::SMALL;
const PAXOS: PaxosBounds = PaxosBounds::SMALL;

/// Those of Raft. Figure 8 of the paper is the last: four terms, and entries that travel alone.
pub const OF_RAFT: [Mutant<RaftSubject>; 7] = [
    raft(OfRaft::DoubleVote, RAFT, "election safety", 6),
    raft(OfRaft::VoteBeforeStored, RaftBounds { crashes: 1, ..RAFT }, "election safety", 6),
    raft(OfRaft::ForgottenTerm, RaftBounds { terms: 1, crashes: 1, slow_disks: true, ..RAFT }, "election safety", 9),
    raft(OfRaft::AckBeforeStored, RaftBounds { crashes: 1, ..RAFT }, "leader completeness", 8),
    raft(OfRaft::TruncateAcknowledged, RaftBounds { entries: 1, ..RAFT }, "leader completeness", 12),
    raft(OfRaft::AppendWithoutCheck, RaftBounds { terms: 3, entries: 1, ..RAFT }, "log matching", 11),
    raft(OfRaft::CommitOldTermByCounting, RaftBounds { terms: 4, one_by_one: true, ..RAFT }, "leader completeness", 18),
];

/// Those of Paxos.
pub const OF_PAXOS: [Mutant<PaxosSubject>; 10] = [
    paxos(OfPaxos::BallotReused, PaxosBounds { crashes: 1, ..PAXOS }, "one value a ballot", 6),
    paxos(OfPaxos::PromiseBeforeStored, PaxosBounds { crashes: 1, ..PAXOS }, "agreement", 8),
    paxos(OfPaxos::AcceptBeforeStored, PaxosBounds { crashes: 1, ..PAXOS }, "only what was chosen is learned", 5),
    paxos(OfPaxos::MostCommonValue, PaxosBounds { rounds: 2, ..PAXOS }, "agreement", 12),
    paxos(OfPaxos::OwnValue, PAXOS, "agreement", 8),
    paxos(OfPaxos::OldPromiseCounted, PaxosBounds { rounds: 2, ..PAXOS }, "agreement", 9),
    paxos(OfPaxos::AcceptBelowPromise, PAXOS, "agreement", 8),
    paxos(OfPaxos::AcceptWithoutPromise, PaxosBounds { rounds: 2, ..PAXOS }, "promises are kept", 5),
    paxos(OfPaxos::HalfIsMajority, PAXOS, "only what was chosen is learned", 1),
    paxos(OfPaxos::CountAcrossBallots, PaxosBounds { rounds: 2, ..PAXOS }, "only what was chosen is learned", 7),
];

const fn raft(weakness: OfRaft, bounds: RaftBounds, property: &'static str, steps: usize) -> Mutant<RaftSubject> {
    Mutant { weakness, bounds, property, steps }
}

const fn paxos(weakness: OfPaxos, bounds: PaxosBounds, property: &'static str, steps: usize) -> Mutant<PaxosSubject> {
    Mutant { weakness, bounds, property, steps }
}

impl Weakened for RaftSubject {
    const PREFIX: &'static str = "";
    type Weakness = OfRaft;
    type Bounds = RaftBounds;

    fn with(bounds: RaftBounds, weakness: Option<OfRaft>) -> Self {
        Self::new(bounds).weakened(weakness)
    }

    fn general(bounds: RaftBounds) -> Bounds {
        bounds.general()
    }

    fn origin(weakness: OfRaft) -> &'static str {
        weakness.origin()
    }
}

impl Weakened for PaxosSubject {
    const PREFIX: &'static str = "paxos::";
    type Weakness = OfPaxos;
    type Bounds = PaxosBounds;

    fn with(bounds: PaxosBounds, weakness: Option<OfPaxos>) -> Self {
        Self::new(bounds).weakened(weakness)
    }

    fn general(bounds: PaxosBounds) -> Bounds {
        bounds.general()
    }

    fn origin(weakness: OfPaxos) -> &'static str {
        weakness.origin()
    }
}

/// More states than any of them is away, so that a bug that is missed does not take all memory.
const STATES_MAX: u64 = 2_000_000;

impl<S: Weakened> Mutant<S> {
    /// The nodes with their bug.
    #[must_use]
    pub fn cluster(&self) -> Cluster<S> {
        Cluster::new(S::with(self.bounds, Some(self.weakness)), S::general(self.bounds))
    }

    /// Looks for what the bug breaks, nearest first.
    #[must_use]
    pub fn explore(&self) -> Report<Action> {
        let limits = Limits { states_max: Some(STATES_MAX), ..Limits::default() };
        Self::search(&mut self.cluster(), limits)
    }

    /// Looks as far as that without the bug, where nothing is to be found.
    #[must_use]
    pub fn explore_sound(&self, depth: u32) -> Report<Action> {
        let mut cluster = Cluster::new(S::with(self.bounds, None), S::general(self.bounds));
        Self::search(&mut cluster, Limits { depth_max: Some(depth), ..Limits::default() })
    }

    fn search(cluster: &mut Cluster<S>, limits: Limits) -> Report<Action> {
        let start = cluster.initial();
        explore(cluster, &start, Order::Breadth, limits, |_, _, _| {})
    }
}
