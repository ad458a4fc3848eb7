//! Operations, and histories as lines of JSON.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// What a client asked of one key. Keys are absent at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Reads the value.
    Get,
    /// Sets the value.
    Put(String),
    /// Makes the key absent; harmless when it is.
    Delete,
    /// Sets the value if the present one is `expected` (`None`: if the key is absent).
    Cas {
        /// What must be there.
        expected: Option<String>,
        /// What is there afterwards.
        value: String,
    },
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `Get`: the value, `None` when absent.
    Found(Option<String>),
    /// To `Put` and `Delete`.
    Done,
    /// To `Cas`: whether the value was set.
    Swapped(bool),
}

/// An answer and when it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When it arrived.
    pub at: u64,
    /// What it said. An answer that does not belong to its call (`Done` to a `Get`) is one that nothing explains.
    pub answer: Answer,
}

/// One operation on one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked; for the reader only: a client's operations are ordered by their times like all others.
    pub client: u64,
    /// Of which key.
    pub key: String,
    /// When the client asked, on a clock that all clients share, in any unit; nanoseconds do best. An operation that
    /// begins in the same unit in which another ends counts as concurrent with it.
    pub called: u64,
    /// What it asked.
    pub call: Call,
    /// What it was told; `None` when nobody knows: it may have been done at any time after `called`, or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} at {}: ", self.client, self.called)?;
        let show = |value: &Option<String>| value.as_ref().map_or("nothing".to_string(), |value| format!("{value:?}"));
        match &self.call {
            Call::Get => write!(f, "get {:?}", self.key)?,
            Call::Put(value) => write!(f, "put {:?} = {value:?}", self.key)?,
            Call::Delete => write!(f, "delete {:?}", self.key)?,
            Call::Cas { expected, value } => write!(f, "cas {:?} from {} to {value:?}", self.key, show(expected))?,
        }
        match &self.outcome {
            None => write!(f, " -> nobody knows"),
            Some(Outcome { at, answer: Answer::Done }) => write!(f, " -> done at {at}"),
            Some(Outcome { at, answer: Answer::Found(found) }) => write!(f, " -> {} at {at}", show(found)),
            Some(Outcome { at, answer: Answer::Swapped(true) }) => write!(f, " -> swapped at {at}"),
            Some(Outcome { at, answer: Answer::Swapped(false) }) => write!(f, " -> not swapped at {at}"),
        }
    }
}

/// What all clients did, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The source failed.
    #[error("history cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is no operation. A process killed while it recorded leaves such a last line; whoever starts the processes
    /// should record.
    #[error("line {line} of the history is no operation: {source}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An operation that ends before it began: the clients' clocks are not one clock, and no verdict would mean anything.
    #[error("line {line} of the history returns before it was called")]
    Backwards {
        /// Which, from 1.
        line: usize,
    },
}

impl History {
    /// Reads one operation a line; empty lines are skipped.
    ///
    /// # Errors
    /// [`HistoryError`] names the line.
    pub fn read(from: impl BufRead) -> Result<Self, HistoryError> {
        let mut operations = Vec::new();
        for (line, text) in (1..).zip(from.lines()) {
            let text = text?;
            if text.trim().is_empty() {
                continue;
            }
            let operation: Operation =
                serde_json::from_str(&text).map_err(|source| HistoryError::Line { line, source })?;
            if operation.outcome.as_ref().is_some_and(|outcome| outcome.at < operation.called) {
                return Err(HistoryError::Backwards { line });
            }
            operations.push(operation);
        }
        Ok(Self { operations })
    }

    /// Writes one operation a line.
    ///
    /// # Errors
    /// The target failed.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        for operation in &self.operations {
            serde_json::to_writer(&mut to, operation)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }
}

impl FromIterator<Operation> for History {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        Self { operations: operations.into_iter().collect() }
    }
}
