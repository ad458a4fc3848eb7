//! Sessions: order within a pair of nodes, over a network that keeps none.

use core::hash::{Hash, Hasher};

use hezong_base::{NodeId, Time, WriteId, Writes};

use crate::node::{Out, Zab};
use crate::{Body, Epoch, Message, Packet, SessionId};

/// How many numbers one opening of a session has: more than anybody can say.
const NUMBERS: u64 = 1 << 40;

/// One side of a session.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The other side.
    pub(crate) peer: NodeId,
    pub(crate) id: SessionId,
    /// What the leader offered in it.
    pub(crate) epoch: Option<Epoch>,
    /// How much we have said.
    pub(crate) sent: u64,
    /// How much we have heard.
    pub(crate) heard: u64,
    /// When we heard it.
    pub(crate) heard_at: Time,
    /// The write that something said in the session rests on. All that is said later rests on it too, or it would overtake.
    pub(crate) rests_on: Option<WriteId>,
}

/// Whose turn a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The next.
    Now,
    /// It came before.
    Past,
    /// Something before it was lost or overtaken. Nothing is said again in a session, so that it is over.
    Gap,
}

impl Link {
    pub(crate) fn new(now: Time, peer: NodeId, id: SessionId) -> Self {
        Self { peer, id, epoch: None, sent: 0, heard: 0, heard_at: now, rests_on: None }
    }

    /// The leader's side of a session, which it takes in behind so many others of that learner. A learner's first word may come again when
    /// its session is over; what either side says in one opening of it must not be taken for a word of the other, or a learner
    /// would take the fifth of one for the fifth of the other. So the numbers of each are its own.
    pub(crate) fn opened(now: Time, peer: NodeId, id: SessionId, behind: u64) -> Self {
        let first = behind.saturating_mul(NUMBERS);
        Self { sent: first, heard: first.saturating_add(1), ..Self::new(now, peer, id) }
    }

    /// The learner's side: the leader has answered, and this is the number of its first word.
    pub(crate) fn answered(&mut self, number: u64) {
        self.heard = number;
        self.sent = number.saturating_add(1);
    }

    /// Takes a packet's number.
    pub(crate) fn turn(&mut self, now: Time, number: u64, gaps_allowed: bool) -> Turn {
        if number < self.heard {
            return Turn::Past;
        }
        if number > self.heard && !gaps_allowed {
            return Turn::Gap;
        }
        (self.heard, self.heard_at) = (number.saturating_add(1), now);
        Turn::Now
    }

    pub(crate) fn fingerprint(&self, writes: &Writes<Zab>, mut into: &mut dyn Hasher) {
        let Self { peer, id, epoch, sent, heard, heard_at: _, rests_on } = self;
        (peer, id, epoch, sent, heard, rests_on.and_then(|id| writes.place(id))).hash(&mut into);
    }

    /// Says something, once what it rests on is stored and after all that was said before.
    pub(crate) fn say(&mut self, writes: &mut Writes<Zab>, rests_on: Option<WriteId>, body: Body, out: &mut Out) {
        self.rests_on = self.rests_on.max(rests_on);
        let packet = Packet { session: self.id, epoch: self.epoch, number: self.sent, body };
        self.sent = self.sent.saturating_add(1);
        writes.send(self.rests_on, self.peer, Message::Packet(packet), out);
    }
}
