//! What a client is told about a command once it was applied.

use std::fmt;

use bytes::Bytes;
use hezong_base::Index;
use prost::Message;
use thiserror::Error;

use crate::{SessionId, wire};

/// How many commands have changed keys. `Revision(0)` is a store in which nothing was ever set; the first change makes
/// revision 1. All keys changed by one command share its revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The entry that carried it out; for a retry the first one's, not its own.
    pub index: Index,
    /// The store's revision right after it.
    pub revision: Revision,
    /// Whether this is the recorded outcome of an earlier copy of the same request.
    pub repeated: bool,
    /// What was done, or why nothing was.
    pub result: Result<Done, Refusal>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Keys were set.
    Put {
        /// How many.
        keys: u64,
        /// How many of them were absent before.
        created: u64,
    },
    /// Keys were removed.
    Deleted {
        /// How many had been there.
        keys: u64,
    },
    /// All conditions held and the steps were carried out.
    Committed {
        /// How many keys were set.
        put: u64,
        /// How many keys were removed.
        deleted: u64,
    },
    /// A condition did not hold and nothing was changed. An answer, not an error.
    NotHeld {
        /// The place, from 0, of the first condition that did not hold.
        condition: u64,
    },
    /// A number was added to.
    Added {
        /// What it is now.
        value: i64,
    },
    /// A session was opened.
    SessionOpened(SessionId),
    /// The session is alive, for another whole time to live.
    SessionKept,
    /// The session is ended.
    SessionClosed,
}

/// Why nothing was done. All replicas agree on it. Those about once-only writes are not recorded: the request may be
/// tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another request came first under this idempotency key.
    #[error("this idempotency key was used for another request; use a new key for every request")]
    KeyReused,
    /// As many idempotency keys are live as are kept (HTTP 429).
    #[error("{live} idempotency keys are remembered, as many as are kept; retry later, or use a session")]
    TooManyKeys {
        /// How many are live.
        live: u64,
    },
    /// The session is closed, expired or was never opened.
    #[error("session {} is gone; open a new one and find out what was done under the old", session.0)]
    SessionGone {
        /// Which.
        session: SessionId,
    },
    /// A sequence number below the last one, whose outcome is no longer kept.
    #[error(
        "sequence number is below {last}, the last one of this session, and its outcome is no longer kept; number requests upwards"
    )]
    SequenceOld {
        /// The last number carried out.
        last: u64,
    },
    /// A sequence number that leaves one out.
    #[error("sequence number is not {expected}, the next one of this session; number requests without gaps")]
    SequenceGap {
        /// The number that comes next.
        expected: u64,
    },
    /// Another request came first under this sequence number.
    #[error("this sequence number was used for another request; use the next one for every request")]
    SequenceReused,
    /// A command that manages sessions was sent as a numbered command of one.
    #[error("sessions cannot be opened, kept alive or closed as a numbered command of a session; leave the number out")]
    SessionInSession,
    /// As many sessions are open as are kept (HTTP 429).
    #[error("{open} sessions are open, as many as are kept; close some, or retry later")]
    TooManySessions {
        /// How many are open.
        open: u64,
    },
    /// The value to add to is no decimal integer.
    #[error("value is not a decimal integer, so nothing can be added to it; set it to one first")]
    NotANumber,
    /// The sum does not fit into 64 bits.
    #[error("sum is outside of -9223372036854775808 to 9223372036854775807; add less")]
    OutOfRange,
}

/// A reply that cannot be read: it comes from a newer version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Not a reply at all.
    #[error("reply cannot be decoded")]
    Undecodable(#[source] prost::DecodeError),
    /// A reply with an outcome this version does not know.
    #[error("reply has an outcome this version does not know")]
    Unknown,
}

impl Reply {
    /// As the state machine hands it out.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::Reply::from(self).encode_to_vec().into()
    }

    /// Reads what the state machine handed out.
    ///
    /// # Errors
    /// [`ReplyError`], which a node of the same version never causes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReplyError> {
        wire::Reply::decode(bytes).map_err(ReplyError::Undecodable)?.try_into()
    }
}
