//! Two-phase commit whose coordinator is replicated: what must hold of two-phase commit (`commit.rs`), where the coordinator's
//! disk is what its members' logs amount to; and that they amount to the same.
//!
//! Members are looked at through what they have applied. The furthest stands for the coordinator's disk: whoever is behind, as
//! after a start, will get there.

use std::collections::BTreeMap;

use hezong_base::{Index, LogId, NodeId, Protocol, RequestId, Term, Time};
use hezong_commit::two_phase::{Saved, TwoPhase};
use hezong_commit::{Request, TransactionId};
use hezong_replicated::{Event, Replicated};

use crate::{CommitInvariants, CommitPast, CommitView, Commits as _, Coordinated, Invariants, Violation};

type NodeSaved = <Replicated<TwoPhase> as Protocol>::Saved;

/// What must hold of the commit protocol. All that users ask for and are told is told on.
const COMMIT: CommitInvariants<TwoPhase> = CommitInvariants::new(true);

/// What must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct ReplicatedInvariants {
    /// The name under which the members coordinate.
    pub group: NodeId,
}

/// What is looked at of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicatedView {
    /// Of a member, what all entries up to the last one applied amount to.
    Member {
        /// That entry.
        last: Option<LogId>,
        /// What they amount to.
        state: Saved,
    },
    /// Of a participant, what is on its disk.
    Participant(CommitView),
}

/// What no node may hold any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReplicatedPast {
    commit: CommitPast,
    /// What members had applied up to an entry, by where that stands.
    applied: BTreeMap<Index, (Term, Saved)>,
}

impl ReplicatedInvariants {
    /// Of members that coordinate under this name.
    #[must_use]
    pub const fn new(group: NodeId) -> Self {
        Self { group }
    }

    /// What would be on the coordinator's disk.
    fn coordinator(&self, state: &Saved) -> CommitView {
        let coordinated = state.committed.iter().map(|(number, participants)| {
            let coordinated = Coordinated { participants: participants.clone(), is_committed: true };
            (TransactionId { coordinator: self.group, number: *number }, coordinated)
        });
        CommitView {
            coordinated: coordinated.collect(),
            numbers: state.numbers.map(|last| (self.group, last)).into_iter().collect(),
            ..CommitView::default()
        }
    }

    fn remember_applied(
        &self,
        past: &mut ReplicatedPast,
        id: NodeId,
        last: LogId,
        state: &Saved,
    ) -> Result<(), Violation> {
        let now = (last.term, state.clone());
        if let Some(known) = past.applied.get(&last.index) {
            return if *known == now {
                Ok(())
            } else {
                let detail = format!("{id} has applied up to {last} and holds {state:?}, another {known:?}");
                Err(Violation::new("state-machine safety", detail))
            };
        }
        let furthest = past.applied.last_key_value().filter(|(index, _)| **index < last.index);
        let is_first = past.applied.is_empty();
        let before = furthest.map(|(_, (_, state))| self.coordinator(state));
        past.applied.insert(last.index, now);
        // One that lies behind another seen before was passed over by that.
        let after = self.coordinator(state);
        match before {
            Some(before) => before.check_step(self.group, &after)?,
            None if is_first => {}
            None => return Ok(()),
        }
        COMMIT.remember(&mut past.commit, self.group, &after)
    }
}

impl Invariants for ReplicatedInvariants {
    type Protocol = Replicated<TwoPhase>;
    type View = ReplicatedView;
    type Past = ReplicatedPast;

    fn view(&self, node: &Replicated<TwoPhase>, saved: &NodeSaved, _: Time) -> ReplicatedView {
        match (node.fold(), node.inner()) {
            (Some(fold), _) => ReplicatedView::Member { last: fold.base.last, state: fold.state.clone() },
            (None, Some(inner)) => ReplicatedView::Participant(inner.view(&saved.own)),
            (None, None) => ReplicatedView::Participant(CommitView::default()),
        }
    }

    fn check_step(&self, id: NodeId, before: &ReplicatedView, after: &ReplicatedView) -> Result<(), Violation> {
        match (before, after) {
            (ReplicatedView::Participant(before), ReplicatedView::Participant(after)) => before.check_step(id, after),
            // After a crash entries are applied again.
            (ReplicatedView::Member { .. }, _) | (_, ReplicatedView::Member { .. }) => Ok(()),
        }
    }

    fn remember(&self, past: &mut ReplicatedPast, id: NodeId, view: &ReplicatedView) -> Result<(), Violation> {
        match view {
            ReplicatedView::Member { last: Some(last), state } => self.remember_applied(past, id, *last, state),
            ReplicatedView::Member { last: None, .. } => Ok(()),
            ReplicatedView::Participant(view) => COMMIT.remember(&mut past.commit, id, view),
        }
    }

    fn asked(&self, past: &mut ReplicatedPast, id: NodeId, request_id: RequestId, request: &Request) {
        COMMIT.asked(&mut past.commit, id, request_id, request);
    }

    fn hear(&self, past: &mut ReplicatedPast, id: NodeId, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Commit(event) => COMMIT.hear(&mut past.commit, id, event),
            Event::NotActing { id: request, .. } => {
                let refusal = hezong_commit::Refusal::Overloaded;
                let refused = hezong_commit::Event::Refused { id: *request, refusal };
                COMMIT.hear(&mut past.commit, id, &refused)
            }
            Event::Acting(_) => Ok(()),
        }
    }

    fn check(&self, _: &[(NodeId, &ReplicatedView)], _: &ReplicatedPast) -> Result<(), Violation> {
        Ok(())
    }
}
