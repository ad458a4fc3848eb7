//! What can go wrong. A store that failed says nothing about what it holds any more, so every error is fatal to the
//! node: it stops, and what was persisted is found again at the next start.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why a store could not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process, or another handle in this one, has the folder open. Nothing was touched; stop the other one.
    #[error("the state store {} is in use by another process; stop that one first", path.display())]
    InUse {
        /// The store's folder or file.
        path: PathBuf,
    },
    /// What is there is not what a store wrote: the disk damaged it, or a power failure left a hole in what was not
    /// persisted yet. Close it, [`set_aside`](crate::set_aside) and open an empty one: the log builds the state again.
    /// Where an open store found it, opening it says the same, whatever became of the process.
    #[error("the state store {} is damaged: {source}", path.display())]
    Damaged {
        /// The store's folder or file.
        path: PathBuf,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there cannot be opened as a store: a newer format, a missing permission, a full disk. Whoever runs it
    /// must look; setting it aside would hide the cause.
    #[error("the state store {} cannot be opened", path.display())]
    Open {
        /// The store's folder or file.
        path: PathBuf,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk was full, and the store is being opened anew now that there is room. Ask again.
    #[error("the state store is being opened anew, for want of room on its disk; try again")]
    Reopening,
    /// An open store failed. What it held when it was last persisted is still there; anything later is uncertain.
    #[error("the state store failed to {operation}")]
    Failed {
        /// What it was doing.
        operation: Operation,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a store does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making or finding a map by name.
    OpenMap,
    /// Letting a map go.
    RemoveMap,
    /// Applying a batch.
    Apply,
    /// Opening a view.
    View,
    /// Reading one key.
    Get,
    /// Reading a range of keys.
    Range,
    /// Making everything applied survive a crash.
    Persist,
    /// Giving room back to the disk.
    Reclaim,
    /// Reading all again to find damage.
    Scrub,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMap => "open a map",
            Self::RemoveMap => "remove a map",
            Self::Apply => "apply a batch",
            Self::View => "open a view",
            Self::Get => "read a key",
            Self::Range => "read a range of keys",
            Self::Persist => "persist",
            Self::Reclaim => "give room back to the disk",
            Self::Scrub => "read all of it again",
        })
    }
}

impl StoreError {
    /// Wraps what an open store said.
    #[cfg(any(feature = "fjall", feature = "redb"))]
    pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(operation: Operation) -> impl Fn(E) -> Self {
        move |source| Self::Failed { operation, source: Box::new(source) }
    }
}

/// Whether a file could be read but does not hold what it should.
#[cfg(any(feature = "fjall", feature = "redb"))]
pub(crate) fn is_damaged_file(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound)
}
