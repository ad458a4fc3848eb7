//! What the local user asks and is told, what goes to disk, and what must be read back from it.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::mem;
use core::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Index, LogId, NodeId, RequestId, Term};

use crate::{Base, Change, ChangeError, Entries, Entry, Log, Membership, SnapshotId, TransferError};

/// What the local user asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Gives a log that is still empty its first members. On any other log it is refused.
    Bootstrap(Membership),
    /// Appends commands, one entry each, in this order and without anything between them.
    Propose(Vec<Bytes>),
    /// Asks as of which index a read may be served.
    Read(ReadLevel),
    /// Takes one step of membership.
    Change(Change),
    /// Hands leadership to this voter; without a name, to the one that suits best.
    Transfer(Option<NodeId>),
    /// The state machine has applied up to `applied`, and would find all up to `durable` again after a crash. Answered
    /// by nothing. Handed in once at the start too, so that what was applied counts as committed.
    Applied {
        /// The last entry applied.
        applied: LogId,
        /// The last entry whose effect is on disk.
        durable: Option<LogId>,
    },
    /// Entries up to and including this one need not be kept. At most what is durable in the state machine; clipped to
    /// it. Answered by nothing.
    Compact(Index),
    /// The state machine was found to stand on this, by a snapshot that was installed right before a crash, and the log
    /// does not lead there. Handed in at the start, before anything else. Answered by nothing.
    Installed(Base),
    /// The state machine was found to have lost its state, and the log begins too late to build it again: a leader must
    /// send it. Until then this node votes and acknowledges, but campaigns only when nobody else does, and leads only until
    /// a majority has its log. Handed in at the start, before anything else. Answered by nothing.
    StateLost,
}

/// How fresh a read must be. `stale` reads never reach the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLevel {
    /// The leader under its lease: no round trip; linearizable while clocks drift apart no more than configured.
    Lease,
    /// A majority confirms the leader after the read arrived; from any node.
    Quorum,
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The commands of a proposal, or a membership step, were appended as the `count` entries from `first` on, all of
    /// its term. Done once an entry of that term is committed at the last of them; lost for certain once one of another
    /// term is; unknown until then.
    Accepted {
        /// Which request.
        id: RequestId,
        /// Its first entry.
        first: LogId,
        /// How many there are.
        count: u64,
    },
    /// Certainly not done.
    Refused {
        /// Which request.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Perhaps done, and nobody here will ever know: the read or proposal may be tried again under the same key.
    Unknown {
        /// Which request.
        id: RequestId,
    },
    /// The read may be served once this index is applied; `None` when nothing was ever committed.
    Readable {
        /// Which request.
        id: RequestId,
        /// Wait for this.
        index: Option<Index>,
    },
    /// Leadership was handed over.
    Transferred {
        /// Which request.
        id: RequestId,
        /// The term that has begun.
        term: Term,
        /// Who leads it.
        leader: NodeId,
    },
    /// Everything up to and including this entry is committed and stored here; pull it and apply it.
    Committed {
        /// The last of them.
        through: Index,
    },
    /// Our role, term or leader changed.
    Led {
        /// The term.
        term: Term,
        /// Who leads it, as far as we know.
        leader: Option<NodeId>,
        /// What we are.
        role: Role,
    },
    /// These are the members now, committed or not: whoever runs us must be able to dial them.
    Peers(Membership),
    /// A learner holds nearly everything: it may be promoted. Emitted by the leader, once for each time it catches up.
    CaughtUp(NodeId),
    /// A peer sent what no correct peer sends; it was dropped.
    Dropped {
        /// Who.
        from: NodeId,
        /// What was wrong with it.
        reason: &'static str,
    },
}

/// Why something was certainly not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// We do not lead; ask the leader, if known.
    NotLeader(Option<NodeId>),
    /// Too much is waiting already; ask later.
    Overloaded,
    /// We lead, but have not committed an entry of our own term yet, or hold no lease: ask again in a moment.
    NotReady,
    /// Another membership step is under way.
    ChangePending,
    /// The membership step makes no sense.
    Change(ChangeError),
    /// We lead, but are handing over to this member: ask again in a moment, whoever leads then.
    Transferring(NodeId),
    /// Leadership was not handed over; we lead on.
    Transfer(TransferError),
    /// The log is not empty any more.
    NotEmpty,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes entries and votes, if it is a voter.
    Follower,
    /// Asks whether it would be elected, in no new term yet.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Appends entries.
    Leader,
}

/// A change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Our term, whom we voted for in it, and what we owe.
    Vote {
        /// The term.
        term: Term,
        /// Whom we voted for.
        vote: Option<NodeId>,
        /// What our log is to reach again, as in [`Saved::owed`].
        owed: Option<LogId>,
    },
    /// Entries after the last one.
    Append(Entries),
    /// Entries from here on are void.
    Truncate(Index),
    /// Entries up to and including the base's last are covered by the state machine and may go.
    Compact(Base),
    /// The whole log is void; it now stands on this base.
    Reset(Base),
}

/// What makes two writes the same to the explorer: everything but time.
impl Hash for Write {
    fn hash<H: Hasher>(&self, into: &mut H) {
        mem::discriminant(self).hash(into);
        match self {
            Self::Vote { term, vote, owed } => (term, vote, owed).hash(into),
            Self::Append(entries) => entries.fingerprint(into),
            Self::Truncate(from) => from.hash(into),
            Self::Compact(base) | Self::Reset(base) => (base.last, &base.membership).hash(into),
        }
    }
}

/// The fold of all stored writes.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// The last stored term.
    pub term: Term,
    /// Whom we voted for in it.
    pub vote: Option<NodeId>,
    /// The last entry the log ended with before it was damaged, or a later one: until it is as long again, this node
    /// elects nobody whose log is shorter. `None` when nothing was lost.
    pub owed: Option<LogId>,
    /// The log: base, runs of terms, and the tail of entries.
    pub log: Log,
}

/// What makes two of these the same to the explorer: everything but time. Other than by the log of a running node, entries
/// are told by what they carry as well, so that no breach of Log Matching is taken for the same.
impl Hash for Saved {
    fn hash<H: Hasher>(&self, into: &mut H) {
        (self.term, self.vote, self.owed).hash(into);
        self.log.fingerprint(into);
        let last = self.log.last_index().unwrap_or(Index::FIRST);
        self.log.cached(Index::after(self.log.base_index()), last, usize::MAX).unwrap_or_default().fingerprint(into);
    }
}

/// Local work whose result must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Reads entries that are no longer in memory: those from `from` on, at most through `through`, and no more than
    /// fit `bytes_max`, but at least one.
    Entries {
        /// The first wanted.
        from: Index,
        /// The last wanted.
        through: Index,
        /// The most payload bytes wanted.
        bytes_max: usize,
    },
    /// Holds the state machine's state as of now ready under this name, for a member to fetch.
    TakeSnapshot(SnapshotId),
    /// Fetches a snapshot and switches the state machine over to it, durably. Replaces a fetching under way.
    FetchSnapshot {
        /// Who holds it.
        from: NodeId,
        /// Its name there.
        id: SnapshotId,
        /// What it covers.
        base: Base,
    },
}

/// That result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entries asked for, or as many as fit. Empty if they are gone meanwhile.
    Entries(Vec<Entry>),
    /// The snapshot is held and covers everything up to this entry; `None` when the state machine has none to give.
    SnapshotTaken(Option<LogId>),
    /// The state machine stands on this now, and would after a crash; `None` when the snapshot could not be had.
    SnapshotFetched(Option<Base>),
}

/// How a node stands: for metrics, `status` and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who we are.
    pub id: NodeId,
    /// What we are.
    pub role: Role,
    /// Our term.
    pub term: Term,
    /// Whom we voted for in it.
    pub vote: Option<NodeId>,
    /// Who leads, as far as we know.
    pub leader: Option<NodeId>,
    /// The last entry.
    pub last: Option<LogId>,
    /// The last entry that is gone from the log.
    pub base: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<Index>,
    /// The last entry on our disk.
    pub stored: Option<Index>,
    /// The last entry the state machine has applied.
    pub applied: Option<Index>,
    /// The members now in force.
    pub membership: Membership,
    /// The entry that put them in force; `None` for those the log stands on.
    pub membership_index: Option<Index>,
    /// Whether they are committed.
    pub membership_committed: bool,
    /// Whether the state was lost and waits for a leader's snapshot.
    pub state_lost: bool,
    /// What the log lost and waits for, as in [`Saved::owed`].
    pub owed: Option<LogId>,
    /// Whether a snapshot is being fetched.
    pub installing: bool,
    /// How long ago the leader, or for a leader a majority, was last heard from.
    pub last_contact: Option<Duration>,
    /// What remains of the lease; `None` without one.
    pub lease: Option<Duration>,
    /// To whom the leader is handing over; `None` while it is not.
    pub transfer: Option<NodeId>,
    /// What a leader knows of each other member: the last entry it holds on disk, and how long ago it was heard.
    pub progress: Vec<(NodeId, Option<Index>, Option<Duration>)>,
    /// Members that a leader did not hear for an election timeout.
    pub silent: Vec<NodeId>,
    /// Payload bytes proposed here and not yet committed.
    pub uncommitted_bytes: usize,
    /// Nonsense of peers that was dropped.
    pub dropped: u64,
    /// Asks not answered yet.
    pub asks: Vec<AskId>,
}
