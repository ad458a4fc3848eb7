//! `hezong bench`: the load a cluster takes, and whether it kept what it acknowledged.
//!
//! Clients work in a closed loop: each sends a put, waits for its reply, and sends the next. A put counts once it was
//! acknowledged, which is after fdatasync on a majority. Every value names its put, so that reading back afterwards
//! shows for each key whether its last acknowledged value, or one that was open when the load ended, is there.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hezong_client::{Client, Error, Level, Options};
use serde_json::json;
use tokio::sync::Mutex;

use crate::args::BenchArgs;
use crate::data::{client_with, explain, options};
use crate::say;

const PUTS_DEFAULT: u64 = 200_000;
/// How many writes the disk is timed with, between two parts of the load.
const SYNC_SAMPLES: usize = 50;
/// How often the disk is timed.
const SYNC_TURNS: u32 = 4;

/// What all clients share.
struct Load {
    client: Client,
    args: BenchArgs,
    /// The next put's number.
    next: AtomicU64,
    /// How many puts there are in all.
    end: AtomicU64,
    /// For each key, the numbers of its puts that may be there: see [`Kept`].
    kept: Vec<Mutex<Kept>>,
}

/// Which puts of a key may be read back: the last acknowledged one, and all whose outcome is open.
#[derive(Default)]
struct Kept {
    last: Option<u64>,
    open: Vec<u64>,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failed: u64,
    error: Option<Error>,
}

pub(crate) async fn run(args: BenchArgs) -> Result<()> {
    ensure!(args.clients > 0 && args.keys > 0, "--clients and --keys must be at least 1");
    ensure!(args.value_size >= 20, "--value-size is {}; at least 20 bytes name the put", args.value_size);
    let options = Options { once_only: args.once, ..options(&args.cluster)? };
    let client = client_with(&args.cluster, options).await?;
    // Finds the leader before the clock runs, and says in one sentence if there is no cluster.
    client.get(b"bench", Level::Default).await.map_err(explain)?;

    let puts = args.puts.unwrap_or(if args.seconds.is_some() { u64::MAX } else { PUTS_DEFAULT });
    let turns = if args.fsync_dir.is_some() { SYNC_TURNS } else { 1 };
    let kept = (0..args.keys).map(|_| Mutex::default()).collect();
    let load = Arc::new(Load { client, args, next: AtomicU64::new(0), end: AtomicU64::new(0), kept });
    let mut seen = Seen::default();
    let mut syncs = Vec::new();
    let mut took = Duration::ZERO;
    for turn in 1..=turns {
        if let Some(folder) = load.args.fsync_dir.clone() {
            let value_size = load.args.value_size;
            let timed = tokio::task::spawn_blocking(move || time_syncs(&folder, value_size)).await?;
            syncs.extend(timed?);
        }
        load.end.store(u64::try_from(u128::from(puts) * u128::from(turn) / u128::from(turns))?, Ordering::Relaxed);
        let limit = load.args.seconds.map(|seconds| Duration::from_secs_f64(seconds / f64::from(turns)));
        let began = Instant::now();
        turn_of(&load, limit, &mut seen).await?;
        took += began.elapsed();
    }
    if let Some(error) = seen.error.clone().filter(|_| seen.latencies.is_empty()) {
        return Err(explain(error));
    }
    let checked = if load.args.no_verify { None } else { Some(verify(&load).await?) };
    report(&load.args, &mut seen, &mut syncs, took, checked)
}

/// Lets all clients work until the puts, or the time, are used up.
async fn turn_of(load: &Arc<Load>, limit: Option<Duration>, seen: &mut Seen) -> Result<()> {
    let end = limit.map(|limit| Instant::now() + limit);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..load.args.clients {
        clients.spawn(work(load.clone(), end));
    }
    while let Some(one) = clients.join_next().await {
        let one = one.context("a client was interrupted")?;
        seen.latencies.extend(one.latencies);
        seen.failed += one.failed;
        seen.error = seen.error.take().or(one.error);
    }
    Ok(())
}

async fn work(load: Arc<Load>, end: Option<Instant>) -> Seen {
    let mut seen = Seen::default();
    let last = load.end.load(Ordering::Relaxed);
    while end.is_none_or(|end| Instant::now() < end) {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        if number >= last {
            // Not ours: it is the first of the next turn.
            load.next.fetch_min(last, Ordering::Relaxed);
            break;
        }
        let key = key_of(number, load.args.keys);
        // Two puts of one key in flight could be applied in either order; one at a time keeps the last one known.
        let mut kept = load.kept[usize::try_from(key).expect("as many as --keys")].lock().await;
        let value = value_of(number, load.args.value_size);
        let began = Instant::now();
        match load.client.put(name_of(key).as_bytes(), value).await {
            Ok(_) => {
                seen.latencies.push(began.elapsed());
                kept.last = Some(number);
                kept.open.clear();
            }
            Err(error) => {
                seen.failed += 1;
                if !matches!(error, Error::Refused { .. } | Error::Unavailable { .. }) {
                    kept.open.push(number);
                }
                seen.error = seen.error.or(Some(error));
            }
        }
    }
    seen
}

/// Reads back every key that was put. Returns how many.
async fn verify(load: &Arc<Load>) -> Result<u64> {
    let next = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..load.args.clients.min(64) {
        let (load, next) = (load.clone(), next.clone());
        readers.spawn(async move {
            let mut checked = 0_u64;
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                let Some(kept) = usize::try_from(key).ok().and_then(|at| load.kept.get(at)) else { return Ok(checked) };
                let kept = kept.lock().await;
                let Some(last) = kept.last else { continue };
                let found = load.client.get(name_of(key).as_bytes(), Level::Default).await.map_err(explain)?;
                let found = found.map(|found| found.value);
                let expected = std::iter::once(last).chain(kept.open.iter().copied());
                let whole = expected.map(|number| value_of(number, load.args.value_size));
                ensure!(
                    whole.into_iter().any(|value| found.as_deref() == Some(value.as_slice())),
                    "key {} lost put {last}, which was acknowledged: it holds {:?}",
                    name_of(key),
                    found.map(|value| value.escape_ascii().to_string())
                );
                checked += 1;
            }
        });
    }
    let mut checked = 0;
    while let Some(one) = readers.join_next().await {
        checked += one.context("a reader was interrupted")??;
    }
    Ok(checked)
}

fn report(
    args: &BenchArgs,
    seen: &mut Seen,
    syncs: &mut [Duration],
    took: Duration,
    checked: Option<u64>,
) -> Result<()> {
    seen.latencies.sort_unstable();
    syncs.sort_unstable();
    let done = seen.latencies.len();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / took.as_secs_f64();
    let micros = |sorted: &[Duration], part| quantile(sorted, part).map(|span| span.as_micros());
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| micros(&seen.latencies, part));
    let sync = micros(syncs, 0.5);
    if args.cluster.json {
        let report = json!({
            "clients": args.clients, "keys": args.keys, "valueSize": args.value_size, "once": args.once,
            "puts": done, "failed": seen.failed, "seconds": took.as_secs_f64(), "putsPerSecond": rate,
            "p50Micros": p50, "p99Micros": p99, "maxMicros": max, "fdatasyncP50Micros": sync, "keysReadBack": checked,
        });
        say::line(report.to_string());
    } else {
        let ms =
            |micros: Option<u128>| micros.map_or("-".to_owned(), |us| format!("{}.{:03} ms", us / 1_000, us % 1_000));
        say::line(format!(
            "{done} puts of {} bytes over {} keys, {} clients: {rate:.0}/s, p50 {}, p99 {}, max {}",
            args.value_size,
            args.keys,
            args.clients,
            ms(p50),
            ms(p99),
            ms(max)
        ));
        if sync.is_some() {
            say::line(format!("fdatasync in the same folder and run: p50 {}", ms(sync)));
        }
        if let Some(checked) = checked {
            say::line(format!("{checked} keys read back: every acknowledged put is there"));
        }
    }
    match &seen.error {
        Some(error) => Err(explain(error.clone()).context(format!("{} puts failed, the first", seen.failed))),
        None => Ok(()),
    }
}

/// Times appending a value's worth of bytes to a file and syncing it, as the log does: within space set aside before.
fn time_syncs(folder: &Path, bytes: usize) -> Result<Vec<Duration>> {
    let path = folder.join("bench-fdatasync.tmp");
    let whole = || -> std::io::Result<Vec<Duration>> {
        let mut file = File::options().create(true).truncate(true).write(true).open(&path)?;
        let block = vec![0x5a; bytes.next_multiple_of(512)];
        file.write_all(&vec![0; block.len() * SYNC_SAMPLES])?;
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
        (0..SYNC_SAMPLES)
            .map(|_| {
                let began = Instant::now();
                file.write_all(&block)?;
                file.sync_data()?;
                Ok(began.elapsed())
            })
            .collect()
    };
    let timed = whole().with_context(|| format!("fdatasync cannot be timed in {}", folder.display()));
    // Nothing of value is lost if it stays.
    std::fs::remove_file(&path).ok();
    timed
}

/// Spreads puts over the keys so that neighbours in time are none in the store: steps by a large odd number, as a
/// multiplication by one does not meet a key twice before it has met them all, if `keys` shares no factor with it.
fn key_of(number: u64, keys: u64) -> u64 {
    u64::try_from(u128::from(number) * 2_654_435_761 % u128::from(keys)).expect("below keys")
}

fn name_of(key: u64) -> String {
    format!("bench/{key:012}")
}

fn value_of(number: u64, size: usize) -> Vec<u8> {
    let mut value = number.to_string().into_bytes();
    value.resize(size, b'.');
    value
}

fn quantile(sorted: &[Duration], part: f64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_meets_every_key_once_a_round() {
        let mut met: Vec<u64> = (0..1_000).map(|number| key_of(number, 1_000)).collect();
        met.sort_unstable();
        assert_eq!(met, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn quantile_is_the_smallest_that_covers_the_part() {
        let spans: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&spans, 0.5), Some(Duration::from_millis(50)));
        assert_eq!(quantile(&spans, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(&spans, 1.0), Some(Duration::from_millis(100)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
