//! Reading entries back, from any thread, without ever holding up the writer.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use hezong_base::{GroupId, Index};

use crate::error::{ReadError, io_failure};
use crate::index::{LogIndex, SegmentFile};
use crate::record::{self, ChangeView};
use crate::stretch::Piece;

/// Records that lie this close are read in one go, with what lies between them.
const GAP_BYTES_MAX: u64 = 4 << 10;
/// What is read in one go, unless a single record is longer.
const SPAN_BYTES_MAX: u64 = 256 << 10;
/// Entries shorter than this are copied: a slice would keep the whole span in memory for as long as the entry lives.
const COPY_BYTES_MAX: usize = 4 << 10;
/// What one step of [`Entries`] holds in memory.
const CHUNK_BYTES: usize = 1 << 20;

/// What the writer and its readers share.
#[derive(Default)]
pub(crate) struct Shared(RwLock<LogIndex>);

impl Shared {
    pub(crate) fn new(index: LogIndex) -> Self {
        Self(RwLock::new(index))
    }

    /// Nothing that is done under the lock can stop half-way, so a poisoned one is as good as any.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, LogIndex> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, LogIndex> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads entries. Clones share the log; each may live on a thread of its own, and may outlive the [`crate::Wal`].
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The first and last entry that the log holds of a group.
    #[must_use]
    pub fn live(&self, group: GroupId) -> Option<(Index, Index)> {
        self.shared.index().groups.get(&group)?.live()
    }

    /// Entries from `from` on, at most through `through`: no more than fit `bytes_max`, but at least one; sometimes fewer
    /// than would fit, so that whoever wants all of them asks again. They may not be synced yet. The lock is held only to look up where they lie; a segment that is removed meanwhile stays readable
    /// until this returns.
    ///
    /// # Errors
    /// [`ReadError::Absent`] when the log does not hold `from`, or `through` lies before it; the others when the disk
    /// fails or lies.
    pub fn read(&self, group: GroupId, from: Index, through: Index, bytes_max: usize) -> Result<Vec<Bytes>, ReadError> {
        let spans = self.spans(group, from, through, bytes_max)?;
        let mut entries = Vec::new();
        let mut left = bytes_max;
        for span in &spans {
            if !span.read(group, &mut entries, &mut left)? {
                break;
            }
        }
        Ok(entries)
    }

    /// All entries that the log holds of a group now, a megabyte at a time.
    #[must_use]
    pub fn entries(&self, group: GroupId) -> Entries {
        Entries { reader: self.clone(), group, left: self.live(group) }
    }

    fn spans(&self, group: GroupId, from: Index, through: Index, bytes_max: usize) -> Result<Vec<Span>, ReadError> {
        let index = self.shared.index();
        let found = index.groups.get(&group);
        let live = found.and_then(|group| group.live());
        let absent = ReadError::Absent { group, from, live };
        let (Some(found), Some((first, last))) = (found, live) else { return Err(absent) };
        if from < first || from > last || through < from {
            return Err(absent);
        }
        let mut spans: Vec<Span> = Vec::new();
        let mut bytes = 0;
        for piece in found.stretches.pieces(from, through.min(last)) {
            // One record more than fits, since of the first record perhaps only the last entry is wanted.
            if bytes > bytes_max {
                break;
            }
            if piece.first != from {
                bytes += record::payload_bytes(piece.place.length, piece.last.0 - piece.first.0 + 1);
            }
            match spans.last_mut() {
                Some(span) if span.takes(&piece) => span.pieces.push(piece),
                _ => {
                    let file = index.files.get(&piece.place.segment).expect("live entries lie in live segments");
                    spans.push(Span { file: Arc::clone(file), pieces: vec![piece] });
                }
            }
        }
        Ok(spans)
    }
}

/// Records of one segment that are read in one go. Never empty.
struct Span {
    file: Arc<SegmentFile>,
    pieces: Vec<Piece>,
}

impl Span {
    fn start(&self) -> u64 {
        self.pieces.first().map_or(0, |piece| u64::from(piece.place.offset))
    }

    fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| u64::from(piece.place.offset) + u64::from(piece.place.length))
    }

    fn takes(&self, piece: &Piece) -> bool {
        let offset = u64::from(piece.place.offset);
        self.pieces.last().is_some_and(|last| last.place.segment == piece.place.segment)
            && (self.end()..=self.end() + GAP_BYTES_MAX).contains(&offset)
            && offset + u64::from(piece.place.length) - self.start() <= SPAN_BYTES_MAX
    }

    /// Appends the entries that fit; false once one did not.
    fn read(&self, group: GroupId, entries: &mut Vec<Bytes>, left: &mut usize) -> Result<bool, ReadError> {
        let start = self.start();
        let mut buffer = vec![0; (self.end() - start) as usize];
        let path = &self.file.path;
        let read = self.file.file.read_at(start, &mut buffer).map_err(io_failure("read", path, start))?;
        buffer.truncate(read);
        let buffer = Bytes::from(buffer);
        for piece in &self.pieces {
            let offset = u64::from(piece.place.offset);
            let corrupt = |reason| ReadError::Corrupt { path: path.clone(), offset, reason };
            let at = (offset - start) as usize;
            let record = buffer
                .get(at..at + piece.place.length as usize)
                .ok_or_else(|| corrupt("the file ends before its record"))?;
            let first = match record::decode(record) {
                Some(view) if view.group == group && view.length == record.len() => match view.change {
                    ChangeView::Append { first, last } | ChangeView::Carried { first, last }
                        if first <= piece.first && piece.last <= last =>
                    {
                        first
                    }
                    _ => return Err(corrupt("these are not the entries that were written")),
                },
                _ => return Err(corrupt("this is not the record that was written")),
            };
            let (skip, take) = (piece.first.0 - first.0, piece.last.0 - piece.first.0 + 1);
            for entry in record::entries(record).skip(skip as usize).take(take as usize) {
                let entry = entry.ok_or_else(|| corrupt("the checksum of an entry is wrong"))?;
                if entry.len() > *left && !entries.is_empty() {
                    return Ok(false);
                }
                *left = left.saturating_sub(entry.len());
                let copy = entry.len() <= COPY_BYTES_MAX;
                entries.push(if copy { Bytes::copy_from_slice(entry) } else { buffer.slice_ref(entry) });
            }
        }
        Ok(true)
    }
}

/// The entries of a group in order, in pieces of about a megabyte, each with the index of its first. Made by
/// [`Reader::entries`]; at start-up it feeds the fold of a protocol's writes without holding the log in memory.
#[derive(Debug)]
pub struct Entries {
    reader: Reader,
    group: GroupId,
    left: Option<(Index, Index)>,
}

impl Iterator for Entries {
    type Item = Result<(Index, Vec<Bytes>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (from, through) = self.left?;
        let result = self.reader.read(self.group, from, through, CHUNK_BYTES);
        self.left = match &result {
            Ok(entries) => Some((Index(from.0 + entries.len() as u64), through)).filter(|(next, _)| *next <= through),
            // After an error there is no more: what comes next would be a gap.
            Err(_) => None,
        };
        Some(result.map(|entries| (from, entries)))
    }
}
