//! What all groups of a node share: the frames and the write batch of the turn, the clients, timers and counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use hezong_base::{AskId, Effect, GroupId, Index, NodeId, RequestId, Time, WriteId, sometimes};
use hezong_raft::{Body, Message, Raft, Version, Write};

use crate::clients::{Client, Clients, Place};
use crate::{BatchId, NodeConfig, NodeEffect, NodeStats, Notice, Refused, Reply};

/// How long one notice about a peer's nonsense is enough.
const NONSENSE_INTERVAL: Duration = Duration::from_secs(1);

/// For whom log entries are being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The protocol, under its own name for the ask.
    Raft(AskId),
    /// The state machine, which lags behind what memory holds.
    Apply,
}

/// Which entries to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) from: Index,
    pub(crate) through: Index,
    pub(crate) bytes_max: usize,
}

/// The nonsense of one peer.
#[derive(Debug)]
struct Nonsense {
    /// When it was last reported.
    reported: Time,
    /// Messages dropped since.
    count: u64,
}

#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: NodeConfig,
    pub(crate) clients: Clients,
    pub(crate) stats: NodeStats,
    /// Whether the disk is below its reserve.
    pub(crate) disk_full: bool,
    /// Whether [`crate::NodeInput::Stop`] was handed in.
    pub(crate) stopping: bool,
    /// The newest version that each node was last heard to know, this one too.
    pub(crate) versions: BTreeMap<NodeId, Version>,
    /// Whether a group's members changed since the last turn.
    pub(crate) peers_changed: bool,
    /// Bytes of commands taken in and not handed to a protocol yet.
    pub(crate) queue_bytes: usize,
    /// Groups that something was handed to in this turn. Empty after every flush.
    pub(crate) touched: BTreeSet<GroupId>,
    /// When each group wants to be woken; at most one item a group.
    pub(crate) due: BTreeSet<(Time, GroupId)>,
    /// Where a protocol puts its effects before they are routed; kept for its allocation.
    pub(crate) scratch: Vec<Effect<Raft>>,
    /// What this turn sends to each peer.
    outboxes: BTreeMap<NodeId, Vec<(GroupId, Message)>>,
    /// What this turn writes, in order.
    writes: Vec<(GroupId, Write)>,
    /// The last write of each group among `writes`.
    last_writes: BTreeMap<GroupId, WriteId>,
    /// The name the next batch gets.
    next_batch: BatchId,
    /// Batches not stored yet, oldest first, each with the last write of each group in it.
    in_flight: VecDeque<(BatchId, BTreeMap<GroupId, WriteId>)>,
    /// Readings of the log under way, under the names we gave them: several groups may choose the same.
    readings: BTreeMap<AskId, (GroupId, Reader)>,
    next_ask: AskId,
    /// Readings this turn asks for. They leave after the batch, for they may want what it writes.
    asks: Vec<NodeEffect>,
    /// Peers that sent nonsense.
    nonsense: BTreeMap<NodeId, Nonsense>,
}

impl Common {
    pub(crate) fn new(config: NodeConfig) -> Self {
        Self {
            versions: BTreeMap::from([(config.id, config.newest)]),
            config,
            clients: Clients::new(),
            stats: NodeStats::default(),
            disk_full: false,
            stopping: false,
            peers_changed: false,
            queue_bytes: 0,
            touched: BTreeSet::new(),
            due: BTreeSet::new(),
            scratch: Vec::new(),
            outboxes: BTreeMap::new(),
            writes: Vec::new(),
            last_writes: BTreeMap::new(),
            next_batch: BatchId(1),
            in_flight: VecDeque::new(),
            readings: BTreeMap::new(),
            next_ask: AskId(1),
            asks: Vec::new(),
            nonsense: BTreeMap::new(),
        }
    }

    /// Puts a message into this turn's frame.
    pub(crate) fn send(&mut self, to: NodeId, group: GroupId, message: Message) {
        self.stats.messages_sent += 1;
        self.outboxes.entry(to).or_default().push((group, message));
    }

    /// Puts a write into this turn's batch.
    pub(crate) fn store(&mut self, group: GroupId, id: WriteId, write: Write) {
        self.stats.writes += 1;
        self.writes.push((group, write));
        self.last_writes.insert(group, id);
    }

    /// Asks for entries of a group's log.
    pub(crate) fn read_log(&mut self, group: GroupId, reader: Reader, wanted: Wanted) {
        let ask = self.next_ask;
        self.next_ask = ask.next();
        self.readings.insert(ask, (group, reader));
        let Wanted { from, through, bytes_max } = wanted;
        self.asks.push(NodeEffect::ReadLog { group, ask, from, through, bytes_max });
    }

    /// Whose reading this answers; `None` if it is no longer outstanding.
    pub(crate) fn log_read(&mut self, group: GroupId, ask: AskId) -> Option<Reader> {
        let (_, reader) = self.readings.get(&ask).filter(|(of, _)| *of == group).copied()?;
        self.readings.remove(&ask);
        Some(reader)
    }

    /// Every batch up to this one is on disk: the last write of each group that became so.
    pub(crate) fn stored(&mut self, batch: BatchId) -> BTreeMap<GroupId, WriteId> {
        let mut stored = BTreeMap::new();
        while let Some((_, writes)) = self.in_flight.pop_front_if(|(first, _)| *first <= batch) {
            stored.extend(writes);
        }
        stored
    }

    /// Ends the turn: its frames and its batch leave.
    pub(crate) fn leave(&mut self, out: &mut Vec<NodeEffect>) {
        for (to, messages) in std::mem::take(&mut self.outboxes) {
            for messages in frames(messages, self.config.frame_bytes_max) {
                self.stats.frames_sent += 1;
                out.push(NodeEffect::Send { to, messages });
            }
        }
        if !self.writes.is_empty() {
            let batch = self.next_batch;
            self.next_batch = BatchId(batch.0 + 1);
            self.stats.batches += 1;
            self.in_flight.push_back((batch, std::mem::take(&mut self.last_writes)));
            out.push(NodeEffect::Store { batch, writes: std::mem::take(&mut self.writes) });
        }
        out.append(&mut self.asks);
    }

    /// Answers a client, unless it has gone.
    pub(crate) fn reply(&mut self, id: RequestId, reply: Reply, out: &mut Vec<NodeEffect>) {
        if self.clients.remove(id).is_some() {
            self.answer(id, reply, out);
        }
    }

    /// Answers a request that was never taken in, or has just been removed.
    pub(crate) fn answer(&mut self, id: RequestId, reply: Reply, out: &mut Vec<NodeEffect>) {
        match &reply {
            Reply::Done { .. } => self.stats.done += 1,
            Reply::Refused(refused) => *self.stats.refused.entry(refused.name()).or_default() += 1,
            Reply::Unknown => self.stats.unknown += 1,
            Reply::Readable { .. }
            | Reply::Verified { .. }
            | Reply::Changed { .. }
            | Reply::Transferred { .. }
            | Reply::Bootstrapped
            | Reply::Status(_) => {}
        }
        out.push(NodeEffect::Reply { id, reply });
    }

    /// Takes a client in, or says why not.
    pub(crate) fn admit(&mut self, now: Time, id: RequestId, client: Client) -> Result<(), Refused> {
        if self.clients.len() >= self.config.waiting_max {
            sometimes!("node: too many clients wait");
            return Err(Refused::Overloaded { limit: "node.waiting_max" });
        }
        debug_assert_eq!(client.place, Place::Queued, "every request starts in the inbox");
        self.clients.insert(now, &self.config, id, client);
        Ok(())
    }

    /// Counts nonsense of a peer, and reports it unless it was reported a moment ago.
    pub(crate) fn dropped(&mut self, now: Time, from: NodeId, reason: &'static str, out: &mut Vec<NodeEffect>) {
        self.stats.dropped += 1;
        let Some(nonsense) = self.nonsense.get_mut(&from) else {
            self.nonsense.insert(from, Nonsense { reported: now, count: 0 });
            out.push(NodeEffect::Notice(Notice::Dropped { from, reason, count: 1 }));
            return;
        };
        nonsense.count += 1;
        if now.since(nonsense.reported) >= NONSENSE_INTERVAL {
            let count = std::mem::take(&mut nonsense.count);
            nonsense.reported = now;
            out.push(NodeEffect::Notice(Notice::Dropped { from, reason, count }));
        }
    }
}

/// Cuts what one turn says to a peer into frames of at most `bytes_max`; a single larger message still goes, alone.
/// Nearly always there is one: only entries are large.
fn frames(messages: Vec<(GroupId, Message)>, bytes_max: usize) -> Vec<Vec<(GroupId, Message)>> {
    if messages.iter().map(|(_, message)| bytes(message)).sum::<usize>() <= bytes_max {
        return vec![messages];
    }
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    let mut filled = 0;
    for (group, message) in messages {
        let size = bytes(&message);
        if !frame.is_empty() && filled + size > bytes_max {
            frames.push(std::mem::take(&mut frame));
            filled = 0;
        }
        filled += size;
        frame.push((group, message));
    }
    frames.push(frame);
    frames
}

/// What a message counts against the size of a frame.
fn bytes(message: &Message) -> usize {
    /// More than any message takes on the wire without its entries.
    const HEADER: usize = 64;
    match &message.body {
        Body::Append { entries, .. } => HEADER + entries.iter().map(hezong_raft::Entry::bytes).sum::<usize>(),
        Body::InstallSnapshot { base, .. } => HEADER + base.membership.bytes(),
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
        | Body::TimeoutNow => HEADER,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use hezong_base::{LogId, Term};
    use hezong_raft::{Entry, Payload};

    use super::*;

    /// A message for group `group` that counts `64 + 32 + payload` bytes.
    fn message(group: u64, payload: usize) -> (GroupId, Message) {
        let payload = Payload::Command(Bytes::from(vec![0; payload]));
        let entry = Entry { id: LogId::new(1, 1), time: Duration::ZERO, payload };
        let body = Body::Append { previous: None, entries: vec![entry].into(), committed: None };
        (GroupId(group), Message { term: Term(1), body })
    }

    fn groups(frames: &[Vec<(GroupId, Message)>]) -> Vec<Vec<u64>> {
        frames.iter().map(|frame| frame.iter().map(|(group, _)| group.0).collect()).collect()
    }

    #[test]
    fn frames_small_messages_share_one() {
        let cut = frames((1..=64).map(|group| message(group, 4)).collect(), 6_400);
        assert_eq!(groups(&cut), [(1..=64).collect::<Vec<_>>()], "64 messages of 100 bytes fill it exactly");
    }

    #[test]
    fn frames_are_cut_between_messages_and_keep_their_order() {
        let messages = vec![message(1, 4), message(2, 904), message(3, 4), message(4, 4)];
        let cut = frames(messages, 1_000);
        assert_eq!(groups(&cut), [vec![1], vec![2], vec![3, 4]]);
    }

    #[test]
    fn frames_larger_message_goes_alone() {
        let cut = frames(vec![message(1, 4), message(2, 5_000), message(3, 4)], 1_000);
        assert_eq!(groups(&cut), [[1], [2], [3]]);
        assert_eq!(groups(&frames(vec![message(1, 5_000), message(2, 4)], 1_000)), [[1], [2]]);
    }
}
