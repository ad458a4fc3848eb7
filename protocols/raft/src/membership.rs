//! Who takes part: voters, learners and where they are reached. Changed one voter at a time (§4.1 of Ongaro's
//! dissertation), or several at once through a joint membership (§6 of the paper, §4.3 of the dissertation).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use hezong_base::{NodeId, quorum};

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

/// What a program knows how to say, to write and to read back: a number that rises with every change an older program
/// could not follow. Programs of two consecutive versions run in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u8);

impl Default for Version {
    /// The first one, which every program knows.
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// No group takes in so many; a number beyond it must not make the next one overflow.
const ID_MAX: NodeId = NodeId(u64::MAX / 2);

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
    /// While the membership is joint, those who counted before and count still: every decision needs a majority of these
    /// as well. Empty otherwise.
    outgoing: BTreeSet<NodeId>,
    /// Everybody: voters, and learners that receive the log without a say.
    members: BTreeMap<NodeId, Member>,
    /// The largest id ever given in this group; none is ever given twice. `None` before the first.
    last_id: Option<NodeId>,
    /// What all members knew when this was last agreed on: commands of it may be used. At least `used`; it falls again
    /// when a member goes back to an older program.
    version: Version,
    /// What may lie in the log from here on: whoever does not know it must not be given anything. Never falls.
    used: Version,
}

/// One step of membership. A step that changes the voters by one is taken at once, since any majority before it meets any
/// after it; one that changes more of them goes through a joint membership, which the leader leaves by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Takes a new node in as a learner under the next free id, which is reported by the committed membership.
    Add(Member),
    /// Lets a learner vote.
    Promote(NodeId),
    /// Lets a member go; its id is never used again.
    Remove(NodeId),
    /// Lets these learners vote and those members go, all at once.
    Several {
        /// Who is to vote.
        promote: BTreeSet<NodeId>,
        /// Who is to go.
        remove: BTreeSet<NodeId>,
    },
    /// All members know this version now, or one of them knows no newer one any more.
    Agree(Version),
    /// What only programs of this version know is about to be written.
    Use(Version),
}

impl Change {
    /// Who votes by it that does not yet.
    pub(crate) fn promoted(&self) -> impl Iterator<Item = NodeId> {
        let (one, several) = match self {
            Self::Promote(id) => (Some(*id), None),
            Self::Several { promote, .. } => (None, Some(promote)),
            Self::Add(_) | Self::Remove(_) | Self::Agree(_) | Self::Use(_) => (None, None),
        };
        one.into_iter().chain(several.into_iter().flatten().copied())
    }
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
    /// It is to be promoted and removed at once.
    Both(NodeId),
    /// The membership is joint: the change before this one is not over.
    Joint,
    /// Of those who would vote then, too few are reachable, and nothing could be decided any more. Bring more of them back,
    /// or let the unreachable ones go first.
    NoMajority {
        /// How many would vote.
        voters: usize,
        /// How many of these were heard within an election timeout.
        reachable: usize,
    },
    /// It has not caught up yet, and could only slow down decisions as a voter. Wait.
    Behind {
        /// Who.
        id: NodeId,
        /// How many entries it holds, as far as is known.
        holds: u64,
        /// How many there are.
        of: u64,
    },
    /// Members have not agreed on this version yet.
    NotAgreed {
        /// Which one is to be used.
        needed: Version,
        /// On which they have.
        agreed: Version,
    },
    /// This version is in use, so members cannot go back behind it.
    InUse(Version),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(id) => write!(f, "name or address already belongs to member {}", id.0),
            Self::Unknown(id) => write!(f, "no member has the id {}", id.0),
            Self::Votes(id) => write!(f, "member {} is a voter already", id.0),
            Self::LastVoter(id) => write!(f, "member {} is the last voter and cannot be removed", id.0),
            Self::Both(id) => write!(f, "member {} is to be promoted and removed at once; choose", id.0),
            Self::Joint => f.write_str("another membership change is not over yet"),
            Self::NoMajority { voters, reachable } => {
                let needed = quorum::majority(*voters);
                write!(
                    f,
                    "{voters} voters would be left, {reachable} of them reachable, and {needed} are needed for a majority; \
                     bring others back first, or remove those that cannot be reached"
                )
            }
            Self::Behind { id, holds, of } => {
                write!(f, "member {} is still catching up, it holds {holds} of {of} entries; try again later", id.0)
            }
            Self::NotAgreed { needed, agreed } => {
                write!(
                    f,
                    "cluster version {needed} is needed, and the cluster is at {agreed}; upgrade all of its members"
                )
            }
            Self::InUse(used) => write!(f, "cluster version {used} is in use and cannot be left any more"),
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
        let (version, used) = (Version::default(), Version::default());
        Self(Arc::new(Inner { voters, outgoing: BTreeSet::new(), members, last_id, version, used }))
    }

    /// The same with what was agreed on and what was used, as found in a message or on disk.
    #[must_use]
    pub fn with_versions(mut self, version: Version, used: Version) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        (inner.version, inner.used) = (version.max(used), used);
        self
    }

    /// The same while these count as well, until the change that replaces them is over. Those that are no members are
    /// dropped.
    #[must_use]
    pub fn with_outgoing(mut self, outgoing: BTreeSet<NodeId>) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.outgoing = outgoing.into_iter().filter(|id| inner.members.contains_key(id)).collect();
        self
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
        if self.is_joint() {
            return Err(ChangeError::Joint);
        }
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
            Change::Several { promote, remove } => next = self.several(promote, remove)?,
            Change::Agree(version) if *version < next.used => return Err(ChangeError::InUse(next.used)),
            Change::Agree(version) => next.version = *version,
            Change::Use(needed) if *needed > next.version => {
                return Err(ChangeError::NotAgreed { needed: *needed, agreed: next.version });
            }
            Change::Use(version) => next.used = next.used.max(*version),
        }
        Ok(Self(Arc::new(next)))
    }

    fn several(&self, promote: &BTreeSet<NodeId>, remove: &BTreeSet<NodeId>) -> Result<Inner, ChangeError> {
        let mut next = Inner::clone(&self.0);
        if let Some(id) = promote.intersection(remove).next() {
            return Err(ChangeError::Both(*id));
        }
        for id in promote.union(remove) {
            if !self.0.members.contains_key(id) {
                return Err(ChangeError::Unknown(*id));
            }
        }
        if let Some(id) = promote.iter().find(|id| self.0.voters.contains(id)) {
            return Err(ChangeError::Votes(*id));
        }
        next.voters = self.0.voters.union(promote).filter(|id| !remove.contains(id)).copied().collect();
        if let Some(id) = remove.first().filter(|_| next.voters.is_empty()) {
            return Err(ChangeError::LastVoter(*id));
        }
        if self.0.voters.symmetric_difference(&next.voters).count() > 1 {
            next.outgoing.clone_from(&self.0.voters);
        }
        // Who counts until the joint membership is left takes part until then.
        next.members.retain(|id, _| !remove.contains(id) || next.outgoing.contains(id));
        Ok(next)
    }

    /// The members once a joint membership is left; `None` unless it is joint.
    #[must_use]
    pub fn left(&self) -> Option<Self> {
        if !self.is_joint() {
            return None;
        }
        let mut next = Inner::clone(&self.0);
        let outgoing = core::mem::take(&mut next.outgoing);
        next.members.retain(|id, _| next.voters.contains(id) || !outgoing.contains(id));
        Some(Self(Arc::new(next)))
    }

    /// Those whose votes and acknowledgements count.
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.0.voters
    }

    /// While the membership is joint, those who counted before and count still; empty otherwise.
    #[must_use]
    pub fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.0.outgoing
    }

    /// Whether a change of several voters is half done: every decision needs a majority of [`Self::voters`] and one of
    /// [`Self::outgoing`].
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.0.outgoing.is_empty()
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

    /// Whether every number in it can have been given: there is always one after it.
    pub(crate) fn is_possible(&self) -> bool {
        self.0.last_id <= Some(ID_MAX)
    }

    /// The version that all members have agreed on: what it brings may be used.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The version whose commands may lie in the log: every member must know it.
    #[must_use]
    pub fn used(&self) -> Version {
        self.0.used
    }

    /// Whether `id` votes, in either set while the membership is joint.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.0.voters.contains(&id) || self.0.outgoing.contains(&id)
    }

    /// Whether `id` was a member once and is none any more. Ids are given in order and never twice, so the largest tells.
    #[must_use]
    pub fn has_left(&self, id: NodeId) -> bool {
        self.0.last_id >= Some(id) && !self.0.members.contains_key(&id)
    }

    /// What it counts against limits in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.members.values().map(|m| m.name.len() + m.peer.len() + m.client.len() + 32).sum()
    }
}
