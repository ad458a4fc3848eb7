//! What a run leaves out of what its seed would do. A seed that fails in 20,000 events fails, as a rule, in a few hundred
//! as well, with a few strikes of trouble and one client: `shrink.rs` looks for those, and `replay` takes them by name.
//!
//! So that one strike can be left out and the others stay what they were, each has a number and draws from a stream of its
//! own: the *n*-th of its source, whatever came of those before it.

use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::str::FromStr;

use hezong_base::Rng;

use crate::plan::Plan;
use crate::sim::Sim;
use crate::wounds::Condition;

/// Where a strike comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The schedule: something goes wrong now and then.
    Schedule,
    /// An election: who has just won it is struck.
    Election,
    /// A change of members: a leader that stores or applies one is struck.
    Change,
    /// A handover: who asks for it or who is asked.
    Handover,
    /// A snapshot being fetched.
    Fetch,
}

impl Source {
    const ALL: [Self; 5] = [Self::Schedule, Self::Election, Self::Change, Self::Handover, Self::Fetch];

    /// How it is written before the number of a strike.
    fn letter(self) -> char {
        match self {
            Self::Schedule => 't',
            Self::Election => 'e',
            Self::Change => 'c',
            Self::Handover => 'h',
            Self::Fetch => 'f',
        }
    }
}

/// One strike of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strike {
    /// Where it comes from.
    pub source: Source,
    /// Which of the chances of its source it is, from 1; not every chance is taken.
    pub number: u64,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.source.letter(), self.number)
    }
}

impl FromStr for Strike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no strike; they are written as t12, with t, e, c, h or f before the number");
        let mut chars = text.chars();
        let letter = chars.next().ok_or_else(wrong)?;
        let source = Source::ALL.into_iter().find(|source| source.letter() == letter).ok_or_else(wrong)?;
        let number = chars.as_str().parse().map_err(|_| wrong())?;
        Ok(Self { source, number })
    }
}

/// Some strikes, written as a list without blanks; `none` is one without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strikes(pub BTreeSet<Strike>);

impl fmt::Display for Strikes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let all: Vec<_> = self.0.iter().map(Strike::to_string).collect();
        f.write_str(&all.join(","))
    }
}

impl FromStr for Strikes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Something that a plan makes hard all the time, and that a run may go without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hardship {
    /// Frames are lost.
    Loss,
    /// Frames are delayed far beyond the usual.
    Delay,
    /// Frames arrive twice.
    Duplication,
    /// Processes take several inputs in one turn.
    Turns,
    /// Caches, windows and messages are small.
    Limits,
}

impl Hardship {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Loss, Self::Delay, Self::Duplication, Self::Turns, Self::Limits];

    /// Whether `plan` knows it at all.
    pub(crate) fn is_in(self, plan: &Plan) -> bool {
        match self {
            Self::Loss => plan.loss > 0,
            Self::Delay => plan.delay > 0,
            Self::Duplication => plan.duplication > 0,
            Self::Turns => plan.lazy_flush > 0,
            Self::Limits => plan.append_bytes_max.min(plan.window_bytes_max).min(plan.cache_bytes_max) < AMPLE,
        }
    }

    fn leave_out(self, plan: &mut Plan) {
        match self {
            Self::Loss => plan.loss = 0,
            Self::Delay => plan.delay = 0,
            Self::Duplication => plan.duplication = 0,
            Self::Turns => plan.lazy_flush = 0,
            Self::Limits => {
                (plan.append_bytes_max, plan.window_bytes_max, plan.cache_bytes_max) = (AMPLE, AMPLE, AMPLE);
            }
        }
    }
}

/// So many bytes as no run fills.
const AMPLE: usize = 1 << 20;

impl fmt::Display for Hardship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Duplication => "duplication",
            Self::Turns => "turns",
            Self::Limits => "limits",
        })
    }
}

impl FromStr for Hardship {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all: Vec<_> = Self::ALL.iter().map(Self::to_string).collect();
        let found = Self::ALL.into_iter().find(|hardship| hardship.to_string() == name);
        found.ok_or_else(|| format!("{name} cannot be left out; what can is {}", all.join(", ")))
    }
}

/// What a run leaves out. The default leaves out nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Nothing but these strikes; `None` for all that the seed has.
    pub only: Option<Strikes>,
    /// What the run goes without.
    pub without: BTreeSet<Hardship>,
    /// So many clients, at most.
    pub clients: Option<usize>,
    /// So many registers, at most.
    pub keys: Option<u64>,
    /// So many voters at the start, at most.
    pub nodes: Option<u64>,
    /// Which of many ways in which the same may take its time: how long messages, syncs and waits take. 0 is the seed's own.
    pub pace: u64,
}

impl Cut {
    /// Whether it leaves out nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn apply(&self, plan: &mut Plan) {
        self.without.iter().for_each(|hardship| hardship.leave_out(plan));
        plan.clients = plan.clients.min(self.clients.unwrap_or(usize::MAX)).max(1);
        plan.keys = plan.keys.min(self.keys.unwrap_or(u64::MAX)).max(1);
        plan.nodes = plan.nodes.min(self.nodes.unwrap_or(u64::MAX)).max(1);
    }

    /// The stream that decides how long everything takes.
    pub(crate) fn pace(&self, mut own: Rng) -> Rng {
        if self.pace == 0 { own } else { Rng::new(own.next_u64() ^ self.pace) }
    }
}

impl fmt::Display for Cut {
    /// As arguments of `replay`, each after a blank.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without: Vec<_> = self.without.iter().map(Hardship::to_string).collect();
        if let Some(only) = &self.only {
            write!(f, " --only {only}")?;
        }
        if !without.is_empty() {
            write!(f, " --without {}", without.join(","))?;
        }
        let numbers = [
            ("nodes", self.nodes),
            ("clients", self.clients.map(|clients| clients as u64)),
            ("keys", self.keys),
            ("pace", Some(self.pace).filter(|pace| *pace != 0)),
        ];
        numbers
            .iter()
            .filter_map(|(name, number)| Some((name, (*number)?)))
            .try_for_each(|(name, number)| write!(f, " --{name} {number}"))
    }
}

/// A strike that is due, and the stream that it draws from.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) strike: Strike,
    pub(crate) rng: Rng,
}

/// Which strikes come, and which came.
#[derive(Debug)]
pub(crate) struct Chances {
    /// What the streams of all strikes come from.
    seed: u64,
    /// How many chances each source had.
    had: [u64; Source::ALL.len()],
    only: Option<Strikes>,
    /// In order.
    struck: Vec<Strike>,
}

impl Chances {
    pub(crate) fn new(mut rng: Rng, only: Option<Strikes>) -> Self {
        Self { seed: rng.next_u64(), had: [0; Source::ALL.len()], only, struck: Vec::new() }
    }

    /// A source has another chance, which it takes so many times in a thousand.
    fn next(&mut self, source: Source, per_mille: u64) -> Option<Due> {
        let had = &mut self.had[source as usize];
        *had += 1;
        let strike = Strike { source, number: *had };
        let mut rng = Rng::new(self.seed ^ (source as u64 + 1) << 56 ^ strike.number);
        // Drawn in any case: what comes after it is the same, whether it was chosen by chance or by name.
        let taken = rng.chance(per_mille);
        let comes = self.only.as_ref().map_or(taken, |only| taken && only.0.contains(&strike));
        if !comes {
            return None;
        }
        self.struck.push(strike);
        Some(Due { strike, rng })
    }

    /// What came, in order.
    pub(crate) fn into_struck(self) -> Vec<Strike> {
        self.struck
    }
}

impl Sim {
    /// Whether something is struck by this source now, which happens so many times in a thousand.
    pub(crate) fn due(&mut self, source: Source, per_mille: u64) -> Option<Due> {
        self.chances.next(source, per_mille)
    }

    /// Does what a strike does, `what` in words, by chances of its own.
    pub(crate) fn strike<T>(&mut self, due: Due, what: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let shared = mem::replace(&mut self.trouble, due.rng);
        self.story.note(self.now, || format!("{} {what}", due.strike));
        let before = self.story.is_told().then(|| Condition::of(self));
        let outcome = act(self);
        self.trouble = shared;
        if let Some(before) = before {
            self.tell_changes(&before);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["none", "t1", "t3,t12,e1,c4,h2,f7"] {
            assert_eq!(text.parse::<Strikes>().map(|strikes| strikes.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "t", "x3", "t1,", "t-1", "3"] {
            assert!(text.parse::<Strikes>().is_err(), "{text}");
        }
        for hardship in Hardship::ALL {
            assert_eq!(hardship.to_string().parse(), Ok(hardship));
        }
    }

    #[test]
    fn strikes_left_out_do_not_move_others() {
        let draw = |only: Option<&str>| {
            let only = only.map(|text| text.parse().expect("a list of strikes"));
            let mut chances = Chances::new(Rng::new(7), only);
            let mut drawn = Vec::new();
            for _ in 0..50 {
                for source in Source::ALL {
                    let due = chances.next(source, 500);
                    drawn.extend(due.map(|mut due| (due.strike, due.rng.next_u64())));
                }
            }
            drawn
        };
        let all = draw(None);
        assert!((80..170).contains(&all.len()), "{}", all.len());
        let some: Vec<_> = all.iter().copied().step_by(7).collect();
        let names: Vec<_> = some.iter().map(|(strike, _)| strike.to_string()).collect();
        assert_eq!(draw(Some(&names.join(","))), some);
        assert_eq!(draw(Some("none")), []);
    }
}
