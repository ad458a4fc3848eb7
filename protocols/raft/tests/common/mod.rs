//! A small deterministic cluster: nodes reached through `handle` alone, a network that a test holds in its hand, disks
//! that lose in a crash what was not stored, and a clock that only the test moves.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "every test file uses another part of the harness")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Effect, Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Term, Time, WriteId};
use hezong_raft::{
    Answer, Ask, Body, Config, Entry, Event, Member, Membership, Message, Payload, Raft, Request, Role, Saved, Write,
};

/// The members 1 to `count`, all voters.
pub fn voters(count: u64) -> Membership {
    Membership::of_voters((1..=count).map(|id| (NodeId(id), member(id))))
}

/// A member's names.
pub fn member(id: u64) -> Member {
    Member { name: format!("node{id}"), peer: format!("host{id}:1"), client: format!("host{id}:2") }
}

/// An entry that carries its own id as its command.
pub fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload::Command(Bytes::from(format!("{index}@{term}")));
    Entry { id: LogId::new(term, index), time: Duration::ZERO, payload }
}

/// Entries of these terms, from index 1 on: the notation of the paper's figures.
pub fn entries(terms: &[u64]) -> Vec<Entry> {
    (1..).zip(terms).map(|(index, term)| entry(*term, index)).collect()
}

/// What a node's disk holds whose log is `terms` over a base of `members`.
pub fn saved(members: &Membership, term: u64, vote: Option<u64>, terms: &[u64]) -> Vec<Write> {
    let base = hezong_raft::Base { last: None, time: Duration::ZERO, membership: members.clone() };
    let mut writes = vec![Write::Reset(base), Write::Vote { term: Term(term), vote: vote.map(NodeId), owed: None }];
    if !terms.is_empty() {
        writes.push(Write::Append(entries(terms).into()));
    }
    writes
}

/// One node with its disk.
pub struct Node {
    pub raft: Option<Raft>,
    pub config: Config,
    /// What is on disk, write by write.
    pub disk: Vec<Write>,
    /// Writes issued and not stored.
    pub pending: VecDeque<(WriteId, Write)>,
    /// Whether writes are stored as soon as they are issued.
    pub prompt: bool,
    pub events: Vec<Event>,
    pub asks: VecDeque<(AskId, Ask)>,
    /// What it announced as committed, entry by entry.
    pub delivered: Vec<Entry>,
    /// The same, for whoever takes it from time to time.
    pub delivered_since_check: Vec<Entry>,
}

/// The nodes, the network and the clock.
pub struct Cluster {
    pub now: Time,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Messages under way, in the order sent: from, to, what.
    pub wire: VecDeque<(NodeId, NodeId, Message)>,
    /// Nodes that are cut off.
    pub cut: Vec<NodeId>,
    /// Nodes that are parted from all others, and not from each other.
    pub split: Vec<NodeId>,
    /// How fast a node's clock runs, in percent of the true one; 100 where nothing is said.
    pub clock_percent: BTreeMap<NodeId, u64>,
    pub rng: Rng,
    next_request: u64,
}

/// The whole log that a series of writes leaves.
pub fn fold_entries(writes: &[Write]) -> Vec<Entry> {
    let mut log: Vec<Entry> = Vec::new();
    for write in writes {
        match write {
            Write::Append(entries) => log.extend(entries.iter().cloned()),
            Write::Truncate(from) => log.retain(|entry| entry.id.index < *from),
            Write::Compact(base) => log.retain(|entry| Some(entry.id) > base.last),
            Write::Reset(_) => log.clear(),
            Write::Vote { .. } => {}
        }
    }
    log
}

impl Cluster {
    /// `count` voters that have been bootstrapped.
    pub fn new(count: u64) -> Self {
        let members = voters(count);
        Self::with((1..=count).map(|id| (id, saved(&members, 0, None, &[]))))
    }

    /// Nodes that start from these disks.
    pub fn with(disks: impl IntoIterator<Item = (u64, Vec<Write>)>) -> Self {
        let mut cluster = Self {
            now: Time::from_millis(1_000),
            nodes: BTreeMap::new(),
            wire: VecDeque::new(),
            cut: Vec::new(),
            split: Vec::new(),
            clock_percent: BTreeMap::new(),
            rng: Rng::new(7),
            next_request: 1,
        };
        for (id, disk) in disks {
            cluster.add(Config::new(NodeId(id)), disk);
        }
        cluster
    }

    /// One more node.
    pub fn add(&mut self, config: Config, disk: Vec<Write>) {
        let id = config.id;
        let node = Node {
            raft: None,
            config,
            disk,
            pending: VecDeque::new(),
            prompt: true,
            events: Vec::new(),
            asks: VecDeque::new(),
            delivered: Vec::new(),
            delivered_since_check: Vec::new(),
        };
        self.nodes.insert(id, node);
        self.start(id.0);
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&NodeId(id)).expect("the test names a node there is")
    }

    pub fn raft(&self, id: u64) -> &Raft {
        self.nodes[&NodeId(id)].raft.as_ref().expect("the node is up")
    }

    /// Brings a node up from its disk.
    pub fn start(&mut self, id: u64) {
        let rng = self.rng.fork();
        let (now, node) = (self.local(id), self.node(id));
        let mut saved = Saved::default();
        node.disk.iter().for_each(|write| Raft::save(&mut saved, write));
        let mut out = Vec::new();
        node.delivered.clear();
        node.raft = Some(Raft::start(now, node.config.clone(), saved, rng, &mut out));
        self.carry_out(id, out);
    }

    /// Takes a node down with everything that was not stored.
    pub fn crash(&mut self, id: u64) {
        let node = self.node(id);
        node.raft = None;
        node.pending.clear();
        node.asks.clear();
        node.prompt = true;
    }

    /// What a node's clock shows now.
    pub fn local(&self, id: u64) -> Time {
        let percent = self.clock_percent.get(&NodeId(id)).copied().unwrap_or(100);
        Time::from_nanos(self.now.as_nanos() / 100 * percent)
    }

    /// The true time of a node's deadline.
    pub fn deadline(&self, id: u64) -> Option<Time> {
        let percent = self.clock_percent.get(&NodeId(id)).copied().unwrap_or(100);
        let local = self.nodes[&NodeId(id)].raft.as_ref()?.deadline()?;
        Some(Time::from_nanos(local.as_nanos().div_ceil(percent) * 100))
    }

    pub fn handle(&mut self, id: u64, input: Input<Raft>) {
        let now = self.local(id);
        // Members may be added that no test ever brings to life.
        let Some(raft) = self.nodes.get_mut(&NodeId(id)).and_then(|node| node.raft.as_mut()) else { return };
        let mut out = Vec::new();
        raft.handle(now, input, &mut out);
        self.carry_out(id, out);
    }

    /// Hands in a message as if `from` had sent it.
    pub fn receive(&mut self, to: u64, from: u64, term: u64, body: Body) {
        self.handle(to, Input::Message { from: NodeId(from), message: Message { term: Term(term), body } });
    }

    fn carry_out(&mut self, id: u64, out: Vec<Effect<Raft>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.wire.push_back((NodeId(id), to, message)),
                Effect::Store { id: write_id, write } => self.node(id).pending.push_back((write_id, write)),
                Effect::Ask { id: ask_id, ask } => self.node(id).asks.push_back((ask_id, ask)),
                Effect::Emit(event) => {
                    let node = self.node(id);
                    if let Event::Committed { through } = event {
                        pull(node, through);
                    }
                    node.events.push(event);
                }
            }
        }
        if self.node(id).prompt {
            self.store(id);
        }
    }

    /// Everything this node has written so far reaches its disk.
    pub fn store(&mut self, id: u64) {
        let pending = std::mem::take(&mut self.node(id).pending);
        let Some((last, _)) = pending.back().cloned() else { return };
        self.node(id).disk.extend(pending.into_iter().map(|(_, write)| write));
        self.handle(id, Input::Stored(last));
    }

    /// The oldest write of this node alone reaches its disk.
    pub fn store_one(&mut self, id: u64) {
        if let Some((write_id, write)) = self.node(id).pending.pop_front() {
            self.node(id).disk.push(write);
            self.handle(id, Input::Stored(write_id));
        }
    }

    /// Answers what a node asked of its disk.
    pub fn answer(&mut self, id: u64) {
        while let Some((ask_id, ask)) = self.node(id).asks.pop_front() {
            let (from, through, bytes_max) = match ask {
                Ask::Entries { from, through, bytes_max } => (from, through, bytes_max),
                Ask::TakeSnapshot(_) => {
                    let applied = self.raft(id).log().base().last;
                    self.handle(id, Input::Answered { id: ask_id, answer: Answer::SnapshotTaken(applied) });
                    continue;
                }
                Ask::FetchSnapshot { base, .. } => {
                    self.handle(id, Input::Answered { id: ask_id, answer: Answer::SnapshotFetched(Some(base)) });
                    continue;
                }
            };
            let mut room = bytes_max;
            let node = self.node(id);
            let log = fold_entries(&node.disk);
            let wanted = log.into_iter().filter(|entry| (from..=through).contains(&entry.id.index));
            let mut found: Vec<Entry> = Vec::new();
            for entry in wanted {
                if !found.is_empty() && entry.bytes() > room {
                    break;
                }
                room = room.saturating_sub(entry.bytes());
                found.push(entry);
            }
            self.handle(id, Input::Answered { id: ask_id, answer: Answer::Entries(found) });
        }
    }

    /// Delivers the oldest message. False when there is none.
    pub fn deliver_one(&mut self) -> bool {
        let Some((from, to, message)) = self.wire.pop_front() else { return false };
        let parted = self.split.contains(&from) != self.split.contains(&to);
        if !parted && !self.cut.contains(&from) && !self.cut.contains(&to) && self.nodes.contains_key(&to) {
            self.handle(to.0, Input::Message { from, message });
        }
        true
    }

    /// Delivers any of the oldest messages, in any order; one in ten is lost, one in ten comes twice. False when nothing
    /// is under way.
    pub fn deliver_random(&mut self, rng: &mut Rng) -> bool {
        if self.wire.is_empty() {
            return false;
        }
        let at = usize::try_from(rng.below(self.wire.len().min(8) as u64)).expect("small");
        let Some((from, to, message)) = self.wire.remove(at) else { return false };
        if rng.chance(100) || self.cut.contains(&from) || self.cut.contains(&to) {
            return true;
        }
        if rng.chance(100) {
            self.wire.push_back((from, to, message.clone()));
        }
        self.handle(to.0, Input::Message { from, message });
        true
    }

    /// Delivers until nothing is under way.
    pub fn settle(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().map(|id| id.0).collect();
        for _ in 0..100_000 {
            ids.iter().for_each(|id| self.answer(*id));
            if !self.deliver_one() {
                return;
            }
        }
        panic!("the cluster talks for ever");
    }

    /// Lets the clock run until nothing is due before `now + span`, delivering all there is to deliver.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some((at, id)) = self.next_deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.handle(id, Input::Timeout);
            assert!(
                self.deadline(id).is_none_or(|next| next > self.now),
                "after a timeout the next deadline lies ahead"
            );
            self.settle();
        }
        self.now = end;
    }

    fn next_deadline(&self) -> Option<(Time, u64)> {
        let all = self.nodes.keys().filter_map(|id| Some((self.deadline(id.0)?, id.0)));
        all.min()
    }

    /// Runs this node's own timer, as if no other's had passed.
    pub fn timeout(&mut self, id: u64) {
        if let Some(at) = self.deadline(id) {
            self.now = self.now.max(at);
            self.handle(id, Input::Timeout);
        }
    }

    /// Makes `id` the leader with the votes of whoever answers.
    pub fn elect(&mut self, id: u64) {
        // The others must have missed their leader too, or they refuse to answer; and who lags a term learns it first.
        self.now = self.now + Duration::from_millis(1_000);
        for _ in 0..10 {
            if self.raft(id).role() == Role::Leader {
                break;
            }
            self.timeout(id);
            self.settle();
        }
        assert_eq!(self.raft(id).role(), Role::Leader, "node {id} was elected");
    }

    pub fn request(&mut self, id: u64, request: Request) -> RequestId {
        let request_id = self.request_id();
        self.handle(id, Input::Request { id: request_id, request });
        request_id
    }

    /// A name for a request that the test hands in itself.
    pub fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request - 1)
    }

    pub fn propose(&mut self, id: u64, command: &'static str) -> RequestId {
        self.request(id, Request::Propose(vec![Bytes::from_static(command.as_bytes())]))
    }

    /// The node that leads the highest term.
    pub fn leader(&self) -> Option<u64> {
        let leads = |node: &&Node| node.raft.as_ref().is_some_and(|raft| raft.role() == Role::Leader);
        let best = self.nodes.values().filter(leads).max_by_key(|node| node.raft.as_ref().map(Raft::term));
        best.map(|node| node.config.id.0)
    }

    /// The commands a node has delivered, in order.
    pub fn commands(&self, id: u64) -> Vec<String> {
        let text = |entry: &Entry| match &entry.payload {
            Payload::Command(command) => Some(String::from_utf8_lossy(command).into_owned()),
            Payload::Empty | Payload::Membership(_) => None,
        };
        self.nodes[&NodeId(id)].delivered.iter().filter_map(text).collect()
    }

    /// The terms of a node's log on disk, in the notation of the paper's figures.
    pub fn terms(&self, id: u64) -> Vec<u64> {
        fold_entries(&self.nodes[&NodeId(id)].disk).iter().map(|entry| entry.id.term.0).collect()
    }

    /// Takes the messages under way to `to` out of the wire.
    pub fn take_to(&mut self, to: u64) -> Vec<(u64, Message)> {
        let (taken, kept) =
            std::mem::take(&mut self.wire).into_iter().partition(|(_, receiver, _)| *receiver == NodeId(to));
        self.wire = kept;
        let taken: VecDeque<_> = taken;
        taken.into_iter().map(|(from, _, message)| (from.0, message)).collect()
    }

    /// Takes everything under way out of the wire.
    pub fn take_all(&mut self) -> Vec<(u64, u64, Message)> {
        self.wire.drain(..).map(|(from, to, message)| (from.0, to.0, message)).collect()
    }

    /// The events of a node since the last call.
    pub fn events(&mut self, id: u64) -> Vec<Event> {
        std::mem::take(&mut self.node(id).events)
    }
}

/// The apply side: pulls what was announced, from memory or disk.
fn pull(node: &mut Node, through: Index) {
    let raft = node.raft.as_ref().expect("an event comes from a node that is up");
    loop {
        let from = Index::after(node.delivered.last().map(|entry| entry.id.index).or(raft.log().base_index()));
        if from > through {
            return;
        }
        let entries = raft.entries(from, 1 << 16).unwrap_or_else(|| {
            let log = fold_entries(&node.disk).into_iter();
            log.filter(|entry| entry.id.index >= from && entry.id.index <= through).collect()
        });
        assert!(!entries.is_empty(), "what is announced can be pulled");
        node.delivered_since_check.extend(entries.iter().cloned());
        node.delivered.extend(entries.iter().cloned());
    }
}
