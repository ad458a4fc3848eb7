//! What the log holds now: per group its state, its base, and where each live entry lies on disk.
//!
//! The writer and recovery change it in the same way, by applying the records of a batch as they lie on disk, so that
//! what a running node believes is what a restarted one would find.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hezong_base::{GroupId, Index};
use hezong_codec::log::Change;

use crate::batch;
use crate::folder::File;
use crate::opening::Carry;
use crate::record::{self, ChangeView, View};
use crate::stretch::{Place, Stretches};

/// A change that does not fit the group's log. From a user it is refused before anything is written; on disk it is
/// corruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Entries must follow the last one without a gap. Truncate first.
    #[error("{group}: entries from {first} do not follow the last one, which leaves {expected} to come next")]
    Gap {
        /// Of which group.
        group: GroupId,
        /// What was handed in.
        first: Index,
        /// What comes next.
        expected: Index,
    },
    /// An append of nothing says nothing.
    #[error("{group}: an append holds no entries")]
    Nothing {
        /// Of which group.
        group: GroupId,
    },
    /// Places in a log are counted from 1, and end at 2^63 so that counting on never overflows.
    #[error("{group}: {index} is no place in a log")]
    NoPlace {
        /// Of which group.
        group: GroupId,
        /// What was handed in.
        index: u64,
    },
    /// What the base covers is gone and cannot be truncated, nor become less; use a reset.
    #[error("{group}: {index} is covered by the base already")]
    Covered {
        /// Of which group.
        group: GroupId,
        /// The first index to be truncated, or the last to be compacted.
        index: Index,
    },
    /// Entries that the log does not hold cannot be compacted; use a reset.
    #[error("{group}: cannot compact through {through}, past the end of the log")]
    PastEnd {
        /// Of which group.
        group: GroupId,
        /// The last index to be compacted.
        through: Index,
    },
}

/// Past the last place that a log may have.
pub(crate) const INDEX_END: u64 = 1 << 63;

/// Where a group's log begins and ends: all that is needed to tell whether a change fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last index the base covers.
    pub(crate) base: Option<Index>,
    /// The last index of the log; that of the base when there are no entries.
    pub(crate) end: Option<Index>,
}

impl Ends {
    /// Carries out a change that a user hands in.
    pub(crate) fn step(&mut self, group: GroupId, change: &Change) -> Result<(), Misfit> {
        let place = |index: Index| match index.0 {
            1..INDEX_END => Ok(index),
            index => Err(Misfit::NoPlace { group, index }),
        };
        match change {
            Change::State(_) => Ok(()),
            Change::Append { first, entries } => {
                let more = (entries.len() as u64).checked_sub(1).ok_or(Misfit::Nothing { group })?;
                let last = place(Index(place(*first)?.0.saturating_add(more)))?;
                self.append(group, *first, last)
            }
            Change::Truncate { from } => self.truncate(group, place(*from)?),
            Change::Compact { through, .. } => self.compact(group, place(*through)?),
            Change::Reset { last, .. } => {
                let last = last.map(place).transpose()?;
                *self = Self { base: last, end: last };
                Ok(())
            }
        }
    }

    fn append(&mut self, group: GroupId, first: Index, last: Index) -> Result<(), Misfit> {
        let expected = Index::after(self.end);
        if first != expected {
            return Err(Misfit::Gap { group, first, expected });
        }
        self.end = Some(last);
        Ok(())
    }

    fn truncate(&mut self, group: GroupId, from: Index) -> Result<(), Misfit> {
        if Some(from) <= self.base {
            return Err(Misfit::Covered { group, index: from });
        }
        // Truncating what is not there is harmless; the end may already lie before it.
        self.end = self.end.min(from.previous());
        Ok(())
    }

    fn compact(&mut self, group: GroupId, through: Index) -> Result<(), Misfit> {
        if Some(through) < self.base {
            return Err(Misfit::Covered { group, index: through });
        }
        if Some(through) > self.end {
            return Err(Misfit::PastEnd { group, through });
        }
        self.base = Some(through);
        Ok(())
    }
}

/// One group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The last state blob; copied, so that it pins nothing.
    pub(crate) state: Option<Bytes>,
    /// The blob of the base; the index it covers is in `ends`.
    pub(crate) base: Option<Bytes>,
    pub(crate) ends: Ends,
    /// Where the entries after the base lie. While recovery replays a log whose oldest segments are gone, there may be
    /// gaps; afterwards there are none.
    pub(crate) stretches: Stretches,
}

impl Group {
    /// How it stands, as a record.
    pub(crate) fn encode_opening(&self, id: GroupId, into: &mut Vec<u8>) {
        let base = self.base.as_deref().map(|base| (self.ends.base, base));
        record::encode_opening(into, id, self.state.as_deref(), base, self.ends.end);
    }

    /// The first and last live entry.
    pub(crate) fn live(&self) -> Option<(Index, Index)> {
        self.ends.end.filter(|_| self.ends.end > self.ends.base).map(|end| (Index::after(self.ends.base), end))
    }

    /// The same behind a gap, in which anything may have lain: what does not fit need not be wrong.
    fn apply_behind_gap(&mut self, view: &View<'_>, place: Place) -> Result<(), Misfit> {
        match view.change {
            ChangeView::Append { first, last } if Some(first) > self.ends.base => {
                self.ends.end = self.ends.end.min(first.previous());
                self.clip();
                self.ends.end = Some(last);
                self.stretches.put(first, last, place);
                Ok(())
            }
            ChangeView::Compact { through, base } if Some(through) > self.ends.end => {
                self.ends = Ends { base: Some(through), end: Some(through) };
                self.base = Some(Bytes::copy_from_slice(base));
                self.clip();
                Ok(())
            }
            // Where it was carried from is not known, and it is missed no more than that.
            ChangeView::Carried { .. } => self.apply(view, place).or(Ok(())),
            ChangeView::State(_)
            | ChangeView::Append { .. }
            | ChangeView::Truncate { .. }
            | ChangeView::Compact { .. }
            | ChangeView::Reset { .. }
            | ChangeView::Opening { .. } => self.apply(view, place),
        }
    }

    pub(crate) fn clip(&mut self) {
        match self.live() {
            None => self.stretches = Stretches::default(),
            Some((first, last)) => self.stretches.clip(first, last),
        }
    }

    fn apply(&mut self, view: &View<'_>, place: Place) -> Result<(), Misfit> {
        match view.change {
            ChangeView::State(state) => self.state = Some(Bytes::copy_from_slice(state)),
            ChangeView::Append { first, last } => {
                self.ends.append(view.group, first, last)?;
                self.stretches.put(first, last, place);
            }
            ChangeView::Truncate { from } => {
                self.ends.truncate(view.group, from)?;
                self.clip();
            }
            ChangeView::Compact { through, base } => {
                self.ends.compact(view.group, through)?;
                self.base = Some(Bytes::copy_from_slice(base));
                self.clip();
            }
            ChangeView::Reset { base: (last, base) } => {
                self.ends = Ends { base: last, end: last };
                self.base = Some(Bytes::copy_from_slice(base));
                self.clip();
            }
            ChangeView::Opening { state, base, end } => {
                self.state = state.map(Bytes::copy_from_slice);
                self.base = base.map(|(_, blob)| Bytes::copy_from_slice(blob));
                self.ends = Ends { base: base.and_then(|(last, _)| last), end };
                self.clip();
            }
            ChangeView::Carried { first, last } => {
                if self.live().is_none_or(|(live_first, live_last)| first < live_first || last > live_last) {
                    return Err(Misfit::Gap { group: view.group, first, expected: Index::after(self.ends.end) });
                }
                self.stretches.put(first, last, place);
            }
        }
        Ok(())
    }
}

/// A segment's file, kept open for readers. It can still be read after it was removed.
pub(crate) struct SegmentFile {
    /// How messages name it.
    pub(crate) path: String,
    pub(crate) file: Arc<dyn File>,
    /// Where its batches begin, and where those end that are synced and count.
    synced: Mutex<(u64, u64)>,
}

impl SegmentFile {
    pub(crate) fn new(path: String, file: Arc<dyn File>) -> Self {
        Self { path, file, synced: Mutex::default() }
    }

    /// From `start` to `end` everything is synced.
    pub(crate) fn note_synced(&self, start: u64, end: u64) {
        *self.synced.lock().unwrap_or_else(PoisonError::into_inner) = (start, end);
    }

    pub(crate) fn synced(&self) -> (u64, u64) {
        *self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that is live.
#[derive(Default)]
pub(crate) struct LogIndex {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// The segments of the chain by number.
    pub(crate) files: BTreeMap<u64, Arc<SegmentFile>>,
}

impl LogIndex {
    /// Applies a record that starts at `offset` of segment `segment`.
    pub(crate) fn apply(&mut self, view: &View<'_>, segment: u64, offset: u64) -> Result<(), Misfit> {
        self.groups.entry(view.group).or_default().apply(view, place(view, segment, offset))
    }

    /// The same for one that lies behind a gap.
    pub(crate) fn apply_behind_gap(&mut self, view: &View<'_>, segment: u64, offset: u64) -> Result<(), Misfit> {
        self.groups.entry(view.group).or_default().apply_behind_gap(view, place(view, segment, offset))
    }

    /// Applies a batch that we have just written ourselves at `offset` of segment `segment`.
    ///
    /// # Panics
    /// When it does not fit, which was checked before it was written.
    pub(crate) fn apply_own(&mut self, records: &[u8], segment: u64, offset: u64) {
        for view in record::decode_all(records) {
            let view = view.expect("we have just encoded it");
            let offset = offset + (batch::HEADER_BYTES + view.at) as u64;
            self.apply(&view, segment, offset).expect("what does not fit is refused before it is written");
        }
    }

    /// Live entries in `segment` from `offset` on, as ranges, until they amount to `bytes_max`.
    pub(crate) fn within(&self, segment: u64, offset: u64, mut bytes_max: u64) -> Carry {
        let mut found: Carry = Vec::new();
        for (id, group) in &self.groups {
            for piece in group.stretches.within(segment, offset) {
                match found.last_mut() {
                    Some((group, _, last)) if group == id && last.next() == piece.first => *last = piece.last,
                    _ => found.push((*id, piece.first, piece.last)),
                }
                bytes_max = bytes_max.saturating_sub(u64::from(piece.place.length));
                if bytes_max == 0 {
                    return found;
                }
            }
        }
        found
    }

    /// The bytes of live entries in each segment. A record of which any entry is live counts whole.
    pub(crate) fn live_bytes(&self) -> BTreeMap<u64, u64> {
        let mut live = BTreeMap::new();
        for group in self.groups.values() {
            for (segment, bytes) in group.stretches.bytes() {
                *live.entry(segment).or_default() += bytes;
            }
        }
        live
    }
}

fn place(view: &View<'_>, segment: u64, offset: u64) -> Place {
    let offset = u32::try_from(offset).expect("offsets are kept within 32 bits by limits on segments and batches");
    Place { segment, offset, length: view.length as u32 }
}
