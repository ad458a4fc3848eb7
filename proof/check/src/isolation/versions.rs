//! The versions of every key, who wrote and who read each, and which are known to come after which.

use super::graph::Order;
use crate::transaction::Name;

/// One state of one key.
pub(crate) struct Version {
    pub(crate) key: Name,
    /// The value whose write made it; `None` is the state at first.
    pub(crate) value: Option<Name>,
    /// Whose write that was, if it took effect.
    pub(crate) writer: Option<u32>,
    /// Transactions that found the key so.
    pub(crate) readers: Vec<u32>,
}

/// A version that comes after another, not necessarily at once.
pub(crate) struct Succession {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) order: Order,
    pub(crate) source: Source,
}

/// How that is known.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// This transaction read a list in which they stand so.
    Listed { by: u32 },
    /// The longest list that anybody read, here by this transaction, does not hold the value; lists only grow.
    Unlisted { by: Option<u32> },
    /// Every key is absent at first.
    Initial,
    /// This transaction read the one and then wrote the other.
    ReadThenWritten { by: u32 },
    /// The one was there for a transaction that ended before the one that wrote or first saw the other began.
    Earlier { first: u32, then: u32 },
}

/// Versions of all keys, by numbers.
#[derive(Default)]
pub(crate) struct Versions {
    pub(crate) all: Vec<Version>,
    pub(crate) successions: Vec<Succession>,
}

impl Versions {
    pub(crate) fn add(&mut self, key: Name, value: Option<Name>, writer: Option<u32>) -> u32 {
        self.all.push(Version { key, value, writer, readers: Vec::new() });
        u32::try_from(self.all.len() - 1).expect("a history holds fewer than 2^31 writes")
    }

    pub(crate) fn succeed(&mut self, from: u32, to: u32, order: Order, source: Source) {
        self.successions.push(Succession { from, to, order, source });
    }

    pub(crate) fn read(&mut self, version: u32, by: u32) {
        self.all[version as usize].readers.push(by);
    }
}
