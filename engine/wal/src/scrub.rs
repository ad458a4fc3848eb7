//! Reading what is written and synced again, slowly, so that damage is found while others still have what it took.

use std::fmt;
use std::sync::Arc;

use crate::batch;
use crate::error::ReadError;
use crate::reader::{Reader, Shared};
use crate::recovery::Window;

/// What a step reads, unless a single batch is larger.
const STEP_BYTES: u64 = 1 << 20;

/// Goes through the segments from the oldest on, again and again, as far as they are synced. Headers are left out, since
/// they are needed by nobody before the next start.
pub struct Scrub {
    shared: Arc<Shared>,
    /// The segment, and where in it to go on; 0 for its beginning.
    at: (u64, u64),
}

impl fmt::Debug for Scrub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrub").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins at the oldest segment.
    #[must_use]
    pub fn scrub(&self) -> Scrub {
        Scrub { shared: Arc::clone(self.shared()), at: (0, 0) }
    }
}

impl Scrub {
    /// Reads about a megabyte and tells how much it was; 0 once all has been read, and it begins anew.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] where something is not what was written. Every call from then on finds it again.
    pub fn step(&mut self) -> Result<u64, ReadError> {
        let found = {
            let index = self.shared.index();
            index.files.range(self.at.0..).next().map(|(number, file)| (*number, Arc::clone(file)))
        };
        let Some((number, file)) = found else {
            self.at = (0, 0);
            return Ok(0);
        };
        let (start, end) = file.synced();
        let begin = if self.at.0 == number { self.at.1.max(start) } else { start };
        file.file.forget(begin, STEP_BYTES.min(end.saturating_sub(begin)));
        let mut window = Window::new(&file)?;
        let mut offset = begin;
        while offset < end && offset - begin < STEP_BYTES {
            let Some((header, _)) = window.batch(number, offset)? else {
                let reason = "this batch was synced, and is not what it was";
                return Err(ReadError::Corrupt { path: file.path.clone(), offset, reason });
            };
            offset += batch::total_bytes(header.length) as u64;
        }
        self.at = if offset < end { (number, offset) } else { (number + 1, 0) };
        Ok(offset - begin)
    }
}
