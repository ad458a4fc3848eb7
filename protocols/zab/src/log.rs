//! The history: what was proposed, in order, as far back as it is kept.

use alloc::collections::VecDeque;

use crate::{Entry, Zxid};

/// What an entry takes besides its data, as bounds count it.
const ENTRY_BYTES: usize = 32;

/// How much an entry counts for.
pub(crate) fn size(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_BYTES
}

/// A history. Zxids grow along it; what lies before `base` is in the state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    /// The last transaction that was forgotten; `None` while the history is whole.
    base: Option<Zxid>,
    entries: VecDeque<Entry>,
    /// What the entries count for.
    bytes: usize,
}

impl Log {
    /// The last transaction, forgotten or not.
    #[must_use]
    pub fn last(&self) -> Option<Zxid> {
        self.entries.back().map(|entry| entry.zxid).or(self.base)
    }

    /// The last transaction that was forgotten.
    #[must_use]
    pub fn base(&self) -> Option<Zxid> {
        self.base
    }

    /// What is kept, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// What comes behind this.
    pub(crate) fn after(&self, zxid: Option<Zxid>) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip(self.entries.partition_point(|entry| Some(entry.zxid) <= zxid))
    }

    /// Whether the history holds this place: a transaction that is kept, or the last one forgotten.
    #[must_use]
    pub fn holds(&self, zxid: Option<Zxid>) -> bool {
        self.floor(zxid) == Some(zxid)
    }

    /// The last place we have that is at most this one. The outer `None`: it is forgotten.
    pub(crate) fn floor(&self, zxid: Option<Zxid>) -> Option<Option<Zxid>> {
        let before = self.entries.partition_point(|entry| Some(entry.zxid) <= zxid);
        match before.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(entry) => Some(Some(entry.zxid)),
            None => (self.base <= zxid).then_some(self.base),
        }
    }

    /// The last place before this one.
    pub(crate) fn before(&self, zxid: Zxid) -> Option<Zxid> {
        let before = self.entries.partition_point(|entry| entry.zxid < zxid);
        before.checked_sub(1).and_then(|at| self.entries.get(at)).map(|entry| entry.zxid).or(self.base)
    }

    /// What is kept, taken out of it.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }

    /// What the entries count for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends.
    pub fn append(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
    }

    /// Drops what comes behind this.
    pub fn truncate(&mut self, last: Option<Zxid>) {
        while let Some(entry) = self.entries.pop_back_if(|entry| Some(entry.zxid) > last) {
            self.bytes -= size(&entry);
        }
    }

    /// Forgets everything up to and including this.
    pub fn cut(&mut self, through: Zxid) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.zxid <= through) {
            self.bytes -= size(&entry);
            self.base = Some(entry.zxid);
        }
    }

    /// Begins anew behind this.
    pub fn reset(&mut self, base: Zxid) {
        *self = Self { base: Some(base), ..Self::default() };
    }
}
