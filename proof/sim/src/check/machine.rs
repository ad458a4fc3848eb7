//! State-machine safety (§5.4.3): nobody applies another entry at an index where somebody has applied one; and every
//! state machine gets every entry, in order, once.

use std::collections::BTreeMap;

use hezong_base::{Index, NodeId};
use hezong_raft::{Entry, Membership, Payload};

use super::shadow::slot;
use super::{Slot, Violation};

const PROPERTY: &str = "state-machine safety";

/// What was applied.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    /// By anybody.
    applied: Vec<Slot>,
    /// The last one of each node.
    last: BTreeMap<NodeId, Index>,
    /// As of the last entry applied by anybody.
    membership: Option<Membership>,
}

impl Applications {
    /// A new life's state machine has yet to say what it holds.
    pub(super) fn on_start(&mut self, node: NodeId) {
        self.last.remove(&node);
    }

    /// The state of `node` covers everything up to `applied`.
    pub(super) fn on_state(&mut self, node: NodeId, applied: Option<Index>) {
        if let Some(applied) = applied {
            self.last.insert(node, applied);
        }
    }

    /// `node` applies `entry`.
    pub(super) fn on_apply(&mut self, node: NodeId, entry: &Entry) -> Result<(), Violation> {
        let index = entry.id.index;
        let wanted = Index::after(self.last.insert(node, index));
        if index != wanted {
            let detail = format!("{node} applies {} where {} is next", index.0, wanted.0);
            return Err(Violation::new(PROPERTY, detail));
        }
        let slot = slot(entry);
        let offset = usize::try_from(index.0 - 1).expect("a simulated log is short");
        match self.applied.get(offset) {
            None => {
                self.applied.push(slot);
                if let Payload::Membership(membership) = &entry.payload {
                    self.membership = Some(membership.clone());
                }
                Ok(())
            }
            Some(applied) if *applied == slot => Ok(()),
            Some(applied) => {
                let detail = format!("{node} applies {}, somebody applied one of {}", entry.id, applied.term);
                Err(Violation::new(PROPERTY, detail))
            }
        }
    }

    /// The members as of the last entry that anybody has applied.
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// How many entries were applied by somebody.
    pub(super) fn count(&self) -> u64 {
        self.applied.len() as u64
    }
}
