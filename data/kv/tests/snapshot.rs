//! Snapshots: a replica built from another's chunks equals it, whatever dies in between.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{entry, put};
use hezong_base::{LogId, Rng};
use hezong_kv::{Command, Kv, Once, Request, Rules};
use hezong_node::{Begun, Chunk, StateMachine};
use hezong_raft::{Base, Membership, SnapshotId};
use hezong_store::{ModelStore, Store, View};

const ID: SnapshotId = SnapshotId(1);

/// A state with something in every map.
fn source(entries: u64) -> Kv<ModelStore> {
    let mut kv = open(ModelStore::new());
    for index in 1..=entries {
        apply(&mut kv, index);
    }
    kv
}

fn open(store: ModelStore) -> Kv<ModelStore> {
    Kv::open(store, "g1", Rules::default()).unwrap()
}

fn apply(kv: &mut Kv<ModelStore>, index: u64) {
    let request = match index % 3 {
        0 => Request::plain(Command::SessionOpen { ttl: Duration::from_secs(60) }),
        1 => Request::plain(put(&[(&format!("key {}", index % 50), &format!("value {index}"))])),
        _ => {
            let command = put(&[(&format!("other {index}"), "")]);
            Request { once: Some(Once::idempotency(Bytes::from(format!("once {index}")), &command)), command }
        }
    };
    kv.apply(&[entry(index, Duration::from_millis(index), &request)]).unwrap();
}

fn base(index: u64) -> Base {
    let time = Duration::from_millis(index);
    Base { last: Some(LogId::new(1, index)), time, membership: Membership::default() }
}

fn chunks(kv: &mut Kv<ModelStore>, bytes_max: usize) -> Vec<Chunk> {
    let snapshot = kv.snapshot().unwrap().expect("something was applied");
    let (mut chunks, mut cursor) = (Vec::new(), None);
    loop {
        let chunk: Chunk = snapshot.chunk(cursor.as_deref(), bytes_max).unwrap();
        cursor.clone_from(&chunk.next);
        chunks.push(chunk);
        if cursor.is_none() {
            return chunks;
        }
    }
}

fn digest(kv: &Kv<ModelStore>) -> [u8; 32] {
    kv.reader().view().unwrap().digest().unwrap()
}

fn last(kv: &Kv<ModelStore>) -> Option<LogId> {
    kv.applied().unwrap().and_then(|base| base.last)
}

#[test]
fn installed_replica_equals_its_source() {
    for bytes_max in [1, 500, usize::MAX] {
        let mut from = source(200);
        let chunks = chunks(&mut from, bytes_max);
        let mut to = source(20);
        let reader = to.reader();
        assert_eq!(to.begin(ID).unwrap(), Begun::At(None));
        for chunk in &chunks {
            assert!(to.install(ID, chunk).unwrap());
            assert_eq!(
                reader.view().unwrap().applied(),
                Some(LogId::new(1, 20)),
                "until the end the old state is read"
            );
        }
        // What is applied meanwhile goes to the old state, and is covered by the new one.
        apply(&mut to, 21);
        let before = reader.view().unwrap();
        to.finish(ID, &base(200)).unwrap();
        assert!(to.is_installed().unwrap());
        assert_eq!(digest(&to), digest(&from));
        assert_eq!(reader.view().unwrap().applied(), Some(LogId::new(1, 200)));
        assert_eq!(before.applied(), Some(LogId::new(1, 21)), "an open view stays as it was");
        assert!(before.get(b"key 1").unwrap().is_some());
        for index in 201..=230 {
            apply(&mut from, index);
            apply(&mut to, index);
        }
        assert!(!to.is_installed().unwrap());
        assert_eq!(digest(&to), digest(&from));
    }
}

/// The source goes on being applied to while it is read.
#[test]
fn snapshot_is_of_one_moment() {
    let mut from = source(100);
    let snapshot = from.snapshot().unwrap().unwrap();
    let wanted = digest(&from);
    let mut to = open(ModelStore::new());
    to.begin(ID).unwrap();
    let mut cursor = None;
    for index in 101.. {
        let chunk = snapshot.chunk(cursor.as_deref(), 300).unwrap();
        apply(&mut from, index);
        to.install(ID, &chunk).unwrap();
        cursor = chunk.next;
        if cursor.is_none() {
            break;
        }
    }
    to.finish(ID, &base(100)).unwrap();
    assert_eq!(digest(&to), wanted);
}

/// The machine fails between any two steps, and may forget whatever was not persisted: either way the replica stands on
/// its old state or on the new one, goes on with the chunks where it is, and ends equal to the source.
#[test]
fn crash_anywhere_goes_on_where_it_was() {
    let mut from = source(150);
    let chunks = chunks(&mut from, 400);
    assert!(chunks.len() > 10);
    let (old, new) = (digest(&source(30)), digest(&from));
    let (mut resumed, mut rng) = (0, Rng::new(11));
    for seed in 0..400 {
        let mut store = ModelStore::new();
        let mut to = open(store.clone());
        (1..=30).for_each(|index| apply(&mut to, index));
        to.persist().unwrap();
        let mut finished = false;
        while !finished {
            let mut at = match to.begin(ID).unwrap() {
                Begun::At(None) => 0,
                Begun::At(cursor) => {
                    resumed += 1;
                    1 + chunks.iter().position(|chunk| chunk.next == cursor).expect("a cursor of ours")
                }
                Begun::Whole => chunks.len(),
            };
            // So many steps until it dies; the last seeds let it live.
            for _ in 0..rng.below(12) {
                if let Some(chunk) = chunks.get(at) {
                    assert!(to.install(ID, chunk).unwrap());
                    at += 1;
                } else {
                    to.finish(ID, &base(150)).unwrap();
                    finished = true;
                    break;
                }
                if rng.chance(100) {
                    to.persist().unwrap();
                }
            }
            store = if rng.chance(700) { store.crash(&mut rng) } else { store.kill() };
            to = open(store.clone());
            let now = digest(&to);
            assert!(
                now == if finished { new } else { old },
                "seed {seed}: the state is neither the old nor the new one"
            );
        }
        assert!(to.is_installed().unwrap());
        assert_eq!(last(&to), Some(LogId::new(1, 150)));
    }
    assert!(resumed > 100, "it has to be seen to go on: {resumed}");
}

#[test]
fn another_snapshot_begins_anew_and_leaves_nothing_behind() {
    let (mut from, mut to) = (source(80), open(ModelStore::new()));
    let chunks = chunks(&mut from, 400);
    to.begin(ID).unwrap();
    assert!(to.install(ID, &chunks[0]).unwrap());
    let other = SnapshotId(2);
    assert_eq!(to.begin(other).unwrap(), Begun::At(None));
    assert!(!to.install(ID, &chunks[1]).unwrap(), "nobody waits for it any more");
    for chunk in &chunks {
        assert!(to.install(other, chunk).unwrap());
    }
    to.finish(other, &base(80)).unwrap();
    assert_eq!(digest(&to), digest(&from));
}

#[test]
fn nonsense_in_a_chunk_changes_nothing() {
    let mut to = open(ModelStore::new());
    to.begin(ID).unwrap();
    for bytes in [&b"\xff\xff"[..], b"\x0a\x02\x08\x09"] {
        assert!(!to.install(ID, &Chunk { bytes: Bytes::copy_from_slice(bytes), next: None }).unwrap());
    }
    assert!(to.finish(ID, &base(9)).is_err(), "it is not whole");
    let mut from = source(10);
    let snapshot = from.snapshot().unwrap().unwrap();
    for cursor in [&b""[..], b"\xff", b"\x00\xff\xff"] {
        drop(snapshot.chunk(Some(cursor), 100));
    }
}

/// Maps of generations that are over are removed from the store.
#[test]
fn old_generation_is_removed() {
    let store = ModelStore::new();
    let mut to = open(store.clone());
    (1..=20).for_each(|index| apply(&mut to, index));
    let old = store.map("g1.keys").unwrap();
    assert!(store.view().unwrap().get(old, b"key 1").unwrap().is_some());
    let mut from = source(40);
    to.begin(ID).unwrap();
    for chunk in chunks(&mut from, 1_000) {
        to.install(ID, &chunk).unwrap();
    }
    to.finish(ID, &base(40)).unwrap();
    assert!(store.view().unwrap().get(old, b"key 1").unwrap().is_none());
}

/// Whoever caught up by its log keeps no half of a snapshot for ever.
#[test]
fn snapshot_nobody_builds_any_more_is_removed() {
    let store = ModelStore::new();
    let mut to = open(store.clone());
    apply(&mut to, 1);
    let chunks = chunks(&mut source(40), 300);
    to.begin(ID).unwrap();
    assert!(to.install(ID, &chunks[0]).unwrap());
    for _ in 0..3 {
        to.persist().unwrap();
    }
    assert!(to.install(ID, &chunks[1]).unwrap(), "it is slow, but comes");
    for _ in 0..4 {
        to.persist().unwrap();
    }
    assert!(!to.install(ID, &chunks[2]).unwrap());
    assert_eq!(to.begin(ID).unwrap(), Begun::At(None));
}
