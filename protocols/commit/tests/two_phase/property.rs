//! Random histories of two-phase commit: atomic, as all have voted, durable, and to an end.

use hezong_commit::two_phase::TwoPhase;

use crate::common;

#[test]
fn atomicity_random_histories_all_or_none_and_an_end() {
    common::check::<TwoPhase>(500);
}

#[cfg(feature = "weakened")]
#[test]
fn every_known_bug_is_caught_by_random_histories() {
    common::check_weaknesses::<TwoPhase>("two-phase", &hezong_commit::Weakness::TWO_PHASE, 500);
}
