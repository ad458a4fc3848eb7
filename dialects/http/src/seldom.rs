//! What strangers could repeat for ever is told once a second, or they could fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);

/// Remembers when something was last told.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it may be told now.
    pub(crate) fn now(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = told.is_none_or(|at| at.elapsed() > PAUSE);
        if may {
            *told = Some(Instant::now());
        }
        may
    }
}
