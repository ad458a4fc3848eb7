//! The explorer: visits every state of a model once, and tells the shortest way to one that must not be.
//!
//! Of a state visited only 64 bits are kept, and of which state it came. Two different states may share these bits, and
//! the second would be overlooked; with n states the odds of that are about n² / 2⁶⁵, which [`Report::odds`] tells.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use hezong_invariants::Violation;

/// Something with states and steps between them.
pub trait Model {
    /// A state. Many are held at once: it should be small, or share what it has in common with others.
    type State: Clone;
    /// A step that may be taken.
    type Action: Clone;

    /// Where everything begins.
    fn initial(&mut self) -> Self::State;

    /// Adds every step that may be taken from here, always in the same order.
    fn actions(&mut self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// Takes a step.
    ///
    /// # Errors
    /// Says which property the step itself broke.
    fn next(&mut self, state: &Self::State, action: &Self::Action) -> Result<Self::State, Violation>;

    /// What must hold in every state.
    ///
    /// # Errors
    /// Says which property does not.
    fn check(&mut self, state: &Self::State) -> Result<(), Violation>;

    /// The same for two states if, and as good as only if, they are the same; also for two that differ in the names of
    /// interchangeable parts, if the model folds these.
    fn fingerprint(&mut self, state: &Self::State) -> u64;

    /// The step for people to read, a line or a few.
    fn tell(&mut self, state: &Self::State, action: &Self::Action) -> String;
}

/// Which state is looked at next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The one found first: what is found wrong is reached by no shorter way.
    #[default]
    Breadth,
    /// The one found last.
    Depth,
}

/// Where to stop before everything was visited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so many states.
    pub states_max: Option<u64>,
    /// Steps from the start; states so far away are checked, and nothing behind them is visited.
    pub depth_max: Option<u32>,
    /// After so long.
    pub time_max: Option<Duration>,
}

/// How an exploration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End<A> {
    /// Every state there is was visited, and nothing is wrong with any.
    Complete,
    /// Nothing is wrong with the states visited, and there are more. Says which limit was met.
    Cut(&'static str),
    /// A property does not hold after these steps.
    Violated {
        /// What.
        violation: Violation,
        /// The way there, the last step included.
        steps: Vec<A>,
    },
}

/// What came of an exploration. All but the time is the same at every run.
#[derive(Clone, Debug)]
pub struct Report<A> {
    /// States visited, each once.
    pub states: u64,
    /// Steps taken: how often a state was arrived at.
    pub steps: u64,
    /// Steps from the start to the state farthest away, of those visited.
    pub depth: u32,
    /// How long it took.
    pub elapsed: Duration,
    /// How it ended.
    pub end: End<A>,
}

impl<A> Report<A> {
    /// States visited a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.states as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// About how likely it is that any state was overlooked because another has the same fingerprint. Where states are
    /// folded, the least of several fingerprints counts, which makes it a few times as likely.
    #[must_use]
    pub fn odds(&self) -> f64 {
        let states = self.states as f64;
        states * states / 2f64.powi(65)
    }
}

/// A map by fingerprints, which are as good as random already.
type ByFingerprint<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

/// Takes a fingerprint for its own hash, but for the order of its bits: a least one of several has low ones at the top.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed");
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many states between two looks at the clock.
const STATES_BETWEEN_LOOKS: u64 = 1 << 14;

/// Visits every state that can be reached from `start`, within limits. `progress` is called now and then with the states
/// visited, those waiting, and the depth.
pub fn explore<M: Model>(
    model: &mut M,
    start: &M::State,
    order: Order,
    limits: Limits,
    mut progress: impl FnMut(u64, usize, u32),
) -> Report<M::Action> {
    let begun = Instant::now();
    let mut report = Report { states: 1, steps: 0, depth: 0, elapsed: Duration::ZERO, end: End::Complete };
    let first = model.fingerprint(start);
    // Each state visited, and the one it was first reached from.
    let mut visited = ByFingerprint::from_iter([(first, first)]);
    let mut waiting = VecDeque::from([(start.clone(), first, 0)]);
    let mut actions = Vec::new();
    if let Err(violation) = model.check(start) {
        report.end = End::Violated { violation, steps: Vec::new() };
        waiting.clear();
    }
    let next = |waiting: &mut VecDeque<_>| match order {
        Order::Breadth => waiting.pop_front(),
        Order::Depth => waiting.pop_back(),
    };
    'visit: while let Some((state, fingerprint, depth)) = next(&mut waiting) {
        report.depth = report.depth.max(depth);
        actions.clear();
        model.actions(&state, &mut actions);
        if limits.depth_max == Some(depth) {
            if !actions.is_empty() {
                report.end = End::Cut("depth");
            }
            continue;
        }
        for action in &actions {
            report.steps += 1;
            let outcome = model.next(&state, action).and_then(|next| {
                let found = model.fingerprint(&next);
                let Entry::Vacant(place) = visited.entry(found) else { return Ok(()) };
                place.insert(fingerprint);
                report.states += 1;
                model.check(&next)?;
                waiting.push_back((next, found, depth + 1));
                Ok(())
            });
            if let Err(violation) = outcome {
                let mut steps = way(model, start, &visited, fingerprint);
                steps.push(action.clone());
                report.depth = report.depth.max(depth + 1);
                report.end = End::Violated { violation, steps };
                break 'visit;
            }
            if limits.states_max.is_some_and(|states_max| report.states >= states_max) {
                report.end = End::Cut("states");
                break 'visit;
            }
            if report.steps % STATES_BETWEEN_LOOKS == 0 {
                progress(report.states, waiting.len(), depth);
                if limits.time_max.is_some_and(|time_max| begun.elapsed() >= time_max) {
                    report.end = End::Cut("time");
                    break 'visit;
                }
            }
        }
    }
    report.elapsed = begun.elapsed();
    report
}

/// The steps from `start` to a state visited: the fingerprints on the way are known, and each step is the one that leads
/// from one to the next.
fn way<M: Model>(model: &mut M, start: &M::State, visited: &ByFingerprint<u64>, to: u64) -> Vec<M::Action> {
    let from = model.fingerprint(start);
    let mut fingerprints = vec![to];
    let mut at = to;
    while at != from {
        at = visited[&at];
        fingerprints.push(at);
    }
    let mut state = start.clone();
    let mut steps = Vec::new();
    for wanted in fingerprints.into_iter().rev().skip(1) {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        let step = actions.into_iter().find_map(|action| {
            let next = model.next(&state, &action).ok()?;
            (model.fingerprint(&next) == wanted).then_some((action, next))
        });
        let (action, next) = step.expect("the same step is there a second time");
        steps.push(action);
        state = next;
    }
    steps
}

/// The steps told, numbered, each from the state that it is taken in.
pub fn story<M: Model>(model: &mut M, start: &M::State, steps: &[M::Action]) -> String {
    let mut state = start.clone();
    let mut text = String::new();
    for (at, action) in steps.iter().enumerate() {
        for (line_at, line) in model.tell(&state, action).lines().enumerate() {
            let number = if line_at == 0 { format!("{:>3}", at + 1) } else { "   ".to_owned() };
            text += &format!("{number}  {line}\n");
        }
        match model.next(&state, action) {
            Ok(next) => state = next,
            Err(_) => break,
        }
    }
    text
}
