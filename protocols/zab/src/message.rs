//! What nodes say to each other.

use bytes::Bytes;
use hezong_base::{NodeId, RequestId};

use crate::{Epoch, Refusal, Round, Zxid};

/// Whom a node wants to lead, and why. The derived order is that of elections: the epoch last taken up, then the history,
/// then the name, so that of two votes one is always better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The epoch whose history the candidate has taken over: what it stored as its current one, whatever its last zxid says.
    pub epoch: Epoch,
    /// The last transaction in the candidate's history.
    pub zxid: Option<Zxid>,
    /// The candidate.
    pub leader: NodeId,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its place.
    pub zxid: Zxid,
    /// What it says to the state machine.
    pub data: Bytes,
}

/// Names a session between a learner and a leader; the learner chooses it. Later sessions of one life are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// Drawn by chance when the learner started.
    pub life: u64,
    /// How many this life has opened.
    pub number: u64,
}

/// Names a snapshot among all that are ever offered: drawn by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

/// A message. All may come late, twice, out of order, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// "I look for a leader." Goes to every voter.
    Looking {
        /// The sender's logical clock.
        round: Round,
        /// Its vote in that round. An observer has none.
        vote: Option<Vote>,
    },
    /// "I do not look any more": the answer to one that does.
    Settled {
        /// The round in which that was settled.
        round: Round,
        /// Whom the sender follows; itself when it leads.
        leader: NodeId,
    },
    /// Something within a session.
    Packet(Packet),
    /// The session is over. Saves the other side a time-out, and nothing rests on it.
    End(SessionId),
}

/// What is said within a session, where order matters and the network keeps none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Which session.
    pub session: SessionId,
    /// The epoch that the leader offered in it; `None` before. It tells two reigns of one leader apart, so that a session of
    /// the first, overtaken by the second, says nothing in it.
    pub epoch: Option<Epoch>,
    /// Its place among what this side says in the session. A learner's first word is 0; the leader's first word has a number
    /// that it has not used to this learner in its reign, and both go on from there. A gap ends the session.
    pub number: u64,
    /// What it says.
    pub body: Body,
}

/// The messages of discovery, synchronisation and broadcast, under ZooKeeper's names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// A learner opens a session: the highest epoch it has accepted. (CEPOCH in the paper; OBSERVERINFO too.)
    FollowerInfo(Epoch),
    /// The leader's new epoch, which the packet carries. (NEWEPOCH)
    LeaderInfo,
    /// The epoch is accepted. (ACK-E)
    AckEpoch {
        /// The epoch whose history the learner has. `None` if it had accepted the offered epoch before, maybe from another
        /// leader: that is no acknowledgement and never counts as one (-1 in ZooKeeper).
        current: Option<Epoch>,
        /// Its last transaction.
        last: Option<Zxid>,
    },
    /// What follows continues your history.
    Diff,
    /// Drop what comes after this; what follows continues from there.
    Trunc(Option<Zxid>),
    /// Fetch this snapshot, which covers everything up to `last`; what follows continues from there.
    Snap {
        /// Under which name the leader's user holds it ready.
        id: SnapshotId,
        /// The last transaction in it.
        last: Zxid,
    },
    /// The history is complete. (NEWLEADER)
    NewLeader,
    /// History, then epoch, are on disk up to and including `last`. (ACK-LD)
    AckLeader {
        /// The end of what is stored.
        last: Option<Zxid>,
    },
    /// A majority has the history: serve. (COMMIT-LD)
    UpToDate {
        /// The leader's last committed transaction.
        committed: Option<Zxid>,
    },
    /// Store this, and say so.
    Proposal {
        /// The transaction.
        entry: Entry,
        /// The receiver's request that it carries out.
        request: Option<RequestId>,
    },
    /// Everything up to and including this is on disk.
    Ack(Zxid),
    /// The next transaction is committed.
    Commit(Zxid),
    /// The next transaction, committed already: for observers.
    Inform {
        /// The transaction.
        entry: Entry,
        /// The receiver's request that it carries out.
        request: Option<RequestId>,
    },
    /// "I still lead", and how often the leader has asked for that to be confirmed.
    Ping(u64),
    /// "I still follow", as of that ping.
    Pong(u64),
    /// A learner's user wants this broadcast.
    Request {
        /// The learner's name for it.
        id: RequestId,
        /// What is to be broadcast.
        data: Bytes,
    },
    /// It is not, and will not be.
    Refused {
        /// Which request.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Tell me when I have everything that is committed by now.
    Sync(RequestId),
    /// You have.
    Synced(RequestId),
}
