//! What a leader knows of one other member, and what is on its way to it.

use alloc::collections::VecDeque;

use hezong_base::{AskId, Index, LogId, Time, sometimes};

use crate::{Base, SnapshotId};

/// How a leader feeds one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Where the logs part is not known yet: one append at a time, the next one when that is answered, or when a
    /// heartbeat is acknowledged long after it left.
    Probe {
        /// Whether one is under way.
        waiting: bool,
    },
    /// The logs agree: appends follow each other without waiting, as many bytes as the window takes.
    Replicate,
    /// It needs entries that are compacted. Nothing but heartbeats and the offer of a snapshot until it acknowledges
    /// something we still hold.
    Snapshot,
}

/// A snapshot for a member.
#[derive(Clone, Debug)]
pub(crate) enum Offer {
    /// It is being taken, under this ask.
    Taking {
        /// The ask.
        ask: AskId,
        /// Its name.
        id: SnapshotId,
    },
    /// It is held, and the member has been told.
    Made {
        /// Its name.
        id: SnapshotId,
        /// What it covers.
        base: Base,
        /// When the member was last told.
        sent_at: Time,
    },
}

/// One other member, as its leader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The last entry it is known to hold on disk. Only grows, unless it says that its log was damaged.
    pub(crate) matched: Option<Index>,
    /// The first entry not yet sent. Always in (matched, last + 1]; falls only on a rejection.
    pub(crate) next: Index,
    /// How it is fed.
    pub(crate) mode: Mode,
    /// Appends on their way, oldest first: the last entry of each and its bytes.
    in_flight: VecDeque<(Index, usize)>,
    /// The sum of the bytes in `in_flight`.
    in_flight_bytes: usize,
    /// The read of entries under way for it. An answer to any other ask is dropped.
    pub(crate) ask: Option<AskId>,
    /// The snapshot it is to fetch, if nothing else helps it.
    pub(crate) offer: Option<Offer>,
    /// It said that its state is lost: it needs a snapshot although its log may be whole.
    pub(crate) state_lost: bool,
    /// What it said last that its log ended with before it was damaged. Void once it has acknowledged as much.
    pub(crate) owed: Option<LogId>,
    /// The last heartbeat round it acknowledged.
    pub(crate) round: Option<u64>,
    /// The last round it acknowledged with the whole lease granted.
    pub(crate) lease_round: Option<u64>,
    /// When it was last heard; at first, when we began to lead or it joined.
    pub(crate) heard_at: Time,
    /// When it last got an append.
    pub(crate) sent_at: Time,
    /// For a learner that catches up: the end of the log when this round of replication began, and when that was
    /// (§4.2.1 of the dissertation). `None` once it has caught up, and for voters.
    pub(crate) goal: Option<(Index, Time)>,
    /// It is no member any more, and is fed only until it knows.
    pub(crate) leaving: bool,
    /// Until when, at the latest. `None` until its removal is committed.
    pub(crate) leave_by: Option<Time>,
}

impl Progress {
    /// A member of which nothing is known yet; the first guess is that it holds everything before `next`.
    pub(crate) fn new(now: Time, next: Index) -> Self {
        Self {
            matched: None,
            next,
            mode: Mode::Probe { waiting: false },
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            ask: None,
            offer: None,
            state_lost: false,
            owed: None,
            round: None,
            lease_round: None,
            heard_at: now,
            sent_at: now,
            goal: None,
            leaving: false,
            leave_by: None,
        }
    }

    /// How many bytes may be sent now; `None` when nothing may.
    pub(crate) fn room(&self, window_bytes_max: usize) -> Option<usize> {
        match self.mode {
            Mode::Probe { waiting: false } => Some(window_bytes_max),
            Mode::Replicate if self.ask.is_none() => {
                let room = window_bytes_max.checked_sub(self.in_flight_bytes).filter(|room| *room > 0);
                sometimes!("raft: a window is full", room.is_none());
                room
            }
            Mode::Probe { waiting: true } | Mode::Replicate | Mode::Snapshot => None,
        }
    }

    /// An append with entries through `last` (`None` without entries) leaves.
    pub(crate) fn sent(&mut self, now: Time, last: Option<Index>, bytes: usize) {
        self.sent_at = now;
        match self.mode {
            Mode::Probe { .. } => self.mode = Mode::Probe { waiting: true },
            Mode::Replicate | Mode::Snapshot => {
                if let Some(last) = last {
                    self.next = last.next();
                    self.in_flight.push_back((last, bytes));
                    self.in_flight_bytes += bytes;
                }
            }
        }
    }

    /// It holds everything up to `matched`.
    pub(crate) fn acknowledged(&mut self, matched: Option<Index>) {
        self.matched = self.matched.max(matched);
        // What the offer was for is reached, be it without it.
        let covered = |offer: &mut Offer| {
            let Offer::Made { base, .. } = offer else { return false };
            base.last.map(|last| last.index) <= self.matched
        };
        if !self.state_lost {
            self.offer.take_if(covered);
        }
        let after = Index::after(self.matched);
        match self.mode {
            // The optimism of `next` was for the probe alone: go on from what is certain.
            Mode::Probe { .. } | Mode::Snapshot => {
                self.next = after;
                self.mode = Mode::Replicate;
            }
            Mode::Replicate => self.next = self.next.max(after),
        }
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(last, _)| Some(*last) <= self.matched) {
            self.in_flight_bytes -= bytes;
        }
    }

    /// It does not hold what the last append stood on: probe again from `next`.
    pub(crate) fn probe_from(&mut self, next: Index) {
        self.next = next.max(Index::after(self.matched));
        self.mode = Mode::Probe { waiting: false };
        self.forget_in_flight();
    }

    /// Its log was damaged: what it acknowledged, it may hold no more. Probe from `next`.
    pub(crate) fn lost(&mut self, next: Index) {
        sometimes!("raft: an acknowledgement from before damage is void");
        self.matched = None;
        self.probe_from(next);
    }

    /// It needs what is gone.
    pub(crate) fn needs_what_is_gone(&mut self) {
        self.mode = Mode::Snapshot;
        self.forget_in_flight();
    }

    /// Whether the next acknowledgement of a heartbeat may make us send again.
    pub(crate) fn is_unanswered(&self) -> bool {
        match self.mode {
            Mode::Probe { waiting } => waiting,
            Mode::Replicate => self.ask.is_none() && self.is_waiting(),
            Mode::Snapshot => false,
        }
    }

    /// Whether something was sent in the stream that it has not acknowledged.
    pub(crate) fn is_waiting(&self) -> bool {
        Index::after(self.matched) < self.next
    }

    fn forget_in_flight(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.ask = None;
    }
}
