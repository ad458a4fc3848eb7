//! Known bugs, put in one at a time: until something is caught, nothing shows that anything can be.

use std::fmt;
use std::ops::Range;

use hezong_raft::Weakness;

use crate::batch::run_many;
use crate::check::Violation;
use crate::plan::{Shape, Slip};
use crate::run::{Options, Report, UNDECIDED, run};

/// A bug that somebody has shipped somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// In the protocol.
    Weak(Weakness),
    /// In the node around it.
    Node(hezong_node::Weakness),
    /// In the replicated state.
    State(hezong_kv::Weakness),
    /// In the surroundings: nothing in the code is wrong.
    Around(Slip),
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weak(weakness) => write!(f, "{weakness:?}"),
            Self::Node(weakness) => write!(f, "{weakness:?}"),
            Self::State(weakness) => write!(f, "{weakness:?}"),
            Self::Around(slip) => write!(f, "{slip:?}"),
        }
    }
}

impl Mutant {
    /// Who has made this mistake, or where one is warned of it.
    #[must_use]
    pub fn origin(self) -> &'static str {
        match self {
            Self::Weak(weakness) => weakness.origin(),
            Self::Node(weakness) => weakness.origin(),
            Self::State(weakness) => weakness.origin(),
            Self::Around(slip) => slip.origin(),
        }
    }

    pub(crate) fn raft(self) -> Option<Weakness> {
        if let Self::Weak(weakness) = self { Some(weakness) } else { None }
    }

    pub(crate) fn node(self) -> Option<hezong_node::Weakness> {
        if let Self::Node(weakness) = self { Some(weakness) } else { None }
    }

    pub(crate) fn state(self) -> Option<hezong_kv::Weakness> {
        if let Self::State(weakness) = self { Some(weakness) } else { None }
    }
}

/// How a mutant ended.
#[derive(Clone, Debug)]
pub struct Kill {
    /// The first seed found that shows it.
    pub seed: u64,
    /// How many seeds it took. The same at every run: seeds are begun in order, and whatever was begun is finished.
    pub seeds: u64,
    /// Which checker saw what.
    pub violation: Violation,
}

/// All mutants.
#[must_use]
pub fn all() -> Vec<Mutant> {
    let core = Weakness::ALL.into_iter().map(Mutant::Weak);
    let node = hezong_node::Weakness::ALL.into_iter().map(Mutant::Node);
    let state = hezong_kv::Weakness::ALL.into_iter().map(Mutant::State);
    core.chain(node).chain(state).chain(Slip::ALL.into_iter().map(Mutant::Around)).collect()
}

/// The options of a run with that bug in it. The rarer ones are looked for where they would show.
#[must_use]
pub fn options(mutant: Mutant) -> Options {
    let slip = if let Mutant::Around(slip) = mutant { Some(slip) } else { None };
    Options { weakness: Some(mutant), slip, shape: shape(mutant), ..Options::default() }
}

/// Where a bug is looked for.
#[must_use]
pub fn shape(mutant: Mutant) -> Shape {
    match mutant {
        Mutant::Around(Slip::BrokenDrift)
        | Mutant::Weak(Weakness::LeaseFromAck | Weakness::VoteDuringLease | Weakness::ReadWithoutRound) => {
            Shape::Leases
        }
        Mutant::Weak(Weakness::MembershipWithoutEmptyEntry | Weakness::LearnerCounted | Weakness::NumberReused) => {
            Shape::Members
        }
        Mutant::Weak(Weakness::LeaseKeptOverTransfer | Weakness::LeaseTakenUpAgain) => Shape::Transfers,
        Mutant::Weak(Weakness::PlainReplacement | Weakness::JointMajorityOfSum | Weakness::MembershipOnCommit) => {
            Shape::Joint
        }
        Mutant::Weak(Weakness::DebtForgotten) => Shape::Damage,
        Mutant::Weak(Weakness::StoredByIndex) => Shape::Disks,
        Mutant::Weak(Weakness::CommitOldTermByCounting | Weakness::CommitUnvouched) => Shape::Elections,
        Mutant::Weak(Weakness::ReadTokenReused) | Mutant::Node(hezong_node::Weakness::ReadBeforeApplied) => {
            Shape::Frames
        }
        Mutant::Weak(Weakness::SnapshotDropsSuffix | Weakness::LeadWithoutState)
        | Mutant::State(hezong_kv::Weakness::SessionsNotInSnapshot | hezong_kv::Weakness::AppliedApart)
        | Mutant::Around(Slip::CompactUnpersisted | Slip::InstallBeforeSwitch | Slip::ChunksOfNow) => Shape::Snapshots,
        Mutant::Around(Slip::ReserveForgotten | Slip::ReserveAtLog | Slip::DeletesBarred) => Shape::FullDisks,
        Mutant::Weak(
            Weakness::ForgottenTerm
            | Weakness::VoteBeforeStored
            | Weakness::AckBeforeStored
            | Weakness::ReadWithoutOwnTerm
            | Weakness::TruncateAcknowledged
            | Weakness::AppendWithoutCheck
            | Weakness::DoubleVote
            | Weakness::VoteForStaleLog
            | Weakness::CommitWithoutMajority
            | Weakness::ApplyBeforeCommit,
        )
        | Mutant::Node(hezong_node::Weakness::AnswerByIndex)
        | Mutant::State(hezong_kv::Weakness::OnceLostOnRestart)
        | Mutant::Around(Slip::BlankDisk) => Shape::Any,
    }
}

/// Runs seeds until one shows the bug; `None` if none of them does.
#[must_use]
pub fn kill(mutant: Mutant, seeds: Range<u64>) -> Option<Kill> {
    let shows = |report: &Report| report.violation.as_ref().is_some_and(|violation| violation.property != UNDECIDED);
    let start = seeds.start;
    let summary = run_many(seeds, options(mutant), false, |failures| failures.iter().any(shows), |_, _| {});
    // And not without the bug.
    let sound = Options { weakness: None, slip: None, ..options(mutant) };
    let of_the_bug = |report: &Report| run(report.seed, sound).violation.is_none();
    let first = summary.failures.iter().find(|report| shows(report) && of_the_bug(report))?;
    Some(Kill { seed: first.seed, seeds: first.seed - start + 1, violation: first.violation.clone()? })
}
