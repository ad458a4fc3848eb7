//! The branch: reserves, confirms and cancels, each once, whatever comes late, twice or in the wrong order.

use alloc::collections::BTreeMap;
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{Time, WriteId};

use super::Message;
use super::node::{Out, Tcc, Write};
use crate::outbox::Outbox;
use crate::{Event, Fenced, Fences, Outcome, TransactionId, Weakness};

/// How far a branch is.
#[derive(Clone, Debug)]
enum Phase {
    /// The user is asked. Nothing is reserved.
    Trying(Bytes),
    /// Reserved. The write is of this life, `None` where it was stored in an earlier one.
    Tried(Option<WriteId>),
    /// The user is told what to do with it, once that is stored.
    Decided(Outcome),
    /// It is over, and in the fence, once that is stored.
    Finished(WriteId),
}

/// A branch's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Branches {
    /// What is under way.
    transactions: BTreeMap<TransactionId, Phase>,
    /// What is over.
    pub(crate) fences: Fences,
}

impl Branches {
    pub(crate) fn new(fences: Fences) -> Self {
        Self { transactions: BTreeMap::new(), fences }
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(crate) fn in_doubt(&self) -> impl Iterator<Item = TransactionId> + '_ {
        self.transactions.iter().filter(|(_, phase)| matches!(phase, Phase::Tried(_))).map(|(tx, _)| *tx)
    }

    pub(crate) fn fingerprint(&self, outbox: &Outbox<Tcc>, mut into: &mut dyn Hasher) {
        self.fences.hash(&mut into);
        for (tx, phase) in &self.transactions {
            tx.hash(&mut into);
            match phase {
                Phase::Trying(work) => (0, work).hash(&mut into),
                Phase::Tried(write) => (1, outbox.place(*write)).hash(&mut into),
                Phase::Decided(outcome) => (2, outcome).hash(&mut into),
                Phase::Finished(write) => (3, outbox.place(Some(*write))).hash(&mut into),
            }
        }
    }
}

impl Tcc {
    /// After a restart: what is reserved is, and what was to be done with it is done.
    pub(crate) fn resume_branches(&mut self, tried: BTreeMap<TransactionId, (Bytes, Option<Outcome>)>, out: &mut Out) {
        for (tx, (work, decided)) in tried {
            self.outbox.emit(None, Event::InDoubt { tx, work }, out);
            let phase = match decided {
                Some(outcome) => {
                    self.outbox.emit(None, Event::Apply { tx, outcome }, out);
                    Phase::Decided(outcome)
                }
                None => Phase::Tried(None),
            };
            self.branches.transactions.insert(tx, phase);
        }
    }

    pub(crate) fn on_try(&mut self, tx: TransactionId, work: Bytes, out: &mut Out) {
        match self.branches.transactions.get(&tx) {
            // Said before, and not heard.
            Some(Phase::Tried(write)) if !self.outbox.is_outstanding(*write) => {
                self.outbox.say(None, tx.coordinator, Message::Tried { tx, yes: true }, out);
            }
            // The answer waits for the user or the disk, or makes no difference any more.
            Some(_) => {}
            None => {
                // Suspension: what was cancelled before it came must not be reserved any more.
                if self.is_over(tx) || !self.config.has_room(self.branches.len()) {
                    return self.outbox.say(None, tx.coordinator, Message::Tried { tx, yes: false }, out);
                }
                self.branches.transactions.insert(tx, Phase::Trying(work.clone()));
                self.outbox.emit(None, Event::Prepare { tx, work }, out);
            }
        }
    }

    fn is_over(&self, tx: TransactionId) -> bool {
        self.branches.fences.find(tx) != Fenced::Open && !self.config.weak(Weakness::LateTry)
    }

    /// The user has reserved it, or cannot. A no is forgotten: a Cancel will come, and be remembered.
    pub(crate) fn on_local_vote(&mut self, now: Time, tx: TransactionId, yes: bool, out: &mut Out) {
        let Some(Phase::Trying(work)) = self.branches.transactions.get(&tx) else { return };
        let work = work.clone();
        let mut rests_on = None;
        // While the user reserved, so many newer ones ended that this counts as over, and `save` would not keep it.
        let is_late = yes && self.is_over(tx);
        let yes = yes && !is_late;
        if yes {
            let write = Some(self.outbox.store(now, Write::Tried { tx, work }, out));
            self.branches.transactions.insert(tx, Phase::Tried(write));
            rests_on = write.filter(|_| !self.config.weak(Weakness::TriedBeforeStored));
        } else {
            self.branches.transactions.remove(&tx);
        }
        if is_late {
            self.outbox.emit(None, Event::Apply { tx, outcome: Outcome::Aborted }, out);
        }
        self.outbox.say(rests_on, tx.coordinator, Message::Tried { tx, yes }, out);
    }

    pub(crate) fn on_confirm(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        match self.branches.transactions.get(&tx) {
            Some(Phase::Tried(_)) => self.decide_branch(now, tx, Outcome::Committed, out),
            // Nobody confirms what is not reserved. The rest is under way, or the contrary is.
            Some(Phase::Trying(_) | Phase::Decided(_) | Phase::Finished(_)) => {}
            None => {
                let cancelled = self.branches.fences.find(tx) == Fenced::Finished(Outcome::Aborted);
                if cancelled && self.config.weak(Weakness::ConfirmAfterCancel) {
                    return self.decide_branch(now, tx, Outcome::Committed, out);
                }
                self.repeat_done(tx, Outcome::Committed, out);
            }
        }
    }

    pub(crate) fn on_cancel(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        match self.branches.transactions.get(&tx) {
            Some(Phase::Tried(_)) => self.decide_branch(now, tx, Outcome::Aborted, out),
            Some(Phase::Trying(_)) => {
                let write = self.finish(now, tx, Outcome::Aborted, out);
                let event = Event::Apply { tx, outcome: Outcome::Aborted };
                self.outbox.emit(Some(write), event, out);
            }
            Some(Phase::Decided(_) | Phase::Finished(_)) => {}
            // Empty rollback: there is nothing to cancel, and there must not be later.
            None if self.branches.fences.find(tx) == Fenced::Open => {
                if self.config.weak(Weakness::EmptyCancelForgotten) {
                    let done = Message::Done { tx, outcome: Outcome::Aborted };
                    return self.outbox.say(None, tx.coordinator, done, out);
                }
                if self.config.has_room(self.branches.len()) {
                    self.finish(now, tx, Outcome::Aborted, out);
                }
            }
            None => self.repeat_done(tx, Outcome::Aborted, out),
        }
    }

    /// The user is told what to do once it is on disk that nothing else will be done.
    fn decide_branch(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        let mut rests_on = None;
        if !self.config.weak(Weakness::AppliedBeforeDecided) {
            rests_on = Some(self.outbox.store(now, Write::Decided { tx, outcome }, out));
        }
        self.branches.transactions.insert(tx, Phase::Decided(outcome));
        self.outbox.emit(rests_on, Event::Apply { tx, outcome }, out);
    }

    /// The user has done it for good.
    pub(crate) fn on_applied(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        let Some(Phase::Decided(outcome)) = self.branches.transactions.get(&tx) else { return };
        let outcome = *outcome;
        self.finish(now, tx, outcome, out);
    }

    fn finish(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) -> WriteId {
        let write = self.outbox.store(now, Write::Finished { tx, outcome }, out);
        self.branches.transactions.insert(tx, Phase::Finished(write));
        self.branches.fences.insert(tx, outcome);
        self.outbox.say(Some(write), tx.coordinator, Message::Done { tx, outcome }, out);
        write
    }

    /// Says again that it is done, unless the contrary was.
    fn repeat_done(&mut self, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        let is_done = match self.branches.fences.find(tx) {
            Fenced::Finished(done) => done == outcome,
            Fenced::Forgotten => true,
            Fenced::Open => false,
        };
        if is_done {
            self.outbox.say(None, tx.coordinator, Message::Done { tx, outcome }, out);
        }
    }

    pub(crate) fn forget_finished(&mut self) {
        let outbox = &self.outbox;
        self.branches.transactions.retain(|_, phase| match phase {
            Phase::Finished(write) => outbox.is_outstanding(Some(*write)),
            Phase::Trying(_) | Phase::Tried(_) | Phase::Decided(_) => true,
        });
    }
}
