//! One seed from trouble to progress, and many seeds on all cores.

use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use hezong_base::Rng;
use hezong_invariants::Violation;

use super::subject::Subject;
use super::world::World;
use crate::plan::FaultCounts;

/// Events after which everything is healed.
const EVENTS: u64 = 4_000;
/// Spans of patience after which it is, whatever has happened by then.
const TROUBLE_SPANS: u64 = 40;
/// Within how many such spans all must be well again.
const RECOVERY_SPANS: u64 = 300;

/// What a run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BareReport {
    /// Its seed.
    pub seed: u64,
    /// Inputs handed to nodes.
    pub events: u64,
    /// Requests of users that were done.
    pub done: u64,
    /// How long it took in its own time, in nanoseconds.
    pub simulated: u64,
    /// From healing until all was well, in nanoseconds.
    pub recovery: u64,
    /// What went wrong, and how often.
    pub faults: FaultCounts,
    /// The same for the same seed, always.
    pub trace: u64,
    /// What did not hold.
    pub violation: Option<Violation>,
}

/// What many runs show together.
#[derive(Clone, Debug, Default)]
pub struct BareSummary {
    /// All that went well.
    pub seeds: u64,
    /// Events, a seed each.
    pub events: Vec<u64>,
    /// Requests done, a seed each.
    pub done: Vec<u64>,
    /// Nanoseconds from healing until all was well, a seed each.
    pub recovery: Vec<u64>,
    /// How often each fault struck.
    pub faults: FaultCounts,
    /// Those that did not, in the order of seeds.
    pub failures: Vec<BareReport>,
}

/// Runs a seed, with a known bug in every node if one is named, and tells what happened if told to.
#[must_use]
pub fn run_bare<S: Subject>(seed: u64, weakness: Option<&str>, is_told: bool) -> (BareReport, Vec<String>) {
    let mut world = World::<S>::new(Rng::new(seed), weakness, is_told);
    let mut recovery = 0;
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut world, &mut recovery)));
    let violation = match played {
        Ok(played) => played.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            Some(Violation::new("assertions", text))
        }
    };
    let World { events, done, now: simulated, faults, trace, story, .. } = world;
    let trace = trace.finish();
    let report = BareReport { seed, events, done, simulated, recovery, faults, trace, violation };
    (report, story.unwrap_or_default())
}

fn play<S: Subject>(world: &mut World<S>, recovery: &mut u64) -> Result<(), Violation> {
    while world.events < EVENTS && world.now < world.ways.patience * TROUBLE_SPANS && !world.is_over() {
        world.step()?;
    }
    world.heal()?;
    let healed = world.now;
    while !world.is_well() {
        if world.now > healed + world.ways.patience * RECOVERY_SPANS {
            let detail = format!("not all is well {RECOVERY_SPANS} spans of patience after everything was healed");
            return Err(Violation::new("progress after healing", detail));
        }
        world.step()?;
    }
    *recovery = world.now - healed;
    Ok(())
}

/// Runs seeds on all cores, each twice, until `failures_max` have failed. `progress` is told how many are done.
pub fn run_bare_many<S: Subject>(
    seeds: std::ops::Range<u64>,
    weakness: Option<&str>,
    failures_max: usize,
    progress: impl Fn(u64) + Sync,
) -> BareSummary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(BareSummary::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let (mut report, _) = run_bare::<S>(seed, weakness, false);
                    if report.violation.is_none() && run_bare::<S>(seed, weakness, false).0 != report {
                        report.violation = Some(Violation::new("same seed, same run", "two runs differ"));
                    }
                    let mut summary = summary.lock().expect("nobody panics while adding");
                    summary.add(report);
                    if summary.failures.len() >= failures_max {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    progress(summary.seeds);
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("nobody panics while adding");
    summary.failures.sort_by_key(|report| report.seed);
    summary
}

impl BareSummary {
    fn add(&mut self, report: BareReport) {
        self.seeds += 1;
        self.events.push(report.events);
        self.done.push(report.done);
        self.faults.merge(&report.faults);
        match report.violation {
            None => self.recovery.push(report.recovery),
            Some(_) => self.failures.push(report),
        }
    }
}
