//! What a ZAB node is told at birth.

use alloc::collections::BTreeSet;
use core::time::Duration;

use hezong_base::NodeId;

/// Who takes part, time-outs and limits of one node. All nodes of an ensemble should be given the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub id: NodeId,
    /// Who votes, leads and acknowledges. A majority of them decides.
    pub voters: BTreeSet<NodeId>,
    /// Who only listens, and forwards requests.
    pub observers: BTreeSet<NodeId>,
    /// How long a node that has a majority for its vote waits for a better one. Default 200 ms.
    pub finalize_wait: Duration,
    /// After how long a vote is said again; doubles while nobody is heard. Default 200 ms.
    pub notify_interval_min: Duration,
    /// See there. Default 60 s.
    pub notify_interval_max: Duration,
    /// How often a leader sends pings. Default 200 ms.
    pub ping_interval: Duration,
    /// How long the other side of a session may be silent, or our own disk, before the session is over. Several
    /// `ping_interval`s. Default 1 s.
    pub sync_limit: Duration,
    /// How long a leader may take to be established, snapshots for a majority included, and a learner to be heard by one.
    /// Default 5 s.
    pub init_limit: Duration,
    /// The longest transaction. Default 1 MiB.
    pub data_bytes_max: usize,
    /// How much history is held, in memory and on disk. A leader refuses what would not fit, a learner leaves; both wait for
    /// [`Request::Applied`](crate::Request::Applied). A learner that has reported all it has delivered takes what it is given
    /// on joining all the same, at most so much again each time: it may have started with a full history, and could not
    /// deliver it otherwise. Default 64 MiB.
    pub history_bytes_max: usize,
    /// How many transactions are kept that the state machine has already, for learners that were away only for a while. At
    /// most half of `history_bytes_max` is used for them. Default 10,000.
    pub history_kept: usize,
    /// How many bytes of writes may be on their way to the disk before a leader refuses more, and a learner leaves; and how
    /// many of requests on their way to the leader before a learner refuses more. Default 8 MiB.
    pub unstored_bytes_max: usize,
    /// How many requests of local users may wait for an answer, and how many `sync`s of all nodes at a leader. Default 1,024.
    pub waiting_max: usize,
    /// The last counter that an epoch has: with the next one its leader steps down, so that a zxid never rolls over into the
    /// next epoch. Default 0xffff_fffe, as in ZooKeeper; smaller only to try it.
    pub counter_max: u32,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<crate::Weakness>,
}

impl Config {
    /// Defaults for a node among these voters.
    #[must_use]
    pub fn new(id: NodeId, voters: BTreeSet<NodeId>) -> Self {
        Self {
            id,
            voters,
            observers: BTreeSet::new(),
            finalize_wait: Duration::from_millis(200),
            notify_interval_min: Duration::from_millis(200),
            notify_interval_max: Duration::from_secs(60),
            ping_interval: Duration::from_millis(200),
            sync_limit: Duration::from_secs(1),
            init_limit: Duration::from_secs(5),
            data_bytes_max: 1 << 20,
            history_bytes_max: 64 << 20,
            history_kept: 10_000,
            unstored_bytes_max: 8 << 20,
            waiting_max: 1_024,
            counter_max: 0xffff_fffe,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
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

    /// Whether this node suffers from any known bug. Never in what ships.
    pub(crate) const fn is_weak(&self) -> bool {
        #[cfg(feature = "weakened")]
        return self.weakness.is_some();
        #[cfg(not(feature = "weakened"))]
        false
    }

    /// Whether we vote.
    pub(crate) fn is_voter(&self) -> bool {
        self.voters.contains(&self.id)
    }

    /// Whether it is one of us.
    pub(crate) fn knows(&self, id: NodeId) -> bool {
        id != self.id && (self.voters.contains(&id) || self.observers.contains(&id))
    }

    /// How many voters make a majority.
    pub(crate) fn majority(&self) -> usize {
        hezong_base::quorum::majority(self.voters.len())
    }
}
