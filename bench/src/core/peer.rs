//! The peer: raft-rs's `RawNode` over its own `MemStorage`, in the loop its documentation shows.

use bytes::Bytes;
use raft_rs::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};
use raft_rs::storage::MemStorage;
use raft_rs::{Config, INVALID_ID, RawNode, StateRole};

use super::{COMPACT_EVERY, Cluster, NODES, ROUNDS_A_HEARTBEAT, Sum};

const NO_LIMIT: u64 = u64::MAX;

pub(super) struct Peer {
    nodes: Vec<Node>,
    rounds: u64,
}

struct Node {
    raw: RawNode<MemStorage>,
    inbox: Vec<Message>,
    compacted: u64,
    sum: Sum,
}

impl Cluster for Peer {
    fn start() -> Self {
        let ids: Vec<u64> = (1..).take(NODES).collect();
        let start = |id: &u64| {
            let storage = MemStorage::new_with_conf_state(ConfState::from((ids.clone(), Vec::new())));
            let config = Config {
                id: *id,
                election_tick: 10,
                heartbeat_tick: 1,
                max_size_per_msg: NO_LIMIT,
                max_inflight_msgs: 256,
                check_quorum: true,
                pre_vote: true,
                skip_bcast_commit: true,
                batch_append: true,
                ..Config::default()
            };
            let logger = slog::Logger::root(slog::Discard, slog::o!());
            let raw = RawNode::new(&config, storage, &logger).expect("the configuration is valid");
            Node { raw, inbox: Vec::new(), compacted: 0, sum: Sum::default() }
        };
        let mut cluster = Self { nodes: ids.iter().map(start).collect(), rounds: 0 };
        cluster.nodes[0].raw.campaign().expect("a voter may campaign");
        while cluster.nodes[0].raw.raft.state != StateRole::Leader
            || cluster.nodes.iter().any(|node| node.raw.raft.leader_id == INVALID_ID)
        {
            (0..NODES).for_each(|node| cluster.deliver_to(node));
        }
        cluster
    }

    fn round(&mut self, batch: Vec<Bytes>) {
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS_A_HEARTBEAT) {
            self.tick();
        }
        if !batch.is_empty() {
            let entry = |data| Entry { data, ..Entry::default() };
            let entries: Vec<_> = batch.into_iter().map(entry).collect();
            let propose =
                Message { msg_type: MessageType::MsgPropose, from: 1, entries: entries.into(), ..Message::default() };
            // Behind the acknowledgements that wait, so that one `Ready` serves both.
            self.nodes[0].inbox.push(propose);
        }
        (0..NODES).for_each(|node| self.deliver_to(node));
    }

    fn heartbeat(&mut self) {
        self.tick();
        self.round(Vec::new());
    }

    fn sums(&self) -> [Sum; NODES] {
        core::array::from_fn(|node| self.nodes[node].sum)
    }
}

impl Peer {
    fn tick(&mut self) {
        for node in &mut self.nodes {
            node.raw.tick();
        }
    }

    fn deliver_to(&mut self, node: usize) {
        let node_at = &mut self.nodes[node];
        for message in std::mem::take(&mut node_at.inbox) {
            node_at.raw.step(message).expect("messages of this cluster are in order");
        }
        if node_at.raw.has_ready() {
            for message in node_at.on_ready() {
                let to = usize::try_from(message.to - 1).expect("ids begin at 1");
                self.nodes[to].inbox.push(message);
            }
        }
    }
}

impl Node {
    /// Stores, applies and advances; returns the messages to send.
    fn on_ready(&mut self) -> Vec<Message> {
        let mut ready = self.raw.ready();
        let mut messages = ready.take_messages();
        self.apply(ready.take_committed_entries());
        let store = self.raw.raft.raft_log.store.clone();
        if !ready.entries().is_empty() {
            store.wl().append(ready.entries()).expect("entries follow each other");
        }
        if let Some(state) = ready.hs() {
            store.wl().set_hardstate(state.clone());
        }
        messages.append(&mut ready.take_persisted_messages());
        let mut light = self.raw.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            store.wl().mut_hard_state().set_commit(commit);
        }
        messages.append(&mut light.take_messages());
        self.apply(light.take_committed_entries());
        self.raw.advance_apply();
        let applied = self.raw.raft.raft_log.applied;
        if applied >= self.compacted + COMPACT_EVERY {
            self.compacted = applied;
            store.wl().compact(applied).expect("what is applied is in the log");
        }
        messages
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if entry.entry_type == EntryType::EntryNormal && !entry.data.is_empty() {
                self.sum.add(&entry.data);
            }
        }
    }
}
