//! A whole cluster in one thread, replayed by a seed.
//!
//! What runs is what ships: `hezong-node`, `hezong-raft`, `hezong-codec` and `hezong-wal`, down to the bytes of frames and
//! of the log, and `hezong-kv` on top. Only the shell, the file layer and the store are replaced, by a queue of events, a folder in
//! memory that can crash, and the store's model. Time is a number, chance is a seed: the same seed gives the same run, bit for
//! bit, and every seed is run twice to make sure.
//!
//! A run has two halves. In the first, things go wrong: each seed draws its own kinds of fault, each at its own strength. It
//! ends when enough has happened. Then everything is healed, and within a bound every client must finish its operations and
//! all replicas must become equal. In both, checkers watch from outside.
//!
//! # What is checked
//!
//! | property | where it comes from | checker |
//! |---|---|---|
//! | election safety: at most one leader a term | Raft §5.2 | `check/election.rs` |
//! | leader append-only: a leader removes nothing from its log | Raft §5.3 | `check/append_only.rs` |
//! | log matching: same index and term, same log up to there | Raft §5.3 | `check/matching.rs` |
//! | leader completeness: what is committed is in every later leader's log | Raft §5.4 | `check/completeness.rs` |
//! | state-machine safety: nobody applies another entry at an index | Raft §5.4.3 | `check/machine.rs` |
//! | one vote a term; promises are stored: votes, requests and acknowledgements outlive a crash | figure 2, the contract's parking rule | `check/promise.rs` |
//! | applied is stored | the contract's rule on `Committed` | `check/stored.rs` |
//! | majorities meet: those of two memberships in a row | dissertation §4.1, §4.3 | `check/membership.rs` |
//! | a snapshot equals the replay of the log it covers; states at one index are equal | Raft §7, §2 | `check/replay.rs`, `run.rs` |
//! | exactly-once writes: of the copies of a write one is carried out, and the others are told what it was told | DESIGN §3 | `check/once.rs` |
//! | monotonic session reads, and of one's own writes, at every level | Terry et al. 1994 | `check/session.rs` |
//! | durability: what was reported as stored is found again, and of the rest a first part | `hezong-wal` | `check/durability.rs` |
//! | a repaired log is whole or owes what it lacks | `hezong-wal`, `repair.rs` | `check/repaired.rs` |
//! | linearizability of writes, `default` and `consistent` reads | Herlihy and Wing; dissertation §6.4 | `hezong-check`, `run.rs` |
//! | reads wait for their index (`min_index`, and what the reply says) | `hezong-node` | `client.rs` |
//! | sessions live as long as promised and what comes after their end is not applied | DESIGN §3 | `client.rs`, linearizability |
//! | a number is given once: no two newcomers are told the same, however often they asked, and none that of a former member | DESIGN §4 | `newcomer.rs`, `sim.rs` |
//! | below the reserve a node refuses what frees no space, and nothing else; while all disks are full, clients read and delete, and members change | DESIGN §3 | `room.rs`, `client.rs`, `run.rs` |
//! | no program is given what it does not know, and none before its folder says so | `docs/upgrades.md` | `programs.rs` |
//! | a timeout is over once it was handed in | the contract | `sim.rs` |
//! | progress after healing: clients are served, replicas become equal | | `run.rs` |
//! | no clock on the wall: nothing that runs here reads one, and so one that is set forth or back changes nothing | | `cargo xtask tidy` refuses their names (`xtask/src/floors.rs`) |
//! | same seed, same run | | `batch.rs` |
//! | assertions: nothing panics | | `run.rs` |
//!
//! A checker that gives up on a history has shown nothing: the run fails, and no bug counts as caught by it.
//!
//! What takes several steps must be seen to be struck in each ([`Moment`]): fetching a snapshot, between its first request
//! and its record in the log, by the death of either side, a view let go, another leader, a newer snapshot; and each kind
//! of change of members, while only the leader has its entry, while others do, and while some have applied it.
//!
//! Rare branches of what ships carry marks ([`MARKS`]), and a thousand seeds must reach every one; and every kind of fault must
//! strike at some time. A seed counts only with enough events, operations of clients and kinds of fault.
//!
//! With the feature `weakened` known bugs can be put into the cores, one at a time ([`mutants`]); each must be caught. So
//! must the mistakes of whoever runs the nodes ([`Slip`]), such as clocks that drift further than they may.
//!
//! # Where things are
//!
//! | file | holds |
//! |---|---|
//! | `run.rs` | one seed: trouble, healing, progress, the verdict |
//! | `batch.rs`, `demand.rs` | many seeds on all cores, and what they must have shown together |
//! | `sim.rs` | what happens next and what follows from it |
//! | `shell.rs` | what stands in the place of the shell: sends, stores, applies what nodes want done |
//! | `plan.rs` | what a seed decides beforehand; the kinds of fault |
//! | `trouble.rs` | what goes wrong and when; who joins and leaves |
//! | `strike.rs`, `fetch.rs` | strikes at chosen moments: of elections and changes of members, and of snapshots |
//! | `partial.rs` | partial partitions, slow and flapping links, and what Raft can do under them |
//! | `moment.rs` | the steps that must be struck |
//! | `marks.rs` | the rare branches that must be taken |
//! | `room.rs`, `rot.rs` | disks that fill up, and disks that do not give back what they took |
//! | `newcomer.rs` | machines that ask to be taken in |
//! | `programs.rs` | programs of two versions |
//! | `client.rs`, `history.rs`, `machine.rs` | who uses the cluster, what they were told, what is replicated |
//! | `process.rs`, `disk.rs`, `network.rs`, `clock.rs`, `queue.rs` | the world of each node |
//! | `check/` | the checkers; `shadow.rs` is a node's log as an outsider knows it |
//! | `story.rs`, `timeline.rs`, `wounds.rs`, `digest.rs` | a run told to people, and told apart from others |
//! | `cut.rs`, `shrink.rs` | what a run may leave out of its seed, and how little is left of one that fails all the same |
//! | `mutants.rs` | known bugs |
//! | `bare/` | protocols that nothing serves yet, simulated without a node around them |
//!
//! # Words
//! *Patience* is the election timeout of a run's nodes, and the yardstick for all its spans. An *event* is one input handed
//! to a protocol: a message, a request, a stored write, an answer, a deadline. *Trouble* is whatever goes wrong.
//!
//! # Left out
//! Damage that a running node meets (at a start it is repaired; a scrub, or a read that fails, ends the process, which then
//! starts), damage to the state's files, several groups on a node, and bytes that change on the way (frames carry a checksum).

#![forbid(unsafe_code)]

pub mod bare;
mod batch;
mod check;
mod client;
mod clock;
mod cut;
mod demand;
mod digest;
mod disk;
mod fetch;
mod history;
mod machine;
mod marks;
mod moment;
#[cfg(feature = "weakened")]
pub mod mutants;
mod network;
mod newcomer;
mod partial;
mod plan;
mod process;
mod programs;
mod queue;
mod room;
mod rot;
mod run;
mod shell;
mod shrink;
mod sim;
mod story;
mod strike;
mod timeline;
mod trouble;
mod wounds;

pub use batch::{Summary, run_many, run_twice};
pub use check::Violation;
pub use cut::{Cut, Hardship, Source, Strike, Strikes};
pub use demand::missing;
pub use marks::{MARKS, Marks};
pub use moment::{ChangeStep, FetchStep, Moment, Moments, Spread};
pub use plan::{Fault, FaultCounts, Shape, Slip};
pub use run::{Case, FAULT_KINDS_MIN, OPERATIONS_MIN, Options, Report, replay, run};
pub use shrink::{Effort, Shrunk, shrink};
pub use story::{Line, Weight};
pub use timeline::{short_story, timeline};
