//! Reading log and states again, slowly, so that damage is found while other nodes still have what it took.
//!
//! One after the other and at one rate, so that the disk never has more of it to bear. The next start repairs
//! what is damaged: a log stops the node at once, a state when another node can take over.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hezong_node::{Scrub as StateScrub, StateError};
use hezong_wal::{ReadError, Scrub as LogScrub};

use crate::threads::Shared;

/// Between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// What is read again: the log, or the state of a group.
pub(crate) enum Part {
    Log(LogScrub),
    State(StateScrub),
}

/// Reads all parts, one after the other, again and again.
pub(crate) struct Scrubber {
    /// Those that can be read. None where nothing is to be scrubbed.
    parts: Vec<Part>,
    /// Which of them is being read.
    turn: usize,
    /// When to read on.
    at: Instant,
    bytes_per_second: u64,
}

impl Scrubber {
    /// At a rate of 0 nothing is read.
    pub(crate) fn new(parts: Vec<Part>, bytes_per_second: u64) -> Self {
        let parts = if bytes_per_second > 0 { parts } else { Vec::new() };
        Self { parts, turn: 0, at: Instant::now(), bytes_per_second }
    }

    /// How long until something is to be read; `None` for never.
    pub(crate) fn pause(&self) -> Option<Duration> {
        (!self.parts.is_empty()).then(|| self.at.saturating_duration_since(Instant::now()))
    }

    /// Reads on, if it is time to.
    pub(crate) fn maybe_step(&mut self, shared: &Arc<Shared>) {
        if self.at > Instant::now() || self.turn >= self.parts.len() {
            return;
        }
        let part = &mut self.parts[self.turn];
        match part.step(shared) {
            Ok(0) => {
                self.turn = (self.turn + 1) % self.parts.len();
                self.at = Instant::now() + if self.turn == 0 { ROUND_PAUSE } else { Duration::ZERO };
            }
            Ok(bytes) => {
                self.at = Instant::now() + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64)
            }
            Err(()) => {
                self.parts.remove(self.turn);
                self.turn = 0;
            }
        }
    }
}

impl Part {
    /// Tells how many bytes it has read; an error means that it is to be read no more, and was told.
    fn step(&mut self, shared: &Arc<Shared>) -> Result<u64, ()> {
        // What cannot be read for another reason may still be read when somebody needs it; if not, that is soon enough to
        // stop.
        match self {
            Self::Log(step) => match step.step() {
                Ok(bytes) => {
                    shared.metrics.log_scrubbed_bytes.add(bytes as usize);
                    return Ok(bytes);
                }
                Err(error) if error.is_damage() => shared.log_damaged(&log_damage(&error)),
                Err(error) => tracing::error!("the log is scrubbed no more: {error}"),
            },
            Self::State(step) => match step() {
                Ok(bytes) => {
                    shared.metrics.state_scrubbed_bytes.add(bytes as usize);
                    return Ok(bytes);
                }
                Err(StateError::Damaged(damage)) => shared.state_damaged(&damage),
                Err(error) => tracing::error!("the state is scrubbed no more: {error}"),
            },
        }
        Err(())
    }
}

/// What is said of a log that is not what was written.
pub(crate) fn log_damage(error: &ReadError) -> impl Display {
    format!("the log is damaged: {error}")
}
