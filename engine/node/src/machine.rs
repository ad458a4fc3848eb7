//! What is replicated: the trait a state machine implements. Run by the shell and by the simulator, never by the node
//! itself, which only schedules it.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use hezong_base::LogId;
use hezong_raft::{Base, Entry, SnapshotId};

/// A failure that other replicas may not share: a disk that fails, a state that cannot be read, a command from a newer
/// version. It stops the node, because going on would let this replica drift from the others. A failure that all
/// replicas share, such as a malformed command, is a reply instead.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Whatever it was.
    #[error("the state machine failed: {0}")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// What is stored is not what was written. The next start makes the state anew, from the log or from other nodes.
    #[error("{0}")]
    Damaged(#[source] Box<dyn Error + Send + Sync>),
}

impl StateError {
    /// Wraps what went wrong.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

/// Reads a piece of a state again at each call, about a megabyte, and tells how much that was; 0 once all was read, and it
/// begins anew. [`StateError::Damaged`] where something is not what was written.
pub type Scrub = Box<dyn FnMut() -> Result<u64, StateError> + Send>;

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

    /// Gives the room of what was removed back to the disk, as far as that is worth its while: called now and then while
    /// the disk is below its reserve.
    ///
    /// # Errors
    /// The disk failed; the node stops.
    fn reclaim(&mut self) -> Result<(), StateError> {
        Ok(())
    }

    /// What finds damage in the state while nobody reads what is damaged, for another thread to call as slowly as it likes.
    /// `None` where nothing is stored that a disk could damage.
    fn scrub(&self) -> Option<Scrub> {
        None
    }

    /// Whether the state came whole, by [`StateMachine::finish`], and nothing was applied to it since: then it may be
    /// ahead of a log that a crash cut off before it was made to fit.
    ///
    /// # Errors
    /// The state cannot be read.
    fn is_installed(&self) -> Result<bool, StateError> {
        Ok(false)
    }

    /// The state as of now, for other threads to read while this goes on. `None`: this state machine has no snapshots;
    /// its log is then never to be compacted, see [`StateMachine::persist`].
    ///
    /// # Errors
    /// The state cannot be read; the node stops.
    fn snapshot(&mut self) -> Result<Option<Arc<dyn Snapshot>>, StateError> {
        Ok(None)
    }

    /// Makes ready for the chunks of a snapshot of another replica, beside the state, which goes on being read and
    /// applied to. Tells how much of this very snapshot is there already, from before a restart; what is there of any
    /// other is thrown away.
    ///
    /// # Errors
    /// The disk failed, or there are no snapshots here; the node stops.
    fn begin(&mut self, id: SnapshotId) -> Result<Begun, StateError> {
        Err(StateError::new(format!("snapshot {id} cannot be installed: this state machine has none")))
    }

    /// Takes the next chunk; false if it cannot be understood, and nothing was changed.
    ///
    /// # Errors
    /// The disk failed; the node stops.
    fn install(&mut self, id: SnapshotId, chunk: &Chunk) -> Result<bool, StateError> {
        let Chunk { bytes, next: _ } = chunk;
        Err(StateError::new(format!("{} bytes of snapshot {id} came without a beginning", bytes.len())))
    }

    /// Switches over to the snapshot whose chunks were all taken, in one atomic step, and makes that durable. From then
    /// on the state covers `base`, and [`StateMachine::is_installed`].
    ///
    /// # Errors
    /// The disk failed; the node stops.
    fn finish(&mut self, id: SnapshotId, base: &Base) -> Result<(), StateError> {
        let last = base.last.map(|last| last.index.0);
        Err(StateError::new(format!("snapshot {id} of entry {last:?} is not here")))
    }
}

/// How much of a snapshot is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The chunk at this cursor comes next; `None` is the first.
    At(Option<Bytes>),
    /// All of it.
    Whole,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What is in it, in the words of the state machine.
    pub bytes: Bytes,
    /// Where the next one begins; `None` when this is the last.
    pub next: Option<Bytes>,
}

/// A state that no longer changes, in chunks.
pub trait Snapshot: Send + Sync {
    /// The last entry it covers.
    fn last(&self) -> LogId;

    /// The chunk that begins at `cursor`, of about `bytes_max` bytes. A cursor is only ever one that an earlier chunk
    /// named, or `None` for the first; anything else a peer may send gives an error or nonsense, but no panic.
    ///
    /// # Errors
    /// The state cannot be read, or the cursor is nonsense.
    fn chunk(&self, cursor: Option<&[u8]>, bytes_max: usize) -> Result<Chunk, StateError>;
}
