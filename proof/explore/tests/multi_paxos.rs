//! Multi-Paxos within small bounds, to the end.

use hezong_explore::{Cluster, End, Limits, Model, MultiPaxosBounds, Order, explore};

#[test]
fn multi_paxos_small_bounds_complete() {
    let bounds = MultiPaxosBounds::SMALL;
    let mut cluster = Cluster::new(bounds);
    cluster.keep_twins();
    let start = cluster.initial();
    let report = explore(&mut cluster, &start, Order::Breadth, Limits::default(), |_, _, _| {});
    assert_eq!(report.end, End::Complete);
    assert!(report.states > 15_000, "{} states", report.states);
    // What all of it rests on: nodes of one fingerprint behave the same.
    assert_eq!(cluster.compare_twins().err(), None);
}
