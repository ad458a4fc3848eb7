//! Many groups behind one inbox: routing, batching, applying, waiting clients, limits. Sans-IO.
//!
//! A node is one struct, [`Node`], that takes [`NodeInput`]s and answers with [`NodeEffect`]s. Like a
//! protocol it has no clock, no disk, no socket and no thread, so that the simulator runs it bit for bit as production
//! does. It is what stands between the protocol of each group and the world that all groups share.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct: every input's way to its group, and the turn |
//! | `group.rs` | one group: its protocol, and the way of inputs and effects |
//! | `group/inbox.rs` | from clients to the protocol |
//! | `group/outcome.rs` | from the protocol and the state machine to clients |
//! | `applying.rs` | the way of committed entries to the state machine |
//! | `snapshots.rs` | snapshots held for others, and the one being fetched |
//! | `clients.rs` | who waits for what, until when |
//! | `common.rs` | what groups share in a turn: frames, the write batch, timers, counts |
//! | `api.rs` | what goes in and what comes out: inputs, effects, requests, replies, refusals, notices |
//! | `config.rs` | limits and time-outs, and why a group could not be opened |
//! | `machine.rs` | the trait a replicated state machine implements |
//! | `status.rs` | how a group and a node stand |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: a *turn* is some inputs followed by one `flush`; a *batch* is what one turn writes to the log, of all groups;
//! a *frame* is what one turn sends to one peer, of all groups; a *client* is whoever waits for a reply.
//!
//! What holds:
//! - A client gets exactly one reply, at the latest when its patience ends, unless it was cancelled. *Refused* means never
//!   done; *unknown* is said only of what may be in the log.
//! - Whatever a client proposed is settled by the entry that is applied at its index, whoever leads by then.
//! - Entries reach a state machine in order, once, without gaps, and at most so many batches ahead of its answers. How
//!   slow it is shows in nothing else, except that commands are refused once it lags too far.
//! - A read is answered when what it must see has been applied here. Reads of one turn share one round.
//! - Between two nodes a turn costs one frame, and on disk one batch, however many groups took part in it.
//! - The same inputs at the same times give the same effects.
//!
//! Left out so far: closing a group.
//!
//! One node that is all of its group, run by hand:
//!
//! ```
//! use hezong_base::{GroupId, NodeId, RequestId, Rng, Time};
//! use hezong_node::{ClientRequest, Node, NodeConfig, NodeEffect, NodeInput, Reply, StateFound};
//! use hezong_raft::{Config, Member, Membership, Saved, Version};
//!
//! let (me, group, now) = (NodeId(1), GroupId(1), Time::from_millis(1));
//! let mut node = Node::new(NodeConfig::new(me));
//! let mut effects = Vec::new();
//! node.open_group(now, group, Config::new(me), Saved::default(), StateFound::default(), Rng::new(1), &mut effects)?;
//! let first = Membership::of_voters([(me, Member::default())]);
//! let propose = ClientRequest::Propose { command: "hello".into(), frees_space: false, version: Version::default() };
//! let mut inputs = vec![NodeInput::Request { id: RequestId(1), group, request: ClientRequest::Bootstrap(first) }];
//! let mut replies = Vec::new();
//! for _ in 0..10 {
//!     for input in inputs.drain(..) {
//!         node.handle(now, input, &mut effects);
//!     }
//!     node.flush(now, &mut effects);
//!     for effect in effects.drain(..) {
//!         match effect {
//!             NodeEffect::Store { batch, .. } => inputs.push(NodeInput::Stored(batch)),
//!             NodeEffect::Apply { group, entries } => {
//!                 let through = entries.last().expect("never empty").id;
//!                 let replies = entries.iter().map(|_| "world".into()).collect();
//!                 inputs.push(NodeInput::Applied { group, through, replies });
//!                 // The entry that opens the leader's term has been committed: it takes commands.
//!                 if through.index.0 == 1 {
//!                     inputs.push(NodeInput::Request { id: RequestId(2), group, request: propose.clone() });
//!                 }
//!             }
//!             NodeEffect::Reply { reply, .. } => replies.push(reply),
//!             other => assert!(!matches!(other, NodeEffect::Send { .. }), "there is nobody to talk to"),
//!         }
//!     }
//! }
//! assert_eq!(replies[0], Reply::Bootstrapped);
//! assert!(matches!(&replies[1], Reply::Done { reply, .. } if reply == "world"));
//! # Ok::<(), hezong_node::StartError>(())
//! ```

#![forbid(unsafe_code)]

mod api;
mod applying;
mod clients;
mod common;
mod config;
mod group;
mod machine;
mod node;
mod snapshots;
mod status;
mod weakness;

pub use api::{
    BatchId, ClientRequest, Leader, NodeEffect, NodeInput, Notice, ReadLevel, Refused, Reply, SnapshotDone,
    SnapshotWork,
};
pub use config::{NodeConfig, StartError, Tuning};
pub use machine::{Begun, Chunk, Scrub, Snapshot, StateError, StateMachine};
pub use node::{Node, StateFound};
pub use status::{GroupStatus, NodeStats};
pub use weakness::Weakness;
