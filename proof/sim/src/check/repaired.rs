//! A repaired log is right, or says what it lacks (`hezong-wal`'s `repair.rs`): the last term and vote are there; every entry is
//! one that stands behind the one before it in some log; and either nothing is missing, or what is owed is no less than what the
//! log ended with.

use hezong_base::{Index, LogId, NodeId};

use super::Violation;
use super::matching::Matching;
use super::shadow::Recovered;

const PROPERTY: &str = "a repaired log is whole or owes";

/// What was there before the damage, and what is there after the repair.
#[derive(Debug)]
pub(super) struct Repair<'a> {
    pub(super) before: &'a Recovered,
    pub(super) after: &'a Recovered,
    /// What the repaired log owes.
    pub(super) owed: Option<LogId>,
    /// The last entry that the state machine has applied, durably.
    pub(super) applied: Option<LogId>,
}

impl Repair<'_> {
    pub(super) fn check(&self, node: NodeId, matching: &Matching) -> Result<(), Violation> {
        let Self { before, after, owed, applied } = self;
        let wrong = |what: &str| {
            let (had, has) = (before.last(), after.last());
            let detail = format!("{node} {what}: its log ended with {had:?}, and has {has:?} and owes {owed:?} now");
            Err(Violation::new(PROPERTY, detail))
        };
        if (before.term, before.vote) != (after.term, after.vote) {
            return wrong("forgot its term or its vote");
        }
        if after.base != before.base && after.base != *applied {
            return wrong("stands on what was never applied");
        }
        let mut last = after.base;
        for slot in &after.log {
            let index = Index::after(last.map(|last| last.index));
            let id = LogId { term: slot.term, index };
            if !matching.knows(last, id, slot.digest) {
                return wrong("holds what nobody ever had");
            }
            if owed.is_none() && before.at(index) != Some(*slot) {
                return wrong("holds another entry than it had");
            }
            last = Some(id);
        }
        let is_whole = after.last() == before.last().max(*applied);
        if !is_whole && *owed < before.last() {
            return wrong("lacks entries and does not say so");
        }
        Ok(())
    }
}
