//! `hezong-sim`: runs seeds, replays one, cuts one that fails down to a story, and shows that known bugs are caught.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hezong_sim::bare::{self, Task};
use hezong_sim::{
    Case, Cut, Effort, Fault, Hardship, MARKS, Moment, Options, Shape, Strikes, Summary, missing, run_many,
    short_story, shrink, timeline,
};
use rustix::time::{ClockId, clock_gettime};

/// As in what ships; a run takes and gives back memory all the time, and little else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A whole cluster in one thread, replayed by a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds on all cores, each twice, and sums up what happened. The first that fails is cut down to a story.
    Run {
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        #[command(flatten)]
        look: Look,
        /// Runs each seed once only, without proving that it always goes the same way.
        #[arg(long)]
        once: bool,
        /// Stops after so many failures.
        #[arg(long, default_value_t = 5)]
        failures: usize,
    },
    /// Runs one seed and tells what happened, line by line.
    Replay {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        look: Look,
        #[command(flatten)]
        cut: CutArguments,
        /// Only what turned the run and what clients were told, with a column a node.
        #[arg(long)]
        timeline: bool,
        /// Only the last so many lines.
        #[arg(long, default_value_t = 200)]
        lines: usize,
    },
    /// Cuts a seed that fails down to a run of which little is left, and tells that as a story.
    Shrink {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        look: Look,
        /// Runs to try, at most.
        #[arg(long, default_value_t = Effort::default().runs)]
        runs: u64,
    },
    /// Simulates a protocol that nothing serves yet, bare: many seeds, each twice, or one, told line by line.
    Protocol {
        /// Which: paxos, register, multi-paxos, zab, two-phase, three-phase, tcc, replicated-two-phase.
        name: bare::Name,
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Tells what happens in this seed instead.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        replay: Option<u64>,
        /// Only the last so many lines of that.
        #[arg(long, default_value_t = 200)]
        lines: usize,
        /// With this known bug in every node; only in a build with the feature `weakened`.
        #[arg(long)]
        weakness: Option<String>,
    },
    /// Gives the nodes known bugs, one at a time, and shows how each is caught: a line each, with its origin, how many seeds
    /// it took and which property was broken, or none. `cargo xtask mutants` shows it beside what other rungs find.
    #[cfg(feature = "weakened")]
    Mutants {
        /// Seeds to try, at most, before a bug counts as missed.
        #[arg(long, default_value_t = 2_000)]
        seeds: u64,
        /// Only those whose name contains this.
        #[arg(long, default_value = "")]
        only: String,
    },
}

/// What a seed is run with; for the same run the same must be given.
#[derive(Debug, Args)]
struct Look {
    /// Events a seed, at least, before everything is healed.
    #[arg(long, default_value_t = Options::default().events)]
    events: u64,
    /// Where to look: any, leases, members, disks, elections, frames, snapshots, transfers, fulldisks, joint, damage, links.
    /// Without it anywhere, or where the known bug is looked for.
    #[arg(long)]
    shape: Option<Shape>,
    /// With this known bug in every node.
    #[cfg(feature = "weakened")]
    #[arg(long, value_parser = known_bug)]
    mutant: Option<hezong_sim::mutants::Mutant>,
}

impl Look {
    fn options(&self) -> Options {
        let plain = Options::default();
        #[cfg(feature = "weakened")]
        let plain = self.mutant.map_or(plain, hezong_sim::mutants::options);
        Options { events: self.events, shape: self.shape.unwrap_or(plain.shape), ..plain }
    }
}

#[cfg(feature = "weakened")]
fn known_bug(name: &str) -> Result<hezong_sim::mutants::Mutant, String> {
    let found = hezong_sim::mutants::all().into_iter().find(|mutant| mutant.to_string() == name);
    found.ok_or_else(|| format!("no known bug is called {name}; `mutants` has them all"))
}

/// What is left out of the run. `shrink` prints what it leaves out like that.
#[derive(Debug, Args)]
struct CutArguments {
    /// No strikes of trouble but these, as t3,e1; or none.
    #[arg(long)]
    only: Option<Strikes>,
    /// Not these: loss, delay, duplication, turns, limits.
    #[arg(long, value_delimiter = ',')]
    without: Vec<Hardship>,
    /// No more voters than that at the start.
    #[arg(long)]
    nodes: Option<u64>,
    /// No more clients than that.
    #[arg(long)]
    clients: Option<usize>,
    /// No more registers than that.
    #[arg(long)]
    keys: Option<u64>,
    /// Another pace than the seed's own: everything takes another time.
    #[arg(long, default_value_t = 0)]
    pace: u64,
}

impl CutArguments {
    fn cut(self) -> Cut {
        let Self { only, without, nodes, clients, keys, pace } = self;
        Cut { only, without: without.into_iter().collect(), nodes, clients, keys, pace }
    }
}

fn main() -> ExitCode {
    // Panics inside a run are caught and reported with their seed.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = match Arguments::parse().command {
        Command::Run { seeds, from, look, once, failures } => run(from..from + seeds, look.options(), !once, failures),
        Command::Replay { seed, look, cut, timeline, lines } => {
            tell(&Case { seed, options: look.options(), cut: cut.cut() }, timeline, lines)
        }
        Command::Shrink { seed, look, runs } => {
            let case = Case { seed, options: look.options(), cut: Cut::default() };
            tell_shrunk(&case, Effort { runs, ..Effort::default() })
        }
        Command::Protocol { name, seeds, from, replay, lines, weakness } => {
            let weakness = weakness.as_deref();
            let task = match replay {
                Some(seed) => Task::Replay { seed, lines, weakness },
                None => Task::Run { from, seeds, weakness },
            };
            bare::command(name, task)
        }
        #[cfg(feature = "weakened")]
        Command::Mutants { seeds, only } => mutants(seeds, &only),
    };
    outcome.unwrap_or(ExitCode::FAILURE)
}

fn run(seeds: std::ops::Range<u64>, options: Options, twice: bool, failures: usize) -> io::Result<ExitCode> {
    let (count, before) = (seeds.end - seeds.start, computed());
    let summary = run_many(
        seeds,
        options,
        twice,
        |failed| failed.len() >= failures,
        |done, elapsed| {
            if done % 500 == 0 {
                let left = elapsed.as_secs_f64() / done as f64 * count.saturating_sub(done) as f64;
                let _ = writeln!(io::stderr(), "{done} of {count} seeds, about {left:.0} s to go");
            }
        },
    );
    print(&summary, options, computed() - before)?;
    if let Some(first) = summary.failures.first() {
        tell_shrunk(&Case { seed: first.seed, options, cut: Cut::default() }, Effort::default())?;
    }
    let missing = missing(&summary, options);
    missing.iter().try_for_each(|missing| writeln!(io::stdout(), "FAILED: {missing}"))?;
    let is_good = summary.failures.is_empty() && summary.counted == count && missing.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long this process has had a core, all its threads together.
fn computed() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

fn print(summary: &Summary, options: Options, computed: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for report in &summary.failures {
        let Some(violation) = &report.violation else { continue };
        writeln!(out, "seed {} fails after {} events: {violation}", report.seed, report.events)?;
        writeln!(out, "  {}", Case { seed: report.seed, options, cut: Cut::default() }.command())?;
    }
    writeln!(out, "\n{:<28}{:>12}{:>16}", "fault", "times", "seeds with it")?;
    for fault in Fault::ALL {
        let (times, seeds) = (summary.faults.of(fault), summary.seeds_with.of(fault));
        writeln!(out, "{:<28}{times:>12}{seeds:>16}", fault.name())?;
    }
    writeln!(out, "\n{:<48}{:>12}", "in the middle", "times")?;
    for moment in Moment::all() {
        writeln!(out, "{:<48}{:>12}", moment.to_string(), summary.moments.of(moment))?;
    }
    for moment in summary.moments.missed() {
        writeln!(out, "never met: {moment}")?;
    }
    let missed = summary.marks.missed();
    writeln!(out, "\n{} of {} rare branches taken; the rarest, in seeds:", MARKS.len() - missed.len(), MARKS.len())?;
    summary.marks.rarest(5).iter().try_for_each(|(mark, seeds)| writeln!(out, "{seeds:>8}  {mark}"))?;
    missed.iter().try_for_each(|mark| writeln!(out, "never taken: {mark}"))?;
    writeln!(out, "\n{:<28}{:>12}{:>12}{:>12}{:>12}", "a seed", "least", "median", "99 %", "most")?;
    let mut row = |name: &str, values: &[u64], scale: f64| -> io::Result<()> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let at = |part: f64| {
            sorted.get(((sorted.len().max(1) - 1) as f64 * part) as usize).map_or(0.0, |v| *v as f64 * scale)
        };
        writeln!(out, "{name:<28}{:>12.1}{:>12.1}{:>12.1}{:>12.1}", at(0.0), at(0.5), at(0.99), at(1.0))
    };
    row("events", &summary.events_each, 1.0)?;
    row("operations of clients", &summary.operations_each, 1.0)?;
    row("kinds of fault", &summary.kinds_each, 1.0)?;
    row("terms with a leader", &summary.terms_led, 1.0)?;
    row("entries committed", &summary.committed, 1.0)?;
    row("recovery, in timeouts", &summary.recovery, 0.001)?;
    let [begun, succeeded, unknown] = summary.operations;
    let (real, simulated) = (summary.elapsed, Duration::from_nanos(summary.simulated));
    // By the time that cores were had, not by the clock on the wall: others may use the machine.
    let rate = summary.events_handled as f64 / computed.as_secs_f64() / 1e6;
    writeln!(out, "\noperations {begun}, succeeded {succeeded}, unknown {unknown}")?;
    writeln!(out, "writes recognised {}, sessions expired {}", summary.repeated, summary.expired)?;
    writeln!(
        out,
        "events {}, second runs included {}: {rate:.2} million a second of a core",
        summary.events, summary.events_handled
    )?;
    writeln!(
        out,
        "simulated {:.0} s in {:.1} s: {:.0} times as fast as real",
        simulated.as_secs_f64(),
        real.as_secs_f64(),
        simulated.as_secs_f64() / real.as_secs_f64()
    )?;
    writeln!(out, "seeds {}, counted {}, failed {}", summary.seeds, summary.counted, summary.failures.len())
}

fn tell(case: &Case, only_turns: bool, last: usize) -> io::Result<ExitCode> {
    let (report, lines) = case.tell();
    let lines = if only_turns { timeline(&lines) } else { lines.iter().map(ToString::to_string).collect() };
    let mut out = io::stdout().lock();
    for line in lines.iter().skip(lines.len().saturating_sub(last)) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nseed {}: {} events, trace {:016x}", case.seed, report.events, report.trace)?;
    match &report.violation {
        None => writeln!(out, "nothing is wrong").map(|()| ExitCode::SUCCESS),
        Some(violation) => writeln!(out, "{violation}").map(|()| ExitCode::FAILURE),
    }
}

/// Cuts a failing case down and tells what is left, from its beginning to what did not hold.
fn tell_shrunk(case: &Case, effort: Effort) -> io::Result<ExitCode> {
    let mut told = 0;
    let shrunk = shrink(case, effort, &mut |runs, report| {
        if runs >= told + 50 {
            told = runs;
            let (events, strikes) = (report.events, report.strikes.len());
            let _ = writeln!(io::stderr(), "after {runs} runs: {events} events, {strikes} strikes");
        }
    });
    let mut out = io::stdout().lock();
    let Some(shrunk) = shrunk else {
        writeln!(out, "seed {}: nothing is wrong that one run of it shows", case.seed)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (report, lines) = shrunk.case.tell();
    writeln!(out, "\nseed {}, cut down by {} runs:\n", case.seed, shrunk.runs)?;
    for line in short_story(&lines) {
        writeln!(out, "{line}")?;
    }
    if let Some(violation) = &report.violation {
        writeln!(out, "\n{violation}")?;
    }
    let [before, after] = [&shrunk.before, &shrunk.after].map(|it| (it.events, it.strikes.len(), it.operations));
    writeln!(out, "\n{:<12}{:>10}{:>10}{:>12}", "", "events", "strikes", "operations")?;
    writeln!(out, "{:<12}{:>10}{:>10}{:>12}", "whole", before.0, before.1, before.2)?;
    writeln!(out, "{:<12}{:>10}{:>10}{:>12}", "cut down", after.0, after.1, after.2)?;
    writeln!(out, "\ntrace {:016x}; to see all of it:\n  {}", report.trace, shrunk.case.command())?;
    Ok(ExitCode::FAILURE)
}

/// A line a bug, for people and for `cargo xtask mutants`: its name, its origin, how long it took, and what saw it.
#[cfg(feature = "weakened")]
fn mutants(seeds: u64, only: &str) -> io::Result<ExitCode> {
    use hezong_sim::mutants::{all, kill, shape};

    let mut missed = 0;
    for mutant in all().into_iter().filter(|mutant| mutant.to_string().contains(only)) {
        let (started, shape) = (std::time::Instant::now(), shape(mutant));
        let (effort, saw) = match kill(mutant, 1..1 + seeds) {
            Some(kill) => {
                let of_shape = if shape == Shape::Any { String::new() } else { format!(" of {shape:?}") };
                let seeds = if kill.seeds == 1 { "seed" } else { "seeds" };
                (format!("{} {seeds}{of_shape}", kill.seeds), kill.violation.property)
            }
            None => {
                missed += 1;
                (format!("{seeds} seeds"), "")
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let mut out = io::stdout().lock();
        writeln!(out, "{mutant}\t{}\t{effort}\t{seconds:.1} s\t{saw}", mutant.origin())?;
    }
    for name in bare::Name::ALL {
        missed += u64::from(bare::command(name, Task::Mutants { seeds: seeds * 10, only })? != ExitCode::SUCCESS);
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
