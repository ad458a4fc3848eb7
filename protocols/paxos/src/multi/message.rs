//! What nodes say to each other.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::{Base, Members, Slot};
use crate::Ballot;

/// What a slot of the log holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// What a user had chosen.
    Command(Bytes),
    /// Nothing: a hole that was filled.
    NoOp,
    /// Who accepts, from α slots later on.
    Members(Members),
}

/// A value, and at which ballot it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The ballot.
    pub ballot: Ballot,
    /// The value.
    pub value: Value,
}

/// Names a snapshot among all that are ever offered: drawn by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A message. All may come late, twice, out of order, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Phase 1a, for all slots from one on: accept nothing below this ballot any more, and say what you have accepted.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// The first slot that its maker does not know to be chosen.
        from: Slot,
    },
    /// Phase 1b: nothing below it will be accepted any more; this was.
    Promise {
        /// The ballot that was asked about.
        ballot: Ballot,
        /// All before this slot is known here to be chosen. Of that, nothing is reported.
        open: Slot,
        /// What had been accepted by then in `open` and later slots.
        accepted: BTreeMap<Slot, Entry>,
    },
    /// Phase 2a: accept this.
    Accept {
        /// The ballot.
        ballot: Ballot,
        /// Where.
        slot: Slot,
        /// What.
        value: Value,
        /// All before this slot is chosen.
        open: Slot,
    },
    /// Phase 2b: it is accepted. Goes to the master, who counts.
    Accepted {
        /// At which ballot.
        ballot: Ballot,
        /// Where.
        slot: Slot,
    },
    /// The ballot comes too late: a higher one was promised.
    Nack {
        /// The ballot that is refused.
        ballot: Ballot,
        /// What was promised.
        promised: Ballot,
    },
    /// The master is there, and asks for its lease.
    Heartbeat {
        /// Its ballot.
        ballot: Ballot,
        /// All before this slot is chosen.
        open: Slot,
        /// Which of its rounds this is.
        round: u64,
    },
    /// Nobody else is promised anything, for the length of a lease.
    HeartbeatAck {
        /// The ballot of the master.
        ballot: Ballot,
        /// The round that is answered.
        round: u64,
    },
    /// Tell what was chosen, from this slot on.
    CatchUp {
        /// The first slot not known to be chosen.
        from: Slot,
    },
    /// This was chosen.
    Entries {
        /// The slot of the first of them.
        from: Slot,
        /// What was chosen there and in the slots that follow.
        entries: Vec<Entry>,
        /// All before this slot is known to be chosen, though not all of it fits.
        open: Slot,
    },
    /// What you ask for is gone: fetch this state instead.
    Snapshot {
        /// Its name.
        id: SnapshotId,
        /// What it leads up to.
        base: Base,
    },
}

impl Value {
    /// Its size, as it counts against limits: a little more than its bytes, so that nothing is free.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Entry>()
            + match self {
                Self::Command(bytes) => bytes.len(),
                Self::NoOp => 0,
                Self::Members(members) => members.len() * size_of::<u64>(),
            }
    }
}
