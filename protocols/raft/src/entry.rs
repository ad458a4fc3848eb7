//! Log entries, and the base a log stands on.

use core::time::Duration;

use bytes::Bytes;
use hezong_base::LogId;

use crate::Membership;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its identity.
    pub id: LogId,
    /// Log time: how long this group has had a leader, as its leaders counted it. It never decreases along the log and
    /// advances only while somebody leads, so that whatever expires by it expires at the same entry everywhere.
    pub time: Duration,
    /// What it carries.
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: the entry a leader opens its term with (§5.4.2, §8).
    Empty,
    /// A command for the state machine.
    Command(Bytes),
    /// The members from this entry on; in force as soon as it is appended (§4.1 of the dissertation).
    Membership(Membership),
}

impl Entry {
    /// What it counts against limits in bytes: its payload and a constant for the rest.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let payload = match &self.payload {
            Payload::Empty => 0,
            Payload::Command(command) => command.len(),
            Payload::Membership(membership) => membership.bytes(),
        };
        payload + 32
    }
}

/// What a log stands on once what came before is gone: the last entry covered, and the members as of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The last entry that the state covers; `None` for the state before any entry.
    pub last: Option<LogId>,
    /// Log time of that entry.
    pub time: Duration,
    /// The members as of it.
    pub membership: Membership,
}
