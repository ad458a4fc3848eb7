//! The part of the command line that is about bare protocols.

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use super::subject::Subject;
use super::{
    BareSummary, MultiPaxosSubject, PaxosSubject, RegisterSubject, ReplicatedSubject, TccSubject, ThreePhaseSubject,
    TwoPhaseSubject, ZabSubject, run_bare, run_bare_many,
};
use crate::plan::Fault;

/// A protocol that can be simulated bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Basic Paxos.
    Paxos,
    /// CASPaxos registers.
    Register,
    /// ZAB.
    Zab,
    /// Multi-Paxos.
    MultiPaxos,
    /// Two-phase commit.
    TwoPhase,
    /// Three-phase commit, in the synchronous systems that it is for.
    ThreePhase,
    /// Try-Confirm-Cancel.
    Tcc,
    /// Two-phase commit with a replicated coordinator.
    ReplicatedTwoPhase,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Paxos,
        Self::Register,
        Self::MultiPaxos,
        Self::Zab,
        Self::TwoPhase,
        Self::ThreePhase,
        Self::Tcc,
        Self::ReplicatedTwoPhase,
    ];

    /// As it is typed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paxos => "paxos",
            Self::Register => "register",
            Self::Zab => "zab",
            Self::MultiPaxos => "multi-paxos",
            Self::TwoPhase => "two-phase",
            Self::ThreePhase => "three-phase",
            Self::Tcc => "tcc",
            Self::ReplicatedTwoPhase => "replicated-two-phase",
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("no protocol that is simulated bare is called {text}; there are: {names}")
        })
    }
}

/// What to do with it.
#[derive(Clone, Copy, Debug)]
pub enum Task<'a> {
    /// Run so many seeds from one on.
    Run {
        /// The first.
        from: u64,
        /// How many.
        seeds: u64,
        /// With this bug in every node.
        weakness: Option<&'a str>,
    },
    /// Tell the last so many lines of a seed.
    Replay {
        /// Which.
        seed: u64,
        /// How many lines.
        lines: usize,
        /// With this bug in every node.
        weakness: Option<&'a str>,
    },
    /// Put in all known bugs whose name contains this, one at a time, and try so many seeds with each at most: a line each.
    #[cfg(feature = "weakened")]
    Mutants {
        /// How many.
        seeds: u64,
        /// A part of their names.
        only: &'a str,
    },
}

/// Does it.
///
/// # Errors
/// When the output cannot be written.
pub fn command(name: Name, task: Task<'_>) -> io::Result<ExitCode> {
    match name {
        Name::Paxos => carry_out::<PaxosSubject>(name, task),
        Name::Register => carry_out::<RegisterSubject>(name, task),
        Name::Zab => carry_out::<ZabSubject>(name, task),
        Name::MultiPaxos => carry_out::<MultiPaxosSubject>(name, task),
        Name::TwoPhase => carry_out::<TwoPhaseSubject>(name, task),
        Name::ThreePhase => carry_out::<ThreePhaseSubject>(name, task),
        Name::Tcc => carry_out::<TccSubject>(name, task),
        Name::ReplicatedTwoPhase => carry_out::<ReplicatedSubject>(name, task),
    }
}

fn carry_out<S: Subject>(name: Name, task: Task<'_>) -> io::Result<ExitCode> {
    let outcome = |is_good: bool| if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match task {
        Task::Run { from, seeds, weakness } => {
            if let Some(error) = unknown::<S>(weakness) {
                return refuse(&error);
            }
            let started = Instant::now();
            let summary = run_bare_many::<S>(from..from + seeds, weakness, 5, |done| {
                if done % 5_000 == 0 {
                    let _ = writeln!(io::stderr(), "{done} of {seeds} seeds");
                }
            });
            print(name, &summary, started, weakness)?;
            Ok(outcome(summary.failures.is_empty()))
        }
        Task::Replay { seed, lines, weakness } => {
            if let Some(error) = unknown::<S>(weakness) {
                return refuse(&error);
            }
            let (report, story) = run_bare::<S>(seed, weakness, true);
            let mut out = io::stdout().lock();
            for line in story.iter().skip(story.len().saturating_sub(lines)) {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "\nseed {seed}: {} events, trace {:016x}", report.events, report.trace)?;
            match &report.violation {
                Some(violation) => writeln!(out, "{violation}")?,
                None => writeln!(out, "nothing is wrong")?,
            }
            Ok(outcome(report.violation.is_none()))
        }
        #[cfg(feature = "weakened")]
        Task::Mutants { seeds, only } => mutants::<S>(name, seeds, only).map(outcome),
    }
}

fn refuse(error: &str) -> io::Result<ExitCode> {
    writeln!(io::stderr(), "{error}")?;
    Ok(ExitCode::from(2))
}

/// What is wrong with the name of a bug.
fn unknown<S: Subject>(weakness: Option<&str>) -> Option<String> {
    let wanted = weakness?;
    let all: Vec<_> = S::weaknesses().into_iter().map(|(name, _)| name).collect();
    if all.is_empty() {
        return Some("this program has no known bugs to put in; build it with --features weakened".to_owned());
    }
    let is_known = all.iter().any(|name| name == wanted);
    (!is_known).then(|| format!("no known bug is called {wanted}; there are {}", all.join(", ")))
}

fn print(name: Name, summary: &BareSummary, started: Instant, weakness: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let with = weakness.map(|weakness| format!(" --weakness {weakness}")).unwrap_or_default();
    for report in &summary.failures {
        let Some(violation) = &report.violation else { continue };
        writeln!(out, "seed {} fails after {} events: {violation}", report.seed, report.events)?;
        writeln!(out, "  hezong-sim protocol {} --replay {}{with}", name.as_str(), report.seed)?;
    }
    let faults = Fault::ALL.into_iter().filter(|fault| summary.faults.of(*fault) > 0);
    for fault in faults {
        writeln!(out, "{:<28}{:>12}", fault.name(), summary.faults.of(fault))?;
    }
    writeln!(out, "\n{:<28}{:>12}{:>12}{:>12}", "a seed", "least", "median", "most")?;
    for (name, values, scale) in [
        ("events", &summary.events, 1.0),
        ("requests done", &summary.done, 1.0),
        ("recovery, in patience", &summary.recovery, 1e-9),
    ] {
        let mut sorted = values.clone();
        sorted.sort_unstable();
        let at = |place: usize| sorted.get(place).map_or(0.0, |value| *value as f64 * scale);
        let (median, most) = (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)));
        writeln!(out, "{name:<28}{:>12.1}{median:>12.1}{most:>12.1}", at(0))?;
    }
    let (events, seconds) = (summary.events.iter().sum::<u64>(), started.elapsed().as_secs_f64());
    writeln!(out, "\nevents {events}, each seed run twice: {seconds:.1} s")?;
    writeln!(out, "seeds {}, failed {}", summary.seeds, summary.failures.len())
}

/// A line a bug, as the other rungs print them: its name, its origin, how long it took, what saw it, or nothing. Whether all
/// were caught.
#[cfg(feature = "weakened")]
fn mutants<S: Subject>(name: Name, seeds: u64, only: &str) -> io::Result<bool> {
    let mut all_caught = true;
    let seen = S::weaknesses().into_iter().filter(|(weakness, _)| !S::UNSEEN.contains(&weakness.as_str()));
    for (weakness, origin) in seen {
        let full = format!("{}::{weakness}", name.as_str());
        if !full.contains(only) {
            continue;
        }
        let started = Instant::now();
        let summary = run_bare_many::<S>(1..1 + seeds, Some(&weakness), 1, |_| {});
        let (effort, saw) = match summary.failures.first() {
            Some(report) => {
                let saw = report.violation.as_ref().map_or("", |violation| violation.property);
                (format!("{} bare seeds", report.seed), saw)
            }
            None => (format!("{seeds} bare seeds"), ""),
        };
        all_caught &= !saw.is_empty();
        let seconds = started.elapsed().as_secs_f64();
        writeln!(io::stdout(), "{full}\t{origin}\t{effort}\t{seconds:.1} s\t{saw}")?;
    }
    Ok(all_caught)
}
