//! Frames, entries and texts of `hezong-codec`. The first byte of a frame says whether its length and checksum are set
//! right, so that what lies behind them is reached.

use bytes::{Bytes, BytesMut};
use hezong_base::Rng;
use hezong_codec::frame::decode;
use hezong_codec::log::{Change, decode_base, decode_entry, encode_base, encode_entry, to_change, to_write};
use hezong_codec::{ClusterId, FRAME_BYTES_MAX, Frame};

use super::random;

/// The bytes of a frame in front of what it carries: magic, length, checksum.
const HEAD_BYTES: usize = 12;

pub(super) fn frame_sample(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    random::encode(&random::frame(rng), &mut bytes);
    let mut input = vec![u8::from(rng.chance(900))];
    input.extend_from_slice(&bytes);
    input
}

pub(super) fn frame(input: &[u8]) -> bool {
    let Some((sealed, bytes)) = input.split_first() else { return false };
    let mut buffer = BytesMut::from(bytes);
    if sealed % 2 == 1 {
        seal(&mut buffer);
    }
    let mut accepted = false;
    // As a connection does it: one after the other until something is wrong or not all there.
    while let Ok(Some(frame)) = decode(&mut buffer, FRAME_BYTES_MAX) {
        accepted = true;
        let mut again = BytesMut::new();
        random::encode(&frame, &mut again);
        // No messages are no frame.
        if !matches!(&frame, Frame::Messages(messages, _) if messages.is_empty()) {
            assert_eq!(decode(&mut again, FRAME_BYTES_MAX), Ok(Some(frame)));
        }
    }
    accepted
}

fn seal(frame: &mut [u8]) {
    let Some(length) = frame.len().checked_sub(HEAD_BYTES).and_then(|length| u32::try_from(length).ok()) else {
        return;
    };
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&frame[..8]), &frame[HEAD_BYTES..]);
    frame[8..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// The first byte says what it is: an entry, a base, or a state.
pub(super) fn record_sample(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.below(3);
    let blob = match kind {
        0 => encode_entry(&random::entry(rng)),
        1 => encode_base(&random::base(rng)),
        _ => loop {
            if let Change::State(state) = to_change(&random::write(rng)) {
                break state;
            }
        },
    };
    let mut input = kind.to_le_bytes()[..1].to_vec();
    input.extend_from_slice(&blob);
    input
}

pub(super) fn record(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else { return false };
    let blob = Bytes::copy_from_slice(bytes);
    match kind % 3 {
        0 => {
            let decoded = decode_entry(blob);
            if let Ok(entry) = &decoded {
                assert_eq!(decode_entry(encode_entry(entry)).as_ref(), Ok(entry));
            }
            decoded.is_ok()
        }
        1 => {
            let decoded = decode_base(blob);
            if let Ok(base) = &decoded {
                assert_eq!(decode_base(encode_base(base)).as_ref(), Ok(base));
            }
            decoded.is_ok()
        }
        _ => {
            let decoded = to_write(Change::State(blob));
            if let Ok(write) = &decoded {
                assert_eq!(to_write(to_change(write)).as_ref(), Ok(write));
            }
            decoded.is_ok()
        }
    }
}

pub(super) fn cluster_sample(rng: &mut Rng) -> Vec<u8> {
    ClusterId(u128::from(random::number(rng)) << 64 | u128::from(random::number(rng))).to_string().into_bytes()
}

pub(super) fn cluster(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let decoded = text.parse::<ClusterId>();
    if let Ok(cluster) = &decoded {
        assert_eq!(cluster.to_string(), text.to_lowercase());
    }
    decoded.is_ok()
}
