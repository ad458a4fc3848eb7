//! Known bugs within reach: each with bounds that hold what it breaks, and how far that is.

use std::fmt::Debug;

use hezong_commit::Weakness as OfCommit;
use hezong_paxos::basic::Weakness as OfPaxos;
use hezong_paxos::multi::Weakness as OfMultiPaxos;
use hezong_paxos::register::Weakness as OfRegister;
use hezong_raft::Weakness as OfRaft;
use hezong_zab::Weakness as OfZab;

use crate::{
    Cluster, Limits, Model, MultiPaxosBounds, Order, PaxosBounds, RaftBounds, RegisterBounds, Report, ThreePhaseCommit,
    TwoPhaseCommitBounds, ZabBounds, ZabStart, explore,
};

/// What can be given known bugs: how far to go with a protocol.
pub trait Weakened: Copy {
    /// What stands before the names of its bugs, to tell them from those of other protocols.
    const PREFIX: &'static str;
    /// Its bugs.
    type Weakness: Copy + Debug;
    /// What is explored.
    type Model: Model;

    /// That, with a bug in every node or without.
    fn with(self, weakness: Option<Self::Weakness>) -> Self::Model;
    /// Who has made this mistake, or warns of it.
    fn origin(weakness: Self::Weakness) -> &'static str;
}

/// A step of what is explored.
type ActionOf<B> = <<B as Weakened>::Model as Model>::Action;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Mutant<B: Weakened> {
    /// What is put into every node.
    pub weakness: B::Weakness,
    /// What may happen.
    pub bounds: B,
    /// What it breaks.
    pub property: &'static str,
    /// After how many steps, at least.
    pub steps: usize,
}

const RAFT: RaftBounds = RaftBounds::SMALL;
const PAXOS: PaxosBounds = PaxosBounds::SMALL;
const MULTI_PAXOS: MultiPaxosBounds = MultiPaxosBounds { slots: 2, ..MultiPaxosBounds::SMALL };
const ZAB: ZabBounds = ZabBounds::SMALL;
const TWO_PHASE: TwoPhaseCommitBounds = TwoPhaseCommitBounds::SMALL;
const ONE_CRASH: ThreePhaseCommit = ThreePhaseCommit::new(2, 1);
const TWO_CRASHES: ThreePhaseCommit = ThreePhaseCommit { restarts: false, ..ThreePhaseCommit::new(2, 2) };
const BEHIND: ZabBounds = ZabBounds { start: ZabStart::Behind, ..ZAB };
const ALONE: ZabBounds = ZabBounds { start: ZabStart::Alone, ..ZAB };
const INTERRUPTED: ZabBounds = ZabBounds { start: ZabStart::Interrupted, ..ZAB };
const TORN: ZabBounds = ZabBounds { start: ZabStart::Torn, slow_disks: true, ..ZAB };

/// What most of those of ZAB break.
const HAS_ALL: &str = "who serves has all that was before";
/// The same.
const ON_DISKS: &str = "committed is on a majority of disks";

/// Those of Raft. Figure 8 of the paper is the last: four terms, and entries that travel alone.
pub const OF_RAFT: [Mutant<RaftBounds>; 7] = [
    raft(OfRaft::DoubleVote, RAFT, "election safety", 6),
    raft(OfRaft::VoteBeforeStored, RaftBounds { crashes: 1, ..RAFT }, "election safety", 6),
    raft(OfRaft::ForgottenTerm, RaftBounds { terms: 1, crashes: 1, slow_disks: true, ..RAFT }, "election safety", 9),
    raft(OfRaft::AckBeforeStored, RaftBounds { crashes: 1, ..RAFT }, "leader completeness", 8),
    raft(OfRaft::TruncateAcknowledged, RaftBounds { entries: 1, ..RAFT }, "leader completeness", 12),
    raft(OfRaft::AppendWithoutCheck, RaftBounds { terms: 3, entries: 1, ..RAFT }, "log matching", 11),
    raft(OfRaft::CommitOldTermByCounting, RaftBounds { terms: 4, one_by_one: true, ..RAFT }, "leader completeness", 18),
];

/// Those of Paxos.
pub const OF_PAXOS: [Mutant<PaxosBounds>; 10] = [
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

/// Those of registers. The rest are of reads, deletion and members, which are not explored, or farther away.
pub const OF_REGISTER: [Mutant<RegisterBounds>; 7] = [
    register(OfRegister::BallotReused, 1, "one state a ballot", 6),
    register(OfRegister::PromiseBeforeStored, 1, "one chain of states", 7),
    register(OfRegister::AcceptBeforeStored, 1, "what users are told was chosen since they asked", 5),
    register(OfRegister::OldPromiseCounted, 0, "one chain of states", 8),
    register(OfRegister::AcceptBelowPromise, 0, "promises are kept", 5),
    register(OfRegister::HalfIsMajority, 0, "what users are told was chosen since they asked", 1),
    register(OfRegister::MemoryOutlivesRefusal, 0, "one chain of states", 7),
];

/// Those of Multi-Paxos. The rest are of leases, members, reads and snapshots, which are not explored, or farther away.
pub const OF_MULTI_PAXOS: [Mutant<MultiPaxosBounds>; 7] = [
    multi_paxos(OfMultiPaxos::BallotReused, 1, "one value a slot and ballot", 6),
    multi_paxos(OfMultiPaxos::PromiseBeforeStored, 1, "agreement", 7),
    multi_paxos(OfMultiPaxos::AcceptBeforeStored, 1, "only what was chosen is told", 3),
    multi_paxos(OfMultiPaxos::OwnValue, 0, "agreement", 7),
    multi_paxos(OfMultiPaxos::HoleSkipped, 0, "told in order", 8),
    multi_paxos(OfMultiPaxos::AcceptBelowPromise, 0, "agreement", 7),
    multi_paxos(OfMultiPaxos::HalfIsMajority, 0, "only what was chosen is told", 1),
];

/// Those of ZAB, the six among them that Ouyang and others name. Others need more elections than one, observers, or an epoch
/// that ends.
pub const OF_ZAB: [Mutant<ZabBounds>; 11] = [
    zab(OfZab::Zk3023, BEHIND, HAS_ALL, 7),
    zab(OfZab::Zk4394, ZabBounds { writes: 1, syncs: 1, ..ZAB }, "sync is up to date", 24),
    zab(OfZab::Zk4643, TORN, HAS_ALL, 11),
    zab(OfZab::Zk4646, ZabBounds { crashes: 1, ..ALONE }, ON_DISKS, 7),
    zab(OfZab::Zk4685, BEHIND, "a leader gives up for a reason", 7),
    zab(OfZab::Zk4712, INTERRUPTED, "primary order", 8),
    zab(OfZab::CommitOutOfOrder, ZabBounds { writes: 2, ..ZAB }, "delivered in order", 16),
    zab(OfZab::ProposalAckBeforeStored, ZabBounds { writes: 1, slow_disks: true, ..ZAB }, ON_DISKS, 14),
    zab(OfZab::EpochBeforeStored, ZabBounds { crashes: 1, elections: 1, ..ZAB }, "one leader an epoch", 11),
    zab(OfZab::EstablishedWithoutQuorum, ALONE, ON_DISKS, 3),
    zab(OfZab::GapUnnoticed, BEHIND, HAS_ALL, 7),
];

/// Those of two-phase commit, but for the one that takes a second transaction.
pub const OF_TWO_PHASE: [Mutant<TwoPhaseCommitBounds>; 9] = [
    two_phase(OfCommit::VoteBeforeStored, 1, "only what all have promised is committed", 7),
    two_phase(OfCommit::DecisionBeforeStored, 1, "only what was decided is applied", 8),
    two_phase(OfCommit::ForgottenEarly, 0, "a transaction is kept until it is over", 9),
    two_phase(OfCommit::UnknownCommits, 0, "agreement", 6),
    two_phase(OfCommit::DoubtAborts, 0, "agreement", 8),
    two_phase(OfCommit::YesCountedTwice, 0, "only what all have promised is committed", 5),
    two_phase(OfCommit::PeerAborts, 0, "agreement", 11),
    two_phase(OfCommit::PeerAbortForgotten, 0, "agreement", 11),
    two_phase(OfCommit::LatePrepare, 0, "what is committed is not opened again", 9),
];

/// Those of three-phase commit, with two participants.
pub const OF_THREE_PHASE: [Mutant<ThreePhaseCommit>; 10] = [
    three_phase(OfCommit::VoteBeforeStored, ONE_CRASH, "only what all have promised is committed", 11),
    three_phase(OfCommit::DecisionBeforeStored, ONE_CRASH, "what is told is on disk", 11),
    three_phase(OfCommit::PeerAbortForgotten, ONE_CRASH, "agreement", 15),
    three_phase(OfCommit::AppliedBeforeDecided, ONE_CRASH, "what is applied is on disk", 7),
    three_phase(OfCommit::CommitWithoutReady, ONE_CRASH, "agreement", 15),
    three_phase(OfCommit::TimeoutAlone, ONE_CRASH, "agreement", 14),
    three_phase(OfCommit::RecoveredActs, ONE_CRASH, "agreement", 17),
    three_phase(OfCommit::RecoveryAborts, ONE_CRASH, "agreement", 20),
    three_phase(OfCommit::SilenceAborts, TWO_CRASHES, "agreement", 20),
    three_phase(OfCommit::CommitUnpromoted, TWO_CRASHES, "agreement", 23),
];

const fn three_phase(
    weakness: OfCommit,
    bounds: ThreePhaseCommit,
    property: &'static str,
    steps: usize,
) -> Mutant<ThreePhaseCommit> {
    Mutant { weakness, bounds, property, steps }
}

const fn two_phase(
    weakness: OfCommit,
    crashes: u8,
    property: &'static str,
    steps: usize,
) -> Mutant<TwoPhaseCommitBounds> {
    Mutant { weakness, bounds: TwoPhaseCommitBounds { crashes, ..TWO_PHASE }, property, steps }
}

const fn register(weakness: OfRegister, crashes: u8, property: &'static str, steps: usize) -> Mutant<RegisterBounds> {
    Mutant { weakness, bounds: RegisterBounds { crashes, ..RegisterBounds::SMALL }, property, steps }
}

const fn multi_paxos(
    weakness: OfMultiPaxos,
    crashes: u8,
    property: &'static str,
    steps: usize,
) -> Mutant<MultiPaxosBounds> {
    Mutant { weakness, bounds: MultiPaxosBounds { crashes, ..MULTI_PAXOS }, property, steps }
}

const fn zab(weakness: OfZab, bounds: ZabBounds, property: &'static str, steps: usize) -> Mutant<ZabBounds> {
    Mutant { weakness, bounds, property, steps }
}

const fn raft(weakness: OfRaft, bounds: RaftBounds, property: &'static str, steps: usize) -> Mutant<RaftBounds> {
    Mutant { weakness, bounds, property, steps }
}

const fn paxos(weakness: OfPaxos, bounds: PaxosBounds, property: &'static str, steps: usize) -> Mutant<PaxosBounds> {
    Mutant { weakness, bounds, property, steps }
}

/// Gives known bugs to subjects and to a model of its own, which say all the same.
macro_rules! weakened {
    ($given:ty, $prefix:literal, $weakness:ty, $model:ty, $new:expr) => {
        impl Weakened for $given {
            const PREFIX: &'static str = $prefix;
            type Weakness = $weakness;
            type Model = $model;

            fn with(self, weakness: Option<$weakness>) -> $model {
                $new(Self { weakness, ..self })
            }

            fn origin(weakness: $weakness) -> &'static str {
                weakness.origin()
            }
        }
    };
}

weakened!(RaftBounds, "", OfRaft, Cluster<Self>, Cluster::new);
weakened!(PaxosBounds, "paxos::", OfPaxos, Cluster<Self>, Cluster::new);
weakened!(RegisterBounds, "register::", OfRegister, Cluster<Self>, Cluster::new);
weakened!(MultiPaxosBounds, "multi-paxos::", OfMultiPaxos, Cluster<Self>, Cluster::new);
weakened!(ZabBounds, "zab::", OfZab, Cluster<Self>, Cluster::new);
weakened!(TwoPhaseCommitBounds, "two-phase::", OfCommit, Cluster<Self>, Cluster::new);
weakened!(ThreePhaseCommit, "three-phase::", OfCommit, Self, std::convert::identity);

/// More states than any of them is away, so that a bug that is missed does not take all memory.
const STATES_MAX: u64 = 2_000_000;

impl<B: Weakened> Mutant<B> {
    /// Looks for what the bug breaks, nearest first.
    #[must_use]
    pub fn explore(&self) -> Report<ActionOf<B>> {
        self.search(Some(self.weakness), Limits { states_max: Some(STATES_MAX), ..Limits::default() })
    }

    /// Looks as far as that without the bug, where nothing is to be found.
    #[must_use]
    pub fn explore_sound(&self, depth: u32) -> Report<ActionOf<B>> {
        self.search(None, Limits { depth_max: Some(depth), ..Limits::default() })
    }

    fn search(&self, weakness: Option<B::Weakness>, limits: Limits) -> Report<ActionOf<B>> {
        let mut model = self.bounds.with(weakness);
        let start = model.initial();
        explore(&mut model, &start, Order::Breadth, limits, |_, _, _| {})
    }
}
