//! The node: one struct, a role at a time, and what all roles share.
//!
//! Invariants, each with where it is kept:
//! - `current <= accepted`, and both only grow (`learner.rs`, `leader.rs`);
//! - an epoch of ours is on disk before anybody hears of it (`choose_epoch`);
//! - history, then current epoch, then acknowledgement (`take_history`);
//! - zxids grow along the history (`append`), and nothing that is committed is truncated (`take_history`);
//! - what is delivered is committed and on our disk (`deliver_through`), and goes in the order of the history;
//! - a request has one outcome: when a role ends, a proposal that is unanswered is `Unknown` and a
//!   `sync` is `Refused` (`look`).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use bytes::Bytes;
use hezong_base::{AskId, Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId, Writes};

use crate::election::Looking;
use crate::leader::Leading;
use crate::learner::Following;
use crate::log::size;
use crate::{
    Answer, Ask, Body, Config, Entry, Epoch, Event, Log, Message, Packet, ROUND_MAX, Refusal, Request, Round, Saved,
    Weakness, Write, Zxid,
};

pub(crate) type Out = Vec<Effect<Zab>>;

/// What a node is doing, with the data of that.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Looking(Looking),
    Following(Following),
    Leading(Leading),
}

/// What a node is doing, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Looking for a leader.
    Looking,
    /// With a leader, and not serving yet.
    Joining(NodeId),
    /// With a leader, and serving.
    Following(NodeId),
    /// Elected, and not established yet.
    Preparing,
    /// Established.
    Leading,
}

/// The requests of the local user that wait for an outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// Forwarded, and not seen again; each with its bytes, which may wait here for the disk as well.
    pub(crate) asked: BTreeMap<RequestId, usize>,
    /// Proposed.
    pub(crate) proposed: BTreeMap<Zxid, RequestId>,
    /// `sync`s.
    pub(crate) syncs: BTreeSet<RequestId>,
}

/// One node of an ensemble.
#[derive(Clone)]
pub struct Zab {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    /// Tells our sessions from those of earlier lives.
    pub(crate) life: u64,
    /// How many sessions this life has opened.
    pub(crate) sessions: u64,
    pub(crate) accepted: Epoch,
    pub(crate) current: Epoch,
    pub(crate) log: Log,
    /// What was delivered; at least the log's base, and only grows.
    pub(crate) committed: Option<Zxid>,
    /// How much of that the state machine need not be told again; at least the log's base, and only grows.
    pub(crate) applied: Option<Zxid>,
    pub(crate) round: Round,
    pub(crate) state: State,
    /// What a learner was given and has not taken into its history yet. Empty between sessions.
    pub(crate) queue: Log,
    pub(crate) waiting: Waiting,
    pub(crate) next_ask: AskId,
    pub(crate) writes: Writes<Self>,
    /// The entries that are not on disk yet, each with its write.
    pub(crate) unstored: VecDeque<(Zxid, WriteId)>,
}

impl Protocol for Zab {
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
            Write::Accepted(epoch) => saved.accepted = *epoch,
            Write::Current(epoch) => saved.current = *epoch,
            Write::Append(entry) => saved.history.append(entry.clone()),
            Write::Truncate(last) => saved.history.truncate(*last),
            Write::Cut(through) => saved.history.cut(*through),
            Write::Reset(base) => saved.history.reset(*base),
        }
    }

    fn start(now: Time, config: Config, saved: Saved, mut rng: Rng, out: &mut Out) -> Self {
        let life = rng.next_u64();
        let mut node = Self {
            config,
            rng,
            life,
            sessions: 0,
            accepted: saved.accepted.max(saved.current),
            current: saved.current,
            committed: saved.history.base(),
            applied: saved.history.base(),
            log: saved.history,
            round: Round::default(),
            state: State::Looking(Looking::default()),
            queue: Log::default(),
            waiting: Waiting::default(),
            next_ask: AskId(1),
            writes: Writes::default(),
            unstored: VecDeque::new(),
        };
        node.look(now, out);
        node
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Request { id, request } => self.on_request(now, id, request, out),
            Input::Stored(id) => self.on_stored(now, id, out),
            Input::Answered { id, answer: Answer::Taken(last) } => self.on_taken(id, last, out),
            Input::Answered { id, answer: Answer::Installed(done) } => self.on_installed(now, id, done, out),
            Input::Timeout => self.on_timeout(now, out),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Looking(looking) => looking.deadline(),
            State::Following(following) => Some(following.deadline(&self.config)),
            State::Leading(leading) => Some(leading.ping_at),
        }
    }

    fn fingerprint(&self, _now: Time, mut into: &mut dyn Hasher) {
        (self.accepted, self.current, &self.log, self.committed, self.applied, self.round, &self.queue).hash(&mut into);
        let Waiting { asked, proposed, syncs } = &self.waiting;
        (asked.len(), proposed.keys().collect::<Vec<_>>(), syncs.len()).hash(&mut into);
        for (zxid, write) in &self.unstored {
            (zxid, self.writes.place(*write)).hash(&mut into);
        }
        match &self.state {
            State::Looking(looking) => looking.fingerprint(into),
            State::Following(following) => following.fingerprint(&self.writes, into),
            State::Leading(leading) => leading.fingerprint(&self.writes, into),
        }
        self.writes.fingerprint(into, |message, mut into| match message {
            // Sessions and requests differ by their names alone between two runs that are the same otherwise.
            Message::Packet(Packet { session: _, epoch, number, body }) => (epoch, number, body).hash(&mut into),
            Message::End(_) => {}
            other @ (Message::Looking { .. } | Message::Settled { .. }) => other.hash(&mut into),
        });
    }
}

/// The way in.
impl Zab {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if !self.config.knows(from) || !self.is_plausible(&message) {
            return;
        }
        match message {
            Message::Looking { round, vote } => self.on_looking(now, from, round, vote, out),
            Message::Settled { round, leader } => self.on_settled(now, from, round, leader, out),
            Message::End(id) => match &mut self.state {
                State::Following(following) if following.link.peer == from && following.link.id == id => {
                    self.look(now, out);
                }
                State::Leading(leading) => leading.end(from, id),
                State::Following(_) | State::Looking(_) => {}
            },
            Message::Packet(packet) => match &self.state {
                State::Following(following) if following.link.peer == from && following.link.id == packet.session => {
                    self.on_leader_packet(now, packet, out);
                }
                State::Leading(_) => self.on_learner_packet(now, from, packet, out),
                // It may become our leader's session yet, and is said again.
                State::Looking(_) | State::Following(_) if matches!(packet.body, Body::FollowerInfo(_)) => {}
                State::Looking(_) | State::Following(_) => {
                    self.writes.send(None, from, Message::End(packet.session), out);
                }
            },
        }
    }

    fn on_request(&mut self, now: Time, id: RequestId, request: Request, out: &mut Out) {
        let waiting = self.waiting.asked.len() + self.waiting.proposed.len() + self.waiting.syncs.len();
        let refusal = match &request {
            Request::Applied(through) => return self.on_applied(now, *through, out),
            Request::Propose(data) if data.len() > self.config.data_bytes_max => Some(Refusal::TooLong),
            Request::Propose(_) | Request::Sync if waiting >= self.config.waiting_max => Some(Refusal::Overloaded),
            Request::Propose(_) | Request::Sync => None,
        };
        let refusal = refusal.or_else(|| match request {
            Request::Propose(data) => self.ask_for(now, id, data, out).err(),
            Request::Sync => self.ask_for_sync(id, out).err(),
            Request::Applied(_) => None,
        });
        if let Some(refusal) = refusal {
            self.writes.emit(None, Event::Refused { id, refusal }, out);
        }
    }

    fn ask_for(&mut self, now: Time, id: RequestId, data: Bytes, out: &mut Out) -> Result<(), Refusal> {
        match &mut self.state {
            State::Following(following) if following.is_serving() => {
                if self.waiting.asked.values().sum::<usize>() > self.config.unstored_bytes_max {
                    return Err(Refusal::Overloaded);
                }
                self.waiting.asked.insert(id, data.len());
                following.link.say(&mut self.writes, None, Body::Request { id, data }, out);
                Ok(())
            }
            State::Leading(_) => self.propose(now, None, id, data, out),
            State::Following(_) | State::Looking(_) => Err(Refusal::NoLeader),
        }
    }

    fn ask_for_sync(&mut self, id: RequestId, out: &mut Out) -> Result<(), Refusal> {
        match &mut self.state {
            State::Following(following) if following.is_serving() => {
                following.link.say(&mut self.writes, None, Body::Sync(id), out);
            }
            State::Leading(_) => {
                self.waiting.syncs.insert(id);
                return self.sync(None, id, out).inspect_err(|_| {
                    self.waiting.syncs.remove(&id);
                });
            }
            State::Following(_) | State::Looking(_) => return Err(Refusal::NoLeader),
        }
        self.waiting.syncs.insert(id);
        Ok(())
    }

    /// Forgets what the state machine has, but for what learners may still want one by one.
    fn on_applied(&mut self, now: Time, through: Zxid, out: &mut Out) {
        let through = Some(through).min(self.committed);
        self.applied = self.applied.max(through);
        let (mut bytes, mut cut) = (0, None);
        let kept_bytes_max = self.config.history_bytes_max / 2;
        for (place, entry) in self.log.entries().rev().filter(|entry| Some(entry.zxid) <= through).enumerate() {
            bytes += size(entry);
            if place >= self.config.history_kept || bytes > kept_bytes_max {
                cut = Some(entry.zxid);
                break;
            }
        }
        if let Some(cut) = cut {
            self.log.cut(cut);
            self.writes.store(now, Write::Cut(cut), size_of::<Zxid>(), out);
        }
    }

    fn on_stored(&mut self, now: Time, id: WriteId, out: &mut Out) {
        self.writes.stored(id, out);
        while self.unstored.pop_front_if(|(_, write)| !self.writes.is_outstanding(*write)).is_some() {}
        match &self.state {
            State::Looking(_) => self.notify_owed(now, out),
            State::Following(_) => self.pong(out),
            State::Leading(_) => self.on_leader_stored(now, out),
        }
    }

    fn on_timeout(&mut self, now: Time, out: &mut Out) {
        match &self.state {
            State::Looking(_) => self.on_looking_timeout(now, out),
            State::Following(_) => self.on_learner_timeout(now, out),
            State::Leading(_) => self.on_leader_timeout(now, out),
        }
    }

    /// Numbers at the edge of what fits are nobody's, and whoever took them would be stuck.
    fn is_plausible(&self, message: &Message) -> bool {
        let entry = |entry: &Entry| entry.zxid.is_plausible() && entry.data.len() <= self.config.data_bytes_max;
        let zxid = |zxid: &Option<Zxid>| zxid.is_none_or(Zxid::is_plausible);
        let epoch = |epoch: Epoch| epoch <= crate::EPOCH_MAX;
        match message {
            Message::Looking { round, vote } => {
                *round <= ROUND_MAX && vote.is_none_or(|vote| epoch(vote.epoch) && zxid(&vote.zxid))
            }
            Message::Settled { round, .. } => *round <= ROUND_MAX,
            Message::End(_) => true,
            Message::Packet(packet) => {
                packet.epoch.is_none_or(epoch)
                    && match &packet.body {
                        Body::FollowerInfo(accepted) => epoch(*accepted) && packet.number == 0,
                        Body::AckEpoch { current, last } => current.is_none_or(epoch) && zxid(last),
                        Body::Trunc(last) | Body::AckLeader { last } => zxid(last),
                        Body::UpToDate { committed } => zxid(committed),
                        Body::Snap { last, .. } | Body::Ack(last) | Body::Commit(last) => last.is_plausible(),
                        Body::Proposal { entry: new, .. } | Body::Inform { entry: new, .. } => entry(new),
                        Body::LeaderInfo
                        | Body::Diff
                        | Body::NewLeader
                        | Body::Ping(_)
                        | Body::Pong(_)
                        | Body::Request { .. }
                        | Body::Refused { .. }
                        | Body::Sync(_)
                        | Body::Synced(_) => true,
                    }
            }
        }
    }
}

/// What the roles share.
impl Zab {
    /// Adds to the history.
    pub(crate) fn append(&mut self, now: Time, entry: Entry, out: &mut Out) -> WriteId {
        let grows = Some(entry.zxid) > self.log.last() || cfg!(feature = "weakened");
        assert!(grows, "zxids grow along a history, and {} does not", entry.zxid);
        let write = self.writes.store(now, Write::Append(entry.clone()), size(&entry), out);
        self.unstored.push_back((entry.zxid, write));
        self.log.append(entry);
        write
    }

    /// The write after which everything up to and including this is on disk.
    pub(crate) fn write_of(&self, zxid: Zxid) -> Option<WriteId> {
        let before = self.unstored.partition_point(|(unstored, _)| *unstored <= zxid);
        before.checked_sub(1).and_then(|at| self.unstored.get(at)).map(|(_, write)| *write)
    }

    /// The last transaction up to which all is on disk.
    pub(crate) fn stored(&self) -> Option<Zxid> {
        self.unstored.front().map_or(self.log.last(), |(first, _)| self.log.before(*first))
    }

    /// Delivers what is committed and was not yet.
    pub(crate) fn deliver_through(&mut self, through: Option<Zxid>, out: &mut Out) {
        let entries = self.log.after(self.committed).take_while(|entry| Some(entry.zxid) <= through).cloned();
        let mut entries = entries.collect::<Vec<_>>();
        if self.weak(Weakness::CommitOutOfOrder) {
            entries.reverse();
        }
        for Entry { zxid, data } in entries {
            self.committed = self.committed.max(Some(zxid));
            let request = self.waiting.proposed.remove(&zxid);
            let rests_on = self.write_of(zxid);
            self.writes.emit(rests_on, Event::Delivered { zxid, data, request }, out);
        }
    }

    pub(crate) fn new_ask(&mut self) -> AskId {
        let id = self.next_ask;
        self.next_ask = id.next();
        id
    }

    /// Whether so much is on its way to the disk that no more is taken.
    pub(crate) fn is_flooded(&self) -> bool {
        self.writes.bytes() > self.config.unstored_bytes_max
    }

    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.config.weak(weakness)
    }
}

/// What can be seen of a node.
impl Zab {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// What it is doing.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.state {
            State::Looking(_) => Role::Looking,
            State::Following(following) if following.is_serving() => Role::Following(following.link.peer),
            State::Following(following) => Role::Joining(following.link.peer),
            State::Leading(leading) if leading.is_established() => Role::Leading,
            State::Leading(_) => Role::Preparing,
        }
    }

    /// The highest epoch it has accepted, on disk or not yet.
    #[must_use]
    pub fn accepted(&self) -> Epoch {
        self.accepted
    }

    /// The epoch whose history it has, on disk or not yet.
    #[must_use]
    pub fn current(&self) -> Epoch {
        self.current
    }

    /// Its history, on disk or not yet.
    #[must_use]
    pub fn history(&self) -> &Log {
        &self.log
    }

    /// The last transaction it has delivered, or will as soon as that is on disk.
    #[must_use]
    pub fn committed(&self) -> Option<Zxid> {
        self.committed
    }

    /// Its logical clock.
    #[must_use]
    pub fn round(&self) -> Round {
        self.round
    }
}
