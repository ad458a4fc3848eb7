//! Lists, judged once more as Elle does it: every append is a transaction that reads the list and appends an item of its own,
//! and what transactions saw of each other must fit strict serializability (Kingsbury and Alvaro, 2020).
//!
//! The search for an order judges the same answers, key by key. This looks at all keys at once, never gives up, and says of
//! what is wrong what kind it is: an update that was lost, an order that goes round in a circle.

use std::io::{self, Write};

use hezong_check::{
    Anomaly, Answer, Call, End, IsolationVerdict, Micro, Model, Name, Names, Operation, Transaction, Transactions,
    check_isolation,
};
use serde_json::{Value, json};

use crate::judge::Verdict;

/// What part of a key says that it holds a list.
pub(crate) const KIND: &str = "list";

/// What was done to lists, as transactions.
pub(crate) fn transactions(operations: &[Operation]) -> Transactions {
    let mut made = Transactions::default();
    let kind = format!("/{KIND}/");
    for operation in operations.iter().filter(|operation| operation.key.contains(&kind)) {
        let names = &mut made.names;
        let key = names.name(&operation.key);
        let (end, micros) = match (&operation.call, &operation.outcome) {
            (Call::Get, Some(outcome)) => {
                let found = match &outcome.answer {
                    Answer::Found(Some(text)) => items(names, text),
                    _ => Vec::new(),
                };
                (End::Committed(outcome.at), vec![Micro::Read { key, found: Some(found) }])
            }
            (Call::Cas { expected, value }, outcome) => {
                let end = match outcome {
                    Some(outcome) if outcome.answer == Answer::Swapped(true) => End::Committed(outcome.at),
                    Some(_) => End::Aborted,
                    None => End::Unknown,
                };
                // What it saw was there only if it was done.
                let is_done = matches!(end, End::Committed(_));
                let found = is_done.then(|| expected.as_ref().map_or_else(Vec::new, |text| items(names, text)));
                let value = names.name(value.rsplit(',').next().unwrap_or_default());
                (end, vec![Micro::Read { key, found }, Micro::Write { key, value }])
            }
            // Nothing else is done to lists, and reads that nobody answered are not recorded.
            _ => continue,
        };
        made.all.push(Transaction { client: operation.client, called: operation.called, end, micros });
    }
    made
}

fn items(names: &mut Names, text: &str) -> Vec<Name> {
    text.split(',').map(|item| names.name(item)).collect()
}

/// Whether transactions saw what strict serializability allows.
pub(crate) fn judge(made: &Transactions) -> Verdict {
    match check_isolation(made, Model::STRICT_SERIALIZABLE) {
        IsolationVerdict::NothingFound => Verdict::Explained,
        IsolationVerdict::Broken(found) => {
            // The gravest comes first, and one is enough to begin with: `hezong check` tells more.
            let first = found.first().map(|anomaly| shown(made, anomaly)).unwrap_or_default();
            Verdict::Violation(format!("lists are not strict-serializable\n{first}"))
        }
        IsolationVerdict::Unknown(why) => Verdict::Unknown(format!("lists: {why}")),
    }
}

fn shown(made: &Transactions, anomaly: &Anomaly) -> String {
    let mut text = format!("{}: {}", anomaly.name(), anomaly.kind.meaning());
    for step in &anomaly.steps {
        text.push_str(&format!("\n  {}\n* {}", step.why, made.show(step.transaction)));
    }
    text
}

/// As lines for `hezong check`.
pub(crate) fn write(made: &Transactions, mut to: impl Write) -> io::Result<()> {
    let text = |name: &Name| made.names.text(*name);
    for transaction in &made.all {
        let steps: Vec<Value> = transaction
            .micros
            .iter()
            .map(|micro| match micro {
                Micro::Write { key, value } => json!(["append", text(key), text(value)]),
                Micro::Read { key, found } => {
                    json!(["r", text(key), found.as_ref().map(|found| found.iter().map(text).collect::<Vec<_>>())])
                }
            })
            .collect();
        let mut line = json!({"client": transaction.client, "called": transaction.called, "transaction": steps});
        match transaction.end {
            End::Committed(at) => line["committed"] = at.into(),
            End::Aborted => line["aborted"] = transaction.called.into(),
            End::Unknown => {}
        }
        writeln!(to, "{line}")?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use hezong_check::{Outcome, Recorded};

    use super::*;

    fn append(client: u64, called: u64, expected: &str, value: &str, outcome: Option<(u64, bool)>) -> Operation {
        let expected = (!expected.is_empty()).then(|| expected.to_owned());
        let call = Call::Cas { expected, value: value.to_owned() };
        let outcome = outcome.map(|(at, swapped)| Outcome { at, answer: Answer::Swapped(swapped) });
        Operation { client, key: "t/list/0/1".to_owned(), called, call, outcome }
    }

    fn read(called: u64, found: &str) -> Operation {
        let answer = Answer::Found((!found.is_empty()).then(|| found.to_owned()));
        let outcome = Some(Outcome { at: called + 1, answer });
        Operation { client: 9, key: "t/list/0/1".to_owned(), called, call: Call::Get, outcome }
    }

    #[test]
    fn lists_that_grow_are_explained_and_read_back() {
        let operations = [
            append(1, 0, "", "1", Some((5, true))),
            append(2, 1, "", "2", Some((6, false))),
            append(3, 7, "1", "1,3", None),
            read(20, "1,3"),
            append(1, 30, "1,3", "1,3,4", Some((35, true))),
            append(2, 40, "1,3,4", "1,3,4,5", None),
            read(50, "1,3,4"),
        ];
        let made = transactions(&operations);
        assert_eq!(judge(&made), Verdict::Explained);
        let mut lines = Vec::new();
        write(&made, &mut lines).unwrap();
        let Recorded::Transactions(again) = hezong_check::read(&lines).unwrap() else { panic!("no transactions") };
        let shown = |made: &Transactions| (0..made.all.len()).map(|place| made.show(place)).collect::<Vec<_>>();
        assert_eq!(shown(&again), shown(&made));
    }

    #[test]
    fn lists_lost_update_is_named() {
        let operations =
            [append(1, 0, "", "1", Some((5, true))), append(2, 1, "", "2", Some((6, true))), read(20, "2")];
        let Verdict::Violation(why) = judge(&transactions(&operations)) else { panic!("nothing found") };
        assert!(why.contains("lost-update") || why.contains("G-single"), "{why}");
    }

    #[test]
    fn lists_append_that_was_refused_and_shows_is_found() {
        let operations = [append(1, 0, "", "1", Some((5, false))), read(20, "1")];
        let Verdict::Violation(why) = judge(&transactions(&operations)) else { panic!("nothing found") };
        assert!(why.contains("G1a"), "{why}");
    }

    #[test]
    fn lists_read_that_is_too_old_is_found() {
        let operations = [append(1, 0, "", "1", Some((5, true))), read(10, ""), read(20, "1")];
        let Verdict::Violation(why) = judge(&transactions(&operations)) else { panic!("nothing found") };
        assert!(why.contains("realtime"), "{why}");
    }
}
