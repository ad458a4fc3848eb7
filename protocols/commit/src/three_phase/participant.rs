//! The participant: promises, learns that all have, applies the outcome, and remembers that it is over.

use alloc::collections::{BTreeMap, BTreeSet};
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{NodeId, Time, WriteId};

use super::Message;
use super::node::{Out, ThreePhase, Write};
use super::termination::Duty;
use crate::outbox::Outbox;
use crate::{Event, Fenced, Fences, Outcome, TransactionId, Weakness};

/// How far a participant is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// The user is asked. Nothing is promised.
    Voting(Bytes),
    /// Yes.
    Prepared,
    /// Yes, and all have. Not on disk: whoever crashes only asks from then on, and nothing rests on what it knew.
    PreCommitted,
    /// The user is told the outcome, once that is stored, and has not applied it yet.
    Decided(Outcome),
    /// It is over, and in the fence, once that is stored.
    Finished(Outcome),
}

/// A transaction under way here.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) participants: BTreeSet<NodeId>,
    pub(crate) phase: Phase,
    /// What the phase rests on; of this life, `None` where it was stored in an earlier one.
    pub(crate) write: Option<WriteId>,
    pub(crate) duty: Duty,
    /// When patience ends. Of no meaning while the user is asked and once it is decided.
    pub(crate) at: Time,
}

impl Part {
    /// Whether it is promised and not decided.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self.phase, Phase::Prepared | Phase::PreCommitted)
    }

    /// The next phase, which rests on this write.
    pub(crate) fn enter(&mut self, phase: Phase, write: WriteId) {
        (self.phase, self.write) = (phase, Some(write));
    }
}

/// A participant's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    /// What is under way.
    pub(crate) transactions: BTreeMap<TransactionId, Part>,
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
        self.transactions.iter().filter(|(_, part)| part.is_in_doubt()).map(|(tx, _)| *tx)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.transactions.values().filter(|part| part.is_in_doubt()).map(|part| part.at).min()
    }

    pub(crate) fn fingerprint(&self, outbox: &Outbox<ThreePhase>, mut into: &mut dyn Hasher) {
        self.fences.hash(&mut into);
        for (tx, part) in &self.transactions {
            (tx, &part.participants, &part.phase, outbox.place(part.write)).hash(&mut into);
            part.duty.fingerprint(into);
        }
    }
}

impl ThreePhase {
    pub(crate) fn on_can_commit(
        &mut self,
        tx: TransactionId,
        work: Bytes,
        participants: BTreeSet<NodeId>,
        out: &mut Out,
    ) {
        if self.participant.transactions.contains_key(&tx) {
            return;
        }
        if self.is_over(tx) || !self.config.has_room(self.participant.len()) {
            return self.outbox.say(None, tx.coordinator, Message::Vote { tx, yes: false }, out);
        }
        let phase = Phase::Voting(work.clone());
        let part = Part { participants, phase, write: None, duty: Duty::Waiting, at: Time::ZERO };
        self.participant.transactions.insert(tx, part);
        self.outbox.emit(None, Event::Prepare { tx, work }, out);
    }

    fn is_over(&self, tx: TransactionId) -> bool {
        self.participant.fences.find(tx) != Fenced::Open
    }

    /// The user's vote. A no is forgotten: whoever asks later is told abort, as is the user if it is asked again.
    pub(crate) fn on_local_vote(&mut self, now: Time, tx: TransactionId, yes: bool, out: &mut Out) {
        let is_over = self.is_over(tx);
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        let Phase::Voting(work) = &part.phase else { return };
        if !yes {
            self.participant.transactions.remove(&tx);
            return self.outbox.say(None, tx.coordinator, Message::Vote { tx, yes: false }, out);
        }
        // While the user thought, so many newer ones ended that this counts as over, and `save` would not keep the promise.
        if is_over {
            self.abort_unvoted(now, tx, out);
            return self.outbox.say(None, tx.coordinator, Message::Vote { tx, yes: false }, out);
        }
        let (work, participants) = (work.clone(), part.participants.clone());
        let write = self.outbox.store(now, Write::Prepared { tx, work, participants }, out);
        part.enter(Phase::Prepared, write);
        // By then the others have voted, and the coordinator has written and said what follows.
        part.at = now.after(self.config.vote_timeout + self.config.round_trip_max);
        self.be_patient(tx);
        let rests_on = Some(write).filter(|_| !self.config.weak(Weakness::VoteBeforeStored));
        self.outbox.say(rests_on, tx.coordinator, Message::Vote { tx, yes }, out);
    }

    /// All have voted yes: from the coordinator, or from a backup.
    pub(crate) fn on_pre_commit(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        // Before our own vote is on disk nobody has it, and it is nonsense.
        if !part.is_in_doubt() || self.outbox.is_outstanding(part.write) {
            return;
        }
        part.phase = Phase::PreCommitted;
        self.outbox.say(None, from, Message::Ready(tx), out);
        self.give_way(now, from, tx);
    }

    /// So it ended, says somebody who has it on disk.
    pub(crate) fn on_decision(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        let part = self.participant.transactions.get(&tx);
        let is_promised = part.is_some_and(|part| !self.outbox.is_outstanding(part.write));
        match part.map(|part| &part.phase) {
            Some(Phase::Prepared | Phase::PreCommitted) if is_promised || outcome == Outcome::Aborted => {
                self.decide(now, tx, outcome, out);
            }
            Some(Phase::Voting(_)) if outcome == Outcome::Aborted => {
                self.abort_unvoted(now, tx, out);
            }
            // Nobody commits what we have not voted for, and how it ended before is how it ends.
            Some(Phase::Voting(_) | Phase::Prepared | Phase::PreCommitted) => {}
            Some(Phase::Decided(_) | Phase::Finished(_)) => {}
            None => match self.participant.fences.find(tx) {
                // Which the coordinator waits to hear, and a CanCommit that comes late must not open.
                Fenced::Open if outcome == Outcome::Aborted && self.has_room_for_end() => {
                    self.finish(now, tx, outcome, out);
                }
                Fenced::Open => {}
                Fenced::Finished(_) | Fenced::Forgotten => {
                    self.outbox.say(None, tx.coordinator, Message::Acknowledged(tx), out);
                }
            },
        }
    }

    /// The user is told once it is on disk that nothing else will be done.
    pub(crate) fn decide(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) -> Option<WriteId> {
        let part = self.participant.transactions.get_mut(&tx)?;
        let write = self.outbox.store(now, Write::Decided { tx, outcome }, out);
        part.enter(Phase::Decided(outcome), write);
        let rests_on = Some(write).filter(|_| !self.config.weak(Weakness::AppliedBeforeDecided));
        self.outbox.emit(rests_on, Event::Apply { tx, outcome }, out);
        rests_on
    }

    /// Aborts what was not voted for, so that it never will be.
    pub(crate) fn abort_unvoted(&mut self, now: Time, tx: TransactionId, out: &mut Out) -> WriteId {
        let write = self.finish(now, tx, Outcome::Aborted, out);
        self.outbox.emit(Some(write), Event::Apply { tx, outcome: Outcome::Aborted }, out);
        write
    }

    /// The user has applied the outcome for good.
    pub(crate) fn on_applied(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        let Some(Phase::Decided(outcome)) = self.participant.transactions.get(&tx).map(|part| &part.phase) else {
            return;
        };
        let outcome = *outcome;
        self.finish(now, tx, outcome, out);
    }

    /// Whether it may be noted how a transaction ends that was not under way here. Against that counts only what is on its way
    /// to the disk: two nodes, each full of what the other one must put an end to, would wait for each other.
    pub(crate) fn has_room_for_end(&self) -> bool {
        let is_ending = |part: &&Part| matches!(part.phase, Phase::Finished(_));
        self.config.has_room(self.participant.transactions.values().filter(is_ending).count())
    }

    pub(crate) fn finish(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) -> WriteId {
        let write = self.outbox.store(now, Write::Finished { tx, outcome }, out);
        let part = self.participant.transactions.entry(tx).or_insert_with(|| Part {
            participants: BTreeSet::new(),
            phase: Phase::Finished(outcome),
            write: None,
            duty: Duty::Waiting,
            at: now,
        });
        part.enter(Phase::Finished(outcome), write);
        self.participant.fences.insert(tx, outcome);
        self.outbox.say(Some(write), tx.coordinator, Message::Acknowledged(tx), out);
        write
    }

    pub(crate) fn forget_finished(&mut self) {
        let outbox = &self.outbox;
        self.participant
            .transactions
            .retain(|_, part| !matches!(part.phase, Phase::Finished(_)) || outbox.is_outstanding(part.write));
    }
}
