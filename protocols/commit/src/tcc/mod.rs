//! Try-Confirm-Cancel (the business-level protocol of Pardon and Pautasso, *Atomic Distributed Transactions: a RESTful Design*,
//! 2014, and of the Chinese payment systems before it).
//!
//! Each branch first *tries*: it reserves what it needs, as a change of its own that others can see. If all can, each
//! *confirms* its reservation, else each *cancels* it. No lock is held between the steps. It promises that no branch confirms
//! what another cancels, that what is confirmed all have reserved, and that a user who is told of a confirmation is told of
//! one that no crash undoes; once all are up and can reach each other, every reservation is confirmed or cancelled. One that was
//! not on disk here when the node crashed its user gives back ([`Event::InDoubt`](crate::Event::InDoubt)).
//!
//! The three anomalies of the field, and what keeps each out (`branch.rs`, by the fence):
//! - *empty rollback*: a Cancel without a Try cancels nothing, is remembered, and is answered as done;
//! - *suspension*: a Try that comes after its Cancel is refused, or nobody would ever cancel it;
//! - *idempotence*: a Try, Confirm or Cancel that comes twice has one effect, crashes between them included.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what is saved, the invariants |
//! | `coordinator.rs`, `branch.rs` | the roles: their data and what they do with each message |
//! | `message.rs` | what nodes say to each other |
//!
//! Words: a *branch* is a node's part of a transaction. The user's [`Event::Prepare`](crate::Event::Prepare) is the Try,
//! [`Outcome::Committed`](crate::Outcome) is to confirm, and `Aborted` to cancel.
//!
//! # Where this departs from what is usual
//! - A node has one branch in a transaction; several are one work. So the fence's key is the transaction.
//! - The coordinator writes that a transaction is begun, and that it is to be confirmed. What is begun and not to be confirmed
//!   is cancelled after a crash, so that a decision to cancel need not be written; unlike an abort of two-phase commit it is
//!   said until all have done it, for branches do not ask.
//! - A branch writes what it is about to apply before the user hears of it: no Cancel undoes a confirmation that a crash made
//!   half forgotten, whoever sends it.
//! - The rows of the fence are not dropped after a time but by numbers, see `fence.rs`.
//!
//! Left out: compensation in place of reservation (sagas), and branches that begin before all are known.

mod branch;
mod coordinator;
mod message;
mod node;

pub use message::Message;
pub use node::{Saved, Tcc, Write};
