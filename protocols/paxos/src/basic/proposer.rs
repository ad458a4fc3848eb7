//! The proposer: one ballot at a time, in two phases, and a pause after each refusal.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time, WriteId};

use super::node::{Out, Paxos, Write};
use super::{Event, Message, Proposal, Refusal, Request, Weakness};
use crate::{Ballot, ROUND_MAX};

/// After so many refusals pauses double no more: by then they are at their longest.
const DOUBLINGS_MAX: u32 = 16;

/// How far a proposer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It has nothing to propose, or does not know yet that it should.
    #[default]
    Idle,
    /// It was refused, and waits for a while.
    Waiting,
    /// Phase 1: acceptors are asked to promise.
    Preparing {
        /// What they are asked to promise.
        ballot: Ballot,
        /// Who has, and what each had accepted.
        promises: BTreeMap<NodeId, Option<Proposal>>,
    },
    /// Phase 2: acceptors are asked to accept.
    Accepting(Proposal),
}

/// A proposer's part of the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposer {
    pub(crate) phase: Phase,
    /// The highest round that is known to have been used, by us or anybody.
    pub(crate) round: u64,
    /// The write by which our last round is not forgotten; of this life.
    pub(crate) round_write: Option<WriteId>,
    /// How often it was refused.
    pub(crate) refusals: u32,
    /// What is proposed where that is free: what the first local user asked for that still waits.
    pub(crate) value: Option<Bytes>,
    /// The proposals of local users that wait for an answer, oldest first.
    pub(crate) waiting: VecDeque<RequestId>,
    /// When it asks again those who are silent, or ends its pause.
    pub(crate) deadline: Option<Time>,
}

impl Paxos {
    pub(crate) fn on_request(&mut self, now: Time, id: RequestId, request: Request, out: &mut Out) {
        let Request::Propose(value) = request;
        let refusal = if value.len() > self.config.value_bytes_max {
            Some(Refusal::TooLong)
        } else if self.proposer.waiting.len() >= self.config.waiting_max {
            Some(Refusal::Overloaded)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.writes.emit(None, Event::Refused { id, refusal }, out);
        }
        if let Some(chosen) = self.learner.chosen.clone() {
            return self.writes.emit(None, Event::Answered { id, value: chosen }, out);
        }
        self.proposer.waiting.push_back(id);
        self.proposer.value.get_or_insert(value);
        if self.proposer.phase == Phase::Idle {
            self.campaign(now, out);
        }
    }

    /// Phase 1a: a ballot above all that were heard of, never used before and, once it is on disk, never again (§2.5).
    pub(crate) fn campaign(&mut self, now: Time, out: &mut Out) {
        if self.proposer.round >= ROUND_MAX {
            (self.proposer.phase, self.proposer.deadline, self.proposer.value) = (Phase::Idle, None, None);
            for id in core::mem::take(&mut self.proposer.waiting) {
                self.writes.emit(None, Event::Refused { id, refusal: Refusal::BallotsSpent }, out);
            }
            return;
        }
        self.proposer.round += 1;
        let round = self.proposer.round;
        if !self.weak(Weakness::BallotReused) {
            let write = self.writes.store(now, Write::Round(round), size_of::<u64>(), out);
            self.proposer.round_write = Some(write);
        }
        let ballot = Ballot { round, node: self.config.id };
        let mut promises = BTreeMap::new();
        if self.weak(Weakness::OldPromiseCounted)
            && let Phase::Preparing { promises: old, .. } = &self.proposer.phase
        {
            promises.clone_from(old);
        }
        self.proposer.phase = Phase::Preparing { ballot, promises };
        self.ask(now, out);
    }

    /// Asks, or asks again, those who have not answered.
    fn ask(&mut self, now: Time, out: &mut Out) {
        self.proposer.deadline = Some(now.after(self.config.resend_interval));
        let rests_on = self.proposer.round_write;
        let (message, silent): (Message, Vec<NodeId>) = match &self.proposer.phase {
            Phase::Idle | Phase::Waiting => return,
            Phase::Preparing { ballot, promises } => {
                let silent = |id: &NodeId| !promises.contains_key(id);
                (Message::Prepare(*ballot), self.config.acceptors.iter().copied().filter(silent).collect())
            }
            Phase::Accepting(proposal) => {
                let silent = |id: &NodeId| self.learner.heard.get(id) != Some(proposal);
                (Message::Accept(proposal.clone()), self.config.acceptors.iter().copied().filter(silent).collect())
            }
        };
        for to in silent {
            self.say(rests_on, to, message.clone(), out);
        }
    }

    /// Phase 2a, once a majority has promised: the value of the highest ballot that any of them has accepted, and where
    /// none has, one of our own (P2c).
    pub(crate) fn on_promise(
        &mut self,
        now: Time,
        from: NodeId,
        promised: Ballot,
        accepted: Option<Proposal>,
        out: &mut Out,
    ) {
        let counts_all = self.weak(Weakness::OldPromiseCounted) && promised.node == self.config.id;
        let needed = self.majority();
        let Phase::Preparing { ballot, promises } = &mut self.proposer.phase else { return };
        if *ballot != promised && !counts_all {
            return;
        }
        promises.insert(from, accepted);
        if promises.len() < needed {
            return;
        }
        let (ballot, accepted) = (*ballot, promises.values().flatten().cloned().collect::<Vec<_>>());
        let Some(value) = self.value_to_propose(&accepted) else {
            // Somebody's value that we meant to help is no longer ours to find.
            (self.proposer.phase, self.proposer.deadline) = (Phase::Idle, None);
            return;
        };
        self.proposer.phase = Phase::Accepting(Proposal { ballot, value });
        self.ask(now, out);
    }

    fn value_to_propose(&self, accepted: &[Proposal]) -> Option<Bytes> {
        let own = self.proposer.value.clone();
        if self.weak(Weakness::OwnValue) && own.is_some() {
            return own;
        }
        if self.weak(Weakness::MostCommonValue) {
            let count = |value: &Bytes| accepted.iter().filter(|other| other.value == *value).count();
            let common = accepted.iter().max_by_key(|one| (count(&one.value), core::cmp::Reverse(one.ballot)));
            return common.map(|one| one.value.clone()).or(own);
        }
        let highest = accepted.iter().max_by_key(|one| one.ballot).map(|one| one.value.clone());
        highest.or(own).or_else(|| self.acceptor.accepted.as_ref().map(|accepted| accepted.value.clone()))
    }

    /// Gives the ballot up that was refused, and waits: whoever outbid us may be done by then (§2.4).
    pub(crate) fn on_nack(&mut self, now: Time, refused: Ballot, promised: Ballot) {
        self.proposer.round = self.proposer.round.max(promised.round);
        let current = match &self.proposer.phase {
            Phase::Preparing { ballot, .. } => *ballot,
            Phase::Accepting(proposal) => proposal.ballot,
            Phase::Idle | Phase::Waiting => return,
        };
        if current != refused {
            return;
        }
        let longest = self.config.backoff_max.max(self.config.backoff_min);
        let doubled = self.config.backoff_min.saturating_mul(1 << self.proposer.refusals.min(DOUBLINGS_MAX));
        let pause = doubled.min(longest);
        self.proposer.refusals = self.proposer.refusals.saturating_add(1);
        self.proposer.phase = Phase::Waiting;
        self.proposer.deadline = Some(now.after(self.rng.between(pause, pause.saturating_mul(2))));
    }

    /// Its deadline has passed.
    pub(crate) fn on_proposer_timeout(&mut self, now: Time, out: &mut Out) {
        match &self.proposer.phase {
            Phase::Idle => self.proposer.deadline = None,
            Phase::Waiting => self.campaign(now, out),
            // It has asked nobody yet, and will as soon as its ballot is on disk.
            Phase::Preparing { .. } | Phase::Accepting(_)
                if self.proposer.round_write.is_some_and(|write| self.writes.is_outstanding(write)) =>
            {
                self.proposer.deadline = Some(now.after(self.config.resend_interval));
            }
            Phase::Preparing { .. } | Phase::Accepting(_) => self.ask(now, out),
        }
    }
}
