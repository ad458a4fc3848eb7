//! What goes wrong, and how it ends.

use hezong_base::{NodeId, Rng};

use super::subject::Subject;
use super::world::{Next, World};
use crate::check::place;
use crate::plan::Fault;

/// What a schedule may draw.
const DRAWN: [Fault; 11] = [
    Fault::Partition,
    Fault::OneWay,
    Fault::SlowLink,
    Fault::Flapping,
    Fault::Crash,
    Fault::PowerLoss,
    Fault::TornWrite,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::StalledDisk,
    Fault::ClockRate,
];

/// What it may draw where the system is synchronous.
const SYNCHRONOUS: [Fault; 3] = [Fault::Crash, Fault::PowerLoss, Fault::TornWrite];

/// How far clocks may run from true time, in parts per million.
pub(super) const CLOCK_PPM: u64 = 5_000;

/// What goes wrong in a run of one seed: each fault in half of them.
pub(super) fn draw<S: Subject>(rng: &mut Rng) -> Vec<Fault> {
    let may_strike = |fault: &Fault| !S::IS_SYNCHRONOUS || SYNCHRONOUS.contains(fault);
    DRAWN.into_iter().filter(|fault| rng.chance(500) && may_strike(fault)).collect()
}

impl<S: Subject> World<S> {
    /// Something goes wrong, and plans what goes wrong next.
    pub(super) fn strike(&mut self) {
        if self.is_healed {
            return;
        }
        let patience = self.ways.patience;
        let next = self.now + 1 + self.trouble.below(self.lull);
        self.queue.push(next, Next::Trouble);
        if self.drawn.is_empty() {
            return;
        }
        let fault = self.drawn[self.trouble.below(self.drawn.len() as u64) as usize];
        let (one, other) = (self.anybody(), self.anybody());
        let until = self.now + self.trouble.below(patience * 2);
        self.tell(|| format!("trouble: {} ({one}, {other})", fault.name()));
        match fault {
            // It strikes, and is counted, at the node's next step.
            Fault::Crash => {
                self.nodes[place(one)].is_doomed = true;
                return;
            }
            Fault::TornWrite => {
                let waiting = self.nodes[place(one)].unstored.len() as u64;
                if waiting == 0 {
                    return;
                }
                let kept = 1 + self.trouble.below(waiting);
                self.crash(one, kept as usize);
            }
            Fault::PowerLoss => self.ids().for_each(|id| self.crash(id, 0)),
            Fault::Pause => self.nodes[place(one)].paused_until = until,
            Fault::SlowDisk => self.nodes[place(one)].slow_disk_until = until,
            Fault::StalledDisk => self.nodes[place(one)].stalled_until = until,
            Fault::ClockRate => {
                let ppm = self.trouble.below(2 * CLOCK_PPM + 1) as i64 - CLOCK_PPM as i64;
                self.nodes[place(one)].clock.set_rate(self.now, ppm);
                self.wait(one);
            }
            Fault::Partition => {
                let side: Vec<bool> = self.ids().map(|_| self.trouble.chance(500)).collect();
                for (from, to) in self.pairs().filter(|(from, to)| side[place(*from)] != side[place(*to)]) {
                    self.network.cut(from, to, until);
                }
            }
            Fault::OneWay => self.network.cut(one, other, until),
            Fault::SlowLink => {
                self.network.slow(one, other, until);
                self.network.slow(other, one, until);
            }
            Fault::Flapping => {
                let left = 3 + self.trouble.below(8);
                self.flap(one, other, left);
            }
            _ => {}
        }
        self.faults.add(fault);
    }

    /// Cuts a link for a moment, and plans to do so again.
    pub(super) fn flap(&mut self, one: NodeId, other: NodeId, left: u64) {
        if self.is_healed || left == 0 {
            return;
        }
        let span = 1 + self.trouble.below(self.ways.patience / 2);
        self.network.cut(one, other, self.now + span);
        self.network.cut(other, one, self.now + span);
        let again = self.now + span + self.trouble.below(self.ways.patience / 2);
        self.queue.push(again, Next::Flap { one, other, left: left - 1 });
    }

    /// Ends all trouble for good.
    pub(super) fn heal(&mut self) -> Result<(), hezong_invariants::Violation> {
        self.is_healed = true;
        // Disks and ways that take as long as nodes wait are trouble as well.
        (self.sync, self.ways.way) =
            (self.sync.min(self.ways.patience / 100), self.ways.way.min(self.ways.patience / 100));
        self.network.heal();
        for node in &mut self.nodes {
            (node.paused_until, node.slow_disk_until, node.stalled_until) = (0, 0, 0);
            node.is_doomed = false;
        }
        self.tell(|| "everything is healed".to_owned());
        self.ids().try_for_each(|id| self.start(id))
    }

    fn anybody(&mut self) -> NodeId {
        NodeId(1 + self.trouble.below(self.nodes.len() as u64))
    }

    fn ids(&self) -> impl Iterator<Item = NodeId> + use<S> {
        (1..=self.nodes.len() as u64).map(NodeId)
    }

    fn pairs(&self) -> impl Iterator<Item = (NodeId, NodeId)> + use<S> {
        let count = self.nodes.len() as u64;
        (1..=count).flat_map(move |from| (1..=count).map(move |to| (NodeId(from), NodeId(to))))
    }
}
