//! A learner: one that follows or observes, from the leader's first word to the end of the session.

use core::hash::{Hash, Hasher};

use hezong_base::{AskId, Effect, NodeId, Time, WriteId, Writes};

use crate::log::size;
use crate::node::{Out, State, Zab};
use crate::session::{Link, Turn};
use crate::{
    Ask, Body, Config, Entry, Epoch, Event, Message, Packet, SessionId, SnapshotId, Standing, Weakness, Write, Zxid,
};

/// The data of a learner.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub(crate) link: Link,
    stage: Stage,
    /// When the session is asked for again, as long as nobody has answered.
    resend_at: Time,
    /// The last ping that is not answered yet.
    ping: Option<u64>,
    /// The write that the last answer to a ping waits for. One waits at a time, however long the disk takes.
    pong_write: Option<WriteId>,
}

/// How far a learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// It has said who it is, or has accepted the epoch; it waits to be told where its history goes on.
    Discovery,
    /// It is given the history. What comes goes to the queue.
    Synchronising(Start),
    /// It has the history but for a snapshot that is being fetched.
    Installing { ask: AskId, last: Zxid },
    /// The history and the epoch are stored, or on their way to the disk.
    Acknowledged {
        /// The end of the history as it was given.
        last: Option<Zxid>,
    },
    /// It serves.
    Broadcast,
}

/// Where the history that it is given goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Start {
    /// Behind this place of its own.
    After(Option<Zxid>),
    /// Behind a snapshot.
    Snapshot { id: SnapshotId, last: Zxid },
}

impl Following {
    pub(crate) fn is_serving(&self) -> bool {
        self.stage == Stage::Broadcast
    }

    pub(crate) fn deadline(&self, config: &Config) -> Time {
        let silent = self.silent_at(config);
        if self.link.heard == 0 { silent.min(self.resend_at) } else { silent }
    }

    /// When the leader has been silent for too long.
    fn silent_at(&self, config: &Config) -> Time {
        let limit = if self.stage == Stage::Discovery { config.init_limit } else { config.sync_limit };
        self.link.heard_at.after(limit)
    }

    pub(crate) fn fingerprint(&self, writes: &Writes<Zab>, mut into: &mut dyn Hasher) {
        let Self { link, stage, resend_at: _, ping, pong_write } = self;
        let stage = match stage {
            Stage::Installing { ask: _, last } => Stage::Installing { ask: AskId(0), last: *last },
            other @ (Stage::Discovery | Stage::Synchronising(_) | Stage::Acknowledged { .. } | Stage::Broadcast) => {
                *other
            }
        };
        (1_u8, stage, ping, pong_write.and_then(|id| writes.place(id))).hash(&mut into);
        link.fingerprint(writes, into);
    }
}

impl Zab {
    /// Opens a session with whoever was elected. Everything is on our disk by now (`election.rs`).
    pub(crate) fn follow(&mut self, now: Time, leader: NodeId, out: &mut Out) {
        self.sessions += 1;
        let id = SessionId { life: self.life, number: self.sessions };
        let mut link = Link::new(now, leader, id);
        link.say(&mut self.writes, None, Body::FollowerInfo(self.accepted), out);
        let resend_at = now.after(self.config.ping_interval);
        let (stage, ping, pong_write) = (Stage::Discovery, None, None);
        self.state = State::Following(Following { link, stage, resend_at, ping, pong_write });
    }

    pub(crate) fn on_learner_timeout(&mut self, now: Time, out: &mut Out) {
        let State::Following(following) = &mut self.state else { return };
        if following.silent_at(&self.config) <= now {
            return self.look(now, out);
        }
        if following.link.heard == 0 && following.resend_at <= now {
            following.resend_at = now.after(self.config.ping_interval);
            let body = Body::FollowerInfo(self.accepted);
            let packet = Packet { session: following.link.id, epoch: None, number: 0, body };
            self.writes.send(None, following.link.peer, Message::Packet(packet), out);
        }
    }

    /// The leader says something in our session.
    pub(crate) fn on_leader_packet(&mut self, now: Time, packet: Packet, out: &mut Out) {
        let gaps_allowed = self.weak(Weakness::GapUnnoticed);
        let State::Following(following) = &mut self.state else { return };
        if packet.epoch.is_none() || (following.link.heard > 0 && packet.epoch != following.link.epoch) {
            return;
        }
        match following.link.turn(now, packet.number, gaps_allowed) {
            Turn::Past => return,
            Turn::Gap => return self.look(now, out),
            Turn::Now => {}
        }
        match (packet.body, following.stage) {
            (Body::LeaderInfo, Stage::Discovery) if following.link.epoch.is_none() => {
                self.on_leader_info(now, packet.epoch.unwrap_or_default(), out);
            }
            (Body::Diff, Stage::Discovery) => {
                following.stage = Stage::Synchronising(Start::After(self.log.last()));
            }
            (Body::Trunc(last), Stage::Discovery) => following.stage = Stage::Synchronising(Start::After(last)),
            (Body::Snap { id, last }, Stage::Discovery) => {
                following.stage = Stage::Synchronising(Start::Snapshot { id, last });
            }
            (Body::Proposal { entry, request: _ }, Stage::Synchronising(_) | Stage::Installing { .. })
            | (Body::Inform { entry, request: _ }, Stage::Installing { .. }) => self.queue(now, entry, out),
            (Body::NewLeader, Stage::Synchronising(start)) => self.on_new_leader(now, start, out),
            (Body::Proposal { entry, request }, Stage::Acknowledged { .. } | Stage::Broadcast) => {
                self.on_proposal(now, entry, request, false, out);
            }
            (Body::Inform { entry, request }, Stage::Acknowledged { .. } | Stage::Broadcast) => {
                self.on_proposal(now, entry, request, true, out);
            }
            (Body::UpToDate { committed }, Stage::Acknowledged { last }) => self.on_up_to_date(committed, last, out),
            (Body::Commit(zxid), Stage::Broadcast) => self.on_commit(now, zxid, out),
            (Body::Ping(round), _) => {
                following.ping = following.ping.max(Some(round));
                self.pong(out);
            }
            (Body::Refused { id, refusal }, Stage::Broadcast) => {
                if self.waiting.asked.remove(&id).is_some() || self.waiting.syncs.remove(&id) {
                    self.writes.emit(None, Event::Refused { id, refusal }, out);
                }
            }
            (Body::Synced(id), Stage::Broadcast) if self.waiting.syncs.remove(&id) => {
                self.writes.emit(None, Event::Synced { id }, out);
            }
            // No leader says this at this time.
            (
                Body::FollowerInfo(_)
                | Body::LeaderInfo
                | Body::AckEpoch { .. }
                | Body::Diff
                | Body::Trunc(_)
                | Body::Snap { .. }
                | Body::Proposal { .. }
                | Body::NewLeader
                | Body::AckLeader { .. }
                | Body::UpToDate { .. }
                | Body::Ack(_)
                | Body::Commit(_)
                | Body::Inform { .. }
                | Body::Pong(_)
                | Body::Request { .. }
                | Body::Refused { .. }
                | Body::Sync(_)
                | Body::Synced(_),
                _,
            ) => self.look(now, out),
        }
    }

    /// A new epoch (f.1.2). One below that accepted is of a leader that lost its majority meanwhile.
    fn on_leader_info(&mut self, now: Time, epoch: Epoch, out: &mut Out) {
        if epoch < self.accepted && !self.weak(Weakness::LowerEpochAccepted) {
            return self.look(now, out);
        }
        let repeated = epoch == self.accepted;
        let mut rests_on = self.writes.last_outstanding();
        if !repeated {
            self.accepted = epoch;
            rests_on = Some(self.writes.store(now, Write::Accepted(epoch), size_of::<Epoch>(), out));
        }
        if self.weak(Weakness::EpochBeforeStored) {
            rests_on = None;
        }
        let current = (!repeated).then_some(self.current);
        let last = self.log.last();
        let State::Following(following) = &mut self.state else { return };
        following.link.epoch = Some(epoch);
        following.link.say(&mut self.writes, rests_on, Body::AckEpoch { current, last }, out);
    }

    /// Keeps what is to become our history. It is taken over as a whole, once it is complete.
    fn queue(&mut self, now: Time, entry: Entry, out: &mut Out) {
        let bytes = self.queue.bytes() + size(&entry);
        let grows = self.queue.last() < Some(entry.zxid);
        if !grows && !cfg!(feature = "weakened") || bytes > self.config.history_bytes_max {
            return self.look(now, out);
        }
        self.queue.append(entry);
    }

    /// The history is complete (f.2.1).
    fn on_new_leader(&mut self, now: Time, start: Start, out: &mut Out) {
        match start {
            Start::After(last) => self.take_history(now, last, None, out),
            Start::Snapshot { id, last } => {
                let ask = self.new_ask();
                let State::Following(following) = &mut self.state else { return };
                following.stage = Stage::Installing { ask, last };
                let from = following.link.peer;
                out.push(Effect::Ask { id: ask, ask: Ask::InstallSnapshot { from, id, last } });
            }
        }
    }

    /// The state machine stands on the snapshot, or could not get it.
    pub(crate) fn on_installed(&mut self, now: Time, id: AskId, done: bool, out: &mut Out) {
        let State::Following(Following { stage: Stage::Installing { ask, last }, .. }) = &self.state else { return };
        let last = *last;
        if *ask != id {
            return;
        }
        if !done || Some(last) < self.committed {
            return self.look(now, out);
        }
        self.take_history(now, Some(last), Some(last), out);
    }

    /// Replaces what comes behind `start` by what was queued, and only then takes up the epoch that goes with it: a node that
    /// crashes in between must not pass for one that has this leader's history.
    fn take_history(&mut self, now: Time, start: Option<Zxid>, snapshot: Option<Zxid>, out: &mut Out) {
        let State::Following(following) = &self.state else { return };
        let Some(epoch) = following.link.epoch else { return };
        if !self.leads_on(start, epoch) || !self.fits(start, snapshot) {
            return self.look(now, out);
        }
        let epoch_first = self.weak(Weakness::Zk4643);
        if epoch_first {
            self.writes.store(now, Write::Current(epoch), size_of::<Epoch>(), out);
        }
        if let Some(base) = snapshot {
            self.log.reset(base);
            self.unstored.clear();
            (self.committed, self.applied) = (Some(base), Some(base));
            self.writes.store(now, Write::Reset(base), size_of::<Zxid>(), out);
        } else if start != self.log.last() {
            // What we have delivered is in every later leader's history, and so is the place it names in ours.
            if start < self.committed || !self.log.holds(start) {
                return self.look(now, out);
            }
            self.log.truncate(start);
            self.unstored.retain(|(zxid, _)| Some(*zxid) <= start);
            self.writes.store(now, Write::Truncate(start), size_of::<Zxid>(), out);
        }
        for entry in core::mem::take(&mut self.queue).into_entries() {
            let (zxid, write) = (entry.zxid, self.append(now, entry, out));
            if self.weak(Weakness::Zk4685)
                && let State::Following(following) = &mut self.state
            {
                following.link.say(&mut self.writes, Some(write), Body::Ack(zxid), out);
            }
        }
        let last = self.log.last();
        self.current = epoch;
        let mut rests_on = self.writes.last_outstanding();
        if !epoch_first {
            rests_on = Some(self.writes.store(now, Write::Current(epoch), size_of::<Epoch>(), out));
        }
        if self.weak(Weakness::Zk4646) {
            rests_on = None;
        }
        let State::Following(following) = &mut self.state else { return };
        following.stage = Stage::Acknowledged { last };
        following.link.say(&mut self.writes, rests_on, Body::AckLeader { last }, out);
    }

    /// Whether there is room for what was queued, or nothing delivered whose report could make room: one that has just started
    /// with a full history must be let in, or nothing is ever delivered to it.
    fn fits(&self, start: Option<Zxid>, snapshot: Option<Zxid>) -> bool {
        let dropped = self.log.after(start).map(size).sum::<usize>();
        let kept = if snapshot.is_some() { 0 } else { self.log.bytes() - dropped };
        kept + self.queue.bytes() <= self.config.history_bytes_max || self.committed == self.applied
    }

    /// Whether what was queued leads on from `start`, up to an epoch that its leader can know: zxids grow along the history,
    /// and what the leader proposes next has to grow too.
    fn leads_on(&self, start: Option<Zxid>, epoch: Epoch) -> bool {
        let first = self.queue.entries().next().map(|entry| entry.zxid);
        let grows = first.is_none_or(|first| Some(first) > start) || self.weak(Weakness::Zk4712);
        let known = self.queue.last().or(start).is_none_or(|last| last.epoch <= epoch);
        grows && (known || self.weak(Weakness::RollOver) || self.weak(Weakness::LowerEpochAccepted))
    }

    /// A majority has the history: what is committed is delivered, and then we serve (f.2.2, f.3.1).
    fn on_up_to_date(&mut self, mut committed: Option<Zxid>, given: Option<Zxid>, out: &mut Out) {
        if self.weak(Weakness::Zk4394) {
            committed = committed.min(given);
        }
        let State::Following(following) = &mut self.state else { return };
        following.stage = Stage::Broadcast;
        let (leader, epoch) = (following.link.peer, following.link.epoch.unwrap_or_default());
        let serving = Event::Standing(Standing::Following { leader, epoch });
        if self.weak(Weakness::Zk3023) {
            self.writes.emit(None, serving.clone(), out);
        }
        self.deliver_through(committed, out);
        if !self.weak(Weakness::Zk3023) {
            self.writes.emit(None, serving, out);
        }
    }

    /// The next transaction (f.3.2). An observer is told only of what is committed, and does not acknowledge it.
    fn on_proposal(
        &mut self,
        now: Time,
        entry: Entry,
        request: Option<hezong_base::RequestId>,
        committed: bool,
        out: &mut Out,
    ) {
        let zxid = entry.zxid;
        let fits = self.log.bytes() + size(&entry) <= self.config.history_bytes_max && !self.is_flooded();
        if !fits || !self.follows(zxid) {
            return self.look(now, out);
        }
        if let Some(id) = request.filter(|id| self.waiting.asked.remove(id).is_some()) {
            self.waiting.proposed.insert(zxid, id);
        }
        let write = self.append(now, entry, out);
        let rests_on = Some(write).filter(|_| !self.weak(Weakness::ProposalAckBeforeStored));
        let State::Following(following) = &mut self.state else { return };
        let serves = following.stage == Stage::Broadcast;
        if !committed {
            following.link.say(&mut self.writes, rests_on, Body::Ack(zxid), out);
        } else if serves {
            self.deliver_through(Some(zxid), out);
        }
    }

    /// Whether this comes right behind our history: a hole in it would part a child from its parent.
    fn follows(&self, zxid: Zxid) -> bool {
        let State::Following(following) = &self.state else { return false };
        let last = self.log.last();
        let before = last.filter(|last| Some(last.epoch) == following.link.epoch).map_or(0, |last| last.counter);
        let next = Some(zxid.epoch) == following.link.epoch && zxid.counter.checked_sub(1) == Some(before);
        next || (self.weak(Weakness::GapUnnoticed) || self.weak(Weakness::RollOver)) && Some(zxid) > last
    }

    /// The next transaction is committed (f.3.1). Any other: something is amiss, and begins anew.
    fn on_commit(&mut self, now: Time, zxid: Zxid, out: &mut Out) {
        let next = self.log.after(self.committed).next().map(|entry| entry.zxid);
        if next != Some(zxid) && !self.weak(Weakness::GapUnnoticed) && !self.weak(Weakness::CommitOutOfOrder) {
            return self.look(now, out);
        }
        self.deliver_through(Some(zxid), out);
    }

    /// Answers the last ping, behind all that waits for the disk already: a node whose disk has stalled is no follower.
    pub(crate) fn pong(&mut self, out: &mut Out) {
        let State::Following(following) = &mut self.state else { return };
        if following.pong_write.is_some_and(|write| self.writes.is_outstanding(write)) || following.link.epoch.is_none()
        {
            return;
        }
        if let Some(round) = following.ping.take() {
            following.pong_write = following.link.rests_on;
            following.link.say(&mut self.writes, None, Body::Pong(round), out);
        }
    }
}
