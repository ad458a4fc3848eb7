//! Ballots: the paper's proposal numbers.

use core::fmt;

use hezong_base::NodeId;

/// Rounds above this are nobody's: whoever took one for real could never outbid it.
pub const ROUND_MAX: u64 = 1 << 62;

/// The number of a proposal. Of two, the one of the later round is higher, and within a round that of the higher node; no two
/// nodes use the same, and a node uses each once (§2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// From 1.
    pub round: u64,
    /// Who made it.
    pub node: NodeId,
}

impl Ballot {
    /// Whether it may be meant seriously.
    pub(crate) fn is_plausible(self) -> bool {
        (1..=ROUND_MAX).contains(&self.round)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node.0)
    }
}
