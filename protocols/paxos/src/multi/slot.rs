//! Slots: the places of a log.

use core::fmt;

/// Slots above this are nobody's: whoever counted up to one would have gone wrong long before.
pub const SLOT_MAX: u64 = 1 << 62;

/// A place in the log, the paper's instance. Marks are the first slot of what they keep apart ("open": the first not known to be
/// chosen), so that there is always one and none of them is ever zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

impl Slot {
    /// The first of all.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The one so many after this.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many slots lie between `earlier` and this; 0 if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether it may be meant seriously.
    pub(crate) fn is_plausible(self) -> bool {
        (1..=SLOT_MAX).contains(&self.0)
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
