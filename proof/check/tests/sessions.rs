//! Session guarantees: each broken, each held, and never broken by what is linearizable.

mod simulated;

use hezong_base::Rng;
use hezong_check::{Answer, Call, Guarantee, History, Operation, Outcome, SessionVerdict, check_sessions};
use simulated::Load;

/// `"1 w a"` is client 1 that wrote a, `"1 r a"` one that read it, `"1 r -"` one that found nothing; one after the other
/// in time unless `at the same time` is meant, which `together` makes of it for different clients.
fn history(lines: &[&str], together: bool) -> History {
    let mut at = 0;
    let line = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        at += 10;
        let value = words[2].to_owned();
        let (call, answer) = match words[1] {
            "w" => (Call::Put(value), Answer::Done),
            _ => (Call::Get, Answer::Found((value != "-").then_some(value))),
        };
        let client = words[0].parse().unwrap();
        // Other clients' clocks show nothing: each has seen all of the time there is.
        let called = if together { at - 10 } else { at };
        Operation { client, key: "x".into(), called, call, outcome: Some(Outcome { at: called + 5, answer }) }
    };
    lines.iter().map(line).collect()
}

/// The sets of guarantees of which one is broken.
fn broken(lines: &[&str], by_time: bool) -> Vec<Vec<Guarantee>> {
    let all = Guarantee::ALL.map(|(_, guarantee)| guarantee);
    match check_sessions(&history(lines, false), &all, by_time) {
        SessionVerdict::Kept => Vec::new(),
        SessionVerdict::Broken(violations) => violations.into_iter().map(|violation| violation.guarantees).collect(),
        SessionVerdict::Unknown(why) => panic!("{why:?}"),
    }
}

use Guarantee::{MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads};

#[test]
fn sessions_read_your_writes() {
    assert_eq!(broken(&["1 w a", "1 r -"], false), [[ReadYourWrites]]);
    assert_eq!(broken(&["2 w a", "1 w b", "1 r a"], true), [[ReadYourWrites]]);
    // Without an order of writes in time, a may be the later version.
    assert!(broken(&["2 w a", "1 w b", "1 r a"], false).is_empty());
    // Another client may be late.
    assert!(broken(&["1 w a", "2 r -", "1 r a"], true).is_empty());
}

#[test]
fn sessions_monotonic_reads() {
    assert_eq!(broken(&["1 w a", "2 r a", "2 r -"], false), [[MonotonicReads]]);
    assert_eq!(broken(&["1 w a", "1 w b", "2 r b", "2 r a"], true), [[MonotonicReads]]);
    // Two readers that disagree.
    let forked = ["1 w a", "2 w b", "3 r a", "3 r b", "4 r b", "4 r a"];
    assert_eq!(broken(&forked, false), [[MonotonicReads]]);
    assert!(broken(&["1 w a", "1 w b", "2 r a", "3 r b", "2 r b"], true).is_empty());
}

#[test]
fn sessions_monotonic_writes() {
    // Either the writes took effect in the other order, or the reads went back.
    assert_eq!(broken(&["1 w a", "1 w b", "2 r b", "2 r a"], false), [[MonotonicReads, MonotonicWrites]]);
    assert!(broken(&["1 w a", "1 w b", "2 r a", "2 r b"], false).is_empty());
}

#[test]
fn sessions_writes_follow_reads() {
    let lines = ["1 w a", "2 r a", "2 w b", "3 r b", "3 r a"];
    assert_eq!(broken(&lines, false), [[MonotonicReads, WritesFollowReads]]);
    // What it read must have been written before, so by time it is the reader that went back.
    assert_eq!(broken(&lines, true), [[MonotonicReads]]);
    // Read although it was written only after the reader's own write.
    assert_eq!(broken(&["2 r a", "2 w b", "1 w a"], true), [[WritesFollowReads]]);
    assert!(broken(&["1 w a", "2 r a", "2 w b", "3 r b", "4 r a"], true).is_empty());
}

#[test]
fn sessions_are_told_with_their_operations() {
    let history = history(&["1 w a", "1 w b", "3 r b", "2 r b", "2 r a"], false);
    let SessionVerdict::Broken(found) = check_sessions(&history, &[MonotonicReads], true) else { panic!() };
    assert_eq!(found[0].operations.len(), 4);
    let mut reasons = found[0].reasons.clone();
    reasons.sort();
    assert_eq!(
        reasons,
        ["client 2 found \"b\" and then \"a\"", "the write of \"a\" had ended when that of \"b\" began"]
    );
}

#[test]
fn sessions_ambiguous_are_unknown() {
    let twice = history(&["1 w a", "2 w a", "1 r -"], false);
    assert!(matches!(check_sessions(&twice, &[ReadYourWrites], true), SessionVerdict::Unknown(_)));
    let both = history(&["1 w a", "1 r a", "1 w b"], true);
    assert!(matches!(check_sessions(&both, &[ReadYourWrites], true), SessionVerdict::Kept));
    let mut overlapping = both;
    overlapping.operations[1].called = 2;
    assert!(matches!(check_sessions(&overlapping, &[ReadYourWrites], true), SessionVerdict::Unknown(_)));
}

/// A store of one copy keeps all guarantees, with and without an order in time, whatever answers are lost.
#[test]
fn sessions_of_linearizable_histories_are_kept() {
    let all = Guarantee::ALL.map(|(_, guarantee)| guarantee);
    let mut rng = Rng::new(1);
    for _ in 0..1_000 {
        let load = Load { operations: 60, clients: 4, keys: 8, values: u64::MAX, lost_per_mille: 20 };
        let mut history = simulated::history(&mut rng, load);
        let deleted: Vec<String> =
            history.operations.iter().filter(|o| o.call == Call::Delete).map(|o| o.key.clone()).collect();
        history.operations.retain(|operation| !deleted.contains(&operation.key));
        for by_time in [false, true] {
            assert_eq!(check_sessions(&history, &all, by_time), SessionVerdict::Kept, "{history:#?}");
        }
    }
}
