//! What the local user asks for and is told, what goes to disk, and what the user must do for the protocol.

use bytes::Bytes;
use hezong_base::{NodeId, RequestId};

use crate::{Entry, Epoch, Log, SnapshotId, Zxid};

/// What the local user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Broadcasts this, from any node. One outcome at most: [`Event::Delivered`] with its id, [`Event::Refused`], or
    /// [`Event::Unknown`].
    Propose(Bytes),
    /// Answered by [`Event::Synced`] when everything has been delivered here that was committed anywhere before this was
    /// asked, and what this node's user had asked to broadcast by then. A majority confirms that the leader still leads,
    /// which ZooKeeper's `sync` does without.
    Sync,
    /// The state machine would find everything up to and including this again after a crash: that much of the history may be
    /// forgotten. Answered by nothing.
    Applied(Zxid),
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The next transaction, in the order that all nodes share, on disk here and committed. What the state machine has
    /// already may come again: after a restart what was not reported as [`Request::Applied`], and behind a snapshot that was
    /// installed for a session which ended meanwhile. It tells such by their zxids.
    Delivered {
        /// Its place.
        zxid: Zxid,
        /// What it says.
        data: Bytes,
        /// Which request of ours it carries out.
        request: Option<RequestId>,
    },
    /// Certainly not done.
    Refused {
        /// Which request.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Perhaps done, and nobody here will ever know.
    Unknown {
        /// Which request.
        id: RequestId,
    },
    /// What is delivered by now is not older than that [`Request::Sync`].
    Synced {
        /// Which request.
        id: RequestId,
    },
    /// What this node does has changed. `Following` and `Leading` come when it serves, with all that was delivered before.
    Standing(Standing),
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It takes no requests.
    Looking,
    /// It serves, and forwards requests. An observer too.
    Following {
        /// To whom.
        leader: NodeId,
        /// In which epoch.
        epoch: Epoch,
    },
    /// It serves, and takes requests itself.
    Leading {
        /// In which epoch.
        epoch: Epoch,
    },
}

/// Why a request was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its data is longer than [`Config::data_bytes_max`](crate::Config::data_bytes_max).
    TooLong,
    /// As much waits as a limit of [`Config`](crate::Config) allows: for an answer, for the disk, or for
    /// [`Request::Applied`].
    Overloaded,
    /// Nobody leads, as far as this node knows, or the leader has just given up.
    NoLeader,
}

/// A change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// No leader of an earlier epoch is followed any more.
    Accepted(Epoch),
    /// The history of this epoch's leader is taken over.
    Current(Epoch),
    /// The history grows.
    Append(Entry),
    /// The history ends with this; with `None`, it is empty.
    Truncate(Option<Zxid>),
    /// The history up to and including this is forgotten: the state machine has it.
    Cut(Zxid),
    /// The history begins behind this, with nothing: the state machine was given a snapshot.
    Reset(Zxid),
}

/// What a node finds when it starts. As large as the history that is kept, which
/// [`Config::history_bytes_max`](crate::Config::history_bytes_max) bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// The highest epoch accepted.
    pub accepted: Epoch,
    /// The epoch whose history was taken over last.
    pub current: Epoch,
    /// The history.
    pub history: Log,
}

/// Work for the local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Hold a snapshot of the state machine ready, for a learner to fetch. Answered by [`Answer::Taken`].
    TakeSnapshot(SnapshotId),
    /// Fetch the snapshot that this node holds ready, and replace the state machine's state by it, durably; unless that is
    /// ahead of it already. Answered by [`Answer::Installed`].
    InstallSnapshot {
        /// Who holds it.
        from: NodeId,
        /// Its name.
        id: SnapshotId,
        /// The last transaction in it.
        last: Zxid,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The last transaction in the snapshot; `None` if there can be none.
    Taken(Option<Zxid>),
    /// Whether the state machine stands on the snapshot, or ahead of it.
    Installed(bool),
}
