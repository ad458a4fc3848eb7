//! The log: who writes it, and the thread that reads it back.
//!
//! Whoever writes takes every batch that waits, writes them in one go and calls fdatasync once: the busier the disk, the
//! more each sync carries. A write or a sync that failed stops the process, because the system may have dropped the
//! pages and a second sync would succeed and prove nothing.
//!
//! The log has a thread of its own; but a thread that brought a peer's frame writes what follows from it itself, since
//! until the disk is done it has nothing better to do, and waking another costs a good part of a quick disk's sync. Not
//! on a slow disk: there the frames behind it, heartbeats among them, would wait for the disk.
//!
//! Readings pass through the writer's inbox, so that they come after the writes they may ask for, and are carried out by
//! a thread of their own, so that a follower that is far behind costs nobody else a sync.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hezong_base::{AskId, GroupId, Index};
use hezong_codec::log::{Record, decode_entry, to_change};
use hezong_node::{BatchId, NodeInput};
use hezong_raft::Write;
use hezong_wal::{ReadError, Reader, Wal, WriteError};

use crate::follow::DiskParts;
use crate::inbox::Inbox;
use crate::promise::Promise;
use crate::run::MayWait;
use crate::scrub::{Scrubber, log_damage};
use crate::threads::{Shared, stop_process};

/// A batch of the log is started anew beyond this, so that one append never meets the log's own limit.
const APPEND_BYTES: usize = 8 << 20;

/// What reaches the writer. Bounded by the protocols, each of which bounds what it has not yet stored.
pub(crate) enum Job {
    Store { batch: BatchId, writes: Vec<(GroupId, Write)> },
    Read(Reading),
}

/// Entries that are wanted back.
pub(crate) struct Reading {
    pub(crate) group: GroupId,
    pub(crate) ask: AskId,
    pub(crate) from: Index,
    pub(crate) through: Index,
    pub(crate) bytes_max: usize,
}

/// A sync that takes longer is slow. Far above what a disk with a journal of its own takes, far below a heartbeat.
const SYNC_QUICK: Duration = Duration::from_millis(5);

/// Between two attempts to write where there was no room.
const ROOM_PAUSE: Duration = Duration::from_millis(500);

/// The log of a node while it runs.
pub(crate) struct Log {
    /// What is to be written. Quiet: whoever puts something in decides who writes it.
    pub(crate) inbox: Inbox<Job>,
    /// Locked by whoever writes; `None` once the log is closed.
    writer: Mutex<Option<Writer>>,
    /// Whether the last sync was quick.
    quick: AtomicBool,
}

/// The log's writing end.
struct Writer {
    wal: Wal,
    readings: Arc<Inbox<Reading>>,
    /// What was taken from the inbox; empty between two writes, and kept for its memory, as are the records.
    jobs: Vec<Job>,
    records: Vec<Record>,
}

impl Log {
    pub(crate) fn new(wal: Wal, readings: Arc<Inbox<Reading>>) -> Self {
        let writer = Writer { wal, readings, jobs: Vec::new(), records: Vec::new() };
        let inbox = Inbox::quiet(usize::MAX);
        Self { inbox, writer: Mutex::new(Some(writer)), quick: AtomicBool::new(true) }
    }

    /// Writes what waits on this thread and reports it, if the disk is quick and nobody is at it; else leaves it to the
    /// log's own thread.
    pub(crate) fn write_here(&self, shared: &Shared) {
        let stored = match self.writer.try_lock() {
            Ok(mut writer) if self.quick.load(Ordering::Relaxed) => self.write(shared, &mut writer),
            Ok(_) | Err(_) => None,
        };
        // Also for what came after we took what we took.
        self.inbox.wake();
        stored.into_iter().for_each(|batch| report(shared, batch));
        shared.room.look(shared);
    }

    /// Writes all that waits; returns the last batch that became durable by it.
    fn write(&self, shared: &Shared, writer: &mut Option<Writer>) -> Option<BatchId> {
        let writer = writer.as_mut()?;
        self.inbox.take_now(&mut writer.jobs);
        let taken = Instant::now();
        let (stored, count) = writer.append(shared)?;
        let before = Instant::now();
        writer.wal.sync().unwrap_or_else(|error| fail(&error));
        let took = before.elapsed();
        self.quick.store(took < SYNC_QUICK, Ordering::Relaxed);
        shared.metrics.log_sync.record(took);
        let waited = self.inbox.waited();
        shared.slow.log(waited, before - taken, took, count);
        if shared.traces.is_active() {
            shared.traces.stored(stored, DiskParts { waited, wrote: before - taken, synced: took });
        }
        Some(stored)
    }
}

impl Writer {
    /// Writes what was taken; returns the last batch among it, which a sync makes durable, and how many writes there were.
    fn append(&mut self, shared: &Shared) -> Option<(BatchId, usize)> {
        let Self { wal, readings, jobs, records } = self;
        let (mut last, mut bytes, mut count) = (None, 0, 0);
        for job in jobs.drain(..) {
            if shared.is_abandoned() {
                return None;
            }
            match job {
                Job::Store { batch, writes } => {
                    last = Some(batch);
                    shared.metrics.log_batches.add(1);
                    shared.metrics.log_writes.add(writes.len());
                    count += writes.len();
                    for (group, write) in &writes {
                        bytes += write_bytes(write);
                        shared.room.wrote(write_bytes(write));
                        if bytes > APPEND_BYTES && !records.is_empty() {
                            append(shared, wal, records);
                            bytes = write_bytes(write);
                        }
                        records.push(Record { group: *group, change: to_change(write) });
                    }
                }
                Job::Read(reading) => {
                    // What it asks for may be among the records gathered so far.
                    append(shared, wal, records);
                    readings.push(reading, 0);
                }
            }
        }
        append(shared, wal, records);
        last.map(|last| (last, count))
    }
}

/// Writes the records, and lets go of them. Where there is no room for them it waits until there is: to the protocol that
/// is a disk which takes long, so a leader hands over, and nothing is acknowledged that is not stored.
fn append(shared: &Shared, wal: &mut Wal, records: &mut Vec<Record>) {
    let mut is_told = false;
    loop {
        match wal.append(records) {
            Ok(()) => break,
            Err(WriteError::Full(full)) => {
                if !is_told {
                    tracing::error!("{full}; the log waits for room, and goes on by itself once there is");
                    is_told = true;
                }
                if shared.is_abandoned() {
                    break;
                }
                if reclaim(wal) == 0 {
                    thread::sleep(ROOM_PAUSE);
                }
            }
            Err(error) => fail(&error),
        }
    }
    records.clear();
}

/// Gives the disk what old segments take that nobody needs; tells how much that was.
fn reclaim(wal: &mut Wal) -> u64 {
    let freed = wal.reclaim().unwrap_or_else(|error| fail(&error));
    if freed > 0 {
        tracing::info!("the log gave {freed} bytes back to the disk");
    }
    freed
}

/// The log's own thread: writes until the inbox is closed and empty, then closes the log. While the disk is below its
/// reserve, what the log no longer needs is given back to it now and then: little is written, and it might be long until
/// that went by itself.
pub(crate) fn run(shared: &Shared, log: &Log, mut promise: Option<Promise>) {
    let lock = || log.writer.lock().unwrap_or_else(PoisonError::into_inner);
    shared.room.look(shared);
    let interval = shared.room.interval();
    let mut reclaimed = Instant::now();
    while log.inbox.wait(interval) {
        let stored = log.write(shared, &mut lock());
        stored.into_iter().for_each(|batch| report(shared, batch));
        shared.room.look(shared);
        promise.iter_mut().for_each(Promise::settle);
        if shared.room.is_below() && interval.is_some_and(|interval| reclaimed.elapsed() >= interval) {
            if let Some(writer) = lock().as_mut() {
                reclaim(&mut writer.wal);
            }
            reclaimed = Instant::now();
        }
    }
    let writer = lock().take();
    if let Some(writer) = writer.filter(|_| !shared.is_abandoned()) {
        writer.wal.close().unwrap_or_else(|error| fail(&error));
    }
}

/// What became committed by it is applied by this thread too while the state machines are quick: whoever waits for the
/// reply would otherwise wait for another thread to be woken.
fn report(shared: &Shared, stored: BatchId) {
    shared.report_and(NodeInput::Stored(stored), MayWait::Machines);
}

fn fail(error: &WriteError) -> ! {
    stop_process(&format_args!("the log failed: {error}"))
}

/// Reads until the inbox is closed and empty; while nothing is wanted, scrubs.
pub(crate) fn read(shared: &Arc<Shared>, inbox: &Arc<Inbox<Reading>>, reader: &Reader, mut scrubber: Scrubber) {
    let mut readings = Vec::new();
    while inbox.take(&mut readings, scrubber.pause()) {
        for Reading { group, ask, from, through, bytes_max } in readings.drain(..) {
            if shared.is_abandoned() {
                return;
            }
            shared.metrics.log_reads.add(1);
            let entries = match reader.read(group, from, through, bytes_max) {
                Ok(blobs) => blobs
                    .into_iter()
                    .map(decode_entry)
                    .collect::<Result<_, _>>()
                    .unwrap_or_else(|error| stop_process(&format_args!("the log of group {}: {error}", group.0))),
                // Compacted or truncated since it was asked for.
                Err(ReadError::Absent { .. }) => Vec::new(),
                // Left without an answer: there is none, and the node is about to stop.
                Err(error) if error.is_damage() => {
                    shared.log_damaged(&log_damage(&error));
                    continue;
                }
                Err(error) => stop_process(&format_args!("the log failed: {error}")),
            };
            shared.report(NodeInput::LogRead { group, ask, entries });
        }
        scrubber.maybe_step(shared);
    }
}

/// Roughly what a write takes on disk.
fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Append(entries) => entries.iter().map(hezong_raft::Entry::bytes).sum(),
        Write::Compact(base) | Write::Reset(base) => 64 + base.membership.bytes(),
        Write::Vote { .. } | Write::Truncate(_) => 32,
    }
}
