//! The basic protocol, which agrees on one value (Lamport, *Paxos Made Simple*, 2001; its sections are what § means here).
//!
//! It promises that at most one value is ever chosen, that it is one that was proposed, that whoever is told of a value is
//! told of the one that was chosen, and that nothing leaves it that would be a lie if every write not stored yet were lost
//! (see `hezong_base::Writes`). While a majority of the acceptors can be reached for long enough, what is proposed leads to a
//! choice, and whoever has proposed or accepted learns it. One that only listens learns what it is told, and finds out by
//! proposing.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what every step ends with, the invariants |
//! | `proposer.rs`, `acceptor.rs`, `learner.rs` | the roles: their data and what they do with each message |
//! | `message.rs`, `request.rs`, `config.rs` | the public types |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: a *ballot* is the paper's proposal number: a round, and who made it, so that no two nodes ever use the same. To
//! *promise* is to answer a prepare request. A value is *accepted* by one acceptor; it is *chosen* once a majority has
//! accepted it at the same ballot; it is *learned* by whoever finds that out. Every node has all three roles; those that
//! are no acceptors propose and learn.
//!
//! # Where this departs from the paper
//! - Who refuses says so, and which ballot it has promised (§2.2 leaves that to the implementer): the proposer then waits
//!   for a while that it draws, and longer each time, so that two of them do not outbid each other for ever (§2.4).
//! - Acceptors tell every node what they accept (§2.3 offers that, or one distinguished learner). Who knows what was chosen
//!   tells whoever still asks about it.
//! - An acceptor that accepted a value and does not hear for long that one was chosen proposes it itself: the learners'
//!   messages may be lost, and "a learner can have a proposer issue a proposal" (§2.3).
//! - Proposers need no log of their own but for the highest round they used, written before the ballot is: a ballot that a
//!   crash made forgotten and that is used again, with another value, breaks agreement.
//!
//! Left out: many values (an instance is one node object), and changes of who accepts.

mod acceptor;
mod config;
mod learner;
mod message;
mod node;
mod proposer;
mod request;
mod weakness;

pub use config::Config;
pub use message::{Message, Proposal};
pub use node::{Paxos, Saved, Write};
pub use proposer::Phase;
pub use request::{Event, Refusal, Request};
pub use weakness::Weakness;
