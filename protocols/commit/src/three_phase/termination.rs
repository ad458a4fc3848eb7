//! Termination: what a participant does that misses the coordinator (Bernstein et al. 1987, §7.5), or was gone itself.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{NodeId, Time};

use super::Message;
use super::node::{Out, Promise, ThreePhase};
use super::participant::{Part, Phase};
use crate::{Event, Fenced, Outcome, TransactionId, Weakness};

/// What a participant does about a transaction in doubt.
#[derive(Clone, Debug)]
pub(crate) enum Duty {
    /// It waits for the coordinator, or for a backup.
    Waiting,
    /// It was gone, and asks until somebody knows. It decides nothing: it does not know what it has missed.
    Recovering {
        /// How often it has asked.
        attempts: u32,
    },
    /// It is the backup, and asks the others how far they are: who has answered, and whether it knows that all have voted yes.
    Polling(BTreeMap<NodeId, bool>),
    /// It is the backup, and has told the others that all have voted yes (TR4).
    Promoting,
}

impl Duty {
    /// How often it has asked only tells when it asks again.
    pub(crate) fn fingerprint(&self, mut into: &mut dyn Hasher) {
        match self {
            Self::Waiting => 0.hash(&mut into),
            Self::Recovering { .. } => 1.hash(&mut into),
            Self::Polling(states) => (2, states).hash(&mut into),
            Self::Promoting => 3.hash(&mut into),
        }
    }
}

impl ThreePhase {
    /// After a restart.
    pub(crate) fn resume_promises(&mut self, now: Time, promised: BTreeMap<TransactionId, Promise>, out: &mut Out) {
        let acts = self.config.weak(Weakness::RecoveredActs);
        for (tx, Promise { work, participants, decided }) in promised {
            self.outbox.emit(None, Event::InDoubt { tx, work }, out);
            if let Some(outcome) = decided {
                self.outbox.emit(None, Event::Apply { tx, outcome }, out);
            }
            let phase = decided.map_or(Phase::Prepared, Phase::Decided);
            let duty = if acts { Duty::Waiting } else { Duty::Recovering { attempts: 0 } };
            let part = Part { participants, phase, write: None, duty, at: now };
            self.participant.transactions.insert(tx, part);
            if decided.is_none() {
                self.on_patience_ended(now, tx, out);
            }
        }
    }

    /// Those with higher names wait a little longer, so that as a rule there is one backup.
    pub(crate) fn be_patient(&mut self, tx: TransactionId) {
        let id = self.config.id;
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        let rank = part.participants.iter().take_while(|other| **other < id).count();
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        part.at = part.at + self.config.round_trip_max.saturating_mul(rank);
    }

    /// Somebody else is at work: the coordinator, or a backup. Of two backups the one with the higher name gives way.
    pub(crate) fn give_way(&mut self, now: Time, to: NodeId, tx: TransactionId) {
        let id = self.config.id;
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        match part.duty {
            Duty::Waiting => {}
            Duty::Polling(_) | Duty::Promoting if to < id => part.duty = Duty::Waiting,
            Duty::Polling(_) | Duty::Promoting | Duty::Recovering { .. } => return,
        }
        // Two rounds at most, and then what it writes and says.
        part.at = now.after(self.config.round_trip_max.saturating_mul(3));
        self.be_patient(tx);
    }

    /// How far we are. One that has not voted aborts, for good.
    pub(crate) fn on_state_request(
        &mut self,
        now: Time,
        from: NodeId,
        tx: TransactionId,
        recovering: bool,
        out: &mut Out,
    ) {
        let Some(part) = self.participant.transactions.get(&tx) else {
            return self.on_state_request_unknown(now, from, tx, out);
        };
        let is_stored = !self.outbox.is_outstanding(part.write);
        let message = match &part.phase {
            Phase::Voting(_) => {
                let aborted = Message::Decision { tx, outcome: Outcome::Aborted };
                if self.config.weak(Weakness::PeerAbortForgotten) {
                    return self.outbox.say(None, from, aborted, out);
                }
                let write = self.abort_unvoted(now, tx, out);
                return self.outbox.say(Some(write), from, aborted, out);
            }
            Phase::Decided(outcome) | Phase::Finished(outcome) if is_stored => {
                Message::Decision { tx, outcome: *outcome }
            }
            // A decision that might yet be lost is none; but a commit tells that all have voted yes.
            Phase::Decided(outcome) | Phase::Finished(outcome) => {
                Message::State { tx, pre_committed: *outcome == Outcome::Committed, recovering: false }
            }
            Phase::Prepared | Phase::PreCommitted => {
                let recovering = matches!(part.duty, Duty::Recovering { .. });
                Message::State { tx, pre_committed: part.phase == Phase::PreCommitted, recovering }
            }
        };
        self.outbox.say(None, from, message, out);
        if !recovering {
            self.give_way(now, from, tx);
        }
    }

    /// About a transaction that is not under way here.
    fn on_state_request_unknown(&mut self, now: Time, from: NodeId, tx: TransactionId, out: &mut Out) {
        match self.participant.fences.find(tx) {
            Fenced::Finished(outcome) => self.outbox.say(None, from, Message::Decision { tx, outcome }, out),
            // Our own transaction, in which we have no part: we shall say how it ends once we know.
            Fenced::Open if tx.coordinator == self.config.id && from != tx.coordinator => {}
            Fenced::Open if self.has_room_for_end() => {
                let write = self.finish(now, tx, Outcome::Aborted, out);
                self.outbox.say(Some(write), from, Message::Decision { tx, outcome: Outcome::Aborted }, out);
            }
            Fenced::Open | Fenced::Forgotten => {}
        }
    }

    /// What one that was never gone knows. Who was gone has missed who else decided, and could make us contradict that.
    pub(crate) fn on_state(&mut self, from: NodeId, tx: TransactionId, pre_committed: bool) {
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        if let Duty::Polling(states) = &mut part.duty
            && part.participants.contains(&from)
        {
            states.insert(from, pre_committed);
        }
    }

    pub(crate) fn on_participant_timeout(&mut self, now: Time, out: &mut Out) {
        let is_due = |part: &Part| part.is_in_doubt() && part.at <= now;
        let due = self.participant.transactions.iter().filter(|(_, part)| is_due(part)).map(|(tx, _)| *tx);
        for tx in due.collect::<Vec<_>>() {
            self.on_patience_ended(now, tx, out);
        }
    }

    fn on_patience_ended(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        let id = self.config.id;
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        part.at = now.after(self.config.round_trip_max);
        // Nobody has heard of it yet, and what follows rests on it.
        if self.outbox.is_outstanding(part.write) {
            return;
        }
        let knows = part.phase == Phase::PreCommitted;
        match &mut part.duty {
            Duty::Waiting if self.config.weak(Weakness::TimeoutAlone) => {
                let outcome = if knows { Outcome::Committed } else { Outcome::Aborted };
                self.end(now, tx, outcome, out);
            }
            Duty::Waiting => {
                part.duty = Duty::Polling([(id, knows)].into());
                self.ask_all(tx, false, out);
            }
            Duty::Recovering { attempts } => {
                part.at = self.config.retry_at(now, &mut self.rng, *attempts);
                *attempts = attempts.saturating_add(1);
                self.ask_all(tx, true, out);
            }
            Duty::Polling(states) => {
                states.insert(id, knows);
                // TR1 and TR2, somebody knows, would have come as a decision.
                if states.values().any(|knows| *knows) {
                    self.promote(now, tx, out);
                } else {
                    // TR3: none of those who are up has committed, for none could.
                    self.end(now, tx, Outcome::Aborted, out);
                }
            }
            // Who has not said that it is ready has crashed.
            Duty::Promoting => self.end(now, tx, Outcome::Committed, out),
        }
    }

    /// TR4: all learn that all have voted yes before any commits. Or a backup that came after us would find nobody who knows.
    fn promote(&mut self, now: Time, tx: TransactionId, out: &mut Out) {
        if self.config.weak(Weakness::CommitUnpromoted) {
            return self.end(now, tx, Outcome::Committed, out);
        }
        let Some(part) = self.participant.transactions.get_mut(&tx) else { return };
        let Duty::Polling(states) = core::mem::replace(&mut part.duty, Duty::Promoting) else { return };
        part.phase = Phase::PreCommitted;
        for (to, _) in states.into_iter().filter(|(to, knows)| !knows && *to != self.config.id) {
            self.outbox.say(None, to, Message::PreCommit(tx), out);
        }
    }

    /// The backup decides, and tells all once it is on disk.
    fn end(&mut self, now: Time, tx: TransactionId, outcome: Outcome, out: &mut Out) {
        let write = self.decide(now, tx, outcome, out);
        for to in self.others(tx) {
            self.outbox.say(write, to, Message::Decision { tx, outcome }, out);
        }
    }

    fn ask_all(&mut self, tx: TransactionId, recovering: bool, out: &mut Out) {
        for to in self.others(tx) {
            self.outbox.say(None, to, Message::StateRequest { tx, recovering }, out);
        }
    }

    /// Everybody else who may know: the other participants, and the coordinator.
    fn others(&self, tx: TransactionId) -> BTreeSet<NodeId> {
        let part = self.participant.transactions.get(&tx);
        let participants = part.into_iter().flat_map(|part| part.participants.iter().copied());
        participants.chain([tx.coordinator]).filter(|id| *id != self.config.id).collect()
    }
}
