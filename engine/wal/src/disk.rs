//! The real folder: std's files, with what std lacks (setting blocks aside, locking) by rustix.

use std::fs;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock};
use rustix::io::Errno;

use crate::folder::{File, Folder, Lock};

/// The file whose lock stands for the folder. It stays behind, empty: removing it would let two processes lock two
/// files of the same name.
const LOCK_NAME: &str = "lock";

/// A folder of the operating system.
#[derive(Debug)]
pub struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    /// Opens the folder, and makes it if it does not exist; its name is durable on return.
    ///
    /// # Errors
    /// Those of the system: a path that is a file, a disk that is full, a missing permission.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            // Only the innermost parent is synced: whoever nests folders syncs the outer ones when making them.
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { path })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Folder for DiskFolder {
    fn lock(&self) -> io::Result<Lock> {
        let file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(Path::new(&self.file(LOCK_NAME)))?;
        // The system lets go when the process dies, however it dies, so that a kill -9 leaves no stale lock.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock::new(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK_NAME
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>> {
        let path = self.file(name);
        let file = fs::OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, size) {
            // The system calls setting nothing aside an invalid argument.
            Ok(()) => {}
            Err(Errno::INVAL) if size == 0 => {}
            // Some file systems cannot set blocks aside. The log is as safe there, and a little slower.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(size)?,
            // As if it had never been begun, so that the same name can be tried again when there is room.
            Err(errno) => {
                fs::remove_file(&path)?;
                return Err(errno.into());
            }
        }
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(fs::OpenOptions::new().read(true).write(true).open(self.file(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn path(&self, name: &str) -> String {
        let path = if name.is_empty() { self.path.clone() } else { self.file(name) };
        path.display().to_string()
    }
}

struct DiskFile(fs::File);

impl File for DiskFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.0.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget(&self, offset: u64, bytes: u64) {
        // Without it, what is cached is compared.
        fadvise(&self.0, offset, NonZero::new(bytes), Advice::DontNeed).ok();
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn cut(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }
}
