//! What nodes say to each other. Every message carries its sender's term (figure 2, "rules for all servers").

use core::hash::{Hash, Hasher};
use core::mem;
use core::time::Duration;

use hezong_base::{Index, LogId, Term};

use crate::{Base, Entries, SnapshotId};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's term; for `RequestPreVote` and a granted `PreVote` the term it would campaign in.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you vote for me?" Changes nothing at the receiver (§9.6 of the dissertation).
    RequestPreVote {
        /// The sender's last entry.
        last: Option<LogId>,
    },
    /// The answer. A refusal carries the receiver's own term.
    PreVote {
        /// Yes or no.
        granted: bool,
    },
    /// "Vote for me" (§5.2).
    RequestVote {
        /// The sender's last entry.
        last: Option<LogId>,
        /// Whether the leader of the term before asked the sender to take over. That leader has given up its lease, so
        /// that no lease stands in the way of this vote.
        transfer: bool,
    },
    /// The answer.
    Vote {
        /// Yes or no.
        granted: bool,
    },
    /// Entries that follow `previous` (§5.3). Without entries it is a probe.
    Append {
        /// The entry before the first one sent; `None` when they start the log.
        previous: Option<LogId>,
        /// In order, without gaps. May be empty.
        entries: Entries,
        /// How far the leader has committed, at most the last entry this message vouches for.
        committed: Option<Index>,
    },
    /// "My log equals yours up to `matched`, and it is on disk."
    Appended {
        /// The last entry vouched for; `None` when an empty probe before the first entry matched.
        matched: Option<Index>,
    },
    /// "I do not hold `previous`."
    Diverged {
        /// The rejected `previous`, so that a late rejection can be told from a fresh one.
        previous: LogId,
        /// The last entry of the receiver that the leader may also hold: at or before `previous.index`, and of no later
        /// term. Skips whole terms at a time.
        hint: Option<LogId>,
    },
    /// "My log was damaged, whatever I acknowledged before." Repeated until it is as long again (see `damage.rs`).
    LogLost {
        /// What it ended with once, or more.
        owed: LogId,
        /// What it ends with now.
        last: Option<LogId>,
        /// Names the sender's life; never reused.
        token: u64,
    },
    /// "Nothing of this term went beyond this when I heard of it": what is owed may be more than there ever was.
    LogLostAck {
        /// The life.
        token: u64,
        /// The leader's last entry.
        end: LogId,
    },
    /// "What you need is gone from my log: fetch this state from me instead" (§7). Repeated until it is answered.
    InstallSnapshot {
        /// What to ask for.
        id: SnapshotId,
        /// What it covers.
        base: Base,
    },
    /// What became of an offered snapshot.
    SnapshotInstalled {
        /// Which.
        id: SnapshotId,
        /// Whether the sender's state covers now what it covers; if not, it could not be had, and another is needed.
        installed: bool,
    },
    /// "My state is lost, and my log does not lead to it."
    RequestSnapshot,
    /// "I lead." One round goes to everybody at once.
    Heartbeat {
        /// Which round; counted up by the leader within its term, never repeated.
        round: u64,
        /// For how long an acknowledgement binds the receiver not to vote.
        lease: Duration,
        /// How far the leader has committed, at most what it knows the receiver to hold.
        committed: Option<Index>,
    },
    /// "You do, as of that round."
    HeartbeatAck {
        /// The round acknowledged.
        round: u64,
        /// The lease granted, echoed.
        lease: Duration,
    },
    /// "As of which index may I read?" From a follower whose client wants a `consistent` read.
    ReadIndex {
        /// Names the attempt; never reused, not even after a restart.
        token: u64,
    },
    /// "As of this one", once a majority has confirmed the leader.
    ReadIndexAck {
        /// The attempt.
        token: u64,
        /// Wait until this is applied; `None` if the leader cannot tell, and the read is refused.
        index: Option<Index>,
    },
    /// "Campaign at once" (§3.10 of the dissertation). From the leader, to the voter it hands leadership to.
    TimeoutNow,
}

/// What makes two messages the same to the explorer: everything but time, and but the numbers that only tell one attempt
/// from another (rounds, tokens, names of snapshots).
impl Hash for Message {
    fn hash<H: Hasher>(&self, into: &mut H) {
        (self.term, mem::discriminant(&self.body)).hash(into);
        match &self.body {
            Body::RequestPreVote { last } => last.hash(into),
            Body::PreVote { granted } | Body::Vote { granted } => granted.hash(into),
            Body::RequestVote { last, transfer } => (last, transfer).hash(into),
            Body::Append { previous, entries, committed } => {
                (previous, committed).hash(into);
                entries.fingerprint(into);
            }
            Body::Appended { matched } => matched.hash(into),
            Body::Diverged { previous, hint } => (previous, hint).hash(into),
            Body::LogLost { owed, last, token: _ } => (owed, last).hash(into),
            Body::LogLostAck { token: _, end } => end.hash(into),
            Body::InstallSnapshot { id: _, base } => (base.last, &base.membership).hash(into),
            Body::SnapshotInstalled { id: _, installed } => installed.hash(into),
            Body::Heartbeat { round: _, lease, committed } => (lease, committed).hash(into),
            Body::HeartbeatAck { round: _, lease } => lease.hash(into),
            Body::ReadIndexAck { token: _, index } => index.hash(into),
            Body::ReadIndex { token: _ } | Body::RequestSnapshot | Body::TimeoutNow => {}
        }
    }
}

/// No log grows so long; an index beyond it must not make ours overflow.
const INDEX_MAX: Index = Index(u64::MAX / 2);

impl Body {
    /// Whether every place in a log and every member it names can exist. Entries are looked at where they are taken.
    pub(crate) fn is_possible(&self) -> bool {
        let place = |index: Index| (Index::FIRST..=INDEX_MAX).contains(&index);
        let place = |index: Option<Index>| index.is_none_or(place);
        let id = |id: Option<LogId>| place(id.map(|id| id.index));
        match self {
            Self::RequestPreVote { last } | Self::RequestVote { last, .. } => id(*last),
            Self::Append { previous, entries, committed } => {
                id(*previous) && place(*committed) && id(entries.last().map(|entry| entry.id))
            }
            Self::Appended { matched } => place(*matched),
            Self::Diverged { previous, hint } => id(Some(*previous)) && id(*hint),
            Self::LogLost { owed, last, .. } => id(Some(*owed)) && id(*last),
            Self::LogLostAck { end, .. } => id(Some(*end)),
            Self::Heartbeat { committed, .. } => place(*committed),
            Self::ReadIndexAck { index, .. } => place(*index),
            Self::InstallSnapshot { base, .. } => id(base.last) && base.membership.is_possible(),
            Self::PreVote { .. }
            | Self::Vote { .. }
            | Self::SnapshotInstalled { .. }
            | Self::RequestSnapshot
            | Self::HeartbeatAck { .. }
            | Self::ReadIndex { .. }
            | Self::TimeoutNow => true,
        }
    }
}
