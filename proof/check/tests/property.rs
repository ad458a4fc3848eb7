//! The search against a deliberately dumb twin that tries every order.

mod simulated;

use std::collections::BTreeMap;

use hezong_base::Rng;
use hezong_check::{Budget, Call, History, Operation, Verdict, check};
use simulated::Load;

/// Whether some order explains all: the next operation is any that nobody left has wholly preceded; all known ones must
/// happen. Exponential, and plainly the definition.
fn explained(left: &[Operation], values: &BTreeMap<String, String>) -> bool {
    left.iter().all(|operation| operation.outcome.is_none())
        || (0..left.len()).any(|place| {
            let next = &left[place];
            let preceded = left.iter().any(|o| o.outcome.as_ref().is_some_and(|outcome| outcome.at < next.called));
            let mut values = values.clone();
            let answer = simulated::apply(&mut values, next);
            let mut rest = left.to_vec();
            rest.remove(place);
            !preceded
                && next.outcome.as_ref().is_none_or(|outcome| outcome.answer == answer)
                && explained(&rest, &values)
        })
}

fn verdict(history: &History) -> Verdict {
    check(history, Budget::default())
}

#[test]
fn property_search_equals_every_order_tried() {
    let mut rng = Rng::new(1);
    let (mut yes, mut no) = (0, 0);
    for _ in 0..12_000 {
        let load = Load {
            operations: 1 + rng.below(7),
            clients: 1 + rng.below(4),
            keys: 1 + rng.below(2),
            values: 1 + rng.below(4),
            lost_per_mille: rng.below(2) * 400,
        };
        let mut history = simulated::history(&mut rng, load);
        for _ in 0..rng.below(3) {
            simulated::spoil(&mut rng, &mut history, load.values);
        }
        let expected = explained(&history.operations, &BTreeMap::new());
        let found = verdict(&history);
        assert_eq!(found == Verdict::Linearizable, expected, "{found:?}\n{history:#?}");
        if expected {
            yes += 1
        } else {
            no += 1
        }
        if let Verdict::Violation(violation) = found {
            shortest(&violation.window, &violation.culprit);
        }
    }
    assert!(yes > 3_000 && no > 3_000, "{yes} linearizable, {no} not: both must be common");
}

/// The window is linearizable until the culprit's answer arrives, and not after.
fn shortest(window: &[Operation], culprit: &Operation) {
    let mut operations = window.to_vec();
    operations.push(culprit.clone());
    assert!(!explained(&operations, &BTreeMap::new()), "{operations:#?}");
    operations.last_mut().unwrap().outcome = None;
    assert!(explained(&operations, &BTreeMap::new()), "{operations:#?}");
    let last = culprit.outcome.as_ref().unwrap().at;
    assert!(window.iter().all(|o| o.called <= last && o.outcome.as_ref().is_none_or(|outcome| outcome.at <= last)));
}

/// What really was linearizable is never called a violation, whatever was lost.
#[test]
fn property_truth_is_linearizable() {
    let mut rng = Rng::new(2);
    for values in [2, 5, 1_000_000] {
        for _ in 0..40 {
            let load = Load { operations: 400, clients: 8, keys: 3, values, lost_per_mille: 20 };
            assert_eq!(verdict(&simulated::history(&mut rng, load)), Verdict::Linearizable);
        }
    }
}

/// The order in which operations were written down means nothing.
#[test]
fn property_order_of_recording_is_irrelevant() {
    let mut rng = Rng::new(3);
    for _ in 0..100 {
        let load = Load { operations: 40, clients: 4, keys: 2, values: 3, lost_per_mille: 50 };
        let mut history = simulated::history(&mut rng, load);
        simulated::spoil(&mut rng, &mut history, 3);
        let before = verdict(&history) == Verdict::Linearizable;
        history.operations.reverse();
        assert_eq!(verdict(&history) == Verdict::Linearizable, before);
    }
}

/// Reads nobody has the answer of never matter.
#[test]
fn property_lost_reads_say_nothing() {
    let mut rng = Rng::new(4);
    for _ in 0..100 {
        let load = Load { operations: 40, clients: 4, keys: 1, values: 3, lost_per_mille: 200 };
        let mut history = simulated::history(&mut rng, load);
        simulated::spoil(&mut rng, &mut history, 3);
        let before = verdict(&history) == Verdict::Linearizable;
        history.operations.retain(|o| o.call != Call::Get || o.outcome.is_some());
        assert_eq!(verdict(&history) == Verdict::Linearizable, before);
    }
}
