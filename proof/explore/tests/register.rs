//! A register within small bounds, to the end.

use hezong_explore::{Cluster, End, Limits, Model, Order, RegisterBounds, explore, story};

const SMALL: RegisterBounds = RegisterBounds::SMALL;

fn complete(bounds: RegisterBounds) -> u64 {
    let mut cluster = Cluster::new(bounds);
    cluster.keep_twins();
    let start = cluster.initial();
    let report = explore(&mut cluster, &start, Order::Breadth, Limits::default(), |_, _, _| {});
    if let End::Violated { violation, steps } = &report.end {
        panic!("{bounds:?}: {violation}\n{}", story(&mut cluster, &start, steps));
    }
    assert_eq!(report.end, End::Complete, "{bounds:?}");
    // What all of it rests on: nodes of one fingerprint behave the same.
    assert_eq!(cluster.compare_twins().err(), None, "{bounds:?}");
    report.states
}

#[test]
fn register_small_bounds_complete() {
    assert!(complete(SMALL) > 4_000);
    assert!(complete(RegisterBounds { rounds: 2, ..SMALL }) > 10_000);
    assert!(complete(RegisterBounds { proposers: 1, crashes: 1, ..SMALL }) > 100);
    assert!(complete(RegisterBounds { acceptors: 2, crashes: 1, ..SMALL }) > 300);
}
