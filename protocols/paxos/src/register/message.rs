//! What nodes say to each other. Everything is about one register, named by its key.

use alloc::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::NodeId;

use super::{Epoch, State};
use crate::Ballot;

/// How often a proposer was told that a register is about to be forgotten. Acceptors refuse what it sent at a younger age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(pub u64);

/// A state, and at which ballot it is proposed or was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The ballot. An acceptor's grow, register by register.
    pub ballot: Ballot,
    /// What the register is to hold.
    pub state: State,
}

/// What one node says to another about a register. May come late, twice, out of order, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The register.
    pub key: Bytes,
    /// What is said.
    pub body: Body,
}

/// What is said about a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Accept nothing below this ballot any more, and say what you have accepted.
    Prepare {
        /// The proposer's age.
        age: Age,
        /// Its ballot.
        ballot: Ballot,
    },
    /// Nothing below it will be accepted any more; this was, at the highest ballot.
    Promise {
        /// The ballot that was asked about.
        ballot: Ballot,
        /// What had been accepted by then.
        accepted: Option<Proposal>,
    },
    /// Accept this, and promise the ballot of the proposer's next change along with it (§2.2.1).
    Accept {
        /// The proposer's age.
        age: Age,
        /// What is to be accepted.
        proposal: Proposal,
        /// What is to be promised too; nothing where a tombstone is to be collected.
        next: Option<Ballot>,
    },
    /// It is accepted, and the ballot that came with it promised.
    Accepted {
        /// At which ballot.
        ballot: Ballot,
    },
    /// The ballot comes too late: a higher one was promised.
    Nack {
        /// The ballot that is refused.
        ballot: Ballot,
        /// What was promised.
        promised: Ballot,
    },
    /// All acceptors hold this tombstone, and will forget it: propose only above it, nothing from memory, at another age.
    Retire {
        /// The tombstone's ballot.
        tombstone: Ballot,
        /// The membership in which all acceptors hold it.
        epoch: Epoch,
    },
    /// So it will be.
    Retired {
        /// The tombstone's ballot.
        tombstone: Ballot,
        /// Whatever was sent at a younger age may be refused.
        age: Age,
    },
    /// Forget this tombstone, and refuse from now on what proposers sent at ages younger than these.
    Erase {
        /// The tombstone's ballot.
        tombstone: Ballot,
        /// The proposers' ages.
        ages: BTreeMap<NodeId, Age>,
    },
    /// It is not held here any more, or something newer is.
    Erased {
        /// The tombstone's ballot.
        tombstone: Ballot,
    },
}
