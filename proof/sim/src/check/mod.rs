//! What must hold in every run, watched from outside: from what nodes write, send and apply, never from what they claim
//! about themselves. Each property is a file of its own; the crate's page lists them with their sections of the paper.

mod append_only;
mod completeness;
mod durability;
mod election;
mod machine;
mod matching;
mod membership;
mod once;
mod promise;
mod repaired;
mod replay;
mod session;
mod shadow;
mod stored;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use hezong_base::{Index, LogId, NodeId, Term};
use hezong_node::BatchId;
use hezong_raft::{Body, Entry, Membership, Message, Write};

use crate::moment::ChangeStep;
use append_only::AppendOnly;
use completeness::Completeness;
use election::Elections;
use machine::Applications;
use matching::Matching;
use once::ExactlyOnce;
use promise::Promises;
use repaired::Repair;
use replay::Replay;
use session::Sessions;
use shadow::Shadow;
pub(crate) use shadow::{Recovered, steps};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name, as in the table of the crate's page.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

impl Violation {
    pub(crate) fn new(property: &'static str, detail: impl Into<String>) -> Self {
        Self { property, detail: detail.into() }
    }
}

/// A change of members, and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastChange {
    pub(crate) index: Index,
    pub(crate) step: ChangeStep,
    /// Nodes that have its entry.
    pub(crate) copies: usize,
    /// Whether anybody has applied it.
    pub(crate) is_applied: bool,
}

/// States are compared whenever a node has applied about so many entries more.
const DIGEST_EVERY: u64 = 256;

/// An entry as the checkers remember it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Its term.
    pub(crate) term: Term,
    /// Of everything in it.
    pub(crate) digest: u64,
}

/// All checkers, and what they share: each node's log as told by its writes.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    shadows: Vec<Shadow>,
    elections: Elections,
    append_only: AppendOnly,
    matching: Matching,
    completeness: Completeness,
    applications: Applications,
    promises: Promises,
    replay: Replay,
    once: ExactlyOnce,
    sessions: Sessions,
    /// The last entry whose reply was looked at.
    replied: Option<Index>,
}

impl Checkers {
    /// A node comes to life with what its disk gave back.
    pub(crate) fn on_start(&mut self, node: NodeId, found: Recovered) -> Result<(), Violation> {
        while self.shadows.len() < place(node) + 1 {
            self.shadows.push(Shadow::default());
        }
        self.append_only.on_start(node);
        self.applications.on_start(node);
        self.shadows[place(node)].restart(node, found)
    }

    /// Of what a node had on its disk, damage left this.
    pub(crate) fn on_damage(&mut self, node: NodeId, left: Recovered) {
        self.shadows[place(node)].replace(left);
    }

    /// Bytes of a node's log were damaged before it found that log, and this is what the repair left.
    pub(crate) fn on_repaired(
        &mut self,
        node: NodeId,
        left: Recovered,
        owed: Option<LogId>,
        applied: Option<LogId>,
    ) -> Result<(), Violation> {
        let shadow = &mut self.shadows[place(node)];
        Repair { before: shadow.on_disk(), after: &left, owed, applied }.check(node, &self.matching)?;
        shadow.replace(left);
        Ok(())
    }

    /// A node issues a write, as part of a batch.
    pub(crate) fn on_store(&mut self, node: NodeId, batch: BatchId, write: &Write) -> Result<(), Violation> {
        let shadow = &mut self.shadows[place(node)];
        match write {
            Write::Vote { term, .. } => self.append_only.on_term(node, *term),
            Write::Truncate(from) => self.append_only.on_truncate(node, *from)?,
            Write::Append(entries) => {
                let (mut previous, mut members) = (shadow.last(), shadow.membership());
                for entry in entries {
                    self.matching.on_append(node, previous, entry)?;
                    members = membership::check(node, members, entry)?;
                    previous = Some(entry.id);
                }
            }
            Write::Compact(_) | Write::Reset(_) => {}
        }
        shadow.issue(batch, write);
        Ok(())
    }

    /// A node is told that its writes are stored.
    pub(crate) fn on_stored(&mut self, node: NodeId, through: BatchId) {
        self.shadows[place(node)].stored(through);
    }

    /// A node sends.
    pub(crate) fn on_send(&mut self, node: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        let shadow = &self.shadows[place(node)];
        self.promises.on_send(node, to, message, shadow)?;
        match &message.body {
            Body::Append { committed, .. } | Body::Heartbeat { committed, .. } => {
                if self.elections.on_lead(node, message.term)? {
                    self.append_only.on_lead(node, message.term);
                    self.completeness.on_lead(node, message.term, shadow)?;
                }
                if let Some(committed) = committed {
                    self.completeness.on_commit(node, message.term, *committed, shadow)?;
                }
            }
            Body::RequestPreVote { .. }
            | Body::PreVote { .. }
            | Body::RequestVote { .. }
            | Body::Vote { .. }
            | Body::Appended { .. }
            | Body::Diverged { .. }
            | Body::LogLost { .. }
            | Body::LogLostAck { .. }
            | Body::InstallSnapshot { .. }
            | Body::SnapshotInstalled { .. }
            | Body::RequestSnapshot
            | Body::HeartbeatAck { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexAck { .. }
            | Body::TimeoutNow => {}
        }
        Ok(())
    }

    /// A node hands entries to its state machine.
    pub(crate) fn on_apply(&mut self, node: NodeId, entries: &[Entry]) -> Result<(), Violation> {
        let shadow = &self.shadows[place(node)];
        for entry in entries {
            stored::check(node, entry.id.index, shadow)?;
            self.applications.on_apply(node, entry)?;
            self.replay.on_apply(entry);
            self.completeness.on_commit(node, shadow.term(), entry.id.index, shadow)?;
        }
        Ok(())
    }

    /// A node's state machine has applied entries up to `through`, and replied to each; now it holds a state of that digest.
    pub(crate) fn on_applied(
        &mut self,
        node: NodeId,
        through: Index,
        replies: &[Bytes],
        digest: impl FnOnce() -> [u8; 32],
    ) -> Result<(), Violation> {
        let first = through.0 + 1 - replies.len() as u64;
        for (index, reply) in (first..).map(Index).zip(replies).filter(|(index, _)| Some(*index) > self.replied) {
            if let Some(entry) = self.replay.entry(index) {
                self.once.on_applied(entry, reply)?;
            }
        }
        self.replied = self.replied.max(Some(through));
        // A digest reads the whole state.
        if through.0 / DIGEST_EVERY == (first - 1) / DIGEST_EVERY {
            return Ok(());
        }
        self.replay.check(node, through, digest(), "equal states at equal index")
    }

    /// A node's state machine stands on a snapshot, durably, and holds a state of that digest.
    pub(crate) fn on_installed(
        &mut self,
        node: NodeId,
        last: Option<LogId>,
        digest: [u8; 32],
    ) -> Result<(), Violation> {
        self.shadows[place(node)].installed(last);
        let Some(last) = last else { return Ok(()) };
        self.replay.check(node, last.index, digest, "a snapshot equals the replay of its log")
    }

    /// All nodes hold a state of that digest in the end.
    pub(crate) fn on_end(&mut self, node: NodeId, through: Index, digest: [u8; 32]) -> Result<(), Violation> {
        self.replay.check(node, through, digest, "equal states at equal index")
    }

    /// A client was told that its write is an entry.
    pub(crate) fn on_client_written(&mut self, client: usize, index: Index) {
        self.sessions.on_written(client, index);
    }

    /// A client reads a node's state, as of an entry.
    pub(crate) fn on_client_read(&mut self, client: usize, node: NodeId, at: Option<Index>) {
        self.sessions.on_read(client, node, at);
    }

    /// What is said of clients' sessions at the end of a run.
    pub(crate) fn sessions(&self) -> Result<(), Violation> {
        self.sessions.verdict()
    }

    /// A node's state machine starts over from what it had persisted.
    pub(crate) fn on_state(&mut self, node: NodeId, applied: Option<Index>) {
        self.applications.on_state(node, applied);
    }

    /// The members as of the last entry that anybody has applied.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.applications.membership()
    }

    /// The last change of members in a node's log, unless its log begins with it.
    pub(crate) fn last_change(&self, node: NodeId) -> Option<LastChange> {
        let shadow = self.shadows.get(place(node))?;
        let (index, step) = shadow.last_change(node)?;
        let slot = shadow.at(index);
        let copies = self.shadows.iter().filter(|other| other.at(index) == slot).count();
        Some(LastChange { index, step, copies, is_applied: self.applied() >= index.0 })
    }

    /// The fewest voters that may have to elect a leader, as far as any node's log is concerned.
    pub(crate) fn voters_min(&self) -> usize {
        let sets = |members: &Membership| [members.voters().len(), members.outgoing().len()];
        let all = self.shadows.iter().filter_map(Shadow::membership).flat_map(sets);
        all.filter(|voters| *voters > 0).min().unwrap_or(0)
    }

    /// Whoever led the latest term.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.elections.latest()
    }

    /// How many terms had a leader.
    pub(crate) fn terms_led(&self) -> u64 {
        self.elections.count()
    }

    /// How many entries were applied by somebody.
    pub(crate) fn applied(&self) -> u64 {
        self.applications.count()
    }
}

/// Where a node's things stand in a list of all nodes': ids count from 1, without gaps.
pub(crate) fn place(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("a simulation has a handful of nodes")
}
