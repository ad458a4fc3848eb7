//! `hezong check`: whether what clients recorded fits what they were promised, and if not, as little of it as shows that.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use hezong_check::{
    Anomaly, Budget, Guarantee, History, IsolationVerdict, Model, Progress, Recorded, SessionVerdict, SessionViolation,
    Transactions, Verdict, Window, check_isolation, check_sessions, check_while, draw_anomaly, draw_session,
    draw_window, shortest_window,
};
use serde_json::{Value, json};

use crate::say::{self, Exit};

/// `hezong check`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file holds a history: what each client asked, when, and what it was told. Its format is found by its \
    content:\nlines of JSON as Hezong's tests record, or what Jepsen writes, as EDN, JSON or its log (docs/checking.md shows \
    each).\n\nOf operations on one key each, `linearizable` is asked, or the session guarantees: `sessions` for all, or one by \
    name.\nOf transactions, `strict-serializable` or a weaker model. The window that is printed, and drawn, is the shortest\nthat \
    cannot be explained.\n\nExit code 0 when nothing is wrong, 1 when the model is broken, 2 when the file cannot be read or \
    the model is not for it,\n5 when the search was given up before either was certain: that shows nothing, and a test must \
    not take it for success.\n\nExamples:\n  \
        hezong check history.edn\n  \
        hezong check history.json --draw window.html\n  \
        hezong check txns.edn --model snapshot-isolation --json\n  \
        hezong check history.jsonl --model read-your-writes\n  \
        hezong check big.edn --steps-max 100000000 --time-limit 60"
)]
pub(crate) struct CheckArgs {
    /// The history; `-` reads it from stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What was promised [default: linearizable, or strict-serializable for transactions].
    #[arg(long, value_name = "MODEL", value_parser = PossibleValuesParser::new(names()).map(|name| Demand::named(&name)))]
    model: Option<Demand>,
    /// Draws what is wrong, for a browser.
    #[arg(long, value_name = "FILE.html")]
    draw: Option<PathBuf>,
    /// Prints JSON, for machines.
    #[arg(long)]
    json: bool,
    /// Steps to search on each key before giving up; a million take about a tenth of a second and up to fifty megabytes.
    #[arg(long, value_name = "STEPS", default_value_t = Budget::default().steps, value_parser = clap::value_parser!(u64).range(1..))]
    steps_max: u64,
    /// Gives up on what is still open after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time_limit: Option<Duration>,
    /// For session guarantees: writes may take effect in another order than that in which they were made, as where
    /// clocks decide.
    #[arg(long)]
    any_write_order: bool,
}

fn seconds(given: &str) -> Result<Duration, &'static str> {
    let seconds = given.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or("write a number of seconds, such as 60 or 0.5")
}

/// What was promised.
#[derive(Clone, Debug, PartialEq)]
enum Demand {
    Linearizable,
    Sessions(Vec<Guarantee>),
    Isolation(Model),
}

fn names() -> Vec<&'static str> {
    let guarantees = Guarantee::ALL.iter().map(|(name, _)| *name);
    ["linearizable", "sessions"].into_iter().chain(guarantees).chain(Model::ALL.iter().map(|(name, _)| *name)).collect()
}

impl Demand {
    /// One of [`names`].
    fn named(name: &str) -> Self {
        let guarantee = Guarantee::ALL.iter().find(|(other, _)| *other == name);
        match (name, guarantee, name.parse()) {
            ("linearizable", _, _) => Self::Linearizable,
            (_, Some((_, guarantee)), _) => Self::Sessions(vec![*guarantee]),
            (_, None, Ok(model)) => Self::Isolation(model),
            (_, None, Err(_)) => Self::Sessions(Guarantee::ALL.map(|(_, guarantee)| guarantee).to_vec()),
        }
    }

    /// How a history that keeps it is called.
    fn promise(&self) -> String {
        match self {
            Self::Linearizable => "linearizable".to_owned(),
            Self::Isolation(model) => model.to_string(),
            Self::Sessions(guarantees) if guarantees.len() == Guarantee::ALL.len() => "sessions".to_owned(),
            Self::Sessions(guarantees) => guarantees.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// A history that keeps it, or does not.
    fn told(&self, is_kept: bool) -> String {
        let verb = match self {
            Self::Linearizable | Self::Isolation(_) if is_kept => "is",
            Self::Linearizable | Self::Isolation(_) => "is not",
            Self::Sessions(_) if is_kept => "keeps",
            Self::Sessions(_) => "does not keep",
        };
        format!("{verb} {}", self.promise())
    }
}

/// What came out, for people, machines and browsers.
struct Report {
    outcome: Outcome,
    lines: Vec<String>,
    details: Value,
    drawing: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Fine,
    Broken,
    Unknown,
}

impl Report {
    fn fine(line: String) -> Self {
        Self { outcome: Outcome::Fine, lines: vec![line], details: Value::Null, drawing: None }
    }

    fn unknown(lines: Vec<String>) -> Self {
        let details = json!(lines);
        Self { outcome: Outcome::Unknown, lines, details, drawing: None }
    }
}

pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let file = args.file.display().to_string();
    let unfit = |message: String| Exit { code: say::UNFIT, message };
    let bytes = contents(&args.file).map_err(|error| unfit(format!("{file} cannot be read: {error}")))?;
    let recorded = hezong_check::read(&bytes).map_err(|error| unfit(format!("{file}: {error}")))?;
    drop(bytes);
    let demand = args.model.clone().unwrap_or(match recorded {
        Recorded::Operations(_) => Demand::Linearizable,
        Recorded::Transactions(_) => Demand::Isolation(Model::STRICT_SERIALIZABLE),
    });
    let report = match (&recorded, &demand) {
        (Recorded::Operations(history), Demand::Linearizable) => linearizable(history, args),
        (Recorded::Operations(history), Demand::Sessions(guarantees)) => {
            sessions(history, guarantees, !args.any_write_order, &demand)
        }
        (Recorded::Transactions(history), Demand::Isolation(model)) => isolation(history, *model),
        (Recorded::Operations(_), Demand::Isolation(model)) => {
            let instead = "linearizable, sessions or one of the session guarantees";
            return Err(unfit(format!(
                "{file} holds operations on one key each, and {model} is of transactions: ask for {instead}"
            ))
            .into());
        }
        (Recorded::Transactions(_), Demand::Linearizable | Demand::Sessions(_)) => {
            let promise = demand.promise();
            return Err(unfit(format!("{file} holds transactions, and {promise} is of single operations: ask for strict-serializable or a weaker model")).into());
        }
    };
    if let (Some(path), Some(drawing)) = (&args.draw, &report.drawing) {
        fs::write(path, drawing).map_err(|error| unfit(format!("{} cannot be written: {error}", path.display())))?;
    }
    tell(args, &demand, &recorded, &report);
    let sentence = |code: u8, message: String| Err(Exit { code, message }.into());
    match report.outcome {
        Outcome::Fine => Ok(()),
        Outcome::Broken => sentence(1, format!("{file} {}", demand.told(false))),
        Outcome::Unknown => sentence(say::UNKNOWN, format!("whether {file} {} is unknown", demand.told(true))),
    }
}

fn contents(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn tell(args: &CheckArgs, demand: &Demand, recorded: &Recorded, report: &Report) {
    let (what, count) = match recorded {
        Recorded::Operations(history) => ("operations", history.operations.len()),
        Recorded::Transactions(history) => ("transactions", history.all.len()),
    };
    let drawn = args.draw.as_ref().filter(|_| report.drawing.is_some());
    if args.json {
        let verdict = match report.outcome {
            Outcome::Fine => "fine",
            Outcome::Broken => "broken",
            Outcome::Unknown => "unknown",
        };
        let model = demand.promise();
        say::line(json!({"verdict": verdict, "model": model, what: count, "found": report.details}).to_string());
        return;
    }
    say::line(format!("{}: {count} {what}", args.file.display()));
    report.lines.iter().for_each(say::line);
    if let Some(path) = drawn {
        say::line(format!("drawn in {}", path.display()));
    }
}

fn linearizable(history: &History, args: &CheckArgs) -> Report {
    let start = Instant::now();
    let mut meter = Meter::new(start);
    let mut go_on = |progress: Progress| {
        meter.show(progress);
        args.time_limit.is_none_or(|limit| start.elapsed() < limit)
    };
    let verdict = check_while(history, Budget { steps: args.steps_max }, &mut go_on);
    meter.clear();
    match verdict {
        Verdict::Linearizable => Report::fine("linearizable: some order explains every answer".to_owned()),
        Verdict::Unknown { keys } => Report::unknown(
            keys.iter()
                .map(|key| format!("key {key:?} is open: give the search more by --steps-max or --time-limit, or record fewer operations whose outcome is unknown"))
                .collect(),
        ),
        Verdict::Violation(violation) => {
            let window = shortest_window(&violation);
            let mut lines = vec![format!("key {:?} is not linearizable: no order explains the answers marked with *", window.key)];
            lines.extend(window.operations.iter().map(|shown| {
                format!("{} {}", if shown.is_at_stake { '*' } else { ' ' }, shown.operation)
            }));
            let details = details_of_window(&window);
            Report { outcome: Outcome::Broken, lines, details, drawing: Some(draw_window(&window)) }
        }
    }
}

fn details_of_window(window: &Window) -> Value {
    let operations =
        window.operations.iter().map(|shown| json!({"at_stake": shown.is_at_stake, "operation": shown.operation}));
    json!({"key": window.key, "window": operations.collect::<Vec<_>>()})
}

fn sessions(history: &History, guarantees: &[Guarantee], by_time: bool, demand: &Demand) -> Report {
    match check_sessions(history, guarantees, by_time) {
        SessionVerdict::Kept => Report::fine(format!("kept: {}", demand.promise())),
        SessionVerdict::Unknown(why) => Report::unknown(why),
        SessionVerdict::Broken(violations) => {
            let mut lines = Vec::new();
            for SessionViolation { key, guarantees, reasons, operations } in &violations {
                let names: Vec<String> = guarantees.iter().map(ToString::to_string).collect();
                lines.push(match names.len() {
                    0 => format!("key {key:?}: what was read and swapped fits no order of versions"),
                    1 => format!("key {key:?}: {} is broken", names[0]),
                    _ => format!("key {key:?}: one of {} is broken", names.join(", ")),
                });
                lines.extend(reasons.iter().map(|reason| format!("  {reason}")));
                lines.extend(operations.iter().map(|operation| format!("* {operation}")));
            }
            let details = violations.iter().map(|violation| {
                let names: Vec<String> = violation.guarantees.iter().map(ToString::to_string).collect();
                json!({"key": violation.key, "guarantees": names, "reasons": violation.reasons, "operations": violation.operations})
            });
            let details = details.collect();
            let drawing = violations.first().map(draw_session);
            Report { outcome: Outcome::Broken, lines, details, drawing }
        }
    }
}

fn isolation(history: &Transactions, model: Model) -> Report {
    match check_isolation(history, model) {
        IsolationVerdict::NothingFound => Report::fine(format!("nothing found that {model} forbids")),
        IsolationVerdict::Unknown(why) => Report::unknown(vec![why]),
        IsolationVerdict::Broken(anomalies) => {
            let lines = anomalies.iter().flat_map(|anomaly| lines_of_anomaly(history, anomaly)).collect();
            let details = anomalies.iter().map(|anomaly| details_of_anomaly(history, anomaly)).collect();
            let drawing = anomalies.first().map(|anomaly| draw_anomaly(history, anomaly, model));
            Report { outcome: Outcome::Broken, lines, details, drawing }
        }
    }
}

fn lines_of_anomaly(history: &Transactions, anomaly: &Anomaly) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", anomaly.name(), anomaly.kind.meaning())];
    for (place, step) in anomaly.steps.iter().enumerate() {
        let next = anomaly.steps[(place + 1) % anomaly.steps.len()].transaction + 1;
        lines.push(match step.dependency {
            Some(dependency) => {
                format!("  T{} must come before T{next} ({}): {}", step.transaction + 1, dependency.name(), step.why)
            }
            None => format!("  {}", step.why),
        });
    }
    let mut places: Vec<usize> = anomaly.steps.iter().map(|step| step.transaction).collect();
    places.sort_unstable();
    places.dedup();
    lines.extend(places.into_iter().map(|place| format!("* {}", history.show(place))));
    lines
}

fn details_of_anomaly(history: &Transactions, anomaly: &Anomaly) -> Value {
    let steps = anomaly.steps.iter().map(|step| {
        let dependency = step.dependency.map(|dependency| dependency.name());
        json!({
            "transaction": step.transaction + 1,
            "dependency": dependency,
            "why": step.why,
            "shown": history.show(step.transaction),
        })
    });
    json!({"anomaly": anomaly.name(), "meaning": anomaly.kind.meaning(), "steps": steps.collect::<Vec<_>>()})
}

/// How far a long search is, on a line of its own that is overwritten; where nobody watches, nothing.
struct Meter {
    last: Instant,
    is_watched: bool,
    is_shown: bool,
}

impl Meter {
    const EVERY: Duration = Duration::from_millis(500);

    fn new(start: Instant) -> Self {
        Self { last: start, is_watched: io::stderr().is_terminal(), is_shown: false }
    }

    fn show(&mut self, progress: Progress) {
        if !self.is_watched || self.last.elapsed() < Self::EVERY {
            return;
        }
        self.last = Instant::now();
        self.is_shown = true;
        let Progress { keys, keys_all, steps } = progress;
        // Err: nobody is left to read it.
        write!(io::stderr(), "\r\x1b[K{keys} of {keys_all} keys, {} million steps", steps / 1_000_000).ok();
    }

    fn clear(&mut self) {
        if self.is_shown {
            // Err: nobody is left to read it.
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }
}
