//! Known bugs as switches. With the feature `weakened`, [`super::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// Which rounds were used is forgotten in a crash: a ballot is used again, with other values.
    BallotReused,
    /// A promise leaves before it is on disk: after a crash the replica accepts below it.
    PromiseBeforeStored,
    /// That a value is accepted is told before it is on disk: after a crash what was chosen is not there.
    AcceptBeforeStored,
    /// The new master puts values of its own where others were reported.
    OwnValue,
    /// Of two values reported for a slot, the new master takes that of the lower ballot.
    LowestBallot,
    /// A hole is jumped over instead of filled.
    HoleSkipped,
    /// Promises for an earlier ballot count for the one under way.
    OldPromiseCounted,
    /// A replica accepts below what it has promised.
    AcceptBelowPromise,
    /// Half of the members count as a majority.
    HalfIsMajority,
    /// A replica takes what it holds for chosen once the master is past it, though it may have it from an earlier master.
    WatermarkTrusted,
    /// The master counts its lease from when it is granted, not from before it asked.
    LeaseFromReply,
    /// The master's lease is as long as that of the replicas, whatever their clocks.
    LeaseWithoutDrift,
    /// A replica that has granted one master a lease promises another that leads already, by a higher ballot.
    LeaseOverridden,
    /// A replica that restarts promises at once, though it may have granted a lease.
    LeaseForgotten,
    /// The master reads before what it found in other's promises is chosen.
    ReadBeforeRecovered,
    /// A change of members is in force in the next slot, though later ones may be proposed to the old already.
    MembersAtOnce,
    /// The master goes on in slots of new members who have promised it nothing.
    MembersUnprepared,
    /// A snapshot carries the first members, not those now in force.
    SnapshotForgetsMembers,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 18] = [
        Self::BallotReused,
        Self::PromiseBeforeStored,
        Self::AcceptBeforeStored,
        Self::OwnValue,
        Self::LowestBallot,
        Self::HoleSkipped,
        Self::OldPromiseCounted,
        Self::AcceptBelowPromise,
        Self::HalfIsMajority,
        Self::WatermarkTrusted,
        Self::LeaseFromReply,
        Self::LeaseWithoutDrift,
        Self::LeaseOverridden,
        Self::LeaseForgotten,
        Self::ReadBeforeRecovered,
        Self::MembersAtOnce,
        Self::MembersUnprepared,
        Self::SnapshotForgetsMembers,
    ];

    /// Where one is warned of it: Lamport 2001 (*Paxos Made Simple*), and Chandra, Griesemer and Redstone 2007 (*Paxos Made
    /// Live*).
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::BallotReused => "*Paxos Made Live* §4.1; *Paxos Made Simple* §2.5",
            Self::PromiseBeforeStored | Self::AcceptBeforeStored => "*Paxos Made Simple* §2.5, stable storage",
            Self::OwnValue | Self::LowestBallot => "*Paxos Made Simple* §2.2, P2c",
            Self::HoleSkipped => "*Paxos Made Simple* §3, the gaps",
            Self::OldPromiseCounted => "*Paxos Made Simple* §2.2, phase 2a",
            Self::AcceptBelowPromise => "*Paxos Made Simple* §2.2, P1a",
            Self::HalfIsMajority => "*Paxos Made Simple* §2.1",
            Self::WatermarkTrusted => "*Paxos Made Simple* §2.3: the same slot at another ballot is another value",
            Self::LeaseFromReply | Self::LeaseWithoutDrift => "*Paxos Made Live* §5.2, the master's shorter lease",
            Self::LeaseOverridden => {
                "*Paxos Made Live* §5.2, where it meets §5.3: the majority that leads may be of other members"
            }
            Self::LeaseForgotten => "*Paxos Made Live* §5.2, after a crash",
            Self::ReadBeforeRecovered => "*Paxos Made Simple* §3, what a new leader learns",
            Self::MembersAtOnce | Self::MembersUnprepared => "*Paxos Made Simple* §3, α",
            Self::SnapshotForgetsMembers => "*Paxos Made Live* §5.5, the snapshot handle",
        }
    }
}
