//! A store in memory, with a crash that forgets: the simulator's disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hezong_base::Rng;

use crate::{Batch, KeyRange, Map, Pair, Store, StoreError, View};

/// One map. Shared with the views that see it; copied when a batch changes it under one.
type Content = Arc<BTreeMap<Bytes, Bytes>>;

/// A store in memory that promises what a disk store promises and, when [crashed](ModelStore::crash), no more.
#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What reads see: `durable` with all of `pending` applied.
    current: Contents,
    /// What was applied when the store was last persisted.
    durable: Contents,
    /// The batches applied since then, oldest first.
    pending: Vec<Batch>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// The place of a name is its `Map`. A map nobody wrote to is the same as none, so names need no crash of their own.
    names: Vec<String>,
    maps: Vec<Content>,
}

impl Contents {
    fn map(&mut self, name: &str) -> Map {
        let place = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.maps.push(Content::default());
            self.names.len() - 1
        });
        Map(u32::try_from(place).expect("maps are a handful"))
    }

    /// A name that is empty is that of a map that was removed.
    fn remove(&mut self, map: Map) {
        let place = map.0 as usize;
        (self.names[place], self.maps[place]) = (String::new(), Content::default());
    }

    fn apply(&mut self, batch: &Batch) {
        for (map, key, value) in batch.changes() {
            if self.names[map.0 as usize].is_empty() {
                continue;
            }
            let content = Arc::make_mut(&mut self.maps[map.0 as usize]);
            match value {
                Some(value) => content.insert(key.clone(), value.clone()),
                None => content.remove(key),
            };
        }
    }
}

impl ModelStore {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine fails: returns what is found after the restart, which is everything up to some batch, at least all
    /// that was persisted; `rng` chooses which. This handle and its clones keep what they held, apart from the new one,
    /// as a process that is gone cannot write to its disk.
    #[must_use]
    pub fn crash(&self, rng: &mut Rng) -> Self {
        let state = self.locked();
        let kept = rng.below(state.pending.len() as u64 + 1);
        self.after_crash(&state, usize::try_from(kept).unwrap_or(usize::MAX))
    }

    /// The process fails, the machine does not: what was applied is in the operating system's hands and survives.
    #[must_use]
    pub fn kill(&self) -> Self {
        let state = self.locked();
        self.after_crash(&state, state.pending.len())
    }

    /// How many batches a crash may lose.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.locked().pending.len()
    }

    fn after_crash(&self, state: &State, kept: usize) -> Self {
        let mut durable = state.durable.clone();
        for batch in state.pending.iter().take(kept) {
            durable.apply(batch);
        }
        let state = State { current: durable.clone(), durable, pending: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave a batch half applied that anybody will still read: the test is over.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for ModelStore {
    type View = ModelView;

    fn map(&self, name: &str) -> Result<Map, StoreError> {
        let mut state = self.locked();
        state.durable.map(name);
        Ok(state.current.map(name))
    }

    fn remove(&self, map: Map) -> Result<(), StoreError> {
        let mut state = self.locked();
        state.durable.remove(map);
        state.current.remove(map);
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        if !batch.is_empty() {
            let mut state = self.locked();
            state.current.apply(batch);
            state.pending.push(batch.clone());
        }
        Ok(())
    }

    fn view(&self) -> Result<ModelView, StoreError> {
        Ok(ModelView { maps: self.locked().current.maps.clone() })
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut state = self.locked();
        // Replayed rather than copied: sharing maps with `current` would make the next batch copy them whole.
        for batch in std::mem::take(&mut state.pending) {
            state.durable.apply(&batch);
        }
        Ok(())
    }
}

/// A state of a [`ModelStore`].
#[derive(Clone, Debug)]
pub struct ModelView {
    maps: Vec<Content>,
}

impl View for ModelView {
    fn get(&self, map: Map, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.maps.get(map.0 as usize).and_then(|content| content.get(key)).cloned())
    }

    fn range(
        &self,
        map: Map,
        range: KeyRange<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Pair, StoreError>>, StoreError> {
        let content = self.maps.get(map.0 as usize).filter(|_| !range.is_empty());
        let pairs = content.map(|content| content.range::<[u8], _>(range.bounds()));
        Ok(pairs.into_iter().flatten().map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}
