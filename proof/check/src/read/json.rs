//! Histories as lines of JSON: this crate's own operations and transactions, and Jepsen's events.

use super::form::Form;
use super::jepsen::{self, Event, Shown};
use super::{ReadError, Recorded};
use crate::history::{History, Operation};
use crate::transaction::{End, Names, Transaction, Transactions};

/// What the first line decides for all of them.
enum Lines {
    Operations(Vec<Operation>),
    Transactions(Gathered),
    Events(Vec<Event>),
}

#[derive(Default)]
struct Gathered {
    names: Names,
    all: Vec<Transaction>,
    shown: Shown,
}

pub(crate) fn read(text: &str) -> Result<Recorded, ReadError> {
    let mut lines: Option<Lines> = None;
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let wrong =
            |error: serde_json::Error| ReadError::Text { line, column: error.column().max(1), what: told(&error) };
        let json: serde_json::Value = serde_json::from_str(text).map_err(wrong)?;
        let lines = lines.get_or_insert_with(|| {
            if json.get("process").is_some() {
                Lines::Events(Vec::new())
            } else if json.get("transaction").is_some() {
                Lines::Transactions(Gathered::default())
            } else {
                Lines::Operations(Vec::new())
            }
        });
        match lines {
            Lines::Operations(operations) => {
                let operation: Operation =
                    serde_json::from_value(json).map_err(|error| ReadError::Event { line, what: told(&error) })?;
                if operation.outcome.as_ref().is_some_and(|outcome| outcome.at < operation.called) {
                    return Err(backwards(line));
                }
                operations.push(operation);
            }
            Lines::Transactions(gathered) => gathered.add(line, &Form::of_json(json))?,
            Lines::Events(events) => events.extend(Event::of_map(line, &Form::of_json(json))?),
        }
    }
    match lines {
        None => Err(ReadError::Empty),
        Some(Lines::Operations(operations)) => Ok(Recorded::Operations(History { operations })),
        Some(Lines::Events(events)) => jepsen::history(events),
        Some(Lines::Transactions(Gathered { names, all, shown })) => {
            Ok(Recorded::Transactions(Transactions { workload: shown.workload()?, names, all }))
        }
    }
}

/// What the parser says, without its own line, which is always 1.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn backwards(line: usize) -> ReadError {
    let what = "it returns before it was called: the clients' clocks are not one clock".to_owned();
    ReadError::Event { line, what }
}

impl Gathered {
    /// `{"client":1,"called":10,"committed":20,"transaction":[["append","x",1],["r","x",[1]]]}`; `"aborted":20` if it
    /// certainly did not happen, neither if nobody knows.
    fn add(&mut self, line: usize, form: &Form) -> Result<(), ReadError> {
        let wrong = |what: String| ReadError::Event { line, what };
        let number = |name: &str| form.field(name).and_then(Form::number);
        let (Some(client), Some(called), Some(steps)) =
            (number("client"), number("called"), form.field("transaction").and_then(Form::list))
        else {
            let shape = r#"{"client":1,"called":10,"committed":20,"transaction":[["append","x",1],["r","x",[1]]]}"#;
            return Err(wrong(format!("it is no transaction like {shape}")));
        };
        let end = match (number("committed"), form.field("aborted")) {
            (Some(at), None) => End::Committed(at),
            (None, Some(_)) => End::Aborted,
            (None, None) => End::Unknown,
            (Some(_), Some(_)) => return Err(wrong("it is both committed and aborted".to_owned())),
        };
        if matches!(end, End::Committed(at) if at < called) {
            return Err(backwards(line));
        }
        let is_known = matches!(end, End::Committed(_));
        let micros = jepsen::micros(line, steps, is_known, &mut self.names, &mut self.shown)?;
        self.all.push(Transaction { client, called, end, micros });
        Ok(())
    }
}
