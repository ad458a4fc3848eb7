//! What a node is told at birth.

use alloc::collections::BTreeSet;
use core::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, Rng, Time};

use crate::{NUMBER_MAX, Refusal, TransactionId, Work};

/// After so many attempts pauses double no more: by then they are at their longest.
const DOUBLINGS_MAX: u32 = 16;

/// Who takes part, time-outs and limits of one node. All nodes should be given the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub id: NodeId,
    /// Everybody who may coordinate or take part, us included. What comes from or speaks of others is dropped.
    pub nodes: BTreeSet<NodeId>,
    /// How long a coordinator waits for votes before it aborts. Default 2 s.
    pub vote_timeout: Duration,
    /// How long one who waits for an answer pauses before it asks again; each pause is drawn between this and twice as much,
    /// and doubles with every attempt up to `retry_max`. Default 200 ms.
    pub retry_min: Duration,
    /// See there. Default 5 s.
    pub retry_max: Duration,
    /// For three-phase commit alone: the longest time from a message being sent until its answer is there, the
    /// disk's part included. Whoever takes longer is held to have crashed. All nodes must be given the same, and the same
    /// `vote_timeout`: by these one knows when another would have spoken. Default 1 s.
    pub round_trip_max: Duration,
    /// How many transactions may be under way as coordinator, and how many as participant; in three-phase commit as many again
    /// may be on their way to the disk, aborted before they began here. Together with `work_bytes_max` it
    /// bounds all that a node holds, on its way to the disk or not; but for one answer to each
    /// [`Request::Begin`](crate::Request::Begin), a refusal too, which may wait behind what the user is to be told before it:
    /// whoever hands requests in bounds how many are not answered. Default 1,024.
    pub transactions_max: usize,
    /// The longest work of one participant. Default 64 KiB.
    pub work_bytes_max: usize,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<crate::Weakness>,
}

impl Config {
    /// Defaults for a node among these.
    #[must_use]
    pub fn new(id: NodeId, nodes: BTreeSet<NodeId>) -> Self {
        Self {
            id,
            nodes,
            vote_timeout: Duration::from_secs(2),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(5),
            round_trip_max: Duration::from_secs(1),
            transactions_max: 1_024,
            work_bytes_max: 64 << 10,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }

    /// Whether this node suffers from a known bug. Never in what ships.
    #[cfg(feature = "weakened")]
    pub(crate) fn weak(&self, weakness: crate::Weakness) -> bool {
        self.weakness == Some(weakness)
    }

    /// Whether this node suffers from a known bug: never.
    #[cfg(not(feature = "weakened"))]
    #[expect(clippy::unused_self, reason = "the weakened build asks its configuration")]
    pub(crate) const fn weak(&self, _: crate::Weakness) -> bool {
        false
    }

    /// When to try again after so many attempts.
    pub(crate) fn retry_at(&self, now: Time, rng: &mut Rng, attempts: u32) -> Time {
        let pause =
            self.retry_min.saturating_mul(1 << attempts.min(DOUBLINGS_MAX)).min(self.retry_max.max(self.retry_min));
        now.after(rng.between(pause, pause.saturating_mul(2)))
    }

    /// Why a transaction cannot be begun, if so.
    pub(crate) fn refusal(&self, work: &Work, under_way: usize, number: u64) -> Option<Refusal> {
        if work.is_empty() {
            Some(Refusal::Empty)
        } else if !work.keys().all(|id| self.nodes.contains(id)) {
            Some(Refusal::UnknownNode)
        } else if !work.values().all(|work| self.fits(work)) {
            Some(Refusal::TooLong)
        } else if !self.has_room(under_way) {
            Some(Refusal::Overloaded)
        } else if number > NUMBER_MAX {
            Some(Refusal::NumbersSpent)
        } else {
            None
        }
    }

    /// Our transaction of this number.
    pub(crate) const fn our(&self, number: u64) -> TransactionId {
        TransactionId { coordinator: self.id, number }
    }

    /// Whether such a node may speak of such a transaction.
    pub(crate) fn is_plausible(&self, from: NodeId, tx: TransactionId) -> bool {
        let known = |id| self.nodes.contains(id);
        known(&from) && known(&tx.coordinator) && (1..=NUMBER_MAX).contains(&tx.number)
    }

    /// Whether we may be asked for this work among these.
    pub(crate) fn may_be_asked(&self, work: &Bytes, participants: &BTreeSet<NodeId>) -> bool {
        self.fits(work) && participants.contains(&self.id) && participants.is_subset(&self.nodes)
    }

    /// Whether work is short enough.
    pub(crate) fn fits(&self, work: &Bytes) -> bool {
        work.len() <= self.work_bytes_max
    }

    /// Whether one more transaction may be under way.
    pub(crate) const fn has_room(&self, under_way: usize) -> bool {
        under_way < self.transactions_max
    }
}
