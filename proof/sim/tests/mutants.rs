//! Known bugs are caught: the quick ones here, `hezong-sim mutants` goes through all of them.
#![cfg(feature = "weakened")]

use hezong_raft::Weakness;
use hezong_sim::mutants::{Mutant, kill};

/// Which checker sees the bug first, within a few seeds.
fn caught_by(weakness: Weakness) -> &'static str {
    kill(Mutant::Weak(weakness), 1..41).unwrap_or_else(|| panic!("{weakness:?} is missed")).violation.property
}

#[test]
fn promises_not_stored_are_caught() {
    for weakness in [Weakness::ForgottenTerm, Weakness::VoteBeforeStored, Weakness::AckBeforeStored] {
        assert_eq!(caught_by(weakness), "promises are stored", "{weakness:?}");
    }
}

#[test]
fn votes_given_twice_are_caught() {
    assert_eq!(caught_by(Weakness::DoubleVote), "one vote a term");
}

#[test]
fn logs_that_do_not_match_are_caught() {
    let property = caught_by(Weakness::AppendWithoutCheck);
    assert!(["log matching", "leader completeness", "state-machine safety"].contains(&property), "{property}");
}

#[test]
fn members_changed_too_early_are_caught() {
    let property = caught_by(Weakness::MembershipWithoutEmptyEntry);
    assert!(["leader completeness", "election safety", "state-machine safety"].contains(&property), "{property}");
}

#[test]
fn old_reads_are_caught() {
    for weakness in [Weakness::ReadWithoutOwnTerm, Weakness::ReadTokenReused, Weakness::LeaseFromAck] {
        assert_eq!(caught_by(weakness), "linearizability", "{weakness:?}");
    }
}
