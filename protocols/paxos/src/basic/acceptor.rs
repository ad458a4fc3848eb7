//! The acceptor: what it has promised and accepted, and how it answers.

use hezong_base::{NodeId, Time, WriteId};

use super::node::{Out, Paxos, Write};
use super::{Message, Proposal, Weakness};
use crate::Ballot;

/// An acceptor's part of the state. All of it is on disk before anybody hears of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acceptor {
    /// Nothing below it is promised or accepted any more (P1a). `None` before the first.
    pub(crate) promised: Option<Ballot>,
    /// The highest ballot at which something was accepted, never above `promised`, and what.
    pub(crate) accepted: Option<Proposal>,
    /// The write that the promise rests on; of this life.
    pub(crate) promise_write: Option<WriteId>,
    /// The write that `accepted` rests on; of this life.
    pub(crate) accept_write: Option<WriteId>,
    /// When it proposes what it has accepted, unless it hears before that something was chosen.
    pub(crate) learn_at: Option<Time>,
}

impl Paxos {
    /// Phase 1b (§2.2).
    pub(crate) fn on_prepare(&mut self, now: Time, from: NodeId, ballot: Ballot, out: &mut Out) {
        if !self.config.acceptors.contains(&self.config.id) {
            return;
        }
        if Some(ballot) < self.acceptor.promised {
            return self.refuse(from, ballot, out);
        }
        if Some(ballot) > self.acceptor.promised {
            if self.is_flooded() {
                return;
            }
            self.acceptor.promised = Some(ballot);
            let write = self.writes.store(now, Write::Promise(ballot), size_of::<Ballot>(), out);
            self.acceptor.promise_write = Some(write);
        } else if self.is_outstanding(self.acceptor.promise_write) {
            // The answer waits for the disk already.
            return;
        }
        // A repeated request is answered again, and by then something may have been accepted at this very ballot.
        let mut rests_on = self.acceptor.promise_write.max(self.acceptor.accept_write);
        if self.weak(Weakness::PromiseBeforeStored) {
            rests_on = None;
        }
        let accepted = self.acceptor.accepted.clone();
        self.say(rests_on, from, Message::Promise { ballot, accepted }, out);
    }

    /// Phase 2b: at the ballot promised or above it.
    pub(crate) fn on_accept(&mut self, now: Time, from: NodeId, proposal: Proposal, out: &mut Out) {
        if !self.config.acceptors.contains(&self.config.id) {
            return;
        }
        let ballot = proposal.ballot;
        let too_late = Some(ballot) < self.acceptor.promised && !self.weak(Weakness::AcceptBelowPromise);
        let as_promised = Some(ballot) == self.acceptor.promised && self.weak(Weakness::AcceptOnlyAbove);
        if too_late || as_promised {
            return self.refuse(from, ballot, out);
        }
        match &self.acceptor.accepted {
            // Repeated: the answer waits for the disk already, or is given again.
            Some(accepted) if *accepted == proposal && self.is_outstanding(self.acceptor.accept_write) => return,
            Some(accepted) if *accepted == proposal => {}
            // A ballot has one value. Whoever proposes another at the same has forgotten the first; nobody may choose it.
            Some(accepted) if accepted.ballot == ballot => return,
            _ if self.is_flooded() => return,
            _ => {
                if !self.weak(Weakness::AcceptWithoutPromise) {
                    self.acceptor.promised = self.acceptor.promised.max(Some(ballot));
                }
                let bytes = proposal.value.len();
                self.acceptor.accepted = Some(proposal.clone());
                self.acceptor.accept_write = Some(self.writes.store(now, Write::Accept(proposal.clone()), bytes, out));
                self.wait_to_learn(now);
            }
        }
        let rests_on = if self.weak(Weakness::AcceptBeforeStored) { None } else { self.acceptor.accept_write };
        let everybody = self.config.acceptors.union(&self.config.learners).copied();
        let everybody = everybody.chain([from]).collect::<alloc::collections::BTreeSet<_>>();
        for to in everybody {
            self.say(rests_on, to, Message::Accepted(proposal.clone()), out);
        }
    }

    /// Says which ballot has to be outbid, unless that is not certain yet: whoever asks will ask again.
    fn refuse(&mut self, from: NodeId, ballot: Ballot, out: &mut Out) {
        let rests_on = self.acceptor.promise_write.max(self.acceptor.accept_write);
        if let Some(promised) = self.acceptor.promised.filter(|_| !self.is_outstanding(rests_on)) {
            self.say(rests_on, from, Message::Nack { ballot, promised }, out);
        }
    }

    /// Whether so much is on its way to the disk that nothing is taken which would need to be written.
    fn is_flooded(&self) -> bool {
        self.writes.bytes() > self.config.unstored_bytes_max
    }

    fn is_outstanding(&self, write: Option<WriteId>) -> bool {
        write.is_some_and(|write| self.writes.is_outstanding(write))
    }

    /// Gives others time to have chosen what was accepted here.
    pub(crate) fn wait_to_learn(&mut self, now: Time) {
        let timeout = self.config.learn_timeout;
        let wait = self.rng.between(timeout, timeout.saturating_mul(2));
        self.acceptor.learn_at = Some(now.after(wait));
    }
}
