//! What a node is told at birth.

use alloc::collections::BTreeSet;
use core::time::Duration;

use hezong_base::NodeId;

/// Who takes part, time-outs and limits of one node. All nodes should be given the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub id: NodeId,
    /// Who accepts, until a membership is asked for. A majority of them decides.
    pub acceptors: BTreeSet<NodeId>,
    /// Who proposes. A collection reaches all of them or is given up.
    pub proposers: BTreeSet<NodeId>,
    /// After how long nodes that have not answered are asked again. Default 200 ms.
    pub resend_interval: Duration,
    /// How long a proposer waits at least that was refused; each wait is drawn between this and twice as much, and doubles
    /// with every refusal up to `backoff_max`. Default 20 ms.
    pub backoff_min: Duration,
    /// See there. Default 1 s.
    pub backoff_max: Duration,
    /// How long after it was asked for a change is given up, and a stage of a collection after it was begun. Default 10 s.
    pub change_timeout: Duration,
    /// How long a tombstone waits at least to be collected, or after a try for the next; each wait is drawn between this and
    /// twice as much. Default 1 s.
    pub collect_delay: Duration,
    /// How often a collection is tried before somebody must ask for it again. Default 10.
    pub collect_tries_max: u32,
    /// How many tombstones may wait to be collected by this node. Default 1,024.
    pub collect_max: usize,
    /// How many rounds are written down at once before they are used; as many are lost in a crash. Default 1,000.
    pub rounds_reserved: u64,
    /// How many registers a proposer remembers, to change them in one round trip; it forgets those that were changed longest
    /// ago. Default 1,024.
    pub remembered_max: usize,
    /// How many registers an acceptor holds. What is about another is dropped, as if it had been lost on its way here.
    /// Default 1,048,576.
    pub registers_max: usize,
    /// The longest key. Default 1 KiB.
    pub key_bytes_max: usize,
    /// The longest value. Default 1 MiB.
    pub value_bytes_max: usize,
    /// How many bytes of writes may be on their way to the disk before what would need another is dropped, as if it had been
    /// lost on its way here. Default 8 MiB.
    pub unstored_bytes_max: usize,
    /// How many changes of local users may wait for an answer. Default 1,024.
    pub waiting_max: usize,
    /// The bug this node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<super::Weakness>,
}

impl Config {
    /// Defaults for a node among these acceptors, all of which propose.
    #[must_use]
    pub fn new(id: NodeId, acceptors: BTreeSet<NodeId>) -> Self {
        Self {
            id,
            proposers: acceptors.clone(),
            acceptors,
            resend_interval: Duration::from_millis(200),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            change_timeout: Duration::from_secs(10),
            collect_delay: Duration::from_secs(1),
            collect_tries_max: 10,
            collect_max: 1_024,
            rounds_reserved: 1_000,
            remembered_max: 1_024,
            registers_max: 1 << 20,
            key_bytes_max: 1 << 10,
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
}
