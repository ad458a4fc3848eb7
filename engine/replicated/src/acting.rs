//! Acting: the coordinator in the member that leads.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use hezong_base::{Effect, Input, RequestId, Time, WriteId};
use hezong_raft::Role;

use crate::member::{Member, Turn};
use crate::message::{Event, Message};
use crate::{Replicable, Weakness};

/// A term that we lead.
#[derive(Clone, Debug)]
pub(crate) struct Term<P> {
    term: hezong_base::Term,
    /// The coordinator's writes, in the order of proposing, which is that of applying: entries of our term are ours alone.
    proposed: VecDeque<WriteId>,
    /// The coordinator, from when all before it is applied. It is dropped when a write is refused, and begins again.
    core: Option<P>,
    /// Before this it does not: what refuses one write, such as leadership that is being handed over, refuses the next, and who
    /// begins again says everything again. No deadline of its own: the next heartbeat is one.
    rests_until: Time,
}

impl<P: Replicable> Term<P> {
    pub(crate) fn fingerprint(&self, now: Time, mut into: &mut dyn Hasher) {
        (self.proposed.len(), self.core.is_some()).hash(&mut into);
        if let Some(core) = &self.core {
            core.fingerprint(now, into);
        }
    }
}

impl<P: Replicable> Member<P> {
    /// The coordinator, while we act.
    pub(crate) fn acting(&self) -> Option<&P> {
        self.term.as_ref()?.core.as_ref()
    }

    /// Ends what belongs to a term that we lead no more. What is parked in the coordinator nobody has heard of.
    pub(crate) fn follow_term(&mut self, turn: &mut Turn<'_, P>) {
        let led = Some(self.raft().term()).filter(|_| self.raft().role() == Role::Leader);
        if self.term.as_ref().map(|term| term.term) == led {
            return;
        }
        let kept = if self.config.weak(Weakness::ActsOn) { self.term.take() } else { None };
        if let Some(kept) = kept {
            let term = led.unwrap_or(kept.term);
            self.term = Some(Term { term, ..kept });
            return;
        }
        self.stop_acting(turn);
        let rests_until = turn.now;
        self.term = led.map(|term| Term { term, proposed: VecDeque::new(), core: None, rests_until });
    }

    fn stop_acting(&mut self, turn: &mut Turn<'_, P>) {
        if self.term.as_mut().and_then(|term| term.core.take()).is_some() {
            turn.out.push(Effect::Emit(Event::Acting(false)));
        }
    }

    /// Starts the coordinator once our opening is applied, and with it all that was committed before; and, where one was
    /// dropped in this term, all that it had proposed.
    pub(crate) fn maybe_act(&mut self, turn: &mut Turn<'_, P>) -> bool {
        let applied = self.fold.base.last.map(|last| last.term);
        let is_hasty = self.config.weak(Weakness::ActsBeforeApplied);
        let may_act = |term: &Term<P>| {
            let is_complete = applied == Some(term.term) || is_hasty;
            term.proposed.is_empty() && is_complete && term.rests_until <= turn.now
        };
        if self.acting().is_some() || !self.term.as_ref().is_some_and(may_act) {
            return false;
        }
        let (config, state, rng) = (self.config.commit.clone(), self.fold.state.clone(), self.rng.fork());
        let mut effects = vec![];
        let core = P::start(turn.now, config, state, rng, &mut effects);
        if let Some(term) = &mut self.term {
            term.core = Some(core);
        }
        turn.out.push(Effect::Emit(Event::Acting(true)));
        self.carry_out_core(effects, turn);
        true
    }

    /// Hands the coordinator an input, if we act.
    pub(crate) fn hand_core(&mut self, input: Input<P>, turn: &mut Turn<'_, P>) {
        let Some(core) = self.term.as_mut().and_then(|term| term.core.as_mut()) else { return };
        let mut effects = vec![];
        core.handle(turn.now, input, &mut effects);
        self.carry_out_core(effects, turn);
    }

    fn carry_out_core(&mut self, effects: Vec<Effect<P>>, turn: &mut Turn<'_, P>) {
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    turn.out.push(Effect::Send { to, message: Message::FromGroup(message) });
                }
                Effect::Store { id, write } => self.propose(id, &write, turn),
                Effect::Emit(event) => turn.out.push(Effect::Emit(Event::Commit(event))),
                Effect::Ask { ask, .. } => match ask {},
            }
        }
    }

    fn propose(&mut self, id: WriteId, write: &P::Write, turn: &mut Turn<'_, P>) {
        let Some(term) = &mut self.term else { return };
        // A coordinator that takes part in nothing writes nothing else.
        let Some(command) = P::encode(write) else { return self.stop_acting(turn) };
        if self.config.weak(Weakness::StoredWhenProposed) {
            self.ask_raft_as(RequestId(id.0), hezong_raft::Request::Propose(vec![command]), turn);
            return self.hand_core(Input::Stored(id), turn);
        }
        term.proposed.push_back(id);
        self.ask_raft_as(RequestId(id.0), hezong_raft::Request::Propose(vec![command]), turn);
    }

    /// A command is applied. One of our term is the first that we have proposed in it.
    pub(crate) fn on_applied(&mut self, of: hezong_base::Term, turn: &mut Turn<'_, P>) {
        let Some(term) = self.term.as_mut().filter(|term| term.term == of) else { return };
        if let Some(id) = term.proposed.pop_front() {
            self.hand_core(Input::Stored(id), turn);
        }
    }

    /// A proposal is certainly not in the log, and those behind it may be: the coordinator's writes are in order or not at all,
    /// so that it begins again from what there is.
    pub(crate) fn on_refused(&mut self, id: RequestId, turn: &mut Turn<'_, P>) {
        let Some(term) = &mut self.term else { return };
        let Some(at) = term.proposed.iter().position(|proposed| proposed.0 == id.0) else { return };
        term.proposed.remove(at);
        if !self.config.weak(Weakness::RefusalIgnored) {
            term.rests_until = turn.now + self.config.raft.heartbeat_interval;
            self.stop_acting(turn);
        }
    }
}
