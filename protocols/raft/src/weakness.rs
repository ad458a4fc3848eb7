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
    /// A vote is given whatever the candidate's log lacks: who is elected may not have what is committed.
    VoteForStaleLog,
    /// What is committed is told and taken beyond what the message vouches for: entries that the leader does not have. Both
    /// sides have to make the mistake, since either alone is guarded by the other.
    CommitUnvouched,
    /// A leader commits what it has itself on disk, whatever others have.
    CommitWithoutMajority,
    /// Entries reach the state machine as soon as they are on disk, committed or not.
    ApplyBeforeCommit,
    /// A leader answers reads from what it knows, without asking whether it still leads.
    ReadWithoutRound,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 28] = [
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
        Self::VoteForStaleLog,
        Self::CommitUnvouched,
        Self::CommitWithoutMajority,
        Self::ApplyBeforeCommit,
        Self::ReadWithoutRound,
    ];

    /// Who has made this mistake, as `repository#issue`, or where one is warned of it. Sections are of the paper ("In
    /// Search of an Understandable Consensus Algorithm", extended) or, where it says so, of Ongaro's dissertation.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::ForgottenTerm => "wenweihu86/raft-java#57",
            Self::VoteBeforeStored => "robustmq#2039; figure 2",
            Self::AckBeforeStored => "d-engine#446",
            Self::CommitOldTermByCounting => "logcabin#44, canonical/raft#220; figure 8",
            Self::ReadTokenReused => "etcd#20418",
            Self::ReadWithoutOwnTerm => "etcd#7331; §8",
            Self::LeaseFromAck => "dissertation §6.4.1",
            Self::VoteDuringLease => "sofa-jraft#25; dissertation §6.4.1",
            Self::MembershipWithoutEmptyEntry => "copycat#23; Ongaro on raft-dev, 2015",
            Self::LearnerCounted => "rabbitmq/ra#427",
            Self::TruncateAcknowledged => "hashicorp/raft#113",
            Self::AppendWithoutCheck => "d-engine#411, in review; §5.3",
            Self::StoredByIndex => "etcd-io/raft, `newStorageAppendRespMsg` on ABA",
            Self::SnapshotDropsSuffix => "camunda#6092, etcd#1763; §7",
            Self::LeadWithoutState => "Paxos Made Live §5.1",
            Self::DebtForgotten => "Protocol-Aware Recovery (FAST'18) §2.3",
            Self::DoubleVote => "nebula#2405, CCF#8094",
            Self::LeaseKeptOverTransfer => "tikv#1593",
            Self::LeaseTakenUpAgain => "raft-rs#234",
            Self::PlainReplacement => "§6, figure 10",
            Self::JointMajorityOfSum => "async-raft#62",
            Self::NumberReused => "openraft#2002",
            Self::MembershipOnCommit => "jraft#1, NuRaft#67; dissertation §4.1",
            Self::VoteForStaleLog => "openraft#1220, jgroups-raft#14; §5.4.1",
            Self::CommitUnvouched => "copycat#265, scylladb#9965, NuRaft#57; figure 2",
            Self::CommitWithoutMajority => "openraft#1802",
            Self::ApplyBeforeCommit => "rabbitmq/ra#508",
            Self::ReadWithoutRound => "etcd#741, consul#54",
        }
    }
}
