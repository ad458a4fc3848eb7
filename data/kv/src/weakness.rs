//! Known bugs as switches, as in `hezong_raft::Weakness`: with the feature `weakened`, [`crate::Rules`] carries one of
//! them, and the proof shows that its checkers catch it; without the feature nothing of it is compiled in.

use crate::Rules;

/// One known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// A snapshot leaves the sessions out: whoever installs it refuses what others carry out.
    SessionsNotInSnapshot,
    /// Which idempotency keys were used is kept in memory alone: after a restart a retry is carried out again.
    OnceLostOnRestart,
    /// How far the state is goes to the store apart from the data: a crash between the two, and entries are applied twice.
    AppliedApart,
}

impl Rules {
    /// Whether this state suffers from a known bug. Never in what ships.
    #[cfg(feature = "weakened")]
    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.weakness == Some(weakness)
    }

    /// Whether this state suffers from a known bug: never.
    #[cfg(not(feature = "weakened"))]
    #[expect(clippy::unused_self, reason = "the weakened build asks its rules")]
    pub(crate) const fn weak(&self, _: Weakness) -> bool {
        false
    }
}

impl Weakness {
    /// All of them, for the proof to go through.
    pub const ALL: [Self; 3] = [Self::SessionsNotInSnapshot, Self::OnceLostOnRestart, Self::AppliedApart];

    /// Who has made this mistake, as `repository#issue`, or where one is warned of it.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::SessionsNotInSnapshot => "atomix#1101; dissertation §6.3",
            Self::OnceLostOnRestart => "curvine#676; dissertation §6.3",
            Self::AppliedApart => "etcd#13766",
        }
    }
}
