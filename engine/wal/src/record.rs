//! A record: one change of one group, as it lies in a batch.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the record with this header |
//! | 4 | kind |
//! | 5..8 | zero |
//! | 8..16 | group |
//! | 16.. | by kind, below |
//!
//! | kind | name | what follows |
//! |---|---|---|
//! | 1 | State | the state |
//! | 2 | Append | first index u64, count u32, zero u32, then for each entry its length u32, CRC-32C u32 and bytes |
//! | 3 | Truncate | from u64 |
//! | 4 | Compact | through u64, the base |
//! | 5 | Reset | last u64, 0 for none, the base |
//! | 6 | Opening | flags u8 (1 state, 2 base), zero u8 ×3, length of the state u32, base's last u64 or 0, end of the log u64 or 0, the state, the base |
//! | 7 | Carried | as Append |
//!
//! An entry has a checksum of its own, though its batch has one too: an entry is read again alone, years after its batch
//! was verified, and is then sent to other nodes.

use bytes::Bytes;
use hezong_base::{GroupId, Index};
use hezong_codec::log::{Change, Record};

use crate::bytes::{u32_at, u64_at};
use crate::index::INDEX_END;

const HEADER_BYTES: usize = 16;
/// Before the first entry: the header, first index and count.
const ENTRIES_AT: usize = HEADER_BYTES + 16;
/// Before the bytes of an entry: length and checksum.
const ENTRY_HEADER_BYTES: usize = 8;
/// Before the state of an opening.
const OPENING_AT: usize = HEADER_BYTES + 24;
/// An append is cut into records of about this size, so that reading one entry never reads megabytes.
const SPLIT_BYTES: usize = 64 << 10;

const STATE: u8 = 1;
const APPEND: u8 = 2;
const TRUNCATE: u8 = 3;
const COMPACT: u8 = 4;
const RESET: u8 = 5;
const OPENING: u8 = 6;
const CARRIED: u8 = 7;

/// A base: the last index it covers, and the blob that describes it.
pub(crate) type BaseView<'a> = (Option<Index>, &'a [u8]);

/// A record in the bytes of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub(crate) group: GroupId,
    /// Where in the batch's records it starts.
    pub(crate) at: usize,
    /// Its bytes, header included.
    pub(crate) length: usize,
    pub(crate) change: ChangeView<'a>,
}

/// What the record changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeView<'a> {
    State(&'a [u8]),
    Append {
        first: Index,
        last: Index,
    },
    Truncate {
        from: Index,
    },
    Compact {
        through: Index,
        base: &'a [u8],
    },
    Reset {
        base: BaseView<'a>,
    },
    /// How the group stands where a segment begins: whatever it was before, it is this now.
    Opening {
        state: Option<&'a [u8]>,
        base: Option<BaseView<'a>>,
        end: Option<Index>,
    },
    /// Entries that the log holds already, in a new place: the old one is going away.
    Carried {
        first: Index,
        last: Index,
    },
}

/// Writes a record that the user hands in; long appends become several. Tells how many records it wrote.
pub(crate) fn encode(record: &Record, into: &mut Vec<u8>) -> u32 {
    let group = record.group;
    match &record.change {
        Change::State(state) => blob(into, STATE, group, &[], state),
        Change::Append { first, entries } => return encode_entries(into, APPEND, group, *first, entries),
        Change::Truncate { from } => blob(into, TRUNCATE, group, &from.0.to_le_bytes(), &[]),
        Change::Compact { through, base } => blob(into, COMPACT, group, &through.0.to_le_bytes(), base),
        Change::Reset { last, base } => blob(into, RESET, group, &or_zero(*last).to_le_bytes(), base),
    }
    1
}

/// Writes entries in their new place.
pub(crate) fn encode_carried(into: &mut Vec<u8>, group: GroupId, first: Index, entries: &[Bytes]) -> u32 {
    encode_entries(into, CARRIED, group, first, entries)
}

/// Writes how a group stands.
pub(crate) fn encode_opening(
    into: &mut Vec<u8>,
    group: GroupId,
    state: Option<&[u8]>,
    base: Option<BaseView<'_>>,
    end: Option<Index>,
) {
    let mut fixed = [0; OPENING_AT - HEADER_BYTES];
    fixed[0] = u8::from(state.is_some()) | u8::from(base.is_some()) << 1;
    fixed[4..8].copy_from_slice(&(state.map_or(0, <[u8]>::len) as u32).to_le_bytes());
    fixed[8..16].copy_from_slice(&or_zero(base.and_then(|(last, _)| last)).to_le_bytes());
    fixed[16..24].copy_from_slice(&or_zero(end).to_le_bytes());
    let start = begin(into, OPENING, group);
    into.extend_from_slice(&fixed);
    into.extend_from_slice(state.unwrap_or_default());
    into.extend_from_slice(base.map_or(&[][..], |(_, blob)| blob));
    finish(into, start);
}

/// An upper bound of what [`encode`] writes, to refuse what no batch can hold before anything is written.
pub(crate) fn encoded_bytes_max(record: &Record) -> usize {
    let payload = match &record.change {
        Change::State(blob) | Change::Compact { base: blob, .. } | Change::Reset { base: blob, .. } => blob.len(),
        // At worst every entry is a record of its own.
        Change::Append { entries, .. } => entries.iter().map(|e| e.len() + ENTRIES_AT + ENTRY_HEADER_BYTES).sum(),
        Change::Truncate { .. } => 0,
    };
    payload.saturating_add(OPENING_AT)
}

/// The records of a batch, one after the other. Ends after the first that is malformed, which it returns as the offset
/// at which it starts.
pub(crate) fn decode_all(records: &[u8]) -> impl Iterator<Item = Result<View<'_>, usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = records.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        match decode(rest) {
            Some(view) => {
                at += view.length;
                Some(Ok(View { at: start, ..view }))
            }
            None => {
                at = records.len();
                Some(Err(start))
            }
        }
    })
}

/// The record that `bytes` start with.
pub(crate) fn decode(bytes: &[u8]) -> Option<View<'_>> {
    let length = u32_at(bytes, 0)? as usize;
    let record = bytes.get(..length).filter(|_| length >= HEADER_BYTES)?;
    if record[5..8] != [0; 3] {
        return None;
    }
    let group = GroupId(u64_at(record, 8)?);
    let body = &record[HEADER_BYTES..];
    let change = match record[4] {
        STATE => ChangeView::State(body),
        APPEND => decode_span(record).map(|(first, last)| ChangeView::Append { first, last })?,
        CARRIED => decode_span(record).map(|(first, last)| ChangeView::Carried { first, last })?,
        TRUNCATE if body.len() == 8 => ChangeView::Truncate { from: index(u64_at(body, 0)?)? },
        COMPACT => ChangeView::Compact { through: index(u64_at(body, 0)?)?, base: body.get(8..)? },
        RESET => ChangeView::Reset { base: (optional(u64_at(body, 0)?)?, body.get(8..)?) },
        OPENING => decode_opening(body)?,
        _ => return None,
    };
    Some(View { group, at: 0, length, change })
}

fn decode_opening(body: &[u8]) -> Option<ChangeView<'_>> {
    let flags = *body.first()?;
    if flags > 3 || body.get(1..4)? != [0; 3] {
        return None;
    }
    let state_bytes = u32_at(body, 4)? as usize;
    let blobs = body.get(OPENING_AT - HEADER_BYTES..)?;
    let (state, base) = (blobs.get(..state_bytes)?, blobs.get(state_bytes..)?);
    let last = optional(u64_at(body, 8)?)?;
    let end = optional(u64_at(body, 16)?)?;
    if end < last {
        return None;
    }
    Some(ChangeView::Opening {
        state: (flags & 1 != 0).then_some(state),
        base: (flags & 2 != 0).then_some((last, base)),
        end,
    })
}

/// The first and last index of a record of entries, after walking all of them: a record that is not what it says never
/// reaches the index.
fn decode_span(record: &[u8]) -> Option<(Index, Index)> {
    let first = index(u64_at(record, HEADER_BYTES)?)?;
    let count = u32_at(record, HEADER_BYTES + 8)?;
    let mut walk = Entries { rest: record.get(ENTRIES_AT..)? };
    for _ in 0..count {
        walk.next_raw()?;
    }
    if count == 0 || !walk.rest.is_empty() {
        return None;
    }
    Some((first, index(first.0.checked_add(u64::from(count) - 1)?)?))
}

/// The bytes of the entries themselves in a record of this length, when `count` of them are all it holds.
pub(crate) fn payload_bytes(length: u32, count: u64) -> usize {
    (length as usize).saturating_sub(ENTRIES_AT).saturating_sub(count as usize * ENTRY_HEADER_BYTES)
}

/// The entries of an Append or Carried record that was decoded before.
pub(crate) fn entries(record: &[u8]) -> Entries<'_> {
    Entries { rest: record.get(ENTRIES_AT..).unwrap_or_default() }
}

/// Walks the entries of a record.
pub(crate) struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn next_raw(&mut self) -> Option<(u32, &'a [u8])> {
        let length = u32_at(self.rest, 0)? as usize;
        let checksum = u32_at(self.rest, 4)?;
        let end = ENTRY_HEADER_BYTES.checked_add(length)?;
        let payload = self.rest.get(ENTRY_HEADER_BYTES..end)?;
        self.rest = &self.rest[end..];
        Some((checksum, payload))
    }
}

impl<'a> Iterator for Entries<'a> {
    /// The entry; `None` if it is not the one that was written.
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_raw().map(|(checksum, payload)| (crc32c::crc32c(payload) == checksum).then_some(payload))
    }
}

fn encode_entries(into: &mut Vec<u8>, kind: u8, group: GroupId, first: Index, entries: &[Bytes]) -> u32 {
    let mut records = 0;
    let mut next = first.0;
    let mut rest = entries;
    while !rest.is_empty() {
        let start = begin(into, kind, group);
        into.extend_from_slice(&next.to_le_bytes());
        let count_at = into.len();
        into.extend_from_slice(&[0; 8]);
        let mut count = 0;
        while let Some((entry, after)) = rest.split_first().filter(|_| into.len() - start < SPLIT_BYTES) {
            into.extend_from_slice(&(entry.len() as u32).to_le_bytes());
            into.extend_from_slice(&crc32c::crc32c(entry).to_le_bytes());
            into.extend_from_slice(entry);
            count += 1;
            rest = after;
        }
        into[count_at..count_at + 4].copy_from_slice(&u32::to_le_bytes(count));
        finish(into, start);
        next += u64::from(count);
        records += 1;
    }
    records
}

fn blob(into: &mut Vec<u8>, kind: u8, group: GroupId, fixed: &[u8], blob: &[u8]) {
    let start = begin(into, kind, group);
    into.extend_from_slice(fixed);
    into.extend_from_slice(blob);
    finish(into, start);
}

fn begin(into: &mut Vec<u8>, kind: u8, group: GroupId) -> usize {
    let start = into.len();
    into.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
    into.extend_from_slice(&group.0.to_le_bytes());
    start
}

fn finish(into: &mut [u8], start: usize) {
    // Fits: a batch is refused above 256 MiB before it is encoded.
    let length = (into.len() - start) as u32;
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// On disk, and only there, index 0 stands for "before the first".
fn or_zero(index: Option<Index>) -> u64 {
    index.map_or(0, |index| index.0)
}

/// A place in a log; `None` if it is none, which makes the record malformed.
fn index(number: u64) -> Option<Index> {
    (1..INDEX_END).contains(&number).then_some(Index(number))
}

/// A place or none; the outer `None` makes the record malformed.
fn optional(number: u64) -> Option<Option<Index>> {
    if number == 0 { Some(None) } else { index(number).map(Some) }
}
