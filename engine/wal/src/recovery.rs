//! Opening a log: what of it counts, and what is refused.
//!
//! 1. The newest segment names the one before it, and so on to the oldest still needed: the *chain*. A file of the chain
//!    that is missing is refused, like corruption; a segment outside it is a leftover and is removed at the end.
//! 2. In every segment but the newest, all that counts was synced, and the next segment says how far it counts. Anything
//!    wrong there is corruption.
//! 3. In the newest, every batch tells how far the segment was synced before the batch was written. The highest such
//!    mark anywhere in the file, also behind a bad batch, divides: a bad batch below it is corruption, one above it is
//!    where the log was torn. Everything from there on is cut.
//! 4. What was accepted above the mark may only ever have been in the page cache, so that its being read back proves
//!    nothing. It is rewritten into a new segment, and synced, before anybody hears of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use hezong_base::{GroupId, Index, sometimes};
use hezong_codec::log::{Change, Witness};

use crate::error::{IoFailure, OpenError, ReadError, io_failure};
use crate::folder::{File, Folder};
use crate::index::{LogIndex, SegmentFile};
use crate::opening::{Begin, Begun};
use crate::reader::{Reader, Shared};
use crate::repair::{self, Doubts, Gap, Repaired};
use crate::segment::{self, HeaderError, Link, Named};
use crate::writer::Options;
use crate::{batch, record};

/// What is read of a segment in one go.
const WINDOW_BYTES: usize = 1 << 20;

/// What is given up where the disk does not give back what it took: a page.
const PIECE_BYTES: u64 = 4096;

/// One group as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Which group.
    pub group: GroupId,
    /// The last state stored.
    pub state: Option<Bytes>,
    /// The last base stored: the last index it covers, and the blob.
    pub base: Option<(Option<Index>, Bytes)>,
    /// The first and last entry.
    pub live: Option<(Index, Index)>,
}

impl Recovered {
    /// The changes that make the group what it is, from nothing on: its state, its base, and its entries about a
    /// megabyte at a time. Whoever folds them holds no more of the log in memory than that.
    pub fn changes(&self, reader: &Reader) -> impl Iterator<Item = Result<Change, ReadError>> + use<> {
        let state = self.state.clone().map(Change::State);
        let base = self.base.clone().map(|(last, base)| Change::Reset { last, base });
        let entries = reader.entries(self.group);
        let appends = entries.map(|chunk| chunk.map(|(first, entries)| Change::Append { first, entries }));
        state.into_iter().chain(base).map(Ok).chain(appends)
    }
}

/// What opening the log came upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Segments read.
    pub segments: usize,
    /// Bytes that counted.
    pub bytes: u64,
    /// Batches above the highest synced mark that were accepted and rewritten.
    pub unsynced_batches: u64,
    /// The torn tail, if there was one.
    pub cut: Option<Cut>,
    /// What was repaired, if anything was damaged.
    pub repaired: Option<Repaired>,
}

/// A tail that was torn by a crash. Nothing in it was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: String,
    /// The first byte cut.
    pub offset: u64,
    /// Bytes up to the last one that was not zero.
    pub bytes: u64,
}

/// What recovery hands to the writer.
pub(crate) struct Opening {
    pub(crate) shared: Arc<Shared>,
    pub(crate) chain: VecDeque<Link>,
    pub(crate) begun: Begun,
    pub(crate) recovered: Vec<Recovered>,
    pub(crate) report: Opened,
}

/// Opens what is in the folder, which is locked already. With a witness, a damaged log is repaired where that is possible.
pub(crate) fn open(folder: &dyn Folder, options: &Options, witness: Option<&Witness>) -> Result<Opening, OpenError> {
    let path = folder.path("");
    let (mut present, mut kept) = (Vec::new(), BTreeSet::new());
    for name in folder.list().map_err(io_failure("list", &path, 0))? {
        match segment::parse_name(&name) {
            Some(Named::Segment(number)) => present.push(number),
            Some(Named::Damaged(number)) => {
                kept.insert(number);
            }
            // Nobody believes it: it was being written when the node stopped.
            Some(Named::Unfinished(_)) => {
                sometimes!("wal: a segment was being begun when the node stopped");
                folder.remove(&name).map_err(io_failure("remove", folder.path(&name), 0))?;
            }
            None => {}
        }
    }
    let newest = present.iter().max().copied();

    let doubts = witness.map(|_| Doubts::default());
    let mut recovery = Recovery { folder, options, index: LogIndex::default(), report: Opened::default(), doubts };
    let replayed = match newest {
        Some(newest) => recovery.replay(newest)?,
        None => Replayed::default(),
    };
    let Recovery { index, report, doubts, .. } = recovery;
    if let (Some(witness), Some(doubts)) = (witness, doubts.filter(|doubts| !doubts.gaps.is_empty())) {
        return repair::repair(folder, options, witness, index, doubts, report, &present);
    }
    let Replayed { mut chain, newest: tail } = replayed;
    let carry = match &tail {
        None => Vec::new(),
        Some(tail) => {
            // A newest segment with little in it moves as a whole, so that restarts do not leave a file each.
            let live = index.live_bytes().get(&tail.number).copied().unwrap_or_default();
            let whole = live <= options.segment_bytes / 4;
            sometimes!("wal: the newest segment is too full to be moved whole", !whole);
            if !whole {
                chain.push_back(Link { number: tail.number, end: tail.mark });
            }
            index.within(tail.number, if whole { 0 } else { tail.mark }, u64::MAX)
        }
    };
    for link in &chain {
        index.files[&link.number].note_synced(segment::header_bytes(&options.identity) as u64, link.end);
    }
    let shared = Arc::new(Shared::new(index));
    let begin = Begin {
        folder,
        shared: &shared,
        identity: &options.identity,
        bytes: options.segment_bytes,
        number: newest.map_or(1, |newest| newest + 1),
    };
    let begun = begin.run(begin.create()?, &mut chain, &carry)?;
    remove_leftovers(folder, &shared, &chain, &present, &kept)?;
    let recovered = recovered(&shared.index().groups);
    Ok(Opening { shared, chain, begun, recovered, report })
}

/// Removes segments outside the chain, or moves them to where they are `kept`, and gives back what lies behind the end of
/// those inside.
pub(crate) fn remove_leftovers(
    folder: &dyn Folder,
    shared: &Shared,
    chain: &VecDeque<Link>,
    present: &[u64],
    kept: &BTreeSet<u64>,
) -> Result<(), OpenError> {
    let mut index = shared.index_mut();
    for number in present {
        let name = segment::name(*number);
        let path = folder.path(&name);
        if let Some(link) = chain.iter().find(|link| link.number == *number) {
            let file = &index.files[number].file;
            if file.size().map_err(io_failure("measure", &path, 0))? > link.end {
                file.cut(link.end).map_err(io_failure("cut", &path, link.end))?;
            }
        } else {
            index.files.remove(number);
            let (what, result) = match kept.contains(number) {
                true => ("rename", folder.rename(&name, &segment::damaged_name(*number))),
                false => ("remove", folder.remove(&name)),
            };
            match result {
                // Beginning the new segment has removed some already.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(io_failure(what, &path, 0))?,
            }
        }
    }
    if present.iter().any(|number| kept.contains(number)) {
        folder.sync().map_err(io_failure("sync", folder.path(""), 0))?;
    }
    Ok(())
}

pub(crate) fn recovered(groups: &BTreeMap<GroupId, crate::index::Group>) -> Vec<Recovered> {
    groups
        .iter()
        .map(|(id, group)| Recovered {
            group: *id,
            state: group.state.clone(),
            base: group.base.clone().map(|base| (group.ends.base, base)),
            live: group.live(),
        })
        .collect()
}

/// What the segments on disk came to.
#[derive(Default)]
struct Replayed {
    /// All but the newest, oldest first.
    chain: VecDeque<Link>,
    newest: Option<Newest>,
}

struct Newest {
    number: u64,
    /// All before this was synced.
    mark: u64,
}

struct Recovery<'a> {
    folder: &'a dyn Folder,
    options: &'a Options,
    index: LogIndex,
    report: Opened,
    /// `None` where damage is refused.
    doubts: Option<Doubts>,
}

impl Recovery<'_> {
    fn replay(&mut self, newest: u64) -> Result<Replayed, OpenError> {
        let (chain, headers) = self.walk(newest)?;
        self.report.segments = headers.len();
        for (link, header) in chain.iter().zip(headers.iter().rev()) {
            self.replay_sealed(*link, header)?;
        }
        let header = &headers[0];
        let mark = self.replay_newest(header)?;
        let is_damaged = self.doubts.as_ref().is_some_and(|doubts| !doubts.gaps.is_empty());
        for (id, group) in self.index.groups.iter().filter(|_| !is_damaged) {
            if let Some((first, last)) = group.live()
                && !group.stretches.is_whole(first, last)
            {
                let reason = format!("entries of {id} between {first} and {last} are in no segment");
                return Err(OpenError::Corrupt { path: self.path(newest), offset: 0, reason });
            }
        }
        Ok(Replayed { chain, newest: Some(Newest { number: newest, mark }) })
    }

    /// Follows the chain from the newest segment; the links come oldest first, the headers newest first.
    fn walk(&mut self, newest: u64) -> Result<(VecDeque<Link>, Vec<segment::Header>), OpenError> {
        let mut chain = VecDeque::new();
        let mut headers = vec![self.open_newest(newest)?];
        let oldest = headers[0].oldest;
        let mut current = newest;
        while current != oldest {
            let broken = |reason: &str| OpenError::Corrupt {
                path: self.folder.path(&segment::name(current)),
                offset: 0,
                reason: reason.to_owned(),
            };
            let link = headers
                .last()
                .and_then(|header| header.previous)
                .ok_or_else(|| broken("it names no segment before it, though one is needed"))?;
            if link.number >= current || link.number < oldest {
                return Err(broken("the segment it names as the one before it cannot be"));
            }
            let header = match (self.open_segment(link.number, current), &mut self.doubts) {
                // What came before it is not found without it.
                (Err(error @ (OpenError::Corrupt { .. } | OpenError::Missing { .. })), Some(doubts)) => {
                    let path = self.folder.path(&segment::name(link.number));
                    let is_missing = matches!(error, OpenError::Missing { .. });
                    let gap = Gap { path, segment: link.number, offset: 0, bytes: link.end, is_missing };
                    doubts.on_gap(gap, &self.index);
                    break;
                }
                (header, _) => header?,
            };
            headers.push(header);
            chain.push_front(link);
            current = link.number;
        }
        Ok((chain, headers))
    }

    /// Opens the newest segment. Without its header nothing tells which others count, and they are a gap as a whole; its own
    /// batches are told by their checksums, which hold its number and their place.
    fn open_newest(&mut self, number: u64) -> Result<segment::Header, OpenError> {
        let error = match self.open_segment(number, number) {
            Err(error @ OpenError::Corrupt { .. }) => error,
            result => return result,
        };
        let Some(doubts) = &mut self.doubts else { return Err(error) };
        let path = self.folder.path(&segment::name(number));
        let file = self.folder.open(&segment::name(number)).map_err(io_failure("open", &path, 0))?;
        let bytes = file.size().map_err(io_failure("measure", &path, 0))?;
        doubts.on_gap(Gap { path: path.clone(), segment: number, offset: 0, bytes, is_missing: false }, &self.index);
        self.index.files.insert(number, Arc::new(SegmentFile::new(path, file)));
        let identity = self.options.identity.clone();
        // How far its opening was synced, the first batch behind it tells.
        let opening_end = segment::header_bytes(&identity) as u64;
        Ok(segment::Header { number, previous: None, oldest: number, opening_end, identity })
    }

    fn open_segment(&mut self, number: u64, named_by: u64) -> Result<segment::Header, OpenError> {
        let path = self.path(number);
        let file = match self.folder.open(&segment::name(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing { path, named_by: self.path(named_by) });
            }
            result => result.map_err(io_failure("open", &path, 0))?,
        };
        let mut bytes = vec![0; segment::HEADER_BYTES_MAX];
        let read = match file.read_at(0, &mut bytes).map_err(io_failure("read", &path, 0)) {
            Err(failure) if failure.is_damage() => {
                return Err(OpenError::Corrupt { path, offset: 0, reason: failure.reason.to_string() });
            }
            result => result?,
        };
        let header = match segment::decode(&bytes[..read], number) {
            Ok(header) => header,
            Err(HeaderError::Version(found)) => {
                return Err(OpenError::Version { path, found, ours: segment::VERSION });
            }
            Err(HeaderError::Corrupt(reason)) => {
                return Err(OpenError::Corrupt { path, offset: 0, reason: reason.to_owned() });
            }
        };
        if header.identity != self.options.identity {
            return Err(OpenError::Identity { path, found: header.identity, ours: self.options.identity.clone() });
        }
        self.index.files.insert(number, Arc::new(SegmentFile::new(path, file)));
        Ok(header)
    }

    fn replay_sealed(&mut self, link: Link, header: &segment::Header) -> Result<(), OpenError> {
        let file = Arc::clone(&self.index.files[&link.number]);
        let mut window = Window::new(&file)?;
        let mut offset = segment::header_bytes(&header.identity) as u64;
        while offset < link.end {
            let Some((header, records)) = window.batch(link.number, offset)? else {
                if self.doubts.is_some() {
                    offset = self.skip(&file, &mut window, link.number, offset, link.end)?;
                    continue;
                }
                let reason = format!("this batch was synced, up to offset {}, and is not what it was", link.end);
                return Err(corrupt(&file, offset, reason));
            };
            self.replay_batch(&file, link.number, offset, &header, records)?;
            offset += batch::total_bytes(header.length) as u64;
        }
        if offset != link.end {
            return Err(corrupt(&file, offset, format!("the segment should end at offset {}", link.end)));
        }
        self.report.bytes += offset;
        Ok(())
    }

    /// Tells up to where the newest segment is known to have been synced.
    fn replay_newest(&mut self, header: &segment::Header) -> Result<u64, OpenError> {
        let number = header.number;
        let file = Arc::clone(&self.index.files[&number]);
        let mut window = Window::new(&file)?;
        let mut offset = segment::header_bytes(&header.identity) as u64;
        let mut mark = header.opening_end;
        let mut starts = Vec::new();
        let mut behind = None;
        loop {
            let Some((header, records)) = window.batch(number, offset)? else {
                let from = offset;
                let behind = match behind {
                    Some(behind) => behind,
                    None => *behind.insert(window.look_behind(number, from)?),
                };
                mark = mark.max(behind.mark);
                if offset >= mark {
                    // What the disk does not give back is no torn tail.
                    if let Some(failure) = window.unreadable.take_if(|failure| failure.offset + PIECE_BYTES > mark) {
                        return Err(failure.into());
                    }
                    if behind.end > offset {
                        sometimes!("wal: a torn tail is cut off");
                        let bytes = behind.end - offset;
                        self.report.cut = Some(Cut { path: file.path.clone(), offset, bytes });
                    }
                    break;
                }
                if self.doubts.is_some() {
                    offset = self.skip(&file, &mut window, number, offset, mark)?;
                    continue;
                }
                let reason = format!("this batch was synced, up to offset {mark}, and is not what it was");
                return Err(corrupt(&file, offset, reason));
            };
            if header.synced > offset {
                return Err(corrupt(&file, offset, "its synced mark lies behind it".to_owned()));
            }
            mark = mark.max(header.synced);
            self.replay_batch(&file, number, offset, &header, records)?;
            starts.push(offset);
            offset += batch::total_bytes(header.length) as u64;
        }
        self.report.unsynced_batches = starts.iter().filter(|start| **start >= mark).count() as u64;
        sometimes!("wal: batches survive that nobody was told of", self.report.unsynced_batches > 0);
        self.report.bytes += offset;
        Ok(mark)
    }

    fn replay_batch(
        &mut self,
        file: &SegmentFile,
        number: u64,
        offset: u64,
        header: &batch::Header,
        records: &[u8],
    ) -> Result<(), OpenError> {
        let mut count = 0;
        for view in record::decode_all(records) {
            let at = |at: usize| offset + (batch::HEADER_BYTES + at) as u64;
            let view = view.map_err(|start| corrupt(file, at(start), "the record is malformed".to_owned()))?;
            let applied = match self.doubts.as_mut().filter(|doubts| !doubts.gaps.is_empty()) {
                None => self.index.apply(&view, number, at(view.at)),
                Some(doubts) => {
                    doubts.on_record(&view);
                    self.index.apply_behind_gap(&view, number, at(view.at))
                }
            };
            applied.map_err(|misfit| corrupt(file, at(view.at), misfit.to_string()))?;
            count += 1;
        }
        if count != header.records {
            return Err(corrupt(file, offset, format!("the batch holds {count} records, not {}", header.records)));
        }
        Ok(())
    }

    /// Notes a gap at `offset`; tells where the next intact batch before `end` begins, or `end`.
    fn skip(
        &mut self,
        file: &SegmentFile,
        window: &mut Window<'_>,
        number: u64,
        offset: u64,
        end: u64,
    ) -> Result<u64, OpenError> {
        let next = window.next_batch(number, offset, end)?;
        let gap = Gap { path: file.path.clone(), segment: number, offset, bytes: next - offset, is_missing: false };
        if let Some(doubts) = &mut self.doubts {
            doubts.on_gap(gap, &self.index);
        }
        Ok(next)
    }

    fn path(&self, number: u64) -> String {
        self.folder.path(&segment::name(number))
    }
}

fn corrupt(file: &SegmentFile, offset: u64, reason: String) -> OpenError {
    OpenError::Corrupt { path: file.path.clone(), offset, reason }
}

/// What lies behind the first bad batch.
#[derive(Clone, Copy)]
struct Behind {
    /// The highest synced mark of any batch there; 0 without one.
    mark: u64,
    /// Behind the last byte that is not zero.
    end: u64,
}

/// Reads a file from front to back, a megabyte at a time.
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    path: &'a str,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
    /// The last place that the disk did not give back. What lay there is taken for zeros, which no batch is made of.
    unreadable: Option<IoFailure>,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a SegmentFile) -> Result<Self, IoFailure> {
        let size = file.file.size().map_err(io_failure("measure", &file.path, 0))?;
        Ok(Self { file: &*file.file, path: &file.path, size, start: 0, bytes: Vec::new(), unreadable: None })
    }

    /// The bytes at `offset`; fewer than `length` only where the file ends.
    fn get(&mut self, offset: u64, length: usize) -> Result<&[u8], IoFailure> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let held = self.start..=self.start + self.bytes.len() as u64;
        if !held.contains(&offset) || !held.contains(&(offset + length as u64)) {
            self.bytes.resize(length.max(WINDOW_BYTES).min(left), 0);
            let read = match self.file.read_at(offset, &mut self.bytes).map_err(io_failure("read", self.path, offset)) {
                Err(failure) if failure.is_damage() => self.read_around(offset)?,
                result => result?,
            };
            self.bytes.truncate(read);
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..(at + length).min(self.bytes.len())])
    }

    /// Fills the window from `offset` on page by page, and those with zeros that the disk does not give back.
    fn read_around(&mut self, offset: u64) -> Result<usize, IoFailure> {
        let wanted = self.size.saturating_sub(offset).min(self.bytes.len() as u64) as usize;
        let mut filled = 0;
        while filled < wanted {
            let at = offset + filled as u64;
            let length = (PIECE_BYTES - at % PIECE_BYTES).min((wanted - filled) as u64) as usize;
            let piece = &mut self.bytes[filled..filled + length];
            match self.file.read_at(at, piece).map_err(io_failure("read", self.path, at)) {
                Err(failure) if failure.is_damage() => {
                    piece.fill(0);
                    if self.unreadable.as_ref().is_none_or(|last| last.offset < at) {
                        self.unreadable = Some(failure);
                    }
                }
                result => drop(result?),
            }
            filled += length;
        }
        Ok(filled)
    }

    /// The batch at `offset`, if there is an intact one.
    pub(crate) fn batch(&mut self, segment: u64, offset: u64) -> Result<Option<(batch::Header, &[u8])>, IoFailure> {
        let size = self.size;
        let Some(header) = batch::peek(self.get(offset, batch::HEADER_BYTES)?, offset) else { return Ok(None) };
        let total = batch::total_bytes(header.length);
        // A length that the file has no room for is not worth reading for, and nothing is ever written past 4 GiB.
        let end = offset + total as u64;
        if header.length > batch::BATCH_BYTES_MAX || end > size || u32::try_from(end).is_err() {
            return Ok(None);
        }
        let bytes = self.get(offset, total)?;
        if bytes.len() < total || !batch::verify(bytes, segment) {
            return Ok(None);
        }
        Ok(Some((header, &bytes[batch::HEADER_BYTES..batch::HEADER_BYTES + header.length])))
    }

    /// Where the next intact batch behind a bad one begins, or `end`. Where the bad one says, if there is one: what clients
    /// wrote into it might look like a batch itself.
    fn next_batch(&mut self, segment: u64, bad: u64, end: u64) -> Result<u64, IoFailure> {
        if let Some(header) = batch::peek(self.get(bad, batch::HEADER_BYTES)?, bad) {
            let next = bad + batch::total_bytes(header.length) as u64;
            if next == end || (next < end && self.batch(segment, next)?.is_some()) {
                return Ok(next);
            }
        }
        let mut at = bad + batch::ALIGN;
        // A header may say of a segment that it was synced far beyond the end of its file: nothing lies there.
        while at < end.min(self.size) {
            if self.batch(segment, at)?.is_some() {
                return Ok(at);
            }
            at += batch::ALIGN;
        }
        Ok(end)
    }

    /// Looks through all that lies behind a bad batch at `from`. Most of it is zeros nearly always.
    fn look_behind(&mut self, segment: u64, from: u64) -> Result<Behind, IoFailure> {
        const STEP: usize = 4096;
        let mut behind = Behind { mark: 0, end: from };
        let mut step = from;
        while step < self.size {
            let block = self.get(step, STEP)?;
            let length = block.len();
            // Comparing with zeros is many times faster than looking at every byte.
            if length > 0 && block != &[0; STEP][..length] {
                let last = block.iter().rposition(|byte| *byte != 0).unwrap_or_default();
                behind.end = step + last as u64 + 1;
                for at in (0..length as u64).step_by(batch::ALIGN as usize) {
                    let offset = step + at;
                    if let Some((header, _)) = self.batch(segment, offset)?
                        && header.synced <= offset
                    {
                        behind.mark = behind.mark.max(header.synced);
                    }
                }
            }
            step += STEP as u64;
        }
        Ok(behind)
    }
}
