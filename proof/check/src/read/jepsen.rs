//! Histories as Jepsen records them: an event when a process invokes an operation, and one when it completes as `ok` (it
//! happened), `fail` (it did not) or `info` (nobody knows).

use std::collections::BTreeMap;

use super::edn::Edn;
use super::form::Form;
use super::{ReadError, Recorded};
use crate::history::{Answer, Call, History, Operation, Outcome};
use crate::transaction::{End, Micro, Names, Transaction, Transactions, Workload};

/// The key of histories that are of one register.
const ONLY_KEY: &str = "register";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// One event.
pub(crate) struct Event {
    line: usize,
    process: u64,
    kind: Type,
    f: String,
    value: Form,
    time: Option<u64>,
    has_error: bool,
}

impl Event {
    /// `None` for what is no client's: the nemesis, and what a test says of itself.
    pub(crate) fn of_map(line: usize, form: &Form) -> Result<Option<Self>, ReadError> {
        let wrong = |what: &str| ReadError::Event { line, what: what.to_owned() };
        let missing = |name: &str| wrong(&format!("it has no :{name}"));
        let Form::Map(_) = form else {
            return Err(wrong("it is no map like {:process 0, :type :invoke, :f :read, :value nil}"));
        };
        let process = form.field("process").ok_or_else(|| missing("process"))?;
        let Some(process) = process.number() else { return Ok(None) };
        let kind = form.field("type").and_then(Form::word).ok_or_else(|| missing("type"))?;
        let f = form.field("f").and_then(Form::word).ok_or_else(|| missing("f"))?.to_owned();
        Ok(Some(Self {
            line,
            process,
            kind: kind_of(kind).ok_or_else(|| wrong(&format!("its :type is {kind}, not invoke, ok, fail or info")))?,
            f,
            value: form.field("value").cloned().unwrap_or(Form::Nil),
            time: form.field("time").and_then(Form::number),
            has_error: form.field("error").is_some_and(|error| *error != Form::Nil),
        }))
    }

    /// A line of Jepsen's log, from its process on: `0 :invoke :read nil`, with tabs or spaces. `None` for other lines.
    pub(crate) fn of_log(line: usize, text: &str) -> Result<Option<Self>, ReadError> {
        let (process, rest) = first_word(text);
        let (kind, rest) = first_word(rest);
        let (f, rest) = first_word(rest);
        let (Ok(process), Some(kind)) = (process.parse(), kind.strip_prefix(':').and_then(kind_of)) else {
            return Ok(None);
        };
        let mut values = Edn::new(rest, line);
        let value = values.next()?.map_or(Form::Nil, |(_, form)| form);
        let has_error = !matches!(values.next(), Ok(None)) || value == Form::Keyword("timed-out".to_owned());
        Ok(Some(Self { line, process, kind, f: f.trim_start_matches(':').to_owned(), value, time: None, has_error }))
    }

    fn wrong(&self, what: impl Into<String>) -> ReadError {
        ReadError::Event { line: self.line, what: what.into() }
    }
}

/// And what comes after it.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

fn kind_of(word: &str) -> Option<Type> {
    match word {
        "invoke" => Some(Type::Invoke),
        "ok" => Some(Type::Ok),
        "fail" => Some(Type::Fail),
        "info" => Some(Type::Info),
        _ => None,
    }
}

/// An operation and how it ended; `None` if the history ends first.
type Pair = (Event, Option<Event>);

/// What the events tell.
pub(crate) fn history(mut events: Vec<Event>) -> Result<Recorded, ReadError> {
    // Times of only some, or that go back, are no clock; the order of the lines is one.
    let mut last = 0;
    let is_clock = events.iter().all(|event| event.time.is_some_and(|time| std::mem::replace(&mut last, time) <= time));
    for (place, event) in (1..).zip(&mut events) {
        event.time = if is_clock { event.time } else { Some(place) };
    }
    let is_transactions = events.iter().any(|event| event.f == "txn");
    let pairs = pairs(events)?;
    if is_transactions {
        transactions(pairs).map(Recorded::Transactions)
    } else {
        operations(pairs).map(Recorded::Operations)
    }
}

fn pairs(events: Vec<Event>) -> Result<Vec<Pair>, ReadError> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for event in events {
        if event.kind == Type::Invoke {
            if let Some(earlier) = open.insert(event.process, pairs.len()) {
                let since = pairs[earlier].0.line;
                return Err(
                    event.wrong(format!("process {} is still at what it invoked in line {since}", event.process))
                );
            }
            pairs.push((event, None));
        } else if let Some(place) = open.remove(&event.process) {
            if pairs[place].0.f != event.f {
                return Err(event.wrong(format!("it completes :{}, but :{} was invoked", event.f, pairs[place].0.f)));
            }
            pairs[place].1 = Some(event);
        } else if event.kind != Type::Info {
            return Err(event.wrong(format!("process {} completes what it has not invoked", event.process)));
        }
    }
    Ok(pairs)
}

fn operations(pairs: Vec<Pair>) -> Result<History, ReadError> {
    let mut operations = Vec::new();
    for (invoke, end) in pairs {
        let (key, asked) = split_key(&invoke.f, &invoke.value);
        let end = end.as_ref();
        let is = |kind: Type| end.is_some_and(|end| end.kind == kind);
        let (call, answer) = match invoke.f.as_str() {
            "read" => match end.filter(|end| end.kind == Type::Ok) {
                None => continue,
                Some(end) => (Call::Get, Some(Answer::Found(text(&split_key(&invoke.f, &end.value).1)))),
            },
            "write" if is(Type::Fail) => continue,
            "write" => (text(&asked).map_or(Call::Delete, Call::Put), is(Type::Ok).then_some(Answer::Done)),
            "cas" => {
                let Some([expected, value]) = asked.list() else {
                    return Err(invoke.wrong("a :cas has no [expected new] as its :value"));
                };
                let call = Call::Cas { expected: text(expected), value: value.name() };
                match end.map(|end| (end.kind, end.has_error)) {
                    Some((Type::Ok, _)) => (call, Some(Answer::Swapped(true))),
                    // Without an error it failed because something else was there.
                    Some((Type::Fail, false)) => (call, Some(Answer::Swapped(false))),
                    Some((Type::Fail, true)) => continue,
                    None | Some((Type::Invoke | Type::Info, _)) => (call, None),
                }
            }
            other => return Err(invoke.wrong(format!("its :f is {other}, not read, write, cas or txn"))),
        };
        let outcome = answer.and_then(|answer| Some(Outcome { at: end?.time?, answer }));
        let called = invoke.time.unwrap_or(0);
        operations.push(Operation { client: invoke.process, key, called, call, outcome });
    }
    Ok(History { operations })
}

/// Independent keys stand before their values: `[k v]`, and `[k [a b]]` for a swap.
fn split_key(f: &str, value: &Form) -> (String, Form) {
    match value.list() {
        Some([key, inner]) if f != "cas" || matches!(inner, Form::List(_)) => (key.name(), inner.clone()),
        _ => (ONLY_KEY.to_owned(), value.clone()),
    }
}

fn text(form: &Form) -> Option<String> {
    (*form != Form::Nil).then(|| form.name())
}

fn transactions(pairs: Vec<Pair>) -> Result<Transactions, ReadError> {
    let mut names = Names::default();
    let mut all = Vec::new();
    let mut shown = Shown::default();
    for (invoke, end) in pairs {
        let ok = end.as_ref().filter(|end| end.kind == Type::Ok);
        let told = ok.unwrap_or(&invoke);
        let steps = told.value.list().ok_or_else(|| told.wrong("a :txn has no list of steps as its :value"))?;
        let micros = micros(told.line, steps, ok.is_some(), &mut names, &mut shown)?;
        let end = match end.as_ref().map(|end| (end.kind, end.time)) {
            Some((Type::Ok, at)) => End::Committed(at.unwrap_or(0)),
            Some((Type::Fail, _)) => End::Aborted,
            None | Some((Type::Info | Type::Invoke, _)) => End::Unknown,
        };
        all.push(Transaction { client: invoke.process, called: invoke.time.unwrap_or(0), end, micros });
    }
    Ok(Transactions { workload: shown.workload()?, names, all })
}

/// The first lines that show what the keys hold.
#[derive(Default)]
pub(crate) struct Shown {
    lists: Option<usize>,
    registers: Option<usize>,
}

impl Shown {
    fn note(&mut self, line: usize, workload: Workload) {
        match workload {
            Workload::ListAppend => self.lists.get_or_insert(line),
            Workload::Register => self.registers.get_or_insert(line),
        };
    }

    /// A history in which nothing is written and nothing found is of either.
    pub(crate) fn workload(&self) -> Result<Workload, ReadError> {
        match (self.lists, self.registers) {
            (Some(list), Some(line)) => {
                let what = format!("it has a register, but line {list} has a list: a history is of one or the other");
                Err(ReadError::Event { line, what })
            }
            (None, Some(_)) => Ok(Workload::Register),
            (_, None) => Ok(Workload::ListAppend),
        }
    }
}

/// The steps of a transaction; what its reads found counts only if it `is_known`.
pub(crate) fn micros(
    line: usize,
    steps: &[Form],
    is_known: bool,
    names: &mut Names,
    shown: &mut Shown,
) -> Result<Vec<Micro>, ReadError> {
    let step = |form| {
        let (micro, workload) = micro(form, is_known, names).map_err(|what| ReadError::Event { line, what })?;
        workload.into_iter().for_each(|workload| shown.note(line, workload));
        Ok(micro)
    };
    steps.iter().map(step).collect()
}

/// A step `[f key value]`, and what it shows of the workload.
fn micro(form: &Form, is_known: bool, names: &mut Names) -> Result<(Micro, Option<Workload>), String> {
    let wrong = || format!("{} is no step like [:append 3 1], [:w 3 1] or [:r 3 nil]", form.name());
    let Some([f, key, value]) = form.list() else { return Err(wrong()) };
    let key = names.name(&key.name());
    match f.word() {
        Some("append") => Ok((Micro::Write { key, value: names.name(&value.name()) }, Some(Workload::ListAppend))),
        Some("w") => Ok((Micro::Write { key, value: names.name(&value.name()) }, Some(Workload::Register))),
        Some("r") if !is_known => Ok((Micro::Read { key, found: None }, None)),
        Some("r") => {
            let (found, workload) = match value {
                Form::Nil => (Vec::new(), None),
                Form::List(values) => {
                    (values.iter().map(|value| names.name(&value.name())).collect(), Some(Workload::ListAppend))
                }
                one => (vec![names.name(&one.name())], Some(Workload::Register)),
            };
            Ok((Micro::Read { key, found: Some(found) }, workload))
        }
        _ => Err(wrong()),
    }
}
