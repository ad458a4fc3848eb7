//! Two-phase commit with presumed abort (Mohan, Lindsay and Obermarck, *Transaction Management in the R\* Distributed Database
//! Management System*, 1986; Gray 1978 for the phases).
//!
//! It promises that no participant commits what another aborts, that what is committed all have voted yes to, and that a user
//! who is told of a commit is told of one that no crash undoes. It does not promise an end: who has voted yes and cannot reach
//! anybody who knows the outcome waits, for as long as that lasts. Once all are up and can reach each other, everything comes
//! to its end, and nothing is left in memory but the fence.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what is saved, the invariants |
//! | `coordinator.rs`, `participant.rs` | the roles: their data and what they do with each message |
//! | `message.rs` | what nodes say to each other |
//!
//! Of a transaction a coordinator writes that it is committed, and later that all know; whoever asks about one of which it knows
//! nothing is told abort (*presumed abort*). So an abort is neither written nor acknowledged, and a coordinator that crashes early forgets in peace.
//!
//! # Where this departs from the paper
//! - Numbers are reserved ahead, by the thousand and on disk, rather than taken from a log's positions.
//! - A participant has no record of its own for commit: until the outcome is applied for good it stays prepared on disk, and
//!   asks again after a crash. Its acknowledgement rests on the record that it is finished.
//! - One in doubt asks the coordinator, and from the second time on the other participants too (cooperative termination;
//!   Bernstein, Hadzilacos and Goodman 1987, §7.4). One of them that has not voted yes aborts, for good, before it says so.
//! - What is over stays known, in bounded memory (`fence.rs`): a Prepare that comes late is voted against.
//!
//! Left out: read-only participants that drop out after voting, trees of coordinators, and handing the decision to the last
//! participant (each saves messages, none changes what holds); and changes of who takes part.

mod coordinator;
mod message;
mod node;
mod participant;

pub use message::Message;
pub use node::{Saved, TwoPhase, Write};
