//! Known bugs within reach: each with bounds that hold what it breaks, and how far that is.

use hezong_raft::Weakness;

use crate::{Action, Cluster, Limits, Model, Order, RaftBounds, RaftSubject, Report, explore};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is put into every node.
    pub weakness: Weakness,
    /// What may happen.
    pub bounds: RaftBounds,
    /// What it breaks.
    pub property: &'static str,
    /// After how many steps, at least.
    pub steps: usize,
}

const SMALL: RaftBounds = RaftBounds::SMALL;

/// All of them. Figure 8 of the paper is the last: four terms, and entries that travel alone.
pub const ALL: [Mutant; 7] = [
    mutant(Weakness::DoubleVote, SMALL, "election safety", 6),
    mutant(Weakness::VoteBeforeStored, RaftBounds { crashes: 1, ..SMALL }, "election safety", 6),
    mutant(
        Weakness::ForgottenTerm,
        RaftBounds { terms: 1, crashes: 1, slow_disks: true, ..SMALL },
        "election safety",
        9,
    ),
    mutant(Weakness::AckBeforeStored, RaftBounds { crashes: 1, ..SMALL }, "leader completeness", 8),
    mutant(Weakness::TruncateAcknowledged, RaftBounds { entries: 1, ..SMALL }, "leader completeness", 12),
    mutant(Weakness::AppendWithoutCheck, RaftBounds { terms: 3, entries: 1, ..SMALL }, "log matching", 11),
    mutant(
        Weakness::CommitOldTermByCounting,
        RaftBounds { terms: 4, one_by_one: true, ..SMALL },
        "leader completeness",
        18,
    ),
];

const fn mutant(weakness: Weakness, bounds: RaftBounds, property: &'static str, steps: usize) -> Mutant {
    Mutant { weakness, bounds, property, steps }
}

/// More states than any of them is away, so that a bug that is missed does not take all memory.
const STATES_MAX: u64 = 2_000_000;

impl Mutant {
    /// The nodes with their bug.
    #[must_use]
    pub fn cluster(&self) -> Cluster<RaftSubject> {
        Cluster::new(RaftSubject::new(self.bounds).weakened(Some(self.weakness)), self.bounds.general())
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
        let mut cluster = Cluster::new(RaftSubject::new(self.bounds), self.bounds.general());
        Self::search(&mut cluster, Limits { depth_max: Some(depth), ..Limits::default() })
    }

    fn search(cluster: &mut Cluster<RaftSubject>, limits: Limits) -> Report<Action> {
        let start = cluster.initial();
        explore(cluster, &start, Order::Breadth, limits, |_, _, _| {})
    }
}
