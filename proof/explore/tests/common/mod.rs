//! What the tests of Raft share.

use hezong_explore::{Action, Cluster, Limits, Model, Order, RaftBounds, RaftSubject, Report, explore};

/// Three nodes, and little that may happen.
pub(crate) const SMALL: RaftBounds = RaftBounds {
    nodes: 3,
    terms: 2,
    entries: 0,
    crashes: 0,
    slow_disks: false,
    one_by_one: false,
    asides: false,
    keep_spent: false,
    symmetry: true,
};

pub(crate) fn run(cluster: &mut Cluster<RaftSubject>, limits: Limits) -> Report<Action> {
    let start = cluster.initial();
    explore(cluster, &start, Order::Breadth, limits, |_, _, _| {})
}
