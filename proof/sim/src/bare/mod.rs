//! Protocols that nothing serves yet, simulated bare: `handle`, a disk, a clock and a network, with nothing in between.
//!
//! What runs is the protocol as it ships, under the faults of the large simulation that concern a single protocol: messages
//! lost, late, twice and out of order; partitions, cuts of one direction, slow and flapping links; crashes between any two
//! effects, which lose what was not stored, or all of it but a first part; power loss, pauses, slow and stalled disks, clocks
//! of different rates. After every step what the protocol's invariants ask for is checked (`hezong-invariants`). Then
//! everything is healed, and users must be served within a bound. Every seed runs twice and must go the same way.
//! Protocols for synchronous systems are spared what such systems do not do.
//!
//! | file | holds |
//! |---|---|
//! | `subject.rs` | what a protocol adds: its sizes and time-outs, its users, their local work |
//! | `world.rs` | nodes, disks, what happens next |
//! | `trouble.rs` | what goes wrong, and healing |
//! | `run.rs` | one seed, many seeds, and what they show |
//! | `command.rs` | the command line |
//! | `paxos.rs` and so on | protocols |
//!
//! Left out: shrinking a run that fails. `--replay` tells it whole.

mod command;
mod commit;
mod multi_paxos;
mod paxos;
mod register;
mod replicated;
mod run;
mod subject;
mod trouble;
mod world;
mod zab;

pub use command::{Name, Task, command};
pub use commit::{CommitSubject, Resource, Simulated, TccSubject, ThreePhaseSubject, TwoPhaseSubject};
pub use multi_paxos::MultiPaxosSubject;
pub use paxos::PaxosSubject;
pub use register::RegisterSubject;
pub use replicated::ReplicatedSubject;
pub use run::{BareReport, BareSummary, run_bare, run_bare_many};
pub use subject::{Outcome, Subject};
pub use zab::ZabSubject;
