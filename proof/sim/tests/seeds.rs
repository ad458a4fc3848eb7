//! A few dozen seeds, and that the simulator is what it says: deterministic, and made of real faults.

use hezong_sim::{FAULT_KINDS_MIN, Fault, Options, Shape, replay, run, run_many};

/// Shorter than what counts in the long run, so that more seeds fit into a test.
const EVENTS: u64 = 5_000;

fn options() -> Options {
    Options { events: EVENTS, ..Options::default() }
}

#[test]
fn seeds_hold_every_property() {
    let summary = run_many(1..41, options(), true, |failed| !failed.is_empty(), |_, _| {});
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert_eq!(summary.counted, 40, "every seed has {EVENTS} events and {FAULT_KINDS_MIN} kinds of fault");
    // What takes several steps to come about is looked for where it comes about.
    let mut faults = summary.faults;
    for shape in [Shape::Transfers, Shape::Joint] {
        let summary = run_many(1..11, Options { shape, ..options() }, true, |failed| !failed.is_empty(), |_, _| {});
        assert!(summary.failures.is_empty(), "{shape:?}: {:#?}", summary.failures);
        faults.merge(&summary.faults);
    }
    let unseen: Vec<_> = Fault::ALL.into_iter().filter(|fault| faults.of(*fault) == 0).collect();
    assert!(unseen.is_empty(), "these never struck: {unseen:?}");
    let [begun, succeeded, _] = summary.operations;
    assert!(summary.repeated > 0, "no write that came again was recognised");
    assert!(summary.expired > 0, "no session expired");
    assert!(succeeded * 2 > begun, "clients get things done: {succeeded} of {begun}");
}

#[test]
fn trace_same_seed_same_and_other_seed_other() {
    let [first, again, other] = [7, 7, 8].map(|seed| run(seed, options()));
    assert_eq!(first, again);
    assert_ne!(first.trace, other.trace);
}

#[test]
fn replay_tells_the_same_run() {
    let (report, lines) = replay(3, options());
    assert_eq!(report, run(3, options()), "being listened to changes nothing");
    for wanted in ["RequestVote", "Append", "disk", "starts", "everything is healed", "answers"] {
        assert!(lines.iter().any(|line| line.contains(wanted)), "no line tells of {wanted}");
    }
}
