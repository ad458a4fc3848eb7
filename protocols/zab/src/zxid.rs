//! Epochs, zxids and election rounds: the numbers of ZAB.

use core::fmt;

/// Epochs above this are nobody's: whoever took one for real would soon find no next one.
pub const EPOCH_MAX: Epoch = Epoch(1 << 31);

/// Rounds above this are nobody's, for the same reason.
pub const ROUND_MAX: Round = Round(1 << 62);

/// The reign of one leader. No two leaders ever share one; in `Epoch(0)`, where every node starts, nobody leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The one after this, if there is a plausible one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self < EPOCH_MAX).then(|| Self(self.0 + 1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// The identity of a transaction and its place in the order of all. Epoch first, so that whatever a later leader proposes
/// comes behind all that an earlier one did. Before the first is `None`, which is below them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid {
    /// Whose leader proposed it.
    pub epoch: Epoch,
    /// From 1 in each epoch: with 0, ZooKeeper names the epoch itself, and no transaction.
    pub counter: u32,
}

impl Zxid {
    /// Transaction `counter` of `epoch`.
    #[must_use]
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Self { epoch: Epoch(epoch), counter }
    }

    /// ZooKeeper's form: the epoch in the upper half.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        (self.epoch.0 as u64) << 32 | self.counter as u64
    }

    /// ZooKeeper's form, taken apart.
    #[must_use]
    pub const fn from_u64(zxid: u64) -> Self {
        Self::new((zxid >> 32) as u32, (zxid & 0xffff_ffff) as u32)
    }

    /// Whether it may be meant seriously.
    pub(crate) fn is_plausible(self) -> bool {
        self.counter > 0 && Epoch(0) < self.epoch && self.epoch <= EPOCH_MAX
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.counter)
    }
}

/// The logical clock of elections: a vote counts in its round alone. Not kept across a restart; a node that starts adopts
/// the highest it hears of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

impl Round {
    /// The one after this. Stays at the last one, which nobody lives to see.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(ROUND_MAX.0))
    }
}
