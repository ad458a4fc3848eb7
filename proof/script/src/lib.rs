//! Golden scripts: a story a file, one runner for every protocol.
//!
//! A script is read like a story. Each step is a comment that says why, the commands, and below `---` what happened:
//!
//! ```text
//! # A wins the votes of B and C.
//! campaign 1
//! deliver
//! ---
//! n1@t1 → n2 RequestVote last=-
//! n1@t1 ⇥ n3 R̶e̶q̶u̶e̶s̶t̶V̶o̶t̶e̶ ̶l̶a̶s̶t̶=̶-̶
//! ```
//!
//! The text below `---` is compared with what the protocol does now; any difference fails the test. Running the tests
//! with `UPDATE=1` writes the present behaviour into the files, and reading that diff is the review. Because such an
//! update would also bless a mistake, what a story is really about is stated by `expect` commands as well, and those
//! fail whatever the text below them says.
//!
//! A command with `~` before it is carried out in silence: what leads up to a story is not the story.
//!
//! | word | meaning |
//! |---|---|
//! | story | a script file |
//! | step | comment, commands, and the output below them |
//! | dialect | what a protocol adds: how its messages are printed, its commands, its disk ([`Dialect`]) |
//! | letter | a message on its way |
//! | struck out | lost: the link was cut, the receiver was down, or a command dropped it |
//!
//! | file | holds |
//! |---|---|
//! | `story.rs` | the file format: parsing, comparing, regenerating |
//! | `command.rs` | one command line, taken apart |
//! | `world.rs` | the nodes, their disks, the letters between them, and the commands every protocol understands |
//! | `watch.rs` | looking on while a story is played |
//! | `raft.rs`, `paxos.rs` and so on | the dialects of protocols, and their commands |
//! | `commit.rs` | what the dialects of the commit protocols share |
//!
//! ## Commands of every protocol
//!
//! | command | effect |
//! |---|---|
//! | `cluster nodes=3 [option=value …]` | creates and starts nodes 1 to 3; `start=no` leaves them down so that `disk` can prepare them |
//! | `node 4 [option=value …]` | adds one node with an empty disk and starts it |
//! | `start [1 2 …]`, `restart 1` | starts nodes that are down, with what their disks hold |
//! | `crash 1 [stored=2]` | stops a node; writes it still held are lost, but for the first `stored` of them |
//! | `timeout 1` | moves the clock to the node's deadline if that lies ahead, and hands it in |
//! | `advance 150ms` | moves the clock; deadlines are handed in as they come, no letter is delivered |
//! | `wait 150ms` | moves the clock, and nobody notices: every process is paused |
//! | `run 2s` | moves the clock, delivering letters and handing in deadlines as they come |
//! | `deliver [from=1] [to=2] [type=Append] [last=1]` | delivers what is on its way now; `last` only the newest so many |
//! | `settle` | delivers until nothing is on its way |
//! | `drop`, `duplicate` (same filters) | loses letters, or puts a second copy on the way |
//! | `partition 1 \| 2 3`, `cut 1 2`, `heal` | cuts every link between the groups; one direction; nothing |
//! | `hold-writes 1`, `stored 1 [count=1]`, `free-writes 1` | keeps writes from the disk; stores the held ones; ends holding |
//! | `hold-asks 1`, `answer 1`, `free-asks 1` | the same for asks |
//! | `status [1 2 …]` | one line a node |
//!
//! Left out: clocks of different rates and random faults, which are the simulator's.

#![forbid(unsafe_code)]

mod command;
pub mod commit;
pub mod multi_paxos;
pub mod paxos;
pub mod raft;
pub mod register;
pub mod replicated;
mod story;
pub mod tcc;
pub mod three_phase;
pub mod two_phase;
mod watch;
mod world;
pub mod zab;

pub use command::{Command, duration};
pub use story::{check_folder, replay};
pub use watch::{Moment, Watch};
pub use world::{Dialect, Setup, World, strike};
