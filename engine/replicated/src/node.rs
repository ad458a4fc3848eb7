//! The node: a member or a participant, and the way in.
//!
//! Invariants, each with where it is kept:
//! - a coordinator is told that a write is stored once its entry is applied, in the order of proposing (`acting.rs`);
//! - it starts from the fold of everything before its term, and ends with its term (`acting.rs`);
//! - what the log has lost is in a fold on disk (`member.rs`).

use alloc::vec::Vec;
use core::convert::Infallible;
use core::hash::Hasher;

use hezong_base::{Effect, Input, NodeId, Protocol, RequestId, Rng, Time};
use hezong_commit::{Refusal, Request};

use crate::member::{Member, Turn};
use crate::message::{Event, Message, Saved, Write};
use crate::participant::Participant;
use crate::{Config, Fold, Replicable};

pub(crate) type Out<P> = Vec<Effect<Replicated<P>>>;

/// One node of a commit protocol whose coordinator is replicated.
#[derive(Clone)]
pub struct Replicated<P: Replicable> {
    group: NodeId,
    role: Role<P>,
}

/// What a node is, for as long as it lives.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a node")]
enum Role<P: Replicable> {
    Member(Member<P>),
    Participant(Participant<P>),
}

impl<P: Replicable> Protocol for Replicated<P> {
    type Config = Config;
    type Message = Message<P::Message, P::Saved>;
    type Request = Request;
    type Event = Event;
    type Write = Write<P::Write, P::Saved>;
    type Saved = Saved<P::Saved>;
    type Ask = Infallible;
    type Answer = Infallible;

    fn save(saved: &mut Self::Saved, write: &Self::Write) {
        match write {
            Write::Raft(write) => hezong_raft::Raft::save(&mut saved.raft, write),
            Write::Fold(fold) => saved.fold = fold.clone(),
            Write::Own(write) => P::save(&mut saved.own, write),
        }
    }

    fn start(now: Time, config: Config, saved: Self::Saved, rng: Rng, out: &mut Out<P>) -> Self {
        let group = config.group;
        let role = if config.members.contains(&config.id) {
            Role::Member(Member::start(config, saved.raft, saved.fold, rng, &mut Turn::new(now, out)))
        } else {
            let begin = |config, effects: &mut _| P::start(now, config, saved.own, rng, effects);
            Role::Participant(Participant::start(config, begin, out))
        };
        Self { group, role }
    }

    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Out<P>) {
        match input {
            Input::Message { from, message } => match &mut self.role {
                Role::Member(member) => member.on_message(from, message, &mut Turn::new(now, out)),
                Role::Participant(participant) => participant.on_message(now, from, message, out),
            },
            Input::Request { id, request } => self.on_request(now, id, request, out),
            Input::Stored(id) => match &mut self.role {
                Role::Member(member) => member.on_stored(id, &mut Turn::new(now, out)),
                Role::Participant(participant) => participant.handle(now, Input::Stored(id), out),
            },
            Input::Answered { answer, .. } => match answer {},
            Input::Timeout => match &mut self.role {
                Role::Member(member) => member.on_timeout(&mut Turn::new(now, out)),
                Role::Participant(participant) => participant.handle(now, Input::Timeout, out),
            },
        }
    }

    fn deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Member(member) => member.deadline(),
            Role::Participant(participant) => participant.inner.deadline(),
        }
    }

    fn fingerprint(&self, now: Time, into: &mut dyn Hasher) {
        match &self.role {
            Role::Member(member) => member.fingerprint(now, into),
            Role::Participant(participant) => participant.fingerprint(now, into),
        }
    }
}

impl<P: Replicable> Replicated<P> {
    fn on_request(&mut self, now: Time, id: RequestId, request: Request, out: &mut Out<P>) {
        // The group has no work of its own: it would be whoever acts who votes, and nobody would keep its promise.
        if matches!(&request, Request::Begin(work) if work.contains_key(&self.group)) {
            let refusal = Refusal::UnknownNode;
            return out.push(Effect::Emit(Event::Commit(hezong_commit::Event::Refused { id, refusal })));
        }
        match &mut self.role {
            Role::Member(member) => member.on_request(id, request, &mut Turn::new(now, out)),
            Role::Participant(participant) => participant.handle(now, Input::Request { id, request }, out),
        }
    }

    /// The commit protocol: of a participant, or of a member that acts.
    #[must_use]
    pub fn inner(&self) -> Option<&P> {
        match &self.role {
            Role::Member(member) => member.acting(),
            Role::Participant(participant) => Some(&participant.inner),
        }
    }

    /// The log of a member.
    #[must_use]
    pub fn raft(&self) -> Option<&hezong_raft::Raft> {
        match &self.role {
            Role::Member(member) => Some(member.raft()),
            Role::Participant(_) => None,
        }
    }

    /// What all entries amount to that a member has applied.
    #[must_use]
    pub fn fold(&self) -> Option<&Fold<P::Saved>> {
        match &self.role {
            Role::Member(member) => Some(member.fold()),
            Role::Participant(_) => None,
        }
    }

    /// Whether this node acts as the coordinator.
    #[must_use]
    pub fn is_acting(&self) -> bool {
        matches!(&self.role, Role::Member(member) if member.acting().is_some())
    }
}
