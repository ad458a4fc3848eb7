//! What nodes say to each other, what goes to disk, and what users are told.

use hezong_base::{NodeId, RequestId};
use hezong_raft::{Base, SnapshotId};

/// A message. `M` is the commit protocol's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<M, S> {
    /// Between members: of the log.
    Raft(hezong_raft::Message),
    /// Participant to all members or to one: for whoever acts.
    ToGroup(M),
    /// Whoever acts to participant, in the name of the group.
    FromGroup(M),
    /// Between participants.
    Direct(M),
    /// Member to the one that offered it: send me this.
    Fetch(SnapshotId),
    /// The answer. It may cover more than was offered.
    Snapshot {
        /// What was asked for.
        id: SnapshotId,
        /// What is there now.
        fold: Fold<S>,
    },
}

/// What all entries up to one amount to. `S` is what the commit protocol finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold<S> {
    /// The last entry applied.
    pub base: Base,
    /// What they amount to.
    pub state: S,
}

/// A change of what is on disk. `W` is the commit protocol's.
#[derive(Clone, Debug)]
pub enum Write<W, S> {
    /// Member: of the log.
    Raft(hezong_raft::Write),
    /// Member: the log before this may go.
    Fold(Fold<S>),
    /// Participant: the protocol's own.
    Own(W),
}

/// What a node finds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Saved<S> {
    /// Member: of the log.
    pub raft: hezong_raft::Saved,
    /// Member: what entries gone from the log amount to, and perhaps some that are not.
    pub fold: Fold<S>,
    /// Participant: the protocol's own.
    pub own: S,
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// By the commit protocol.
    Commit(hezong_commit::Event),
    /// Certainly not begun: this member does not act.
    NotActing {
        /// Which request.
        id: RequestId,
        /// Who leads, as far as is known: it acts, or will in a moment.
        leader: Option<NodeId>,
    },
    /// Whether this member acts from now on. Once it does not, what was begun here and is not answered never will be: it
    /// comes to its end all the same, one way or the other.
    Acting(bool),
}
