//! Who accepts in which slot: what is chosen in slot i names the members from slot i+α on (*Paxos Made Simple* §3).

use alloc::collections::{BTreeMap, BTreeSet};

use hezong_base::NodeId;

use super::Slot;

/// Those who accept in a slot. A majority of them chooses.
pub type Members = BTreeSet<NodeId>;

/// Nobody is no majority of nobody.
const NOBODY: &Members = &Members::new();

/// What a log stands on, once what came before is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Base {
    /// The first slot that is not gone.
    pub first: Slot,
    /// The members from each slot on, as far as slots before `first` decide that.
    pub members: BTreeMap<Slot, Members>,
}

/// The members of all slots not gone, as far as what is chosen decides them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memberships {
    /// From which slot on each are the members. The first of them governs the first slot that is held.
    from: BTreeMap<Slot, Members>,
}

impl Memberships {
    pub(crate) fn new(initial: Members) -> Self {
        Self { from: [(Slot::FIRST, initial)].into() }
    }

    pub(crate) fn of(base: &Base) -> Self {
        Self { from: base.members.clone() }
    }

    /// Who accepts in this slot.
    pub(crate) fn at(&self, slot: Slot) -> &Members {
        self.from.range(..=slot).next_back().map_or(NOBODY, |(_, members)| members)
    }

    /// Everybody who accepts in this slot or a later one.
    pub(crate) fn everybody(&self, slot: Slot) -> Members {
        let later = self.from.range(slot..).flat_map(|(_, members)| members);
        self.at(slot).iter().chain(later).copied().collect()
    }

    /// The slots from which on other members accept, that of `slot` itself and those after it.
    pub(crate) fn sets(&self, slot: Slot) -> impl Iterator<Item = &Members> {
        core::iter::once(self.at(slot)).chain(self.from.range(slot.next()..).map(|(_, members)| members))
    }

    /// These accept from that slot on.
    pub(crate) fn decide(&mut self, from: Slot, members: Members) {
        self.from.insert(from, members);
    }

    /// From which slot on the last that were decided accept.
    pub(crate) fn latest(&self) -> Slot {
        self.from.last_key_value().map_or(Slot::FIRST, |(from, _)| *from)
    }

    /// What slots before `first` decide about it and those after it.
    pub(crate) fn as_of(&self, first: Slot, alpha: u64) -> BTreeMap<Slot, Members> {
        let governs = self.from.range(..=first).next_back().map_or(first, |(from, _)| *from);
        self.from.range(governs..first.plus(alpha)).map(|(from, members)| (*from, members.clone())).collect()
    }

    /// Slots before this one are gone.
    pub(crate) fn forget(&mut self, first: Slot) {
        let governs = self.from.range(..=first).next_back().map_or(first, |(from, _)| *from);
        self.from = self.from.split_off(&governs);
    }
}
