//! The log of a node: what every protocol of every group must find again after a crash, in one sequence of files, so
//! that one fdatasync serves them all.
//!
//! What it promises:
//! - what was [`Wal::append`]ed before a [`Wal::sync`] that returned is found again, whatever the crash;
//! - of what was appended later, a prefix is found again, batch by batch, and never a part of a batch;
//! - what was synced once and is not what it was is refused with file and offset, and never cut, skipped or guessed; on
//!   request it is repaired ([`Wal::repair`]), as far as what is lost is known for certain;
//! - what it says of itself after opening survives the next crash as well, even if it had never been synced before;
//! - disk use is bounded by what is live, however unequal the groups.
//!
//! Its words: a *record* is one change of one group. A *batch* is the records of one write call, under one checksum. A
//! *segment* is a file of batches; its *opening* says how every group stands, and holds the entries that were *carried*
//! there from older segments. The *chain* is all segments that count. The *synced mark* in a batch says how far its
//! segment was synced when the batch was written. A group's log stands on a *base*; its entries after it are *live*.
//!
//! | file | holds |
//! |---|---|
//! | `writer.rs` | [`Wal`]: append, sync, the next segment |
//! | `reader.rs` | [`Reader`]: entries by index, from any thread |
//! | `recovery.rs` | opening a log: what counts and what is refused |
//! | `repair.rs` | opening a damaged log: what stays, and what is owed |
//! | `scrub.rs` | reading all of it again, slowly, to find damage early |
//! | `opening.rs` | beginning a segment, carrying entries there |
//! | `index.rs`, `stretch.rs` | per group: state, base, and where each live entry lies |
//! | `segment.rs`, `batch.rs`, `record.rs` | the bytes |
//! | `folder.rs`, `disk.rs`, [`model`] | the file layer: what is needed, the real one, and one that can crash |
//! | `disk_trial.rs` | the real one, losing with its process what was not synced |
//!
//! The layout and the reasons for it are in `docs/wal.md`.
//!
//! Left out: encryption, compression, removing a group altogether (its state and base stay), and telling a torn last
//! batch from one that was synced and damaged before anything followed it: no log can, short of a second device.

#![forbid(unsafe_code)]

mod batch;
mod bytes;
mod disk;
mod disk_trial;
mod error;
mod folder;
#[cfg(test)]
mod fuzz;
mod index;
pub mod model;
mod opening;
mod reader;
mod record;
mod recovery;
mod repair;
mod scrub;
mod segment;
mod stretch;
mod writer;

pub use disk::DiskFolder;
pub use disk_trial::TrialFolder;
pub use error::{IoFailure, Misfit, OpenError, ReadError, WriteError};
pub use folder::{File, Folder, Lock};
pub use reader::{Entries, Reader};
pub use recovery::{Cut, Opened, Recovered};
pub use repair::{Gap, Repaired, RepairedGroup};
pub use scrub::Scrub;
pub use writer::{Options, Wal};
