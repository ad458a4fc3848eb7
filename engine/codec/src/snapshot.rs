//! How a snapshot travels from the node that holds it to the one that fetches it: chunk by chunk, each asked for, on a
//! connection of its own so that no heartbeat waits behind one.
//!
//! The fetching side asks, because it alone knows what it has: after a restart it goes on behind the last chunk that is
//! on its disk. A cursor is the holder's own mark of a place in its snapshot; nobody else looks into it.

use bytes::Bytes;
use hezong_base::GroupId;
use hezong_raft::SnapshotId;

/// One message about one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMessage {
    /// Whose state.
    pub group: GroupId,
    /// Which snapshot of it.
    pub snapshot: SnapshotId,
    /// What it says.
    pub body: SnapshotBody,
}

/// What a message about a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotBody {
    /// "The next chunk, please."
    Fetch {
        /// Where it begins; `None` at the start.
        cursor: Option<Bytes>,
        /// About how many bytes it may have.
        bytes_max: u64,
    },
    /// The chunk.
    Chunk {
        /// Where it begins, as asked.
        cursor: Option<Bytes>,
        /// What is in it.
        bytes: Bytes,
        /// Where the next one begins; `None` when this was the last.
        next: Option<Bytes>,
    },
    /// "I do not hold that any more": begin anew with another.
    Gone,
    /// "I have it all": it need be held no longer.
    Done,
}
