//! Known bugs are caught, every one of them, and by the checkers that are there for them.
#![cfg(feature = "weakened")]

use hezong_raft::Weakness;
use hezong_sim::Slip;
use hezong_sim::mutants::{Mutant, all, kill};

/// Which checker sees the bug first, within so many seeds.
fn caught_by(mutant: Mutant, seeds: u64) -> &'static str {
    kill(mutant, 1..1 + seeds).unwrap_or_else(|| panic!("{mutant} is missed")).violation.property
}

#[test]
fn every_known_bug_is_caught() {
    assert!(all().len() >= 30);
    for mutant in all() {
        caught_by(mutant, 400);
    }
}

#[test]
fn promises_not_stored_are_caught_as_such() {
    for weakness in [Weakness::ForgottenTerm, Weakness::VoteBeforeStored, Weakness::AckBeforeStored] {
        assert_eq!(caught_by(Mutant::Weak(weakness), 20), "promises are stored", "{weakness:?}");
    }
}

#[test]
fn votes_given_twice_are_caught_as_such() {
    assert_eq!(caught_by(Mutant::Weak(Weakness::DoubleVote), 20), "one vote a term");
}

#[test]
fn slips_with_disks_are_caught_as_such() {
    for slip in [Slip::ReserveForgotten, Slip::DeletesBarred] {
        assert_eq!(caught_by(Mutant::Around(slip), 20), "below the reserve", "{slip:?}");
    }
    assert_eq!(caught_by(Mutant::Around(Slip::ReserveAtLog), 20), "progress after healing");
    assert_eq!(caught_by(Mutant::Around(Slip::BlankDisk), 20), "durability");
}

#[test]
fn numbers_given_again_are_caught_as_such() {
    assert_eq!(caught_by(Mutant::Weak(Weakness::NumberReused), 20), "a number is given once");
}

#[test]
fn old_reads_are_caught_as_such() {
    for weakness in [Weakness::ReadWithoutOwnTerm, Weakness::ReadTokenReused, Weakness::LeaseFromAck] {
        assert_eq!(caught_by(Mutant::Weak(weakness), 100), "linearizability", "{weakness:?}");
    }
    assert_eq!(caught_by(Mutant::Around(Slip::BrokenDrift), 200), "linearizability");
}
