//! A segment's header: who wrote it, and how it hangs together with the other segments.
//!
//! | bytes | field | why |
//! |---|---|---|
//! | 0..8 | magic `HEZONGWL` | |
//! | 8..12 | format version | |
//! | 12..16 | CRC-32C of bytes 0..12 | the same in every version, so that a flipped bit is not taken for a newer format |
//! | 16..20 | CRC-32C of bytes 20 to the end of the header | |
//! | 20..24 | length of the identity in bytes | |
//! | 24..32 | the segment's number, from 1 | a file under another's name is refused |
//! | 32..40 | number of the segment before it, 0 for none | the chain: a missing file is found missing |
//! | 40..48 | how far that segment counts, in bytes | what lies behind was rewritten here, and is not looked at |
//! | 48..56 | number of the oldest segment still needed | older files are leftovers and are removed |
//! | 56..64 | how far this segment was synced before it got its name | a bad batch before that is corruption |
//! | 64.. | identity of cluster and node, opaque, zeros up to a multiple of 8 | the log of another node is refused |

use crate::bytes::{u32_at, u64_at};

/// The format this code writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// Identities are a cluster id and a node id; this is plenty.
pub(crate) const IDENTITY_BYTES_MAX: usize = 1024;
const MAGIC: [u8; 8] = *b"HEZONGWL";
const FIXED_BYTES: usize = 64;
/// No header is longer: what one read takes in.
pub(crate) const HEADER_BYTES_MAX: usize = FIXED_BYTES + IDENTITY_BYTES_MAX;

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    /// The segment before it and how many of its bytes count.
    pub(crate) previous: Option<Link>,
    pub(crate) oldest: u64,
    /// How far it was synced before it got its name.
    pub(crate) opening_end: u64,
    pub(crate) identity: Vec<u8>,
}

/// A segment that is written to no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) number: u64,
    /// All before this offset was synced; all behind does not count.
    pub(crate) end: u64,
}

/// Why a header was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It is not what was written.
    Corrupt(&'static str),
    /// It is intact and of another format than ours.
    Version(u32),
}

/// The file name of segment `number`; names sort as numbers do.
pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The name a segment has until it is complete and synced.
pub(crate) fn unfinished_name(number: u64) -> String {
    format!("{number:016x}.new")
}

/// The name under which a damaged segment is kept.
pub(crate) fn damaged_name(number: u64) -> String {
    format!("{number:016x}.wal.damaged")
}

/// What a file of ours is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Segment(u64),
    Unfinished(u64),
    Damaged(u64),
}

/// What the file is; `None` if it is not ours.
pub(crate) fn parse_name(name: &str) -> Option<Named> {
    let (digits, kind) = name.split_once('.')?;
    if digits.len() != 16 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let number = u64::from_str_radix(digits, 16).ok()?;
    match kind {
        "wal" => Some(Named::Segment(number)),
        "new" => Some(Named::Unfinished(number)),
        "wal.damaged" => Some(Named::Damaged(number)),
        _ => None,
    }
}

/// The bytes a header with this identity takes up.
pub(crate) fn header_bytes(identity: &[u8]) -> usize {
    FIXED_BYTES + identity.len().next_multiple_of(8)
}

/// The header as it is on disk.
///
/// # Panics
/// When the identity is longer than allowed, which opening the log has refused before.
pub(crate) fn encode(header: &Header) -> Vec<u8> {
    assert!(header.identity.len() <= IDENTITY_BYTES_MAX, "checked when the log was opened");
    let mut out = vec![0; header_bytes(&header.identity)];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[20..24].copy_from_slice(&(header.identity.len() as u32).to_le_bytes());
    out[24..32].copy_from_slice(&header.number.to_le_bytes());
    let previous = header.previous.unwrap_or(Link { number: 0, end: 0 });
    out[32..40].copy_from_slice(&previous.number.to_le_bytes());
    out[40..48].copy_from_slice(&previous.end.to_le_bytes());
    out[48..56].copy_from_slice(&header.oldest.to_le_bytes());
    out[56..64].copy_from_slice(&header.opening_end.to_le_bytes());
    out[FIXED_BYTES..FIXED_BYTES + header.identity.len()].copy_from_slice(&header.identity);
    let prefix = crc32c::crc32c(&out[..12]);
    out[12..16].copy_from_slice(&prefix.to_le_bytes());
    let rest = crc32c::crc32c(&out[20..]);
    out[16..20].copy_from_slice(&rest.to_le_bytes());
    out
}

/// Reads the header of segment `number` from the start of its file.
pub(crate) fn decode(bytes: &[u8], number: u64) -> Result<Header, HeaderError> {
    const SHORT: HeaderError = HeaderError::Corrupt("the segment's header is cut short");
    let fixed = bytes.get(..FIXED_BYTES).ok_or(SHORT)?;
    let field = |at| u64_at(fixed, at).ok_or(SHORT);
    if fixed[..8] != MAGIC || u32_at(fixed, 12) != Some(crc32c::crc32c(&fixed[..12])) {
        return Err(HeaderError::Corrupt("the segment does not start with our mark"));
    }
    let version = u32_at(fixed, 8).ok_or(SHORT)?;
    if version != VERSION {
        return Err(HeaderError::Version(version));
    }
    let length = u32_at(fixed, 20).ok_or(SHORT)? as usize;
    if length > IDENTITY_BYTES_MAX {
        return Err(HeaderError::Corrupt("the segment's header has an impossible identity"));
    }
    let whole = bytes.get(..FIXED_BYTES + length.next_multiple_of(8)).ok_or(SHORT)?;
    if u32_at(fixed, 16) != Some(crc32c::crc32c(&whole[20..])) {
        return Err(HeaderError::Corrupt("the checksum of the segment's header is wrong"));
    }
    let header = Header {
        number: field(24)?,
        previous: Some(Link { number: field(32)?, end: field(40)? }).filter(|link| link.number != 0),
        oldest: field(48)?,
        opening_end: field(56)?,
        identity: whole[FIXED_BYTES..FIXED_BYTES + length].to_vec(),
    };
    if header.number != number {
        return Err(HeaderError::Corrupt("the segment has the number of another"));
    }
    Ok(header)
}
