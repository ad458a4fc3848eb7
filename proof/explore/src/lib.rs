//! Every run of a protocol there is, within bounds: states are visited breadth first, each once, and checked.
//!
//! What runs is what ships: the states are those of `hezong-raft`, and every step between them is one call of its
//! [`handle`](hezong_base::Protocol::handle). The simulator tries long runs by chance; this tries all short ones. What it
//! finds wrong it tells as a story, and there is no shorter one.
//!
//! | file | holds |
//! |---|---|
//! | `explore.rs` | the explorer: any [`Model`], its states, the way to a violation |
//! | `two_phase.rs` | two-phase commit, whose number of states is known: the test of the explorer |
//! | `cluster.rs` | nodes, messages and crashes as a model, for any protocol; what may happen |
//! | `cluster/known.rs`, `numbered.rs` | what is found out once: states of single nodes, messages, what comes of inputs |
//! | `cluster/names.rs`, `network.rs`, `twins.rs` | nodes renamed; messages that still matter; nodes of one fingerprint compared |
//! | `cluster/script.rs` | where exploration begins: behind a script of real steps |
//! | `node.rs` | one node with its disk, and what one input makes of it |
//! | `subject.rs` | what a protocol adds to that, and to the command line |
//! | `raft.rs` | Raft: bounds, what is left out |
//! | `paxos.rs` | Paxos: the same |
//! | `register.rs` | CASPaxos registers: the same |
//! | `multi_paxos.rs` | Multi-Paxos: bounds, where it begins, what is left out |
//! | `zab.rs` | ZAB: the same |
//! | `two_phase_commit.rs` | two-phase commit as it ships: bounds, its users, what is left out |
//! | `three_phase_commit.rs` | three-phase commit, a model of its own: the network is prompt |
//! | `mutants.rs` | known bugs within reach, and how far they are |
//! | `main.rs` | the command |
//!
//! What must hold of each protocol is in `hezong-invariants`.
//!
//! Words: a *state* is one of the whole cluster; a *step* is one input of one node; *folded* states are the same but for the
//! names of nodes; a message is *spent* when it can make nothing of its receiver any more; *late* is after more time than
//! anything waits for; an *aside* is a message that serves progress alone.
//!
//! # How states are kept few
//!
//! | reduction | what it loses |
//! |---|---|
//! | What was sent may arrive at any time, any number of times, or never: there is no step that loses a message | nothing: a lost message is one that does not arrive |
//! | A crash and the start after it are one step | nothing: who is down is who gets no message |
//! | Time is abstracted: a deadline passes at any time; before an input there passes none, or more than anything waits for | runs that depend on how long something took, such as leases, which are switched off |
//! | Spent messages are taken off their way | nothing; that nothing comes of them is checked |
//! | States that are the same but for names are folded | nothing; unfolded again, they are as many as without |
//! | Rounds, read tokens and log time are left out | reads, leases, and what expires |
//! | *Prompt disks*: what a step writes is on disk behind it, unless the node crashes right then (`slow_disks` lifts it) | inputs between a write and its end; a first part of what one step writes that survives a crash |
//! | *Asides* are lost, and pre-votes granted at once (`asides` lifts it) | runs in which somebody gives up because of a refusal, or a message is sent again because of an acknowledged heartbeat |
//!
//! For Multi-Paxos and ZAB exploration begins behind a *script*: real steps in an order that is given, up to a master or an elected
//! leader; what was said before is not repeated. What else they lose:
//!
//! | reduction | what it loses |
//! |---|---|
//! | ZAB's pings wait, unless somebody asks for `sync`; ends of sessions are lost (`ends` lifts it); only leaders' users propose | runs in which a leader is left by one learner and not by the others; requests that are forwarded |
//! | Votes of a round that their receiver has left are lost, and, behind the last round, all that is new | more elections than are allowed |
//! | A leader takes in so many sessions of a learner | what comes of more |
//! | Two-phase commit's coordinator takes no part, and users apply at once; votes come at any time, and each user votes always the same | how a coordinator tells itself; what comes between an outcome and its end |
//! | Registers are appended to; nobody asks for promises beyond the last round, or gives up while it waits for answers | reads, deletion, members; changes that are outbid again, or run out of time under way |
//! | Multi-Paxos's heartbeats and refusals are lost; its masters do not step down of their own accord | leases, reads, and being master again at a higher ballot |
//!
//! # Left out
//! Liveness, reads, changes of members, transfers, snapshots, compaction and damaged logs: no such request is made here, and
//! the simulator has them all.

#![forbid(unsafe_code)]

mod cluster;
mod digest;
mod explore;
mod multi_paxos;
#[cfg(feature = "weakened")]
pub mod mutants;
mod node;
mod paxos;
mod raft;
mod register;
mod subject;
mod three_phase_commit;
mod two_phase;
mod two_phase_commit;
mod zab;

pub use cluster::{Action, Bounds, Cluster, NODES_MAX, State, Step};
pub use explore::{End, Limits, Model, Order, Report, explore, story};
pub use hezong_invariants::Violation;
pub use multi_paxos::MultiPaxosBounds;
pub use node::How;
pub use paxos::PaxosBounds;
pub use raft::RaftBounds;
pub use register::RegisterBounds;
pub use subject::{Passage, Scripted, Subject, Use};
pub use three_phase_commit::{ThreePhaseAction, ThreePhaseCommit, ThreePhaseState};
pub use two_phase::{Folding, TwoPhase, TwoPhaseAction, TwoPhaseState};
pub use two_phase_commit::TwoPhaseCommitBounds;
pub use zab::{ZabBounds, ZabStart};
