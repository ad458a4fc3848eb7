//! The acceptor: what it has promised and accepted of each register, and how it answers and forgets.

use alloc::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{NodeId, Time, WriteId};

use super::node::{Out, Registers, Write};
use super::{Age, Body, Proposal, Weakness};
use crate::Ballot;

/// What an acceptor keeps of a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// Nothing below it is promised or accepted any more. Only grows, until the register is forgotten.
    pub promised: Ballot,
    /// What was accepted at the highest ballot, never above `promised`.
    pub accepted: Option<Proposal>,
}

/// A register, and the last write about it; of this life.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) register: Register,
    pub(crate) write: Option<WriteId>,
}

/// An acceptor's part of the state. All of it is on disk before anybody hears of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acceptor {
    pub(crate) registers: BTreeMap<Bytes, Held>,
    /// What each proposer sent at a younger age is refused. Only of proposers.
    pub(crate) ages: BTreeMap<NodeId, Age>,
    /// The last write by which something was forgotten; of this life.
    pub(crate) erase_write: Option<WriteId>,
}

impl Registers {
    pub(crate) fn on_prepare(&mut self, now: Time, from: NodeId, key: Bytes, ballot: Ballot, out: &mut Out) {
        match self.acceptor.registers.get(&key) {
            Some(held) if ballot < held.register.promised => return self.refuse(from, key, ballot, out),
            Some(held) if ballot == held.register.promised => {
                if held.write.is_some_and(|write| self.writes.is_outstanding(write)) {
                    // The answer waits for the disk already.
                    return;
                }
            }
            Some(_) | None => {
                let accepted = self.acceptor.registers.get(&key).and_then(|held| held.register.accepted.clone());
                let write = Write::Promise { key: key.clone(), ballot };
                if !self.hold(now, &key, Register { promised: ballot, accepted }, write, out) {
                    return;
                }
            }
        }
        let Some(held) = self.acceptor.registers.get(&key) else { return };
        let accepted = held.register.accepted.clone();
        let rests_on = if self.weak(Weakness::PromiseBeforeStored) { None } else { held.write };
        self.say(rests_on, from, key, Body::Promise { ballot, accepted }, out);
    }

    /// At the ballot promised or above it. The proposer's next ballot is promised by the same write (§2.2.1).
    pub(crate) fn on_accept(
        &mut self,
        now: Time,
        from: NodeId,
        key: Bytes,
        proposal: Proposal,
        next: Option<Ballot>,
        out: &mut Out,
    ) {
        let ballot = proposal.ballot;
        let held = self.acceptor.registers.get(&key);
        let promised = held.map(|held| held.register.promised);
        match held.and_then(|held| held.register.accepted.as_ref()) {
            Some(accepted) if *accepted == proposal => {
                if held.and_then(|held| held.write).is_some_and(|write| self.writes.is_outstanding(write)) {
                    return;
                }
            }
            // A ballot has one state. Whoever proposes another at the same has forgotten the first; nobody may accept it.
            Some(accepted) if accepted.ballot == ballot => return,
            _ if Some(ballot) < promised && !self.weak(Weakness::AcceptBelowPromise) => {
                return self.refuse(from, key, ballot, out);
            }
            _ => {
                let next = next.filter(|_| !self.weak(Weakness::NextNotPromised));
                let register = Register {
                    promised: promised.max(next).unwrap_or(ballot).max(ballot),
                    accepted: Some(proposal.clone()),
                };
                let write = Write::Accept { key: key.clone(), proposal, next };
                if !self.hold(now, &key, register, write, out) {
                    return;
                }
            }
        }
        let Some(held) = self.acceptor.registers.get(&key) else { return };
        let rests_on = if self.weak(Weakness::AcceptBeforeStored) { None } else { held.write };
        self.say(rests_on, from, key, Body::Accepted { ballot }, out);
    }

    /// Forgets a tombstone, and in the same write learns what to refuse for it: what proposers sent before they were told would
    /// find nothing here any more that outbids it (§3.1, 2c and 2d).
    pub(crate) fn on_erase(
        &mut self,
        now: Time,
        from: NodeId,
        key: Bytes,
        tombstone: Ballot,
        ages: BTreeMap<NodeId, Age>,
        out: &mut Out,
    ) {
        let register = self.acceptor.registers.get(&key).map(|held| &held.register);
        // Whoever was promised more may have heard nothing of this tombstone elsewhere: its promise must not be forgotten.
        let is_it = register.is_some_and(|register| {
            let accepted = register.accepted.as_ref();
            register.promised == tombstone
                && accepted.is_some_and(|accepted| accepted.ballot == tombstone && accepted.state.value.is_none())
        });
        if is_it || (register.is_some() && self.weak(Weakness::EraseNewer)) {
            if self.is_flooded() {
                return;
            }
            self.acceptor.registers.remove(&key);
            refuse_younger(&mut self.acceptor.ages, &ages);
            let bytes = key.len() + ages.len() * size_of::<(NodeId, Age)>();
            let write = self.writes.store(now, Write::Erase { key: key.clone(), ages }, bytes, out);
            self.acceptor.erase_write = Some(write);
        } else if self.acceptor.erase_write.is_some_and(|write| self.writes.is_outstanding(write)) {
            // It may be this that is being forgotten. The answer waits for the disk already, or will be asked for again.
            return;
        }
        let rests_on = self.acceptor.erase_write;
        self.say(rests_on, from, key, Body::Erased { tombstone }, out);
    }

    /// Whether what a proposer sent at this age is to be heard.
    pub(crate) fn is_of_age(&self, from: NodeId, age: Age) -> bool {
        self.config.proposers.contains(&from) && Some(&age) >= self.acceptor.ages.get(&from)
    }

    /// Keeps it from now on; false where there is no room for it, on the way to the disk or at all.
    fn hold(&mut self, now: Time, key: &Bytes, register: Register, write: Write, out: &mut Out) -> bool {
        let is_new = !self.acceptor.registers.contains_key(key);
        if self.is_flooded() || (is_new && self.acceptor.registers.len() >= self.config.registers_max) {
            return false;
        }
        let accepted = match &write {
            Write::Accept { proposal, .. } => proposal.state.value.as_ref().map_or(0, Bytes::len),
            Write::Promise { .. } | Write::Erase { .. } | Write::Proposer { .. } | Write::Membership(_) => 0,
        };
        let bytes = size_of::<Register>() + key.len() + accepted;
        let write = Some(self.writes.store(now, write, bytes, out));
        self.acceptor.registers.insert(key.clone(), Held { register, write });
        true
    }

    /// Says which ballot has to be outbid, unless that is not certain yet: whoever asks will ask again.
    fn refuse(&mut self, from: NodeId, key: Bytes, ballot: Ballot, out: &mut Out) {
        let Some(held) = self.acceptor.registers.get(&key) else { return };
        let (promised, rests_on) = (held.register.promised, held.write);
        if !rests_on.is_some_and(|write| self.writes.is_outstanding(write)) {
            self.say(rests_on, from, key, Body::Nack { ballot, promised }, out);
        }
    }

    /// Whether so much is on its way to the disk that nothing is taken which would need to be written.
    pub(crate) fn is_flooded(&self) -> bool {
        self.writes.bytes() > self.config.unstored_bytes_max
    }
}

/// Ages only grow.
pub(crate) fn refuse_younger(known: &mut BTreeMap<NodeId, Age>, told: &BTreeMap<NodeId, Age>) {
    for (node, age) in told {
        let known = known.entry(*node).or_default();
        *known = (*known).max(*age);
    }
}
