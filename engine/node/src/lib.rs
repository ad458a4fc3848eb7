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
//! | `clients.rs` | who waits for what, until when |
//! | `common.rs` | what groups share in a turn: frames, the write batch, timers, counts |
//! | `api.rs` | what goes in and what comes out: inputs, effects, requests, replies, refusals, notices |
//! | `config.rs` | limits and time-outs, and why a group could not be opened |
//! | `machine.rs` | the trait a replicated state machine implements |
//! | `status.rs` | how a group and a node stand |
//!
//! Words: a *turn* is some inputs followed by one `flush`; a *batch* is what one turn writes to the log, of all groups;
//! a *frame* is what one turn sends to one peer, of all groups; a *client* is whoever waits for a reply.

#![forbid(unsafe_code)]

mod api;
mod applying;
mod clients;
mod common;
mod config;
mod group;
mod machine;
mod node;
mod status;

pub use api::{BatchId, ClientRequest, Leader, NodeEffect, NodeInput, Notice, ReadLevel, Refused, Reply};
pub use config::{NodeConfig, StartError};
pub use machine::{StateError, StateMachine};
pub use node::Node;
pub use status::{GroupStatus, NodeStats};
