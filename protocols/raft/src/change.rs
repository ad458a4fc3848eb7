//! Taking steps of membership: what a leader refuses, how a joint membership is entered and left, and what becomes of
//! those who are no members any more (§6 of the paper, §4 of the dissertation).
//!
//! New members count, and are counted on, as soon as their entry is appended, committed or not: a log that may be elected
//! and a log that elects must not disagree about who does. A change of several voters is two entries: the first makes the
//! membership joint, and whoever leads when that one is committed appends the second by itself.

use core::time::Duration;

use hezong_base::{Effect, Index, LogId, NodeId, RequestId, Time, quorum, sometimes};

use crate::node::{Out, RoleState};
use crate::{Body, Change, ChangeError, Event, Membership, Message, Payload, Raft, Refusal, Weakness};

impl Raft {
    /// One step of membership. The new members are in force as soon as they are appended.
    pub(crate) fn on_change(&mut self, now: Time, id: RequestId, change: &Change, out: &mut Out) {
        let RoleState::Leader(leader) = &self.role else {
            return self.refuse(id, Refusal::NotLeader(self.leader()), out);
        };
        // Before an entry of our own term is committed, another leader's step may still win over ours, and majorities
        // of the two need not meet (RAFT-11).
        if Some(leader.opened) > self.committed && !self.weak(Weakness::MembershipWithoutEmptyEntry) {
            sometimes!("raft: a change comes before the term is opened");
            return self.refuse(id, Refusal::NotReady, out);
        }
        if let Some(transfer) = &self.transfer {
            return self.refuse(id, Refusal::Transferring(transfer.to), out);
        }
        let pending = self.log.membership_index() > self.committed;
        if pending && !self.weak(Weakness::MembershipWithoutEmptyEntry) || self.log.membership().is_joint() {
            sometimes!("raft: a change comes before another is over");
            return self.refuse(id, Refusal::ChangePending, out);
        }
        let next = match self.changed(now, change) {
            Ok(next) => next,
            Err(error) => return self.refuse(id, Refusal::Change(error), out),
        };
        let first = LogId { term: self.term, index: Index::after(self.log.last_index()) };
        self.emit(Event::Accepted { id, first, count: 1 }, out);
        self.append_membership(now, next, out);
    }

    /// The members after a step, if it is one that a leader may take now.
    fn changed(&self, now: Time, change: &Change) -> Result<Membership, ChangeError> {
        let members = self.log.membership();
        let forgetful = self.weak(Weakness::NumberReused) && !members.is_joint();
        let of_now = || Membership::new(members.voters().clone(), members.members().clone(), None);
        let mut next = if forgetful { of_now().change(change)? } else { members.change(change)? };

        if let Some(behind) = change.promoted().find_map(|id| self.behind(id)) {
            return Err(behind);
        }
        let voters = next.voters().len();
        let reachable = next.voters().iter().filter(|id| **id == self.config.id || self.was_heard(now, **id)).count();
        if next.voters() != members.voters() && reachable < quorum::majority(voters) {
            sometimes!("raft: a change would leave too few within reach");
            return Err(ChangeError::NoMajority { voters, reachable });
        }
        if self.weak(Weakness::PlainReplacement) {
            next = next.left().unwrap_or(next);
        }
        Ok(next)
    }

    /// Why a learner should not vote yet, if it should not.
    fn behind(&self, id: NodeId) -> Option<ChangeError> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let progress = leader.progress.get(&id).filter(|progress| progress.goal.is_some())?;
        let count = |index: Option<Index>| index.map_or(0, |index| index.0);
        Some(ChangeError::Behind { id, holds: count(progress.matched), of: count(self.log.last_index()) })
    }

    /// Leaves a joint membership once it is committed, whoever entered it. Not while we hand over: the log would not stay
    /// level, and whoever leads next does it.
    pub(crate) fn maybe_leave_joint(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &self.role else { return };
        let committed = self.log.membership_index().max(Some(leader.opened)) <= self.committed;
        if !committed || self.transfer.is_some() {
            return;
        }
        if let Some(next) = self.log.membership().left() {
            sometimes!(
                "raft: a joint membership is left by another leader",
                self.log.membership_index() < Some(leader.opened)
            );
            self.append_membership(now, next, out);
        }
    }

    fn append_membership(&mut self, now: Time, next: Membership, out: &mut Out) {
        self.append_payloads(now, core::iter::once(Payload::Membership(next)), out);
        self.sync_progress(now);
        self.feed_all(now, out);
    }

    /// The members in force are committed.
    pub(crate) fn on_membership_committed(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        for progress in leader.progress.values_mut().filter(|progress| progress.leaving) {
            progress.leave_by = Some(now + self.config.election_timeout);
        }
        self.dismiss(now, out);
    }

    /// If we are certainly no voter, one of those is to lead.
    pub(crate) fn leave_to_a_voter(&mut self, now: Time, out: &mut Out) {
        if self.is_voter() || self.log.membership_index() > self.committed {
            return;
        }
        let stays = self.transfer.is_some() || self.hand_over(now, out);
        sometimes!("raft: a leader that is removed hands over", stays);
        self.start_round(now, out);
        if !stays {
            self.step_down(now, out);
        }
    }

    /// Leaves alone who is no member any more, once it holds the entry that says so and has been told that this is
    /// committed, or has had an election timeout to get there. Whoever learns it never campaigns again.
    pub(crate) fn dismiss(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (round, committed, removal) = (leader.round, self.committed, self.log.membership_index());
        leader.progress.retain(|to, progress| {
            let Some(leave_by) = progress.leave_by else { return true };
            let informed = progress.matched >= removal;
            if informed {
                // A repetition of the last round, and of no lease: a stranger's answer would count for nothing.
                let body = Body::Heartbeat { round, lease: Duration::ZERO, committed: committed.min(progress.matched) };
                out.push(Effect::Send { to: *to, message: Message { term: self.term, body } });
            }
            sometimes!("raft: a removed member is left alone untold", !informed && leave_by <= now);
            !informed && leave_by > now
        });
    }
}
