//! A small disk that fills, filled by the node itself and by others. A disk of its own takes root, as CI has: without that,
//! these tests say that they were skipped.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use support::{Node, PATIENCE, fails, get, send, settle, wait_until};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const VALUE: &[u8] = &[b'x'; 32 << 10];
/// What a small disk needs, as docs/operations.md says.
const SMALL: [&str; 6] = ["--segment-bytes", "4MiB", "--log-retain-bytes", "16MiB", "--disk-reserve-interval", "500ms"];

/// A disk in memory, of its own.
struct Disk {
    folder: PathBuf,
    _root: TempDir,
}

impl Disk {
    /// `None`, and loudly so, where nobody may mount.
    fn new(bytes: u64) -> Option<Self> {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("disk");
        fs::create_dir(&folder).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&folder).output();
        match done {
            Ok(done) if done.status.success() => Some(Self { folder, _root: root }),
            other => {
                eprintln!("SKIPPED: a disk of its own cannot be mounted here: {other:?}");
                None
            }
        }
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.folder).unwrap();
        found.f_bavail * found.f_frsize
    }

    fn start(&self, reserve: u64) -> Node {
        let mut node = Node::new(self.folder.parent().unwrap(), "node01");
        node.folder = self.folder.join("node01");
        node.disk_reserve = reserve;
        node.start(&[&SMALL[..], &["--bootstrap"]].concat());
        node.wait_ready();
        node
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.folder).status().ok();
    }
}

/// Writes as fast as it goes, from several clients, until one is told something else than that it is done; returns the
/// keys that were acknowledged, and what else was said.
fn burst(http: &str, name: &str) -> (Vec<String>, Vec<u16>) {
    let (done, others, over) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()), AtomicBool::new(false));
    let deadline = Instant::now() + 3 * PATIENCE;
    let write = |client: usize| {
        for n in 0.. {
            if over.load(Ordering::Relaxed) || Instant::now() > deadline {
                return;
            }
            let key = format!("{name}/{client}/{n}");
            match send(http, "PUT", &format!("/key/{key}"), &[], VALUE).map(|reply| reply.status) {
                Some(200) => done.lock().unwrap().push(key),
                other => {
                    others.lock().unwrap().push(other.unwrap_or(0));
                    over.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| (0..8).for_each(|client| drop(scope.spawn(move || write(client)))));
    (done.into_inner().unwrap(), others.into_inner().unwrap())
}

fn assert_there(http: &str, keys: &[String]) {
    for key in keys {
        let reply = settle(http, "GET", &format!("/key/{key}?raw"), &[], b"");
        assert_eq!((reply.status, reply.text().len()), (200, VALUE.len()), "{key}");
    }
}

fn process(node: &Node) -> PathBuf {
    Path::new("/proc").join(node.process().to_string())
}

#[test]
fn burst_is_refused_at_the_reserve_and_deletes_make_room() {
    let Some(disk) = Disk::new(512 * MIB) else { return };
    let mut node = disk.start(192 * MIB);
    let http = node.http.clone();
    let (keys, refused) = burst(&http, "burst");
    assert!(!refused.is_empty() && refused.iter().all(|status| *status == 507), "{refused:?}");
    assert!(disk.free() > 64 * MIB, "{} bytes are left of the reserve: {}", disk.free(), node.log_text());
    assert_there(&http, &keys);

    for key in &keys {
        assert_eq!(settle(&http, "DELETE", &format!("/key/{key}"), &[], b"").status, 200, "{}", node.log_text());
    }
    wait_until("deletes have made room", || {
        send(&http, "PUT", "/key/after", &[], b"1").is_some_and(|it| it.status == 200)
    });
    assert!(process(&node).exists() && node.runs());
    assert!(node.stop().success(), "{}", node.log_text());
}

/// What the files of a node's log take on the disk.
fn log_bytes(node: &Node) -> u64 {
    let files = fs::read_dir(node.folder.join("log")).unwrap();
    // One may go meanwhile.
    files.filter_map(|file| file.unwrap().metadata().ok()).map(|found| found.blocks() * 512).sum()
}

/// The log holds several segments of what is in the state by now. Nothing more is written, so that none is begun.
#[test]
fn log_gives_room_back_below_the_reserve_while_nothing_is_written() {
    let Some(disk) = Disk::new(256 * MIB) else { return };
    let mut node = disk.start(48 * MIB);
    assert!(node.stop().success());
    let once_a_second = ["--persist-interval", "1s", "--log-retain-bytes", "0", "--segment-bytes", "16MiB"];
    node.start(&[&once_a_second[..], &SMALL[4..]].concat());
    node.wait_ready();
    let http = node.http.clone();
    for _ in 0..40 * MIB / VALUE.len() as u64 {
        assert_eq!(settle(&http, "PUT", "/key/one", &[], VALUE).status, 200);
    }
    assert!(log_bytes(&node) > 24 * MIB, "{}", log_bytes(&node));

    let (file, mut taken, started) = (fs::File::create(disk.folder.join("other")).unwrap(), 0, Instant::now());
    // Once there is enough of it, no more is given back: what was not compacted by then had to move.
    let is_given = |said: &str| said.contains("the log gave") && said.contains("disk above its reserve again");
    while log_bytes(&node) > 17 * MIB && !is_given(&node.log_text()) {
        let told = format!("{} bytes of log, {} free: {}", log_bytes(&node), disk.free(), node.log_text());
        assert!(started.elapsed() < PATIENCE, "{told}");
        // What the state gives back meanwhile is taken as well, until the node has noticed.
        let more = disk.free().saturating_sub(40 * MIB);
        if more > 0 && !told.contains("disk below its reserve") {
            taken += more;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken).unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    }
    wait_until("it says so", || node.log_text().contains("the log gave"));
    assert_there(&http, &["one".to_owned()]);
    assert!(node.stop().success(), "{}", node.log_text());
}

/// `ulimit -f` is no want of room that could pass: the write fails, and the node ends as with any write that failed.
#[test]
fn file_that_may_not_grow_ends_the_node_with_the_reason_and_loses_nothing() {
    let root = TempDir::new().unwrap();
    let mut node = Node::new(root.path(), "node01");
    node.start(&[&SMALL[..], &["--bootstrap"]].concat());
    node.wait_ready();
    let http = node.http.clone();
    let process = Pid::from_raw(i32::try_from(node.process()).unwrap());
    prlimit(process, Resource::Fsize, Rlimit { current: Some(2 * MIB), maximum: None }).unwrap();
    let (keys, _) = burst(&http, "limited");
    assert!(keys.len() > 10, "{}", node.log_text());
    let (status, said) = (node.ended(), node.log_text());
    assert_ne!(status.signal(), Some(Signal::XFSZ.as_raw()), "a signal tells no file: {said}");
    assert!(said.contains("File too large"), "{status}: {said}");
    node.start(&SMALL);
    node.wait_ready();
    assert_there(&http, &keys);
    assert!(node.stop().success(), "{}", node.log_text());
}

#[test]
fn disk_filled_by_others_is_waited_for_and_loses_nothing() {
    let Some(disk) = Disk::new(256 * MIB) else { return };
    let mut node = disk.start(0);
    let http = node.http.clone();
    assert_eq!(settle(&http, "PUT", "/key/before", &[], VALUE).status, 200);
    // All but a little, so that log and state find it full while they write.
    let other = disk.folder.join("other");
    let file = fs::File::create(&other).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, disk.free() - 24 * MIB).unwrap();
    let (mut keys, failed) = burst(&http, "full");
    assert!(!failed.is_empty() && node.runs(), "{failed:?} {}", node.log_text());
    assert!(disk.free() < 16 * MIB);

    drop(file);
    fs::remove_file(&other).unwrap();
    wait_until("writes are taken again", || {
        let reply = send(&http, "PUT", "/key/after", &[], VALUE);
        assert!(node.runs(), "{}", node.log_text());
        reply.is_some_and(|reply| reply.status == 200)
    });
    keys.extend(["before".to_owned(), "after".to_owned()]);
    assert_there(&http, &keys);
    assert!(node.stop().success(), "{}", node.log_text());
    node.start(&SMALL);
    node.wait_ready();
    assert_there(&http, &keys);
    assert_eq!(get(&http, "/health").unwrap().status, 200);
    assert!(node.stop().success());

    // A start takes room for a piece of the log; without it, whoever starts is told what to do.
    let file = fs::File::create(&other).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, disk.free() - MIB).unwrap();
    let (code, said) = fails(node.command(&SMALL));
    let folder = node.folder.display().to_string();
    let words = [folder.as_str(), "bytes are free", "disk.reserve", "grow the disk"];
    assert!(code == 1 && words.iter().all(|word| said.contains(word)), "{code}: {said}");
}
