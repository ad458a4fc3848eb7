//! One process: the node as shipped, and around it what the simulator puts in the place of the shell.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{GroupId, NodeId, Rng};
use hezong_node::{Node, NodeConfig, NodeEffect, NodeInput, StateMachine};
use hezong_raft::{Config, Entry};

use crate::check::{Recovered, Violation};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::plan::Plan;

/// The group that is simulated.
pub(crate) const GROUP: GroupId = GroupId(1);

/// A machine with one node's process on it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: NodeId,
    /// `None` while the process is down.
    pub(crate) node: Option<Node>,
    /// Counts its lives, so that what was planned for an earlier one can be told.
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    /// Batches for the state machine, in order.
    pub(crate) applying: VecDeque<Vec<Entry>>,
    /// What arrived while the process stood still; `None` while it runs.
    pub(crate) paused: Option<VecDeque<NodeInput>>,
    /// Dies after so many more effects.
    pub(crate) crash_in: Option<u64>,
    /// When the next timer event is planned.
    pub(crate) timer: u64,
    /// Whether a flush is planned.
    pub(crate) flush_planned: bool,
    /// Until when disk and state machine are slow, and until when the disk does nothing.
    pub(crate) disk_slow_until: u64,
    pub(crate) disk_stalled_until: u64,
    pub(crate) apply_slow_until: u64,
    /// It left the group, and its machine is switched off for good.
    pub(crate) gone: bool,
}

impl Process {
    /// A machine that was never switched on.
    pub(crate) fn new(id: NodeId, clock: Clock, segment_bytes: u64) -> Self {
        Self {
            id,
            node: None,
            life: 0,
            clock,
            disk: Disk::new(segment_bytes),
            machine: Machine::default(),
            applying: VecDeque::new(),
            paused: None,
            crash_in: None,
            timer: u64::MAX,
            flush_planned: false,
            disk_slow_until: 0,
            disk_stalled_until: 0,
            apply_slow_until: 0,
            gone: false,
        }
    }

    /// Starts the process on what its disk holds; tells what that was. `None` when the machine stood still meanwhile.
    pub(crate) fn start(
        &mut self,
        now: u64,
        plan: &Plan,
        config: Config,
        rng: Rng,
        out: &mut Vec<NodeEffect>,
    ) -> Result<Option<Recovered>, Violation> {
        let Some((saved, found)) = self.disk.recover()? else { return Ok(None) };
        let mut node = Node::new(node_config(self.id, plan));
        let applied = self.machine.applied().expect("the store is in memory");
        let local = self.clock.local(now);
        node.open_group(local, GROUP, config, saved, applied, rng, out)
            .map_err(|error| Violation::new("log and state belong together", error.to_string()))?;
        node.flush(local, out);
        self.node = Some(node);
        self.life += 1;
        Ok(Some(found))
    }

    /// The process dies, and with `power` the machine under it.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) {
        self.node = None;
        self.machine.crash(power, rng);
        self.applying.clear();
        self.paused = None;
        self.crash_in = None;
        self.flush_planned = false;
        self.timer = u64::MAX;
        self.disk.crash(power, rng);
    }

    /// Applies the oldest batch.
    pub(crate) fn apply(&mut self) -> Option<NodeInput> {
        let entries = self.applying.pop_front()?;
        let through = entries.last()?.id;
        let replies: Vec<Bytes> = self.machine.apply(&entries).expect("the store is in memory");
        Some(NodeInput::Applied { group: GROUP, through, replies })
    }

    /// Whether it takes part: up, and not standing still.
    pub(crate) fn runs(&self) -> bool {
        self.node.is_some() && self.paused.is_none()
    }
}

fn node_config(id: NodeId, plan: &Plan) -> NodeConfig {
    let mut config = NodeConfig::new(id);
    config.request_timeout = Duration::from_nanos(plan.patience * 6);
    config.persist_interval = Duration::from_nanos(plan.patience * 4);
    config.auto_promote = plan.auto_promote;
    config.apply_bytes_max = plan.append_bytes_max.max(100);
    config
}
