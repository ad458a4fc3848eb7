//! Ordered maps on disk: a small trait, its stores and its model.
//!
//! A state machine keeps what it knows in a [`Store`]: named ordered maps from bytes to bytes. It changes several of
//! them at once with a [`Batch`], which happens entirely or not at all; it reads through a [`View`], which never changes
//! once opened; and it calls [`Store::persist`] now and then, which returns when everything applied so far would
//! survive a crash. Between two such calls nothing is promised but a **prefix**: after a crash the store holds the
//! batches up to some batch, in order and whole, at least those persisted. The replicated log below holds the rest.
//!
//! | file | holds |
//! |---|---|
//! | `store.rs` | the traits [`Store`] and [`View`], and ranges of keys |
//! | `batch.rs` | [`Batch`]: changes that happen together, readable before they happen |
//! | `birth.rs` | folders of stores: made whole or not at all, marked and set aside when damaged |
//! | `error.rs` | what can go wrong; all of it is fatal to the node |
//! | `on_fjall.rs` | [`FjallStore`], a log-structured merge tree: the one the server runs on |
//! | `on_fjall/scrub.rs` | reading its files again, so that damage is found early |
//! | `on_redb.rs` | `RedbStore`, a copy-on-write B-tree: the other candidate, behind the feature `redb` |
//! | `model.rs` | [`ModelStore`], in memory, with a crash that forgets: the simulator's disk |
//!
//! Both disk stores pass one conformance suite and one crash suite (`tests/`); `docs/store.md` tells how one was
//! chosen. Maps are made and removed at any time, so that a whole new state can be written beside the old one and
//! switched to by one batch.

#![forbid(unsafe_code)]

mod batch;
#[cfg(any(feature = "fjall", feature = "redb"))]
mod birth;
mod error;
mod model;
#[cfg(feature = "fjall")]
mod on_fjall;
#[cfg(feature = "redb")]
mod on_redb;
mod store;

pub use batch::Batch;
#[cfg(any(feature = "fjall", feature = "redb"))]
pub use birth::set_aside;
pub use error::{Operation, StoreError};
pub use model::{ModelStore, ModelView};
#[cfg(feature = "fjall")]
pub use on_fjall::{FjallStore, FjallView};
#[cfg(feature = "redb")]
pub use on_redb::{RedbStore, RedbView};
pub use store::{KeyRange, Map, Pair, Scrub, Store, View};

/// The store the server runs on.
#[cfg(feature = "fjall")]
pub type DiskStore = FjallStore;

/// Opens the store in a folder of its own, which is made when missing or empty, with the sizes the server runs with.
/// One process at a time opens a folder: the lock of the data folder around it sees to that.
///
/// # Errors
/// [`StoreError::InUse`] when another process has it open, [`StoreError::Damaged`] when what is there cannot be read,
/// [`StoreError::Open`] for all else.
#[cfg(feature = "fjall")]
pub fn open(path: impl AsRef<std::path::Path>) -> Result<DiskStore, StoreError> {
    FjallStore::open(path)
}
