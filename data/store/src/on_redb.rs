//! The other candidate: redb, a copy-on-write B-tree in one file (`docs/store.md`).
//!
//! A batch is a transaction committed without durability: it lives in the page cache of the process, on which the
//! next one builds. [`Store::persist`] commits an empty transaction durably, which writes all of them out and syncs
//! twice. A killed process therefore falls back to what was persisted, where fjall's journal survives it.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageBackend,
    StorageError, TableDefinition, TableError, WriteTransaction,
};

use crate::birth::make_whole;
use crate::error::is_damaged_file;
use crate::{Batch, KeyRange, Map, Operation, Pair, Store, StoreError, View};

/// Pages kept in memory, read and not yet written ones together.
const CACHE_BYTES: usize = 48 << 20;

/// A [`Store`] on redb, in a file `state.redb` in a folder of its own.
#[derive(Clone)]
pub struct RedbStore {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    /// The place of a name is its `Map`.
    names: RwLock<Arc<Vec<String>>>,
}

/// A map as a view reads it.
type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

fn table(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

impl RedbStore {
    /// Opens the store in this folder, which is made when missing or empty.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::Damaged`] when what is there cannot be
    /// read, [`StoreError::Open`] for all else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let open = |folder: &Path| {
            let path = folder.join("state.redb");
            Self::opened(&path, Database::builder().set_cache_size(CACHE_BYTES).create(&path))
        };
        make_whole(path.as_ref(), |path| open(path)?.persist())?;
        open(path.as_ref())
    }

    /// Opens the store on something else than a file, as a disk that loses what was not synced.
    ///
    /// # Errors
    /// [`StoreError::Open`] when it cannot be read.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        Self::opened(Path::new("backend"), Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend))
    }

    fn opened(path: &Path, database: Result<Database, DatabaseError>) -> Result<Self, StoreError> {
        let database = database.map_err(|error| {
            let path = path.to_owned();
            match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
                error if is_damage(&error) => StoreError::Damaged { path, source: Box::new(error) },
                error => StoreError::Open { path, source: Box::new(error) },
            }
        })?;
        Ok(Self { shared: Arc::new(Shared { database, names: RwLock::default() }) })
    }

    fn names(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.shared.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a transaction that a crash may forget.
    fn write(&self, operation: Operation) -> Result<WriteTransaction, StoreError> {
        let mut transaction = self.shared.database.begin_write().map_err(StoreError::failed(operation))?;
        transaction.set_durability(Durability::None).map_err(StoreError::failed(operation))?;
        Ok(transaction)
    }
}

/// Whether an error tells of bytes that are not what was written, rather than of a newer version or a missing right.
fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => is_damaged_file(error),
        _ => false,
    }
}

impl Store for RedbStore {
    type View = RedbView;

    fn map(&self, name: &str) -> Result<Map, StoreError> {
        let mut names = self.shared.names.write().unwrap_or_else(PoisonError::into_inner);
        let place = match names.iter().position(|known| known == name) {
            Some(place) => place,
            None => {
                let transaction = self.write(Operation::OpenMap)?;
                transaction.open_table(table(name)).map_err(StoreError::failed(Operation::OpenMap))?;
                transaction.commit().map_err(StoreError::failed(Operation::OpenMap))?;
                Arc::make_mut(&mut names).push(name.to_owned());
                names.len() - 1
            }
        };
        Ok(Map(u32::try_from(place).expect("maps are a handful")))
    }

    fn remove(&self, map: Map) -> Result<(), StoreError> {
        let mut names = self.shared.names.write().unwrap_or_else(PoisonError::into_inner);
        let Some(name) = names.get(map.0 as usize).filter(|name| !name.is_empty()).cloned() else { return Ok(()) };
        let transaction = self.write(Operation::RemoveMap)?;
        transaction.delete_table(table(&name)).map_err(StoreError::failed(Operation::RemoveMap))?;
        transaction.commit().map_err(StoreError::failed(Operation::RemoveMap))?;
        // Its place stays empty. Views find the table by its name, so they keep the names they began with.
        Arc::make_mut(&mut names)[map.0 as usize].clear();
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let names = self.names();
        let transaction = self.write(Operation::Apply)?;
        {
            let mut open = None;
            for (map, key, value) in batch.changes() {
                if open.as_ref().is_none_or(|(known, _)| *known != map) {
                    // Closed first: redb lets a table be open once.
                    drop(open.take());
                    let name = table(&names[map.0 as usize]);
                    open = Some((map, transaction.open_table(name).map_err(StoreError::failed(Operation::Apply))?));
                }
                let Some((_, table)) = &mut open else { unreachable!("opened just now") };
                match value {
                    Some(value) => table.insert(&key[..], &value[..]),
                    None => table.remove(&key[..]),
                }
                .map_err(StoreError::failed(Operation::Apply))?;
            }
        }
        transaction.commit().map_err(StoreError::failed(Operation::Apply))
    }

    fn view(&self) -> Result<RedbView, StoreError> {
        let names = self.names();
        let transaction = self.shared.database.begin_read().map_err(StoreError::failed(Operation::View))?;
        Ok(RedbView { transaction, names, _store: self.clone() })
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut transaction = self.shared.database.begin_write().map_err(StoreError::failed(Operation::Persist))?;
        transaction.set_durability(Durability::Immediate).map_err(StoreError::failed(Operation::Persist))?;
        // Without this a crash is followed by a walk over the whole file.
        transaction.set_quick_repair(true);
        transaction.commit().map_err(StoreError::failed(Operation::Persist))
    }
}

/// A state of a [`RedbStore`].
pub struct RedbView {
    transaction: ReadTransaction,
    names: Arc<Vec<String>>,
    /// The store stays open while a view is.
    _store: RedbStore,
}

impl RedbView {
    /// `None` when the map was made after this view was opened.
    fn table(&self, map: Map, operation: Operation) -> Result<Option<Table>, StoreError> {
        let Some(name) = self.names.get(map.0 as usize).filter(|name| !name.is_empty()) else { return Ok(None) };
        match self.transaction.open_table(table(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(other) => Err(StoreError::failed(operation)(other)),
        }
    }
}

impl View for RedbView {
    fn get(&self, map: Map, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(table) = self.table(map, Operation::Get)? else { return Ok(None) };
        let value = table.get(key).map_err(StoreError::failed(Operation::Get))?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn range(
        &self,
        map: Map,
        range: KeyRange<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Pair, StoreError>>, StoreError> {
        let steps = match self.table(map, Operation::Range)?.filter(|_| !range.is_empty()) {
            Some(table) => Some(table.range::<&[u8]>(range.bounds()).map_err(StoreError::failed(Operation::Range))?),
            None => None,
        };
        Ok(steps.into_iter().flatten().map(|step| {
            let (key, value) = step.map_err(StoreError::failed(Operation::Range))?;
            Ok((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())))
        }))
    }
}
