//! What clients did and were told, for the linearizability checker.

use std::fmt;

/// What a client did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Put { key: u64, value: u64 },
    Cas { key: u64, expected: u64, value: u64 },
    Delete { key: u64 },
    Get { key: u64 },
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet, or that nobody knows.
    Unknown,
    /// That it was certainly not done.
    Failed,
    /// That it was done; for a comparison, whether it matched.
    Written(bool),
    /// The value; 0 for a register never written.
    Value(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) action: Action,
    pub(crate) called: u64,
    /// When it was told; `None` if never.
    pub(crate) returned: Option<u64>,
    pub(crate) outcome: Outcome,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: u64| if value == 0 { "nothing".to_owned() } else { value.to_string() };
        match self.action {
            Action::Put { key, value } => write!(f, "puts {value} into register {key}")?,
            Action::Cas { key, expected, value: new } => {
                write!(f, "puts {new} into register {key} if that holds {}", value(expected))?;
            }
            Action::Delete { key } => write!(f, "deletes register {key}")?,
            Action::Get { key } => write!(f, "reads register {key}")?,
        }
        let told = match self.outcome {
            Outcome::Unknown => "nobody knows".to_owned(),
            Outcome::Failed => "not done".to_owned(),
            Outcome::Written(true) => "done".to_owned(),
            Outcome::Written(false) => "it holds something else".to_owned(),
            Outcome::Value(found) => value(found),
        };
        write!(f, ": {told} (asked at {:.3} ms)", self.called as f64 / 1e6)
    }
}

/// All operations of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    values: u64,
}

impl History {
    /// A value nobody has written.
    pub(crate) fn fresh_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    /// A client calls.
    pub(crate) fn begin(&mut self, client: usize, action: Action, now: u64) -> usize {
        self.operations.push(Operation { client, action, called: now, returned: None, outcome: Outcome::Unknown });
        self.operations.len() - 1
    }

    /// A client is told.
    pub(crate) fn end(&mut self, operation: usize, outcome: Outcome, now: u64) {
        let operation = &mut self.operations[operation];
        operation.outcome = outcome;
        operation.returned = (outcome != Outcome::Unknown).then_some(now);
    }
}
