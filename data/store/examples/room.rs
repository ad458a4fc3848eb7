//! How much more than it keeps the store takes for a moment: files are merged into new ones, and go only then. What
//! `disk.reserve` is to hold (`docs/store.md`, `docs/operations.md`).
//!
//! `cargo run --release -p hezong-store --example room -- KEYS MIB_PER_SECOND` writes a gibibyte of 4 KiB values, which cannot be
//! compressed, to random ones of so many keys, in a folder below the present one.

#![allow(clippy::print_stdout, reason = "a command that prints what it measured")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hezong_base::Rng;
use hezong_store::{Batch, FjallStore, Store};

const WRITTEN_MIB: u64 = 1_024;
const VALUE_BYTES: u64 = 4 << 10;
const BATCH: u64 = 64;
/// What is given back within this was taken for a moment.
const MOMENT: Duration = Duration::from_secs(2);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a number"));
    let (Some(keys), Some(rate)) = (arguments.next(), arguments.next()) else { panic!("KEYS MIB_PER_SECOND") };
    let folder = tempfile::tempdir_in(".").expect("the folder can be written to");
    let store = FjallStore::open(folder.path()).expect("the folder is empty");
    let is_over = AtomicBool::new(false);
    let sizes = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(folder.path(), &is_over));
        write(&store, keys, rate);
        thread::sleep(MOMENT);
        is_over.store(true, Ordering::Relaxed);
        watch.join().expect("it does not panic")
    });
    let given_back = |at: usize| {
        let soon = sizes[at..].iter().take_while(|(when, _)| *when < sizes[at].0 + MOMENT);
        sizes[at].1 - soon.map(|(_, bytes)| *bytes).min().expect("there is this one")
    };
    let moment = (0..sizes.len()).map(given_back).max().expect("it was looked at");
    let most = sizes.iter().map(|(_, bytes)| *bytes).max().expect("it was looked at");
    println!("at most {} MiB, of them {} MiB for a moment", most >> 20, moment >> 20);
}

fn write(store: &FjallStore, keys: u64, rate: u64) {
    let map = store.map("map").expect("a map");
    let (mut rng, begun) = (Rng::new(1), Instant::now());
    for done in 0..(WRITTEN_MIB << 20) / (BATCH * VALUE_BYTES) {
        let mut batch = Batch::new();
        for _ in 0..BATCH {
            let value: Vec<u8> = (0..VALUE_BYTES / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
            batch.put(map, rng.below(keys).to_be_bytes().to_vec(), value);
        }
        store.apply(&batch).expect("there is room");
        let due = Duration::from_secs_f64((done * BATCH * VALUE_BYTES) as f64 / (rate << 20) as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}

/// What the folder takes on the disk, over and over.
fn watch(folder: &Path, is_over: &AtomicBool) -> Vec<(Duration, u64)> {
    let (mut sizes, begun) = (Vec::new(), Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        sizes.push((begun.elapsed(), size(folder)));
        thread::sleep(Duration::from_millis(5));
    }
    sizes
}

fn size(folder: &Path) -> u64 {
    // What is gone by the time it is looked at takes nothing.
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}
