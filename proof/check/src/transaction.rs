//! Transactions: several reads and writes of several keys that are meant to be one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// A key or a value. Long lists are read again and again; a number for each text keeps them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u32);

impl Name {
    pub(crate) fn place(self) -> usize {
        self.0 as usize
    }
}

/// The texts behind the names of one history.
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, Name>,
}

impl Names {
    /// The name of a text, the same for the same text.
    ///
    /// # Panics
    /// There are 2^32 of them.
    pub fn name(&mut self, text: &str) -> Name {
        if let Some(name) = self.numbers.get(text) {
            return *name;
        }
        let name = Name(u32::try_from(self.texts.len()).expect("a history holds fewer than 2^32 names"));
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, name);
        name
    }

    /// The text of a name of this history; of another's, some text or none.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.texts.get(name.place()).map_or("", |text| text)
    }
}

/// What the keys hold, and so what a write does and a read finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workload {
    /// Lists, empty at first: a write appends one value, a read finds the whole list.
    #[default]
    ListAppend,
    /// Registers, absent at first: a write replaces the value, a read finds one value or none.
    Register,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    /// Appends to a list, or sets a register. No value may be written to the same key twice in a history: by its value a
    /// read tells whose write it saw.
    Write {
        /// The list or register.
        key: Name,
        /// What is appended or set.
        value: Name,
    },
    /// Reads a key.
    Read {
        /// The list or register.
        key: Name,
        /// The list, or the register's value as a list of one (of none when absent); `None` when nobody knows.
        found: Option<Vec<Name>>,
    },
}

/// How a transaction ended, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It took effect; told at this time.
    Committed(u64),
    /// It certainly took no effect.
    Aborted,
    /// Nobody knows: it may have taken effect at any time after its call, or not at all.
    Unknown,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Who asked. A client asks for one after the other, which is what the `strong-session` models speak of.
    pub client: u64,
    /// When, on a clock that all clients share.
    pub called: u64,
    /// How it ended.
    pub end: End,
    /// What it did, in order.
    pub micros: Vec<Micro>,
}

/// A history of transactions.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    /// What the keys hold.
    pub workload: Workload,
    /// The texts of keys and values.
    pub names: Names,
    /// The transactions, in any order; `T1` is the first of them.
    pub all: Vec<Transaction>,
}

impl Transactions {
    /// A transaction as a person reads it; `place` counts from 0 and must be one of this history.
    #[must_use]
    pub fn show(&self, place: usize) -> String {
        let Some(transaction) = self.all.get(place) else { return String::new() };
        let mut text = format!("T{} (client {} at {}", place + 1, transaction.client, transaction.called);
        // A String takes whatever is written to it.
        let _ = match transaction.end {
            End::Committed(at) => write!(text, ", committed at {at})"),
            End::Aborted => write!(text, ", aborted)"),
            End::Unknown => write!(text, ", nobody knows how it ended)"),
        };
        text += ": ";
        let micros: Vec<String> = transaction.micros.iter().map(|micro| self.show_micro(micro)).collect();
        text += &micros.join(", ");
        text
    }

    /// One step as a person reads it.
    #[must_use]
    pub fn show_micro(&self, micro: &Micro) -> String {
        let text = |name| self.names.text(name);
        match micro {
            Micro::Write { key, value } => match self.workload {
                Workload::ListAppend => format!("append {} to {}", text(*value), text(*key)),
                Workload::Register => format!("write {} = {}", text(*key), text(*value)),
            },
            Micro::Read { key, found: None } => format!("read {}", text(*key)),
            Micro::Read { key, found: Some(found) } => {
                format!("read {} -> {}", text(*key), self.show_found(found))
            }
        }
    }

    /// What a read found, long lists by their ends.
    pub(crate) fn show_found(&self, found: &[Name]) -> String {
        const SHOWN: usize = 12;
        let texts = |names: &[Name]| names.iter().map(|name| self.names.text(*name)).collect::<Vec<_>>().join(" ");
        match (self.workload, found) {
            (Workload::Register, []) => "nothing".to_owned(),
            (Workload::Register, [value]) => self.names.text(*value).to_owned(),
            _ if found.len() <= SHOWN => format!("[{}]", texts(found)),
            _ => format!("[{} … {}]", texts(&found[..SHOWN / 2]), texts(&found[found.len() - SHOWN / 2..])),
        }
    }
}
