//! The node: its state, the way in, and what holds after every step.
//!
//! A message goes `handle` → `on_message` (terms) → `on_<message>` in the file of the role that cares.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use hezong_base::{
    AskId, Effect, Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Term, Time, WriteId, Writes, sometimes,
};

use crate::candidate::Ballot;
use crate::follower::Follower;
use crate::leader::Leader;
use crate::quorums::Quorums;
use crate::snapshot::Install;
use crate::transfer::Transfer;
use crate::{
    Answer, Ask, Base, Body, Config, Entries, Event, Message, ReadLevel, Refusal, Request, Role, Saved, Status,
    Weakness, Write,
};
use crate::{Log, Membership};

/// Effects of one step, in the order in which they arose.
pub(crate) type Out = Vec<Effect<Raft>>;

/// The entries kept in memory while recovery folds a log: enough for followers that were nearly level.
const SAVED_BYTES_MAX: usize = 4 << 20;

/// No group lives through as many terms; a message from beyond is nonsense and must not make ours overflow.
const TERM_MAX: Term = Term(u64::MAX / 2);

/// One node of one group.
#[derive(Clone, Debug)]
pub struct Raft {
    /// What we were told at birth. Never changes.
    pub(crate) config: Config,
    /// The latest term we know of (`currentTerm`). Only grows.
    pub(crate) term: Term,
    /// Whom we voted for in it (`votedFor`). Once set, it stays for the term.
    pub(crate) vote: Option<NodeId>,
    /// The log, entries not stored yet included.
    pub(crate) log: Log,
    /// What we are, and what only that role knows.
    pub(crate) role: RoleState,
    /// When we campaign unless a leader is heard or a vote is given. Means nothing to leaders, nor to whom
    /// [`Raft::may_campaign`] forbids it.
    pub(crate) election_at: Time,
    /// Whether a candidate counts on our vote that cannot have it, for lack of what our log holds, although we are no voter
    /// as far as we know. Until a leader is heard (see [`Raft::may_campaign`]).
    pub(crate) counted_on: bool,
    /// Until when we owe it to some leader's lease not to vote. Only grows.
    pub(crate) promised_until: Option<Time>,
    /// The last entry known to be committed (`commitIndex`). Only grows; at most the log's last.
    pub(crate) committed: Option<Index>,
    /// The last entry reported as committed: at most what is stored here. Only grows.
    pub(crate) announced: Option<Index>,
    /// The last of our entries that is on our disk. Falls only with a truncation.
    pub(crate) stored: Option<Index>,
    /// The last entry the state machine has applied, as it said.
    pub(crate) applied: Option<Index>,
    /// The last entry whose effect the state machine would find again, as it said.
    pub(crate) durable: Option<Index>,
    /// Appends not stored yet, oldest first, each with the last entry it still vouches for: a truncation clips it, or
    /// the same index written anew would count before it is on disk (ABA).
    pub(crate) appends: VecDeque<(WriteId, Option<Index>)>,
    /// The last write of term and vote; what carries our term rests on it.
    pub(crate) vote_write: Option<WriteId>,
    /// Everything held back.
    pub(crate) writes: Writes<Self>,
    /// Leadership that is being handed over. Outlives our leading: only who leads next tells how it ended.
    pub(crate) transfer: Option<Transfer>,
    /// Spreads election timeouts and begins the tokens.
    pub(crate) rng: Rng,
    /// The next ask's name.
    pub(crate) next_ask: AskId,
    /// Names this life, and no other.
    pub(crate) life: u64,
    /// The next attempt of a forwarded read. Begins with our life, so that no answer to an earlier one fits.
    pub(crate) next_token: u64,
    /// The snapshot being fetched for us.
    pub(crate) install: Option<Install>,
    /// Whether our state machine lost its state and waits for a leader's snapshot.
    pub(crate) state_lost: bool,
    /// What our log ended with before it was damaged, while what is stored is not as long again (see `damage.rs`).
    pub(crate) owed: Option<LogId>,
    /// Nonsense dropped so far.
    dropped: u64,
    /// Whether the members in force changed in this step.
    pub(crate) peers_changed: bool,
    /// What the local user believes about term, leader and role.
    told: (Term, Option<NodeId>, Role),
}

/// What we are, with what only that role knows.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    /// Takes entries from the leader, if there is one.
    Follower(Follower),
    /// Asks whether it would be elected.
    PreCandidate(Ballot),
    /// Asks to be elected.
    Candidate(Ballot),
    /// Appends entries.
    Leader(Leader),
}

impl Protocol for Raft {
    type Config = Config;
    type Message = Message;
    type Request = Request;
    type Event = Event;
    type Write = Write;
    type Saved = Saved;
    type Ask = Ask;
    type Answer = Answer;

    fn save(saved: &mut Saved, write: &Write) {
        match write {
            Write::Vote { term, vote, owed } => (saved.term, saved.vote, saved.owed) = (*term, *vote, *owed),
            Write::Append(entries) => saved.log.append(entries),
            Write::Truncate(from) => saved.log.truncate(*from),
            Write::Compact(base) => saved.log.compact(base.clone()),
            Write::Reset(base) => saved.log.reset(base.clone()),
        }
        let last = saved.log.last_index();
        saved.log.trim(SAVED_BYTES_MAX, last, last);
    }

    fn start(now: Time, config: Config, saved: Saved, mut rng: Rng, out: &mut Out) -> Self {
        let Saved { term, vote, owed, log } = saved;
        let committed = log.base_index();
        let life = rng.next_u64();
        let mut raft = Self {
            told: (term, None, Role::Follower),
            role: RoleState::Follower(Follower::default()),
            election_at: now,
            counted_on: false,
            promised_until: None,
            announced: committed,
            stored: log.last_index(),
            applied: None,
            durable: None,
            appends: VecDeque::new(),
            vote_write: None,
            writes: Writes::default(),
            transfer: None,
            next_ask: AskId(1),
            install: None,
            state_lost: false,
            owed,
            dropped: 0,
            peers_changed: !log.membership().members().is_empty(),
            config,
            term,
            vote,
            log,
            committed,
            rng,
            life,
            next_token: life,
        };
        // A lease we granted before the crash still binds us, and we do not remember which. Only a node that never saw
        // a term, or whose group never had another member, can have granted none; a damaged log may have forgotten them.
        if term > Term(0) && (raft.owed.is_some() || !raft.was_always_alone()) {
            raft.promised_until = Some(now + raft.config.lease.max(raft.config.lease_granted));
        }
        // A crash may have kept a snapshot's state and lost the term it came in, of which nobody has heard from us then.
        if let Some(last) = raft.log.last_term().filter(|last| *last > term) {
            raft.set_term(now, last, None, out);
        }
        raft.maybe_settle_debt(now, out);
        raft.wait_for_leader(now);
        raft.campaign_if_alone(now, out);
        raft.settle(now, out);
        raft
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Request { id, request } => self.on_request(now, id, request, out),
            Input::Stored(id) => self.on_stored(now, id, out),
            Input::Answered { id, answer } => self.on_answered(now, id, answer, out),
            Input::Timeout => self.on_timeout(now, out),
        }
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        let campaign = self.may_campaign().then_some(self.election_at);
        let transfer = self.transfer.as_ref().map(|transfer| transfer.until);
        let role = match &self.role {
            RoleState::Leader(leader) => {
                // Whoever hands over already does what can be done about a disk that stalls.
                let stalled =
                    self.writes.oldest().filter(|_| transfer.is_none()).map(|at| at + self.config.store_timeout);
                Some(stalled.map_or(leader.heartbeat_at, |at| at.min(leader.heartbeat_at)))
            }
            RoleState::Follower(follower) => {
                [campaign, follower.reads.deadline(&self.config)].into_iter().flatten().min()
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => Some(self.election_at),
        };
        [role, transfer].into_iter().flatten().min()
    }

    fn fingerprint(&self, now: Time, mut into: &mut dyn Hasher) {
        let into = &mut into;
        (self.term, self.vote, self.committed, self.announced, self.stored).hash(into);
        self.log.fingerprint(into);
        (self.role(), self.leader(), self.is_bound(now), self.is_led(now), self.is_stalled(now)).hash(into);
        (self.applied, self.durable).hash(into);
        (self.install.is_some(), self.state_lost, self.owed, self.counted_on).hash(into);
        // What leaves, and what counts, once the writes under way are stored.
        self.writes.fingerprint(into, |message, mut into| message.hash(&mut into));
        self.term_rests_on().and_then(|write| self.writes.place(write)).hash(into);
        for (write, vouched) in &self.appends {
            (self.writes.place(*write), vouched).hash(into);
        }
        self.transfer.as_ref().map(|transfer| (transfer.to, transfer.asked)).hash(into);
        match &self.role {
            RoleState::Follower(follower) => follower.reads.len().hash(into),
            RoleState::PreCandidate(ballot) | RoleState::Candidate(ballot) => ballot.votes.hash(into),
            RoleState::Leader(leader) => leader.fingerprint(now, &self.config, into),
        }
    }
}

impl Raft {
    /// Entries from `from` on that are committed and stored, from memory: as many as fit `bytes_max`, at least one if
    /// there is one. `None` when they are no longer in memory and must be read from disk.
    #[must_use]
    pub fn entries(&self, from: Index, bytes_max: usize) -> Option<Entries> {
        match self.announced.filter(|announced| from <= *announced) {
            Some(through) => self.log.cached(from, through, bytes_max),
            None => Some(Entries::default()),
        }
    }

    /// The term of an entry: `None` before the log's base and behind its end.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Who leads, as far as we know.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            RoleState::Follower(follower) => follower.leader,
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
            RoleState::Leader(_) => Some(self.config.id),
        }
    }

    /// Who leads, unless it has been silent for half an election timeout: it may be stopped, and whoever is sent there
    /// would wait in vain.
    #[must_use]
    pub fn leader_in_touch(&self, now: Time) -> Option<NodeId> {
        let in_touch = |heard: Duration| heard < self.config.election_timeout / 2;
        self.leader().filter(|leader| *leader == self.config.id || self.last_contact(now).is_some_and(in_touch))
    }

    /// What we are.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower(_) => Role::Follower,
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Our term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The last entry reported as committed: the last the state machine may apply.
    #[must_use]
    pub fn announced(&self) -> Option<Index> {
        self.announced
    }

    /// What the log lost and waits for: as in [`Saved::owed`].
    #[must_use]
    pub fn owed(&self) -> Option<LogId> {
        self.owed
    }

    /// Whether leadership is being handed over by this node, which will soon hear who leads next. Who is removed need not.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        self.transfer.is_some() && self.is_voter()
    }

    /// The members in force, committed or not.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.log.membership()
    }

    /// How long ago the leader, or for a leader a majority, was last heard from.
    #[must_use]
    pub fn last_contact(&self, now: Time) -> Option<Duration> {
        let heard_at = match &self.role {
            RoleState::Follower(follower) => follower.heard_at,
            RoleState::Leader(leader) => leader.majority_heard_at(now, self.config.id, &self.quorums()),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
        };
        heard_at.map(|at| now.since(at))
    }

    /// How we stand.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let leader = match &self.role {
            RoleState::Leader(leader) => Some(leader),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
        };
        let lease_until = leader.and_then(|leader| leader.lease_until).filter(|until| *until > now);
        Status {
            id: self.config.id,
            role: self.role(),
            term: self.term,
            vote: self.vote,
            leader: self.leader(),
            last: self.log.last(),
            base: self.log.base().last,
            committed: self.committed,
            stored: self.stored,
            applied: self.applied,
            membership: self.log.membership().clone(),
            membership_index: self.log.membership_index(),
            membership_committed: self.log.membership_index() <= self.committed,
            state_lost: self.state_lost,
            owed: self.owed,
            installing: self.install.is_some(),
            last_contact: self.last_contact(now),
            lease: lease_until.map(|until| until.since(now)),
            transfer: leader.and(self.transfer.as_ref()).map(|transfer| transfer.to),
            progress: leader.map_or_else(Vec::new, |leader| leader.report(now)),
            silent: leader.map_or_else(Vec::new, |leader| leader.silent(now, self.config.election_timeout)),
            uncommitted_bytes: leader.map_or(0, |leader| leader.uncommitted_bytes),
            dropped: self.dropped,
            asks: leader.map_or_else(Vec::new, Leader::asks),
        }
    }
}

impl Raft {
    /// A message arrives. First what its term says (figure 2, "all servers"), then what it says itself.
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        let Message { term, body } = message;
        if from == self.config.id || term > TERM_MAX || !body.is_possible() {
            return self.drop_nonsense(from, "from ourselves, or of an impossible term or index", out);
        }
        match &body {
            // A question about a term nobody is in yet, and its answer: neither moves us.
            Body::RequestPreVote { .. } | Body::PreVote { granted: true } => {}
            // Judged before its term is adopted: what disturbs a live leader must leave no trace (§4.2.3).
            Body::RequestVote { .. } if term > self.term => {}
            Body::PreVote { granted: false }
            | Body::RequestVote { .. }
            | Body::Vote { .. }
            | Body::Append { .. }
            | Body::Appended { .. }
            | Body::Diverged { .. }
            | Body::LogLost { .. }
            | Body::LogLostAck { .. }
            | Body::InstallSnapshot { .. }
            | Body::SnapshotInstalled { .. }
            | Body::RequestSnapshot
            | Body::Heartbeat { .. }
            | Body::HeartbeatAck { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexAck { .. }
            | Body::TimeoutNow => {
                if term > self.term {
                    self.set_term(now, term, None, out);
                    self.become_follower(now, None, out);
                }
            }
        }
        let current = term == self.term;
        match body {
            Body::RequestPreVote { last } => self.on_request_pre_vote(now, from, term, last, out),
            Body::PreVote { granted } => self.on_pre_vote(now, from, term, granted, out),
            Body::RequestVote { last, transfer } => self.on_request_vote(now, from, term, last, transfer, out),
            Body::Vote { granted } if current => self.on_vote(now, from, granted, out),
            Body::Append { previous, entries, committed } if current => {
                self.on_append(now, from, previous, entries, committed, out);
            }
            Body::Appended { matched } if current => self.on_appended(now, from, matched, out),
            Body::Diverged { previous, hint } if current => self.on_diverged(now, from, previous, hint, out),
            Body::LogLost { owed, last, token } if current => self.on_log_lost(now, from, owed, last, token, out),
            Body::LogLostAck { token, end } if current => self.on_log_lost_ack(now, from, token, end, out),
            Body::InstallSnapshot { id, base } if current => self.on_install_snapshot(now, from, id, &base, out),
            Body::SnapshotInstalled { id, installed } if current => self.on_snapshot_installed(from, id, installed),
            Body::RequestSnapshot if current => self.on_request_snapshot(now, from, out),
            Body::Heartbeat { round, lease, committed } if current => {
                self.on_heartbeat(now, from, round, lease, committed, out);
            }
            Body::HeartbeatAck { round, lease } if current => self.on_heartbeat_ack(now, from, round, lease, out),
            Body::ReadIndex { token } if current => self.on_read_index(now, from, token, out),
            Body::ReadIndexAck { token, index } => self.on_read_index_ack(now, from, token, index, out),
            Body::TimeoutNow if current => self.on_timeout_now(now, from, out),
            // The sender lives in a past term: an answer that says nothing but ours makes it step down (RAFT-4).
            Body::Append { .. } | Body::InstallSnapshot { .. } => {
                self.reply(from, Body::Appended { matched: None }, None, out);
            }
            Body::Heartbeat { round, .. } => {
                self.reply(from, Body::HeartbeatAck { round, lease: Duration::ZERO }, None, out);
            }
            Body::ReadIndex { token } => self.reply(from, Body::ReadIndexAck { token, index: None }, None, out),
            // Answers to what we asked in a past term, or the wish of a leader of one: whatever they were for is over.
            Body::Vote { .. }
            | Body::Appended { .. }
            | Body::Diverged { .. }
            | Body::LogLost { .. }
            | Body::LogLostAck { .. }
            | Body::SnapshotInstalled { .. }
            | Body::RequestSnapshot
            | Body::HeartbeatAck { .. }
            | Body::TimeoutNow => {}
        }
    }

    fn on_request(&mut self, now: Time, id: RequestId, request: Request, out: &mut Out) {
        match request {
            Request::Bootstrap(membership) => self.on_bootstrap(now, id, membership, out),
            Request::Propose(commands) => self.on_propose(now, id, commands, out),
            Request::Read(level) => self.on_read(now, id, level, out),
            Request::Change(change) => self.on_change(now, id, &change, out),
            Request::Transfer(to) => self.on_transfer(now, id, to, out),
            Request::Applied { applied, durable } => self.on_applied(applied, durable),
            Request::Compact(through) => self.on_compact(now, through, out),
            Request::Installed(base) => self.stand_on(now, base, out),
            Request::StateLost => self.on_state_lost(now),
        }
    }

    /// Gives a group its first members. They are the base its log stands on, so that no term is needed to agree on them.
    fn on_bootstrap(&mut self, now: Time, id: RequestId, membership: Membership, out: &mut Out) {
        if !self.log.is_pristine() || self.term > Term(0) {
            return self.refuse(id, Refusal::NotEmpty, out);
        }
        if !membership.is_voter(self.config.id) {
            return self.refuse(id, Refusal::Change(crate::ChangeError::Unknown(self.config.id)), out);
        }
        let base = Base { last: None, time: Duration::ZERO, membership };
        let bytes = base.membership.bytes();
        self.log.reset(base.clone());
        self.peers_changed = true;
        let write = self.writes.store(now, Write::Reset(base), bytes, out);
        let first = LogId { term: self.term, index: Index::FIRST };
        self.writes.emit(Some(write), Event::Accepted { id, first, count: 0 }, out);
        self.wait_for_leader(now);
        self.campaign_if_alone(now, out);
    }

    fn on_read(&mut self, now: Time, id: RequestId, level: ReadLevel, out: &mut Out) {
        match self.role {
            RoleState::Leader(_) => self.on_leader_read(now, id, level, out),
            RoleState::Follower(_) => self.on_follower_read(now, id, level, out),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => self.refuse(id, Refusal::NotLeader(None), out),
        }
    }

    /// The state machine got on. What it has applied is committed, even if we forgot that in a crash.
    fn on_applied(&mut self, applied: LogId, durable: Option<LogId>) {
        // An entry we do not hold proves nothing about our log; whoever runs us settles that before the start.
        if !self.log.agrees(Some(applied)) {
            return;
        }
        self.applied = self.applied.max(Some(applied.index));
        self.durable = self.durable.max(durable.map(|id| id.index)).min(self.applied);
        self.committed = self.committed.max(self.applied);
        self.announced = self.announced.max(self.applied.min(self.stored));
    }

    /// Lets entries go that the state machine would find the effect of again.
    fn on_compact(&mut self, now: Time, through: Index, out: &mut Out) {
        let mut through = Some(through).min(self.durable).min(self.announced);
        if let Some(offered) = self.offered() {
            through = through.min(Some(offered));
        }
        let Some(base) = through.and_then(|through| self.log.base_at(through)) else { return };
        self.log.compact(base.clone());
        let bytes = base.membership.bytes();
        self.writes.store(now, Write::Compact(base), bytes, out);
    }

    /// Writes are on disk: what rested on them leaves, and our own copies and our own vote count from here on.
    fn on_stored(&mut self, now: Time, id: WriteId, out: &mut Out) {
        self.writes.stored(id, out);
        let before = self.stored;
        while let Some((_, last)) = self.appends.pop_front_if(|(write, _)| !self.writes.is_outstanding(*write)) {
            self.stored = self.stored.max(last);
        }
        if self.weak(Weakness::StoredByIndex) {
            self.stored = self.stored.min(self.log.last_index());
        }
        match &self.role {
            RoleState::Candidate(_) if self.vote_is_stored() => self.count_own_vote(now, out),
            RoleState::Leader(_) if self.stored != before => self.maybe_commit(now, out),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) | RoleState::Leader(_) => {}
        }
    }

    fn on_timeout(&mut self, now: Time, out: &mut Out) {
        self.on_transfer_timeout(now, out);
        match &self.role {
            RoleState::Leader(_) => self.on_leader_timeout(now, out),
            RoleState::Follower(_) => {
                self.on_reads_timeout(now, out);
                if self.may_campaign() && self.election_at <= now {
                    self.on_election_timeout(now, out);
                }
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                if self.election_at <= now {
                    self.on_election_timeout(now, out);
                }
            }
        }
    }

    /// What every step ends with: news for the local user, memory within bounds, invariants checked.
    fn settle(&mut self, now: Time, out: &mut Out) {
        if core::mem::take(&mut self.peers_changed) {
            self.emit(Event::Peers(self.log.membership().clone()), out);
            self.sync_progress(now);
        }
        self.maybe_settle_debt(now, out);
        self.conclude_transfer(out);
        let told = (self.term, self.leader(), self.role());
        if told != self.told {
            self.told = told;
            let (term, leader, role) = told;
            self.emit(Event::Led { term, leader, role }, out);
        }
        // A follower may learn of a commit before its own disk has the entry: the watermark waits for the disk.
        let through =
            if self.weak(Weakness::ApplyBeforeCommit) { self.stored } else { self.committed.min(self.stored) };
        if let Some(through) = through.filter(|through| Some(*through) > self.announced) {
            self.announced = Some(through);
            self.emit(Event::Committed { through }, out);
        }
        self.log.trim(self.config.cache_bytes_max, self.stored, self.applied.min(self.announced));
        self.assert_invariants();
    }

    /// What holds after every step, in release too: a node that broke one would spread the damage by going on.
    fn assert_invariants(&self) {
        let last = self.log.last_index();
        assert!(self.log.base_index() <= self.announced, "only what is committed and stored is compacted");
        let early = self.weak(Weakness::ApplyBeforeCommit);
        assert!(self.announced <= self.committed || early, "what is announced is committed");
        assert!(self.announced <= self.stored, "what is announced is on disk");
        assert!(self.stored <= last, "what is on disk is in the log");
        assert!(self.committed <= last, "what is committed is in the log");
        assert!(self.log.last_term() <= Some(self.term), "no entry is of a term we have not reached");
        match &self.role {
            RoleState::Follower(follower) => {
                assert!(follower.leader != Some(self.config.id), "nobody follows itself");
            }
            RoleState::PreCandidate(_) => assert!(self.debt().is_none(), "who lost entries does not campaign"),
            RoleState::Candidate(_) => {
                assert!(self.debt().is_none(), "who lost entries does not campaign");
                let own = self.vote == Some(self.config.id) || self.weak(Weakness::DoubleVote);
                assert!(own, "a candidate votes for itself");
            }
            RoleState::Leader(leader) => leader.assert_invariants(last),
        }
    }
}

/// What the roles share.
impl Raft {
    /// Whether this node suffers from a known bug. Never in what ships.
    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.config.weak(weakness)
    }

    /// Whose agreement decides now.
    pub(crate) fn quorums(&self) -> Quorums<'_> {
        Quorums::of(&self.log, self.committed, &self.config)
    }

    /// Enters a later term, spends the vote of this one, or notes what is owed, on disk.
    pub(crate) fn set_term(&mut self, now: Time, term: Term, vote: Option<NodeId>, out: &mut Out) {
        debug_assert!(term >= self.term);
        (self.term, self.vote) = (term, vote);
        let write = Write::Vote { term, vote, owed: self.owed };
        self.vote_write = Some(self.writes.store(now, write, 32, out));
    }

    /// Follows `leader`, or nobody until one is heard. The term is set already.
    pub(crate) fn become_follower(&mut self, now: Time, leader: Option<NodeId>, out: &mut Out) {
        self.counted_on &= leader.is_none();
        let next = RoleState::Follower(Follower { leader, ..Follower::default() });
        match core::mem::replace(&mut self.role, next) {
            // A timer that runs on keeps its draw: a vote refused must not put off our own campaign.
            RoleState::Follower(follower) => self.refuse_reads(follower.reads, leader, out),
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
            RoleState::Leader(former) => {
                self.wait_for_leader(now);
                self.refuse_leader_reads(former.reads, leader, out);
            }
        }
    }

    /// Draws a new wait, of one election timeout and a spread, so that split votes end (§5.2). A spread many times the
    /// length of a vote is enough for that (§9.3), and a wider one only makes every failover longer: so it is a fifth of
    /// the timeout after a leader was heard, and half of it once votes may have been split. Whose state is lost lets
    /// others go first.
    pub(crate) fn wait_for_leader(&mut self, now: Time) {
        let timeout = self.config.election_timeout.saturating_mul(if self.state_lost { 3 } else { 1 });
        let spread = timeout / if self.leader().is_some() { 5 } else { 2 };
        self.election_at = now + self.rng.between(timeout, timeout + spread);
    }

    /// Whether we owe it to a live leader not to elect another: a lease we granted, or our own, has not passed.
    pub(crate) fn is_bound(&self, now: Time) -> bool {
        let own_lease = match &self.role {
            RoleState::Leader(leader) => leader.lease_until,
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
        };
        self.promised_until.max(own_lease).is_some_and(|until| until > now) && !self.weak(Weakness::VoteDuringLease)
    }

    /// Whether our vote counts, as far as we know.
    pub(crate) fn is_voter(&self) -> bool {
        self.log.membership().is_voter(self.config.id)
    }

    /// Whether we may have to be elected. Not only a voter may: who is removed by an entry not yet known to be committed
    /// may be the only one whose log is long enough to commit it, and whose vote the others, not knowing of it, still
    /// need (§4.2.2 of the dissertation). Its own vote then counts for nothing. The same goes for a learner that alone holds
    /// what a leader sent last, when somebody else counts it among the voters by an entry that is not committed: neither of
    /// them would be elected by the other. Who lost entries must not lead without them.
    pub(crate) fn may_campaign(&self) -> bool {
        if self.debt().is_some() {
            return false;
        }
        let before = self.log.membership_before().filter(|_| self.log.membership_index() > self.committed);
        self.is_voter() || before.is_some_and(|members| members.is_voter(self.config.id)) || self.counted_on
    }

    /// Whether we are the only voter: then there is nobody to ask and nobody to wait for.
    pub(crate) fn is_sole_voter(&self) -> bool {
        self.quorums().everybody().eq([self.config.id])
    }

    /// Whether we were removed for good, by an entry that is committed: then nobody counts on us any more, and we vote for
    /// nobody. A node that is only missing in its own view votes, since its view may be old.
    pub(crate) fn is_removed(&self) -> bool {
        self.log.membership_index() <= self.committed && self.log.membership().has_left(self.config.id)
    }

    /// Whether our group certainly never had another member, so that no other leader can ever have been. Ids are given
    /// from 1 on and never twice, so the largest one tells.
    fn was_always_alone(&self) -> bool {
        self.is_sole_voter() && self.config.id == NodeId(1) && self.log.membership().last_id() == Some(NodeId(1))
    }

    /// Whether our disk is so slow that we had better not lead.
    pub(crate) fn is_stalled(&self, now: Time) -> bool {
        self.writes.oldest().is_some_and(|at| at + self.config.store_timeout <= now)
    }

    /// The write that whatever carries our term rests on, while it is outstanding.
    pub(crate) fn term_rests_on(&self) -> Option<WriteId> {
        self.vote_write.filter(|id| self.writes.is_outstanding(*id))
    }

    /// Whether our vote of this term is on disk.
    pub(crate) fn vote_is_stored(&self) -> bool {
        self.term_rests_on().is_none() || self.weak(Weakness::ForgottenTerm)
    }

    /// Answers under our term once that term is on disk, and `rests_on` too.
    pub(crate) fn reply(&mut self, to: NodeId, body: Body, rests_on: Option<WriteId>, out: &mut Out) {
        let rests_on = rests_on.max(self.term_rests_on());
        self.writes.send(rests_on, to, Message { term: self.term, body }, out);
    }

    /// Tells the local user, behind whatever it was going to be told before.
    pub(crate) fn emit(&mut self, event: Event, out: &mut Out) {
        self.writes.emit(None, event, out);
    }

    /// Certainly not done.
    pub(crate) fn refuse(&mut self, id: RequestId, refusal: Refusal, out: &mut Out) {
        self.emit(Event::Refused { id, refusal }, out);
    }

    /// A peer sent what no correct peer sends. It changes nothing, and somebody should look.
    pub(crate) fn drop_nonsense(&mut self, from: NodeId, reason: &'static str, out: &mut Out) {
        self.dropped += 1;
        self.emit(Event::Dropped { from, reason }, out);
    }

    /// Adds entries of ours or of the leader's to the log, on disk.
    pub(crate) fn append(&mut self, now: Time, entries: Entries, out: &mut Out) {
        let members = self.log.membership_index();
        self.log.append(&entries);
        self.peers_changed |= self.log.membership_index() != members;
        let bytes = entries.bytes();
        let write = self.writes.store(now, Write::Append(entries), bytes, out);
        self.appends.push_back((write, self.log.last_index()));
    }

    /// Voids the entries from `from` on, and what the writes in flight would say of them.
    pub(crate) fn truncate(&mut self, now: Time, from: Index, out: &mut Out) {
        let members = self.log.membership_index();
        let was_joint = self.log.membership().is_joint();
        self.log.truncate(from);
        self.peers_changed |= self.log.membership_index() != members;
        sometimes!("raft: a change of members is rolled back", self.log.membership_index() != members);
        sometimes!("raft: a joint change is rolled back", was_joint && !self.log.membership().is_joint());
        self.writes.store(now, Write::Truncate(from), 0, out);
        self.stored = self.stored.min(from.previous());
        if !self.weak(Weakness::StoredByIndex) {
            for (_, last) in &mut self.appends {
                *last = (*last).min(from.previous());
            }
        }
    }

    /// The write that the entry at `index` rests on; `None` once it is on disk.
    pub(crate) fn entry_rests_on(&self, index: Option<Index>) -> Option<WriteId> {
        if index <= self.stored || self.weak(Weakness::AckBeforeStored) {
            return None;
        }
        self.appends.iter().find(|(_, last)| *last >= index).map(|(write, _)| *write)
    }
}
