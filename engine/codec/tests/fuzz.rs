//! Fuzzing on stable Rust: valid bytes mutated, and plain garbage, into every decoder, for `HEZONG_FUZZ_SECONDS` (1 s
//! each without it). `HEZONG_FUZZ_SEED` repeats a run. Beside "no panic" it checks that whatever decodes encodes again
//! to something that decodes to the same.

mod random;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hezong_base::Rng;
use hezong_codec::frame::decode;
use hezong_codec::log::{Change, decode_base, decode_entry, encode_base, encode_entry, to_change, to_write};
use hezong_codec::{ClusterId, FRAME_BYTES_MAX, Frame};

fn fuzz(mut round: impl FnMut(&mut Rng)) {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a whole number"));
    let seed = variable("HEZONG_FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let end = Instant::now() + Duration::from_secs(variable("HEZONG_FUZZ_SECONDS").unwrap_or(1));
    let mut rng = Rng::new(seed);
    let mut rounds = 0_u64;
    // Shown when the test fails: the seed repeats it.
    eprintln!("HEZONG_FUZZ_SEED={seed}");
    while Instant::now() < end {
        for _ in 0..100 {
            round(&mut rng);
        }
        rounds += 100;
    }
    eprintln!("{rounds} rounds");
}

fn at(rng: &mut Rng, len: usize) -> usize {
    usize::try_from(rng.below(len as u64 + 1)).unwrap()
}

/// Some of: flip bits, overwrite with edges, cut, repeat a piece, insert, take all for garbage.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let (a, b) = (at(rng, bytes.len()), at(rng, bytes.len()));
        let (from, to) = (a.min(b), a.max(b));
        match rng.below(7) {
            0 => bytes.truncate(from),
            1 => drop(bytes.drain(from..to.min(from + 8))),
            2 => {
                let piece = bytes[from..to.min(from + 64)].to_vec();
                bytes.splice(to..to, piece);
            }
            3 => bytes.insert(from, rng.next_u64().to_le_bytes()[0]),
            4 => bytes[from..to.min(from + 4)].fill(*[0, 1, 0x7f, 0x80, 0xff].get(at(rng, 4)).unwrap()),
            5 if from < bytes.len() => bytes[from] ^= 1 << rng.below(8),
            _ if rng.chance(50) => *bytes = (0..rng.below(80)).map(|_| rng.next_u64().to_le_bytes()[0]).collect(),
            _ => {}
        }
    }
}

/// Sets length and checksum right, so that mutations reach what lies behind them.
fn reseal(frame: &mut [u8]) {
    if frame.len() < 12 {
        return;
    }
    let length = u32::try_from(frame.len() - 12).unwrap();
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&frame[..8]), &frame[12..]);
    frame[8..12].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn fuzz_frame() {
    fuzz(|rng| {
        let mut bytes = BytesMut::new();
        random::encode(&random::frame(rng), &mut bytes);
        let mut bytes = bytes.to_vec();
        mutate(rng, &mut bytes);
        if rng.chance(900) {
            reseal(&mut bytes);
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        let Ok(Some(frame)) = decode(&mut buffer, FRAME_BYTES_MAX) else { return };
        let mut again = BytesMut::new();
        random::encode(&frame, &mut again);
        if !matches!(&frame, Frame::Messages(messages, _) if messages.is_empty()) {
            assert_eq!(decode(&mut again, FRAME_BYTES_MAX), Ok(Some(frame)));
        }
    });
}

#[test]
fn fuzz_log() {
    fuzz(|rng| {
        let mutated = |rng: &mut Rng, bytes: Bytes| {
            let mut bytes = bytes.to_vec();
            mutate(rng, &mut bytes);
            Bytes::from(bytes)
        };
        let blob = encode_entry(&random::entry(rng));
        if let Ok(entry) = decode_entry(mutated(rng, blob)) {
            assert_eq!(decode_entry(encode_entry(&entry)), Ok(entry));
        }
        let blob = encode_base(&random::base(rng));
        if let Ok(base) = decode_base(mutated(rng, blob)) {
            assert_eq!(decode_base(encode_base(&base)), Ok(base));
        }
        let change = match to_change(&random::write(rng)) {
            Change::State(state) => Change::State(mutated(rng, state)),
            Change::Append { first, mut entries } => {
                entries[0] = mutated(rng, entries[0].clone());
                Change::Append { first, entries }
            }
            Change::Compact { through, base } => Change::Compact { through, base: mutated(rng, base) },
            Change::Reset { last, base } => Change::Reset { last, base: mutated(rng, base) },
            change @ Change::Truncate { .. } => change,
        };
        if let Ok(write) = to_write(change) {
            assert_eq!(to_write(to_change(&write)), Ok(write));
        }
    });
}

#[test]
fn fuzz_cluster_id() {
    fuzz(|rng| {
        let mut text = ClusterId(u128::from(random::number(rng)) << 64 | u128::from(random::number(rng))).to_string();
        let cluster: ClusterId = text.parse().expect("what was written is read");
        assert_eq!(cluster.to_string(), text);
        let mut bytes = std::mem::take(&mut text).into_bytes();
        mutate(rng, &mut bytes);
        let Ok(text) = String::from_utf8(bytes) else { return };
        if let Ok(cluster) = text.parse::<ClusterId>() {
            assert_eq!(cluster.to_string(), text.to_lowercase());
        }
    });
}
