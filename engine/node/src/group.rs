//! One group on this node: its protocol, its inbox, what it owes to clients, and its way to the state machine.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{Effect, GroupId, Index, Input, LogId, NodeId, Protocol, RequestId, Term, Time, WriteId};
use hezong_raft::{
    Answer, Ask, Change, Entry, Event, Membership, Message, Raft, ReadLevel as RaftLevel, Refusal, Request, Role,
};

use crate::applying::Applying;
use crate::clients::{Client, Place, Want};
use crate::common::{Common, Reader, Wanted};
use crate::{GroupStatus, Leader, NodeEffect, Notice, ReadLevel, Refused, Reply};

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
    /// Commands that wait for the turn to end, in order of arrival.
    commands: Vec<(RequestId, Bytes)>,
    /// Reads that wait for it, by what they ask of the protocol.
    lease_reads: Vec<RequestId>,
    quorum_reads: Vec<RequestId>,
    /// Membership steps that wait for it.
    changes: Vec<(RequestId, Change)>,
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
            next_request: RequestId(1),
            handed: BTreeMap::new(),
            accepted: BTreeMap::new(),
            caught_up: BTreeSet::new(),
            applying: Applying::new(now, &common.config, found.applied),
            due: None,
        };
        common.peers_changed = true;
        common.touched.insert(id);
        group.route(now, started, common, out);
        if let Some(applied) = found.applied {
            group.tell(now, Request::Applied { applied, durable: None }, common, out);
        }
        group.reschedule(common);
        group
    }

    // ---- what comes in

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

    /// A client wants a command applied.
    pub(crate) fn on_propose(
        &mut self,
        now: Time,
        id: RequestId,
        command: Bytes,
        frees_space: bool,
        common: &mut Common,
    ) -> Result<(), Refused> {
        common.stats.proposals += 1;
        self.must_lead(common)?;
        if common.disk_full && !frees_space {
            return Err(Refused::DiskFull);
        }
        if self.applying.lag() > common.config.apply_lag_max {
            return Err(Refused::Overloaded { limit: "node.apply_lag_max" });
        }
        if common.queue_bytes + command.len() > common.config.queue_bytes_max {
            return Err(Refused::Overloaded { limit: "node.queue_bytes_max" });
        }
        common.admit(now, id, self.client(Want::Done))?;
        common.queue_bytes += command.len();
        self.commands.push((id, command));
        Ok(())
    }

    /// A client wants to read.
    pub(crate) fn on_read(
        &mut self,
        now: Time,
        id: RequestId,
        want: Want,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> Result<(), Refused> {
        common.stats.reads += 1;
        if want == Want::Verified {
            self.must_lead(common)?;
        }
        common.admit(now, id, self.client(want))?;
        match want {
            Want::Readable { level: ReadLevel::Stale, .. } => self.readable(now, id, None, None, common, out),
            Want::Readable { .. } | Want::Verified | Want::Done | Want::Changed | Want::Bootstrapped => {
                self.queue_read(id, want);
            }
        }
        Ok(())
    }

    /// A client wants a membership step taken.
    pub(crate) fn on_change(
        &mut self,
        now: Time,
        id: RequestId,
        change: Change,
        common: &mut Common,
    ) -> Result<(), Refused> {
        self.must_lead(common)?;
        common.admit(now, id, self.client(Want::Changed))?;
        self.changes.push((id, change));
        Ok(())
    }

    /// A client gives the group its first members.
    pub(crate) fn on_bootstrap(
        &mut self,
        now: Time,
        id: RequestId,
        members: Membership,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> Result<(), Refused> {
        common.admit(now, id, self.client(Want::Bootstrapped))?;
        common.clients.place(id, Place::Handed);
        self.request(now, Handed::Bootstrap(id), Request::Bootstrap(members), common, out);
        Ok(())
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
                self.announce(entry, membership, out);
            }
        }
        self.tell(now, Request::Applied { applied: through, durable: self.applying.durable() }, common, out);
        while let Some(id) = self.applying.next_readable() {
            self.reply_readable(now, id, common, out);
        }
        self.applying.maybe_persist(now, self.id, out);
        self.reschedule(common);
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
        self.applying.maybe_persist(now, self.id, out);
        self.reschedule(common);
    }

    /// Something of this group is due.
    pub(crate) fn on_timeout(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        if self.raft.deadline().is_some_and(|at| at <= now) {
            self.drive(now, Input::Timeout, common, out);
        }
        self.applying.maybe_persist(now, self.id, out);
        self.reschedule(common);
    }

    /// A client has gone, or its patience is over: what stands under its name goes too. Commands and reads still in
    /// the inbox, or with the protocol, are skipped when they come up.
    pub(crate) fn forget(&mut self, id: RequestId, place: Place) {
        match place {
            Place::Queued | Place::Handed => {}
            Place::Accepted(entry) => {
                self.accepted.remove(&(entry.index, entry.term));
            }
            Place::Applying(index) => self.applying.forget(index, id),
        }
    }

    /// Ends the turn: what waits in the inbox goes to the protocol, what is committed to the state machine.
    pub(crate) fn flush(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let lease_reads = std::mem::take(&mut self.lease_reads);
        self.hand_reads(now, RaftLevel::Lease, lease_reads, common, out);
        let quorum_reads = std::mem::take(&mut self.quorum_reads);
        self.hand_reads(now, RaftLevel::Quorum, quorum_reads, common, out);
        self.hand_commands(now, common, out);
        for (id, change) in std::mem::take(&mut self.changes) {
            if common.clients.place(id, Place::Handed) {
                self.request(now, Handed::Change(id, change.clone()), Request::Change(change), common, out);
            }
        }
        self.maybe_promote(now, common, out);
        self.applying.pump(self.id, &self.raft, common, out);
    }

    // ---- to the protocol

    fn hand_commands(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let (clients, commands): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commands)
            .into_iter()
            .filter(|(id, _)| common.clients.place(*id, Place::Handed))
            .unzip();
        if commands.is_empty() {
            return;
        }
        let count = commands.len() as u64;
        common.stats.proposal_batches += 1;
        common.stats.proposal_batch_max = common.stats.proposal_batch_max.max(count);
        self.request(now, Handed::Commands(clients), Request::Propose(commands), common, out);
    }

    /// All reads of a turn that ask the same share one request, and so at most one round.
    fn hand_reads(
        &mut self,
        now: Time,
        level: RaftLevel,
        mut clients: Vec<RequestId>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        clients.retain(|id| common.clients.place(*id, Place::Handed));
        if clients.is_empty() {
            return;
        }
        common.stats.read_batches += 1;
        let led = (self.role == Role::Leader).then_some(self.term);
        self.request(now, Handed::Reads { clients, led }, Request::Read(level), common, out);
    }

    /// Lets one learner vote that has caught up: steps are taken one at a time.
    fn maybe_promote(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        if self.caught_up.is_empty() {
            return;
        }
        let membership = &self.membership;
        self.caught_up.retain(|id| membership.members().contains_key(id) && !membership.is_voter(*id));
        let under_way = self.handed.values().any(|handed| matches!(handed, Handed::Promotion(_)));
        // While a step is not applied here, the protocol would only refuse the next.
        if under_way || self.membership != self.membership_applied {
            return;
        }
        if let Some(id) = self.caught_up.first().copied() {
            self.request(now, Handed::Promotion(id), Request::Change(Change::Promote(id)), common, out);
        }
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
                Effect::Ask { id, ask: Ask::Entries { from, through, bytes_max } } => {
                    common.read_log(self.id, Reader::Raft(id), Wanted { from, through, bytes_max });
                }
                Effect::Emit(event) => self.on_event(now, event, common, out),
            }
        }
        effects
    }

    // ---- from the protocol

    fn on_event(&mut self, now: Time, event: Event, common: &mut Common, out: &mut Vec<NodeEffect>) {
        match event {
            Event::Accepted { id, first, count } => self.on_accepted(id, first, count, common, out),
            Event::Refused { id, refusal } => self.on_refused(id, refusal, common, out),
            Event::Unknown { id } => self.on_unknown(id, common, out),
            Event::Readable { id, index } => self.on_readable(now, id, index, common, out),
            Event::Committed { through } => self.applying.committed(through),
            Event::Led { term, leader, role } => self.on_led(term, leader, role, out),
            Event::Peers(membership) => {
                self.membership = membership;
                common.peers_changed = true;
            }
            Event::CaughtUp(id) => {
                if common.config.auto_promote {
                    self.caught_up.insert(id);
                }
            }
            Event::Dropped { from, reason } => common.dropped(now, from, reason, out),
        }
    }

    fn on_accepted(&mut self, id: RequestId, first: LogId, count: u64, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let clients = match self.handed.remove(&id) {
            Some(Handed::Commands(clients)) => clients,
            Some(Handed::Change(client, _)) => vec![client],
            // First members are no entry: they are done once on disk, and said to be accepted then.
            Some(Handed::Bootstrap(client)) => return common.reply(client, Reply::Bootstrapped, out),
            Some(Handed::Promotion(_)) => return,
            Some(Handed::Reads { .. } | Handed::Told) | None => {
                unreachable!("the protocol accepts only what it was handed to append")
            }
        };
        assert_eq!(clients.len() as u64, count, "each command becomes one entry");
        for (client, index) in clients.into_iter().zip(first.index.0..) {
            let entry = LogId { term: first.term, index: Index(index) };
            if common.clients.place(client, Place::Accepted(entry)) {
                self.accepted.insert((entry.index, entry.term), client);
            }
        }
    }

    fn on_refused(&mut self, id: RequestId, refusal: Refusal, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let Some(handed) = self.handed.remove(&id) else { return };
        let refused = match refusal {
            // A leader becomes ready by what the next message or write brings, so steps and reads are asked again at the
            // end of the turn that brings it, and their clients are spared the retry. Commands never wait for this: a
            // leader appends from its first moment on.
            Refusal::NotReady => match handed {
                Handed::Change(client, change) => return self.change_again(client, change, common),
                Handed::Reads { clients, .. } => return self.read_again(&clients, common),
                Handed::Promotion(_) | Handed::Told => return,
                Handed::Commands(_) | Handed::Bootstrap(_) => Refused::Overloaded { limit: "raft" },
            },
            Refusal::NotLeader(leader) => Refused::NotLeader(self.leader_of(leader)),
            Refusal::Overloaded => Refused::Overloaded { limit: "raft" },
            Refusal::ChangePending => Refused::ChangePending,
            Refusal::Change(error) => Refused::Change(error),
            Refusal::NotEmpty => Refused::NotEmpty,
        };
        match handed {
            Handed::Commands(clients) | Handed::Reads { clients, .. } => self.refuse(clients, &refused, common, out),
            Handed::Change(client, _) | Handed::Bootstrap(client) => self.refuse(vec![client], &refused, common, out),
            // What makes no sense now never will; anything else is asked again by maybe_promote.
            Handed::Promotion(learner) if matches!(refused, Refused::Change(_)) => {
                self.caught_up.remove(&learner);
            }
            Handed::Promotion(_) | Handed::Told => {}
        }
    }

    fn on_unknown(&mut self, id: RequestId, common: &mut Common, out: &mut Vec<NodeEffect>) {
        match self.handed.remove(&id) {
            Some(Handed::Commands(clients)) => {
                for client in clients {
                    common.reply(client, Reply::Unknown, out);
                }
            }
            Some(Handed::Change(client, _) | Handed::Bootstrap(client)) => common.reply(client, Reply::Unknown, out),
            // A read leaves no trace, so it is simply asked again.
            Some(Handed::Reads { clients, .. }) => self.read_again(&clients, common),
            Some(Handed::Promotion(_) | Handed::Told) | None => {}
        }
    }

    fn on_readable(
        &mut self,
        now: Time,
        id: RequestId,
        index: Option<Index>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(Handed::Reads { clients, led }) = self.handed.remove(&id) else { return };
        for client in clients {
            self.readable(now, client, index, led, common, out);
        }
    }

    fn on_led(&mut self, term: Term, leader: Option<NodeId>, role: Role, out: &mut Vec<NodeEffect>) {
        let news = match (self.leader, leader) {
            (old, Some(leader)) if old != Some(leader) || term != self.term => {
                Some(Notice::LeaderElected { group: self.id, term, leader })
            }
            (Some(leader), None) => Some(Notice::LeaderLost { group: self.id, term, leader }),
            (_, Some(_)) | (None, None) => None,
        };
        if role != Role::Leader {
            self.caught_up.clear();
        }
        (self.term, self.leader, self.role) = (term, leader, role);
        out.extend(news.map(NodeEffect::Notice));
    }

    // ---- to clients

    /// The protocol has said as of which index a read may be served.
    fn readable(
        &mut self,
        now: Time,
        id: RequestId,
        index: Option<Index>,
        led: Option<Term>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(client) = common.clients.get(id) else { return };
        match client.want {
            Want::Verified if self.role == Role::Leader && led == Some(self.term) => {
                common.reply(id, Reply::Verified { term: self.term }, out);
            }
            Want::Verified => {
                let refused = Refused::NotLeader(self.leader_of(self.leader));
                common.reply(id, Reply::Refused(refused), out);
            }
            Want::Readable { min_index, .. } => match index.max(min_index).filter(|i| !self.applying.reaches(Some(*i)))
            {
                None => self.reply_readable(now, id, common, out),
                Some(index) => {
                    common.clients.place(id, Place::Applying(index));
                    self.applying.wait(index, id);
                }
            },
            Want::Done | Want::Changed | Want::Bootstrapped => unreachable!("a write is not answered as a read"),
        }
    }

    fn reply_readable(&self, now: Time, id: RequestId, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let applied = self.applying.last().map(|entry| entry.index);
        common.reply(id, Reply::Readable { applied, last_contact: self.raft.last_contact(now) }, out);
    }

    /// Whatever waited for this index is decided by the entry that was applied there.
    fn settle(
        &mut self,
        entry: LogId,
        reply: Bytes,
        changed: Option<&Membership>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        while let Some(first) = self.accepted.first_entry().filter(|first| first.key().0 <= entry.index) {
            let ((index, term), id) = first.remove_entry();
            let outcome = match changed {
                _ if (LogId { term, index }) != entry => Reply::Refused(Refused::Lost),
                Some(membership) => Reply::Changed { id: entry, membership: membership.clone() },
                None => Reply::Done { id: entry, reply: reply.clone() },
            };
            common.reply(id, outcome, out);
        }
    }

    /// Tells people what a committed membership step changed.
    fn announce(&mut self, entry: LogId, membership: Membership, out: &mut Vec<NodeEffect>) {
        let before = std::mem::replace(&mut self.membership_applied, membership);
        if Some(entry.index) <= self.old_news {
            return;
        }
        let (group, after) = (self.id, &self.membership_applied);
        for (&id, member) in before.members().iter().filter(|(id, _)| !after.members().contains_key(id)) {
            out.push(NodeEffect::Notice(Notice::MemberRemoved { group, id, member: member.clone() }));
        }
        for (&id, member) in after.members() {
            if !before.members().contains_key(&id) {
                out.push(NodeEffect::Notice(Notice::MemberAdded { group, id, member: member.clone() }));
            }
            if after.is_voter(id) && !before.is_voter(id) {
                out.push(NodeEffect::Notice(Notice::MemberPromoted { group, id, member: member.clone() }));
            }
        }
    }

    fn refuse(&self, clients: Vec<RequestId>, refused: &Refused, common: &mut Common, out: &mut Vec<NodeEffect>) {
        for client in clients {
            common.reply(client, Reply::Refused(refused.clone()), out);
        }
    }

    /// Puts reads back into the inbox.
    fn read_again(&mut self, clients: &[RequestId], common: &mut Common) {
        for &id in clients {
            if let Some(client) = common.clients.get(id) {
                common.clients.place(id, Place::Queued);
                self.queue_read(id, client.want);
            }
        }
    }

    /// Puts a membership step back into the inbox.
    fn change_again(&mut self, id: RequestId, change: Change, common: &mut Common) {
        if common.clients.place(id, Place::Queued) {
            self.changes.push((id, change));
        }
    }

    fn queue_read(&mut self, id: RequestId, want: Want) {
        match want {
            Want::Readable { level: ReadLevel::Default, .. } => self.lease_reads.push(id),
            // Who leads is confirmed as a consistent read is.
            Want::Readable { level: ReadLevel::Consistent, .. } | Want::Verified => self.quorum_reads.push(id),
            Want::Readable { level: ReadLevel::Stale, .. } | Want::Done | Want::Changed | Want::Bootstrapped => {
                unreachable!("the protocol is not asked for this")
            }
        }
    }

    fn client(&self, want: Want) -> Client {
        Client { group: self.id, want, place: Place::Queued }
    }

    /// Refuses at once what the protocol would refuse at the end of the turn, and so keeps it out of the queue.
    fn must_lead(&self, common: &Common) -> Result<(), Refused> {
        debug_assert!(!common.stopping, "a stopping node takes nothing in");
        if self.role == Role::Leader { Ok(()) } else { Err(Refused::NotLeader(self.leader_of(self.leader))) }
    }

    fn leader_of(&self, leader: Option<NodeId>) -> Option<Leader> {
        leader.map(|id| Leader { id, member: self.membership.members().get(&id).cloned() })
    }

    // ---- how it stands

    /// Keeps the group's place among the timers.
    fn reschedule(&mut self, common: &mut Common) {
        let due = [self.raft.deadline(), self.applying.deadline()].into_iter().flatten().min();
        if due != self.due {
            if let Some(old) = self.due {
                common.due.remove(&(old, self.id));
            }
            common.due.extend(due.map(|at| (at, self.id)));
            self.due = due;
        }
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    pub(crate) fn status(&self, now: Time, common: &Common) -> GroupStatus {
        GroupStatus {
            group: self.id,
            raft: self.raft.status(now),
            applied: self.applying.last(),
            durable: self.applying.durable(),
            apply_pending: self.applying.pending(),
            apply_reading: self.applying.is_reading(),
            persisting: self.applying.is_persisting(),
            accepted: self.accepted.len(),
            reads_waiting: self.applying.reads_waiting(),
            disk_full: common.disk_full,
        }
    }
}

/// What a group's disk held when it was opened.
pub(crate) struct Found {
    /// The last entry of the log.
    pub(crate) last: Option<Index>,
    /// The last entry applied.
    pub(crate) applied: Option<LogId>,
    /// The members as of it.
    pub(crate) membership: Membership,
}
