//! The learner: what is chosen, how who is behind catches up, and what need not be kept.

use alloc::vec::Vec;

use hezong_base::{AskId, Effect, NodeId, Time};

use super::log::Held;
use super::master::Pending;
use super::node::{MultiPaxos, Out, RoleState, Write};
use super::{Answer, Ask, Base, Entry, Event, Message, Slot, SnapshotId, Value, Weakness};
use crate::Ballot;

impl MultiPaxos {
    /// The first open slot is chosen, and what is held there in it. False: nothing is.
    pub(crate) fn choose(&mut self, out: &mut Out) -> bool {
        let Some((slot, value)) = self.log.choose(&self.config) else { return false };
        self.writes.emit(None, Event::Chosen { slot, value }, out);
        true
    }

    /// More is chosen than before, which is worth remembering. Nothing rests on it: who forgets it is told again.
    fn remember_open(&mut self, now: Time, before: Slot, out: &mut Out) {
        if before < self.log.open {
            self.writes.store(now, Write::Open(self.log.open), size_of::<Slot>(), out);
        }
    }

    /// Holds what is chosen there, if it is not held already.
    fn keep(&mut self, now: Time, slot: Slot, entry: Entry, out: &mut Out) {
        let newer = |held: &Held| held.entry.ballot < entry.ballot || held.entry.value != entry.value;
        if self.log.get(slot).is_none_or(newer) {
            let write = Write::Entry { slot, entry: entry.clone() };
            let write = Some(self.writes.store(now, write, entry.value.bytes(), out));
            self.log.put(slot, Held { entry, write });
        }
    }

    /// At the master: slots that a majority has accepted are chosen, one after another.
    pub(crate) fn on_chosen_here(&mut self, now: Time, out: &mut Out) {
        let before = self.log.open;
        loop {
            let open = self.log.open;
            let RoleState::Master(master) = &self.role else { return };
            let members = self.log.members_now();
            if !master.pending.get(&open).is_some_and(|pending| self.is_majority(members, pending.accepted())) {
                if self.weak(Weakness::HoleSkipped) && open < master.next && !master.pending.contains_key(&open) {
                    self.log.open = open.next();
                    continue;
                }
                break;
            }
            let ballot = master.prepared.ballot;
            let RoleState::Master(master) = &mut self.role else { return };
            let Some(Pending { value, request, .. }) = master.pending.remove(&open) else { return };
            let is_change = matches!(value, Value::Members(_));
            self.keep(now, open, Entry { ballot, value }, out);
            self.choose(out);
            if let Some(id) = request {
                self.writes.emit(None, Event::Done { id, slot: open }, out);
            }
            if is_change {
                self.ask_new_members(out);
            }
        }
        self.remember_open(now, before, out);
        if self.log.open > before {
            self.fill(now, out);
        }
    }

    /// The master of that ballot knows all before `open` to be chosen. What was accepted at its ballot is what it proposed. What
    /// was accepted at another need not be: that is asked for.
    pub(crate) fn on_open(&mut self, now: Time, ballot: Ballot, open: Slot, out: &mut Out) {
        if ballot.node == self.config.id {
            return;
        }
        let trusts = self.weak(Weakness::WatermarkTrusted);
        let before = self.log.open;
        while self.log.open < open
            && self.log.get(self.log.open).is_some_and(|held| held.entry.ballot == ballot || trusts)
        {
            self.choose(out);
        }
        self.remember_open(now, before, out);
    }

    /// Asks somebody who knows more than we do.
    pub(crate) fn catch_up(&mut self, whom: NodeId, out: &mut Out) {
        if self.fetching.is_none() && self.log.has_room(&self.config, self.log.open) {
            self.say(None, whom, Message::CatchUp { from: self.log.open }, out);
        }
    }

    /// "What was chosen, from there on?"
    pub(crate) fn on_catch_up(&mut self, from: NodeId, first: Slot, out: &mut Out) {
        if first < self.log.first {
            return self.offer_snapshot(from, out);
        }
        let (mut bytes, mut entries) = (0, Vec::new());
        for (_, entry) in self.log.from(first).take_while(|(slot, _)| *slot < self.log.open) {
            bytes += entry.value.bytes();
            if bytes > self.config.batch_bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        if !entries.is_empty() {
            let open = self.log.open;
            self.say(None, from, Message::Entries { from: first, entries, open }, out);
        }
    }

    /// A master never asks, and what is chosen at its own ballot it counts itself.
    pub(crate) fn on_entries(
        &mut self,
        now: Time,
        from: NodeId,
        first: Slot,
        entries: Vec<Entry>,
        open: Slot,
        out: &mut Out,
    ) {
        if matches!(self.role, RoleState::Master(_)) || first > self.log.open {
            return;
        }
        let before = self.log.open;
        let known = usize::try_from(before.since(first)).unwrap_or(usize::MAX);
        for entry in entries.into_iter().skip(known) {
            let slot = self.log.open;
            if self.is_flooded() || !self.log.has_room(&self.config, slot) {
                break;
            }
            self.keep(now, slot, entry, out);
            self.choose(out);
        }
        self.remember_open(now, before, out);
        if before < self.log.open && self.log.open < open {
            self.catch_up(from, out);
        }
        self.maybe_lead(now, out);
    }

    /// One snapshot is taken for each at a time, and a new one for whoever asks again: an offer may have been lost, and what it
    /// offers given up. Members of long ago are helped too: by asking they find out that they are none.
    fn offer_snapshot(&mut self, to: NodeId, out: &mut Out) {
        if self.taking.len() >= self.config.members_max || self.taking.values().any(|(other, _)| *other == to) {
            return;
        }
        let id = SnapshotId(self.rng.next_u64());
        let ask = self.ask_for(Ask::TakeSnapshot { id, to }, out);
        self.taking.insert(ask, (to, id));
    }

    fn ask_for(&mut self, ask: Ask, out: &mut Out) -> AskId {
        let id = self.next_ask;
        self.next_ask = id.next();
        out.push(Effect::Ask { id, ask });
        id
    }

    /// "What you ask for is gone: fetch this instead." One at a time.
    pub(crate) fn on_snapshot(&mut self, from: NodeId, id: SnapshotId, base: Base, out: &mut Out) {
        if self.fetching.is_none() && self.log.open < base.first {
            let ask = self.ask_for(Ask::FetchSnapshot { from, id, base: base.clone() }, out);
            self.fetching = Some((ask, base));
        }
    }

    /// Local work is done.
    pub(crate) fn on_answered(&mut self, now: Time, id: AskId, answer: Answer, out: &mut Out) {
        match answer {
            Answer::SnapshotTaken(last) => {
                let Some((to, id)) = self.taking.remove(&id) else { return };
                if let Some(mut base) = last.and_then(|last| self.log.base(last.next())) {
                    if self.weak(Weakness::SnapshotForgetsMembers) {
                        base.members = [(Slot::FIRST, self.config.members.clone())].into();
                    }
                    self.say(None, to, Message::Snapshot { id, base }, out);
                }
            }
            Answer::SnapshotFetched(had) => {
                let Some((_, base)) = self.fetching.take_if(|(ask, _)| *ask == id) else { return };
                if had && self.log.open < base.first {
                    self.stand_on(now, base, out);
                }
            }
        }
    }

    /// The state machine stands there already, durably; the log follows. All that it skips is chosen.
    fn stand_on(&mut self, now: Time, base: Base, out: &mut Out) {
        if matches!(self.role, RoleState::Master(_)) {
            // Another has led further than we know: our ballot is outbid.
            self.step_down(now, None, out);
        }
        self.log.reset(&base);
        self.writes.store(now, Write::Base(base), size_of::<Base>(), out);
        self.maybe_lead(now, out);
    }

    /// The state machine holds all up to this slot durably. What need not be kept goes, and there is room for more.
    pub(crate) fn on_applied(&mut self, now: Time, slot: Slot, out: &mut Out) {
        self.log.applied = self.log.applied.max(slot.next());
        if let Some(base) = self.log.compact(&self.config) {
            self.writes.store(now, Write::Base(base), size_of::<Base>(), out);
        }
        self.fill(now, out);
    }
}
