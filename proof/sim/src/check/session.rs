//! Monotonic session reads, and reading one's own writes (Terry et al., "Session guarantees", 1994): a client that names what it
//! has seen never reads a state from before that, through whichever node and at whichever level it reads.

use std::collections::BTreeMap;

use hezong_base::{Index, NodeId};

use super::Violation;

/// What each client has seen.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<usize, Index>);

impl Sessions {
    /// `client` was told that its write is the entry at `index`.
    pub(super) fn on_written(&mut self, client: usize, index: Index) {
        let seen = self.0.entry(client).or_insert(index);
        *seen = index.max(*seen);
    }

    /// `client` reads a state of `node`, as of `at`.
    pub(super) fn on_read(&mut self, client: usize, node: NodeId, at: Option<Index>) -> Result<(), Violation> {
        let seen = self.0.get(&client).copied();
        if at < seen {
            let detail = format!("client {client} reads as of {at:?} from {node}, and has seen {seen:?}");
            return Err(Violation::new("monotonic session reads", detail));
        }
        if let Some(at) = at {
            self.0.insert(client, at);
        }
        Ok(())
    }
}
