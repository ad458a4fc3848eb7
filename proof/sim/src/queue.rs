//! What is still to happen, in the order of time; what happens at one instant, in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of events. The order of any two is fixed by when they were planned, so that a seed fixes a run.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// Time, place in the order of planning, slot. The events themselves stay where they are while the heap sorts.
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    planned: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), planned: 0 }
    }
}

impl<E> Queue<E> {
    /// Plans an event.
    pub(crate) fn push(&mut self, at: u64, event: E) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 events wait at once")
        });
        self.slots[slot as usize] = Some(event);
        self.heap.push(Reverse((at, self.planned, slot)));
        self.planned += 1;
    }

    /// Takes the next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.slots[slot as usize].take().map(|event| (at, event))
    }
}
