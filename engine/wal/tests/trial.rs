//! The real folder that loses with its process what was not synced.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{append, options};
use hezong_base::{GroupId, Index};
use hezong_wal::{DiskFolder, Folder, TrialFolder, Wal};

const GROUP: GroupId = GroupId(1);

fn folder(root: &Path) -> Arc<dyn Folder> {
    let disk = DiskFolder::open(root.join("log")).unwrap();
    Arc::new(TrialFolder::new(disk, root.join("control")).unwrap())
}

/// What a new process finds after one that wrote two entries, synced the first and was killed.
fn found_after_kill(control: &str) -> usize {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("control"), control).unwrap();
    let (mut wal, _) = Wal::open(folder(root.path()), options(64 << 10)).unwrap();
    wal.append(&[append(1, 1, &[b"synced"])]).unwrap();
    wal.sync().unwrap();
    wal.append(&[append(1, 2, &[b"written"])]).unwrap();
    let read = wal.read(GROUP, Index(1), Index(3), 1_000).unwrap();
    assert_eq!(read.len(), 2, "whoever wrote it reads it");
    // Dropped is not closed: nothing more is written, as by a process that is gone.
    drop(wal);
    let (wal, _) = Wal::open(folder(root.path()), options(64 << 10)).unwrap();
    [1, 2].into_iter().take_while(|index| wal.read(GROUP, Index(*index), Index(index + 1), 1_000).is_ok()).count()
}

#[test]
fn trial_unsynced_writes_go_with_the_process_that_holds_them() {
    assert_eq!(found_after_kill("hold 0\n"), 1);
    assert_eq!(found_after_kill("keep 0\n"), 2, "the system keeps what was written");
}

#[cfg(feature = "weakened")]
#[test]
fn trial_forgotten_syncs_lose_what_was_synced() {
    assert_eq!(found_after_kill("forget 0\n"), 0);
}

#[test]
fn trial_sync_takes_as_long_as_it_is_told_at_any_time() {
    let root = tempfile::tempdir().unwrap();
    let control = root.path().join("control");
    fs::write(&control, "hold 0\n").unwrap();
    let (mut wal, _) = Wal::open(folder(root.path()), options(64 << 10)).unwrap();
    fs::write(&control, "hold 120\n").unwrap();
    wal.append(&[append(1, 1, &[b"slow"])]).unwrap();
    let began = Instant::now();
    wal.sync().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(120));
}

#[test]
fn trial_control_file_that_says_something_else_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let control = root.path().join("control");
    for said in ["", "hold", "hold soon", "lose 0"] {
        fs::write(&control, said).unwrap();
        let disk = DiskFolder::open(root.path().join("log")).unwrap();
        let refused = TrialFolder::new(disk, control.clone()).err().expect("it is refused").to_string();
        assert!(refused.contains("write keep or hold, and milliseconds"), "{refused}");
    }
}
