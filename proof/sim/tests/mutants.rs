//! Known bugs are caught, the quick ones here; `hezong-sim mutants` goes through all of them.
#![cfg(feature = "weakened")]

use hezong_raft::Weakness;
use hezong_sim::mutants::{Mutant, kill};

/// Runs a few seeds with the bug in every node.
fn caught_by(weakness: Weakness, seeds: u64) -> &'static str {
    kill(Mutant::Weak(weakness), 1..1 + seeds).unwrap_or_else(|| panic!("{weakness:?} is missed")).violation.property
}

#[test]
fn promises_not_stored_are_caught() {
    for weakness in [Weakness::ForgottenTerm, Weakness::VoteBeforeStored, Weakness::AckBeforeStored] {
        assert_eq!(caught_by(weakness, 10), "promises are stored");
    }
}

#[test]
fn votes_given_twice_are_caught() {
    assert_eq!(caught_by(Weakness::DoubleVote, 20), "one vote a term");
}

#[test]
fn logs_that_do_not_match_are_caught() {
    assert_eq!(caught_by(Weakness::AppendWithoutCheck, 20), "log matching");
}

#[test]
fn old_reads_are_caught() {
    assert_eq!(caught_by(Weakness::ReadWithoutOwnTerm, 40), "linearizability");
}
