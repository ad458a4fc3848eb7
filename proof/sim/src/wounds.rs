//! What a strike did, in words. Found by comparing how things stood before and after, so that whatever strikes need not
//! tell it, and so that what is told is what happened.

use std::collections::{BTreeMap, BTreeSet};

use hezong_base::NodeId;

use crate::check::place;
use crate::process::Process;
use crate::sim::Sim;

/// How one machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Machine {
    crash_in: Option<u64>,
    slow_until: u64,
    stalled_until: u64,
    apply_slow_until: u64,
    ppm: i64,
}

impl Machine {
    fn of(process: &Process) -> Self {
        Self {
            crash_in: process.crash_in,
            slow_until: process.disk_slow_until,
            stalled_until: process.disk_stalled_until,
            apply_slow_until: process.apply_slow_until,
            ppm: process.clock.ppm(),
        }
    }
}

/// How things stand, as far as trouble may change them.
#[derive(Debug)]
pub(crate) struct Condition {
    machines: Vec<Machine>,
    /// Until when each way is cut.
    cuts: BTreeMap<(NodeId, NodeId), u64>,
}

impl Condition {
    /// As things are now.
    pub(crate) fn of(sim: &Sim) -> Self {
        let ids = || sim.processes.iter().map(|process| process.id);
        let ways = ids().flat_map(|from| ids().map(move |to| (from, to)));
        Self {
            machines: sim.processes.iter().map(Machine::of).collect(),
            cuts: ways.map(|(from, to)| ((from, to), sim.network.cut_until(from, to))).collect(),
        }
    }

    /// What has changed since `before`.
    fn changes(&self, before: &Self, now: u64) -> Vec<String> {
        let mut told = Vec::new();
        for (place, (is, was)) in self.machines.iter().zip(&before.machines).enumerate() {
            let node = NodeId(place as u64 + 1);
            if let Some(effects) = is.crash_in.filter(|_| is.crash_in != was.crash_in) {
                told.push(format!("{node} is to die before its effect {effects} from here"));
            }
            let spans = [
                (is.slow_until, was.slow_until, "the disk", "is slow"),
                (is.stalled_until, was.stalled_until, "the disk", "does nothing"),
                (is.apply_slow_until, was.apply_slow_until, "the state machine", "is slow"),
            ];
            for (_, _, what, how) in spans.iter().filter(|(is, was, ..)| is != was && *is > now) {
                told.push(format!("{what} of {node} {how} for a while"));
            }
            if is.ppm != was.ppm {
                told.push(format!("the clock of {node} runs {:+} ppm", is.ppm));
            }
        }
        let mut cut: BTreeMap<u64, BTreeSet<(NodeId, NodeId)>> = BTreeMap::new();
        for (way, until) in self.cuts.iter().filter(|(way, until)| **until > now && before.cuts.get(way) != Some(until))
        {
            cut.entry(*until).or_default().insert(*way);
        }
        for (until, ways) in &cut {
            told.extend(walls(ways).into_iter().map(|wall| format!("{wall} for {:.1} ms", (until - now) as f64 / 1e6)));
        }
        told
    }
}

/// Ways that are cut, told as between whom.
fn walls(ways: &BTreeSet<(NodeId, NodeId)>) -> Vec<String> {
    let both = |&(from, to): &(NodeId, NodeId)| ways.contains(&(to, from));
    let mut beyond: BTreeMap<(NodeId, bool), BTreeSet<NodeId>> = BTreeMap::new();
    for way in ways {
        beyond.entry((way.0, both(way))).or_default().insert(way.1);
    }
    // Nodes that lose touch with the same ones are told together, and walls from one side only.
    let mut sides: BTreeMap<(BTreeSet<NodeId>, bool), BTreeSet<NodeId>> = BTreeMap::new();
    for ((node, both), others) in beyond {
        sides.entry((others, both)).or_default().insert(node);
    }
    let names = |nodes: &BTreeSet<NodeId>| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
    let mut told: BTreeSet<(BTreeSet<NodeId>, BTreeSet<NodeId>)> = BTreeSet::new();
    let mut walls = Vec::new();
    for ((others, both), nodes) in sides {
        if both && told.contains(&(others.clone(), nodes.clone())) {
            continue;
        }
        let how = if both { "and" } else { "does not reach" };
        let apart = if both { " lose touch" } else { "" };
        walls.push(format!("{} {how} {}{apart}", names(&nodes), names(&others)));
        told.insert((nodes, others));
    }
    walls
}

impl Sim {
    /// Tells what a strike did.
    pub(crate) fn tell_changes(&mut self, before: &Condition) {
        for change in Condition::of(self).changes(before, self.now) {
            self.story.note(self.now, || format!("   {change}"));
        }
    }

    /// A node that is cut off from all others: told where nobody strikes at that moment.
    pub(crate) fn tell_isolation(&mut self, node: NodeId, until: u64) {
        if self.processes.get(place(node)).is_some() {
            let span = until.saturating_sub(self.now) as f64 / 1e6;
            self.story.note(self.now, || format!("{node} loses touch with all others for {span:.1} ms"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_told_by_side() {
        let ways = |pairs: &[(u64, u64)]| pairs.iter().map(|(from, to)| (NodeId(*from), NodeId(*to))).collect();
        assert_eq!(walls(&ways(&[(1, 2)])), ["n1 does not reach n2"]);
        assert_eq!(walls(&ways(&[(1, 2), (2, 1)])), ["n2 and n1 lose touch"]);
        let alone = [(1, 2), (2, 1), (1, 3), (3, 1)];
        assert_eq!(walls(&ways(&alone)), ["n2 n3 and n1 lose touch"]);
        let halves = [(1, 3), (3, 1), (1, 4), (4, 1), (2, 3), (3, 2), (2, 4), (4, 2)];
        assert_eq!(walls(&ways(&halves)), ["n3 n4 and n1 n2 lose touch"]);
        assert_eq!(walls(&ways(&[(1, 2), (1, 3)])), ["n1 does not reach n2 n3"]);
        assert_eq!(walls(&ways(&[(2, 1), (3, 1)])), ["n2 n3 does not reach n1"]);
    }
}
