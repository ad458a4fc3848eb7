//! The node: both roles in one struct, the way in, and what is saved.
//!
//! Invariants, each with where it is kept:
//! - a transaction is on disk before any participant hears of it, and until all have acknowledged its end (`coordinator.rs`);
//! - a yes is on disk before it is said, and until the outcome is applied for good (`participant.rs`);
//! - whoever decides has it on disk before anybody hears of it (`coordinator.rs`, `termination.rs`), and it never changes;
//! - who was gone while a transaction was under way decides nothing about it, and is not asked (`termination.rs`);
//! - what is over is not opened again (`participant.rs`, by the fence).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::hash::Hasher;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, Rng, Time};

use super::Message;
use super::coordinator::Coordinator;
use super::participant::Participant;
use crate::outbox::Outbox;
use crate::{Config, Event, Fenced, Fences, Outcome, Request, TransactionId};

pub(crate) type Out = Vec<Effect<ThreePhase>>;

/// A change of what is on disk. Each is complete in itself, and may be carried out again at any later time: what is over is
/// neither begun nor promised any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Coordinator: this is begun.
    Begun {
        /// Which of its transactions. No earlier number is used again.
        number: u64,
        /// Who takes part.
        participants: BTreeSet<NodeId>,
    },
    /// Coordinator: so it ends.
    Concluded {
        /// Which of its transactions.
        number: u64,
        /// How.
        outcome: Outcome,
    },
    /// Coordinator: all have acknowledged that.
    End(u64),
    /// Participant: yes.
    Prepared {
        /// Which transaction.
        tx: TransactionId,
        /// What was promised.
        work: Bytes,
        /// Who takes part.
        participants: BTreeSet<NodeId>,
    },
    /// Participant: so it ends, whatever comes.
    Decided {
        /// Which transaction.
        tx: TransactionId,
        /// How.
        outcome: Outcome,
    },
    /// Participant: the outcome is applied for good, or was an abort before anything was promised.
    Finished {
        /// Which transaction.
        tx: TransactionId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// What a participant has promised, as its disk knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// What it is to do.
    pub work: Bytes,
    /// Who takes part.
    pub participants: BTreeSet<NodeId>,
    /// How it ends, once that is known.
    pub decided: Option<Outcome>,
}

/// What a node finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// Coordinator: the last number used; `None` before the first.
    pub last: Option<u64>,
    /// Coordinator: what is under way, who takes part, and how it ends once that is known.
    pub begun: BTreeMap<u64, (BTreeSet<NodeId>, Option<Outcome>)>,
    /// Participant: what was promised and is not finished.
    pub promised: BTreeMap<TransactionId, Promise>,
    /// Participant: what is over.
    pub fences: Fences,
}

/// One node.
#[derive(Clone)]
pub struct ThreePhase {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) outbox: Outbox<Self>,
    pub(crate) coordinator: Coordinator,
    pub(crate) participant: Participant,
}

impl Protocol for ThreePhase {
    type Config = Config;
    type Message = Message;
    type Request = Request;
    type Event = Event;
    type Write = Write;
    type Saved = Saved;
    type Ask = Infallible;
    type Answer = Infallible;

    fn save(saved: &mut Saved, write: &Write) {
        match write {
            Write::Begun { number, participants } => {
                if Some(*number) > saved.last {
                    saved.last = Some(*number);
                    saved.begun.insert(*number, (participants.clone(), None));
                }
            }
            Write::Concluded { number, outcome } => {
                if let Some((_, concluded)) = saved.begun.get_mut(number) {
                    concluded.get_or_insert(*outcome);
                }
            }
            Write::End(number) => {
                saved.begun.remove(number);
            }
            // The fence is the same here as where that was promised: both count what was written before.
            Write::Prepared { tx, work, participants } => {
                if saved.fences.find(*tx) == Fenced::Open {
                    let (work, participants) = (work.clone(), participants.clone());
                    saved.promised.entry(*tx).or_insert(Promise { work, participants, decided: None });
                }
            }
            Write::Decided { tx, outcome } => {
                if let Some(promise) = saved.promised.get_mut(tx) {
                    promise.decided.get_or_insert(*outcome);
                }
            }
            Write::Finished { tx, outcome } => {
                saved.promised.remove(tx);
                saved.fences.insert(*tx, *outcome);
            }
        }
    }

    fn start(now: Time, config: Config, saved: Saved, rng: Rng, out: &mut Out) -> Self {
        let Saved { last, begun, promised, fences } = saved;
        let outbox = Outbox::new(config.id);
        let (coordinator, participant) = (Coordinator::new(last), Participant::new(fences));
        let mut node = Self { config, rng, outbox, coordinator, participant };
        node.resume_begun(now, begun, out);
        node.resume_promises(now, promised, out);
        node.hear_self(now, out);
        node
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Request { id, request } => match request {
                Request::Begin(work) => self.begin(now, id, work, out),
                Request::Vote { tx, yes } => self.on_local_vote(now, tx, yes, out),
                Request::Applied(tx) => self.on_applied(now, tx, out),
            },
            Input::Stored(id) => {
                self.outbox.writes.stored(id, out);
                self.forget_finished();
                self.forget_ended();
            }
            Input::Answered { answer, .. } => match answer {},
            Input::Timeout => {
                self.on_coordinator_timeout(now, out);
                self.on_participant_timeout(now, out);
            }
        }
        self.hear_self(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.coordinator.deadline().into_iter().chain(self.participant.deadline()).min()
    }

    fn fingerprint(&self, _now: Time, into: &mut dyn Hasher) {
        self.coordinator.fingerprint(&self.outbox, into);
        self.participant.fingerprint(&self.outbox, into);
        self.outbox.fingerprint(into);
    }
}

impl ThreePhase {
    fn hear_self(&mut self, now: Time, out: &mut Out) {
        while let Some(message) = self.outbox.hear_self() {
            self.on_message(now, self.config.id, message, out);
        }
    }

    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        let tx = message.tx();
        if !self.config.is_plausible(from, tx) {
            return;
        }
        let (is_ours, is_theirs) = (tx.coordinator == self.config.id, tx.coordinator == from);
        match message {
            Message::CanCommit { work, participants, .. }
                if is_theirs && self.config.may_be_asked(&work, &participants) =>
            {
                self.on_can_commit(tx, work, participants, out);
            }
            Message::Vote { yes, .. } if is_ours => self.on_vote(now, from, tx, yes, out),
            Message::Acknowledged(_) if is_ours => self.on_acknowledged(now, from, tx, out),
            // Said by or to somebody whose transaction it is not, or of work that is not for us.
            Message::CanCommit { .. } | Message::Vote { .. } | Message::Acknowledged(_) => {}
            Message::PreCommit(_) => self.on_pre_commit(now, from, tx, out),
            Message::Ready(_) if is_ours => self.on_ready(now, from, tx, out),
            // A backup waits out its time, whoever is ready before.
            Message::Ready(_) => {}
            // A backup has decided; or we were gone, and our own participant knows. The coordinator tells everybody, and so its
            // own participant.
            Message::Decision { outcome, .. } if is_ours && (from != self.config.id || self.was_gone(tx)) => {
                self.conclude(now, tx, outcome, out);
            }
            Message::Decision { outcome, .. } => self.on_decision(now, tx, outcome, out),
            Message::StateRequest { recovering, .. } => {
                if !is_ours || !self.tell_conclusion(from, tx, out) {
                    self.on_state_request(now, from, tx, recovering, out);
                }
            }
            Message::State { recovering: true, .. } if is_ours => self.on_recovering_state(now, from, tx, out),
            Message::State { recovering: true, .. } => {}
            Message::State { pre_committed, .. } => self.on_state(from, tx, pre_committed),
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// How many transactions are under way: as coordinator, and as participant.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        (self.coordinator.len(), self.participant.len())
    }

    /// What it has voted yes to, on disk or not yet, without knowing the outcome.
    pub fn in_doubt(&self) -> impl Iterator<Item = TransactionId> + '_ {
        self.participant.in_doubt()
    }

    /// How a transaction ended here; `None` while it has not, or is forgotten.
    #[must_use]
    pub fn finished(&self, tx: TransactionId) -> Option<Outcome> {
        self.participant.fences.outcome(tx)
    }
}
