//! What nodes say to each other.

use alloc::collections::BTreeSet;

use bytes::Bytes;
use hezong_base::NodeId;

use crate::{Outcome, TransactionId};

/// A message. All may come late, twice, out of order, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Coordinator to participant: can you do this, whatever happens?
    Prepare {
        /// Which transaction.
        tx: TransactionId,
        /// The participant's part of it.
        work: Bytes,
        /// Who takes part: whom to ask when the coordinator is gone.
        participants: BTreeSet<NodeId>,
    },
    /// Participant to coordinator.
    Vote {
        /// Which transaction.
        tx: TransactionId,
        /// Yes is on disk before it is said; a no needs nothing.
        yes: bool,
    },
    /// So it ended: coordinator to participant, and whoever knows to one in doubt.
    Decision {
        /// Which transaction.
        tx: TransactionId,
        /// How.
        outcome: Outcome,
    },
    /// Participant to coordinator: the commit is applied for good. Aborts are not acknowledged.
    Acknowledged(TransactionId),
    /// Participant in doubt to coordinator or participant: how did it end?
    Inquiry(TransactionId),
}

impl Message {
    /// Which transaction it is about.
    #[must_use]
    pub const fn tx(&self) -> TransactionId {
        match self {
            Self::Prepare { tx, .. }
            | Self::Vote { tx, .. }
            | Self::Decision { tx, .. }
            | Self::Acknowledged(tx)
            | Self::Inquiry(tx) => *tx,
        }
    }
}
