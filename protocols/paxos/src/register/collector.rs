//! The collector: has all forget a register that holds no value, in three stages (§3.1). One at a time.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, Time};

use super::node::{Out, Registers};
use super::proposer::{Asker, Outcome, Task};
use super::{Age, Body, Change, Event, Weakness};
use crate::Ballot;

/// How far a collection is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// All acceptors are to accept the tombstone at one ballot, as the change that changes nothing.
    Writing,
    /// All proposers are to outbid it, to remember nothing, and to tell their new age.
    Retiring { tombstone: Ballot, ages: BTreeMap<NodeId, Age> },
    /// All acceptors are to refuse what is younger, and to forget the tombstone.
    Erasing { tombstone: Ballot, ages: BTreeMap<NodeId, Age>, silent: BTreeSet<NodeId> },
}

/// The collection that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) key: Bytes,
    tries: u32,
    pub(crate) stage: Stage,
    /// When those who are silent are asked again.
    at: Time,
    /// When it is given up.
    until: Time,
}

/// A collector's part of the state. Forgotten in a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector {
    pub(crate) current: Option<Collection>,
    /// What is to be collected, in the order in which it came.
    pub(crate) queue: VecDeque<Wanted>,
    /// When the next is begun. `None` where none waits, or one is under way.
    pub(crate) begin_at: Option<Time>,
}

/// A register that is to be collected.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Bytes,
    /// How often that was tried.
    pub(crate) tries: u32,
    /// When it may be begun.
    from: Time,
}

impl Registers {
    /// A register holds no value. It is collected after a while, unless that is in the queue already.
    pub(crate) fn want_collected(&mut self, now: Time, key: &Bytes, out: &mut Out) {
        // One under way may be about an earlier tombstone of the same register.
        if self.collector.queue.iter().all(|wanted| wanted.key != *key) {
            self.queue_collection(now, key.clone(), 0, out);
        }
    }

    fn queue_collection(&mut self, now: Time, key: Bytes, tries: u32, out: &mut Out) {
        let is_proposer = self.config.proposers.contains(&self.config.id);
        let is_too_long = key.len() > self.config.key_bytes_max;
        let is_full = self.collector.queue.len() >= self.config.collect_max;
        if is_too_long || is_full || !is_proposer || tries >= self.config.collect_tries_max {
            return self.writes.emit(None, Event::NotCollected(key), out);
        }
        let delay = self.config.collect_delay;
        let from = now.after(self.rng.between(delay, delay.saturating_mul(2)));
        self.collector.queue.push_back(Wanted { key, tries, from });
        self.wait_to_collect(now);
    }

    /// Those that have waited long enough need not wait for each other as well.
    fn wait_to_collect(&mut self, now: Time) {
        let Collector { current: None, queue, begin_at: begin_at @ None } = &mut self.collector else { return };
        *begin_at = queue.front().map(|wanted| wanted.from.max(now.after(Duration::ZERO)));
    }

    fn begin_collection(&mut self, now: Time, out: &mut Out) {
        self.collector.begin_at = None;
        let Some(Wanted { key, tries, .. }) = self.collector.queue.pop_front() else { return };
        let until = now.after(self.config.change_timeout);
        let stage = Stage::Writing;
        self.collector.current = Some(Collection { key: key.clone(), tries, stage, at: until, until });
        if self.proposer.work.contains_key(&key) {
            return self.retry_collection(now, out);
        }
        self.enqueue(now, key, Task { asker: Asker::Collector, change: Change::Read, until }, out);
    }

    /// The first stage is over: all acceptors hold this, or it did not come to that.
    pub(crate) fn on_tombstone(&mut self, now: Time, key: &Bytes, outcome: Outcome, out: &mut Out) {
        let until = now.after(self.config.change_timeout);
        let Some(current) = self.collector.current.as_mut().filter(|current| current.key == *key) else { return };
        match outcome {
            Outcome::Done { proposal, .. } if proposal.state.value.is_none() => {
                (current.until, current.stage) =
                    (until, Stage::Retiring { tombstone: proposal.ballot, ages: BTreeMap::new() });
                if self.weak(Weakness::AgesSkipped) {
                    return self.erase(now, proposal.ballot, BTreeMap::new(), out);
                }
                self.ask_collection(now, out);
            }
            Outcome::Done { .. } => {
                // There is a value again. Whoever deletes it will have it collected.
                self.collector.current = None;
                self.writes.emit(None, Event::NotCollected(key.clone()), out);
                self.wait_to_collect(now);
            }
            Outcome::Refused(_) | Outcome::Unknown => self.retry_collection(now, out),
        }
    }

    /// A proposer will propose above the tombstone only. Once all will, acceptors can do without it.
    pub(crate) fn on_retired(&mut self, now: Time, from: NodeId, key: &Bytes, of: Ballot, age: Age, out: &mut Out) {
        let Some(current) = self.collector.current.as_mut().filter(|current| current.key == *key) else { return };
        let Stage::Retiring { tombstone, ages } = &mut current.stage else { return };
        if *tombstone != of || !self.config.proposers.contains(&from) {
            return;
        }
        ages.insert(from, age);
        if ages.len() == self.config.proposers.len() {
            let ages = ages.clone();
            self.erase(now, of, ages, out);
        }
    }

    fn erase(&mut self, now: Time, tombstone: Ballot, ages: BTreeMap<NodeId, Age>, out: &mut Out) {
        let until = now.after(self.config.change_timeout);
        let silent = self.membership.acceptors.clone();
        let Some(current) = self.collector.current.as_mut() else { return };
        (current.until, current.stage) = (until, Stage::Erasing { tombstone, ages, silent });
        self.ask_collection(now, out);
    }

    pub(crate) fn on_erased(&mut self, now: Time, from: NodeId, key: &Bytes, of: Ballot, out: &mut Out) {
        let Some(current) = self.collector.current.as_mut().filter(|current| current.key == *key) else { return };
        let Stage::Erasing { tombstone, silent, .. } = &mut current.stage else { return };
        if *tombstone == of && silent.remove(&from) && silent.is_empty() {
            self.collector.current = None;
            self.writes.emit(None, Event::Collected(key.clone()), out);
            self.wait_to_collect(now);
        }
    }

    /// Asks, or asks again, those who have not answered.
    fn ask_collection(&mut self, now: Time, out: &mut Out) {
        let Some(current) = &mut self.collector.current else { return };
        current.at = now.after(self.config.resend_interval);
        let key = current.key.clone();
        let (body, silent) = match &current.stage {
            Stage::Writing => return,
            Stage::Retiring { tombstone, ages } => {
                let mut silent = self.config.proposers.clone();
                silent.retain(|id| !ages.contains_key(id));
                (Body::Retire { tombstone: *tombstone, epoch: self.membership.epoch }, silent)
            }
            Stage::Erasing { tombstone, ages, silent } => {
                (Body::Erase { tombstone: *tombstone, ages: ages.clone() }, silent.clone())
            }
        };
        // Rests on nothing of ours: all acceptors hold the tombstone, all proposers have written down what they told.
        for to in silent {
            self.say(None, to, key.clone(), body.clone(), out);
        }
    }

    /// Begins again with the first stage, later. What was done of it does no harm.
    pub(crate) fn retry_collection(&mut self, now: Time, out: &mut Out) {
        if let Some(Collection { key, tries, .. }) = self.collector.current.take() {
            self.queue_collection(now, key, tries + 1, out);
            self.wait_to_collect(now);
        }
    }

    pub(crate) fn collector_deadline(&self) -> Option<Time> {
        match &self.collector.current {
            // The change has its own deadline.
            Some(Collection { stage: Stage::Writing, .. }) => None,
            Some(current) => Some(current.at.min(current.until)),
            None => self.collector.begin_at,
        }
    }

    pub(crate) fn on_collector_timeout(&mut self, now: Time, out: &mut Out) {
        match &self.collector.current {
            Some(Collection { stage: Stage::Writing, .. }) => {}
            Some(current) if current.until <= now => self.retry_collection(now, out),
            Some(current) if current.at <= now => self.ask_collection(now, out),
            None if self.collector.begin_at.is_some_and(|at| at <= now) => self.begin_collection(now, out),
            Some(_) | None => {}
        }
    }
}
