//! Measures what applying costs on the store the server runs on.
//!
//! `cargo run --release -p hezong-kv --example apply -- [puts] [keys]`: puts of 256 bytes over random keys in slices of
//! 64 entries, persisted once a second; the same again under idempotency keys.
#![allow(clippy::print_stdout, reason = "a command that prints what it measured")]

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hezong_base::{LogId, Rng};
use hezong_kv::{Command, Kv, Once, Request, Rules};
use hezong_node::StateMachine;
use hezong_raft::{Entry, Payload};

fn main() {
    let number = |at: usize, default: u64| env::args().nth(at).map_or(default, |text| text.parse().expect("a number"));
    let (puts, keys) = (number(1, 300_000), number(2, 100_000));
    for once in [false, true] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = hezong_store::open(folder.path().join("state")).expect("opens");
        let mut kv = Kv::open(store, "kv", Rules::default()).expect("opens");
        let mut rng = Rng::new(1);
        let (mut busy, mut cpu, mut persisted) = (Duration::ZERO, Duration::ZERO, Instant::now());
        let mut index = 0;
        while index < puts {
            // Made beforehand, so that only applying is measured.
            let entries: Vec<Entry> = (0..64 * 256)
                .map(|_| {
                    index += 1;
                    entry(index, rng.below(keys), once)
                })
                .collect();
            let (start, before) = (Instant::now(), processor());
            for slice in entries.chunks(64) {
                kv.apply(slice).expect("applies");
                if persisted.elapsed() >= Duration::from_secs(1) {
                    kv.persist().expect("persists");
                    persisted = Instant::now();
                }
            }
            busy += start.elapsed();
            cpu += processor() - before;
        }
        let micros = |span: Duration| span.as_secs_f64() * 1e6 / index as f64;
        let what = if once { "puts under idempotency keys" } else { "puts" };
        println!(
            "{index} {what} over {keys} keys: {:.2} us each, {:.2} us of processor each; resident {} MiB",
            micros(busy),
            micros(cpu),
            resident()
        );
    }
}

fn entry(index: u64, key: u64, once: bool) -> Entry {
    let mut value = vec![0; 256];
    value[..8].copy_from_slice(&index.to_le_bytes());
    let command = Command::Put(vec![(format!("user/{key:010}").into(), value.into())]);
    let once = once.then(|| Once::idempotency(Bytes::from(format!("request-{index:020}")), &command));
    let payload = Payload::Command(Request { once, command }.encode());
    // A thousandth of the window of idempotency keys, so that they are forgotten as fast as they come.
    Entry { id: LogId::new(1, index), time: Duration::from_millis(index * 10), payload }
}

/// Processor time of all threads so far, the background ones of the store included.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let own: u64 = stat.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let all: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(all.max(own))
}

/// Mebibytes resident.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a field of the kernel's");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") / 1_024
}
