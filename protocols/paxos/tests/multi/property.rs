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
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn known_bugs_random_histories_catch_every_one() {
    use hezong_paxos::multi::Weakness;
    for weakness in Weakness::ALL {
        let weaken = move |config: &mut Config| config.weakness = Some(weakness);
        let (effort, what) = match weakness {
            Weakness::LeaseFromReply | Weakness::LeaseWithoutDrift => {
                assert!(crate::paper::lease_outlasts_those_who_grant_it(weaken), "{weakness:?} is not caught");
                ("asked directly".to_owned(), "a master's lease outlasts what was granted".to_owned())
            }
            Weakness::LeaseOverridden => {
                assert!(crate::paper::lease_is_given_to_another(weaken), "{weakness:?} is not caught");
                ("asked directly".to_owned(), "a lease is given to a second master".to_owned())
            }
            _ => {
                let caught = (0..2_000).find_map(|seed| Some((seed, caught(seed, weaken)?)));
                let (seed, what) = caught.unwrap_or_else(|| panic!("{weakness:?} is not caught"));
                (format!("{} histories", seed + 1), what)
            }
        };
        println!("bug\tmulti-paxos::{weakness:?}\t{}\t{effort}\t{what}", weakness.origin());
    }
}

/// What a bug breaks in a history, if it breaks anything: the twin panics, or there is no progress.
#[cfg(feature = "weakened")]
fn caught(seed: u64, weaken: impl Fn(&mut Config) + Send + 'static) -> Option<String> {
    match std::thread::spawn(move || run(seed, 1_500, weaken).1).join() {
        Ok(Some(_)) => None,
        Ok(None) => Some("no progress".to_owned()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Some(text.and_then(|text| text.lines().next()).unwrap_or("an assertion").to_owned())
        }
    }
}
