//! What a Paxos node is told at birth.

use alloc::collections::BTreeSet;
use core::time::Duration;

use hezong_base::NodeId;

/// Who takes part, time-outs and limits of one node. All nodes of an instance should be given the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub id: NodeId,
    /// Who accepts. A majority of them chooses.
    pub acceptors: BTreeSet<NodeId>,
    /// Who else learns, besides the acceptors.
    pub learners: BTreeSet<NodeId>,
    /// After how long acceptors that have not answered are asked again. Default 200 ms.
    pub resend_interval: Duration,
    /// How long a proposer waits at least that was refused; each wait is drawn between this and twice as much, and doubles
    /// with every refusal up to `backoff_max`. Zero lets two proposers outbid each other for ever. Default 50 ms.
    pub backoff_min: Duration,
    /// See there. Default 2 s.
    pub backoff_max: Duration,
    /// How long an acceptor waits to hear that something was chosen before it proposes what it has accepted; each wait is
    /// drawn between this and twice as much. Default 1 s.
    pub learn_timeout: Duration,
    /// The longest value. Default 1 MiB.
    pub value_bytes_max: usize,
    /// How many bytes of writes may be on their way to the disk before what would need another is dropped, as if it had been
    /// lost on its way here. Default 8 MiB.
    pub unstored_bytes_max: usize,
    /// How many proposals of local users may wait for an answer. Default 1,024.
    pub waiting_max: usize,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<super::Weakness>,
}

impl Config {
    /// Defaults for a node among these acceptors.
    #[must_use]
    pub fn new(id: NodeId, acceptors: BTreeSet<NodeId>) -> Self {
        Self {
            id,
            acceptors,
            learners: BTreeSet::new(),
            resend_interval: Duration::from_millis(200),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            learn_timeout: Duration::from_secs(1),
            value_bytes_max: 1 << 20,
            unstored_bytes_max: 8 << 20,
            waiting_max: 1_024,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
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

    /// How many acceptors make a majority.
    pub(crate) fn majority(&self) -> usize {
        hezong_base::quorum::majority(self.acceptors.len())
    }
}
