//! Histories made by hand: one for each anomaly that the field has a name for, and its harmless neighbour.

use hezong_check::{Answer, Budget, Call, History, HistoryError, Operation, Outcome, Verdict, Violation, check};

/// Client, call, from, to, what: `"a"` is a value, times are one digit to a tick.
fn operation(client: u64, called: u64, call: Call, outcome: Option<(u64, Answer)>) -> Operation {
    let outcome = outcome.map(|(at, answer)| Outcome { at, answer });
    Operation { client, key: "x".into(), called, call, outcome }
}

fn put(client: u64, from: u64, to: u64, value: &str) -> Operation {
    operation(client, from, Call::Put(value.into()), Some((to, Answer::Done)))
}

fn put_lost(client: u64, from: u64, value: &str) -> Operation {
    operation(client, from, Call::Put(value.into()), None)
}

fn get(client: u64, from: u64, to: u64, value: Option<&str>) -> Operation {
    operation(client, from, Call::Get, Some((to, Answer::Found(value.map(Into::into)))))
}

fn delete(client: u64, from: u64, to: u64) -> Operation {
    operation(client, from, Call::Delete, Some((to, Answer::Done)))
}

fn cas(client: u64, from: u64, to: u64, expected: Option<&str>, value: &str, swapped: bool) -> Operation {
    let call = Call::Cas { expected: expected.map(Into::into), value: value.into() };
    operation(client, from, call, Some((to, Answer::Swapped(swapped))))
}

fn verdict(operations: &[Operation]) -> Verdict {
    check(&operations.iter().cloned().collect(), Budget::default())
}

#[track_caller]
fn fine(operations: &[Operation]) {
    assert_eq!(verdict(operations), Verdict::Linearizable);
}

/// Not linearizable, and `culprit` is where it shows.
#[track_caller]
fn broken(operations: &[Operation], culprit: usize) -> Violation {
    let Verdict::Violation(violation) = verdict(operations) else { panic!("{:?}", verdict(operations)) };
    assert_eq!(violation.culprit, operations[culprit]);
    violation
}

#[test]
fn anomaly_none_in_nothing() {
    fine(&[]);
    fine(&[get(1, 0, 1, None)]);
}

#[test]
fn anomaly_stale_read() {
    broken(&[put(1, 0, 1, "a"), put(1, 2, 3, "b"), get(2, 4, 5, Some("a"))], 2);
    fine(&[put(1, 0, 1, "a"), put(1, 2, 5, "b"), get(2, 4, 5, Some("a"))]);
    // A read that begins in the instant in which the put ends may have been before it.
    fine(&[put(1, 0, 1, "a"), put(1, 2, 3, "b"), get(2, 3, 5, Some("a"))]);
}

#[test]
fn anomaly_read_of_never_written() {
    broken(&[put(1, 0, 1, "a"), get(2, 2, 3, Some("z"))], 1);
    // Written, but only later.
    broken(&[get(2, 0, 1, Some("a")), put(1, 2, 3, "a")], 0);
}

#[test]
fn anomaly_non_monotonic_reads() {
    let writes = [put(1, 0, 1, "a"), put(1, 2, 9, "b")];
    let reads = |first, second| [get(2, 3, 4, Some(first)), get(3, 5, 6, Some(second))];
    broken(&[&writes[..], &reads("b", "a")].concat(), 3);
    fine(&[&writes[..], &reads("a", "b")].concat());
}

#[test]
fn anomaly_lost_update() {
    // Both swapped from the same value: one update is gone.
    broken(&[put(1, 0, 1, "a"), cas(2, 2, 5, Some("a"), "b", true), cas(3, 3, 6, Some("a"), "c", true)], 2);
    fine(&[put(1, 0, 1, "a"), cas(2, 2, 5, Some("a"), "b", true), cas(3, 3, 6, Some("b"), "c", true)]);
    // An acknowledged write that nobody finds again.
    broken(&[put(1, 0, 1, "a"), get(2, 2, 3, None)], 1);
    fine(&[put(1, 0, 1, "a"), delete(3, 1, 3), get(2, 2, 3, None)]);
}

#[test]
fn anomaly_swap_that_should_have_been() {
    broken(&[put(1, 0, 1, "a"), cas(2, 2, 3, Some("a"), "b", false)], 1);
    broken(&[cas(2, 0, 1, None, "b", false)], 0);
    fine(&[cas(2, 0, 1, None, "b", true), cas(2, 2, 3, None, "c", false), get(1, 4, 5, Some("b"))]);
}

#[test]
fn anomaly_lost_write_seen_then_unseen() {
    fine(&[put(1, 0, 1, "a"), put_lost(2, 2, "b"), get(3, 3, 4, Some("a")), get(3, 90, 91, Some("b"))]);
    fine(&[put(1, 0, 1, "a"), put_lost(2, 2, "b"), get(3, 90, 91, Some("a"))]);
    broken(&[put(1, 0, 1, "a"), put_lost(2, 2, "b"), get(3, 5, 6, Some("b")), get(3, 7, 8, Some("a"))], 3);
    // It happens once: seen, overwritten, and never again.
    let twice = [put_lost(2, 0, "b"), get(3, 1, 2, Some("b")), put(1, 3, 4, "a"), get(3, 5, 6, Some("b"))];
    broken(&twice, 3);
    // And not before it was called.
    broken(&[get(3, 1, 2, Some("b")), put_lost(2, 3, "b")], 0);
}

/// An unknown write may be seen by a swap alone, and a chain of unknown ones only by its end.
#[test]
fn anomaly_none_in_unknown_chain() {
    let lost_cas = |client, from, expected: &str, value: &str| {
        operation(client, from, Call::Cas { expected: Some(expected.into()), value: value.into() }, None)
    };
    fine(&[put_lost(1, 0, "a"), cas(2, 1, 2, Some("a"), "b", true)]);
    fine(&[put_lost(1, 0, "a"), lost_cas(2, 1, "a", "b"), lost_cas(3, 2, "b", "c"), get(4, 8, 9, Some("c"))]);
    broken(&[put_lost(1, 0, "a"), lost_cas(3, 2, "b", "c"), get(4, 8, 9, Some("c"))], 2);
}

#[test]
fn anomaly_answer_of_another_kind() {
    broken(&[put(1, 0, 1, "a"), operation(2, 2, Call::Get, Some((3, Answer::Done)))], 1);
}

#[test]
fn anomaly_told_with_what_came_before() {
    let history = [
        put(1, 0, 1, "a"),
        get(2, 2, 3, Some("a")),
        put(1, 4, 20, "b"),
        get(2, 5, 6, Some("b")),
        get(3, 7, 30, None),
        get(2, 8, 9, Some("a")),
        get(2, 10, 11, Some("b")),
    ];
    let violation = broken(&history, 5);
    // The put has not been answered yet, the slow read says nothing yet, the later read is not there.
    let unanswered = Operation { outcome: None, ..history[2].clone() };
    assert_eq!(violation.window, [history[0].clone(), history[1].clone(), unanswered, history[3].clone()]);
    let expected = "key \"x\" is not linearizable: nothing explains\n  \
                    client 2 at 8: get \"x\" -> \"a\" at 9\n\
                    after (0 earlier operations not shown)\n  \
                    client 1 at 0: put \"x\" = \"a\" -> done at 1\n  \
                    client 2 at 2: get \"x\" -> \"a\" at 3\n  \
                    client 1 at 4: put \"x\" = \"b\" -> nobody knows\n  \
                    client 2 at 5: get \"x\" -> \"b\" at 6\n";
    assert_eq!(violation.to_string(), expected);
}

/// Keys do not explain each other.
#[test]
fn anomaly_of_one_key_among_many() {
    let of_key = |key: &str, operation: Operation| Operation { key: key.into(), ..operation };
    let mut operations: Vec<_> = ["a", "b", "c"].map(|key| of_key(key, put(1, 0, 1, key))).into();
    operations.push(of_key("b", get(2, 2, 3, Some("a"))));
    let Verdict::Violation(violation) = verdict(&operations) else { panic!() };
    assert_eq!(violation.key, "b");
}

/// Giving up is neither yes nor no, and names the keys.
#[test]
fn budget_used_up_is_unknown() {
    let puts = (0..5).map(|n| put(1, 10 * n, 10 * n + 1, &n.to_string()));
    let history: History = puts.chain([get(2, 100, 101, Some("4"))]).collect();
    assert_eq!(check(&history, Budget { steps: 4 }), Verdict::Unknown { keys: vec!["x".into()] });
    assert_eq!(check(&history, Budget { steps: 5 }), Verdict::Linearizable);
}

#[test]
fn history_lines_round_trip() {
    let history: History = [
        put(1, 0, 1, "a \"b\"\n合"),
        put_lost(2, 2, ""),
        get(3, 3, 4, None),
        get(3, 3, 4, Some("a")),
        delete(4, 5, u64::MAX),
        cas(5, 6, 7, None, "c", true),
        cas(5, 8, 9, Some("c"), "d", false),
    ]
    .into_iter()
    .collect();
    let mut text = Vec::new();
    history.write(&mut text).unwrap();
    assert_eq!(History::read(&text[..]).unwrap(), history);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 7);
    let second = r#"{"client":2,"key":"x","called":2,"call":{"put":""}}"#;
    assert_eq!(text.lines().nth(1), Some(second));
    let fourth = r#"{"client":3,"key":"x","called":3,"call":"get","outcome":{"at":4,"answer":{"found":"a"}}}"#;
    assert_eq!(text.lines().nth(3), Some(fourth));
}

#[test]
fn history_bad_lines_are_named() {
    let torn = "{\"client\":2,\"key\":\"x\",\"called\":2,\"call\":{\"put\":\"\"}}\n\n{\"client\":2,";
    let error = History::read(torn.as_bytes()).unwrap_err();
    assert!(matches!(error, HistoryError::Line { line: 3, .. }), "{error}");
    let backwards = r#"{"client":3,"key":"x","called":5,"call":"get","outcome":{"at":4,"answer":{"found":"a"}}}"#;
    let error = History::read(backwards.as_bytes()).unwrap_err();
    assert!(matches!(error, HistoryError::Backwards { line: 1 }), "{error}");
}
