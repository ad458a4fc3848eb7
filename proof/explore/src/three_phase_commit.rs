//! Three-phase commit as it ships, in the only world that it is for: no message between nodes that are up is lost, each takes
//! no time or at most one tick, and clocks run equally fast. So it is a model of its own, with one clock for all, and messages
//! that arrive once.
//!
//! What may happen to the one transaction, which n1 coordinates without taking part:
//! - **messages** arrive in any order, before time passes; or, slow, before it has passed twice, a round trip being held to take
//!   less than three ticks. What is on its way from a node when it crashes is lost, or some of it, and whatever is on its way
//!   to it or sent while it is down;
//! - **users** vote yes or no, at any time or never, and apply at once what they are told;
//! - **deadlines** pass when it is time, and time passes when nothing is left to do in it;
//! - **crashes**, so many in all, before any write of any step, or between steps; who is gone starts again at any time or never.
//!
//! Left out: disks that take time, and whatever is said again after a long pause, for which nothing waits that was never gone.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Args};
use hezong_base::{Effect, Input, NodeId, Protocol, RequestId, Rng, Time};
use hezong_commit::three_phase::{Message, Saved, ThreePhase};
use hezong_commit::{Config, Event, Request, TransactionId, Weakness};
use hezong_invariants::{CommitInvariants, CommitPast, Invariants, Violation};
use hezong_script::commit::{Told, show_vote};

use crate::Model;
use crate::digest::Digest;
use crate::subject::PATIENCE;

/// What time passes by: the longest way of a message.
const TICK: Duration = Duration::from_millis(100);
/// Who coordinates.
const COORDINATOR: u8 = 0;
const TX: TransactionId = TransactionId { coordinator: NodeId(1), number: 1 };

/// Three-phase commit under exploration: how far to go with one transaction.
#[derive(Args, Clone, Copy, Debug)]
pub struct ThreePhaseCommit {
    /// How many participants: n2 and those behind it.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub participants: u8,
    /// Crashes in all, of whichever node.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// A message may be late, by up to a third of what a round trip may take.
    #[arg(long)]
    pub slow: bool,
    /// Whether who crashes may start again.
    #[arg(long = "no-restarts", action = ArgAction::SetFalse, help = "Who crashes stays gone")]
    pub restarts: bool,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::THREE_PHASE)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

/// A node: what a crash takes, and what it leaves.
#[derive(Clone)]
struct Node {
    running: Option<ThreePhase>,
    saved: Saved,
}

#[derive(Clone, Debug, Hash)]
struct Letter {
    from: u8,
    to: u8,
    message: Message,
    /// Whether it arrives before time passes.
    is_due: bool,
}

/// A state of all nodes.
#[derive(Clone)]
pub struct ThreePhaseState {
    now: Time,
    nodes: Vec<Rc<Node>>,
    letters: Vec<Rc<Letter>>,
    past: Rc<CommitPast>,
    has_begun: bool,
    crashes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Vote(u8, bool),
    /// The letter at this place arrives.
    Deliver(usize),
    Timeout(u8),
    Tick,
    Crash(u8),
    Restart(u8),
}

/// What may happen in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreePhaseAction {
    step: Step,
    /// Whether the node crashes before this of the writes that come of it is stored, counted from 0.
    crashes_before: Option<usize>,
    /// Where the node crashes: which of the messages that it has sent are lost, a bit each.
    lost: u32,
}

/// What becomes of a node while it is handed inputs.
struct Turn {
    at: u8,
    now: Time,
    node: Node,
    past: CommitPast,
    sends: Vec<(u8, Message)>,
    stored: usize,
    crashes_before: Option<usize>,
}

impl Turn {
    /// Carries out what comes of an input, and of what comes of that.
    fn carry_out(&mut self, effects: Vec<Effect<ThreePhase>>) -> Result<(), Violation> {
        let (invariants, id) = (CommitInvariants::<ThreePhase>::new(true), name(self.at));
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Some(running) = &mut self.node.running else { return Ok(()) };
            let input = match effect {
                Effect::Send { to, message } => {
                    self.sends.push((place(to), message));
                    continue;
                }
                // What does not wait for this write is said all the same.
                Effect::Store { .. } if self.crashes_before == Some(self.stored) => continue,
                Effect::Store { id: write_id, write } => {
                    self.stored += 1;
                    let before = invariants.view(running, &self.node.saved, self.now);
                    ThreePhase::save(&mut self.node.saved, &write);
                    let after = invariants.view(running, &self.node.saved, self.now);
                    invariants.check_step(id, &before, &after)?;
                    invariants.remember(&mut self.past, id, &after)?;
                    Input::Stored(write_id)
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => {
                    invariants.hear(&mut self.past, id, &event)?;
                    let Event::Apply { tx, .. } = event else { continue };
                    if self.crashes_before == Some(self.stored) {
                        continue;
                    }
                    let request = Request::Applied(tx);
                    invariants.asked(&mut self.past, id, RequestId(u64::MAX), &request);
                    Input::Request { id: RequestId(u64::MAX), request }
                }
            };
            let mut more = Vec::new();
            running.handle(self.now, input, &mut more);
            effects.extend(more);
        }
        Ok(())
    }

    fn ask(&mut self, nth: u64, request: Request) -> Input<ThreePhase> {
        let invariants = CommitInvariants::<ThreePhase>::new(true);
        invariants.asked(&mut self.past, name(self.at), RequestId(nth), &request);
        Input::Request { id: RequestId(nth), request }
    }
}

impl ThreePhaseCommit {
    /// Three-phase commit as it ships.
    #[must_use]
    pub const fn new(participants: u8, crashes: u8) -> Self {
        Self { participants, crashes, slow: false, restarts: true, weakness: None }
    }

    fn ids(&self) -> impl Iterator<Item = NodeId> {
        (0..=self.participants).map(name)
    }

    fn config(&self, at: u8) -> Config {
        let mut config = Config::new(name(at), self.ids().collect());
        let round_trip = if self.slow { TICK * 3 } else { TICK };
        (config.vote_timeout, config.round_trip_max) = (round_trip, round_trip);
        (config.retry_min, config.retry_max) = (PATIENCE, PATIENCE);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn born(&self, at: u8, now: Time, saved: &Saved) -> (ThreePhase, Vec<Effect<ThreePhase>>) {
        let mut effects = Vec::new();
        let node = ThreePhase::start(now, self.config(at), saved.clone(), Rng::new(u64::from(at)), &mut effects);
        (node, effects)
    }

    /// What becomes of the node that a step is taken by.
    fn turn(&self, state: &ThreePhaseState, action: ThreePhaseAction) -> Result<Option<Turn>, Violation> {
        let at = match action.step {
            Step::Begin => COORDINATOR,
            Step::Vote(at, _) | Step::Timeout(at) | Step::Restart(at) => at,
            Step::Deliver(letter) => state.letters[letter].to,
            Step::Tick | Step::Crash(_) => return Ok(None),
        };
        let (node, past) = ((*state.nodes[usize::from(at)]).clone(), (*state.past).clone());
        let (now, crashes_before) = (state.now, action.crashes_before);
        let mut turn = Turn { at, now, node, past, sends: Vec::new(), stored: 0, crashes_before };
        let input = match action.step {
            Step::Begin => {
                let work = self.ids().skip(1).map(|id| (id, Bytes::from_static(b"work"))).collect();
                turn.ask(1, Request::Begin(work))
            }
            Step::Vote(_, yes) => turn.ask(2, Request::Vote { tx: TX, yes }),
            Step::Deliver(letter) => {
                let Letter { from, message, .. } = &*state.letters[letter];
                Input::Message { from: name(*from), message: message.clone() }
            }
            Step::Timeout(_) => Input::Timeout,
            Step::Restart(_) => {
                let (running, effects) = self.born(at, state.now, &turn.node.saved);
                turn.node.running = Some(running);
                turn.carry_out(effects)?;
                return Ok(Some(turn));
            }
            Step::Tick | Step::Crash(_) => return Ok(None),
        };
        if let Some(running) = &mut turn.node.running {
            let mut effects = Vec::new();
            running.handle(state.now, input, &mut effects);
            turn.carry_out(effects)?;
        }
        Ok(Some(turn))
    }
}

impl ThreePhaseState {
    fn running(&self, at: u8) -> Option<&ThreePhase> {
        self.nodes[usize::from(at)].running.as_ref()
    }

    /// In how many ticks a node's deadline passes; `None` if it waits for nothing but messages, or only asks again some day.
    fn ticks_left(&self, node: &ThreePhase) -> Option<u64> {
        let deadline = node.deadline()?;
        let ticks = deadline.since(self.now).as_nanos().div_ceil(TICK.as_nanos());
        u64::try_from(ticks).ok().filter(|ticks| *ticks < 100)
    }

    fn crash(&mut self, at: u8, lost: u32) {
        self.crashes += 1;
        Rc::make_mut(&mut self.nodes[usize::from(at)]).running = None;
        let mut nth = 0;
        self.letters.retain(|letter| {
            if letter.to == at {
                return false;
            }
            nth += u32::from(letter.from == at);
            letter.from != at || lost >> (nth - 1) & 1 == 0
        });
    }

    /// How many messages of a node are on their way.
    fn sent_by(&self, at: u8) -> usize {
        self.letters.iter().filter(|letter| letter.from == at).count()
    }
}

impl Model for ThreePhaseCommit {
    type State = ThreePhaseState;
    type Action = ThreePhaseAction;

    fn initial(&mut self) -> ThreePhaseState {
        let now = Time::ZERO;
        let node = |at| {
            let (running, _) = self.born(at, now, &Saved::default());
            Rc::new(Node { running: Some(running), saved: Saved::default() })
        };
        let nodes = (0..=self.participants).map(node).collect();
        ThreePhaseState { now, nodes, letters: Vec::new(), past: Rc::default(), has_begun: false, crashes: 0 }
    }

    fn actions(&mut self, state: &ThreePhaseState, actions: &mut Vec<ThreePhaseAction>) {
        let may_crash = state.crashes < self.crashes;
        let mut steps = Vec::new();
        if !state.has_begun && state.running(COORDINATOR).is_some() {
            steps.push(Step::Begin);
        }
        let (mut is_due, mut waits) = (state.letters.iter().any(|letter| letter.is_due), !state.letters.is_empty());
        for at in 0..=self.participants {
            let Some(running) = state.running(at) else {
                if self.restarts {
                    steps.push(Step::Restart(at));
                }
                continue;
            };
            // Since users apply at once, what is under way here and not in doubt waits for its user's vote.
            if running.under_way().1 > 0 && running.in_doubt().next().is_none() {
                steps.extend([Step::Vote(at, true), Step::Vote(at, false)]);
            }
            if may_crash {
                add_crashes(actions, Step::Crash(at), None, state.sent_by(at));
            }
            let left = state.ticks_left(running);
            waits |= left.is_some();
            if left == Some(0) {
                is_due = true;
                steps.push(Step::Timeout(at));
            }
        }
        steps.extend((0..state.letters.len()).map(Step::Deliver));
        if waits && !is_due {
            steps.push(Step::Tick);
        }
        for step in steps {
            let whole = ThreePhaseAction { step, crashes_before: None, lost: 0 };
            actions.push(whole);
            let Some(Ok(Some(turn))) = may_crash.then(|| self.turn(state, whole)) else { continue };
            for nth in 0..turn.stored {
                let torn = self.turn(state, ThreePhaseAction { crashes_before: Some(nth), ..whole });
                let is_heard = |(to, _): &&(u8, Message)| state.running(*to).is_some();
                let sent = torn.ok().flatten().map_or(0, |torn| torn.sends.iter().filter(is_heard).count());
                add_crashes(actions, step, Some(nth), state.sent_by(turn.at) + sent);
            }
        }
    }

    fn next(&mut self, state: &ThreePhaseState, action: &ThreePhaseAction) -> Result<ThreePhaseState, Violation> {
        let mut next = state.clone();
        match action.step {
            Step::Begin => next.has_begun = true,
            Step::Deliver(letter) => drop(next.letters.remove(letter)),
            Step::Tick => {
                next.now = next.now + TICK;
                next.letters.iter_mut().for_each(|letter| Rc::make_mut(letter).is_due = true);
            }
            Step::Crash(at) => next.crash(at, action.lost),
            Step::Vote(..) | Step::Timeout(_) | Step::Restart(_) => {}
        }
        let Some(Turn { at: from, node, past, sends, .. }) = self.turn(state, *action)? else { return Ok(next) };
        next.nodes[usize::from(from)] = Rc::new(node);
        next.past = Rc::new(past);
        let heard = sends.into_iter().filter(|(to, _)| state.running(*to).is_some());
        next.letters.extend(heard.map(|(to, message)| Rc::new(Letter { from, to, message, is_due: !self.slow })));
        if action.crashes_before.is_some() {
            next.crash(from, action.lost);
        }
        Ok(next)
    }

    fn check(&mut self, _: &ThreePhaseState) -> Result<(), Violation> {
        // Each step is checked, with all that is remembered.
        Ok(())
    }

    fn fingerprint(&mut self, state: &ThreePhaseState) -> u64 {
        let mut digest = Digest::default();
        for node in &state.nodes {
            node.saved.hash(&mut digest);
            node.running.is_some().hash(&mut digest);
            if let Some(running) = &node.running {
                running.fingerprint(state.now, &mut digest);
                state.ticks_left(running).hash(&mut digest);
            }
        }
        (&*state.past, state.has_begun, state.crashes).hash(&mut digest);
        let sum = state.letters.iter().fold(0_u64, |sum, letter| {
            let mut digest = Digest::default();
            letter.hash(&mut digest);
            sum.wrapping_add(digest.finish())
        });
        Digest::of(digest.finish(), sum)
    }

    fn tell(&mut self, state: &ThreePhaseState, action: &ThreePhaseAction) -> String {
        let mut text = match action.step {
            Step::Begin => format!("{} begins the transaction", name(COORDINATOR)),
            Step::Vote(at, yes) => format!("{}'s user votes {}", name(at), show_vote(yes)),
            Step::Deliver(place) => {
                let Letter { from, to, message, .. } = &*state.letters[place];
                format!("{} gets from {}: {}", name(*to), name(*from), ThreePhase::show_message(message))
            }
            Step::Timeout(at) => format!("{} times out", name(at)),
            Step::Tick => "time passes".to_owned(),
            Step::Crash(at) => format!("{} crashes", name(at)),
            Step::Restart(at) => format!("{} starts again", name(at)),
        };
        if let Some(nth) = action.crashes_before {
            text += &format!(", and crashes with {nth} of its writes stored");
        }
        if action.lost != 0 {
            text += &format!("; {} of the messages that it had sent are lost", action.lost.count_ones());
        }
        text
    }
}

/// Adds a crash with this step, for each choice of what is lost of so many messages.
fn add_crashes(actions: &mut Vec<ThreePhaseAction>, step: Step, crashes_before: Option<usize>, sent: usize) {
    actions.extend((0..1_u32 << sent).map(|lost| ThreePhaseAction { step, crashes_before, lost }));
}

/// How the node at this place is called.
fn name(at: u8) -> NodeId {
    NodeId(u64::from(at) + 1)
}

fn place(id: NodeId) -> u8 {
    u8::try_from(id.0 - 1).expect("a handful of nodes")
}
