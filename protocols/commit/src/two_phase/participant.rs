//! The participant: promises on disk, waits for the outcome, applies it, and remembers that it is over.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{NodeId, Time, WriteId};

use super::Message;
use super::node::{Out, TwoPhase, Write};
use crate::outbox::Outbox;
use crate::{Event, Fenced, Fences, Outcome, TransactionId, Weakness};

/// How far a participant is.
#[derive(Clone, Debug)]
enum Phase {
    /// The user is asked. Nothing is promised, and nothing on disk.
    Voting { work: Bytes, participants: BTreeSet<NodeId> },
    /// Yes, and in doubt. The write is of this life, `None` where it was stored in an earlier one.
    Prepared { write: Option<WriteId>, participants: BTreeSet<NodeId>, attempts: u32, retry_at: Time },
    /// The user is told the outcome, and has not applied it yet.
    Applying(Outcome),
    /// It is over, and forgotten once that is stored: what is held for it is counted until then.
    Finished { write: WriteId, outcome: Outcome },
}

/// A participant's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    /// What is under way.
    transactions: BTreeMap<TransactionId, Phase>,
    /// What is over.
    pub(crate) fences: Fences,
}

impl Participant {
    pub(crate) fn new(fences: Fences) -> Self {
        Self { transactions: BTreeMap::new(), fences }
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(crate) fn in_doubt(&self) -> impl Iterator<Item = TransactionId> + '_ {
        self.transactions.iter().filter(|(_, phase)| matches!(phase, Phase::Prepared { .. })).map(|(tx, _)| *tx)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = |phase: &Phase| match phase {
            Phase::Prepared { retry_at, .. } => Some(*retry_at),
            Phase::Voting { .. } | Phase::Applying(_) | Phase::Finished { .. } => None,
        };
        self.transactions.values().filter_map(due).min()
    }

    pub(crate) fn fingerprint(&self, outbox: &Outbox<TwoPhase>, mut into: &mut dyn Hasher) {
        self.fences.hash(&mut into);
        for (tx, phase) in &self.transactions {
            tx.hash(&mut into);
            match phase {
                Phase::Voting { work, participants } => (0, work, participants).hash(&mut into),
                // Others are asked from the second time on.
                Phase::Prepared { write, attempts, .. } => (1, outbox.place(*write), *attempts > 0).hash(&mut into),
                Phase::Applying(outcome) => (2, outcome).hash(&mut into),
                Phase::Finished { write, .. } => (3, outbox.place(Some(*write))).hash(&mut into),
            }
        }
    }
}

impl TwoPhase {
    /// After a restart: what was promised holds, and how it ended is asked.
    pub(crate) fn resume_doubts(
        &mut self,
        now: Time,
        doubts: BTreeMap<TransactionId, (Bytes, BTreeSet<NodeId>)>,
        out: &mut Out,
    ) {
        for (tx, (work, participants)) in doubts {
            let phase = Phase::Prepared { write: None, participants, attempts: 0, retry_at: now };
            self.participant.transactions.insert(tx, phase);
            self.outbox.emit(None, Event::InDoubt { tx, work }, out);
            self.inquire(now, tx, out);
        }
    }

    pub(crate) fn on_prepare(&mut self, tx: TransactionId, work: Bytes, participants: BTreeSet<NodeId>, out: &mut Out) {
        match self.participant.transactions.get(&tx) {
            // Said before, and not heard.
            Some(Phase::Prepared { write, .. }) if !self.outbox.is_outstanding(*write) => {
                self.outbox.say(None, tx.coordinator, Message::Vote { tx, yes: true }, out);
            }
            // The answer waits for the user or the disk, or makes no difference any more.
            Some(_) => {}
            None => {
                if self.is_over(tx) || !self.config.has_room(self.participant.len()) {
                    return self.outbox.say(None, tx.coordinator, Message::Vote { tx, yes: false }, out);
                }
                let phase = Phase::Voting { work: work.clone(), participants };
                self.participant.transactions.insert(tx, phase);
                self.outbox.emit(None, Event::Prepare { tx, work }, out);
            }
        }
    }

    fn is_over(&self, tx: TransactionId) -> bool {
        self.participant.fences.find(tx) != Fenced::Open && !self.config.weak(Weakness::LatePrepare)
    }

    /// The user's vote. A no is forgotten at once: if it is lost, and we are asked again, either answer is right.
    pub(crate) fn on_local_vote(&mut self, now: Time, tx: TransactionId, yes: bool, out: &mut Out) {
        let Some(Phase::Voting { work, participants }) = self.participant.transactions.get(&tx) else { return };
        // While the user thought, so many newer ones ended that this counts as over, and `save` would not keep the promise.
        let is_late = yes && self.is_over(tx);
        if !yes || is_late {
            self.participant.transactions.remove(&tx);
            if is_late {
                self.outbox.emit(None, Event::Apply { tx, outcome: Outcome::Aborted }, out);
            }
            return self.outbox.say(None, tx.coordinator, Message::Vote { tx, yes: false }, out);
        }
        let (work, participants) = (work.clone(), participants.clone());
        let write = Write::Prepared { tx, work, participants: participants.clone() };
        let write = Some(self.outbox.store(now, write, out));
        // By then the coordinator has decided. Who asked earlier would make others abort what goes well.
        let retry_at = self.config.retry_at(now, &mut self.rng, 0) + self.config.vote_timeout;
        self.participant.transactions.insert(tx, Phase::Prepared { write, participants, attempts: 0, retry_at });
        let rests_on = write.filter(|_| !self.config.weak(Weakness::VoteBeforeStored));
        self.outbox.say(rests_on, tx.coordinator, Message::Vote { tx, yes }, out);
    }

    /// Phase two.
    pub(crate) fn on_decision(&mut self, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        match self.participant.transactions.get(&tx) {
            Some(Phase::Prepared { .. }) => {
                self.participant.transactions.insert(tx, Phase::Applying(outcome));
                self.outbox.emit(None, Event::Apply { tx, outcome }, out);
            }
            Some(Phase::Voting { .. }) if outcome == Outcome::Aborted => {
                self.participant.transactions.remove(&tx);
                self.outbox.emit(None, Event::Apply { tx, outcome }, out);
                // What the user is told may wait behind other events for a disk that stalls, transaction after transaction.
                if let Some(write) = self.outbox.writes.last_event() {
                    self.participant.transactions.insert(tx, Phase::Finished { write, outcome });
                }
            }
            // Nobody commits what we have not voted for. The rest is known already.
            Some(Phase::Voting { .. } | Phase::Applying(_) | Phase::Finished { .. }) => {}
            None if outcome == Outcome::Committed && self.participant.fences.find(tx) != Fenced::Open => {
                self.outbox.say(None, tx.coordinator, Message::Acknowledged(tx), out);
            }
            None => {}
        }
    }

    /// The user has applied the outcome for good.
    pub(crate) fn on_applied(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        let Some(Phase::Applying(outcome)) = self.participant.transactions.get(&tx) else { return };
        let outcome = *outcome;
        let write = self.finish(now, tx, outcome, out);
        if outcome == Outcome::Committed {
            self.outbox.say(Some(write), tx.coordinator, Message::Acknowledged(tx), out);
        }
    }

    fn finish(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) -> WriteId {
        let write = self.outbox.store(now, Write::Finished { tx, outcome }, out);
        self.participant.transactions.insert(tx, Phase::Finished { write, outcome });
        self.participant.fences.insert(tx, outcome);
        write
    }

    pub(crate) fn forget_finished(&mut self) {
        let outbox = &self.outbox;
        self.participant.transactions.retain(|_, phase| match phase {
            Phase::Finished { write, .. } => outbox.is_outstanding(Some(*write)),
            Phase::Voting { .. } | Phase::Prepared { .. } | Phase::Applying(_) => true,
        });
    }

    /// Another participant is in doubt. We tell what we know; and if we have promised nothing we need not, ever, so that it may
    /// abort: once that is on disk.
    pub(crate) fn on_peer_inquiry(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        let known = match self.participant.transactions.get(&tx) {
            // The first to ask is answered once it is stored, and whoever asks again.
            Some(Phase::Finished { write, .. }) if self.outbox.is_outstanding(Some(*write)) => return,
            Some(Phase::Applying(outcome) | Phase::Finished { outcome, .. }) => Some(*outcome),
            Some(Phase::Prepared { .. }) if !self.config.weak(Weakness::PeerAborts) => return,
            Some(Phase::Prepared { .. }) => Some(Outcome::Aborted),
            Some(Phase::Voting { .. }) => None,
            None => match self.participant.fences.find(tx) {
                Fenced::Finished(outcome) => Some(outcome),
                Fenced::Forgotten => return,
                Fenced::Open => None,
            },
        };
        let unwritten = self.config.weak(Weakness::PeerAbortForgotten).then_some(Outcome::Aborted);
        if let Some(outcome) = known.or(unwritten) {
            return self.outbox.say(None, from, Message::Decision { tx, outcome }, out);
        }
        let is_asked = self.participant.transactions.contains_key(&tx);
        if !is_asked && !self.config.has_room(self.participant.len()) {
            return;
        }
        let outcome = Outcome::Aborted;
        let write = Some(self.finish(now, tx, outcome, out));
        if is_asked {
            // After a crash before that is stored we might be asked again, vote yes, and commit.
            self.outbox.emit(write, Event::Apply { tx, outcome }, out);
        }
        self.outbox.say(write, from, Message::Decision { tx, outcome }, out);
        self.outbox.say(write, tx.coordinator, Message::Vote { tx, yes: false }, out);
    }

    /// Asks the coordinator; and where it has been silent, the others.
    fn inquire(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        let Some(Phase::Prepared { write, participants, attempts, retry_at }) =
            self.participant.transactions.get_mut(&tx)
        else {
            return;
        };
        *retry_at = self.config.retry_at(now, &mut self.rng, *attempts);
        // Nobody has heard of our promise.
        if self.outbox.is_outstanding(*write) {
            return;
        }
        self.outbox.say(None, tx.coordinator, Message::Inquiry(tx), out);
        for peer in participants.iter().filter(|id| *attempts > 0 && **id != self.config.id && **id != tx.coordinator) {
            self.outbox.say(None, *peer, Message::Inquiry(tx), out);
        }
        *attempts = attempts.saturating_add(1);
    }

    pub(crate) fn on_participant_timeout(&mut self, now: Time, out: &mut Out) {
        let is_due = |phase: &Phase| matches!(phase, Phase::Prepared { retry_at, .. } if *retry_at <= now);
        let due = self.participant.transactions.iter().filter(|(_, phase)| is_due(phase)).map(|(tx, _)| *tx);
        for tx in due.collect::<Vec<_>>() {
            if self.config.weak(Weakness::DoubtAborts) {
                self.on_decision(tx, Outcome::Aborted, out);
            } else {
                self.inquire(now, tx, out);
            }
        }
    }
}
