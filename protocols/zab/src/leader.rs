//! A leader until it is established: the new epoch, and the history that a majority must have.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{AskId, Effect, NodeId, RequestId, Time, WriteId, Writes};

use crate::broadcast::Barrier;
use crate::node::{Out, State, Zab};
use crate::session::{Link, Turn};
use crate::{Ask, Body, Epoch, Event, Message, Packet, SessionId, SnapshotId, Standing, Weakness, Write, Zxid};

/// How many lives of learners a reign remembers sessions of. One that meets more ends, and all they could say ends with it.
const LIVES_MAX: usize = 1_024;

/// The data of a leader.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    pub(crate) phase: Phase,
    /// The new epoch, once a majority has told which it has accepted.
    pub(crate) epoch: Option<Epoch>,
    /// The write of the epoch, as accepted or as current. Our own acknowledgement counts once it is stored.
    epoch_write: Option<WriteId>,
    /// Those in a session with us.
    pub(crate) learners: BTreeMap<NodeId, Learner>,
    /// The last session that is over, of each life of each learner. Opened again by a packet that comes late, it would be
    /// taken by its learner for the first: it counts on in what it has heard of that.
    over: BTreeMap<(NodeId, u64), u64>,
    /// When it gives up if it is not established by then.
    give_up_at: Time,
    /// When the next pings leave.
    pub(crate) ping_at: Time,
    /// How often anybody had to know whether we still lead.
    pub(crate) pings: u64,
    /// The `sync`s that wait to be confirmed, oldest first.
    pub(crate) barriers: VecDeque<Barrier>,
    /// Whose request a proposal is that was not committed yet, for observers: those see it only then.
    pub(crate) askers: BTreeMap<Zxid, (NodeId, SessionId, RequestId)>,
}

/// How far a leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// A majority is to accept a new epoch.
    Discovery,
    /// A majority is to have the history.
    Synchronisation,
    /// It is established.
    Broadcast,
}

/// A learner, as its leader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    pub(crate) link: Link,
    pub(crate) stage: Stage,
    /// The epoch it had accepted when it came.
    accepted: Epoch,
    /// Whether it has acknowledged our epoch: accepted it from us, and not before.
    epoch_acked: bool,
    /// The last transaction it came with.
    last: Option<Zxid>,
    /// Everything up to this is on its disk. It counts once the history is acknowledged.
    pub(crate) acked: Option<Zxid>,
    /// The last ping it has answered.
    pub(crate) confirmed: u64,
}

/// How far a learner is, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// It has said who it is.
    Known,
    /// It was offered our epoch.
    Offered,
    /// It has answered, and waits for its history.
    Accepted,
    /// Our user is preparing a snapshot for it.
    Shipping { ask: AskId, id: SnapshotId },
    /// It was given the history, and is given what is proposed.
    Given,
    /// It has the history on disk.
    Acknowledged,
    /// It serves.
    Serving,
}

impl Leading {
    pub(crate) fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    /// A learner has ended its session.
    pub(crate) fn end(&mut self, from: NodeId, id: SessionId) {
        if self.learners.get(&from).is_some_and(|learner| learner.link.id == id) {
            self.close(from);
        }
    }

    /// Ends a learner's session, for good.
    fn close(&mut self, id: NodeId) -> Option<SessionId> {
        let session = self.learners.remove(&id)?.link.id;
        self.over.insert((id, session.life), session.number);
        Some(session)
    }

    /// Whether a session is over, or a later one of the same life was opened.
    fn is_over(&self, id: NodeId, session: SessionId) -> bool {
        let open = self.learners.get(&id).map(|learner| learner.link.id).filter(|open| open.life == session.life);
        let over = self.over.get(&(id, session.life));
        open.is_some_and(|open| open.number > session.number) || over.is_some_and(|over| *over >= session.number)
    }

    pub(crate) fn fingerprint(&self, writes: &Writes<Zab>, mut into: &mut dyn Hasher) {
        let Self { phase, epoch, epoch_write, learners, over, give_up_at: _, ping_at: _, pings, barriers, askers } =
            self;
        (2_u8, phase, epoch, epoch_write.and_then(|id| writes.place(id)), pings, barriers.len()).hash(&mut into);
        askers.keys().collect::<Vec<_>>().hash(&mut into);
        over.iter().map(|((id, _), number)| (id, number)).collect::<Vec<_>>().hash(&mut into);
        for (id, Learner { link, stage, accepted, epoch_acked, last, acked, confirmed }) in learners {
            let stage = match stage {
                Stage::Shipping { .. } => Stage::Shipping { ask: AskId(0), id: SnapshotId(0) },
                other @ (Stage::Known
                | Stage::Offered
                | Stage::Accepted
                | Stage::Given
                | Stage::Acknowledged
                | Stage::Serving) => *other,
            };
            (id, stage, accepted, epoch_acked, last, acked, confirmed).hash(&mut into);
            link.fingerprint(writes, into);
        }
    }
}

impl Zab {
    /// It was elected, and waits for a majority to follow.
    pub(crate) fn lead(&mut self, now: Time, out: &mut Out) {
        self.state = State::Leading(Leading {
            phase: Phase::Discovery,
            epoch: None,
            epoch_write: None,
            learners: BTreeMap::new(),
            over: BTreeMap::new(),
            give_up_at: now.after(self.config.init_limit),
            ping_at: now.after(self.config.ping_interval),
            pings: 0,
            barriers: VecDeque::new(),
            askers: BTreeMap::new(),
        });
        self.choose_epoch(now, out);
    }

    /// A learner says something in a session.
    pub(crate) fn on_learner_packet(&mut self, now: Time, from: NodeId, packet: Packet, out: &mut Out) {
        let gaps_allowed = self.weak(Weakness::GapUnnoticed);
        if let Body::FollowerInfo(accepted) = packet.body {
            return self.on_follower_info(now, from, packet.session, accepted, out);
        }
        let State::Leading(leading) = &mut self.state else { return };
        let known = leading.learners.get_mut(&from).filter(|learner| learner.link.id == packet.session);
        let Some(learner) = known else {
            return self.writes.send(None, from, Message::End(packet.session), out);
        };
        if packet.epoch.is_none() || packet.epoch != learner.link.epoch {
            return;
        }
        match learner.link.turn(now, packet.number, gaps_allowed) {
            Turn::Past => return,
            Turn::Gap => return self.dismiss(from, out),
            Turn::Now => {}
        }
        match (packet.body, learner.stage) {
            (Body::AckEpoch { current, last }, Stage::Offered) => self.on_ack_epoch(now, from, current, last, out),
            (Body::AckLeader { last }, Stage::Given) => self.on_ack_leader(now, from, last, out),
            (Body::Ack(zxid), Stage::Given | Stage::Acknowledged | Stage::Serving) => {
                self.on_ack(now, from, zxid, out);
            }
            (Body::Pong(round), _) => {
                learner.confirmed = learner.confirmed.max(round);
                self.release(out);
            }
            (Body::Request { id, data }, Stage::Serving) => self.on_forwarded(now, from, id, data, out),
            (Body::Sync(id), Stage::Serving) => self.on_forwarded_sync(from, id, out),
            // No learner says this at this time.
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
                | Body::Ping(_)
                | Body::Request { .. }
                | Body::Refused { .. }
                | Body::Sync(_)
                | Body::Synced(_),
                _,
            ) => self.dismiss(from, out),
        }
    }

    /// Ends a learner's session.
    pub(crate) fn dismiss(&mut self, id: NodeId, out: &mut Out) {
        let State::Leading(leading) = &mut self.state else { return };
        if let Some(session) = leading.close(id) {
            self.writes.send(None, id, Message::End(session), out);
        }
    }

    /// A learner opens a session (l.1.1).
    fn on_follower_info(&mut self, now: Time, from: NodeId, session: SessionId, accepted: Epoch, out: &mut Out) {
        let voter = self.counts(from);
        let State::Leading(leading) = &mut self.state else { return };
        if leading.is_over(from, session) {
            return self.writes.send(None, from, Message::End(session), out);
        }
        if let Some(known) = leading.learners.get_mut(&from).filter(|known| known.link.id == session) {
            // Said again, since we have not answered yet; or long ago.
            if known.stage == Stage::Known {
                known.link.heard_at = now;
            }
            return;
        }
        let outdone = leading.epoch.is_some_and(|epoch| accepted > epoch);
        if voter && outdone && !self.config.weak(Weakness::LowerEpochAccepted) {
            // It could never join us, and a majority has moved on with it or may have.
            return self.look(now, out);
        }
        leading.close(from);
        if leading.over.len() > LIVES_MAX {
            return self.look(now, out);
        }
        let mut link = Link::new(now, from, session);
        link.heard = 1;
        let (stage, epoch_acked, last, acked, confirmed) = (Stage::Known, false, None, None, 0);
        leading.learners.insert(from, Learner { link, stage, accepted, epoch_acked, last, acked, confirmed });
        match leading.epoch {
            None => self.choose_epoch(now, out),
            Some(_) => self.offer(from, out),
        }
    }

    /// A new epoch, above all that a majority has accepted, ourselves among it.
    fn choose_epoch(&mut self, now: Time, out: &mut Out) {
        if self.count(|learner| learner.stage >= Stage::Known) < self.config.majority() {
            return;
        }
        let State::Leading(leading) = &mut self.state else { return };
        let heard = leading.learners.values().map(|learner| learner.accepted);
        let Some(epoch) = heard.chain([self.accepted]).max().and_then(Epoch::next) else {
            return self.look(now, out);
        };
        self.accepted = epoch;
        leading.epoch = Some(epoch);
        leading.epoch_write = Some(self.writes.store(now, Write::Accepted(epoch), size_of::<Epoch>(), out));
        self.offer_all(out);
    }

    /// Offers the epoch to all that wait for it.
    pub(crate) fn offer_all(&mut self, out: &mut Out) {
        let State::Leading(leading) = &self.state else { return };
        for id in leading.learners.keys().copied().collect::<Vec<_>>() {
            self.offer(id, out);
        }
    }

    /// Offers the epoch, once it is stored. Observers wait until a majority of voters has it all.
    fn offer(&mut self, to: NodeId, out: &mut Out) {
        let voter = self.counts(to);
        let State::Leading(leading) = &mut self.state else { return };
        let (rests_on, epoch) = (leading.epoch_write, leading.epoch);
        if !voter && !leading.is_established() {
            return;
        }
        let Some(learner) = leading.learners.get_mut(&to).filter(|learner| learner.stage == Stage::Known) else {
            return;
        };
        (learner.stage, learner.link.epoch) = (Stage::Offered, epoch);
        learner.link.say(&mut self.writes, rests_on, Body::LeaderInfo, out);
    }

    /// A learner has our epoch, and tells what history it has (l.1.2).
    fn on_ack_epoch(&mut self, now: Time, from: NodeId, current: Option<Epoch>, last: Option<Zxid>, out: &mut Out) {
        let ours = (self.current, self.log.last());
        let recent = current.is_some_and(|current| (current, last) > ours);
        // Whoever has more than the leader may have what is committed and the leader has not.
        if recent && self.counts(from) && !self.weak(Weakness::OldestHistoryLeads) {
            return self.look(now, out);
        }
        let counted = current.is_some() || self.weak(Weakness::RepeatedEpochCounted);
        let State::Leading(leading) = &mut self.state else { return };
        let phase = leading.phase;
        let Some(learner) = leading.learners.get_mut(&from) else { return };
        (learner.stage, learner.epoch_acked, learner.last) = (Stage::Accepted, counted, last);
        match phase {
            Phase::Discovery => self.maybe_synchronise(now, out),
            Phase::Synchronisation | Phase::Broadcast => self.give_history(from, out),
        }
    }

    /// Takes up the epoch once a majority has acknowledged it: from now on our history is the one (l.2.1).
    fn maybe_synchronise(&mut self, now: Time, out: &mut Out) {
        let acked = self.count(|learner| learner.epoch_acked);
        let State::Leading(leading) = &mut self.state else { return };
        let stored = !leading.epoch_write.is_some_and(|write| self.writes.is_outstanding(write));
        let Some(epoch) = leading.epoch.filter(|_| stored && leading.phase == Phase::Discovery) else { return };
        if acked < self.config.majority() {
            return;
        }
        leading.phase = Phase::Synchronisation;
        self.current = epoch;
        leading.epoch_write = Some(self.writes.store(now, Write::Current(epoch), size_of::<Epoch>(), out));
        let waiting = leading.learners.iter().filter(|(_, learner)| learner.stage == Stage::Accepted);
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.give_history(id, out);
        }
    }

    /// Brings a learner's history in line with ours: by what it lacks, after dropping what we do not have, or by a snapshot
    /// where what it lacks is forgotten.
    fn give_history(&mut self, to: NodeId, out: &mut Out) {
        let (ask, id) = (self.new_ask(), SnapshotId(self.rng.next_u64()));
        let State::Leading(leading) = &mut self.state else { return };
        let Some(learner) = leading.learners.get_mut(&to) else { return };
        match self.log.floor(learner.last) {
            Some(common) => {
                let start = if common == learner.last { Body::Diff } else { Body::Trunc(common) };
                self.give_from(to, start, common, out);
            }
            None => {
                learner.stage = Stage::Shipping { ask, id };
                out.push(Effect::Ask { id: ask, ask: Ask::TakeSnapshot(id) });
            }
        }
    }

    /// The snapshot is ready, or there can be none: then the learner comes again.
    pub(crate) fn on_taken(&mut self, ask: AskId, last: Option<Zxid>, out: &mut Out) {
        let State::Leading(leading) = &self.state else { return };
        let waits = |learner: &Learner| match learner.stage {
            Stage::Shipping { ask: waits_for, id } => Some(id).filter(|_| waits_for == ask),
            Stage::Known | Stage::Offered | Stage::Accepted | Stage::Given | Stage::Acknowledged | Stage::Serving => {
                None
            }
        };
        let waiting = leading.learners.iter().find_map(|(to, learner)| Some((*to, waits(learner)?)));
        let Some((to, id)) = waiting else { return };
        // The history may have been cut meanwhile, so that nothing leads on from the snapshot.
        match last.filter(|last| self.log.holds(Some(*last))) {
            Some(last) => self.give_from(to, Body::Snap { id, last }, Some(last), out),
            None => self.dismiss(to, out),
        }
    }

    /// Sends the start, all that comes behind it, and the end. What is proposed from now on follows by itself.
    fn give_from(&mut self, to: NodeId, start: Body, behind: Option<Zxid>, out: &mut Out) {
        let voter = self.counts(to);
        let State::Leading(leading) = &mut self.state else { return };
        let Some(learner) = leading.learners.get_mut(&to) else { return };
        learner.link.say(&mut self.writes, None, start, out);
        // An observer learns nothing that may yet be dropped.
        let entries = self.log.after(behind).take_while(|entry| voter || Some(entry.zxid) <= self.committed);
        for entry in entries {
            let body = Body::Proposal { entry: entry.clone(), request: None };
            learner.link.say(&mut self.writes, None, body, out);
        }
        learner.link.say(&mut self.writes, None, Body::NewLeader, out);
        learner.stage = Stage::Given;
    }

    /// A learner has the history on disk (l.2.2).
    fn on_ack_leader(&mut self, now: Time, from: NodeId, last: Option<Zxid>, out: &mut Out) {
        let last = last.min(self.log.last());
        let State::Leading(leading) = &mut self.state else { return };
        let Some(learner) = leading.learners.get_mut(&from) else { return };
        (learner.stage, learner.acked) = (Stage::Acknowledged, learner.acked.max(last));
        if leading.is_established() {
            self.welcome(from, out);
            self.maybe_commit(out);
        } else {
            self.maybe_establish(now, out);
        }
    }

    /// Once a majority has our history, all of it is committed.
    fn maybe_establish(&mut self, now: Time, out: &mut Out) {
        let acked = self.count(|learner| learner.stage >= Stage::Acknowledged);
        let enough = acked >= self.config.majority() || self.weak(Weakness::EstablishedWithoutQuorum);
        let State::Leading(leading) = &mut self.state else { return };
        let stored = !leading.epoch_write.is_some_and(|write| self.writes.is_outstanding(write));
        let Some(epoch) = leading.epoch.filter(|_| leading.phase == Phase::Synchronisation && stored && enough) else {
            return;
        };
        leading.phase = Phase::Broadcast;
        leading.ping_at = now.after(self.config.ping_interval);
        let ready = leading.learners.iter().filter(|(_, learner)| learner.stage == Stage::Acknowledged);
        let ready = ready.map(|(id, _)| *id).collect::<Vec<_>>();
        self.deliver_through(self.log.last(), out);
        self.writes.emit(None, Event::Standing(Standing::Leading { epoch }), out);
        for id in ready {
            self.welcome(id, out);
        }
        self.offer_all(out);
    }

    /// Lets a learner serve.
    fn welcome(&mut self, to: NodeId, out: &mut Out) {
        let State::Leading(leading) = &mut self.state else { return };
        let Some(learner) = leading.learners.get_mut(&to) else { return };
        learner.stage = Stage::Serving;
        learner.link.say(&mut self.writes, None, Body::UpToDate { committed: self.committed }, out);
    }

    /// Something of ours is on disk.
    pub(crate) fn on_leader_stored(&mut self, now: Time, out: &mut Out) {
        self.maybe_synchronise(now, out);
        self.maybe_establish(now, out);
        self.maybe_commit(out);
    }

    pub(crate) fn on_leader_timeout(&mut self, now: Time, out: &mut Out) {
        let limit = self.config.sync_limit;
        let stalled = self.writes.oldest().is_some_and(|at| at + limit <= now);
        let State::Leading(leading) = &mut self.state else { return };
        if leading.ping_at > now {
            return;
        }
        leading.ping_at = now.after(self.config.ping_interval);
        let silent = leading.learners.iter().filter(|(_, learner)| learner.link.heard_at.after(limit) <= now);
        let silent = silent.map(|(id, _)| *id).collect::<Vec<_>>();
        let late = !leading.is_established() && leading.give_up_at <= now;
        let established = leading.is_established();
        for id in silent {
            self.dismiss(id, out);
        }
        // Nobody may be led by one that could commit nothing: elsewhere a majority may have another leader.
        let alone = established && self.count(|learner| learner.stage == Stage::Serving) < self.config.majority();
        if stalled || late || alone {
            return self.look(now, out);
        }
        self.ping(out);
    }

    /// Whether a node's word counts in majorities.
    pub(crate) fn counts(&self, id: NodeId) -> bool {
        self.config.voters.contains(&id) || self.weak(Weakness::ObserverCounts)
    }

    /// How many voters are so far, ourselves among them.
    fn count(&self, is: impl Fn(&Learner) -> bool) -> usize {
        let State::Leading(leading) = &self.state else { return 0 };
        1 + leading.learners.iter().filter(|(id, learner)| self.counts(**id) && is(learner)).count()
    }
}
