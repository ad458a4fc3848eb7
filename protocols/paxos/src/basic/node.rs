//! The node: three roles in one struct, the way in, and what every step ends with.
//!
//! Invariants, each with where it is kept:
//! - `accepted.ballot <= promised` (`acceptor.rs`), and both only grow;
//! - a ballot of ours is on disk, as a round, before anybody hears of it (`proposer.rs`);
//! - what we say to ourselves waits for the disk like what we say to others (`say`);
//! - `chosen` never changes (`learner.rs`).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, Rng, Time, WriteId, Writes};

use super::acceptor::Acceptor;
use super::learner::Learner;
use super::proposer::{Phase, Proposer};
use super::{Config, Event, Message, Proposal, Request, Weakness};
use crate::Ballot;

pub(crate) type Out = Vec<Effect<Paxos>>;

/// A change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// No ballot of ours of this round, or an earlier one, is used again.
    Round(u64),
    /// Nothing below is promised or accepted any more.
    Promise(Ballot),
    /// This is accepted, which promises its ballot too.
    Accept(Proposal),
    /// This was chosen.
    Chosen(Bytes),
}

/// What a node finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// The last round used by us; 0 before the first.
    pub round: u64,
    /// What was promised.
    pub promised: Option<Ballot>,
    /// What was accepted.
    pub accepted: Option<Proposal>,
    /// What was chosen, if that was known.
    pub chosen: Option<Bytes>,
}

/// One node of one instance.
#[derive(Clone)]
pub struct Paxos {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) acceptor: Acceptor,
    pub(crate) proposer: Proposer,
    pub(crate) learner: Learner,
    pub(crate) writes: Writes<Self>,
    /// What we have said to ourselves and not heard yet, each with the write that it rests on.
    to_self: VecDeque<(Option<WriteId>, Message)>,
}

impl Protocol for Paxos {
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
            Write::Round(round) => saved.round = *round,
            Write::Promise(ballot) => saved.promised = Some(*ballot),
            Write::Accept(proposal) => {
                saved.promised = saved.promised.max(Some(proposal.ballot));
                saved.accepted = Some(proposal.clone());
            }
            Write::Chosen(value) => saved.chosen = Some(value.clone()),
        }
    }

    fn start(now: Time, config: Config, saved: Saved, rng: Rng, out: &mut Out) -> Self {
        let Saved { round, promised, accepted, chosen } = saved;
        let acceptor = Acceptor { promised, accepted, ..Acceptor::default() };
        let round = round.max(promised.map_or(0, |ballot| ballot.round));
        let proposer = Proposer { round, ..Proposer::default() };
        let learner = Learner { chosen, ..Learner::default() };
        let (writes, to_self) = (Writes::default(), VecDeque::new());
        let mut node = Self { config, rng, acceptor, proposer, learner, writes, to_self };
        if node.weak(Weakness::BallotReused) {
            node.proposer.round = 0;
        }
        match node.learner.chosen.clone() {
            Some(value) => node.writes.emit(None, Event::Chosen(value), out),
            None if node.acceptor.accepted.is_some() => node.wait_to_learn(now),
            None => {}
        }
        node
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Request { id, request } => self.on_request(now, id, request, out),
            Input::Stored(id) => self.writes.stored(id, out),
            Input::Answered { answer, .. } => match answer {},
            Input::Timeout => self.on_timeout(now, out),
        }
        while let Some(at) =
            self.to_self.iter().position(|(rests_on, _)| rests_on.is_none_or(|id| !self.writes.is_outstanding(id)))
        {
            let Some((_, message)) = self.to_self.remove(at) else { return };
            self.on_message(now, self.config.id, message, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.proposer.deadline.into_iter().chain(self.acceptor.learn_at).min()
    }

    fn fingerprint(&self, _now: Time, mut into: &mut dyn Hasher) {
        let Acceptor { promised, accepted, promise_write, accept_write, learn_at } = &self.acceptor;
        let place = |write: &Option<WriteId>| write.and_then(|id| self.writes.place(id));
        (promised, accepted, place(promise_write), place(accept_write), learn_at.is_some()).hash(&mut into);
        let Proposer { phase, round, round_write, refusals: _, value, waiting, deadline } = &self.proposer;
        (phase, round, place(round_write), value, waiting.len(), deadline.is_some()).hash(&mut into);
        let Learner { heard, chosen, ever } = &self.learner;
        (heard, chosen, ever, self.to_self.len()).hash(&mut into);
        for (rests_on, message) in &self.to_self {
            (place(rests_on), message).hash(&mut into);
        }
        self.writes.fingerprint(into, |message, mut into| message.hash(&mut into));
    }
}

impl Paxos {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if !self.is_plausible(&message) {
            return;
        }
        if let Some(value) = &self.learner.chosen {
            // Whoever still asks need not find out by itself. All else comes too late.
            if from != self.config.id && matches!(message, Message::Prepare(_) | Message::Accept(_)) {
                let chosen = Message::Chosen(value.clone());
                self.say(None, from, chosen, out);
            }
            return;
        }
        let accepts = self.config.acceptors.contains(&from);
        match message {
            Message::Prepare(ballot) => self.on_prepare(now, from, ballot, out),
            Message::Accept(proposal) => self.on_accept(now, from, proposal, out),
            Message::Promise { ballot, accepted } if accepts => self.on_promise(now, from, ballot, accepted, out),
            Message::Accepted(proposal) if accepts => self.on_accepted(now, from, &proposal, out),
            Message::Nack { ballot, promised } if accepts => self.on_nack(now, ballot, promised),
            Message::Chosen(value) => self.learn(now, value, out),
            // Only acceptors have these to say.
            Message::Promise { .. } | Message::Accepted(_) | Message::Nack { .. } => {}
        }
    }

    /// Whether it may be meant seriously: no ballot that could not be outbid, no value that nobody would propose.
    fn is_plausible(&self, message: &Message) -> bool {
        let fits = |value: &Bytes| value.len() <= self.config.value_bytes_max;
        let is_right = |proposal: &Proposal| proposal.ballot.is_plausible() && fits(&proposal.value);
        match message {
            Message::Prepare(ballot) => ballot.is_plausible(),
            Message::Promise { ballot, accepted } => ballot.is_plausible() && accepted.as_ref().is_none_or(is_right),
            Message::Accept(proposal) | Message::Accepted(proposal) => is_right(proposal),
            Message::Nack { ballot, promised } => ballot.is_plausible() && promised.is_plausible(),
            Message::Chosen(value) => fits(value),
        }
    }

    fn on_timeout(&mut self, now: Time, out: &mut Out) {
        if self.proposer.deadline.is_some_and(|at| at <= now) {
            self.on_proposer_timeout(now, out);
        }
        if self.acceptor.learn_at.is_some_and(|at| at <= now) {
            self.wait_to_learn(now);
            // One that proposes already will find out by that.
            if self.proposer.phase == Phase::Idle {
                self.campaign(now, out);
            }
        }
    }

    /// Says something, to ourselves too, once what it rests on is stored.
    pub(crate) fn say(&mut self, rests_on: Option<WriteId>, to: NodeId, message: Message, out: &mut Out) {
        if to == self.config.id {
            self.to_self.push_back((rests_on, message));
        } else {
            self.writes.send(rests_on, to, message, out);
        }
    }

    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.config.weak(weakness)
    }

    /// How many acceptors choose.
    pub(crate) fn majority(&self) -> usize {
        if self.weak(Weakness::HalfIsMajority) { self.config.acceptors.len() / 2 } else { self.config.majority() }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// How far its proposer is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.proposer.phase
    }

    /// The highest round it knows to have been used; its next ballot is of the one after it.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.proposer.round
    }

    /// What its acceptor has promised, on disk or not yet.
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.acceptor.promised
    }

    /// What its acceptor has accepted, on disk or not yet.
    #[must_use]
    pub fn accepted(&self) -> Option<&Proposal> {
        self.acceptor.accepted.as_ref()
    }

    /// What was chosen, once it knows.
    #[must_use]
    pub fn chosen(&self) -> Option<&Bytes> {
        self.learner.chosen.as_ref()
    }
}
