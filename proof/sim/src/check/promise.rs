//! Promises rest on what is stored (the contract's parking rule; §5.2, figure 2 "persistent state"): a vote, a request for
//! votes and an acknowledgement must outlive a crash of the node that gave them. And a node votes once a term.

use std::collections::BTreeMap;

use hezong_base::{NodeId, Term};
use hezong_raft::{Body, Message};

use super::Violation;
use super::shadow::Shadow;

/// Which votes were given.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    votes: BTreeMap<(NodeId, Term), NodeId>,
}

impl Promises {
    /// `node` sends `message` to `to`.
    pub(super) fn on_send(
        &mut self,
        node: NodeId,
        to: NodeId,
        message: &Message,
        shadow: &Shadow,
    ) -> Result<(), Violation> {
        let (term, vote) = shadow.stored_vote();
        match &message.body {
            Body::Vote { granted: true } => {
                let first = *self.votes.entry((node, message.term)).or_insert(to);
                if first != to {
                    let detail = format!("{node} votes for {first} and {to} in {}", message.term);
                    return Err(Violation::new("one vote a term", detail));
                }
                // A node in a later term will not give this vote again, whatever it has forgotten of the earlier one.
                if term < message.term || (term == message.term && vote != Some(to)) {
                    let detail = format!("{node} votes for {to} in {} with {term} and {vote:?} stored", message.term);
                    return Err(Violation::new("promises are stored", detail));
                }
            }
            Body::RequestVote { .. } | Body::Heartbeat { .. } | Body::Append { .. } | Body::TimeoutNow => {
                if term < message.term {
                    let detail = format!("{node} acts in {} with {term} stored", message.term);
                    return Err(Violation::new("promises are stored", detail));
                }
            }
            Body::Appended { matched: Some(matched) } => {
                // A node that has moved on to a later term may have dropped since what it acknowledged in this one. As
                // long as it has not, what is on its disk there must be what its log has there.
                let stored = shadow.stored_at(*matched);
                // What was compacted was committed, and stands on disk as long as the compaction itself does not.
                if shadow.has_stored_base(*matched) || (shadow.covers(*matched) && stored.is_some()) {
                    return Ok(());
                }
                if shadow.term() <= message.term && (stored.is_none() || stored != shadow.at(*matched)) {
                    let detail = format!("{node} acknowledges {} and has not stored it", matched.0);
                    return Err(Violation::new("promises are stored", detail));
                }
            }
            Body::RequestPreVote { .. }
            | Body::PreVote { .. }
            | Body::Vote { granted: false }
            | Body::Appended { matched: None }
            | Body::Diverged { .. }
            | Body::LogLost { .. }
            | Body::LogLostAck { .. }
            | Body::InstallSnapshot { .. }
            | Body::SnapshotInstalled { .. }
            | Body::RequestSnapshot
            | Body::HeartbeatAck { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexAck { .. } => {}
        }
        Ok(())
    }
}
