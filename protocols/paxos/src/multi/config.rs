//! What a node is told at birth.

use core::time::Duration;

use hezong_base::NodeId;

use super::Members;

/// A million: what [`Config::drift_ppm`] is counted in.
const MILLION: u32 = 1_000_000;

/// Who takes part at first, time-outs and limits of one node. All nodes must be given the same members and `alpha`, for good,
/// and the same lease and drift.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are. Never given to another node, nor to this one once its disk is lost.
    pub id: NodeId,
    /// Who accepts from the first slot on.
    pub members: Members,
    /// α: how many slots may be proposed beyond what is known to be chosen, and after how many a change of members is in force.
    /// At least 1. Default 64.
    pub alpha: u64,
    /// For how long a replica that has heard the master promises nobody else. Default 3 s.
    pub lease: Duration,
    /// By how much a clock may run fast or slow, in parts per million. Default 10,000, which is one in a hundred.
    pub drift_ppm: u32,
    /// How often the master is heard, and asks again those who are silent. Default 300 ms.
    pub heartbeat_interval: Duration,
    /// How long a replica waits at least, once no lease forbids it, before it campaigns; each wait is drawn between this and twice
    /// as much. Default 500 ms.
    pub campaign_pause: Duration,
    /// The longest command. Default 1 MiB.
    pub value_bytes_max: usize,
    /// The most members. Default 15.
    pub members_max: usize,
    /// How many requests may wait for a slot at the master. Default 1,024.
    pub waiting_max: usize,
    /// How many bytes of requests may wait there until they are chosen. Default 8 MiB.
    pub waiting_bytes_max: usize,
    /// How many slots are taken in beyond what the state machine has applied. More than `alpha`. Default 1,024.
    pub unapplied_max: u64,
    /// How many slots that are applied are kept, for those who are behind. Default 1,024.
    pub kept_max: u64,
    /// How many bytes of them. Default 16 MiB.
    pub kept_bytes_max: usize,
    /// How many bytes the log may hold in all before no slot but the next is taken in. More than `kept_bytes_max`. Default 64 MiB.
    pub log_bytes_max: usize,
    /// How many bytes of what was chosen are sent at once to who is behind, if one value is not more. Default 1 MiB.
    pub batch_bytes_max: usize,
    /// How many bytes of writes may be on their way to the disk before what would need another is dropped, as if it had been
    /// lost on its way here. Default 8 MiB.
    pub unstored_bytes_max: usize,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<super::Weakness>,
}

impl Config {
    /// Defaults for a node among these members.
    #[must_use]
    pub fn new(id: NodeId, members: Members) -> Self {
        Self {
            id,
            members,
            alpha: 64,
            lease: Duration::from_secs(3),
            drift_ppm: 10_000,
            heartbeat_interval: Duration::from_millis(300),
            campaign_pause: Duration::from_millis(500),
            value_bytes_max: 1 << 20,
            members_max: 15,
            waiting_max: 1_024,
            waiting_bytes_max: 8 << 20,
            unapplied_max: 1_024,
            kept_max: 1_024,
            kept_bytes_max: 16 << 20,
            log_bytes_max: 64 << 20,
            batch_bytes_max: 1 << 20,
            unstored_bytes_max: 8 << 20,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }

    /// For how long the master may read after it has asked for the lease. Replicas keep it for `lease`, by clocks that may run
    /// fast, from when they are asked; the master counts by one that may run slow, from before it asks. So with a drift of d,
    /// this times (1 + d) is at most `lease` times (1 - d).
    #[must_use]
    pub fn master_lease(&self) -> Duration {
        let drift = self.drift_ppm.min(MILLION);
        let nanos = self.lease.as_nanos().saturating_mul(u128::from(MILLION - drift)) / u128::from(MILLION + drift);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// α, which is at least 1: a slot waits for an earlier one.
    pub(crate) fn alpha(&self) -> u64 {
        self.alpha.max(1)
    }

    /// Whether this node suffers from a known bug. Never in what ships.
    #[cfg(feature = "weakened")]
    pub(crate) fn weak(&self, weakness: super::Weakness) -> bool {
        self.weakness == Some(weakness)
    }

    /// Whether this node suffers from a known bug: never.
    #[cfg(not(feature = "weakened"))]
    #[expect(clippy::unused_self, reason = "the weakened build asks its configuration")]
    pub(crate) const fn weak(&self, _: super::Weakness) -> bool {
        false
    }
}
