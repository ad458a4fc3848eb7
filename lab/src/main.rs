//! `hezong-lab`: lists scenarios, plays one, and plays all of them both ways.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hezong_lab::{Recording, SCENARIOS, Scenario, Verdict, data, find, page, play, text};

/// Protocols to watch and to break: scenarios of the literature, played on the cores that ship, and on weakened ones.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists all scenarios, with what each teaches.
    List,
    /// Plays a scenario and draws it: a column a node, an arrow a message, and below the column how the node stands then.
    Run {
        /// Which, as RAFT-1.
        id: String,
        /// Plays it with its weakness, which turns the verdict.
        #[arg(long)]
        weakened: bool,
        /// Lines a second; without it, all at once.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        speed: Option<u32>,
        /// Decides what nodes draw, such as their timeouts. Stories are written for 0.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Prints the recording for machines instead.
        #[arg(long)]
        json: bool,
        /// Writes a page to this file, which needs nothing else, and can be scrolled and stepped through.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Plays every scenario as it ships and with its weakness, a line each; fails unless each verdict is as stated, and
    /// what breaks is what the catalogue names.
    Check,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::List => list(),
        Command::Run { id, weakened, speed, seed, json, html } => match find(&id) {
            Some(scenario) => {
                let recording = play(scenario, weakened, seed);
                show(&recording, speed, json, html)
            }
            None => refuse(&format!("no scenario is called {id}; `hezong-lab list` has them all")),
        },
        Command::Check => check(),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{error}");
        ExitCode::FAILURE
    })
}

fn refuse(error: &str) -> io::Result<ExitCode> {
    writeln!(io::stderr(), "{error}")?;
    Ok(ExitCode::from(2))
}

fn list() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for Scenario { id, title, teaches, .. } in &SCENARIOS {
        writeln!(out, "{id:<9} {title}\n          {teaches}")?;
    }
    writeln!(out, "\nhezong-lab run {} plays one; with --weakened, as it goes wrong", SCENARIOS[0].id)?;
    Ok(ExitCode::SUCCESS)
}

/// The verdict is what is shown, and no failure of the program: it ends well either way.
fn show(recording: &Recording, speed: Option<u32>, json: bool, html: Option<PathBuf>) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if let Some(path) = html {
        fs::write(&path, page(recording))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: cannot be written: {error}", path.display())))?;
        writeln!(io::stderr(), "{} is written", path.display())?;
    }
    if json {
        writeln!(out, "{:#}", data(recording))?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in text(recording) {
        writeln!(out, "{line}")?;
        if let Some(speed) = speed {
            out.flush()?;
            std::thread::sleep(Duration::from_secs(1) / speed);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut wrong = 0;
    for scenario in &SCENARIOS {
        let (sound, spoilt) = (play(scenario, false, 0).verdict, play(scenario, true, 0).verdict);
        let as_stated =
            sound == Verdict::Holds && matches!(&spoilt, Verdict::Broken { breaks, .. } if *breaks == scenario.breaks);
        wrong += u64::from(!as_stated);
        let said = |verdict: &Verdict| match verdict {
            Verdict::Holds => "holds".to_owned(),
            Verdict::Broken { what, .. } => format!("broken, {what}"),
            Verdict::Unclear(what) => format!("unclear, {what}"),
        };
        let mark = if as_stated { "ok" } else { "NOT AS STATED" };
        writeln!(out, "{:<9} {mark}: as it ships: {}", scenario.id, said(&sound))?;
        writeln!(out, "          with {}: {}", scenario.spoilt, said(&spoilt))?;
    }
    writeln!(out, "{} scenarios, each both ways: {wrong} not as stated", SCENARIOS.len())?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
