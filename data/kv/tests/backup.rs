//! Backups: what comes out is what went in, and anything else is refused by name and offset.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{entry, put};
use hezong_base::{LogId, NodeId};
use hezong_kv::{
    BackupError, BackupReader, BackupWriter, Command, Header, Kv, KvError, Once, Reply, Request, Revision, Rules, STEP,
};
use hezong_node::StateMachine;
use hezong_raft::{Member, Membership};
use hezong_store::ModelStore;

fn open() -> Kv<ModelStore> {
    Kv::open(ModelStore::new(), "g1", Rules::default()).unwrap()
}

fn once(key: &str) -> Request {
    let command = put(&[("paid", "100")]);
    Request { once: Some(Once::idempotency(Bytes::from(key.to_owned()), &command)), command }
}

/// 30 keys, a session and an idempotency key.
fn source() -> Kv<ModelStore> {
    let mut kv = open();
    for index in 1..=29 {
        let request = Request::plain(put(&[(&format!("key {index}"), &format!("value {index}"))]));
        kv.apply(&[entry(index, Duration::from_millis(index), &request)]).unwrap();
    }
    let session = Request::plain(Command::SessionOpen { ttl: Duration::from_secs(60) });
    kv.apply(&[entry(30, Duration::from_millis(30), &session)]).unwrap();
    kv.apply(&[entry(31, Duration::from_millis(31), &once("order 17"))]).unwrap();
    kv
}

fn backup(kv: &Kv<ModelStore>, bytes_max: usize) -> Vec<u8> {
    let view = kv.reader().view().unwrap();
    let last = view.applied().unwrap();
    let header = Header {
        cluster: "5f".to_owned(),
        term: last.term.0,
        index: last.index.0,
        revision: view.revision().0,
        keys: view.keys(),
        last_id: 3,
        used: 1,
        ..Header::default()
    };
    let (mut writer, first) = BackupWriter::begin(&header);
    let mut bytes = first.to_vec();
    let mut cursor = None;
    loop {
        let chunk = view.chunk(cursor.as_deref(), bytes_max).unwrap();
        bytes.extend_from_slice(&writer.chunk(&chunk.bytes));
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    bytes.extend_from_slice(&writer.finish());
    bytes
}

fn check(bytes: &[u8]) -> Result<Header, BackupError> {
    BackupReader::open(bytes)?.check()
}

#[derive(Debug, thiserror::Error)]
enum FillError {
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Backup(#[from] BackupError),
}

fn fill(kv: &mut Kv<ModelStore>, bytes: &[u8]) -> Result<(), FillError> {
    let mut reader = BackupReader::open(bytes)?;
    let last = LogId::new(reader.header().term, reader.header().index);
    kv.fill(last, || Ok(reader.next_chunk()?))
}

#[test]
fn backup_fills_a_state_that_equals_its_source() {
    for bytes_max in [1, 200, usize::MAX] {
        let from = source();
        let bytes = backup(&from, bytes_max);
        let header = check(&bytes).unwrap();
        assert_eq!((header.index, header.keys, header.revision, header.last_id), (31, 30, 30, 3));
        let mut to = open();
        fill(&mut to, &bytes).unwrap();
        let digest = |kv: &Kv<ModelStore>| kv.reader().view().unwrap().digest().unwrap();
        assert_eq!(digest(&to), digest(&from));
    }
}

#[test]
fn backup_with_any_bit_flipped_is_refused() {
    let whole = backup(&source(), 200);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let error = check(&bytes).expect_err("a bit is flipped");
            match at {
                0..8 => assert!(matches!(error, BackupError::Foreign), "{at}: {error}"),
                8..12 => assert!(matches!(error, BackupError::Version { .. }), "{at}: {error}"),
                _ => assert!(matches!(error, BackupError::Damaged { .. } | BackupError::Cut { .. }), "{at}: {error}"),
            }
        }
    }
}

#[test]
fn backup_cut_anywhere_or_longer_is_refused() {
    let whole = backup(&source(), 200);
    for end in 0..whole.len() {
        let error = check(&whole[..end]).expect_err("it is cut short");
        assert!(matches!(error, BackupError::Cut { offset } if offset <= end as u64), "{end}: {error}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    let error = check(&longer).expect_err("it goes on");
    assert!(matches!(error, BackupError::Damaged { offset, .. } if offset == whole.len() as u64), "{error}");
}

/// Each frame is right by itself, but one is not there: only what the trailer says of all of them shows it.
#[test]
fn backup_without_one_of_its_chunks_is_refused() {
    let whole = backup(&source(), 200);
    let (mut frames, mut at) = (Vec::new(), 12);
    while at < whole.len() {
        let length = u32::from_le_bytes(whole[at + 1..at + 5].try_into().unwrap()) as usize;
        frames.push(at..at + 9 + length);
        at += 9 + length;
    }
    assert!(frames.len() > 5);
    for missing in &frames[1..frames.len() - 1] {
        let bytes = [&whole[..missing.start], &whole[missing.end..]].concat();
        let error = check(&bytes).expect_err("a chunk is missing");
        assert!(error.to_string().contains("the trailer does not fit"), "{error}");
    }
}

#[test]
fn refound_moves_on_and_keeps_what_was_promised() {
    let mut kv = open();
    fill(&mut kv, &backup(&source(), 200)).unwrap();
    let member = Member { name: "node01".to_owned(), ..Member::default() };
    let members = Membership::new([NodeId(4)].into(), [(NodeId(4), member)].into(), Some(NodeId(4)));
    let base = kv.refound(members.clone()).unwrap();
    assert_eq!(base.last, Some(LogId::new(2, 31 + STEP)));
    assert_eq!((base.time, &base.membership), (Duration::from_millis(31), &members));
    assert_eq!(kv.applied().unwrap(), Some(base));
    assert!(!kv.is_installed().unwrap());
    assert_eq!(kv.reader().view().unwrap().revision(), Revision(30 + STEP));
    // Log ids of the new cluster follow.
    let mut next = entry(32 + STEP, Duration::from_millis(40), &once("order 17"));
    next.id = LogId::new(3, 32 + STEP);
    let replies = kv.apply(&[next]).unwrap();
    let reply = Reply::decode(&replies[0]).unwrap();
    assert!(reply.repeated, "a key that was used before the backup is still known: {reply:?}");
}

#[test]
fn refound_of_nothing_is_refused() {
    assert!(matches!(open().refound(Membership::default()), Err(KvError::Corrupt { .. })));
    let mut full = source();
    let bytes = backup(&full, 200);
    assert!(matches!(fill(&mut full, &bytes), Err(FillError::Kv(KvError::Corrupt { .. }))), "it holds something");
}
