//! The replicated state of a run: the shipped state machine over a store in memory that can crash, used as a few
//! registers that are written, compared and read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{LogId, Rng};
use hezong_kv::{Condition, Done, Expect, Kv, KvReader, Operation, Refusal, Reply, Request, Rules, SessionId};
use hezong_node::{Begun, Chunk, Snapshot, StateError, StateMachine};
use hezong_raft::{Base, Entry, SnapshotId};
use hezong_store::ModelStore;

use crate::check::Violation;

/// What a client does to a register, or to its session. Every value written is written once in a run, so that a value
/// read tells which write it saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Writes.
    Put { key: u64, value: u64 },
    /// Writes if the register holds `expected`; 0 stands for "was never written".
    Cas { key: u64, expected: u64, value: u64 },
    /// Deletes.
    Delete { key: u64 },
    /// Opens a session that lives for so many nanoseconds without being used.
    Open { ttl: u64 },
    /// Uses a session.
    KeepAlive(SessionId),
}

/// By what a command is recognised when it comes again, so that whoever does not know what came of it may send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    /// By nothing: every copy counts.
    Never,
    /// By its value, which is unique, as its idempotency key.
    Keyed,
    /// By its number in a session.
    Numbered(SessionId, u64),
}

impl Command {
    /// As an entry of the log.
    pub(crate) fn encode(self, once: Once) -> Bytes {
        let (command, unique) = match self {
            Self::Put { key, value } => (hezong_kv::Command::Put(vec![(name(key), text(value))]), value),
            // Never sent again under a key of its own: nothing about it is unique.
            Self::Delete { key } => (hezong_kv::Command::Delete(vec![name(key)]), 0),
            Self::Open { ttl } => (hezong_kv::Command::SessionOpen { ttl: Duration::from_nanos(ttl) }, 0),
            Self::KeepAlive(session) => (hezong_kv::Command::SessionKeepAlive(session), 0),
            Self::Cas { key, expected, value } => {
                let expect = if expected == 0 { Expect::Absent } else { Expect::Value(text(expected)) };
                let conditions = vec![Condition { key: name(key), expect }];
                let then = vec![Operation::Put { key: name(key), value: text(value) }];
                (hezong_kv::Command::Txn { conditions, then }, value)
            }
        };
        let once = match once {
            Once::Never => None,
            Once::Keyed => Some(hezong_kv::Once::idempotency(text(unique), &command)),
            Once::Numbered(session, number) => Some(hezong_kv::Once::session(session, number, &command)),
        };
        Request { once, command }.encode()
    }
}

/// Whether only the newer program is taken to know it: so that there are such commands at all, every fifth value written is
/// one.
pub(crate) fn is_new(command: &Bytes) -> bool {
    let Ok(Request { command: hezong_kv::Command::Put(pairs), .. }) = Request::decode(command.clone()) else {
        return false;
    };
    let value = |text: &Bytes| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    pairs.iter().filter_map(|(_, text)| value(text)).any(|value| value % 5 == 0)
}

/// What the reply to a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The register was written, or, false, was found changed.
    Written(bool),
    /// The session is open, or lives on.
    Session(SessionId),
    /// The session is gone.
    Gone,
}

/// What the reply to `command` says, and whether that is what an earlier copy was told.
pub(crate) fn told(command: Command, reply: &[u8]) -> Result<(Told, bool), Violation> {
    let decoded = Reply::decode(reply);
    let repeated = decoded.as_ref().is_ok_and(|reply| reply.repeated);
    let told = match (command, decoded.map(|reply| reply.result)) {
        (Command::Put { .. }, Ok(Ok(Done::Put { .. }))) => Told::Written(true),
        (Command::Delete { .. }, Ok(Ok(Done::Deleted { .. }))) => Told::Written(true),
        (Command::Cas { .. }, Ok(Ok(Done::Committed { .. }))) => Told::Written(true),
        (Command::Cas { .. }, Ok(Ok(Done::NotHeld { .. }))) => Told::Written(false),
        (Command::Open { .. }, Ok(Ok(Done::SessionOpened(session)))) => Told::Session(session),
        (Command::KeepAlive(session), Ok(Ok(Done::SessionKept))) => Told::Session(session),
        (_, Ok(Err(Refusal::SessionGone { .. }))) => Told::Gone,
        // Who numbers without gaps, and goes on only once it knows what came of the last, is refused nothing else.
        (command, other) => {
            let detail = format!("{command:?} was answered with {other:?}");
            return Err(Violation::new("answers fit their questions", detail));
        }
    };
    Ok((told, repeated))
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
    rules: Rules,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("last", &self.last()).finish_non_exhaustive()
    }
}

/// A store in memory does not fail.
const IN_MEMORY: &str = "the store is in memory";

/// Sound, with an empty disk.
impl Default for Machine {
    fn default() -> Self {
        Self::new(Rules::default())
    }
}

impl Machine {
    /// With an empty disk.
    pub(crate) fn new(rules: Rules) -> Self {
        Self::open(ModelStore::new(), rules)
    }

    fn open(store: ModelStore, rules: Rules) -> Self {
        // So few at a time that there is something left to be swept when somebody comes to use it.
        let rules = Rules { sweep_max: 1, ..rules };
        let kv = Kv::open(store.clone(), "group1", rules.clone()).expect(IN_MEMORY);
        let reader = kv.reader();
        Self { store, kv, reader, rules }
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
        *self = Self::open(if power { self.store.crash(rng) } else { self.store.kill() }, self.rules.clone());
    }

    /// The disk is lost.
    pub(crate) fn lose(&mut self) {
        *self = Self::new(self.rules.clone());
    }

    /// Another one that holds the same and goes its own way.
    pub(crate) fn fork(&self) -> Self {
        Self::open(self.store.kill(), self.rules.clone())
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
