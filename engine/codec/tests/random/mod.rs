//! Random values of everything that has an encoding, edges preferred.
#![allow(dead_code, reason = "each test file uses its share")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{GroupId, Index, LogId, NodeId, Rng, Term};
use hezong_codec::{
    ClusterId, Frame, Hello, Lane, Refusal, SnapshotBody, SnapshotMessage, TraceContext, TracedEntry, Versions, Welcome,
};
use hezong_raft::{Base, Body, Entry, Member, Membership, Message, Payload, SnapshotId, Version, Write};

/// Edges of the varint's lengths and of its range, and anything.
pub(crate) fn number(rng: &mut Rng) -> u64 {
    match rng.below(6) {
        0 => rng.below(3),
        1 => u64::MAX - rng.below(3),
        2 => (1 << (7 * (1 + rng.below(9)))) - rng.below(2),
        3 => rng.below(300),
        _ => rng.next_u64(),
    }
}

fn byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

fn option<T>(rng: &mut Rng, value: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.chance(700).then(|| value(rng))
}

fn index(rng: &mut Rng) -> Index {
    Index(number(rng).max(1))
}

fn log_id(rng: &mut Rng) -> LogId {
    LogId { term: Term(number(rng)), index: index(rng) }
}

fn span(rng: &mut Rng) -> Duration {
    Duration::from_nanos(number(rng))
}

pub(crate) fn blob(rng: &mut Rng) -> Bytes {
    let len = match rng.below(10) {
        0 => 0,
        1 => 4_090 + rng.below(10),
        _ => rng.below(64),
    };
    (0..len).map(|_| byte(rng.next_u64())).collect()
}

fn text(rng: &mut Rng) -> String {
    let len = rng.below(12);
    (0..len).map(|_| *['a', '0', ':', '.', '合', '纵', '\0'].get(rng.below(7) as usize).unwrap()).collect()
}

fn member(rng: &mut Rng) -> Member {
    Member { name: text(rng), peer: text(rng), client: text(rng) }
}

fn membership(rng: &mut Rng) -> Membership {
    let members: BTreeMap<_, _> = (0..rng.below(5)).map(|_| (NodeId(number(rng)), member(rng))).collect();
    let voters: BTreeSet<_> = members.keys().copied().filter(|_| rng.chance(700)).collect();
    let outgoing: BTreeSet<_> = members.keys().copied().filter(|_| rng.chance(300)).collect();
    let last_id = option(rng, |rng| NodeId(number(rng)));
    let versions = [Version(1 + rng.below(255) as u8), Version(1 + rng.below(255) as u8)];
    Membership::new(voters, members, last_id).with_outgoing(outgoing).with_versions(versions[0], versions[1])
}

fn payload(rng: &mut Rng) -> Payload {
    match rng.below(6) {
        0 => Payload::Empty,
        1 => Payload::Membership(membership(rng)),
        _ => Payload::Command(blob(rng)),
    }
}

pub(crate) fn entry(rng: &mut Rng) -> Entry {
    Entry { id: log_id(rng), time: span(rng), payload: payload(rng) }
}

pub(crate) fn base(rng: &mut Rng) -> Base {
    Base { last: option(rng, log_id), time: span(rng), membership: membership(rng) }
}

pub(crate) fn write(rng: &mut Rng) -> Write {
    match rng.below(5) {
        0 => Write::Vote {
            term: Term(number(rng)),
            vote: option(rng, |rng| NodeId(number(rng))),
            owed: option(rng, log_id),
        },
        1 => {
            let first = number(rng).clamp(1, u64::MAX - 10);
            let mut entries: Vec<_> = (0..1 + rng.below(8)).map(|_| entry(rng)).collect();
            for (entry, index) in entries.iter_mut().zip(first..) {
                entry.id.index = Index(index);
            }
            Write::Append(entries.into())
        }
        2 => Write::Truncate(index(rng)),
        3 => Write::Compact(Base { last: Some(log_id(rng)), ..base(rng) }),
        _ => Write::Reset(base(rng)),
    }
}

pub(crate) fn message(rng: &mut Rng) -> (GroupId, Message) {
    let body = match rng.below(17) {
        0 => Body::RequestPreVote { last: option(rng, log_id) },
        1 => Body::PreVote { granted: rng.chance(500) },
        2 => Body::RequestVote { last: option(rng, log_id), transfer: rng.chance(500) },
        3 => Body::Vote { granted: rng.chance(500) },
        4 => Body::Append {
            previous: option(rng, log_id),
            entries: (0..rng.below(6)).map(|_| entry(rng)).collect(),
            committed: option(rng, index),
        },
        5 => Body::Appended { matched: option(rng, index) },
        6 => Body::Diverged { previous: log_id(rng), hint: option(rng, log_id) },
        7 => Body::Heartbeat { round: number(rng), lease: span(rng), committed: option(rng, index) },
        8 => Body::HeartbeatAck { round: number(rng), lease: span(rng) },
        9 => Body::ReadIndex { token: number(rng) },
        10 => Body::InstallSnapshot { id: SnapshotId(number(rng)), base: base(rng) },
        11 => Body::SnapshotInstalled { id: SnapshotId(number(rng)), installed: rng.chance(500) },
        12 => Body::RequestSnapshot,
        13 => Body::TimeoutNow,
        14 => Body::LogLost { owed: log_id(rng), last: option(rng, log_id), token: number(rng) },
        15 => Body::LogLostAck { token: number(rng), end: log_id(rng) },
        _ => Body::ReadIndexAck { token: number(rng), index: option(rng, index) },
    };
    (GroupId(number(rng)), Message { term: Term(number(rng)), body })
}

pub(crate) fn messages(rng: &mut Rng) -> Vec<(GroupId, Message)> {
    (0..1 + rng.below(6)).map(|_| message(rng)).collect()
}

fn versions(rng: &mut Rng) -> Versions {
    Versions { min: byte(rng.next_u64()), max: byte(rng.next_u64()) }
}

fn cluster(rng: &mut Rng) -> ClusterId {
    ClusterId(u128::from(number(rng)) << 64 | u128::from(number(rng)))
}

fn snapshot(rng: &mut Rng) -> SnapshotMessage {
    let body = match rng.below(4) {
        0 => SnapshotBody::Fetch { cursor: option(rng, blob), bytes_max: number(rng) },
        1 => SnapshotBody::Chunk { cursor: option(rng, blob), bytes: blob(rng), next: option(rng, blob) },
        2 => SnapshotBody::Gone,
        _ => SnapshotBody::Done,
    };
    SnapshotMessage { group: GroupId(number(rng)), snapshot: SnapshotId(number(rng)), body }
}

pub(crate) fn frame(rng: &mut Rng) -> Frame {
    match rng.below(9) {
        0 => Frame::Hello(Hello {
            versions: versions(rng),
            cluster: cluster(rng),
            from: NodeId(number(rng)),
            to: NodeId(number(rng)),
            lane: if rng.chance(500) { Lane::Messages } else { Lane::Snapshots },
            member: option(rng, member),
        }),
        1 => Frame::Welcome(Welcome { version: byte(rng.next_u64()) }),
        2 => Frame::Refused(match rng.below(5) {
            0 => Refusal::Version(versions(rng)),
            1 => Refusal::Cluster(cluster(rng)),
            2 => Refusal::Node(NodeId(number(rng))),
            3 => Refusal::Removed,
            _ => Refusal::NotReady,
        }),
        3 => Frame::Snapshot(snapshot(rng)),
        _ => {
            let context = |rng: &mut Rng| TraceContext {
                trace: (number(rng).max(1) as u128 | 1).to_le_bytes(),
                span: (number(rng) | 1).to_le_bytes(),
            };
            let entry = |rng: &mut Rng| TracedEntry {
                group: GroupId(number(rng)),
                id: LogId::new(number(rng), number(rng)),
                context: context(rng),
            };
            Frame::Messages(messages(rng), (0..rng.below(3)).map(|_| entry(rng)).collect())
        }
    }
}

/// The frame as bytes, by the function that production uses for its kind.
pub(crate) fn encode(frame: &Frame, out: &mut bytes::BytesMut) {
    use hezong_codec::{FRAME_BYTES_MAX, frame};
    match frame {
        Frame::Hello(hello) => frame::encode_hello(hello, out),
        Frame::Welcome(welcome) => frame::encode_answer(&Ok(*welcome), out),
        Frame::Refused(refusal) => frame::encode_answer(&Err(refusal.clone()), out),
        Frame::Snapshot(message) => frame::encode_snapshot(message, out),
        Frame::Messages(messages, traced) => {
            frame::encode_messages(messages, traced, FRAME_BYTES_MAX, out).unwrap();
        }
    }
}
