//! What the explorer rests on: nodes with the same fingerprint behave the same. Every node that was found in several ways is
//! handed, as each of those it was found as, every input that any was handed; all must make the same of it.

mod common;

use common::{SMALL, run};
use hezong_explore::{Cluster, End, Limits, RaftBounds};

fn compare(bounds: RaftBounds, states_max: u64) {
    let mut cluster = Cluster::new(bounds);
    cluster.keep_twins();
    let report = run(&mut cluster, Limits { states_max: Some(states_max), ..Limits::default() });
    assert!(!matches!(report.end, End::Violated { .. }), "{:?}", report.end);
    match cluster.compare_twins() {
        Ok(compared) => assert!(compared > 2_000, "only {compared} comparisons"),
        Err(difference) => panic!("{bounds:?}: {difference}"),
    }
}

#[test]
fn fingerprint_same_behaviour_same() {
    compare(RaftBounds { entries: 1, crashes: 1, ..SMALL }, 30_000);
    compare(RaftBounds { terms: 3, entries: 1, one_by_one: true, ..SMALL }, 30_000);
}

#[test]
fn fingerprint_same_behaviour_same_with_writes_under_way() {
    compare(RaftBounds { entries: 1, crashes: 1, slow_disks: true, ..SMALL }, 30_000);
}

#[test]
fn fingerprint_same_behaviour_same_with_every_message() {
    compare(RaftBounds { entries: 1, crashes: 1, asides: true, ..SMALL }, 30_000);
    compare(RaftBounds { entries: 1, crashes: 1, slow_disks: true, asides: true, ..SMALL }, 30_000);
}
