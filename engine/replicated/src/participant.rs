//! A participant: the commit protocol as it is, and how what it says to the group finds who acts.
//!
//! What is said first after a member was heard in the group's name goes to that member alone; what is said next, until it is
//! heard again, to all of them. So a healthy group costs few messages more than one coordinator, and a retry finds whoever acts by
//! then. Members that do not act drop what is not for them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{Effect, Input, NodeId, Time};

use crate::message::{Event, Message, Write};
use crate::node::Out;
use crate::{Config, Replicable, Weakness};

/// A node that takes part, and may coordinate transactions of its own, which nobody stands in for.
#[derive(Clone, Debug)]
pub(crate) struct Participant<P> {
    pub(crate) inner: P,
    group: NodeId,
    members: BTreeSet<NodeId>,
    /// Who was heard in the group's name since we said something to it last.
    heard: Option<NodeId>,
    /// Whether we go on talking to one member: a known bug.
    is_stubborn: bool,
}

impl<P: Replicable> Participant<P> {
    pub(crate) fn start(
        config: Config,
        begin: impl FnOnce(hezong_commit::Config, &mut Vec<Effect<P>>) -> P,
        out: &mut Out<P>,
    ) -> Self {
        let mut effects = Vec::new();
        let is_stubborn = config.weak(Weakness::AsksOne);
        let inner = begin(config.commit, &mut effects);
        let mut participant = Self { inner, group: config.group, members: config.members, heard: None, is_stubborn };
        participant.carry_out(effects, out);
        participant
    }

    pub(crate) fn on_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: Message<P::Message, P::Saved>,
        out: &mut Out<P>,
    ) {
        let is_member = self.members.contains(&from);
        match message {
            Message::FromGroup(message) if is_member => {
                self.heard = Some(from);
                self.handle(now, Input::Message { from: self.group, message }, out);
            }
            Message::Direct(message) if !is_member => self.handle(now, Input::Message { from, message }, out),
            // Members are told these, or it was said by somebody who has no right to.
            Message::FromGroup(_)
            | Message::Direct(_)
            | Message::ToGroup(_)
            | Message::Raft(_)
            | Message::Fetch(_)
            | Message::Snapshot { .. } => {}
        }
    }

    pub(crate) fn fingerprint(&self, now: Time, mut into: &mut dyn Hasher) {
        self.inner.fingerprint(now, into);
        self.heard.hash(&mut into);
    }

    pub(crate) fn handle(&mut self, now: Time, input: Input<P>, out: &mut Out<P>) {
        let mut effects = Vec::new();
        self.inner.handle(now, input, &mut effects);
        self.carry_out(effects, out);
    }

    fn carry_out(&mut self, effects: Vec<Effect<P>>, out: &mut Out<P>) {
        for effect in effects {
            match effect {
                Effect::Send { to, message } if to == self.group => self.say_to_group(&message, out),
                Effect::Send { to, message } => out.push(Effect::Send { to, message: Message::Direct(message) }),
                Effect::Store { id, write } => out.push(Effect::Store { id, write: Write::Own(write) }),
                Effect::Emit(event) => out.push(Effect::Emit(Event::Commit(event))),
                Effect::Ask { ask, .. } => match ask {},
            }
        }
    }

    fn say_to_group(&mut self, message: &P::Message, out: &mut Out<P>) {
        let heard = if self.is_stubborn { self.heard } else { self.heard.take() };
        let mut say = |to| out.push(Effect::Send { to, message: Message::ToGroup(message.clone()) });
        match heard {
            Some(member) => say(member),
            None => self.members.iter().copied().for_each(say),
        }
    }
}
