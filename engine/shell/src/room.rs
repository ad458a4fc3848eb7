//! The room on the disk: looked at now and then, and whenever much was written, since a burst fills a small disk between
//! two looks at the clock.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hezong_node::NodeInput;

use crate::event::Event;
use crate::run::Mail;
use crate::threads::Shared;

/// Room is looked at after this part of the reserve was written to the log and to the state.
const LOOKS: u64 = 16;

/// Or after this much, if that is more.
const MUCH_BYTES: u64 = 1 << 20;

/// With less than this there is no room, whatever the reserve.
const FULL_BYTES: u64 = 16 << 20;

/// The room on the disk that holds a node's folder, and how much of it is kept back.
pub(crate) struct Room {
    /// A folder on the disk in question; `None` in memory, where there is always room.
    folder: Option<PathBuf>,
    reserve_bytes: u64,
    interval: Duration,
    /// What was written since it was last looked at.
    written: AtomicU64,
    /// When that was. Held by whoever looks.
    looked: Mutex<Option<Instant>>,
    /// Whether it was below the reserve.
    below: AtomicBool,
}

impl Room {
    pub(crate) fn new(folder: Option<PathBuf>, reserve_bytes: u64, interval: Duration) -> Self {
        let (written, below) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { folder, reserve_bytes, interval, written, looked: Mutex::new(None), below }
    }

    /// Where there is always room.
    #[cfg(test)]
    pub(crate) fn endless() -> Self {
        Self::new(None, 0, Duration::MAX)
    }

    /// How often it is looked at even if nothing was written.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.folder.is_some().then_some(self.interval)
    }

    /// So many bytes went to the log, or to the state.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether it was below the reserve when it was last looked at.
    pub(crate) fn is_below(&self) -> bool {
        self.below.load(Ordering::Relaxed)
    }

    /// Whether hardly anything can be written.
    pub(crate) fn is_full(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < FULL_BYTES)
    }

    /// Looks, if it is time or much was written since, and tells the node of a change.
    pub(crate) fn look(&self, shared: &Shared) {
        // Whoever finds another looking has been looked for.
        let Ok(mut looked) = self.looked.try_lock() else { return };
        let much = self.written.load(Ordering::Relaxed) > (self.reserve_bytes / LOOKS).max(MUCH_BYTES);
        if self.folder.is_none() || !much && looked.is_some_and(|at| at.elapsed() < self.interval) {
            return;
        }
        self.written.store(0, Ordering::Relaxed);
        *looked = Some(Instant::now());
        let Some(free_bytes) = self.free_bytes() else { return };
        // A quarter more than the reserve before writes are taken again: files that are merged take room, and give it back.
        let was_below = self.is_below();
        let more = if was_below { self.reserve_bytes / 4 } else { 0 };
        let below = free_bytes < self.reserve_bytes.saturating_add(more);
        if below != was_below {
            self.below.store(below, Ordering::Relaxed);
            shared.post(Mail::Input(NodeInput::DiskReserve { below }));
            shared.tell(Event::DiskReserve { below, free_bytes });
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        let folder = self.folder.as_ref()?;
        match rustix::fs::statvfs(folder) {
            Ok(found) => Some(found.f_bavail.saturating_mul(found.f_frsize)),
            Err(error) => {
                tracing::warn!("cannot tell the free space of {}: {error}", folder.display());
                None
            }
        }
    }
}
