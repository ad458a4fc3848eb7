//! What a client may ask of the keys, and the limits it is held to before anything reaches the log.

use std::time::Duration;

use bytes::Bytes;
use hezong_raft::Version;
use prost::Message;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{Revision, wire};

/// A command and, if it carries one, the promise that it happens at most once: what one log entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How retries are recognised; `None` when every copy counts.
    pub once: Option<Once>,
    /// What to do.
    pub command: Command,
}

/// A change of the state. Each is atomic, and each that changes a key takes one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets keys, all or none.
    Put(Vec<(Bytes, Bytes)>),
    /// Removes keys; those absent are passed over.
    Delete(Vec<Bytes>),
    /// Carries out `then` if every condition holds, else nothing.
    Txn {
        /// What must hold.
        conditions: Vec<Condition>,
        /// What is then done, in this order.
        then: Vec<Operation>,
    },
    /// Adds to a key whose value is a decimal integer, as `-7`; an absent one counts as 0.
    Add {
        /// Which key.
        key: Bytes,
        /// How much; may be negative.
        delta: i64,
    },
    /// Moves a value to another key, over whatever is there; nothing if the key is absent.
    #[cfg(feature = "next-version")]
    Rename {
        /// Which key.
        from: Bytes,
        /// What it is called from then on.
        to: Bytes,
    },
    /// Opens a session, whose id is the index of this entry.
    SessionOpen {
        /// How long, in log time, it lives without being used.
        ttl: Duration,
    },
    /// Counts as a use of the session.
    SessionKeepAlive(SessionId),
    /// Ends the session at once.
    SessionClose(SessionId),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// Which.
        key: Bytes,
        /// To what.
        value: Bytes,
    },
    /// Removes a key; harmless when absent.
    Delete {
        /// Which.
        key: Bytes,
    },
}

/// What must hold of a key for a transaction to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which key.
    pub key: Bytes,
    /// What must hold of it.
    pub expect: Expect,
}

/// What must hold of a key. All but [`Expect::Absent`] are false of a key that is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no such key.
    Absent,
    /// There is one.
    Present,
    /// It was created at this revision.
    Created(Revision),
    /// It was last changed at this revision.
    Modified(Revision),
    /// It was changed this many times since it was created, that one included.
    Version(u64),
    /// It has this value.
    Value(Bytes),
}

/// A session: the index of the entry that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What a request is recognised by when it comes again: the SHA-256 of its command.
pub type RequestDigest = [u8; 32];

/// How retries of a request are recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// By a key the client made up. Remembered for [`Rules::once_window`](crate::Rules) of log time after the first.
    Idempotency {
        /// At most [`Limits::once_key_bytes_max`] bytes.
        key: Bytes,
        /// Of the command, so that another one under the same key is found out.
        digest: RequestDigest,
    },
    /// By its number in a session, without a window of time.
    Session {
        /// Which session.
        session: SessionId,
        /// 1 for the first, then one more each time; the same again for a retry.
        sequence: u64,
        /// Of the command, so that another one under the same number is found out.
        digest: RequestDigest,
    },
}

impl Once {
    /// `command` under a key the client made up.
    #[must_use]
    pub fn idempotency(key: impl Into<Bytes>, command: &Command) -> Self {
        Self::Idempotency { key: key.into(), digest: command.digest() }
    }

    /// `command` as number `sequence` of a session.
    #[must_use]
    pub fn session(session: SessionId, sequence: u64, command: &Command) -> Self {
        Self::Session { session, sequence, digest: command.digest() }
    }
}

/// What a client's request is held to before it enters the log. They may differ between nodes and change at any time:
/// what is in the log was accepted by whoever led then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a key. 4,096.
    pub key_bytes_max: usize,
    /// Bytes in a value. 1,048,576.
    pub value_bytes_max: usize,
    /// Keys in one command, conditions included. 1,024.
    pub command_keys_max: usize,
    /// Bytes of all keys and values in one command. 8 MiB.
    pub command_bytes_max: usize,
    /// Bytes in an idempotency key. 128.
    pub once_key_bytes_max: usize,
    /// Shortest life of an unused session. 1 s.
    pub session_ttl_min: Duration,
    /// Longest life of an unused session. 24 h.
    pub session_ttl_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 4 << 10,
            value_bytes_max: 1 << 20,
            command_keys_max: 1_024,
            command_bytes_max: 8 << 20,
            once_key_bytes_max: 128,
            session_ttl_min: Duration::from_secs(1),
            session_ttl_max: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Why a request is not let into the log. Nothing was changed; it will be refused again until it is put right. The
/// texts name the setting that moves the limit, where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// A key without a byte.
    #[error("key is empty; give it at least one byte")]
    KeyEmpty,
    /// A key over its limit.
    #[error("key is {} bytes, over the limit of {} (kv.key_bytes_max); shorten it", grouped(*bytes), grouped(*limit))]
    KeyTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A value over its limit.
    #[error("value is {} bytes, over the limit of {} (kv.value_bytes_max); split it over several keys", grouped(*bytes), grouped(*limit))]
    ValueTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A command that names no key.
    #[error("command names no key; give it at least one")]
    NoKeys,
    /// A command over its number of keys.
    #[error("command names {} keys, over the limit of {} (kv.command_keys_max); split it into several", grouped(*keys), grouped(*limit))]
    TooManyKeys {
        /// How many it names.
        keys: usize,
        /// The limit.
        limit: usize,
    },
    /// A command over its size.
    #[error("command is {} bytes, over the limit of {} (kv.command_bytes_max); split it into several", grouped(*bytes), grouped(*limit))]
    CommandTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A command that changes one key twice, so that the outcome would hang on an order the client did not give.
    #[error("key {:?} is changed twice in one command; name it once", String::from_utf8_lossy(key))]
    KeyTwice {
        /// Which key.
        key: Bytes,
    },
    /// An idempotency key without a byte.
    #[error("idempotency key is empty; give it at least one byte")]
    OnceKeyEmpty,
    /// An idempotency key over its limit.
    #[error("idempotency key is {} bytes, over the limit of {}; a UUID is enough", grouped(*bytes), grouped(*limit))]
    OnceKeyTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A session's life outside its limits.
    #[error("session ttl is {} ms, outside of {} to {} ms; choose one within", ttl.as_millis(), min.as_millis(), max.as_millis())]
    SessionTtl {
        /// What was asked for.
        ttl: Duration,
        /// The shortest allowed.
        min: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// A command that manages sessions, sent as a numbered command of one.
    #[error("sessions cannot be opened, kept alive or closed as a numbered command of a session; leave the number out")]
    SessionInSession,
}

/// A number as people read it: 1,048,576.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Request {
    /// A command of which every copy counts.
    #[must_use]
    pub fn plain(command: Command) -> Self {
        Self { once: None, command }
    }

    /// As it goes into the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::Request::from(self).encode_to_vec().into()
    }

    /// What keeps it out of the log.
    ///
    /// # Errors
    /// [`LimitError`] names the thing, the limit and the remedy.
    pub fn validate(&self, limits: &Limits) -> Result<(), LimitError> {
        if let Some(Once::Idempotency { key, .. }) = &self.once {
            if key.is_empty() {
                return Err(LimitError::OnceKeyEmpty);
            }
            if key.len() > limits.once_key_bytes_max {
                return Err(LimitError::OnceKeyTooLong { bytes: key.len(), limit: limits.once_key_bytes_max });
            }
        }
        if matches!(self.once, Some(Once::Session { .. })) && self.command.manages_sessions() {
            return Err(LimitError::SessionInSession);
        }
        self.command.validate(limits)
    }
}

impl Command {
    /// What a retry is recognised by: the same command gives the same digest on every node and in every version.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        Sha256::digest(wire::command_bytes(self)).into()
    }

    /// The first version whose programs know it. A command that older ones do not know raises it here, in `wire.rs` and
    /// nowhere else; `docs/upgrades.md` tells what follows from it.
    #[must_use]
    pub fn since(&self) -> Version {
        match self {
            Self::Put(_) | Self::Delete(_) | Self::Txn { .. } | Self::Add { .. } => Version(1),
            Self::SessionOpen { .. } | Self::SessionKeepAlive(_) | Self::SessionClose(_) => Version(1),
            #[cfg(feature = "next-version")]
            Self::Rename { .. } => Version(2),
        }
    }

    /// Whether it opens, keeps or ends a session rather than changing keys.
    pub(crate) fn manages_sessions(&self) -> bool {
        match self {
            Self::Put(_) | Self::Delete(_) | Self::Txn { .. } | Self::Add { .. } => false,
            #[cfg(feature = "next-version")]
            Self::Rename { .. } => false,
            Self::SessionOpen { .. } | Self::SessionKeepAlive(_) | Self::SessionClose(_) => true,
        }
    }

    /// What keeps it out of the log.
    ///
    /// # Errors
    /// [`LimitError`] names the thing, the limit and the remedy.
    pub fn validate(&self, limits: &Limits) -> Result<(), LimitError> {
        let mut tally = Tally { limits, keys: 0, bytes: 0 };
        let mut changed: Vec<&Bytes> = Vec::new();
        match self {
            Self::Put(pairs) => {
                for (key, value) in pairs {
                    tally.key(key)?;
                    tally.value(value)?;
                    changed.push(key);
                }
            }
            Self::Delete(keys) => {
                for key in keys {
                    tally.key(key)?;
                    changed.push(key);
                }
            }
            #[cfg(feature = "next-version")]
            Self::Rename { from, to } => {
                for key in [from, to] {
                    tally.key(key)?;
                    changed.push(key);
                }
            }
            Self::Txn { conditions, then } => {
                for Condition { key, expect } in conditions {
                    tally.key(key)?;
                    if let Expect::Value(value) = expect {
                        tally.value(value)?;
                    }
                }
                for operation in then {
                    match operation {
                        Operation::Put { key, value } => {
                            tally.key(key)?;
                            tally.value(value)?;
                            changed.push(key);
                        }
                        Operation::Delete { key } => {
                            tally.key(key)?;
                            changed.push(key);
                        }
                    }
                }
            }
            Self::Add { key, .. } => tally.key(key)?,
            Self::SessionOpen { ttl } => {
                let (min, max) = (limits.session_ttl_min, limits.session_ttl_max);
                if *ttl < min || *ttl > max {
                    return Err(LimitError::SessionTtl { ttl: *ttl, min, max });
                }
                return Ok(());
            }
            Self::SessionKeepAlive(_) | Self::SessionClose(_) => return Ok(()),
        }
        tally.whole()?;
        changed.sort_unstable();
        match changed.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(LimitError::KeyTwice { key: pair[0].clone() }),
            None => Ok(()),
        }
    }
}

/// Adds up what a command names.
struct Tally<'a> {
    limits: &'a Limits,
    keys: usize,
    bytes: usize,
}

impl Tally<'_> {
    fn key(&mut self, key: &Bytes) -> Result<(), LimitError> {
        self.keys += 1;
        self.bytes += key.len();
        let limit = self.limits.key_bytes_max;
        if key.is_empty() {
            Err(LimitError::KeyEmpty)
        } else if key.len() > limit {
            Err(LimitError::KeyTooLong { bytes: key.len(), limit })
        } else {
            Ok(())
        }
    }

    fn value(&mut self, value: &Bytes) -> Result<(), LimitError> {
        self.bytes += value.len();
        let limit = self.limits.value_bytes_max;
        if value.len() > limit { Err(LimitError::ValueTooLong { bytes: value.len(), limit }) } else { Ok(()) }
    }

    fn whole(&self) -> Result<(), LimitError> {
        let Limits { command_keys_max, command_bytes_max, .. } = *self.limits;
        if self.keys == 0 {
            Err(LimitError::NoKeys)
        } else if self.keys > command_keys_max {
            Err(LimitError::TooManyKeys { keys: self.keys, limit: command_keys_max })
        } else if self.bytes > command_bytes_max {
            Err(LimitError::CommandTooLong { bytes: self.bytes, limit: command_bytes_max })
        } else {
            Ok(())
        }
    }
}
