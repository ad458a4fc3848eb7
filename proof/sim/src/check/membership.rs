//! Majorities meet: of two memberships that follow each other in a log, any majority that decides by the one meets any that
//! decides by the other. That is so when they differ by one voter at most (§4.1 of the dissertation), and around a joint
//! membership, which needs a majority of what was before it and one of what comes after it (§4.3).

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
    let fault = match before {
        Some(before) => fault(before, after),
        None => None,
    };
    match fault {
        None => Ok(Some(after)),
        Some(fault) => Err(Violation::new("majorities meet", format!("{node} appends {}, which {fault}", entry.id))),
    }
}

fn fault(before: &Membership, after: &Membership) -> Option<String> {
    match (before.is_joint(), after.is_joint()) {
        (false, false) => {
            let changed = before.voters().symmetric_difference(after.voters()).count();
            (changed > 1).then(|| format!("changes {changed} voters at once"))
        }
        (false, true) => (before.voters() != after.outgoing()).then(|| "forgets who voted before".to_owned()),
        (true, false) => (before.voters() != after.voters()).then(|| "ends in others than were agreed on".to_owned()),
        (true, true) => Some("follows a joint one that was not left".to_owned()),
    }
}
