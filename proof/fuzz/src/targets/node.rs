//! `Node::handle` with anything that peers and clients may send. What the node's own runner answers is true: a runner that
//! hands in what was not asked for is a bug, and stops the node on purpose.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, GroupId, Index, LogId, NodeId, Protocol as _, RequestId, Rng, Term, Time};
use hezong_codec::{SnapshotBody, SnapshotMessage};
use hezong_node::{
    BatchId, Begun, Chunk, ClientRequest, Node, NodeConfig, NodeEffect, NodeInput, ReadLevel, SnapshotDone,
    SnapshotWork, StateFound,
};
use hezong_raft::{Base, Body, Config, Entry, Message, Raft, Role, Saved, SnapshotId, Version, Write};

use super::raft::{body, change, number, steps, voters};
use super::random;

const GROUP: GroupId = GroupId(1);
const US: NodeId = NodeId(1);

/// Whether anything was applied.
pub(super) fn run(input: &[u8]) -> bool {
    let mut world = World::new();
    for mut rng in steps(input) {
        if world.contradicted {
            break;
        }
        world.step(&mut rng);
    }
    world.applied.is_some()
}

/// Work for the state machine, in order.
enum Job {
    Apply(Vec<Entry>),
    Persist,
    Snapshot(SnapshotWork),
}

/// A reading of the log.
struct Reading {
    group: GroupId,
    ask: AskId,
    from: Index,
    through: Index,
}

struct World {
    node: Node,
    now: Time,
    entries: BTreeMap<Index, Entry>,
    batches: VecDeque<BatchId>,
    readings: VecDeque<Reading>,
    jobs: VecDeque<Job>,
    chunks: VecDeque<SnapshotDone>,
    applied: Option<LogId>,
    requests: u64,
    /// Whether a peer's snapshot denied what another had called committed, and was switched to. One of them lied, which no
    /// protocol for crashes can bear: the node would stop.
    contradicted: bool,
}

impl World {
    fn new() -> Self {
        let mut config = NodeConfig::new(US);
        (config.apply_bytes_max, config.persist_bytes, config.log_retain_entries) = (100, 300, 3);
        config.snapshot_chunk_bytes = 100;
        let mut saved = Saved::default();
        Raft::save(&mut saved, &Write::Reset(Base { membership: voters(3), ..Base::default() }));
        let mut raft = Config::new(US);
        (raft.cache_bytes_max, raft.window_bytes_max, raft.append_bytes_max) = (100, 400, 200);
        let mut world = Self {
            node: Node::new(config),
            now: Time::from_millis(1_000),
            entries: BTreeMap::new(),
            batches: VecDeque::new(),
            readings: VecDeque::new(),
            jobs: VecDeque::new(),
            chunks: VecDeque::new(),
            applied: None,
            requests: 0,
            contradicted: false,
        };
        let mut out = Vec::new();
        let opened = world.node.open_group(world.now, GROUP, raft, saved, StateFound::default(), Rng::new(7), &mut out);
        opened.expect("log and state are empty");
        world.node.flush(world.now, &mut out);
        world.carry_out(out);
        world
    }

    fn step(&mut self, rng: &mut Rng) {
        self.now = self.now + Duration::from_millis(rng.below(60));
        match rng.below(100) {
            0..40 => {
                let messages = (0..1 + rng.below(3)).map(|_| self.message(rng)).collect();
                let from = NodeId(2 + rng.below(4));
                self.turn(vec![NodeInput::Received { from, messages }]);
            }
            40..48 => {
                let message = self.snapshot_message(rng);
                let from = NodeId(2 + rng.below(4));
                self.turn(vec![NodeInput::SnapshotMessage { from, message }]);
            }
            48..60 => {
                let requests = (0..1 + rng.below(3)).map(|_| self.request(rng)).collect();
                self.turn(requests);
            }
            60..62 => self.turn(vec![NodeInput::Cancel { id: RequestId(rng.below(1 + self.requests)) }]),
            62..64 => self.turn(vec![NodeInput::DiskReserve { below: rng.chance(500) }]),
            64..66 => {
                let (peer, version) = (NodeId(number(rng)), Version(1 + crate::spoil::byte(rng) % 4));
                self.turn(vec![NodeInput::Version { peer, version }]);
            }
            66..72 => self.pass(),
            72..78 => self.elect(),
            78 if rng.chance(100) => self.turn(vec![NodeInput::Stop]),
            _ => self.work(rng),
        }
    }

    fn message(&self, rng: &mut Rng) -> (GroupId, Message) {
        if rng.chance(100) {
            return random::message(rng);
        }
        let raft = self.node.raft(GROUP).expect("it is open");
        let near = (raft.term().0 + rng.below(3)).saturating_sub(1);
        let term = Term(if rng.chance(80) { number(rng) } else { near });
        (GROUP, Message { term, body: body(rng, raft.log().last()) })
    }

    fn snapshot_message(&self, rng: &mut Rng) -> SnapshotMessage {
        let cursor = rng.chance(500).then(|| random::blob(rng));
        let body = match rng.below(5) {
            0 | 1 => SnapshotBody::Fetch { cursor, bytes_max: number(rng) },
            2 => SnapshotBody::Chunk {
                cursor,
                bytes: random::blob(rng),
                next: rng.chance(500).then(|| random::blob(rng)),
            },
            3 => SnapshotBody::Gone,
            _ => SnapshotBody::Done,
        };
        let group = if rng.chance(900) { GROUP } else { GroupId(number(rng)) };
        SnapshotMessage { group, snapshot: SnapshotId(number(rng)), body }
    }

    fn request(&mut self, rng: &mut Rng) -> NodeInput {
        self.requests += 1;
        let min_index = rng.chance(300).then(|| Index(number(rng)));
        let request = match rng.below(9) {
            0..=2 => ClientRequest::Propose {
                command: random::blob(rng),
                frees_space: rng.chance(500),
                version: Version(1 + crate::spoil::byte(rng) % 3),
            },
            3 => ClientRequest::Read { level: ReadLevel::Stale, min_index },
            4 => ClientRequest::Read { level: ReadLevel::Consistent, min_index },
            5 => ClientRequest::Change(change(rng)),
            6 => ClientRequest::Transfer(rng.chance(500).then(|| NodeId(number(rng)))),
            7 => ClientRequest::Barrier,
            _ => ClientRequest::Status,
        };
        let group = if rng.chance(950) { GROUP } else { GroupId(number(rng)) };
        NodeInput::Request { id: RequestId(self.requests), group, request }
    }

    /// Time passes until something is due.
    fn pass(&mut self) {
        if let Some(deadline) = self.node.deadline() {
            self.now = self.now.max(deadline);
            self.turn(Vec::new());
        }
    }

    /// It campaigns, and somebody grants whatever it asks.
    fn elect(&mut self) {
        self.pass();
        let own = |world: &Self| world.node.raft(GROUP).expect("it is open").term();
        for vote in [false, true] {
            let (term, body) = match vote {
                false => (own(self).next(), Body::PreVote { granted: true }),
                true => (own(self), Body::Vote { granted: true }),
            };
            for from in [2, 3] {
                let messages = vec![(GROUP, Message { term, body: body.clone() })];
                self.turn(vec![NodeInput::Received { from: NodeId(from), messages }]);
            }
            self.store_all();
        }
    }

    fn store_all(&mut self) {
        let last = self.batches.drain(..).next_back();
        if let Some(last) = last {
            self.turn(vec![NodeInput::Stored(last)]);
        }
    }

    /// Something that was asked of the runner is done.
    fn work(&mut self, rng: &mut Rng) {
        match rng.below(5) {
            0 | 1 => self.store_all(),
            2 => {
                if let Some(Reading { group, ask, from, through }) = self.readings.pop_front() {
                    let entries = self.entries.range(from..=through).map(|(_, entry)| entry.clone()).collect();
                    self.turn(vec![NodeInput::LogRead { group, ask, entries }]);
                }
            }
            3 => {
                if let Some(done) = self.chunks.pop_front() {
                    self.turn(vec![NodeInput::Snapshot { group: GROUP, done }]);
                }
            }
            _ => self.job(rng),
        }
    }

    /// Whether a state at `base` lacks what is committed, or what a leader holds.
    fn denied_by(&self, base: &Base) -> bool {
        let raft = self.node.raft(GROUP).expect("it is open");
        let status = raft.status(self.now);
        let is_in_log = raft.log().agrees(base.last) && base.last.map(|last| last.index) <= raft.log().last_index();
        !is_in_log && (base.last.map(|last| last.index) <= status.committed || status.role == Role::Leader)
    }

    fn job(&mut self, rng: &mut Rng) {
        let input = match self.jobs.pop_front() {
            None => return,
            Some(Job::Apply(entries)) => {
                let through = entries.last().expect("never empty").id;
                self.applied = Some(through);
                NodeInput::Applied { group: GROUP, through, replies: entries.iter().map(|_| Bytes::new()).collect() }
            }
            Some(Job::Persist) => NodeInput::Persisted { group: GROUP, durable: self.applied },
            Some(Job::Snapshot(work)) => {
                let done = match work {
                    SnapshotWork::Take(id) => SnapshotDone::Taken { id, last: self.applied },
                    SnapshotWork::Begin(id) => SnapshotDone::Begun { id, begun: Begun::At(None) },
                    SnapshotWork::Install { id, .. } => SnapshotDone::Installed { id, understood: rng.chance(900) },
                    SnapshotWork::Finish { base, .. } if self.denied_by(&base) => {
                        self.contradicted = true;
                        return;
                    }
                    SnapshotWork::Finish { id, base } => {
                        self.applied = base.last;
                        SnapshotDone::Finished { id, base }
                    }
                    SnapshotWork::Read { .. } | SnapshotWork::Drop(_) => return,
                };
                NodeInput::Snapshot { group: GROUP, done }
            }
        };
        self.turn(vec![input]);
    }

    /// Hands in inputs, and what is due with them.
    fn turn(&mut self, inputs: Vec<NodeInput>) {
        let mut out = Vec::new();
        for input in inputs {
            self.node.handle(self.now, input, &mut out);
        }
        if self.node.deadline().is_some_and(|at| at <= self.now) {
            self.node.handle(self.now, NodeInput::Timeout, &mut out);
        }
        self.node.flush(self.now, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<NodeEffect>) {
        for effect in out {
            match effect {
                NodeEffect::Store { batch, writes } => {
                    self.batches.push_back(batch);
                    writes.iter().filter(|(group, _)| *group == GROUP).for_each(|(_, write)| self.write(write));
                }
                NodeEffect::ReadLog { group, ask, from, through, bytes_max: _ } => {
                    self.readings.push_back(Reading { group, ask, from, through });
                }
                NodeEffect::Apply { entries, .. } => self.jobs.push_back(Job::Apply(entries)),
                NodeEffect::Persist { .. } => self.jobs.push_back(Job::Persist),
                NodeEffect::Snapshot { work: SnapshotWork::Read { id, to, cursor, .. }, .. } => {
                    let chunk = Some(Chunk { bytes: Bytes::from_static(b"chunk"), next: None });
                    self.chunks.push_back(SnapshotDone::Read { id, to, cursor, chunk });
                }
                NodeEffect::Snapshot { work: SnapshotWork::Drop(_), .. } => {}
                NodeEffect::Snapshot { work, .. } => self.jobs.push_back(Job::Snapshot(work)),
                NodeEffect::Send { .. }
                | NodeEffect::SendSnapshot { .. }
                | NodeEffect::Reply { .. }
                | NodeEffect::Peers(_)
                | NodeEffect::Settled { .. }
                | NodeEffect::Uses(_)
                | NodeEffect::Notice(_)
                | NodeEffect::Drained => {}
            }
        }
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Vote { .. } => {}
            Write::Append(entries) => self.entries.extend(entries.iter().map(|entry| (entry.id.index, entry.clone()))),
            Write::Truncate(from) => drop(self.entries.split_off(from)),
            Write::Compact(base) => {
                self.entries = self.entries.split_off(&Index::after(base.last.map(|last| last.index)));
            }
            Write::Reset(_) => self.entries.clear(),
        }
    }
}
