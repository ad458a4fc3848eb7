//! A coordinator of atomic commit that no single crash stops: several *members* stand for one, the *group*. What a coordinator
//! would write to its own disk becomes an entry of a Raft log that the members share, and the member that leads them acts.
//! Others go on where it stopped: nobody remains in doubt while a majority of the members is up (TX-2, TX-6).
//!
//! Neither protocol knows of it. A member runs Raft, and while it leads also the commit protocol, under the group's id, whose
//! writes it proposes; the protocol is told that a write is stored when its entry is applied. A participant runs the commit
//! protocol as it is, and what it says to the group goes to the members.
//!
//! | file | holds |
//! |---|---|
//! | `replicable.rs` | what a commit protocol adds: which transaction a message is about, and its writes as bytes |
//! | `bytes.rs` | how those are laid out |
//! | `config.rs`, `message.rs` | what a node is told at birth, says, writes, finds and reports |
//! | `node.rs` | the struct and the way in: a member or a participant |
//! | `member.rs`, `acting.rs` | Raft, the fold of what was applied, snapshots of it; and acting as coordinator while it leads |
//! | `participant.rs` | how what is said to the group finds who acts |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: the *fold* is what all applied writes amount to, the protocol's own `Saved`. A member *acts* while the coordinator
//! runs in it. Its *opening* is the empty entry with which Raft begins its term.
//!
//! # Why two that act at once do no harm
//! A member that is cut off may act for a while beside its successor, and participants may hear both. What it says either
//! rests on a write or does not.
//!
//! - *On a write* (a commit, a Prepare under newly reserved numbers): it leaves once the entry is applied, so it is committed,
//!   and holds whoever leads. Who is cut off has no majority, and says nothing of the kind any more. When its term ends here,
//!   the coordinator is dropped with all that is parked in it: nobody has heard of that.
//! - *On none* (an abort for want of votes, an abort that is presumed, a commit told again). Such things must be true for
//!   ever, not only at present, and they are, by three rules:
//!   1. A coordinator starts from the fold when its member has applied its opening. Every write of an earlier term that will
//!      ever be applied is in it, so that what an older coordinator began and is not there is never committed.
//!   2. It gives numbers to transactions, and presumes anything about them, only where a reservation of its own is applied or
//!      all numbers are in that fold. So no number is another's too, and what it aborts from memory nobody else can commit:
//!      who follows does not collect votes for it.
//!   3. Of numbers that it has not reached it says nothing at all. They are those that its successors give out.
//!
//! So no lease and no round of heartbeats is asked for before an answer: a barrier would only make sure that the member leads,
//! and nothing that is said depends on that. Rules 2 and 3 the protocols keep by themselves. That each is needed is seen by
//! taking it away (`weakness.rs`).
//!
//! # Bounds
//! The log is cut behind a fold that is on disk, so that it holds at most twice [`Config::log_kept`] applied entries and what
//! is proposed; a member that was away longer is sent the fold, in one message. The fold holds what the protocol's does: what
//! is committed and not acknowledged by all. Proposals are bounded by the transactions under way.
//!
//! # Left out
//! A member takes part in nothing, and a participant is no member. Members stay the same. A transaction is begun at the
//! member that acts; who asks another is told where.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod acting;
mod bytes;
mod config;
mod member;
mod message;
mod node;
mod participant;
mod replicable;
mod weakness;

pub use config::Config;
pub use message::{Event, Fold, Message, Saved, Write};
pub use node::Replicated;
pub use replicable::Replicable;
pub use weakness::Weakness;
