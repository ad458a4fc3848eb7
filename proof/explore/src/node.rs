//! One node with its disk, and what one input makes of it.
//!
//! `handle` is a function: of the same node and the same input, it makes the same. So each is done once, however many
//! states of the whole cluster have that node in them; the rest of an exploration is bookkeeping.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hezong_base::{Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};
use hezong_invariants::Invariants;

use crate::Violation;
use crate::digest::Digest;
use crate::subject::{EventOf, GRAIN, LONG, MessageOf, Passage, RequestOf, SavedOf, Subject, ViewOf, WriteOf};

/// A node and what belongs to it.
pub(crate) struct Node<S: Subject> {
    pub(crate) id: NodeId,
    /// How often it was born before.
    life: u64,
    /// Its own clock. Clocks of different nodes have nothing to do with each other.
    now: Time,
    pub(crate) protocol: S::Protocol,
    /// What a crash leaves.
    pub(crate) saved: SavedOf<S>,
    /// Writes issued and not yet stored, oldest first. A crash takes them.
    unstored: VecDeque<(WriteId, WriteOf<S>)>,
}

/// What is done to a node.
pub(crate) enum Touch<'a, S: Subject> {
    /// It gets a message.
    Deliver(NodeId, &'a MessageOf<S>),
    /// Its deadline passes.
    Timeout,
    /// The oldest write under way is on its disk.
    Stored,
    /// It crashes, and starts with what its disk holds.
    Restart,
    /// Its user asks for something, the how manieth time in all.
    Request(u8, RequestOf<S>),
}

/// Under which circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// At once.
    Soon,
    /// After more time has passed than the protocol waits for anything.
    Late,
    /// It crashes before anything that it then writes is on disk, and starts again. What it sent without waiting for that
    /// has left.
    Crashing,
}

/// What came of it.
pub(crate) struct Touched<S: Subject> {
    pub(crate) node: Node<S>,
    pub(crate) sends: Vec<(NodeId, MessageOf<S>)>,
    /// For people to read.
    pub(crate) writes: Vec<WriteOf<S>>,
    pub(crate) events: Vec<EventOf<S>>,
}

impl<S: Subject> Clone for Node<S> {
    fn clone(&self) -> Self {
        let Self { id, life, now, protocol, saved, unstored } = self;
        let (protocol, saved, unstored) = (protocol.clone(), saved.clone(), unstored.clone());
        Self { id: *id, life: *life, now: *now, protocol, saved, unstored }
    }
}

/// A multiple of the grain at or after this instant.
fn aligned(at: Time) -> Time {
    (at - Duration::from_nanos(1)).next_multiple(GRAIN)
}

impl<S: Subject> Node<S> {
    /// A node's first life.
    pub(crate) fn first(subject: &S, id: NodeId) -> Touched<S> {
        Self::born(subject, id, 0, Time::ZERO + LONG, subject.disk())
    }

    fn born(subject: &S, id: NodeId, life: u64, now: Time, saved: SavedOf<S>) -> Touched<S> {
        let now = aligned(now);
        let mut effects = Vec::new();
        let rng = Rng::new(subject.seed(id, life));
        let protocol = S::Protocol::start(now, subject.config(id), saved.clone(), rng, &mut effects);
        let node = Self { id, life, now, protocol, saved, unstored: VecDeque::new() };
        let mut touched = Touched { node, sends: Vec::new(), writes: Vec::new(), events: Vec::new() };
        touched.carry_out(subject, effects, How::Soon);
        touched
    }

    /// What comes of an input.
    pub(crate) fn touch(&self, subject: &S, touch: Touch<'_, S>, how: How) -> Result<Touched<S>, Violation> {
        let touched = catch_unwind(AssertUnwindSafe(|| self.touch_or_panic(subject, touch, how)));
        touched.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            Violation::new("assertions", format!("{} panics: {text}", self.id))
        })
    }

    fn touch_or_panic(&self, subject: &S, touch: Touch<'_, S>, how: How) -> Touched<S> {
        let mut node = self.clone();
        if how == How::Late {
            node.now = node.now + LONG;
        }
        let input = match touch {
            Touch::Restart => return Self::born(subject, node.id, node.life + 1, node.now, node.saved),
            Touch::Deliver(from, message) => Input::Message { from, message: message.clone() },
            Touch::Request(nth, request) => Input::Request { id: RequestId(u64::from(nth)), request },
            Touch::Timeout => {
                let deadline = node.protocol.deadline().expect("a deadline is there");
                // Time passes even where the deadline is behind us, or how far behind would make a difference.
                node.now = (node.now + GRAIN).max(aligned(deadline));
                Input::Timeout
            }
            Touch::Stored => node.store().expect("a write is under way"),
        };
        let mut effects = Vec::new();
        node.protocol.handle(node.now, input, &mut effects);
        let mut touched = Touched { node, sends: Vec::new(), writes: Vec::new(), events: Vec::new() };
        touched.carry_out(subject, effects, how);
        if how == How::Crashing {
            let Self { id, life, now, saved, .. } = touched.node;
            let again = Self::born(subject, id, life + 1, now, saved);
            touched.sends.extend(again.sends);
            touched.events.extend(again.events);
            touched.node = again.node;
        }
        touched
    }

    /// The oldest write under way is on disk; the input that tells so.
    fn store(&mut self) -> Option<Input<S::Protocol>> {
        let (id, write) = self.unstored.pop_front()?;
        S::Protocol::save(&mut self.saved, &write);
        Some(Input::Stored(id))
    }

    /// What makes two nodes the same, now or when a long time has passed.
    pub(crate) fn digest(&self, subject: &S, late: bool) -> u64 {
        let now = if late || !subject.time_shows() { self.now + LONG } else { self.now };
        let mut digest = Digest::default();
        self.id.hash(&mut digest);
        self.protocol.fingerprint(now, &mut digest);
        self.saved.hash(&mut digest);
        self.unstored.len().hash(&mut digest);
        self.unstored.iter().for_each(|(_, write)| write.hash(&mut digest));
        digest.finish()
    }

    pub(crate) fn is_storing(&self) -> bool {
        !self.unstored.is_empty()
    }

    pub(crate) fn view(&self, invariants: &S::Invariants) -> ViewOf<S> {
        invariants.view(&self.protocol, &self.saved, self.now)
    }
}

impl<S: Subject> Touched<S> {
    fn carry_out(&mut self, subject: &S, effects: Vec<Effect<S::Protocol>>, how: How) {
        let mut effects = VecDeque::from(effects);
        loop {
            let input = match effects.pop_front() {
                Some(Effect::Send { to, message }) => match subject.passage(message) {
                    Passage::Sent(message) => {
                        self.sends.push((to, message));
                        continue;
                    }
                    Passage::Lost => continue,
                    Passage::Answered(message) => Input::Message { from: to, message },
                },
                Some(Effect::Store { id, write }) => {
                    let write = subject.plain_write(write);
                    self.node.unstored.push_back((id, write.clone()));
                    self.writes.push(write);
                    continue;
                }
                Some(Effect::Ask { ask, .. }) => panic!("nothing is answered here, and it asks: {ask:?}"),
                Some(Effect::Emit(event)) => {
                    let request = subject.react(&self.node.protocol, &event);
                    self.events.push(event);
                    let Some(request) = request else { continue };
                    Input::Request { id: RequestId(u64::MAX), request }
                }
                None if subject.disks_are_prompt() && how != How::Crashing => match self.node.store() {
                    Some(stored) => stored,
                    None => return,
                },
                None => return,
            };
            let mut more = Vec::new();
            self.node.protocol.handle(self.node.now, input, &mut more);
            effects.extend(more);
        }
    }
}
