//! What is applied is stored: `Committed` is at most what the node holds on its own disk (the contract's rule), or a
//! majority that restarts together could forget what a client was told.

use hezong_base::{Index, NodeId};

use super::Violation;
use super::shadow::Shadow;

/// `node` applies the entry at `index`.
pub(super) fn check(node: NodeId, index: Index, shadow: &Shadow) -> Result<(), Violation> {
    if shadow.stored_at(index).is_some() && shadow.stored_at(index) == shadow.at(index) {
        return Ok(());
    }
    Err(Violation::new("applied is stored", format!("{node} applies {} and has not stored it", index.0)))
}
