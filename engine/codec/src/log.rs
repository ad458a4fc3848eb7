//! What stands in the log on disk, without the log having to know the protocol.
//!
//! The log (`hezong-wal`) stores [`Record`]s of many groups. It knows which places in a group's log its entries take,
//! because it must find, cut and drop them; entries themselves, `State` and `base` are blobs to it. [`to_change`] and
//! [`to_write`] are where Raft's writes become such records and come back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use hezong_base::{GroupId, Index};
use hezong_raft::{Base, Entry, Write};
use prost::Message;

use crate::frame::parse;
use crate::{DecodeError, convert, wire};

/// One change of one group's part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub group: GroupId,
    /// What changes.
    pub change: Change,
}

/// A change as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The protocol's small state (for Raft term and vote); replaces the one before.
    State(Bytes),
    /// Entries that follow the last one.
    Append {
        /// The place of the first of them; the others follow without gaps.
        first: Index,
        /// At least one.
        entries: Vec<Bytes>,
    },
    /// Entries from here on are void.
    Truncate {
        /// The first void one.
        from: Index,
    },
    /// Entries up to and including `through` may go; the log then stands on `base`.
    Compact {
        /// The last that may go.
        through: Index,
        /// What the log stands on.
        base: Bytes,
    },
    /// The whole log is void; it now stands on `base`, and its next entry follows `last`.
    Reset {
        /// The last place that `base` covers; `None` before the first.
        last: Option<Index>,
        /// What the log stands on.
        base: Bytes,
    },
}

/// A Raft write as the log stores it. The entries of one append share one buffer: they are written together and let go
/// together.
///
/// # Panics
/// On an append without entries and a compaction that covers none: the protocol issues neither.
#[must_use]
pub fn to_change(write: &Write) -> Change {
    match write {
        Write::Vote { term, vote, owed } => {
            let owed = owed.map(Into::into);
            let state = wire::State { term: Some(term.0), vote: vote.map(|id| id.0), owed };
            Change::State(state.encode_to_vec().into())
        }
        Write::Append(entries) => {
            let first = entries.first().expect("an append carries an entry").id.index;
            Change::Append { first, entries: encode_entries(entries) }
        }
        Write::Truncate(from) => Change::Truncate { from: *from },
        Write::Compact(base) => {
            let through = base.last.expect("a compaction covers an entry").index;
            Change::Compact { through, base: encode_base(base) }
        }
        Write::Reset(base) => Change::Reset { last: base.last.map(|id| id.index), base: encode_base(base) },
    }
}

/// A change read back from the log as the Raft write it came from.
///
/// # Errors
/// The blob cannot be read, or contradicts the places beside it.
pub fn to_write(change: Change) -> Result<Write, DecodeError> {
    Ok(match change {
        Change::State(state) => convert::state(parse("state", state)?)?,
        Change::Append { first, entries } => {
            let entries = entries.into_iter().map(decode_entry).collect::<Result<Vec<_>, _>>()?;
            let places = entries.iter().map(|entry| entry.id.index.0);
            if entries.is_empty() || !places.eq((first.0..=u64::MAX).take(entries.len())) {
                return Err(contradiction("append.entries"));
            }
            Write::Append(entries.into())
        }
        Change::Truncate { from } => Write::Truncate(from),
        Change::Compact { through, base } => Write::Compact(decode_base_of(Some(through), base, "compact.base")?),
        Change::Reset { last, base } => Write::Reset(decode_base_of(last, base, "reset.base")?),
    })
}

fn decode_base_of(last: Option<Index>, base: Bytes, field: &'static str) -> Result<Base, DecodeError> {
    let base = decode_base(base)?;
    if base.last.map(|id| id.index) == last { Ok(base) } else { Err(contradiction(field)) }
}

fn contradiction(field: &'static str) -> DecodeError {
    DecodeError::Invalid { field, problem: "do not stand at the place their record tells" }
}

/// One entry as a blob.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Bytes {
    wire::Entry::from(entry).encode_to_vec().into()
}

/// Entries as blobs that share one buffer.
#[must_use]
pub fn encode_entries(entries: &[Entry]) -> Vec<Bytes> {
    let estimate = entries.iter().map(Entry::bytes).sum();
    let mut buffer = BytesMut::with_capacity(estimate);
    let encode = |entry: &Entry| {
        wire::Entry::from(entry).encode(&mut buffer).expect("a growing buffer has room");
        buffer.split().freeze()
    };
    entries.iter().map(encode).collect()
}

/// An entry from its blob. A command of at least [`SLICE_BYTES_MIN`](crate::SLICE_BYTES_MIN) bytes stays a slice of it.
///
/// # Errors
/// The blob is no entry of this version.
pub fn decode_entry(blob: Bytes) -> Result<Entry, DecodeError> {
    convert::entry(parse("entry", blob)?)
}

/// A base as a blob.
#[must_use]
pub fn encode_base(base: &Base) -> Bytes {
    wire::Base::from(base).encode_to_vec().into()
}

/// A base from its blob.
///
/// # Errors
/// The blob is no base of this version.
pub fn decode_base(blob: Bytes) -> Result<Base, DecodeError> {
    convert::base(parse("base", blob)?)
}

/// What a damaged log cannot tell, and needs to know to be repaired: where the groups' state machines stand.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Every group of the node, and up to where its state machine has applied, durably; `None` where it holds nothing.
    pub applied: BTreeMap<GroupId, Option<Base>>,
    /// Those whose state came whole, as a snapshot, and has applied nothing since: the log may not lead there.
    pub installed: BTreeSet<GroupId>,
}

impl Witness {
    /// All groups of the node.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.applied.keys().copied()
    }

    /// What a group's log can stand on instead of the entries that were applied: the last of them, and the blob. A state
    /// machine knows only members that it was told by an entry or a snapshot; before that they are those of the base that
    /// was `logged`.
    ///
    /// # Errors
    /// That base cannot be read.
    pub fn base(&self, group: GroupId, logged: Option<Bytes>) -> Result<Option<(Index, Bytes)>, DecodeError> {
        let Some((last, base)) = self.applied(group).and_then(|base| Some((base.last?.index, base))) else {
            return Ok(None);
        };
        let mut base = base.clone();
        if let Some(logged) = logged.filter(|_| !self.tells_members(group)) {
            base.membership = decode_base(logged)?.membership;
        }
        Ok(Some((last, encode_base(&base))))
    }

    /// Whether the state machine was ever told who the members are.
    #[must_use]
    pub fn tells_members(&self, group: GroupId) -> bool {
        self.applied(group).is_some_and(|base| !base.membership.members().is_empty())
    }

    fn applied(&self, group: GroupId) -> Option<&Base> {
        self.applied.get(&group)?.as_ref()
    }

    /// Whether this is the last entry applied.
    #[must_use]
    pub fn ends_with(&self, group: GroupId, entry: Bytes) -> bool {
        let last = self.applied(group).and_then(|base| base.last);
        decode_entry(entry).is_ok_and(|entry| Some(entry.id) == last)
    }

    /// Whether this entry may come right behind the last one applied. In no log does one of an earlier term; in any other
    /// log than that of a committed entry, all that lie behind it are of earlier terms.
    #[must_use]
    pub fn may_follow(&self, group: GroupId, entry: Bytes) -> bool {
        let last = self.applied(group).and_then(|base| base.last);
        decode_entry(entry).is_ok_and(|entry| Some(entry.id.term) >= last.map(|last| last.term))
    }

    /// A state with the note that the log once ended at `end`, or at most there, with this entry if it is known. No entry
    /// is of a later term than the state. What is `kept` may be the log of an earlier time, and end with an entry of a
    /// later term than it did at last: then the state's term stands in, or it would be as if nothing were missing.
    ///
    /// # Errors
    /// The state or an entry cannot be read.
    pub fn owe(
        state: Option<Bytes>,
        end: Index,
        last: Option<Bytes>,
        kept: Option<Bytes>,
    ) -> Result<Bytes, DecodeError> {
        let mut state: wire::State = parse("state", state.unwrap_or_default())?;
        let term = state.term.get_or_insert_default();
        let id = |entry: Bytes| decode_entry(entry).map(|entry| entry.id);
        let (last, kept) = (last.map(id).transpose()?, kept.map(id).transpose()?);
        let term = last.filter(|_| kept < last).map_or(*term, |last| last.term.0);
        let before = state.owed.and_then(|owed| Some((owed.term?, owed.index?)));
        let (term, index) = before.max(Some((term, end.0))).unwrap_or_default();
        state.owed = Some(wire::LogId { term: Some(term), index: Some(index) });
        Ok(state.encode_to_vec().into())
    }
}
