//! Bytes that nobody vouches for, with checksums that are right: whatever a disk says, nothing here may panic, and
//! nothing may be allocated that the bytes themselves do not back.

use bytes::Bytes;
use hezong_base::{GroupId, Index, Rng};
use hezong_codec::log::{Change, Record};

use crate::model::ModelFolder;
use crate::{Options, Wal, batch, record, segment};

/// How often; the seeds are fixed, so that a failure comes again. Raise it to look longer.
const ROUNDS: u64 = 20_000;

fn sample(rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    let group = GroupId(rng.below(3) + 1);
    let blob = |rng: &mut Rng| Bytes::from(vec![rng.next_u64() as u8; rng.below(30) as usize]);
    for _ in 0..=rng.below(3) {
        let change = match rng.below(7) {
            0 => Change::State(blob(rng)),
            1 => Change::Truncate { from: Index(1 + rng.below(5)) },
            2 => Change::Compact { through: Index(1 + rng.below(5)), base: blob(rng) },
            3 => Change::Reset { last: Some(Index(1 + rng.below(5))), base: blob(rng) },
            4 => {
                let (state, base) = (blob(rng), blob(rng));
                let end = Some(Index(5 + rng.below(9)));
                record::encode_opening(&mut out, group, Some(&state), Some((Some(Index(3)), &base)), end);
                continue;
            }
            5 => {
                record::encode_carried(&mut out, group, Index(1 + rng.below(5)), &[blob(rng), blob(rng)]);
                continue;
            }
            _ => Change::Append { first: Index(1 + rng.below(5)), entries: vec![blob(rng), blob(rng)] },
        };
        record::encode(&Record { group, change }, &mut out);
    }
    out
}

fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u64() as u8),
            // Lengths, counts and indices that overflow when added to.
            2 if at + 8 <= bytes.len() => bytes[at..at + 8].fill(0xff),
            3 if at + 4 <= bytes.len() => {
                bytes[at..at + 4].copy_from_slice(&(rng.next_u64() as u32 >> rng.below(32)).to_le_bytes());
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ => {}
        }
    }
}

#[test]
fn records_hostile() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..ROUNDS {
        let mut rng = Rng::new(seed);
        let mut bytes =
            if seed % 10 == 0 { (0..rng.below(200)).map(|_| rng.next_u64() as u8).collect() } else { sample(&mut rng) };
        spoil(&mut rng, &mut bytes);
        for view in record::decode_all(&bytes) {
            match view {
                Ok(view) => {
                    good += 1;
                    assert!(view.length > 0 && view.at + view.length <= bytes.len());
                    record::entries(&bytes[view.at..view.at + view.length]).for_each(drop);
                }
                Err(at) => {
                    bad += 1;
                    assert!(at < bytes.len());
                }
            }
        }
    }
    assert!(good > ROUNDS / 2 && bad > ROUNDS / 4, "{good} good records and {bad} bad ones");
}

#[test]
fn headers_hostile() {
    let header = segment::Header { number: 3, previous: None, oldest: 3, opening_end: 80, identity: b"me".to_vec() };
    let good = segment::encode(&header);
    assert_eq!(segment::decode(&good, 3), Ok(header));
    for seed in 0..ROUNDS {
        let mut rng = Rng::new(seed);
        let mut bytes = good.clone();
        spoil(&mut rng, &mut bytes);
        if !bytes.starts_with(&good) {
            assert!(segment::decode(&bytes, 3).is_err(), "seed {seed}");
        }
    }
}

/// A whole segment whose batches are intact and whose records are nonsense.
#[test]
fn segments_hostile() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..ROUNDS / 10 {
        let mut rng = Rng::new(seed);
        let identity = b"me".to_vec();
        let mut file = vec![0; segment::header_bytes(&identity)];
        let mut batch_bytes = Vec::new();
        for _ in 0..=rng.below(3) {
            batch::begin(&mut batch_bytes);
            let mut records = sample(&mut rng);
            if rng.chance(600) {
                spoil(&mut rng, &mut records);
            }
            let count = record::decode_all(&records).count() as u32;
            batch_bytes.extend_from_slice(&records);
            let synced = if rng.chance(900) { 0 } else { rng.next_u64() >> rng.below(64) };
            batch::finish(&mut batch_bytes, count, 1, file.len() as u64, synced);
            file.extend_from_slice(&batch_bytes);
        }
        let header = segment::Header {
            number: 1,
            previous: Some(segment::Link { number: rng.below(3), end: rng.next_u64() }).filter(|_| rng.chance(50)),
            oldest: if rng.chance(950) { 1 } else { rng.below(3) },
            opening_end: if rng.chance(900) { 72 } else { rng.next_u64() >> rng.below(64) },
            identity: identity.clone(),
        };
        file[..72].copy_from_slice(&segment::encode(&header));
        let model = ModelFolder::new();
        model.put(&segment::name(1), &file);
        let options = Options { segment_bytes: 4 << 10, ..Options::new(identity) };
        match Wal::open(model.handle(), options) {
            Ok((wal, recovered)) => {
                opened += 1;
                for group in recovered {
                    for chunk in wal.reader().entries(group.group) {
                        chunk.expect("what was rewritten can be read");
                    }
                }
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > ROUNDS / 200 && refused > ROUNDS / 100, "{opened} opened, {refused} refused");
}
