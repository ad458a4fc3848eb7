//! Figures of the log on a folder of your choice:
//!
//! ```text
//! cargo run --release -p hezong-wal --example measure -- FOLDER
//! ```
//!
//! It measures fdatasync after a small write into a growing file and into one set aside in advance, append and sync of
//! one 300-byte record, group commit of 64, and opening a log of a million entries. What it writes it removes.

#![allow(clippy::print_stdout, reason = "a program that measures prints what it measured")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hezong_base::{GroupId, Index};
use hezong_codec::log::{Change, Record};
use hezong_wal::{DiskFolder, Folder, Options, Wal};

const ENTRY_BYTES: usize = 300;
const SYNCS: usize = 1_000;
const ENTRIES: u64 = 1_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let parent = std::env::args().nth(1).ok_or("name a folder to measure in")?;
    let folder = PathBuf::from(parent).join(format!("hezong-measure-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = measure(&folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(folder: &Path) -> Outcome<()> {
    // Interleaved, since a disk's mood changes by the second.
    for round in 1..=3 {
        println!("round {round}");
        report("  fdatasync, growing file", &mut plain(folder, false)?);
        report("  fdatasync, file set aside", &mut plain(folder, true)?);
        report("  append + sync of 1 record", &mut commits(folder, 1)?);
        report("  append + sync of 64 records", &mut commits(folder, 64)?);
    }
    open_large(folder, 1)?;
    open_large(folder, 64)
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_micros();
    println!("{what:<30} p50 {:>5} us   p90 {:>5} us   p99 {:>5} us", at(50), at(90), at(99));
}

fn plain(folder: &Path, set_aside: bool) -> Outcome<Vec<Duration>> {
    let path = folder.join("plain");
    let file = File::create(&path)?;
    if set_aside {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20)?;
    }
    file.sync_all()?;
    let bytes = [7; ENTRY_BYTES + 72];
    let mut times = Vec::new();
    for at in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&bytes, (at * bytes.len()) as u64)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(times)
}

fn log(folder: &Path) -> Outcome<(Wal, usize)> {
    let folder: Arc<dyn Folder> = Arc::new(DiskFolder::open(folder.join("log"))?);
    let (wal, recovered) = Wal::open(folder, Options::new("measure"))?;
    Ok((wal, recovered.len()))
}

/// `count` records of one entry each in one batch.
fn batch(next: &mut u64, count: u64) -> Vec<Record> {
    let record = |index| {
        let entries = vec![Bytes::from(vec![index as u8; ENTRY_BYTES])];
        Record { group: GroupId(1), change: Change::Append { first: Index(index), entries } }
    };
    let records = (*next..*next + count).map(record).collect();
    *next += count;
    records
}

fn commits(folder: &Path, count: u64) -> Outcome<Vec<Duration>> {
    let (mut wal, _) = log(folder)?;
    let mut next = 1;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let records = batch(&mut next, count);
        let start = Instant::now();
        wal.append(&records)?;
        wal.sync()?;
        times.push(start.elapsed());
    }
    drop(wal);
    std::fs::remove_dir_all(folder.join("log"))?;
    Ok(times)
}

fn open_large(folder: &Path, count: u64) -> Outcome<()> {
    let (mut wal, _) = log(folder)?;
    let mut next = 1;
    let start = Instant::now();
    let mut turn = Duration::ZERO;
    while next <= ENTRIES {
        let records = batch(&mut next, count);
        let start = Instant::now();
        wal.append(&records)?;
        turn = turn.max(start.elapsed());
    }
    wal.sync()?;
    let written = start.elapsed();
    println!(
        "{ENTRIES} entries of {ENTRY_BYTES} B, {count} a batch: {} MB in {} segments",
        wal.disk_bytes() >> 20,
        wal.segments()
    );
    println!("  written in {written:.2?}, without syncs between; the longest append {turn:.2?}");
    drop(wal);
    let before = resident()?;
    let start = Instant::now();
    let (wal, _) = log(folder)?;
    println!("  opened in {:.2?}; {:?}", start.elapsed(), wal.opened());
    let start = Instant::now();
    let mut found = 0;
    for chunk in wal.reader().entries(GroupId(1)) {
        found += chunk?.1.len() as u64;
    }
    println!(
        "  all {found} read in {:.2?}; resident memory {before} kB before, {} kB after",
        start.elapsed(),
        resident()?
    );
    let mut times = Vec::new();
    for at in 0..10_000 {
        let index = Index(1 + at * 7_919 % ENTRIES);
        let start = Instant::now();
        wal.read(GroupId(1), index, index, 1)?;
        times.push(start.elapsed());
    }
    report("  one entry read at random", &mut times);
    drop(wal);
    std::fs::remove_dir_all(folder.join("log"))?;
    Ok(())
}

fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}
