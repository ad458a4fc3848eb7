//! Known bugs as switches. With the feature `weakened`, [`crate::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.

/// One known bug. The first six were found in ZooKeeper by model checking (Ouyang and others, EuroSys 2025), and are named
/// after its tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// A follower serves before it has delivered the history that it was just given.
    Zk3023,
    /// What is committed between NEWLEADER and UPTODATE is forgotten by the follower.
    Zk4394,
    /// A follower stores its new epoch before the history that belongs to it: after a crash it passes for more recent than
    /// those that have what was committed.
    Zk4643,
    /// A follower acknowledges NEWLEADER before the history is on disk.
    Zk4646,
    /// A follower's acknowledgement of a proposal comes before that of NEWLEADER, and the leader takes it for a breach and
    /// gives up.
    Zk4685,
    /// What was queued in one session is not dropped when that ends, and is stored in the next one.
    Zk4712,
    /// What becomes committed together is delivered last one first.
    CommitOutOfOrder,
    /// Followers acknowledge, and the leader counts, proposals that are not on disk.
    ProposalAckBeforeStored,
    /// A follower acknowledges an epoch before that is on disk: after a crash it accepts it from a second leader.
    EpochBeforeStored,
    /// The answer of one that had accepted the epoch before counts as an acknowledgement: two leaders share it.
    RepeatedEpochCounted,
    /// A follower accepts an epoch lower than one it has accepted, so that what was committed meanwhile is lost.
    LowerEpochAccepted,
    /// An observer's acknowledgements count.
    ObserverCounts,
    /// A leader serves as soon as a majority has accepted its epoch, before any has taken over its history.
    EstablishedWithoutQuorum,
    /// The node of the highest name leads, however old its history.
    OldestHistoryLeads,
    /// A packet is taken although one before it is missing.
    GapUnnoticed,
    /// The counter of zxids rolls over into the next epoch.
    RollOver,
    /// A leader answers `sync` without asking whether it still leads, as ZooKeeper does.
    SyncUnconfirmed,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 17] = [
        Self::Zk3023,
        Self::Zk4394,
        Self::Zk4643,
        Self::Zk4646,
        Self::Zk4685,
        Self::Zk4712,
        Self::CommitOutOfOrder,
        Self::ProposalAckBeforeStored,
        Self::EpochBeforeStored,
        Self::RepeatedEpochCounted,
        Self::LowerEpochAccepted,
        Self::ObserverCounts,
        Self::EstablishedWithoutQuorum,
        Self::OldestHistoryLeads,
        Self::GapUnnoticed,
        Self::RollOver,
        Self::SyncUnconfirmed,
    ];

    /// Where one is warned of it: ZooKeeper's tracker; Junqueira, Reed and Serafini, *Zab*, DSN 2011.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::Zk3023 => "ZOOKEEPER-3023",
            Self::Zk4394 => "ZOOKEEPER-4394",
            Self::Zk4643 => "ZOOKEEPER-4643",
            Self::Zk4646 => "ZOOKEEPER-4646",
            Self::Zk4685 => "ZOOKEEPER-4685",
            Self::Zk4712 => "ZOOKEEPER-4712",
            Self::CommitOutOfOrder => "*Zab* §III, total order",
            Self::ProposalAckBeforeStored => "*Zab* §IV, step f.3.2",
            Self::EpochBeforeStored => "*Zab* §IV, step f.1.2",
            Self::RepeatedEpochCounted => "ZooKeeper, `Learner.registerWithLeader`: -1",
            Self::LowerEpochAccepted => "*Zab* §IV, step f.1.2",
            Self::ObserverCounts => "ZooKeeper, observers",
            Self::EstablishedWithoutQuorum => "*Zab* §IV, step l.2.2",
            Self::OldestHistoryLeads => "*Zab* §IV, step l.1.2",
            Self::GapUnnoticed => "*Zab* §IV, FIFO channels; §III, local primary order",
            Self::RollOver => "ZOOKEEPER-1277",
            Self::SyncUnconfirmed => "ZooKeeper, consistency guarantees of `sync`",
        }
    }
}
