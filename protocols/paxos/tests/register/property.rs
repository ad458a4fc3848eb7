//! Random histories: whatever happens to messages, disks and nodes, changes of a register appear to be made one after another,
//! each at most once; once all is well it does not take long, and what was deleted takes no room.

use hezong_base::NodeId;
use hezong_paxos::register::{Change, Config};

use crate::linear::Ask;
use crate::world::{KEYS, World};

/// One history, and what went wrong with it.
fn run(seed: u64, steps: u32, prepare: impl Fn(&mut Config)) -> World {
    // One proposes only.
    let acceptors = 3 + 2 * (seed % 4 / 3);
    let mut world = World::new(seed, acceptors, acceptors + 1, prepare);
    for _ in 0..steps {
        world.step();
        if world.broken.is_some() {
            return world;
        }
    }
    match world.heal(40_000) {
        Some(_) => world.check(),
        None => world.break_it("no progress though all is well".to_owned()),
    }
    world
}

#[test]
fn registers_random_histories_are_linearizable_and_make_progress() {
    let (mut done, mut unknown, mut collected, mut losses) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut world = run(seed, 1_500, |_| {});
        if let Some(why) = &world.broken {
            panic!("seed {seed}: {why}");
        }
        // What is deleted is forgotten by all.
        for key in KEYS {
            world.ask_of(NodeId(1), key, Change::Delete, Ask::Delete);
        }
        assert!(world.heal(40_000).is_some(), "seed {seed}: deletion takes for ever");
        for (id, node) in &world.nodes {
            assert_eq!(node.running.sizes(), (0, 0), "seed {seed}: {id}");
            assert!(node.disk.registers.is_empty(), "seed {seed}: {id}");
        }
        world.check();
        assert_eq!(world.broken, None, "seed {seed}");
        done += world.done;
        unknown += world.unknown;
        collected += world.collected;
        losses += world.losses;
    }
    // Or nothing would have been tried.
    let enough = done > 10_000 && unknown > 100 && collected > 5_000 && losses > 1_000;
    assert!(enough, "{done} done, {unknown} unknown, {collected} collected, {losses} crashes that lost something");
}

#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn every_known_bug_is_caught_by_random_histories() {
    use hezong_paxos::register::Weakness;
    // One shows where members change (`membership.rs`). The other takes three to come between each other just so and a crash in
    // the middle, which is rare: it is shown on one acceptor that breaks its word (`paper.rs`).
    let elsewhere = [Weakness::MembershipJumps, Weakness::PromiseBeforeStored];
    for weakness in Weakness::ALL.into_iter().filter(|weakness| !elsewhere.contains(weakness)) {
        let broken = |seed| run(seed, 1_500, |config| config.weakness = Some(weakness)).broken;
        let caught = (0..2_000).find_map(|seed| Some((seed, broken(seed)?)));
        let (seed, what) = caught.unwrap_or_else(|| panic!("{weakness:?} is not caught"));
        let what = what.lines().next().unwrap_or_default().trim_end_matches(": [");
        println!("bug\tregister::{weakness:?}\t{}\t{} histories\t{what}", weakness.origin(), seed + 1);
    }
}
