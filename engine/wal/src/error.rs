//! What can go wrong, one enum per operation.

use std::io;

use hezong_base::{GroupId, Index};
use thiserror::Error;

pub use crate::index::Misfit;

/// The system refused a read, a write or a sync.
#[derive(Debug, Error)]
#[error("cannot {doing} {path} at offset {offset}: {reason}")]
pub struct IoFailure {
    /// What was tried: a verb.
    pub doing: &'static str,
    /// The file, or the folder.
    pub path: String,
    /// Where in the file.
    pub offset: u64,
    /// What the system said. Part of the sentence, and so no source of its own.
    pub reason: io::Error,
}

impl IoFailure {
    /// Whether the disk did not give back what it took.
    pub(crate) fn is_damage(&self) -> bool {
        self.reason.kind() == io::ErrorKind::InvalidData
    }
}

/// Why a log was not opened. Nothing that counts was changed: opening again meets the same folder.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has the log open. Stop it, or use another folder.
    #[error("the log in {path} is in use by another process")]
    InUse {
        /// The folder.
        path: String,
    },
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// What was synced once is not what is there now. [`Wal::repair`](crate::Wal::repair) may make something of it; if that
    /// says so too, the node must be replaced, or the file restored.
    #[error("{path} is corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where what cannot be right begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A segment that must exist does not: somebody removed it. As bad as corruption, and repaired like it.
    #[error("{path} is missing, though {named_by} names it")]
    Missing {
        /// The file that is not there.
        path: String,
        /// The file that says it should be.
        named_by: String,
    },
    /// Another version of this program wrote the log. Use that version or a newer one.
    #[error("{path} has log format {found}; this version reads format {ours}")]
    Version {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The one we know.
        ours: u32,
    },
    /// The log belongs to another node or another cluster.
    #[error("{path} belongs to {}, but this is {}", found.escape_ascii(), ours.escape_ascii())]
    Identity {
        /// The file.
        path: String,
        /// Whose it is.
        found: Vec<u8>,
        /// Who we are.
        ours: Vec<u8>,
    },
    /// The identity handed in does not fit into a header.
    #[error("the identity is {bytes} bytes, over the limit of {max}")]
    IdentityTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An entry that had to be rewritten could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why something was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The change does not fit the log, which is a bug of whoever made it. Nothing was written; the log can be used.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// More than one batch can hold. Nothing was written; the log can be used.
    #[error("the records take {bytes} bytes, over the limit of {max} for one append")]
    TooLarge {
        /// What they may take.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The system refused a write or a sync. The log takes no more: what is on disk is known only after opening it
    /// again, and trying again would prove nothing.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The disk has no room for the next segment. Nothing was written; the log can be used once there is room.
    #[error(transparent)]
    Full(IoFailure),
    /// An entry that had to be rewritten could not be read. The log takes no more.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It failed before.
    #[error("the log has stopped: {first}")]
    Stopped {
        /// The first failure.
        first: String,
    },
}

/// Why entries were not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The log holds no such entry: compacted, truncated, or not written yet.
    #[error("{group}: the log holds no entry {from}")]
    Absent {
        /// Of which group.
        group: GroupId,
        /// The first that was wanted.
        from: Index,
        /// The first and last that it holds.
        live: Option<(Index, Index)>,
    },
    /// The system refused a read.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// What was written is not what is there now. The node must stop: its copy is lost.
    #[error("{path} is corrupt at offset {offset}: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where the record begins that cannot be right.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl ReadError {
    /// Whether what was written is not there any more, or not what it was.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io(failure) => failure.is_damage(),
            Self::Absent { .. } => false,
        }
    }
}

/// What failed in work that both opening and writing do.
pub(crate) enum Failure {
    Io(IoFailure),
    /// There was no room for a segment, of which nothing is left.
    Full(IoFailure),
    Read(ReadError),
}

impl From<IoFailure> for Failure {
    fn from(failure: IoFailure) -> Self {
        Self::Io(failure)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(failure) | Failure::Full(failure) => Self::Io(failure),
            Failure::Read(error) => Self::Read(error),
        }
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(failure) => Self::Io(failure),
            Failure::Full(failure) => Self::Full(failure),
            Failure::Read(error) => Self::Read(error),
        }
    }
}

/// Says of a system error what was tried, on which file, where.
pub(crate) fn io_failure(
    doing: &'static str,
    path: impl Into<String>,
    offset: u64,
) -> impl FnOnce(io::Error) -> IoFailure {
    let path = path.into();
    move |reason| IoFailure { doing, path, offset, reason }
}
