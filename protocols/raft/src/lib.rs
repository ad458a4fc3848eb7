//! Raft as a pure state machine: elections, replication, commitment, reads at three levels, membership by
//! one voter or through a joint one.
//!
//! It promises the five safety properties of the paper's figure 3, linearizable reads while clocks keep their bound, and
//! that nothing leaves it that would be a lie if every write not stored yet were lost (see `hezong_base::Writes`).
//! It performs nothing itself: [`Raft::handle`](hezong_base::Protocol::handle) turns inputs into effects.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what every step ends with, the invariants |
//! | `follower.rs`, `candidate.rs`, `leader.rs` | the roles: their data and what they do with each message |
//! | `change.rs` | taking steps of membership, entering and leaving joint ones |
//! | `quorums.rs` | majorities: of one set of voters, or of two |
//! | `transfer.rs` | handing leadership over, and what becomes of the lease |
//! | `reads.rs` | reads at the leader and forwarded by followers |
//! | `progress.rs` | what a leader knows of one member, and what is on its way to it |
//! | `snapshot.rs` | members that need what is gone from the log |
//! | `log.rs` | base, runs of terms, memberships, the tail of entries |
//! | `entries.rs` | entries that are shared rather than copied, and that tail |
//! | `entry.rs`, `membership.rs`, `message.rs`, `request.rs`, `config.rs` | the public types |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: a *round* is one numbered heartbeat broadcast; *stored* is on this node's disk; *matched* is on a follower's;
//! *announced* is committed and stored here, so that the state machine may pull it; *durable* is what the state machine
//! would find again after a crash; the *base* is what the log stands on once its beginning is gone.
//!
//! # Where this departs from the paper
//! - Appends and heartbeats are two messages: rounds are numbered, entries are not repeated to say "I lead".
//! - Pre-vote (§9.6) and check-quorum (§6.2) are always on. A node that granted a lease drops vote requests, term and
//!   all, until the lease has passed; restarted, it waits out one lease before it votes.
//! - A leader that hands over gives up its lease for the rest of its term before it asks another to campaign; voters then
//!   disregard what they promised (`transfer.rs` has the argument).
//! - A rejection carries the last entry of the follower that may be common to both logs, so that each side skips whole
//!   terms (§5.3, last paragraphs).
//! - A leader's own vote and own entries count once they are on its disk, not when it has issued them.
//! - `InstallSnapshot` names a snapshot instead of carrying it: the chunks travel beside the protocol (§7).
//! - Each entry carries log time, which advances only while somebody leads.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod candidate;
mod change;
mod config;
mod entries;
mod entry;
mod follower;
mod leader;
mod log;
mod membership;
mod message;
mod node;
mod progress;
mod quorums;
mod reads;
mod request;
mod snapshot;
mod transfer;
mod weakness;

pub use config::Config;
pub use entries::Entries;
pub use entry::{Base, Entry, Payload};
pub use log::Log;
pub use membership::{Change, ChangeError, Member, Membership, Version};
pub use message::{Body, Message};
pub use node::Raft;
pub use request::{Answer, Ask, Event, ReadLevel, Refusal, Request, Role, Saved, Status, Write};
pub use snapshot::SnapshotId;
pub use transfer::TransferError;
pub use weakness::Weakness;
