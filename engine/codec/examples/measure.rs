//! How long encoding takes: `cargo run --release -p hezong-codec --example measure`.
//!
//! An `Append` of 64 entries, as the leader sends it to each follower and both write it to their logs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hezong_base::{GroupId, Index, LogId, Term};
use hezong_codec::frame::{decode, encode_messages};
use hezong_codec::log::{to_change, to_write};
use hezong_codec::{FRAME_BYTES_MAX, Frame};
use hezong_raft::{Body, Entries, Entry, Message, Payload, Write};

const ENTRIES: u32 = 64;

#[expect(clippy::print_stdout, reason = "it is what a person runs it for")]
fn main() {
    println!("nanoseconds an entry, {ENTRIES} entries a batch");
    println!("{:>8} {:>8} {:>8} {:>10} {:>9}", "payload", "frame", "unframe", "to change", "to write");
    for bytes in [16, 256, 4_096] {
        let entry = |index| Entry {
            id: LogId::new(7, 1_000_000 + index),
            time: Duration::from_secs(1_000),
            payload: Payload::Command(Bytes::from(vec![1; bytes])),
        };
        let entries: Entries = (0..u64::from(ENTRIES)).map(entry).collect();
        let body = Body::Append {
            previous: Some(LogId::new(7, 999_999)),
            entries: entries.clone(),
            committed: Some(Index(999_999)),
        };
        let messages = [(GroupId(1), Message { term: Term(7), body })];
        let write = Write::Append(entries);
        let mut frame = BytesMut::new();
        encode_messages(&messages, &[], FRAME_BYTES_MAX, &mut frame).expect("it fits");
        let change = to_change(&write);

        let mut out = BytesMut::new();
        let encode = nanos(|| {
            out.clear();
            encode_messages(black_box(&messages), &[], FRAME_BYTES_MAX, &mut out).expect("it fits");
        });
        let decode = nanos(|| {
            let found = decode(&mut BytesMut::from(&frame[..]), FRAME_BYTES_MAX);
            assert!(matches!(black_box(found), Ok(Some(Frame::Messages(..)))));
        });
        let to_change = nanos(|| drop(black_box(to_change(black_box(&write)))));
        let to_write = nanos(|| drop(black_box(to_write(black_box(change.clone())))));
        println!("{bytes:>8} {encode:>8.0} {decode:>8.0} {to_change:>10.0} {to_write:>9.0}");
    }
}

/// The fastest of some runs, an entry.
fn nanos(mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let start = Instant::now();
        (0..1_000).for_each(|_| work());
        start.elapsed()
    };
    let fastest = (0..20).map(run).min().unwrap_or_default();
    fastest.as_secs_f64() * 1e9 / f64::from(1_000 * ENTRIES)
}
