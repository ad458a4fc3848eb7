//! What an embedder chooses, and why a node cannot be opened.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hezong_base::{GroupId, NodeId};
use hezong_node::{NodeConfig, StartError, StateError};
use hezong_tls::{NodeTls, TlsError};
use hezong_wal::model::ModelFolder;

use crate::identity::{Identity, IdentityError, Start};
use crate::memory::Network;
use crate::trace::Tracer;

/// What an embedder chooses. Start from [`Options::new`] or [`Options::in_memory`] and change what matters.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the node comes to its identity.
    pub start: Start,
    /// Where it keeps identity and log.
    pub storage: Storage,
    /// How it reaches its peers.
    pub transport: Transport,
    /// What it shows to its peers over TCP, and whom it believes. Without it connections are in the clear, and whoever
    /// reaches the port and knows the cluster's id can take part. All nodes of a cluster have it, or none. Default none.
    pub tls: Option<NodeTls>,
    /// Limits and time-outs over all groups; its `id` is taken from the identity.
    pub node: NodeConfig,
    /// Time-outs and limits of each group; its `id` is taken from the identity. The same on all nodes.
    pub raft: hezong_raft::Config,
    /// The size of the files the log is kept in, set aside one ahead. Default 64 MiB.
    pub segment_bytes: u64,
    /// For proofs on real processes: a file that says how the log's disk behaves (`hezong_wal::TrialFolder`). Default none.
    pub trial_disk: Option<PathBuf>,
    /// For the same: a file that says by how many millionths the node's clock runs faster, or below zero slower, than it
    /// should. What it says is read again and again; beside it a file named `.told` says what came of it. Default none.
    pub trial_clock: Option<PathBuf>,
    /// Below this many free bytes on the log's disk, commands that free no space are refused. All disks of a cluster
    /// fill at the same pace, so what is kept back is what people need for deleting and repairing. Default 1 GiB.
    pub disk_reserve_bytes: u64,
    /// How often free space is looked at, at least: also whenever a sixteenth of the reserve was written. Default 5 s.
    pub disk_reserve_interval: Duration,
    /// How many bytes of log and states are read again in a second to find damage early; 0 turns that off. Default 1 MiB.
    pub scrub_bytes_per_second: u64,
    /// The most bytes waiting for the node's thread. Above it clients are refused and peers wait. Default 64 MiB.
    pub inbox_bytes_max: usize,
    /// The most bytes waiting for one peer. Above it the oldest frames are dropped; Raft sends them again. Default
    /// 32 MiB.
    pub peer_queue_bytes_max: usize,
    /// The longest pause before dialling a peer again; the first is a tenth of it, each next one twice the last, all
    /// with jitter. Default 1 s.
    pub reconnect_pause_max: Duration,
    /// How long a peer may leave what we sent unacknowledged, or an idle connection's probes unanswered, before the
    /// connection counts as dead. Default 5 s.
    pub peer_timeout: Duration,
    /// How long a graceful shutdown waits for clients. Default 5 s.
    pub shutdown_timeout: Duration,
    /// A step (the node's turn, a batch of the log, applying, what waits for a peer) that takes longer is logged with
    /// its parts; zero turns that off. Default 200 ms.
    pub slow_step: Duration,
    /// Where spans of traced requests go. Default none: no request is traced.
    pub tracer: Option<Arc<Tracer>>,
}

/// Where a node keeps what must survive.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In this folder, which is locked while the node lives: `identity`, `lock`, `lease` and the log in
    /// `log/`. State machines may keep theirs beside them.
    Folder(PathBuf),
    /// In memory, as long as somebody holds a clone of it: for tests. The identity is kept by nobody.
    Memory(ModelFolder),
}

/// How a node reaches its peers.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Over TCP, listening at this address, as `0.0.0.0:8089`. Peers dial what the membership says, which may differ.
    Tcp(String),
    /// Within this process: for tests.
    Memory(Network),
}

impl Options {
    /// A node on disk and TCP, with the defaults.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, listen: impl Into<String>, start: Start) -> Self {
        Self::with(Storage::Folder(folder.into()), Transport::Tcp(listen.into()), start)
    }

    /// A node that touches neither disk nor sockets, for an embedder's tests: its peers are those opened on the same
    /// `network`, its log lives as long as the test holds a clone of `folder`.
    #[must_use]
    pub fn in_memory(network: &Network, folder: &ModelFolder, identity: Identity) -> Self {
        Self::with(Storage::Memory(folder.clone()), Transport::Memory(network.clone()), Start::Join(identity))
    }

    fn with(storage: Storage, transport: Transport, start: Start) -> Self {
        // Both ids are set from the identity by `open`; until then they are the first node's.
        let id = NodeId(1);
        Self {
            start,
            storage,
            transport,
            tls: None,
            node: NodeConfig::new(id),
            raft: hezong_raft::Config::new(id),
            segment_bytes: 64 << 20,
            trial_disk: None,
            trial_clock: None,
            disk_reserve_bytes: 1 << 30,
            disk_reserve_interval: Duration::from_secs(5),
            scrub_bytes_per_second: 1 << 20,
            inbox_bytes_max: 64 << 20,
            peer_queue_bytes_max: 32 << 20,
            reconnect_pause_max: Duration::from_secs(1),
            peer_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(5),
            slow_step: Duration::from_millis(200),
            tracer: None,
        }
    }
}

/// Why a node was not opened. No thread was left behind, and no message sent.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not this node's to open.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A node in memory has no folder that could tell who it is.
    #[error("a node in memory has no folder to reopen; give it an identity")]
    NoIdentity,
    /// The log's folder cannot be made.
    #[error("cannot open {}: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody may listen at this address, or somebody does.
    #[error("cannot listen at {address} for peers: {source}; free the address or choose another")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate is not this node's.
    #[error(transparent)]
    Tls(TlsError),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] hezong_wal::OpenError),
    /// The log is damaged, and too much of it is lost to be repaired. Nothing was changed.
    #[error(
        "the log is damaged and cannot be repaired: {0}; take this node's place with an empty folder, by --join and --replace, \
         or restore the file"
    )]
    Damaged(hezong_wal::OpenError),
    /// The log of a new cluster cannot be written.
    #[error("the log cannot be written: {0}")]
    LogWrite(hezong_wal::WriteError),
    /// The log holds what this version cannot read.
    #[error("the log of group {} holds what this version cannot read: {source}; was it written by a newer one?", group.0)]
    Record {
        /// Whose log.
        group: GroupId,
        /// What is wrong.
        source: hezong_codec::DecodeError,
    },
    /// The log holds a group for which no state machine was given.
    #[error("the log holds group {}, for which no state machine was given; give it one", .0.0)]
    NoMachine(GroupId),
    /// The state machines cannot be made.
    #[error("{0}")]
    Machines(StateError),
    /// A state machine cannot tell what it has applied.
    #[error("group {}: {source}", group.0)]
    State {
        /// Whose.
        group: GroupId,
        /// What it said.
        source: StateError,
    },
    /// Log and state do not fit together.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system gives us no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}
