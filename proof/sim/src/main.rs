//! `hezong-sim`: runs seeds, replays one, and shows that known bugs are caught.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hezong_sim::{Fault, MARKS, Moment, Options, Shape, Summary, missing, replay, run_many};

/// A whole cluster in one thread, replayed by a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds on all cores, each twice, and sums up what happened.
    Run {
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Events a seed, at least, before everything is healed.
        #[arg(long, default_value_t = 20_000)]
        events: u64,
        /// Where to look: any, leases, members, disks, elections, frames, snapshots, transfers, fulldisks,
        /// joint, damage, links.
        #[arg(long, default_value = "any")]
        shape: Shape,
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
        /// Events, at least, before everything is healed; as it was in the run.
        #[arg(long, default_value_t = 20_000)]
        events: u64,
        /// Where it looked; as it was in the run.
        #[arg(long, default_value = "any")]
        shape: Shape,
        /// Only the last so many lines.
        #[arg(long, default_value_t = 200)]
        lines: usize,
        /// With this known bug in every node.
        #[cfg(feature = "weakened")]
        #[arg(long)]
        mutant: Option<String>,
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

fn main() -> ExitCode {
    // Panics inside a run are caught and reported with their seed.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = match Arguments::parse().command {
        Command::Run { seeds, from, events, shape, once, failures } => {
            let options = Options { events, shape, ..Options::default() };
            run(from..from + seeds, options, !once, failures)
        }
        #[cfg(not(feature = "weakened"))]
        Command::Replay { seed, events, shape, lines } => {
            tell(seed, Options { events, shape, ..Options::default() }, lines)
        }
        #[cfg(feature = "weakened")]
        Command::Replay { seed, events, shape, lines, mutant } => {
            use hezong_sim::mutants::{all, options};
            let mutant = mutant.and_then(|name| all().into_iter().find(|mutant| mutant.to_string() == name));
            let plain = Options { shape, ..Options::default() };
            tell(seed, Options { events, ..mutant.map_or(plain, options) }, lines)
        }
        #[cfg(feature = "weakened")]
        Command::Mutants { seeds, only } => mutants(seeds, &only),
    };
    outcome.unwrap_or(ExitCode::FAILURE)
}

fn run(seeds: std::ops::Range<u64>, options: Options, twice: bool, failures: usize) -> io::Result<ExitCode> {
    let count = seeds.end - seeds.start;
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
    print(&summary, options)?;
    let missing = missing(&summary, options);
    missing.iter().try_for_each(|missing| writeln!(io::stdout(), "FAILED: {missing}"))?;
    let is_good = summary.failures.is_empty() && summary.counted == count && missing.is_empty();
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(summary: &Summary, options: Options) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for report in &summary.failures {
        let Some(violation) = &report.violation else { continue };
        writeln!(out, "seed {} fails after {} events: {violation}", report.seed, report.events)?;
        let events = if options.events == 20_000 { String::new() } else { format!(" --events {}", options.events) };
        let shape = if options.shape == Shape::Any { String::new() } else { format!(" --shape {:?}", options.shape) };
        writeln!(out, "  cargo run --release -p hezong-sim -- replay {}{events}{shape}", report.seed)?;
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
    let rate = summary.events_handled as f64 / real.as_secs_f64();
    writeln!(out, "\noperations {begun}, succeeded {succeeded}, unknown {unknown}")?;
    writeln!(out, "writes recognised {}, sessions expired {}", summary.repeated, summary.expired)?;
    writeln!(out, "events {} ({rate:.0} a second, second runs included)", summary.events)?;
    writeln!(
        out,
        "simulated {:.0} s in {:.1} s: {:.0} times as fast as real",
        simulated.as_secs_f64(),
        real.as_secs_f64(),
        simulated.as_secs_f64() / real.as_secs_f64()
    )?;
    writeln!(out, "seeds {}, counted {}, failed {}", summary.seeds, summary.counted, summary.failures.len())
}

fn tell(seed: u64, options: Options, last: usize) -> io::Result<ExitCode> {
    let (report, lines) = replay(seed, options);
    let mut out = io::stdout().lock();
    for line in lines.iter().skip(lines.len().saturating_sub(last)) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nseed {seed}: {} events, trace {:016x}", report.events, report.trace)?;
    match &report.violation {
        None => writeln!(out, "nothing is wrong").map(|()| ExitCode::SUCCESS),
        Some(violation) => writeln!(out, "{violation}").map(|()| ExitCode::FAILURE),
    }
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
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
