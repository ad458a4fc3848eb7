//! Leading: opening a term, appending, feeding every member, committing, and knowing that one still leads.
//!
//! Every heartbeat broadcast is a numbered round. A round that a majority has acknowledged says three things at once:
//! we led when it was sent (reads), nobody else can be elected for a while after it was sent (the lease), and we are not
//! cut off (check-quorum).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Effect, Index, LogId, NodeId, RequestId, Term, Time, quorum, sometimes};

use crate::node::{Out, RoleState};
use crate::progress::{Mode, Progress};
use crate::quorums::Quorums;
use crate::reads::Reads;
use crate::{Ask, Body, Config, Entries, Entry, Event, Log, Message, Payload, Raft, Refusal, Weakness};

/// Rounds remembered without an answer. More can only be outstanding when none of them could give a lease any more.
const ROUNDS_MAX: usize = 1_024;

/// What only a leader knows.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// The empty entry that opened our term. Nothing of an older term counts as committed before it is.
    pub(crate) opened: Index,
    /// When we began to lead, and log time then: what entries' times are counted from.
    since: (Time, Duration),
    /// Every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// The last round sent. Counted up within the term, never repeated.
    pub(crate) round: u64,
    /// The last round a majority has acknowledged.
    pub(crate) confirmed: Option<u64>,
    /// Rounds that may still give a lease, with when each was sent; oldest first.
    rounds: VecDeque<(u64, Time)>,
    /// Until when nobody else can lead. `None` before the first round that gave it.
    pub(crate) lease_until: Option<Time>,
    /// Whether somebody was asked to take over: from then on there is no lease in this term any more.
    pub(crate) lease_given_up: bool,
    /// When the next round leaves by itself.
    pub(crate) heartbeat_at: Time,
    /// Reads that wait for a round, or for the empty entry.
    pub(crate) reads: Reads,
    /// Proposals not committed yet: the last entry of each and its bytes.
    uncommitted: VecDeque<(Index, usize)>,
    /// The sum of the bytes in `uncommitted`.
    pub(crate) uncommitted_bytes: usize,
}

impl Leader {
    /// When a majority was last heard, ourselves included; `None` while no majority was.
    pub(crate) fn majority_heard_at(&self, now: Time, own: NodeId, quorums: &Quorums<'_>) -> Option<Time> {
        quorums
            .reached(|id| if id == own { Some(now) } else { self.progress.get(&id).map(|progress| progress.heard_at) })
    }

    /// What is known of the others, for whoever looks.
    pub(crate) fn report(&self, now: Time) -> Vec<(NodeId, Option<Index>, Option<Duration>)> {
        self.progress.iter().map(|(id, progress)| (*id, progress.matched, Some(now.since(progress.heard_at)))).collect()
    }

    /// Whom we did not hear for so long.
    pub(crate) fn silent(&self, now: Time, timeout: Duration) -> Vec<NodeId> {
        let silent = self.progress.iter().filter(|(_, progress)| progress.heard_at + timeout <= now);
        silent.map(|(id, _)| *id).collect()
    }

    /// Reads of entries under way.
    pub(crate) fn asks(&self) -> Vec<AskId> {
        self.progress.values().filter_map(|progress| progress.ask).collect()
    }

    pub(crate) fn assert_invariants(&self, last: Option<Index>) {
        assert!(Some(self.opened) <= last, "a leader's term is opened");
        for progress in self.progress.values() {
            assert!(progress.matched < Some(progress.next), "what is acknowledged was sent");
            assert!(progress.next <= Index::after(last), "what is sent is in the log");
        }
    }

    pub(crate) fn fingerprint(&self, now: Time, config: &Config, into: &mut impl Hasher) {
        // Which rounds were acknowledged matters to the reads that wait, and else only whether the last one was.
        let oldest = self.reads.oldest_round().unwrap_or(self.round).min(self.round);
        for (id, progress) in &self.progress {
            (id, progress.matched, progress.next, progress.mode, progress.ask.is_some(), progress.leaving).hash(into);
            (progress.offer.is_some(), progress.state_lost, progress.owed).hash(into);
            progress.round.filter(|round| *round >= oldest).map(|round| self.round - round.min(self.round)).hash(into);
            (progress.heard_at + config.election_timeout <= now).hash(into);
            // When it last got an append matters while that is not answered.
            (progress.is_unanswered() && progress.sent_at + config.heartbeat_interval <= now).hash(into);
        }
        (self.confirmed == Some(self.round), self.round - oldest).hash(into);
        (self.opened, self.reads.len(), self.lease_until.is_some_and(|until| until > now)).hash(into);
        self.lease_given_up.hash(into);
    }
}

/// What it takes to send entries to one member while its progress is borrowed.
pub(crate) struct Feeder<'a> {
    now: Time,
    term: Term,
    committed: Option<Index>,
    pub(crate) log: &'a Log,
    config: &'a Config,
    next_ask: &'a mut AskId,
    out: &'a mut Out,
}

impl Feeder<'_> {
    /// Sends whatever the window takes. Nothing here rests on a write: our term was stored before we could win it, and
    /// entries may travel in parallel with our own disk.
    pub(crate) fn feed(&mut self, to: NodeId, progress: &mut Progress) {
        while let Some(room) = progress.room(self.config.window_bytes_max) {
            let last = Index(self.log.last_index().map_or(0, |index| index.0));
            let probing = matches!(progress.mode, Mode::Probe { .. });
            if !probing && progress.next > last {
                return;
            }
            let Ok(previous) = self.log.before(progress.next) else { return progress.needs_what_is_gone() };
            let bytes_max = room.min(self.config.append_bytes_max);
            match self.log.cached(progress.next, last, bytes_max) {
                Some(entries) => self.append(to, progress, previous, entries),
                // A probe finds out where the logs part; no disk is read for a guess.
                None if probing => self.append(to, progress, previous, Entries::default()),
                None => {
                    sometimes!("raft: a member needs entries that left memory");
                    let id = *self.next_ask;
                    *self.next_ask = id.next();
                    progress.ask = Some(id);
                    let ask = Ask::Entries { from: progress.next, through: last, bytes_max };
                    self.out.push(Effect::Ask { id, ask });
                }
            }
        }
    }

    fn append(&mut self, to: NodeId, progress: &mut Progress, previous: Option<LogId>, entries: Entries) {
        let last = entries.last().map(|entry| entry.id.index);
        progress.sent(self.now, last, entries.bytes());
        let vouched = last.max(previous.map(|id| id.index));
        let committed =
            if self.config.weak(Weakness::CommitUnvouched) { self.committed } else { self.committed.min(vouched) };
        let body = Body::Append { previous, entries, committed };
        self.out.push(Effect::Send { to, message: Message { term: self.term, body } });
    }

    /// Asks whether all that was sent has arrived, by an append without entries behind it: the answer is an
    /// acknowledgement, however late the disk, or a rejection that tells what was lost.
    fn ask_arrival(&mut self, to: NodeId, progress: &mut Progress) {
        sometimes!("raft: what was sent may be lost");
        match self.log.before(progress.next) {
            Ok(previous) => self.append(to, progress, previous, Entries::default()),
            Err(_) => progress.needs_what_is_gone(),
        }
    }
}

impl Raft {
    /// Borrows what feeding needs beside the leader's own data. `None` unless we lead.
    pub(crate) fn feeder<'a>(&'a mut self, now: Time, out: &'a mut Out) -> Option<(&'a mut Leader, Feeder<'a>)> {
        let RoleState::Leader(leader) = &mut self.role else { return None };
        let (term, committed) = (self.term, self.committed);
        let (log, config, next_ask) = (&self.log, &self.config, &mut self.next_ask);
        Some((leader, Feeder { now, term, committed, log, config, next_ask, out }))
    }

    /// A majority voted for us.
    pub(crate) fn become_leader(&mut self, now: Time, out: &mut Out) {
        let opened = Index::after(self.log.last_index());
        self.role = RoleState::Leader(Leader {
            opened,
            since: (now, self.log.time()),
            progress: BTreeMap::new(),
            round: 0,
            confirmed: None,
            rounds: VecDeque::new(),
            lease_until: None,
            lease_given_up: false,
            heartbeat_at: now.next_multiple(self.config.heartbeat_interval),
            reads: Reads::default(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
        });
        self.sync_progress(now);
        // Entries of older terms are committed only together with one of our own (§5.4.2); an empty one does, at once.
        self.append_payloads(now, core::iter::once(Payload::Empty), out);
        self.start_round(now, out);
        self.feed_all(now, out);
    }

    /// A leader stops: the members will find another.
    pub(crate) fn step_down(&mut self, now: Time, out: &mut Out) {
        self.become_follower(now, None, out);
    }

    pub(crate) fn on_leader_timeout(&mut self, now: Time, out: &mut Out) {
        // Others may lead at once if we say so, and only after their own timeouts if we merely stop.
        if self.is_stalled(now) && self.transfer.is_none() && !self.hand_over(now, out) {
            sometimes!("raft: a leader whose disk stalls finds no successor");
            return self.step_down(now, out);
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.heartbeat_at > now {
            return;
        }
        leader.heartbeat_at = now.next_multiple(self.config.heartbeat_interval);
        let quorums = Quorums::of(&self.log, self.committed, &self.config);
        let heard_at = leader.majority_heard_at(now, self.config.id, &quorums);
        if heard_at.is_none_or(|at| at + self.config.election_timeout <= now) {
            sometimes!("raft: a leader hears no majority and stops");
            return self.step_down(now, out);
        }
        for (id, progress) in &mut leader.progress {
            // A learner that was gone has to catch up anew.
            let silent = progress.heard_at + self.config.election_timeout <= now;
            if silent && progress.goal.is_none() && !self.log.membership().is_voter(*id) {
                progress.goal = self.log.last_index().map(|last| (last, now));
            }
            // Nor are entries kept for ever for one that may never come back to go on from its snapshot.
            if progress.heard_at + self.config.snapshot_patience <= now {
                progress.offer = None;
            }
        }
        self.dismiss(now, out);
        self.start_round(now, out);
        self.ask_successor(true, out);
    }

    /// Tells everybody that we lead, under a new number.
    pub(crate) fn start_round(&mut self, now: Time, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.round += 1;
        leader.rounds.push_back((leader.round, now));
        if leader.rounds.len() > ROUNDS_MAX {
            leader.rounds.pop_front();
        }
        let lease = if leader.lease_given_up { Duration::ZERO } else { self.config.lease };
        for (to, progress) in &leader.progress {
            let committed = self.committed.min(progress.matched);
            let body = Body::Heartbeat { round: leader.round, lease, committed };
            out.push(Effect::Send { to: *to, message: Message { term: self.term, body } });
        }
        // A majority of one is complete without an answer.
        self.confirm_rounds(now, out);
    }

    /// "You do lead, as of that round."
    pub(crate) fn on_heartbeat_ack(&mut self, now: Time, from: NodeId, round: u64, lease: Duration, out: &mut Out) {
        let interval = self.config.heartbeat_interval;
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        if round > leader.round {
            return self.drop_nonsense(from, "acknowledges a round that was never sent", out);
        }
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.heard_at = now;
        progress.round = progress.round.max(Some(round));
        if lease >= feeder.config.lease {
            progress.lease_round = progress.lease_round.max(Some(round));
        }
        // It lives, and has said nothing to what was sent a while ago: something may be lost.
        let late = progress.sent_at + interval <= now;
        match progress.mode {
            Mode::Probe { waiting: true } if late => progress.mode = Mode::Probe { waiting: false },
            Mode::Replicate if late && progress.ask.is_none() && progress.is_waiting() => {
                feeder.ask_arrival(from, progress);
            }
            Mode::Probe { .. } | Mode::Replicate | Mode::Snapshot => {}
        }
        feeder.feed(from, progress);
        self.maybe_offer(now, from, out);
        self.confirm_rounds(now, out);
    }

    /// Draws from the rounds acknowledged what they say once a majority has.
    fn confirm_rounds(&mut self, now: Time, out: &mut Out) {
        let from_ack = self.weak(Weakness::LeaseFromAck);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let id = self.config.id;
        let quorums = Quorums::of(&self.log, self.committed, &self.config);
        let own = Some(leader.round);
        let reached = |of: fn(&Progress) -> Option<u64>| {
            quorums.reached(|voter| if voter == id { own } else { leader.progress.get(&voter).and_then(of) })
        };
        let (confirmed, leased) = (reached(|progress| progress.round), reached(|progress| progress.lease_round));
        let advanced = confirmed > leader.confirmed;
        leader.confirmed = leader.confirmed.max(confirmed);
        while let Some((round, sent_at)) = leader.rounds.pop_front_if(|(round, _)| Some(*round) <= leased) {
            if Some(round) == leased && !self.config.lease.is_zero() && !leader.lease_given_up {
                // Counted from before it was sent: whoever acknowledged began to wait later than that.
                let begun = if from_ack { now } else { sent_at };
                leader.lease_until = leader.lease_until.max(Some(begun + shortened(&self.config)));
            }
        }
        if advanced {
            self.release_reads(now, out);
        }
    }

    /// Commands from the local user.
    pub(crate) fn on_propose(&mut self, now: Time, id: RequestId, commands: Vec<Bytes>, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else {
            return self.refuse(id, Refusal::NotLeader(self.leader()), out);
        };
        if let Some(transfer) = &self.transfer {
            return self.refuse(id, Refusal::Transferring(transfer.to), out);
        }
        if leader.uncommitted_bytes >= self.config.uncommitted_bytes_max {
            sometimes!("raft: too much is not committed");
            return self.refuse(id, Refusal::Overloaded, out);
        }
        let first = LogId { term: self.term, index: Index::after(self.log.last_index()) };
        self.emit(Event::Accepted { id, first, count: commands.len() as u64 }, out);
        if !commands.is_empty() {
            self.append_payloads(now, commands.into_iter().map(Payload::Command), out);
            self.feed_all(now, out);
        }
    }

    /// Appends entries of our own, at log time now.
    pub(crate) fn append_payloads(
        &mut self,
        now: Time,
        payloads: impl ExactSizeIterator<Item = Payload>,
        out: &mut Out,
    ) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (since, base) = leader.since;
        let time = base.saturating_add(now.since(since)).max(self.log.time());
        let mut index = Index::after(self.log.last_index());
        let mut entries = Vec::with_capacity(payloads.len());
        for payload in payloads {
            entries.push(Entry { id: LogId { term: self.term, index }, time, payload });
            index = index.next();
        }
        let entries = Entries::from(entries);
        if let Some(last) = entries.last().map(|entry| entry.id.index) {
            leader.uncommitted.push_back((last, entries.bytes()));
            leader.uncommitted_bytes += entries.bytes();
        }
        self.append(now, entries, out);
    }

    /// Sends everybody what their windows take.
    pub(crate) fn feed_all(&mut self, now: Time, out: &mut Out) {
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        for (to, progress) in &mut leader.progress {
            feeder.feed(*to, progress);
        }
    }

    /// Makes the progress we keep that of the members in force. Who is no member any more is fed until that is
    /// committed, so that it learns of it and does not campaign.
    pub(crate) fn sync_progress(&mut self, now: Time) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let members = self.log.membership();
        let next = Index::after(self.log.last_index());
        for id in members.members().keys().filter(|id| **id != self.config.id) {
            leader.progress.entry(*id).or_insert_with(|| {
                let mut progress = Progress::new(now, next);
                progress.goal = self.log.last_index().filter(|_| !members.is_voter(*id)).map(|last| (last, now));
                progress
            });
        }
        for (id, progress) in &mut leader.progress {
            progress.leaving = !members.members().contains_key(id);
            progress.leave_by = progress.leave_by.filter(|_| progress.leaving);
            if members.is_voter(*id) {
                progress.goal = None;
            }
        }
    }

    /// "My log equals yours up to there, and it is on disk."
    pub(crate) fn on_appended(&mut self, now: Time, from: NodeId, matched: Option<Index>, out: &mut Out) {
        let last = self.log.last_index();
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        if matched > last {
            return self.drop_nonsense(from, "acknowledges entries that were never sent", out);
        }
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.heard_at = now;
        let before = progress.matched;
        progress.acknowledged(matched);
        feeder.feed(from, progress);
        if progress.matched > before {
            let caught_up = progress.goal.filter(|(goal, _)| Some(*goal) <= progress.matched);
            if let Some((_, began)) = caught_up {
                // A round that took longer than an election timeout leaves too much to the next one (§4.2.1), unless
                // it left nothing: the next round would then never end, for no acknowledgement is to come.
                let quick = now.since(began) < feeder.config.election_timeout || progress.matched == last;
                sometimes!("raft: a learner took too long and has another round", !quick);
                progress.goal = if quick { None } else { last.map(|last| (last, now)) };
                if quick {
                    self.emit(Event::CaughtUp(from), out);
                }
            }
            self.dismiss(now, out);
            self.maybe_commit(now, out);
            self.ask_successor(false, out);
        }
    }

    /// "I do not hold that."
    pub(crate) fn on_diverged(&mut self, now: Time, from: NodeId, previous: LogId, hint: Option<LogId>, out: &mut Out) {
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.heard_at = now;
        let fresh = match progress.mode {
            // The answer to this very probe, not to one before it.
            Mode::Probe { .. } => progress.next.previous() == Some(previous.index),
            Mode::Replicate => Some(previous.index) > progress.matched,
            Mode::Snapshot => false,
        };
        if !fresh || hint.is_some_and(|hint| hint.index > previous.index) {
            sometimes!("raft: a late rejection changes nothing");
            return;
        }
        // The last entry of ours that may be in both logs: neither behind the hint nor of a later term.
        let common = hint.and_then(|hint| feeder.log.floor(hint));
        let next = Index::after(common.map(|id| id.index).max(progress.matched));
        // It lacks what it acknowledged: probing again at once would go on for ever.
        if matches!(progress.mode, Mode::Probe { .. }) && next >= progress.next {
            return;
        }
        let terms = |id: Option<LogId>| id.map_or(0, |id| id.term.0);
        sometimes!("raft: a hint skips several terms", terms(common) + 1 < terms(Some(previous)));
        progress.probe_from(next);
        feeder.feed(from, progress);
    }

    /// Entries that had left memory are back from disk.
    pub(crate) fn on_entries_read(&mut self, now: Time, id: AskId, entries: Vec<Entry>, out: &mut Out) {
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        let Some((to, progress)) = leader.progress.iter_mut().find(|(_, progress)| progress.ask == Some(id)) else {
            // Nobody waits for it any more.
            sometimes!("raft: entries arrive from disk for nobody");
            return;
        };
        progress.ask = None;
        let fits = entries.first().is_some_and(|first| first.id.index == progress.next);
        let ours = entries.last().is_some_and(|last| feeder.log.id_at(last.id.index) == Some(last.id));
        match feeder.log.before(progress.next) {
            Err(_) => {
                sometimes!("raft: entries are compacted while they are read");
                progress.needs_what_is_gone();
            }
            Ok(previous) if fits && ours => {
                feeder.append(*to, progress, previous, entries.into());
                feeder.feed(*to, progress);
            }
            // Gone between the question and the answer, or asked of a log that went on: the next heartbeat tries again.
            Ok(_) => {}
        }
    }

    /// Commits what a majority has on disk, if it ends in an entry of our own term (§5.4.2).
    pub(crate) fn maybe_commit(&mut self, now: Time, out: &mut Out) {
        let any_term = self.weak(Weakness::CommitOldTermByCounting);
        let learners_too = self.weak(Weakness::LearnerCounted);
        let alone = self.weak(Weakness::CommitWithoutMajority);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let members = self.log.membership();
        let id = self.config.id;
        let on_disk = |member: NodeId| {
            if member == id { self.stored } else { leader.progress.get(&member).and_then(|progress| progress.matched) }
        };
        let mut reached = Quorums::of(&self.log, self.committed, &self.config).reached(on_disk);
        if learners_too {
            let mut all: Vec<_> = members.members().keys().map(|member| on_disk(*member)).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            reached = all.get(quorum::majority(members.voters().len()) - 1).copied().flatten();
        }
        if alone {
            reached = self.stored;
        }
        let Some(index) = reached.filter(|index| Some(*index) > self.committed) else { return };
        if self.log.term_at(index) != Some(self.term) && !any_term {
            sometimes!("raft: a majority holds an entry of an earlier term, which does not count");
            return;
        }
        let opens = self.committed < Some(leader.opened) && leader.opened <= index;
        let members_committed =
            self.committed < self.log.membership_index() && self.log.membership_index() <= Some(index);
        self.committed = Some(index);
        while let Some((_, bytes)) = leader.uncommitted.pop_front_if(|(last, _)| *last <= index) {
            leader.uncommitted_bytes -= bytes;
        }
        if opens && self.state_lost && !self.weak(Weakness::LeadWithoutState) {
            // Nobody but us had the whole log, and now a majority has: one of those can lead, and answer clients too.
            sometimes!("raft: a leader without state hands the log on and stops");
            self.start_round(now, out);
            return self.step_down(now, out);
        }
        if opens {
            self.release_reads(now, out);
        }
        if members_committed {
            self.on_membership_committed(now, out);
        }
        if members_committed || opens {
            self.leave_to_a_voter(now, out);
        }
        self.maybe_leave_joint(now, out);
    }
}

/// The lease as we may count on it: shorter by what the followers' clocks may have run ahead of ours.
fn shortened(config: &Config) -> Duration {
    let drift = config.lease.saturating_mul(config.clock_drift_ppm) / 1_000_000;
    config.lease.saturating_sub(drift)
}
