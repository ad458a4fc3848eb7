//! One process: the node as shipped, and around it what the simulator puts in the place of the shell.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{GroupId, LogId, NodeId, Rng};
use hezong_codec::log::Witness;
use hezong_node::{
    Chunk, Node, NodeConfig, NodeEffect, NodeInput, Snapshot, SnapshotDone, SnapshotWork, StateFound, StateMachine,
};
use hezong_raft::{Config, Entry, Raft, Saved, SnapshotId, Version};

use crate::check::{Recovered, Violation};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::fetch::Fetch;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::room::Room;
use crate::rot::Rotten;

/// A store in memory does not fail.
const IN_MEMORY: &str = "the store is in memory";

/// Work for the state machine.
#[derive(Debug)]
pub(crate) enum Job {
    Apply(Vec<Entry>),
    Snapshot(SnapshotWork),
}

/// Snapshots held for others.
#[derive(Default)]
pub(crate) struct Held(BTreeMap<SnapshotId, Arc<dyn Snapshot>>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Held {
    /// A chunk of one of them; `None` when it is not held any more.
    pub(crate) fn chunk(&self, id: SnapshotId, cursor: Option<&[u8]>, bytes_max: usize) -> Option<Chunk> {
        Some(self.0.get(&id)?.chunk(cursor, bytes_max).expect(IN_MEMORY))
    }

    pub(crate) fn remove(&mut self, id: SnapshotId) {
        self.0.remove(&id);
    }
}

/// How a log is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Its last entries are gone, and that is known.
    Cut,
    /// Some of its bytes are not what they were.
    Rot,
}

/// What damage left of a log.
#[derive(Debug)]
pub(crate) enum Left {
    /// The last entries were cut off.
    Cut(Recovered),
    /// It was repaired, and owes so much.
    Repaired(Recovered, Option<LogId>),
    /// What was damaged was not needed any more: everything is as it was.
    Spared(Recovered),
    /// Too much was lost, and the disk was found whole after all.
    Refused,
}

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
    /// Work for the state machine, in order.
    pub(crate) applying: VecDeque<Job>,
    /// Snapshots held for others.
    pub(crate) held: Held,
    /// Its state was lost, and it has none again yet.
    pub(crate) state_lost: bool,
    /// Its log is to be found damaged at the next start, in that way and by this chance.
    pub(crate) damage: Option<(Damage, Rng)>,
    /// What it owed when it died.
    owed: Option<LogId>,
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
    /// The snapshot it fetches, or has just fetched.
    pub(crate) fetch: Option<Fetch>,
    /// How full its disk is.
    pub(crate) room: Room,
    /// What its program knows.
    pub(crate) newest: Version,
    /// What its folder says is in use. Survives everything.
    pub(crate) used: Version,
    /// It left the group, and its machine is switched off for good.
    pub(crate) gone: bool,
    /// The bug its node suffers from.
    #[cfg(feature = "weakened")]
    weakness: Option<hezong_node::Weakness>,
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
            held: Held::default(),
            state_lost: false,
            damage: None,
            owed: None,
            paused: None,
            crash_in: None,
            timer: u64::MAX,
            flush_planned: false,
            disk_slow_until: 0,
            disk_stalled_until: 0,
            apply_slow_until: 0,
            fetch: None,
            room: Room::default(),
            newest: Version::default(),
            used: Version::default(),
            gone: false,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }

    /// Gives its node and its state machine a known bug, before it is switched on.
    #[cfg(feature = "weakened")]
    pub(crate) fn weaken(&mut self, mutant: Option<crate::mutants::Mutant>) {
        self.weakness = mutant.and_then(crate::mutants::Mutant::node);
        let rules = hezong_kv::Rules { weakness: mutant.and_then(crate::mutants::Mutant::state), ..Default::default() };
        self.machine = Machine::new(rules);
    }

    /// Starts the process on what its disk holds; tells what that was, and what damage left of it. `None` when the machine stood still meanwhile.
    pub(crate) fn start(
        &mut self,
        now: u64,
        plan: &Plan,
        config: Config,
        rng: Rng,
        out: &mut Vec<NodeEffect>,
    ) -> Result<Option<(Recovered, Option<Left>)>, Violation> {
        let Some((saved, found)) = self.disk.recover()? else { return Ok(None) };
        assert!(self.used <= self.newest, "an older program refuses the folder");
        let (saved, left) = match self.damage.take() {
            Some((damage, mut rng)) => self.damaged(damage, saved, &mut rng)?,
            None => (saved, None),
        };
        let settings = NodeConfig { newest: self.newest, ..node_config(self.id, plan) };
        #[cfg(feature = "weakened")]
        let settings = NodeConfig { weakness: self.weakness, ..settings };
        let mut node = Node::new(settings);
        let (applied, is_installed) = (self.machine.applied(), self.machine.is_installed());
        let state = StateFound { applied: applied.expect(IN_MEMORY), is_installed: is_installed.expect(IN_MEMORY) };
        let local = self.clock.local(now);
        node.open_group(local, GROUP, config, saved, state, rng, out)
            .map_err(|error| Violation::new("log and state belong together", error.to_string()))?;
        node.flush(local, out);
        self.node = Some(node);
        self.life += 1;
        Ok(Some((found, left)))
    }

    /// Damages the log that was just opened. What a node finds then, and what is left.
    fn damaged(&mut self, damage: Damage, saved: Saved, rng: &mut Rng) -> Result<(Saved, Option<Left>), Violation> {
        if damage == Damage::Cut {
            let applied = self.machine.last().map(|last| last.index);
            let cut = self.disk.damage(&saved, applied, rng)?;
            return Ok(cut.map_or((saved, None), |(saved, left)| (saved, Some(Left::Cut(left)))));
        }
        let mut witness = Witness::default();
        witness.applied.insert(GROUP, self.machine.applied().expect(IN_MEMORY));
        if self.machine.is_installed().expect(IN_MEMORY) {
            witness.installed.insert(GROUP);
        }
        Ok(match self.disk.rot(&witness, rng)? {
            Rotten::Repaired(found) => {
                let (repaired, left) = *found;
                let owed = repaired.owed;
                (repaired, Some(Left::Repaired(left, owed)))
            }
            Rotten::Spared(found) => {
                let (saved, left) = *found;
                (saved, Some(Left::Spared(left)))
            }
            Rotten::Refused => match self.disk.recover()? {
                Some((saved, _)) => (saved, Some(Left::Refused)),
                None => return Err(Violation::new("durability", "a log that was whole does not open")),
            },
        })
    }

    /// The process dies, and with `power` the machine under it.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) {
        self.owed = self.node.take().and_then(|node| node.raft(GROUP).and_then(Raft::owed));
        self.machine.crash(power, rng);
        self.applying.clear();
        self.held.0.clear();
        self.room.forget();
        self.paused = None;
        self.crash_in = None;
        self.flush_planned = false;
        self.timer = u64::MAX;
        self.disk.crash(power, rng);
    }

    /// Does the oldest work for the state machine.
    pub(crate) fn apply(&mut self) -> Option<NodeInput> {
        let work = match self.applying.pop_front()? {
            Job::Apply(entries) => {
                let through = entries.last()?.id;
                let replies: Vec<Bytes> = self.machine.apply(&entries).expect(IN_MEMORY);
                self.state_lost = false;
                return Some(NodeInput::Applied { group: GROUP, through, replies });
            }
            Job::Snapshot(work) => work,
        };
        let done = match work {
            SnapshotWork::Take(id) => {
                let snapshot = self.machine.snapshot().expect(IN_MEMORY);
                let last = snapshot.as_ref().map(|snapshot| snapshot.last());
                snapshot.into_iter().for_each(|snapshot| drop(self.held.0.insert(id, snapshot)));
                SnapshotDone::Taken { id, last }
            }
            SnapshotWork::Begin(id) => SnapshotDone::Begun { id, begun: self.machine.begin(id).expect(IN_MEMORY) },
            SnapshotWork::Install { id, chunk } => {
                let understood = self.machine.install(id, &chunk).expect(IN_MEMORY);
                SnapshotDone::Installed { id, understood }
            }
            SnapshotWork::Finish { id, base } => {
                self.machine.finish(id, &base).expect(IN_MEMORY);
                self.state_lost = false;
                SnapshotDone::Finished { id, base }
            }
            SnapshotWork::Read { .. } | SnapshotWork::Drop(_) => unreachable!("no matter of the state machine"),
        };
        Some(NodeInput::Snapshot { group: GROUP, done })
    }

    /// The state is lost, while the process is down.
    pub(crate) fn lose_state(&mut self) {
        self.machine.lose();
        self.state_lost = true;
    }

    /// Disk and all, while the process is down.
    pub(crate) fn lose_everything(&mut self, segment_bytes: u64) {
        self.disk = Disk::new(segment_bytes);
        self.machine.lose();
    }

    /// A snapshot held for others is taken anew, in the middle of being fetched.
    pub(crate) fn renew_view(&mut self, id: SnapshotId) {
        if let Some(view) = self.machine.snapshot().expect(IN_MEMORY)
            && let Some(held) = self.held.0.get_mut(&id)
        {
            *held = view;
        }
    }

    /// Whether its log is not known to be whole.
    pub(crate) fn lacks_entries(&self) -> bool {
        let owed = |node: &Node| node.raft(GROUP).and_then(Raft::owed);
        self.damage.is_some() || self.node.as_ref().map_or(self.owed, owed).is_some()
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
    config.log_retain_entries = plan.log_retain_entries;
    config.snapshot_chunk_bytes = plan.snapshot_chunk_bytes;
    config.snapshot_fetch_timeout = Duration::from_nanos(plan.patience / 4);
    config.snapshot_patience = Duration::from_nanos(plan.patience * 6);
    config.snapshot_age_max = Duration::from_nanos(plan.patience * 30);
    if plan.tight {
        (config.waiting_max, config.queue_bytes_max, config.apply_lag_max) = (4, 100, 2);
    }
    config
}
