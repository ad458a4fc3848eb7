//! Known bugs as switches. With the feature `weakened`, [`super::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// Which rounds were used is forgotten in a crash: a ballot is used again, with another value.
    BallotReused,
    /// A promise leaves before it is on disk: after a crash the acceptor accepts below it.
    PromiseBeforeStored,
    /// That a value is accepted is told before it is on disk: after a crash what was chosen is not there.
    AcceptBeforeStored,
    /// Of what a majority has accepted, the proposer takes the most common value, not that of the highest ballot.
    MostCommonValue,
    /// The proposer takes its own value, whatever the acceptors have accepted.
    OwnValue,
    /// Promises for an earlier ballot count for the one under way.
    OldPromiseCounted,
    /// An acceptor accepts below what it has promised.
    AcceptBelowPromise,
    /// Accepting at a ballot does not promise it: a lower one is accepted afterwards.
    AcceptWithoutPromise,
    /// An acceptor accepts only above what it has promised: nothing is ever chosen.
    AcceptOnlyAbove,
    /// Half of the acceptors count as a majority.
    HalfIsMajority,
    /// A learner counts who has accepted a value, at whichever ballot.
    CountAcrossBallots,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 11] = [
        Self::BallotReused,
        Self::PromiseBeforeStored,
        Self::AcceptBeforeStored,
        Self::MostCommonValue,
        Self::OwnValue,
        Self::OldPromiseCounted,
        Self::AcceptBelowPromise,
        Self::AcceptWithoutPromise,
        Self::AcceptOnlyAbove,
        Self::HalfIsMajority,
        Self::CountAcrossBallots,
    ];

    /// Where one is warned of it: Lamport 2001, and Chandra, Griesemer and Redstone 2007.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::BallotReused => "*Paxos Made Live* §4.1; *Paxos Made Simple* §2.5",
            Self::PromiseBeforeStored | Self::AcceptBeforeStored => "*Paxos Made Simple* §2.5, stable storage",
            Self::MostCommonValue | Self::OwnValue => "*Paxos Made Simple* §2.2, P2c",
            Self::OldPromiseCounted => "*Paxos Made Simple* §2.2, phase 2a",
            Self::AcceptBelowPromise => "*Paxos Made Simple* §2.2, P1a",
            Self::AcceptWithoutPromise => "*Paxos Made Simple* §2.2: what was accepted binds as a promise does",
            Self::AcceptOnlyAbove => "*Paxos Made Simple* §2.2, phase 2b",
            Self::HalfIsMajority => "*Paxos Made Simple* §2.1",
            Self::CountAcrossBallots => "*Paxos Made Simple* §2.3",
        }
    }
}
