//! Many seeds on all cores, and what they show together.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::Violation;
use crate::marks::Marks;
use crate::moment::Moments;
use crate::plan::{Fault, FaultCounts};
use crate::run::{FAULT_KINDS_MIN, OPERATIONS_MIN, Options, Report, run};

/// What many seeds show together.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// Those that had enough events, operations and kinds of fault to count.
    pub counted: u64,
    /// Events of one run each.
    pub events: u64,
    /// Events handled in all, second runs included.
    pub events_handled: u64,
    /// Simulated nanoseconds of one run each.
    pub simulated: u64,
    /// How often each fault struck.
    pub faults: FaultCounts,
    /// In the middle of what they struck.
    pub moments: Moments,
    /// The rare branches that were taken.
    pub marks: Marks,
    /// In how many seeds each fault struck.
    pub seeds_with: FaultCounts,
    /// Events, a seed each.
    pub events_each: Vec<u64>,
    /// Operations that clients began, a seed each.
    pub operations_each: Vec<u64>,
    /// Kinds of fault, a seed each.
    pub kinds_each: Vec<u64>,
    /// Terms that had a leader.
    pub terms_led: Vec<u64>,
    /// Entries committed, a seed each.
    pub committed: Vec<u64>,
    /// Operations: begun, succeeded, unknown.
    pub operations: [u64; 3],
    /// Writes recognised when they came again.
    pub repeated: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Election timeouts from healing until all was well, in thousandths, a seed each.
    pub recovery: Vec<u64>,
    /// Reports of seeds that failed.
    pub failures: Vec<Report>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs seeds on all cores; each `twice`, if told so, and compares. Stops early once those
/// that failed are `enough`. `progress` is told from time to time how many are done.
pub fn run_many(
    seeds: std::ops::Range<u64>,
    options: Options,
    twice: bool,
    enough: impl Fn(&[Report]) -> bool + Sync,
    progress: impl Fn(u64, Duration) + Sync,
) -> Summary {
    let started = Instant::now();
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let report = if twice { run_twice(seed, options) } else { run(seed, options) };
                    let mut summary = summary.lock().expect("nobody panics while adding");
                    summary.add(report, options, twice);
                    if enough(&summary.failures) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let done = summary.seeds;
                    drop(summary);
                    progress(done, started.elapsed());
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("nobody panics while adding");
    summary.elapsed = started.elapsed();
    summary.failures.sort_by_key(|report| report.seed);
    summary
}

/// Runs a seed twice. That both runs go the same way is a property like any other.
#[must_use]
pub fn run_twice(seed: u64, options: Options) -> Report {
    let mut first = run(seed, options);
    let second = run(seed, options);
    if first != second && first.violation.is_none() {
        let detail = format!("the second run has the trace {:x}, the first {:x}", second.trace, first.trace);
        first.violation = Some(Violation { property: "same seed, same run", detail });
    }
    first
}

impl Summary {
    fn add(&mut self, report: Report, options: Options, twice: bool) {
        self.seeds += 1;
        let enough = report.events >= options.events
            && report.operations >= OPERATIONS_MIN
            && report.faults.kinds() >= FAULT_KINDS_MIN;
        self.counted += u64::from(enough && report.violation.is_none());
        self.events += report.events;
        self.events_handled += report.events * if twice { 2 } else { 1 };
        self.simulated += report.simulated;
        self.faults.merge(&report.faults);
        self.moments.merge(&report.moments);
        self.marks.add(&report.marks);
        for fault in Fault::ALL.into_iter().filter(|fault| report.faults.of(*fault) > 0) {
            self.seeds_with.add(fault);
        }
        self.events_each.push(report.events);
        self.operations_each.push(report.operations);
        self.kinds_each.push(report.faults.kinds() as u64);
        self.terms_led.push(report.terms_led);
        self.committed.push(report.committed);
        for (sum, count) in self.operations.iter_mut().zip([report.operations, report.succeeded, report.unknown]) {
            *sum += count;
        }
        self.repeated += report.repeated;
        self.expired += report.expired;
        self.recovery.push(report.recovery * 1_000 / report.patience);
        if report.violation.is_some() {
            self.failures.push(report);
        }
    }
}
