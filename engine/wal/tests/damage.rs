//! Damage at every offset of small logs: what was synced is refused by file and offset, what was not is cut, and nothing
//! else ever happens.
//!
//! The tests read the layout of `docs/wal.md` for themselves, so that a change of the layout shows here.

mod common;

use std::sync::Arc;

use common::{Twin, append, compact, options, reset, state, truncate};
use hezong_base::{GroupId, Index, Rng};
use hezong_codec::log::Record;
use hezong_wal::model::ModelFolder;
use hezong_wal::{DiskFolder, OpenError, ReadError, Wal};

const SEGMENT: u64 = 4 << 10;
/// 64 bytes and the identity of 16.
const HEADER: u64 = 80;

/// A small log, with what it held after every batch of its newest segment.
struct Log {
    model: ModelFolder,
    newest: String,
    bytes: Vec<u8>,
    /// Where the newest segment's opening ends.
    opening_end: u64,
    /// Behind the opening: start and end of each batch, and what the log holds with it.
    batches: Vec<(u64, u64, Twin)>,
    /// What the log holds without any of them.
    before: Twin,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Start and end of every batch of a segment.
fn walk(bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = HEADER as usize;
    while bytes[at..at + 4] == *b"hzB1" {
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at + (32 + length).next_multiple_of(8);
        found.push((at as u64, end as u64));
        at = end;
    }
    found
}

fn segments(model: &ModelFolder) -> Vec<String> {
    model.files().into_iter().filter(|name| name.ends_with(".wal")).collect()
}

/// Batches of every kind of record, synced now and then, over `before` segments' worth of earlier ones.
fn log(filler: usize) -> Log {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
    let mut twins = vec![Twin::default()];
    let mut put = |wal: &mut Wal, records: &[Record]| {
        wal.append(records).unwrap();
        let mut twin = twins.last().unwrap().clone();
        records.iter().for_each(|record| twin.apply(record));
        twins.push(twin);
    };
    put(&mut wal, &[reset(1, None, b"members"), reset(2, Some(5), b"b2"), state(3, b"s")]);
    for at in 0..filler as u64 {
        put(&mut wal, &[append(1, at + 1, &[&[b'f'; 300]])]);
    }
    wal.sync().unwrap();
    let at = filler as u64;
    let last: [&[Record]; 8] = [
        &[append(1, at + 1, &[b"one", b"two"]), state(1, b"term 1")],
        &[append(2, 6, &[b"six"]), append(1, at + 3, &[b"three", b"", b"five"])],
        &[truncate(1, at + 4)],
        &[append(1, at + 4, &[b"four again"]), state(2, b"term 2, vote 3")],
        &[compact(2, 6, b"base at six")],
        &[reset(3, Some(9), b"from a snapshot"), append(3, 10, &[b"ten"])],
        &[append(1, at + 5, &[b"synced? no"])],
        &[append(1, at + 6, &[b"the last one"]), truncate(3, 10)],
    ];
    for (at, records) in last.iter().enumerate() {
        put(&mut wal, records);
        if at == 1 || at == 4 {
            wal.sync().unwrap();
        }
    }
    drop(wal);
    let newest = segments(&model).last().unwrap().clone();
    let bytes = model.contents(&newest).unwrap();
    let opening_end = u64_at(&bytes, 56);
    let all: Vec<_> = walk(&bytes).into_iter().filter(|(start, _)| *start >= opening_end).collect();
    assert!(all.len() > last.len(), "the segment turned among the last; change the filler");
    let twins = twins.split_off(twins.len() - all.len() - 1);
    let before = twins[0].clone();
    let batches: Vec<_> = all.into_iter().zip(&twins[1..]).map(|((a, b), twin)| (a, b, twin.clone())).collect();
    let log = Log { model, newest, bytes, opening_end, batches, before };
    assert_eq!(
        log.mark(&log.bytes),
        log.batches[log.batches.len() - 4].1,
        "the sixth knows of the sync after the fifth"
    );
    log
}

impl Log {
    /// The highest synced mark that is left in these bytes.
    fn mark(&self, bytes: &[u8]) -> u64 {
        let is_intact = |start: &u64, end: &u64| {
            let range = *start as usize..*end as usize;
            bytes.get(range.clone()) == Some(&self.bytes[range])
        };
        let marks = self.batches.iter().filter(|(start, end, _)| is_intact(start, end));
        marks.map(|(start, ..)| u64_at(bytes, *start as usize + 16)).fold(self.opening_end, u64::max)
    }
}

/// Opens the damaged log, whose first wrong byte is at `at`, and checks that what happens is what must.
fn check(log: &Log, damaged: &ModelFolder, at: u64, what: &str) {
    let start_of_bad = log.batches.iter().find(|(_, end, _)| at < *end).map(|(start, ..)| *start);
    let result = Wal::open(damaged.handle(), options(SEGMENT));
    let expected_corrupt = if at < HEADER {
        Some(0)
    } else if at < log.opening_end {
        walk(&log.bytes).iter().find(|(_, end)| at < *end).map(|(start, _)| *start)
    } else {
        start_of_bad.filter(|start| *start < log.mark(&damaged.contents("before").expect("every test leaves a copy")))
    };
    match (result, expected_corrupt) {
        (Err(OpenError::Corrupt { path, offset, .. }), Some(expected)) => {
            assert_eq!((path, offset), (format!("model/{}", log.newest), expected), "{what}");
            assert_eq!(damaged.contents(&log.newest), damaged.contents("before"), "{what}: a refused log was changed");
        }
        (Ok((wal, recovered)), None) => {
            let expected = log.batches.iter().take_while(|(_, end, _)| *end <= at).last();
            let expected = expected.map_or(&log.before, |(.., twin)| twin);
            assert_eq!(Twin::of(&wal, &recovered), *expected, "{what}");
            let mark = log.mark(&damaged.contents("before").expect("every test leaves a copy"));
            let accepted = log.batches.iter().filter(|(start, end, _)| *end <= at && *start >= mark);
            assert_eq!(wal.opened().unsynced_batches, accepted.count() as u64, "{what}");
            if let Some(cut) = &wal.opened().cut {
                let end = log.batches.last().unwrap().1;
                assert_eq!(cut.offset, start_of_bad.unwrap_or(end), "{what}");
            }
            assert_eq!(wal.opened().cut.is_some(), tail_is_not_zero(damaged, log, start_of_bad), "{what}");
            drop(wal);
            if !at.is_multiple_of(8) {
                return;
            }
            // It must stand as it was told, also when power is lost right after.
            damaged.crash(&mut Rng::new(at));
            let (wal, recovered) = Wal::open(damaged.handle(), options(SEGMENT)).unwrap();
            assert_eq!(Twin::of(&wal, &recovered), *expected, "{what}, opened again");
        }
        (result, expected) => panic!("{what}: {:?}, expected corruption at {expected:?}", result.map(|_| ())),
    }
}

/// The original is removed once it was rewritten, so that what was there is told by the copy taken before.
fn tail_is_not_zero(damaged: &ModelFolder, log: &Log, start_of_bad: Option<u64>) -> bool {
    let from = start_of_bad.unwrap_or_else(|| log.batches.last().unwrap().1) as usize;
    let before = damaged.contents("before").expect("every test leaves a copy");
    before.get(from..).is_some_and(|tail| tail.iter().any(|byte| *byte != 0))
}

/// A copy of the log whose newest segment has these bytes instead.
fn with(log: &Log, bytes: &[u8]) -> ModelFolder {
    let damaged = log.model.fork();
    damaged.put(&log.newest, bytes);
    damaged.put("before", bytes);
    damaged
}

/// The logs that are damaged: of one segment, and of several.
fn logs() -> [Log; 2] {
    [log(1), log(24)]
}

#[test]
fn undamaged() {
    for log in logs() {
        let len = log.bytes.len() as u64;
        check(&log, &with(&log, &log.bytes), len, "undamaged");
    }
    assert_eq!(segments(&logs()[0].model).len(), 1);
    assert!(segments(&logs()[1].model).len() > 1);
}

#[test]
fn flip_every_bit() {
    let [small, large] = logs();
    for (log, bits) in [(small, 8), (large, 1)] {
        let end = log.batches.last().unwrap().1;
        for at in 0..end + 64 {
            for bit in 0..bits {
                // Every bit of the small log; of the large one, one of every byte.
                let bit = (bit + at) % 8;
                let mut bytes = log.bytes.clone();
                bytes[at as usize] ^= 1 << bit;
                check(&log, &with(&log, &bytes), at, &format!("bit {bit} of byte {at} flipped"));
            }
        }
    }
}

#[test]
fn cut_everywhere() {
    for log in logs() {
        let end = log.batches.last().unwrap().1;
        for at in 0..=end {
            check(&log, &with(&log, &log.bytes[..at as usize]), at, &format!("cut at {at}"));
        }
    }
}

#[test]
fn zero_from_everywhere() {
    let [small, large] = logs();
    for (log, step) in [(small, 1), (large, 5)] {
        let end = log.batches.last().unwrap().1;
        for from in (0..end).step_by(step) {
            // To the end; a sector; a few bytes: the last two leave good batches behind the bad one.
            for length in [u64::MAX, 512, 16] {
                let mut bytes = log.bytes.clone();
                let to = from.saturating_add(length).min(bytes.len() as u64);
                bytes[from as usize..to as usize].fill(0);
                let Some(at) = bytes.iter().zip(&log.bytes).position(|(a, b)| a != b) else { continue };
                check(&log, &with(&log, &bytes), at as u64, &format!("zero from {from} to {to}"));
            }
        }
    }
}

/// Every subset of the batches of the tail reaches the disk: later ones without earlier ones too.
#[test]
fn reorder_between_syncs() {
    for log in logs() {
        let mark = log.mark(&log.bytes);
        let tail: Vec<_> = log.batches.iter().filter(|(start, ..)| *start >= mark).collect();
        assert_eq!(tail.len(), 3);
        for kept in 0..1 << tail.len() {
            let mut bytes = log.bytes.clone();
            for (at, (start, end, _)) in tail.iter().enumerate() {
                if kept & 1 << at == 0 {
                    bytes[*start as usize..*end as usize].fill(0);
                }
            }
            let at = bytes.iter().zip(&log.bytes).position(|(a, b)| a != b).unwrap_or(bytes.len());
            check(&log, &with(&log, &bytes), at as u64, &format!("batches kept: {kept:b}"));
        }
    }
}

/// Bytes of another place in the segment, or of another segment, are not taken for what should be there.
#[test]
fn bytes_of_elsewhere() {
    for log in logs() {
        for (from, from_end, _) in &log.batches {
            for (to, ..) in log.batches.iter().filter(|(to, ..)| to != from) {
                let mut bytes = log.bytes.clone();
                let moved = log.bytes[*from as usize..*from_end as usize].to_vec();
                bytes[*to as usize..*to as usize + moved.len()].copy_from_slice(&moved);
                let at = bytes.iter().zip(&log.bytes).position(|(a, b)| a != b).unwrap();
                check(&log, &with(&log, &bytes), at as u64, &format!("{from} moved to {to}"));
            }
        }
    }
    // A disk block that belonged to another segment: right place, right checksum, wrong segment.
    for log in logs() {
        for (start, end, _) in &log.batches {
            let mut bytes = log.bytes.clone();
            let batch = &mut bytes[*start as usize..*end as usize];
            let checksum = crc32c::crc32c_append(crc32c::crc32c(&77_u64.to_le_bytes()), &batch[8..]);
            batch[4..8].copy_from_slice(&checksum.to_le_bytes());
            check(&log, &with(&log, &bytes), start + 4, &format!("the batch at {start} is of segment 77"));
        }
    }
}

/// In all segments but the newest, everything up to the end that the next one states was synced.
#[test]
fn sealed_segment_every_byte() {
    let log = log(24);
    let names = segments(&log.model);
    for (at, name) in names[..names.len() - 1].iter().enumerate() {
        let bytes = log.model.contents(name).unwrap();
        let next = log.model.contents(&names[at + 1]).unwrap();
        let end = u64_at(&next, 40);
        for byte in 0..end + 8 {
            for damage in ["flip", "zero", "cut"] {
                let mut damaged = bytes.clone();
                match damage {
                    "flip" => damaged[byte as usize] ^= 1 << (byte % 8),
                    "zero" => damaged[byte as usize..].fill(0),
                    _ => damaged.truncate(byte as usize),
                }
                let first = damaged.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(damaged.len()) as u64;
                let start = match first {
                    _ if first >= end => None,
                    0..HEADER => Some(0),
                    _ => walk(&bytes).iter().find(|(_, end)| first < *end).map(|(start, _)| *start),
                };
                let model = log.model.fork();
                model.put(name, &damaged);
                let what = format!("{damage} at {byte} of {name}");
                match (Wal::open(model.handle(), options(SEGMENT)), start) {
                    (Err(OpenError::Corrupt { path, offset, .. }), Some(start)) => {
                        assert_eq!((path, offset), (format!("model/{name}"), start), "{what}");
                    }
                    (Ok((wal, recovered)), None) => {
                        assert_eq!(Twin::of(&wal, &recovered), log.batches.last().unwrap().2, "{what}");
                    }
                    (result, start) => panic!("{what}: {:?}, expected {start:?}", result.map(|_| ())),
                }
            }
        }
    }
}

#[test]
fn missing_segment_refused() {
    let log = log(24);
    let names = segments(&log.model);
    for (at, name) in names[..names.len() - 1].iter().enumerate() {
        let model = log.model.fork();
        model.take(name);
        match Wal::open(model.handle(), options(SEGMENT)) {
            Err(OpenError::Missing { path, named_by }) => {
                assert_eq!(path, format!("model/{name}"));
                assert_eq!(named_by, format!("model/{}", names[at + 1]));
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

/// Headers and batches that contradict each other, with checksums that are right: a bug of ours, but not believed.
#[test]
fn contradictions_refused() {
    let log = log(24);
    let number = u64_at(&log.bytes, 24);
    let header = |at: usize, value: u64| {
        let mut bytes = log.bytes.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[20..HEADER as usize]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let batch = |field: usize, value: &[u8]| {
        let (start, end, _) = log.batches[log.batches.len() - 4];
        let mut bytes = log.bytes.clone();
        let batch = &mut bytes[start as usize..end as usize];
        batch[field..field + value.len()].copy_from_slice(value);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &batch[8..]);
        batch[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let previous = log.model.contents(&segments(&log.model)[1]).unwrap();
    let last_of_previous = *walk(&previous).last().unwrap();
    let cases = [
        ("another's number", header(24, number + 1), "the segment has the number of another"),
        ("no segment before it", header(32, 0), "it names no segment before it, though one is needed"),
        ("itself before it", header(32, number), "the segment it names as the one before it cannot be"),
        ("an end inside a batch", header(40, last_of_previous.1 - 8), "the segment should end at offset"),
        ("an end behind the end", header(40, last_of_previous.1 + 8), "this batch was synced, up to offset"),
        ("an opening behind the end", header(56, SEGMENT), "this batch was synced, up to offset 4096"),
        ("a record too many", batch(12, &9_u32.to_le_bytes()), "records, not 9"),
        ("a mark behind the batch", batch(16, &SEGMENT.to_le_bytes()), "its synced mark lies behind it"),
        ("an unknown kind", batch(32 + 4, &[99]), "the record is malformed"),
        ("a change that does not fit", batch(32 + 16, &9_u64.to_le_bytes()), "cannot compact through 9"),
    ];
    for (what, bytes, expected) in cases {
        match Wal::open(with(&log, &bytes).handle(), options(SEGMENT)) {
            Err(OpenError::Corrupt { reason, .. }) => assert!(reason.contains(expected), "{what}: {reason}"),
            other => panic!("{what}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn newer_format_refused() {
    let log = log(1);
    let mut bytes = log.bytes.clone();
    bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
    let prefix = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&prefix.to_le_bytes());
    match Wal::open(with(&log, &bytes).handle(), options(SEGMENT)) {
        Err(OpenError::Version { path, found: 7, ours: 1 }) => assert_eq!(path, format!("model/{}", log.newest)),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// After a clean close even the last batch cannot be taken for a torn one.
#[test]
fn close_seals_the_last_batch() {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), options(SEGMENT)).unwrap();
    wal.append(&[append(1, 1, &[b"last"])]).unwrap();
    wal.close().unwrap();
    let name = &segments(&model)[0];
    let mut bytes = model.contents(name).unwrap();
    bytes[HEADER as usize + 40] ^= 1;
    model.put(name, &bytes);
    let result = Wal::open(model.handle(), options(SEGMENT)).map(|_| ());
    assert!(matches!(result, Err(OpenError::Corrupt { offset: HEADER, .. })), "{result:?}");
}

/// An entry damaged after the log was opened is not handed out.
#[test]
fn read_of_damaged_entry_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = || Arc::new(DiskFolder::open(temporary.path()).unwrap());
    let (mut wal, _) = Wal::open(folder(), options(SEGMENT)).unwrap();
    wal.append(&[append(1, 1, &[b"first", b"second", b"third"])]).unwrap();
    let path = temporary.path().join("0000000000000001.wal");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let read = |index| wal.read(GroupId(1), Index(index), Index(index), 100);
    assert_eq!(read(1).unwrap(), ["first"]);
    match read(2) {
        Err(ReadError::Corrupt { path: found, offset, .. }) => {
            assert_eq!((found, offset), (path.display().to_string(), HEADER + 32));
        }
        other => panic!("{other:?}"),
    }
}
