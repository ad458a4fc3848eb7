//! What every store must do, run over all three. The dumb twin is one `BTreeMap` a map.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::Rng;
use hezong_store::{Batch, FjallStore, KeyRange, Map, ModelStore, RedbStore, Store, StoreError, View, set_aside};

/// How a suite opens a store, and opens it again.
trait Disk {
    type Store: Store;
    /// Opens what lies in the folder. Every other handle is gone by then.
    fn open(&mut self, folder: &Path) -> Self::Store;
}

struct Fjall;
struct Redb;
/// The disk of a model is the model.
#[derive(Default)]
struct Model(ModelStore);

impl Disk for Fjall {
    type Store = FjallStore;
    fn open(&mut self, folder: &Path) -> FjallStore {
        FjallStore::open(folder).unwrap()
    }
}

impl Disk for Redb {
    type Store = RedbStore;
    fn open(&mut self, folder: &Path) -> RedbStore {
        RedbStore::open(folder).unwrap()
    }
}

impl Disk for Model {
    type Store = ModelStore;
    fn open(&mut self, _folder: &Path) -> ModelStore {
        self.0 = self.0.kill();
        self.0.clone()
    }
}

/// Makes one test of each check and store.
macro_rules! suite {
    ($($check:ident),* $(,)?) => {
        mod fjall { $(#[test] fn $check() { super::$check(super::Fjall); })* }
        mod redb { $(#[test] fn $check() { super::$check(super::Redb); })* }
        mod model { $(#[test] fn $check() { super::$check(super::Model::default()); })* }
    };
}

suite!(
    keys_put_get_delete,
    batch_last_change_of_a_key_wins,
    map_removed_is_gone_but_for_open_views,
    batch_empty_is_no_change,
    maps_are_found_by_name,
    range_every_bound,
    view_never_changes,
    view_outlives_its_store_handle,
    readers_see_whole_batches,
    values_large_and_empty,
    persisted_survives_reopen,
    twin_agrees,
    scrub_reads_all_and_finds_nothing,
);

fn batch(changes: &[(Map, &str, Option<&str>)]) -> Batch {
    let mut batch = Batch::new();
    for (map, key, value) in changes {
        let key = Bytes::copy_from_slice(key.as_bytes());
        match value {
            Some(value) => batch.put(*map, key, Bytes::copy_from_slice(value.as_bytes())),
            None => batch.delete(*map, key),
        }
    }
    batch
}

fn get(store: &impl Store, map: Map, key: &str) -> Option<String> {
    let value = store.view().unwrap().get(map, key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn keys(view: &impl View, map: Map, range: KeyRange<'_>) -> String {
    let forward: Vec<_> = view.range(map, range).unwrap().map(|pair| text(pair.unwrap().0)).collect();
    let mut backward: Vec<_> = view.range(map, range).unwrap().rev().map(|pair| text(pair.unwrap().0)).collect();
    backward.reverse();
    assert_eq!(forward, backward, "both ways give the same");
    forward.join(" ")
}

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn keys_put_get_delete(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let (a, b) = (store.map("a").unwrap(), store.map("b").unwrap());
    assert_eq!(get(&store, a, "k"), None);
    store.apply(&batch(&[(a, "k", Some("1")), (b, "k", Some("2"))])).unwrap();
    assert_eq!((get(&store, a, "k"), get(&store, b, "k")), (Some("1".into()), Some("2".into())));
    store.apply(&batch(&[(a, "k", Some("3")), (b, "k", None), (b, "absent", None)])).unwrap();
    assert_eq!((get(&store, a, "k"), get(&store, b, "k")), (Some("3".into()), None));
}

fn map_removed_is_gone_but_for_open_views(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let (old, other) = (store.map("old").unwrap(), store.map("other").unwrap());
    let mut batch = Batch::new();
    batch.put(old, "a", "1");
    batch.put(other, "b", "2");
    store.apply(&batch).unwrap();
    store.persist().unwrap();
    let before = store.view().unwrap();
    store.remove(old).unwrap();
    assert_eq!(before.get(old, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.view().unwrap().get(old, b"a").unwrap(), None);
    assert_eq!(store.view().unwrap().range(old, KeyRange::ALL).unwrap().count(), 0);
    drop(before);
    // A new one of the same name begins empty, and the others are as they were, also when opened again.
    let new = store.map("old").unwrap();
    assert_ne!(new, old);
    assert_eq!(store.view().unwrap().get(new, b"a").unwrap(), None);
    let mut batch = Batch::new();
    batch.put(new, "c", "3");
    store.apply(&batch).unwrap();
    store.persist().unwrap();
    drop(store);
    let store = disk.open(folder.path());
    let (old, other) = (store.map("old").unwrap(), store.map("other").unwrap());
    let view = store.view().unwrap();
    assert_eq!(view.get(old, b"a").unwrap(), None);
    assert_eq!(view.get(old, b"c").unwrap().as_deref(), Some(&b"3"[..]));
    assert_eq!(view.get(other, b"b").unwrap().as_deref(), Some(&b"2"[..]));
}

fn batch_last_change_of_a_key_wins(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let map = store.map("a").unwrap();
    let changes = [(map, "k", Some("1")), (map, "k", Some("2")), (map, "d", Some("1")), (map, "d", None)];
    let changes = batch(&changes);
    assert_eq!(changes.len(), 2);
    assert_eq!(changes.get(map, b"k"), Some(Some(&Bytes::from("2"))));
    assert_eq!(changes.get(map, b"d"), Some(None));
    assert_eq!(changes.get(map, b"x"), None);
    store.apply(&changes).unwrap();
    assert_eq!((get(&store, map, "k"), get(&store, map, "d")), (Some("2".into()), None));
}

fn batch_empty_is_no_change(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let map = store.map("a").unwrap();
    store.apply(&batch(&[(map, "k", Some("1"))])).unwrap();
    store.apply(&Batch::new()).unwrap();
    assert_eq!(get(&store, map, "k"), Some("1".into()));
}

fn maps_are_found_by_name(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let (a, b) = (store.map("a").unwrap(), store.map("b").unwrap());
    assert_ne!(a, b);
    assert_eq!((store.map("a").unwrap(), store.clone().map("b").unwrap()), (a, b));
    let before = store.view().unwrap();
    let c = store.map("c").unwrap();
    assert_eq!(before.get(c, b"k").unwrap(), None, "a map younger than the view is empty");
    assert_eq!(keys(&before, c, KeyRange::ALL), "");
    store.apply(&batch(&[(a, "k", Some("a")), (c, "k", Some("c"))])).unwrap();
    store.persist().unwrap();
    drop((store, before));
    // Another order of opening gives other handles to the same maps.
    let store = disk.open(folder.path());
    let (c, a) = (store.map("c").unwrap(), store.map("a").unwrap());
    assert_eq!((get(&store, a, "k"), get(&store, c, "k")), (Some("a".into()), Some("c".into())));
}

fn range_every_bound(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let (map, other) = (store.map("a").unwrap(), store.map("b").unwrap());
    let names = ["a", "a\0", "ab", "b", "c", "\u{7f}"];
    let changes: Vec<_> = names.iter().flat_map(|key| [(map, *key, Some("1")), (other, "z", Some("1"))]).collect();
    store.apply(&batch(&changes)).unwrap();
    let view = store.view().unwrap();
    let places = ["a", "a\0", "aa", "ab", "b", "c", "d", "\u{7f}", "\0"];
    let mut bounds = vec![Bound::Unbounded];
    for place in places {
        bounds.extend([Bound::Included(place.as_bytes()), Bound::Excluded(place.as_bytes())]);
    }
    for from in &bounds {
        for to in &bounds {
            let range = KeyRange { from: *from, to: *to };
            let lies = |key: &&str| {
                let key = key.as_bytes();
                (match from {
                    Bound::Unbounded => true,
                    Bound::Included(from) => key >= *from,
                    Bound::Excluded(from) => key > *from,
                }) && (match to {
                    Bound::Unbounded => true,
                    Bound::Included(to) => key <= *to,
                    Bound::Excluded(to) => key < *to,
                })
            };
            let wanted: Vec<_> = names.iter().copied().filter(lies).collect();
            assert_eq!(keys(&view, map, range), wanted.join(" "), "{range:?}");
        }
    }
    assert_eq!(KeyRange::prefix_end(b"a\xff"), Some(b"b".to_vec()));
    assert_eq!(KeyRange::prefix_end(b"\xff\xff"), None);
    assert_eq!(KeyRange::prefix_end(b""), None);
}

fn view_never_changes(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let map = store.map("a").unwrap();
    store.apply(&batch(&[(map, "a", Some("1")), (map, "b", Some("1")), (map, "c", Some("1"))])).unwrap();
    let before = store.view().unwrap();
    let mut walk = before.range(map, KeyRange::ALL).unwrap();
    assert_eq!(text(walk.next().unwrap().unwrap().0), "a");
    store.apply(&batch(&[(map, "b", None), (map, "bb", Some("2")), (map, "c", Some("2"))])).unwrap();
    assert_eq!(walk.map(|pair| text(pair.unwrap().1)).collect::<Vec<_>>(), ["1", "1"]);
    assert_eq!(before.get(map, b"b").unwrap(), Some("1".into()));
    assert_eq!(keys(&before, map, KeyRange::ALL), "a b c");
    assert_eq!(keys(&store.view().unwrap(), map, KeyRange::ALL), "a bb c");
}

fn view_outlives_its_store_handle(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let map = store.map("a").unwrap();
    store.apply(&batch(&[(map, "a", Some("1"))])).unwrap();
    let view = store.view().unwrap();
    drop(store);
    assert_eq!(view.get(map, b"a").unwrap(), Some("1".into()));
}

/// One thread applies batches that write their number under every key of two maps; others check that no view mixes two.
fn readers_see_whole_batches(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let maps = [store.map("a").unwrap(), store.map("b").unwrap()];
    let names = ["k1", "k2", "k3"];
    let numbered = |number: u64| {
        let mut batch = Batch::new();
        for map in maps {
            for name in names {
                batch.put(map, name, number.to_string());
            }
        }
        batch
    };
    store.apply(&numbered(0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let view = store.view().unwrap();
                    let first: u64 = text(view.get(maps[1], b"k3").unwrap().unwrap()).parse().unwrap();
                    assert!(first >= last, "a later view is of a later state");
                    last = first;
                    for map in maps {
                        let values: Vec<_> = view.range(map, KeyRange::ALL).unwrap().map(Result::unwrap).collect();
                        assert_eq!(values.len(), names.len());
                        assert!(values.iter().all(|(_, value)| value[..] == *first.to_string().as_bytes()));
                    }
                }
            });
        }
        for number in 1..2_000 {
            store.apply(&numbered(number)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn values_large_and_empty(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let store = disk.open(folder.path());
    let map = store.map("a").unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    let key = vec![b'k'; 4 << 10];
    for number in 0..40_u8 {
        let mut batch = Batch::new();
        batch.put(map, [&key[..], &[number]].concat(), large.clone());
        batch.put(map, vec![number], Bytes::new());
        store.apply(&batch).unwrap();
    }
    store.persist().unwrap();
    drop(store);
    let store = disk.open(folder.path());
    let map = store.map("a").unwrap();
    let view = store.view().unwrap();
    for number in 0..40_u8 {
        assert_eq!(view.get(map, &[&key[..], &[number]].concat()).unwrap().as_ref(), Some(&large));
        assert_eq!(view.get(map, &[number]).unwrap(), Some(Bytes::new()), "an empty value is not an absent one");
    }
}

fn persisted_survives_reopen(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5_u32 {
        let store = disk.open(folder.path());
        let map = store.map("a").unwrap();
        for old in 0..round {
            assert_eq!(get(&store, map, &old.to_string()), Some("1".into()));
        }
        store.apply(&batch(&[(map, &round.to_string(), Some("1"))])).unwrap();
        store.persist().unwrap();
    }
}

/// Random batches over two maps and few keys, persisted now and then, opened again now and then.
fn twin_agrees(mut disk: impl Disk) {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(7);
    let mut store = disk.open(folder.path());
    let names = ["a", "b"];
    let mut twin = [BTreeMap::new(), BTreeMap::new()];
    for step in 0..600_u32 {
        let maps = names.map(|name| store.map(name).unwrap());
        let mut batch = Batch::new();
        for _ in 0..rng.below(20) {
            let which = usize::try_from(rng.below(2)).unwrap();
            let key = Bytes::from(format!("{:03}", rng.below(150)));
            if rng.chance(300) {
                batch.delete(maps[which], key.clone());
                twin[which].remove(&key);
            } else {
                let value = Bytes::from(vec![step as u8; usize::try_from(rng.below(3_000)).unwrap()]);
                batch.put(maps[which], key.clone(), value.clone());
                twin[which].insert(key, value);
            }
        }
        store.apply(&batch).unwrap();
        if rng.chance(30) {
            store.persist().unwrap();
            drop(store);
            store = disk.open(folder.path());
        }
        if step % 10 == 0 {
            let maps = names.map(|name| store.map(name).unwrap());
            let view = store.view().unwrap();
            for (map, twin) in maps.iter().zip(&twin) {
                let (low, high) = (format!("{:03}", rng.below(150)), format!("{:03}", rng.below(150)));
                let range = KeyRange::from(low.as_bytes()).until(high.as_bytes());
                let found: Vec<_> = view.range(*map, range).unwrap().map(Result::unwrap).collect();
                let lies = |key: &Bytes| key[..] >= *low.as_bytes() && key[..] < *high.as_bytes();
                let wanted: Vec<_> =
                    twin.iter().filter(|(key, _)| lies(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
                assert!(found == wanted, "step {step}, {low}..{high}");
                let key = format!("{:03}", rng.below(150));
                assert!(view.get(*map, key.as_bytes()).unwrap().as_ref() == twin.get(key.as_bytes()), "step {step}");
            }
        }
    }
}

#[test]
fn fjall_reclaim_gives_back_what_was_removed_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = FjallStore::open(folder.path().join("state")).unwrap();
    let (many, few) = (store.map("many").unwrap(), store.map("few").unwrap());
    // Of no pattern, or it would be compressed away.
    let mut rng = Rng::new(7);
    let mut value = || (0..4_096).map(|_| rng.below(256) as u8).collect::<Vec<_>>();
    for n in 0..4_000_u32 {
        let mut batch = Batch::new();
        batch.put(many, n.to_be_bytes().to_vec(), value());
        batch.put(few, b"last".to_vec(), n.to_be_bytes().to_vec());
        store.apply(&batch).unwrap();
    }
    store.reclaim().unwrap();
    let bytes = |folder: &Path| bytes_in(&folder.join("state").join("keyspaces"));
    let before = bytes(folder.path());
    assert!(before > 12 << 20, "{before} bytes: it was not written out");

    for n in 0..3_900_u32 {
        let mut batch = Batch::new();
        batch.delete(many, n.to_be_bytes().to_vec());
        store.apply(&batch).unwrap();
    }
    // As a node does, more than once: a merge that fjall began by itself is not disturbed.
    let mut after = before;
    for _ in 0..1_200 {
        store.reclaim().unwrap();
        after = bytes(folder.path());
        if after < before / 4 {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(after < before / 4, "{after} of {before} bytes are left");
    let view = store.view().unwrap();
    assert_eq!(view.range(many, KeyRange { from: Bound::Unbounded, to: Bound::Unbounded }).unwrap().count(), 100);
    assert_eq!(view.get(few, b"last").unwrap().unwrap(), 3_999_u32.to_be_bytes().to_vec());
}

/// What the files take; those that go meanwhile are left out.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.fold(0, |sum, entry| {
        sum + match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_in(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        }
    })
}

/// Goes through it once; tells how much was read.
fn scrub(store: &impl Store) -> Result<u64, StoreError> {
    let mut step = store.scrub();
    let mut bytes = 0;
    loop {
        match step()? {
            0 => return Ok(bytes),
            more => bytes += more,
        }
    }
}

/// In whatever state a store is, and beside one who writes to it, a round ends and nothing is found.
fn scrub_reads_all_and_finds_nothing(mut disk: impl Disk) {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("state");
    let store = disk.open(&folder);
    let (map, gone) = (store.map("map").unwrap(), store.map("gone").unwrap());
    scrub(&store).unwrap();
    let mut step = store.scrub();
    for n in 0..40_u32 {
        let mut changes = Batch::new();
        for map in [map, gone] {
            changes.put(map, Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![n as u8; 1 << 20]));
        }
        store.apply(&changes).unwrap();
        step().unwrap();
    }
    store.remove(gone).unwrap();
    scrub(&store).unwrap();
    while step().unwrap() > 0 {}
    let view = store.view().unwrap();
    assert_eq!(view.range(map, KeyRange::ALL).unwrap().count(), 40);
}

/// What nobody reads, in any part of a file, in the middle of what is read otherwise.
#[test]
fn fjall_scrub_finds_damage_anywhere_and_the_next_start_knows_of_it() {
    let work = tempfile::tempdir().unwrap();
    let whole = work.path().join("whole");
    let store = FjallStore::open(&whole).unwrap();
    let map = store.map("map").unwrap();
    for n in 0..40_u32 {
        let mut changes = Batch::new();
        changes.put(map, Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![n as u8; 1 << 20]));
        store.apply(&changes).unwrap();
    }
    store.persist().unwrap();
    store.reclaim().unwrap();
    let read = scrub(&store).unwrap();
    assert!(read > 40 << 20, "{read} bytes were read");
    drop(store);

    let tables = tables(&whole);
    assert!(tables.len() > 1);
    let mut rng = Rng::new(7);
    for case in 0..8 {
        let folder = work.path().join("damaged");
        copy(&whole, &folder);
        let store = FjallStore::open(&folder).unwrap();
        assert!(store.map("map").is_ok() && scrub(&store).is_ok());
        // Only now, since a damaged end is found when it is opened.
        let path = folder.join(&tables[rng.below(tables.len() as u64) as usize]);
        let mut bytes = fs::read(&path).unwrap();
        let at = match case {
            0 => 0,
            1 => bytes.len() - 1,
            _ => rng.below(bytes.len() as u64) as usize,
        };
        bytes[at] ^= 1 << rng.below(8);
        fs::write(&path, bytes).unwrap();
        let error = scrub(&store).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, StoreError::Damaged { .. }) && said.contains(path.to_str().unwrap()), "{said}");
        store.condemn(&said);
        drop(store);
        let again = FjallStore::open(&folder).err().unwrap();
        assert_eq!(again.to_string(), said);
        let aside = set_aside(&folder).unwrap();
        drop(FjallStore::open(&folder).unwrap());
        fs::remove_dir_all(aside).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}

/// A file is not believed to be damaged before it was read twice.
#[test]
fn fjall_scrub_reads_again_what_differs_once() {
    let work = tempfile::tempdir().unwrap();
    let store = FjallStore::open(work.path()).unwrap();
    let map = store.map("map").unwrap();
    store.apply(&batch(&[(map, "key", Some("value"))])).unwrap();
    store.reclaim().unwrap();
    let [table] = &tables(work.path())[..] else { panic!("there is one file") };
    let flip = || {
        let file = File::options().read(true).write(true).open(work.path().join(table)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 10).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 10).unwrap();
    };
    let mut step = store.scrub();
    flip();
    assert!(step().unwrap() > 1, "it is read at once");
    assert_eq!(step().unwrap(), 1, "and differs");
    flip();
    while step().unwrap() > 0 {}
    // That it differed is forgotten by the next round.
    flip();
    assert!(step().unwrap() > 1 && step().is_ok());
    let error = (0..3).find_map(|_| step().err()).unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// What a reader finds is damage as well, and so is a file that is gone. The store goes on as it is until it is condemned.
#[test]
fn fjall_damage_found_otherwise_is_told_and_condemned_on_demand() {
    let work = tempfile::tempdir().unwrap();
    for is_gone in [false, true] {
        let folder = work.path().join(is_gone.to_string());
        let store = FjallStore::open(&folder).unwrap();
        let map = store.map("map").unwrap();
        store.apply(&batch(&[(map, "key", Some("value that is looked for"))])).unwrap();
        store.reclaim().unwrap();
        drop(store);
        let store = FjallStore::open(&folder).unwrap();
        let map = store.map("map").unwrap();
        for table in tables(&folder) {
            let path = folder.join(table);
            let mut bytes = fs::read(&path).unwrap();
            if is_gone {
                fs::remove_file(path).unwrap();
            } else if let Some(at) = bytes.windows(5).position(|bytes| bytes == b"value") {
                bytes[at] ^= 1;
                fs::write(path, bytes).unwrap();
            }
        }
        let error = match is_gone {
            true => scrub(&store).unwrap_err(),
            false => store.view().unwrap().get(map, b"key").unwrap_err(),
        };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        drop(store);
        if !is_gone {
            let store = FjallStore::open(&folder).unwrap();
            store.condemn(&error.to_string());
        }
        assert!(matches!(FjallStore::open(&folder).err(), Some(StoreError::Damaged { .. })));
    }
}

/// A thread of fjall's meets it, and does not say so: it is looked for, rather than the store opened anew for ever.
#[test]
fn fjall_damage_met_by_merging_is_told() {
    let work = tempfile::tempdir().unwrap();
    let store = FjallStore::open(work.path()).unwrap();
    let map = store.map("map").unwrap();
    // The same keys again and again, so that files must be merged.
    let mut n = 0_u32;
    let mut write = || {
        n += 1;
        let mut changes = Batch::new();
        changes.put(map, Bytes::copy_from_slice(&(n % 10).to_be_bytes()), Bytes::from(vec![n as u8; 1 << 20]));
        store.apply(&changes)
    };
    while tables(work.path()).len() < 2 {
        write().unwrap();
    }
    // One of them may be half written: what is struck in place stays struck, whatever is written behind it.
    for table in tables(work.path()) {
        let file = File::options().read(true).write(true).open(work.path().join(table)).unwrap();
        let mut byte = [0];
        if file.read_exact_at(&mut byte, 1_000).is_ok() {
            file.write_all_at(&[byte[0] ^ 1], 1_000).unwrap();
        }
    }
    let error = (0..1_000).find_map(|_| write().err()).unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// The files with keys and values, within the folder, but for those of the list of maps, which is read at every start.
fn tables(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for keyspace in fs::read_dir(folder.join("keyspaces")).unwrap() {
        let tables = keyspace.unwrap().path().join("tables");
        if tables.starts_with(folder.join("keyspaces").join("0")) {
            continue;
        }
        found.extend(fs::read_dir(tables).unwrap().map(|table| table.unwrap().path()));
    }
    found.iter().map(|path| path.strip_prefix(folder).unwrap().to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn fjall_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _held = FjallStore::open(folder.path()).unwrap();
    let error = FjallStore::open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn redb_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _held = RedbStore::open(folder.path()).unwrap();
    let error = RedbStore::open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn garbage_is_damage_and_set_aside() {
    let work = tempfile::tempdir().unwrap();
    for which in ["fjall", "redb"] {
        let folder = work.path().join(which);
        let open = || match which {
            "fjall" => FjallStore::open(&folder).err(),
            _ => RedbStore::open(&folder).err(),
        };
        assert!(open().is_none());
        match which {
            "fjall" => fs::write(folder.join("keyspaces").join("0").join("current"), [0xaa; 3]).unwrap(),
            _ => fs::write(folder.join("state.redb"), [0xaa; 8_192]).unwrap(),
        }
        let error = open().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
        for name in ["damaged", "damaged-2"] {
            fs::create_dir_all(&folder).unwrap();
            assert_eq!(set_aside(&folder).unwrap(), folder.with_extension(name));
        }
        assert!(fs::read_dir(folder.with_extension("damaged")).unwrap().count() > 0, "nothing is deleted");
        assert!(open().is_none(), "an empty store takes its place");
    }
}

#[test]
fn newer_format_is_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    drop(FjallStore::open(folder.path()).unwrap());
    let version = folder.path().join("version");
    let mut bytes = fs::read(&version).unwrap();
    *bytes.last_mut().unwrap() = 4;
    fs::write(&version, bytes).unwrap();
    let error = FjallStore::open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}
