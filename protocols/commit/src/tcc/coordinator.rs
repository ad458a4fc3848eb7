//! The coordinator: has all branches try, and then confirm or cancel, until all have done it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{NodeId, RequestId, Time, WriteId};

use super::Message;
use super::node::{Out, Tcc, Write};
use crate::outbox::Outbox;
use crate::{Event, Outcome, TransactionId, Weakness, Work};

/// How far a transaction is.
#[derive(Clone, Debug)]
enum Phase {
    /// All are to reserve. After the deadline it is cancelled.
    Trying { request: RequestId, work: Work, yes: BTreeSet<NodeId>, deadline: Time },
    /// Decided; these have not done it yet.
    Deciding { outcome: Outcome, silent: BTreeSet<NodeId> },
    /// All have, and it is forgotten once that is stored: what is not stored yet stays bounded.
    Ended,
}

#[derive(Clone, Debug)]
struct Transaction {
    phase: Phase,
    /// What must be stored before more is said; of this life, `None` where it was stored in an earlier one.
    write: Option<WriteId>,
    attempts: u32,
    /// When those who are silent are asked or told again.
    retry_at: Time,
}

/// A coordinator's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    /// The number of the next transaction.
    next: u64,
    transactions: BTreeMap<u64, Transaction>,
}

impl Coordinator {
    pub(crate) fn new(last: Option<u64>) -> Self {
        Self { next: last.unwrap_or(0).saturating_add(1), transactions: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = |transaction: &Transaction| match &transaction.phase {
            Phase::Trying { deadline, .. } => Some(transaction.retry_at.min(*deadline)),
            Phase::Deciding { .. } => Some(transaction.retry_at),
            Phase::Ended => None,
        };
        self.transactions.values().filter_map(due).min()
    }

    pub(crate) fn fingerprint(&self, outbox: &Outbox<Tcc>, mut into: &mut dyn Hasher) {
        self.next.hash(&mut into);
        for (number, transaction) in &self.transactions {
            (number, outbox.place(transaction.write)).hash(&mut into);
            match &transaction.phase {
                Phase::Trying { work, yes, .. } => (0, work, yes).hash(&mut into),
                Phase::Deciding { outcome, silent } => (1, outcome, silent).hash(&mut into),
                Phase::Ended => 2.hash(&mut into),
            }
        }
    }
}

impl Tcc {
    /// Has everybody try, once it is on disk that they will have to be told how it ends.
    pub(crate) fn begin(&mut self, now: Time, id: RequestId, work: Work, out: &mut Out) {
        let number = self.coordinator.next;
        if let Some(refusal) = self.config.refusal(&work, self.coordinator.len(), number) {
            return self.outbox.emit(None, Event::Refused { id, refusal }, out);
        }
        self.coordinator.next += 1;
        let begun = Write::Begun { number, branches: work.keys().copied().collect() };
        let write = Some(self.outbox.store(now, begun, out));
        let deadline = now.after(self.config.vote_timeout);
        let phase = Phase::Trying { request: id, work, yes: BTreeSet::new(), deadline };
        self.enter(now, number, phase, write, out);
    }

    /// After a restart: what was not to be confirmed is cancelled.
    pub(crate) fn resume_begun(&mut self, now: Time, begun: BTreeMap<u64, (BTreeSet<NodeId>, bool)>, out: &mut Out) {
        for (number, (silent, confirmed)) in begun {
            let outcome = if confirmed { Outcome::Committed } else { Outcome::Aborted };
            self.enter(now, number, Phase::Deciding { outcome, silent }, None, out);
        }
    }

    fn enter(&mut self, now: Time, number: u64, phase: Phase, write: Option<WriteId>, out: &mut Out) {
        self.coordinator.transactions.insert(number, Transaction { phase, write, attempts: 0, retry_at: now });
        self.say_step(now, number, out);
    }

    /// Says to those who are silent what they are to do.
    fn say_step(&mut self, now: Time, number: u64, out: &mut Out) {
        let tx = self.config.our(number);
        let Some(transaction) = self.coordinator.transactions.get_mut(&number) else { return };
        transaction.retry_at = self.config.retry_at(now, &mut self.rng, transaction.attempts);
        transaction.attempts = transaction.attempts.saturating_add(1);
        // What waits for the disk has been said once, and is heard as soon as it may.
        if transaction.attempts > 1 && self.outbox.is_outstanding(transaction.write) {
            return;
        }
        match &transaction.phase {
            Phase::Trying { work, yes, .. } => {
                for (to, work) in work.iter().filter(|(id, _)| !yes.contains(id)) {
                    self.outbox.say(transaction.write, *to, Message::Try { tx, work: work.clone() }, out);
                }
            }
            Phase::Deciding { outcome, silent } => {
                let rests_on = transaction.write.filter(|_| !self.config.weak(Weakness::ConfirmBeforeStored));
                let message = match outcome {
                    Outcome::Committed => Message::Confirm(tx),
                    Outcome::Aborted => Message::Cancel(tx),
                };
                for to in silent {
                    self.outbox.say(rests_on, *to, message.clone(), out);
                }
            }
            Phase::Ended => {}
        }
    }

    pub(crate) fn on_tried(&mut self, now: Time, from: NodeId, tx: TransactionId, yes: bool, out: &mut Out) {
        let transaction = self.coordinator.transactions.get_mut(&tx.number);
        let Some(Transaction { phase: Phase::Trying { work, yes: tried, .. }, .. }) = transaction else { return };
        if !work.contains_key(&from) {
            return;
        }
        if !yes {
            return self.decide(now, tx, Outcome::Aborted, out);
        }
        tried.insert(from);
        if tried.len() == work.len() {
            self.decide(now, tx, Outcome::Committed, out);
        }
    }

    /// All are told, who said no too: its Try may come twice, and only a Cancel keeps the second from reserving.
    fn decide(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        let transaction = self.coordinator.transactions.remove(&tx.number);
        let Some(Transaction { phase: Phase::Trying { request, work, .. }, write, .. }) = transaction else { return };
        let write = match outcome {
            Outcome::Committed => Some(self.outbox.store(now, Write::Confirm(tx.number), out)),
            Outcome::Aborted => write,
        };
        self.outbox.emit(write, Event::Outcome { id: request, tx, outcome }, out);
        self.enter(now, tx.number, Phase::Deciding { outcome, silent: work.into_keys().collect() }, write, out);
    }

    pub(crate) fn on_done(&mut self, now: Time, from: NodeId, tx: TransactionId, done: Outcome, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let Phase::Deciding { outcome, silent } = &mut transaction.phase else { return };
        if *outcome != done {
            return;
        }
        silent.remove(&from);
        if silent.is_empty() {
            transaction.phase = Phase::Ended;
            transaction.write = Some(self.outbox.store(now, Write::End(tx.number), out));
        }
    }

    pub(crate) fn forget_ended(&mut self) {
        let outbox = &self.outbox;
        self.coordinator.transactions.retain(|_, transaction| match &transaction.phase {
            Phase::Ended => outbox.is_outstanding(transaction.write),
            Phase::Trying { .. } | Phase::Deciding { .. } => true,
        });
    }

    pub(crate) fn on_coordinator_timeout(&mut self, now: Time, out: &mut Out) {
        let numbers: Vec<u64> = self.coordinator.transactions.keys().copied().collect();
        for number in numbers {
            let Some(transaction) = self.coordinator.transactions.get(&number) else { continue };
            let tx = self.config.our(number);
            match &transaction.phase {
                Phase::Trying { deadline, .. } if *deadline <= now => self.decide(now, tx, Outcome::Aborted, out),
                Phase::Trying { .. } | Phase::Deciding { .. } if transaction.retry_at <= now => {
                    self.say_step(now, number, out);
                }
                Phase::Trying { .. } | Phase::Deciding { .. } | Phase::Ended => {}
            }
        }
    }
}
