//! Disks in memory that can be filled, and what a node's log is told about its disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::plan::Unsynced;

/// Room for the log's few files, the journals and tables of the state, and as much again.
const BYTES: u64 = 512 << 20;
/// What a disk is filled by.
const PIECE: u64 = 256 << 10;

/// A node's disk: a folder, on a file system of its own where we may mount one.
pub(crate) struct Disk {
    folder: PathBuf,
    mounted: bool,
    /// What the node's log reads before each fdatasync.
    trial: PathBuf,
    unsynced: Unsynced,
    kept: bool,
}

impl Disk {
    /// Makes the folder; with `own` tries to mount a disk in memory there.
    pub(crate) fn new(folder: PathBuf, own: bool, unsynced: Unsynced) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mounted = own && mount(&folder);
        let trial = folder.with_extension("trial");
        let disk = Self { folder, mounted, trial, unsynced, kept: false };
        disk.delay(Duration::ZERO)?;
        Ok(disk)
    }

    /// Whether it can be filled without filling the machine's.
    pub(crate) fn is_own(&self) -> bool {
        self.mounted
    }

    /// The folder for the node's data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The file that says how the disk behaves.
    pub(crate) fn trial(&self) -> &Path {
        &self.trial
    }

    /// From now on each fdatasync of the log takes so much longer.
    pub(crate) fn delay(&self, delay: Duration) -> io::Result<()> {
        let unsynced = match self.unsynced {
            Unsynced::Keep => "keep",
            Unsynced::Lose => "hold",
            #[cfg(feature = "weakened")]
            Unsynced::Forget => "forget",
        };
        // Renamed, so that nobody reads half of it.
        let new = self.trial.with_extension("new");
        fs::write(&new, format!("{unsynced} {}\n", delay.as_millis()))?;
        fs::rename(&new, &self.trial)
    }

    /// Takes all room there is but for `left` bytes; returns how much that was.
    pub(crate) fn fill(&self, left: u64) -> io::Result<u64> {
        let found = statvfs(&self.folder)?;
        let bytes = (found.f_bavail * found.f_frsize).saturating_sub(left);
        let file = File::create(self.filler())?;
        let mut taken = 0;
        // In pieces: the node takes room as well meanwhile.
        while taken < bytes {
            let piece = PIECE.min(bytes - taken);
            match fallocate(&file, FallocateFlags::empty(), taken, piece) {
                Ok(()) => taken += piece,
                Err(Errno::NOSPC) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(taken)
    }

    /// Gives it back.
    pub(crate) fn empty(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Everything on it is lost.
    pub(crate) fn lose(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What it holds stays when we go, for whoever looks for a cause; false where it does anyway.
    pub(crate) fn keep(&mut self) -> bool {
        self.kept = true;
        self.mounted
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && !self.kept {
            // Lazily: a process of ours that is just ending may still hold a file there.
            Command::new("umount").arg("--lazy").arg(&self.folder).stderr(Stdio::null()).status().ok();
        }
    }
}

/// Only root may, and not everywhere.
fn mount(folder: &Path) -> bool {
    let size = format!("size={BYTES}");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
