//! Where the entries of one group lie: twelve bytes a record of entries, which may hold many.

use std::collections::BTreeMap;

use hezong_base::Index;

/// Runs in a stretch at most: it bounds what splitting one costs, and, as a power of two, what growing one wastes.
const RUNS_MAX: usize = 1024;

/// Where a record of entries lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// A record of entries and the part of it that is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first: Index,
    pub(crate) last: Index,
    pub(crate) place: Place,
}

/// Entries that follow each other, in records of one segment.
#[derive(Clone, Debug)]
struct Stretch {
    segment: u64,
    /// What the runs count from. Stays when the front is cut off.
    origin: u64,
    /// The last live entry.
    last: u64,
    /// At least one; each goes up to where the next begins.
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    /// Its first entry, counted from the stretch's origin.
    first: u32,
    offset: u32,
    length: u32,
}

/// The places of all live entries of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretches {
    /// By their first live entry; they do not overlap.
    by_first: BTreeMap<u64, Stretch>,
}

impl Stretches {
    /// Entries `first` to `last` lie at `place` now, wherever they lay before.
    pub(crate) fn put(&mut self, first: Index, last: Index, place: Place) {
        let (first, last) = (first.0, last.0);
        self.cut_out(first, last);
        if let Some((_, before)) = self.by_first.range_mut(..first).next_back()
            && before.segment == place.segment
            && before.last + 1 == first
            && before.runs.len() < RUNS_MAX
            && let Ok(delta) = u32::try_from(first - before.origin)
        {
            before.runs.push(Run { first: delta, offset: place.offset, length: place.length });
            before.last = last;
            return;
        }
        let runs = vec![Run { first: 0, offset: place.offset, length: place.length }];
        self.by_first.insert(first, Stretch { segment: place.segment, origin: first, last, runs });
    }

    /// Forgets what lies outside `first..=last`.
    pub(crate) fn clip(&mut self, first: Index, last: Index) {
        if first.0 > 0 {
            self.cut_out(0, first.0 - 1);
        }
        if let Some(after) = last.0.checked_add(1) {
            self.cut_out(after, u64::MAX);
        }
    }

    /// Forgets `from..=to`.
    fn cut_out(&mut self, from: u64, to: u64) {
        // What overlaps: the stretch that begins before `from`, if it reaches that far, and all that begin inside.
        let begins = self.by_first.range(..from).next_back().map_or(from, |(first, _)| *first);
        while let Some((&first, _)) = self.by_first.range(begins..=to).find(|(_, stretch)| stretch.last >= from) {
            let stretch = self.by_first.remove(&first).expect("it was found a line above");
            if to < stretch.last {
                self.by_first.insert(to + 1, stretch.part(to + 1, stretch.last));
            }
            if first < from {
                // In place of `part`: truncating a tail is common, and copies nothing this way.
                self.by_first.insert(first, stretch.head(from - 1));
            }
        }
    }

    /// The pieces that hold `first..=last`, in order.
    pub(crate) fn pieces(&self, first: Index, last: Index) -> impl Iterator<Item = Piece> {
        let begins = self.by_first.range(..=first.0).next_back().map_or(first.0, |(begin, _)| *begin);
        let stretches = if begins <= last.0 { Some(self.by_first.range(begins..=last.0)) } else { None };
        stretches
            .into_iter()
            .flatten()
            .flat_map(move |(begin, stretch)| stretch.pieces(first.0.max(*begin), last.0.min(stretch.last)))
    }

    /// Whether every entry of `first..=last` has a place.
    pub(crate) fn is_whole(&self, first: Index, last: Index) -> bool {
        let mut next = Some(first.0);
        for (begin, stretch) in &self.by_first {
            if next != Some(*begin) {
                return false;
            }
            next = stretch.last.checked_add(1);
        }
        next == last.0.checked_add(1)
    }

    /// Segment and bytes of every stretch.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.by_first
            .values()
            .map(|stretch| (stretch.segment, stretch.runs.iter().map(|run| u64::from(run.length)).sum()))
    }

    /// The pieces that lie in `segment` from `offset` on, in order of index.
    pub(crate) fn within(&self, segment: u64, offset: u64) -> impl Iterator<Item = Piece> {
        self.by_first
            .iter()
            .filter(move |(_, stretch)| stretch.segment == segment)
            .flat_map(|(first, stretch)| stretch.pieces(*first, stretch.last))
            .filter(move |piece| u64::from(piece.place.offset) >= offset)
    }
}

impl Stretch {
    /// The runs that hold anything of `from..=to`, by position.
    fn overlapping(&self, from: u64, to: u64) -> std::ops::Range<usize> {
        let starts_through = |index: u64| self.runs.partition_point(|run| self.origin + u64::from(run.first) <= index);
        starts_through(from).saturating_sub(1)..starts_through(to)
    }

    fn part(&self, from: u64, to: u64) -> Self {
        Self { runs: self.runs[self.overlapping(from, to)].to_vec(), last: to, ..*self }
    }

    fn head(mut self, to: u64) -> Self {
        let keep = self.overlapping(to, to).end;
        self.runs.truncate(keep);
        Self { last: to, ..self }
    }

    fn pieces(&self, from: u64, to: u64) -> impl Iterator<Item = Piece> {
        let range = if from <= to { self.overlapping(from, to) } else { 0..0 };
        range.map(move |at| {
            let run = self.runs[at];
            let next = self.runs.get(at + 1).map_or(self.last, |next| self.origin + u64::from(next.first) - 1);
            Piece {
                first: Index(from.max(self.origin + u64::from(run.first))),
                last: Index(to.min(next)),
                place: Place { segment: self.segment, offset: run.offset, length: run.length },
            }
        })
    }
}

#[cfg(test)]
mod tests;
