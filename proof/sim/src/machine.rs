//! The replicated state of a run: a few registers that are written, compared and read.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hezong_base::LogId;
use hezong_node::{StateError, StateMachine};
use hezong_raft::{Base, Entry, Payload};

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
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32);
        match self {
            Self::Put { key, value } => {
                bytes.put_u8(0);
                bytes.put_u64(key);
                bytes.put_u64(value);
            }
            Self::Cas { key, expected, value } => {
                bytes.put_u8(1);
                bytes.put_u64(key);
                bytes.put_u64(value);
                bytes.put_u64(expected);
            }
        }
        bytes.freeze()
    }

    fn decode(mut bytes: &[u8]) -> Self {
        let kind = bytes.get_u8();
        let (key, value) = (bytes.get_u64(), bytes.get_u64());
        match kind {
            0 => Self::Put { key, value },
            _ => Self::Cas { key, expected: bytes.get_u64(), value },
        }
    }
}

/// The registers of one replica: what it has applied, and what of it would be found after a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    live: State,
    persisted: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    values: BTreeMap<u64, u64>,
    base: Option<Base>,
}

impl Registers {
    /// The value of a register; 0 if it was never written.
    pub(crate) fn read(&self, key: u64) -> u64 {
        self.live.values.get(&key).copied().unwrap_or(0)
    }

    /// The last entry applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.live.base.as_ref().and_then(|base| base.last)
    }

    /// What was not persisted is gone.
    pub(crate) fn crash(&mut self) {
        self.live = self.persisted.clone();
    }

    /// Whether two replicas hold the same.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.live == other.live
    }
}

impl StateMachine for Registers {
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(self.live.base.clone())
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            let base = self.live.base.get_or_insert_default();
            base.last = Some(entry.id);
            base.time = entry.time;
            replies.push(match &entry.payload {
                Payload::Empty => Bytes::new(),
                Payload::Membership(membership) => {
                    base.membership = membership.clone();
                    Bytes::new()
                }
                Payload::Command(command) => match Command::decode(command) {
                    Command::Put { key, value } => {
                        self.live.values.insert(key, value);
                        Bytes::from_static(&[1])
                    }
                    Command::Cas { key, expected, value } if self.read(key) == expected => {
                        self.live.values.insert(key, value);
                        Bytes::from_static(&[1])
                    }
                    Command::Cas { .. } => Bytes::from_static(&[0]),
                },
            });
        }
        Ok(replies)
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        self.persisted = self.live.clone();
        Ok(self.last())
    }
}
