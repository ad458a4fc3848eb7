//! Two-phase commit as it ships, within small bounds, to the end.

use hezong_explore::{Cluster, End, Limits, Model, Order, TwoPhaseCommitBounds, explore, story};

const SMALL: TwoPhaseCommitBounds = TwoPhaseCommitBounds::SMALL;

fn complete(bounds: TwoPhaseCommitBounds) -> u64 {
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
fn two_phase_commit_small_bounds_complete() {
    assert!(complete(TwoPhaseCommitBounds { crashes: 1, ..SMALL }) > 3_000);
    assert!(complete(TwoPhaseCommitBounds { crashes: 2, ..SMALL }) > 4_000);
    assert!(complete(TwoPhaseCommitBounds { crashes: 1, slow_disks: true, ..SMALL }) > 6_000);
    assert!(complete(TwoPhaseCommitBounds { participants: 3, noes: 1, ..SMALL }) > 5_000);
}
