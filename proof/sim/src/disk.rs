//! One node's disk: the log as shipped, over a folder in memory that can crash, and the thread that serves it.

use std::collections::VecDeque;
use std::fmt;

use hezong_base::{AskId, GroupId, Index, LogId, Protocol, Rng};
use hezong_codec::log::{Change, Record, decode_entry, to_change, to_write};
use hezong_node::{BatchId, NodeInput};
use hezong_raft::{Entry, Raft, Saved, Write};
use hezong_wal::model::ModelFolder;
use hezong_wal::{self as wal, OpenError, Options, ReadError, Wal};

use crate::check::{Recovered, Violation, steps};
use crate::process::GROUP;

/// What a node wants of its disk.
#[derive(Debug)]
pub(crate) enum Task {
    /// Make these durable.
    Write(BatchId, Vec<(GroupId, Write)>),
    /// Read entries.
    Read { group: GroupId, ask: AskId, from: Index, through: Index, bytes_max: usize },
}

/// The log could not be written: the machine stood still in the middle of it. The process must die.
#[derive(Debug)]
pub(crate) struct Stopped;

/// A disk that serves what waits with one sync.
pub(crate) struct Disk {
    pub(crate) folder: ModelFolder,
    pub(crate) options: Options,
    /// `None` while the process is down.
    pub(crate) wal: Option<Wal>,
    waiting: VecDeque<Task>,
    /// What the sync under way covers; nothing of it is promised.
    running: Vec<Task>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("waiting", &self.waiting).field("running", &self.running).finish_non_exhaustive()
    }
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new(segment_bytes: u64) -> Self {
        let options = Options { segment_bytes, ..Options::new(*b"simulation") };
        Self { folder: ModelFolder::new(), options, wal: None, waiting: VecDeque::new(), running: Vec::new() }
    }

    /// Takes a task in. True if the disk was idle and should begin.
    pub(crate) fn push(&mut self, task: Task) -> bool {
        self.waiting.push_back(task);
        self.running.is_empty() && self.waiting.len() == 1
    }

    /// Begins with what waits, at most so much of it; false if there is nothing.
    pub(crate) fn begin(&mut self, tasks_max: usize) -> Result<bool, Stopped> {
        let wal = self.wal.as_mut().ok_or(Stopped)?;
        let count = self.waiting.len().min(tasks_max);
        for task in self.waiting.drain(..count) {
            if let Task::Write(_, writes) = &task {
                let records: Vec<_> = writes.iter().map(|(group, write)| record(*group, write)).collect();
                wal.append(&records).map_err(|_| Stopped)?;
            }
            self.running.push(task);
        }
        Ok(!self.running.is_empty())
    }

    /// What was begun is made durable. The answers follow.
    pub(crate) fn finish(&mut self, answers: &mut Vec<NodeInput>) -> Result<(), Stopped> {
        let wal = self.wal.as_mut().ok_or(Stopped)?;
        wal.sync().map_err(|_| Stopped)?;
        let mut stored = None;
        for task in self.running.drain(..) {
            match task {
                Task::Write(batch, _) => stored = Some(batch),
                Task::Read { group, ask, from, through, bytes_max } => {
                    let entries = match wal.read(group, from, through, bytes_max) {
                        Ok(blobs) => blobs.into_iter().map(entry).collect(),
                        Err(ReadError::Absent { .. }) => Vec::new(),
                        Err(_) => return Err(Stopped),
                    };
                    answers.push(NodeInput::LogRead { group, ask, entries });
                }
            }
        }
        answers.extend(stored.map(NodeInput::Stored));
        Ok(())
    }

    /// Gives room back, as a node does below its reserve.
    pub(crate) fn reclaim(&mut self) -> Result<(), Stopped> {
        let wal = self.wal.as_mut().ok_or(Stopped)?;
        wal.reclaim().map(drop).map_err(|_| Stopped)
    }

    /// After so many more operations on its files the machine stands still in the middle of what it is doing.
    pub(crate) fn stop_after(&mut self, operations: u64) {
        self.folder.stop_after(operations);
    }

    /// The process dies; with `power` also what was not synced, in part or whole.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) {
        self.wal = None;
        self.waiting.clear();
        self.running.clear();
        if power { self.folder.crash(rng) } else { self.folder.kill() }
    }

    /// Puts a write there before the node's first life.
    pub(crate) fn prepare(&mut self, write: &Write) {
        let (mut wal, _) = Wal::open(self.folder.handle(), self.options.clone()).expect("the disk is empty");
        wal.append(&[record(GROUP, write)]).expect("nothing fails yet");
        wal.sync().expect("nothing fails yet");
    }

    /// Damages the log that was just opened: entries behind `applied` are gone, and a note of what it ended with, or of
    /// more where that was estimated, is left. Tells what a node finds then; `None` when there is nothing to lose.
    pub(crate) fn damage(
        &mut self,
        saved: &Saved,
        applied: Option<Index>,
        rng: &mut Rng,
    ) -> Result<Option<(Saved, Recovered)>, Violation> {
        let Some(last) = saved.log.last() else { return Ok(None) };
        let kept = applied.max(saved.log.base_index()).map_or(0, |index| index.0);
        let Some(some) = last.index.0.checked_sub(kept).filter(|some| *some > 0) else { return Ok(None) };
        let from = Index(kept + 1 + rng.below(some));
        let estimated = LogId { term: saved.term, index: Index(last.index.0 + rng.below(20)) };
        let owed = saved.owed.max(Some(if rng.chance(300) { estimated } else { last }));
        let note = Write::Vote { term: saved.term, vote: saved.vote, owed };
        let wal = self.wal.as_mut().expect("it was just opened");
        // Of a log that opens, either all of this has happened or nothing.
        self.folder.stop_after(u64::MAX);
        wal.append(&[record(GROUP, &Write::Truncate(from)), record(GROUP, &note)]).expect("nothing fails meanwhile");
        wal.sync().expect("nothing fails meanwhile");
        self.wal = None;
        self.recover()
    }

    /// Opens the log: what a node finds that starts, for itself and for the checkers. `None` when the machine stood
    /// still in the middle of that.
    pub(crate) fn recover(&mut self) -> Result<Option<(Saved, Recovered)>, Violation> {
        match Wal::open(self.folder.handle(), self.options.clone()) {
            Ok((wal, groups)) => self.fold(wal, groups).map(Some),
            Err(OpenError::Io(_)) => Ok(None),
            Err(error) => Err(unopened(&error)),
        }
    }

    /// Takes over a log that was opened, and folds what is in it.
    pub(crate) fn fold(&mut self, wal: Wal, groups: Vec<wal::Recovered>) -> Result<(Saved, Recovered), Violation> {
        let (mut saved, mut found) = (Saved::default(), Recovered::default());
        let mut fold = |change: Change| -> Result<(), Violation> {
            let write = to_write(change).map_err(|error| unopened(&error))?;
            Raft::save(&mut saved, &write);
            steps(&write, |step| found.fold(&step));
            Ok(())
        };
        for group in groups {
            if let Some((last, base)) = group.base {
                fold(Change::Reset { last, base })?;
            }
            if let Some(state) = group.state {
                fold(Change::State(state))?;
            }
            let Some((first, last)) = group.live else { continue };
            let mut next = first;
            while next <= last {
                let entries = wal.read(group.group, next, last, 1 << 20).map_err(|error| unopened(&error))?;
                let count = entries.len() as u64;
                fold(Change::Append { first: next, entries })?;
                next = Index(next.0 + count);
            }
        }
        self.wal = Some(wal);
        Ok((saved, found))
    }
}

fn unopened(error: &dyn fmt::Display) -> Violation {
    Violation::new("durability", format!("the log does not open: {error}"))
}

fn record(group: GroupId, write: &Write) -> Record {
    Record { group, change: to_change(write) }
}

fn entry(blob: bytes::Bytes) -> Entry {
    decode_entry(blob).expect("what was encoded decodes")
}
