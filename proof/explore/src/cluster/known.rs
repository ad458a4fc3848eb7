//! What is found out once: the states of single nodes, the messages, what comes of an input, and what is remembered.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use hezong_base::NodeId;
use hezong_invariants::Invariants;

use super::{Cluster, Step, name, place};
use crate::Violation;
use crate::digest::Digest;
use crate::node::{How, Node, Touch, Touched};
use crate::subject::{EventOf, MessageOf, PastOf, Subject, ViewOf};

/// A state of a node.
pub(super) struct Known<S: Subject> {
    pub(super) node: Node<S>,
    pub(super) view: ViewOf<S>,
    /// Once a long time has passed.
    pub(super) later: u64,
    pub(super) may_time_out: bool,
    /// The first way in which it was found. `None`: it is the beginning.
    pub(super) origin: Option<(u32, Step, How)>,
    /// For each way of naming the nodes, what it is then, once that is known.
    pub(super) renamed: Box<[Option<u32>]>,
    /// The digests of these.
    pub(super) digests: Box<[u64]>,
}

/// A message on its way.
pub(super) struct Letter<S: Subject> {
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) message: MessageOf<S>,
    /// Of the message alone.
    pub(super) digest: u64,
}

/// What is remembered.
pub(super) struct Past<S: Subject> {
    pub(super) past: PastOf<S>,
    /// For each way of naming the nodes, its digest.
    pub(super) digests: Box<[u64]>,
}

/// What comes of an input.
pub(super) enum Outcome<S: Subject> {
    /// The node's next state, the messages that it sends, whether it has written anything, and what its user is told, if
    /// that is looked at.
    Next(u32, Rc<[u32]>, bool, Box<[EventOf<S>]>),
    /// The step breaks a property.
    Broken(Violation),
}

impl<S: Subject> Cluster<S> {
    /// The number of a node's state; a new one if it was never met.
    pub(super) fn know(&mut self, node: Node<S>, origin: Option<(u32, Step, How)>) -> u32 {
        let digest = node.digest(&self.subject, false);
        if let Some(key) = self.known.find(&digest) {
            if let Some(twins) = &mut self.twins
                && self.known[key].origin != origin
            {
                twins.push((key, node));
            }
            return key;
        }
        let later = node.digest(&self.subject, true);
        let (view, may_time_out) = (node.view(&self.invariants), self.subject.may_time_out(&node.protocol));
        let mut renamed = vec![None; self.namings.len()].into_boxed_slice();
        let mut digests = vec![0; self.namings.len()].into_boxed_slice();
        (renamed[0], digests[0]) = (Some(self.known.next()), digest);
        self.known.add(digest, Known { node, view, later, may_time_out, origin, renamed, digests })
    }

    /// The number of a message.
    pub(super) fn know_letter(&mut self, from: u8, to: u8, message: MessageOf<S>) -> u32 {
        let mut digest = Digest::default();
        message.hash(&mut digest);
        let digest = digest.finish();
        let key = addressed(digest, from, to);
        self.letters.find(&key).unwrap_or_else(|| self.letters.add(key, Letter { from, to, message, digest }))
    }

    /// The number of what is remembered.
    pub(super) fn know_past(&mut self, past: PastOf<S>) -> u32 {
        if let Some(key) = self.pasts.find(&past) {
            return key;
        }
        let digest = |naming: &Vec<u8>| {
            let mut digest = Digest::default();
            let named = |id: NodeId| name(naming[usize::from(place(id))]);
            S::Invariants::renamed(&past, &named).hash(&mut digest);
            digest.finish()
        };
        let digests = self.namings.iter().map(digest).collect();
        self.pasts.add(past.clone(), Past { past, digests })
    }

    /// What comes of an input, by number.
    pub(super) fn outcome(&mut self, key: u32, step: Step, how: How) -> u32 {
        let input = (key, step, how);
        self.outcomes.find(&input).unwrap_or_else(|| {
            let outcome = self.find_out(input).unwrap_or_else(Outcome::Broken);
            self.outcomes.add(input, outcome)
        })
    }

    fn find_out(&mut self, (key, step, how): (u32, Step, How)) -> Result<Outcome<S>, Violation> {
        let Touched { node, sends, writes, events } = self.touch(&self.known[key].node, step, how)?;
        let from = place(node.id);
        let next = self.know(node, Some((key, step, how)));
        self.check_step(key, step, how, next)?;
        let mut sends: Vec<_> = sends.into_iter().map(|(to, sent)| self.know_letter(from, place(to), sent)).collect();
        sends.sort_unstable();
        sends.dedup();
        // What was told right before a crash is forgotten with it.
        let is_heard = self.subject.users_are_heard() && how != How::Crashing;
        let events = if is_heard { events.into() } else { Box::default() };
        Ok(Outcome::Next(next, sends.into(), !writes.is_empty(), events))
    }

    /// What must hold of a step by itself.
    fn check_step(&self, key: u32, step: Step, how: How, next: u32) -> Result<(), Violation> {
        let (before, after) = (&self.known[key], &self.known[next]);
        let (id, invariants) = (before.node.id, &self.invariants);
        invariants.check_step(id, &before.view, &after.view)?;
        match step {
            Step::Deliver(letter) if how != How::Crashing => {
                let (from, _, message) = self.letter(letter);
                invariants.check_message(id, &before.view, from, message, &after.view)
            }
            Step::Deliver(_) | Step::Timeout | Step::Stored | Step::Restart | Step::Request(_) => Ok(()),
        }
    }

    /// Hands a node its input.
    pub(super) fn touch(&self, node: &Node<S>, step: Step, how: How) -> Result<Touched<S>, Violation> {
        let touch = match step {
            Step::Deliver(letter) => {
                let letter = &self.letters[letter];
                Touch::Deliver(name(letter.from), &letter.message)
            }
            Step::Timeout => Touch::Timeout,
            Step::Stored => Touch::Stored,
            Step::Restart => Touch::Restart,
            Step::Request(nth) => {
                let request = self.subject.request(&node.protocol, nth);
                Touch::Request(nth, request.expect("only what may be asked is"))
            }
        };
        node.touch(&self.subject, touch, how)
    }
}

/// The digest of a message with its addresses.
pub(super) fn addressed(digest: u64, from: u8, to: u8) -> u64 {
    Digest::of(digest, u64::from(from) << 8 | u64::from(to))
}
