//! What a node is told at birth, and why it may decline to open a group.

use std::time::Duration;

use hezong_base::{GroupId, LogId, NodeId};
use hezong_codec::VERSIONS;
use hezong_raft::Version;

/// Limits and time-outs of one node, over all its groups. What concerns one group alone is in `hezong_raft::Config`.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Who we are.
    pub id: NodeId,
    /// The newest version that this program knows. Default [`hezong_codec::VERSIONS`].
    pub newest: Version,
    /// How long a client waits at most. Then a write that was accepted into the log is unknown, and anything else
    /// refused. Default 5 s.
    pub request_timeout: Duration,
    /// The most clients that may wait at once, over all groups. Default 65,536.
    pub waiting_max: usize,
    /// The most bytes of commands taken in one turn, over all groups. What is accepted but not yet committed is
    /// bounded apart, by `hezong_raft::Config::uncommitted_bytes_max`. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// The most bytes of messages in one frame; a larger single message still goes, alone. Below it, one turn sends one
    /// frame to a peer. Default 4 MiB.
    pub frame_bytes_max: usize,
    /// The most payload bytes of entries handed to a state machine at once; a larger single entry still goes, alone.
    /// Default 1 MiB.
    pub apply_bytes_max: usize,
    /// The most batches of entries handed to one state machine and not yet applied. Two keep it busy while the answer
    /// to the first is on its way. Default 2.
    pub apply_batches_max: usize,
    /// The most entries that may be committed and not yet applied before commands are refused: behind more, a client
    /// would wait for nothing but its time-out, and then not know. Also what holds writes off while a node replays a
    /// long log after a restart. Default 100,000.
    pub apply_lag_max: u64,
    /// After how many payload bytes applied the state machine is asked to persist. Default 64 MiB.
    pub persist_bytes: usize,
    /// How long after something was applied the state machine is asked to persist at the latest. It bounds what is
    /// replayed after a crash, and what the log keeps. Default 30 s.
    pub persist_interval: Duration,
    /// At most so many payload bytes of applied entries are kept in the log for members that are behind; who is further
    /// behind gets a snapshot. Default 256 MiB.
    pub log_retain_bytes: usize,
    /// At most so many applied entries are kept. Default 1,000,000.
    pub log_retain_entries: u64,
    /// About how many bytes of a snapshot are asked for at once. At most 8 MiB. Default 1 MiB.
    pub snapshot_chunk_bytes: usize,
    /// The most bytes of snapshots that a group of this node fetches in a second; `None` for no limit, the default.
    pub snapshot_bytes_per_second: Option<u64>,
    /// After how long a chunk is asked for again; after five times its holder counts as gone. Default 3 s.
    pub snapshot_fetch_timeout: Duration,
    /// How long a snapshot is held that nobody fetches. Default 60 s.
    pub snapshot_patience: Duration,
    /// How long one is held at most: what it sees cannot be freed meanwhile. Default 1 h.
    pub snapshot_age_max: Duration,
    /// Whether a leader lets a learner vote by itself once it has caught up. Default true.
    pub auto_promote: bool,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<crate::Weakness>,
}

impl NodeConfig {
    /// The defaults, for node `id`.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            newest: Version(VERSIONS.max),
            request_timeout: Duration::from_secs(5),
            waiting_max: 65_536,
            queue_bytes_max: 64 << 20,
            frame_bytes_max: 4 << 20,
            apply_bytes_max: 1 << 20,
            apply_batches_max: 2,
            apply_lag_max: 100_000,
            persist_bytes: 64 << 20,
            persist_interval: Duration::from_secs(30),
            log_retain_bytes: 256 << 20,
            log_retain_entries: 1_000_000,
            snapshot_chunk_bytes: 1 << 20,
            snapshot_bytes_per_second: None,
            snapshot_fetch_timeout: Duration::from_secs(3),
            snapshot_patience: Duration::from_secs(60),
            snapshot_age_max: Duration::from_secs(3_600),
            auto_promote: true,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }
}

/// What of a [`NodeConfig`] may change while the node runs; each as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// What is over it goes with the next entries that are applied.
    pub log_retain_bytes: usize,
    /// What is over it goes with the next entries that are applied.
    pub log_retain_entries: u64,
    /// Holds from the next chunk on.
    pub snapshot_bytes_per_second: Option<u64>,
}

impl NodeConfig {
    /// Takes over what may change.
    pub fn tune(&mut self, tuning: Tuning) {
        let Tuning { log_retain_bytes, log_retain_entries, snapshot_bytes_per_second } = tuning;
        self.log_retain_bytes = log_retain_bytes;
        self.log_retain_entries = log_retain_entries;
        self.snapshot_bytes_per_second = snapshot_bytes_per_second;
    }
}

/// Why a group cannot be opened on what its disk holds. Nothing was changed; the node must not take part in the group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The group is open already.
    #[error("group {} is open already", group.0)]
    Open {
        /// Which.
        group: GroupId,
    },
    /// The state machine has applied more than the log holds: the log, or the end of it, was lost. What this node
    /// acknowledged may be gone, so it must come back as a new member.
    #[error(
        "group {}: the state has applied entry {applied}, but the log ends at {}: the log was lost; \
         empty the data folder and join the cluster as a new node",
        group.0, last.map_or("nothing".to_owned(), |last| last.to_string())
    )]
    LogLost {
        /// Which.
        group: GroupId,
        /// The last entry applied.
        applied: LogId,
        /// The last entry of the log.
        last: Option<LogId>,
    },
    /// The state machine has applied an entry other than the one in the log: state and log are of different histories.
    #[error(
        "group {}: the state has applied entry {applied}, but the log holds {logged} in its place: \
         log and state do not belong together; empty the data folder and join the cluster as a new node",
        group.0
    )]
    LogDiffers {
        /// Which.
        group: GroupId,
        /// The last entry applied.
        applied: LogId,
        /// The entry of the log at that index.
        logged: LogId,
    },
    /// The log begins after what the state machine has applied: the state was lost, and the entries that would rebuild
    /// it are gone.
    #[error(
        "group {}: the log begins after entry {base}, but the state has applied {}: the state was lost; \
         restore a backup, or empty the data folder and join the cluster as a new node; if there is a state.damaged in it, keep \
         that copy elsewhere first: it holds what is left of the state",
        group.0, applied.map_or("nothing".to_owned(), |applied| applied.to_string())
    )]
    StateLost {
        /// Which.
        group: GroupId,
        /// The last entry applied.
        applied: Option<LogId>,
        /// The last entry that is gone from the log.
        base: LogId,
    },
}
