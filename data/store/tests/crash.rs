//! What a crash leaves: the batches up to some batch, whole and in order, at least those persisted.
//!
//! Batches are numbered and each follows from its number alone, so the number found after a crash tells what everything
//! else must be. The number lies in one map and what it stands for in two others: a batch applied in part shows.
//!
//! - **killed**: a process that applies is killed (SIGKILL) at any moment; the operating system keeps what it was given.
//! - **power**: the machine fails; of what was not synced any part may be on disk. fjall's journal is put together page
//!   by page from before and after; redb runs on a disk in memory that loses any of the writes since the last sync.
//! - **model**: [`ModelStore::crash`] must be able to lose, and keep, any number of batches.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::Rng;
use hezong_store::{Batch, FjallStore, KeyRange, ModelStore, RedbStore, Store, StoreError, View};
use redb::StorageBackend;

const NAMES: [&str; 2] = ["a", "b"];

/// What a store holds after some batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Twin {
    maps: [BTreeMap<Bytes, Bytes>; 2],
    number: u64,
}

/// The changes of batch `number`: map, key and new value.
fn changes(number: u64, value_max: u64) -> Vec<(usize, Bytes, Option<Bytes>)> {
    let mut rng = Rng::new(number);
    let mut change = |_| {
        let map = usize::from(rng.chance(500));
        let key = Bytes::from(format!("key {:04}", rng.below(2_000)));
        let size = usize::try_from(rng.below(value_max)).unwrap();
        let value = (!rng.chance(200)).then(|| Bytes::from(vec![number as u8; size]));
        (map, key, value)
    };
    (0..8).map(&mut change).collect()
}

impl Twin {
    /// Goes on to batch `number`.
    fn advance(&mut self, number: u64, value_max: u64) {
        for number in self.number + 1..=number {
            for (map, key, value) in changes(number, value_max) {
                match value {
                    Some(value) => self.maps[map].insert(key, value),
                    None => self.maps[map].remove(&key),
                };
            }
        }
        self.number = number;
    }
}

fn apply(store: &impl Store, number: u64, value_max: u64) {
    let mut batch = Batch::new();
    for (map, key, value) in changes(number, value_max) {
        let map = store.map(NAMES[map]).unwrap();
        match value {
            Some(value) => batch.put(map, key, value),
            None => batch.delete(map, key),
        }
    }
    batch.put(store.map("meta").unwrap(), "number", number.to_be_bytes().to_vec());
    store.apply(&batch).unwrap();
}

/// The last batch a store holds; 0 when it holds none.
fn number(store: &impl Store) -> u64 {
    let map = store.map("meta").unwrap();
    let found = store.view().unwrap().get(map, b"number").unwrap();
    found.map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().unwrap()))
}

/// Everything a store holds must be what its number says, which is at least `persisted`. Returns the number.
fn check(store: &impl Store, twin: &mut Twin, persisted: u64, value_max: u64) -> u64 {
    let found = number(store);
    assert!(found >= persisted, "batch {persisted} was persisted, and only {found} is found");
    assert!(found >= twin.number, "the twin only goes forward");
    twin.advance(found, value_max);
    // Maps before the view: one opened later would be missing from it.
    let maps = NAMES.map(|name| store.map(name).unwrap());
    let view = store.view().unwrap();
    for ((name, map), twin) in NAMES.iter().zip(maps).zip(&twin.maps) {
        let held: BTreeMap<_, _> = view.range(map, KeyRange::ALL).unwrap().map(Result::unwrap).collect();
        assert!(held == *twin, "map {name} is not what it was after batch {found}");
    }
    found
}

// Killed processes.

const CHILD: &str = "HEZONG_STORE_CRASH_CHILD";
const CHILD_VALUE_MAX: u64 = 4_000;

/// Not a test: what the killed process runs. Applies batches for ever, and tells what it has done.
#[test]
#[ignore = "run by the tests that kill it"]
fn child() {
    let Ok(task) = env::var(CHILD) else { return };
    let (which, folder) = task.split_once(' ').unwrap();
    match which {
        "fjall" => run(&FjallStore::open(folder).unwrap()),
        "redb" => run(&RedbStore::open(folder).unwrap()),
        other => panic!("{other}"),
    }
}

fn run(store: &impl Store) {
    let mut rng = Rng::new(number(store));
    let mut out = io::stdout();
    for number in number(store) + 1.. {
        apply(store, number, CHILD_VALUE_MAX);
        writeln!(out, "\napplied {number}").unwrap();
        if rng.chance(10) {
            store.persist().unwrap();
            writeln!(out, "\npersisted {number}").unwrap();
        }
    }
}

fn start_child(which: &str, folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{which} {}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts the child, kills it after some lines, and returns the last batch it had applied and persisted by its own word.
fn kill_child(which: &str, folder: &Path, lines_max: u64) -> (u64, u64) {
    let mut child = start_child(which, folder);
    let (mut applied, mut persisted, mut lines) = (0, 0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // A last line may be cut short, but then its newline is missing and it is the last one.
        if let Some(number) = line.strip_prefix("applied ") {
            applied = number.parse().unwrap();
        } else if let Some(number) = line.strip_prefix("persisted ") {
            persisted = number.parse().unwrap();
        }
        lines += 1;
        if lines == lines_max {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "it runs until it is killed");
    assert!(lines >= lines_max, "it was killed, it did not die by itself");
    (applied, persisted)
}

/// `keeps_applied`: whether what was applied and not persisted survives the process.
fn killed<S: Store>(which: &str, keeps_applied: bool, open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(3);
    let mut twin = Twin::default();
    for round in 0..12 {
        let (applied, persisted) = kill_child(which, folder.path(), 1 + rng.below(4_000));
        let store = open(folder.path());
        let wanted = if keeps_applied { applied } else { persisted };
        let found = check(&store, &mut twin, wanted, CHILD_VALUE_MAX);
        assert!(found <= applied + 1, "round {round}: at most the batch at hand was not told of");
    }
    assert!(twin.number > 1_000, "the rounds came to something: {}", twin.number);
}

/// Killed while it makes the store or its maps, at a moment spread over the time that takes.
fn killed_at_birth<S: Store>(which: &str, open: impl Fn(&Path) -> S) {
    let work = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(4);
    let mut unborn = 0;
    for round in 0..60 {
        let folder = work.path().join(format!("round {round}"));
        let mut child = start_child(which, &folder);
        thread::sleep(rng.between(Duration::from_millis(1), Duration::from_millis(25)));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&folder);
        unborn += u32::from(check(&store, &mut Twin::default(), 0, CHILD_VALUE_MAX) == 0);
        drop(store);
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(unborn > 0, "none was killed early enough");
}

#[test]
fn killed_at_birth_fjall() {
    killed_at_birth("fjall", |folder| FjallStore::open(folder).unwrap());
}

#[test]
fn killed_at_birth_redb() {
    killed_at_birth("redb", |folder| RedbStore::open(folder).unwrap());
}

#[test]
fn killed_fjall() {
    killed("fjall", true, |folder| FjallStore::open(folder).unwrap());
}

#[test]
fn killed_redb() {
    killed("redb", false, |folder| RedbStore::open(folder).unwrap());
}

// Power failures.

const PAGE: usize = 4_096;
const POWER_VALUE_MAX: u64 = 400;

/// Copies all but journals, which are preallocated and mostly holes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (source, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else if source.extension().is_none_or(|extension| extension != "jnl") {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// The one journal of a small store.
fn journal(folder: &Path) -> std::path::PathBuf {
    let journals: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    let [journal] = &journals[..] else { panic!("{journals:?}") };
    journal.clone()
}

/// Before anything is written out as a table the journal is all there is, and of what was written to it since the last
/// sync any page may have reached the disk. What opens must be a prefix with all that was persisted; a hole that makes
/// a whole batch fail its checksum may also be refused, never accepted.
#[test]
fn power_fjall() {
    let work = tempfile::tempdir().unwrap();
    let (live, synced) = (work.path().join("live"), work.path().join("synced"));
    let store = FjallStore::open(&live).unwrap();
    let (persisted, last) = (150, 300);
    for number in 1..=persisted {
        apply(&store, number, POWER_VALUE_MAX);
    }
    store.persist().unwrap();
    copy(&live, &synced);
    let mut before = fs::read(journal(&live)).unwrap();
    for number in persisted + 1..=last {
        apply(&store, number, POWER_VALUE_MAX);
    }
    let mut after = fs::read(journal(&live)).unwrap();
    assert!(before.len() <= after.len(), "both are one journal");
    // A file may have grown and hold nothing yet where it did.
    after.resize(after.len().next_multiple_of(PAGE), 0);
    before.resize(after.len(), 0);
    let page = |place: usize| place * PAGE..(place + 1) * PAGE;
    let differing: Vec<usize> =
        (0..before.len() / PAGE).filter(|place| before[page(*place)] != after[page(*place)]).collect();
    let (first, end) = (differing[0], differing[differing.len() - 1] + 1);
    assert!(end - first > 20, "enough pages to lose: {first}..{end}");

    let mut rng = Rng::new(5);
    let (mut opened, mut refused, mut found) = (0, 0, BTreeSet::new());
    for round in 0..100 {
        let folder = work.path().join(format!("round {round}"));
        copy(&synced, &folder);
        let mut pages = before[..end * PAGE].to_vec();
        // Either a tail torn at any byte, or each page on its own, few of them missing or most.
        let kept = [500, 900, 990][usize::try_from(rng.below(3)).unwrap()];
        let torn =
            rng.chance(500).then(|| first * PAGE + usize::try_from(rng.below(((end - first) * PAGE) as u64)).unwrap());
        for place in first..end {
            let (from, to) = (place * PAGE, (place + 1) * PAGE);
            let to = match torn {
                Some(torn) => to.min(torn.max(from)),
                None if rng.chance(kept) => to,
                None => from,
            };
            pages[from..to].copy_from_slice(&after[from..to]);
        }
        let name = journal(&live).file_name().unwrap().to_owned();
        fs::write(folder.join(&name), &pages).unwrap();
        // Its length may have reached the disk or not.
        let cut = torn.filter(|_| rng.chance(500));
        let length = cut.unwrap_or(after.len());
        fs::OpenOptions::new().write(true).open(folder.join(name)).unwrap().set_len(length as u64).unwrap();
        match FjallStore::open(&folder) {
            Ok(store) => {
                let number = check(&store, &mut Twin::default(), persisted, POWER_VALUE_MAX);
                found.insert(number);
                opened += 1;
                // What was found is a state to go on from.
                apply(&store, number + 1, POWER_VALUE_MAX);
                store.persist().unwrap();
                drop(store);
                let store = FjallStore::open(&folder).unwrap();
                assert_eq!(check(&store, &mut Twin::default(), number + 1, POWER_VALUE_MAX), number + 1);
            }
            Err(StoreError::Damaged { .. }) => {
                assert!(cut.is_none(), "a journal that ends anywhere is cut, not refused");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(found.len() > 20, "{found:?}");
    assert!(opened > refused, "opened {opened}, refused {refused}");
}

/// A disk in memory that remembers which writes came since the last sync.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<(usize, Vec<u8>)>,
}

impl Disk {
    /// The disk after a power failure: any of the writes since the last sync, each whole or its first part.
    fn crash(&self, rng: &mut Rng) -> Self {
        let state = self.0.lock().unwrap();
        let mut left = state.synced.clone();
        // Growing is metadata; without it a write beyond the end could not have happened.
        left.resize(state.now.len().max(left.len()), 0);
        let kept = [100, 500, 900][usize::try_from(rng.below(3)).unwrap()];
        for (at, bytes) in &state.since {
            if rng.chance(kept) {
                let whole = bytes.len();
                let part =
                    if rng.chance(100) { usize::try_from(rng.below(whole as u64)).unwrap() / 512 * 512 } else { whole };
                left[*at..at + part].copy_from_slice(&bytes[..part]);
            }
        }
        Self(Arc::new(Mutex::new(DiskState { now: left.clone(), synced: left, since: Vec::new() })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap().now[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.synced = state.now.clone();
        state.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        state.now[at..at + data.len()].copy_from_slice(data);
        state.since.push((at, data.to_vec()));
        Ok(())
    }
}

#[test]
fn power_redb() {
    let mut rng = Rng::new(6);
    let mut lost = 0;
    for _ in 0..12 {
        let disk = Disk::default();
        let store = RedbStore::with_backend(disk.clone()).unwrap();
        let (mut persisted, mut twin) = (0, Twin::default());
        for number in 1..200 {
            apply(&store, number, POWER_VALUE_MAX);
            if rng.chance(50) {
                store.persist().unwrap();
                persisted = number;
            }
            if rng.chance(100) {
                let store = RedbStore::with_backend(disk.crash(&mut rng)).unwrap();
                // Each image is of a later moment, but may have kept less: a twin of its own.
                let found = check(&store, &mut Twin::default(), persisted, POWER_VALUE_MAX);
                twin.number = twin.number.max(found);
                lost += number - found;
            }
        }
    }
    assert!(lost > 0, "nothing was ever lost, so nothing was tested");
}

// The model.

#[test]
fn model_loses_and_keeps_any_number() {
    let store = ModelStore::new();
    for number in 1..=10 {
        apply(&store, number, POWER_VALUE_MAX);
    }
    store.persist().unwrap();
    for number in 11..=16 {
        apply(&store, number, POWER_VALUE_MAX);
    }
    assert_eq!(store.pending(), 6);
    let mut rng = Rng::new(1);
    let found: BTreeSet<u64> = (0..200)
        .map(|_| {
            let after = store.crash(&mut rng);
            let found = check(&after, &mut Twin::default(), 10, POWER_VALUE_MAX);
            // What a crash left is on disk: a second crash loses nothing more.
            assert_eq!(number(&after.crash(&mut rng)), found);
            found
        })
        .collect();
    assert_eq!(found, (10..=16).collect());
    assert_eq!(number(&store.kill()), 16);
    // The old handle writes to a disk that is no longer there.
    let after = store.kill();
    apply(&store, 17, POWER_VALUE_MAX);
    assert_eq!(number(&after), 16);
}
