//! Leader completeness (§5.4): an entry committed in a term is in the log of every leader of a later term.
//!
//! By log matching it is enough that a new leader holds the last entry committed in any earlier term. An entry counts as
//! committed as soon as a leader says so to a follower, or anybody applies it.

use hezong_base::{Index, LogId, NodeId, Term};

use super::shadow::Shadow;
use super::{Slot, Violation};

/// What was committed, and in which term at the latest.
#[derive(Debug, Default)]
pub(crate) struct Completeness {
    committed: Vec<(Slot, Term)>,
}

impl Completeness {
    /// `node`, in `term`, shows that everything up to `through` of its log is committed.
    pub(super) fn on_commit(
        &mut self,
        node: NodeId,
        term: Term,
        through: Index,
        shadow: &Shadow,
    ) -> Result<(), Violation> {
        let known = self.committed.len() as u64;
        // One probe of the last entry stands for all before it, by log matching.
        for index in (known + 1..=through.0).chain((through.0 <= known).then_some(through.0)) {
            // What a log stands on was committed, and seen to be, before anybody compacted it.
            if shadow.covers(Index(index)) && index <= known {
                continue;
            }
            let Some(slot) = shadow.at(Index(index)) else {
                let detail = format!("{node} says {index} is committed and does not hold it");
                return Err(Violation::new("leader completeness", detail));
            };
            let offset = usize::try_from(index - 1).expect("a simulated log is short");
            match self.committed.get(offset) {
                None => self.committed.push((slot, term)),
                Some((committed, _)) if *committed == slot => {}
                Some((committed, in_term)) => {
                    let (held, other) = (LogId::new(slot.term.0, index), LogId::new(committed.term.0, index));
                    let detail =
                        format!("{node} in {term} has committed {held}, but {other} was committed in {in_term}");
                    return Err(Violation::new("leader completeness", detail));
                }
            }
        }
        Ok(())
    }

    /// `node` begins to lead `term`.
    pub(super) fn on_lead(&self, node: NodeId, term: Term, shadow: &Shadow) -> Result<(), Violation> {
        let mut committed = self.committed.iter().enumerate().rev();
        let Some((offset, (slot, in_term))) = committed.find(|(_, (_, in_term))| *in_term < term) else {
            return Ok(());
        };
        let index = Index(offset as u64 + 1);
        let stands_on =
            shadow.base().is_some_and(|base| index < base.index || base == LogId { term: slot.term, index });
        if shadow.at(index) == Some(*slot) || stands_on {
            return Ok(());
        }
        let committed = LogId { term: slot.term, index };
        let detail = format!("{node} leads {term} without {committed}, committed in {in_term}");
        Err(Violation::new("leader completeness", detail))
    }
}
