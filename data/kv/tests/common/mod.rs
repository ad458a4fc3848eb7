//! One replica and a log that grows by one entry at a time.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::Duration;

use bytes::Bytes;
use hezong_base::LogId;
use hezong_kv::{Command, Condition, Done, Kv, KvView, Operation, Refusal, Reply, Request, Rules, SessionId};
use hezong_node::StateMachine;
use hezong_raft::{Entry, Payload};
use hezong_store::{ModelStore, Store};

/// A state machine, the index its next entry gets and the log time it carries.
pub(crate) struct Cluster {
    pub(crate) kv: Kv<ModelStore>,
    next: u64,
    time: Duration,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with(Rules::default())
    }

    pub(crate) fn with(rules: Rules) -> Self {
        Self { kv: Kv::open(ModelStore::new(), "g1", rules).unwrap(), next: 1, time: Duration::ZERO }
    }

    /// Log time passes.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.time += span;
    }

    /// What comes of a request as the next entry.
    pub(crate) fn reply(&mut self, request: Request) -> Reply {
        let entry = entry(self.next, self.time, &request);
        self.next += 1;
        let replies = self.kv.apply(&[entry]).unwrap();
        assert_eq!(replies.len(), 1);
        Reply::decode(&replies[0]).unwrap()
    }

    /// What comes of a command of which every copy counts.
    pub(crate) fn apply(&mut self, command: Command) -> Result<Done, Refusal> {
        self.reply(Request::plain(command)).result
    }

    pub(crate) fn open_session(&mut self, ttl: Duration) -> SessionId {
        match self.apply(Command::SessionOpen { ttl }) {
            Ok(Done::SessionOpened(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn view(&self) -> KvView<<ModelStore as Store>::View> {
        self.kv.reader().view().unwrap()
    }
}

/// A request as an entry of term 1.
pub(crate) fn entry(index: u64, time: Duration, request: &Request) -> Entry {
    Entry { id: LogId::new(1, index), time, payload: Payload::Command(request.encode()) }
}

/// A key's value and when it was created, last changed and how often.
pub(crate) fn revisions(kv: &Cluster, key: &str) -> Option<(String, u64, u64, u64)> {
    let kv = kv.view().get(key.as_bytes()).unwrap()?;
    Some((String::from_utf8(kv.value.to_vec()).unwrap(), kv.created.0, kv.modified.0, kv.version))
}

pub(crate) fn put(pairs: &[(&str, &str)]) -> Command {
    Command::Put(pairs.iter().map(|(key, value)| (bytes(key), bytes(value))).collect())
}

pub(crate) fn delete(keys: &[&str]) -> Command {
    Command::Delete(keys.iter().map(|key| bytes(key)).collect())
}

pub(crate) fn add(key: &str, delta: i64) -> Command {
    Command::Add { key: bytes(key), delta }
}

pub(crate) fn txn(conditions: Vec<Condition>, then: Vec<Operation>) -> Command {
    Command::Txn { conditions, then }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
