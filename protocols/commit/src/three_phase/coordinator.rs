//! The coordinator: collects votes, tells all that all have voted yes, and then concludes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{NodeId, RequestId, Time, WriteId};

use super::Message;
use super::node::{Out, ThreePhase, Write};
use crate::outbox::Outbox;
use crate::{Event, Outcome, TransactionId, Weakness, Work};

/// How far a transaction is.
#[derive(Clone, Debug)]
enum Phase {
    /// Phase one. After the deadline it aborts.
    Collecting { request: RequestId, yes: BTreeSet<NodeId> },
    /// Phase two: who is ready. After the deadline the others are taken for crashed.
    PreCommitting { request: RequestId, ready: BTreeSet<NodeId> },
    /// We were gone while it was under way: who else says it was.
    Recovering { gone: BTreeSet<NodeId> },
    /// Phase three: who has not acknowledged.
    Concluded { outcome: Outcome, silent: BTreeSet<NodeId> },
    /// All have, and it is forgotten once that is stored: what is not stored yet stays bounded.
    Ended,
}

#[derive(Clone, Debug)]
struct Transaction {
    participants: BTreeSet<NodeId>,
    phase: Phase,
    /// What must be stored before more is said; of this life, `None` where it was stored in an earlier one.
    write: Option<WriteId>,
    attempts: u32,
    /// When the phase ends, or those who are silent are asked or told again.
    at: Time,
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
        let waits = |transaction: &&Transaction| !matches!(transaction.phase, Phase::Ended);
        self.transactions.values().filter(waits).map(|transaction| transaction.at).min()
    }

    pub(crate) fn fingerprint(&self, outbox: &Outbox<ThreePhase>, mut into: &mut dyn Hasher) {
        self.next.hash(&mut into);
        for (number, transaction) in &self.transactions {
            (number, &transaction.participants, outbox.place(transaction.write)).hash(&mut into);
            match &transaction.phase {
                Phase::Collecting { yes, .. } => (0, yes).hash(&mut into),
                Phase::PreCommitting { ready, .. } => (1, ready).hash(&mut into),
                Phase::Recovering { gone } => (2, gone).hash(&mut into),
                Phase::Concluded { outcome, silent } => (3, outcome, silent).hash(&mut into),
                Phase::Ended => 4.hash(&mut into),
            }
        }
    }
}

impl ThreePhase {
    /// Phase one, once it is on disk that there is such a transaction.
    pub(crate) fn begin(&mut self, now: Time, id: RequestId, work: Work, out: &mut Out) {
        let number = self.coordinator.next;
        if let Some(refusal) = self.config.refusal(&work, self.coordinator.len(), number) {
            return self.outbox.emit(None, Event::Refused { id, refusal }, out);
        }
        self.coordinator.next += 1;
        let (tx, participants) = (self.config.our(number), work.keys().copied().collect::<BTreeSet<_>>());
        let write = Some(self.outbox.store(now, Write::Begun { number, participants: participants.clone() }, out));
        for (to, work) in work {
            let participants = participants.clone();
            self.outbox.say(write, to, Message::CanCommit { tx, work, participants }, out);
        }
        let phase = Phase::Collecting { request: id, yes: BTreeSet::new() };
        let at = now.after(self.config.vote_timeout);
        self.coordinator.transactions.insert(number, Transaction { participants, phase, write, attempts: 0, at });
    }

    /// After a restart: what is concluded is told, and of the rest is asked how it ended.
    pub(crate) fn resume_begun(
        &mut self,
        now: Time,
        begun: BTreeMap<u64, (BTreeSet<NodeId>, Option<Outcome>)>,
        out: &mut Out,
    ) {
        let presumed = self.config.weak(Weakness::RecoveryAborts).then_some(Outcome::Aborted);
        for (number, (participants, concluded)) in begun {
            let phase = match concluded.or(presumed) {
                Some(outcome) => Phase::Concluded { outcome, silent: participants.clone() },
                None => Phase::Recovering { gone: BTreeSet::new() },
            };
            let transaction = Transaction { participants, phase, write: None, attempts: 0, at: now };
            self.coordinator.transactions.insert(number, transaction);
            self.tell_or_ask(now, number, out);
        }
    }

    pub(crate) fn on_vote(&mut self, now: Time, from: NodeId, tx: TransactionId, yes: bool, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let Phase::Collecting { request, yes: voters } = &mut transaction.phase else { return };
        if !transaction.participants.contains(&from) {
            return;
        }
        if !yes {
            return self.conclude(now, tx, Outcome::Aborted, out);
        }
        // Nonsense: nobody has been asked yet.
        if self.outbox.is_outstanding(transaction.write) {
            return;
        }
        voters.insert(from);
        if voters.len() < transaction.participants.len() {
            return;
        }
        transaction.phase = Phase::PreCommitting { request: *request, ready: BTreeSet::new() };
        transaction.at = now.after(self.config.round_trip_max);
        for to in transaction.participants.iter().copied() {
            self.outbox.say(None, to, Message::PreCommit(tx), out);
        }
        if self.config.weak(Weakness::CommitWithoutReady) {
            self.conclude(now, tx, Outcome::Committed, out);
        }
    }

    pub(crate) fn on_ready(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let Phase::PreCommitting { ready, .. } = &mut transaction.phase else { return };
        if transaction.participants.contains(&from) {
            ready.insert(from);
        }
        if ready.len() == transaction.participants.len() {
            self.conclude(now, tx, Outcome::Committed, out);
        }
    }

    /// So it ends: by our decision, or by that of a backup.
    pub(crate) fn conclude(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let request = match &transaction.phase {
            // Nonsense: nobody commits before all votes are here.
            Phase::Collecting { .. } if outcome == Outcome::Committed => return,
            Phase::Collecting { request, .. } | Phase::PreCommitting { request, .. } => Some(*request),
            Phase::Recovering { .. } => None,
            Phase::Concluded { .. } | Phase::Ended => return,
        };
        let write = Some(self.outbox.store(now, Write::Concluded { number: tx.number, outcome }, out));
        transaction.write = write.filter(|_| !self.config.weak(Weakness::DecisionBeforeStored));
        transaction.phase = Phase::Concluded { outcome, silent: transaction.participants.clone() };
        transaction.attempts = 0;
        if let Some(id) = request {
            self.outbox.emit(transaction.write, Event::Outcome { id, tx, outcome }, out);
        }
        self.tell_or_ask(now, tx.number, out);
    }

    /// Tells the outcome to those who have not acknowledged it; or asks everybody, having been gone.
    fn tell_or_ask(&mut self, now: Time, number: u64, out: &mut Out) {
        let tx = self.config.our(number);
        let Some(transaction) = self.coordinator.transactions.get_mut(&number) else { return };
        transaction.at = self.config.retry_at(now, &mut self.rng, transaction.attempts);
        transaction.attempts = transaction.attempts.saturating_add(1);
        // What waits for the disk has been said once, and is heard as soon as it may.
        if transaction.attempts > 1 && self.outbox.is_outstanding(transaction.write) {
            return;
        }
        let (to_whom, message) = match &transaction.phase {
            Phase::Concluded { outcome, silent } => (silent, Message::Decision { tx, outcome: *outcome }),
            Phase::Recovering { .. } => (&transaction.participants, Message::StateRequest { tx, recovering: true }),
            Phase::Collecting { .. } | Phase::PreCommitting { .. } | Phase::Ended => return,
        };
        for to in to_whom {
            self.outbox.say(transaction.write, *to, message.clone(), out);
        }
    }

    /// Whether we were gone while this transaction of ours was under way, and do not know yet how it ended.
    pub(crate) fn was_gone(&self, tx: TransactionId) -> bool {
        let transaction = self.coordinator.transactions.get(&tx.number);
        transaction.is_some_and(|transaction| matches!(transaction.phase, Phase::Recovering { .. }))
    }

    /// Whoever asks is told, if there is something to tell.
    pub(crate) fn tell_conclusion(&mut self, to: NodeId, tx: TransactionId, out: &mut Out) -> bool {
        let Some(transaction) = self.coordinator.transactions.get(&tx.number) else { return false };
        let Phase::Concluded { outcome, .. } = &transaction.phase else { return false };
        if !self.outbox.is_outstanding(transaction.write) {
            let outcome = *outcome;
            self.outbox.say(None, to, Message::Decision { tx, outcome }, out);
        }
        true
    }

    /// One more was gone as we were. If all were, nobody has decided, and nobody else will: it is on no disk.
    pub(crate) fn on_recovering_state(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let Phase::Recovering { gone } = &mut transaction.phase else { return };
        if transaction.participants.contains(&from) {
            gone.insert(from);
        }
        if gone.len() == transaction.participants.len() {
            self.conclude(now, tx, Outcome::Aborted, out);
        }
    }

    pub(crate) fn on_acknowledged(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        let Some(transaction) = self.coordinator.transactions.get_mut(&tx.number) else { return };
        let Phase::Concluded { silent, .. } = &mut transaction.phase else { return };
        silent.remove(&from);
        if silent.is_empty() {
            transaction.phase = Phase::Ended;
            transaction.write = Some(self.outbox.store(now, Write::End(tx.number), out));
        }
    }

    pub(crate) fn forget_ended(&mut self) {
        let outbox = &self.outbox;
        self.coordinator.transactions.retain(|_, transaction| {
            !matches!(transaction.phase, Phase::Ended) || outbox.is_outstanding(transaction.write)
        });
    }

    pub(crate) fn on_coordinator_timeout(&mut self, now: Time, out: &mut Out) {
        let is_due = |transaction: &Transaction| transaction.at <= now;
        let due = self.coordinator.transactions.iter().filter(|(_, transaction)| is_due(transaction));
        for number in due.map(|(number, _)| *number).collect::<Vec<_>>() {
            let tx = self.config.our(number);
            let Some(transaction) = self.coordinator.transactions.get(&number) else { continue };
            match &transaction.phase {
                Phase::Collecting { .. } => self.conclude(now, tx, Outcome::Aborted, out),
                Phase::PreCommitting { .. } if self.config.weak(Weakness::SilenceAborts) => {
                    self.conclude(now, tx, Outcome::Aborted, out);
                }
                // Those who are not ready have crashed, and will find out; all others know that all have voted yes.
                Phase::PreCommitting { .. } => self.conclude(now, tx, Outcome::Committed, out),
                Phase::Recovering { .. } | Phase::Concluded { .. } => self.tell_or_ask(now, number, out),
                Phase::Ended => {}
            }
        }
    }
}
