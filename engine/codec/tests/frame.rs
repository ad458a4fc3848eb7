//! Frames: round trips, frames that arrive in pieces, damage, lies about length.

mod random;

use bytes::{Bytes, BytesMut};
use hezong_base::{GroupId, LogId, Rng, Term};
use hezong_codec::frame::{HEADER_BYTES, decode, encode_messages};
use hezong_codec::{EncodeError, FRAME_BYTES_MAX, Frame, FrameError, SLICE_BYTES_MIN, TraceContext, TracedEntry};
use hezong_raft::{Body, Entry, Message, Payload};

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    random::encode(frame, &mut out);
    out
}

/// A whole frame around any body, its checksum right.
fn framed(version: u8, kind: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::from(&b"HZ"[..]);
    out.extend_from_slice(&[version, kind]);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&out), body);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(body);
    out
}

fn append_of(commands: &[Bytes]) -> (GroupId, Message) {
    let entry = |(index, command): (u64, &Bytes)| Entry {
        id: LogId::new(3, index),
        time: std::time::Duration::from_millis(index),
        payload: Payload::Command(command.clone()),
    };
    let entries = (1..).zip(commands).map(entry).collect();
    (GroupId(1), Message { term: Term(3), body: Body::Append { previous: None, entries, committed: None } })
}

fn commands(frame: Frame) -> Vec<Bytes> {
    let Frame::Messages(messages, _) = frame else { panic!("messages") };
    let entries = messages.into_iter().flat_map(|(_, message)| match message.body {
        Body::Append { entries, .. } => entries.to_vec(),
        body => panic!("{body:?}"),
    });
    let command = |entry: Entry| match entry.payload {
        Payload::Command(command) => command,
        payload => panic!("{payload:?}"),
    };
    entries.map(command).collect()
}

#[test]
fn frame_round_trip() {
    let mut rng = Rng::new(1);
    for _ in 0..3_000 {
        let frame = random::frame(&mut rng);
        let mut bytes = encoded(&frame);
        assert_eq!(decode(&mut bytes, FRAME_BYTES_MAX), Ok(Some(frame)));
        assert!(bytes.is_empty());
    }
}

/// Whatever pieces a stream of frames arrives in, the same frames come out, and encoding only appends.
#[test]
fn frame_stream_in_pieces() {
    let mut rng = Rng::new(2);
    for _ in 0..200 {
        let frames: Vec<_> = (0..5).map(|_| random::frame(&mut rng)).collect();
        let mut stream = BytesMut::new();
        frames.iter().for_each(|frame| random::encode(frame, &mut stream));
        let mut stream = stream.freeze();
        let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
        while !stream.is_empty() {
            let piece = (1 + rng.below(40)).min(stream.len() as u64);
            buffer.extend_from_slice(&stream.split_to(usize::try_from(piece).unwrap()));
            while let Some(frame) = decode(&mut buffer, FRAME_BYTES_MAX).unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, frames);
        assert!(buffer.is_empty());
    }
}

#[test]
fn frame_truncated_anywhere_waits() {
    let mut rng = Rng::new(3);
    for _ in 0..100 {
        let whole = encoded(&random::frame(&mut rng));
        for len in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..len]);
            assert_eq!(decode(&mut part, FRAME_BYTES_MAX), Ok(None));
            assert_eq!(part.len(), len, "nothing may be taken before all is there");
        }
    }
}

/// CRC32C finds every single flipped bit, in header and body alike. A flip in the length may instead wait for more, or
/// break the limit.
#[test]
fn frame_flipped_bit_is_found() {
    let mut rng = Rng::new(4);
    for _ in 0..60 {
        let whole = encoded(&random::frame(&mut rng));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let length = (4..8).contains(&(bit / 8));
            match decode(&mut damaged, FRAME_BYTES_MAX) {
                Err(FrameError::Checksum { .. }) => {}
                Err(FrameError::Magic) => assert!(bit < 16),
                Err(FrameError::Version { .. }) => assert!((16..24).contains(&bit)),
                Ok(None) | Err(FrameError::TooLong { .. }) => assert!(length),
                other => panic!("bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn frame_too_long_by_header_alone() {
    let claim = |bytes: u32| {
        let mut header = BytesMut::from(&b"HZ\x01\x04"[..]);
        header.extend_from_slice(&bytes.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        header
    };
    let limit = 1_000;
    let fits = u32::try_from(limit - HEADER_BYTES).unwrap();
    assert_eq!(decode(&mut claim(fits), limit), Ok(None));
    let error = decode(&mut claim(fits + 1), limit).unwrap_err();
    assert_eq!(error, FrameError::TooLong { bytes: 1_001, limit: 1_000 });
    assert_eq!(error.to_string(), "frame of 1001 bytes is over the limit of 1000 (frame_bytes_max)");
    let bytes = u64::from(u32::MAX) + HEADER_BYTES as u64;
    assert_eq!(decode(&mut claim(u32::MAX), limit), Err(FrameError::TooLong { bytes, limit: 1_000 }));

    // Not a byte is reserved for the claim.
    let mut buffer = claim(16_000_000);
    let capacity = buffer.capacity();
    assert_eq!(decode(&mut buffer, FRAME_BYTES_MAX), Ok(None));
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn frame_of_other_program_refused_at_first_byte() {
    for text in ["G", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "H2"] {
        assert_eq!(decode(&mut BytesMut::from(text), FRAME_BYTES_MAX), Err(FrameError::Magic), "{text:?}");
    }
}

#[test]
fn frame_unknown_version_or_kind() {
    let version = |version| FrameError::Version { version, min: 1, max: 1 };
    assert_eq!(decode(&mut framed(0, 4, b""), FRAME_BYTES_MAX), Err(version(0)));
    assert_eq!(decode(&mut framed(2, 4, b""), FRAME_BYTES_MAX), Err(version(2)));
    for kind in [0, 6, 255] {
        assert_eq!(decode(&mut framed(1, kind, b""), FRAME_BYTES_MAX), Err(FrameError::Kind { kind }));
    }
}

/// What is wrong inside a frame whose checksum is right is named by its field.
#[test]
fn frame_body_nonsense_named() {
    let says = |kind, body: &[u8]| decode(&mut framed(1, kind, body), FRAME_BYTES_MAX).unwrap_err().to_string();
    assert_eq!(says(1, b""), "hello.versions is missing or of an unknown kind");
    assert_eq!(says(1, b"\x0a\x05\x08\x01\x10\x80\x02"), "versions.max is over 255");
    assert_eq!(says(1, b"\x0a\x04\x08\x01\x10\x01\x12\x01x"), "cluster is not 16 bytes");
    assert_eq!(says(2, b""), "welcome.version is missing or of an unknown kind");
    // Choice 9 of a refusal, a message whose body is field 99: known to a later version perhaps.
    assert_eq!(says(3, b"\x4a\x00"), "refused.refusal is missing or of an unknown kind");
    assert_eq!(says(4, b"\x0a\x07\x08\x01\x10\x01\x9a\x06\x00"), "message.body is missing or of an unknown kind");
    assert_eq!(says(4, b"\x0a\x02\x08\x01"), "message.term is missing or of an unknown kind");
    // Appended { matched: 0 }.
    let zero = b"\x0a\x08\x08\x01\x10\x01\x42\x02\x08\x00";
    assert_eq!(says(4, zero), "appended.matched is zero, but logs begin at 1");
    // A length inside the body that points beyond it.
    assert!(says(4, b"\x0a\xff\xff\xff\xff\x0f").starts_with("messages is malformed: "));
}

/// A later version's extra fields do not trouble this one.
#[test]
fn frame_extra_fields_are_skipped() {
    // Welcome { version: 1, 15: "new" }.
    let found = decode(&mut framed(1, 2, b"\x08\x01\x7a\x03new"), FRAME_BYTES_MAX);
    assert_eq!(found, Ok(Some(Frame::Welcome(hezong_codec::Welcome { version: 1 }))));
}

/// Messages that together exceed a frame are split in order; each frame keeps the limit and decodes under it.
#[test]
fn frame_messages_split_at_limit() {
    let mut rng = Rng::new(5);
    for limit in [9_000, 30_000, FRAME_BYTES_MAX] {
        let messages: Vec<_> = (0..300).map(|_| random::message(&mut rng)).collect();
        let mut bytes = BytesMut::new();
        let too_long = encode_messages(&messages, &[], limit, &mut bytes).is_err();
        let (mut found, mut frames, total) = (Vec::new(), 0, bytes.len());
        while let Some(frame) = decode(&mut bytes, limit).unwrap() {
            let Frame::Messages(messages, _) = frame else { panic!("messages") };
            found.extend(messages);
            frames += 1;
        }
        assert!(frames >= total / limit && frames <= 2 * total / limit + 1, "{frames} frames for {total} bytes");
        let mut rest = found.iter();
        let mut skipped = messages.clone();
        skipped.retain(|message| !rest.as_slice().first().is_some_and(|next| next == message && rest.next().is_some()));
        assert!(rest.as_slice().is_empty(), "order must be kept");
        assert_eq!(!skipped.is_empty(), too_long);
    }
}

#[test]
fn frame_message_too_long_left_out_alone() {
    let short = append_of(&[Bytes::from_static(b"short")]);
    let long = append_of(&[Bytes::from(vec![7; 2_000])]);
    let mut bytes = BytesMut::new();
    let error = encode_messages(&[short.clone(), long.clone(), short.clone()], &[], 1_000, &mut bytes).unwrap_err();
    let EncodeError::MessageTooLong { group: GroupId(1), bytes: size, limit: 1_000 } = error else {
        panic!("{error:?}")
    };
    assert_eq!(decode(&mut bytes, 1_000), Ok(Some(Frame::Messages(vec![short.clone(), short], vec![]))));

    // The size told is exactly the limit that would have done.
    let limit = usize::try_from(size).unwrap();
    assert!(encode_messages(std::slice::from_ref(&long), &[], limit - 1, &mut bytes).is_err());
    assert!(bytes.is_empty());
    encode_messages(&[long], &[], limit, &mut bytes).unwrap();
    assert_eq!(bytes.len(), limit);
}

#[test]
fn frame_no_messages_no_bytes() {
    let mut bytes = BytesMut::new();
    encode_messages(&[], &[], FRAME_BYTES_MAX, &mut bytes).unwrap();
    assert!(bytes.is_empty());
}

/// Large payloads are slices of the buffer they arrived in; small ones let go of it.
#[test]
fn frame_large_payloads_slice_small_ones_copy() {
    let sent = [Bytes::from(vec![1; SLICE_BYTES_MIN]), Bytes::from(vec![2; SLICE_BYTES_MIN - 1])];
    let mut buffer = BytesMut::new();
    encode_messages(&[append_of(&sent)], &[], FRAME_BYTES_MAX, &mut buffer).unwrap();
    let arrived = buffer.as_ptr_range();
    let found = commands(decode(&mut buffer, FRAME_BYTES_MAX).unwrap().unwrap());
    assert_eq!(found, sent);
    assert!(arrived.contains(&found[0].as_ptr()));
    assert!(!arrived.contains(&found[1].as_ptr()));
}

#[test]
fn frame_traced_entries_go_with_the_first_frame_and_what_is_malformed_is_skipped() {
    let entry = |index| TracedEntry {
        group: GroupId(1),
        id: LogId::new(1, index),
        context: TraceContext { trace: [7; 16], span: [9; 8] },
    };
    let messages = vec![append_of(&[Bytes::from(vec![1; 600])]), append_of(&[Bytes::from(vec![2; 600])])];
    let mut bytes = BytesMut::new();
    encode_messages(&messages, &[entry(5)], 1_000, &mut bytes).unwrap();
    assert_eq!(decode(&mut bytes, 1_000), Ok(Some(Frame::Messages(messages[..1].to_vec(), vec![entry(5)]))));
    assert_eq!(decode(&mut bytes, 1_000), Ok(Some(Frame::Messages(messages[1..].to_vec(), vec![]))));
    // A context of zeros is none; nor are so many that they would crowd the messages out.
    let mut nameless = entry(5);
    nameless.context.span = [0; 8];
    let many: Vec<TracedEntry> = (1..100).map(entry).collect();
    for traced in [&[nameless][..], &many] {
        encode_messages(&messages[..1], traced, 1_000, &mut bytes).unwrap();
        assert_eq!(decode(&mut bytes, 1_000), Ok(Some(Frame::Messages(messages[..1].to_vec(), vec![]))));
    }
}
