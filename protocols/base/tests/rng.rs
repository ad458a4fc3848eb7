//! Chance: the published stream, and what is drawn from it.
#![allow(missing_docs, reason = "tests")]

use std::time::Duration;

use hezong_base::Rng;

#[test]
fn stream_is_the_published_one() {
    // xoshiro256** seeded with the first four outputs of SplitMix64(0), as every other implementation gives it.
    let mut rng = Rng::new(0);
    let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
    assert_eq!(
        first,
        [11_091_344_671_253_066_420, 13_793_997_310_169_335_082, 1_900_383_378_846_508_768, 7_684_712_102_626_143_532]
    );
}

#[test]
fn below_stays_below_and_reaches_everything() {
    let mut rng = Rng::new(3);
    let mut seen = [0u32; 7];
    for _ in 0..7_000 {
        let drawn = usize::try_from(rng.below(7)).expect("small");
        seen[drawn] += 1;
    }
    assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
}

#[test]
fn between_keeps_its_bounds() {
    let mut rng = Rng::new(4);
    let (min, max) = (Duration::from_millis(150), Duration::from_millis(300));
    let drawn: Vec<_> = (0..1_000).map(|_| rng.between(min, max)).collect();
    assert!(drawn.iter().all(|span| (min..max).contains(span)));
    assert!(drawn.iter().any(|span| *span < Duration::from_millis(165)));
    assert!(drawn.iter().any(|span| *span > Duration::from_millis(285)));
    assert_eq!(rng.between(max, max), max);
    assert_eq!(rng.between(max, min), max, "nothing lies between");
}

#[test]
fn chance_is_what_it_says() {
    let mut rng = Rng::new(5);
    assert!((0..1_000).all(|_| !rng.chance(0)));
    assert!((0..1_000).all(|_| rng.chance(1_000)));
    let hits = (0..10_000).filter(|_| rng.chance(250)).count();
    assert!((2_300..2_700).contains(&hits), "{hits}");
}

#[test]
fn fork_leaves_one_stream_unshifted_by_the_other() {
    let mut parent = Rng::new(6);
    let mut fork = parent.fork();
    let mut twin = Rng::new(6);
    twin.next_u64();
    for _ in 0..100 {
        fork.next_u64();
    }
    assert_eq!(parent.next_u64(), twin.next_u64());
    assert_ne!(fork.next_u64(), parent.next_u64());
}
