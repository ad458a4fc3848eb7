//! What the local user asks for and is told.

use bytes::Bytes;
use hezong_base::RequestId;

/// What the local user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Have a value chosen: this one, unless another is or will be. Answered by [`Event::Answered`] or [`Event::Refused`].
    Propose(Bytes),
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A value was chosen. Once in the life of a node.
    Chosen(Bytes),
    /// What came of a proposal: what was chosen, which may be another's.
    Answered {
        /// Which.
        id: RequestId,
        /// What was chosen.
        value: Bytes,
    },
    /// A proposal was not taken in, and will not be chosen on its account.
    Refused {
        /// Which.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a proposal was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its value is longer than [`Config::value_bytes_max`](super::Config::value_bytes_max).
    TooLong,
    /// No ballot is left that would outbid what somebody has used: a disk or a node is not what it should be.
    BallotsSpent,
    /// As many wait as [`Config::waiting_max`](super::Config::waiting_max) allows.
    Overloaded,
}
