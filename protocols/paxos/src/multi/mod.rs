//! Multi-Paxos with a master: a log of values, agreed on slot by slot (Lamport, *Paxos Made Simple*, 2001, §3; Chandra, Griesemer
//! and Redstone, *Paxos Made Live*, 2007, which is Chubby's).
//!
//! It promises that in each slot at most one value is ever chosen, that it is one that was proposed or nothing, and that it is
//! told of in the order of slots; that no two masters hold the lease at once while clocks keep to the drift that is configured,
//! and that what the master reads holds all that was done before. Nothing leaves it that would be a lie if every write not stored
//! yet were lost (see `hezong_base::Writes`). While a majority of the members can be reached for long enough, one of them becomes
//! master, and what it is asked for is chosen in one round trip each.
//!
//! It does *not* promise that what a master proposed is chosen in the order in which it was proposed, once that master fails:
//! slots are independent of each other, and the next master may find the later of two proposals and not the earlier (MPX-ORD).
//! Whoever needs that proposes one after the other, or takes ZAB or Raft.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what every step ends with, the invariants |
//! | `candidate.rs`, `master.rs` | phase 1, once; phase 2, the lease and reads |
//! | `acceptor.rs`, `learner.rs` | what every replica promises, accepts and grants; what it learns and how it catches up |
//! | `log.rs`, `members.rs`, `slot.rs` | what is accepted and chosen; who accepts in which slot |
//! | `message.rs`, `request.rs`, `config.rs` | the public types |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: a *slot* is the papers' instance. Before the *open* slot everything is known to be chosen. To *promise* a ballot is to
//! answer its prepare request, for all slots at once. A slot's *members* accept in it, and a majority of them chooses.
//! A *candidate* asks for promises; a *master* has them. A replica *grants* the *lease* by answering a heartbeat.
//!
//! # Where this departs from the papers
//! - A promise is for the ballot, and counts in every slot whose members include who gave it. New members are asked to promise the
//!   ballot of the master under way before their first slot is proposed; no other phase 1 is needed (`fill`).
//! - Of slots that somebody knows to be chosen, a promise reports no value: who campaigns catches up first.
//! - A candidate promises itself last, once that makes the majority, and replicas under a lease leave it without an answer. So one
//!   that was cut off alone comes back as it went. Where several were, one may have promised another a higher ballot: a master
//!   with a lease that is refused finishes what is under way and prepares a ballot above that, in office. (*Paxos Made Live* §5.2
//!   has the master raise its own from time to time.)
//! - The lease is renewed by messages of its own, not by values in the log (*Paxos Made Live* §5.2), and so costs no disk.
//! - A new master needs no entry of its own to read: phase 1 has told it what may have been chosen, and it reads once all that is.
//! - Once new members are chosen, α slots are filled with nothing, so that they are in force at once (*Paxos Made Simple* §3
//!   leaves it to traffic). One change is under way at a time.
//! - A master that is no member any more stops; its lease has to run out before another leads.
//!
//! Left out: forwarding to the master, handing mastership over, learners that never accept, promises in pieces (one is as long
//! as what its maker holds and does not know to be chosen, which `log_bytes_max` bounds), giving office up while the own disk
//! stalls (the others choose without it meanwhile), and rebuilding a lost disk: such a node comes back under a new name.

mod acceptor;
mod candidate;
mod config;
mod learner;
mod log;
mod master;
mod members;
mod message;
mod node;
mod request;
mod slot;
mod weakness;

pub use config::Config;
pub use members::{Base, Members};
pub use message::{Entry, Message, SnapshotId, Value};
pub use node::{MultiPaxos, Role, Saved, Write};
pub use request::{Answer, Ask, Event, Refusal, Request};
pub use slot::{SLOT_MAX, Slot};
pub use weakness::Weakness;
