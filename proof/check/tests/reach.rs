//! How far it reaches: long histories, many clients, lost answers, few values, violations late in the run. No test here
//! measures time; they stay within steps, which is what the budget counts, and print the time for people.

mod simulated;

use std::time::Instant;

use hezong_base::Rng;
use hezong_check::{Answer, Budget, Verdict, check};
use simulated::Load;

const LOAD: Load = Load { operations: 10_000, clients: 16, keys: 8, values: 1_000_000, lost_per_mille: 10 };

#[test]
fn reach_ten_thousand_operations() {
    for values in [1_000_000, 100, 3] {
        for seed in 0..5 {
            let history = simulated::history(&mut Rng::new(seed), Load { values, ..LOAD });
            let start = Instant::now();
            assert_eq!(
                check(&history, Budget { steps: 200_000 }),
                Verdict::Linearizable,
                "{values} values, seed {seed}"
            );
            eprintln!("{values} values, seed {seed}: {:?}", start.elapsed());
        }
    }
}

/// One key for all clients: everything is concurrent with fifteen others.
#[test]
fn reach_one_key() {
    for seed in 0..5 {
        let history = simulated::history(&mut Rng::new(seed), Load { operations: 2_000, keys: 1, ..LOAD });
        let start = Instant::now();
        assert_eq!(check(&history, Budget::default()), Verdict::Linearizable, "seed {seed}");
        eprintln!("one key, seed {seed}: {:?}", start.elapsed());
    }
}

/// A value that was overwritten long ago, read near the end.
#[test]
fn reach_violation_late() {
    for seed in 0..5 {
        let mut history = simulated::history(&mut Rng::new(seed), LOAD);
        let mut reads = history.operations.iter_mut().filter_map(|operation| {
            let key = operation.key.clone();
            match operation.outcome.as_mut().map(|outcome| &mut outcome.answer) {
                Some(Answer::Found(found @ Some(_))) if key == "k3" => Some(found),
                _ => None,
            }
        });
        let early = reads.next().unwrap().clone();
        let late = reads.last().unwrap();
        *late = early.clone();
        let start = Instant::now();
        let Verdict::Violation(violation) = check(&history, Budget::default()) else { panic!("seed {seed}") };
        assert_eq!(violation.culprit.outcome.map(|outcome| outcome.answer), Some(Answer::Found(early)));
        eprintln!("late violation, seed {seed}: {:?}", start.elapsed());
    }
}
