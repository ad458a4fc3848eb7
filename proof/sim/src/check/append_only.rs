//! Leader append-only (§5.3): a leader never overwrites or removes entries of its log.

use std::collections::BTreeMap;

use hezong_base::{Index, NodeId, Term};

use super::Violation;

/// Who believes to lead, and in which term.
#[derive(Debug, Default)]
pub(crate) struct AppendOnly {
    leading: BTreeMap<NodeId, Term>,
}

impl AppendOnly {
    /// `node` leads from now on, until something shows that it does not.
    pub(super) fn on_lead(&mut self, node: NodeId, term: Term) {
        self.leading.insert(node, term);
    }

    /// A new life leads nothing.
    pub(super) fn on_start(&mut self, node: NodeId) {
        self.leading.remove(&node);
    }

    /// `node` is in `term` now; a leader of an earlier one leads no more.
    pub(super) fn on_term(&mut self, node: NodeId, term: Term) {
        if self.leading.get(&node).is_some_and(|led| *led < term) {
            self.leading.remove(&node);
        }
    }

    /// `node` removes entries.
    pub(super) fn on_truncate(&mut self, node: NodeId, from: Index) -> Result<(), Violation> {
        match self.leading.get(&node) {
            None => Ok(()),
            Some(term) => {
                let detail = format!("{node} leads {term} and removes its entries from {} on", from.0);
                Err(Violation::new("leader append-only", detail))
            }
        }
    }
}
