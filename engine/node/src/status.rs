//! How a group and a node stand: for `status`, metrics and tests.

use std::collections::BTreeMap;

use hezong_base::{GroupId, Index, LogId, NodeId};
use hezong_raft::{Member, Role, Status, Version};

use crate::{Leader, Refused};

/// How one group stands on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// How its Raft stands: role, term, leader, log, members, progress of each.
    pub raft: Status,
    /// Whom to send to who wants the leader; `None` while it has not been heard for half an election timeout.
    pub leader: Option<Leader>,
    /// The last entry applied here.
    pub applied: Option<LogId>,
    /// The last entry whose effect would be found again after a crash.
    pub durable: Option<LogId>,
    /// Entries handed to the state machine and not yet applied.
    pub apply_pending: u64,
    /// Whether the state machine waits for entries from disk, because it lags behind what memory holds.
    pub apply_reading: bool,
    /// Whether the state machine is persisting.
    pub persisting: bool,
    /// Proposals and membership steps accepted into the log whose outcome is open.
    pub accepted: usize,
    /// Reads that wait for something to be applied.
    pub reads_waiting: usize,
    /// Snapshots held for members to fetch.
    pub snapshots_held: usize,
    /// Whether a snapshot is being fetched.
    pub snapshot_fetching: bool,
    /// Snapshots installed since the start.
    pub snapshots_installed: u64,
    /// Bytes of snapshots sent since the start.
    pub snapshot_bytes_sent: u64,
    /// Bytes of snapshots received since the start.
    pub snapshot_bytes_received: u64,
    /// Whether the state was lost and is being fetched: nothing can be read here.
    pub restoring: bool,
    /// Whether the disk is below its reserve, so that writes are refused.
    pub disk_full: bool,
    /// The newest version that each node was last heard to know, this one too. No more than this one knows itself.
    pub versions: BTreeMap<NodeId, Version>,
}

impl GroupStatus {
    /// On a leader: the number of a node that was taken in already and whose reply was lost, so that asking again does no
    /// harm. It is the same member in everything, and has never held an entry: one that has is a live member, or one that
    /// lost its disk, whose number must not be used again, since what it once acknowledged would be believed of an empty
    /// log. `None`: it is to be added.
    ///
    /// # Errors
    /// [`Refused::ChangePending`]: it is being taken in, ask again. Only a number that is committed may be told: a leader
    /// that falls takes an uncommitted member with it, and its successor gives the same number to somebody else. Two
    /// nodes of one number would vote twice.
    pub fn taken_in(&self, member: &Member) -> Result<Option<NodeId>, Refused> {
        taken_in(&self.raft, member)
    }

    /// Everything as text, under the names that hashicorp/raft's `Stats` uses where it has one: what dashboards and
    /// scripts written for it look for. Indices and terms that do not exist yet are 0 there, and so here.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let raft = &self.raft;
        let index = |index: Option<Index>| index.map_or(0, |index| index.0).to_string();
        let state = match raft.role {
            Role::Follower => "follower",
            Role::PreCandidate => "pre_candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        };
        let last_contact = match raft.last_contact {
            None => "never".to_owned(),
            Some(_) if raft.role == Role::Leader => "0".to_owned(),
            Some(span) => format!("{}ms", span.as_millis()),
        };
        let peers = raft.membership.voters().iter().filter(|id| **id != raft.id).count();
        vec![
            ("id", raft.id.0.to_string()),
            ("state", state.to_owned()),
            ("term", raft.term.0.to_string()),
            ("leader", raft.leader.map_or("none".to_owned(), |id| id.0.to_string())),
            ("last_log_index", index(raft.last.map(|id| id.index))),
            ("last_log_term", raft.last.map_or(0, |id| id.term.0).to_string()),
            ("stored_index", index(raft.stored)),
            ("commit_index", index(raft.committed)),
            ("applied_index", index(self.applied.map(|id| id.index))),
            ("durable_index", index(self.durable.map(|id| id.index))),
            ("fsm_pending", self.apply_pending.to_string()),
            ("last_snapshot_index", index(raft.base.map(|id| id.index))),
            ("last_snapshot_term", raft.base.map_or(0, |id| id.term.0).to_string()),
            ("latest_configuration", self.configuration()),
            ("latest_configuration_index", index(raft.membership_index)),
            ("latest_configuration_committed", raft.membership_committed.to_string()),
            ("last_contact", last_contact),
            ("lease_left", raft.lease.map_or("none".to_owned(), |span| format!("{}ms", span.as_millis()))),
            ("transferring_to", raft.transfer.map_or("none".to_owned(), |id| id.0.to_string())),
            ("num_peers", peers.to_string()),
            ("uncommitted_bytes", raft.uncommitted_bytes.to_string()),
            ("dropped", raft.dropped.to_string()),
        ]
    }

    /// The members as hashicorp/raft writes them.
    fn configuration(&self) -> String {
        let membership = &self.raft.membership;
        let suffrage = |id: NodeId| if membership.is_voter(id) { "Voter" } else { "Nonvoter" };
        let members = membership
            .members()
            .iter()
            .map(|(id, member)| format!("{{Suffrage:{} ID:{} Address:{}}}", suffrage(*id), member.name, member.peer));
        format!("[{}]", members.collect::<Vec<_>>().join(" "))
    }
}

/// Counts of one node since it started, over all groups. All but the last three only ever grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Turns: how often `flush` was called.
    pub turns: u64,
    /// Inputs handed in.
    pub inputs: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Messages received, of all groups.
    pub messages_received: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Messages sent, of all groups.
    pub messages_sent: u64,
    /// Write batches issued.
    pub batches: u64,
    /// Writes issued, of all groups.
    pub writes: u64,
    /// Commands that clients proposed, refused ones included.
    pub proposals: u64,
    /// Times that waiting commands were handed to a group, as one proposal each.
    pub proposal_batches: u64,
    /// Commands committed and applied for clients here.
    pub done: u64,
    /// Reads that clients asked for, refused ones included; barriers and leader checks too.
    pub reads: u64,
    /// Rounds of reads handed to a group: all that wait in a turn share one.
    pub read_batches: u64,
    /// Requests refused, by [`Refused::name`](crate::Refused::name).
    pub refused: BTreeMap<&'static str, u64>,
    /// Requests whose outcome is unknown.
    pub unknown: u64,
    /// Clients that went away while waiting.
    pub cancelled: u64,
    /// Batches of entries handed to state machines.
    pub apply_batches: u64,
    /// Entries handed to state machines.
    pub apply_entries: u64,
    /// Times that entries to apply had to be read from disk.
    pub apply_reads: u64,
    /// Messages of peers that were nonsense, or for groups this node does not have.
    pub dropped: u64,
    /// The most commands ever handed to a group as one proposal.
    pub proposal_batch_max: u64,
    /// Clients waiting now.
    pub waiting: usize,
    /// Groups open now.
    pub groups: usize,
}

fn taken_in(raft: &Status, member: &Member) -> Result<Option<NodeId>, Refused> {
    let Some((id, _)) = raft.membership.members().iter().find(|(_, other)| *other == member) else { return Ok(None) };
    let Some(progress) = raft.progress.iter().find(|(other, ..)| other == id) else { return Ok(None) };
    if raft.membership.is_voter(*id) || progress.1.is_some() {
        return Ok(None);
    }
    if raft.membership_committed { Ok(Some(*id)) } else { Err(Refused::ChangePending) }
}

#[cfg(test)]
mod tests {
    use hezong_base::Term;
    use hezong_raft::{Change, Membership};

    use super::*;

    /// A leader, node 1, that is taking `member` in as node 2.
    fn leader_taking_in(member: &Member) -> Status {
        let founder = Member { name: "node01".into(), peer: "host1:8089".into(), client: "host1:8091".into() };
        let founded = Membership::of_voters([(NodeId(1), founder)]);
        Status {
            id: NodeId(1),
            role: Role::Leader,
            term: Term(1),
            vote: Some(NodeId(1)),
            leader: Some(NodeId(1)),
            last: None,
            base: None,
            committed: None,
            stored: None,
            applied: None,
            membership: founded.change(&Change::Add(member.clone())).unwrap(),
            membership_index: Some(Index(2)),
            membership_committed: false,
            last_contact: None,
            state_lost: false,
            installing: false,
            lease: None,
            transfer: None,
            silent: Vec::new(),
            progress: vec![(NodeId(2), None, None)],
            uncommitted_bytes: 0,
            dropped: 0,
            asks: Vec::new(),
        }
    }

    #[test]
    fn taken_in_is_told_only_once_it_is_committed() {
        let member = Member { name: "node02".into(), peer: "host2:8089".into(), client: "host2:8091".into() };
        let mut leader = leader_taking_in(&member);
        assert_eq!(taken_in(&leader, &member), Err(Refused::ChangePending), "a new leader may give 2 to another");
        leader.membership_committed = true;
        assert_eq!(taken_in(&leader, &member), Ok(Some(NodeId(2))));
        let other = Member { peer: "host3:8089".into(), ..member.clone() };
        assert_eq!(taken_in(&leader, &other), Ok(None));
        leader.progress[0].1 = Some(Index(2));
        assert_eq!(taken_in(&leader, &member), Ok(None), "it has held entries; an empty disk must not take its number");
    }
}
