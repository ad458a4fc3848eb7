//! Election safety (§5.2): at most one leader a term. Whoever sends appends or heartbeats of a term leads it.

use std::collections::BTreeMap;

use hezong_base::{NodeId, Term};

use super::Violation;

/// Who led which term.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    leaders: BTreeMap<Term, NodeId>,
    /// The last one seen: nearly every message comes from the same leader.
    recent: Option<(Term, NodeId)>,
}

impl Elections {
    /// `node` acts as the leader of `term`. True when it is the first time.
    pub(super) fn on_lead(&mut self, node: NodeId, term: Term) -> Result<bool, Violation> {
        if self.recent == Some((term, node)) {
            return Ok(false);
        }
        self.recent = Some((term, node));
        match self.leaders.insert(term, node) {
            None => Ok(true),
            Some(leader) if leader == node => Ok(false),
            Some(leader) => Err(Violation::new("election safety", format!("{leader} and {node} both lead {term}"))),
        }
    }

    /// Whoever led the latest term.
    pub(super) fn latest(&self) -> Option<NodeId> {
        self.leaders.last_key_value().map(|(_, node)| *node)
    }

    /// How many terms had a leader.
    pub(super) fn count(&self) -> u64 {
        self.leaders.len() as u64
    }
}
