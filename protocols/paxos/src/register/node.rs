//! The node: its roles in one struct, the way in, and what every step ends with.
//!
//! Invariants, each with where it is kept:
//! - `accepted.ballot <= promised`, and both only grow until the register is forgotten (`acceptor.rs`);
//! - a ballot or an age of ours is on disk before anybody hears of it, rounds many at a time (`proposer.rs`);
//! - what we say to ourselves waits for the disk like what we say to others (`say`);
//! - a change is in a state at most once, and whoever is told that it is done is told of the only one (`proposer.rs`, `propose`);
//! - a proposer remembers a state only with the promise of those who accepted it, for its next ballot (`proposer.rs`, `on_accepted`);
//! - a tombstone is forgotten only where it was the last word, and only together with learning what to refuse (`acceptor.rs`);
//! - proposers are at most one membership apart; that is for the operator to keep (`membership.rs`).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::convert::Infallible;
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, Rng, Time, WriteId, Writes};

use super::acceptor::{Acceptor, Held, Register, refuse_younger};
use super::collector::Collector;
use super::membership::Rewriting;
use super::proposer::{Phase, Proposer};
use super::{Age, Body, Config, Epoch, Event, Membership, Message, Proposal, Request, Weakness};
use crate::{Ballot, ROUND_MAX};

pub(crate) type Out = Vec<Effect<Registers>>;

/// A change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// No ballot of ours of this round, or an earlier one, is used again, nor an age below this.
    Proposer {
        /// The round.
        reserved: u64,
        /// The age.
        age: Age,
    },
    /// Nothing below is promised or accepted any more.
    Promise {
        /// Of which register.
        key: Bytes,
        /// Below what.
        ballot: Ballot,
    },
    /// This is accepted, which promises its ballot too, or the next.
    Accept {
        /// Of which register.
        key: Bytes,
        /// What.
        proposal: Proposal,
        /// The ballot that is promised along with it.
        next: Option<Ballot>,
    },
    /// A register is forgotten, and what proposers sent at younger ages is refused.
    Erase {
        /// Which register.
        key: Bytes,
        /// The ages.
        ages: BTreeMap<NodeId, Age>,
    },
    /// These accept from now on.
    Membership(Membership),
}

/// What a node finds when it starts: there is no log, the registers are all there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// Rounds up to this may have been used by us; 0 before the first.
    pub reserved: u64,
    /// Our age.
    pub age: Age,
    /// What was promised and accepted.
    pub registers: BTreeMap<Bytes, Register>,
    /// What each proposer sent at a younger age is refused.
    pub ages: BTreeMap<NodeId, Age>,
    /// Who accepts; `None` while that is as it was configured.
    pub membership: Option<Membership>,
}

/// One node, and all registers.
#[derive(Clone)]
pub struct Registers {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) membership: Membership,
    pub(crate) acceptor: Acceptor,
    pub(crate) proposer: Proposer,
    pub(crate) collector: Collector,
    pub(crate) rewriting: Option<Rewriting>,
    pub(crate) writes: Writes<Self>,
    /// What we have said to ourselves and not heard yet, each with the write that it rests on.
    to_self: VecDeque<(Option<WriteId>, Message)>,
}

impl Protocol for Registers {
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
            Write::Proposer { reserved, age } => (saved.reserved, saved.age) = (*reserved, *age),
            Write::Promise { key, ballot } => {
                let accepted = saved.registers.get(key).and_then(|register| register.accepted.clone());
                saved.registers.insert(key.clone(), Register { promised: *ballot, accepted });
            }
            Write::Accept { key, proposal, next } => {
                let before = saved.registers.get(key).map(|register| register.promised);
                let promised = before.max(*next).unwrap_or(proposal.ballot).max(proposal.ballot);
                saved.registers.insert(key.clone(), Register { promised, accepted: Some(proposal.clone()) });
            }
            Write::Erase { key, ages } => {
                saved.registers.remove(key);
                refuse_younger(&mut saved.ages, ages);
            }
            Write::Membership(membership) => saved.membership = Some(membership.clone()),
        }
    }

    fn start(_: Time, config: Config, saved: Saved, rng: Rng, _: &mut Out) -> Self {
        let Saved { mut reserved, age, registers, ages, membership } = saved;
        let initial = || Membership { epoch: Epoch::default(), acceptors: config.acceptors.clone() };
        let membership = membership.unwrap_or_else(initial);
        let registers = registers.into_iter().map(|(key, register)| (key, Held { register, write: None })).collect();
        if config.weak(Weakness::BallotReused) {
            reserved = 0;
        }
        let proposer = Proposer { round: reserved, reserved, age, ..Proposer::default() };
        let (acceptor, collector) = (Acceptor { registers, ages, erase_write: None }, Collector::default());
        let (writes, to_self) = (Writes::default(), VecDeque::new());
        Self { config, rng, membership, acceptor, proposer, collector, rewriting: None, writes, to_self }
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Request { id, request } => match request {
                Request::Change { key, change } => self.on_change(now, id, key, change, out),
                Request::Collect(key) => self.want_collected(now, &key, out),
                Request::Reconfigure(membership) => self.on_reconfigure(now, id, membership, out),
                Request::Rewrite => self.on_rewrite(now, id, out),
            },
            Input::Stored(id) => {
                self.writes.stored(id, out);
                self.on_proposer_stored(now, out);
            }
            Input::Answered { answer, .. } => match answer {},
            Input::Timeout => {
                self.on_proposer_timeout(now, out);
                self.on_collector_timeout(now, out);
            }
        }
        while let Some(at) =
            self.to_self.iter().position(|(rests_on, _)| rests_on.is_none_or(|id| !self.writes.is_outstanding(id)))
        {
            let Some((_, message)) = self.to_self.remove(at) else { return };
            self.on_message(now, self.config.id, message, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.proposer_deadline().into_iter().chain(self.collector_deadline()).min()
    }

    fn fingerprint(&self, _now: Time, mut into: &mut dyn Hasher) {
        let place = |write: &Option<WriteId>| write.and_then(|id| self.writes.place(id));
        let Acceptor { registers, ages, erase_write } = &self.acceptor;
        (&self.membership, ages, place(erase_write), registers.len()).hash(&mut into);
        for (key, Held { register, write }) in registers {
            (key, register, place(write)).hash(&mut into);
        }
        let Proposer { round, reserved, age, write, work, remembered, waiting: _ } = &self.proposer;
        (round, reserved, age, place(write), remembered, work.len()).hash(&mut into);
        for (key, work) in work {
            let current = &work.current;
            let asks = current.asks.map(|(write, age)| (self.writes.place(write), age));
            (key, &current.phase, asks, current.first, &current.task.change, work.queue.len()).hash(&mut into);
            work.queue.iter().for_each(|task| task.change.hash(&mut into));
        }
        let Collector { current, queue, begin_at: _ } = &self.collector;
        (current.as_ref().map(|current| (&current.key, &current.stage)), queue.len()).hash(&mut into);
        queue.iter().for_each(|wanted| (&wanted.key, wanted.tries).hash(&mut into));
        (self.rewriting.as_ref().map(|rewriting| &rewriting.at), self.to_self.len()).hash(&mut into);
        for (rests_on, message) in &self.to_self {
            (place(rests_on), message).hash(&mut into);
        }
        self.writes.fingerprint(into, |message, mut into| message.hash(&mut into));
    }
}

impl Registers {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if !self.is_plausible(from, &message) {
            return;
        }
        let Message { key, body } = message;
        let accepts = self.membership.acceptors.contains(&from);
        match body {
            Body::Prepare { age, ballot } if self.is_of_age(from, age) => self.on_prepare(now, from, key, ballot, out),
            Body::Accept { age, proposal, next } if self.is_of_age(from, age) => {
                self.on_accept(now, from, key, proposal, next, out);
            }
            // Sent before a register was forgotten that it may be about.
            Body::Prepare { .. } | Body::Accept { .. } => {}
            Body::Promise { ballot, accepted } if accepts => self.on_promise(now, from, key, ballot, accepted, out),
            Body::Accepted { ballot } if accepts => self.on_accepted(now, from, key, ballot, out),
            Body::Nack { ballot, promised } if accepts => self.on_nack(now, key, ballot, promised, out),
            // Only acceptors have these to say.
            Body::Promise { .. } | Body::Accepted { .. } | Body::Nack { .. } => {}
            Body::Retire { tombstone, epoch } => self.on_retire(now, from, key, tombstone, epoch, out),
            Body::Retired { tombstone, age } => self.on_retired(now, from, &key, tombstone, age, out),
            Body::Erase { tombstone, ages } => self.on_erase(now, from, key, tombstone, ages, out),
            Body::Erased { tombstone } => self.on_erased(now, from, &key, tombstone, out),
        }
    }

    /// Whether it may be meant seriously: no ballot that could not be outbid or is somebody else's, no age of nobody, nothing
    /// that is too long.
    fn is_plausible(&self, from: NodeId, message: &Message) -> bool {
        let is_own = |ballot: &Ballot| ballot.is_plausible() && ballot.node == from;
        let is_age = |age: &Age| age.0 <= ROUND_MAX;
        let is_right = |proposal: &Proposal| {
            let state = &proposal.state;
            proposal.ballot.is_plausible()
                && state.version.is_none_or(|version| version.is_plausible() && version <= proposal.ballot)
                && state.previous.is_none_or(|previous| previous.is_plausible() && Some(previous) < state.version)
                && (state.value.is_none() || state.version.is_some())
                && state.value.as_ref().is_none_or(|value| value.len() <= self.config.value_bytes_max)
        };
        let is_well_said = match &message.body {
            Body::Prepare { age, ballot } => is_age(age) && is_own(ballot),
            Body::Accept { age, proposal, next } => {
                let follows = |next: &Ballot| is_own(next) && *next > proposal.ballot;
                is_age(age) && is_own(&proposal.ballot) && is_right(proposal) && next.as_ref().is_none_or(follows)
            }
            Body::Promise { ballot, accepted } => ballot.is_plausible() && accepted.as_ref().is_none_or(is_right),
            Body::Accepted { ballot } => ballot.is_plausible(),
            Body::Nack { ballot, promised } => ballot.is_plausible() && promised.is_plausible(),
            Body::Retire { tombstone, .. } | Body::Erased { tombstone } => tombstone.is_plausible(),
            Body::Retired { tombstone, age } => tombstone.is_plausible() && is_age(age),
            Body::Erase { tombstone, ages } => {
                tombstone.is_plausible()
                    && ages.iter().all(|(node, age)| self.config.proposers.contains(node) && is_age(age))
            }
        };
        is_well_said && message.key.len() <= self.config.key_bytes_max
    }

    /// Says something, to ourselves too, once what it rests on is stored.
    pub(crate) fn say(&mut self, rests_on: Option<WriteId>, to: NodeId, key: Bytes, body: Body, out: &mut Out) {
        let message = Message { key, body };
        if to == self.config.id {
            self.to_self.push_back((rests_on, message));
        } else {
            self.writes.send(rests_on, to, message, out);
        }
    }

    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.config.weak(weakness)
    }

    /// How many acceptors decide.
    pub(crate) fn majority(&self) -> usize {
        let count = self.membership.acceptors.len();
        if self.weak(Weakness::HalfIsMajority) { count / 2 } else { hezong_base::quorum::majority(count) }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// Whom it proposes to.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// What its acceptor keeps of a register, on disk or not yet.
    #[must_use]
    pub fn register(&self, key: &[u8]) -> Option<&Register> {
        self.acceptor.registers.get(key).map(|held| &held.register)
    }

    /// How far its proposer is with a register.
    #[must_use]
    pub fn phase(&self, key: &[u8]) -> Option<&Phase> {
        self.proposer.work.get(key).map(|work| &work.current.phase)
    }

    /// What its proposer remembers of a register that it was the last to change, and the ballot of its next change.
    #[must_use]
    pub fn remembered(&self, key: &[u8]) -> Option<&Proposal> {
        self.proposer.remembered.get(key)
    }

    /// How many registers its acceptor keeps, and how many its proposer remembers.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.acceptor.registers.len(), self.proposer.remembered.len())
    }

    /// How often its proposer was told of a collection.
    #[must_use]
    pub fn age(&self) -> Age {
        self.proposer.age
    }

    /// Whether it collects registers, or is about to.
    #[must_use]
    pub fn is_collecting(&self) -> bool {
        self.collector.current.is_some() || !self.collector.queue.is_empty()
    }
}
