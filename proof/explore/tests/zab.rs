//! ZAB within small bounds, to the end.

use hezong_explore::{Cluster, End, Limits, Model, Order, ZabBounds, ZabStart, explore, story};

const SMALL: ZabBounds = ZabBounds::SMALL;

fn complete(bounds: ZabBounds) -> u64 {
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
fn zab_small_bounds_complete() {
    assert!(complete(ZabBounds { writes: 2, ..SMALL }) > 4_000);
    assert!(complete(ZabBounds { crashes: 1, ..SMALL }) > 2_000);
    assert!(complete(ZabBounds { writes: 1, syncs: 1, ..SMALL }) > 10_000);
    assert!(complete(ZabBounds { start: ZabStart::Established, writes: 2, ..SMALL }) > 400);
}

#[test]
fn zab_second_elections_complete() {
    assert!(complete(ZabBounds { start: ZabStart::Behind, crashes: 1, ..SMALL }) > 2_000);
    assert!(complete(ZabBounds { start: ZabStart::Alone, crashes: 1, ..SMALL }) > 2_000);
    assert!(complete(ZabBounds { start: ZabStart::Interrupted, writes: 1, ..SMALL }) > 400);
    assert!(complete(ZabBounds { start: ZabStart::Torn, slow_disks: true, ..SMALL }) > 400);
}
