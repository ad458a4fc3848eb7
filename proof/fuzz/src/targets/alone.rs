//! One node of a protocol and what runs it, whichever protocol that is: others who say anything, a disk that takes its time,
//! users, crashes. Eight bytes are a step, as for Raft.
//!
//! Others lie, so that what holds between nodes is not looked at. What holds of one alone is: it says nothing that is not on
//! disk, takes back nothing, and answers each request once.

use std::collections::{BTreeSet, VecDeque};
use std::hash::DefaultHasher;
use std::time::Duration;

use hezong_base::{AskId, Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};

use super::raft::{number, steps};

/// Who is fuzzed.
pub(super) const US: NodeId = NodeId(1);

/// How many of its last messages may be answered.
const LETTERS_MAX: usize = 8;

/// Who takes part, itself among them.
pub(super) fn members() -> BTreeSet<NodeId> {
    (1..=4).map(NodeId).collect()
}

/// Somebody else, who may take no part.
fn other(rng: &mut Rng) -> NodeId {
    NodeId(2 + rng.below(5))
}

/// A number of a kind whose `max` is the last that is believed: mostly small, sometimes at the edge.
pub(super) fn counted(rng: &mut Rng, max: u64) -> u64 {
    match rng.below(60) {
        0 => max - rng.below(3),
        1 => max.saturating_add(1 + rng.below(2)),
        2 => number(rng),
        _ => 1 + rng.below(8),
    }
}

/// A protocol as it is fuzzed.
pub(super) trait Subject: Protocol {
    /// What the checks and those who make messages remember, over all lives.
    type Seen: Default;

    fn config() -> Self::Config;
    /// What somebody says.
    fn message(world: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Self::Message;
    /// What an honest one might answer, or it would never get far.
    fn reply(world: &mut World<Self>, rng: &mut Rng, from: NodeId, to: &Self::Message) -> Option<Self::Message>;
    fn request(world: &World<Self>, rng: &mut Rng) -> Self::Request;
    /// An answer to this, or to nothing that it asked.
    fn answer(rng: &mut Rng, to: Option<&Self::Ask>) -> Option<Self::Answer>;

    /// Which request this answers.
    fn answered(event: &Self::Event) -> Option<RequestId>;
    fn check_sent(world: &World<Self>, message: &Self::Message);
    fn check_told(world: &mut World<Self>, event: &Self::Event);
    /// After every step.
    fn check(world: &mut World<Self>);
    /// A life ends, or has begun.
    fn forget(_: &mut Self::Seen) {}
    /// More of the disk is written.
    fn stored(_: &mut Self::Seen, _: &Self::Saved) {}
    /// Whether it got anywhere.
    fn has_done(seen: &Self::Seen) -> bool;
}

/// One node, and what runs it.
pub(super) struct World<P: Subject> {
    pub(super) node: P,
    pub(super) now: Time,
    /// What would survive a crash.
    pub(super) disk: P::Saved,
    pub(super) seen: P::Seen,
    pending: VecDeque<(WriteId, P::Write)>,
    asks: Vec<(AskId, P::Ask)>,
    letters: VecDeque<(NodeId, P::Message)>,
    requests: u64,
    /// How many of a thousand messages are no answers to its own.
    malice: u64,
    /// Those of this life that are not answered.
    waiting: BTreeSet<RequestId>,
}

/// Whether it got anywhere.
pub(super) fn run<P: Subject>(input: &[u8]) -> bool {
    let (now, disk, mut out) = (Time::from_millis(1_000), P::Saved::default(), Vec::new());
    let node = P::start(now, P::config(), disk.clone(), Rng::new(1), &mut out);
    let (pending, letters) = (VecDeque::new(), VecDeque::new());
    let (seen, waiting) = (P::Seen::default(), BTreeSet::new());
    let mut steps = steps(input);
    // Under many lies nobody leads for long, under few the rarer ones are not met.
    let malice = steps.next().map_or(0, |mut rng| [50, 200, 600][usize::try_from(rng.below(3)).unwrap_or(0)]);
    let mut world = World { node, now, disk, seen, pending, asks: Vec::new(), letters, requests: 0, malice, waiting };
    world.carry_out(out);
    for mut rng in steps {
        world.step(&mut rng);
        P::check(&mut world);
    }
    P::has_done(&world.seen)
}

impl<P: Subject> World<P> {
    fn step(&mut self, rng: &mut Rng) {
        self.now = self.now + Duration::from_millis(rng.below(30));
        match rng.below(100) {
            0..58 if self.letters.is_empty() || rng.chance(self.malice) => {
                let from = other(rng);
                let message = P::message(self, rng, from);
                self.hand(Input::Message { from, message });
            }
            0..58 => self.reply(rng),
            58..74 => self.store(1 + rng.below(3)),
            74..76 => {
                // Of no write that is outstanding.
                let id = WriteId(number(rng));
                let [first, last] = [self.pending.front(), self.pending.back()].map(|write| write.map(|(id, _)| *id));
                if first.is_none_or(|first| id < first) || last.is_some_and(|last| last < id) {
                    self.hand(Input::Stored(id));
                }
            }
            76..84 => self.timeout(),
            84..93 => {
                self.requests += 1;
                let (id, request) = (RequestId(self.requests), P::request(self, rng));
                self.waiting.insert(id);
                self.hand(Input::Request { id, request });
            }
            93..98 => self.answer(rng),
            _ => self.restart(rng),
        }
    }

    fn reply(&mut self, rng: &mut Rng) {
        let at = usize::try_from(rng.below(self.letters.len().max(1) as u64)).unwrap_or(0);
        let Some((from, letter)) = self.letters.get(at).cloned() else { return };
        if rng.chance(900) {
            self.letters.remove(at);
        }
        if let Some(message) = P::reply(self, rng, from, &letter) {
            self.hand(Input::Message { from, message });
        }
    }

    fn timeout(&mut self) {
        let Some(deadline) = self.node.deadline() else { return };
        self.now = self.now.max(deadline);
        self.hand(Input::Timeout);
        assert!(self.node.deadline().is_none_or(|next| next > self.now), "a timeout is over once it was handed in");
    }

    /// The oldest so many writes reach the disk.
    fn store(&mut self, count: u64) {
        let mut last = None;
        for _ in 0..count {
            let Some((id, write)) = self.pending.pop_front() else { break };
            P::save(&mut self.disk, &write);
            P::stored(&mut self.seen, &self.disk);
            last = Some(id);
        }
        if let Some(id) = last {
            self.hand(Input::Stored(id));
        }
    }

    fn answer(&mut self, rng: &mut Rng) {
        let is_unknown = self.asks.is_empty() || rng.chance(200);
        let (id, ask) = if is_unknown {
            (AskId(number(rng).saturating_add(1_000)), None)
        } else {
            let at = usize::try_from(rng.below(self.asks.len() as u64)).unwrap_or(0);
            let (id, ask) = self.asks.swap_remove(at);
            (id, Some(ask))
        };
        if let Some(answer) = P::answer(rng, ask.as_ref()) {
            self.hand(Input::Answered { id, answer });
        }
    }

    fn restart(&mut self, rng: &mut Rng) {
        self.pending.clear();
        self.asks.clear();
        self.waiting.clear();
        P::forget(&mut self.seen);
        let mut out = Vec::new();
        self.node = P::start(self.now, P::config(), self.disk.clone(), Rng::new(rng.next_u64()), &mut out);
        self.carry_out(out);
    }

    fn hand(&mut self, input: Input<P>) {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        self.carry_out(out);
        self.node.fingerprint(self.now, &mut DefaultHasher::new());
    }

    fn carry_out(&mut self, out: Vec<Effect<P>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => {
                    assert_ne!(to, US, "what it says to itself it keeps to itself");
                    P::check_sent(self, &message);
                    self.letters.push_back((to, message));
                    if self.letters.len() > LETTERS_MAX {
                        self.letters.pop_front();
                    }
                }
                Effect::Store { id, write } => self.pending.push_back((id, write)),
                Effect::Ask { id, ask } => self.asks.push((id, ask)),
                Effect::Emit(event) => {
                    if let Some(id) = P::answered(&event) {
                        assert!(self.waiting.remove(&id), "{event:?} answers what is answered, or was never asked for");
                    }
                    P::check_told(self, &event);
                }
            }
        }
    }
}
