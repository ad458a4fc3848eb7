//! What nodes say to each other.

use bytes::Bytes;

use crate::{Outcome, TransactionId};

/// A message. All may come late, twice, out of order, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Coordinator to branch: reserve this.
    Try {
        /// Which transaction.
        tx: TransactionId,
        /// The branch's part of it.
        work: Bytes,
    },
    /// Branch to coordinator.
    Tried {
        /// Which transaction.
        tx: TransactionId,
        /// Whether it is reserved, on disk.
        yes: bool,
    },
    /// Coordinator to branch: what is reserved is to be used.
    Confirm(TransactionId),
    /// Coordinator to branch: what is reserved, if anything is, is to be given back.
    Cancel(TransactionId),
    /// Branch to coordinator: that is done, for good.
    Done {
        /// Which transaction.
        tx: TransactionId,
        /// Which of both was done.
        outcome: Outcome,
    },
}

impl Message {
    /// Which transaction it is about.
    #[must_use]
    pub const fn tx(&self) -> TransactionId {
        match self {
            Self::Try { tx, .. }
            | Self::Tried { tx, .. }
            | Self::Confirm(tx)
            | Self::Cancel(tx)
            | Self::Done { tx, .. } => *tx,
        }
    }
}
