//! Atomic commit as pure state machines: a transaction over several nodes is committed by all of them or by none.
//!
//! | module | how | when a coordinator is gone |
//! |---|---|---|
//! | [`two_phase`] | two-phase commit with presumed abort (Mohan, Lindsay and Obermarck 1986) | those who voted yes wait for it |
//! | [`three_phase`] | three-phase commit (Skeen 1981) | the others finish, but a partition may split them |
//! | [`tcc`] | Try-Confirm-Cancel: reserve, then confirm or cancel, each a step of its own | reservations wait for it |
//!
//! A node may coordinate its own transactions and take part in those of others, many at once. What the local user asks for and
//! is told is the same in all (`request.rs`), so that one can be exchanged for another.
//!
//! | file | holds |
//! |---|---|
//! | `transaction.rs` | what a transaction is called, and how it ends |
//! | `request.rs`, `config.rs` | what the user says and is told; time-outs and limits |
//! | `fence.rs` | which transactions are over, in bounded memory: no message that comes late opens them again |
//! | `outbox.rs` | writes, what rests on them, and what a node says to itself |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: a *participant* is a node that has work in a transaction, its *branch* in TCC. It is *in doubt* once it has voted yes
//! and does not know the outcome. To *finish* a transaction at a participant is to have applied its outcome for good.
//!
//! A coordinator's durable decisions are few `Store` effects, each complete in itself, which may be carried out again at any later
//! time: composed with a replicated log they become proposals to it, and whoever leads next starts from what they fold to. It must start only
//! when every decision of its predecessor that may still be chosen is in that fold: it presumes that there are no others
//! (`engine/replicated` does so, and has the argument).

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod config;
mod fence;
mod outbox;
mod request;
pub mod tcc;
pub mod three_phase;
mod transaction;
pub mod two_phase;
mod weakness;

pub use config::Config;
pub use fence::{FINISHED_MAX, Fenced, Fences};
pub use request::{Event, Refusal, Request};
pub use transaction::{NUMBER_MAX, Outcome, TransactionId, Work};
pub use weakness::Weakness;
