//! The node: its state, the way in, and what every step ends with.
//!
//! Invariants, each with where it is kept:
//! - what is held in a slot that is open was accepted at a ballot not above `promised` (`acceptor.rs`), or is chosen (`learner.rs`);
//! - a ballot of ours is on disk, as a round, before anybody hears of it (`candidate.rs`), and a master has promised its own;
//! - what we say to ourselves waits for the disk like what we say to others (`say`);
//! - a slot is proposed once at a ballot, after a majority of its members has promised that (`master.rs`, `fill`);
//! - every slot before `log.open` is chosen, and told of once in a life, in order (`learner.rs`);
//! - while a lease is granted nobody but its holder is promised anything (`acceptor.rs`).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::mem;

use hezong_base::{AskId, Effect, Input, NodeId, Protocol, Rng, Time, WriteId, Writes, quorum};

use super::SnapshotId;
use super::candidate::Candidate;
use super::log::{Held, Log};
use super::master::Master;
use super::{Answer, Ask, Base, Config, Entry, Event, Members, Message, Refusal, Request, Slot, Value, Weakness};
use crate::Ballot;

pub(crate) type Out = Vec<Effect<MultiPaxos>>;

/// A change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// No ballot of ours of this round, or an earlier one, is used again.
    Round(u64),
    /// Nothing below is promised or accepted any more.
    Promise(Ballot),
    /// This is accepted there, or known to be chosen.
    Entry {
        /// Where.
        slot: Slot,
        /// What.
        entry: Entry,
    },
    /// All before this slot is known to be chosen.
    Open(Slot),
    /// What is before this base is gone.
    Base(Base),
}

/// What a node finds when it starts. As long as the part of the log that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Saved {
    /// The last round used by us; 0 before the first.
    pub round: u64,
    /// What was promised.
    pub promised: Option<Ballot>,
    /// What the log stands on; `None` while nothing of it is gone.
    pub base: Option<Base>,
    /// All before this slot was known to be chosen.
    pub open: Slot,
    /// What is held.
    pub entries: BTreeMap<Slot, Entry>,
}

/// What a node is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It accepts what a master proposes.
    Replica,
    /// It asks to be promised a ballot.
    Candidate,
    /// It was promised one, and proposes.
    Master,
}

/// That, with its data.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    /// Until when it waits before it campaigns.
    Replica(Time),
    Candidate(Candidate),
    Master(Master),
}

/// One node of one log.
#[derive(Clone)]
pub struct MultiPaxos {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    /// Nothing below it is promised or accepted any more. `None` before the first.
    pub(crate) promised: Option<Ballot>,
    /// The write that the promise rests on; of this life.
    pub(crate) promise_write: Option<WriteId>,
    /// The highest round that is known to have been used, by us or anybody.
    pub(crate) round: u64,
    /// The write by which our last round is not forgotten; of this life.
    pub(crate) round_write: Option<WriteId>,
    pub(crate) log: Log,
    /// Until when nobody is promised anything but the node whose ballot was promised last, by our clock. `None` while no lease
    /// was granted.
    pub(crate) leased_until: Option<Time>,
    /// Who is master, as far as is known.
    pub(crate) master: Option<NodeId>,
    pub(crate) role: RoleState,
    /// The snapshot that is being fetched for us.
    pub(crate) fetching: Option<(AskId, Base)>,
    /// Snapshots that are being taken for others; one each.
    pub(crate) taking: BTreeMap<AskId, (NodeId, SnapshotId)>,
    pub(crate) next_ask: AskId,
    pub(crate) writes: Writes<Self>,
    /// What we have said to ourselves and not heard yet, each with the write that it rests on.
    to_self: VecDeque<(Option<WriteId>, Message)>,
}

impl Protocol for MultiPaxos {
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
            Write::Round(round) => saved.round = *round,
            Write::Promise(ballot) => saved.promised = Some(*ballot),
            Write::Entry { slot, entry } => {
                saved.entries.insert(*slot, entry.clone());
            }
            Write::Open(open) => saved.open = *open,
            Write::Base(base) => {
                saved.entries = saved.entries.split_off(&base.first);
                saved.open = saved.open.max(base.first);
                saved.base = Some(base.clone());
            }
        }
    }

    fn start(now: Time, config: Config, saved: Saved, rng: Rng, out: &mut Out) -> Self {
        let Saved { round, promised, base, open, entries } = saved;
        let log = Log::new(&config, base.as_ref());
        let mut node = Self {
            rng,
            promised,
            promise_write: None,
            round: round.max(promised.map_or(0, |ballot| ballot.round)),
            round_write: None,
            log,
            // Perhaps a lease was granted to whom we promised last. Whoever has promised nothing has granted nothing either.
            leased_until: promised.map(|_| now.after(config.lease)),
            master: None,
            role: RoleState::Replica(now),
            fetching: None,
            taking: BTreeMap::new(),
            next_ask: AskId(1),
            writes: Writes::default(),
            to_self: VecDeque::new(),
            config,
        };
        if node.weak(Weakness::BallotReused) {
            node.round = 0;
        }
        if node.weak(Weakness::LeaseForgotten) {
            node.leased_until = None;
        }
        for (slot, entry) in entries {
            node.log.put(slot, Held { entry, write: None });
        }
        // A disk that lost an entry in between ends the story there; others know how it goes on.
        while node.log.open < open && node.choose(out) {}
        node.wait_to_campaign(now);
        node
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out) {
        match input {
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::Request { id, request } => self.on_request(now, id, request, out),
            Input::Stored(id) => self.writes.stored(id, out),
            Input::Answered { id, answer } => self.on_answered(now, id, answer, out),
            Input::Timeout => self.on_timeout(now, out),
        }
        while let Some(at) =
            self.to_self.iter().position(|(rests_on, _)| rests_on.is_none_or(|id| !self.writes.is_outstanding(id)))
        {
            let Some((_, message)) = self.to_self.remove(at) else { return };
            self.on_message(now, self.config.id, message, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        Some(match &self.role {
            RoleState::Replica(campaign_at) => *campaign_at,
            RoleState::Candidate(candidate) => candidate.ask_at.min(candidate.give_up_at),
            RoleState::Master(master) => master.beat_at,
        })
    }

    fn fingerprint(&self, now: Time, mut into: &mut dyn Hasher) {
        let place = |write: &Option<WriteId>| write.and_then(|id| self.writes.place(id));
        (self.promised, place(&self.promise_write), self.round, place(&self.round_write)).hash(&mut into);
        (self.log.first, self.log.applied, self.log.open, &self.log.members).hash(&mut into);
        for (slot, held) in self.log.slots() {
            (slot, &held.entry, place(&held.write)).hash(&mut into);
        }
        (self.leased_until.is_some_and(|until| now < until), self.master, self.fetching.as_ref().map(|(_, base)| base))
            .hash(&mut into);
        self.taking.values().map(|(to, _)| to).collect::<Vec<_>>().hash(&mut into);
        mem::discriminant(&self.role).hash(&mut into);
        match &self.role {
            RoleState::Replica(_) => {}
            RoleState::Candidate(candidate) => (&candidate.prepared, candidate.asked_self).hash(&mut into),
            RoleState::Master(master) => master.fingerprint(now, into),
        }
        for (rests_on, message) in &self.to_self {
            (place(rests_on), message).hash(&mut into);
        }
        self.writes.fingerprint(into, |message, mut into| message.hash(&mut into));
    }
}

impl MultiPaxos {
    fn on_message(&mut self, now: Time, from: NodeId, message: Message, out: &mut Out) {
        if !self.is_plausible(from, &message) {
            return;
        }
        match message {
            Message::Prepare { ballot, from: first } => self.on_prepare(now, ballot, first, out),
            Message::Promise { ballot, open, accepted } => self.on_promise(now, from, ballot, open, accepted, out),
            Message::Accept { ballot, slot, value, open } => self.on_accept(now, ballot, slot, value, open, out),
            Message::Accepted { ballot, slot } => self.on_accepted(now, from, ballot, slot, out),
            Message::Nack { ballot, promised } => self.on_nack(now, ballot, promised, out),
            Message::Heartbeat { ballot, open, round } => self.on_heartbeat(now, ballot, open, round, out),
            Message::HeartbeatAck { ballot, round } => self.on_heartbeat_ack(now, from, ballot, round),
            Message::CatchUp { from: first } => self.on_catch_up(from, first, out),
            Message::Entries { from: first, entries, open } => self.on_entries(now, from, first, entries, open, out),
            Message::Snapshot { id, base } => self.on_snapshot(from, id, base, out),
        }
    }

    /// Whether it may be meant seriously: from whom it should come, nothing that could not be outbid or counted up to, no value
    /// that nobody would propose.
    fn is_plausible(&self, from: NodeId, message: &Message) -> bool {
        let is_right = |entry: &Entry| entry.ballot.is_plausible() && self.fits(&entry.value);
        let is_his = |ballot: &Ballot| ballot.is_plausible() && ballot.node == from;
        let is_ours = |ballot: &Ballot| ballot.is_plausible() && ballot.node == self.config.id;
        match message {
            Message::Prepare { ballot, from: first } => is_his(ballot) && first.is_plausible(),
            Message::Promise { ballot, open, accepted } => {
                // Nobody accepts so far beyond what it knows to be chosen.
                let mut slots = accepted.keys();
                let in_reach = slots.all(|slot| *open <= *slot && slot.since(*open) < self.config.unapplied_max);
                is_ours(ballot) && open.is_plausible() && in_reach && accepted.values().all(is_right)
            }
            Message::Accept { ballot, slot, value, open } => {
                is_his(ballot) && slot.is_plausible() && self.fits(value) && open.is_plausible()
            }
            Message::Accepted { ballot, slot } => is_ours(ballot) && slot.is_plausible(),
            Message::Nack { ballot, promised } => is_ours(ballot) && promised.is_plausible(),
            Message::Heartbeat { ballot, open, .. } => is_his(ballot) && open.is_plausible(),
            Message::HeartbeatAck { ballot, .. } => is_ours(ballot),
            Message::CatchUp { from: first } => first.is_plausible(),
            Message::Entries { from: first, entries, open } => {
                first.is_plausible() && open.is_plausible() && entries.iter().all(is_right)
            }
            Message::Snapshot { base, .. } => {
                let governed = base.members.first_key_value().is_some_and(|(from, _)| *from <= base.first);
                let in_reach = |from: &Slot| from.since(base.first) < self.config.alpha();
                let mut sets = base.members.values();
                let seats = sets.all(|members| self.may_be_members(members));
                base.first.is_plausible() && governed && base.members.keys().all(in_reach) && seats
            }
        }
    }

    fn fits(&self, value: &Value) -> bool {
        match value {
            Value::Command(bytes) => bytes.len() <= self.config.value_bytes_max,
            Value::NoOp => true,
            Value::Members(members) => self.may_be_members(members),
        }
    }

    pub(crate) fn may_be_members(&self, members: &Members) -> bool {
        (1..=self.config.members_max).contains(&members.len())
    }

    fn on_timeout(&mut self, now: Time, out: &mut Out) {
        match &self.role {
            RoleState::Replica(at) if *at <= now => self.campaign(now, out),
            RoleState::Candidate(candidate) if candidate.give_up_at <= now => self.step_down(now, None, out),
            RoleState::Candidate(candidate) if candidate.ask_at <= now => self.ask_again(now, out),
            RoleState::Master(master) if master.beat_at <= now => self.beat(now, out),
            RoleState::Replica(_) | RoleState::Candidate(_) | RoleState::Master(_) => {}
        }
    }

    /// Is a replica from now on, whatever it was, with this one for its master.
    pub(crate) fn step_down(&mut self, now: Time, master: Option<NodeId>, out: &mut Out) {
        let role = mem::replace(&mut self.role, RoleState::Replica(now));
        self.wait_to_campaign(now);
        self.set_master(master, out);
        let RoleState::Master(lost) = role else { return };
        for id in lost.pending.into_values().filter_map(|pending| pending.request) {
            self.writes.emit(None, Event::Unknown { id }, out);
        }
        for (id, _) in lost.queue {
            self.writes.emit(None, Event::Refused { id, refusal: Refusal::NotMaster(master) }, out);
        }
    }

    pub(crate) fn set_master(&mut self, master: Option<NodeId>, out: &mut Out) {
        if self.master != master {
            self.master = master;
            self.writes.emit(None, Event::MasterChanged(master), out);
        }
    }

    /// Says something, to ourselves too, once what it rests on is stored.
    pub(crate) fn say(&mut self, rests_on: Option<WriteId>, to: NodeId, message: Message, out: &mut Out) {
        if to == self.config.id {
            self.to_self.push_back((rests_on, message));
        } else {
            self.writes.send(rests_on, to, message, out);
        }
    }

    pub(crate) fn is_outstanding(&self, write: Option<WriteId>) -> bool {
        write.is_some_and(|write| self.writes.is_outstanding(write))
    }

    /// Whether so much is on its way to the disk that nothing is taken which would need to be written.
    pub(crate) fn is_flooded(&self) -> bool {
        self.writes.bytes() > self.config.unstored_bytes_max
    }

    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.config.weak(weakness)
    }

    /// Whether those of them who are `counted` choose.
    pub(crate) fn is_majority(&self, members: &Members, counted: &Members) -> bool {
        let half = self.weak(Weakness::HalfIsMajority).then_some(members.len() / 2);
        members.intersection(counted).count() >= half.unwrap_or(quorum::majority(members.len()))
    }
}

/// How it stands, for whoever runs it and for the proof.
impl MultiPaxos {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Replica(_) => Role::Replica,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Master(_) => Role::Master,
        }
    }

    /// Until when it may answer reads, as a master that holds the lease and knows all that was done before it.
    #[must_use]
    pub fn lease(&self) -> Option<Time> {
        self.readable_until()
    }

    /// Whether it may answer reads: never true of two at once.
    #[must_use]
    pub fn is_master(&self, now: Time) -> bool {
        self.lease().is_some_and(|until| now < until)
    }

    /// Who is master, as far as it knows.
    #[must_use]
    pub fn master(&self) -> Option<NodeId> {
        self.master
    }

    /// The ballot that it asks to be promised, or leads at.
    #[must_use]
    pub fn ballot(&self) -> Option<Ballot> {
        match &self.role {
            RoleState::Replica(_) => None,
            RoleState::Candidate(Candidate { prepared, .. }) | RoleState::Master(Master { prepared, .. }) => {
                Some(prepared.ballot)
            }
        }
    }

    /// The highest round it knows to have been used.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.round
    }

    /// What it has promised, on disk or not yet.
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.promised
    }

    /// What it has accepted, on disk or not yet, and still holds; before [`Self::open`], what is chosen.
    pub fn entries(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        self.log.from(self.log.first)
    }

    /// The first slot that it still holds.
    #[must_use]
    pub fn first(&self) -> Slot {
        self.log.first
    }

    /// The first slot that its state machine has not applied durably, as far as it knows.
    #[must_use]
    pub fn unapplied(&self) -> Slot {
        self.log.unapplied()
    }

    /// The first slot that it does not know to be chosen.
    #[must_use]
    pub fn open(&self) -> Slot {
        self.log.open
    }

    /// Who accepts in this slot, as far as that is decided; right up to α slots from [`Self::open`] on.
    #[must_use]
    pub fn members_at(&self, slot: Slot) -> &Members {
        self.log.members.at(slot)
    }

    /// Whether a snapshot is on its way to its state machine.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }
}
