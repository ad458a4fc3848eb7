//! Parking: effects that would be a lie if the writes they rest on were lost wait here until those are stored.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use crate::{Effect, NodeId, Protocol, Time, WriteId};

/// Issues write ids and holds back what rests on them.
///
/// A protocol decides *which* write an effect rests on; this type makes sure it leaves neither sooner nor later than
/// that write is stored, and that events never overtake each other.
#[derive(Clone, Debug)]
pub struct Writes<P: Protocol> {
    /// The id the next write gets. Starts at 1.
    next: WriteId,
    /// Writes issued and not yet stored, oldest first, with when they were issued and their size.
    outstanding: VecDeque<(WriteId, Time, usize)>,
    /// The sum of the sizes in `outstanding`.
    bytes: usize,
    /// Effects held back, each behind one outstanding write; in the order in which they were parked.
    parked: VecDeque<(WriteId, Effect<P>)>,
}

impl<P: Protocol> Default for Writes<P> {
    fn default() -> Self {
        Self { next: WriteId(1), outstanding: VecDeque::new(), bytes: 0, parked: VecDeque::new() }
    }
}

impl<P: Protocol> Writes<P> {
    /// Issues a write. `bytes` is its size as the protocol counts it against its own bound.
    pub fn store(&mut self, now: Time, write: P::Write, bytes: usize, out: &mut Vec<Effect<P>>) -> WriteId {
        let id = self.next;
        self.next = id.next();
        self.outstanding.push_back((id, now, bytes));
        self.bytes += bytes;
        out.push(Effect::Store { id, write });
        id
    }

    /// Sends once `rests_on` is stored; at once if it is, or if the message rests on nothing. Every field stays what it
    /// was when parked: a vote keeps the term it was cast in.
    pub fn send(&mut self, rests_on: Option<WriteId>, to: NodeId, message: P::Message, out: &mut Vec<Effect<P>>) {
        let effect = Effect::Send { to, message };
        match rests_on.filter(|id| self.is_outstanding(*id)) {
            Some(id) => self.parked.push_back((id, effect)),
            None => out.push(effect),
        }
    }

    /// Emits once `rests_on` is stored, and not before any event parked earlier.
    pub fn emit(&mut self, rests_on: Option<WriteId>, event: P::Event, out: &mut Vec<Effect<P>>) {
        match rests_on.max(self.last_event()).filter(|id| self.is_outstanding(*id)) {
            Some(id) => self.parked.push_back((id, Effect::Emit(event))),
            None => out.push(Effect::Emit(event)),
        }
    }

    /// Every write up to and including `id` is stored: lets go what rested on them. An id never issued is ignored.
    pub fn stored(&mut self, id: WriteId, out: &mut Vec<Effect<P>>) {
        if id >= self.next {
            return;
        }
        while let Some((_, _, bytes)) = self.outstanding.pop_front_if(|(first, ..)| *first <= id) {
            self.bytes -= bytes;
        }
        if self.parked.iter().all(|(behind, _)| self.is_outstanding(*behind)) {
            return;
        }
        for (behind, effect) in core::mem::take(&mut self.parked) {
            if self.is_outstanding(behind) {
                self.parked.push_back((behind, effect));
            } else {
                out.push(effect);
            }
        }
    }

    /// Whether this write was issued and is not stored yet.
    #[must_use]
    pub fn is_outstanding(&self, id: WriteId) -> bool {
        self.outstanding.front().is_some_and(|(first, ..)| *first <= id && id < self.next)
    }

    /// The last write issued, if it is not stored yet.
    #[must_use]
    pub fn last_outstanding(&self) -> Option<WriteId> {
        self.outstanding.back().map(|(id, ..)| *id)
    }

    /// The write that the last event parked waits for, and every event behind it; `None` if none is parked. A protocol that
    /// bounds what it holds has to count what it emits until that is stored.
    #[must_use]
    pub fn last_event(&self) -> Option<WriteId> {
        self.parked.iter().rev().find(|(_, effect)| matches!(effect, Effect::Emit(_))).map(|(id, _)| *id)
    }

    /// When the oldest write not yet stored was issued: what a stalled disk shows by.
    #[must_use]
    pub fn oldest(&self) -> Option<Time> {
        self.outstanding.front().map(|(_, at, _)| *at)
    }

    /// How many outstanding writes were issued before this one; `None` once it is stored. Write ids differ between two
    /// runs that are the same otherwise, places do not.
    #[must_use]
    pub fn place(&self, id: WriteId) -> Option<usize> {
        self.outstanding.iter().position(|(outstanding, ..)| *outstanding == id)
    }

    /// What makes two of these the same to the explorer: how many writes are outstanding, and which messages wait for
    /// which of them. Their order tells nothing, nor how often the same waits for the same: by the contract, any message
    /// may be overtaken or doubled. `message` adds what makes two messages the same.
    pub fn fingerprint(&self, mut into: &mut dyn Hasher, message: impl Fn(&P::Message, &mut dyn Hasher)) {
        self.outstanding.len().hash(&mut into);
        let mut sends = BTreeSet::new();
        for (behind, effect) in &self.parked {
            if let Effect::Send { to, message: parked } = effect {
                let mut digest = Fnv::default();
                message(parked, &mut digest);
                sends.insert((self.place(*behind), *to, digest.finish()));
            }
        }
        sends.hash(&mut into);
    }

    /// The bytes of all writes not yet stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The digest of one message among several whose order is not to tell (Fowler, Noll and Vo, 1a, 64 bits).
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
