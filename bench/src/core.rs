//! The Raft core against the crate `raft` 0.7 (raft-rs, of TiKV).
//!
//! The work: a leader and two followers in one thread. Every entry carries 16 bytes in an allocation of its own; a round
//! proposes a batch of them, and what the rounds before set going is delivered. Messages are handed over as they are, so
//! that neither side pays for encoding or for reading what the other end of a network would; whatever must be on disk is
//! taken for stored at once. All three nodes are given every committed command and add up its bytes
//! (so that no work can be left out unseen), and let go of their logs every [`COMPACT_EVERY`] entries.
//!
//! The peer is set up to be fast: one `MsgPropose` a batch instead of one an entry, appends merged (`batch_append`), no
//! limit on the size of messages (a limit costs it the computing of sizes), no message of its own for each commit
//! (`skip_bcast_commit`; ours sends none either). Both check their quorum and vote in two steps.

mod ours;
mod peer;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Nodes in a cluster. The first one is made to lead.
const NODES: usize = 3;

/// Entries kept in each log before its beginning goes.
const COMPACT_EVERY: u64 = 4_096;

/// Rounds between two ticks of the peer's clock, and the time one round takes on ours: a heartbeat every thousand rounds.
const ROUNDS_A_HEARTBEAT: u64 = 1_000;

/// What to run.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Entries in each run.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    entries: u64,
    /// Entries proposed at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Runs of each side, alternating.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Runs ours alone, for a profiler.
    #[arg(long)]
    ours_only: bool,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What one node's state machine has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    entries: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, command: &[u8]) {
        self.entries += 1;
        self.bytes += command.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
}

/// Three nodes that do the work.
trait Cluster {
    /// Starts them and waits until the first one leads.
    fn start() -> Self;
    /// Proposes (nothing, if empty) at the leader and delivers what is on its way, once to each node.
    fn round(&mut self, batch: Vec<Bytes>);
    /// Lets a heartbeat pass, so that followers learn what was committed last.
    fn heartbeat(&mut self);
    /// What each node has applied.
    fn sums(&self) -> [Sum; NODES];
}

/// Why there are no figures.
#[derive(Debug, PartialEq, Eq)]
struct WrongSums {
    side: &'static str,
    expected: Sum,
    found: [Sum; NODES],
}

impl std::fmt::Display for WrongSums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { side, expected, found } = self;
        write!(f, "{side} did not do the work: each node should have applied {expected:?}, they have {found:?}")
    }
}

impl std::error::Error for WrongSums {}

/// Runs both sides alternately and prints what came of it.
pub(crate) fn run(options: &Options, mut out: impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        ours.push(measure::<ours::Ours>("hezong-raft", options)?);
        if !options.ours_only {
            peer.push(measure::<peer::Peer>("raft 0.7", options)?);
        }
    }
    print(options, &mut ours, &mut peer, &mut out)?;
    Ok(())
}

/// Entries a second of one run. The sums are compared with those of the commands themselves.
fn measure<C: Cluster>(side: &'static str, options: &Options) -> Result<f64, WrongSums> {
    let mut cluster = C::start();
    let mut expected = Sum::default();
    let mut proposed = 0;
    let start = Instant::now();
    while proposed < options.entries {
        let count = options.batch.min(options.entries - proposed);
        let batch: Vec<_> = (proposed..proposed + count).map(command).collect();
        batch.iter().for_each(|command| expected.add(command));
        proposed += count;
        cluster.round(batch);
    }
    for _ in 0..100 {
        if cluster.sums() == [expected; NODES] {
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            return Ok(options.entries as f64 / start.elapsed().max(Duration::from_nanos(1)).as_secs_f64());
        }
        cluster.heartbeat();
    }
    Err(WrongSums { side, expected, found: cluster.sums() })
}

/// Sixteen bytes that differ from entry to entry.
fn command(number: u64) -> Bytes {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Bytes::copy_from_slice(&bytes)
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(options: &Options, ours: &mut [f64], peer: &mut [f64], out: &mut impl Write) -> io::Result<()> {
    let Options { entries, batch, runs, .. } = options;
    let (our_median, peer_median) = (median(ours), median(peer));
    let ratio = our_median / peer_median;
    if options.json {
        let figures = serde_json::json!({
            "benchmark": "core", "entries": entries, "batch": batch, "runs": runs,
            "ours": ours, "peer": peer, "ours_median": our_median, "peer_median": peer_median, "ratio": ratio,
        });
        return writeln!(out, "{figures}");
    }
    writeln!(
        out,
        "3 nodes, 1 thread, {entries} entries of 16 bytes in batches of {batch}, {runs} runs each, alternating"
    )?;
    let mut line = |side, rates: &[f64], median: f64| match (rates.first(), rates.last()) {
        (Some(slowest), Some(fastest)) => writeln!(
            out,
            "{side:<12} median {:>9} entries/s   (slowest {}, fastest {})",
            thousands(median),
            thousands(*slowest),
            thousands(*fastest)
        ),
        _ => Ok(()),
    };
    line("hezong-raft", ours, our_median)?;
    line("raft 0.7", peer, peer_median)?;
    if peer.is_empty() { Ok(()) } else { writeln!(out, "ratio        {ratio:.2}") }
}

fn thousands(rate: f64) -> String {
    format!("{:.0}k", rate / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options { entries: 20_000, batch: 64, runs: 1, ours_only: false, json: true };

    /// Both sides really deliver every command to every node, compaction included.
    #[test]
    fn core_both_sides_do_the_work() {
        measure::<ours::Ours>("ours", &OPTIONS).unwrap();
        measure::<peer::Peer>("peer", &OPTIONS).unwrap();
    }

    #[test]
    fn core_prints_figures() {
        let mut out = Vec::new();
        run(&Options { entries: 1_000, ..OPTIONS }, &mut out).unwrap();
        let figures: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(figures["ratio"].as_f64().unwrap() > 0.0);
        let mut out = Vec::new();
        run(&Options { entries: 1_000, json: false, ..OPTIONS }, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("ratio"));
    }

    /// A side that loses a command gets no figure.
    #[test]
    fn core_lost_command_is_noticed() {
        struct Loses(Sum);
        impl Cluster for Loses {
            fn start() -> Self {
                Self(Sum::default())
            }
            fn round(&mut self, batch: Vec<Bytes>) {
                batch.iter().skip(1).for_each(|command| self.0.add(command));
            }
            fn heartbeat(&mut self) {}
            fn sums(&self) -> [Sum; NODES] {
                [self.0; NODES]
            }
        }
        assert_eq!(measure::<Loses>("loses", &OPTIONS).unwrap_err().side, "loses");
    }
}
