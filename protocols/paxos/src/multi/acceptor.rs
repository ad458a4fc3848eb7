//! The acceptor: what it promises, accepts and grants.

use alloc::collections::BTreeMap;

use hezong_base::{NodeId, Time};

use super::log::Held;
use super::node::{MultiPaxos, Out, RoleState, Write};
use super::{Entry, Message, Slot, Value, Weakness};
use crate::Ballot;

impl MultiPaxos {
    /// Phase 1b, for all slots at once. Who is promised nothing, and is behind, is told what was chosen: it may have missed that
    /// it is no member any more.
    pub(crate) fn on_prepare(&mut self, now: Time, ballot: Ballot, first: Slot, out: &mut Out) {
        if Some(ballot) < self.promised {
            return self.refuse(ballot, out);
        }
        if Some(ballot) == self.promised && self.is_outstanding(self.promise_write) {
            // The answer waits for the disk already.
            return;
        }
        let open = self.log.open;
        if !self.promise(now, ballot, out) {
            if first < open {
                self.on_catch_up(ballot.node, first, out);
            }
            return;
        }
        let accepted: BTreeMap<_, _> =
            self.log.from(first.max(open)).map(|(slot, entry)| (slot, entry.clone())).collect();
        // What is reported need not be on disk: a proposal that was made may be taken up, whether or not it was accepted.
        let rests_on = if self.weak(Weakness::PromiseBeforeStored) { None } else { self.promise_write };
        self.say(rests_on, ballot.node, Message::Promise { ballot, open, accepted }, out);
    }

    /// Phase 2b: at the ballot promised or above it.
    pub(crate) fn on_accept(&mut self, now: Time, ballot: Ballot, slot: Slot, value: Value, open: Slot, out: &mut Out) {
        if Some(ballot) < self.promised && !self.weak(Weakness::AcceptBelowPromise) {
            return self.refuse(ballot, out);
        }
        // What is chosen needs no room any more.
        let has_room = slot < self.log.open || self.log.has_room(&self.config, slot);
        if !has_room || self.is_flooded() || !self.promise(now, ballot, out) {
            return;
        }
        self.hear_master(now, ballot.node, out);
        let entry = Entry { ballot, value };
        let rests_on = match self.log.get(slot) {
            // Whatever the ballot, no other value can be proposed there.
            _ if slot < self.log.open => self.log.get(slot).and_then(|held| held.write),
            Some(held) if held.entry == entry => held.write,
            // A ballot has one value in a slot. Whoever proposes another has forgotten the first; nobody may choose it.
            Some(held) if held.entry.ballot == ballot => return,
            Some(_) | None => {
                let bytes = entry.value.bytes();
                let write = self.writes.store(now, Write::Entry { slot, entry: entry.clone() }, bytes, out);
                self.log.put(slot, Held { entry, write: Some(write) });
                let rests_on = (!self.weak(Weakness::AcceptBeforeStored)).then_some(write);
                self.say(rests_on, ballot.node, Message::Accepted { ballot, slot }, out);
                return self.on_open(now, ballot, open, out);
            }
        };
        // A repeated request is answered again, unless the answer waits for the disk already.
        if !self.is_outstanding(rests_on) && !self.is_outstanding(self.promise_write) {
            self.say(None, ballot.node, Message::Accepted { ballot, slot }, out);
        }
        self.on_open(now, ballot, open, out);
    }

    /// The master asks for its lease: nobody else is promised anything for a while.
    pub(crate) fn on_heartbeat(&mut self, now: Time, ballot: Ballot, open: Slot, round: u64, out: &mut Out) {
        if Some(ballot) < self.promised {
            return self.refuse(ballot, out);
        }
        if self.weak(Weakness::LeaseOverridden) {
            self.leased_until = None;
        }
        let waits_already = self.is_outstanding(self.promise_write) && Some(ballot) == self.promised;
        if !self.promise(now, ballot, out) {
            return;
        }
        self.hear_master(now, ballot.node, out);
        self.leased_until = Some(now.after(self.config.lease));
        self.wait_to_campaign(now);
        if !waits_already {
            self.say(self.promise_write, ballot.node, Message::HeartbeatAck { ballot, round }, out);
        }
        self.on_open(now, ballot, open, out);
        if self.log.open < open {
            self.catch_up(ballot.node, out);
        }
    }

    /// Promises a ballot that is not below what was promised. False: a lease that another holds is not over, or the disk is too
    /// far behind. Whoever asks is not told, and asks again: neither says anything against its ballot.
    ///
    /// By this, a lease is always that of the node whose ballot was promised last. It binds against whoever was promised
    /// elsewhere too, also a master: the majority that promised it need not be one of the members here.
    fn promise(&mut self, now: Time, ballot: Ballot, out: &mut Out) -> bool {
        if Some(ballot) <= self.promised {
            return true;
        }
        let is_leased = self.leased_until.is_some_and(|until| now < until);
        if self.is_flooded() || (is_leased && self.promised.is_some_and(|promised| promised.node != ballot.node)) {
            return false;
        }
        self.promised = Some(ballot);
        self.round = self.round.max(ballot.round);
        self.promise_write = Some(self.writes.store(now, Write::Promise(ballot), size_of::<Ballot>(), out));
        if self.ballot().is_some_and(|ours| ours < ballot) {
            self.step_down(now, None, out);
        }
        true
    }

    /// Somebody leads at a ballot that we have not promised to outbid: whoever has campaigned need not.
    fn hear_master(&mut self, now: Time, master: NodeId, out: &mut Out) {
        if master == self.config.id {
            return;
        }
        match &self.role {
            RoleState::Replica(_) => self.set_master(Some(master), out),
            RoleState::Candidate(_) => self.step_down(now, Some(master), out),
            // Only a known bug hears one below what it has promised itself.
            RoleState::Master(_) => {}
        }
    }

    /// Says which ballot has to be outbid, unless that is not certain yet: whoever asks will ask again.
    fn refuse(&mut self, ballot: Ballot, out: &mut Out) {
        if let Some(promised) = self.promised.filter(|_| !self.is_outstanding(self.promise_write)) {
            self.say(None, ballot.node, Message::Nack { ballot, promised }, out);
        }
    }
}
