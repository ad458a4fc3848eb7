//! The store the server runs on: fjall, a log-structured merge tree (`docs/store.md`).
//!
//! A batch goes to fjall's journal (one `write`, no sync) and into memory; a full memory table is written out as a
//! sorted file in the background, after its journal was synced. [`Store::persist`] syncs the journal. Every map is a
//! tree of its own, and one journal serves them all, which is what makes a batch over several maps atomic.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode, Readable, Snapshot};
use rustix::io::Errno;
use thiserror::Error;

use crate::birth::{make_whole, mark};
use crate::error::is_damaged_file;
use crate::{Batch, KeyRange, Map, Operation, Pair, Scrub, Store, StoreError, View};

mod scrub;

/// Cache of blocks read from disk, shared by all maps. Data beyond it is read from the operating system's cache.
const CACHE_BYTES: u64 = 32 << 20;

/// A map's memory table is written out at this size; two or three of them are in memory while that goes on.
const MEMORY_TABLE_BYTES: u64 = 16 << 20;

/// A map's files. Merging takes as much room as what is merged, until that can go: with files of this size a few tables
/// in memory and a part of the rest, with larger ones soon all of it. `docs/store.md` has figures; there is no bound.
const FILE_BYTES: u64 = 8 << 20;

/// Journals are kept until every map has written out what they hold. A map with few changes would keep them for ever,
/// so at this size it is made to. The least fjall takes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// One thread writes memory tables out and merges files. A node shares few cores with others, and state that lags
/// behind on disk costs memory but no correctness.
const WORKERS: usize = 1;

/// fjall stops when it cannot write, and mostly does not say why. With less room than this on its disk, that is why: what
/// it had half written lies there until it is opened anew.
const FULL_BYTES: u64 = 128 << 20;

/// fjall notes which states nobody reads any more once in so many views.
const VIEWS_NOTED: u32 = 10_000;

/// Between two attempts on a full disk.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// A [`Store`] on fjall, in a folder of its own.
///
/// A full disk stops fjall for good. Then it is opened anew, as after a crash of the process, which loses nothing applied;
/// and what failed is done again, which is the same as once: a batch says what is to be, not what is to change.
#[derive(Clone)]
pub struct FjallStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// `None` while it is opened anew.
    open: RwLock<Option<Arc<Open>>>,
    /// Held by whoever changes something.
    changing: Mutex<()>,
    /// It failed and nobody knows why, was opened anew, and has not failed since for want of room. If it fails again so,
    /// its files are looked at.
    is_suspect: AtomicBool,
}

/// An open database: nobody may hold on to it for long.
struct Open {
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
        let open = Open { database: open_database(path)?, maps: RwLock::default() };
        let open = RwLock::new(Some(Arc::new(open)));
        let (changing, is_suspect) = (Mutex::default(), AtomicBool::default());
        Ok(Self { shared: Arc::new(Shared { path: path.to_owned(), open, changing, is_suspect }) })
    }

    fn opened(&self) -> Result<Arc<Open>, StoreError> {
        self.shared.opened().ok_or(StoreError::Reopening)
    }

    /// Changes something, as often as it takes until there is room for it. Without that the node cannot go on: where damage
    /// is in the way, the store is condemned.
    fn change<T>(
        &self,
        operation: Operation,
        attempt: impl Fn(&Open) -> Result<T, fjall::Error>,
    ) -> Result<T, StoreError> {
        let changed = self.change_with_room(operation, attempt);
        if let Err(StoreError::Damaged { source, .. }) = &changed {
            self.condemn(&source.to_string());
        }
        changed
    }

    fn change_with_room<T>(
        &self,
        operation: Operation,
        attempt: impl Fn(&Open) -> Result<T, fjall::Error>,
    ) -> Result<T, StoreError> {
        let _changing = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_first = true;
        loop {
            let open = self.opened()?;
            let error = match attempt(&open) {
                Ok(done) => return Ok(done),
                Err(error) if self.shared.is_full(operation, &error) => {
                    self.shared.is_suspect.store(false, Ordering::Relaxed);
                    error
                }
                // Found by a thread of fjall's, who knows when: it may be that there is room again by now. Or what it
                // merges is damaged, which it finds again and again; reading all files to tell takes long.
                Err(error @ fjall::Error::Poisoned) => {
                    if self.shared.is_suspect.swap(true, Ordering::Relaxed) {
                        self.shared.check()?;
                        self.shared.is_suspect.store(false, Ordering::Relaxed);
                        if !is_first {
                            return Err(self.shared.failed(operation)(error));
                        }
                    }
                    error
                }
                Err(error) => return Err(self.shared.failed(operation)(error)),
            };
            if is_first {
                let (path, free) = (self.shared.path.display(), self.shared.free_bytes());
                tracing::error!(
                    "the state store {path} cannot write ({error}), with {free} bytes free on its disk; it is opened anew, and \
                     goes on once there is room"
                );
            } else {
                std::thread::sleep(ROOM_PAUSE);
            }
            is_first = false;
            self.shared.open_anew(open)?;
        }
    }
}

impl Shared {
    /// `None` while it is opened anew.
    fn opened(&self) -> Option<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells damage from other failures of an open store.
    fn failed(&self, operation: Operation) -> impl Fn(fjall::Error) -> StoreError {
        move |error| match is_found_damaged(operation, &error) {
            true => self.damaged(Box::new(error)),
            false => StoreError::failed(operation)(error),
        }
    }

    fn damaged(&self, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), source }
    }

    /// Whether it failed for want of room.
    fn is_full(&self, operation: Operation, error: &fjall::Error) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error {
            // What was synced in vain may be lost, and reading it back proves nothing.
            fjall::Error::Io(_) if operation == Operation::Persist => false,
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
                matches!(error.kind(), StorageFull | QuotaExceeded)
            }
            fjall::Error::Poisoned => self.free_bytes() < FULL_BYTES,
            _ => false,
        }
    }

    /// Whether merging all of a map's files gives an eighth of it back, and the result fits beside them. By its number of
    /// entries: one that says that a key is removed goes, and so does what it removes.
    fn is_worthwhile(&self, map: &Keyspace) -> bool {
        let (entries, removed, bytes) = (map.approximate_len() as u64, map.tree.tombstone_count(), map.disk_space());
        let gone = removed.saturating_mul(2).min(entries);
        let after = u128::from(bytes) * u128::from(entries - gone) / u128::from(entries.max(1));
        gone > entries / 8 && after + u128::from(MEMORY_TABLE_BYTES) < u128::from(self.free_bytes())
    }

    /// None, if that cannot be told.
    fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.path).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Closes the database and opens it again, with the same maps. Views of the old one are waited for.
    fn open_anew(&self, old: Arc<Open>) -> Result<(), StoreError> {
        let place = |open| *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
        let maps = Arc::clone(&old.maps.read().unwrap_or_else(PoisonError::into_inner));
        let names: Vec<_> = maps.iter().map(|map| map.as_ref().map(|map| map.name().to_string())).collect();
        drop(maps);
        place(None);
        let mut held = Some(old);
        while let Some(old) = held.take() {
            held = Arc::try_unwrap(old).err();
            if held.is_some() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        loop {
            let opened = open_database(&self.path).and_then(|database| {
                let open_map =
                    |name: &String| open_map(&database, name).map_err(StoreError::failed(Operation::OpenMap));
                let maps = names.iter().map(|name| name.as_ref().map(open_map).transpose());
                let maps = RwLock::new(Arc::new(maps.collect::<Result<Vec<_>, _>>()?));
                Ok(Open { database, maps })
            });
            match opened {
                Ok(open) => {
                    place(Some(Arc::new(open)));
                    return Ok(());
                }
                Err(StoreError::Open { source, .. } | StoreError::Failed { source, .. })
                    if source.downcast_ref().is_some_and(|error| self.is_full(Operation::OpenMap, error)) =>
                {
                    std::thread::sleep(ROOM_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Open {
    /// Writes a map's table in memory out: what it says of keys being removed is looked at only there.
    fn write_out(&self, map: &Keyspace) -> Result<(), fjall::Error> {
        map.rotate_memtable()?;
        while map.tree.sealed_memtable_count() > 0 {
            // Whoever writes it out may have found the disk full, which this tells.
            self.database.persist(PersistMode::Buffer)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets go of the files that only earlier states need, except those that views are open on. fjall does so whenever a
    /// table in memory is written out, and notes which states are done with after so many views.
    fn forget(&self) -> Result<(), fjall::Error> {
        (0..VIEWS_NOTED).for_each(|_| drop(self.database.snapshot()));
        // One below the earliest state that anybody can read, which needs the last files made before it: those of a merge
        // that was the last change of all, too.
        let done = self.database.supervisor.snapshot_tracker.get_seqno_safe_to_gc() + 1;
        for map in self.maps().iter().flatten() {
            map.tree.get_version_history_lock().maintenance(map.path(), done)?;
        }
        Ok(())
    }

    fn maps(&self) -> Arc<Vec<Option<Keyspace>>> {
        Arc::clone(&self.maps.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn open_map(database: &Database, name: &str) -> Result<Keyspace, fjall::Error> {
    let merging = Leveled::default().with_table_target_size(FILE_BYTES);
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMORY_TABLE_BYTES);
    database.keyspace(name, || options().compaction_strategy(Arc::new(merging)))
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

/// Whether what an open store says comes from bytes that are not what was written, or that the disk does not give back.
fn is_found_damaged(operation: Operation, error: &fjall::Error) -> bool {
    let reads = matches!(operation, Operation::Get | Operation::Range | Operation::Scrub);
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) if reads => is_lost(error),
        // Of a file that cannot be written nothing is known.
        fjall::Error::Io(_) | fjall::Error::Storage(LsmError::Io(_)) => false,
        error => is_damage(error),
    }
}

/// Whether a file could not be read as it was written.
fn is_lost(error: &std::io::Error) -> bool {
    is_damaged_file(error) || Errno::from_io_error(error) == Some(Errno::IO)
}

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
        let place = self.change(Operation::OpenMap, |open| {
            let mut maps = open.maps.write().unwrap_or_else(PoisonError::into_inner);
            let is_named = |map: &Option<Keyspace>| map.as_ref().is_some_and(|map| &**map.name() == name);
            if let Some(place) = maps.iter().position(is_named) {
                return Ok(place);
            }
            Arc::make_mut(&mut maps).push(Some(open_map(&open.database, name)?));
            Ok(maps.len() - 1)
        })?;
        Ok(Map(u32::try_from(place).expect("maps are a handful")))
    }

    fn remove(&self, map: Map) -> Result<(), StoreError> {
        self.change(Operation::RemoveMap, |open| {
            let mut maps = open.maps.write().unwrap_or_else(PoisonError::into_inner);
            let Some(removed) = maps.get(map.0 as usize).cloned().flatten() else { return Ok(()) };
            open.database.delete_keyspace(removed)?;
            Arc::make_mut(&mut maps)[map.0 as usize] = None;
            Ok(())
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.change(Operation::Apply, |open| {
            let maps = open.maps();
            let mut write = open.database.batch();
            for (map, key, value) in batch.changes() {
                let map = maps[map.0 as usize].as_ref().expect("a map that was removed is named no more");
                match value {
                    Some(value) => write.insert(map, &key[..], &value[..]),
                    None => write.remove(map, &key[..]),
                }
            }
            write.commit()
        })
    }

    fn view(&self) -> Result<FjallView, StoreError> {
        let open = self.opened()?;
        // The maps first: a map made in between is then missing from the view instead of unknown to the snapshot.
        let maps = open.maps();
        let shared = Arc::clone(&self.shared);
        Ok(FjallView { snapshot: open.database.snapshot(), maps, shared, _open: open })
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.change(Operation::Persist, |open| open.database.persist(PersistMode::SyncData))
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        let is_tried = Cell::new(false);
        self.change(Operation::Reclaim, |open| {
            // There was less room than it seemed. What was in the way of it is gone by now.
            if is_tried.replace(true) {
                return Ok(());
            }
            for map in open.maps().iter().flatten() {
                open.write_out(map)?;
            }
            open.forget()?;
            for map in open.maps().iter().flatten().filter(|map| self.shared.is_worthwhile(map)) {
                map.major_compact()?;
            }
            open.forget()
        })
    }

    fn condemn(&self, why: &str) {
        let path = &self.shared.path;
        // That it is damaged is said again by whoever is refused.
        let why = why.strip_prefix(&format!("the state store {} is damaged: ", path.display())).unwrap_or(why);
        if let Err(error) = mark(path, why) {
            tracing::error!("that the state store {} is damaged cannot be noted in it: {error}", path.display());
        }
    }

    fn scrub(&self) -> Scrub {
        scrub::of(Arc::clone(&self.shared))
    }
}

/// A state of a [`FjallStore`].
pub struct FjallView {
    snapshot: Snapshot,
    maps: Arc<Vec<Option<Keyspace>>>,
    shared: Arc<Shared>,
    /// The database stays open while a view is.
    _open: Arc<Open>,
}

impl View for FjallView {
    fn get(&self, map: Map, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(map) = self.maps.get(map.0 as usize).and_then(Option::as_ref) else { return Ok(None) };
        let value = self.snapshot.get(map, key).map_err(self.shared.failed(Operation::Get))?;
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
            let (key, value) = step.into_inner().map_err(self.shared.failed(Operation::Range))?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }
}
