//! Histories of transactions in a few letters: `"1 0-5 ax1 rx12"` is client 1, from 0 to 5, that appended 1 to x and then
//! read x as [1 2]. `0-` has no known outcome and `0!` is aborted. `wx1` sets a register.
#![allow(dead_code, reason = "each test file uses its share")]

use hezong_check::{
    Anomaly, End, IsolationVerdict, Micro, Model, Transaction, Transactions, Workload, check_isolation,
};

pub(crate) fn history(workload: Workload, lines: &[&str]) -> Transactions {
    let mut history = Transactions { workload, ..Transactions::default() };
    for line in lines {
        let mut words = line.split_whitespace();
        let client = words.next().unwrap().parse().unwrap();
        let span = words.next().unwrap();
        let (called, end) = match span.split_once('-') {
            None => (span.trim_end_matches('!'), End::Aborted),
            Some((called, "")) => (called, End::Unknown),
            Some((called, at)) => (called, End::Committed(at.parse().unwrap())),
        };
        let micros = words.map(|word| micro(&mut history, word)).collect();
        history.all.push(Transaction { client, called: called.parse().unwrap(), end, micros });
    }
    history
}

fn micro(history: &mut Transactions, word: &str) -> Micro {
    let key = history.names.name(&word[1..2]);
    let values = word[2..].chars().map(|value| history.names.name(&value.to_string())).collect::<Vec<_>>();
    if word.starts_with('r') {
        Micro::Read { key, found: Some(values) }
    } else {
        Micro::Write { key, value: values[0] }
    }
}

pub(crate) fn lists(lines: &[&str]) -> Transactions {
    history(Workload::ListAppend, lines)
}

pub(crate) fn registers(lines: &[&str]) -> Transactions {
    history(Workload::Register, lines)
}

/// The names of what a model finds wrong.
#[track_caller]
pub(crate) fn names(history: &Transactions, model: &str) -> Vec<String> {
    found(history, model).iter().map(Anomaly::name).collect()
}

#[track_caller]
pub(crate) fn found(history: &Transactions, model: &str) -> Vec<Anomaly> {
    match check_isolation(history, model.parse::<Model>().unwrap()) {
        IsolationVerdict::NothingFound => Vec::new(),
        IsolationVerdict::Broken(anomalies) => anomalies,
        IsolationVerdict::Unknown(why) => panic!("{why}"),
    }
}
