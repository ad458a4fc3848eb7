//! A batch: what one write call puts into a segment, and what one checksum covers.
//!
//! | bytes | field | why |
//! |---|---|---|
//! | 0..4 | magic | lets recovery look for later batches behind a bad one |
//! | 4..8 | CRC-32C of bytes 8 to the end of the padding, seeded with the segment's number | bytes of another segment never verify |
//! | 8..12 | length of the records in bytes | |
//! | 12..16 | number of records | a second opinion on where the records end |
//! | 16..24 | synced mark: all before this offset was synced before this batch was written | tells corruption from a torn tail |
//! | 24..32 | offset of this batch in its segment | bytes of another place never verify |
//! | 32.. | the records, then zeros up to a multiple of 8 | a batch starts at a multiple of 8 |
//!
//! All numbers are little-endian.

use crate::bytes::{u32_at, u64_at};

/// Bytes of a batch before its records.
pub(crate) const HEADER_BYTES: usize = 32;
/// What every batch starts at a multiple of, so that looking for one need not try every byte.
pub(crate) const ALIGN: u64 = 8;
const MAGIC: [u8; 4] = *b"hzB1";

/// The largest batch that is written; it keeps every offset within 32 bits, which keeps the index small.
pub(crate) const BATCH_BYTES_MAX: usize = 256 << 20;

/// A batch's header, once its checksum has been found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of records.
    pub(crate) length: usize,
    /// How many records.
    pub(crate) records: u32,
    /// All before this offset was synced before this batch was written.
    pub(crate) synced: u64,
}

/// The header of what may be a batch at `offset`, before anything but its outward form was looked at; `None` if it
/// cannot be one. The length may still be anything.
pub(crate) fn peek(bytes: &[u8], offset: u64) -> Option<Header> {
    let header = bytes.get(..HEADER_BYTES)?;
    if header[..4] != MAGIC || u64_at(header, 24)? != offset {
        return None;
    }
    Some(Header {
        length: usize::try_from(u32_at(header, 8)?).ok()?,
        records: u32_at(header, 12)?,
        synced: u64_at(header, 16)?,
    })
}

/// The bytes a batch takes up with `length` bytes of records.
pub(crate) fn total_bytes(length: usize) -> usize {
    (HEADER_BYTES + length).next_multiple_of(ALIGN as usize)
}

/// Whether `bytes`, a whole batch with its padding, is what was written at this place of this segment.
pub(crate) fn verify(bytes: &[u8], segment: u64) -> bool {
    bytes.len() >= HEADER_BYTES && u32_at(bytes, 4) == Some(checksum(bytes, segment))
}

/// Clears `buffer` and leaves room for a header.
pub(crate) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER_BYTES, 0);
}

/// Fills in the header in front of the records, and pads.
///
/// # Panics
/// When the buffer is longer than a batch may be, which the caller has refused before.
pub(crate) fn finish(buffer: &mut Vec<u8>, records: u32, segment: u64, offset: u64, synced: u64) {
    let length = u32::try_from(buffer.len() - HEADER_BYTES).expect("a batch is at most 256 MiB");
    buffer.resize(total_bytes(buffer.len() - HEADER_BYTES), 0);
    buffer[..4].copy_from_slice(&MAGIC);
    buffer[8..12].copy_from_slice(&length.to_le_bytes());
    buffer[12..16].copy_from_slice(&records.to_le_bytes());
    buffer[16..24].copy_from_slice(&synced.to_le_bytes());
    buffer[24..32].copy_from_slice(&offset.to_le_bytes());
    let checksum = checksum(buffer, segment);
    buffer[4..8].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(batch: &[u8], segment: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), &batch[8..])
}
