//! What a Raft node is told at birth.

use core::time::Duration;

use hezong_base::NodeId;

/// Time-outs and limits of one node in one group. All nodes of a group should be given the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub id: NodeId,
    /// How long a follower waits for its leader before it campaigns; each wait is drawn between this and half as
    /// much again. Also how long a leader goes on without hearing from a majority. Default 1 s.
    pub election_timeout: Duration,
    /// How often a leader makes itself heard. Heartbeats leave at multiples of this, so that all groups of a node beat
    /// together. Default 100 ms; at most a third of `election_timeout`.
    pub heartbeat_interval: Duration,
    /// The span for which an acknowledged heartbeat binds the follower not to vote: the leader's lease. Below
    /// `election_timeout`. Zero turns leases off: `default` reads then cost a round. Default 900 ms.
    pub lease: Duration,
    /// The longest lease this node may have granted before it restarted, where that is longer than `lease`: it waits
    /// this one out before it votes. Whoever restarts nodes with a shorter lease remembers the longer one for them.
    /// Default zero.
    pub lease_granted: Duration,
    /// How far two clocks may drift apart while both measure the same span, in parts per million of it; the leader
    /// counts its lease that much shorter. Default 10,000 (1 %).
    pub clock_drift_ppm: u32,
    /// The most payload bytes in one `Append`; a single larger entry still goes, alone. Default 1 MiB.
    pub append_bytes_max: usize,
    /// The most payload bytes on their way to one follower. Default 8 MiB.
    pub window_bytes_max: usize,
    /// The most payload bytes of recent entries kept in memory, beyond those not stored yet. Default 16 MiB.
    pub cache_bytes_max: usize,
    /// The most payload bytes proposed and not yet committed; above it proposals are refused. Default 64 MiB.
    pub uncommitted_bytes_max: usize,
    /// How long a write may take before a leader gives up leading and a follower stops campaigning. Default 1 s.
    pub store_timeout: Duration,
    /// For how long a member that is not heard finds the snapshot again that it was fetching, and the entries behind it.
    /// Default 60 s.
    pub snapshot_patience: Duration,
    /// The most reads waiting for a round; above it reads are refused. Default 65,536.
    pub reads_max: usize,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<crate::Weakness>,
}

impl Config {
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

    /// The defaults, for node `id`.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            election_timeout: Duration::from_millis(1_000),
            heartbeat_interval: Duration::from_millis(100),
            lease: Duration::from_millis(900),
            lease_granted: Duration::ZERO,
            clock_drift_ppm: 10_000,
            append_bytes_max: 1 << 20,
            window_bytes_max: 8 << 20,
            cache_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
            store_timeout: Duration::from_millis(1_000),
            snapshot_patience: Duration::from_secs(60),
            reads_max: 65_536,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }
}
