//! What a transaction is called, and how it ends.

use alloc::collections::BTreeMap;
use core::fmt;

use bytes::Bytes;
use hezong_base::NodeId;

/// The last number a coordinator uses, or believes in. No coordinator lives to see it.
pub const NUMBER_MAX: u64 = 1 << 62;

/// What each participant is to do. What it means is the users' business.
pub type Work = BTreeMap<NodeId, Bytes>;

/// A transaction: who coordinates it, and which of its it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    /// Who decides about it.
    pub coordinator: NodeId,
    /// From 1; never used twice by a coordinator, whatever crashes.
    pub number: u64,
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.coordinator.0, self.number)
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Everybody does its work. In TCC: confirms.
    Committed,
    /// Nobody does. In TCC: cancels.
    Aborted,
}
