//! Puts of three hezong nodes against three etcd nodes on one machine, in turns: A B A B. Both with fdatasync on, their
//! default time-outs, and clients of one thread that talk to the leader over the product's own API, each over a bare
//! connection of its own. A put counts once it was acknowledged; after each turn every acknowledged key is read back.
//!
//! With `--tls` three more hezong nodes take turns that have certificates, and talk by TLS with each other and with
//! their clients, whose share of the work is measured too: they run on the same machine.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::load::{Load, Target, Took, quantile, run as put_all, verify};
use crate::nodes::{Node, etcd, etcd_leader, hezong, hezong_beside, hezong_by_tls, leader};
use crate::{Outcome, say};

/// Turns of the part with one client, each with its share of the puts and of the disk's timings.
const SINGLE_TURNS: u64 = 10;
/// How often the disk is timed in each of them.
const SYNCS: usize = 50;

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Turns of each side.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Puts in each turn.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    puts: u64,
    /// Keys they go to.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes in a value.
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// Clients at work at the same time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Puts of the part with a single client; 0 leaves it out.
    #[arg(long, default_value_t = 2_000)]
    single: u64,
    /// Puts three hezong nodes with certificates beside those without.
    #[arg(long)]
    tls: bool,
    /// Leaves etcd out.
    #[arg(long)]
    no_etcd: bool,
    /// Leaves reading back out.
    #[arg(long)]
    no_verify: bool,
    /// The etcd program.
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// Where the temporary folders are made: both sides share the disk.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(crate) async fn run(options: &Options) -> Outcome<()> {
    let folder = tempfile::tempdir_in(&options.dir)?;
    let ours = hezong(&hezong_beside()?, folder.path()).await?;
    let mut sides = vec![("hezong", leader_of(&ours).await?)];
    let encrypted = if options.tls {
        let folder = folder.path().join("tls");
        std::fs::create_dir(&folder)?;
        hezong_by_tls(&hezong_beside()?, &folder).await?
    } else {
        Vec::new()
    };
    if !encrypted.is_empty() {
        sides.push(("by TLS", leader_of(&encrypted).await?));
    }
    let peer = if options.no_etcd { Vec::new() } else { etcd(&options.etcd, folder.path()).await? };
    if !peer.is_empty() {
        sides.push(("etcd", Target::Etcd(peer[etcd_leader(&peer).await?].client.clone())));
    }
    let Options { clients, puts, keys, value_size, .. } = *options;
    say(&format!(
        "3 nodes each, fdatasync on, {clients} clients of one thread, {puts} puts of {value_size} bytes over {keys} keys \
         a turn, in turns"
    ))?;
    let mut rates: Vec<Vec<f64>> = sides.iter().map(|_| Vec::new()).collect();
    let mut turns = Vec::new();
    for turn in 0..u64::from(options.runs) {
        for (at, (name, target)) in sides.iter().enumerate() {
            let load = Load { clients, puts, keys, value_size, first: turn * puts };
            let took = put_all(target, load).await?;
            let checked = if options.no_verify { 0 } else { verify(target, load).await? };
            say(&format!("{name:>7}: {}, {checked} keys read back", told(&took)))?;
            rates[at].push(took.rate());
            turns.push(json!({
                "side": name, "putsPerSecond": took.rate(), "p50Micros": took.quantile(0.5).as_micros(),
                "p99Micros": took.quantile(0.99).as_micros(), "keysReadBack": checked,
            }));
        }
    }
    let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    say(&format!("median puts a second: {:.0}", medians[0]))?;
    let ratios: Vec<f64> = medians[1..].iter().map(|peer| medians[0] / peer).collect();
    for ((name, _), (rate, ratio)) in sides[1..].iter().zip(medians[1..].iter().zip(&ratios)) {
        say(&format!("{name:>7}: {rate:.0}, ratio {ratio:.2}"))?;
    }
    let single = single(options, &sides, &ours[0].folder).await?;
    say(&json!({ "turns": turns, "medians": medians, "ratios": ratios, "single": single }).to_string())?;
    Ok(())
}

async fn leader_of(nodes: &[Node]) -> Outcome<Target> {
    let leader = &nodes[leader(nodes).await?];
    Ok(Target::Leader(leader.client.clone(), leader.tls.clone()))
}

fn told(took: &Took) -> String {
    let ms = |span: Duration| format!("{:.2} ms", span.as_secs_f64() * 1_000.0);
    format!("{:.0}/s, p50 {}, p99 {}", took.rate(), ms(took.quantile(0.5)), ms(took.quantile(0.99)))
}

/// One client, in turn with the other side and with the disk itself.
async fn single(options: &Options, sides: &[(&str, Target)], folder: &Path) -> Outcome<serde_json::Value> {
    if options.single == 0 {
        return Ok(serde_json::Value::Null);
    }
    let Options { keys, value_size, .. } = *options;
    let mut latencies: Vec<Vec<Duration>> = sides.iter().map(|_| Vec::new()).collect();
    let mut syncs = Vec::new();
    for turn in 0..SINGLE_TURNS {
        syncs.extend(time_syncs(folder, value_size)?);
        for (at, (_, target)) in sides.iter().enumerate() {
            let puts = (options.single / SINGLE_TURNS).max(1);
            let load = Load { clients: 1, puts, keys, value_size, first: turn * puts };
            latencies[at].extend(put_all(target, load).await?.latencies);
        }
    }
    syncs.sort_unstable();
    let sync = quantile(&syncs, 0.5).as_micros();
    let mut p50 = Vec::new();
    for (at, (name, _)) in sides.iter().enumerate() {
        latencies[at].sort_unstable();
        let micros = quantile(&latencies[at], 0.5).as_micros();
        say(&format!("{name:>7}: one client, p50 {micros} µs; fdatasync in the same folder and run: p50 {sync} µs"))?;
        p50.push(micros);
    }
    say(&format!("bound for one client, 3 × fdatasync + 150 µs: {} µs", 3 * sync + 150))?;
    Ok(json!({ "p50Micros": p50, "fdatasyncP50Micros": sync }))
}

/// Times what the log does for one put: writing into space set aside, and fdatasync.
fn time_syncs(folder: &Path, bytes: usize) -> Outcome<Vec<Duration>> {
    let path = folder.join("bench-fdatasync.tmp");
    let mut file = File::options().create(true).truncate(true).write(true).open(&path)?;
    let block = vec![0x5a; bytes + 128];
    file.write_all(&vec![0; block.len() * SYNCS])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut syncs = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        syncs.push(began.elapsed());
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(syncs)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
