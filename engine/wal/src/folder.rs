//! What the log needs of a folder and its files, so that the real one and the model can change places.
//!
//! The promises are those of POSIX and no more: a write is visible at once and durable only after [`File::sync`]; a name
//! is durable only after [`Folder::sync`], whatever became of the file behind it. Between two syncs a crash may keep any
//! part of what was written, in any order.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A flat folder of files. Every method may be called from any thread.
pub trait Folder: Send + Sync {
    /// Takes the folder for this process until the lock is dropped. The kind is `WouldBlock` when somebody holds it.
    fn lock(&self) -> io::Result<Lock>;

    /// The names of all files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `size` zero bytes with its blocks set aside, so that writes into it find no full disk and change
    /// no metadata. The kind is `AlreadyExists` when the name is taken, `StorageFull` or `QuotaExceeded` when there is no
    /// room; then there is no such file.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name in one step: after a crash it has the old name or the new one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Whoever still holds the file can go on reading it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, renaming and removal so far durable.
    fn sync(&self) -> io::Result<()>;

    /// How messages name a file of this folder; the empty name is the folder itself.
    fn path(&self, name: &str) -> String;
}

/// A file, written at one end by one thread and read anywhere by others.
pub trait File: Send + Sync {
    /// Writes all of `bytes`. After an error any part of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads until `into` is full or the file ends; tells how many bytes it read. The kind is `InvalidData` where the disk
    /// does not give back what it took.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes every write so far durable. After an error nothing is known of any of them, and calling again proves
    /// nothing: the system may have marked the lost pages clean.
    fn sync(&self) -> io::Result<()>;

    /// Lets go of what is cached of a stretch that was synced, so that reading it asks the disk; a hint.
    fn forget(&self, _offset: u64, _bytes: u64) {}

    /// The file's size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Gives back what lies past `size`. Not durable before the next sync, and harmless if it never becomes so.
    fn cut(&self, size: u64) -> io::Result<()>;
}

/// Holds a folder for one process; dropping it lets go.
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl Lock {
    /// Wraps whatever lets go of the folder when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}
