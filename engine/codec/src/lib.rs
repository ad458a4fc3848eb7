//! Bytes to messages, writes and records, and back.
//!
//! Protocol types know no encoding; this crate gives them one, twice over: [`frame`] is what peers say to each other
//! over a connection, [`log`] is what stands in the log on disk. Both are protobuf inside (so that fields can be added and
//! others can read them) and both are described byte by byte in `docs/wire.md`.
//!
//! What it promises:
//! - Whatever is encoded decodes to the same value.
//! - Bytes from a peer or a disk never panic and never make it reserve memory for a length that is merely *claimed*.
//! - Absence is a missing field, never zero. A missing field that must be there, an unknown kind, a place zero in a log
//!   are errors that name the field; unknown *extra* fields are skipped, for a newer peer may know more.
//! - A payload of at least [`SLICE_BYTES_MIN`] bytes stays a slice of the buffer it came in; a smaller one is copied,
//!   because a slice keeps its whole buffer alive.
//!
//! | file | holds |
//! |---|---|
//! | `frame.rs` | [`Frame`]: header, checksum, limit; splitting what is too long for one frame |
//! | `handshake.rs` | [`Hello`], its answers, [`Versions`], [`ClusterId`] |
//! | `snapshot.rs` | [`SnapshotMessage`]: how snapshots travel |
//! | `trace.rs` | [`TraceContext`], [`TracedEntry`]: which entries are followed on their way |
//! | `log.rs` | [`log::Record`] and [`log::Change`], to and from `raft::Write` |
//! | `wire.rs` | the protobuf messages, private |
//! | `convert.rs` | between those and the protocol's types |
//! | `error.rs` | what can be wrong with bytes |
//!
//! Left out: client commands (each state machine encodes its own) and the log's file layout (`hezong-wal`).

#![forbid(unsafe_code)]

mod convert;
mod error;
pub mod frame;
mod handshake;
pub mod log;
mod snapshot;
mod trace;
mod wire;

pub use convert::SLICE_BYTES_MIN;
pub use error::{DecodeError, EncodeError, FrameError};
pub use frame::{FRAME_BYTES_MAX, Frame};
pub use handshake::{ClusterId, ClusterIdError, Hello, Lane, Refusal, VERSIONS, Versions, Welcome};
pub use snapshot::{SnapshotBody, SnapshotMessage};
pub use trace::{TraceContext, TracedEntry};
