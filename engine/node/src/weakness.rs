//! Known bugs as switches, as in `hezong_raft::Weakness`: with the feature `weakened`, [`crate::NodeConfig`] carries one of
//! them, and the proof shows that its checkers catch it; without the feature nothing of it is compiled in.

use crate::NodeConfig;

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// Whoever waits for an index is answered by whatever entry is applied there, of whichever term: a write that another
    /// replaced counts as done.
    AnswerByIndex,
    /// A read is served although what the leader named is not applied yet.
    ReadBeforeApplied,
}

impl NodeConfig {
    /// Whether this node suffers from a known bug. Never in what ships.
    #[cfg(feature = "weakened")]
    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.weakness == Some(weakness)
    }

    /// Whether this node suffers from a known bug: never.
    #[cfg(not(feature = "weakened"))]
    #[expect(clippy::unused_self, reason = "the weakened build asks its configuration")]
    pub(crate) const fn weak(&self, _: Weakness) -> bool {
        false
    }
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 2] = [Self::AnswerByIndex, Self::ReadBeforeApplied];

    /// Who has made this mistake, as `repository#issue`, or where one is warned of it.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::AnswerByIndex => "chiselstore#28",
            Self::ReadBeforeApplied => "etcd#3879; dissertation §6.4, step 4",
        }
    }
}
