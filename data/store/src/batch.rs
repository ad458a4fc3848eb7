//! Changes that happen together, readable before they happen.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{KeyRange, Map};

/// Puts and deletes over several maps that a store applies entirely or not at all.
///
/// A later change of a key replaces an earlier one, so that a key is written once a batch however often it changed.
/// What is in it can be read back: a state machine that applies a hundred commands in one batch lets each see those
/// before it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// For each map the new value of each changed key, in order; `None` deletes it.
    maps: BTreeMap<Map, BTreeMap<Bytes, Option<Bytes>>>,
}

impl Batch {
    /// No change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, map: Map, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.maps.entry(map).or_default().insert(key.into(), Some(value.into()));
    }

    /// Removes a key; harmless when it is absent.
    pub fn delete(&mut self, map: Map, key: impl Into<Bytes>) {
        self.maps.entry(map).or_default().insert(key.into(), None);
    }

    /// What this batch makes of a key: `None` when it leaves it alone, `Some(None)` when it deletes it.
    #[must_use]
    pub fn get(&self, map: Map, key: &[u8]) -> Option<Option<&Bytes>> {
        self.maps.get(&map)?.get(key).map(Option::as_ref)
    }

    /// The changes of one map within a range, in order; `None` deletes.
    pub fn range(
        &self,
        map: Map,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, Option<&Bytes>)> + use<'_> {
        let changes = self.maps.get(&map).filter(|_| !range.is_empty());
        changes
            .map(|changes| changes.range::<[u8], _>(range.bounds()).map(|(key, value)| (key, value.as_ref())))
            .into_iter()
            .flatten()
    }

    /// All changes, map by map and key by key, in order.
    pub fn changes(&self) -> impl Iterator<Item = (Map, &Bytes, Option<&Bytes>)> {
        self.maps.iter().flat_map(|(map, changes)| changes.iter().map(move |(key, value)| (*map, key, value.as_ref())))
    }

    /// How many keys change.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.maps.values().all(BTreeMap::is_empty)
    }
}
