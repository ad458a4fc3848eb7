//! Protocols simulated bare: a few hundred seeds of each, and that the simulation is what it says.

use hezong_sim::bare::{
    MultiPaxosSubject, PaxosSubject, RegisterSubject, ReplicatedSubject, Subject, TccSubject, ThreePhaseSubject,
    TwoPhaseSubject, ZabSubject, run_bare, run_bare_many,
};

/// Kinds of fault that may strike. For ZAB a message that overtakes another waits for it, and is counted all the same.
const KINDS: usize = 15;
/// Those that may in a synchronous system: one dies, all die, a write survives unreported, messages come twice or overtake others.
const SYNCHRONOUS_KINDS: usize = 5;

/// Every seed holds what must hold, twice the same, and each kind of fault that may strike does.
fn seeds_hold<S: Subject>(seeds: u64) {
    let summary = run_bare_many::<S>(1..1 + seeds, None, 1, |_| {});
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert_eq!(summary.seeds, seeds);
    let kinds = if S::IS_SYNCHRONOUS { SYNCHRONOUS_KINDS } else { KINDS };
    assert_eq!(summary.faults.kinds(), kinds, "{:?}", summary.faults);
    assert!(summary.done.iter().sum::<u64>() > seeds, "users get things done");
}

#[test]
fn paxos_seeds_hold_every_property() {
    seeds_hold::<PaxosSubject>(200);
}

#[test]
fn register_seeds_hold_every_property() {
    seeds_hold::<RegisterSubject>(200);
}

#[test]
fn multi_paxos_seeds_hold_every_property() {
    seeds_hold::<MultiPaxosSubject>(200);
}

#[test]
fn zab_seeds_hold_every_property() {
    seeds_hold::<ZabSubject>(60);
}

#[test]
fn two_phase_seeds_hold_every_property() {
    seeds_hold::<TwoPhaseSubject>(50);
}

#[test]
fn three_phase_seeds_hold_every_property() {
    seeds_hold::<ThreePhaseSubject>(50);
}

#[test]
fn tcc_seeds_hold_every_property() {
    seeds_hold::<TccSubject>(25);
}

#[test]
fn replicated_two_phase_seeds_hold_every_property() {
    seeds_hold::<ReplicatedSubject>(100);
}

#[test]
fn replay_tells_the_run_that_is_replayed() {
    let (told, story) = run_bare::<PaxosSubject>(7, None, true);
    let (report, silent) = run_bare::<PaxosSubject>(7, None, false);
    assert_eq!(told, report);
    assert!(silent.is_empty() && story.iter().any(|line| line.contains("Prepare")), "{story:#?}");
}

#[cfg(feature = "weakened")]
#[test]
fn known_bug_is_caught_and_told_by_the_same_seed() {
    let summary = run_bare_many::<PaxosSubject>(1..1_000, Some("OwnValue"), 1, |_| {});
    let failure = summary.failures.first().expect("it is caught");
    assert_eq!(run_bare::<PaxosSubject>(failure.seed, Some("OwnValue"), true).0, *failure);
    assert!(run_bare::<PaxosSubject>(failure.seed, None, false).0.violation.is_none(), "the bug is what is caught");
}
