//! A folder in memory that can crash: for crash suites and for the simulator.
//!
//! It promises what POSIX promises and takes back everything else. Every inode has what the page cache shows and what
//! the platter holds; writes go to the first, and [`File::sync`] carries them to the second. A crash keeps, of what was
//! not synced, nothing, all, a beginning torn in the middle, or any 512-byte sectors in any order; likewise with names
//! and [`Folder::sync`]. A failed sync forgets what it should have written, yet goes on showing it: retrying succeeds
//! and proves nothing, as on Linux.
//!
//! A [`ModelFolder`] is the disk, and survives; [`ModelFolder::handle`] is what one life of a process holds of it, and
//! is dead after a crash.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hezong_base::Rng;

use crate::folder::{File, Folder, Lock};

/// What a crash keeps or loses as a whole. Disks write at least this much in one piece.
const SECTOR_BYTES: u64 = 512;

/// A disk in memory. Clones are the same disk; [`ModelFolder::fork`] makes another.
#[derive(Clone, Default)]
pub struct ModelFolder {
    disk: Arc<Mutex<Disk>>,
}

impl fmt::Debug for ModelFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFolder").field("files", &self.files()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Disk {
    /// Rises with every crash; handles of an earlier life are dead.
    life: u64,
    /// Whether somebody of this life holds the lock.
    locked: bool,
    names: Names,
    /// The names that would survive a crash.
    names_durable: Names,
    names_pending: Vec<NameChange>,
    faults: Faults,
    operations: u64,
}

type Names = BTreeMap<String, Arc<Mutex<Inode>>>;

#[derive(Clone)]
enum NameChange {
    Put { name: String, inode: Arc<Mutex<Inode>> },
    Rename { from: String, to: String, inode: Arc<Mutex<Inode>> },
    Remove { name: String },
}

/// What goes wrong, and after how many more of its kind.
#[derive(Clone, Default)]
struct Faults {
    write: Option<u64>,
    sync: Option<u64>,
    stop: Option<u64>,
    space: Option<u64>,
}

#[derive(Clone, Default)]
struct Inode {
    cached: Content,
    durable: Content,
    /// What was done to `cached` since it was last synced.
    pending: Vec<Pending>,
    /// Where it is not given back.
    unreadable: Option<u64>,
}

#[derive(Clone)]
enum Pending {
    Write { offset: u64, bytes: Vec<u8> },
    Size(u64),
}

/// A file's bytes; all behind `bytes` and before `size` is zero.
#[derive(Clone, Default)]
struct Content {
    size: u64,
    bytes: Vec<u8>,
}

impl Content {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.size = self.size.max(end as u64);
    }

    fn resize(&mut self, size: u64) {
        self.bytes.truncate(size as usize);
        self.size = size;
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let length = into.len().min(self.size.saturating_sub(offset) as usize);
        let held = self.bytes.get(offset as usize..).unwrap_or_default();
        let copied = held.len().min(length);
        into[..copied].copy_from_slice(&held[..copied]);
        into[copied..length].fill(0);
        length
    }
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing of it survives.
    All,
    /// All of it survives.
    Nothing,
    /// It survives up to some point, which may lie inside a write.
    Tail,
    /// Any sectors and any names survive.
    Any,
}

impl Loss {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::All,
            1 => Self::Nothing,
            2 => Self::Tail,
            _ => Self::Any,
        }
    }
}

impl ModelFolder {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The folder as a process sees it, until the next crash.
    #[must_use]
    pub fn handle(&self) -> Arc<dyn Folder> {
        Arc::new(Handle { disk: Arc::clone(&self.disk), life: self.disk().life })
    }

    /// Power is lost. `rng` decides what survives of all that was not synced. Handles are dead, locks are free, faults
    /// are forgotten.
    pub fn crash(&self, rng: &mut Rng) {
        let mut disk = self.disk();
        let changes = std::mem::take(&mut disk.names_pending);
        let loss = Loss::draw(rng);
        let kept = rng.below(changes.len() as u64 + 1) as usize;
        for (at, change) in changes.into_iter().enumerate() {
            let keep = match loss {
                Loss::All => false,
                Loss::Nothing => true,
                Loss::Tail => at < kept,
                Loss::Any => rng.chance(500),
            };
            if keep {
                change.apply(&mut disk.names_durable);
            }
        }
        disk.names = disk.names_durable.clone();
        for inode in disk.names.values() {
            inode.lock().unwrap_or_else(PoisonError::into_inner).crash(rng);
        }
        disk.restart();
    }

    /// The process dies and the machine lives on: nothing is lost, and nothing becomes durable by it. Handles are dead,
    /// locks are free, faults are forgotten.
    pub fn kill(&self) {
        self.disk().restart();
    }

    /// A copy of the disk, page cache and all, that goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        let disk = self.disk();
        // An inode may have several names, across the durable and the visible; it must stay one.
        let mut copies: BTreeMap<usize, Arc<Mutex<Inode>>> = BTreeMap::new();
        let mut copy = |inode: &Arc<Mutex<Inode>>| {
            let copied = || Arc::new(Mutex::new(inode.lock().unwrap_or_else(PoisonError::into_inner).clone()));
            Arc::clone(copies.entry(Arc::as_ptr(inode) as usize).or_insert_with(copied))
        };
        let mut names = |names: &Names| names.iter().map(|(name, inode)| (name.clone(), copy(inode))).collect();
        let (visible, durable) = (names(&disk.names), names(&disk.names_durable));
        let pending = disk.names_pending.iter().map(|change| change.with(&mut copy)).collect();
        Self {
            disk: Arc::new(Mutex::new(Disk {
                names: visible,
                names_durable: durable,
                names_pending: pending,
                ..Disk::default()
            })),
        }
    }

    /// The write after `others` more ones fails, having written half of its bytes.
    pub fn fail_write(&self, others: u64) {
        self.disk().faults.write = Some(others);
    }

    /// The sync, of a file or of the folder, after `others` more ones fails. What a file's should have written is lost at
    /// the next crash, and no later sync brings it back.
    pub fn fail_sync(&self, others: u64) {
        self.disk().faults.sync = Some(others);
    }

    /// After `others` more operations that change anything, none is carried out any more: the machine stands still, to
    /// be crashed or killed.
    pub fn stop_after(&self, others: u64) {
        self.disk().faults.stop = Some(others);
    }

    /// The files may take up so many bytes in all; beyond that the disk is full. `None` lifts the limit.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.disk().faults.space = bytes;
    }

    /// How many operations that change anything were carried out in all.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// The names of all files, in order.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.disk().names.keys().cloned().collect()
    }

    /// What a file shows when it is read.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let inode = self.disk().names.get(name).cloned()?;
        let inode = inode.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; inode.cached.size as usize];
        inode.cached.read(0, &mut bytes);
        Some(bytes)
    }

    /// Puts a file there as if it had always been: for damage done on purpose.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut content = Content { size: bytes.len() as u64, bytes: Vec::new() };
        content.write(0, bytes);
        let inode = Arc::new(Mutex::new(Inode { cached: content.clone(), durable: content, ..Inode::default() }));
        let mut disk = self.disk();
        disk.names.insert(name.to_owned(), Arc::clone(&inode));
        disk.names_durable.insert(name.to_owned(), inode);
    }

    /// Reading this place of a file fails from now on.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn spoil(&self, name: &str, offset: u64) {
        let inode = self.disk().names.get(name).cloned().expect("there is such a file");
        inode.lock().unwrap_or_else(PoisonError::into_inner).unreadable = Some(offset);
    }

    /// Takes a file away as if it had never been.
    pub fn take(&self, name: &str) {
        let mut disk = self.disk();
        disk.names.remove(name);
        disk.names_durable.remove(name);
    }

    /// The bytes that all files take up.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.disk().bytes()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn restart(&mut self) {
        self.life += 1;
        self.locked = false;
        self.faults = Faults { space: self.faults.space, ..Faults::default() };
    }

    fn bytes(&self) -> u64 {
        let size = |inode: &Arc<Mutex<Inode>>| inode.lock().unwrap_or_else(PoisonError::into_inner).cached.size;
        self.names.values().map(size).sum()
    }

    fn change_names(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.names_pending.push(change);
    }

    /// Refuses whoever belongs to an earlier life.
    fn alive(&self, life: u64) -> io::Result<()> {
        if life == self.life { Ok(()) } else { Err(io::Error::other("the process that held this is dead")) }
    }

    /// Counts an operation that changes something, unless the machine stands still.
    fn operation(&mut self, life: u64) -> io::Result<()> {
        self.alive(life)?;
        match &mut self.faults.stop {
            Some(0) => return Err(io::Error::other("the machine stands still")),
            Some(others) => *others -= 1,
            None => {}
        }
        self.operations += 1;
        Ok(())
    }

    /// Refuses to grow beyond the limit.
    fn room(&self, more: u64) -> io::Result<()> {
        match self.faults.space {
            Some(space) if more > 0 && self.bytes() + more > space => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

/// Whether the fault strikes now; it does so once.
fn strikes(fault: &mut Option<u64>) -> bool {
    match fault {
        Some(0) => {
            *fault = None;
            true
        }
        Some(others) => {
            *others -= 1;
            false
        }
        None => false,
    }
}

impl NameChange {
    fn apply(self, names: &mut Names) {
        match self {
            Self::Put { name, inode } => {
                names.insert(name, inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(&from);
                names.insert(to, inode);
            }
            Self::Remove { name } => {
                names.remove(&name);
            }
        }
    }

    fn with(&self, copy: &mut impl FnMut(&Arc<Mutex<Inode>>) -> Arc<Mutex<Inode>>) -> Self {
        match self {
            Self::Put { name, inode } => Self::Put { name: name.clone(), inode: copy(inode) },
            Self::Rename { from, to, inode } => Self::Rename { from: from.clone(), to: to.clone(), inode: copy(inode) },
            Self::Remove { name } => Self::Remove { name: name.clone() },
        }
    }
}

impl Inode {
    fn crash(&mut self, rng: &mut Rng) {
        let loss = Loss::draw(rng);
        let pending = std::mem::take(&mut self.pending);
        let kept = rng.below(pending.len() as u64 + 1) as usize;
        for (at, change) in pending.into_iter().enumerate() {
            match change {
                Pending::Size(size) => {
                    let keep = match loss {
                        Loss::All => false,
                        Loss::Nothing => true,
                        Loss::Tail => at < kept,
                        Loss::Any => rng.chance(500),
                    };
                    if keep {
                        self.durable.resize(size);
                    }
                }
                Pending::Write { offset, bytes } => match loss {
                    Loss::All => {}
                    Loss::Nothing => self.durable.write(offset, &bytes),
                    // The last one that is kept is torn, anywhere: the rest of its sector was never rewritten.
                    Loss::Tail if at + 1 == kept => {
                        let torn = rng.below(bytes.len() as u64 + 1) as usize;
                        self.durable.write(offset, &bytes[..torn]);
                    }
                    Loss::Tail if at < kept => self.durable.write(offset, &bytes),
                    Loss::Tail => {}
                    Loss::Any => {
                        for (offset, sector) in sectors(offset, &bytes) {
                            if rng.chance(500) {
                                self.durable.write(offset, sector);
                            }
                        }
                    }
                },
            }
        }
        self.cached = self.durable.clone();
    }
}

/// Cuts a write where sectors meet.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = offset + at as u64;
        let length = ((SECTOR_BYTES - start % SECTOR_BYTES) as usize).min(rest.len());
        at += length;
        Some((start, &rest[..length]))
    })
}

/// What one life of a process holds of the disk.
struct Handle {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

impl Handle {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: &Arc<Mutex<Inode>>) -> Arc<dyn File> {
        Arc::new(ModelFile { disk: Arc::clone(&self.disk), life: self.life, inode: Arc::clone(inode) })
    }
}

/// Frees the lock when dropped, unless a crash has freed it before.
struct Held(Arc<Mutex<Disk>>, u64);

impl Drop for Held {
    fn drop(&mut self) {
        let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.life == self.1 {
            disk.locked = false;
        }
    }
}

impl Folder for Handle {
    fn lock(&self) -> io::Result<Lock> {
        let mut disk = self.disk();
        disk.alive(self.life)?;
        if disk.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked = true;
        Ok(Lock::new(Held(Arc::clone(&self.disk), self.life)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.disk();
        disk.alive(self.life)?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.operation(self.life)?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.room(size)?;
        let inode = Inode {
            cached: Content { size, bytes: Vec::new() },
            pending: vec![Pending::Size(size)],
            ..Inode::default()
        };
        let inode = Arc::new(Mutex::new(inode));
        disk.change_names(NameChange::Put { name: name.to_owned(), inode: Arc::clone(&inode) });
        Ok(self.file(&inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let disk = self.disk();
        disk.alive(self.life)?;
        disk.names.get(name).map(|inode| self.file(inode)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(self.life)?;
        let inode = disk.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        disk.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(self.life)?;
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.change_names(NameChange::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(self.life)?;
        // Names stay pending after a failure, unlike bytes: they live in the file system's journal, which never forgets
        // a part of itself and carries on.
        if strikes(&mut disk.faults.sync) {
            return Err(io::Error::other("the sync failed"));
        }
        for change in std::mem::take(&mut disk.names_pending) {
            change.apply(&mut disk.names_durable);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("model/{name}")
    }
}

struct ModelFile {
    disk: Arc<Mutex<Disk>>,
    life: u64,
    inode: Arc<Mutex<Inode>>,
}

impl ModelFile {
    /// The disk first and the inode second, everywhere, so that two threads never wait for each other.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inode(&self) -> MutexGuard<'_, Inode> {
        self.inode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Pending) {
        let mut inode = self.inode();
        match &change {
            Pending::Write { offset, bytes } => inode.cached.write(*offset, bytes),
            Pending::Size(size) => inode.cached.resize(*size),
        }
        inode.pending.push(change);
    }
}

impl File for ModelFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(self.life)?;
        let size = self.inode().cached.size;
        disk.room((offset + bytes.len() as u64).saturating_sub(size))?;
        let failed = strikes(&mut disk.faults.write);
        let written = if failed { &bytes[..bytes.len() / 2] } else { bytes };
        self.change(Pending::Write { offset, bytes: written.to_vec() });
        if failed { Err(io::Error::other("the write failed")) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk();
        disk.alive(self.life)?;
        let inode = self.inode();
        if inode.unreadable.is_some_and(|at| (offset..offset + into.len() as u64).contains(&at)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the disk does not give it back"));
        }
        Ok(inode.cached.read(offset, into))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operation(self.life)?;
        let failed = strikes(&mut disk.faults.sync);
        let mut inode = self.inode();
        let pending = std::mem::take(&mut inode.pending);
        if failed {
            return Err(io::Error::other("the sync failed"));
        }
        for change in pending {
            match change {
                Pending::Write { offset, bytes } => inode.durable.write(offset, &bytes),
                Pending::Size(size) => inode.durable.resize(size),
            }
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let disk = self.disk();
        disk.alive(self.life)?;
        Ok(self.inode().cached.size)
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.disk().operation(self.life)?;
        self.change(Pending::Size(size));
        Ok(())
    }
}
