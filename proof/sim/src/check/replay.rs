//! A state is what its log leads to: a replica that has applied up to an index holds what comes of applying the log from its
//! beginning up to there, one entry at a time, on a machine to which nothing ever happened. Whether it got there by entries in
//! slices, over crashes or by a snapshot makes no difference; so a snapshot equals the replay of what it covers, and replicas at
//! one index are equal.

use std::collections::BTreeMap;

use hezong_base::{Index, NodeId};
use hezong_node::StateMachine;
use hezong_raft::Entry;

use super::Violation;
use crate::machine::Machine;

/// So many entries apart the replay is kept, to go on from there.
const STRIDE: u64 = 64;

/// The log that was applied, and what it leads to.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Every entry that anybody has applied, from the first on.
    entries: Vec<Entry>,
    /// The replay after each [`STRIDE`] entries.
    kept: Vec<Machine>,
    /// What was compared already.
    digests: BTreeMap<Index, [u8; 32]>,
}

impl Replay {
    /// Somebody applies `entry`, which is what everybody applies there.
    pub(super) fn on_apply(&mut self, entry: &Entry) {
        if entry.id.index.0 == self.entries.len() as u64 + 1 {
            self.entries.push(entry.clone());
        }
    }

    /// The entry at `index`, once somebody has applied it.
    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// `node` holds a state of this `digest` as of `index`, come by in that way.
    pub(super) fn check(
        &mut self,
        node: NodeId,
        index: Index,
        digest: [u8; 32],
        property: &'static str,
    ) -> Result<(), Violation> {
        let wanted = match self.digests.get(&index) {
            Some(known) => *known,
            None if self.entry(index).is_none() => {
                let detail = format!("{node} holds a state as of {}, which nobody has applied", index.0);
                return Err(Violation::new(property, detail));
            }
            None => self.replayed(index),
        };
        self.digests.insert(index, wanted);
        if digest == wanted {
            return Ok(());
        }
        let detail = format!("{node} holds a state as of {} that is not what the log leads to", index.0);
        Err(Violation::new(property, detail))
    }

    /// The digest of what the first entries lead to, up to `index`.
    fn replayed(&mut self, index: Index) -> [u8; 32] {
        let count = usize::try_from(index.0).expect("a simulated log is short");
        let stride = usize::try_from(STRIDE).expect("a few entries");
        while self.kept.len() < count / stride {
            let from = self.kept.len() * stride;
            let mut next = self.kept.last().map_or_else(Machine::default, Machine::fork);
            apply(&mut next, &self.entries[from..from + stride]);
            // A fork of a fork has nothing to catch up with.
            self.kept.push(next.fork());
        }
        let whole = count / stride;
        let mut machine = whole.checked_sub(1).map_or_else(Machine::default, |last| self.kept[last].fork());
        apply(&mut machine, &self.entries[whole * stride..count]);
        machine.digest()
    }
}

fn apply(machine: &mut Machine, entries: &[Entry]) {
    for entry in entries {
        machine.apply(std::slice::from_ref(entry)).expect("the store is in memory");
    }
}
