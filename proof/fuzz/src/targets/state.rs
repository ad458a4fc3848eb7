//! The replicated state: commands, replies, snapshots and backups.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{LogId, Rng};
use hezong_kv::{
    BackupReader, BackupWriter, Command, Condition, Expect, Header, Kv, Limits, Once, Operation, Reply, Request,
    Revision, Rules, SessionId,
};
use hezong_node::{Chunk, StateMachine};
use hezong_raft::{Base, Entry, Membership, Payload, SnapshotId};
use hezong_store::ModelStore;

use super::random::{blob, number};

/// A store in memory does not fail.
const IN_MEMORY: &str = "the store is in memory";

fn open() -> Kv<ModelStore> {
    Kv::open(ModelStore::new(), "g1", Rules::default()).expect(IN_MEMORY)
}

fn entry(index: u64, command: Bytes) -> Entry {
    Entry { id: LogId::new(1, index), time: Duration::from_millis(index), payload: Payload::Command(command) }
}

fn key(rng: &mut Rng) -> Bytes {
    Bytes::from(format!("key {}", rng.below(4)))
}

fn command(rng: &mut Rng) -> Command {
    match rng.below(7) {
        0 => Command::Put((0..1 + rng.below(3)).map(|_| (key(rng), blob(rng))).collect()),
        1 => Command::Delete((0..1 + rng.below(3)).map(|_| key(rng)).collect()),
        2 => {
            let expect = match rng.below(6) {
                0 => Expect::Absent,
                1 => Expect::Present,
                2 => Expect::Created(Revision(number(rng))),
                3 => Expect::Modified(Revision(number(rng))),
                4 => Expect::Version(number(rng)),
                _ => Expect::Value(blob(rng)),
            };
            let conditions = vec![Condition { key: key(rng), expect }];
            let then = vec![Operation::Put { key: key(rng), value: blob(rng) }, Operation::Delete { key: key(rng) }];
            Command::Txn { conditions, then }
        }
        3 => Command::Add { key: key(rng), delta: number(rng).cast_signed() },
        4 => Command::SessionOpen { ttl: Duration::from_nanos(number(rng)) },
        5 => Command::SessionKeepAlive(SessionId(rng.below(4))),
        _ => Command::SessionClose(SessionId(rng.below(4))),
    }
}

fn a_request(rng: &mut Rng) -> Request {
    let command = command(rng);
    let once = match rng.below(3) {
        0 => None,
        1 => Some(Once::idempotency(key(rng), &command)),
        _ => Some(Once::session(SessionId(rng.below(4)), number(rng), &command)),
    };
    Request { once, command }
}

pub(super) fn request_sample(rng: &mut Rng) -> Vec<u8> {
    a_request(rng).encode().to_vec()
}

pub(super) fn request(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    let decoded = Request::decode(bytes.clone());
    let Ok(request) = decoded else { return false };
    assert_eq!(Request::decode(request.encode()).ok().as_ref(), Some(&request));
    let fits = request.validate(&Limits::default());
    let mut kv = open();
    let open = Request::plain(Command::SessionOpen { ttl: Duration::from_secs(60) });
    let entries = [entry(1, open.encode()), entry(2, bytes.clone()), entry(3, bytes)];
    let replies = kv.apply(&entries).expect("what is decoded is applied");
    for reply in &replies {
        Reply::decode(reply).expect("a reply is one");
    }
    fits.is_ok()
}

pub(super) fn reply_sample(rng: &mut Rng) -> Vec<u8> {
    let mut kv = open();
    let entries: Vec<Entry> = (1..4).map(|index| entry(index, a_request(rng).encode())).collect();
    let replies = kv.apply(&entries).expect("what is encoded is applied");
    replies.last().map(|reply| reply.to_vec()).unwrap_or_default()
}

pub(super) fn reply(input: &[u8]) -> bool {
    let decoded = Reply::decode(input);
    if let Ok(reply) = &decoded {
        assert_eq!(Reply::decode(&reply.encode()).ok().as_ref(), Some(reply));
    }
    decoded.is_ok()
}

/// A state with something of everything.
fn full(rng: &mut Rng) -> Kv<ModelStore> {
    let mut kv = open();
    let entries: Vec<Entry> = (1..=8).map(|index| entry(index, a_request(rng).encode())).collect();
    kv.apply(&entries).expect("what is encoded is applied");
    kv
}

/// Chunks of a snapshot, each with its length in front, two bytes; their cursors are not in it.
pub(super) fn snapshot_sample(rng: &mut Rng) -> Vec<u8> {
    let mut kv = full(rng);
    let snapshot = kv.snapshot().expect(IN_MEMORY).expect("something was applied");
    let bytes_max = [1, 200, 10_000][usize::try_from(rng.below(3)).unwrap_or(0)];
    let (mut input, mut cursor) = (Vec::new(), None);
    loop {
        let chunk: Chunk = snapshot.chunk(cursor.as_deref(), bytes_max).expect(IN_MEMORY);
        let length = u16::try_from(chunk.bytes.len()).unwrap_or(u16::MAX);
        input.extend_from_slice(&length.to_le_bytes());
        input.extend_from_slice(&chunk.bytes[..usize::from(length)]);
        cursor.clone_from(&chunk.next);
        if cursor.is_none() {
            return input;
        }
    }
}

pub(super) fn snapshot(input: &[u8]) -> bool {
    const ID: SnapshotId = SnapshotId(1);
    let mut chunks = Vec::new();
    let mut rest = input;
    while let [low, high, after @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (chunk, behind) = after.split_at(length);
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = behind;
    }
    let mut kv = full(&mut Rng::new(1));
    // Whoever fetches from us may name any place to go on at.
    let held = kv.snapshot().expect(IN_MEMORY).expect("something was applied");
    let _ = held.chunk(Some(input), 1_000);
    kv.begin(ID).expect(IN_MEMORY);
    let mut whole = !chunks.is_empty();
    let count = chunks.len();
    for (place, bytes) in chunks.into_iter().enumerate() {
        let next = (place + 1 < count).then(|| bytes.clone());
        whole &= kv.install(ID, &Chunk { bytes, next }).expect(IN_MEMORY);
    }
    let base = Base { last: Some(LogId::new(1, 8)), time: Duration::ZERO, membership: Membership::default() };
    let finished = whole && kv.finish(ID, &base).is_ok();
    if !finished {
        // The state it had goes on.
        kv.apply(&[entry(9, Request::plain(Command::Delete(vec!["key 1".into()])).encode())]).expect("the next entry");
    }
    finished
}

pub(super) fn backup_sample(rng: &mut Rng) -> Vec<u8> {
    let kv = full(rng);
    let view = kv.reader().view().expect(IN_MEMORY);
    let (mut writer, mut input) = BackupWriter::begin(&Header::default());
    let mut whole = std::mem::take(&mut input).to_vec();
    let mut cursor = None;
    loop {
        let chunk = view.chunk(cursor.as_deref(), 300).expect(IN_MEMORY);
        whole.extend_from_slice(&writer.chunk(&chunk.bytes));
        cursor = chunk.next;
        if cursor.is_none() {
            whole.extend_from_slice(&writer.finish());
            return whole;
        }
    }
}

pub(super) fn backup(input: &[u8]) -> bool {
    let Ok(mut reader) = BackupReader::open(input) else { return false };
    while let Ok(Some(_)) = reader.next_chunk() {}
    BackupReader::open(input).is_ok_and(|reader| reader.check().is_ok())
}
