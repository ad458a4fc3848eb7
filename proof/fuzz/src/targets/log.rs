//! The file of a log. Its first byte says whether checksums are set right, so that what lies behind them is reached; then
//! the log is opened, repaired if it is found corrupt, read, and written to.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{GroupId, Index, LogId, Rng};
use hezong_codec::log::{Change, Record, Witness, encode_entry, to_change, to_write};
use hezong_raft::{Base, Entry, Payload};
use hezong_wal::model::ModelFolder;
use hezong_wal::{OpenError, Options, Recovered, Wal};

use super::random;

/// The first segment's name.
const FILE: &str = "0000000000000001.wal";
const IDENTITY: &[u8] = b"cluster 1 node 1";
/// The bytes of a segment before its first batch, with this identity.
const HEADER_BYTES: usize = 64 + IDENTITY.len();
/// The bytes of a batch before its records.
const BATCH_BYTES: usize = 32;

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::new(IDENTITY) }
}

pub(super) fn sample(rng: &mut Rng) -> Vec<u8> {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), options()).expect("an empty folder is a log");
    let mut ends = [0_u64; 2];
    for _ in 0..=rng.below(6) {
        let group = rng.below(2);
        let end = &mut ends[usize::from(group == 1)];
        let change = match rng.below(4) {
            0 => to_change(&random::write(rng)),
            1 if *end > 0 => Change::Truncate { from: Index(1 + rng.below(*end)) },
            _ => Change::Append { first: Index(*end + 1), entries: entries(rng, *end) },
        };
        match &change {
            Change::State(_) => {}
            Change::Append { first, entries } if first.0 == *end + 1 => *end += entries.len() as u64,
            Change::Truncate { from } if from.0 <= *end => *end = from.0 - 1,
            // What does not follow is refused, and is no valid log.
            Change::Append { .. } | Change::Truncate { .. } | Change::Compact { .. } | Change::Reset { .. } => continue,
        }
        wal.append(&[Record { group: GroupId(1 + group), change }]).expect("it follows, and there is room");
        if rng.chance(700) {
            wal.sync().expect("the disk is a model");
        }
    }
    wal.sync().expect("the disk is a model");
    let mut bytes = model.contents(FILE).expect("the log has begun");
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    let mut input = vec![u8::from(rng.chance(800))];
    input.extend(bytes);
    input
}

fn entries(rng: &mut Rng, end: u64) -> Vec<Bytes> {
    let entry = |index| {
        let payload = Payload::Command(random::blob(rng));
        encode_entry(&Entry { id: LogId::new(1, index), time: Duration::from_nanos(index), payload })
    };
    (end + 1..=end + 3).map(entry).collect()
}

pub(super) fn run(input: &[u8]) -> bool {
    let Some((sealed, bytes)) = input.split_first() else { return false };
    let mut bytes = bytes.to_vec();
    if sealed % 2 == 1 {
        seal(&mut bytes);
    }
    let model = ModelFolder::new();
    model.put(FILE, &bytes);
    let opened = match Wal::open(model.handle(), options()) {
        Err(OpenError::Corrupt { .. }) => {
            let applied = Base { last: Some(LogId::new(1, 2)), ..Base::default() };
            let applied = [(GroupId(1), None), (GroupId(2), Some(applied))].into();
            Wal::repair(model.handle(), options(), &Witness { applied, ..Witness::default() })
        }
        opened => opened,
    };
    let Ok((mut wal, recovered)) = opened else { return false };
    fold(&wal, &recovered);
    // Whatever it holds, it goes on.
    let change = Change::State(Bytes::from_static(b"state"));
    wal.append(&[Record { group: GroupId(9), change }]).expect("a group that begins");
    wal.sync().expect("the disk is a model");
    drop(wal);
    let (wal, again) = Wal::open(model.handle(), options()).expect("what was rewritten is whole");
    fold(&wal, &again);
    assert_eq!(again.len(), recovered.iter().filter(|group| group.group != GroupId(9)).count() + 1);
    !recovered.is_empty()
}

/// As a start does it: what cannot be decoded ends it.
fn fold(wal: &Wal, recovered: &[Recovered]) {
    for group in recovered {
        for change in group.changes(&wal.reader()) {
            // Each entry has a checksum of its own besides its batch's, and is refused where it is read.
            let Ok(change) = change else { break };
            let Ok(_) = to_write(change) else { break };
        }
    }
}

/// Sets the checksums of the header and of all batches right that lie where one begins.
fn seal(file: &mut [u8]) {
    if file.len() < HEADER_BYTES {
        return;
    }
    let (prefix, rest) = (crc32c::crc32c(&file[..12]), crc32c::crc32c(&file[20..HEADER_BYTES]));
    file[12..16].copy_from_slice(&prefix.to_le_bytes());
    file[16..20].copy_from_slice(&rest.to_le_bytes());
    let mut at = HEADER_BYTES;
    while let Some(header) = file.get(at..at + BATCH_BYTES) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let Some(end) = at.checked_add((BATCH_BYTES.saturating_add(length)).next_multiple_of(8)) else { return };
        let Some(batch) = file.get_mut(at..end) else { return };
        let sum = crc32c::crc32c_append(crc32c::crc32c(&1_u64.to_le_bytes()), &batch[8..]);
        batch[4..8].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}
