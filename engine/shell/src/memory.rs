//! A network within one process, for the tests of those who embed us.
//!
//! It carries messages as they are, in order, and drops what a full inbox has no room for, as a socket's queue would.
//! Faults of every kind are the simulator's business; here a pair of nodes can be [cut](Network::cut) and healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hezong_base::{GroupId, NodeId};
use hezong_codec::{SnapshotBody, SnapshotMessage, VERSIONS};
use hezong_node::NodeInput;
use hezong_raft::{Body, Entry, Message, Version};

use crate::inbox::Inbox;
use crate::run::Mail;

/// A network within one process. Clones are the same network.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Arc<Inbox<Mail>>>,
    /// Pairs that cannot hear each other, the lower id first.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// A network without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets nothing pass between two nodes any more, either way.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.lock().cut.insert((a.min(b), a.max(b)));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.lock().cut.clear();
    }

    /// Plugs a node in, in place of an earlier one with this id. All nodes are of one program, and so of one version.
    pub(crate) fn plug(&self, id: NodeId, inbox: Arc<Inbox<Mail>>) {
        let heard = |peer| Mail::Input(NodeInput::Version { peer, version: Version(VERSIONS.max) });
        let mut state = self.lock();
        for (other, plugged) in state.nodes.iter().filter(|(other, _)| **other != id) {
            inbox.push(heard(*other), 0);
            plugged.push(heard(id), 0);
            plugged.wake();
        }
        state.nodes.insert(id, inbox);
    }

    /// Pulls a node out; a later one with the same id stays.
    pub(crate) fn unplug(&self, id: NodeId, inbox: &Arc<Inbox<Mail>>) {
        let mut state = self.lock();
        if state.nodes.get(&id).is_some_and(|plugged| Arc::ptr_eq(plugged, inbox)) {
            state.nodes.remove(&id);
        }
    }

    /// Those a node can talk to.
    pub(crate) fn reachable(&self, from: NodeId) -> Vec<NodeId> {
        let state = self.lock();
        let cut = |to: NodeId| state.cut.contains(&(from.min(to), from.max(to)));
        state.nodes.keys().copied().filter(|to| *to != from && !cut(*to)).collect()
    }

    /// Whether it arrived.
    pub(crate) fn send(&self, from: NodeId, to: NodeId, messages: Vec<(GroupId, Message)>) -> bool {
        let Some(inbox) = self.inbox_of(from, to) else { return false };
        let bytes = messages.iter().map(|(_, message)| message_bytes(message)).sum();
        let taken = inbox.offer(Mail::Input(NodeInput::Received { from, messages }), bytes).is_ok();
        // Its own thread sees to it: we are in the middle of another node's turn.
        inbox.wake();
        taken
    }

    /// As [`Network::send`], about a snapshot.
    pub(crate) fn send_snapshot(&self, from: NodeId, to: NodeId, message: SnapshotMessage) -> bool {
        let Some(inbox) = self.inbox_of(from, to) else { return false };
        let bytes = match &message.body {
            SnapshotBody::Chunk { bytes, .. } => bytes.len(),
            SnapshotBody::Fetch { .. } | SnapshotBody::Gone | SnapshotBody::Done => 0,
        };
        let taken = inbox.offer(Mail::Input(NodeInput::SnapshotMessage { from, message }), bytes + 64).is_ok();
        inbox.wake();
        taken
    }

    /// Where what is sent arrives, unless the two cannot hear each other.
    fn inbox_of(&self, from: NodeId, to: NodeId) -> Option<Arc<Inbox<Mail>>> {
        let state = self.lock();
        let cut = state.cut.contains(&(from.min(to), from.max(to)));
        state.nodes.get(&to).filter(|_| !cut).map(Arc::clone)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Network").field("nodes", &state.nodes.keys()).field("cut", &state.cut).finish()
    }
}

/// Roughly what a message holds in memory.
fn message_bytes(message: &Message) -> usize {
    let entries = match &message.body {
        Body::Append { entries, .. } => entries.iter().map(Entry::bytes).sum(),
        Body::InstallSnapshot { base, .. } => base.membership.bytes(),
        Body::SnapshotInstalled { .. }
        | Body::RequestSnapshot
        | Body::RequestPreVote { .. }
        | Body::PreVote { .. }
        | Body::RequestVote { .. }
        | Body::Vote { .. }
        | Body::Appended { .. }
        | Body::Diverged { .. }
        | Body::LogLost { .. }
        | Body::LogLostAck { .. }
        | Body::Heartbeat { .. }
        | Body::HeartbeatAck { .. }
        | Body::ReadIndex { .. }
        | Body::ReadIndexAck { .. }
        | Body::TimeoutNow => 0,
    };
    64 + entries
}
