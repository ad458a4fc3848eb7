//! The log: what was accepted and what of it is chosen, from the first slot that is not gone.

use alloc::collections::BTreeMap;

use hezong_base::WriteId;

use super::members::Memberships;
use super::{Base, Config, Entry, Members, Slot, Value, Weakness};

/// What is accepted in a slot.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    /// The write that it rests on; `None` when it was found at the start.
    pub(crate) write: Option<WriteId>,
}

/// The part of the log that is held. `first <= unapplied() <= open`, and every slot before `open` from `first` on is held.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    alpha: u64,
    /// The first slot that is not gone.
    pub(crate) first: Slot,
    /// The first slot that the state machine has not applied durably, as far as it has said. Beyond `open` if a crash took more
    /// from the log than from the state machine.
    pub(crate) applied: Slot,
    /// The first slot not known to be chosen.
    pub(crate) open: Slot,
    /// What is accepted, and before `open` chosen.
    slots: BTreeMap<Slot, Held>,
    /// The size of all that is held.
    bytes: usize,
    /// Who accepts, as what is before `open` decides it.
    pub(crate) members: Memberships,
}

impl Log {
    /// A log that stands on `base`, or on nothing.
    pub(crate) fn new(config: &Config, base: Option<&Base>) -> Self {
        let members = base.map_or_else(|| Memberships::new(config.members.clone()), Memberships::of);
        let first = base.map_or(Slot::FIRST, |base| base.first);
        let (applied, open) = (first, first);
        Self { alpha: config.alpha(), first, applied, open, slots: BTreeMap::new(), bytes: 0, members }
    }

    /// Holds this there.
    pub(crate) fn put(&mut self, slot: Slot, held: Held) {
        self.bytes += held.entry.value.bytes();
        if let Some(old) = self.slots.insert(slot, held) {
            self.bytes -= old.entry.value.bytes();
        }
    }

    /// The first open slot is chosen, and this in it. `None`: nothing is held there.
    pub(crate) fn choose(&mut self, config: &Config) -> Option<(Slot, Value)> {
        let slot = self.open;
        let value = self.get(slot)?.entry.value.clone();
        self.open = slot.next();
        if let Value::Members(members) = &value {
            let delay = if config.weak(Weakness::MembersAtOnce) { 1 } else { self.alpha };
            self.members.decide(slot.plus(delay), members.clone());
        }
        Some((slot, value))
    }

    /// What was applied is given up, but for what is kept for others. Half of what may be kept goes at once, so that this is
    /// seldom. What the log stands on by then, if anything went.
    pub(crate) fn compact(&mut self, config: &Config) -> Option<Base> {
        let over = |log: &Self, kept: u64, bytes: usize| log.unapplied().since(log.first) > kept || log.bytes > bytes;
        if self.unapplied() == self.first || !over(self, config.kept_max, config.kept_bytes_max) {
            return None;
        }
        while self.first < self.unapplied() && over(self, config.kept_max / 2, config.kept_bytes_max / 2) {
            self.forget_first();
        }
        self.members.forget(self.first);
        self.base(self.first)
    }

    fn forget_first(&mut self) {
        if let Some(gone) = self.slots.remove(&self.first) {
            self.bytes -= gone.entry.value.bytes();
        }
        self.first = self.first.next();
    }

    /// What a log that begins with this slot stands on, if that is known here.
    pub(crate) fn base(&self, first: Slot) -> Option<Base> {
        let known = self.first <= first && first <= self.open;
        known.then(|| Base { first, members: self.members.as_of(first, self.alpha) })
    }

    /// Stands on `base` from now on, which is further than what is known to be chosen here. What is accepted beyond stays: it is
    /// what others were promised.
    pub(crate) fn reset(&mut self, base: &Base) {
        self.slots = self.slots.split_off(&base.first);
        self.bytes = self.slots.values().map(|held| held.entry.value.bytes()).sum();
        self.members = Memberships::of(base);
        (self.first, self.open) = (base.first, base.first);
        self.applied = self.applied.max(base.first);
    }

    /// The first slot that is not chosen here or not applied.
    pub(crate) fn unapplied(&self) -> Slot {
        self.applied.min(self.open)
    }

    /// The first slot whose members are not decided yet. Nothing is proposed there or beyond.
    pub(crate) fn undecided(&self) -> Slot {
        self.open.plus(self.alpha)
    }

    /// Who accepts in the first open slot.
    pub(crate) fn members_now(&self) -> &Members {
        self.members.at(self.open)
    }

    /// What is held there.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Held> {
        self.slots.get(&slot)
    }

    /// What is held from there on.
    pub(crate) fn from(&self, slot: Slot) -> impl Iterator<Item = (Slot, &Entry)> {
        self.slots.range(slot..).map(|(slot, held)| (*slot, &held.entry))
    }

    /// All that is held.
    pub(crate) fn slots(&self) -> &BTreeMap<Slot, Held> {
        &self.slots
    }

    /// Whether something may be held there, within the limits. A slot that is next and follows what is applied always may.
    pub(crate) fn has_room(&self, config: &Config, slot: Slot) -> bool {
        let is_next = slot == self.open && self.unapplied() == self.open;
        slot.since(self.unapplied()) < config.unapplied_max && (self.bytes <= config.log_bytes_max || is_next)
    }
}
