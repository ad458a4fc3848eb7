//! Histories from files, in whichever of several formats: told apart by their content.
//!
//! | begins with | is |
//! |---|---|
//! | `{"client"` … | this crate's own: an operation or a transaction a line, as JSON |
//! | `{"process"` … | Jepsen's events as JSON, one a line |
//! | `{:`, `[{:`, `#…{:` | Jepsen's events as EDN, one after the other or in a vector |
//! | `INFO` or anything else | Jepsen's log: its lines with `jepsen.util` and `:invoke`, `:ok`, `:fail` or `:info`; or such lines alone |

mod edn;
mod form;
mod jepsen;
mod json;

use std::str;

use crate::history::History;
use crate::transaction::Transactions;
use edn::Edn;
use jepsen::Event;

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// Operations on one key each.
    Operations(History),
    /// Transactions.
    Transactions(Transactions),
}

/// Why a history could not be read. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no text.
    #[error("line {line}: no UTF-8 text: write the history as text, not compressed")]
    NotText {
        /// Where the first byte is that does not fit.
        line: usize,
    },
    /// The text is not of the format it begins as.
    #[error("line {line}, column {column}: {what}")]
    Text {
        /// Which line, from 1.
        line: usize,
        /// Which character of it, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// What is written is no part of a history.
    #[error("line {line}: {what}")]
    Event {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// There is nothing in it.
    #[error("it holds no history: there is neither an operation nor a line of a log with :invoke")]
    Empty,
}

/// Reads a history in any format.
///
/// # Errors
/// [`ReadError`] names the place.
pub fn read(bytes: &[u8]) -> Result<Recorded, ReadError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        ReadError::NotText { line: 1 + before.iter().filter(|byte| **byte == b'\n').count() }
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let start = text.trim_start();
    let after_brace = start.strip_prefix('{').map(str::trim_start);
    if after_brace.is_some_and(|rest| rest.starts_with('"')) {
        return json::read(text);
    }
    let events = if start.starts_with(['{', '[', '(', '#', ';']) { edn_events(text)? } else { log_events(text)? };
    if events.is_empty() {
        return Err(ReadError::Empty);
    }
    jepsen::history(events)
}

fn edn_events(text: &str) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    let mut edn = Edn::new(text, 1);
    if edn.enter() {
        while let Some((line, form)) = edn.next_within()? {
            events.extend(Event::of_map(line, &form)?);
        }
    }
    while let Some((line, form)) = edn.next()? {
        events.extend(Event::of_map(line, &form)?);
    }
    Ok(events)
}

/// The events of a log, or of a file that has nothing else. What a log says of them in the end, where they stand without its
/// `jepsen.util`, is a tale and no event.
fn log_events(text: &str) -> Result<Vec<Event>, ReadError> {
    const LOGGED: &str = "jepsen.util";
    let is_log = text.contains(LOGGED);
    let mut events = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let event = match text.split_once(LOGGED) {
            Some((_, event)) => event.trim_start_matches([' ', '\t', ':', '-']),
            None if is_log => continue,
            None => text,
        };
        events.extend(Event::of_log(line, event)?);
    }
    Ok(events)
}
