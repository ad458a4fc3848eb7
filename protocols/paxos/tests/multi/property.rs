//! Random histories, against a twin that sees all disks: see `world.rs`. With the feature `weakened`, that every known bug is
//! caught by them. `SEEDS=20000` runs more of them.

use hezong_paxos::multi::Config;

use crate::world::World;

/// One history, and whether all was well again in time.
fn run(seed: u64, steps: u32, prepare: impl Fn(&mut Config)) -> (World, Option<u32>) {
    let mut world = World::new(seed, prepare);
    (0..steps).for_each(|_| world.step());
    let healed = world.heal(20_000);
    world.count_ballots();
    (world, healed)
}

#[test]
fn agreement_random_histories_one_log_and_progress() {
    let mut sum = [0; 8];
    let seeds = std::env::var("SEEDS").map_or(300, |text| text.parse().expect("a number of histories"));
    for seed in 0..seeds {
        let (world, healed) = run(seed, 1_500, |_| {});
        assert!(healed.is_some(), "seed {seed}: no progress\n{}", world.status());
        let seen = &world.seen;
        let ballots = u32::try_from(seen.ballots).unwrap();
        let counts =
            [seen.losses, ballots, seen.reads, seen.done, seen.unknown, seen.snapshots, seen.changes, seen.holes];
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    // Or nothing would have been tried.
    let enough = sum.iter().all(|count| *count > 100);
    assert!(enough, "losses, ballots, reads, done, unknown, snapshots, changes, holes: {sum:?}");
}

/// Each is caught by one history of so many. What a bug makes of a history is a panic of the twin's, or no progress. Three need
/// clocks, letters, cuts or members to meet so well that chance seldom does it: they are asked directly.
#[cfg(feature = "weakened")]
#[test]
fn known_bugs_random_histories_catch_every_one() {
    use hezong_paxos::multi::Weakness;
    let caught = |weakness: Weakness, seed: u64| {
        let history = move || run(seed, 1_500, |config| config.weakness = Some(weakness)).1.is_some();
        !std::thread::spawn(history).join().unwrap_or(false)
    };
    let by_chance = |weakness: Weakness| (0..2_000).any(|seed| caught(weakness, seed));
    let missed = Weakness::ALL.into_iter().filter(|weakness| match weakness {
        Weakness::LeaseFromReply | Weakness::LeaseWithoutDrift => {
            !crate::paper::lease_outlasts_those_who_grant_it(|config| config.weakness = Some(*weakness))
        }
        Weakness::LeaseOverridden => {
            !crate::paper::lease_is_given_to_another(|config| config.weakness = Some(*weakness))
        }
        _ => !by_chance(*weakness),
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
