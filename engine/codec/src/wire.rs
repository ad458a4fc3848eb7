//! The protobuf messages, as `docs/wire.md` lists them. Private: nobody else sees these types.
//!
//! Every scalar is `optional`, so that "missing" differs from zero. Numbers of fields are never reused. An old node skips
//! fields it does not know; where skipping would be wrong, the version of the frame goes up.

use bytes::Bytes;

/// Body of a frame of kind 4.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Messages {
    #[prost(message, repeated, tag = "1")]
    pub(crate) messages: Vec<Message>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) traced: Vec<Traced>,
}

/// An entry among the messages whose way is followed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Traced {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) group: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) index: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) term: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) trace: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(crate) span: Option<Bytes>,
}

/// One Raft message of one group.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) group: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) term: Option<u64>,
    #[prost(oneof = "Body", tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 21, 22")]
    pub(crate) body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Body {
    #[prost(message, tag = "3")]
    RequestPreVote(Candidacy),
    #[prost(message, tag = "4")]
    PreVote(Ballot),
    #[prost(message, tag = "5")]
    RequestVote(Candidacy),
    #[prost(message, tag = "6")]
    Vote(Ballot),
    #[prost(message, tag = "7")]
    Append(Append),
    #[prost(message, tag = "8")]
    Appended(Appended),
    #[prost(message, tag = "9")]
    Diverged(Diverged),
    #[prost(message, tag = "10")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "11")]
    HeartbeatAck(HeartbeatAck),
    #[prost(message, tag = "12")]
    ReadIndex(ReadIndex),
    #[prost(message, tag = "13")]
    ReadIndexAck(ReadIndexAck),
    #[prost(message, tag = "14")]
    TimeoutNow(Empty),
    #[prost(message, tag = "15")]
    LogLost(LogLost),
    #[prost(message, tag = "16")]
    LogLostAck(LogLostAck),
    #[prost(message, tag = "20")]
    InstallSnapshot(InstallSnapshot),
    #[prost(message, tag = "21")]
    SnapshotInstalled(SnapshotInstalled),
    #[prost(message, tag = "22")]
    RequestSnapshot(Empty),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LogId {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) term: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) index: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Candidacy {
    #[prost(message, optional, tag = "1")]
    pub(crate) last: Option<LogId>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) transfer: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Ballot {
    #[prost(bool, optional, tag = "1")]
    pub(crate) granted: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Append {
    #[prost(message, optional, tag = "1")]
    pub(crate) previous: Option<LogId>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<Entry>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) committed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Appended {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) matched: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Diverged {
    #[prost(message, optional, tag = "1")]
    pub(crate) previous: Option<LogId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) hint: Option<LogId>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LogLost {
    #[prost(message, optional, tag = "1")]
    pub(crate) owed: Option<LogId>,
    #[prost(message, optional, tag = "2")]
    pub(crate) last: Option<LogId>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) token: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LogLostAck {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) token: Option<u64>,
    #[prost(message, optional, tag = "2")]
    pub(crate) end: Option<LogId>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Heartbeat {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) round: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) lease_nanos: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) committed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct HeartbeatAck {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) round: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) lease_nanos: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct ReadIndex {
    #[prost(fixed64, optional, tag = "1")]
    pub(crate) token: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct ReadIndexAck {
    #[prost(fixed64, optional, tag = "1")]
    pub(crate) token: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) index: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InstallSnapshot {
    #[prost(fixed64, optional, tag = "1")]
    pub(crate) snapshot: Option<u64>,
    #[prost(message, optional, tag = "2")]
    pub(crate) base: Option<Base>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SnapshotInstalled {
    #[prost(fixed64, optional, tag = "1")]
    pub(crate) snapshot: Option<u64>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) installed: Option<bool>,
}

/// Body of a frame of kind 5.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMessage {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) group: Option<u64>,
    #[prost(fixed64, optional, tag = "2")]
    pub(crate) snapshot: Option<u64>,
    #[prost(oneof = "SnapshotBody", tags = "3, 4, 5, 6")]
    pub(crate) body: Option<SnapshotBody>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum SnapshotBody {
    #[prost(message, tag = "3")]
    Fetch(Fetch),
    #[prost(message, tag = "4")]
    Chunk(Chunk),
    #[prost(message, tag = "5")]
    Gone(Empty),
    #[prost(message, tag = "6")]
    Done(Empty),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Fetch {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) cursor: Option<Bytes>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) bytes_max: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Chunk {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) cursor: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) bytes: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) next: Option<Bytes>,
}

/// A log entry: in an `Append`, and as a blob in the log on disk.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) term: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) index: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) time_nanos: Option<u64>,
    #[prost(oneof = "Payload", tags = "4, 5, 6")]
    pub(crate) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Payload {
    #[prost(message, tag = "4")]
    Empty(Empty),
    #[prost(bytes = "bytes", tag = "5")]
    Command(Bytes),
    #[prost(message, tag = "6")]
    Membership(Membership),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Membership {
    /// In ascending order of their ids, so that equal memberships are equal bytes.
    #[prost(message, repeated, tag = "1")]
    pub(crate) members: Vec<Member>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) last_id: Option<u64>,
    /// Missing for the first version, as is the next one.
    #[prost(uint32, optional, tag = "3")]
    pub(crate) version: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub(crate) used: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Member {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) id: Option<u64>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) voter: Option<bool>,
    #[prost(message, optional, tag = "3")]
    pub(crate) contact: Option<Contact>,
    #[prost(bool, optional, tag = "4")]
    pub(crate) outgoing: Option<bool>,
}

/// How a member is called and reached.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Contact {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) peer: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) client: Option<String>,
}

/// Term and vote, as a blob in the log on disk.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct State {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) term: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) vote: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(crate) owed: Option<LogId>,
}

/// What a log stands on, as a blob in the log on disk.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Base {
    #[prost(message, optional, tag = "1")]
    pub(crate) last: Option<LogId>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) time_nanos: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(crate) membership: Option<Membership>,
}

/// Body of a frame of kind 1.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Hello {
    #[prost(message, optional, tag = "1")]
    pub(crate) versions: Option<Versions>,
    /// 16 bytes, the most significant first.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) cluster: Option<Bytes>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) from: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub(crate) to: Option<u64>,
    #[prost(message, optional, tag = "5")]
    pub(crate) contact: Option<Contact>,
    #[prost(uint32, optional, tag = "6")]
    pub(crate) lane: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Versions {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) min: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) max: Option<u32>,
}

/// Body of a frame of kind 2.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Welcome {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) version: Option<u32>,
}

/// Body of a frame of kind 3.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Refused {
    #[prost(oneof = "Refusal", tags = "1, 2, 3, 4, 5")]
    pub(crate) refusal: Option<Refusal>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Refusal {
    #[prost(message, tag = "1")]
    Version(Versions),
    #[prost(bytes = "bytes", tag = "2")]
    Cluster(Bytes),
    #[prost(uint64, tag = "3")]
    Node(u64),
    #[prost(message, tag = "4")]
    Removed(Empty),
    #[prost(message, tag = "5")]
    NotReady(Empty),
}
