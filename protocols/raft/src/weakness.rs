//! Known bugs as switches. With the feature `weakened`, [`crate::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.
//!
//! Each is a mistake somebody has made in an implementation that shipped, and sits as one line where it matters.

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// A candidate asks for votes, and counts its own, before its new term is on disk: after a crash it may lead the
    /// same term a second time, with another log.
    ForgottenTerm,
    /// A vote leaves before it is on disk: after a crash the node votes again in the same term.
    VoteBeforeStored,
    /// Entries are acknowledged before they are on disk: after a crash a committed entry is missing.
    AckBeforeStored,
    /// An entry of an older term is committed by counting its copies (figure 8 of the paper).
    CommitOldTermByCounting,
    /// Every forwarded read carries the same token: a late answer to an old read serves a new one.
    ReadTokenReused,
    /// A leader serves reads before it has committed an entry of its own term, so it may not know all that is committed.
    ReadWithoutOwnTerm,
    /// The lease is counted from when the acknowledgement came, not from before the heartbeat left.
    LeaseFromAck,
    /// A node votes although a lease it granted has not passed, or although it may have granted one before it restarted.
    VoteDuringLease,
    /// A leader changes the members before an entry of its own term is committed (RAFT-11).
    MembershipWithoutEmptyEntry,
    /// A learner's acknowledgement counts towards a commit.
    LearnerCounted,
    /// An append cuts off whatever lies behind what it brings, conflict or not: a late one takes back what was
    /// acknowledged meanwhile.
    TruncateAcknowledged,
    /// An append is taken when the index before it exists, whatever its term (no Log Matching).
    AppendWithoutCheck,
    /// A write reported as stored counts for indices that were truncated and written anew meanwhile (ABA).
    StoredByIndex,
    /// A snapshot replaces the log of a member that is ahead of it: entries it acknowledged are gone (RAFT-13).
    SnapshotDropsSuffix,
    /// A node whose state is lost leads on without it.
    LeadWithoutState,
    /// A node whose log was damaged campaigns and votes as if it had never held what it lost.
    DebtForgotten,
    /// A node forgets that its vote of this term is spent.
    DoubleVote,
    /// A leader keeps its lease although it has asked another to take over.
    LeaseKeptOverTransfer,
    /// A leader gives its lease up before it asks another to take over, but lets the next round renew it: what it asked
    /// may still be on its way.
    LeaseTakenUpAgain,
    /// Several voters are changed at once without a joint membership: majorities before and after need not meet (RAFT-7).
    PlainReplacement,
    /// While the membership is joint, a majority of all voters of both sets together decides.
    JointMajorityOfSum,
    /// A newcomer is given the number of one that left: two machines of one name vote twice.
    NumberReused,
    /// Members count from when their entry is committed, which each node learns at another time.
    MembershipOnCommit,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 23] = [
        Self::ForgottenTerm,
        Self::VoteBeforeStored,
        Self::AckBeforeStored,
        Self::CommitOldTermByCounting,
        Self::ReadTokenReused,
        Self::ReadWithoutOwnTerm,
        Self::LeaseFromAck,
        Self::VoteDuringLease,
        Self::MembershipWithoutEmptyEntry,
        Self::LearnerCounted,
        Self::TruncateAcknowledged,
        Self::AppendWithoutCheck,
        Self::StoredByIndex,
        Self::SnapshotDropsSuffix,
        Self::LeadWithoutState,
        Self::DebtForgotten,
        Self::DoubleVote,
        Self::LeaseKeptOverTransfer,
        Self::LeaseTakenUpAgain,
        Self::PlainReplacement,
        Self::JointMajorityOfSum,
        Self::NumberReused,
        Self::MembershipOnCommit,
    ];
}
