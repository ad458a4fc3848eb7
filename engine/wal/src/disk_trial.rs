//! The real folder, as it behaves when power fails or the disk is slow: for proofs on real processes.
//!
//! `kill -9` takes a process and leaves what it wrote in the system's cache, so that a log which never calls fdatasync
//! looks sound. Here what was written stays in the process until it is synced, and is lost with it.
//!
//! Left out: names. What is created, renamed or removed is so at once, synced or not; the model's crashes try that.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use crate::disk::DiskFolder;
use crate::folder::{File, Folder, Lock};

/// What becomes of writes before they are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsynced {
    /// The system has them.
    Keep,
    /// The process has them.
    Hold,
    /// The process has them, and syncing changes nothing but the first time, when a file gets its header: the bug that the
    /// trial is there to catch. Without a header the file would be damaged, and the log repaired from the other nodes.
    #[cfg(feature = "weakened")]
    Forget,
}

/// A [`DiskFolder`] that behaves as a file says: one line, `keep 0`. The word says where writes stay until they are
/// synced, `keep` (the system) or `hold` (the process), and is read when the folder is opened. The number says how many
/// milliseconds longer each sync takes, and is read every time.
pub struct TrialFolder {
    folder: DiskFolder,
    control: Arc<PathBuf>,
    unsynced: Unsynced,
    /// Whoever opens a file twice sees the same held writes.
    files: Mutex<BTreeMap<String, Arc<TrialFile>>>,
}

impl TrialFolder {
    /// Has `folder` behave as `control` says.
    ///
    /// # Errors
    /// The control file cannot be read, or says something else.
    pub fn new(folder: DiskFolder, control: PathBuf) -> io::Result<Self> {
        let (unsynced, _) = read(&control)?;
        Ok(Self { folder, control: Arc::new(control), unsynced, files: Mutex::default() })
    }

    fn file(&self, name: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        let (control, unsynced) = (self.control.clone(), self.unsynced);
        let file = Arc::new(TrialFile {
            file,
            control,
            unsynced,
            held: Mutex::default(),
            #[cfg(feature = "weakened")]
            synced: std::sync::atomic::AtomicBool::default(),
        });
        locked(&self.files).insert(name.to_owned(), file.clone());
        file
    }
}

impl Folder for TrialFolder {
    fn lock(&self) -> io::Result<Lock> {
        self.folder.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.file(name, self.folder.create(name, size)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if let Some(file) = locked(&self.files).get(name) {
            return Ok(file.clone());
        }
        Ok(self.file(name, self.folder.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)?;
        let mut files = locked(&self.files);
        if let Some(file) = files.remove(from) {
            files.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        locked(&self.files).remove(name);
        self.folder.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }
}

struct TrialFile {
    file: Arc<dyn File>,
    control: Arc<PathBuf>,
    unsynced: Unsynced,
    /// Written and not synced, oldest first.
    held: Mutex<Vec<(u64, Vec<u8>)>>,
    #[cfg(feature = "weakened")]
    synced: std::sync::atomic::AtomicBool,
}

impl File for TrialFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.unsynced == Unsynced::Keep {
            return self.file.write_at(offset, bytes);
        }
        locked(&self.held).push((offset, bytes.to_vec()));
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let held = locked(&self.held);
        let mut filled = self.file.read_at(offset, into)?;
        let end = offset + into.len() as u64;
        for (at, bytes) in held.iter() {
            let (from, until) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if from < until {
                let place = |at: u64, start: u64| usize::try_from(at - start).expect("within what is in memory");
                let (begin, end) = (place(from, offset), place(until, offset));
                into[begin..end].copy_from_slice(&bytes[place(from, *at)..place(until, *at)]);
                filled = filled.max(end);
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        let (_, delay) = read(&self.control)?;
        thread::sleep(delay);
        #[cfg(feature = "weakened")]
        if self.unsynced == Unsynced::Forget && self.synced.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        // Whoever reads meanwhile waits: between the two places it would find the bytes in neither.
        let mut held = locked(&self.held);
        for (offset, bytes) in held.iter() {
            self.file.write_at(*offset, bytes)?;
        }
        held.clear();
        self.file.sync()
    }

    fn forget(&self, offset: u64, bytes: u64) {
        self.file.forget(offset, bytes);
    }

    fn size(&self) -> io::Result<u64> {
        let held = locked(&self.held).iter().map(|(at, bytes)| at + bytes.len() as u64).max();
        Ok(self.file.size()?.max(held.unwrap_or(0)))
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        let mut held = locked(&self.held);
        held.retain(|(at, _)| *at < size);
        for (at, bytes) in held.iter_mut() {
            bytes.truncate(usize::try_from(size - *at).unwrap_or(usize::MAX));
        }
        self.file.cut(size)
    }
}

fn read(control: &PathBuf) -> io::Result<(Unsynced, Duration)> {
    let text = fs::read_to_string(control)?;
    let invalid = || {
        let said = format!("{} says {text:?}; write keep or hold, and milliseconds, as `keep 0`", control.display());
        io::Error::new(io::ErrorKind::InvalidInput, said)
    };
    let (word, number) = text.trim().split_once(' ').ok_or_else(invalid)?;
    let unsynced = match word {
        "keep" => Unsynced::Keep,
        "hold" => Unsynced::Hold,
        #[cfg(feature = "weakened")]
        "forget" => Unsynced::Forget,
        _ => return Err(invalid()),
    };
    Ok((unsynced, Duration::from_millis(number.parse().map_err(|_| invalid())?)))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
