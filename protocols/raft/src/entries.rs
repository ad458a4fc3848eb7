//! Entries that follow each other, shared; and the end of the log in memory, made of such.
//!
//! The same entries are in a leader's memory, on their way to its disk and on their way to every follower, all at once.
//! They are never changed, so one copy serves all: what is passed around is a counted reference to a batch and which part
//! of it is meant. Half the time of the core went into copying entries one by one before.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::{Bound, Deref, RangeBounds};

use hezong_base::Index;

use crate::Entry;

/// Some entries, in order. Reads like a slice; a clone shares them.
#[derive(Clone, Default)]
pub struct Entries {
    /// The batch they came in. It lives as long as any part of it is held.
    batch: Arc<Vec<Entry>>,
    /// Where ours begin in it.
    start: usize,
    /// Where they end.
    end: usize,
    /// The sum of their [`Entry::bytes`].
    bytes: usize,
}

impl Entries {
    /// A part of these, sharing them. What the range names beyond them is not there.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => self.len(),
        };
        let (from, to) = (from.min(self.len()), to.min(self.len()));
        if (from, to) == (0, self.len()) {
            return self.clone();
        }
        let part = self.get(from..to).unwrap_or_default();
        let bytes = part.iter().map(Entry::bytes).sum();
        Self { batch: self.batch.clone(), start: self.start + from, end: self.start + from + part.len(), bytes }
    }

    /// What they count against limits in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What makes two of these the same to the explorer: all but log time.
    pub(crate) fn fingerprint(&self, into: &mut impl Hasher) {
        self.len().hash(into);
        for entry in self {
            (entry.id, &entry.payload).hash(into);
        }
    }

    fn pop_front(&mut self) {
        self.bytes -= self.first().map_or(0, Entry::bytes);
        self.start = self.end.min(self.start + 1);
    }

    fn pop_back(&mut self) {
        self.bytes -= self.last().map_or(0, Entry::bytes);
        self.end = self.start.max(self.end.saturating_sub(1));
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.batch.get(self.start..self.end).unwrap_or_default()
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(batch: Vec<Entry>) -> Self {
        let bytes = batch.iter().map(Entry::bytes).sum();
        Self { start: 0, end: batch.len(), bytes, batch: Arc::new(batch) }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        entries.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The last entries of a log, without a gap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// As they were appended; none is empty.
    batches: VecDeque<Entries>,
    /// The sum of their bytes.
    bytes: usize,
}

impl Tail {
    /// Adds entries behind the last.
    pub(crate) fn push(&mut self, entries: Entries) {
        if !entries.is_empty() {
            self.bytes += entries.bytes();
            self.batches.push_back(entries);
        }
    }

    /// Drops the entries from `from` on.
    pub(crate) fn truncate(&mut self, from: Index) {
        while let Some(batch) = self.batches.back_mut()
            && let Some(entry) = batch.last().filter(|entry| entry.id.index >= from)
        {
            self.bytes -= entry.bytes();
            batch.pop_back();
            self.batches.pop_back_if(|batch| batch.is_empty());
        }
    }

    /// Drops entries from the front while `may_go`. A batch leaves memory with its last one.
    pub(crate) fn drop_front_while(&mut self, may_go: impl Fn(Index, usize) -> bool) {
        while let Some(batch) = self.batches.front_mut()
            && let Some(entry) = batch.first().filter(|entry| may_go(entry.id.index, self.bytes))
        {
            self.bytes -= entry.bytes();
            batch.pop_front();
            self.batches.pop_front_if(|batch| batch.is_empty());
        }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.batches.back()?.last()
    }

    /// The first entry at or behind `index`.
    pub(crate) fn at_or_after(&self, index: Index) -> Option<&Entry> {
        let batch = self.batches.get(self.batch_of(index))?;
        batch.get(place_in(batch, index)?)
    }

    /// Entries `from` through at most `through`: as many as fit `bytes_max`, but at least one if there is one. `None`
    /// when `from` lies before the first one here. Shared when one batch holds them, else copied together, so that what
    /// came one by one leaves in one message.
    pub(crate) fn range(&self, from: Index, through: Index, bytes_max: usize) -> Option<Entries> {
        if self.batches.front()?.first()?.id.index > from {
            return None;
        }
        let at = self.batch_of(from);
        let first = self.batches.get(at).map(|batch| batch.slice(place_in(batch, from).unwrap_or(0)..))?;
        let whole = first.last().is_some_and(|entry| entry.id.index <= through) && first.bytes() <= bytes_max;
        let follows =
            || self.batches.get(at + 1).and_then(|next| next.first()).filter(|entry| entry.id.index <= through);
        match follows() {
            Some(next) if whole && first.bytes() + next.bytes() <= bytes_max => {}
            // All that is wanted lies in one batch.
            _ if whole => return Some(first),
            _ => return Some(first.slice(..fitting(first.iter(), through, bytes_max))),
        }
        let all = first.iter().chain(self.batches.range(at + 1..).flatten());
        let count = fitting(all.clone(), through, bytes_max);
        Some(all.take(count).cloned().collect())
    }

    /// The sum of their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first batch that ends at or behind `index`.
    fn batch_of(&self, index: Index) -> usize {
        self.batches.partition_point(|batch| batch.last().is_some_and(|entry| entry.id.index < index))
    }
}

/// Where in the batch the first entry at or behind `index` is, given that the batch does not end before it.
fn place_in(batch: &Entries, index: Index) -> Option<usize> {
    usize::try_from(index.0.saturating_sub(batch.first()?.id.index.0)).ok()
}

/// How many of these entries may be taken: through `through`, within `bytes_max`, but at least one if there is one.
fn fitting<'a>(entries: impl Iterator<Item = &'a Entry>, through: Index, bytes_max: usize) -> usize {
    let mut room = bytes_max;
    let mut count = 0;
    for entry in entries.take_while(|entry| entry.id.index <= through) {
        let bytes = entry.bytes();
        if count > 0 && bytes > room {
            break;
        }
        room = room.saturating_sub(bytes);
        count += 1;
    }
    count
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use alloc::vec;
    use core::time::Duration;

    use bytes::Bytes;
    use hezong_base::{LogId, Rng};

    use super::*;
    use crate::Payload;

    fn entry(index: u64) -> Entry {
        let bytes = usize::try_from(index % 5 * 10).unwrap_or(0);
        Entry { id: LogId::new(1, index), time: Duration::ZERO, payload: Payload::Command(Bytes::from(vec![7; bytes])) }
    }

    fn below(rng: &mut Rng, bound: usize) -> usize {
        usize::try_from(rng.below(bound as u64)).unwrap_or(0)
    }

    fn bytes(entries: &[Entry]) -> usize {
        entries.iter().map(Entry::bytes).sum()
    }

    /// The dumb twin: entries in a plain vector.
    fn range(all: &[Entry], from: Index, through: Index, bytes_max: usize) -> Option<Vec<Entry>> {
        if all.first()?.id.index > from {
            return None;
        }
        let mut taken: Vec<Entry> = Vec::new();
        for entry in all.iter().filter(|entry| entry.id.index >= from && entry.id.index <= through) {
            if !taken.is_empty() && bytes(&taken) + entry.bytes() > bytes_max {
                break;
            }
            taken.push(entry.clone());
        }
        Some(taken)
    }

    #[test]
    fn tail_equals_plain_vector() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut tail, mut plain) = (Tail::default(), Vec::new());
            let mut next = 1;
            for _ in 0..100 {
                match rng.below(6) {
                    0 => {
                        let from = Index(next - rng.below(4).min(next - 1));
                        tail.truncate(from);
                        plain.retain(|entry: &Entry| entry.id.index < from);
                        next = plain.last().map_or(next.min(from.0), |entry: &Entry| entry.id.index.0 + 1);
                    }
                    1 => {
                        let through = Index(next.saturating_sub(rng.below(12)));
                        tail.drop_front_while(|index, _| index <= through);
                        plain.retain(|entry: &Entry| entry.id.index > through);
                    }
                    2 => {
                        let bytes_max = below(&mut rng, 800);
                        tail.drop_front_while(|_, bytes| bytes > bytes_max);
                        while bytes(&plain) > bytes_max {
                            plain.remove(0);
                        }
                    }
                    _ => {
                        let count = rng.below(7);
                        let came: Vec<_> = (next..next + count).map(entry).collect();
                        next += count;
                        plain.extend(came.iter().cloned());
                        // Sometimes a part of a larger batch, as when the first entries were known already.
                        let before: Vec<_> = (0..rng.below(3)).map(|_| entry(9)).chain(came.iter().cloned()).collect();
                        let skip = before.len() - came.len();
                        tail.push(Entries::from(before).slice(skip..));
                    }
                }
                assert_eq!(tail.bytes(), bytes(&plain));
                assert_eq!(tail.last(), plain.last());
                let (from, through) = (Index(1 + rng.below(next)), Index(1 + rng.below(next + 2)));
                let bytes_max = below(&mut rng, 400);
                let expected = range(&plain, from, through, bytes_max);
                let past_end = plain.last().is_some_and(|last| from > last.id.index.min(through));
                // Behind the end the log answers before it asks.
                if !past_end {
                    assert_eq!(
                        tail.range(from, through, bytes_max).map(|found| found.to_vec()),
                        expected,
                        "seed {seed}"
                    );
                }
                assert_eq!(tail.at_or_after(from), plain.iter().find(|entry| entry.id.index >= from));
            }
        }
    }

    /// Sharing is the point: what one batch holds is handed out without a copy, however it is cut.
    #[test]
    fn tail_hands_out_what_it_was_given() {
        let batch: Entries = (1..=10).map(entry).collect();
        let mut tail = Tail::default();
        tail.push(batch.clone());
        let found = tail.range(Index(3), Index(7), usize::MAX).unwrap_or_default();
        assert!(core::ptr::eq(&raw const found[0], &raw const batch[2]));
        assert_eq!(found.len(), 5);
        // What came in two pieces is one message all the same.
        tail.push((11..=12).map(entry).collect());
        assert_eq!(tail.range(Index(3), Index(12), usize::MAX).map(|found| found.len()), Some(10));
    }

    #[test]
    fn entries_slices_stay_within() {
        let entries: Entries = (1..=4).map(entry).collect();
        for (from, to) in [(0, 4), (1, 3), (3, 9), (7, 9), (2, 2)] {
            let (low, high) = (from.min(4), to.min(4));
            let part = entries.slice(from..to);
            assert_eq!(*part, entries[low..high]);
            assert_eq!(part.bytes(), bytes(&part));
            assert_eq!(*part.slice(1..), entries[(low + 1).min(high)..high]);
        }
    }
}
