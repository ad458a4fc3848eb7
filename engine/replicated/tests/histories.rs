//! Random histories of coordinators that are replicated: atomic, as all have voted, and to an end although a member is gone.

mod common;

use hezong_commit::tcc::Tcc;
use hezong_commit::two_phase::TwoPhase;

#[test]
fn two_phase_random_histories_all_or_none_and_an_end() {
    common::check::<TwoPhase>(0..150);
}

#[test]
fn tcc_random_histories_all_or_none_and_an_end() {
    common::check::<Tcc>(0..100);
}

#[cfg(feature = "weakened")]
#[test]
fn every_known_bug_is_caught_by_random_histories() {
    for weakness in hezong_replicated::Weakness::ALL {
        let name = format!("replicated::{weakness:?}");
        common::check_weakness::<TwoPhase>(&name, weakness.origin(), 1_000, &|config| config.weakness = Some(weakness));
    }
    // What the protocol has to keep by itself.
    for weakness in hezong_commit::Weakness::REPLICATED.into_iter().chain([hezong_commit::Weakness::NumberReused]) {
        let name = format!("two-phase::{weakness:?}");
        let weaken = |config: &mut hezong_replicated::Config| config.commit.weakness = Some(weakness);
        common::check_weakness::<TwoPhase>(&name, weakness.origin(), 1_000, &weaken);
    }
}
