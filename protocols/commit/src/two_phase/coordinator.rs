//! The coordinator: collects votes, decides, and tells until all have acknowledged.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{NodeId, RequestId, Time, WriteId};

use super::Message;
use super::node::{Out, TwoPhase, Write};
use crate::outbox::Outbox;
use crate::{Event, Outcome, TransactionId, Weakness, Work};

/// How many numbers a write reserves: a thousand transactions cost one.
const NUMBERS: u64 = 1_024;

/// How far a transaction is.
#[derive(Clone, Debug)]
enum Phase {
    /// Not decided. Nothing of it is on disk, so that a crash aborts it.
    Collecting {
        request: RequestId,
        work: Work,
        yes: BTreeSet<NodeId>,
        /// The write that reserves its number, before which nobody is asked; `None` where that is of an earlier life.
        rests_on: Option<WriteId>,
        /// When it aborts for want of votes.
        deadline: Time,
    },
    /// Committed. The write is of this life, `None` where it was stored in an earlier one.
    Committed { write: Option<WriteId>, silent: BTreeSet<NodeId> },
    /// All have acknowledged, and it is forgotten once that is stored: what is not stored yet stays bounded.
    Ended(WriteId),
}

#[derive(Clone, Debug)]
struct Transaction {
    phase: Phase,
    attempts: u32,
    /// When those who are silent are asked or told again.
    retry_at: Time,
}

/// A coordinator's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    /// The number of the next transaction.
    next: u64,
    /// The last number reserved, on disk or not yet.
    reserved: u64,
    /// The write of the last reservation; of this life.
    numbers_write: Option<WriteId>,
    transactions: BTreeMap<u64, Transaction>,
}

impl Coordinator {
    pub(crate) fn new(numbers: Option<u64>) -> Self {
        let reserved = numbers.unwrap_or(0);
        Self { next: reserved.saturating_add(1), reserved, numbers_write: None, transactions: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = |transaction: &Transaction| match &transaction.phase {
            Phase::Collecting { deadline, .. } => Some(transaction.retry_at.min(*deadline)),
            Phase::Committed { .. } => Some(transaction.retry_at),
            Phase::Ended(_) => None,
        };
        self.transactions.values().filter_map(due).min()
    }

    pub(crate) fn fingerprint(&self, outbox: &Outbox<TwoPhase>, mut into: &mut dyn Hasher) {
        (self.next, self.reserved, outbox.place(self.numbers_write)).hash(&mut into);
        for (number, transaction) in &self.transactions {
            number.hash(&mut into);
            match &transaction.phase {
                Phase::Collecting { work, yes, rests_on, .. } => {
                    (0, work, yes, outbox.place(*rests_on)).hash(&mut into);
                }
                Phase::Committed { write, silent } => (1, outbox.place(*write), silent).hash(&mut into),
                Phase::Ended(write) => (2, outbox.place(Some(*write))).hash(&mut into),
            }
        }
    }
}

impl TwoPhase {
    /// Asks everybody to prepare, once a number that nobody else will have is on disk.
    pub(crate) fn begin(&mut self, now: Time, id: RequestId, work: Work, out: &mut Out) {
        let number = self.coordinator.next;
        if let Some(refusal) = self.config.refusal(&work, self.coordinator.len(), number) {
            return self.outbox.emit(None, Event::Refused { id, refusal }, out);
        }
        if number > self.coordinator.reserved {
            self.coordinator.reserved = number + NUMBERS - 1;
            let write = self.outbox.store(now, Write::Numbers(self.coordinator.reserved), out);
            self.coordinator.numbers_write = Some(write);
        }
        self.coordinator.next += 1;
        let deadline = now.after(self.config.vote_timeout);
        let rests_on = self.coordinator.numbers_write;
        let phase = Phase::Collecting { request: id, work, yes: BTreeSet::new(), rests_on, deadline };
        self.coordinator.transactions.insert(number, Transaction { phase, attempts: 0, retry_at: now });
        self.ask_or_tell(now, number, out);
    }

    /// After a restart: what is committed is told until all have acknowledged it.
    pub(crate) fn resume_commits(&mut self, now: Time, commits: BTreeMap<u64, BTreeSet<NodeId>>, out: &mut Out) {
        for (number, silent) in commits {
            let phase = Phase::Committed { write: None, silent };
            self.coordinator.transactions.insert(number, Transaction { phase, attempts: 0, retry_at: now });
            self.ask_or_tell(now, number, out);
        }
    }

    /// Asks those who have not voted, or tells those who have not acknowledged.
    fn ask_or_tell(&mut self, now: Time, number: u64, out: &mut Out) {
        let tx = self.config.our(number);
        let Some(transaction) = self.coordinator.transactions.get_mut(&number) else { return };
        transaction.retry_at = self.config.retry_at(now, &mut self.rng, transaction.attempts);
        transaction.attempts = transaction.attempts.saturating_add(1);
        // What waits for the disk has been said once, and is said as soon as it may.
        let is_first = transaction.attempts == 1;
        match &transaction.phase {
            Phase::Collecting { work, yes, rests_on, .. } => {
                if is_first || !self.outbox.is_outstanding(*rests_on) {
                    let participants: BTreeSet<NodeId> = work.keys().copied().collect();
                    for (to, work) in work.iter().filter(|(id, _)| !yes.contains(id)) {
                        let (work, participants) = (work.clone(), participants.clone());
                        self.outbox.say(*rests_on, *to, Message::Prepare { tx, work, participants }, out);
                    }
                }
            }
            Phase::Committed { write, silent } => {
                let rests_on = write.filter(|_| !self.config.weak(Weakness::DecisionBeforeStored));
                if is_first || !self.outbox.is_outstanding(rests_on) {
                    for to in silent {
                        let decision = Message::Decision { tx, outcome: Outcome::Committed };
                        self.outbox.say(rests_on, *to, decision, out);
                    }
                }
            }
            Phase::Ended(_) => {}
        }
    }

    /// Phase one ends with the first no, or with the last yes.
    pub(crate) fn on_vote(&mut self, now: Time, from: NodeId, tx: TransactionId, yes: bool, out: &mut Out) {
        let transaction = self.coordinator.transactions.get_mut(&tx.number);
        let Some(Transaction { phase: Phase::Collecting { work, yes: voters, rests_on, .. }, .. }) = transaction else {
            // Who says yes to what is decided is in doubt.
            return if yes {
                self.on_inquiry(from, tx, out)
            };
        };
        // Nobody has an answer before it is asked. An abort would leave behind what is parked, with nothing to count it by.
        if !work.contains_key(&from) || self.outbox.is_outstanding(*rests_on) {
            return;
        }
        if !yes {
            return self.abort(tx, Some(from), out);
        }
        let is_new = voters.insert(from);
        let counts_twice = self.config.weak(Weakness::YesCountedTwice) && !is_new;
        if voters.len() == work.len() || counts_twice && voters.len() + 1 == work.len() {
            self.commit(now, tx, out);
        }
    }

    /// From here on it is committed, once that is on disk.
    fn commit(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        let Some(Transaction { phase: Phase::Collecting { request, work, .. }, .. }) =
            self.coordinator.transactions.remove(&tx.number)
        else {
            return;
        };
        let silent: BTreeSet<NodeId> = work.into_keys().collect();
        let write = Write::Commit { number: tx.number, participants: silent.clone() };
        let write = Some(self.outbox.store(now, write, out));
        let phase = Phase::Committed { write, silent };
        self.coordinator.transactions.insert(tx.number, Transaction { phase, attempts: 0, retry_at: now });
        self.outbox.emit(write, Event::Outcome { id: request, tx, outcome: Outcome::Committed }, out);
        self.ask_or_tell(now, tx.number, out);
    }

    /// Tells all but who said no, once, and forgets it: who does not hear that will ask.
    fn abort(&mut self, tx: TransactionId, said_no: Option<NodeId>, out: &mut Out) {
        let Some(Transaction { phase: Phase::Collecting { request, work, .. }, .. }) =
            self.coordinator.transactions.remove(&tx.number)
        else {
            return;
        };
        for to in work.into_keys().filter(|id| Some(*id) != said_no) {
            self.outbox.say(None, to, Message::Decision { tx, outcome: Outcome::Aborted }, out);
        }
        self.outbox.emit(None, Event::Outcome { id: request, tx, outcome: Outcome::Aborted }, out);
    }

    /// What is not known here was aborted.
    pub(crate) fn on_inquiry(&mut self, from: NodeId, tx: TransactionId, out: &mut Out) {
        let outcome = match self.coordinator.transactions.get(&tx.number).map(|transaction| &transaction.phase) {
            Some(Phase::Committed { write, .. }) if !self.outbox.is_outstanding(*write) => Outcome::Committed,
            // It will be told as soon as that is certain.
            Some(Phase::Collecting { .. } | Phase::Committed { .. }) => return,
            // All had acknowledged it before: the question comes late, and the answer makes no difference.
            Some(Phase::Ended(_)) => return,
            // We have begun no such transaction. Where several coordinate under one name, another may have by now.
            None if tx.number >= self.coordinator.next && !self.config.weak(Weakness::UnbegunAborts) => return,
            None if self.config.weak(Weakness::UnknownCommits) => Outcome::Committed,
            None => Outcome::Aborted,
        };
        self.outbox.say(None, from, Message::Decision { tx, outcome }, out);
    }

    /// Once all have it, nobody will ask any more.
    pub(crate) fn on_acknowledged(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let Phase::Committed { silent, .. } = &mut transaction.phase else { return };
        silent.remove(&from);
        if silent.is_empty() || self.config.weak(Weakness::ForgottenEarly) {
            transaction.phase = Phase::Ended(self.outbox.store(now, Write::End(tx.number), out));
        }
    }

    pub(crate) fn forget_ended(&mut self) {
        let outbox = &self.outbox;
        self.coordinator.transactions.retain(|_, transaction| match &transaction.phase {
            Phase::Ended(write) => outbox.is_outstanding(Some(*write)),
            Phase::Collecting { .. } | Phase::Committed { .. } => true,
        });
    }

    pub(crate) fn on_coordinator_timeout(&mut self, now: Time, out: &mut Out) {
        let numbers: Vec<u64> = self.coordinator.transactions.keys().copied().collect();
        for number in numbers {
            let tx = self.config.our(number);
            let Some(transaction) = self.coordinator.transactions.get_mut(&number) else { continue };
            match &mut transaction.phase {
                Phase::Ended(_) => continue,
                // Nobody has been asked yet: a disk that stalls costs time, not memory.
                Phase::Collecting { deadline, rests_on, .. }
                    if *deadline <= now && self.outbox.is_outstanding(*rests_on) =>
                {
                    *deadline = now.after(self.config.vote_timeout);
                    transaction.retry_at = transaction.retry_at.max(*deadline);
                }
                Phase::Collecting { deadline, .. } if *deadline <= now => self.abort(tx, None, out),
                Phase::Collecting { .. } | Phase::Committed { .. } if transaction.retry_at <= now => {
                    self.ask_or_tell(now, number, out);
                }
                Phase::Collecting { .. } | Phase::Committed { .. } => {}
            }
        }
    }
}
