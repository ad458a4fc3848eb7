//! The log as one node knows it: what it stands on, where its terms begin, and the entries at its end.
//!
//! Entries live on disk; here are only the tail that followers and the state machine will want soon, and what decides
//! elections and matching, which fits in memory however long the log is: one run for each term, one membership for each
//! change. The node in flight and the fold of what is stored ([`crate::Saved`]) are the same type with the same methods, so that
//! recovery cannot disagree with operation.

use alloc::collections::VecDeque;
use core::time::Duration;

use hezong_base::{Index, LogId, Term};

use crate::entries::{Entries, Tail};
use crate::{Base, Membership, Payload};

/// Base, runs of terms, and the tail of entries.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// What came before the first entry held. All of it is committed.
    base: Base,
    /// Where each term begins, ascending in both fields, all after the base. One entry's term is that of the last run
    /// that begins at or before it.
    runs: VecDeque<Run>,
    /// The last entry, or the base's; `None` only when there never was one.
    last: Option<LogId>,
    /// Log time at the end, where new entries continue from: that of the last entry, or, until the next is appended,
    /// of a later one that was truncated.
    time: Duration,
    /// The memberships after the base and where they stand, ascending, so that truncation can roll back.
    memberships: VecDeque<(Index, Membership)>,
    /// The last entries without a gap; its end is `last`. May be empty.
    cache: Tail,
}

/// Consecutive entries of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    /// The term.
    term: Term,
    /// Its first entry.
    first: Index,
}

/// What was wanted lies before the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

impl Log {
    /// Adds entries behind the last. They must follow it without a gap: that is the caller's to check for what peers
    /// sent, and is asserted here.
    pub(crate) fn append(&mut self, entries: &Entries) {
        for entry in entries {
            assert_eq!(entry.id.index, Index::after(self.last_index()), "entries follow each other without gaps");
            assert!(self.last_term() <= Some(entry.id.term), "terms never decrease along a log");
            if self.last_term() != Some(entry.id.term) || self.runs.is_empty() {
                self.runs.push_back(Run { term: entry.id.term, first: entry.id.index });
            }
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.push_back((entry.id.index, membership.clone()));
            }
            self.last = Some(entry.id);
            // What was truncated before may have been of a leader that ran ahead by itself: its time does not count.
            self.time = entry.time;
        }
        self.cache.push(entries.clone());
    }

    /// Drops the entries from `from` on. What lies at or before the base stays: it is committed.
    pub(crate) fn truncate(&mut self, from: Index) {
        let from = from.max(Index::after(self.base_index()));
        if Some(from) > self.last_index() {
            return;
        }
        self.cache.truncate(from);
        while self.memberships.pop_back_if(|(index, _)| *index >= from).is_some() {}
        let last = from.previous().and_then(|index| self.id_at(index));
        while self.runs.pop_back_if(|run| run.first >= from).is_some() {}
        self.last = last;
        // Without the entry at hand its time is unknown; staying ahead of it keeps log time from ever decreasing.
        self.time = self.cache.last().map_or(self.time, |entry| entry.time);
    }

    /// The base that stands for everything up to `through`; `None` unless `through` lies after the base and in the log.
    pub(crate) fn base_at(&self, through: Index) -> Option<Base> {
        if Some(through) <= self.base_index() {
            return None;
        }
        let last = self.id_at(through)?;
        // An entry that left memory is answered for by the next time known: never less than its own.
        let time = self.cache.at_or_after(through).map_or(self.time, |entry| entry.time);
        Some(Base { last: Some(last), time, membership: self.membership_at(through).clone() })
    }

    /// The same, also for the entry that the log stands on.
    pub(crate) fn base_as_of(&self, through: Index) -> Option<Base> {
        if Some(through) == self.base_index() { Some(self.base.clone()) } else { self.base_at(through) }
    }

    /// Lets everything up to and including the base's last go. A base beyond the end leaves nothing but itself.
    pub(crate) fn compact(&mut self, base: Base) {
        let Some(through) = base.last.map(|id| id.index) else { return };
        if Some(through) >= self.last_index() {
            self.reset(base);
            return;
        }
        self.cache.drop_front_while(|index, _| index <= through);
        while self.memberships.pop_front_if(|(index, _)| *index <= through).is_some() {}
        // The run that spans the cut keeps its term and begins behind it.
        let spanning = self.runs.partition_point(|run| run.first <= through.next());
        self.runs.drain(..spanning.saturating_sub(1));
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(through.next());
        }
        self.base = base;
    }

    /// Forgets everything and stands on `base`.
    pub(crate) fn reset(&mut self, base: Base) {
        *self = Self { last: base.last, time: base.time, base, ..Self::default() };
    }

    /// Lets the oldest entries in memory go until `bytes_max` are left, but none after `keep_after`; and none after
    /// `prefer_after` either unless that would take more than twice the bytes.
    pub(crate) fn trim(&mut self, bytes_max: usize, keep_after: Option<Index>, prefer_after: Option<Index>) {
        self.cache.drop_front_while(|index, bytes| {
            let over_twice = bytes > bytes_max.saturating_mul(2);
            bytes > bytes_max && Some(index) <= keep_after && (over_twice || Some(index) <= prefer_after)
        });
    }

    /// What the log stands on.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The last entry gone, if any is.
    #[must_use]
    pub fn base_index(&self) -> Option<Index> {
        self.base.last.map(|id| id.index)
    }

    /// The last entry, or the base's.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Where the last entry stands.
    #[must_use]
    pub fn last_index(&self) -> Option<Index> {
        self.last.map(|id| id.index)
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Option<Term> {
        self.last.map(|id| id.term)
    }

    /// Log time at the end.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Whether nothing was ever written here, not even first members.
    #[must_use]
    pub fn is_pristine(&self) -> bool {
        self.last.is_none() && self.base.membership.members().is_empty()
    }

    /// The term of an entry: `None` before the base and behind the end.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if let Some(base) = self.base.last.filter(|base| base.index >= index) {
            return (base.index == index).then_some(base.term);
        }
        if Some(index) > self.last_index() {
            return None;
        }
        // Most questions are about the end.
        if let Some(run) = self.runs.back().filter(|run| run.first <= index) {
            return Some(run.term);
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        self.runs.get(after.checked_sub(1)?).map(|run| run.term)
    }

    /// The identity of an entry: `None` before the base and behind the end.
    #[must_use]
    pub fn id_at(&self, index: Index) -> Option<LogId> {
        self.term_at(index).map(|term| LogId { term, index })
    }

    /// Whether this log and one that holds `id` agree up to it (Log Matching). What the base covers is committed, so
    /// every leader holds it too.
    #[must_use]
    pub fn agrees(&self, id: Option<LogId>) -> bool {
        id.is_none_or(|id| Some(id.index) < self.base_index() || self.term_at(id.index) == Some(id.term))
    }

    /// The last entry that is neither behind `id` nor of a later term: the best guess at where two logs part, which
    /// skips whole terms. `None` when there is no such entry, or it lies before the base.
    #[must_use]
    pub fn floor(&self, id: LogId) -> Option<LogId> {
        let after = self.runs.partition_point(|run| run.first <= id.index && run.term <= id.term);
        let Some(run) = after.checked_sub(1).and_then(|at| self.runs.get(at)) else {
            return self.base.last.filter(|base| base.index <= id.index && base.term <= id.term);
        };
        let end = self.runs.get(after).map_or(self.last_index(), |next| next.first.previous())?;
        Some(LogId { term: run.term, index: end.min(id.index) })
    }

    /// The entry before `next`, which an append that starts there must name: `Ok(None)` at the start of the log.
    pub(crate) fn before(&self, next: Index) -> Result<Option<LogId>, Compacted> {
        match next.previous() {
            None if self.base.last.is_none() => Ok(None),
            None => Err(Compacted),
            Some(previous) => self.id_at(previous).map(Some).ok_or(Compacted),
        }
    }

    /// The members in force at the end of the log.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.memberships.back().map_or(&self.base.membership, |(_, membership)| membership)
    }

    /// Where they were appended; `None` when they are the base's.
    #[must_use]
    pub fn membership_index(&self) -> Option<Index> {
        self.memberships.back().map(|(index, _)| *index)
    }

    /// The members before the last change of them; `None` when there was none after the base.
    #[must_use]
    pub fn membership_before(&self) -> Option<&Membership> {
        let last = self.memberships.len().checked_sub(1)?;
        let before = last.checked_sub(1).and_then(|at| self.memberships.get(at));
        Some(before.map_or(&self.base.membership, |(_, membership)| membership))
    }

    /// The members as of an entry.
    #[must_use]
    pub fn membership_at(&self, index: Index) -> &Membership {
        let after = self.memberships.partition_point(|(at, _)| *at <= index);
        let found = after.checked_sub(1).and_then(|at| self.memberships.get(at));
        found.map_or(&self.base.membership, |(_, membership)| membership)
    }

    /// Entries from memory, `from` through at most `through`: as many as fit `bytes_max`, but at least one if there is
    /// one. `None` when `from` is no longer in memory.
    #[must_use]
    pub fn cached(&self, from: Index, through: Index, bytes_max: usize) -> Option<Entries> {
        match Some(through).min(self.last_index()).filter(|through| from <= *through) {
            Some(through) => self.cache.range(from, through, bytes_max),
            None => Some(Entries::default()),
        }
    }

    /// The payload bytes of the entries in memory.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// What makes two logs the same to the explorer: by Log Matching, entries are told by their terms.
    pub(crate) fn fingerprint(&self, into: &mut impl core::hash::Hasher) {
        use core::hash::Hash;
        (self.base.last, self.last).hash(into);
        for run in &self.runs {
            run.hash(into);
        }
        for (index, membership) in &self.memberships {
            (index, membership).hash(into);
        }
    }
}
