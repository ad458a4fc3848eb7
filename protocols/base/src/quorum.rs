//! What a majority agrees on. Every function here has a deliberately dumb twin in `tests/quorum.rs`.

use alloc::collections::BTreeSet;

use crate::NodeId;

/// How many of `voters` make a majority: 1 of 1, 2 of 2, 2 of 3, 3 of 4, 3 of 5. Nobody is no majority of nobody, so an
/// empty set asks for one and is never satisfied.
#[must_use]
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The largest value that a majority of `voters` has reached; `None` while no majority has reached any.
///
/// Raft's commit index is this over what each voter has stored (§5.3, §5.4.2), and so is the last heartbeat round that
/// a majority has answered.
pub fn reached<T: Ord + Copy>(voters: &BTreeSet<NodeId>, value: impl Fn(NodeId) -> Option<T>) -> Option<T> {
    let needed = majority(voters.len());
    // Quadratic in a handful of voters, and without an allocation: it runs at every acknowledgement.
    let at_least = |floor: T| voters.iter().filter(|id| value(**id).is_some_and(|v| v >= floor)).count();
    voters.iter().filter_map(|id| value(*id)).filter(|v| at_least(*v) >= needed).max()
}

/// How a ballot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A majority said yes.
    Won,
    /// A majority can no longer say yes.
    Lost,
    /// Either is still possible.
    Open,
}

/// Counts a ballot: `vote` tells yes, no, or not heard yet.
pub fn tally(voters: &BTreeSet<NodeId>, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
    let needed = majority(voters.len());
    let yes = voters.iter().filter(|id| vote(**id) == Some(true)).count();
    let no = voters.iter().filter(|id| vote(**id) == Some(false)).count();
    if yes >= needed {
        Tally::Won
    } else if voters.len() - no < needed {
        Tally::Lost
    } else {
        Tally::Open
    }
}
