//! What nodes say to each other.

use alloc::collections::BTreeSet;

use bytes::Bytes;
use hezong_base::NodeId;

use crate::{Outcome, TransactionId};

/// A message. May come late, twice, out of order, or never: but then what is promised of this protocol does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Phase one, coordinator to participant: can you do this?
    CanCommit {
        /// Which transaction.
        tx: TransactionId,
        /// The participant's part of it.
        work: Bytes,
        /// Who takes part.
        participants: BTreeSet<NodeId>,
    },
    /// Participant to coordinator.
    Vote {
        /// Which transaction.
        tx: TransactionId,
        /// Yes is on disk before it is said.
        yes: bool,
    },
    /// Phase two, coordinator or backup to participant: all have voted yes.
    PreCommit(TransactionId),
    /// The answer to it: now I know.
    Ready(TransactionId),
    /// Phase three, and whoever knows to whoever asks: so it ended.
    Decision {
        /// Which transaction.
        tx: TransactionId,
        /// How.
        outcome: Outcome,
    },
    /// Participant to coordinator: the outcome is applied for good.
    Acknowledged(TransactionId),
    /// How far are you? From a backup, or from one that was gone and asks how it ended.
    StateRequest {
        /// Which transaction.
        tx: TransactionId,
        /// Whether it was gone, and only asks.
        recovering: bool,
    },
    /// The answer where no outcome is on disk. One that has not voted aborts instead, and says so.
    State {
        /// Which transaction.
        tx: TransactionId,
        /// Whether it knows that all have voted yes.
        pre_committed: bool,
        /// Whether it was gone: then it decides nothing, and what it knows does not count.
        recovering: bool,
    },
}

impl Message {
    /// Which transaction it is about.
    #[must_use]
    pub const fn tx(&self) -> TransactionId {
        match self {
            Self::CanCommit { tx, .. }
            | Self::Vote { tx, .. }
            | Self::PreCommit(tx)
            | Self::Ready(tx)
            | Self::Decision { tx, .. }
            | Self::Acknowledged(tx)
            | Self::StateRequest { tx, .. }
            | Self::State { tx, .. } => *tx,
        }
    }
}
