//! Known bugs, put in one at a time: until something is caught, nothing shows that anything can be.

use std::fmt;
use std::ops::Range;

use hezong_raft::Weakness;

use crate::batch::run_many;
use crate::check::Violation;
use crate::run::{Options, Report, UNDECIDED};

/// A bug that somebody has shipped somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// In the protocol.
    Weak(Weakness),
    /// In the surroundings: clocks that drift further than the nodes were told. Nothing in the code is wrong, and reads
    /// by lease go wrong all the same (RAFT-9).
    BrokenDrift,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weak(weakness) => write!(f, "{weakness:?}"),
            Self::BrokenDrift => f.write_str("BrokenDrift"),
        }
    }
}

/// How a mutant ended.
#[derive(Clone, Debug)]
pub struct Kill {
    /// The first seed found that shows it.
    pub seed: u64,
    /// How many seeds were run until then.
    pub seeds: u64,
    /// Which checker saw what.
    pub violation: Violation,
}

/// All mutants.
#[must_use]
pub fn all() -> Vec<Mutant> {
    Weakness::ALL.into_iter().map(Mutant::Weak).chain([Mutant::BrokenDrift]).collect()
}

/// The options of a run with that bug in it.
#[must_use]
pub fn options(mutant: Mutant) -> Options {
    match mutant {
        Mutant::Weak(weakness) => Options { weakness: Some(weakness), ..Options::default() },
        Mutant::BrokenDrift => Options { drift_broken: true, ..Options::default() },
    }
}

/// Runs seeds until one shows the bug; `None` if none of them does.
#[must_use]
pub fn kill(mutant: Mutant, seeds: Range<u64>) -> Option<Kill> {
    let shows = |report: &Report| report.violation.as_ref().is_some_and(|violation| violation.property != UNDECIDED);
    let summary = run_many(seeds, options(mutant), false, |failures| failures.iter().any(shows), |_, _| {});
    let first = summary.failures.iter().find(|report| shows(report))?;
    Some(Kill { seed: first.seed, seeds: summary.seeds, violation: first.violation.clone()? })
}
