//! Bytes to commands and replies, and back: protobuf messages by derive. Field numbers are never reused.
//!
//! What is in a log is read by every replica, and one that read it differently would drift from the others. Protobuf
//! passes over fields it does not know, so a change that an older node must not pass over raises [`FORMAT`], and a new
//! command is a new arm of the `oneof`; either stops an older node instead.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::Index;
use prost::{Message, Oneof};
use thiserror::Error;

use crate::command as api;
use crate::reply as answer;
use crate::{ReplyError, RequestDigest, Revision, SessionId};

/// The format of requests this version writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

/// Why an entry cannot be applied. A client cannot cause it, since the leader encodes; so the node stops.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not a request at all: the log is damaged, or another program wrote it.
    #[error("command cannot be decoded")]
    Undecodable(#[source] prost::DecodeError),
    /// A newer version of the program wrote it; start that one.
    #[error("command has format {found}, this version knows up to {FORMAT}; start a newer version")]
    NewerFormat {
        /// The format of the request.
        found: u32,
    },
    /// A newer version of the program wrote it; start that one.
    #[error("command is of a kind this version does not know; start a newer version")]
    Unknown,
    /// A part that must be there is missing, or has an impossible size.
    #[error("command has a malformed {part}")]
    Malformed {
        /// Which part.
        part: &'static str,
    },
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(oneof = "Once", tags = "2, 3")]
    once: Option<Once>,
    #[cfg_attr(not(feature = "next-version"), prost(oneof = "Command", tags = "16, 17, 18, 19, 20, 21, 22"))]
    #[cfg_attr(feature = "next-version", prost(oneof = "Command", tags = "16, 17, 18, 19, 20, 21, 22, 23"))]
    command: Option<Command>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Once {
    #[prost(message, tag = "2")]
    Idempotency(Idempotency),
    #[prost(message, tag = "3")]
    Session(Numbered),
}

#[derive(Clone, PartialEq, Message)]
struct Idempotency {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    digest: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Numbered {
    #[prost(uint64, tag = "1")]
    session: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(bytes = "bytes", tag = "3")]
    digest: Bytes,
}

#[derive(Clone, PartialEq, Oneof)]
enum Command {
    #[prost(message, tag = "16")]
    Put(Put),
    #[prost(message, tag = "17")]
    Delete(Delete),
    #[prost(message, tag = "18")]
    Txn(Txn),
    #[prost(message, tag = "19")]
    Add(Add),
    #[prost(uint64, tag = "20")]
    SessionOpen(u64),
    #[prost(uint64, tag = "21")]
    SessionKeepAlive(u64),
    #[prost(uint64, tag = "22")]
    SessionClose(u64),
    #[cfg(feature = "next-version")]
    #[prost(message, tag = "23")]
    Rename(Rename),
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(message, repeated, tag = "1")]
    pairs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Delete {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    keys: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Add {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(sint64, tag = "2")]
    delta: i64,
}

#[cfg(feature = "next-version")]
#[derive(Clone, PartialEq, Message)]
struct Rename {
    #[prost(bytes = "bytes", tag = "1")]
    from: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    to: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Txn {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
    #[prost(message, repeated, tag = "2")]
    then: Vec<Step>,
}

#[derive(Clone, PartialEq, Message)]
struct Condition {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(oneof = "Expect", tags = "2, 3, 4, 5, 6, 7")]
    expect: Option<Expect>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Expect {
    #[prost(bool, tag = "2")]
    Absent(bool),
    #[prost(bool, tag = "3")]
    Present(bool),
    #[prost(uint64, tag = "4")]
    Created(u64),
    #[prost(uint64, tag = "5")]
    Modified(u64),
    #[prost(uint64, tag = "6")]
    Version(u64),
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
}

#[derive(Clone, PartialEq, Message)]
struct Step {
    #[prost(oneof = "StepKind", tags = "1, 2")]
    kind: Option<StepKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum StepKind {
    #[prost(message, tag = "1")]
    Put(KeyValue),
    #[prost(bytes = "bytes", tag = "2")]
    Delete(Bytes),
}

impl From<&api::Request> for Request {
    fn from(request: &api::Request) -> Self {
        let once = request.once.as_ref().map(|once| match once {
            api::Once::Idempotency { key, digest } => {
                Once::Idempotency(Idempotency { key: key.clone(), digest: Bytes::copy_from_slice(digest) })
            }
            api::Once::Session { session, sequence, digest } => Once::Session(Numbered {
                session: session.0,
                sequence: *sequence,
                digest: Bytes::copy_from_slice(digest),
            }),
        });
        Self { format: FORMAT, once, command: Some((&request.command).into()) }
    }
}

/// A command alone, without the format: what its digest is taken of, so that raising the format changes no digest.
pub(crate) fn command_bytes(command: &api::Command) -> Vec<u8> {
    Request { format: 0, once: None, command: Some(command.into()) }.encode_to_vec()
}

impl From<&api::Command> for Command {
    fn from(command: &api::Command) -> Self {
        let pair = |(key, value): &(Bytes, Bytes)| KeyValue { key: key.clone(), value: value.clone() };
        match command {
            api::Command::Put(pairs) => Self::Put(Put { pairs: pairs.iter().map(pair).collect() }),
            api::Command::Delete(keys) => Self::Delete(Delete { keys: keys.clone() }),
            api::Command::Txn { conditions, then } => Self::Txn(Txn {
                conditions: conditions.iter().map(Into::into).collect(),
                then: then.iter().map(Into::into).collect(),
            }),
            api::Command::Add { key, delta } => Self::Add(Add { key: key.clone(), delta: *delta }),
            api::Command::SessionOpen { ttl } => Self::SessionOpen(nanos(*ttl)),
            api::Command::SessionKeepAlive(session) => Self::SessionKeepAlive(session.0),
            api::Command::SessionClose(session) => Self::SessionClose(session.0),
            #[cfg(feature = "next-version")]
            api::Command::Rename { from, to } => Self::Rename(Rename { from: from.clone(), to: to.clone() }),
        }
    }
}

impl From<&api::Condition> for Condition {
    fn from(condition: &api::Condition) -> Self {
        let expect = match &condition.expect {
            api::Expect::Absent => Expect::Absent(true),
            api::Expect::Present => Expect::Present(true),
            api::Expect::Created(revision) => Expect::Created(revision.0),
            api::Expect::Modified(revision) => Expect::Modified(revision.0),
            api::Expect::Version(version) => Expect::Version(*version),
            api::Expect::Value(value) => Expect::Value(value.clone()),
        };
        Self { key: condition.key.clone(), expect: Some(expect) }
    }
}

impl From<&api::Operation> for Step {
    fn from(operation: &api::Operation) -> Self {
        let kind = match operation {
            api::Operation::Put { key, value } => StepKind::Put(KeyValue { key: key.clone(), value: value.clone() }),
            api::Operation::Delete { key } => StepKind::Delete(key.clone()),
        };
        Self { kind: Some(kind) }
    }
}

impl api::Request {
    /// Reads what [`api::Request::encode`] wrote. Keys and values share the memory of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let Request { format, once, command } = Request::decode(bytes).map_err(DecodeError::Undecodable)?;
        if format > FORMAT {
            return Err(DecodeError::NewerFormat { found: format });
        }
        let once = once.map(TryInto::try_into).transpose()?;
        Ok(Self { once, command: command.ok_or(DecodeError::Unknown)?.try_into()? })
    }
}

impl TryFrom<Once> for api::Once {
    type Error = DecodeError;

    fn try_from(once: Once) -> Result<Self, DecodeError> {
        let digest =
            |bytes: Bytes| RequestDigest::try_from(&bytes[..]).map_err(|_| DecodeError::Malformed { part: "digest" });
        Ok(match once {
            Once::Idempotency(Idempotency { key, digest: bytes }) => Self::Idempotency { key, digest: digest(bytes)? },
            Once::Session(Numbered { session, sequence, digest: bytes }) => {
                Self::Session { session: SessionId(session), sequence, digest: digest(bytes)? }
            }
        })
    }
}

impl TryFrom<Command> for api::Command {
    type Error = DecodeError;

    fn try_from(command: Command) -> Result<Self, DecodeError> {
        Ok(match command {
            Command::Put(Put { pairs }) => Self::Put(pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()),
            Command::Delete(Delete { keys }) => Self::Delete(keys),
            Command::Txn(Txn { conditions, then }) => Self::Txn {
                conditions: conditions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
                then: then.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            },
            Command::Add(Add { key, delta }) => Self::Add { key, delta },
            Command::SessionOpen(ttl) => Self::SessionOpen { ttl: Duration::from_nanos(ttl) },
            Command::SessionKeepAlive(session) => Self::SessionKeepAlive(SessionId(session)),
            Command::SessionClose(session) => Self::SessionClose(SessionId(session)),
            #[cfg(feature = "next-version")]
            Command::Rename(Rename { from, to }) => Self::Rename { from, to },
        })
    }
}

impl TryFrom<Condition> for api::Condition {
    type Error = DecodeError;

    fn try_from(condition: Condition) -> Result<Self, DecodeError> {
        let expect = match condition.expect.ok_or(DecodeError::Unknown)? {
            Expect::Absent(_) => api::Expect::Absent,
            Expect::Present(_) => api::Expect::Present,
            Expect::Created(revision) => api::Expect::Created(Revision(revision)),
            Expect::Modified(revision) => api::Expect::Modified(Revision(revision)),
            Expect::Version(version) => api::Expect::Version(version),
            Expect::Value(value) => api::Expect::Value(value),
        };
        Ok(Self { key: condition.key, expect })
    }
}

impl TryFrom<Step> for api::Operation {
    type Error = DecodeError;

    fn try_from(step: Step) -> Result<Self, DecodeError> {
        Ok(match step.kind.ok_or(DecodeError::Unknown)? {
            StepKind::Put(KeyValue { key, value }) => Self::Put { key, value },
            StepKind::Delete(key) => Self::Delete { key },
        })
    }
}

/// Nanoseconds of a span; 584 years is as good as for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(bool, tag = "3")]
    repeated: bool,
    #[prost(oneof = "Outcome", tags = "16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41")]
    outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, Message)]
struct Counts {
    #[prost(uint64, tag = "1")]
    put: u64,
    #[prost(uint64, tag = "2")]
    created: u64,
    #[prost(uint64, tag = "3")]
    deleted: u64,
}

/// Numbers below 32 are deeds, those from 32 on refusals.
#[derive(Clone, PartialEq, Oneof)]
enum Outcome {
    #[prost(message, tag = "16")]
    Put(Counts),
    #[prost(uint64, tag = "17")]
    Deleted(u64),
    #[prost(message, tag = "18")]
    Committed(Counts),
    #[prost(uint64, tag = "19")]
    NotHeld(u64),
    #[prost(sint64, tag = "20")]
    Added(i64),
    #[prost(uint64, tag = "21")]
    SessionOpened(u64),
    #[prost(bool, tag = "22")]
    SessionKept(bool),
    #[prost(bool, tag = "23")]
    SessionClosed(bool),
    #[prost(bool, tag = "32")]
    KeyReused(bool),
    #[prost(uint64, tag = "33")]
    TooManyKeys(u64),
    #[prost(uint64, tag = "34")]
    SessionGone(u64),
    #[prost(uint64, tag = "35")]
    SequenceOld(u64),
    #[prost(uint64, tag = "36")]
    SequenceGap(u64),
    #[prost(bool, tag = "37")]
    SequenceReused(bool),
    #[prost(bool, tag = "38")]
    SessionInSession(bool),
    #[prost(uint64, tag = "39")]
    TooManySessions(u64),
    #[prost(bool, tag = "40")]
    NotANumber(bool),
    #[prost(bool, tag = "41")]
    OutOfRange(bool),
}

impl From<&answer::Reply> for Reply {
    fn from(reply: &answer::Reply) -> Self {
        use answer::{Done, Refusal};
        let outcome = match &reply.result {
            Ok(Done::Put { keys, created }) => Outcome::Put(Counts { put: *keys, created: *created, deleted: 0 }),
            Ok(Done::Deleted { keys }) => Outcome::Deleted(*keys),
            Ok(Done::Committed { put, deleted }) => {
                Outcome::Committed(Counts { put: *put, created: 0, deleted: *deleted })
            }
            Ok(Done::NotHeld { condition }) => Outcome::NotHeld(*condition),
            Ok(Done::Added { value }) => Outcome::Added(*value),
            Ok(Done::SessionOpened(session)) => Outcome::SessionOpened(session.0),
            Ok(Done::SessionKept) => Outcome::SessionKept(true),
            Ok(Done::SessionClosed) => Outcome::SessionClosed(true),
            Err(Refusal::KeyReused) => Outcome::KeyReused(true),
            Err(Refusal::TooManyKeys { live }) => Outcome::TooManyKeys(*live),
            Err(Refusal::SessionGone { session }) => Outcome::SessionGone(session.0),
            Err(Refusal::SequenceOld { last }) => Outcome::SequenceOld(*last),
            Err(Refusal::SequenceGap { expected }) => Outcome::SequenceGap(*expected),
            Err(Refusal::SequenceReused) => Outcome::SequenceReused(true),
            Err(Refusal::SessionInSession) => Outcome::SessionInSession(true),
            Err(Refusal::TooManySessions { open }) => Outcome::TooManySessions(*open),
            Err(Refusal::NotANumber) => Outcome::NotANumber(true),
            Err(Refusal::OutOfRange) => Outcome::OutOfRange(true),
        };
        Self { index: reply.index.0, revision: reply.revision.0, repeated: reply.repeated, outcome: Some(outcome) }
    }
}

impl TryFrom<Reply> for answer::Reply {
    type Error = ReplyError;

    fn try_from(reply: Reply) -> Result<Self, ReplyError> {
        use answer::{Done, Refusal};
        let result = match reply.outcome.ok_or(ReplyError::Unknown)? {
            Outcome::Put(counts) => Ok(Done::Put { keys: counts.put, created: counts.created }),
            Outcome::Deleted(keys) => Ok(Done::Deleted { keys }),
            Outcome::Committed(counts) => Ok(Done::Committed { put: counts.put, deleted: counts.deleted }),
            Outcome::NotHeld(condition) => Ok(Done::NotHeld { condition }),
            Outcome::Added(value) => Ok(Done::Added { value }),
            Outcome::SessionOpened(session) => Ok(Done::SessionOpened(SessionId(session))),
            Outcome::SessionKept(_) => Ok(Done::SessionKept),
            Outcome::SessionClosed(_) => Ok(Done::SessionClosed),
            Outcome::KeyReused(_) => Err(Refusal::KeyReused),
            Outcome::TooManyKeys(live) => Err(Refusal::TooManyKeys { live }),
            Outcome::SessionGone(session) => Err(Refusal::SessionGone { session: SessionId(session) }),
            Outcome::SequenceOld(last) => Err(Refusal::SequenceOld { last }),
            Outcome::SequenceGap(expected) => Err(Refusal::SequenceGap { expected }),
            Outcome::SequenceReused(_) => Err(Refusal::SequenceReused),
            Outcome::SessionInSession(_) => Err(Refusal::SessionInSession),
            Outcome::TooManySessions(open) => Err(Refusal::TooManySessions { open }),
            Outcome::NotANumber(_) => Err(Refusal::NotANumber),
            Outcome::OutOfRange(_) => Err(Refusal::OutOfRange),
        };
        Ok(Self { index: Index(reply.index), revision: Revision(reply.revision), repeated: reply.repeated, result })
    }
}
