//! The node: both roles in one struct, the way in, and what is saved.
//!
//! Invariants, each with where it is kept:
//! - a transaction is on disk before any branch hears of it, and until all are done (`coordinator.rs`);
//! - that it is confirmed is on disk before anybody hears of that (`coordinator.rs`);
//! - a reservation is on disk before the coordinator hears of it (`branch.rs`);
//! - what a branch is about to apply is on disk before it is applied, and never changes (`branch.rs`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::hash::Hasher;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, Rng, Time};

use super::Message;
use super::branch::Branches;
use super::coordinator::Coordinator;
use crate::outbox::Outbox;
use crate::{Config, Event, Fenced, Fences, Outcome, Request, TransactionId, Weakness};

pub(crate) type Out = Vec<Effect<Tcc>>;

/// A change of what is on disk. Each is complete in itself, and may be carried out again at any later time: what has ended is
/// not begun again, and what is over not reserved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Coordinator: this is begun, and to be cancelled unless [`Write::Confirm`] follows.
    Begun {
        /// Which of its transactions. No earlier number is used again.
        number: u64,
        /// Who has a branch.
        branches: BTreeSet<NodeId>,
    },
    /// Coordinator: all have reserved; it is to be confirmed.
    Confirm(u64),
    /// Coordinator: all branches are done.
    End(u64),
    /// Branch: this is reserved.
    Tried {
        /// Which transaction.
        tx: TransactionId,
        /// What is reserved.
        work: Bytes,
    },
    /// Branch: what is reserved is to be confirmed or cancelled, whatever comes.
    Decided {
        /// Which transaction.
        tx: TransactionId,
        /// Which of both.
        outcome: Outcome,
    },
    /// Branch: that is done for good; or nothing was reserved, and nothing will be.
    Finished {
        /// Which transaction.
        tx: TransactionId,
        /// Which of both.
        outcome: Outcome,
    },
}

/// What a node finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// Coordinator: the last number used; `None` before the first.
    pub last: Option<u64>,
    /// Coordinator: what is under way, with its branches, and whether it is to be confirmed.
    pub begun: BTreeMap<u64, (BTreeSet<NodeId>, bool)>,
    /// Branch: what is reserved, and what is to be done with it once that is known.
    pub tried: BTreeMap<TransactionId, (Bytes, Option<Outcome>)>,
    /// Branch: what is over.
    pub fences: Fences,
}

/// One node.
#[derive(Clone)]
pub struct Tcc {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) outbox: Outbox<Self>,
    pub(crate) coordinator: Coordinator,
    pub(crate) branches: Branches,
}

impl Protocol for Tcc {
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
            Write::Begun { number, branches } => {
                if saved.last < Some(*number) {
                    saved.last = Some(*number);
                    saved.begun.insert(*number, (branches.clone(), false));
                }
            }
            Write::Confirm(number) => {
                if let Some((_, confirmed)) = saved.begun.get_mut(number) {
                    *confirmed = true;
                }
            }
            Write::End(number) => {
                saved.begun.remove(number);
            }
            // The fence is the same here as where that was reserved: both count what was written before.
            Write::Tried { tx, work } => {
                if saved.fences.find(*tx) == Fenced::Open {
                    saved.tried.entry(*tx).or_insert_with(|| (work.clone(), None));
                }
            }
            Write::Decided { tx, outcome } => {
                if let Some((_, decided)) = saved.tried.get_mut(tx) {
                    decided.get_or_insert(*outcome);
                }
            }
            Write::Finished { tx, outcome } => {
                saved.tried.remove(tx);
                saved.fences.insert(*tx, *outcome);
            }
        }
    }

    fn start(now: Time, config: Config, saved: Saved, rng: Rng, out: &mut Out) -> Self {
        let Saved { last, begun, tried, fences } = saved;
        let outbox = Outbox::new(config.id);
        let (coordinator, branches) = (Coordinator::new(last), Branches::new(fences));
        let mut node = Self { config, rng, outbox, coordinator, branches };
        node.resume_branches(tried, out);
        if !node.config.weak(Weakness::BegunForgotten) {
            node.resume_begun(now, begun, out);
        }
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
            Input::Timeout => self.on_coordinator_timeout(now, out),
        }
        self.hear_self(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.coordinator.deadline()
    }

    fn fingerprint(&self, _now: Time, into: &mut dyn Hasher) {
        self.coordinator.fingerprint(&self.outbox, into);
        self.branches.fingerprint(&self.outbox, into);
        self.outbox.fingerprint(into);
    }
}

impl Tcc {
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
            Message::Try { work, .. } if is_theirs && self.config.fits(&work) => self.on_try(tx, work, out),
            Message::Confirm(_) if is_theirs => self.on_confirm(now, tx, out),
            Message::Cancel(_) if is_theirs => self.on_cancel(now, tx, out),
            Message::Tried { yes, .. } if is_ours => self.on_tried(now, from, tx, yes, out),
            Message::Done { outcome, .. } if is_ours => self.on_done(now, from, tx, outcome, out),
            // Said by or to somebody whose transaction it is not.
            Message::Try { .. }
            | Message::Confirm(_)
            | Message::Cancel(_)
            | Message::Tried { .. }
            | Message::Done { .. } => {}
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// How many transactions are under way: as coordinator, and as branch.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        (self.coordinator.len(), self.branches.len())
    }

    /// What it has reserved, on disk or not yet, without knowing what comes of it.
    pub fn in_doubt(&self) -> impl Iterator<Item = TransactionId> + '_ {
        self.branches.in_doubt()
    }

    /// How a transaction ended here; `None` while it has not, or is forgotten.
    #[must_use]
    pub fn finished(&self, tx: TransactionId) -> Option<Outcome> {
        self.branches.fences.outcome(tx)
    }
}
