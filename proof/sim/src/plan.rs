//! What a seed decides before anything happens: the size of the cluster, its time-outs, and which faults may strike.
//!
//! Each seed switches on its own subset of faults, each at its own strength ("swarm testing"): a run in which everything
//! goes wrong at once never gets far enough for the rarer mistakes to show.

use std::str::FromStr;
use std::time::Duration;

use hezong_base::{NodeId, Rng};
use hezong_raft::Config;

use crate::network::Ways;

/// A kind of fault. Every one is counted when it strikes, not when it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A frame is lost.
    Loss,
    /// A frame takes many times as long as usual.
    Delay,
    /// A frame arrives twice.
    Duplication,
    /// A frame arrives before one that was sent earlier on the same way.
    Reordering,
    /// The nodes fall into two groups that do not reach each other.
    Partition,
    /// One direction between two nodes is cut, or everything a node hears, or everything it says.
    OneWay,
    /// All nodes but one reach only that one; `partial.rs` tells what can still be done.
    QuorumLoss,
    /// The same, where the leader reaches nobody and the one lacks the last entries.
    ConstrainedElection,
    /// Each node reaches its neighbours in a row, and nobody else.
    Chained,
    /// What two nodes say to each other takes many times as long as usual, for a while.
    SlowLink,
    /// The link between two nodes goes, one time of several in a row.
    Flapping,
    /// A process dies between two of its effects; what was not stored is lost.
    Crash,
    /// All processes die at once.
    PowerLoss,
    /// A crash after which some writes are found that were never reported as stored.
    TornWrite,
    /// A process stands still for a while, then goes on as if nothing had happened.
    Pause,
    /// A disk takes many times as long as usual.
    SlowDisk,
    /// A disk takes no write for longer than the protocol's patience.
    StalledDisk,
    /// The free space of a disk, or of all, falls below the reserve.
    FullDisk,
    /// A clock begins to run at another rate, within the bound.
    ClockRate,
    /// The state machine applies slowly.
    SlowApply,
    /// A machine's state is lost while its log is not.
    StateLoss,
    /// A machine's log is damaged: its last entries are gone, and that they were there is known.
    LogDamage,
    /// Bytes of a machine's log are not what they were, in one of the ways of disks; the log is repaired.
    LogRot,
    /// No fault, but seldom enough to be counted with them: a snapshot is installed.
    Snapshot,
    /// A snapshot being fetched is struck in one of its steps; `moment.rs` has them.
    StruckSnapshot,
    /// A member is added.
    Addition,
    /// A member is removed.
    Removal,
    /// A voter is asked by the leader to take over.
    Transfer,
    /// One of the two dies just then, or the old leader hears nothing any more.
    StruckTransfer,
    /// Several voters change at once.
    Joint,
    /// A leader dies in the middle of a change of members; `moment.rs` has its steps.
    StruckChange,
    /// A process is started again with the program of the other version.
    Program,
    /// What only the newer program knows is used.
    NewUsed,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 33] = [
        Self::Loss,
        Self::Delay,
        Self::Duplication,
        Self::Reordering,
        Self::Partition,
        Self::OneWay,
        Self::QuorumLoss,
        Self::ConstrainedElection,
        Self::Chained,
        Self::SlowLink,
        Self::Flapping,
        Self::Crash,
        Self::PowerLoss,
        Self::TornWrite,
        Self::Pause,
        Self::SlowDisk,
        Self::StalledDisk,
        Self::FullDisk,
        Self::ClockRate,
        Self::SlowApply,
        Self::StateLoss,
        Self::LogDamage,
        Self::LogRot,
        Self::Snapshot,
        Self::StruckSnapshot,
        Self::Addition,
        Self::Removal,
        Self::Transfer,
        Self::StruckTransfer,
        Self::Joint,
        Self::StruckChange,
        Self::Program,
        Self::NewUsed,
    ];

    /// A name for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "frame lost",
            Self::Delay => "frame delayed",
            Self::Duplication => "frame duplicated",
            Self::Reordering => "frame reordered",
            Self::Partition => "partition",
            Self::OneWay => "one-way cut",
            Self::QuorumLoss => "quorum loss",
            Self::ConstrainedElection => "constrained election",
            Self::Chained => "chained partition",
            Self::SlowLink => "slow link",
            Self::Flapping => "flapping link",
            Self::Crash => "crash",
            Self::PowerLoss => "power loss",
            Self::TornWrite => "unreported write survived",
            Self::Pause => "process paused",
            Self::SlowDisk => "slow disk",
            Self::StalledDisk => "stalled disk",
            Self::FullDisk => "full disk",
            Self::ClockRate => "clock rate changed",
            Self::SlowApply => "slow apply",
            Self::StateLoss => "state lost",
            Self::LogDamage => "end of a log lost",
            Self::LogRot => "rotten log repaired",
            Self::Snapshot => "snapshot installed",
            Self::StruckSnapshot => "struck while fetching it",
            Self::Addition => "member added",
            Self::Removal => "member removed",
            Self::Transfer => "leadership handed over",
            Self::StruckTransfer => "struck while handing over",
            Self::Joint => "several voters changed",
            Self::StruckChange => "struck while changing members",
            Self::Program => "program exchanged",
            Self::NewUsed => "new version used",
        }
    }
}

/// How often each kind of fault struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl Default for FaultCounts {
    /// None struck.
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl FaultCounts {
    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// How often it struck.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// How many kinds struck at all.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.0.iter().filter(|count| **count > 0).count()
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// What whoever runs the nodes does wrong: nothing in the nodes is, and all the same something must go wrong that a
/// checker sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// Clocks drift further than the nodes were told (RAFT-9).
    BrokenDrift,
    /// The state machine is said to be durable when it is not: entries are compacted whose effect a crash takes back.
    CompactUnpersisted,
    /// A node is told that its state machine stands on a snapshot before it does, durably: its log is reset already when
    /// a crash brings the old state back.
    InstallBeforeSwitch,
    /// Each chunk is read from the state as it is by then, not from the snapshot that was offered.
    ChunksOfNow,
    /// A node that starts on a full disk is not told.
    ReserveForgotten,
    /// Below the reserve the log takes nothing, not even votes and deletes.
    ReserveAtLog,
    /// Deletes are not told from other writes: nobody can make room.
    DeletesBarred,
    /// A machine that lost power comes back under its old number with an empty disk.
    BlankDisk,
}

impl Slip {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::BrokenDrift,
        Self::CompactUnpersisted,
        Self::InstallBeforeSwitch,
        Self::ChunksOfNow,
        Self::ReserveForgotten,
        Self::ReserveAtLog,
        Self::DeletesBarred,
        Self::BlankDisk,
    ];

    /// Who has made this mistake, or where one is warned of it.
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::BrokenDrift => "tikv#964; dissertation §6.4.1",
            Self::CompactUnpersisted => "nats-server#8425",
            Self::InstallBeforeSwitch => "ZOOKEEPER-4646",
            Self::ChunksOfNow => "ZooKeeper (ATC'10) §4.3, fuzzy snapshots",
            Self::ReserveForgotten | Self::ReserveAtLog => "our own rule on full disks",
            Self::DeletesBarred => "etcd#14595",
            Self::BlankDisk => "braft#292, openraft#2002",
        }
    }
}

/// Where a run looks: at everything, or at what one kind of mistake would need to show itself soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Whatever the seed draws; a third of the seeds takes one of the other shapes.
    #[default]
    Any,
    /// Leaders that are cut off or stand still while others vote, and many reads.
    Leases,
    /// Members come and go, also right after an election, and also several at a time.
    Members,
    /// Disks that stall while leaders change.
    Disks,
    /// Leaders that are struck as soon as they are elected, entries that travel one at a time.
    Elections,
    /// Frames that are late, lost or doubled, and many reads through followers.
    Frames,
    /// Logs that keep little, nodes that are away for long, states that are lost.
    Snapshots,
    /// Leaders that hand over and are struck while they do, and many reads.
    Transfers,
    /// Disks that fill up, one or all.
    FullDisks,
    /// Learners that become voters all at once while others go, and leaders that die or are cut off meanwhile.
    Joint,
    /// Logs that are damaged while others are behind.
    Damage,
    /// Some links are gone or poor, and others are not.
    Links,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Any,
        Self::Leases,
        Self::Members,
        Self::Disks,
        Self::Elections,
        Self::Frames,
        Self::Snapshots,
        Self::Transfers,
        Self::FullDisks,
        Self::Joint,
        Self::Damage,
        Self::Links,
    ];
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let called = |shape: &Self| format!("{shape:?}").eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(called).ok_or_else(|| format!("no shape is called {name}; they are {:?}", Self::ALL))
    }
}

/// What a seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Voters at the start.
    pub(crate) nodes: u64,
    /// The election timeout in nanoseconds: the yardstick for every other span.
    pub(crate) patience: u64,
    /// Faults that the schedule may draw, each as often as it stands here.
    pub(crate) drawn: Vec<Fault>,
    /// Frames lost, duplicated, delayed, per mille.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) delay: u64,
    /// The usual time on the way: between this and four times this.
    pub(crate) way: u64,
    /// The usual time of a sync: between this and four times this.
    pub(crate) sync: u64,
    /// How far clocks may run from true time, in parts per million. Two clocks differ by twice this at most.
    pub(crate) clock_ppm: u64,
    pub(crate) clients: usize,
    pub(crate) keys: u64,
    /// How long a client rests between operations, at most.
    pub(crate) rest: u64,
    pub(crate) cache_bytes_max: usize,
    pub(crate) append_bytes_max: usize,
    pub(crate) window_bytes_max: usize,
    /// The size of a segment of the log: small, so that segments come and go.
    pub(crate) segment_bytes: u64,
    /// How long things go well between two troubles: up to twice so many election timeouts more than usual.
    pub(crate) lull: u64,
    /// Of a hundred operations, those that are reads by the leader's lease.
    pub(crate) lease_reads: u64,
    /// How often, per mille, a partition creeps up on the leader.
    pub(crate) creep: u64,
    /// How often, per mille, a leader is struck just when it has been elected: when it does not know yet what is
    /// committed, and others do not know yet that it leads, most mistakes of elections show.
    pub(crate) ambush: u64,
    /// How often, per mille, each step of fetching a snapshot or of changing members is struck.
    pub(crate) strike: u64,
    /// How many applied entries a log keeps: few, so that who was away needs a snapshot.
    pub(crate) log_retain_entries: u64,
    /// How many bytes a chunk of a snapshot has: few, so that there are many.
    pub(crate) snapshot_chunk_bytes: usize,
    /// How often, per mille, a process takes several inputs in one turn.
    pub(crate) lazy_flush: u64,
    /// Whether learners become voters by themselves, one at a time.
    pub(crate) auto_promote: bool,
    /// Whether there are programs of two versions.
    pub(crate) programs: bool,
    /// Whether nodes take in so little at once that they refuse some of it.
    pub(crate) tight: bool,
    /// Whether nodes may have granted longer leases before they were started than they grant now.
    pub(crate) shorter_lease: bool,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng, drift_broken: bool, shape: Shape) -> Self {
        let mut plan = Self::any(rng, drift_broken);
        let shape = match shape {
            Shape::Any if rng.chance(400) => Shape::ALL[1 + pick(rng, Shape::ALL.len() - 1)],
            shape => shape,
        };
        match shape {
            Shape::Any => {}
            Shape::Leases => {
                plan.nodes = 3;
                plan.drawn = vec![Fault::Partition, Fault::Partition, Fault::Pause, Fault::ClockRate];
                (plan.loss, plan.delay, plan.lull) = (0, 5, 3);
                (plan.clients, plan.keys, plan.rest) = (6, 1, plan.patience / 8);
                // Few writes: a node that misses one is not elected, however wrongly others would vote for it.
                (plan.lease_reads, plan.creep) = ([60, 97][pick(rng, 2)], 700);
            }
            Shape::Members => {
                plan.nodes = 5;
                plan.ambush = 1_000;
                plan.drawn = vec![Fault::Removal, Fault::Addition, Fault::Removal, Fault::Partition, Fault::Crash];
                plan.strike = [0, 400][pick(rng, 2)];
            }
            Shape::Disks => {
                plan.nodes = 5;
                plan.drawn = vec![Fault::StalledDisk, Fault::StalledDisk, Fault::Crash, Fault::SlowDisk];
                // What is asked for twice is acknowledged at once the second time: between the reports of two writes, too.
                (plan.lull, plan.duplication, plan.delay) = (3, 300, 100);
            }
            Shape::Elections => {
                plan.nodes = 5;
                plan.ambush = 1_000;
                plan.append_bytes_max = 1;
                plan.drawn = vec![Fault::Partition, Fault::Partition, Fault::Crash, Fault::Pause];
            }
            Shape::Snapshots => {
                plan.nodes = 3;
                plan.drawn = vec![Fault::PowerLoss, Fault::Crash, Fault::Partition, Fault::StateLoss, Fault::SlowApply];
                (plan.log_retain_entries, plan.snapshot_chunk_bytes) = (0, [300, 3_000][pick(rng, 2)]);
                plan.strike = 200;
            }
            Shape::Frames => {
                (plan.loss, plan.duplication, plan.delay) = (50, 100, 100);
                (plan.nodes, plan.clients) = (3, 8);
            }
            Shape::Transfers => {
                plan.nodes = 3;
                plan.drawn = vec![Fault::Transfer, Fault::Transfer, Fault::Transfer, Fault::Crash, Fault::StalledDisk];
                (plan.loss, plan.delay) = (0, 5);
                (plan.clients, plan.keys, plan.rest) = (6, 1, plan.patience / 8);
                plan.lease_reads = 60;
            }
            Shape::FullDisks => {
                plan.nodes = 3;
                plan.drawn = vec![Fault::FullDisk, Fault::FullDisk, Fault::Crash, Fault::PowerLoss, Fault::Partition];
            }
            Shape::Joint => {
                plan.nodes = 3;
                plan.auto_promote = false;
                plan.drawn = vec![Fault::Addition, Fault::Addition, Fault::Joint, Fault::Joint, Fault::Crash];
                plan.strike = [0, 400][pick(rng, 2)];
            }
            Shape::Damage => {
                plan.nodes = 3;
                plan.drawn = vec![
                    Fault::LogDamage,
                    Fault::LogDamage,
                    Fault::LogRot,
                    Fault::Partition,
                    Fault::Crash,
                    Fault::SlowApply,
                ];
                plan.lull = 2;
            }
            Shape::Links => {
                plan.nodes = [3, 5, 5][pick(rng, 3)];
                plan.drawn = vec![
                    Fault::QuorumLoss,
                    Fault::ConstrainedElection,
                    Fault::Chained,
                    Fault::SlowLink,
                    Fault::Flapping,
                    Fault::Crash,
                ];
                // Links are poor one after another more often than all at once.
                (plan.loss, plan.lull) = (0, 2);
            }
        }
        // Where a run looks for something else it would only be seen less often.
        plan.programs = shape == Shape::Any && rng.chance(500);
        if plan.programs {
            plan.drawn.extend([Fault::Program, Fault::Program, Fault::NewUsed]);
        }
        plan
    }

    fn any(rng: &mut Rng, drift_broken: bool) -> Self {
        let nodes = [3, 3, 3, 3, 5, 5, 2, 4, 3, 1][pick(rng, 10)];
        let patience = [100, 250, 1_000][pick(rng, 3)] * 1_000_000;
        let drawable = [
            Fault::Partition,
            Fault::OneWay,
            Fault::QuorumLoss,
            Fault::ConstrainedElection,
            Fault::Chained,
            Fault::SlowLink,
            Fault::Flapping,
            Fault::Crash,
            Fault::PowerLoss,
            Fault::Pause,
            Fault::SlowDisk,
            Fault::StalledDisk,
            Fault::FullDisk,
            Fault::ClockRate,
            Fault::SlowApply,
            Fault::StateLoss,
            Fault::LogDamage,
            Fault::LogRot,
            Fault::Addition,
            Fault::Removal,
            Fault::Transfer,
            Fault::Joint,
        ];
        let mut drawn: Vec<_> = drawable.into_iter().filter(|_| rng.chance(450)).collect();
        // Crashes are where most of the promises are made or broken, and every run must have something happen to it.
        if drawn.len() < 3 || rng.chance(300) {
            drawn.extend([Fault::Crash, Fault::Crash, Fault::Pause, Fault::SlowDisk]);
        }
        if nodes < 3 {
            // Small groups grow, or there is little to see; and a node alone has no network to go wrong.
            drawn.extend([Fault::Addition, Fault::Addition, Fault::Crash, Fault::Pause, Fault::SlowDisk]);
        }
        if drawn.iter().any(|fault| matches!(fault, Fault::Removal | Fault::Addition | Fault::Joint)) {
            // Members go in ambushes, too: the last one could be among them that has the state.
            drawn.retain(|fault| *fault != Fault::StateLoss);
        }
        let mut some = |chance: u64, max: u64| if rng.chance(chance) { 1 + rng.below(max) } else { 0 };
        let (loss, duplication, delay) = (some(600, 100), some(500, 50), some(600, 50));
        // Where several change at once, somebody must be left to change.
        let auto_promote = !drawn.contains(&Fault::Joint) || rng.chance(500);
        let clock_ppm = if drift_broken { 400_000 } else { 4_900 };
        Self {
            nodes,
            patience,
            drawn,
            loss,
            duplication,
            delay,
            way: patience / (80 + rng.below(400)),
            sync: patience / (80 + rng.below(400)),
            clock_ppm,
            clients: 3 + pick(rng, 6),
            keys: 1 + rng.below(6),
            rest: patience / (4 + rng.below(40)),
            cache_bytes_max: [0, 500, 5_000, 1 << 20][pick(rng, 4)],
            append_bytes_max: [1, 200, 2_000, 1 << 20][pick(rng, 4)],
            window_bytes_max: [400, 4_000, 1 << 20][pick(rng, 3)],
            segment_bytes: [4, 16, 256][pick(rng, 3)] << 10,
            lull: 0,
            lease_reads: 20,
            creep: 300,
            ambush: [0, 200, 600][pick(rng, 3)],
            strike: [0, 0, 100][pick(rng, 3)],
            log_retain_entries: [0, 10, 100, u64::MAX][pick(rng, 4)],
            snapshot_chunk_bytes: [300, 3_000, 1 << 20][pick(rng, 3)],
            lazy_flush: [0, 300, 900][pick(rng, 3)],
            auto_promote,
            programs: false,
            tight: rng.chance(150),
            shorter_lease: rng.chance(100),
        }
    }

    /// What befalls frames.
    pub(crate) fn ways(&self) -> Ways {
        let Self { way, patience, loss, delay, duplication, .. } = *self;
        Ways { way, patience, loss, delay, duplication }
    }

    /// Raft's configuration, in proportion to this plan's patience.
    pub(crate) fn raft(&self, id: NodeId) -> Config {
        let patience = Duration::from_nanos(self.patience);
        let mut config = Config::new(id);
        config.election_timeout = patience;
        config.heartbeat_interval = patience / 8;
        config.lease = patience * 9 / 10;
        config.store_timeout = patience;
        config.append_bytes_max = self.append_bytes_max;
        config.window_bytes_max = self.window_bytes_max;
        config.cache_bytes_max = self.cache_bytes_max;
        config.snapshot_patience = patience * 6;
        if self.shorter_lease {
            config.lease_granted = patience * 2;
        }
        if self.tight {
            (config.reads_max, config.uncommitted_bytes_max) = (2, 200);
        }
        config
    }
}

/// A place below `count`.
pub(crate) fn pick(rng: &mut Rng, count: usize) -> usize {
    usize::try_from(rng.below(count as u64)).expect("below a usize")
}
