//! Random histories of Try-Confirm-Cancel: atomic, as all have reserved, durable, and to an end.

use hezong_commit::tcc::Tcc;

use crate::common;

#[test]
fn atomicity_random_histories_all_or_none_and_an_end() {
    common::check::<Tcc>(400);
}

/// The other two take a coordinator that says both, which `orders.rs` has.
#[cfg(feature = "weakened")]
#[test]
fn known_bugs_are_caught_by_random_histories() {
    use hezong_commit::Weakness;
    let honest =
        |weakness: &Weakness| !matches!(weakness, Weakness::ConfirmAfterCancel | Weakness::AppliedBeforeDecided);
    common::check_weaknesses::<Tcc>("tcc", &Weakness::TCC.into_iter().filter(honest).collect::<Vec<_>>(), 300);
}
