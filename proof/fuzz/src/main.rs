//! `hezong-fuzz`: drives every target for a while, or runs one input again. `cargo xtask fuzz` runs it as it should be.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use hezong_fuzz::drive::keep_panics;
use hezong_fuzz::{ALL, Failure, Meter, Target, drive, judge, shrink};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Who runs for so long does not end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What runs, and since when.
static RUNNING: Mutex<Option<(Instant, Target, Vec<u8>)>> = Mutex::new(None);

/// The memory of the whole process: one target runs at a time, and beside it nothing but what it started itself.
struct Process;

impl Meter for Process {
    fn current(&self) -> usize {
        ALLOCATOR.current_usage()
    }

    fn peak(&self) -> usize {
        ALLOCATOR.peak_usage()
    }

    fn forget(&self) {
        ALLOCATOR.reset_peak_usage();
    }

    fn begin(&self, target: &Target, input: &[u8]) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        *running = Some((Instant::now(), *target, input.to_vec()));
    }
}

/// Feeds decoders and protocols with what nobody should send.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How long in all, as 30s, 10m or 2h; shared alike by the targets.
    #[arg(long, default_value = "30s", value_parser = span)]
    time: Duration,
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// What everything is drawn from; without it, the time of day.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the input in this file again, of the target given.
    #[arg(long, requires = "target")]
    again: Option<PathBuf>,
    /// Where inputs go that fail.
    #[arg(long, default_value = "target/fuzz")]
    dir: PathBuf,
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let wanted = |target: &&Target| arguments.target.as_deref().is_none_or(|name| name == target.name);
    let targets: Vec<&Target> = ALL.iter().filter(wanted).collect();
    if targets.is_empty() {
        let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
        writeln!(io::stderr(), "there is no such target; there are {}", names.join(", "))?;
        return Ok(ExitCode::FAILURE);
    }
    if let Some(path) = &arguments.again {
        return again(targets[0], path);
    }
    let folder = arguments.dir.clone();
    keep_panics(move |said| keep_what_panics(&folder, said));
    let folder = arguments.dir.clone();
    std::thread::spawn(move || watch(&folder));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(now.as_secs());
    let mut out = io::stdout().lock();
    writeln!(out, "seed {seed}")?;
    let share = arguments.time / u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let mut good = true;
    for target in targets {
        let tally = drive(target, seed, share, &Process);
        let (name, inputs, accepted) = (target.name, tally.inputs, tally.accepted);
        writeln!(out, "{name:<12}{inputs:>12} inputs, {accepted:>12} of them valid: {}", target.what)?;
        if let Some((input, failure)) = tally.failed {
            good = false;
            // As it is first: making it smaller may take until somebody loses patience.
            save(&arguments.dir, target, &input)?;
            let (input, failure) = shrink(target, input, failure, &Process);
            let path = save(&arguments.dir, target, &input)?;
            told(&mut out, target, &path, &input, &failure)?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Keeps the last input during which anything panicked, and what was said: where a thread of the product's does, or one of
/// its turns, the process ends, and nobody comes to save the input.
fn keep_what_panics(folder: &Path, said: &str) {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, target, input)) = running.as_ref() {
        let path = folder.join(format!("{}-panicked-last", target.name));
        // Err: it is found again by its seed.
        let kept = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, input));
        kept.and_then(|()| std::fs::write(path.with_extension("txt"), said)).ok();
    }
}

/// Ends the process when an input does not: such a one cannot be shrunk, but kept.
fn watch(folder: &Path) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, target, input)) = running.as_ref().filter(|(since, ..)| since.elapsed() > PATIENCE) else {
            continue;
        };
        let saved = save(folder, target, input);
        let failure = Failure::Time(since.elapsed());
        // The other thread holds the lock of the standard output; what is said here goes beside it.
        let told = saved.and_then(|path| told(&mut io::stderr(), target, &path, input, &failure));
        std::process::exit(if told.is_ok() { 1 } else { 2 });
    }
}

fn again(target: &Target, path: &Path) -> io::Result<ExitCode> {
    let input = std::fs::read(path)?;
    // Panics are told as they come, with the place; a backtrace by RUST_BACKTRACE=1.
    match judge(target, &input, &Process) {
        Ok(accepted) => {
            let what = if accepted { "taken for valid" } else { "not valid" };
            writeln!(io::stdout(), "nothing is wrong; it is {what}").map(|()| ExitCode::SUCCESS)
        }
        Err(failure) => writeln!(io::stdout(), "{failure}").map(|()| ExitCode::FAILURE),
    }
}

fn save(folder: &Path, target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}-{:08x}", target.name, crc32c::crc32c(input)));
    std::fs::write(&path, input)?;
    Ok(path)
}

fn told(out: &mut impl io::Write, target: &Target, path: &Path, input: &[u8], failure: &Failure) -> io::Result<()> {
    let (name, path) = (target.name, path.display());
    writeln!(out, "{name} {failure}")?;
    writeln!(out, "  {} bytes, in {path}; again: cargo xtask fuzz --target {name} --again {path}", input.len())?;
    writeln!(out, "  once mended, keep it as proof/fuzz/found/{name}/ANY-NAME, where every build runs it")
}

/// A number and its unit.
fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("write a number and its unit, as 30s, 10m or 2h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number and its unit, as 30s".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(factor)))
}
