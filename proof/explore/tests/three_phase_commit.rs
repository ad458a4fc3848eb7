//! Three-phase commit in a prompt network, within small bounds, to the end.

use hezong_explore::{End, Limits, Model, Order, ThreePhaseCommit, explore, story};

fn complete(mut model: ThreePhaseCommit) -> u64 {
    let start = model.initial();
    let report = explore(&mut model, &start, Order::Breadth, Limits::default(), |_, _, _| {});
    if let End::Violated { violation, steps } = &report.end {
        panic!("{model:?}: {violation}\n{}", story(&mut model, &start, steps));
    }
    assert_eq!(report.end, End::Complete, "{model:?}");
    report.states
}

#[test]
fn three_phase_commit_small_bounds_complete() {
    assert!(complete(ThreePhaseCommit { slow: true, ..ThreePhaseCommit::new(1, 1) }) > 300);
    assert!(complete(ThreePhaseCommit { slow: true, ..ThreePhaseCommit::new(2, 0) }) > 1_000);
    assert!(complete(ThreePhaseCommit { restarts: false, ..ThreePhaseCommit::new(2, 2) }) > 3_000);
}
