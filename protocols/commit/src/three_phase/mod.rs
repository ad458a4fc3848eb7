//! Three-phase commit (Skeen, *Nonblocking Commit Protocols*, 1981), with the termination protocol of Bernstein, Hadzilacos and
//! Goodman, *Concurrency Control and Recovery in Database Systems*, 1987, §7.5, whose rules TR1 to TR4 are meant below.
//!
//! Between the votes and the commit there is a phase in which everybody learns that all have voted yes. So when the coordinator
//! is gone the others can finish without it, provided that
//! - whoever does not answer within [`Config::round_trip_max`](crate::Config::round_trip_max) has crashed,
//! - no message between nodes that are up is lost, and
//! - clocks run equally fast.
//!
//! While that holds, it promises that no node commits what another aborts, and that nodes that stay up come to an end whoever
//! else crashes. **It does not promise agreement when it does not hold**: a partition, or a node that is slow, can make one side
//! commit and the other abort (script `tx_3_partition_diverges`). Where that can happen, two-phase commit with a replicated
//! coordinator is the better choice.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what is saved, the invariants |
//! | `coordinator.rs`, `participant.rs` | the roles: their data and what they do with each message |
//! | `termination.rs` | a participant that misses the coordinator, or was gone itself |
//! | `message.rs` | what nodes say to each other |
//!
//! Words: a *backup* is a participant that finishes in the coordinator's place. *Recovering* is who was gone while a transaction
//! was under way: it only asks, decides nothing, and what it knows does not count. It has missed what others decided meanwhile,
//! who may be gone themselves.
//!
//! # Why it holds
//! Nobody commits before everybody who is up knows that all have voted yes, and nobody aborts who knows it, or who hears of one who
//! does. Whoever finishes in another's place has been up all the time and asks all who are, so that it finds out which of both it
//! is. A crash takes a node out for good, until it is told; so what it knew need not be on its disk, but for its yes.
//!
//! # Where this departs from the papers
//! - Nobody votes for a backup. Whoever runs out of patience first is it, those with higher names wait a little longer, and of two
//!   the one with the higher name gives way: round trips being bounded, it has not decided by then.
//! - A coordinator that misses a Ready takes that participant for crashed and commits (§7.5). Skeen's, and that of many textbooks,
//!   aborts there. If it dies after telling one of that, those who are ready commit: a known bug, and TX-3 (`tests/three_phase/paper.rs`).
//! - After a failure of all, the coordinator aborts once every participant has said that it was gone too: whatever had been
//!   decided would be on the disk of who decided it.
//!
//! Left out: total failure without the coordinator (they wait for it); asking again within a phase (a lost message is beyond the
//! assumption); changes of who takes part; and a participant that has finished, or lost in a crash that it had not voted, and
//! finishes a thousand newer ones of that coordinator before it is asked: it has forgotten (`fence.rs`), and where nobody else
//! knows they wait.

mod coordinator;
mod message;
mod node;
mod participant;
mod termination;

pub use message::Message;
pub use node::{Promise, Saved, ThreePhase, Write};
