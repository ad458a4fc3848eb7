//! Beginning a segment: how every group stands, and what must move there from segments that are going away.
//!
//! A segment is written under another name until it is complete and synced, and then renamed and the folder synced.
//! So a segment that has its name has its header and its opening, or the disk has lied; and a crash while beginning one
//! leaves a file that nobody believes.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use hezong_base::{GroupId, Index};

use crate::error::{Failure, IoFailure, io_failure};
use crate::folder::{File, Folder};
use crate::index::SegmentFile;
use crate::reader::{Reader, Shared};
use crate::segment::Link;
use crate::{batch, record, segment};

/// A batch of an opening is written once it has this size.
const BATCH_BYTES: usize = 1 << 20;

/// Entries that move.
pub(crate) type Carry = Vec<(GroupId, Index, Index)>;

/// A segment that is ready to be appended to.
pub(crate) struct Begun {
    pub(crate) number: u64,
    pub(crate) file: Arc<SegmentFile>,
    /// How far it is written, and synced.
    pub(crate) end: u64,
}

/// What a segment begins from.
pub(crate) struct Begin<'a> {
    pub(crate) folder: &'a dyn Folder,
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) identity: &'a [u8],
    /// The size that is set aside.
    pub(crate) bytes: u64,
    pub(crate) number: u64,
}

impl Begin<'_> {
    /// Sets aside all the room that the segment takes. [`Failure::Full`] leaves everything as it was.
    pub(crate) fn create(&self) -> Result<Arc<dyn File>, Failure> {
        let unfinished = segment::unfinished_name(self.number);
        let failed = io_failure("create", self.folder.path(&unfinished), 0);
        self.folder.create(&unfinished, self.bytes).map_err(|reason| {
            let failure: IoFailure = failed(reason);
            match failure.reason.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::Full(failure),
                _ => Failure::Io(failure),
            }
        })
    }

    /// Begins the segment in its file. From `chain`, oldest first, goes what holds nothing live any more once `carry` has
    /// moved; those segments are removed, since the new header says, durably, that they are not needed.
    pub(crate) fn run(&self, file: Arc<dyn File>, chain: &mut VecDeque<Link>, carry: &Carry) -> Result<Begun, Failure> {
        let unfinished = segment::unfinished_name(self.number);
        let path = self.folder.path(&unfinished);
        let segment = Arc::new(SegmentFile::new(self.folder.path(&segment::name(self.number)), file));
        self.shared.index_mut().files.insert(self.number, Arc::clone(&segment));

        let offset = segment::header_bytes(self.identity) as u64;
        let mut writer = OpeningWriter::new(self, &*segment.file, &path, offset);
        self.write_groups(&mut writer)?;
        self.write_carried(&mut writer, carry)?;
        writer.flush()?;
        let end = writer.offset;

        let mut gone = Vec::new();
        let live = self.shared.index().live_bytes();
        while let Some(link) = chain.front().filter(|link| !live.contains_key(&link.number)) {
            gone.push(link.number);
            chain.pop_front();
        }
        let header = segment::Header {
            number: self.number,
            previous: chain.back().copied(),
            oldest: chain.front().map_or(self.number, |link| link.number),
            opening_end: end,
            identity: self.identity.to_vec(),
        };
        segment.file.write_at(0, &segment::encode(&header)).map_err(io_failure("write", &path, 0))?;
        segment.file.sync().map_err(io_failure("sync", &path, 0))?;
        segment.note_synced(segment::header_bytes(self.identity) as u64, end);
        let name = segment::name(self.number);
        self.folder.rename(&unfinished, &name).map_err(io_failure("rename", &path, 0))?;
        self.folder.sync().map_err(io_failure("sync", self.folder.path(""), 0))?;

        for number in gone {
            self.shared.index_mut().files.remove(&number);
            let name = segment::name(number);
            self.folder.remove(&name).map_err(io_failure("remove", self.folder.path(&name), 0))?;
        }
        Ok(Begun { number: self.number, file: segment, end })
    }

    fn write_groups(&self, writer: &mut OpeningWriter<'_>) -> Result<(), Failure> {
        let ids: Vec<GroupId> = self.shared.index().groups.keys().copied().collect();
        for id in ids {
            {
                let index = self.shared.index();
                index.groups[&id].encode_opening(id, &mut writer.buffer);
            }
            writer.wrote(1)?;
        }
        Ok(())
    }

    fn write_carried(&self, writer: &mut OpeningWriter<'_>, carry: &Carry) -> Result<(), Failure> {
        let reader = Reader::new(Arc::clone(self.shared));
        for (group, first, last) in carry {
            let mut next = *first;
            while next <= *last {
                let entries = reader.read(*group, next, *last, BATCH_BYTES)?;
                let records = record::encode_carried(&mut writer.buffer, *group, next, &entries);
                next = Index(next.0 + entries.len() as u64);
                writer.wrote(records)?;
            }
        }
        Ok(())
    }
}

/// Puts records into batches, and batches into the file and the index.
struct OpeningWriter<'a> {
    begin: &'a Begin<'a>,
    file: &'a dyn File,
    path: &'a str,
    buffer: Vec<u8>,
    records: u32,
    offset: u64,
}

impl<'a> OpeningWriter<'a> {
    fn new(begin: &'a Begin<'a>, file: &'a dyn File, path: &'a str, offset: u64) -> Self {
        let mut buffer = Vec::new();
        batch::begin(&mut buffer);
        Self { begin, file, path, buffer, records: 0, offset }
    }

    fn wrote(&mut self, records: u32) -> Result<(), Failure> {
        self.records += records;
        if self.buffer.len() < BATCH_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.records == 0 {
            return Ok(());
        }
        let length = self.buffer.len() - batch::HEADER_BYTES;
        // The mark says nothing here: the header tells that the whole opening was synced.
        batch::finish(&mut self.buffer, self.records, self.begin.number, self.offset, 0);
        self.file.write_at(self.offset, &self.buffer).map_err(io_failure("write", self.path, self.offset))?;
        self.begin.shared.index_mut().apply_own(
            &self.buffer[batch::HEADER_BYTES..batch::HEADER_BYTES + length],
            self.begin.number,
            self.offset,
        );
        self.offset += self.buffer.len() as u64;
        batch::begin(&mut self.buffer);
        self.records = 0;
        Ok(())
    }
}
