//! Known bugs are caught, every one of them, and by the checkers that are there for them.
#![cfg(feature = "weakened")]

use hezong_raft::Weakness;
use hezong_sim::mutants::{Mutant, all, kill, options};
use hezong_sim::{Report, Slip, run_many};

/// That a checker sees the bug within so many seeds, whatever others see before it.
fn assert_caught(mutant: Mutant, seeds: u64, property: &str) {
    let seen = |failed: &[Report]| {
        failed.iter().any(|report| report.violation.as_ref().is_some_and(|violation| violation.property == property))
    };
    let summary = run_many(1..1 + seeds, options(mutant), false, seen, |_, _| {});
    assert!(seen(&summary.failures), "{mutant} is not caught by {property}");
}

#[test]
fn every_known_bug_is_caught() {
    assert!(all().len() >= 40);
    for mutant in all() {
        assert!(kill(mutant, 1..401).is_some(), "{mutant} is missed");
    }
}

#[test]
fn promises_not_stored_are_caught_as_such() {
    for weakness in [Weakness::ForgottenTerm, Weakness::VoteBeforeStored, Weakness::AckBeforeStored] {
        assert_caught(Mutant::Weak(weakness), 20, "promises are stored");
    }
}

#[test]
fn votes_given_twice_are_caught_as_such() {
    assert_caught(Mutant::Weak(Weakness::DoubleVote), 20, "one vote a term");
}

#[test]
fn slips_with_disks_are_caught_as_such() {
    for slip in [Slip::ReserveForgotten, Slip::DeletesBarred] {
        assert_caught(Mutant::Around(slip), 20, "below the reserve");
    }
    assert_caught(Mutant::Around(Slip::ReserveAtLog), 20, "progress after healing");
    assert_caught(Mutant::Around(Slip::BlankDisk), 20, "durability");
}

#[test]
fn numbers_given_again_are_caught_as_such() {
    assert_caught(Mutant::Weak(Weakness::NumberReused), 20, "a number is given once");
}

#[test]
fn old_reads_are_caught_as_such() {
    for weakness in [Weakness::ReadWithoutOwnTerm, Weakness::ReadTokenReused, Weakness::LeaseFromAck] {
        assert_caught(Mutant::Weak(weakness), 100, "linearizability");
    }
    assert_caught(Mutant::Around(Slip::BrokenDrift), 200, "linearizability");
}
