//! ZAB, the atomic broadcast of ZooKeeper (Junqueira, Reed and Serafini, *Zab: High-performance broadcast for primary-backup
//! systems*, DSN 2011; its steps are what § means here), with ZooKeeper's fast leader election.
//!
//! It promises that all nodes deliver the same transactions in the same order (agreement, total order), that what one leader
//! proposes is delivered in the order in which it was proposed and never with one missing in between, also across leaders
//! (primary order: who sees the child has seen the parent), that what was delivered anywhere outlives every crash of a
//! minority's disks, and that nothing leaves a node that would be a lie if every write not stored yet were lost (see
//! `hezong_base::Writes`). While a majority can be reached for long enough, requests are answered.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what every role shares, the invariants |
//! | `election.rs` | looking for a leader: votes, rounds, ensembles that exist already |
//! | `learner.rs` | followers and observers: discovery, synchronisation, broadcast as they see it |
//! | `leader.rs` | discovery and synchronisation as the leader sees it |
//! | `broadcast.rs` | an established leader: proposals, acknowledgements, commits, `sync`, pings |
//! | `session.rs` | order between a learner and a leader |
//! | `log.rs`, `zxid.rs`, `message.rs`, `request.rs`, `config.rs` | the public types |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: an *epoch* is the reign of one leader. A *zxid* names a transaction: its epoch, and a counter. The *history* is the
//! sequence of transactions a node has; its *accepted* epoch is the highest it follows, its *current* epoch that of the
//! leader whose history it took over. A *voter* leads, follows and acknowledges; an *observer* only listens. *Learner* is
//! either of them at a leader. A leader is *established* once a majority has its history.
//!
//! # Where this departs from paper and ZooKeeper
//! - FIFO channels (§IV) are numbered sessions: the network below may reorder, double and lose. A gap ends the session, what
//!   is old is dropped, packets carry the epoch, so that a session is never taken for one of a later reign, and one that is
//!   opened once more in the same reign goes by other numbers.
//! - Voters and observers look for an ensemble that exists by who follows whom, whatever the round, and join when a majority,
//!   the leader itself among them, says so. Nothing of safety rests on elections: discovery checks again.
//! - A node whose disk is behind says nothing in elections: its vote would name a history that it may lose.
//! - The history, then the epoch, then the acknowledgement go to disk and out in this order (Ouyang and others, EuroSys 2025),
//!   where the paper has the first two happen at once.
//! - Proposals go to every learner that was given the history, and UPTODATE carries what the leader has committed: the paper
//!   leaves both open.
//! - A leader that hears of a voter with a higher accepted epoch gives up: that voter could never join it.
//! - `sync` is confirmed by a majority; in ZooKeeper a deposed leader may answer it.
//!
//! Left out: changes of who votes, weights, and the wire format of ZooKeeper's own servers. Snapshots are named, and travel
//! between the users of two nodes, not in messages of the protocol. Reads are the user's: it has what was delivered.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod broadcast;
mod config;
mod election;
mod leader;
mod learner;
mod log;
mod message;
mod node;
mod request;
mod session;
mod weakness;
mod zxid;

pub use config::Config;
pub use log::Log;
pub use message::{Body, Entry, Message, Packet, SessionId, SnapshotId, Vote};
pub use node::{Role, Zab};
pub use request::{Answer, Ask, Event, Refusal, Request, Saved, Standing, Write};
pub use weakness::Weakness;
pub use zxid::{EPOCH_MAX, Epoch, ROUND_MAX, Round, Zxid};
