//! What is replicated: the trait a state machine implements. Run by the shell and by the simulator, never by the node
//! itself, which only schedules it.

use std::error::Error;

use bytes::Bytes;
use hezong_base::LogId;
use hezong_raft::{Base, Entry};

/// A failure that other replicas may not share: a disk that fails, a state that cannot be read, a command from a newer
/// version. It stops the node, because going on would let this replica drift from the others. A failure that all
/// replicas share, such as a malformed command, is a reply instead.
#[derive(Debug, thiserror::Error)]
#[error("the state machine failed: {0}")]
pub struct StateError(#[source] pub Box<dyn Error + Send + Sync>);

impl StateError {
    /// Wraps what went wrong.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// A state that follows from the entries of a log alone: the same entries in the same order give the same state and
/// the same replies on every replica. It reads no clock (each entry carries the leader's) and draws no chance.
pub trait StateMachine: Send {
    /// What the state covers: the last entry applied, its log time and the members as of it. `None` before the first.
    /// Stored in the same atomic step as the data, or entries would be applied twice, or never, after a crash.
    ///
    /// # Errors
    /// The state cannot be read.
    fn applied(&self) -> Result<Option<Base>, StateError>;

    /// Applies entries, which follow without a gap on the last one applied, and returns one reply for each of them:
    /// for a command whatever the client is to be told, for any other payload `Bytes::new()`. What it changes may be
    /// visible to readers before it returns, but not partly.
    ///
    /// # Errors
    /// Any failure that other replicas may not share; the node stops.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError>;

    /// Makes everything applied so far durable, and returns the last entry that would be found again after a crash:
    /// at most what had been applied before the call. `None` if there is none. A state machine kept in memory returns
    /// `None`: its log is then kept whole and replayed.
    ///
    /// # Errors
    /// The disk failed; the node stops.
    fn persist(&mut self) -> Result<Option<LogId>, StateError>;
}
