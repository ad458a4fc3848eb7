//! One step at a time (§4.1 of the dissertation): two memberships that follow each other in a log differ by one voter at
//! most, so that any majority of the one meets any of the other.

use hezong_base::NodeId;
use hezong_raft::{Entry, Membership, Payload};

use super::Violation;

/// `node` appends `entry` to a log whose members so far are `before`; `None` while its log has told it of none. Returns the
/// members from there on.
pub(super) fn check<'a>(
    node: NodeId,
    before: Option<&'a Membership>,
    entry: &'a Entry,
) -> Result<Option<&'a Membership>, Violation> {
    let Payload::Membership(after) = &entry.payload else { return Ok(before) };
    let changed = before.map_or(0, |before| before.voters().symmetric_difference(after.voters()).count());
    if changed <= 1 {
        return Ok(Some(after));
    }
    let detail = format!("{node} appends {}, which changes {changed} voters at once", entry.id);
    Err(Violation::new("one step at a time", detail))
}
