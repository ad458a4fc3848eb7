//! Paxos within small bounds, to the end.

use hezong_explore::{Cluster, End, Limits, Model, Order, PaxosBounds, explore};

fn complete(bounds: PaxosBounds) -> u64 {
    let mut cluster = Cluster::new(bounds);
    let start = cluster.initial();
    let report = explore(&mut cluster, &start, Order::Breadth, Limits::default(), |_, _, _| {});
    assert_eq!(report.end, End::Complete, "{bounds:?}");
    report.states
}

const SMALL: PaxosBounds = PaxosBounds::SMALL;

#[test]
fn paxos_small_bounds_complete() {
    assert!(complete(SMALL) > 20_000);
    assert!(complete(PaxosBounds { proposers: 1, crashes: 1, ..SMALL }) > 500);
    assert!(complete(PaxosBounds { acceptors: 2, proposers: 1, rounds: 2, helpers: true, ..SMALL }) > 100);
}
