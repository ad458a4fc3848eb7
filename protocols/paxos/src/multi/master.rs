//! The master: phase 2 for one slot after another, its lease, and reads.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time, quorum};

use super::candidate::Prepared;
use super::log::Log;
use super::node::{MultiPaxos, Out, RoleState};
use super::{Config, Event, Members, Message, Refusal, Request, Slot, Value, Weakness};
use crate::{Ballot, ROUND_MAX};

/// Of so many rounds the master knows when it began them. An answer to an older one is worth nothing any more.
const ROUNDS_MAX: usize = 64;

/// A slot that is proposed and not known to be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) value: Value,
    /// Which request it answers; `None` for what was found or filled.
    pub(crate) request: Option<RequestId>,
    /// Who has accepted it.
    accepted: Members,
    /// When those were asked last who have not.
    asked_at: Time,
}

/// A master's part of the state.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    pub(crate) prepared: Prepared,
    /// The first slot not proposed yet.
    pub(crate) next: Slot,
    /// What is proposed, from the first open slot on.
    pub(crate) pending: BTreeMap<Slot, Pending>,
    /// What waits for a slot, oldest first.
    pub(crate) queue: VecDeque<(RequestId, Value)>,
    /// Before this slot lies all that an earlier master may have told somebody to be done, of what was reported.
    recovered: Slot,
    /// Somebody has promised a higher ballot. Nobody who waits takes a slot until we prepare one above that; false at first.
    outbid: bool,
    /// The last round of heartbeats.
    round: u64,
    /// When it began the last of them.
    rounds: VecDeque<(u64, Time)>,
    /// For each that has granted the lease: when the round began that it answered.
    granted: BTreeMap<NodeId, Time>,
    /// When it became master.
    since: Time,
    /// When it is heard again.
    pub(crate) beat_at: Time,
}

impl MultiPaxos {
    pub(crate) fn become_master(&mut self, now: Time, prepared: Prepared, out: &mut Out) {
        let open = self.log.open;
        self.role = RoleState::Master(Master {
            prepared,
            next: open,
            pending: BTreeMap::new(),
            queue: VecDeque::new(),
            recovered: open,
            outbid: false,
            round: 0,
            rounds: VecDeque::new(),
            granted: BTreeMap::new(),
            since: now,
            beat_at: now,
        });
        self.set_master(Some(self.config.id), out);
        self.beat(now, out);
        self.fill(now, out);
    }

    pub(crate) fn on_request(&mut self, now: Time, id: RequestId, request: Request, out: &mut Out) {
        let taken = match request {
            Request::Applied(slot) => return self.on_applied(now, slot, out),
            Request::Read => return self.on_read(now, id, out),
            Request::Propose(bytes) => self.take_command(id, bytes),
            Request::Reconfigure(members) => self.take_members(id, members),
        };
        match taken {
            Ok(()) => self.fill(now, out),
            Err(refusal) => self.writes.emit(None, Event::Refused { id, refusal }, out),
        }
    }

    fn take_command(&mut self, id: RequestId, bytes: Bytes) -> Result<(), Refusal> {
        if bytes.len() > self.config.value_bytes_max {
            return Err(Refusal::TooLong);
        }
        let RoleState::Master(master) = &mut self.role else { return Err(Refusal::NotMaster(self.master)) };
        let pending = master.pending.values().map(|pending| pending.value.bytes());
        let queued = master.queue.iter().map(|(_, value)| value.bytes());
        let waiting: usize = pending.chain(queued).sum();
        if master.queue.len() >= self.config.waiting_max || waiting >= self.config.waiting_bytes_max {
            return Err(Refusal::Overloaded);
        }
        master.queue.push_back((id, Value::Command(bytes)));
        Ok(())
    }

    /// One change at a time: the members of the slots to come are then two sets at most, for whoever must ask them all.
    fn take_members(&mut self, id: RequestId, members: Members) -> Result<(), Refusal> {
        if !self.may_be_members(&members) {
            return Err(Refusal::NoSuchMembers);
        }
        let RoleState::Master(master) = &mut self.role else { return Err(Refusal::NotMaster(self.master)) };
        let pending = master.pending.values().map(|pending| &pending.value);
        let found = master.prepared.reported.values().map(|entry| &entry.value);
        let mut under_way = pending.chain(found).chain(master.queue.iter().map(|(_, value)| value));
        let is_change = |value: &Value| matches!(value, Value::Members(_));
        if under_way.any(is_change) || self.log.members.latest() > self.log.open {
            return Err(Refusal::Changing);
        }
        if master.queue.len() >= self.config.waiting_max {
            return Err(Refusal::Overloaded);
        }
        master.queue.push_back((id, Value::Members(members)));
        Ok(())
    }

    /// Proposes what can be proposed: in each slot what was found there, nothing where there is a hole, and behind all that
    /// what users wait for. A slot waits until its members are decided, α slots before, and a majority of them has promised
    /// our ballot: that all may have accepted there is known then, and only then.
    pub(crate) fn fill(&mut self, now: Time, out: &mut Out) {
        let unprepared = self.weak(Weakness::MembersUnprepared);
        loop {
            self.maybe_raise(now, out);
            let undecided = self.log.undecided();
            let RoleState::Master(master) = &self.role else { return };
            let slot = master.next;
            let members = self.log.members.at(slot);
            let is_prepared = unprepared || self.is_majority(members, &master.prepared.promises);
            if slot >= undecided || !is_prepared || !self.log.has_room(&self.config, slot) {
                return;
            }
            if slot < master.prepared.known {
                // Among those whose promise came late is one who knows more than we found: another has led there.
                return self.step_down(now, None, out);
            }
            let own_value = self.weak(Weakness::OwnValue);
            let skips = self.weak(Weakness::HoleSkipped);
            let change = self.log.members.latest();
            let RoleState::Master(master) = &mut self.role else { return };
            let found = master.prepared.reported.remove(&slot).filter(|_| !own_value);
            let goes_on = !master.prepared.reported.is_empty();
            let is_found = found.is_some() || goes_on;
            let (value, request) = match found {
                Some(entry) => (entry.value, None),
                None if goes_on && skips => {
                    master.next = slot.next();
                    continue;
                }
                None if goes_on => (Value::NoOp, None),
                None => match master.next_request() {
                    Some((id, value)) => (value, Some(id)),
                    // New members wait for slots to pass, so they do.
                    None if slot < change => (Value::NoOp, None),
                    None => return,
                },
            };
            master.next = slot.next();
            if is_found {
                master.recovered = master.next;
            }
            master.pending.insert(slot, Pending { value, request, accepted: Members::new(), asked_at: now });
            self.propose(slot, out);
        }
    }

    /// Somebody refuses our ballot, and a majority grants us the lease. We stay master, and prepare a higher ballot, so that whoever
    /// refuses this one takes part again.
    pub(crate) fn outbid(&mut self, now: Time, out: &mut Out) {
        let RoleState::Master(master) = &mut self.role else { return };
        master.outbid = self.round < ROUND_MAX;
        self.fill(now, out);
    }

    /// Prepares a higher ballot once nothing is under way at this one, so that no request is given up for it. Those who wait take
    /// the next slots when a majority has promised it; reads wait for that too. Nobody who owes us a lease withholds the promise.
    fn maybe_raise(&mut self, now: Time, out: &mut Out) {
        let RoleState::Master(master) = &self.role else { return };
        let is_idle = master.pending.is_empty() && master.prepared.reported.is_empty();
        if !master.outbid || !is_idle || self.is_flooded() {
            return;
        }
        let prepared = self.next_ballot(now, out);
        let message = Message::Prepare { ballot: prepared.ballot, from: self.log.open };
        let RoleState::Master(master) = &mut self.role else { return };
        (master.prepared, master.next, master.outbid) = (prepared, self.log.open, false);
        self.ask_silent(out);
        self.say(self.round_write, self.config.id, message, out);
    }

    /// Phase 2a: asks those who accept in this slot and have not.
    fn propose(&mut self, slot: Slot, out: &mut Out) {
        let RoleState::Master(master) = &self.role else { return };
        let Some(pending) = master.pending.get(&slot) else { return };
        let (ballot, open) = (master.prepared.ballot, self.log.open);
        let message = Message::Accept { ballot, slot, value: pending.value.clone(), open };
        let silent: Members = self.log.members.at(slot).difference(&pending.accepted).copied().collect();
        for to in silent {
            self.say(None, to, message.clone(), out);
        }
    }

    /// A majority at our ballot has chosen.
    pub(crate) fn on_accepted(&mut self, now: Time, from: NodeId, ballot: Ballot, slot: Slot, out: &mut Out) {
        let RoleState::Master(master) = &mut self.role else { return };
        if master.prepared.ballot != ballot || !self.log.members.at(slot).contains(&from) {
            return;
        }
        let Some(pending) = master.pending.get_mut(&slot) else { return };
        pending.accepted.insert(from);
        self.on_chosen_here(now, out);
    }

    /// Heard again and again: all is chosen up to here, and may I keep the lease? A master whom no majority has heard for as
    /// long as its lease lasts is master of nobody, and those who wait for it may look elsewhere.
    pub(crate) fn beat(&mut self, now: Time, out: &mut Out) {
        let RoleState::Master(master) = &self.role else { return };
        let heard_until = master.lease(&self.config, &self.log).unwrap_or(master.since + self.config.master_lease());
        let steps_aside = !self.log.members_now().contains(&self.config.id);
        if (heard_until.max(master.since + self.config.master_lease()) <= now) || steps_aside {
            return self.step_down(now, None, out);
        }
        if self.is_outstanding(self.round_write) {
            // Nobody may hear of our next ballot yet. If the disk takes too long, the lease ends.
            if let RoleState::Master(master) = &mut self.role {
                master.beat_at = now.after(self.config.heartbeat_interval);
            }
            return;
        }
        self.leased_until = Some(now.after(self.config.lease));
        let (ours, open, interval) = (self.config.id, self.log.open, self.config.heartbeat_interval);
        // Those who accepted a little before hear how that ended, and that they are no members any more.
        let before = Slot(open.0.saturating_sub(self.config.alpha()));
        let everybody = self.log.members.everybody(before);
        let RoleState::Master(master) = &mut self.role else { return };
        master.round += 1;
        master.rounds.push_back((master.round, now));
        if master.rounds.len() > ROUNDS_MAX {
            master.rounds.pop_front();
        }
        master.granted.retain(|id, _| everybody.contains(id));
        master.granted.insert(ours, now);
        master.beat_at = now.after(interval);
        let message = Message::Heartbeat { ballot: master.prepared.ballot, open, round: master.round };
        let mut late = Vec::new();
        for (slot, pending) in &mut master.pending {
            if pending.asked_at + interval <= now {
                pending.asked_at = now;
                late.push(*slot);
            }
        }
        for to in everybody.into_iter().filter(|to| *to != ours) {
            self.say(None, to, message.clone(), out);
        }
        for slot in late {
            self.propose(slot, out);
        }
        self.ask_new_members(out);
        // A ballot may have waited for the disk.
        self.fill(now, out);
    }

    /// Asks for promises where those of the members to come are missing.
    pub(crate) fn ask_new_members(&mut self, out: &mut Out) {
        let RoleState::Master(master) = &self.role else { return };
        let promises = &master.prepared.promises;
        let is_missing = self.log.members.sets(self.log.open).any(|members| !self.is_majority(members, promises));
        if is_missing {
            self.ask_silent(out);
        }
    }

    /// The lease counts from when the round began that is answered.
    pub(crate) fn on_heartbeat_ack(&mut self, now: Time, from: NodeId, ballot: Ballot, round: u64) {
        let from_reply = self.weak(Weakness::LeaseFromReply);
        let everybody = self.log.members.everybody(self.log.open);
        let RoleState::Master(master) = &mut self.role else { return };
        if master.prepared.ballot != ballot || !everybody.contains(&from) {
            return;
        }
        let Some((_, began)) = master.rounds.iter().find(|(began, _)| *began == round) else { return };
        let began = if from_reply { now } else { *began };
        let granted = master.granted.entry(from).or_insert(began);
        *granted = began.max(*granted);
    }

    /// Whether we are master, and a majority of those who accept in the open slot promises nobody else for now.
    pub(crate) fn is_leased(&self, now: Time) -> bool {
        let RoleState::Master(master) = &self.role else { return false };
        master.lease(&self.config, &self.log).is_some_and(|until| now < until)
    }

    /// The master answers alone, while it may.
    fn on_read(&mut self, now: Time, id: RequestId, out: &mut Out) {
        let event = match (&self.role, self.readable_until()) {
            (_, Some(until)) if now < until => Event::Readable { id, until },
            (RoleState::Master(_), _) => Event::Refused { id, refusal: Refusal::NotReadable },
            (RoleState::Replica(_) | RoleState::Candidate(_), _) => {
                Event::Refused { id, refusal: Refusal::NotMaster(self.master) }
            }
        };
        self.writes.emit(None, event, out);
    }

    /// Until when the master may answer reads: as long as its lease lasts, if it knows all that was done before it. It knows
    /// that once a majority of those who accept in the open slot has reported, and all that was found is chosen: the open slot
    /// is free then, or ours. (Raft needs an entry of its own term here since its votes report nothing.) A lease without that
    /// tells nothing: whoever is behind may get one from members who accept no more in the slots that others have reached.
    pub(crate) fn readable_until(&self) -> Option<Time> {
        let RoleState::Master(master) = &self.role else { return None };
        let open = self.log.open;
        let is_recovered = master.prepared.reported.is_empty() && master.recovered <= open;
        let is_ready = self.is_majority(self.log.members_now(), &master.prepared.promises)
            && master.prepared.known <= open
            && (is_recovered || self.weak(Weakness::ReadBeforeRecovered));
        master.lease(&self.config, &self.log).filter(|_| is_ready)
    }
}

impl Pending {
    /// Who has accepted it.
    pub(crate) fn accepted(&self) -> &Members {
        &self.accepted
    }
}

impl Master {
    /// Who waits longest. Nobody takes a slot at a ballot that is about to be given up.
    fn next_request(&mut self) -> Option<(RequestId, Value)> {
        if self.outbid { None } else { self.queue.pop_front() }
    }

    /// Until when its lease lasts: a majority of those who accept in the open slot promises nobody else until then, so that no
    /// later master can have that slot chosen, and what it may have chosen behind it is done for nobody.
    pub(crate) fn lease(&self, config: &Config, log: &Log) -> Option<Time> {
        let lease = if config.weak(Weakness::LeaseWithoutDrift) { config.lease } else { config.master_lease() };
        quorum::reached(log.members_now(), |id| self.granted.get(&id).copied()).map(|began| began + lease)
    }

    pub(crate) fn fingerprint(&self, now: Time, mut into: &mut dyn Hasher) {
        (&self.prepared, self.next, self.recovered, self.outbid).hash(&mut into);
        for (slot, pending) in &self.pending {
            (slot, &pending.value, pending.request.is_some(), &pending.accepted).hash(&mut into);
        }
        for (_, value) in &self.queue {
            value.hash(&mut into);
        }
        for (id, began) in &self.granted {
            (id, now.since(*began)).hash(&mut into);
        }
        self.rounds.len().hash(&mut into);
    }
}
