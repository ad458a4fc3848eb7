//! What the tests of Raft share.

use hezong_explore::{Action, Cluster, Limits, Model, Order, RaftBounds, Report, explore};

pub(crate) const SMALL: RaftBounds = RaftBounds::SMALL;

pub(crate) fn run(cluster: &mut Cluster<RaftBounds>, limits: Limits) -> Report<Action> {
    let start = cluster.initial();
    explore(cluster, &start, Order::Breadth, limits, |_, _, _| {})
}
