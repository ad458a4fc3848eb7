//! Monotonic session reads, and reading one's own writes (Terry et al., "Session guarantees", 1994): a client that names what it
//! has seen never reads a state from before that, through whichever node and at whichever level it reads.
//!
//! What is seen is told at the end of a run, behind the verdict on linearizability: an old read that breaks both is first of all
//! that, and the history up to the end tells it with its window.

use std::collections::BTreeMap;

use hezong_base::{Index, NodeId};

use super::Violation;

/// What each client has seen.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    seen: BTreeMap<usize, Index>,
    /// The first read that went back.
    broken: Option<Violation>,
}

impl Sessions {
    /// `client` was told that its write is the entry at `index`.
    pub(super) fn on_written(&mut self, client: usize, index: Index) {
        let seen = self.seen.entry(client).or_insert(index);
        *seen = index.max(*seen);
    }

    /// `client` reads a state of `node`, as of `at`.
    pub(super) fn on_read(&mut self, client: usize, node: NodeId, at: Option<Index>) {
        let seen = self.seen.get(&client).copied();
        if at < seen {
            let detail = format!("client {client} reads as of {at:?} from {node}, and has seen {seen:?}");
            self.broken.get_or_insert_with(|| Violation::new("monotonic session reads", detail));
        } else if let Some(at) = at {
            self.seen.insert(client, at);
        }
    }

    /// Whether no read went back.
    pub(super) fn verdict(&self) -> Result<(), Violation> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}
