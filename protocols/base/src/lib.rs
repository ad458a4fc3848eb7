//! The contract between a protocol and whatever runs it.
//!
//! A protocol is one struct behind one trait, [`Protocol`]. Time comes in as an argument, chance from a seed given at
//! birth, and nothing goes out except [`Effect`]s. What comes back from local work (a write that reached the disk, log
//! entries read from it) comes back as an [`Input`]. The same code therefore runs in production, in the simulator and
//! in the laboratory, bit for bit.
//!
//! | file | holds |
//! |---|---|
//! | `protocol.rs` | the trait, its inputs and its effects |
//! | `ids.rs` | `NodeId`, `Term`, `Index`, `LogId` and the ids of requests, writes and asks |
//! | `writes.rs` | parking: effects held back until the writes they rest on are stored |
//! | `quorum.rs` | what a majority agrees on |
//! | `time.rs`, `rng.rs` | an instant that can be made up, and chance that can be replayed |
//! | `marks.rs` | for the proof only: which rare branches a run has taken |
//!
//! `no_std`: clocks, sockets, threads and hash maps cannot even be named here.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod ids;
#[cfg(feature = "marks")]
pub mod marks;
mod protocol;
pub mod quorum;
mod rng;
mod time;
mod writes;

pub use ids::{AskId, GroupId, Index, LogId, NodeId, RequestId, Term, WriteId};
pub use protocol::{Effect, Input, Protocol};
pub use rng::Rng;
pub use time::Time;
pub use writes::Writes;

/// Marks a rare branch, which a long run of the simulator must take at some time: `sometimes!("raft: a conflict is cut off");`
/// as a statement, or `sometimes!("raft: …", condition);` where no branch is of its own. Every name is given once, and stands in
/// the simulator's table. Nothing at all in what ships.
#[cfg(feature = "marks")]
#[macro_export]
macro_rules! sometimes {
    ($mark:literal) => {
        $crate::marks::reach($mark)
    };
    ($mark:literal, $taken:expr) => {
        if $taken {
            $crate::marks::reach($mark)
        }
    };
}

/// Marks a rare branch, which a long run of the simulator must take at some time: `sometimes!("raft: a conflict is cut off");`
/// as a statement, or `sometimes!("raft: …", condition);` where no branch is of its own. Every name is given once, and stands in
/// the simulator's table. Nothing at all in what ships.
#[cfg(not(feature = "marks"))]
#[macro_export]
macro_rules! sometimes {
    ($mark:literal) => {};
    ($mark:literal, $taken:expr) => {
        // Compiled, so that it does not rot, and never run.
        let _ = || $taken;
    };
}
