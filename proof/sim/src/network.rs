//! The network between processes: what is on its way, what is lost, and which ways are cut.

use hezong_base::{NodeId, Rng};

use crate::check::place;
use crate::plan::{Fault, FaultCounts};

/// The most nodes a simulation ever has.
pub(crate) const NODES_MAX: usize = 16;

/// What befalls frames, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    /// The shortest time a frame takes, in nanoseconds; it takes up to four times as long.
    pub(crate) way: u64,
    /// How long nodes wait, the yardstick for what is late.
    pub(crate) patience: u64,
    /// Frames of a thousand that are lost, late, and twice.
    pub(crate) loss: u64,
    /// See `loss`.
    pub(crate) delay: u64,
    /// See `loss`.
    pub(crate) duplication: u64,
}

/// The ways between all nodes.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    /// Until when nothing passes from one to the other.
    cut_until: [[u64; NODES_MAX]; NODES_MAX],
    /// Until when what is sent from one to the other takes long.
    slow_until: [[u64; NODES_MAX]; NODES_MAX],
    /// When the latest frame sent on each way arrives: an earlier arrival overtakes it.
    latest: [[u64; NODES_MAX]; NODES_MAX],
    healed: bool,
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Self {
        let none = [[0; NODES_MAX]; NODES_MAX];
        Self { rng, cut_until: none, slow_until: none, latest: none, healed: false }
    }

    /// When a frame sent now arrives: not at all, once, or twice.
    pub(crate) fn send(
        &mut self,
        now: u64,
        from: NodeId,
        to: NodeId,
        ways: &Ways,
        faults: &mut FaultCounts,
    ) -> [Option<u64>; 2] {
        if self.is_cut(now, from, to) {
            return [None, None];
        }
        let usual = now + ways.way + self.rng.below(ways.way * 3);
        if self.healed {
            return [Some(usual), None];
        }
        // One number decides over all three, since most frames meet no fault at all.
        let fate = self.rng.below(1_000);
        if fate < ways.loss {
            faults.add(Fault::Loss);
            return [None, None];
        }
        let mut at = usual;
        let mut twice = None;
        if fate < ways.loss + ways.delay {
            faults.add(Fault::Delay);
            at += self.rng.below(ways.patience * 2);
        } else if fate < ways.loss + ways.delay + ways.duplication {
            faults.add(Fault::Duplication);
            twice = Some(at + self.rng.below(ways.patience));
        }
        if self.slow_until[place(from)][place(to)] > now {
            at += ways.patience / 8 + self.rng.below(ways.patience);
        }
        let latest = &mut self.latest[place(from)][place(to)];
        if at < *latest {
            faults.add(Fault::Reordering);
        }
        *latest = at.max(*latest);
        [Some(at), twice]
    }

    /// Whether nothing passes now.
    pub(crate) fn is_cut(&self, now: u64, from: NodeId, to: NodeId) -> bool {
        self.cut_until[place(from)][place(to)] > now
    }

    /// Until when nothing passes; in the past, or 0, when something does.
    pub(crate) fn cut_until(&self, from: NodeId, to: NodeId) -> u64 {
        self.cut_until[place(from)][place(to)]
    }

    /// Cuts one direction.
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId, until: u64) {
        if from != to {
            let cut = &mut self.cut_until[place(from)][place(to)];
            *cut = until.max(*cut);
        }
    }

    /// Makes one direction slow.
    pub(crate) fn slow(&mut self, from: NodeId, to: NodeId, until: u64) {
        let slow = &mut self.slow_until[place(from)][place(to)];
        *slow = until.max(*slow);
    }

    /// Ends every fault for good.
    pub(crate) fn heal(&mut self) {
        self.slow_until = [[0; NODES_MAX]; NODES_MAX];
        self.cut_until = [[0; NODES_MAX]; NODES_MAX];
        self.healed = true;
    }
}
