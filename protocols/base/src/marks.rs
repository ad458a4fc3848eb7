//! Marks in rare branches: what the simulator reached. Compiled only with the feature `marks`, which the simulator alone asks
//! for; everywhere else [`sometimes!`](crate::sometimes) is nothing at all.
//!
//! A run that found nothing wrong has shown nothing about branches that it never took. Those that matter carry a mark; the
//! simulator's table (`proof/sim/src/marks.rs`) says which there are, and a long run fails if one was not reached.
//!
//! The record belongs to the thread, since a run has one and a core that is handed nowhere to write it down must not be
//! changed for the sake of being watched. Nothing reads it but the proof, so that no protocol can depend on it. It is the one
//! place below `protocols/` that names `std`; tidy knows it by this file's name, and makes sure that no shipped program has the
//! feature.

extern crate std;

use alloc::collections::BTreeMap;
use core::cell::RefCell;

std::thread_local! {
    /// How often each mark was reached on this thread since the last [`take`].
    static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// A branch was taken.
pub fn reach(mark: &'static str) {
    REACHED.with_borrow_mut(|reached| *reached.entry(mark).or_default() += 1);
}

/// What was reached on this thread since the last time, and how often. It is forgotten.
#[must_use]
pub fn take() -> BTreeMap<&'static str, u64> {
    REACHED.take()
}
