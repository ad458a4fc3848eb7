//! What peers say over a connection: a header of twelve bytes, then a protobuf body.
//!
//! ```text
//!  0   2         3       4        8            12
//!  +---+---------+-------+--------+------------+-----------------+
//!  |HZ | version | kind  | length | CRC32C     | body            |
//!  +---+---------+-------+--------+------------+-----------------+
//!                          u32 LE   u32 LE, of bytes 0..8 and the body
//! ```
//!
//! The two letters come first so that another program on our port is recognised by its first byte, not after waiting
//! for as many bytes as its garbage happens to claim. The checksum is there although TCP has one: its 16 bits let damage
//! through every now and then, and a damaged entry would be voted into every log.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hezong_base::GroupId;
use hezong_raft::Message;
use prost::Message as _;

use crate::handshake::{Hello, Refusal, VERSIONS, Welcome};
use crate::{DecodeError, EncodeError, FrameError, SnapshotMessage, TracedEntry, convert, trace, wire};

/// The longest frame by default, header included: 16 MiB. Well above one `Append` with one value of the largest size.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 12;

const MAGIC: [u8; 2] = *b"HZ";

/// The layout written here. Handshakes are written in the oldest version for ever, so that two nodes which have none in
/// common still understand each other's refusal.
const VERSION: u8 = 1;

/// What a frame says of traced entries at most.
const TRACED_BYTES_MAX: usize = 64 << 10;

const KIND_HELLO: u8 = 1;
const KIND_WELCOME: u8 = 2;
const KIND_REFUSED: u8 = 3;
const KIND_MESSAGES: u8 = 4;
const KIND_SNAPSHOT: u8 = 5;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The dialling side introduces itself.
    Hello(Hello),
    /// The other side takes it in.
    Welcome(Welcome),
    /// Or does not.
    Refused(Refusal),
    /// Messages of any number of groups, in the order in which they were sent; and which of their entries are traced.
    Messages(Vec<(GroupId, Message)>, Vec<TracedEntry>),
    /// About a snapshot.
    Snapshot(SnapshotMessage),
}

/// Appends a frame of the handshake.
pub fn encode_hello(hello: &Hello, out: &mut BytesMut) {
    let hello: wire::Hello = hello.into();
    put_frame(KIND_HELLO, &hello, out);
}

/// Appends the answer to a handshake.
pub fn encode_answer(answer: &Result<Welcome, Refusal>, out: &mut BytesMut) {
    match answer {
        Ok(welcome) => put_frame(KIND_WELCOME, &wire::Welcome::from(*welcome), out),
        Err(refusal) => put_frame(KIND_REFUSED, &wire::Refused::from(refusal), out),
    }
}

/// Appends a message about a snapshot. Chunks are far shorter than a frame may be: the holder cuts them so.
pub fn encode_snapshot(message: &SnapshotMessage, out: &mut BytesMut) {
    put_frame(KIND_SNAPSHOT, &wire::SnapshotMessage::from(message), out);
}

/// Appends messages, in as few frames of at most `frame_bytes_max` bytes as they fit into in their order. The first frame
/// says which of their entries are traced; of very many, none.
///
/// # Errors
/// [`EncodeError::MessageTooLong`] names the first message that fits into no frame. It and its like are left out, all
/// others are written.
///
/// # Panics
/// When `frame_bytes_max` is 4 GiB or more: the header could not tell the length.
pub fn encode_messages(
    messages: &[(GroupId, Message)],
    traced: &[TracedEntry],
    frame_bytes_max: usize,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    assert!(u32::try_from(frame_bytes_max).is_ok(), "the header tells lengths below 4 GiB");
    let body_bytes_max = frame_bytes_max.saturating_sub(HEADER_BYTES);
    let mut outcome = Ok(());
    let traced: Vec<wire::Traced> = traced.iter().map(Into::into).collect();
    let mut batch_bytes = traced.iter().map(|entry| field_bytes(entry.encoded_len())).sum();
    let mut batch = wire::Messages { messages: Vec::with_capacity(messages.len()), traced };
    // Beside what they tell of, the largest message must still fit.
    if batch_bytes > TRACED_BYTES_MAX.min(body_bytes_max / 2) {
        batch.traced.clear();
        batch_bytes = 0;
    }
    for (group, message) in messages {
        let encoded = convert::to_wire_message(*group, message);
        let bytes = field_bytes(encoded.encoded_len());
        if bytes > body_bytes_max {
            let (bytes, limit) = ((bytes + HEADER_BYTES) as u64, frame_bytes_max as u64);
            outcome = outcome.and(Err(EncodeError::MessageTooLong { group: *group, bytes, limit }));
            continue;
        }
        if batch_bytes + bytes > body_bytes_max {
            put_frame(KIND_MESSAGES, &batch, out);
            batch.messages.clear();
            batch.traced.clear();
            batch_bytes = 0;
        }
        batch_bytes += bytes;
        batch.messages.push(encoded);
    }
    if !batch.messages.is_empty() {
        put_frame(KIND_MESSAGES, &batch, out);
    }
    outcome
}

/// Takes one frame off the front of `buffer`. `Ok(None)`: it has not arrived whole; nothing was taken, call again with
/// more. Nothing is reserved for what is still to come.
///
/// # Errors
/// The stream is of no more use: close the connection.
pub fn decode(buffer: &mut BytesMut, frame_bytes_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some(header) = Header::read(buffer, frame_bytes_max)? else { return Ok(None) };
    if buffer.len() < header.frame_bytes {
        return Ok(None);
    }
    let mut body = buffer.split_to(header.frame_bytes);
    let found = crc32c::crc32c_append(crc32c::crc32c(&body[..8]), &body[HEADER_BYTES..]);
    if found != header.checksum {
        return Err(FrameError::Checksum { expected: header.checksum, found });
    }
    body.advance(HEADER_BYTES);
    decode_body(header.kind, body.freeze()).map(Some)
}

fn decode_body(kind: u8, body: Bytes) -> Result<Frame, FrameError> {
    let frame = match kind {
        KIND_HELLO => Frame::Hello(convert::hello(parse("hello", body)?)?),
        KIND_WELCOME => Frame::Welcome(convert::welcome(parse("welcome", body)?)?),
        KIND_REFUSED => Frame::Refused(convert::refusal(parse("refusal", body)?)?),
        KIND_MESSAGES => {
            let wire::Messages { messages, traced } = parse("messages", body)?;
            let messages = messages.into_iter().map(convert::message).collect::<Result<_, _>>()?;
            let traced = traced.into_iter().filter_map(trace::traced).collect();
            Frame::Messages(messages, traced)
        }
        KIND_SNAPSHOT => Frame::Snapshot(convert::snapshot(parse("snapshot message", body)?)?),
        kind => return Err(FrameError::Kind { kind }),
    };
    Ok(frame)
}

/// Reads one protobuf message that fills `bytes`.
pub(crate) fn parse<M: prost::Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, DecodeError> {
    M::decode(bytes).map_err(|source| DecodeError::Malformed { what, source })
}

struct Header {
    kind: u8,
    /// Header included; at most the limit.
    frame_bytes: usize,
    checksum: u32,
}

impl Header {
    fn read(mut bytes: &[u8], frame_bytes_max: usize) -> Result<Option<Self>, FrameError> {
        if bytes.iter().zip(MAGIC).any(|(found, ours)| *found != ours) {
            return Err(FrameError::Magic);
        }
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        bytes.advance(MAGIC.len());
        let version = bytes.get_u8();
        if !VERSIONS.contains(version) {
            return Err(FrameError::Version { version, min: VERSIONS.min, max: VERSIONS.max });
        }
        let kind = bytes.get_u8();
        let frame_bytes = u64::from(bytes.get_u32_le()) + HEADER_BYTES as u64;
        let limit = frame_bytes_max as u64;
        match usize::try_from(frame_bytes) {
            Ok(frame_bytes) if frame_bytes <= frame_bytes_max => {
                Ok(Some(Self { kind, frame_bytes, checksum: bytes.get_u32_le() }))
            }
            _ => Err(FrameError::TooLong { bytes: frame_bytes, limit }),
        }
    }
}

/// What a message of `bytes` takes as a field of `Messages`: its number, its length, itself.
fn field_bytes(bytes: usize) -> usize {
    1 + prost::length_delimiter_len(bytes) + bytes
}

fn put_frame(kind: u8, body: &impl prost::Message, out: &mut BytesMut) {
    let start = out.len();
    let length = body.encoded_len();
    out.reserve(HEADER_BYTES + length);
    out.put_slice(&MAGIC);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u32_le(u32::try_from(length).expect("the caller keeps bodies within the frame limit"));
    out.put_u32_le(0);
    body.encode(out).expect("a growing buffer has room");
    let (header, body) = out[start..].split_at_mut(HEADER_BYTES);
    let (summed, checksum) = header.split_at_mut(8);
    checksum.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(summed), body).to_le_bytes());
}
