//! Durability: a node that starts finds every write that was reported as stored, and of those that were not, a first part
//! in the order in which they were issued. It holds the log on disk to its word, not Raft.

use hezong_base::NodeId;

use super::Violation;
use super::shadow::{Recovered, Step};

const PROPERTY: &str = "durability";

/// Compares what a disk gave back with everything it may give back.
pub(super) fn check(
    node: NodeId,
    mut allowed: Recovered,
    pending: impl Iterator<Item = Step>,
    found: &Recovered,
) -> Result<(), Violation> {
    let mut equal = same(&allowed, found);
    let stored = allowed.log.len();
    for step in pending {
        if equal {
            break;
        }
        allowed.fold(&step);
        equal = same(&allowed, found);
    }
    if equal {
        return Ok(());
    }
    Err(Violation::new(
        PROPERTY,
        format!(
            "{node} had stored {stored} entries and found {}, in {} with a vote for {:?}",
            found.log.len(),
            found.term,
            found.vote
        ),
    ))
}

fn same(allowed: &Recovered, found: &Recovered) -> bool {
    allowed.term == found.term && allowed.vote == found.vote && allowed.base == found.base && allowed.log == found.log
}
