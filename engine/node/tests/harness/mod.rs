//! A cluster in memory: nodes as shipped, and around them a made-up clock, network, disk and state machine, all of
//! which do exactly what the test says and nothing by chance.
//!
//! Time jumps from one happening to the next. Everything that happens to a node at one instant is one turn.

#![allow(dead_code, reason = "each test file uses its part of the harness")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, GroupId, Index, LogId, NodeId, Protocol, RequestId, Rng, Time};
use hezong_node::{
    BatchId, ClientRequest, Node, NodeConfig, NodeEffect, NodeInput, Notice, ReadLevel, Reply, StateFound,
};
use hezong_raft::{Base, Change, Entry, Member, Membership, Message, Payload, Raft, Role, Saved, Version, Write};

pub(crate) const GROUP: GroupId = GroupId(1);
const LINK: Duration = Duration::from_micros(500);
const DISK: Duration = Duration::from_millis(2);
const APPLY: Duration = Duration::from_micros(100);

/// Adds up the numbers it is given; its reply is the sum so far. Keeps what it was given, to compare replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) sum: u64,
    pub(crate) applied: Option<Base>,
    pub(crate) ids: Vec<LogId>,
    /// The numbers added, and the entries that added them.
    pub(crate) added: Vec<(LogId, u64)>,
}

impl Counter {
    fn apply(&mut self, entries: &[Entry]) -> Vec<Bytes> {
        let mut replies = Vec::new();
        for entry in entries {
            let after = Index::after(self.ids.last().map(|id| id.index));
            assert_eq!(entry.id.index, after, "entries are applied without gaps and once");
            let base = self.applied.get_or_insert_default();
            (base.last, base.time) = (Some(entry.id), entry.time);
            self.ids.push(entry.id);
            match &entry.payload {
                Payload::Empty => replies.push(Bytes::new()),
                Payload::Membership(membership) => {
                    base.membership = membership.clone();
                    replies.push(Bytes::new());
                }
                Payload::Command(command) => {
                    let number: [u8; 8] = command[..8].try_into().expect("a command starts with a number");
                    self.added.push((entry.id, u64::from_be_bytes(number)));
                    self.sum += u64::from_be_bytes(number);
                    replies.push(Bytes::copy_from_slice(&self.sum.to_be_bytes()));
                }
            }
        }
        replies
    }
}

/// What of a group survives a crash.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) saved: Saved,
    pub(crate) entries: BTreeMap<Index, Entry>,
}

impl Disk {
    fn write(&mut self, write: &Write) {
        Raft::save(&mut self.saved, write);
        match write {
            Write::Vote { .. } => {}
            Write::Append(entries) => self.entries.extend(entries.iter().map(|e| (e.id.index, e.clone()))),
            Write::Truncate(from) => drop(self.entries.split_off(from)),
            Write::Compact(base) => {
                let last = base.last.expect("compaction has an end").index;
                self.entries = self.entries.split_off(&last.next());
            }
            Write::Reset(_) => self.entries.clear(),
        }
    }
}

/// One node and the world as it sees it.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) config: NodeConfig,
    pub(crate) up: bool,
    /// Counted up by a crash: what was on its way from an earlier life is dropped.
    life: u64,
    pub(crate) disks: BTreeMap<GroupId, Disk>,
    pub(crate) machines: BTreeMap<GroupId, Counter>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) peers: BTreeMap<NodeId, Member>,
    pub(crate) settled: Membership,
    pub(crate) drained: bool,
    /// As noted in its folder.
    pub(crate) used: Version,
    pub(crate) persists: u64,
    /// Frames sent to each peer.
    pub(crate) frames: BTreeMap<NodeId, u64>,
    /// Whether the disk accepts writes and never finishes them.
    pub(crate) disk_stalled: bool,
    stalled_batches: Vec<(BatchId, Vec<(GroupId, Write)>)>,
    /// Whether the state machine takes entries and never finishes them.
    pub(crate) apply_stalled: bool,
    pub(crate) stalled_applies: VecDeque<(GroupId, Vec<Entry>)>,
}

enum Happening {
    Input(NodeInput),
    Written(BatchId, Vec<(GroupId, Write)>),
    Read { group: GroupId, ask: AskId, from: Index, through: Index, bytes_max: usize },
    Apply { group: GroupId, entries: Vec<Entry> },
}

pub(crate) struct Cluster {
    pub(crate) now: Time,
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) raft: hezong_raft::Config,
    /// Ordered pairs that cannot talk.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// What happens next, by when, and in order of issue at one instant.
    queue: BTreeMap<(Time, u64), (NodeId, u64, Happening)>,
    issued: u64,
    next_request: u64,
    seed: u64,
    /// Loses, delays and doubles frames, if wanted.
    pub(crate) bad_network: Option<Rng>,
    /// A known bug: versions in use are not noted.
    pub(crate) marks_ignored: bool,
    /// Every effect of every node, if wanted.
    pub(crate) trace: Option<Vec<String>>,
}

pub(crate) fn member(id: u64) -> Member {
    Member { name: format!("node{id:02}"), peer: format!("host{id}:8089"), client: format!("host{id}:8091") }
}

pub(crate) fn voters(ids: impl IntoIterator<Item = u64>) -> Membership {
    Membership::of_voters(ids.into_iter().map(|id| (NodeId(id), member(id))))
}

/// A command that adds `number`.
pub(crate) fn add(number: u64) -> ClientRequest {
    ClientRequest::Propose {
        command: Bytes::copy_from_slice(&number.to_be_bytes()),
        frees_space: false,
        version: Version::default(),
    }
}

pub(crate) fn read(level: ReadLevel) -> ClientRequest {
    ClientRequest::Read { level, min_index: None }
}

/// The sum a reply tells.
pub(crate) fn sum(reply: &Reply) -> u64 {
    match reply {
        Reply::Done { reply, .. } => u64::from_be_bytes(reply[..].try_into().expect("a sum")),
        other => panic!("not done: {other:?}"),
    }
}

impl Cluster {
    /// Nodes 1 to `count`, without groups.
    pub(crate) fn new(count: u64) -> Self {
        let mut cluster = Self {
            now: Time::from_millis(1_000),
            hosts: BTreeMap::new(),
            raft: hezong_raft::Config::new(NodeId(1)),
            cut: BTreeSet::new(),
            queue: BTreeMap::new(),
            issued: 0,
            next_request: 0,
            seed: 7,
            bad_network: None,
            marks_ignored: false,
            trace: None,
        };
        for id in 1..=count {
            cluster.add_host(NodeConfig::new(NodeId(id)));
        }
        cluster
    }

    /// Three nodes with one group that they all vote in, and the leader they chose.
    pub(crate) fn three() -> (Self, NodeId) {
        Self::three_with(|_| {})
    }

    pub(crate) fn three_with(change: impl Fn(&mut NodeConfig)) -> (Self, NodeId) {
        let mut cluster = Self::new(0);
        for id in 1..=3 {
            let mut config = NodeConfig::new(NodeId(id));
            change(&mut config);
            cluster.add_host(config);
        }
        cluster.open_everywhere(GROUP);
        let leader = cluster.wait_leader(GROUP);
        (cluster, leader)
    }

    pub(crate) fn add_host(&mut self, config: NodeConfig) {
        let host = Host {
            node: Node::new(config.clone()),
            config: config.clone(),
            up: true,
            life: 0,
            disks: BTreeMap::new(),
            machines: BTreeMap::new(),
            replies: BTreeMap::new(),
            notices: Vec::new(),
            peers: BTreeMap::new(),
            settled: Membership::default(),
            drained: false,
            used: Version::default(),
            persists: 0,
            frames: BTreeMap::new(),
            disk_stalled: false,
            stalled_batches: Vec::new(),
            apply_stalled: false,
            stalled_applies: VecDeque::new(),
        };
        self.hosts.insert(config.id, host);
    }

    /// Opens a group on all nodes, which all have the same first members on disk.
    pub(crate) fn open_everywhere(&mut self, group: GroupId) {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let membership = voters(ids.iter().map(|id| id.0));
        for id in ids {
            let disk = self.hosts.get_mut(&id).unwrap().disks.entry(group).or_default();
            disk.write(&Write::Reset(Base { membership: membership.clone(), ..Base::default() }));
            self.open(id, group);
        }
    }

    /// Opens a group on what the node's disk holds.
    pub(crate) fn open(&mut self, id: NodeId, group: GroupId) {
        self.seed += 1;
        let host = self.hosts.get_mut(&id).unwrap();
        let config = hezong_raft::Config { id, ..self.raft.clone() };
        let saved = host.disks.entry(group).or_default().saved.clone();
        let applied = host.machines.entry(group).or_default().applied.clone();
        let state = StateFound { applied, is_installed: false };
        let mut out = Vec::new();
        host.node.open_group(self.now, group, config, saved, state, Rng::new(self.seed), &mut out).unwrap();
        host.node.flush(self.now, &mut out);
        self.carry_out(id, out);
    }

    // ---- what a test does

    /// Hands in one input and ends the turn at once.
    pub(crate) fn hand(&mut self, id: NodeId, input: NodeInput) {
        self.turn(id, vec![input]);
    }

    /// One client's request, in a turn of its own.
    pub(crate) fn ask(&mut self, id: NodeId, request: ClientRequest) -> RequestId {
        self.ask_all(id, vec![request])[0]
    }

    /// Several clients' requests, in one turn.
    pub(crate) fn ask_all(&mut self, id: NodeId, requests: Vec<ClientRequest>) -> Vec<RequestId> {
        let mut ids = Vec::new();
        let mut inputs = Vec::new();
        for request in requests {
            self.next_request += 1;
            let request_id = RequestId(self.next_request);
            ids.push(request_id);
            inputs.push(NodeInput::Request { id: request_id, group: GROUP, request });
        }
        self.turn(id, inputs);
        ids
    }

    /// Asks and runs until it is answered.
    pub(crate) fn call(&mut self, id: NodeId, request: ClientRequest) -> Reply {
        let request = self.ask(id, request);
        self.wait_reply(id, request)
    }

    pub(crate) fn wait_reply(&mut self, id: NodeId, request: RequestId) -> Reply {
        self.run_until(Duration::from_secs(20), |cluster| cluster.reply(id, request).is_some());
        self.reply(id, request).unwrap()
    }

    pub(crate) fn reply(&self, id: NodeId, request: RequestId) -> Option<Reply> {
        self.hosts[&id].replies.get(&request).cloned()
    }

    /// The node dies: what was not stored is lost, and so is everything the state machine knew.
    pub(crate) fn crash(&mut self, id: NodeId) {
        self.crash_with_state(id);
        self.hosts.get_mut(&id).unwrap().machines.clear();
    }

    /// The node dies, and its state machine finds everything again that it had applied.
    pub(crate) fn crash_with_state(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.up = false;
        host.life += 1;
        host.stalled_batches.clear();
        host.stalled_applies.clear();
        (host.disk_stalled, host.apply_stalled) = (false, false);
        host.notices.clear();
        host.node = Node::new(host.config.clone());
    }

    pub(crate) fn restart(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.up = true;
        let groups: Vec<GroupId> = host.disks.keys().copied().collect();
        for group in groups {
            self.open(id, group);
        }
    }

    /// Nobody hears `id`, and it hears nobody.
    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self.hosts.keys().copied().filter(|other| *other != id) {
            self.cut.extend([(id, other), (other, id)]);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Lets the state machine finish what it took in while it stalled.
    pub(crate) fn resume_apply(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.apply_stalled = false;
        for (group, entries) in std::mem::take(&mut host.stalled_applies) {
            self.schedule(id, APPLY, Happening::Apply { group, entries });
        }
    }

    pub(crate) fn resume_disk(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.disk_stalled = false;
        // One fdatasync serves all that has queued up, and one answer tells of them all.
        let stalled = std::mem::take(&mut host.stalled_batches);
        if let Some(last) = stalled.last().map(|(batch, _)| *batch) {
            let writes = stalled.into_iter().flat_map(|(_, writes)| writes).collect();
            self.schedule(id, DISK, Happening::Written(last, writes));
        }
    }

    // ---- how time passes

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until the condition holds.
    pub(crate) fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !condition(self) {
            assert!(self.step(end), "what was waited for did not happen within {limit:?}");
        }
    }

    /// One turn of one node; false when nothing happens until `end`.
    fn step(&mut self, end: Time) -> bool {
        let next = self.queue.first_key_value().map(|((at, _), (id, ..))| (*at, *id));
        let deadlines = self.hosts.iter().filter(|(_, host)| host.up);
        let deadline = deadlines.filter_map(|(id, host)| host.node.deadline().map(|at| (at.max(self.now), *id))).min();
        let Some((at, id)) = [next, deadline].into_iter().flatten().min().filter(|(at, _)| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        let now = self.now;
        let mut inputs = Vec::new();
        let due: Vec<(Time, u64)> =
            self.queue.range(..=(now, u64::MAX)).filter(|(_, (host, ..))| *host == id).map(|(key, _)| *key).collect();
        for key in due {
            let (_, life, happening) = self.queue.remove(&key).unwrap();
            let host = self.hosts.get_mut(&id).unwrap();
            if host.life == life && host.up {
                inputs.extend(host.happens(happening));
            }
        }
        self.turn(id, inputs);
        true
    }

    fn turn(&mut self, id: NodeId, inputs: Vec<NodeInput>) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).unwrap();
        if !host.up {
            return;
        }
        let mut out = Vec::new();
        for input in inputs {
            host.node.handle(now, input, &mut out);
        }
        if host.node.deadline().is_some_and(|at| at <= now) {
            host.node.handle(now, NodeInput::Timeout, &mut out);
        }
        host.node.flush(now, &mut out);
        assert!(host.node.deadline().is_none_or(|at| at > now), "after a timeout the next lies ahead");
        self.carry_out(id, out);
    }

    fn schedule(&mut self, to: NodeId, after: Duration, happening: Happening) {
        self.issued += 1;
        let life = self.hosts.get(&to).map_or(0, |host| host.life);
        self.queue.insert((self.now + after, self.issued), (to, life, happening));
    }

    pub(crate) fn carry_out(&mut self, id: NodeId, out: Vec<NodeEffect>) {
        for effect in out {
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{} {id} {effect:?}", self.now.as_nanos()));
            }
            let host = self.hosts.get_mut(&id).unwrap();
            match effect {
                NodeEffect::Send { to, messages } => {
                    *host.frames.entry(to).or_default() += 1;
                    self.send(id, to, messages);
                }
                NodeEffect::Store { batch, writes } if host.disk_stalled => host.stalled_batches.push((batch, writes)),
                NodeEffect::Store { batch, writes } => self.schedule(id, DISK, Happening::Written(batch, writes)),
                NodeEffect::ReadLog { group, ask, from, through, bytes_max } => {
                    self.schedule(id, DISK, Happening::Read { group, ask, from, through, bytes_max });
                }
                NodeEffect::Apply { group, entries } if host.apply_stalled => {
                    host.stalled_applies.push_back((group, entries));
                }
                NodeEffect::Apply { group, entries } => self.schedule(id, APPLY, Happening::Apply { group, entries }),
                NodeEffect::Persist { group } => {
                    host.persists += 1;
                    let durable = host.machines[&group].applied.as_ref().and_then(|base| base.last);
                    self.schedule(id, DISK, Happening::Input(NodeInput::Persisted { group, durable }));
                }
                NodeEffect::Reply { id: request, reply } => {
                    let twice = host.replies.insert(request, reply);
                    assert!(twice.is_none(), "a client is answered once: {twice:?}");
                }
                NodeEffect::Snapshot { .. } | NodeEffect::SendSnapshot { .. } => {
                    unreachable!("logs are kept whole here, so nobody needs a snapshot")
                }
                NodeEffect::Peers(peers) => host.peers = peers,
                NodeEffect::Settled { membership, .. } => host.settled = membership,
                NodeEffect::Uses(_) if self.marks_ignored => {}
                NodeEffect::Uses(version) => host.used = host.used.max(version),
                NodeEffect::Notice(notice) => host.notices.push(notice),
                NodeEffect::Drained => host.drained = true,
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, messages: Vec<(GroupId, Message)>) {
        if self.cut.contains(&(from, to)) || !self.hosts.contains_key(&to) || !self.shake_hands(from, to) {
            return;
        }
        let mut delays = vec![LINK];
        if let Some(rng) = &mut self.bad_network {
            if rng.chance(30) {
                delays.clear();
            } else if rng.chance(50) {
                delays.push(LINK);
            }
            for delay in &mut delays {
                if rng.chance(100) {
                    *delay = rng.between(LINK, 50 * LINK);
                }
            }
        }
        for delay in delays {
            let messages = messages.clone();
            self.schedule(to, delay, Happening::Input(NodeInput::Received { from, messages }));
        }
    }

    /// Whether two nodes talk to each other, by what they know and what they have noted.
    pub(crate) fn shake_hands(&self, one: NodeId, other: NodeId) -> bool {
        let (one, other) = (&self.hosts[&one], &self.hosts[&other]);
        one.used <= other.config.newest && other.used <= one.config.newest
    }

    /// Everybody who is up connects to everybody anew.
    pub(crate) fn connect(&mut self) {
        let up: Vec<NodeId> = self.hosts.iter().filter(|(_, host)| host.up).map(|(id, _)| *id).collect();
        for (one, other) in up.iter().flat_map(|one| up.iter().map(move |other| (*one, *other))) {
            if one != other && self.shake_hands(one, other) {
                let version = self.hosts[&one].config.newest.min(self.hosts[&other].config.newest);
                self.hand(one, NodeInput::Version { peer: other, version });
            }
        }
    }

    // ---- what a test sees

    pub(crate) fn role(&self, id: NodeId, group: GroupId) -> Option<Role> {
        let host = &self.hosts[&id];
        host.up.then(|| host.node.status(self.now, group).map(|status| status.raft.role)).flatten()
    }

    /// The node that leads in the highest term.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        let statuses = self.hosts.iter().filter(|(_, host)| host.up).filter_map(|(id, host)| {
            host.node.status(self.now, group).filter(|s| s.raft.role == Role::Leader).map(|s| (s.raft.term, *id))
        });
        statuses.max().map(|(_, id)| id)
    }

    /// Runs until somebody leads, has committed its first entry, and everybody up agrees.
    pub(crate) fn wait_leader(&mut self, group: GroupId) -> NodeId {
        self.run_until(Duration::from_secs(20), |cluster| {
            let Some(leader) = cluster.leader(group) else { return false };
            let term = cluster.hosts[&leader].node.status(cluster.now, group).unwrap().raft.term;
            cluster.hosts.iter().filter(|(id, host)| host.up && !cluster.cut.contains(&(leader, **id))).all(
                |(_, host)| {
                    let status = host.node.status(cluster.now, group);
                    status.is_none_or(|s| {
                        s.raft.leader == Some(leader) && s.applied.is_some_and(|applied| applied.term == term)
                    })
                },
            )
        });
        self.leader(group).unwrap()
    }

    /// Two that are not `leader`.
    pub(crate) fn others(&self, leader: NodeId) -> Vec<NodeId> {
        self.hosts.keys().copied().filter(|id| *id != leader).collect()
    }

    pub(crate) fn machine(&self, id: NodeId) -> &Counter {
        &self.hosts[&id].machines[&GROUP]
    }

    pub(crate) fn wait_same_state(&mut self) {
        self.run_until(Duration::from_secs(20), |cluster| {
            let mut machines =
                cluster.hosts.values().filter(|host| host.up).filter_map(|host| host.machines.get(&GROUP));
            let first = machines.next().unwrap();
            machines.all(|machine| machine == first)
        });
    }

    pub(crate) fn change(&mut self, leader: NodeId, change: Change) -> Reply {
        self.call(leader, ClientRequest::Change(change))
    }
}

impl Host {
    /// What a happening comes to for the node.
    fn happens(&mut self, happening: Happening) -> Option<NodeInput> {
        match happening {
            Happening::Input(input) => Some(input),
            Happening::Written(batch, writes) => {
                for (group, write) in &writes {
                    self.disks.entry(*group).or_default().write(write);
                }
                Some(NodeInput::Stored(batch))
            }
            Happening::Read { group, ask, from, through, bytes_max } => {
                let mut bytes = 0;
                let entries = self.disks[&group].entries.range(from..=through).map(|(_, entry)| entry.clone());
                let fits = |entry: &Entry| {
                    let first = bytes == 0;
                    bytes += entry.bytes();
                    first || bytes <= bytes_max
                };
                Some(NodeInput::LogRead { group, ask, entries: entries.take_while(fits).collect() })
            }
            Happening::Apply { group, entries } => {
                let replies = self.machines.entry(group).or_default().apply(&entries);
                Some(NodeInput::Applied { group, through: entries.last().unwrap().id, replies })
            }
        }
    }
}
