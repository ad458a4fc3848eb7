//! Known bugs are found, each by the property that it breaks and by the shortest way; and within the same bounds nothing is
//! found where there is no bug.
#![cfg(feature = "weakened")]

mod common;

use common::{SMALL, run};
use hezong_explore::{Cluster, End, Limits, Model, RaftBounds, RaftSubject, story};
use hezong_raft::Weakness;

/// That the bug breaks `property` after so many steps, and that without it nothing is broken as far from the start.
fn assert_found(weakness: Weakness, bounds: RaftBounds, property: &str, steps_min: usize) {
    let mut cluster = Cluster::new(RaftSubject::new(bounds).weakened(Some(weakness)), bounds.general());
    let start = cluster.initial();
    let report = run(&mut cluster, Limits { states_max: Some(2_000_000), ..Limits::default() });
    let End::Violated { violation, steps } = report.end else { panic!("{weakness:?} is missed: {:?}", report.end) };
    let told = story(&mut cluster, &start, &steps);
    assert_eq!(violation.property, property, "{weakness:?}: {violation}\n{told}");
    assert_eq!(steps.len(), steps_min, "{weakness:?}\n{told}");
    assert!(told.lines().count() > steps.len(), "every step is told, and what comes of it");

    let mut sound = Cluster::new(RaftSubject::new(bounds), bounds.general());
    let report = run(&mut sound, Limits { depth_max: Some(report.depth), ..Limits::default() });
    assert!(!matches!(report.end, End::Violated { .. }), "{weakness:?}: {:?}", report.end);
}

#[test]
fn weakness_double_vote_found() {
    assert_found(Weakness::DoubleVote, SMALL, "election safety", 6);
}

#[test]
fn weakness_vote_before_stored_found() {
    assert_found(Weakness::VoteBeforeStored, RaftBounds { crashes: 1, ..SMALL }, "election safety", 6);
}

#[test]
fn weakness_forgotten_term_found() {
    let bounds = RaftBounds { terms: 1, crashes: 1, slow_disks: true, ..SMALL };
    assert_found(Weakness::ForgottenTerm, bounds, "election safety", 9);
}

#[test]
fn weakness_ack_before_stored_found() {
    assert_found(Weakness::AckBeforeStored, RaftBounds { crashes: 1, ..SMALL }, "leader completeness", 8);
}

#[test]
fn weakness_truncate_acknowledged_found() {
    let bounds = RaftBounds { entries: 1, ..SMALL };
    assert_found(Weakness::TruncateAcknowledged, bounds, "leader completeness", 12);
}

#[test]
fn weakness_append_without_check_found() {
    let bounds = RaftBounds { terms: 3, entries: 1, ..SMALL };
    assert_found(Weakness::AppendWithoutCheck, bounds, "log matching", 11);
}

/// Figure 8 of the paper, found from nothing but the bounds: four terms, and entries that travel alone.
#[test]
fn weakness_commit_old_term_by_counting_found() {
    let bounds = RaftBounds { terms: 4, one_by_one: true, ..SMALL };
    assert_found(Weakness::CommitOldTermByCounting, bounds, "leader completeness", 18);
}
