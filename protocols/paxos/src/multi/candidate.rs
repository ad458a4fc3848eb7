//! The candidate: phase 1, once for all slots to come.

use alloc::collections::BTreeMap;

use hezong_base::{NodeId, Time};

use super::node::{MultiPaxos, Out, RoleState, Write};
use super::{Entry, Members, Message, Slot, Weakness};
use crate::{Ballot, ROUND_MAX};

/// What a ballot of ours was promised, and what was reported with that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prepared {
    pub(crate) ballot: Ballot,
    /// Who has promised it.
    pub(crate) promises: Members,
    /// What they had accepted where nothing is proposed yet, each at the highest ballot reported.
    pub(crate) reported: BTreeMap<Slot, Entry>,
    /// One of them knows all before this slot to be chosen, and did not report it. We must know it too before we propose.
    pub(crate) known: Slot,
}

/// A candidate's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) prepared: Prepared,
    /// Whether it has asked itself.
    pub(crate) asked_self: bool,
    /// When it asks those again who are silent.
    pub(crate) ask_at: Time,
    /// When it gives up.
    pub(crate) give_up_at: Time,
}

impl MultiPaxos {
    /// Draws when to campaign next, if no master is heard until then: not before the lease that was granted is over.
    pub(crate) fn wait_to_campaign(&mut self, now: Time) {
        let pause = self.config.campaign_pause;
        let wait = self.rng.between(pause, pause.saturating_mul(2));
        let free = self.leased_until.map_or(now, |until| until.max(now));
        if let RoleState::Replica(campaign_at) = &mut self.role {
            *campaign_at = free.after(wait);
        }
    }

    /// Phase 1a: a ballot above all that were heard of, never used before and, once it is on disk, never again.
    pub(crate) fn campaign(&mut self, now: Time, out: &mut Out) {
        if !self.log.members_now().contains(&self.config.id) {
            // Perhaps we accept in slots that we have not heard of yet, and those before know of.
            for whom in self.log.members.everybody(self.log.open) {
                self.catch_up(whom, out);
            }
            return self.wait_to_campaign(now);
        }
        if self.round >= ROUND_MAX || self.is_flooded() {
            return self.wait_to_campaign(now);
        }
        self.set_master(None, out);
        let prepared = self.next_ballot(now, out);
        let ask_at = now.after(self.config.heartbeat_interval);
        let give_up_at = now.after(self.config.lease + self.config.campaign_pause);
        self.role = RoleState::Candidate(Candidate { prepared, asked_self: false, ask_at, give_up_at });
        self.ask_silent(out);
        self.maybe_ask_self(out);
    }

    /// A ballot above all that were heard of, with nothing promised yet. Nobody hears of it before it is on disk.
    pub(crate) fn next_ballot(&mut self, now: Time, out: &mut Out) -> Prepared {
        self.round += 1;
        if !self.weak(Weakness::BallotReused) {
            let write = Write::Round(self.round);
            self.round_write = Some(self.writes.store(now, write, size_of::<u64>(), out));
        }
        let ballot = Ballot { round: self.round, node: self.config.id };
        Prepared { ballot, promises: Members::new(), reported: BTreeMap::new(), known: self.log.open }
    }

    /// Asks again those others who have not answered, and what was chosen those who have, if one of them knows more: that may
    /// have been lost too.
    pub(crate) fn ask_again(&mut self, now: Time, out: &mut Out) {
        let RoleState::Candidate(candidate) = &mut self.role else { return };
        candidate.ask_at = now.after(self.config.heartbeat_interval);
        let is_behind = self.log.open < candidate.prepared.known;
        let promises = if is_behind { candidate.prepared.promises.clone() } else { Members::new() };
        // Or else it has asked nobody yet, and will as soon as its ballot is on disk.
        if !self.is_outstanding(self.round_write) {
            self.ask_silent(out);
        }
        for whom in promises {
            self.catch_up(whom, out);
        }
    }

    /// Asks all others who accept in a slot whose members are known and have not promised.
    pub(crate) fn ask_silent(&mut self, out: &mut Out) {
        let (RoleState::Candidate(Candidate { prepared, .. })
        | RoleState::Master(super::master::Master { prepared, .. })) = &self.role
        else {
            return;
        };
        let message = Message::Prepare { ballot: prepared.ballot, from: self.log.open };
        let everybody = self.log.members.everybody(self.log.open);
        let mut silent: Members = everybody.difference(&prepared.promises).copied().collect();
        silent.remove(&self.config.id);
        for to in silent {
            self.say(self.round_write, to, message.clone(), out);
        }
    }

    /// Asks itself last, once its own promise is all that is missing. A candidate that nobody hears therefore promises itself
    /// nothing, and takes the master for its master again when it is back, instead of deposing it by a ballot that it has
    /// raised meanwhile.
    fn maybe_ask_self(&mut self, out: &mut Out) {
        let ours = self.config.id;
        let RoleState::Candidate(candidate) = &self.role else { return };
        let mut with_us = candidate.prepared.promises.clone();
        with_us.insert(ours);
        if candidate.asked_self || !self.is_majority(self.log.members_now(), &with_us) {
            return;
        }
        let message = Message::Prepare { ballot: candidate.prepared.ballot, from: self.log.open };
        if let RoleState::Candidate(candidate) = &mut self.role {
            candidate.asked_self = true;
        }
        self.say(self.round_write, ours, message, out);
    }

    /// What somebody had accepted counts where nothing is proposed yet: a promise that comes late, or from those who will
    /// accept later slots, finds slots that a majority of their members has left free already.
    pub(crate) fn on_promise(
        &mut self,
        now: Time,
        from: NodeId,
        promised: Ballot,
        open: Slot,
        accepted: BTreeMap<Slot, Entry>,
        out: &mut Out,
    ) {
        let counts_all = self.weak(Weakness::OldPromiseCounted);
        let lowest = self.weak(Weakness::LowestBallot);
        // Nobody has heard of a ballot of ours before it is on disk: whoever promises it lies.
        if self.is_outstanding(self.round_write) {
            return;
        }
        let (next, prepared) = match &mut self.role {
            RoleState::Replica(_) => return,
            RoleState::Candidate(candidate) => (self.log.open, &mut candidate.prepared),
            RoleState::Master(master) => (master.next, &mut master.prepared),
        };
        if prepared.ballot != promised && !counts_all {
            return;
        }
        prepared.promises.insert(from);
        prepared.known = prepared.known.max(open);
        for (slot, entry) in accepted.into_iter().filter(|(slot, _)| *slot >= next) {
            let better = |known: &Entry| if lowest { entry.ballot < known.ballot } else { entry.ballot > known.ballot };
            if prepared.reported.get(&slot).is_none_or(better) {
                prepared.reported.insert(slot, entry);
            }
        }
        let behind = self.log.open < prepared.known;
        match &self.role {
            RoleState::Master(_) => self.fill(now, out),
            RoleState::Replica(_) | RoleState::Candidate(_) => {
                if behind {
                    self.catch_up(from, out);
                }
                self.maybe_lead(now, out);
            }
        }
    }

    /// Leads once a majority of those who accept in the first open slot has promised, itself among them, and it knows all
    /// that any of those knows to be chosen.
    pub(crate) fn maybe_lead(&mut self, now: Time, out: &mut Out) {
        self.maybe_ask_self(out);
        let RoleState::Candidate(Candidate { prepared, .. }) = &self.role else { return };
        let is_ready = prepared.promises.contains(&self.config.id)
            && prepared.known <= self.log.open
            && self.is_majority(self.log.members_now(), &prepared.promises);
        if is_ready {
            let mut prepared = prepared.clone();
            prepared.reported = prepared.reported.split_off(&self.log.open);
            self.become_master(now, prepared, out);
        }
    }

    /// Gives a ballot up that is outbid, and waits: whoever outbid us may lead by then, and is left to (*Paxos Made Live* §5.2).
    ///
    /// Not while a majority grants us the lease: none of those has promised another ballot, so we can do without whoever refuses
    /// ours. If a majority does refuse, the lease ends, and with it the office (`beat`).
    pub(crate) fn on_nack(&mut self, now: Time, refused: Ballot, promised: Ballot, out: &mut Out) {
        self.round = self.round.max(promised.round);
        if self.ballot() != Some(refused) || refused >= promised {
            return;
        }
        if self.is_leased(now) {
            self.outbid(now, out);
        } else {
            self.step_down(now, None, out);
        }
    }
}
