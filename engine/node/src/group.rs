//! One group on this node: its protocol, its inbox, what it owes to clients, and its way to the state machine.
//!
//! What a client wants goes through `inbox.rs` to the protocol; what the protocol and the state machine say of it comes
//! back through `outcome.rs`. Here are the state that both share, and the way of every other input and effect.

mod inbox;
mod outcome;
mod snapshot;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{Effect, GroupId, Index, Input, LogId, NodeId, Protocol, RequestId, Term, Time, WriteId};
use hezong_raft::{
    Answer, Ask, Base, Change, Entry, Event, Member, Membership, Message, Raft, ReadLevel as RaftLevel, Request, Role,
};

use crate::applying::Applying;
use crate::common::{Common, Reader, Wanted};
use crate::snapshots::Snapshots;
use crate::{GroupStatus, NodeEffect, Notice};

/// What was handed to the protocol under one request id of ours, and for whom.
#[derive(Debug)]
enum Handed {
    /// The commands of one turn, in order.
    Commands(Vec<RequestId>),
    /// A client's membership step.
    Change(RequestId, Change),
    /// First members.
    Bootstrap(RequestId),
    /// The reads of one turn and level. `led` is the term in which this node led then.
    Reads { clients: Vec<RequestId>, led: Option<Term> },
    /// A learner that we let vote by ourselves.
    Promotion(NodeId),
    /// What we found that members agree on.
    Agreement,
    /// A client's wish that another lead.
    Transfer(RequestId),
    /// Our own, since the node stops.
    HandOver,
    /// What needs no answer.
    Told,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    id: GroupId,
    raft: Raft,
    /// As the protocol last said.
    role: Role,
    term: Term,
    leader: Option<NodeId>,
    /// The members in force, committed or not.
    membership: Membership,
    /// The members as of what is applied.
    membership_applied: Membership,
    /// Up to here the log was found at the start: its membership steps are no news.
    old_news: Option<Index>,
    /// Commands that wait for the turn to end, or for leadership that is handed over to have arrived, in order of arrival.
    commands: Vec<(RequestId, Bytes)>,
    /// Reads that wait for it, by what they ask of the protocol.
    lease_reads: Vec<RequestId>,
    quorum_reads: Vec<RequestId>,
    /// Membership steps that wait for it.
    changes: Vec<(RequestId, Change)>,
    /// Those that wait until a learner has caught up that is to vote by them.
    held: Vec<(RequestId, Change)>,
    /// Clients whose step has made the membership joint: it is done when that is left.
    half_done: Vec<RequestId>,
    /// Wishes that another lead, that wait for it.
    transfers: Vec<(RequestId, Option<NodeId>)>,
    /// Whether the group was handed over, or that was tried, since the node stops.
    handed_over: bool,
    /// The name our next request to the protocol gets.
    next_request: RequestId,
    /// Requests that the protocol has not decided.
    handed: BTreeMap<RequestId, Handed>,
    /// Clients whose command or step is in the log as this entry, by index first: whatever is applied at the index
    /// settles it.
    accepted: BTreeMap<(Index, Term), RequestId>,
    /// Learners that have caught up and do not vote yet. Empty unless we lead.
    caught_up: BTreeSet<NodeId>,
    applying: Applying,
    snapshots: Snapshots,
    /// Whether the state was lost and waits for a snapshot: what it holds is nothing to be read.
    restoring: bool,
    /// When the group asked to be woken, as it stands in `Common::due`.
    due: Option<Time>,
}

impl Group {
    /// A group whose protocol was just started, with the effects of that start.
    pub(crate) fn new(
        now: Time,
        id: GroupId,
        raft: Raft,
        started: Vec<Effect<Raft>>,
        found: Found,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> Self {
        let status = raft.status(now);
        out.push(NodeEffect::Settled { group: id, membership: found.membership.clone() });
        if found.membership.has_left(common.config.id) {
            out.push(NodeEffect::Notice(Notice::Left { group: id, id: common.config.id }));
        }
        let mut group = Self {
            id,
            raft,
            role: status.role,
            term: status.term,
            leader: None,
            membership: status.membership,
            membership_applied: found.membership,
            old_news: found.last,
            commands: Vec::new(),
            lease_reads: Vec::new(),
            quorum_reads: Vec::new(),
            changes: Vec::new(),
            held: Vec::new(),
            half_done: Vec::new(),
            transfers: Vec::new(),
            handed_over: false,
            next_request: RequestId(1),
            handed: BTreeMap::new(),
            accepted: BTreeMap::new(),
            caught_up: BTreeSet::new(),
            applying: Applying::new(now, &common.config, found.applied),
            snapshots: Snapshots::default(),
            restoring: false,
            due: None,
        };
        group.applying.found(&common.config, group.raft.log().base_index());
        common.peers_changed = true;
        common.touched.insert(id);
        group.route(now, started, common, out);
        match found.start {
            Start::Replay => {}
            Start::Installed(base) => group.on_found_installed(now, base, common, out),
            Start::StateLost => group.on_found_lost(now, common, out),
        }
        if let Some(applied) = found.applied {
            group.tell(now, Request::Applied { applied, durable: None }, common, out);
        }
        group.reschedule(common);
        group
    }

    /// A peer says something.
    pub(crate) fn on_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: Message,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        self.drive(now, Input::Message { from, message }, common, out);
    }

    /// Writes up to this one are on disk.
    pub(crate) fn on_stored(&mut self, now: Time, write: WriteId, common: &mut Common, out: &mut Vec<NodeEffect>) {
        self.drive(now, Input::Stored(write), common, out);
    }

    /// Entries arrived from disk.
    pub(crate) fn on_log_read(
        &mut self,
        now: Time,
        reader: Reader,
        entries: Vec<Entry>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        match reader {
            Reader::Raft(id) => self.drive(now, Input::Answered { id, answer: Answer::Entries(entries) }, common, out),
            Reader::Apply => self.applying.read(self.id, entries, common, out),
        }
    }

    /// The state machine has applied its oldest batch: whoever waited for one of its entries learns what came of it.
    pub(crate) fn on_applied(
        &mut self,
        now: Time,
        through: LogId,
        replies: Vec<Bytes>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let done = self.applying.applied(now, &common.config, through, replies);
        let mut memberships = done.memberships.into_iter().peekable();
        for (entry, reply) in done.replies {
            let changed = memberships.next_if(|(id, _)| *id == entry).map(|(_, membership)| membership);
            self.settle(entry, reply, changed.as_ref(), common, out);
            if let Some(membership) = changed {
                self.announce(entry, membership, common, out);
            }
        }
        self.tell(now, Request::Applied { applied: through, durable: self.applying.durable() }, common, out);
        while let Some(id) = self.applying.next_readable() {
            self.reply_readable(now, id, common, out);
        }
        self.applying.maybe_persist(now, self.id, out);
        self.go_on_with_snapshots(now, common, out);
    }

    /// The state machine has persisted.
    pub(crate) fn on_persisted(
        &mut self,
        now: Time,
        durable: Option<LogId>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        self.applying.persisted(durable);
        if let Some(applied) = self.applying.last() {
            self.tell(now, Request::Applied { applied, durable: self.applying.durable() }, common, out);
        }
        self.maybe_compact(now, common, out);
        self.applying.maybe_persist(now, self.id, out);
        self.reschedule(common);
    }

    /// Something of this group is due.
    pub(crate) fn on_timeout(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        if self.raft.deadline().is_some_and(|at| at <= now) {
            self.drive(now, Input::Timeout, common, out);
        }
        self.applying.maybe_persist(now, self.id, out);
        self.go_on_with_snapshots(now, common, out);
    }

    /// Ends the turn: what waits in the inbox goes to the protocol, what is committed to the state machine.
    pub(crate) fn flush(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let lease_reads = std::mem::take(&mut self.lease_reads);
        self.hand_reads(now, RaftLevel::Lease, lease_reads, common, out);
        let quorum_reads = std::mem::take(&mut self.quorum_reads);
        self.hand_reads(now, RaftLevel::Quorum, quorum_reads, common, out);
        self.hand_commands(now, common, out);
        self.hand_changes(now, common, out);
        self.maybe_promote(now, common, out);
        self.maybe_agree(now, common, out);
        // Last: whoever hands over takes nothing more in.
        self.hand_transfers(now, common, out);
        self.applying.pump(self.id, &self.raft, common, out);
    }

    /// Tells the protocol something that it does not answer.
    fn tell(&mut self, now: Time, request: Request, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let id = self.request(now, Handed::Told, request, common, out);
        self.handed.remove(&id);
    }

    fn request(
        &mut self,
        now: Time,
        handed: Handed,
        request: Request,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> RequestId {
        let id = self.next_request;
        self.next_request = id.next();
        self.handed.insert(id, handed);
        self.drive(now, Input::Request { id, request }, common, out);
        id
    }

    /// Hands one input to the protocol and carries its effects to where the turn collects them.
    fn drive(&mut self, now: Time, input: Input<Raft>, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let mut effects = std::mem::take(&mut common.scratch);
        self.raft.handle(now, input, &mut effects);
        common.touched.insert(self.id);
        common.scratch = self.route(now, effects, common, out);
        self.reschedule(common);
    }

    /// Returns the emptied list, for its allocation.
    fn route(
        &mut self,
        now: Time,
        mut effects: Vec<Effect<Raft>>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> Vec<Effect<Raft>> {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { to, message } => common.send(to, self.id, message),
                Effect::Store { id, write } => common.store(self.id, id, write),
                Effect::Ask { id, ask: ask @ (Ask::TakeSnapshot(_) | Ask::FetchSnapshot { .. }) } => {
                    self.on_snapshot_ask(now, id, ask, common, out);
                }
                Effect::Ask { id, ask: Ask::Entries { from, through, bytes_max } } => {
                    common.read_log(self.id, Reader::Raft(id), Wanted { from, through, bytes_max });
                }
                Effect::Emit(event) => self.on_event(now, event, common, out),
            }
        }
        effects
    }

    fn on_event(&mut self, now: Time, event: Event, common: &mut Common, out: &mut Vec<NodeEffect>) {
        match event {
            Event::Accepted { id, first, count } => self.on_accepted(id, first, count, common, out),
            Event::Refused { id, refusal } => self.on_refused(now, id, refusal, common, out),
            Event::Unknown { id } => self.on_unknown(id, common, out),
            Event::Readable { id, index } => self.on_readable(now, id, index, common, out),
            Event::Transferred { id, term, leader } => self.on_transferred(id, term, leader, common, out),
            Event::Committed { through } => self.applying.committed(through),
            Event::Led { term, leader, role } => self.on_led(term, leader, role, out),
            Event::Peers(membership) => {
                self.membership = membership;
                common.peers_changed = true;
            }
            Event::CaughtUp(id) => {
                self.release_held();
                if common.config.auto_promote {
                    self.caught_up.insert(id);
                }
            }
            Event::Dropped { from, reason } => common.dropped(now, from, reason, out),
        }
    }

    /// Keeps the group's place among the timers.
    fn reschedule(&mut self, common: &mut Common) {
        let due = [self.raft.deadline(), self.applying.deadline(), self.snapshots.deadline(&common.config)];
        let due = due.into_iter().flatten().min();
        if due != self.due {
            if let Some(old) = self.due {
                common.due.remove(&(old, self.id));
            }
            common.due.extend(due.map(|at| (at, self.id)));
            self.due = due;
        }
    }

    /// Whether the group is being handed over since the node stops.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.handed.values().any(|handed| matches!(handed, Handed::HandOver))
    }

    /// All members there are to be reached: those in force, and those that the snapshot being fetched tells of, or a node
    /// that has just joined could not reach whoever holds it.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.snapshots.membership().into_iter().chain([&self.membership]).flat_map(Membership::members)
    }

    /// Whether what is applied here knows this number and no such member: numbers are given in order and never twice.
    pub(crate) fn has_let_go(&self, id: NodeId) -> bool {
        let members = &self.membership_applied;
        Some(id) <= members.last_id() && !members.members().contains_key(&id)
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn status(&self, now: Time, common: &Common) -> GroupStatus {
        GroupStatus {
            group: self.id,
            raft: self.raft.status(now),
            leader: self.leader_to_ask(now),
            applied: self.applying.last(),
            durable: self.applying.durable(),
            apply_pending: self.applying.pending(),
            apply_reading: self.applying.is_reading(),
            persisting: self.applying.is_persisting(),
            accepted: self.accepted.len(),
            reads_waiting: self.applying.reads_waiting(),
            snapshots_held: self.snapshots.held(),
            snapshot_fetching: self.snapshots.is_fetching(),
            snapshots_installed: self.snapshots.installed,
            snapshot_bytes_sent: self.snapshots.bytes_sent,
            snapshot_bytes_received: self.snapshots.bytes_received,
            restoring: self.restoring,
            disk_full: common.disk_full,
            versions: common.versions.clone(),
        }
    }
}

/// What a group does first, by how its log and its state fit.
#[derive(Debug)]
pub(crate) enum Start {
    /// What follows in the log is applied.
    Replay,
    /// The state is a snapshot that the log was not made to fit before the crash.
    Installed(Base),
    /// The state is gone, and the log begins too late to build it again.
    StateLost,
}

/// What a group's disk held when it was opened.
pub(crate) struct Found {
    /// The last entry of the log.
    pub(crate) last: Option<Index>,
    /// The last entry applied.
    pub(crate) applied: Option<LogId>,
    /// What follows from how the two fit.
    pub(crate) start: Start,
    /// The members as of it.
    pub(crate) membership: Membership,
}
