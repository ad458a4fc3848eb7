//! Backups: a state as one stream of bytes that describes itself and cannot be taken for whole when it is not.
//!
//! ```text
//! "HEZONGBK", version used u32, then frames: kind u8, length u32, CRC-32C u32 of kind, length and payload, payload
//! ```
//! The version is what a program must know to read what is in it: the newest that was used in the cluster.
//! The first frame is the [`Header`], the last the trailer: how many bytes precede it, and their SHA-256. Between them lie
//! chunks as snapshots have them. Numbers are little-endian. `docs/backup.md` has the table.

use std::io::{self, Read};

use bytes::Bytes;
use hezong_codec::VERSIONS;
use prost::Message;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::snapshot::Pairs;

const MAGIC: &[u8; 8] = b"HEZONGBK";
const PREAMBLE_BYTES: usize = 12;
/// Kind, length, checksum.
const HEAD_BYTES: usize = 9;
/// A chunk holds what one command may write and little more; nothing near this is ever written.
const FRAME_BYTES_MAX: u32 = 256 << 20;
const TRAILER_BYTES: usize = 8 + 32;

const HEADER: u8 = 1;
const CHUNK: u8 = 2;
const TRAILER: u8 = 3;
/// The place of the keys among the maps of a chunk, see `Maps::all`.
const KEYS_MAP: u32 = 1;

/// What a backup says of itself.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// The cluster it was taken from, as people see its id.
    #[prost(string, tag = "1")]
    pub cluster: String,
    /// The label of the node that served it.
    #[prost(string, tag = "2")]
    pub node: String,
    /// Term of the last entry it covers.
    #[prost(uint64, tag = "3")]
    pub term: u64,
    /// Index of that entry, 1 or more.
    #[prost(uint64, tag = "4")]
    pub index: u64,
    /// Its revision.
    #[prost(uint64, tag = "5")]
    pub revision: u64,
    /// When it was taken by the clock of that node, in seconds since 1970; for people only.
    #[prost(uint64, tag = "6")]
    pub taken: u64,
    /// How many keys it holds.
    #[prost(uint64, tag = "7")]
    pub keys: u64,
    /// The members at that time.
    #[prost(message, repeated, tag = "8")]
    pub members: Vec<BackupMember>,
    /// The largest node number ever given, so that none is given twice.
    #[prost(uint64, tag = "9")]
    pub last_id: u64,
    /// The version of the program that wrote it.
    #[prost(string, tag = "10")]
    pub program: String,
    /// The newest version used in it; 0 is the first. It stands before the header, so that older programs read no further.
    #[prost(uint32, tag = "11")]
    pub used: u32,
}

/// A member as a backup names it, for people.
#[derive(Clone, PartialEq, Message)]
pub struct BackupMember {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub node: u64,
    /// Its label.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Where clients reached it.
    #[prost(string, tag = "3")]
    pub http: String,
    /// Where other nodes reached it.
    #[prost(string, tag = "4")]
    pub peer: String,
    /// Whether it voted.
    #[prost(bool, tag = "5")]
    pub voter: bool,
}

/// Why a backup is not used. `offset` is where the part that is wrong begins.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file cannot be read.
    #[error("it cannot be read at offset {offset}: {source}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It does not begin as a backup does.
    #[error("it is no backup: it does not begin with HEZONGBK")]
    Foreign,
    /// What it holds only newer programs know, or only older ones.
    #[error(
        "it is of version {found}, and this program reads from version {} to version {}; use the one that wrote it",
        VERSIONS.min, VERSIONS.max
    )]
    Version {
        /// Its version.
        found: u32,
    },
    /// It ends too early.
    #[error("it is cut short: it ends within what begins at offset {offset}; take another backup")]
    Cut {
        /// Where what is incomplete begins.
        offset: u64,
    },
    /// Not what was written.
    #[error("it is damaged at offset {offset}: {reason}; use another copy")]
    Damaged {
        /// Where the damaged part begins.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Makes a backup, piece by piece.
#[derive(Debug)]
pub struct BackupWriter {
    hash: Sha256,
    bytes: u64,
}

impl BackupWriter {
    /// Begins one. Returns its first bytes.
    #[must_use]
    pub fn begin(header: &Header) -> (Self, Bytes) {
        let mut writer = Self { hash: Sha256::new(), bytes: 0 };
        let mut first = MAGIC.to_vec();
        first.extend_from_slice(&header.used.max(1).to_le_bytes());
        push_frame(&mut first, HEADER, &header.encode_to_vec());
        let first = writer.counted(first);
        (writer, first)
    }

    /// A chunk as [`KvView::chunk`](crate::KvView::chunk) gives it.
    ///
    /// # Panics
    /// When the chunk is longer than 4 GiB; one value cannot be.
    pub fn chunk(&mut self, chunk: &[u8]) -> Bytes {
        let mut frame = Vec::with_capacity(HEAD_BYTES + chunk.len());
        push_frame(&mut frame, CHUNK, chunk);
        self.counted(frame)
    }

    /// The last bytes.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let mut payload = self.bytes.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.hash.finalize());
        let mut frame = Vec::with_capacity(HEAD_BYTES + TRAILER_BYTES);
        push_frame(&mut frame, TRAILER, &payload);
        frame.into()
    }

    fn counted(&mut self, bytes: Vec<u8>) -> Bytes {
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        bytes.into()
    }
}

fn push_frame(into: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a chunk is a few megabytes and at most one value over that");
    into.push(kind);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&checksum(kind, length, payload).to_le_bytes());
    into.extend_from_slice(payload);
}

fn checksum(kind: u8, length: u32, payload: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &length.to_le_bytes());
    crc32c::crc32c_append(head, payload)
}

/// Reads a backup, and holds no more of it than one chunk.
#[derive(Debug)]
pub struct BackupReader<R> {
    source: R,
    hash: Sha256,
    offset: u64,
    header: Header,
}

impl<R: Read> BackupReader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(source: R) -> Result<Self, BackupError> {
        let mut reader = Self { source, hash: Sha256::new(), offset: 0, header: Header::default() };
        let preamble = reader.take(PREAMBLE_BYTES, 0)?;
        if !preamble.starts_with(MAGIC) {
            return Err(BackupError::Foreign);
        }
        let found = le_u32(&preamble[MAGIC.len()..]);
        if !u8::try_from(found).is_ok_and(|found| VERSIONS.contains(found)) {
            return Err(BackupError::Version { found });
        }
        reader.count(&preamble);
        let offset = reader.offset;
        let damaged = |reason| BackupError::Damaged { offset, reason };
        let Frame { kind: HEADER, head, payload } = reader.frame()? else {
            return Err(damaged("there is no header"));
        };
        reader.count(&head);
        reader.count(&payload);
        reader.header = Header::decode(payload.as_slice()).map_err(|_| damaged("the header cannot be decoded"))?;
        reader.header.used = found;
        Ok(reader)
    }

    /// What it says of itself. Covered by a checksum of its own already.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How far it was read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next chunk; `None` once the trailer has shown that everything before it is what was written.
    ///
    /// # Errors
    /// [`BackupError`]; then nothing that was read before may be used either.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, BackupError> {
        let offset = self.offset;
        let damaged = |reason| BackupError::Damaged { offset, reason };
        let Frame { kind, head, payload } = self.frame()?;
        match kind {
            CHUNK => {
                self.count(&head);
                self.count(&payload);
                Ok(Some(payload.into()))
            }
            TRAILER => {
                let mut expected = self.offset.to_le_bytes().to_vec();
                expected.extend_from_slice(&std::mem::take(&mut self.hash).finalize());
                if payload != expected {
                    return Err(damaged("the trailer does not fit what precedes it"));
                }
                self.offset += (head.len() + payload.len()) as u64;
                let mut beyond = Vec::new();
                self.read_into(&mut beyond, 1)?;
                if !beyond.is_empty() {
                    return Err(BackupError::Damaged { offset: self.offset, reason: "something follows its end" });
                }
                Ok(None)
            }
            _ => Err(damaged("there is a frame of a kind that this version does not know")),
        }
    }

    /// Reads all of it, and compares what is in it with what it says of itself.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn check(mut self) -> Result<Header, BackupError> {
        let mut keys = 0;
        loop {
            let offset = self.offset;
            let Some(chunk) = self.next_chunk()? else { break };
            let pairs = Pairs::decode(chunk)
                .map_err(|_| BackupError::Damaged { offset, reason: "a chunk holds no keys and values" })?;
            keys += pairs.pairs.iter().filter(|pair| pair.map == KEYS_MAP).count() as u64;
        }
        if keys != self.header.keys {
            let reason = "it holds another number of keys than its header tells";
            return Err(BackupError::Damaged { offset: PREAMBLE_BYTES as u64, reason });
        }
        Ok(self.header)
    }

    fn frame(&mut self) -> Result<Frame, BackupError> {
        let offset = self.offset;
        let head = self.take(HEAD_BYTES, offset)?;
        let (kind, length, expected) = (head[0], le_u32(&head[1..]), le_u32(&head[5..]));
        if length > FRAME_BYTES_MAX {
            return Err(BackupError::Damaged { offset, reason: "the length of a frame is beyond all bounds" });
        }
        let payload = self.take(length as usize, offset)?;
        if checksum(kind, length, &payload) != expected {
            return Err(BackupError::Damaged { offset, reason: "a checksum is wrong" });
        }
        Ok(Frame { kind, head, payload })
    }

    /// Reads exactly so much of what begins at `offset`.
    fn take(&mut self, length: usize, offset: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes, length)?;
        if bytes.len() == length { Ok(bytes) } else { Err(BackupError::Cut { offset }) }
    }

    /// Memory grows with what is really there: the length may be nonsense.
    fn read_into(&mut self, bytes: &mut Vec<u8>, length: usize) -> Result<(), BackupError> {
        let offset = self.offset;
        let read = self.source.by_ref().take(length as u64).read_to_end(bytes);
        read.map(drop).map_err(|source| BackupError::Io { offset, source })
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.offset += bytes.len() as u64;
    }
}

struct Frame {
    kind: u8,
    /// Kind, length and checksum as they were read.
    head: Vec<u8>,
    payload: Vec<u8>,
}

/// The number that `bytes` begin with.
fn le_u32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
