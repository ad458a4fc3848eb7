//! The thin part that touches the world, and the embedding API.
//!
//! Everything below here is pure: protocols and node take time as an argument and return what they want done. This
//! crate reads the clock, writes the log, talks to peers, runs the state machines, and lets a program do all that in a
//! few lines: [`open`] a node with a state machine for each group, [`Handle::bootstrap`] it or have it taken in by
//! [`Handle::add_voter`], then [`Handle::propose`] and [`Handle::read`]. `docs/embedding.md` is the guide,
//! `examples/counter.rs` the shortest whole program.
//!
//! Threads pass messages and share nothing but counters:
//!
//! | thread | owns | waits for |
//! |---|---|---|
//! | `hezong-node` | the turns of the [`Node`](hezong_node::Node), unless it is idle: see `run.rs` | its inbox, the node's deadline |
//! | `hezong-log` | the log's writing end | batches to write; then one fdatasync for all that waited |
//! | `hezong-read` | a reading end of the log | readings of entries that memory no longer holds |
//! | `hezong-apply` | the state machines | committed entries |
//! | `hezong-snapshot` | reading the snapshots that are held for others | chunks that are wanted |
//! | `hezong-accept` | the listener | connections |
//! | `hezong-dial-n` | the search for peer n, and reading from it once found | its connection's loss, its frames |
//! | `hezong-peer`, `hezong-write-n` | a connection's two ends | frames; what the socket did not take at once |
//!
//! What it promises: nothing is answered before it is on a majority's disks; nothing waits without bound, and what is
//! over a bound is refused or dropped and counted; a thread that panics, a log that fails and a state machine that fails
//! end the process; nothing polls.
//!
//! | file | holds |
//! |---|---|
//! | `handle.rs`, `error.rs`, `event.rs`, `metrics.rs` | what an embedder calls, gets, follows and measures |
//! | `options.rs`, `identity.rs`, `open.rs` | what an embedder chooses, whose folder it is, and how a node is opened |
//! | `offline.rs` | data folders while no node runs on them |
//! | `run.rs`, `log.rs`, `apply.rs`, `snapshot.rs` | the threads |
//! | `scrub.rs` | reading log and states again, to find damage early |
//! | `peers.rs`, `connection.rs`, `wire.rs` | who is connected and what waits to be sent; handshakes; sockets, encrypted or not |
//! | `memory.rs` | a network within one process, for tests |
//! | `promise.rs` | the longest lease this node may have granted, kept over restarts |
//! | `room.rs` | the room on the disk, and the reserve |
//! | `slow.rs` | steps that took too long, told with their parts |
//! | `trace.rs`, `follow.rs` | traced requests: which, and where their spans go; their steps on this node |
//! | `inbox.rs`, `threads.rs`, `clock.rs` | what threads talk through, share and end by; the clock |
//!
//! Left out: systems other than Linux, where nothing has been tried.

mod apply;
mod clock;
mod connection;
mod error;
mod event;
mod follow;
mod handle;
mod identity;
mod inbox;
mod log;
mod memory;
mod metrics;
mod offline;
mod open;
mod options;
mod peers;
mod promise;
mod room;
mod run;
mod scrub;
mod slow;
mod snapshot;
mod threads;
pub mod trace;
mod wire;

pub use apply::StateMachines;
pub use error::{BootstrapError, ChangeError, ProposeError, ReadError, StatusError, TransferError};
pub use event::Event;
pub use handle::{Done, Handle, Readable, Stats, block_on};
pub use hezong_codec::ClusterId;
pub use hezong_tls::{Clients, Files, NodeTls, TlsError};
pub use identity::{FolderLock, Identity, IdentityError, Start};
pub use memory::Network;
pub use metrics::{BUCKETS_MICROS, HistogramSnapshot, MetricsSnapshot};
pub use offline::{Founding, Resting};
pub use open::{open, open_with};
pub use options::{OpenError, Options, Storage, Transport};
