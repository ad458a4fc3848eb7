//! What must hold of each protocol, whoever runs it: the explorer tries all short runs, the simulator long ones by chance,
//! the laboratory those of a story.
//!
//! Nodes are looked at from outside, after every step: at what they hold and, where that is not enough, at what they tell.
//! What no node may hold any more, such as who led a term, is remembered in a *past*.
//!
//! | file | protocol | properties | where they are stated |
//! |---|---|---|---|
//! | `raft.rs` | Raft | election safety, leader append-only, log matching, leader completeness, state-machine safety; reads by lease or by a majority are not old (§8) | Ongaro and Ousterhout 2014, figure 3 |
//! | `paxos.rs` | basic Paxos | promises are kept, only what was proposed is accepted, one value a ballot, agreement, only what was chosen is learned and told | Lamport 2001, §2.1 and §2.2 |
//! | `register.rs` | CASPaxos registers | promises and ages are kept, also where a register was collected; one state a ballot, one chain of states, a change is made once, what is refused never; what users are told was chosen since they asked | Rystsov 2018, §2.2 and §3.1 |
//! | `zab.rs` | ZAB | total order, primary order, committed is on a majority of disks and stays, one leader an epoch, epochs never fall, who serves has all that was before, a leader gives up for a reason; what users are told is so, on their own disk and in order, `sync` included | Junqueira, Reed and Serafini 2011, §III and §IV |
//! | `commit.rs`, `commit_past.rs` | two-phase commit, three-phase commit, Try-Confirm-Cancel | agreement, only what all have promised is committed, an outcome does not change, a yes is kept until its outcome and a decision until all have it, a number is used once; what users are told is on disk and was asked for | Gray and Lamport 2006, §2; Mohan, Lindsay and Obermarck 1986, §3 |
//! | `replicated.rs` | two-phase commit with a replicated coordinator | the same, of what its members have applied; and state-machine safety | the same; Ongaro and Ousterhout 2014, figure 3 |
//! | `multi_paxos.rs` | Multi-Paxos | promises are kept, one value a slot and ballot, agreement, only what was chosen is told and in order, what was refused is not done, reads are not old | Lamport 2001, §3; Chandra, Griesemer and Redstone 2007, §5.2 |
//!
//! The simulator of the whole product has checkers of its own for Raft, which also watch what travels and what is written.

#![forbid(unsafe_code)]

mod commit;
mod commit_past;
mod multi_paxos;
mod paxos;
mod raft;
mod register;
mod replicated;
mod zab;

use std::fmt::{self, Debug};
use std::hash::Hash;

use hezong_base::{NodeId, Protocol, RequestId, Time};

pub use commit::{CommitInvariants, CommitRules, CommitView, Commits, Coordinated, Promised};
pub use commit_past::CommitPast;
pub use multi_paxos::{MultiPaxosInvariants, MultiPaxosPast, MultiPaxosView};
pub use paxos::{PaxosInvariants, PaxosPast, PaxosView, Proposals};
pub use raft::{RaftInvariants, RaftPast, RaftView, Slot};
pub use register::{RegisterInvariants, RegisterPast, RegisterView};
pub use replicated::{ReplicatedInvariants, ReplicatedPast, ReplicatedView};
pub use zab::{ZabInvariants, ZabPast, ZabView};

/// What must hold of a protocol.
pub trait Invariants {
    /// The protocol.
    type Protocol: Protocol;
    /// What is looked at of one node.
    type View: Debug;
    /// What must be remembered, being no longer seen on any node.
    type Past: Clone + Debug + Default + PartialEq + Eq + Hash;

    /// What is looked at, of the node and of what is on its disk.
    fn view(&self, node: &Self::Protocol, saved: &<Self::Protocol as Protocol>::Saved, now: Time) -> Self::View;

    /// What must hold of any step of one node, crashes included.
    ///
    /// # Errors
    /// Says what does not.
    fn check_step(&self, id: NodeId, before: &Self::View, after: &Self::View) -> Result<(), Violation>;

    /// What must hold of what a message makes of a node, where what it said matters.
    ///
    /// # Errors
    /// Says what does not.
    fn check_message(
        &self,
        _id: NodeId,
        _before: &Self::View,
        _from: NodeId,
        _message: &<Self::Protocol as Protocol>::Message,
        _after: &Self::View,
    ) -> Result<(), Violation> {
        Ok(())
    }

    /// Remembers what a node has become, which must agree with what is remembered already.
    ///
    /// # Errors
    /// Says what does not.
    fn remember(&self, past: &mut Self::Past, id: NodeId, view: &Self::View) -> Result<(), Violation>;

    /// Remembers what a user asks for, where what it is told is judged by that. The explorer does not tell.
    fn asked(
        &self,
        _past: &mut Self::Past,
        _id: NodeId,
        _request_id: RequestId,
        _request: &<Self::Protocol as Protocol>::Request,
    ) {
    }

    /// What must hold of what users are told. The explorer does not ask.
    ///
    /// # Errors
    /// Says what does not.
    fn hear(
        &self,
        _past: &mut Self::Past,
        _id: NodeId,
        _event: &<Self::Protocol as Protocol>::Event,
    ) -> Result<(), Violation> {
        Ok(())
    }

    /// What must hold of all nodes that are up together.
    ///
    /// # Errors
    /// Says what does not.
    fn check(&self, views: &[(NodeId, &Self::View)], past: &Self::Past) -> Result<(), Violation>;

    /// What would be remembered if nodes had these names. The same where a protocol depends on names, so that the explorer
    /// does not exchange them.
    fn renamed(past: &Self::Past, _name: &dyn Fn(NodeId) -> NodeId) -> Self::Past {
        past.clone()
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// `property` does not hold: `detail` was seen.
    pub fn new(property: &'static str, detail: impl Into<String>) -> Self {
        Self { property, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}
