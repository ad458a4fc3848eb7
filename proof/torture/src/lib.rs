//! A cluster of real processes under faults: clients work on it meanwhile, and what they saw is judged.
//!
//! What it promises:
//! - **Nothing is simulated but the faults.** The nodes are processes of the program given, with their own folders,
//!   sockets and clocks; the clients speak the same API as everyone else.
//! - **A verdict rests on what clients were told alone.** It is one of three: what they saw can be explained, it cannot, or
//!   the search for an explanation was given up.
//! - **Faults that did nothing are seen**: the report counts what each kind did to the nodes, not how often it was meant to.
//! - It ends only processes that it started, and leaves nothing running, however it ends.
//!
//! What a seed repeats is which faults come in which order and what clients do; processes and their clocks interleave anew.
//!
//! | file | holds |
//! |---|---|
//! | `plan.rs` | [`Options`], the kinds of faults, and the draw of what comes next |
//! | `nodes.rs`, `ports.rs` | node processes: started, killed, stopped for a while, replaced |
//! | `links.rs`, `dialler.rs` | proxies before the nodes' peer ports, which hold or delay what passes |
//! | `cables.rs` | network namespaces in their place, and cables that are pulled out |
//! | `certs.rs` | certificates for them |
//! | `clocks.rs` | clocks that are set wrong or run wrong |
//! | `disks.rs` | disks in memory that can be filled, and logs that lose what was not synced |
//! | `faults.rs`, `members.rs` | faults carried out and ended |
//! | `run.rs` | one run, from the first start to the last read |
//! | `work.rs` | the clients and what they record |
//! | `counter.rs` | what the counter's answers must keep |
//! | `judge.rs`, `lists.rs` | the [`Verdict`]; of lists, another one by another method |
//! | `report.rs`, `picture.rs` | what came of a run, in figures and as a page to look at |

mod cables;
#[expect(unreachable_pub, reason = "the benchmarks have the file too")]
mod certs;
mod clocks;
mod counter;
mod dialler;
mod disks;
mod faults;
mod judge;
mod links;
mod lists;
mod members;
mod nodes;
mod picture;
mod plan;
#[expect(unreachable_pub, reason = "tests elsewhere have the file too")]
mod ports;
mod report;
mod run;
mod work;

use std::io;
use std::path::PathBuf;

pub use judge::Verdict;
pub use plan::{Fault, Options, UnknownFault, Unsynced};
pub use report::Report;
pub use run::run;

/// Why a run could not be made. Nothing is known of the nodes then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder or file could not be made.
    #[error("{path} cannot be used: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A node could not be started, did not come up, or ended by itself.
    #[error("{label}: {reason}; its log is {log}", log = log.display())]
    Node {
        /// Which.
        label: String,
        /// Why.
        reason: String,
        /// Where it says more.
        log: PathBuf,
    },
    /// A proxy could not listen.
    #[error("no port of 127.0.0.1 can be listened on: {0}")]
    Listen(io::Error),
    /// Network namespaces could not be made or changed.
    #[error("the nodes' network namespaces: {0}; they take root and the program ip")]
    Cables(io::Error),
    /// The cluster did not take a member in, or let it go.
    #[error("{0}")]
    Members(String),
    /// A client could not be made or the cluster did not answer at all.
    #[error(transparent)]
    Client(#[from] hezong_client::Error),
    /// More was asked for than makes sense.
    #[error("{0}")]
    Options(String),
}

impl Error {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
