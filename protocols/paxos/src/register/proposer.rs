//! The proposer: for each register one change at a time, in two phases, or in one where the last change was its own.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time, WriteId};

use super::node::{Out, Registers, Write};
use super::{Age, Body, Change, Epoch, Event, Proposal, Refusal, State, Weakness};
use crate::{Ballot, ROUND_MAX};

/// After so many refusals pauses double no more: by then they are at their longest.
const DOUBLINGS_MAX: u32 = 16;

/// On whose account a register is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Client(RequestId),
    /// Reads, and wants all acceptors to hold what it read. Gives way to everybody.
    Collector,
    Rewriter,
}

/// A change to be made.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) asker: Asker,
    pub(crate) change: Change,
    /// When it is given up.
    pub(crate) until: Time,
}

/// How far a change is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It was refused, and waits for a while.
    Waiting,
    /// Acceptors are asked to promise.
    Preparing {
        /// What they are asked to promise.
        ballot: Ballot,
        /// Who has, and what each had accepted.
        promises: BTreeMap<NodeId, Option<Proposal>>,
    },
    /// Acceptors are asked to accept.
    Accepting {
        /// What they are asked to accept.
        proposal: Proposal,
        /// Whether the change took.
        took: bool,
        /// The ballot of the next change, which they promise on the way.
        next: Option<Ballot>,
        /// Who has accepted.
        accepted: BTreeSet<NodeId>,
    },
}

impl Phase {
    fn ballot(&self) -> Option<Ballot> {
        match self {
            Self::Waiting => None,
            Self::Preparing { ballot, .. } => Some(*ballot),
            Self::Accepting { proposal, .. } => Some(proposal.ballot),
        }
    }
}

/// The change of a register that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) task: Task,
    pub(crate) phase: Phase,
    /// The first ballot at which a state was proposed in which the change took. All our ballots from it on were its own.
    pub(crate) first: Option<Ballot>,
    /// How often it was refused.
    refusals: u32,
    /// What it asks rests on this write, and is asked at this age once that is stored; `None` once it is asked. Kept here and
    /// not parked, so that it goes with the change: what is given up while the disk stalls takes no room.
    pub(crate) asks: Option<(WriteId, Age)>,
    /// When it asks again those who are silent, or ends its pause.
    pub(crate) at: Time,
}

/// What is to be done to one register.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) current: Attempt,
    pub(crate) queue: VecDeque<Task>,
}

/// What came of a change.
pub(crate) enum Outcome {
    Done { took: bool, proposal: Proposal },
    Refused(Refusal),
    Unknown,
}

/// A proposer's part of the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposer {
    /// The highest round that is known to have been used, by us or anybody, on whichever register.
    pub(crate) round: u64,
    /// Rounds up to this are not used again after a crash.
    pub(crate) reserved: u64,
    pub(crate) age: Age,
    /// The write by which rounds and age are not forgotten; of this life.
    pub(crate) write: Option<WriteId>,
    pub(crate) work: BTreeMap<Bytes, Work>,
    /// What registers were left with that we changed last, and the ballot that a majority has promised us for the next change.
    pub(crate) remembered: BTreeMap<Bytes, Proposal>,
    /// How many changes of local users are not answered.
    pub(crate) waiting: usize,
}

impl Registers {
    pub(crate) fn on_change(&mut self, now: Time, id: RequestId, key: Bytes, change: Change, out: &mut Out) {
        let refusal = if !self.config.proposers.contains(&self.config.id) {
            Some(Refusal::NotAProposer)
        } else if key.len() > self.config.key_bytes_max || change.bytes() > self.config.value_bytes_max {
            Some(Refusal::TooLong)
        } else if self.proposer.waiting >= self.config.waiting_max {
            Some(Refusal::Overloaded)
        } else if self.proposer.round >= ROUND_MAX {
            Some(Refusal::BallotsSpent)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.writes.emit(None, Event::Refused { id, refusal }, out);
        }
        self.proposer.waiting += 1;
        let until = now.after(self.config.change_timeout);
        self.enqueue(now, key, Task { asker: Asker::Client(id), change, until }, out);
    }

    /// Begins it, or has it wait for what is under way.
    pub(crate) fn enqueue(&mut self, now: Time, key: Bytes, task: Task, out: &mut Out) {
        let Some(work) = self.proposer.work.get_mut(&key) else {
            return self.begin(now, key, task, VecDeque::new(), out);
        };
        work.queue.push_back(task);
        if work.current.task.asker == Asker::Collector {
            self.finish(now, key, Outcome::Refused(Refusal::Overloaded), out);
        }
    }

    /// In one round trip where the last change was ours and nobody has outbid it; else in two.
    fn begin(&mut self, now: Time, key: Bytes, task: Task, queue: VecDeque<Task>, out: &mut Out) {
        let is_read = task.change == Change::Read;
        let current = Attempt { task, phase: Phase::Waiting, first: None, refusals: 0, asks: None, at: now };
        self.proposer.work.insert(key.clone(), Work { current, queue });
        match self.proposer.remembered.remove(&key) {
            Some(proposal) if is_read && self.weak(Weakness::ReadFromMemory) => {
                self.proposer.remembered.insert(key.clone(), proposal.clone());
                self.finish(now, key, Outcome::Done { took: false, proposal }, out);
            }
            Some(Proposal { ballot, state }) => self.propose(now, key, ballot, state, out),
            None => self.campaign(now, key, out),
        }
    }

    /// Asks for promises at a ballot above all that were heard of.
    pub(crate) fn campaign(&mut self, now: Time, key: Bytes, out: &mut Out) {
        let (ballot, counts_old) = (self.next_ballot(now, out), self.weak(Weakness::OldPromiseCounted));
        let Some(work) = self.proposer.work.get_mut(&key) else { return };
        let Some(ballot) = ballot else {
            // There will be none; all it can do is to run out of time.
            (work.current.phase, work.current.asks) = (Phase::Waiting, None);
            work.current.at = work.current.task.until;
            return;
        };
        let promises = match &work.current.phase {
            Phase::Preparing { promises, .. } if counts_old => promises.clone(),
            Phase::Waiting | Phase::Preparing { .. } | Phase::Accepting { .. } => BTreeMap::new(),
        };
        work.current.phase = Phase::Preparing { ballot, promises };
        self.ask(now, key, out);
    }

    /// A ballot never used before and, once the write is on disk that it may rest on, never again.
    fn next_ballot(&mut self, now: Time, out: &mut Out) -> Option<Ballot> {
        if self.proposer.round >= ROUND_MAX {
            return None;
        }
        self.proposer.round += 1;
        if self.proposer.round > self.proposer.reserved && !self.weak(Weakness::BallotReused) {
            let ahead = self.config.rounds_reserved.clamp(1, ROUND_MAX) - 1;
            self.proposer.reserved = (self.proposer.round + ahead).min(ROUND_MAX);
            self.store_proposer(now, out);
        }
        Some(Ballot { round: self.proposer.round, node: self.config.id })
    }

    fn store_proposer(&mut self, now: Time, out: &mut Out) {
        let write = Write::Proposer { reserved: self.proposer.reserved, age: self.proposer.age };
        self.proposer.write = Some(self.writes.store(now, write, size_of::<Write>(), out));
    }

    /// Asks, or asks again, those who have not answered; as soon as the ballots and the age in it are on disk.
    fn ask(&mut self, now: Time, key: Bytes, out: &mut Out) {
        let (age, rests_on) =
            (self.proposer.age, self.proposer.write.filter(|write| self.writes.is_outstanding(*write)));
        let Some(work) = self.proposer.work.get_mut(&key) else { return };
        work.current.at = now.after(self.config.resend_interval);
        work.current.asks = rests_on.map(|write| (write, age));
        if rests_on.is_none() {
            self.ask_at(age, key, out);
        }
    }

    /// Asks what waited for the disk. Looks at all changes, which are at most as many as may wait.
    pub(crate) fn on_proposer_stored(&mut self, now: Time, out: &mut Out) {
        let is_ready = |(write, _): &(WriteId, Age)| !self.writes.is_outstanding(*write);
        let ready = |(key, work): (&Bytes, &Work)| Some((key.clone(), work.current.asks.filter(is_ready)?.1));
        for (key, age) in self.proposer.work.iter().filter_map(ready).collect::<Vec<_>>() {
            if let Some(work) = self.proposer.work.get_mut(&key) {
                (work.current.asks, work.current.at) = (None, now.after(self.config.resend_interval));
            }
            self.ask_at(age, key, out);
        }
    }

    fn ask_at(&mut self, age: Age, key: Bytes, out: &mut Out) {
        let Some(work) = self.proposer.work.get(&key) else { return };
        let acceptors = self.membership.acceptors.iter().copied();
        let (body, silent): (Body, Vec<NodeId>) = match &work.current.phase {
            Phase::Waiting => return,
            Phase::Preparing { ballot, promises } => {
                (Body::Prepare { age, ballot: *ballot }, acceptors.filter(|id| !promises.contains_key(id)).collect())
            }
            Phase::Accepting { proposal, next, accepted, .. } => (
                Body::Accept { age, proposal: proposal.clone(), next: *next },
                acceptors.filter(|id| !accepted.contains(id)).collect(),
            ),
        };
        for to in silent {
            self.say(None, to, key.clone(), body.clone(), out);
        }
    }

    /// Once a majority has promised: the change is made to the state of the highest ballot that any of them has accepted.
    pub(crate) fn on_promise(
        &mut self,
        now: Time,
        from: NodeId,
        key: Bytes,
        promised: Ballot,
        accepted: Option<Proposal>,
        out: &mut Out,
    ) {
        let counts_old = self.weak(Weakness::OldPromiseCounted) && promised.node == self.config.id;
        let (needed, reads_one) = (self.majority(), self.weak(Weakness::ReadFromOne));
        let by_count = self.weak(Weakness::MostCommonState);
        let Some(work) = self.proposer.work.get_mut(&key) else { return };
        let Phase::Preparing { ballot, promises } = &mut work.current.phase else { return };
        if *ballot != promised && !counts_old {
            return;
        }
        promises.insert(from, accepted);
        let (ballot, enough) = (*ballot, promises.len() >= needed);
        let count = |state: &State| promises.values().flatten().filter(|other| other.state == *state).count();
        let weight = |one: &&Proposal| (if by_count { count(&one.state) } else { 0 }, one.ballot);
        let highest = promises.values().flatten().max_by_key(weight);
        let state = highest.map(|highest| highest.state.clone()).unwrap_or_default();
        if reads_one && work.current.task.change == Change::Read {
            return self.finish(now, key, Outcome::Done { took: false, proposal: Proposal { ballot, state } }, out);
        }
        if enough {
            self.propose(now, key, ballot, state, out);
        }
    }

    /// Has acceptors accept what the change makes of this state, unless an earlier attempt is in there or may be (see `mod.rs`).
    fn propose(&mut self, now: Time, key: Bytes, ballot: Ballot, state: State, out: &mut Out) {
        let bytes_max = self.config.value_bytes_max;
        let me = Some(self.config.id).filter(|_| !self.weak(Weakness::MadeTwice));
        let Some(attempt) = self.proposer.work.get_mut(&key).map(|work| &mut work.current) else { return };
        // Of this version we would have proposed it, or somebody who had found what we proposed.
        let perhaps =
            |version: Option<Ballot>| attempt.first.is_some_and(|first| Some(first) <= version) && me.is_some();
        let ours = perhaps(state.version) && state.version.map(|version| version.node) == me;
        if !ours && perhaps(state.version) && perhaps(state.previous) {
            return self.finish(now, key, Outcome::Unknown, out);
        }
        let changed = if ours { None } else { attempt.task.change.apply(&state, ballot, bytes_max) };
        let took = ours || changed.is_some();
        if changed.is_some() {
            attempt.first.get_or_insert(ballot);
        }
        let is_collector = attempt.task.asker == Asker::Collector;
        let next = if is_collector { None } else { self.next_ballot(now, out) };
        let Some(work) = self.proposer.work.get_mut(&key) else { return };
        let proposal = Proposal { ballot, state: changed.unwrap_or(state) };
        work.current.phase = Phase::Accepting { proposal, took, next, accepted: BTreeSet::new() };
        self.ask(now, key, out);
    }

    /// A majority at this ballot, and it is done. The same majority has promised the next, and nobody can have had anything
    /// accepted between the two: the next change needs no first phase.
    pub(crate) fn on_accepted(&mut self, now: Time, from: NodeId, key: Bytes, at: Ballot, out: &mut Out) {
        let (majority, all) = (self.majority(), self.membership.acceptors.len());
        let needs_all = !self.weak(Weakness::TombstoneOnMajority);
        let Some(work) = self.proposer.work.get_mut(&key) else { return };
        let is_collector = work.current.task.asker == Asker::Collector;
        let Phase::Accepting { proposal, took, next, accepted } = &mut work.current.phase else { return };
        if proposal.ballot != at {
            return;
        }
        accepted.insert(from);
        if accepted.len() < if is_collector && needs_all { all } else { majority } {
            return;
        }
        let (proposal, took, next) = (proposal.clone(), *took, *next);
        if let Some(ballot) = next {
            let state = proposal.state.clone();
            self.remember(key.clone(), Proposal { ballot, state });
        }
        self.finish(now, key, Outcome::Done { took, proposal }, out);
    }

    /// Forgets the one of the lowest ballot where there are too many: it was changed longest ago.
    fn remember(&mut self, key: Bytes, proposal: Proposal) {
        self.proposer.remembered.insert(key, proposal);
        if self.proposer.remembered.len() > self.config.remembered_max {
            let oldest = self.proposer.remembered.iter().min_by_key(|(_, proposal)| proposal.ballot);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.proposer.remembered.remove(&key);
            }
        }
    }

    /// Gives the ballot up that was refused, and waits: whoever outbid us may be done by then.
    pub(crate) fn on_nack(&mut self, now: Time, key: Bytes, refused: Ballot, promised: Ballot, out: &mut Out) {
        self.proposer.round = self.proposer.round.max(promised.round);
        let Some(attempt) = self.proposer.work.get(&key).map(|work| &work.current) else { return };
        if attempt.phase.ballot() != Some(refused) {
            return;
        }
        if let Phase::Accepting { next: Some(next), .. } = &attempt.phase
            && *next == promised
        {
            // Nobody has outbid us: it was a late copy of our Prepare, and whoever refused it has accepted what followed.
            return;
        }
        if attempt.task.asker == Asker::Collector {
            return self.finish(now, key, Outcome::Refused(Refusal::TimedOut), out);
        }
        if let Phase::Accepting { proposal: Proposal { state, .. }, .. } = &attempt.phase
            && self.weak(Weakness::MemoryOutlivesRefusal)
        {
            let state = state.clone();
            let Some(ballot) = self.next_ballot(now, out) else { return };
            return self.propose(now, key, ballot, state, out);
        }
        let longest = self.config.backoff_max.max(self.config.backoff_min);
        let Some(attempt) = self.proposer.work.get_mut(&key).map(|work| &mut work.current) else { return };
        let doubled = self.config.backoff_min.saturating_mul(1 << attempt.refusals.min(DOUBLINGS_MAX));
        let pause = doubled.min(longest);
        attempt.refusals = attempt.refusals.saturating_add(1);
        (attempt.phase, attempt.asks) = (Phase::Waiting, None);
        attempt.at = now.after(self.rng.between(pause, pause.saturating_mul(2)));
    }

    /// A register is about to be forgotten everywhere. From now on nothing leaves that does not outbid its tombstone, or that
    /// is not told from what left before (§3.1, 2b).
    pub(crate) fn on_retire(
        &mut self,
        now: Time,
        from: NodeId,
        key: Bytes,
        tombstone: Ballot,
        epoch: Epoch,
        out: &mut Out,
    ) {
        let is_ours = self.config.proposers.contains(&self.config.id) && self.config.proposers.contains(&from);
        // Of another membership, whoever asks does not know all who may hold the register.
        if !is_ours || epoch != self.membership.epoch || self.is_flooded() || self.proposer.age.0 >= ROUND_MAX {
            return;
        }
        self.proposer.remembered.remove(&key);
        self.proposer.round = self.proposer.round.max(tombstone.round);
        self.proposer.reserved = self.proposer.reserved.max(tombstone.round);
        self.proposer.age.0 += 1;
        self.store_proposer(now, out);
        let (rests_on, age) = (self.proposer.write, self.proposer.age);
        self.say(rests_on, from, key.clone(), Body::Retired { tombstone, age }, out);
        let goes_on = self.weak(Weakness::RetiredGoesOn);
        let Some(attempt) = self.proposer.work.get(&key).map(|work| &work.current) else { return };
        let ballot = attempt.phase.ballot();
        if attempt.first.is_some_and(|first| first <= tombstone) && !goes_on {
            // Whether it was made before the register was emptied will be forgotten.
            self.finish(now, key, Outcome::Unknown, out);
        } else if ballot.is_some_and(|ballot| ballot <= tombstone) {
            self.campaign(now, key, out);
        }
    }

    /// Tells whoever asked, and turns to what waits for the same register.
    pub(crate) fn finish(&mut self, now: Time, key: Bytes, outcome: Outcome, out: &mut Out) {
        let Some(Work { current, mut queue }) = self.proposer.work.remove(&key) else { return };
        self.answer(now, &key, &current.task, outcome, out);
        while let Some(task) = queue.pop_front() {
            if task.until > now {
                return self.begin(now, key, task, queue, out);
            }
            self.answer(now, &key, &task, Outcome::Refused(Refusal::TimedOut), out);
        }
    }

    fn answer(&mut self, now: Time, key: &Bytes, task: &Task, outcome: Outcome, out: &mut Out) {
        let id = match task.asker {
            Asker::Client(id) => id,
            Asker::Collector => return self.on_tombstone(now, key, outcome, out),
            Asker::Rewriter => return self.on_rewritten(now, key, &outcome, out),
        };
        self.proposer.waiting = self.proposer.waiting.saturating_sub(1);
        let event = match outcome {
            Outcome::Done { took, proposal } => {
                if proposal.state.value.is_none() {
                    self.want_collected(now, key, out);
                }
                Event::Done { id, took, state: proposal.state }
            }
            Outcome::Refused(refusal) => Event::Refused { id, refusal },
            Outcome::Unknown => {
                if task.change == Change::Delete {
                    // If it was made, nobody else will have what it leaves collected.
                    self.want_collected(now, key, out);
                }
                Event::Unknown { id }
            }
        };
        self.writes.emit(None, event, out);
    }

    /// Certainly not done only if no state left us in which it took.
    fn give_up(&mut self, now: Time, key: Bytes, out: &mut Out) {
        let may_be_done = self.proposer.work.get(&key).is_some_and(|work| work.current.first.is_some());
        let outcome = if may_be_done { Outcome::Unknown } else { Outcome::Refused(Refusal::TimedOut) };
        self.finish(now, key, outcome, out);
    }

    /// When the first of our changes has something to do. Looks at all of them, which are at most as many as may wait.
    pub(crate) fn proposer_deadline(&self) -> Option<Time> {
        self.proposer.work.values().map(|work| work.current.at.min(work.current.task.until)).min()
    }

    pub(crate) fn on_proposer_timeout(&mut self, now: Time, out: &mut Out) {
        let is_due = |work: &Work| work.current.at <= now || work.current.task.until <= now;
        let due: Vec<Bytes> =
            self.proposer.work.iter().filter(|(_, work)| is_due(work)).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(work) = self.proposer.work.get_mut(&key) else { continue };
            if work.current.task.until <= now {
                self.give_up(now, key, out);
            } else if work.current.phase == Phase::Waiting {
                self.campaign(now, key, out);
            } else if work.current.asks.is_some() {
                // It will ask as soon as its ballot is on disk.
                work.current.at = now.after(self.config.resend_interval);
            } else {
                self.ask(now, key, out);
            }
        }
    }
}
