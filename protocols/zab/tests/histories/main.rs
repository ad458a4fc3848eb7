//! Random histories: messages late, lost, twice and out of order, disks that take their time, clocks of different rates,
//! partitions, crashes between any two steps, snapshots, epochs that run out of counters. All nodes deliver one order, and
//! once all is well everybody gets on.

mod world;

use hezong_zab::Config;
use world::{Seen, World};

/// One history; what went wrong, and what it has seen.
fn run(seed: u64, prepare: impl Fn(&mut Config)) -> (Option<(&'static str, String)>, Seen) {
    let mut world = World::new(seed, prepare);
    for _ in 0..10 {
        world.spell();
        if world.verdict().is_some() {
            break;
        }
    }
    world.heal(60_000);
    (world.verdict().cloned(), world.seen)
}

/// `SEEDS=10000..20000` tries others, and as many.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("SEEDS").ok();
    let range = given.as_deref().and_then(|given| given.split_once(".."));
    range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?)).unwrap_or(0..500)
}

#[test]
fn one_order_and_progress() {
    let mut all = Seen::default();
    for seed in seeds() {
        let (wrong, seen) = run(seed, |_| {});
        assert_eq!(wrong, None, "seed {seed}");
        all.add(&seen);
    }
    // Or nothing would have been tried.
    assert!(all.losses > 50 && all.reigns > 500 && all.snapshots > 20 && all.truncations > 10, "{all:?}");
    assert!(all.forwarded > 500 && all.synced > 500 && all.unknown > 100 && all.used_up > 100, "{all:?}");
    assert!(all.delivered > 1_000, "{all:?}");
}

/// What histories would find once in many thousands; `alone/paper.rs` shows it where it happens.
#[cfg(feature = "weakened")]
const SEEN_ALONE: [hezong_zab::Weakness; 2] =
    [hezong_zab::Weakness::EpochBeforeStored, hezong_zab::Weakness::RepeatedEpochCounted];

#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn every_known_bug_is_caught() {
    use hezong_zab::Weakness;
    for weakness in Weakness::ALL.into_iter().filter(|weakness| !SEEN_ALONE.contains(weakness)) {
        let weaken = |config: &mut Config| config.weakness = Some(weakness);
        let caught = (0..2_000).find_map(|seed| Some((seed + 1, run(seed, weaken).0?)));
        let (count, (property, _)) = caught.unwrap_or_else(|| panic!("{weakness:?} is not caught"));
        println!("bug\tzab::{weakness:?}\t{}\t{count} histories\t{property}", weakness.origin());
    }
}
