//! The shortest window: minimal, still not to be explained, and of the whole history's making.

mod simulated;

use hezong_base::Rng;
use hezong_check::{
    Answer, Budget, Call, History, Operation, Verdict, Violation, Window, check, check_while, shortest_window,
};
use simulated::Load;

fn violation(history: &History) -> Option<Violation> {
    match check(history, Budget::default()) {
        Verdict::Violation(violation) => Some(violation),
        Verdict::Linearizable => None,
        Verdict::Unknown { keys } => panic!("{keys:?}"),
    }
}

/// What the window claims: its answers at stake, with all other operations as ones that nobody knows the outcome of.
fn claim(window: &Window, without: Option<usize>) -> History {
    let weaken = |(at, shown): (usize, &hezong_check::Shown)| {
        let mut operation = shown.operation.clone();
        if !shown.is_at_stake || Some(at) == without {
            let refused = operation.outcome.take().is_some_and(|outcome| outcome.answer == Answer::Swapped(false));
            if refused || operation.call == Call::Get {
                return None;
            }
        }
        Some(operation)
    };
    window.operations.iter().enumerate().filter_map(weaken).collect()
}

#[test]
fn window_is_minimal_and_not_explained() {
    let mut rng = Rng::new(1);
    let mut seen = 0;
    for round in 0..3_000 {
        let load = Load { operations: 60, clients: 4, keys: 2, values: [4, 1_000][round % 2], lost_per_mille: 50 };
        let mut history = simulated::history(&mut rng, load);
        simulated::spoil(&mut rng, &mut history, 4);
        let Some(violation) = violation(&history) else { continue };
        let window = shortest_window(&violation);
        seen += 1;
        assert!(self::violation(&claim(&window, None)).is_some(), "{window:#?}");
        for (at, shown) in window.operations.iter().enumerate().filter(|(_, shown)| shown.is_at_stake) {
            assert!(history.operations.contains(&shown.operation));
            assert!(self::violation(&claim(&window, Some(at))).is_none(), "{at} may go: {window:#?}");
        }
    }
    assert!(seen > 500, "{seen}");
}

/// A stale read late in a long run comes down to a write, the write over it, and the read.
#[test]
fn window_of_long_history_is_short() {
    let load = Load { operations: 20_000, clients: 16, keys: 1, values: u64::MAX, lost_per_mille: 10 };
    let mut history = simulated::history(&mut Rng::new(3), load);
    let mut reads = history.operations.iter_mut().filter_map(|operation| match operation.outcome.as_mut() {
        Some(outcome) => match &mut outcome.answer {
            Answer::Found(found @ Some(_)) => Some(found),
            _ => None,
        },
        None => None,
    });
    let early = reads.next().unwrap().clone();
    *reads.last().unwrap() = early;
    let start = std::time::Instant::now();
    let window = shortest_window(&violation(&history).unwrap());
    eprintln!("{:?}", start.elapsed());
    assert_eq!(window.operations.len(), 3, "{window:#?}");
    let calls: Vec<&Operation> = window.operations.iter().map(|shown| &shown.operation).collect();
    assert_eq!(calls[2].call, Call::Get);
}

/// Whoever asks may stop a search; what was not looked at is unknown, never fine.
#[test]
fn check_stopped_is_unknown() {
    let load = Load { operations: 1_000, clients: 8, keys: 3, values: 1_000_000, lost_per_mille: 10 };
    let history = simulated::history(&mut Rng::new(5), load);
    let mut asked = 0;
    let verdict = check_while(&history, Budget::default(), &mut |progress| {
        asked += 1;
        assert_eq!(progress.keys_all, 3);
        progress.keys < 1
    });
    assert_eq!(verdict, Verdict::Unknown { keys: vec!["k1".into(), "k2".into()] });
    assert_eq!(asked, 3);
}
