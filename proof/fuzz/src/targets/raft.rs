//! `Raft::handle` with anything a peer may send, and with what a runner may do wrong: tokens nobody handed out.
//!
//! Eight bytes are a step, and seed what it draws; so a run that fails becomes shorter by leaving steps out. Numbers are
//! mostly near what the node knows: what is absurd is dropped at the door, and shows little.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Effect, Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Term, Time, WriteId};
use hezong_raft::{
    Answer, Ask, Base, Body, Change, Config, Entry, Event, Member, Membership, Message, Payload, Raft, ReadLevel,
    Request, Role, Saved, SnapshotId, Write,
};

use super::random;

/// The bytes of a step.
pub(super) const STEP_BYTES: usize = 8;

const US: NodeId = NodeId(1);

pub(super) fn sample(rng: &mut Rng) -> Vec<u8> {
    (0..1 + rng.below(120)).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

/// Each step's own chance.
pub(super) fn steps(input: &[u8]) -> impl Iterator<Item = Rng> {
    input.chunks(STEP_BYTES).map(|step| {
        let mut seed = [0; STEP_BYTES];
        seed[..step.len()].copy_from_slice(step);
        Rng::new(u64::from_le_bytes(seed))
    })
}

/// Whether anything was announced as committed.
pub(super) fn run(input: &[u8]) -> bool {
    let mut steps = steps(input);
    let mut world = World::new(&mut steps.next().unwrap_or_else(|| Rng::new(0)));
    for mut rng in steps {
        world.step(&mut rng);
    }
    world.applied.is_some_and(|applied| applied.index > Index(world.found))
}

/// A number that is mostly plausible and sometimes absurd.
pub(super) fn number(rng: &mut Rng) -> u64 {
    match rng.below(14) {
        0 => 0,
        1 => u64::MAX - rng.below(2),
        2 => u64::MAX / 2 + rng.below(3),
        _ => rng.below(9),
    }
}

fn id(rng: &mut Rng) -> LogId {
    LogId { term: Term(number(rng)), index: Index(number(rng)) }
}

fn maybe<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.chance(700).then(|| make(rng))
}

pub(super) fn voters(count: u64) -> Membership {
    Membership::of_voters((1..=count).map(|id| (NodeId(id), member(id))))
}

fn member(id: u64) -> Member {
    Member { name: format!("node{id}"), peer: format!("host{id}:1"), client: format!("host{id}:2") }
}

/// Mostly with plausible numbers.
fn membership(rng: &mut Rng) -> Membership {
    if rng.chance(100) {
        return Membership::of_voters([(NodeId(number(rng)), member(1))]);
    }
    voters(rng.below(5))
}

fn payload(rng: &mut Rng) -> Payload {
    match rng.below(8) {
        0 => Payload::Empty,
        1 => Payload::Membership(membership(rng)),
        2 => Payload::Command(random::blob(rng)),
        _ => Payload::Command(Bytes::from_static(b"command")),
    }
}

fn entries(rng: &mut Rng, previous: Option<LogId>) -> Vec<Entry> {
    let mut next = previous.map_or(1, |id| id.index.0.saturating_add(1));
    let mut term = previous.map_or(1, |id| id.term.0);
    let mut made = Vec::new();
    for _ in 0..rng.below(4) {
        if rng.chance(50) {
            next = number(rng);
        }
        if rng.chance(200) {
            term = number(rng);
        }
        let time = Duration::from_nanos(if rng.chance(100) { number(rng) } else { next });
        made.push(Entry { id: LogId::new(term, next), time, payload: payload(rng) });
        next = next.saturating_add(1);
    }
    made
}

/// What a message may say. `last` is an entry that the receiver holds.
pub(super) fn body(rng: &mut Rng, last: Option<LogId>) -> Body {
    let lease = Duration::from_nanos(number(rng));
    let near = |rng: &mut Rng| if rng.chance(400) { last } else { maybe(rng, id) };
    match rng.below(19) {
        0 => Body::RequestPreVote { last: near(rng) },
        1 => Body::PreVote { granted: rng.chance(500) },
        2 => Body::RequestVote { last: near(rng), transfer: rng.chance(500) },
        3 => Body::Vote { granted: rng.chance(500) },
        4..=7 => {
            let previous = near(rng);
            let entries = entries(rng, previous);
            let committed = maybe(rng, |rng| Index(number(rng)));
            let committed = if rng.chance(400) { entries.last().map(|entry| entry.id.index) } else { committed };
            Body::Append { previous, entries: entries.into(), committed }
        }
        8 => Body::Appended { matched: near(rng).map(|id| id.index) },
        9 => Body::Diverged { previous: id(rng), hint: near(rng) },
        10 => Body::Heartbeat { round: number(rng), lease, committed: maybe(rng, |rng| Index(number(rng))) },
        11 => Body::HeartbeatAck { round: number(rng), lease },
        12 => Body::TimeoutNow,
        13 => Body::LogLost { owed: id(rng), last: near(rng), token: number(rng) },
        14 => Body::LogLostAck { token: number(rng), end: id(rng) },
        15 => {
            let base = Base { last: near(rng), time: lease, membership: membership(rng) };
            Body::InstallSnapshot { id: SnapshotId(number(rng)), base }
        }
        16 => Body::SnapshotInstalled { id: SnapshotId(number(rng)), installed: rng.chance(500) },
        17 => Body::RequestSnapshot,
        _ if rng.chance(500) => Body::ReadIndex { token: number(rng) },
        _ => Body::ReadIndexAck { token: number(rng), index: maybe(rng, |rng| Index(number(rng))) },
    }
}

fn request(rng: &mut Rng) -> Request {
    match rng.below(8) {
        0..=2 => Request::Propose((0..rng.below(4)).map(|_| Bytes::from_static(b"command")).collect()),
        3 => Request::Read(if rng.chance(500) { ReadLevel::Lease } else { ReadLevel::Quorum }),
        4 => Request::Change(change(rng)),
        5 => Request::Transfer(maybe(rng, |rng| NodeId(number(rng)))),
        6 => Request::Bootstrap(voters(rng.below(4))),
        _ => Request::Compact(Index(number(rng).max(1))),
    }
}

pub(super) fn change(rng: &mut Rng) -> Change {
    let ids = |rng: &mut Rng| (0..rng.below(3)).map(|_| NodeId(number(rng))).collect();
    match rng.below(4) {
        0 => Change::Add(member(4 + rng.below(3))),
        1 => Change::Promote(NodeId(number(rng))),
        2 => Change::Remove(NodeId(number(rng))),
        _ => Change::Several { promote: ids(rng), remove: ids(rng) },
    }
}

/// The log of one node as its disk has it.
#[derive(Clone, Debug, Default)]
struct Disk {
    saved: Saved,
    entries: BTreeMap<Index, Entry>,
}

impl Disk {
    fn write(&mut self, write: &Write) {
        Raft::save(&mut self.saved, write);
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

/// One node, and what runs it.
struct World {
    raft: Raft,
    now: Time,
    /// What would survive a crash, and what was written.
    stored: Disk,
    written: Disk,
    pending: VecDeque<(WriteId, Write)>,
    asks: Vec<(AskId, Ask)>,
    /// Where the state machine stands, which forgets nothing.
    applied: Option<LogId>,
    /// If it came there by a snapshot.
    installed: Option<Base>,
    announced: Option<Index>,
    requests: u64,
    /// How many entries its log had at first.
    found: u64,
}

impl World {
    fn new(rng: &mut Rng) -> Self {
        let mut disk = Disk::default();
        let found = rng.below(4);
        if rng.chance(900) {
            disk.write(&Write::Reset(Base { membership: voters(1 + rng.below(4)), ..Base::default() }));
            let term = Term(1 + rng.below(3));
            let owed = rng.chance(100).then(|| id(rng));
            disk.write(&Write::Vote { term, vote: maybe(rng, |rng| NodeId(1 + rng.below(3))), owed });
            let entry = |index| Entry {
                id: LogId::new(1, index),
                time: Duration::from_nanos(index),
                payload: Payload::Command(Bytes::from_static(b"command")),
            };
            let entries: Vec<Entry> = (1..=found).map(entry).collect();
            if !entries.is_empty() {
                disk.write(&Write::Append(entries.into()));
            }
        }
        let now = Time::from_millis(1_000);
        let mut out = Vec::new();
        let raft = Raft::start(now, config(), disk.saved.clone(), Rng::new(rng.next_u64()), &mut out);
        let mut world = Self {
            raft,
            now,
            written: disk.clone(),
            stored: disk,
            pending: VecDeque::new(),
            asks: Vec::new(),
            applied: None,
            installed: None,
            announced: None,
            requests: 0,
            found,
        };
        world.carry_out(out);
        world
    }

    fn step(&mut self, rng: &mut Rng) {
        self.now = self.now + Duration::from_millis(rng.below(60));
        match rng.below(100) {
            0..55 => {
                let near = (self.raft.term().0 + rng.below(3)).saturating_sub(1);
                let term = Term(if rng.chance(80) { number(rng) } else { near });
                let last = self.raft.log().last();
                let message = Message { term, body: body(rng, last) };
                self.receive(NodeId(1 + rng.below(5)), message);
            }
            55..68 => self.store(rng.below(1 + self.pending.len() as u64)),
            68..70 => {
                // All that was written, as far as anybody knows.
                let id = WriteId(number(rng));
                if self.pending.back().is_some_and(|(last, _)| id > *last) {
                    self.store(u64::MAX);
                }
                if self.pending.front().is_none_or(|(first, _)| id < *first) {
                    self.hand(Input::Stored(id));
                }
            }
            70..72 => {
                let answer = match rng.below(3) {
                    0 => Answer::Entries(entries(rng, None)),
                    1 => Answer::SnapshotTaken(maybe(rng, id)),
                    _ => Answer::SnapshotFetched(None),
                };
                let id = AskId(number(rng).saturating_add(1_000));
                self.hand(Input::Answered { id, answer });
            }
            72..80 => self.answer(rng),
            80..86 => self.timeout(),
            86..93 => {
                let request = request(rng);
                self.ask(request);
            }
            93..98 => self.elect(),
            _ => self.restart(rng),
        }
    }

    /// Somebody grants whatever it asks, or it would never lead.
    fn elect(&mut self) {
        self.timeout();
        for granted in [Body::PreVote { granted: true }, Body::Vote { granted: true }] {
            let own = if matches!(granted, Body::Vote { .. }) { self.raft.term() } else { self.raft.term().next() };
            for from in [2, 3] {
                self.receive(NodeId(from), Message { term: own, body: granted.clone() });
            }
            self.store(u64::MAX);
        }
    }

    fn receive(&mut self, from: NodeId, message: Message) {
        self.hand(Input::Message { from, message });
    }

    fn timeout(&mut self) {
        if let Some(deadline) = self.raft.deadline() {
            self.now = self.now.max(deadline);
            self.hand(Input::Timeout);
            assert!(self.raft.deadline().is_none_or(|next| next > self.now), "a timeout is over once it was handed in");
        }
    }

    fn ask(&mut self, request: Request) {
        self.requests += 1;
        self.hand(Input::Request { id: RequestId(self.requests), request });
    }

    /// The oldest so many writes reach the disk.
    fn store(&mut self, count: u64) {
        let mut last = None;
        for _ in 0..count {
            let Some((id, write)) = self.pending.pop_front() else { break };
            self.stored.write(&write);
            last = Some(id);
        }
        if let Some(id) = last {
            self.hand(Input::Stored(id));
        }
    }

    fn answer(&mut self, rng: &mut Rng) {
        if self.asks.is_empty() {
            return;
        }
        let at = usize::try_from(rng.below(self.asks.len() as u64)).unwrap_or(0);
        let (id, ask) = self.asks.swap_remove(at);
        let answer = match ask {
            Ask::Entries { from, through, bytes_max: _ } => {
                Answer::Entries(self.written.entries.range(from..=through).map(|(_, entry)| entry.clone()).collect())
            }
            Ask::TakeSnapshot(_) => Answer::SnapshotTaken(self.applied.filter(|_| rng.chance(800))),
            Ask::FetchSnapshot { base, .. } => {
                // Whoever offers what was never committed cannot have it fetched: a state that is none is refused, and one
                // that lies no protocol can tell. What was committed meanwhile, or what a leader holds, it would contradict.
                let status = self.raft.status(self.now);
                let behind = self.applied.map(|applied| applied.index).max(status.committed);
                let ahead = base.last.is_some_and(|last| Some(last.index) > behind && last.term <= status.term)
                    && status.role != Role::Leader;
                let fetched = (ahead && rng.chance(800)).then(|| base.clone());
                if fetched.is_some() {
                    (self.applied, self.installed) = (base.last, Some(base));
                }
                Answer::SnapshotFetched(fetched)
            }
        };
        self.hand(Input::Answered { id, answer });
    }

    fn restart(&mut self, rng: &mut Rng) {
        self.pending.clear();
        self.asks.clear();
        self.written = self.stored.clone();
        self.announced = None;
        let mut out = Vec::new();
        self.raft = Raft::start(self.now, config(), self.stored.saved.clone(), Rng::new(rng.next_u64()), &mut out);
        self.carry_out(out);
        let Some(applied) = self.applied else { return };
        let base = self.raft.log().base().last;
        let leads_there = self.raft.term_at(applied.index) == Some(applied.term) || base == Some(applied);
        if let Some(base) = self.installed.clone().filter(|base| !leads_there && base.last == Some(applied)) {
            self.ask(Request::Installed(base));
        }
        self.ask(Request::Applied { applied, durable: Some(applied) });
    }

    fn hand(&mut self, input: Input<Raft>) {
        let mut out = Vec::new();
        self.raft.handle(self.now, input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<Effect<Raft>>) {
        let mut through = None;
        for effect in out {
            match effect {
                Effect::Send { .. } => {}
                Effect::Store { id, write } => {
                    self.written.write(&write);
                    self.pending.push_back((id, write));
                }
                Effect::Ask { id, ask } => self.asks.push((id, ask)),
                Effect::Emit(Event::Committed { through: index }) => through = Some(index),
                Effect::Emit(_) => {}
            }
        }
        assert!(self.raft.announced() >= self.announced, "what was announced stays so");
        self.announced = self.raft.announced();
        // What is announced is applied at once, unless the state machine is ahead of it.
        let behind = |index: &Index| Some(*index) > self.applied.map(|applied| applied.index);
        if let Some(index) = through.filter(behind) {
            let term = self.raft.term_at(index).expect("what was just announced is in the log");
            self.applied = Some(LogId { term, index });
            self.ask(Request::Applied { applied: LogId { term, index }, durable: Some(LogId { term, index }) });
        }
    }
}

fn config() -> Config {
    let mut config = Config::new(US);
    // Little, so that entries are asked for from disk, and windows are full.
    (config.cache_bytes_max, config.window_bytes_max, config.append_bytes_max) = (100, 400, 200);
    config
}
