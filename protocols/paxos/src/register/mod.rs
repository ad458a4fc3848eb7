//! Registers that are changed without a log (Rystsov, *CASPaxos: Replicated State Machines without logs*, 2018; its sections
//! are what § means here).
//!
//! A register holds a value or none. Its proposer learns the state from a majority of the acceptors, makes the change to it,
//! and has a majority accept what comes of that. Each register, named by its key, is agreed on by itself.
//!
//! It promises that all changes and reads of a register appear to happen one after another, each between its request and its
//! answer (linearizable); that a change happens at most once; that *refused* means never and only *unknown* leaves it open;
//! and that nothing leaves it that would be a lie if every write not yet stored were lost (see `hezong_base::Writes`). While a
//! majority of the acceptors can be reached and others do not outbid it for ever, a change is done. There is no leader: any node
//! may fail, and no other waits for it.
//!
//! What is deleted is forgotten by all, or *collected*, if the node that deleted it reaches all nodes in one of the next
//! [`Config::collect_tries_max`] tries, some two minutes. After that, after a crash of that node, and where
//! [`Config::collect_max`] wait already, it takes room until somebody reads it or asks for [`Request::Collect`]. A read of an
//! absent key leaves a register too, and has it collected; a change that is given up may leave a promise, until the key
//! is read or collected. An acceptor that holds [`Config::registers_max`] takes no others: changes of new keys run out
//! of time where too few acceptors have room, those of the registers that it holds go on.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | the struct, the way in, what is on disk, the invariants |
//! | `change.rs` | what a register holds, and the change functions |
//! | `proposer.rs`, `acceptor.rs` | the two roles: their data and what they do with each message |
//! | `collector.rs` | forgetting what was deleted, in three stages |
//! | `membership.rs` | who accepts, and how that changes |
//! | `message.rs`, `request.rs`, `config.rs` | the public types |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Words: a *change* is the paper's change function. A *ballot* is the paper's ballot number: a round, and who made it; rounds are
//! the node's, one count for all registers. The *version* of a state is the ballot at which its last change was proposed. A
//! *tombstone* is a state without a value that acceptors hold; to *collect* it is to have it forgotten. An *age* is the
//! paper's: how often a proposer was told of a collection. An *epoch* numbers memberships.
//!
//! # A change that was outbid
//! A proposer that hears a refusal after its proposal has left does not know whether that will come out on top: one acceptor may
//! have it, and the next proposer find it there. To make the change again could make it twice; to give up leaves the user to
//! find out. The versions tell more. They grow with each change, and if ours is in a state, it is so at a version that is one of
//! our ballots since the first at which we proposed it. Prepared anew, we find a state
//! - of such a version: it is ours, and nothing was changed since. It is proposed again as it is, and the change is done;
//! - of an older version, or made from one of an older version by somebody else: ours is not in there. The change is made anew, and
//!   of the attempts at most one can ever be built upon;
//! - of a newer version, made from a newer one: unknown.
//!
//! A change that took in no proposal of ours, reads above all, is simply tried again. Where a register is collected meanwhile,
//! what versions would have told is forgotten, and the change is unknown.
//!
//! # Where this departs from the paper
//! - Change functions are data, and the few there are: what a user could send is what a peer could be made to run.
//! - Rounds are written down before they are used, many at a time, so that a proposer keeps its id through a crash.
//! - Every register has a version, for the above and for [`Change::CompareAndSet`]; a ballot is never used twice and tombstones are
//!   outbid before they are forgotten, so a version never comes back with another value.
//! - That a state is accepted says by itself that the next ballot is promised: both are one write, and whoever promises more
//!   later refuses that ballot anyway.
//! - An acceptor learns the ages and forgets the tombstone by one message and one write (§3.1 has two, 2c and 2d): until it
//!   forgets, the tombstone itself refuses what is older. It does not forget one above which it has promised.
//! - Collections stop where proposers are of different epochs: whoever collects must know all who may hold the register.
//! - Members change one acceptor at a time, both quorums at once, whether the number is odd or even: see [`Membership`]. §2.3
//!   changes the quorum of the second phase first; majorities of sets that differ by one node meet in either order, and what
//!   remains of its steps is that each ends with all proposers and all registers in it.
//!
//! Left out: quorums other than majorities; a read in one round trip where all promises name the same ballot; changes of who
//! proposes, and with them the replacement of a node that is dead; a driver for changes of who accepts (`tests/register/membership.rs` walks one); collections that outlive the
//! collector; registers that do not fit into memory.

mod acceptor;
mod change;
mod collector;
mod config;
mod membership;
mod message;
mod node;
mod proposer;
mod request;
mod weakness;

pub use acceptor::Register;
pub use change::{Change, State};
pub use config::Config;
pub use membership::{Epoch, Membership};
pub use message::{Age, Body, Message, Proposal};
pub use node::{Registers, Saved, Write};
pub use proposer::Phase;
pub use request::{Event, Refusal, Request};
pub use weakness::Weakness;
