//! The node: every input's way to the group it concerns, and the turn that carries what all groups want done.

use std::collections::BTreeMap;

use hezong_base::{GroupId, LogId, NodeId, Protocol, RequestId, Rng, Time, sometimes};
use hezong_raft::{Base, Member, Message, Raft, Saved, Version};

use crate::clients::{Place, Want};
use crate::common::Common;
use crate::group::{Found, Group, Start};
use crate::{
    ClientRequest, GroupStatus, NodeConfig, NodeEffect, NodeInput, NodeStats, ReadLevel, Refused, Reply, StartError,
    Tuning,
};

/// Many groups behind one inbox.
///
/// A runner hands in everything that has arrived, one [`handle`](Node::handle) each, then calls
/// [`flush`](Node::flush) once: that is a turn. The more arrives in a turn, the more shares one proposal, one frame a
/// peer and one write batch, so that load makes the node more economical, not less.
///
/// The same inputs at the same times give the same effects. `now` never decreases, and is read after the inputs it comes
/// with have arrived. What arrived before [`deadline`](Node::deadline) is handed in before its `Timeout`.
#[derive(Debug)]
pub struct Node {
    groups: BTreeMap<GroupId, Group>,
    common: Common,
    /// The peers as last told.
    peers: BTreeMap<NodeId, Member>,
    /// The version as last told by `Uses`.
    used: Version,
    /// Whether `Drained` was told.
    drained: bool,
}

impl Node {
    /// A node without groups.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        let (groups, peers) = (BTreeMap::new(), BTreeMap::new());
        Self { groups, common: Common::new(config), peers, used: Version::default(), drained: false }
    }

    /// Takes over what may change while it runs.
    pub fn tune(&mut self, tuning: Tuning) {
        self.common.config.tune(tuning);
    }

    /// Opens a group on what its disk holds: the fold of its log, and what its state machine covers. To be followed by
    /// a `flush`.
    ///
    /// # Errors
    /// [`StartError`] when log and state do not belong together; nothing was changed.
    ///
    /// # Panics
    /// When `config` is for another node.
    #[expect(clippy::too_many_arguments, reason = "each is a fact of its own, known to a different part of the runner")]
    pub fn open_group(
        &mut self,
        now: Time,
        group: GroupId,
        config: hezong_raft::Config,
        saved: Saved,
        state: StateFound,
        rng: Rng,
        out: &mut Vec<NodeEffect>,
    ) -> Result<(), StartError> {
        assert_eq!(config.id, self.common.config.id, "a node takes part in every group under its one id");
        if self.groups.contains_key(&group) {
            return Err(StartError::Open { group });
        }
        let start = start_of(group, config.id, &saved, &state)?;
        let applied = state.applied.and_then(|base| base.last);
        let membership = match (&start, applied) {
            (Start::Installed(base), _) => base.membership.clone(),
            (Start::Replay | Start::StateLost, None) => saved.log.base().membership.clone(),
            (Start::Replay | Start::StateLost, Some(applied)) => saved.log.membership_at(applied.index).clone(),
        };
        let found = Found { last: saved.log.last().map(|id| id.index), applied, start, membership };
        let mut started = Vec::new();
        let raft = Raft::start(now, config, saved, rng, &mut started);
        let opened = Group::new(now, group, raft, started, found, &mut self.common, out);
        self.groups.insert(group, opened);
        Ok(())
    }

    /// Takes in one input. What it leads to leaves partly at once, partly with the next [`flush`](Node::flush).
    pub fn handle(&mut self, now: Time, input: NodeInput, out: &mut Vec<NodeEffect>) {
        self.common.stats.inputs += 1;
        match input {
            NodeInput::Received { from, messages } => self.on_received(now, from, messages, out),
            NodeInput::Request { id, group, request } => self.on_request(now, id, group, request, out),
            NodeInput::Cancel { id } => self.on_cancel(id),
            NodeInput::Stored(batch) => {
                for (group, write) in self.common.stored(batch) {
                    self.group(group, |group, common| group.on_stored(now, write, common, out));
                }
            }
            NodeInput::LogRead { group, ask, entries } => {
                if let Some(reader) = self.common.log_read(group, ask) {
                    self.group(group, |group, common| group.on_log_read(now, reader, entries, common, out));
                }
            }
            NodeInput::Applied { group, through, replies } => {
                self.group(group, |group, common| group.on_applied(now, through, replies, common, out));
            }
            NodeInput::Persisted { group, durable } => {
                self.group(group, |group, common| group.on_persisted(now, durable, common, out));
            }
            NodeInput::SnapshotMessage { from, message } => {
                self.group(message.group, |group, common| group.on_snapshot_message(now, from, message, common, out));
            }
            NodeInput::Snapshot { group, done } => {
                self.group(group, |group, common| group.on_snapshot_done(now, done, common, out));
            }
            NodeInput::DiskReserve { below } => self.common.disk_full = below,
            NodeInput::Version { peer, version } => {
                self.common.versions.insert(peer, version);
                self.common.touched.extend(self.groups.keys());
            }
            NodeInput::Timeout => self.on_timeout(now, out),
            NodeInput::Stop => {
                self.common.stopping = true;
                self.common.touched.extend(self.groups.keys());
            }
        }
    }

    /// Ends a turn: hands every group what waits in its inbox, every state machine what is committed, and lets the
    /// turn's frames and its write batch go.
    pub fn flush(&mut self, now: Time, out: &mut Vec<NodeEffect>) {
        self.common.stats.turns += 1;
        for group in std::mem::take(&mut self.common.touched) {
            self.group(group, |group, common| group.flush(now, common, out));
        }
        // Flushing touches groups again, but leaves nothing in an inbox that this turn could still do: what was put back
        // waits for the next thing to happen to its group.
        self.common.touched.clear();
        // Before any entry leaves, for the disk or for a peer.
        let used = self.groups.values().map(Group::used).max().unwrap_or_default();
        if used > self.used {
            self.used = used;
            out.push(NodeEffect::Uses(used));
        }
        self.common.leave(out);
        self.tell_peers(out);
        let handing_over = || self.groups.values().any(Group::is_handing_over);
        if self.common.stopping && !self.drained && self.common.clients.len() == 0 && !handing_over() {
            self.drained = true;
            out.push(NodeEffect::Drained);
        }
    }

    fn on_received(&mut self, now: Time, from: NodeId, messages: Vec<(GroupId, Message)>, out: &mut Vec<NodeEffect>) {
        self.common.stats.frames_received += 1;
        self.common.stats.messages_received += messages.len() as u64;
        for (id, message) in messages {
            match self.groups.get_mut(&id) {
                Some(group) => group.on_message(now, from, message, &mut self.common, out),
                None => self.common.dropped(now, from, "a message for a group that this node does not have", out),
            }
        }
    }

    fn on_request(
        &mut self,
        now: Time,
        id: RequestId,
        group: GroupId,
        request: ClientRequest,
        out: &mut Vec<NodeEffect>,
    ) {
        if let Err(refused) = self.try_request(now, id, group, request, out) {
            self.common.answer(id, Reply::Refused(refused), out);
        }
    }

    fn try_request(
        &mut self,
        now: Time,
        id: RequestId,
        group_id: GroupId,
        request: ClientRequest,
        out: &mut Vec<NodeEffect>,
    ) -> Result<(), Refused> {
        let common = &mut self.common;
        let group = self.groups.get_mut(&group_id).ok_or(Refused::NoGroup(group_id))?;
        if let ClientRequest::Status = request {
            let status = group.status(now, common);
            common.answer(id, Reply::Status(Box::new(status)), out);
            return Ok(());
        }
        if common.stopping {
            return Err(Refused::Stopping);
        }
        common.touched.insert(group_id);
        match request {
            ClientRequest::Propose { command, frees_space, version } => {
                group.may_propose(version, common)?;
                group.on_propose(now, id, command, frees_space, common)
            }
            ClientRequest::Read { level, min_index } => {
                group.on_read(now, id, Want::Readable { level, min_index }, common, out)
            }
            // What a consistent read would see is everything acknowledged before it, so waiting until it may be served
            // is the barrier; unlike an entry of its own it costs no disk and works on every node.
            ClientRequest::Barrier => {
                let want = Want::Readable { level: ReadLevel::Consistent, min_index: None };
                group.on_read(now, id, want, common, out)
            }
            ClientRequest::VerifyLeader => group.on_read(now, id, Want::Verified, common, out),
            ClientRequest::Change(change) => group.on_change(now, id, change, common),
            ClientRequest::Transfer(to) => group.on_transfer(now, id, to, common),
            ClientRequest::Bootstrap(members) => group.on_bootstrap(now, id, members, common, out),
            ClientRequest::Status => unreachable!("answered above"),
        }
    }

    fn on_cancel(&mut self, id: RequestId) {
        if let Some(client) = self.common.clients.remove(id) {
            self.common.stats.cancelled += 1;
            self.group(client.group, |group, _| group.forget(id, client.place));
        }
    }

    fn on_timeout(&mut self, now: Time, out: &mut Vec<NodeEffect>) {
        while let Some(id) = self.common.clients.expired(now) {
            let client = self.common.clients.remove(id).expect("only those that still wait expire");
            self.group(client.group, |group, _| group.forget(id, client.place));
            sometimes!("node: a client waits in vain, and its write may happen yet", client.may_happen());
            let outcome = if client.may_happen() { Reply::Unknown } else { Reply::Refused(Refused::Timeout) };
            self.common.answer(id, outcome, out);
        }
        let due: Vec<GroupId> =
            self.common.due.iter().take_while(|(at, _)| *at <= now).map(|(_, group)| *group).collect();
        for group in due {
            self.group(group, |group, common| group.on_timeout(now, common, out));
        }
    }

    /// Tells whom to keep connections to, if that has changed.
    fn tell_peers(&mut self, out: &mut Vec<NodeEffect>) {
        if !std::mem::take(&mut self.common.peers_changed) {
            return;
        }
        let members = self.groups.values().flat_map(Group::members);
        let peers: BTreeMap<NodeId, Member> = members.map(|(id, member)| (*id, member.clone())).collect();
        if peers != self.peers {
            self.peers.clone_from(&peers);
            out.push(NodeEffect::Peers(peers));
        }
    }

    /// Nothing if there is no such group: groups come before what concerns them, and are not closed.
    fn group(&mut self, id: GroupId, act: impl FnOnce(&mut Group, &mut Common)) {
        if let Some(group) = self.groups.get_mut(&id) {
            self.common.touched.insert(id);
            act(group, &mut self.common);
        }
    }

    /// When to hand in [`NodeInput::Timeout`] if nothing comes first.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let due = self.common.due.first().map(|(at, _)| *at);
        [due, self.common.clients.deadline()].into_iter().flatten().min()
    }

    /// Where in the log the command of a client lies that waits for it; `None` while it lies nowhere, or nobody waits.
    #[must_use]
    pub fn accepted(&self, id: RequestId) -> Option<LogId> {
        match self.common.clients.get(id)?.place {
            Place::Accepted(entry) => Some(entry),
            Place::Queued | Place::Handed | Place::Applying(_) => None,
        }
    }

    /// Whether this node was a member once and never will be again: a group here knows, as committed, that its number
    /// was given, and no group has it. Whoever is told so may believe it.
    #[must_use]
    pub fn has_removed(&self, id: NodeId) -> bool {
        !self.peers.contains_key(&id) && self.groups.values().any(|group| group.has_let_go(id))
    }

    /// How one group stands; `None` if it is not open here.
    #[must_use]
    pub fn status(&self, now: Time, group: GroupId) -> Option<GroupStatus> {
        self.groups.get(&group).map(|group| group.status(now, &self.common))
    }

    /// The protocol of one group, for checkers; `None` if it is not open here.
    #[must_use]
    pub fn raft(&self, group: GroupId) -> Option<&Raft> {
        self.groups.get(&group).map(Group::raft)
    }

    /// The groups that are open.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.groups.keys().copied()
    }

    /// Counts since the node started.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        let mut stats = self.common.stats.clone();
        stats.waiting = self.common.clients.len();
        stats.groups = self.groups.len();
        stats
    }
}

/// What a state machine was found to cover when its group is opened.
#[derive(Clone, Debug, Default)]
pub struct StateFound {
    /// As [`StateMachine::applied`](crate::StateMachine::applied) told.
    pub applied: Option<Base>,
    /// As [`StateMachine::is_installed`](crate::StateMachine::is_installed) told.
    pub is_installed: bool,
}

/// Whether the log continues, or at least contains, what the state machine has applied; and what to do if not.
fn start_of(group: GroupId, me: NodeId, saved: &Saved, state: &StateFound) -> Result<Start, StartError> {
    let (last, base) = (saved.log.last(), saved.log.base().last);
    let applied = state.applied.as_ref().and_then(|base| base.last);
    if let Some(base) = base.filter(|base| applied.map(|id| id.index) < Some(base.index)) {
        let others = saved.log.membership().voters().iter().any(|voter| *voter != me);
        return if others { Ok(Start::StateLost) } else { Err(StartError::StateLost { group, applied, base }) };
    }
    let Some(applied) = applied else { return Ok(Start::Replay) };
    let logged = saved.log.term_at(applied.index).map(|term| LogId { term, index: applied.index });
    match (logged, &state.applied) {
        (Some(logged), _) if logged == applied => Ok(Start::Replay),
        (_, Some(base)) if state.is_installed => Ok(Start::Installed(base.clone())),
        (Some(logged), _) => Err(StartError::LogDiffers { group, applied, logged }),
        (None, _) => Err(StartError::LogLost { group, applied, last }),
    }
}
