//! What people and programs may want to follow while it happens.

use std::fmt;
use std::net::SocketAddr;

use hezong_base::NodeId;
use hezong_node::Notice;

/// Something happened. Whoever reads too slowly misses the oldest; nothing waits for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// News from a group: leaders and members.
    Group(Notice),
    /// A peer is connected; from now on messages flow.
    PeerConnected {
        /// Who.
        peer: NodeId,
        /// Where; `None` in memory.
        address: Option<SocketAddr>,
    },
    /// A peer's connection is gone. It is dialled again for as long as it is a member.
    PeerLost {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: String,
    },
    /// No connection with a member could be made for a few seconds. Told once, until one was made again; it is dialled
    /// all the while.
    PeerUnreachable {
        /// Who.
        peer: NodeId,
        /// Where it is dialled.
        address: String,
        /// What the last attempt met.
        reason: String,
    },
    /// A handshake failed for good reason: another cluster, another node, no common version. Tried again all the same,
    /// since it is a person who must put it right.
    PeerRefused {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// A member says that this node is none any more. It stays so: the node dials that member no more, and what it still
    /// holds grows old. Told once.
    Removed {
        /// Who says so.
        by: NodeId,
    },
    /// Something that is no peer talked to our port. Told at a limited rate; [`MetricsSnapshot::garbage`] counts all.
    ///
    /// [`MetricsSnapshot::garbage`]: crate::MetricsSnapshot::garbage
    Garbage {
        /// Where from.
        address: String,
        /// What was wrong with it.
        reason: String,
    },
    /// Something in the log is not what was written, as reading or scrubbing found. The node is to be shut down and opened
    /// again, which repairs it; if it is not within half a minute, the process ends. Told once.
    LogDamaged {
        /// Where, and what is wrong with it.
        damage: String,
    },
    /// The same of the state. It goes on with the rest of it. Whoever runs the node may have it make its state anew, once
    /// another node has a whole one to give.
    StateDamaged {
        /// Where, and what is wrong with it.
        damage: String,
    },
    /// The disk fell below its reserve, or rose above it again.
    DiskReserve {
        /// Whether it is below now.
        below: bool,
        /// What is free.
        free_bytes: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(notice) => write!(f, "{notice}"),
            Self::PeerConnected { peer, address: Some(address) } => write!(f, "connected to {peer} at {address}"),
            Self::PeerConnected { peer, address: None } => write!(f, "connected to {peer}"),
            Self::PeerLost { peer, reason } => write!(f, "lost {peer}: {reason}"),
            Self::PeerUnreachable { peer, address, reason } => {
                write!(f, "cannot reach {peer} at {address}: {reason}; it is dialled on and on")
            }
            Self::PeerRefused { address, reason } => write!(f, "no connection with {address}: {reason}"),
            Self::Removed { by } => write!(
                f,
                "this node was removed from its cluster, says {by}: stop it, or empty its folder and let it join anew"
            ),
            Self::Garbage { address, reason } => write!(f, "closed a connection from {address}: {reason}"),
            Self::LogDamaged { damage } => {
                write!(f, "{damage}; the node stops, and repairs it when it is started again")
            }
            Self::StateDamaged { damage } => {
                write!(f, "{damage}; the node stops once another leads, and repairs it when it is started again")
            }
            Self::DiskReserve { below: true, free_bytes } => {
                write!(f, "disk below its reserve: {free_bytes} bytes are free; only deletes are accepted")
            }
            Self::DiskReserve { below: false, free_bytes } => {
                write!(f, "disk above its reserve again: {free_bytes} bytes are free")
            }
        }
    }
}
