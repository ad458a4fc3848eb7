//! `hezong torture`: real node processes under faults, and a verdict on what their clients saw.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use hezong_torture::{Fault, Options, Report, Unsynced, Verdict, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::span;
use crate::say::{self, Exit, UNKNOWN};
use crate::secure::ClientSecurity;

/// Longer than anybody waits for one verdict.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// `hezong torture`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Clients put, get, delete, compare and set, append to lists and add to counters on keys they share, while \
    nodes are killed,\nstopped, cut off, replaced, added and removed, their disks fill and slow down and their clocks go wrong. In \
    the end everything\nthat a client was told must have an explanation in which each operation took effect at one moment, and all \
    nodes must hold\nthe same.\n\n\
    The history goes to history.jsonl, a picture of the run to torture.html. A disk is filled only where one in memory can \
    be\nmounted, as by root; elsewhere files are kept from growing. Wall clocks are set only where libfaketime is installed.\n\n\
    Exit code 0: all can be explained; 1: it cannot, or the cluster did not recover; 5: the search was given up.\n\n\
    Examples:\n  \
        hezong torture                              two minutes of everything\n  \
        hezong torture --time 30m --nodes 5\n  \
        hezong torture --faults kill,isolate        only these\n  \
        hezong torture --namespaces                 cables pulled out, as root\n  \
        hezong torture --seed 1764230000            the same faults in the same order once more\n  \
        hezong torture -e host1:8091,host2:8091     clients alone, on nodes that are somebody else's"
)]
pub(crate) struct TortureArgs {
    /// Nodes that run already: clients work on them, and nothing is done to them.
    #[arg(short, long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Gives the nodes certificates of an authority made for the run: everything goes by TLS.
    #[arg(long, conflicts_with = "endpoints")]
    tls: bool,
    /// Gives each node a network namespace of its own, as root: who is cut off loses packets, where a proxy would hold what
    /// was sent. Leaves out mute, deaf, split and slow-links.
    #[arg(long, conflicts_with = "endpoints")]
    namespaces: bool,
    /// How long faults go on.
    #[arg(long, default_value = "2m", value_parser = span)]
    time: Duration,
    /// What faults and clients are drawn from; without it, the time of day.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes to start.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Clients at work at the same time.
    #[arg(long, default_value_t = 8)]
    clients: u64,
    /// Operations a second that all of them together try.
    #[arg(long, default_value_t = 300)]
    rate: u64,
    /// The kinds of faults that come; without it, all: kill, kill-all, pause, isolate, mute, deaf, split, flap, slow-links,
    /// slow-disk, full-disk, wall-clock, drift, transfer, replace, add, remove.
    #[arg(long, value_delimiter = ',', default_values_t = Fault::ALL, hide_default_value = true, value_name = "KIND")]
    faults: Vec<Fault>,
    /// What becomes of a killed node's log as far as it was not synced: keep, as when a process dies, or lose, as when power
    /// fails.
    #[arg(long, default_value = "lose", value_name = "WORD")]
    unsynced: Unsynced,
    /// The folder for data, logs, history and picture. [default: hezong-torture/SEED]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Prints the report as JSON, for machines; what happens meanwhile goes to stderr.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    security: ClientSecurity,
}

pub(crate) async fn run_it(args: TortureArgs) -> Result<()> {
    ensure!((3..=9).contains(&args.nodes), "--nodes is {}; write 3 to 9", args.nodes);
    ensure!(
        !args.namespaces || !args.faults.iter().all(|fault| fault.takes_proxies()),
        "--faults names only kinds that take proxies, which --namespaces does without; leave one of the two out"
    );
    ensure!((1..=1_000).contains(&args.clients), "--clients is {}; write 1 to 1000", args.clients);
    ensure!((1..=20_000).contains(&args.rate), "--rate is {}; write 1 to 20000 operations a second", args.rate);
    ensure!(
        args.time <= TIME_MAX && !args.time.is_zero(),
        "--time is {:?}; write a time above 0 and at most 7d",
        args.time
    );
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(since.as_secs());
    let folder = args.dir.unwrap_or_else(|| PathBuf::from(format!("hezong-torture/{seed}")));
    let made = folder.join("torture.html");
    ensure!(
        !made.exists(),
        "{} exists: this folder holds another run; name another with --dir, or remove it",
        made.display()
    );
    let options = Options {
        program: std::env::current_exe().context("this program's own file cannot be found")?,
        endpoints: args.endpoints,
        folder,
        nodes: args.nodes,
        time: args.time,
        clients: args.clients,
        rate: args.rate,
        seed,
        faults: args.faults,
        namespaces: args.namespaces,
        tls: args.tls,
        client: args.security.options()?,
        unsynced: args.unsynced,
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            // Where signals cannot be heard, the run ends by its time.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        stop.send_replace(true);
        std::future::pending::<()>().await;
    });
    // For people it is there to be watched; a machine that asked for JSON gets that alone on stdout.
    let json = args.json;
    let mut told = move |line: String| if json { say::aside(line) } else { say::line(line) };
    told(format!("seed {seed}"));
    let report = run(&options, stopped, &mut told).await?;
    if json {
        say::line(serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    match report.verdict() {
        Verdict::Explained => Ok(()),
        Verdict::Violation(why) => Err(Exit { code: 1, message: why }.into()),
        Verdict::Unknown(why) => Err(Exit { code: UNKNOWN, message: why }.into()),
    }
}

fn print(report: &Report) {
    let faults: Vec<String> = report.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    say::line(format!(
        "{:.0} s, {} operations done, {} refused, {} of unknown outcome",
        report.seconds, report.done, report.refused, report.unknown
    ));
    for (kind, (count, example)) in &report.reasons {
        say::line(format!("  {count} times: {kind}, as: {example}"));
    }
    say::line(format!("faults: {}", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") }));
    say::line(format!(
        "between nodes {} pieces were held or lost and {} delayed; clocks went up to {} ms apart from the system's; {} leaders; the longest time without anything done was {} ms",
        report.pieces_held, report.pieces_delayed, report.clocks_apart_ms, report.leaders, report.longest_gap_ms
    ));
    for note in &report.notes {
        say::line(format!("note: {note}"));
    }
    say::line(format!(
        "history: {}    lists: {}    picture: {}",
        report.history.display(),
        report.lists.display(),
        report.picture.display()
    ));
    let good = report.verdict == "explained";
    let colour = std::io::stdout().is_terminal();
    let shown = match (good, colour) {
        (true, true) => "\x1b[32mall of it can be explained\x1b[0m",
        (true, false) => "all of it can be explained",
        (false, true) => "\x1b[31mnot good\x1b[0m",
        (false, false) => "not good",
    };
    say::line(format!("verdict of seed {}: {shown}", report.seed));
}
