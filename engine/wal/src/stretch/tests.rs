//! Stretches against a map that has one place for every entry.

use std::collections::BTreeMap;

use hezong_base::{Index, Rng};

use super::{Place, Stretches};

fn place(rng: &mut Rng, offset: &mut u32) -> Place {
    *offset += 1 + rng.below(100) as u32;
    Place { segment: u64::from(*offset) / 2_000, offset: *offset, length: 1 + rng.below(90) as u32 }
}

fn compare(stretches: &Stretches, twin: &BTreeMap<u64, Place>, rng: &mut Rng) {
    let from = rng.below(220);
    let to = from + rng.below(60);
    let mut found = BTreeMap::new();
    for piece in stretches.pieces(Index(from), Index(to)) {
        assert!(piece.first <= piece.last);
        for index in piece.first.0..=piece.last.0 {
            assert_eq!(found.insert(index, piece.place), None, "entry {index} has two places");
        }
    }
    let expected: BTreeMap<_, _> = twin.range(from..=to).map(|(index, place)| (*index, *place)).collect();
    assert_eq!(found, expected, "{from} to {to}");
    let is_whole = (from..=to).all(|index| twin.contains_key(&index)) && twin.len() as u64 == to - from + 1;
    assert_eq!(stretches.is_whole(Index(from), Index(to)), is_whole);
    if let (Some((first, _)), Some((last, _))) = (twin.first_key_value(), twin.last_key_value()) {
        let is_whole = twin.len() as u64 == last - first + 1;
        assert_eq!(stretches.is_whole(Index(*first), Index(*last)), is_whole);
    }
}

#[test]
fn random_changes_as_twin() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let (mut stretches, mut twin) = (Stretches::default(), BTreeMap::new());
        let mut offset = 0;
        for _ in 0..120 {
            let end = twin.last_key_value().map_or(0, |(last, _): (&u64, &Place)| *last);
            let (first, count) = match rng.below(10) {
                // Mostly at the end; sometimes anywhere, as carried entries are.
                0..7 => (end + 1, 1 + rng.below(8)),
                _ => (1 + rng.below(end + 20), 1 + rng.below(20)),
            };
            let place = place(&mut rng, &mut offset);
            stretches.put(Index(first), Index(first + count - 1), place);
            (first..first + count).for_each(|index| {
                twin.insert(index, place);
            });
            if rng.chance(100) {
                let first = 1 + rng.below(end + 1);
                let last = first + rng.below(end + 1);
                stretches.clip(Index(first), Index(last));
                twin.retain(|index, _| (first..=last).contains(index));
            }
            compare(&stretches, &twin, &mut rng);
            let segment = rng.below(4);
            let within: Vec<_> = stretches.within(segment, 500).flat_map(|p| p.first.0..=p.last.0).collect();
            let expected = twin.iter().filter(|(_, place)| place.segment == segment && place.offset >= 500);
            assert!(within.iter().eq(expected.map(|(index, _)| index)), "{within:?}");
        }
    }
}

/// A million records of one entry: twelve bytes each, and what a map of a thousandth as many costs.
#[test]
fn a_million_records_stay_small() {
    let mut stretches = Stretches::default();
    for index in 1..=1_000_000 {
        let place = Place { segment: index / 200_000, offset: (index % 200_000) as u32 * 350, length: 340 };
        stretches.put(Index(index), Index(index), place);
    }
    let capacity: usize =
        stretches.by_first.values().map(|stretch| stretch.runs.capacity() * size_of::<super::Run>()).sum();
    assert!(capacity <= 12_100_000, "{capacity} bytes");
    assert!(stretches.by_first.len() <= 1_000);
    assert!(stretches.is_whole(Index(1), Index(1_000_000)));
}
