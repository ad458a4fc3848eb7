//! Known bugs as switches. With the feature `weakened`, [`super::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// Which rounds were used is forgotten in a crash: a ballot is used again, for another state.
    BallotReused,
    /// A promise leaves before it is on disk: after a crash the acceptor accepts below it.
    PromiseBeforeStored,
    /// That a state is accepted is told before it is on disk: after a crash what was done is undone.
    AcceptBeforeStored,
    /// Of what a majority has accepted, the proposer takes the most common state, not that of the highest ballot.
    MostCommonState,
    /// Promises for an earlier ballot count for the one under way.
    OldPromiseCounted,
    /// An acceptor accepts below what it has promised.
    AcceptBelowPromise,
    /// Half of the acceptors count as a majority.
    HalfIsMajority,
    /// Whoever accepts does not promise the ballot that comes along with it; its proposer takes it to be promised.
    NextNotPromised,
    /// A proposer that was refused tries a higher ballot on what it remembers, and does not ask again.
    MemoryOutlivesRefusal,
    /// A read is answered from what the proposer remembers, and nobody is asked.
    ReadFromMemory,
    /// A read is answered with what the first acceptor has accepted.
    ReadFromOne,
    /// A change that was outbid is made again, though its first attempt may have been accepted.
    MadeTwice,
    /// A tombstone is collected once a majority holds it.
    TombstoneOnMajority,
    /// Proposers are not told of a collection, and acceptors not of their ages: what was sent before comes back to life.
    AgesSkipped,
    /// Acceptors forget a register whatever it holds by then.
    EraseNewer,
    /// A proposer that is told of a collection makes its change again, though what happened to its first attempt is forgotten.
    RetiredGoesOn,
    /// A membership is taken that differs from the one before by several acceptors.
    MembershipJumps,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 17] = [
        Self::BallotReused,
        Self::PromiseBeforeStored,
        Self::AcceptBeforeStored,
        Self::MostCommonState,
        Self::OldPromiseCounted,
        Self::AcceptBelowPromise,
        Self::HalfIsMajority,
        Self::NextNotPromised,
        Self::MemoryOutlivesRefusal,
        Self::ReadFromMemory,
        Self::ReadFromOne,
        Self::MadeTwice,
        Self::TombstoneOnMajority,
        Self::AgesSkipped,
        Self::EraseNewer,
        Self::RetiredGoesOn,
        Self::MembershipJumps,
    ];

    /// Where one is warned of it: Rystsov 2018, or the protocol it extends.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::BallotReused => "*CASPaxos* §2.2, step 2: ballots are unique and grow",
            Self::PromiseBeforeStored | Self::AcceptBeforeStored => {
                "*CASPaxos* §2.2, steps 3 and 5: persists, then confirms"
            }
            Self::MostCommonState => "*CASPaxos* §2.2, step 4: the tuple of the highest ballot",
            Self::OldPromiseCounted | Self::AcceptBelowPromise => "*Paxos Made Simple* §2.2",
            Self::HalfIsMajority => "*CASPaxos* §2.2: F+1 of 2F+1",
            Self::NextNotPromised | Self::MemoryOutlivesRefusal => "*CASPaxos* §2.2.1, the one-round-trip optimization",
            Self::ReadFromMemory | Self::ReadFromOne => "*CASPaxos* §2.2: a read is the change that changes nothing",
            Self::MadeTwice => "*CASPaxos* §2.2: whoever hears of a conflict does not know",
            Self::TombstoneOnMajority => "*CASPaxos* §3.1, step 2a: the maximal quorum",
            Self::AgesSkipped | Self::RetiredGoesOn => "*CASPaxos* §3.1, steps 2b and 2c",
            Self::EraseNewer => "*CASPaxos* §3.1, step 2d: if it is the tombstone of step 2a",
            Self::MembershipJumps => "*CASPaxos* §2.3: quorums of neighbours meet",
        }
    }
}
