//! How committed entries reach the state machine: pulled, never pushed, so that a slow one holds up nothing but itself.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use hezong_base::{GroupId, Index, LogId, RequestId, Time, sometimes};
use hezong_raft::{Entry, Membership, Payload, Raft};

use crate::common::{Common, Reader, Wanted};
use crate::{NodeConfig, NodeEffect};

/// One batch with the state machine.
#[derive(Debug)]
struct Batch {
    /// Its entries.
    ids: Vec<LogId>,
    /// The memberships among them.
    memberships: Vec<(LogId, Membership)>,
    /// Their payload bytes.
    bytes: usize,
}

/// What became of a batch.
pub(crate) struct Done {
    /// Each entry with the state machine's reply, in order.
    pub(crate) replies: Vec<(LogId, Bytes)>,
    /// The memberships among them.
    pub(crate) memberships: Vec<(LogId, Membership)>,
}

/// The way of one group's entries from the log to its state machine.
///
/// `applied <= handed <= committed`, and what lies between `applied` and `handed` is in `in_flight`.
#[derive(Debug)]
pub(crate) struct Applying {
    /// The last entry known to be committed and on our disk.
    committed: Option<Index>,
    /// The last entry handed to the state machine.
    handed: Option<Index>,
    /// The last entry applied.
    applied: Option<LogId>,
    /// The last entry whose effect would be found again after a crash. `None` at first, even if much was found at the
    /// start: what was read back may only ever have been in the page cache.
    durable: Option<LogId>,
    /// Batches with the state machine, oldest first.
    in_flight: VecDeque<Batch>,
    /// Whether entries are being read from disk for the state machine. One reading at a time.
    reading: bool,
    /// Reads that wait for an index to be applied.
    waiting: BTreeSet<(Index, RequestId)>,
    /// Payload bytes applied since the state machine was last asked to persist.
    unpersisted_bytes: usize,
    /// When it is asked next at the latest; `None` while nothing was applied since it was last asked.
    persist_due: Option<Time>,
    /// Whether it is persisting.
    persisting: bool,
    /// Whether nothing is handed to it: it is about to switch over to a snapshot, or has lost its state.
    held_back: bool,
    /// What the log still holds of what was applied, in stretches, oldest first.
    retained: VecDeque<Stretch>,
    /// Bytes and entries in `retained`.
    retained_bytes: usize,
    retained_entries: u64,
    /// The last entry that need not be kept for members that are behind.
    expendable: Option<Index>,
}

/// Consecutive entries that were applied.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    last: Index,
    entries: u64,
    bytes: usize,
}

/// How many stretches what is retained is told apart into, roughly.
const STRETCHES: u64 = 64;

impl Applying {
    /// Of a state machine that was found to have applied up to `applied`.
    pub(crate) fn new(now: Time, config: &NodeConfig, applied: Option<LogId>) -> Self {
        let index = applied.map(|id| id.index);
        Self {
            committed: index,
            handed: index,
            applied,
            durable: None,
            in_flight: VecDeque::new(),
            reading: false,
            waiting: BTreeSet::new(),
            unpersisted_bytes: 0,
            persist_due: applied.map(|_| now + config.persist_interval),
            persisting: false,
            held_back: false,
            retained: VecDeque::new(),
            retained_bytes: 0,
            retained_entries: 0,
            expendable: None,
        }
    }

    /// Hands nothing to the state machine until it stands on a snapshot.
    pub(crate) fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// The state machine got where the snapshot would have led by itself.
    pub(crate) fn go_on(&mut self) {
        self.held_back = false;
    }

    /// The state machine stands on a snapshot now.
    pub(crate) fn stand_on(&mut self, last: LogId) {
        assert!(self.in_flight.is_empty(), "a state machine is switched over when it has nothing else to do");
        assert!(self.applied.map(|id| id.index) < Some(last.index), "a snapshot leads forward");
        self.held_back = false;
        self.committed = self.committed.max(Some(last.index));
        self.handed = Some(last.index);
        (self.applied, self.durable) = (Some(last), Some(last));
        // What the log holds, if anything, is behind us: nobody is fed from it by us, who were behind ourselves.
        self.retained.clear();
        (self.retained_bytes, self.retained_entries, self.expendable) = (0, 0, Some(last.index));
    }

    /// Whether the state machine has nothing to do and waits for a snapshot to be switched to.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && !self.reading
    }

    /// Entries up to this one may be applied.
    pub(crate) fn committed(&mut self, through: Index) {
        self.committed = self.committed.max(Some(through));
    }

    /// Hands the state machine as much as it may hold, from memory or else from disk.
    pub(crate) fn pump(&mut self, group: GroupId, raft: &Raft, common: &mut Common, out: &mut Vec<NodeEffect>) {
        while self.in_flight.len() < common.config.apply_batches_max && !self.reading && !self.held_back {
            let from = Index::after(self.handed);
            let Some(through) = self.committed.filter(|committed| *committed >= from) else { return };
            let bytes_max = common.config.apply_bytes_max;
            match raft.entries(from, bytes_max) {
                Some(entries) => self.hand(group, entries.to_vec(), common, out),
                None => {
                    sometimes!("node: entries to apply have left memory");
                    self.reading = true;
                    common.stats.apply_reads += 1;
                    common.read_log(group, Reader::Apply, Wanted { from, through, bytes_max });
                }
            }
        }
    }

    /// Entries for the state machine arrived from disk.
    ///
    /// # Panics
    /// When there are none: an entry is dropped from the log only once it was applied, so one is missing that we
    /// acknowledged, and going on without it would let this replica drift.
    pub(crate) fn read(&mut self, group: GroupId, entries: Vec<Entry>, common: &mut Common, out: &mut Vec<NodeEffect>) {
        assert!(self.reading, "group {group}: log entries arrived that nobody asked for");
        self.reading = false;
        self.hand(group, entries, common, out);
    }

    fn hand(&mut self, group: GroupId, entries: Vec<Entry>, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let from = Index::after(self.handed);
        let consecutive = entries.iter().zip(from.0..).all(|(entry, index)| entry.id.index == Index(index));
        let last = entries.last().map(|entry| entry.id.index);
        assert!(
            last.is_some() && last <= self.committed && consecutive,
            "group {group}: the log gave entries up to {last:?} where committed ones from {from} on were asked for"
        );
        self.handed = last;
        let memberships = entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id, membership.clone())),
            Payload::Empty | Payload::Command(_) => None,
        });
        self.in_flight.push_back(Batch {
            ids: entries.iter().map(|entry| entry.id).collect(),
            memberships: memberships.collect(),
            bytes: entries.iter().map(Entry::bytes).sum(),
        });
        common.stats.apply_batches += 1;
        common.stats.apply_entries += entries.len() as u64;
        out.push(NodeEffect::Apply { group, entries });
    }

    /// The oldest batch was applied.
    ///
    /// # Panics
    /// When the state machine did not answer every entry of it: replies would reach the wrong clients.
    pub(crate) fn applied(&mut self, now: Time, config: &NodeConfig, through: LogId, replies: Vec<Bytes>) -> Done {
        let batch = self.in_flight.pop_front().expect("only what was handed out comes back as applied");
        assert_eq!(batch.ids.last(), Some(&through), "batches are applied whole and in order");
        assert_eq!(batch.ids.len(), replies.len(), "a state machine gives one reply an entry");
        self.applied = Some(through);
        self.unpersisted_bytes += batch.bytes;
        self.retain(config, Stretch { last: through.index, entries: batch.ids.len() as u64, bytes: batch.bytes });
        let latest = now + config.persist_interval;
        self.persist_due = match self.persist_due {
            // Enough was applied: now, not later.
            _ if self.unpersisted_bytes >= config.persist_bytes => Some(now),
            Some(due) => Some(due),
            None => Some(latest),
        };
        Done { replies: batch.ids.into_iter().zip(replies).collect(), memberships: batch.memberships }
    }

    /// Entries found in the log at the start, which were applied before: of unknown size.
    pub(crate) fn found(&mut self, config: &NodeConfig, base: Option<Index>) {
        let Some(LogId { index: last, .. }) = self.applied else { return };
        let entries = last.0.saturating_sub(base.map_or(0, |base| base.0));
        self.retain(config, Stretch { last, entries, bytes: 0 });
    }

    /// Takes note of what the log holds, and of what of it need not be kept for members that are behind.
    fn retain(&mut self, config: &NodeConfig, new: Stretch) {
        self.retained_bytes += new.bytes;
        self.retained_entries += new.entries;
        let small = |stretch: &Stretch| {
            stretch.entries < config.log_retain_entries / STRETCHES
                && (stretch.bytes as u64) < config.log_retain_bytes as u64 / STRETCHES
        };
        match self.retained.back_mut().filter(|last| small(last)) {
            Some(last) => {
                *last = Stretch { last: new.last, entries: last.entries + new.entries, bytes: last.bytes + new.bytes };
            }
            None => self.retained.push_back(new),
        }
        while self.retained_bytes > config.log_retain_bytes || self.retained_entries > config.log_retain_entries {
            // A stretch that fits none of it goes whole: the limit is one of bytes kept, not of bytes dropped.
            let Some(oldest) = self.retained.pop_front() else { return };
            self.retained_bytes -= oldest.bytes;
            self.retained_entries -= oldest.entries;
            self.expendable = Some(oldest.last);
        }
    }

    /// The last entry that need not be kept for others. The protocol keeps what a crash would make us want ourselves.
    pub(crate) fn expendable(&self) -> Option<Index> {
        self.expendable
    }

    /// Asks the state machine to persist if it is time, and it is not at it.
    pub(crate) fn maybe_persist(&mut self, now: Time, group: GroupId, out: &mut Vec<NodeEffect>) {
        if !self.persisting && self.persist_due.is_some_and(|due| due <= now) {
            self.persisting = true;
            self.persist_due = None;
            self.unpersisted_bytes = 0;
            out.push(NodeEffect::Persist { group });
        }
    }

    /// The state machine has persisted.
    pub(crate) fn persisted(&mut self, durable: Option<LogId>) {
        self.persisting = false;
        // Never backwards: what was durable once stays so.
        self.durable = self.durable.max(durable);
    }

    /// Remembers a read until `index` is applied.
    pub(crate) fn wait(&mut self, index: Index, id: RequestId) {
        self.waiting.insert((index, id));
    }

    /// Forgets it: its client has gone.
    pub(crate) fn forget(&mut self, index: Index, id: RequestId) {
        self.waiting.remove(&(index, id));
    }

    /// The next read whose index is applied.
    pub(crate) fn next_readable(&mut self) -> Option<RequestId> {
        let first = self.waiting.first().copied().filter(|(index, _)| self.reaches(Some(*index)))?;
        self.waiting.remove(&first);
        Some(first.1)
    }

    /// Whether `index` is applied; before the first entry everything is.
    pub(crate) fn reaches(&self, index: Option<Index>) -> bool {
        self.last().map(|id| id.index) >= index
    }

    /// The last entry applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.applied
    }

    pub(crate) fn durable(&self) -> Option<LogId> {
        self.durable
    }

    /// Entries that are committed and not applied.
    pub(crate) fn lag(&self) -> u64 {
        let index = |index: Option<Index>| index.map_or(0, |index| index.0);
        index(self.committed) - index(self.applied.map(|id| id.index))
    }

    /// Entries with the state machine.
    pub(crate) fn pending(&self) -> u64 {
        self.in_flight.iter().map(|batch| batch.ids.len() as u64).sum()
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.reading
    }

    pub(crate) fn is_persisting(&self) -> bool {
        self.persisting
    }

    pub(crate) fn reads_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When to call `maybe_persist`; never while it persists already, or the runner would spin.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.persist_due.filter(|_| !self.persisting)
    }
}
