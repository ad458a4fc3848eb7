//! Writes, what rests on them, and what a node says to itself: a coordinator may have work of its own in a transaction.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{Effect, NodeId, Protocol, Time, WriteId, Writes};

/// What leaves a node, and what comes back to it.
#[derive(Clone, Debug)]
pub(crate) struct Outbox<P: Protocol> {
    id: NodeId,
    pub(crate) writes: Writes<P>,
    /// What we have said to ourselves and not heard yet, each with the write that it rests on. Of every transaction under way
    /// at most a few.
    to_self: VecDeque<(Option<WriteId>, P::Message)>,
}

impl<P: Protocol> Outbox<P> {
    pub(crate) fn new(id: NodeId) -> Self {
        Self { id, writes: Writes::default(), to_self: VecDeque::new() }
    }

    /// Says something, to ourselves too, once what it rests on is stored.
    pub(crate) fn say(&mut self, rests_on: Option<WriteId>, to: NodeId, message: P::Message, out: &mut Vec<Effect<P>>) {
        if to == self.id {
            self.to_self.push_back((rests_on, message));
        } else {
            self.writes.send(rests_on, to, message, out);
        }
    }

    /// Tells the user something, once what it rests on is stored.
    pub(crate) fn emit(&mut self, rests_on: Option<WriteId>, event: P::Event, out: &mut Vec<Effect<P>>) {
        self.writes.emit(rests_on, event, out);
    }

    /// Writes something. The bound on what is not stored yet is the number of transactions, so that bytes are not counted.
    pub(crate) fn store(&mut self, now: Time, write: P::Write, out: &mut Vec<Effect<P>>) -> WriteId {
        self.writes.store(now, write, 0, out)
    }

    /// The next thing we said to ourselves that may be heard.
    pub(crate) fn hear_self(&mut self) -> Option<P::Message> {
        let ready = |rests_on: &Option<WriteId>| rests_on.is_none_or(|id| !self.writes.is_outstanding(id));
        let at = self.to_self.iter().position(|(rests_on, _)| ready(rests_on))?;
        self.to_self.remove(at).map(|(_, message)| message)
    }

    pub(crate) fn is_outstanding(&self, write: Option<WriteId>) -> bool {
        write.is_some_and(|write| self.writes.is_outstanding(write))
    }

    /// Where a write stands among those not stored: what is the same in two runs that are the same otherwise.
    pub(crate) fn place(&self, write: Option<WriteId>) -> Option<usize> {
        write.and_then(|write| self.writes.place(write))
    }
}

impl<P: Protocol<Message: Hash>> Outbox<P> {
    pub(crate) fn fingerprint(&self, mut into: &mut dyn Hasher) {
        for (rests_on, message) in &self.to_self {
            (self.place(*rests_on), message).hash(&mut into);
        }
        self.writes.fingerprint(into, |message, mut into| message.hash(&mut into));
    }
}
