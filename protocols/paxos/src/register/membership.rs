//! Who accepts, and how that changes under way, one acceptor at a time.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Bound;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};

use super::node::{Out, Registers, Write};
use super::proposer::{Asker, Outcome, Phase, Task};
use super::{Change, Event, Refusal, Weakness};

/// The number of a membership: of two, the later has the higher. The first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Who accepts. Each proposer has its own, and whoever operates the nodes takes all of them from one to the next:
///
/// 1. a new acceptor is started, empty, under an id that was never used;
/// 2. every proposer is asked to [reconfigure](super::Request::Reconfigure), and has answered;
/// 3. a majority of the acceptors of the membership *before* is asked to [rewrite](super::Request::Rewrite), and has answered.
///
/// Only then may the next step begin. Majorities of two sets that differ by one node have a node in common, whence proposers of
/// neighbouring memberships see what each other has done. Those of two steps have not: therefore all must have taken the first
/// before any takes the second, and every register must have been written to a majority of the one between.
///
/// This does not replace a node that is dead: it proposes too, and step 2 waits for its answer. Who proposes does not change, and
/// whoever is to accept one day must be among [`Config::proposers`](super::Config::proposers) from the start, to rewrite.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Its number.
    pub epoch: Epoch,
    /// Who accepts. Never empty.
    pub acceptors: BTreeSet<NodeId>,
}

impl Membership {
    fn follows(&self, before: &Self) -> bool {
        let is_next = before.epoch.0.checked_add(1) == Some(self.epoch.0);
        is_next && !self.acceptors.is_empty() && self.acceptors.symmetric_difference(&before.acceptors).count() == 1
    }
}

/// A walk through all registers that are held here.
#[derive(Clone, Debug)]
pub(crate) struct Rewriting {
    id: RequestId,
    /// The register that is being read.
    pub(crate) at: Bytes,
}

impl Registers {
    /// Begins to propose to others. What is under way begins anew, for its promises are of those before.
    pub(crate) fn on_reconfigure(&mut self, now: Time, id: RequestId, membership: Membership, out: &mut Out) {
        let jumps = self.weak(Weakness::MembershipJumps) && membership.epoch > self.membership.epoch;
        let is_known = membership == self.membership;
        let refusal = if self.rewriting.is_some() || self.is_flooded() {
            Some(Refusal::Overloaded)
        } else if !is_known && !jumps && !membership.follows(&self.membership) {
            Some(Refusal::NotTheNextStep)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.writes.emit(None, Event::Refused { id, refusal }, out);
        }
        let epoch = membership.epoch;
        if !is_known {
            self.membership = membership.clone();
            let bytes = size_of::<Membership>() + membership.acceptors.len() * size_of::<NodeId>();
            self.writes.store(now, Write::Membership(membership), bytes, out);
            self.proposer.remembered.clear();
            self.retry_collection(now, out);
            let begun = |phase: &Phase| !matches!(phase, Phase::Waiting);
            let work = self.proposer.work.iter().filter(|(_, work)| begun(&work.current.phase));
            for (key, asker) in work.map(|(key, work)| (key.clone(), work.current.task.asker)).collect::<Vec<_>>() {
                match asker {
                    Asker::Collector => self.finish(now, key, Outcome::Refused(Refusal::TimedOut), out),
                    Asker::Client(_) | Asker::Rewriter => self.campaign(now, key, out),
                }
            }
        }
        let rests_on = self.writes.last_outstanding();
        self.writes.emit(rests_on, Event::Reconfigured { id, epoch }, out);
    }

    pub(crate) fn on_rewrite(&mut self, now: Time, id: RequestId, out: &mut Out) {
        let refusal = if self.rewriting.is_some() {
            Some(Refusal::Overloaded)
        } else if !self.config.proposers.contains(&self.config.id) {
            Some(Refusal::NotAProposer)
        } else {
            None
        };
        match refusal {
            Some(refusal) => self.writes.emit(None, Event::Refused { id, refusal }, out),
            None => self.rewrite_next(now, id, Bound::Unbounded, out),
        }
    }

    fn rewrite_next(&mut self, now: Time, id: RequestId, from: Bound<Bytes>, out: &mut Out) {
        let next = self.acceptor.registers.range((from, Bound::Unbounded)).next().map(|(key, _)| key.clone());
        self.rewriting = next.clone().map(|at| Rewriting { id, at });
        match next {
            Some(key) => {
                let until = now.after(self.config.change_timeout);
                self.enqueue(now, key, Task { asker: Asker::Rewriter, change: Change::Read, until }, out);
            }
            None => self.writes.emit(None, Event::Rewritten { id, epoch: self.membership.epoch }, out),
        }
    }

    /// One register is rewritten, or could not be.
    pub(crate) fn on_rewritten(&mut self, now: Time, key: &Bytes, outcome: &Outcome, out: &mut Out) {
        let Some(Rewriting { id, .. }) = self.rewriting.take_if(|rewriting| rewriting.at == *key) else { return };
        match outcome {
            Outcome::Done { .. } => self.rewrite_next(now, id, Bound::Excluded(key.clone()), out),
            Outcome::Refused(refusal) => self.writes.emit(None, Event::Refused { id, refusal: *refusal }, out),
            // A read has no effect that could be unknown.
            Outcome::Unknown => self.writes.emit(None, Event::Refused { id, refusal: Refusal::TimedOut }, out),
        }
    }
}
