//! Random histories: whatever happens to messages, disks and nodes, changes of a register appear to be made one after another,
//! each at most once; once all is well it does not take long, and what was deleted takes no room.

use hezong_base::NodeId;
use hezong_paxos::register::{Change, Config};

use crate::linear::Ask;
use crate::world::{KEYS, World};

/// One history, and what went wrong with it.
fn run(seed: u64, steps: u32, prepare: impl Fn(&mut Config)) -> World {
    let tt = std::time::Instant::now();
    let mut world = World::new(seed, 3 + 2 * (seed % 4 / 3), prepare);
    for _ in 0..steps {
        world.step();
        if world.broken.is_some() {
            return world;
        }
    }
    if tt.elapsed().as_millis() > 100 {
        println!("{seed} steps {:?}", tt.elapsed());
    }
    let t0 = std::time::Instant::now();
    match world.heal(40_000) {
        Some(n) => {
            let t1 = t0.elapsed();
            world.check();
            if t0.elapsed().as_millis() > 100 {
                println!("{seed} heal {n} {t1:?} {:?}", t0.elapsed());
            }
        }
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
    println!("{done} done, {unknown} unknown, {collected} collected, {losses} losses");
    assert!(done > 5_000 && unknown > 50 && collected > 500 && losses > 500);
}

#[cfg(feature = "weakened")]
#[test]
fn every_known_bug_is_caught_by_random_histories() {
    use hezong_paxos::register::Weakness;
    for weakness in Weakness::ALL {
        let caught = (0..2_000u64).find_map(|seed| {
            let world = run(seed, 1_500, |config| config.weakness = Some(weakness));
            world.broken.map(|why| (seed, why))
        });
        match caught {
            Some((seed, why)) => println!("{weakness:?} {seed} {}", why.lines().next().unwrap()),
            None => println!("{weakness:?} NOT"),
        }
    }
}
