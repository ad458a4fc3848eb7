//! Our side: `hezong_raft::Raft` through `Protocol::handle`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Effect, Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Time};
use hezong_raft::{Base, Config, Event, Member, Membership, Message, Payload, Raft, Request, Saved, Write};

use super::{COMPACT_EVERY, Cluster, NODES, ROUNDS_A_HEARTBEAT, Sum};

/// The most payload bytes pulled for applying at once.
const APPLY_BYTES_MAX: usize = 1 << 20;

pub(super) struct Ours {
    now: Time,
    nodes: Vec<Node>,
    /// Inputs that wait, and effects just issued: empty between calls, kept for their memory.
    inputs: VecDeque<Input<Raft>>,
    out: Vec<Effect<Raft>>,
}

struct Node {
    raft: Raft,
    inbox: Vec<(NodeId, Message)>,
    applied: Option<LogId>,
    compacted: u64,
    sum: Sum,
}

impl Cluster for Ours {
    fn start() -> Self {
        let ids = (1..).map(NodeId).take(NODES);
        let member = |id: NodeId| (id, Member { name: id.to_string(), ..Member::default() });
        let membership = Membership::of_voters(ids.clone().map(member));
        let now = Time::from_millis(0);
        let start = |id: NodeId| {
            let mut saved = Saved::default();
            Raft::save(&mut saved, &Write::Reset(Base { membership: membership.clone(), ..Base::default() }));
            let raft = Raft::start(now, Config::new(id), saved, Rng::new(id.0), &mut Vec::new());
            Node { raft, inbox: Vec::new(), applied: None, compacted: 0, sum: Sum::default() }
        };
        let mut cluster = Self { now, nodes: ids.map(start).collect(), inputs: VecDeque::new(), out: Vec::new() };
        cluster.now = cluster.nodes[0].raft.deadline().expect("a voter campaigns some time");
        cluster.handle(0, Input::Timeout);
        while cluster.nodes.iter().any(|node| node.raft.leader() != Some(NodeId(1))) {
            cluster.deliver();
        }
        cluster
    }

    fn round(&mut self, batch: Vec<Bytes>) {
        self.now =
            self.now + Config::new(NodeId(1)).heartbeat_interval / u32::try_from(ROUNDS_A_HEARTBEAT).unwrap_or(1);
        self.deliver_to(0);
        if self.nodes[0].raft.deadline().is_some_and(|at| at <= self.now) {
            self.handle(0, Input::Timeout);
        }
        if !batch.is_empty() {
            self.handle(0, Input::Request { id: RequestId(1), request: Request::Propose(batch) });
        }
        (1..NODES).for_each(|node| self.deliver_to(node));
    }

    fn heartbeat(&mut self) {
        self.now = self.now + Duration::from_millis(100);
        self.round(Vec::new());
    }

    fn sums(&self) -> [Sum; NODES] {
        core::array::from_fn(|node| self.nodes[node].sum)
    }
}

impl Ours {
    fn deliver(&mut self) {
        (0..NODES).for_each(|node| self.deliver_to(node));
    }

    fn deliver_to(&mut self, node: usize) {
        for (from, message) in std::mem::take(&mut self.nodes[node].inbox) {
            self.handle(node, Input::Message { from, message });
        }
    }

    /// Hands in one input and carries out what comes of it: messages to inboxes, writes stored at once, commands applied.
    fn handle(&mut self, node: usize, input: Input<Raft>) {
        let from = NodeId(node as u64 + 1);
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            self.nodes[node].raft.handle(self.now, input, &mut self.out);
            for effect in self.out.drain(..) {
                match effect {
                    Effect::Send { to, message } => {
                        let to = usize::try_from(to.0 - 1).expect("ids begin at 1");
                        self.nodes[to].inbox.push((from, message));
                    }
                    Effect::Store { id, .. } => self.inputs.push_back(Input::Stored(id)),
                    Effect::Emit(Event::Committed { through }) => self.nodes[node].apply(through, &mut self.inputs),
                    Effect::Emit(_) => {}
                    Effect::Ask { ask, .. } => unreachable!("nothing has left memory: {ask:?}"),
                }
            }
        }
    }
}

impl Node {
    fn apply(&mut self, through: Index, inputs: &mut VecDeque<Input<Raft>>) {
        while self.applied.map(|id| id.index) < Some(through) {
            let from = Index::after(self.applied.map(|id| id.index));
            let entries = self.raft.entries(from, APPLY_BYTES_MAX).expect("nothing has left memory");
            for entry in &entries {
                if let Payload::Command(command) = &entry.payload {
                    self.sum.add(command);
                }
            }
            self.applied = entries.last().map(|entry| entry.id).max(self.applied);
        }
        let Some(applied) = self.applied else { return };
        let mut request = |request| inputs.push_back(Input::Request { id: RequestId(2), request });
        request(Request::Applied { applied, durable: Some(applied) });
        if applied.index.0 >= self.compacted + COMPACT_EVERY {
            self.compacted = applied.index.0;
            request(Request::Compact(applied.index));
        }
    }
}
