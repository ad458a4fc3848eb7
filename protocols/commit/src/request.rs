//! What the local user asks for and is told. The user of a participant is the resource it guards, such as a store.

use bytes::Bytes;
use hezong_base::RequestId;

use crate::{Outcome, TransactionId, Work};

/// What the local user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Coordinate a transaction: all of this work, or none. Answered by [`Event::Outcome`] or [`Event::Refused`]; a crash of
    /// this node leaves it unanswered, and the transaction comes to its end all the same.
    Begin(Work),
    /// The answer to [`Event::Prepare`]. Yes is a promise that both outcomes can be applied, whatever happens; it takes effect
    /// once it is on disk here. Dropped when it comes after the transaction was aborted, of which the user is told.
    Vote {
        /// Which transaction.
        tx: TransactionId,
        /// Whether it can be done.
        yes: bool,
    },
    /// The answer to [`Event::Apply`]: that outcome is applied for good, and would survive a crash.
    Applied(TransactionId),
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What came of a transaction that was begun here. Committed is told only once that is durable.
    Outcome {
        /// Which request.
        id: RequestId,
        /// Which transaction.
        tx: TransactionId,
        /// How it ended.
        outcome: Outcome,
    },
    /// A transaction was not begun.
    Refused {
        /// Which request.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Can this be done? In TCC: reserve it (Try). Until the vote nothing is promised; after a no nothing more is heard of it
    /// as a rule, but a repeated message may ask anew. So it may after a crash, even of what the user had said yes to and holds.
    Prepare {
        /// Which transaction.
        tx: TransactionId,
        /// What is to be done.
        work: Bytes,
    },
    /// After a restart: this was promised before, and is not finished. The user holds what it needs for it, or has applied its
    /// outcome.
    ///
    /// All of these are among what the start itself emits. Whatever the user holds that none of them names, it gives back by
    /// itself: when the node crashed, the yes was not on disk here yet, or the end was already; nobody will tell of either.
    InDoubt {
        /// Which transaction.
        tx: TransactionId,
        /// What is to be done.
        work: Bytes,
    },
    /// Do it, or undo it; answered by [`Request::Applied`]. May be repeated after a restart, with the same outcome.
    Apply {
        /// Which transaction.
        tx: TransactionId,
        /// Which of both. In TCC: confirm, or cancel.
        outcome: Outcome,
    },
}

/// Why a transaction was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no participants.
    Empty,
    /// A participant is none of [`Config::nodes`](crate::Config::nodes).
    UnknownNode,
    /// Some work is longer than [`Config::work_bytes_max`](crate::Config::work_bytes_max).
    TooLong,
    /// As many are under way as [`Config::transactions_max`](crate::Config::transactions_max) allows.
    Overloaded,
    /// No number is left: a disk is not what it should be.
    NumbersSpent,
}
