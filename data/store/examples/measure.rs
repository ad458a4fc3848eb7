//! Measures both disk stores in turn, for the decision in `docs/store.md`.
//!
//! `cargo run --release -p hezong-store --example measure -- [keys] [rounds]`
//!
//! Each round runs each store in a process of its own, so that memory is its own: it fills `keys` keys of 256 bytes in
//! random order in batches of 64, overwrites half as many, persists once a second, reads at random, and is killed and
//! opened again. The two take turns, so that whatever else the machine does hits both alike.
#![allow(clippy::print_stdout, reason = "a command that prints what it measured")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hezong_base::Rng;
use hezong_store::{Batch, FjallStore, KeyRange, RedbStore, Store, View};

const BATCH: u64 = 64;
const VALUE: usize = 256;
const GETS: u64 = 200_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [mode, which, folder, keys] = &arguments[..] {
        let (folder, keys) = (Path::new(folder), keys.parse().expect("a number of keys"));
        match (mode.as_str(), which.as_str()) {
            ("fill", "fjall") => fill(&FjallStore::open(folder).expect("opens"), folder, keys),
            ("fill", "redb") => fill(&RedbStore::open(folder).expect("opens"), folder, keys),
            ("reopen", "fjall") => reopen(|| FjallStore::open(folder).expect("opens"), keys),
            ("reopen", "redb") => reopen(|| RedbStore::open(folder).expect("opens"), keys),
            ("idle", "fjall") => idle(&FjallStore::open(folder).expect("opens")),
            ("idle", "redb") => idle(&RedbStore::open(folder).expect("opens")),
            _ => return ExitCode::FAILURE,
        }
        // Killed, not closed: what is measured at the next start is recovery.
        std::process::abort();
    }
    let number = |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (keys, rounds) = (number(0, 1_000_000), number(1, 2));
    let myself = env::current_exe().expect("a running program has a path");
    let run = |mode: &str, which: &str, folder: &Path| {
        let status = Command::new(&myself).args([mode, which]).arg(folder).arg(keys.to_string()).status();
        status.expect("can start itself");
    };
    println!("{keys} keys of {VALUE} bytes, batches of {BATCH}");
    for round in 1..=rounds {
        for which in ["fjall", "redb"] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            println!("round {round} {which}");
            run("idle", which, folder.path());
            run("fill", which, folder.path());
            run("reopen", which, folder.path());
        }
    }
    ExitCode::SUCCESS
}

/// Kilobytes resident, now and at most.
fn resident() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a field of the kernel's");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processor time of all threads so far.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("a field").split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time");
    Duration::from_millis(ticks * 10)
}

fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let size = |entry: fs::DirEntry| {
        let about = entry.metadata().expect("about a file");
        if about.is_dir() { disk(&entry.path()) } else { about.blocks() * 512 }
    };
    entries.map(size).sum()
}

fn key(number: u64) -> Bytes {
    format!("user/{number:010}").into()
}

fn idle(store: &impl Store) {
    store.map("keys").expect("opens");
    println!("  idle: resident {} MiB", resident().0 / 1_024);
}

fn fill(store: &impl Store, folder: &Path, keys: u64) {
    let map = store.map("keys").expect("opens");
    let meta = store.map("meta").expect("opens");
    let mut rng = Rng::new(1);
    let (mut puts, mut batches, mut persists) = (0, 0_u64, Vec::new());
    let mut slowest = Duration::ZERO;
    let (start, cpu) = (Instant::now(), processor());
    let mut persisted = Instant::now();
    // Every key once, in an order that looks random, then random ones again. A prime that does not divide `keys` visits
    // all of them.
    let stride = 2_654_435_761;
    assert!(!keys.is_multiple_of(stride), "choose another number of keys");
    let mut number = 0;
    while puts < keys + keys / 2 {
        let view = store.view().expect("a view");
        let mut batch = Batch::new();
        for _ in 0..BATCH {
            number = if puts < keys { (number + stride) % keys } else { rng.below(keys) };
            let key = key(number);
            // A state machine reads what it overwrites.
            let _old = view.get(map, &key).expect("reads");
            let mut value = vec![0; VALUE];
            for chunk in value.chunks_mut(8) {
                chunk.copy_from_slice(&rng.next_u64().to_le_bytes());
            }
            batch.put(map, key, value);
            puts += 1;
        }
        batch.put(meta, "applied", batches.to_le_bytes().to_vec());
        let before = Instant::now();
        store.apply(&batch).expect("applies");
        slowest = slowest.max(before.elapsed());
        batches += 1;
        if persisted.elapsed() >= Duration::from_secs(1) {
            let before = Instant::now();
            store.persist().expect("persists");
            persists.push(before.elapsed());
            persisted = Instant::now();
        }
    }
    store.persist().expect("persists");
    let (elapsed, cpu) = (start.elapsed(), processor() - cpu);
    persists.sort_unstable();
    let micros = |span: Duration, of: u64| span.as_secs_f64() * 1e6 / of as f64;
    println!(
        "  fill: {puts} puts in {:.1} s, {:.2} us each, {:.2} us of processor each; slowest batch {:.0} ms; persist p50 {:.0} ms, max {:.0} ms",
        elapsed.as_secs_f64(),
        micros(elapsed, puts),
        micros(cpu, puts),
        slowest.as_secs_f64() * 1e3,
        persists.get(persists.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3,
        persists.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
    );
    println!(
        "  after fill: resident {} MiB, at most {} MiB; disk {} MiB",
        resident().0 / 1_024,
        resident().1 / 1_024,
        disk(folder) >> 20
    );
    gets(store, keys);
    // Some seconds of writes that are not persisted, so that there is something to recover.
    for _ in 0..500 {
        let mut batch = Batch::new();
        for _ in 0..BATCH {
            batch.put(map, key(rng.below(keys)), vec![1; VALUE]);
        }
        store.apply(&batch).expect("applies");
    }
}

fn gets(store: &impl Store, keys: u64) {
    let map = store.map("keys").expect("opens");
    let mut rng = Rng::new(2);
    let (start, cpu) = (Instant::now(), processor());
    for _ in 0..GETS {
        let found = store.view().expect("a view").get(map, &key(rng.below(keys))).expect("reads");
        assert!(found.is_some_and(|value| value.len() == VALUE));
    }
    let micros = |span: Duration| span.as_secs_f64() * 1e6 / GETS as f64;
    println!(
        "  gets: {:.2} us each, {:.2} us of processor; resident {} MiB",
        micros(start.elapsed()),
        micros(processor() - cpu),
        resident().0 / 1_024
    );
    let start = Instant::now();
    let view = store.view().expect("a view");
    let count = view.range(map, KeyRange::ALL).expect("reads").inspect(|pair| assert!(pair.is_ok())).count();
    println!("  scan: {count} keys, {:.2} us each", start.elapsed().as_secs_f64() * 1e6 / count as f64);
}

fn reopen<S: Store>(open: impl Fn() -> S, keys: u64) {
    let start = Instant::now();
    let store = open();
    let map = store.map("keys").expect("opens");
    let found = store.view().expect("a view").get(map, &key(keys / 2)).expect("reads");
    assert!(found.is_some());
    println!("  reopen after kill: {:.0} ms to the first read", start.elapsed().as_secs_f64() * 1e3);
    gets(&store, keys);
    println!("  after reopen and gets: resident {} MiB, at most {} MiB", resident().0 / 1_024, resident().1 / 1_024);
}
