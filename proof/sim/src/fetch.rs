//! Snapshots on their way, as an outsider sees them: how far each is, and what strikes it there.

use hezong_base::{GroupId, NodeId};
use hezong_codec::{SnapshotBody, SnapshotMessage};
use hezong_node::{BatchId, ClientRequest, NodeInput, SnapshotWork};
use hezong_raft::{SnapshotId, Write};

use crate::check::place;
use crate::cut::Source;
use crate::moment::{FetchStep, Moment};
use crate::plan::{Fault, pick};
use crate::process::GROUP;
use crate::sim::{Event, Sim};

/// A snapshot that a node fetches.
#[derive(Debug)]
pub(crate) struct Fetch {
    id: SnapshotId,
    step: FetchStep,
    /// When it came to that step, or last asked for a chunk.
    since: u64,
    /// Who holds it; `None` while nothing was asked for.
    holder: Option<NodeId>,
    /// The write by which the log says that it stands on the snapshot.
    record: Option<BatchId>,
}

impl Fetch {
    /// Whether chunks are still wanted.
    fn wants(&self) -> bool {
        self.step <= FetchStep::Between
    }
}

impl Sim {
    /// The state machine of `node` is given work that belongs to a snapshot.
    pub(crate) fn on_fetch_work(&mut self, node: NodeId, work: &SnapshotWork) {
        let (now, patience) = (self.now, self.plan.patience);
        let fetch = &mut self.processes[place(node)].fetch;
        match work {
            SnapshotWork::Begin(id) => {
                // One that was asked for in vain is given up after more than that.
                let busy =
                    |old: &Fetch| old.id != *id && old.step < FetchStep::Switched && now - old.since < patience / 4;
                if fetch.as_ref().is_some_and(busy) {
                    self.moments.add(Moment::Replaced);
                }
                *fetch = Some(Fetch { id: *id, step: FetchStep::Begun, since: now, holder: None, record: None });
            }
            SnapshotWork::Install { id, chunk } => {
                let Some(fetch) = fetch.as_mut().filter(|fetch| fetch.id == *id) else { return };
                fetch.since = now;
                fetch.step = if chunk.next.is_some() { FetchStep::Between } else { FetchStep::Whole };
            }
            SnapshotWork::Take(_) | SnapshotWork::Read { .. } | SnapshotWork::Finish { .. } | SnapshotWork::Drop(_) => {
                return;
            }
        }
        self.maybe_strike_fetch(node);
    }

    /// `node` says something about a snapshot.
    pub(crate) fn on_fetch_sent(&mut self, node: NodeId, to: NodeId, message: &SnapshotMessage) {
        let Some(fetch) = self.processes[place(node)].fetch.as_mut().filter(|it| it.id == message.snapshot) else {
            return;
        };
        if matches!(message.body, SnapshotBody::Fetch { .. }) {
            (fetch.holder, fetch.since) = (Some(to), self.now);
        }
    }

    /// `node` is told something about a snapshot.
    pub(crate) fn on_fetch_told(&mut self, node: NodeId, message: &SnapshotMessage) {
        if message.body == SnapshotBody::Gone {
            let fetch = &mut self.processes[place(node)].fetch;
            if fetch.take_if(|it| it.id == message.snapshot && it.wants()).is_some() {
                self.moments.add(Moment::ViewDropped);
            }
        }
    }

    /// The state machine of `node` has switched over, and the node has not been told yet. True if it never will be.
    pub(crate) fn on_switched(&mut self, node: NodeId) -> bool {
        let Some(fetch) = &mut self.processes[place(node)].fetch else { return false };
        (fetch.step, fetch.since) = (FetchStep::Switched, self.now);
        if self.healed.is_some() {
            return false;
        }
        let Some(due) = self.due(Source::Fetch, self.plan.strike) else { return false };
        self.faults.add(Fault::StruckSnapshot);
        self.strike(due, "before a node hears of its snapshot", |_| true)
    }

    /// `node` stores something: perhaps that its log stands on the snapshot.
    pub(crate) fn on_fetch_store(&mut self, node: NodeId, batch: BatchId, writes: &[(GroupId, Write)]) {
        let Some(fetch) = &mut self.processes[place(node)].fetch else { return };
        if fetch.step == FetchStep::Switched && writes.iter().any(|(_, write)| matches!(write, Write::Reset(_))) {
            fetch.record = Some(batch);
            self.maybe_strike_fetch(node);
        }
    }

    /// What `node` has stored is reported to it.
    pub(crate) fn on_fetch_stored(&mut self, node: NodeId, through: BatchId) {
        let Some(fetch) = &mut self.processes[place(node)].fetch else { return };
        if fetch.step == FetchStep::Switched && fetch.record.is_some_and(|record| record <= through) {
            (fetch.step, fetch.since) = (FetchStep::Recorded, self.now);
            self.maybe_strike_fetch(node);
        }
    }

    /// Another leads.
    pub(crate) fn on_fetch_leader(&mut self) {
        let (now, patience) = (self.now, self.plan.patience);
        let runs = |fetch: &&Fetch| fetch.step < FetchStep::Switched && now - fetch.since < patience / 4;
        for _ in self.processes.iter().filter_map(|process| process.fetch.as_ref()).filter(runs) {
            self.moments.add(Moment::LeaderChanges);
        }
    }

    /// `node` dies: fetching, or holding what others fetch.
    pub(crate) fn on_fetch_crash(&mut self, node: NodeId) {
        let recent = self.now.saturating_sub(self.plan.patience / 4);
        if let Some(fetch) = self.processes[place(node)].fetch.take().filter(|fetch| fetch.since >= recent) {
            self.moments.add(Moment::FetcherDies(fetch.step));
        }
        let held = |fetch: &&Fetch| fetch.holder == Some(node) && fetch.wants() && fetch.since >= recent;
        for _ in self.processes.iter().filter_map(|process| process.fetch.as_ref()).filter(held) {
            self.moments.add(Moment::HolderDies);
        }
    }

    /// What `node` fetches has come to another step; perhaps it is struck there.
    fn maybe_strike_fetch(&mut self, node: NodeId) {
        let Some(fetch) = &self.processes[place(node)].fetch else { return };
        let (id, step, holder) = (fetch.id, fetch.step, fetch.holder);
        // Of chunks there are many.
        let chance = if step == FetchStep::Between { self.plan.strike / 8 } else { self.plan.strike };
        if self.healed.is_some() {
            return;
        }
        let Some(due) = self.due(Source::Fetch, chance) else { return };
        self.faults.add(Fault::StruckSnapshot);
        self.strike(due, "amid a snapshot's way", |sim| sim.strike_fetch(node, id, step, holder));
    }

    fn strike_fetch(&mut self, node: NodeId, id: SnapshotId, step: FetchStep, holder: Option<NodeId>) {
        let leader = self.checkers.leader();
        let kinds = if step < FetchStep::Switched { 6 } else { 1 };
        match (pick(&mut self.trouble, kinds), holder, leader) {
            (2, Some(holder), _) => self.processes[place(holder)].crash_in = Some(1 + self.trouble.below(3)),
            (3, Some(holder), _) => self.processes[place(holder)].held.remove(id),
            (4, _, Some(leader)) => {
                let until = self.now + self.plan.patience * 2 + self.trouble.below(self.plan.patience * 2);
                self.queue.push(self.now + 1, Event::Isolate { node: leader, until });
            }
            (5, _, Some(leader)) => {
                let (life, id) = (self.processes[place(leader)].life, self.next_request());
                let input = NodeInput::Request { id, group: GROUP, request: ClientRequest::Transfer(None) };
                self.queue.push(self.now + 1, Event::Input { node: leader, life, input });
            }
            _ => self.processes[place(node)].crash_in = Some(1 + self.trouble.below(3)),
        }
    }
}
