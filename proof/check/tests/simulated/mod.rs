//! Histories of a register that really is linearizable, seen by clients with delays and lost answers.
#![allow(dead_code, reason = "each test file uses its share")]

use std::collections::BTreeMap;

use hezong_base::Rng;
use hezong_check::{Answer, Call, History, Operation, Outcome};

/// What to simulate.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) operations: u64,
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    /// How many values there are; few make histories ambiguous.
    pub(crate) values: u64,
    /// Answers lost, of a thousand; half of those operations never happened either.
    pub(crate) lost_per_mille: u64,
}

/// Every operation takes effect at one instant between call and return; the history tells the truth.
pub(crate) fn history(rng: &mut Rng, load: Load) -> History {
    let mut free_at = vec![0_u64; usize::try_from(load.clients).unwrap()];
    let mut planned = Vec::new();
    for _ in 0..load.operations {
        let client = usize::try_from(rng.below(load.clients)).unwrap();
        let called = free_at[client] + 1 + rng.below(20);
        let effect_at = called + rng.below(100);
        let returned = effect_at + rng.below(100);
        free_at[client] = returned;
        let lost = rng.chance(load.lost_per_mille);
        let happens = !lost || rng.chance(500);
        // What was lost takes effect whenever it likes.
        let effect_at = if lost { effect_at + rng.below(2_000) } else { effect_at };
        let operation = Operation {
            client: client as u64,
            key: format!("k{}", rng.below(load.keys)),
            called,
            call: call(rng, load.values),
            outcome: None,
        };
        planned.push((effect_at, rng.next_u64(), happens, (!lost).then_some(returned), operation));
    }
    planned.sort_by_key(|(effect_at, tie, ..)| (*effect_at, *tie));
    let mut values = BTreeMap::new();
    let run = |(_, _, happens, returned, mut operation): (u64, u64, bool, Option<u64>, Operation)| {
        if happens {
            let answer = apply(&mut values, &operation);
            operation.outcome = returned.map(|at| Outcome { at, answer });
        }
        operation
    };
    planned.into_iter().map(run).collect()
}

fn call(rng: &mut Rng, values: u64) -> Call {
    let value = |rng: &mut Rng| format!("v{}", rng.below(values));
    match rng.below(10) {
        0..5 => Call::Get,
        5..8 => Call::Put(value(rng)),
        8 => Call::Delete,
        _ => Call::Cas { expected: rng.chance(800).then(|| value(rng)), value: value(rng) },
    }
}

pub(crate) fn apply(values: &mut BTreeMap<String, String>, operation: &Operation) -> Answer {
    match &operation.call {
        Call::Get => Answer::Found(values.get(&operation.key).cloned()),
        Call::Put(value) => {
            values.insert(operation.key.clone(), value.clone());
            Answer::Done
        }
        Call::Delete => {
            values.remove(&operation.key);
            Answer::Done
        }
        Call::Cas { expected, value } => {
            let swapped = values.get(&operation.key) == expected.as_ref();
            if swapped {
                values.insert(operation.key.clone(), value.clone());
            }
            Answer::Swapped(swapped)
        }
    }
}

/// Changes one answer to another that was possible at some other time; whether that is a violation is for the checker to say.
pub(crate) fn spoil(rng: &mut Rng, history: &mut History, values: u64) -> bool {
    let known: Vec<_> = history.operations.iter_mut().filter_map(|operation| operation.outcome.as_mut()).collect();
    if known.is_empty() {
        return false;
    }
    let place = usize::try_from(rng.below(known.len() as u64)).unwrap();
    match &mut known.into_iter().nth(place).unwrap().answer {
        Answer::Found(found) => *found = rng.chance(800).then(|| format!("v{}", rng.below(values))),
        Answer::Swapped(swapped) => *swapped = !*swapped,
        Answer::Done => return false,
    }
    true
}
