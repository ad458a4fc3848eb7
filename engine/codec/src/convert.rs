//! Between the protocol's types and the protobuf messages. Encoding cannot fail; decoding names the field that is wrong.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hezong_base::{GroupId, Index, LogId, NodeId, Term};
use hezong_raft::{Base, Body, Entry, Member, Membership, Message, Payload, SnapshotId, Version, Write};

use crate::handshake::{ClusterId, Hello, Lane, Refusal, Versions, Welcome};
use crate::{DecodeError, SnapshotBody, SnapshotMessage, wire};

/// From this size on a payload stays a slice of the buffer it arrived in. Below it is copied: a slice of 16 bytes would
/// keep a frame of a megabyte in memory for as long as the entry is cached.
pub const SLICE_BYTES_MIN: usize = 4_096;

type Result<T> = core::result::Result<T, DecodeError>;

fn need<T>(value: Option<T>, field: &'static str) -> Result<T> {
    value.ok_or(DecodeError::Missing { field })
}

fn invalid<T>(field: &'static str, problem: &'static str) -> Result<T> {
    Err(DecodeError::Invalid { field, problem })
}

fn own(bytes: Bytes) -> Bytes {
    if bytes.len() < SLICE_BYTES_MIN { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// Places in a log count from 1; a zero is a peer's "none" in disguise.
fn index(value: u64, field: &'static str) -> Result<Index> {
    if value == 0 { invalid(field, "is zero, but logs begin at 1") } else { Ok(Index(value)) }
}

fn index_opt(value: Option<u64>, field: &'static str) -> Result<Option<Index>> {
    value.map(|value| index(value, field)).transpose()
}

/// 584 years fit; longer spans are cut to that.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl From<LogId> for wire::LogId {
    fn from(id: LogId) -> Self {
        Self { term: Some(id.term.0), index: Some(id.index.0) }
    }
}

fn log_id(id: wire::LogId) -> Result<LogId> {
    let term = Term(need(id.term, "log_id.term")?);
    Ok(LogId { term, index: index(need(id.index, "log_id.index")?, "log_id.index")? })
}

fn log_id_opt(id: Option<wire::LogId>) -> Result<Option<LogId>> {
    id.map(log_id).transpose()
}

impl From<&Member> for wire::Contact {
    fn from(member: &Member) -> Self {
        Self { name: Some(member.name.clone()), peer: Some(member.peer.clone()), client: Some(member.client.clone()) }
    }
}

fn member(contact: wire::Contact) -> Result<Member> {
    Ok(Member {
        name: need(contact.name, "contact.name")?,
        peer: need(contact.peer, "contact.peer")?,
        client: need(contact.client, "contact.client")?,
    })
}

impl From<&Membership> for wire::Membership {
    fn from(membership: &Membership) -> Self {
        let member = |(id, member): (&NodeId, &Member)| wire::Member {
            id: Some(id.0),
            voter: Some(membership.voters().contains(id)),
            contact: Some(member.into()),
            outgoing: membership.outgoing().contains(id).then_some(true),
        };
        let members = membership.members().iter().map(member).collect();
        let later = |version: Version| (version > Version::default()).then(|| version.0.into());
        let (version, used) = (later(membership.version()), later(membership.used()));
        Self { members, last_id: membership.last_id().map(|id| id.0), version, used }
    }
}

/// A version of the cluster; a missing one is the first.
fn later(value: Option<u32>, field: &'static str) -> Result<Version> {
    match value.map(|value| version(Some(value), field)).transpose()? {
        Some(0) => invalid(field, "is zero, but versions begin at 1"),
        found => Ok(found.map_or(Version::default(), Version)),
    }
}

fn membership(from: wire::Membership) -> Result<Membership> {
    let (mut voters, mut outgoing) = (BTreeSet::new(), BTreeSet::new());
    let mut members = BTreeMap::new();
    for found in from.members {
        let id = NodeId(need(found.id, "member.id")?);
        if members.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return invalid("membership.members", "are not in ascending order of their ids");
        }
        if need(found.voter, "member.voter")? {
            voters.insert(id);
        }
        if found.outgoing.unwrap_or(false) {
            outgoing.insert(id);
        }
        members.insert(id, member(need(found.contact, "member.contact")?)?);
    }
    let last_id = from.last_id.map(NodeId);
    if last_id < members.last_key_value().map(|(id, _)| *id) {
        return invalid("membership.last_id", "is below the id of a member");
    }
    let agreed = later(from.version, "membership.version")?;
    let used = later(from.used, "membership.used")?;
    Ok(Membership::new(voters, members, last_id).with_outgoing(outgoing).with_versions(agreed, used))
}

impl From<&Entry> for wire::Entry {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            Payload::Empty => wire::Payload::Empty(wire::Empty {}),
            Payload::Command(command) => wire::Payload::Command(command.clone()),
            Payload::Membership(membership) => wire::Payload::Membership(membership.into()),
        };
        Self {
            term: Some(entry.id.term.0),
            index: Some(entry.id.index.0),
            time_nanos: Some(nanos(entry.time)),
            payload: Some(payload),
        }
    }
}

pub(crate) fn entry(from: wire::Entry) -> Result<Entry> {
    let term = Term(need(from.term, "entry.term")?);
    let index = index(need(from.index, "entry.index")?, "entry.index")?;
    let payload = match need(from.payload, "entry.payload")? {
        wire::Payload::Empty(wire::Empty {}) => Payload::Empty,
        wire::Payload::Command(command) => Payload::Command(own(command)),
        wire::Payload::Membership(members) => Payload::Membership(membership(members)?),
    };
    let time = Duration::from_nanos(need(from.time_nanos, "entry.time_nanos")?);
    Ok(Entry { id: LogId { term, index }, time, payload })
}

impl From<&Base> for wire::Base {
    fn from(base: &Base) -> Self {
        Self {
            last: base.last.map(Into::into),
            time_nanos: Some(nanos(base.time)),
            membership: Some((&base.membership).into()),
        }
    }
}

pub(crate) fn base(from: wire::Base) -> Result<Base> {
    Ok(Base {
        last: log_id_opt(from.last)?,
        time: Duration::from_nanos(need(from.time_nanos, "base.time_nanos")?),
        membership: membership(need(from.membership, "base.membership")?)?,
    })
}

pub(crate) fn state(from: wire::State) -> Result<Write> {
    let (term, vote) = (Term(need(from.term, "state.term")?), from.vote.map(NodeId));
    Ok(Write::Vote { term, vote, owed: log_id_opt(from.owed)? })
}

impl From<&Body> for wire::Body {
    fn from(body: &Body) -> Self {
        let candidacy = |last: &Option<LogId>, transfer: &bool| wire::Candidacy {
            last: last.map(Into::into),
            transfer: transfer.then_some(true),
        };
        let ballot = |granted: &bool| wire::Ballot { granted: Some(*granted) };
        match body {
            Body::RequestPreVote { last } => Self::RequestPreVote(candidacy(last, &false)),
            Body::PreVote { granted } => Self::PreVote(ballot(granted)),
            Body::RequestVote { last, transfer } => Self::RequestVote(candidacy(last, transfer)),
            Body::Vote { granted } => Self::Vote(ballot(granted)),
            Body::Append { previous, entries, committed } => Self::Append(wire::Append {
                previous: previous.map(Into::into),
                entries: entries.iter().map(Into::into).collect(),
                committed: committed.map(|index| index.0),
            }),
            Body::Appended { matched } => Self::Appended(wire::Appended { matched: matched.map(|index| index.0) }),
            Body::Diverged { previous, hint } => {
                Self::Diverged(wire::Diverged { previous: Some((*previous).into()), hint: hint.map(Into::into) })
            }
            Body::LogLost { owed, last, token } => Self::LogLost(wire::LogLost {
                owed: Some((*owed).into()),
                last: last.map(Into::into),
                token: Some(*token),
            }),
            Body::LogLostAck { token, end } => {
                Self::LogLostAck(wire::LogLostAck { token: Some(*token), end: Some((*end).into()) })
            }
            Body::Heartbeat { round, lease, committed } => Self::Heartbeat(wire::Heartbeat {
                round: Some(*round),
                lease_nanos: Some(nanos(*lease)),
                committed: committed.map(|index| index.0),
            }),
            Body::HeartbeatAck { round, lease } => {
                Self::HeartbeatAck(wire::HeartbeatAck { round: Some(*round), lease_nanos: Some(nanos(*lease)) })
            }
            Body::ReadIndex { token } => Self::ReadIndex(wire::ReadIndex { token: Some(*token) }),
            Body::ReadIndexAck { token, index } => {
                Self::ReadIndexAck(wire::ReadIndexAck { token: Some(*token), index: index.map(|index| index.0) })
            }
            Body::InstallSnapshot { id, base } => {
                Self::InstallSnapshot(wire::InstallSnapshot { snapshot: Some(id.0), base: Some(base.into()) })
            }
            Body::SnapshotInstalled { id, installed } => {
                Self::SnapshotInstalled(wire::SnapshotInstalled { snapshot: Some(id.0), installed: Some(*installed) })
            }
            Body::RequestSnapshot => Self::RequestSnapshot(wire::Empty {}),
            Body::TimeoutNow => Self::TimeoutNow(wire::Empty {}),
        }
    }
}

fn body(from: wire::Body) -> Result<Body> {
    Ok(match from {
        wire::Body::RequestPreVote(from) => Body::RequestPreVote { last: log_id_opt(from.last)? },
        wire::Body::PreVote(from) => Body::PreVote { granted: need(from.granted, "pre_vote.granted")? },
        wire::Body::RequestVote(from) => {
            Body::RequestVote { last: log_id_opt(from.last)?, transfer: from.transfer.unwrap_or(false) }
        }
        wire::Body::Vote(from) => Body::Vote { granted: need(from.granted, "vote.granted")? },
        wire::Body::Append(from) => Body::Append {
            previous: log_id_opt(from.previous)?,
            entries: from.entries.into_iter().map(entry).collect::<Result<_>>()?,
            committed: index_opt(from.committed, "append.committed")?,
        },
        wire::Body::Appended(from) => Body::Appended { matched: index_opt(from.matched, "appended.matched")? },
        wire::Body::Diverged(from) => Body::Diverged {
            previous: log_id(need(from.previous, "diverged.previous")?)?,
            hint: log_id_opt(from.hint)?,
        },
        wire::Body::LogLost(from) => Body::LogLost {
            owed: log_id(need(from.owed, "log_lost.owed")?)?,
            last: log_id_opt(from.last)?,
            token: need(from.token, "log_lost.token")?,
        },
        wire::Body::LogLostAck(from) => Body::LogLostAck {
            token: need(from.token, "log_lost_ack.token")?,
            end: log_id(need(from.end, "log_lost_ack.end")?)?,
        },
        wire::Body::Heartbeat(from) => Body::Heartbeat {
            round: need(from.round, "heartbeat.round")?,
            lease: Duration::from_nanos(need(from.lease_nanos, "heartbeat.lease_nanos")?),
            committed: index_opt(from.committed, "heartbeat.committed")?,
        },
        wire::Body::HeartbeatAck(from) => Body::HeartbeatAck {
            round: need(from.round, "heartbeat_ack.round")?,
            lease: Duration::from_nanos(need(from.lease_nanos, "heartbeat_ack.lease_nanos")?),
        },
        wire::Body::ReadIndex(from) => Body::ReadIndex { token: need(from.token, "read_index.token")? },
        wire::Body::ReadIndexAck(from) => Body::ReadIndexAck {
            token: need(from.token, "read_index_ack.token")?,
            index: index_opt(from.index, "read_index_ack.index")?,
        },
        wire::Body::InstallSnapshot(from) => Body::InstallSnapshot {
            id: SnapshotId(need(from.snapshot, "install_snapshot.snapshot")?),
            base: base(need(from.base, "install_snapshot.base")?)?,
        },
        wire::Body::SnapshotInstalled(from) => Body::SnapshotInstalled {
            id: SnapshotId(need(from.snapshot, "snapshot_installed.snapshot")?),
            installed: need(from.installed, "snapshot_installed.installed")?,
        },
        wire::Body::RequestSnapshot(wire::Empty {}) => Body::RequestSnapshot,
        wire::Body::TimeoutNow(wire::Empty {}) => Body::TimeoutNow,
    })
}

pub(crate) fn to_wire_message(group: GroupId, message: &Message) -> wire::Message {
    wire::Message { group: Some(group.0), term: Some(message.term.0), body: Some((&message.body).into()) }
}

pub(crate) fn message(from: wire::Message) -> Result<(GroupId, Message)> {
    let group = GroupId(need(from.group, "message.group")?);
    let term = Term(need(from.term, "message.term")?);
    Ok((group, Message { term, body: body(need(from.body, "message.body")?)? }))
}

impl From<&SnapshotMessage> for wire::SnapshotMessage {
    fn from(message: &SnapshotMessage) -> Self {
        let body = match &message.body {
            SnapshotBody::Fetch { cursor, bytes_max } => {
                wire::SnapshotBody::Fetch(wire::Fetch { cursor: cursor.clone(), bytes_max: Some(*bytes_max) })
            }
            SnapshotBody::Chunk { cursor, bytes, next } => wire::SnapshotBody::Chunk(wire::Chunk {
                cursor: cursor.clone(),
                bytes: Some(bytes.clone()),
                next: next.clone(),
            }),
            SnapshotBody::Gone => wire::SnapshotBody::Gone(wire::Empty {}),
            SnapshotBody::Done => wire::SnapshotBody::Done(wire::Empty {}),
        };
        Self { group: Some(message.group.0), snapshot: Some(message.snapshot.0), body: Some(body) }
    }
}

pub(crate) fn snapshot(from: wire::SnapshotMessage) -> Result<SnapshotMessage> {
    Ok(SnapshotMessage {
        group: GroupId(need(from.group, "snapshot_message.group")?),
        snapshot: SnapshotId(need(from.snapshot, "snapshot_message.snapshot")?),
        body: match need(from.body, "snapshot_message.body")? {
            wire::SnapshotBody::Fetch(from) => {
                SnapshotBody::Fetch { cursor: from.cursor, bytes_max: need(from.bytes_max, "fetch.bytes_max")? }
            }
            wire::SnapshotBody::Chunk(from) => {
                SnapshotBody::Chunk { cursor: from.cursor, bytes: need(from.bytes, "chunk.bytes")?, next: from.next }
            }
            wire::SnapshotBody::Gone(wire::Empty {}) => SnapshotBody::Gone,
            wire::SnapshotBody::Done(wire::Empty {}) => SnapshotBody::Done,
        },
    })
}

impl From<Versions> for wire::Versions {
    fn from(versions: Versions) -> Self {
        Self { min: Some(versions.min.into()), max: Some(versions.max.into()) }
    }
}

fn version(value: Option<u32>, field: &'static str) -> Result<u8> {
    u8::try_from(need(value, field)?).or_else(|_| invalid(field, "is over 255"))
}

fn versions(from: wire::Versions) -> Result<Versions> {
    Ok(Versions { min: version(from.min, "versions.min")?, max: version(from.max, "versions.max")? })
}

fn cluster_bytes(cluster: ClusterId) -> Bytes {
    Bytes::copy_from_slice(&cluster.0.to_be_bytes())
}

fn cluster(from: &[u8]) -> Result<ClusterId> {
    let bytes = from.try_into().or_else(|_| invalid("cluster", "is not 16 bytes"))?;
    Ok(ClusterId(u128::from_be_bytes(bytes)))
}

impl From<&Hello> for wire::Hello {
    fn from(hello: &Hello) -> Self {
        Self {
            versions: Some(hello.versions.into()),
            cluster: Some(cluster_bytes(hello.cluster)),
            from: Some(hello.from.0),
            to: Some(hello.to.0),
            contact: hello.member.as_ref().map(Into::into),
            lane: Some(match hello.lane {
                Lane::Messages => 0,
                Lane::Snapshots => 1,
            }),
        }
    }
}

pub(crate) fn hello(from: wire::Hello) -> Result<Hello> {
    Ok(Hello {
        versions: versions(need(from.versions, "hello.versions")?)?,
        cluster: cluster(&need(from.cluster, "hello.cluster")?)?,
        from: NodeId(need(from.from, "hello.from")?),
        to: NodeId(need(from.to, "hello.to")?),
        lane: match need(from.lane, "hello.lane")? {
            0 => Lane::Messages,
            1 => Lane::Snapshots,
            _ => return invalid("hello.lane", "is none of 0 and 1"),
        },
        member: from.contact.map(member).transpose()?,
    })
}

impl From<Welcome> for wire::Welcome {
    fn from(welcome: Welcome) -> Self {
        Self { version: Some(welcome.version.into()) }
    }
}

pub(crate) fn welcome(from: wire::Welcome) -> Result<Welcome> {
    Ok(Welcome { version: version(from.version, "welcome.version")? })
}

impl From<&Refusal> for wire::Refused {
    fn from(refusal: &Refusal) -> Self {
        Self {
            refusal: Some(match refusal {
                Refusal::Version(versions) => wire::Refusal::Version((*versions).into()),
                Refusal::Cluster(cluster) => wire::Refusal::Cluster(cluster_bytes(*cluster)),
                Refusal::Node(id) => wire::Refusal::Node(id.0),
                Refusal::Removed => wire::Refusal::Removed(wire::Empty {}),
                Refusal::NotReady => wire::Refusal::NotReady(wire::Empty {}),
            }),
        }
    }
}

pub(crate) fn refusal(from: wire::Refused) -> Result<Refusal> {
    Ok(match need(from.refusal, "refused.refusal")? {
        wire::Refusal::Version(from) => Refusal::Version(versions(from)?),
        wire::Refusal::Cluster(from) => Refusal::Cluster(cluster(&from)?),
        wire::Refusal::Node(id) => Refusal::Node(NodeId(id)),
        wire::Refusal::Removed(wire::Empty {}) => Refusal::Removed,
        wire::Refusal::NotReady(wire::Empty {}) => Refusal::NotReady,
    })
}
