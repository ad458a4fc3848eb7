//! Which transactions are over here. A message that comes late, or twice, must not open one again: a Prepare would be voted
//! for anew, a Try would reserve what nobody cancels any more.
//!
//! In place of rows that are kept for a time which must be longer than any retry, memory is bounded by numbers: of each
//! coordinator the outcomes of the newest [`FINISHED_MAX`] are kept, and of older ones that everything up to a number is over.
//! A transaction so far behind that was never heard of here counts as over too: it is voted against, and aborts.

use alloc::collections::BTreeMap;

use hezong_base::NodeId;

use crate::{Outcome, TransactionId};

/// Of how many finished transactions of a coordinator the outcome is kept.
pub const FINISHED_MAX: usize = 1_024;

/// What is known of a transaction that is not under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Nothing: it may yet come.
    Open,
    /// It is over, and ended so.
    Finished(Outcome),
    /// It is over, or comes too late.
    Forgotten,
}

/// What is over of one coordinator's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Fence {
    /// Everything up to this number is over, unless it is still under way.
    forgotten: Option<u64>,
    /// What ended, above that.
    finished: BTreeMap<u64, Outcome>,
}

/// What is over, of all coordinators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fences(BTreeMap<NodeId, Fence>);

impl Fences {
    /// A transaction has ended. Its outcome, once known, never changes.
    pub fn insert(&mut self, tx: TransactionId, outcome: Outcome) {
        let fence = self.0.entry(tx.coordinator).or_default();
        if Some(tx.number) <= fence.forgotten {
            return;
        }
        fence.finished.entry(tx.number).or_insert(outcome);
        if fence.finished.len() > FINISHED_MAX {
            fence.forgotten = fence.finished.pop_first().map(|(number, _)| number);
        }
    }

    /// How a transaction ended, while that is known.
    #[must_use]
    pub fn outcome(&self, tx: TransactionId) -> Option<Outcome> {
        match self.find(tx) {
            Fenced::Finished(outcome) => Some(outcome),
            Fenced::Open | Fenced::Forgotten => None,
        }
    }

    /// What is known of a transaction that is not under way.
    #[must_use]
    pub fn find(&self, tx: TransactionId) -> Fenced {
        let Some(fence) = self.0.get(&tx.coordinator) else { return Fenced::Open };
        match fence.finished.get(&tx.number) {
            Some(outcome) => Fenced::Finished(*outcome),
            None if Some(tx.number) <= fence.forgotten => Fenced::Forgotten,
            None => Fenced::Open,
        }
    }
}
