//! Steps that took too long: told once each, with their parts, so that whoever asks why a write was slow finds the disk,
//! the network, the state machine or the machine itself named in the log.
//!
//! One slow disk makes every step slow, so each kind is told at most once a second; the next line says how many were
//! not. All are counted. Waiting is part of a step: a step that was quick once its turn came is as late as a slow one.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hezong_base::{GroupId, NodeId};

/// At most one line of a kind in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The node's turn: what waited is handed in, and what follows is carried out.
    Turn,
    /// A batch of the log, written and synced.
    Log,
    /// Entries, applied to a state machine.
    Apply,
    /// A state machine, made durable.
    Persist,
    /// What the socket of a peer did not take at once.
    Send,
}

const NAMES: [&str; 5] = ["turn", "log", "apply", "persist", "send"];

/// Looks out for slow steps, on every thread.
#[derive(Debug)]
pub(crate) struct Slow {
    /// What takes longer is told, in microseconds; zero tells nothing.
    limit: AtomicU64,
    counts: [AtomicU64; NAMES.len()],
    gates: [Mutex<Gate>; NAMES.len()],
}

/// Lets a line through now and then.
#[derive(Debug, Default)]
struct Gate {
    told: Option<Instant>,
    /// How many were not told since.
    untold: u64,
}

impl Gate {
    /// How many were not told before this one, if this one is.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Logs a step if it is slow and may be told.
macro_rules! tell {
    ($slow:expr, $step:ident, $took:expr, $($field:tt)*) => {
        let took = $took;
        if let Some(untold) = $slow.notice(Step::$step, took) {
            tracing::warn!(step = NAMES[Step::$step as usize], took_ms = millis(took), $($field)*, untold, "a slow step");
        }
    };
}

impl Slow {
    pub(crate) fn new(limit: Duration) -> Self {
        let slow = Self {
            limit: AtomicU64::new(0),
            counts: array::from_fn(|_| AtomicU64::new(0)),
            gates: array::from_fn(|_| Mutex::default()),
        };
        slow.set(limit);
        slow
    }

    /// From now on tells what takes longer than this; zero tells nothing.
    pub(crate) fn set(&self, limit: Duration) {
        self.limit.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many steps of each kind were slow.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        NAMES.into_iter().zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// The node's turn: how long the oldest of its inputs had waited, how long handing in and carrying out took.
    pub(crate) fn turn(&self, waited: Duration, handled: Duration, carried_out: Duration, inputs: usize) {
        tell!(
            self,
            Turn,
            waited + handled + carried_out,
            waited_ms = millis(waited),
            handled_ms = millis(handled),
            carried_out_ms = millis(carried_out),
            inputs
        );
    }

    /// A batch of the log: how long the oldest write had waited, how long writing and syncing took.
    pub(crate) fn log(&self, waited: Duration, wrote: Duration, synced: Duration, writes: usize) {
        tell!(
            self,
            Log,
            waited + wrote + synced,
            waited_ms = millis(waited),
            wrote_ms = millis(wrote),
            synced_ms = millis(synced),
            writes
        );
    }

    /// A job of the state machines' thread; `entries` is `None` where one made itself durable.
    pub(crate) fn apply(&self, group: GroupId, entries: Option<usize>, waited: Duration, worked: Duration) {
        let (group, took) = (group.0, waited + worked);
        if let Some(entries) = entries {
            tell!(self, Apply, took, waited_ms = millis(waited), applied_ms = millis(worked), group, entries);
        } else {
            tell!(self, Persist, took, waited_ms = millis(waited), persisted_ms = millis(worked), group);
        }
    }

    /// What a peer's socket did not take at once: how long the oldest frame had waited, how long writing took.
    pub(crate) fn send(&self, peer: NodeId, waited: Duration, wrote: Duration, bytes: usize) {
        let peer = peer.0;
        tell!(self, Send, waited + wrote, waited_ms = millis(waited), wrote_ms = millis(wrote), peer, bytes);
    }

    /// Counts a step if it is slow; how many were not told before it, if it is to be told.
    fn notice(&self, step: Step, took: Duration) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == 0 || took.as_micros() <= u128::from(limit) {
            return None;
        }
        self.counts[step as usize].fetch_add(1, Ordering::Relaxed);
        self.gates[step as usize].lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now())
    }
}

fn millis(span: Duration) -> f64 {
    // To the microsecond; the rest is noise.
    (span.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_one_a_second_and_the_next_says_how_many_were_not_told() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        assert_eq!(gate.pass(now), Some(0));
        assert_eq!(gate.pass(now + PAUSE / 2), None);
        assert_eq!(gate.pass(now + PAUSE * 9 / 10), None);
        assert_eq!(gate.pass(now + PAUSE), Some(2));
        assert_eq!(gate.pass(now + PAUSE * 3), Some(0));
    }

    #[test]
    fn notice_counts_what_is_over_the_limit_alone() {
        let slow = Slow::new(Duration::from_millis(200));
        assert_eq!(slow.notice(Step::Log, Duration::from_millis(200)), None);
        assert_eq!(slow.notice(Step::Log, Duration::from_millis(201)), Some(0));
        assert_eq!(slow.notice(Step::Log, Duration::from_millis(900)), None, "told a moment ago");
        assert_eq!(slow.notice(Step::Turn, Duration::from_millis(900)), Some(0), "another kind is told by itself");
        slow.set(Duration::ZERO);
        assert_eq!(slow.notice(Step::Apply, Duration::from_secs(9)), None);
        assert_eq!(slow.counts(), [("turn", 1), ("log", 2), ("apply", 0), ("persist", 0), ("send", 0)]);
    }

    #[test]
    fn steps_are_told_by_the_sum_of_their_parts() {
        let (slow, part) = (Slow::new(Duration::from_millis(250)), Duration::from_millis(100));
        slow.turn(part, part, part, 1);
        slow.log(part, part, part, 1);
        slow.apply(GroupId(1), Some(1), part, part * 2);
        slow.apply(GroupId(1), None, part, part * 2);
        slow.send(NodeId(2), part, part * 2, 1);
        assert!(slow.counts().iter().all(|(_, count)| *count == 1), "{:?}", slow.counts());
        slow.turn(part, part, Duration::ZERO, 1);
        assert_eq!(slow.counts()[0], ("turn", 1), "below the limit in all");
    }
}
