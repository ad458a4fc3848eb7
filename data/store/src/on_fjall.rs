//! The store the server runs on: fjall, a log-structured merge tree (`docs/store.md`).
//!
//! A batch goes to fjall's journal (one `write`, no sync) and into memory; a full memory table is written out as a
//! sorted file in the background, after its journal was synced. [`Store::persist`] syncs the journal. Every map is a
//! tree of its own, and one journal serves them all, which is what makes a batch over several maps atomic.

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode, Readable, Snapshot};
use thiserror::Error;

use crate::birth::make_whole;
use crate::error::is_damaged_file;
use crate::{Batch, KeyRange, Map, Operation, Pair, Store, StoreError, View};

/// Cache of blocks read from disk, shared by all maps. Data beyond it is read from the operating system's cache.
const CACHE_BYTES: u64 = 32 << 20;

/// A map's memory table is written out at this size; two or three of them are in memory while that goes on.
const MEMORY_TABLE_BYTES: u64 = 16 << 20;

/// Journals are kept until every map has written out what they hold. A map with few changes would keep them for ever,
/// so at this size it is made to. The least fjall takes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// One thread writes memory tables out and merges files. A node shares few cores with others, and state that lags
/// behind on disk costs memory but no correctness.
const WORKERS: usize = 1;

/// A [`Store`] on fjall, in a folder of its own.
#[derive(Clone)]
pub struct FjallStore {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    /// The place of a map is its `Map`; a place whose map was removed stays empty. Behind an `Arc`, so that a view takes
    /// them all at the cost of one count.
    maps: RwLock<Arc<Vec<Option<Keyspace>>>>,
}

impl FjallStore {
    /// Opens the store in this folder, which is made when missing or empty.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::Damaged`] when what is there cannot be
    /// read, [`StoreError::Open`] for all else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        make_whole(path, |path| {
            let database = open_database(path)?;
            database.persist(PersistMode::SyncAll).map_err(StoreError::failed(Operation::Persist))
        })?;
        Ok(Self { shared: Arc::new(Shared { database: open_database(path)?, maps: RwLock::default() }) })
    }

    fn maps(&self) -> Arc<Vec<Option<Keyspace>>> {
        Arc::clone(&self.shared.maps.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    let open = || {
        Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKERS)
            .open()
    };
    // What a disk sends may not end the node: fjall asserts some of what it reads while it recovers.
    let opened =
        catch_unwind(open).map_err(|_| StoreError::Damaged { path: path.to_owned(), source: Box::new(Panicked) })?;
    opened.map_err(|error| {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => StoreError::InUse { path },
            error if is_damage(&error) => StoreError::Damaged { path, source: Box::new(error) },
            error => StoreError::Open { path, source: Box::new(error) },
        }
    })
}

/// fjall found something it took for impossible.
#[derive(Debug, Error)]
#[error("fjall panicked while it recovered; what it said is on standard error")]
struct Panicked;

/// Whether an error tells of bytes that are not what was written, rather than of a newer version or a missing right.
fn is_damage(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::JournalRecovery(_)
        | fjall::Error::Decompress(_)
        | fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Unrecoverable => true,
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => is_damaged_file(error),
        fjall::Error::Storage(LsmError::InvalidVersion(_)) | fjall::Error::InvalidVersion(_) => false,
        fjall::Error::Storage(_) => true,
        _ => false,
    }
}

impl Store for FjallStore {
    type View = FjallView;

    fn map(&self, name: &str) -> Result<Map, StoreError> {
        let mut maps = self.shared.maps.write().unwrap_or_else(PoisonError::into_inner);
        let is_named = |map: &Option<Keyspace>| map.as_ref().is_some_and(|map| &**map.name() == name);
        let place = match maps.iter().position(is_named) {
            Some(place) => place,
            None => {
                let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMORY_TABLE_BYTES);
                let opened = self.shared.database.keyspace(name, options);
                Arc::make_mut(&mut maps).push(Some(opened.map_err(StoreError::failed(Operation::OpenMap))?));
                maps.len() - 1
            }
        };
        Ok(Map(u32::try_from(place).expect("maps are a handful")))
    }

    fn remove(&self, map: Map) -> Result<(), StoreError> {
        let mut maps = self.shared.maps.write().unwrap_or_else(PoisonError::into_inner);
        match Arc::make_mut(&mut maps).get_mut(map.0 as usize).and_then(Option::take) {
            Some(map) => self.shared.database.delete_keyspace(map).map_err(StoreError::failed(Operation::RemoveMap)),
            None => Ok(()),
        }
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let maps = self.maps();
        let mut write = self.shared.database.batch();
        for (map, key, value) in batch.changes() {
            let map = maps[map.0 as usize].as_ref().expect("a map that was removed is named no more");
            match value {
                Some(value) => write.insert(map, &key[..], &value[..]),
                None => write.remove(map, &key[..]),
            }
        }
        write.commit().map_err(StoreError::failed(Operation::Apply))
    }

    fn view(&self) -> Result<FjallView, StoreError> {
        // The maps first: a map made in between is then missing from the view instead of unknown to the snapshot.
        let maps = self.maps();
        Ok(FjallView { snapshot: self.shared.database.snapshot(), maps, _store: self.clone() })
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.shared.database.persist(PersistMode::SyncData).map_err(StoreError::failed(Operation::Persist))
    }
}

/// A state of a [`FjallStore`].
pub struct FjallView {
    snapshot: Snapshot,
    maps: Arc<Vec<Option<Keyspace>>>,
    /// The store stays open while a view is.
    _store: FjallStore,
}

impl View for FjallView {
    fn get(&self, map: Map, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(map) = self.maps.get(map.0 as usize).and_then(Option::as_ref) else { return Ok(None) };
        let value = self.snapshot.get(map, key).map_err(StoreError::failed(Operation::Get))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(
        &self,
        map: Map,
        range: KeyRange<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Pair, StoreError>>, StoreError> {
        let map = self.maps.get(map.0 as usize).and_then(Option::as_ref).filter(|_| !range.is_empty());
        let steps = map.map(|map| self.snapshot.range::<&[u8], _>(map, range.bounds()));
        Ok(steps.into_iter().flatten().map(|step| {
            let (key, value) = step.into_inner().map_err(StoreError::failed(Operation::Range))?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }
}
