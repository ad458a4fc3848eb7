//! Writing: batches, syncs, and going on to the next segment.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hezong_base::{GroupId, Index};
use hezong_codec::log::{Record, Witness};

use crate::error::{Failure, OpenError, ReadError, WriteError, io_failure};
use crate::folder::{Folder, Lock};
use crate::index::{Ends, LogIndex, SegmentFile};
use crate::opening::{Begin, Carry};
use crate::reader::{Reader, Shared};
use crate::recovery::{self, Opened, Recovered};
use crate::segment::{self, IDENTITY_BYTES_MAX, Link};
use crate::{batch, record};

/// A buffer that has grown beyond this is given back after use.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// How much is written before the groups are stated again.
const RESTATE_BYTES: u64 = 64 << 10;

/// Of a disk with little room, a segment may take this part of what it takes otherwise.
const SMALL_PART: u64 = 4;

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose log this is: written into every segment, and compared when the log is opened. At most 1,024 bytes.
    pub identity: Vec<u8>,
    /// The size of a segment; what is outside 4 KiB to 1 GiB is taken for the nearer of the two. It may change between
    /// runs.
    pub segment_bytes: u64,
}

impl Options {
    /// Segments of 64 MiB.
    #[must_use]
    pub fn new(identity: impl Into<Vec<u8>>) -> Self {
        Self { identity: identity.into(), segment_bytes: 64 << 20 }
    }
}

/// The log of a node. One thread writes; any number read through a [`Reader`].
pub struct Wal {
    folder: Arc<dyn Folder>,
    options: Options,
    shared: Arc<Shared>,
    /// All segments before the current one that still count, oldest first.
    chain: VecDeque<Link>,
    number: u64,
    file: Arc<SegmentFile>,
    /// How much was set aside for the current segment: as the options say, or less where there was no room for that.
    bytes: u64,
    /// Where the next batch goes. Rises by a batch at a time; starts at the end of the segment's opening.
    offset: u64,
    /// Where the current segment's opening ends.
    opening_end: u64,
    /// All before this offset of the current segment is synced. At most `offset`.
    synced: u64,
    /// The first batch at or behind this offset is preceded by one that states how every group stands, as an opening does:
    /// whatever of the segment is damaged before that, what is certain is known.
    restate_at: u64,
    /// The batch that is being made; kept for its memory.
    buffer: Vec<u8>,
    /// The first failure, after which nothing is written any more.
    failed: Option<String>,
    opened: Opened,
    #[expect(dead_code, reason = "held for its drop")]
    lock: Lock,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("segment", &self.number)
            .field("offset", &self.offset)
            .field("synced", &self.synced)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens the log in `folder`, or begins one there if there is none. On return everything that is told of it, torn
    /// tail cut, is on disk.
    ///
    /// # Errors
    /// See [`OpenError`]: each leaves the log as it was.
    pub fn open(folder: Arc<dyn Folder>, options: Options) -> Result<(Self, Vec<Recovered>), OpenError> {
        Self::open_with(folder, options, None)
    }

    /// The same of a log that [`Wal::open`] found corrupt: what is certain of it stays, and what is missing is noted in the
    /// groups' states, for the protocol to fill from peers. [`Opened::repaired`] tells what was done.
    ///
    /// # Errors
    /// See [`OpenError`]: [`OpenError::Corrupt`] when too much is lost; each leaves the log as it was.
    pub fn repair(
        folder: Arc<dyn Folder>,
        options: Options,
        witness: &Witness,
    ) -> Result<(Self, Vec<Recovered>), OpenError> {
        Self::open_with(folder, options, Some(witness))
    }

    fn open_with(
        folder: Arc<dyn Folder>,
        mut options: Options,
        witness: Option<&Witness>,
    ) -> Result<(Self, Vec<Recovered>), OpenError> {
        options.segment_bytes = options.segment_bytes.clamp(4 << 10, 1 << 30);
        if options.identity.len() > IDENTITY_BYTES_MAX {
            return Err(OpenError::IdentityTooLong { bytes: options.identity.len(), max: IDENTITY_BYTES_MAX });
        }
        let lock = folder.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse { path: folder.path("") },
            _ => io_failure("lock", folder.path(""), 0)(error).into(),
        })?;
        let opening = recovery::open(&*folder, &options, witness)?;
        let wal = Self {
            folder,
            bytes: options.segment_bytes,
            options,
            shared: opening.shared,
            chain: opening.chain,
            number: opening.begun.number,
            file: opening.begun.file,
            offset: opening.begun.end,
            opening_end: opening.begun.end,
            synced: opening.begun.end,
            restate_at: opening.begun.end + RESTATE_BYTES,
            buffer: Vec::new(),
            failed: None,
            opened: opening.report,
            lock,
        };
        Ok((wal, opening.recovered))
    }

    /// Writes the records, all of them or, after a crash before the next sync, perhaps none: one batch, one write call.
    /// They can be read at once, and are durable after the next [`Wal::sync`].
    ///
    /// # Errors
    /// [`WriteError::Misfit`], [`WriteError::TooLarge`] and [`WriteError::Full`] leave everything as it was. After any other the log takes no
    /// more.
    pub fn append(&mut self, records: &[Record]) -> Result<(), WriteError> {
        self.refuse_if_failed()?;
        self.check(records)?;
        if records.is_empty() {
            return Ok(());
        }
        let result = self.write(records);
        self.note(result)
    }

    /// Makes everything appended so far durable: one fdatasync for all groups, none if there is nothing new.
    ///
    /// # Errors
    /// After any, the log takes no more.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.refuse_if_failed()?;
        let result = self.sync_file();
        self.note(result)
    }

    /// Syncs, and notes on disk that it did, and how every group stands: damage to the last batches is found as corruption
    /// afterwards, not taken for a torn tail, and can be repaired.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn close(mut self) -> Result<(), WriteError> {
        self.sync()?;
        if self.offset == self.opening_end {
            return Ok(());
        }
        match self.restate() {
            // It is no loss: what stands there is synced.
            Err(Failure::Full(_)) => return Ok(()),
            result => self.note(result)?,
        }
        self.sync()
    }

    /// Goes on to the next segment before the current one is full, if that gives the disk a good part of a segment: old ones
    /// that hold little or nothing live then go. For a disk with little room, on which little may be written, so that it
    /// might be long until they went otherwise. Tells how many bytes that is; 0 where it is not worth it, or where there
    /// is no room for the next segment.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn reclaim(&mut self) -> Result<u64, WriteError> {
        self.refuse_if_failed()?;
        for bytes in [self.options.segment_bytes, self.options.segment_bytes / SMALL_PART] {
            let Some((carry, freed)) = self.choose_reclaim(bytes) else { return Ok(0) };
            let (last, end) = (Arc::clone(&self.file), self.offset);
            // What was set aside in the last one is for nobody now. Where it is gone as a whole, this does no harm.
            let cut = |()| Ok(last.file.cut(end).map_err(io_failure("cut", &last.path, end))?);
            match self.turn(bytes, &carry).and_then(cut) {
                Err(Failure::Full(_)) => {}
                result => return self.note(result).map(|()| freed),
            }
        }
        Ok(0)
    }

    /// A handle for reading, also from another thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// As [`Reader::read`].
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read(&self, group: GroupId, from: Index, through: Index, bytes_max: usize) -> Result<Vec<Bytes>, ReadError> {
        self.reader().read(group, from, through, bytes_max)
    }

    /// What opening the log came upon.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The bytes that count of all segments, without what is set aside in the current one.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.chain.iter().map(|link| link.end).sum::<u64>() + self.offset
    }

    /// How many segments there are.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.chain.len() + 1
    }

    fn refuse_if_failed(&self) -> Result<(), WriteError> {
        self.failed.clone().map_or(Ok(()), |first| Err(WriteError::Stopped { first }))
    }

    fn note(&mut self, result: Result<(), Failure>) -> Result<(), WriteError> {
        result.map_err(|failure| {
            let error = WriteError::from(failure);
            if !matches!(error, WriteError::Full(_)) {
                self.failed = Some(error.to_string());
            }
            error
        })
    }

    /// Whether all of the records fit, one after the other.
    fn check(&self, records: &[Record]) -> Result<(), WriteError> {
        let bytes = records.iter().map(record::encoded_bytes_max).fold(0, usize::saturating_add);
        if bytes > batch::BATCH_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes, max: batch::BATCH_BYTES_MAX });
        }
        let index = self.shared.index();
        let mut all: BTreeMap<GroupId, Ends> = BTreeMap::new();
        for record in records {
            all.entry(record.group)
                .or_insert_with(|| index.groups.get(&record.group).map_or_else(Ends::default, |group| group.ends))
                .step(record.group, &record.change)?;
        }
        Ok(())
    }

    fn write(&mut self, records: &[Record]) -> Result<(), Failure> {
        if self.offset >= self.restate_at {
            self.restate()?;
        }
        self.write_batch(|buffer, _| records.iter().map(|record| record::encode(record, buffer)).sum())
    }

    /// States how every group stands.
    fn restate(&mut self) -> Result<(), Failure> {
        let begun = self.offset;
        self.write_batch(|buffer, index| {
            index.groups.iter().for_each(|(id, group)| group.encode_opening(*id, buffer));
            index.groups.len() as u32
        })?;
        // Where that takes much, it is done less often.
        self.restate_at = self.offset + RESTATE_BYTES.max(16 * self.offset.saturating_sub(begun));
        Ok(())
    }

    /// Writes a batch of what `encode` puts into the buffer, which tells how many records that is.
    fn write_batch(&mut self, encode: impl FnOnce(&mut Vec<u8>, &LogIndex) -> u32) -> Result<(), Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        batch::begin(&mut buffer);
        let count = encode(&mut buffer, &self.shared.index());
        let length = buffer.len() - batch::HEADER_BYTES;
        let end = self.offset + batch::total_bytes(length) as u64;
        // A segment of the usual size holds one batch at least, however large.
        let is_small = self.bytes < self.options.segment_bytes;
        if end > self.bytes && (self.offset > self.opening_end || is_small) {
            self.rotate(batch::total_bytes(length) as u64)?;
        }
        batch::finish(&mut buffer, count, self.number, self.offset, self.synced);
        self.file.file.write_at(self.offset, &buffer).map_err(io_failure("write", &self.file.path, self.offset))?;
        let records = &buffer[batch::HEADER_BYTES..batch::HEADER_BYTES + length];
        self.shared.index_mut().apply_own(records, self.number, self.offset);
        self.offset += buffer.len() as u64;
        if buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.buffer = buffer;
        }
        Ok(())
    }

    fn sync_file(&mut self) -> Result<(), Failure> {
        if self.synced < self.offset {
            self.file.file.sync().map_err(io_failure("sync", &self.file.path, self.synced))?;
            self.synced = self.offset;
            self.file.note_synced(segment::header_bytes(&self.options.identity) as u64, self.synced);
        }
        Ok(())
    }

    /// Goes on to the next segment, as the current one is full. Where there is no room for it, to a small one, if the next
    /// batch fits there; nothing moves then, since half a segment would not.
    fn rotate(&mut self, next: u64) -> Result<(), Failure> {
        let carry = self.choose_carry();
        let small = self.options.segment_bytes / SMALL_PART;
        match self.turn(self.options.segment_bytes, &carry) {
            Err(Failure::Full(_)) if self.opening_bytes() + next <= small => self.turn(small, &Carry::new()),
            result => result,
        }
    }

    /// What the opening of the next segment takes, without what moves there.
    fn opening_bytes(&self) -> u64 {
        let mut opening = Vec::new();
        self.shared.index().groups.iter().for_each(|(id, group)| group.encode_opening(*id, &mut opening));
        (segment::header_bytes(&self.options.identity) + batch::total_bytes(opening.len())) as u64
    }

    /// Goes on to the next segment, with so many bytes set aside. The current one is synced first: that all but the newest
    /// are, in full, is what lets recovery call anything wrong in them corruption.
    fn turn(&mut self, bytes: u64, carry: &Carry) -> Result<(), Failure> {
        self.sync_file()?;
        let begin = Begin {
            folder: &*self.folder,
            shared: &self.shared,
            identity: &self.options.identity,
            bytes,
            number: self.number + 1,
        };
        // First of all: where there is no room, this is tried again.
        let file = begin.create()?;
        self.chain.push_back(Link { number: self.number, end: self.offset });
        let begun = begin.run(file, &mut self.chain, carry)?;
        self.number = begun.number;
        self.file = begun.file;
        self.bytes = bytes;
        self.offset = begun.end;
        self.opening_end = begun.end;
        self.synced = begun.end;
        self.restate_at = begun.end + RESTATE_BYTES;
        Ok(())
    }

    /// What moves from the oldest segment into the next. Segments leave from the oldest on only, so a few live entries
    /// there pin all that lies behind them; they move once the log is larger than twice what is live and two segments.
    /// No more than half a segment moves at a time, so that no append waits for long, and half a segment of new records
    /// is written before the next turn. So while all that is live moves, as much again is written, and the log never
    /// becomes larger than three times what is live and four segments.
    fn choose_carry(&self) -> Carry {
        let index = self.shared.index();
        let live = index.live_bytes();
        let used: u64 = self.links().map(|link| link.end).sum();
        let bound = 2 * live.values().sum::<u64>() + 2 * self.options.segment_bytes;
        let oldest = self.links().map(|link| link.number).find(|number| live.contains_key(number));
        match oldest {
            Some(oldest) if used > bound => index.within(oldest, 0, self.options.segment_bytes / 2),
            _ => Vec::new(),
        }
    }

    /// What moves when the oldest segments are to go, into a next one of so many bytes, and how much that frees; `None` if
    /// it frees less than a quarter of a usual one, or if how the groups stand takes too much of the next one. No more moves than a quarter of what the next one takes, and from no
    /// segment more than half: that it frees as much again is what is gained.
    fn choose_reclaim(&self, bytes: u64) -> Option<(Carry, u64)> {
        let (mut moved, mut freed, mut carry) = (self.opening_bytes(), 0, Carry::new());
        if moved > bytes / 4 {
            return None;
        }
        let index = self.shared.index();
        let live = index.live_bytes();
        let tail = self.bytes.saturating_sub(self.offset);
        for link in self.links() {
            let kept = live.get(&link.number).copied().unwrap_or_default();
            moved += kept;
            if kept > link.end / 2 || moved > bytes / 4 {
                break;
            }
            freed += link.end;
            carry.extend(index.within(link.number, 0, u64::MAX));
        }
        let freed = (freed + tail).saturating_sub(bytes);
        (freed >= self.options.segment_bytes / 4).then_some((carry, freed))
    }

    /// All segments, the current one included, oldest first.
    fn links(&self) -> impl Iterator<Item = Link> {
        self.chain.iter().copied().chain([Link { number: self.number, end: self.offset }])
    }
}
