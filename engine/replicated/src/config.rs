//! What a node is told at birth.

use alloc::collections::BTreeSet;
use alloc::string::String;

use hezong_base::NodeId;
use hezong_raft::{Member, Membership};

/// Who stands for the coordinator, who takes part, time-outs and limits. All nodes should be given the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub id: NodeId,
    /// The id under which the members coordinate. No node has it.
    pub group: NodeId,
    /// Who stands for it.
    pub members: BTreeSet<NodeId>,
    /// Of the log that the members share.
    pub raft: hezong_raft::Config,
    /// Of the commit protocol: of a participant's own, and of the one that a member acts in. The nodes it knows are the
    /// participants and the group.
    pub commit: hezong_commit::Config,
    /// How many applied entries are kept for members that are behind, and how often the fold is written. Together with entries
    /// of some eight bytes a participant it must fit Raft's memory for the log's end, 4 MiB. Default 256.
    pub log_kept: u64,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<crate::Weakness>,
}

impl Config {
    /// Defaults for a node, which is a member if it is among `members` and takes part if not.
    #[must_use]
    pub fn new(id: NodeId, group: NodeId, members: BTreeSet<NodeId>, participants: BTreeSet<NodeId>) -> Self {
        let mut nodes = participants;
        nodes.insert(group);
        let speaks_as = if members.contains(&id) { group } else { id };
        Self {
            id,
            group,
            members,
            raft: hezong_raft::Config::new(id),
            commit: hezong_commit::Config::new(speaks_as, nodes),
            log_kept: 256,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }

    /// The members as the log knows them.
    pub(crate) fn membership(&self) -> Membership {
        // Nobody is dialled by what stands here: whoever runs the node knows where others are.
        let nowhere = || Member { name: String::new(), peer: String::new(), client: String::new() };
        Membership::of_voters(self.members.iter().map(|id| (*id, nowhere())))
    }

    /// Whether this node suffers from a known bug. Never in what ships.
    #[cfg(feature = "weakened")]
    pub(crate) fn weak(&self, weakness: crate::Weakness) -> bool {
        self.weakness == Some(weakness)
    }

    /// Whether this node suffers from a known bug: never.
    #[cfg(not(feature = "weakened"))]
    #[expect(clippy::unused_self, reason = "the weakened build asks its configuration")]
    pub(crate) const fn weak(&self, _: crate::Weakness) -> bool {
        false
    }
}
