//! The replicated state of a run: the shipped state machine over a store in memory that can crash, used as a few
//! registers that are written, compared and read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hezong_base::{LogId, Rng};
use hezong_kv::{Condition, Done, Expect, Kv, KvReader, Once, Operation, Reply, Request, Rules};
use hezong_node::{Begun, Chunk, Snapshot, StateError, StateMachine};
use hezong_raft::{Base, Entry, SnapshotId};
use hezong_store::ModelStore;

use crate::check::Violation;

/// What a client does to a register. Every value written is written once in a run, so that a value read tells which
/// write it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Writes.
    Put { key: u64, value: u64 },
    /// Writes if the register holds `expected`; 0 stands for "was never written".
    Cas { key: u64, expected: u64, value: u64 },
}

impl Command {
    /// As an entry of the log. With `once` it carries its value, which is unique, as its idempotency key: then it may be
    /// sent again by whoever does not know what came of it.
    pub(crate) fn encode(self, once: bool) -> Bytes {
        let (command, unique) = match self {
            Self::Put { key, value } => (hezong_kv::Command::Put(vec![(name(key), text(value))]), value),
            Self::Cas { key, expected, value } => {
                let expect = if expected == 0 { Expect::Absent } else { Expect::Value(text(expected)) };
                let conditions = vec![Condition { key: name(key), expect }];
                let then = vec![Operation::Put { key: name(key), value: text(value) }];
                (hezong_kv::Command::Txn { conditions, then }, value)
            }
        };
        let once = once.then(|| Once::idempotency(text(unique), &command));
        Request { once, command }.encode()
    }
}

/// What a write's reply says: whether it was done, or found its register changed.
pub(crate) fn written(reply: &[u8]) -> Result<bool, Violation> {
    match Reply::decode(reply).map(|reply| reply.result) {
        Ok(Ok(Done::Put { .. } | Done::Committed { .. })) => Ok(true),
        Ok(Ok(Done::NotHeld { .. })) => Ok(false),
        other => Err(Violation::new("answers fit their questions", format!("a write was answered with {other:?}"))),
    }
}

fn name(key: u64) -> Bytes {
    Bytes::from(format!("register {key}"))
}

fn text(value: u64) -> Bytes {
    Bytes::from(value.to_string())
}

/// The state machine of one replica, and the disk under it.
pub(crate) struct Machine {
    store: ModelStore,
    kv: Kv<ModelStore>,
    reader: KvReader<ModelStore>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("last", &self.last()).finish_non_exhaustive()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::open(ModelStore::new())
    }
}

/// A store in memory does not fail.
const IN_MEMORY: &str = "the store is in memory";

impl Machine {
    fn open(store: ModelStore) -> Self {
        let kv = Kv::open(store.clone(), "group1", Rules::default()).expect(IN_MEMORY);
        let reader = kv.reader();
        Self { store, kv, reader }
    }

    /// The value of a register; 0 if it was never written.
    pub(crate) fn read(&self, key: u64) -> u64 {
        let found = self.reader.view().and_then(|view| view.get(&name(key))).expect(IN_MEMORY);
        let value = found.and_then(|found| std::str::from_utf8(&found.value).ok()?.parse().ok());
        value.unwrap_or(0)
    }

    /// The last entry applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.applied().expect(IN_MEMORY).and_then(|base| base.last)
    }

    /// The process dies: with `power` some of what was not persisted is lost.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) {
        *self = Self::open(if power { self.store.crash(rng) } else { self.store.kill() });
    }

    /// Of everything in it: two replicas that have applied the same have the same.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.reader.view().and_then(|view| view.digest()).expect(IN_MEMORY)
    }
}

impl StateMachine for Machine {
    fn applied(&self) -> Result<Option<Base>, StateError> {
        self.kv.applied()
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        self.kv.apply(entries)
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        self.kv.persist()
    }

    fn is_installed(&self) -> Result<bool, StateError> {
        self.kv.is_installed()
    }

    fn snapshot(&mut self) -> Result<Option<Arc<dyn Snapshot>>, StateError> {
        self.kv.snapshot()
    }

    fn begin(&mut self, id: SnapshotId) -> Result<Begun, StateError> {
        self.kv.begin(id)
    }

    fn install(&mut self, id: SnapshotId, chunk: &Chunk) -> Result<bool, StateError> {
        self.kv.install(id, chunk)
    }

    fn finish(&mut self, id: SnapshotId, base: &Base) -> Result<(), StateError> {
        self.kv.finish(id, base)
    }
}
