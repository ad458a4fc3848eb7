//! What a majority agrees on, against twins too dumb to be wrong.
#![allow(missing_docs, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use hezong_base::quorum::{Tally, majority, reached, tally};
use hezong_base::{NodeId, Rng};

/// Every subset of more than half of the voters.
fn majorities(voters: &BTreeSet<NodeId>) -> Vec<BTreeSet<NodeId>> {
    let all: Vec<_> = voters.iter().copied().collect();
    let subsets = (0..1u32 << all.len()).map(|mask| {
        all.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, id)| *id).collect::<BTreeSet<_>>()
    });
    subsets.filter(|subset| subset.len() * 2 > all.len()).collect()
}

fn random_voters(rng: &mut Rng) -> BTreeSet<NodeId> {
    (1..=rng.below(8)).map(NodeId).collect()
}

#[test]
fn majority_is_more_than_half() {
    for voters in 0..20 {
        assert!(majority(voters) * 2 > voters);
        assert!((majority(voters) - 1) * 2 <= voters, "and no more than needed");
    }
}

#[test]
fn majorities_of_neighbouring_sizes_meet() {
    // What single-server membership change stands on (§4.1 of the dissertation).
    for voters in 1..20 {
        assert!(majority(voters) + majority(voters + 1) > voters + 1);
    }
}

#[test]
fn reached_equals_dumb_twin() {
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let voters = random_voters(&mut rng);
        // Ids beyond the voters too: what a learner reached must not count.
        let values: BTreeMap<NodeId, u64> = (1..=12)
            .filter_map(|id| {
                let value = rng.below(6);
                (value > 0).then_some((NodeId(id), value))
            })
            .collect();
        // Some majority has all reached it, and no majority has all reached more.
        let twin = majorities(&voters)
            .into_iter()
            .filter_map(|set| set.iter().map(|id| values.get(id).copied()).min().flatten())
            .max();
        assert_eq!(reached(&voters, |id| values.get(&id).copied()), twin, "{voters:?} {values:?}");
    }
}

#[test]
fn reached_by_nobody_is_nothing() {
    assert_eq!(reached(&BTreeSet::new(), |_| Some(1)), None);
}

#[test]
fn tally_equals_dumb_twin() {
    let mut rng = Rng::new(2);
    for _ in 0..20_000 {
        let voters = random_voters(&mut rng);
        let mut votes = BTreeMap::new();
        for id in 1..=12 {
            if rng.chance(600) {
                votes.insert(NodeId(id), rng.chance(500));
            }
        }
        let sets = majorities(&voters);
        let won = sets.iter().any(|set| set.iter().all(|id| votes.get(id) == Some(&true)));
        let open = sets.iter().any(|set| set.iter().all(|id| votes.get(id) != Some(&false)));
        let twin = if won {
            Tally::Won
        } else if open {
            Tally::Open
        } else {
            Tally::Lost
        };
        assert_eq!(tally(&voters, |id| votes.get(&id).copied()), twin, "{voters:?} {votes:?}");
    }
}

#[test]
fn tally_of_nobody_is_lost() {
    assert_eq!(tally(&BTreeSet::new(), |_| Some(true)), Tally::Lost);
}
