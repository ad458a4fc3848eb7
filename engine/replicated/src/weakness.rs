//! Known bugs as switches. With the feature `weakened`, [`crate::Config`] carries one of them, and the proof shows that
//! its checkers catch it; without the feature every switch is a constant `false` and nothing of it is compiled in.

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// The coordinator is told that a write is stored when it is proposed.
    StoredWhenProposed,
    /// Who is elected acts at once, by what it has applied so far.
    ActsBeforeApplied,
    /// Who leads no more goes on acting.
    ActsOn,
    /// A proposal that was refused is forgotten, and those behind it count.
    RefusalIgnored,
    /// A snapshot moves the log, and leaves the fold as it was.
    SnapshotEmpty,
    /// Participants go on talking to the member they have heard from, whether it answers or not.
    AsksOne,
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 6] = [
        Self::StoredWhenProposed,
        Self::ActsBeforeApplied,
        Self::ActsOn,
        Self::RefusalIgnored,
        Self::SnapshotEmpty,
        Self::AsksOne,
    ];

    /// Where one is warned of it.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::StoredWhenProposed => "Gray and Lamport 2006, *Consensus on Transaction Commit*: chosen, then told",
            Self::ActsBeforeApplied => "Raft §8: a leader knows what is committed only by an entry of its own term",
            Self::ActsOn => "Raft §6.4 of the dissertation: a leader may be deposed and not know it",
            Self::RefusalIgnored => "writes are carried out in the order issued, or not at all",
            Self::SnapshotEmpty => "Raft §7: a snapshot is the state, not only its place in the log",
            Self::AsksOne => "TX-2: who asks one coordinator waits for that one",
        }
    }
}
