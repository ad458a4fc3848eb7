//! Random histories of three-phase commit: within its assumption it is atomic, as all have voted, durable, and to an end, and
//! nobody who stays up waits for those who are gone. Outside it, it is not atomic, which is shown.

use crate::timed::history;

#[test]
fn agreement_random_crashes_within_the_assumption() {
    let mut seen = [0; 4];
    for seed in 0..4_000 {
        let world = history(seed, false, &|_| {});
        assert_eq!(world.fault, None, "seed {seed}");
        seen.iter_mut().zip(world.seen).for_each(|(sum, seen)| *sum += seen);
    }
    let [committed, aborted, crashes, total] = seen;
    assert!(committed > 1_000 && aborted > 1_000 && crashes > 4_000 && total > 100, "{seen:?}");
}

/// Partitions and late messages split some. All else holds: nothing is committed that not all have voted yes to, nobody is told
/// both, and all comes to an end.
#[test]
fn agreement_lost_outside_the_assumption_and_nothing_else() {
    let mut splits = 0;
    for seed in 0..1_000 {
        let world = history(seed, true, &|_| {});
        assert_eq!(world.fault, None, "seed {seed}");
        splits += usize::from(world.split.is_some());
    }
    assert!(splits > 10, "only {splits} transactions were split: was the assumption broken?");
}

#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn every_known_bug_is_caught_by_random_histories() {
    const SEEDS: u64 = 4_000;
    for weakness in hezong_commit::Weakness::THREE_PHASE {
        let weaken = |config: &mut hezong_commit::Config| config.weakness = Some(weakness);
        let caught = (0..SEEDS).find_map(|seed| history(seed, false, &weaken).fault.map(|fault| (seed, fault)));
        let (seed, fault) = caught.unwrap_or_else(|| panic!("{weakness:?} is not seen in {SEEDS} histories"));
        println!("bug\tthree-phase::{weakness:?}\t{}\t{} histories\t{fault}", weakness.origin(), seed + 1);
    }
}
