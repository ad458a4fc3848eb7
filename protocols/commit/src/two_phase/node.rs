//! The node: both roles in one struct, the way in, and what is saved.
//!
//! Invariants, each with where it is kept:
//! - a number is used once: it is reserved on disk before anybody hears of it (`coordinator.rs`, `begin`);
//! - a commit is on disk before anybody hears of it, and until all have acknowledged it (`coordinator.rs`);
//! - a yes is on disk before it is said, and until the outcome is applied for good (`participant.rs`);
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
use crate::{Config, Event, Fenced, Fences, Outcome, Request, TransactionId, Weakness};

pub(crate) type Out = Vec<Effect<TwoPhase>>;

/// A change of what is on disk. Each is complete in itself, and may be carried out again at any later time: what is over is
/// promised no more; a commit is told again, and acknowledged by all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Coordinator: no number up to this one is given to another transaction.
    Numbers(u64),
    /// Coordinator: this is committed.
    Commit {
        /// Which of its transactions.
        number: u64,
        /// Who has to acknowledge it.
        participants: BTreeSet<NodeId>,
    },
    /// Coordinator: all have acknowledged it.
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
    /// Participant: the outcome is applied for good, or was an abort before anything was promised.
    Finished {
        /// Which transaction.
        tx: TransactionId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// What a node finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// Coordinator: the last number reserved; `None` before the first.
    pub numbers: Option<u64>,
    /// Coordinator: what is committed and not acknowledged by all, with who takes part.
    pub committed: BTreeMap<u64, BTreeSet<NodeId>>,
    /// Participant: what was promised and is not finished: the work, and who takes part.
    pub prepared: BTreeMap<TransactionId, (Bytes, BTreeSet<NodeId>)>,
    /// Participant: what is over.
    pub fences: Fences,
}

/// One node.
#[derive(Clone)]
pub struct TwoPhase {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) outbox: Outbox<Self>,
    pub(crate) coordinator: Coordinator,
    pub(crate) participant: Participant,
}

impl Protocol for TwoPhase {
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
            Write::Numbers(last) => saved.numbers = saved.numbers.max(Some(*last)),
            Write::Commit { number, participants } => {
                saved.committed.insert(*number, participants.clone());
            }
            Write::End(number) => {
                saved.committed.remove(number);
            }
            // The fence is the same here as where that was promised: both count what was written before.
            Write::Prepared { tx, work, participants } => {
                if saved.fences.find(*tx) == Fenced::Open {
                    saved.prepared.insert(*tx, (work.clone(), participants.clone()));
                }
            }
            Write::Finished { tx, outcome } => {
                saved.prepared.remove(tx);
                saved.fences.insert(*tx, *outcome);
            }
        }
    }

    fn start(now: Time, config: Config, saved: Saved, rng: Rng, out: &mut Out) -> Self {
        let Saved { numbers, committed, prepared, fences } = saved;
        let outbox = Outbox::new(config.id);
        let numbers = numbers.filter(|_| !config.weak(Weakness::NumberReused));
        let (coordinator, participant) = (Coordinator::new(numbers), Participant::new(fences));
        let mut node = Self { config, rng, outbox, coordinator, participant };
        node.resume_commits(now, committed, out);
        node.resume_doubts(now, prepared, out);
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

impl TwoPhase {
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
            Message::Prepare { work, participants, .. }
                if is_theirs && self.config.may_be_asked(&work, &participants) =>
            {
                self.on_prepare(tx, work, participants, out);
            }
            Message::Vote { yes, .. } if is_ours => self.on_vote(now, from, tx, yes, out),
            Message::Acknowledged(_) if is_ours => self.on_acknowledged(now, from, tx, out),
            // Whoever coordinates knows best, even if it takes part as well.
            Message::Inquiry(_) if is_ours => self.on_inquiry(from, tx, out),
            Message::Inquiry(_) => self.on_peer_inquiry(now, from, tx, out),
            Message::Decision { outcome, .. } => self.on_decision(tx, outcome, out),
            // Said by or to somebody whose transaction it is not, or of work that is not for us.
            Message::Prepare { .. } | Message::Vote { .. } | Message::Acknowledged(_) => {}
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
