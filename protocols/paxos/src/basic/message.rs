//! What nodes say to each other.

use bytes::Bytes;

use crate::Ballot;

/// A value, and at which ballot it is proposed or was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The ballot. An acceptor's grow.
    pub ballot: Ballot,
    /// What is to be agreed on.
    pub value: Bytes,
}

/// A message. All may come late, twice, out of order, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Phase 1a: accept nothing below this ballot any more, and say what you have accepted.
    Prepare(Ballot),
    /// Phase 1b: nothing below it will be accepted any more; this was, at the highest ballot.
    Promise {
        /// The ballot that was asked about.
        ballot: Ballot,
        /// What had been accepted by then.
        accepted: Option<Proposal>,
    },
    /// Phase 2a: accept this.
    Accept(Proposal),
    /// Phase 2b: it is accepted. Goes to all, who count.
    Accepted(Proposal),
    /// The ballot comes too late: a higher one was promised.
    Nack {
        /// The ballot that is refused.
        ballot: Ballot,
        /// What was promised.
        promised: Ballot,
    },
    /// This was chosen, whatever you ask for.
    Chosen(Bytes),
}
