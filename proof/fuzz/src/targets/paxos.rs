//! `Paxos::handle` with anything a peer may send, writes that take their time, and crashes. Nothing leaves that is not on disk. Eight bytes are a step, as for
//! Raft.

use std::collections::VecDeque;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Event, Message, Paxos, Proposal, Request, Saved, Write};

use super::raft::{number, steps};
use super::random;

const US: NodeId = NodeId(1);

/// Whether anything was chosen.
pub(super) fn run(input: &[u8]) -> bool {
    let mut world = World::start(Time::from_millis(1_000), Saved::default(), 0);
    for mut rng in steps(input) {
        world.step(&mut rng);
    }
    world.chosen.is_some()
}

fn ballot(rng: &mut Rng) -> Ballot {
    Ballot { round: number(rng), node: NodeId(1 + rng.below(4)) }
}

fn proposal(rng: &mut Rng) -> Proposal {
    let ballot = ballot(rng);
    // Of members who are honest, each ballot has one value; mostly these are.
    let value = if rng.chance(900) { Bytes::from(format!("{ballot}")) } else { random::blob(rng) };
    Proposal { ballot, value }
}

fn message(rng: &mut Rng) -> Message {
    match rng.below(10) {
        0 | 1 => Message::Prepare(ballot(rng)),
        2 | 3 => Message::Promise { ballot: ballot(rng), accepted: rng.chance(500).then(|| proposal(rng)) },
        4..=6 => Message::Accept(proposal(rng)),
        7 | 8 => Message::Accepted(proposal(rng)),
        _ if rng.chance(900) => Message::Nack { ballot: ballot(rng), promised: ballot(rng) },
        _ => Message::Chosen(random::blob(rng)),
    }
}

/// One node, and what runs it.
struct World {
    paxos: Paxos,
    now: Time,
    disk: Saved,
    pending: VecDeque<(WriteId, Write)>,
    /// What it told of, in this life.
    chosen: Option<Bytes>,
    requests: u64,
}

impl World {
    fn start(now: Time, disk: Saved, requests: u64) -> Self {
        let mut config = Config::new(US, (1..=3).map(NodeId).collect());
        (config.value_bytes_max, config.waiting_max) = (200, 4);
        let mut out = Vec::new();
        let paxos = Paxos::start(now, config, disk.clone(), Rng::new(7), &mut out);
        let mut world = Self { paxos, now, disk, pending: VecDeque::new(), chosen: None, requests };
        world.carry_out(out);
        world
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.below(100) {
            0..60 => self.hand(Input::Message { from: NodeId(1 + rng.below(5)), message: message(rng) }),
            60..78 => {
                if let Some((id, write)) = self.pending.pop_front() {
                    Paxos::save(&mut self.disk, &write);
                    self.hand(Input::Stored(id));
                }
            }
            78..88 => {
                if let Some(deadline) = self.paxos.deadline() {
                    self.now = self.now.max(deadline);
                    self.hand(Input::Timeout);
                    assert!(self.paxos.deadline().is_none_or(|next| next > self.now), "a timeout is over");
                }
            }
            88..96 => {
                self.requests += 1;
                let request = Request::Propose(random::blob(rng));
                self.hand(Input::Request { id: RequestId(self.requests), request });
            }
            _ => *self = Self::start(self.now, std::mem::take(&mut self.disk), self.requests),
        }
    }

    fn hand(&mut self, input: Input<Paxos>) {
        let before = self.paxos.promised();
        let mut out = Vec::new();
        self.paxos.handle(self.now, input, &mut out);
        assert!(self.paxos.promised() >= before, "a promise is kept");
        assert!(self.paxos.accepted().map(|accepted| accepted.ballot) <= self.paxos.promised());
        self.carry_out(out);
    }

    /// What is said is on disk, or it would be a lie after a crash.
    fn assert_stored(&self, message: &Message) {
        let Saved { round, promised, accepted, .. } = &self.disk;
        let at = |proposal: Option<&Proposal>| proposal.map(|proposal| proposal.ballot);
        let is_stored = match message {
            Message::Prepare(ballot) => ballot.round <= *round,
            Message::Accept(proposal) => proposal.ballot.round <= *round,
            Message::Promise { ballot, accepted: told } => {
                Some(*ballot) <= *promised && at(told.as_ref()) <= at(accepted.as_ref())
            }
            Message::Nack { promised: told, .. } => Some(*told) <= *promised,
            Message::Accepted(proposal) => at(Some(proposal)) <= at(accepted.as_ref()),
            // A majority has it.
            Message::Chosen(_) => true,
        };
        assert!(is_stored, "{message:?} is said, where {:?} is stored", self.disk);
    }

    fn carry_out(&mut self, out: Vec<Effect<Paxos>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => {
                    assert_ne!(to, US, "what it says to itself it keeps to itself");
                    self.assert_stored(&message);
                }
                Effect::Store { id, write } => self.pending.push_back((id, write)),
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(Event::Chosen(value)) => {
                    assert_eq!(self.chosen.replace(value), None, "told once in a life");
                }
                Effect::Emit(Event::Answered { value, .. }) => assert_eq!(self.chosen.as_ref(), Some(&value)),
                Effect::Emit(Event::Refused { .. }) => {}
            }
        }
    }
}
