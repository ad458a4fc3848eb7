//! How two nodes find out whether they may talk: the dialling one says [`Hello`], the other answers with [`Welcome`] or
//! a [`Refusal`]. Only then do messages flow.

use core::fmt;
use core::str::FromStr;

use hezong_base::NodeId;
use hezong_raft::Member;

/// The versions that this program knows, of all it says, keeps and applies: raised by one with every change that an
/// older program could not follow. The oldest is one below the newest, so that members are upgraded one at a time.
///
/// With the feature `next-version` this is a program that is one ahead, for the proof of that (`.ci/upgrade.py`).
pub const VERSIONS: Versions = Versions { min: 1, max: if cfg!(feature = "next-version") { 2 } else { 1 } };

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl Versions {
    /// The newest version both sides speak; `None` when they have none in common.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u8> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }

    /// Those of them that are `version` or newer: what a node says once commands of `version` may lie in its log.
    #[must_use]
    pub fn since(self, version: u8) -> Self {
        Self { min: self.min.max(version), max: self.max }
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub fn contains(self, version: u8) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Which cluster: 128 random bits drawn once at bootstrap, so that a node with a wrong address in its configuration
/// never joins in another cluster's votes. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// Text that names no cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster id is 32 hexadecimal digits")]
pub struct ClusterIdError;

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` alone would accept a sign and any length.
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ClusterIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ClusterIdError)
    }
}

/// What a connection is for. Two nodes keep one of each kind at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The protocols' messages.
    #[default]
    Messages,
    /// Snapshots, which would keep messages waiting.
    Snapshots,
}

/// "It is me, may I talk to you?" The first frame on a connection, from the side that dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the dialling side speaks.
    pub versions: Versions,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Who it is.
    pub from: NodeId,
    /// Whom it believes to have dialled: an address may meanwhile belong to another node.
    pub to: NodeId,
    /// What the connection is for.
    pub lane: Lane,
    /// Its label and addresses, for a receiver that has not yet seen them in the log.
    pub member: Option<Member>,
}

/// "You may."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version both now speak: the newest in common.
    pub version: u8,
}

/// "You may not." The connection is closed after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No version in common.
    #[error("it speaks versions {min} to {max} of the peer protocol; upgrade the older of the two nodes", min = .0.min, max = .0.max)]
    Version(Versions),
    /// It belongs to another cluster.
    #[error("it belongs to cluster {0}; check the peer address")]
    Cluster(ClusterId),
    /// It is another node than the one meant.
    #[error("it is {0}, another node than the one dialled; check the peer address")]
    Node(NodeId),
    /// The one who dials is no member any more; ids are never given again, so it never will be.
    #[error("it has seen this node removed; empty the data folder and join anew")]
    Removed,
    /// It cannot take connections now.
    #[error("it is starting or shutting down; try again")]
    NotReady,
}
