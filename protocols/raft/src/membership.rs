//! Who takes part: voters, learners and where they are reached. Changed one server at a time (§4.1 of Ongaro's
//! dissertation); joint consensus will add the outgoing set here.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use hezong_base::NodeId;

/// How a member is called and reached. Raft itself reads none of this; it travels with the membership so that every
/// node can dial every other, and send clients to the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The label a person gave it, as `node01`.
    pub name: String,
    /// Where other nodes reach it, as `host1:8089`.
    pub peer: String,
    /// Where clients reach it, as `host1:8091`.
    pub client: String,
}

/// The members of a group as of one place in its log.
///
/// One pointer wide: it lies inside every entry's payload, and an entry should not pay for what one in a million is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership(Arc<Inner>);

/// What the pointer points at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Inner {
    /// Those whose votes and acknowledgements count.
    voters: BTreeSet<NodeId>,
    /// Everybody: voters, and learners that receive the log without a say.
    members: BTreeMap<NodeId, Member>,
    /// The largest id ever given in this group; none is ever given twice. `None` before the first.
    last_id: Option<NodeId>,
}

/// One step of membership. A step changes the voters by at most one, so that any majority before it meets any after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Takes a new node in as a learner under the next free id, which is reported by the committed membership.
    Add(Member),
    /// Lets a learner vote.
    Promote(NodeId),
    /// Lets a member go; its id is never used again.
    Remove(NodeId),
}

/// Why a step cannot be taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// A member with this name or one of these addresses is there already; remove it first.
    Taken(NodeId),
    /// No member has this id.
    Unknown(NodeId),
    /// It votes already.
    Votes(NodeId),
    /// It is the last voter; a group without one could never decide anything again.
    LastVoter(NodeId),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(id) => write!(f, "name or address already belongs to member {}", id.0),
            Self::Unknown(id) => write!(f, "no member has the id {}", id.0),
            Self::Votes(id) => write!(f, "member {} is a voter already", id.0),
            Self::LastVoter(id) => write!(f, "member {} is the last voter and cannot be removed", id.0),
        }
    }
}

impl core::error::Error for ChangeError {}

impl Membership {
    /// Members as found in a message or on disk. Voters that are no members are dropped.
    #[must_use]
    pub fn new(voters: BTreeSet<NodeId>, members: BTreeMap<NodeId, Member>, last_id: Option<NodeId>) -> Self {
        let last_id = last_id.max(members.keys().next_back().copied());
        let voters = voters.into_iter().filter(|id| members.contains_key(id)).collect();
        Self(Arc::new(Inner { voters, members, last_id }))
    }

    /// A first membership in which everybody votes.
    #[must_use]
    pub fn of_voters(members: impl IntoIterator<Item = (NodeId, Member)>) -> Self {
        let members: BTreeMap<_, _> = members.into_iter().collect();
        Self::new(members.keys().copied().collect(), members, None)
    }

    /// Takes one step.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands in the way; `self` is unchanged.
    pub fn change(&self, change: &Change) -> Result<Self, ChangeError> {
        let mut next = Inner::clone(&self.0);
        match change {
            Change::Add(new) => {
                let clash = |m: &Member| m.name == new.name || m.peer == new.peer || m.client == new.client;
                if let Some((id, _)) = self.0.members.iter().find(|(_, member)| clash(member)) {
                    return Err(ChangeError::Taken(*id));
                }
                let id = self.0.last_id.map_or(NodeId(1), NodeId::next);
                next.members.insert(id, new.clone());
                next.last_id = Some(id);
            }
            Change::Promote(id) => {
                if !self.0.members.contains_key(id) {
                    return Err(ChangeError::Unknown(*id));
                }
                if !next.voters.insert(*id) {
                    return Err(ChangeError::Votes(*id));
                }
            }
            Change::Remove(id) => {
                if next.members.remove(id).is_none() {
                    return Err(ChangeError::Unknown(*id));
                }
                if next.voters.remove(id) && next.voters.is_empty() {
                    return Err(ChangeError::LastVoter(*id));
                }
            }
        }
        Ok(Self(Arc::new(next)))
    }

    /// Those whose votes and acknowledgements count.
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.0.voters
    }

    /// Everybody, learners too.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.0.members
    }

    /// The largest id ever given.
    #[must_use]
    pub fn last_id(&self) -> Option<NodeId> {
        self.0.last_id
    }

    /// Whether `id` votes.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.0.voters.contains(&id)
    }

    /// What it counts against limits in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.members.values().map(|m| m.name.len() + m.peer.len() + m.client.len() + 32).sum()
    }
}
