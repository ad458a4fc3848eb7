//! The learner: who has accepted what, and what was chosen.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{NodeId, Time};

use super::node::{Out, Paxos, Write};
use super::{Event, Phase, Proposal, Weakness};
use crate::Ballot;

/// A learner's part of the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learner {
    /// What each acceptor has accepted, at the highest ballot heard of. Empty once something is known to be chosen.
    pub(crate) heard: BTreeMap<NodeId, Proposal>,
    /// What was chosen, once that is known. Never changes.
    pub(crate) chosen: Option<Bytes>,
    /// For a known bug alone: all that was ever heard.
    pub(crate) ever: BTreeSet<(Bytes, NodeId)>,
}

impl Paxos {
    /// An acceptor has accepted. A majority at one ballot has chosen; the same value at two ballots has not (§2.3).
    pub(crate) fn on_accepted(&mut self, now: Time, from: NodeId, proposal: &Proposal, out: &mut Out) {
        let before: Option<Ballot> = self.learner.heard.get(&from).map(|heard| heard.ballot);
        if before < Some(proposal.ballot) {
            self.learner.heard.insert(from, proposal.clone());
        }
        let mut count = self.learner.heard.values().filter(|heard| *heard == proposal).count();
        if self.weak(Weakness::CountAcrossBallots) {
            self.learner.ever.insert((proposal.value.clone(), from));
            count = self.learner.ever.iter().filter(|(value, _)| *value == proposal.value).count();
        }
        if count >= self.majority() {
            self.learn(now, proposal.value.clone(), out);
        }
    }

    /// Knows what was chosen from now on, and tells whoever waits. That rests on no write of ours: a majority has it.
    pub(crate) fn learn(&mut self, now: Time, value: Bytes, out: &mut Out) {
        if self.learner.chosen.is_some() {
            return;
        }
        self.learner.chosen = Some(value.clone());
        self.learner.heard.clear();
        self.writes.store(now, Write::Chosen(value.clone()), value.len(), out);
        self.writes.emit(None, Event::Chosen(value.clone()), out);
        self.proposer.value = None;
        for id in core::mem::take(&mut self.proposer.waiting) {
            self.writes.emit(None, Event::Answered { id, value: value.clone() }, out);
        }
        (self.proposer.phase, self.proposer.deadline, self.acceptor.learn_at) = (Phase::Idle, None, None);
    }
}
