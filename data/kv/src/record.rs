//! How the state lies in the store: the maps and what their values hold. `docs/keys.md` gives the layout.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use hezong_base::{LogId, NodeId};
use hezong_raft::{Base, Member, Membership, Version};
use hezong_store::{Map, Store, StoreError};
use prost::Message;

use crate::wire::nanos;
use crate::{KeyValue, KvError, Revision};

/// The maps of one state machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    /// Key → revisions and value.
    pub(crate) keys: Map,
    /// Idempotency key → what was asked, what came of it and when.
    pub(crate) once: Map,
    /// Log time, index → idempotency key: in which order they are forgotten.
    pub(crate) once_order: Map,
    /// Session → its life and its last request.
    pub(crate) sessions: Map,
    /// Log time, session → nothing: when to look whether it has expired.
    pub(crate) sessions_order: Map,
    /// What there is one of: [`StateRecord`] and [`MembershipRecord`].
    pub(crate) meta: Map,
}

/// Where the [`StateRecord`] lies.
pub(crate) const STATE: &[u8] = b"state";
/// Where the [`MembershipRecord`] lies.
pub(crate) const MEMBERSHIP: &[u8] = b"membership";

impl Maps {
    /// Those of one generation; the first has the plain names.
    pub(crate) fn open<S: Store>(store: &S, name: &str, generation: u64) -> Result<Self, StoreError> {
        let map = |suffix| match generation {
            0 => store.map(&format!("{name}.{suffix}")),
            generation => store.map(&format!("{name}@{generation}.{suffix}")),
        };
        Ok(Self {
            keys: map("keys")?,
            once: map("once")?,
            once_order: map("once_order")?,
            sessions: map("sessions")?,
            sessions_order: map("sessions_order")?,
            meta: map("meta")?,
        })
    }

    /// All of them, in the order by which snapshots number them.
    pub(crate) fn all(&self) -> [Map; 6] {
        let Self { keys, once, once_order, sessions, sessions_order, meta } = *self;
        [meta, keys, once, once_order, sessions, sessions_order]
    }
}

/// Which generations of a state there are.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Generations {
    /// The one that is read and applied to.
    #[prost(uint64, tag = "1")]
    pub(crate) current: u64,
    /// The one being built.
    #[prost(uint64, optional, tag = "2")]
    pub(crate) staging: Option<u64>,
    /// The number the next one gets; none is given twice.
    #[prost(uint64, tag = "3")]
    pub(crate) next: u64,
    /// Those to be removed.
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) garbage: Vec<u64>,
    /// The snapshot that is being built from.
    #[prost(fixed64, tag = "5")]
    pub(crate) snapshot: u64,
    /// Where its next chunk begins; `None` for the first.
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub(crate) cursor: Option<Bytes>,
    /// Whether all its chunks are here.
    #[prost(bool, tag = "7")]
    pub(crate) whole: bool,
}

/// The format of what lies in the store, and the newest this version reads.
pub(crate) const STORED_FORMAT: u32 = 1;

/// What every batch changes: how far the state is, and its counters.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StateRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// Term and index of the last entry applied.
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
    /// Log time of that entry, in nanoseconds.
    #[prost(uint64, tag = "4")]
    pub(crate) time: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) revision: u64,
    /// Live keys.
    #[prost(uint64, tag = "6")]
    pub(crate) keys: u64,
    /// Idempotency keys remembered, and the bytes they count for.
    #[prost(uint64, tag = "7")]
    pub(crate) once: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) once_bytes: u64,
    /// Sessions open.
    #[prost(uint64, tag = "9")]
    pub(crate) sessions: u64,
    /// Nothing in `once_order` lies before this time; `None` when nothing lies there. A sweep starts here, so that it
    /// does not walk over what earlier sweeps removed.
    #[prost(uint64, optional, tag = "10")]
    pub(crate) once_first: Option<u64>,
    /// The same of `sessions_order`.
    #[prost(uint64, optional, tag = "11")]
    pub(crate) sessions_first: Option<u64>,
    /// Whether the state came whole, by a snapshot, and nothing was applied to it since.
    #[prost(bool, tag = "12")]
    pub(crate) installed: bool,
}

impl StateRecord {
    /// The last entry applied.
    pub(crate) fn last(&self) -> LogId {
        LogId::new(self.term, self.index)
    }

    pub(crate) fn base(&self, membership: &Membership) -> Base {
        Base { last: Some(self.last()), time: Duration::from_nanos(self.time), membership: membership.clone() }
    }
}

/// The members as of the last membership entry applied.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MembershipRecord {
    #[prost(uint64, repeated, tag = "1")]
    voters: Vec<u64>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<MemberRecord>,
    #[prost(uint64, optional, tag = "3")]
    last_id: Option<u64>,
    /// Empty unless the membership is joint.
    #[prost(uint64, repeated, tag = "4")]
    outgoing: Vec<u64>,
    /// Missing for the first version, as is the next one.
    #[prost(uint32, optional, tag = "5")]
    version: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    used: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct MemberRecord {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    peer: String,
    #[prost(string, tag = "4")]
    client: String,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        let member = |(id, member): (&NodeId, &Member)| MemberRecord {
            id: id.0,
            name: member.name.clone(),
            peer: member.peer.clone(),
            client: member.client.clone(),
        };
        Self {
            voters: membership.voters().iter().map(|id| id.0).collect(),
            members: membership.members().iter().map(member).collect(),
            last_id: membership.last_id().map(|id| id.0),
            outgoing: membership.outgoing().iter().map(|id| id.0).collect(),
            version: later(membership.version()),
            used: later(membership.used()),
        }
    }
}

impl From<MembershipRecord> for Membership {
    fn from(record: MembershipRecord) -> Self {
        let voters: BTreeSet<_> = record.voters.into_iter().map(NodeId).collect();
        let members: BTreeMap<_, _> = record
            .members
            .into_iter()
            .map(|MemberRecord { id, name, peer, client }| (NodeId(id), Member { name, peer, client }))
            .collect();
        let outgoing = record.outgoing.into_iter().map(NodeId).collect();
        // A number over 255 is no version that was ever written.
        let version = |found: Option<u32>| found.and_then(|v| u8::try_from(v).ok()).map_or(Version::default(), Version);
        Self::new(voters, members, record.last_id.map(NodeId))
            .with_outgoing(outgoing)
            .with_versions(version(record.version), version(record.used))
    }
}

/// A version as it is written down.
fn later(version: Version) -> Option<u32> {
    (version > Version::default()).then(|| version.0.into())
}

/// What is remembered of an idempotency key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OnceRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) digest: Bytes,
    /// The encoded [`Reply`](crate::Reply) of the first request.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) reply: Bytes,
    /// Log time of the first request, in nanoseconds.
    #[prost(uint64, tag = "3")]
    pub(crate) first: u64,
    /// Its index.
    #[prost(uint64, tag = "4")]
    pub(crate) index: u64,
}

/// What is known of a session.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionRecord {
    /// How long it lives unused, in nanoseconds of log time.
    #[prost(uint64, tag = "1")]
    pub(crate) ttl: u64,
    /// Log time of its last use.
    #[prost(uint64, tag = "2")]
    pub(crate) used: u64,
    /// Where it stands in `sessions_order`. At most when it expires: uses do not move it, the sweep does.
    #[prost(uint64, tag = "3")]
    pub(crate) due: u64,
    /// The last numbered request; `None` before the first.
    #[prost(message, optional, tag = "4")]
    pub(crate) last: Option<LastRecord>,
}

impl SessionRecord {
    /// The last log time at which it is alive.
    pub(crate) fn expires(&self) -> u64 {
        self.used.saturating_add(self.ttl)
    }
}

/// The last numbered request of a session.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LastRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) digest: Bytes,
    /// Its encoded [`Reply`](crate::Reply).
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) reply: Bytes,
}

/// A key in one of the order maps: a time and a number, so that they sort by time.
pub(crate) fn order(time: u64, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&time.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Reads [`order`] back.
pub(crate) fn order_parts(key: &[u8]) -> Result<(u64, u64), KvError> {
    let (time, number) = key.split_first_chunk().ok_or(KvError::Corrupt { what: "an order key" })?;
    let number = number.try_into().map_err(|_| KvError::Corrupt { what: "an order key" })?;
    Ok((u64::from_be_bytes(*time), u64::from_be_bytes(number)))
}

/// The first byte of a stored value: its layout.
const VALUE_LAYOUT: u8 = 1;
/// The layout, three revisions of 8 bytes each, then the value.
const VALUE_HEAD: usize = 1 + 3 * 8;

/// A key's revisions and value, as they lie in the store.
pub(crate) fn encode_value(created: Revision, modified: Revision, version: u64, value: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(VALUE_HEAD + value.len());
    bytes.put_u8(VALUE_LAYOUT);
    bytes.put_u64_le(created.0);
    bytes.put_u64_le(modified.0);
    bytes.put_u64_le(version);
    bytes.put_slice(value);
    bytes.freeze()
}

/// Reads [`encode_value`] back, sharing the memory of `stored`.
pub(crate) fn decode_value(key: Bytes, stored: &Bytes) -> Result<KeyValue, KvError> {
    let corrupt = || KvError::Corrupt { what: "a value" };
    let number = |at: usize| {
        let bytes = stored.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).ok_or_else(corrupt)?;
        Ok::<_, KvError>(u64::from_le_bytes(bytes))
    };
    if stored.first() != Some(&VALUE_LAYOUT) {
        return Err(corrupt());
    }
    Ok(KeyValue {
        key,
        created: Revision(number(1)?),
        modified: Revision(number(9)?),
        version: number(17)?,
        value: stored.slice(VALUE_HEAD..),
    })
}

/// Reads a protobuf record.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, KvError> {
    M::decode(bytes).map_err(|_| KvError::Corrupt { what })
}

/// Log time in the unit of the records.
pub(crate) fn log_time(time: Duration) -> u64 {
    nanos(time)
}
