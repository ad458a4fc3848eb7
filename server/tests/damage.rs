//! Logs and states whose bytes change on the disk: real processes, real files.

mod support;

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use support::{Cluster, Node, fails, get, settle, wait_until};

const KEYS: usize = 300;

fn metric(node: &Node, name: &str) -> u64 {
    let text = get(&node.http, "/metrics").map(|reply| reply.text()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(u64::MAX, |value| value.parse().unwrap())
}

fn written() -> Cluster {
    let cluster = Cluster::new(3);
    let first = &cluster.nodes[0].http;
    for n in 0..KEYS {
        let reply = settle(first, "PUT", &format!("/key/k{n}"), &[], format!("value {n}").as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    cluster
}

fn reads_all(node: &Node) {
    for n in 0..KEYS {
        let reply = settle(&node.http, "GET", &format!("/key/k{n}?raw&level=consistent"), &[], b"");
        assert_eq!((reply.status, reply.text()), (200, format!("value {n}")));
    }
}

fn segments(node: &Node) -> Vec<PathBuf> {
    let files = fs::read_dir(node.folder.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "wal")).collect();
    segments.sort();
    segments
}

/// Flips a bit where this was written, in whichever segment that lies.
fn flip(node: &Node, written: &str) {
    assert!(flip_in(segments(node), written), "{written} is in no segment of {}", node.id);
}

/// The files of the state that hold keys and values.
fn tables(node: &Node) -> Vec<PathBuf> {
    let maps = fs::read_dir(node.folder.join("state").join("keyspaces")).unwrap();
    let tables = maps.flat_map(|map| fs::read_dir(map.unwrap().path().join("tables")).unwrap());
    tables.map(|table| table.unwrap().path()).collect()
}

/// Whether this was written to any of these files, and a bit of it is flipped now.
fn flip_in(files: Vec<PathBuf>, written: &str) -> bool {
    for path in files {
        let mut bytes = fs::read(&path).unwrap();
        let found = bytes.windows(written.len()).position(|window| window == written.as_bytes());
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return true;
        }
    }
    false
}

/// All that is lost was applied: nothing has to come from anybody.
#[test]
fn damaged_log_is_repaired_at_the_start() {
    let mut cluster = written();
    let node = &mut cluster.nodes[1];
    node.stop();
    flip(node, "value 150");
    node.start(&[]);
    node.wait_ready();
    reads_all(node);
    assert_eq!((metric(node, "hezong_log_repaired"), metric(node, "hezong_log_incomplete")), (1, 0));
    let said = node.log_text();
    assert!(said.contains("are damaged at offset") && said.contains("and lacks nothing"), "{said}");
    let files: Vec<_> =
        fs::read_dir(node.folder.join("log")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(files.iter().any(|name| name.to_string_lossy().ends_with(".wal.damaged")), "{files:?}");
    // It is whole now.
    node.kill();
    node.start(&[]);
    node.wait_ready();
    assert_eq!(metric(node, "hezong_log_repaired"), 0);
    reads_all(node);
}

/// Of the only file of a log nothing says any more what it is, but for what is in it.
#[test]
fn log_without_the_header_of_its_newest_file_is_repaired() {
    let mut cluster = written();
    let node = &mut cluster.nodes[1];
    node.stop();
    let newest = segments(node).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[..64].fill(0);
    fs::write(&newest, bytes).unwrap();
    node.start(&[]);
    node.wait_ready();
    reads_all(node);
    assert_eq!((metric(node, "hezong_log_repaired"), metric(node, "hezong_log_incomplete")), (1, 0));
    let said = node.log_text();
    assert!(said.contains("the header of") && said.contains("and lacks nothing"), "{said}");
}

/// The state is lost with it, so that what the log lacks has to come from the others: two logs are damaged at different
/// places, and only the third has everything.
#[test]
fn damaged_logs_are_filled_by_whoever_has_the_rest() {
    let mut cluster = written();
    // Node 1 last: it has whatever they were told while they stopped.
    for at in [1, 2, 0] {
        cluster.nodes[at].stop();
    }
    for (at, value) in [(1, "value 100"), (2, "value 200")] {
        let node = &mut cluster.nodes[at];
        flip(node, value);
        fs::remove_dir_all(node.folder.join("state")).unwrap();
        node.start(&[]);
    }
    for node in &cluster.nodes[1..] {
        wait_until("it tells what it waits for", || {
            let reply = get(&node.http, "/ready");
            reply.is_some_and(|reply| {
                reply.code() == "log_incomplete" && reply.message().contains("one of which has it")
            })
        });
        assert_eq!(metric(node, "hezong_log_incomplete"), 1);
        assert!(node.log_text().contains("must come from a leader"), "{}", node.log_text());
    }
    // Together they are a majority, and for ten elections nobody is elected all the same.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(get(&cluster.nodes[1].http, "/status").unwrap().json()["leader"].is_null());
    cluster.nodes[0].start(&[]);
    for node in &mut cluster.nodes {
        node.wait_ready();
        assert_eq!(metric(node, "hezong_log_incomplete"), 0);
    }
    cluster.nodes.iter().for_each(reads_all);
}

/// Killed, and damaged so near the end that a vote may be lost with it: refused, and what to do is said.
#[test]
fn damage_that_may_hide_a_vote_is_refused() {
    // Another vote behind the damage would show that none is hidden.
    let mut cluster = Cluster::steady(3);
    let first = cluster.nodes[0].http.clone();
    for n in 0..9 {
        settle(&first, "PUT", &format!("/key/k{n}"), &[], format!("value {n}").as_bytes());
    }
    let node = &mut cluster.nodes[1];
    wait_until("it has applied all", || {
        get(&node.http, "/key/k8?raw&level=stale").is_some_and(|reply| reply.text() == "value 8")
    });
    node.kill();
    flip(node, "value 3");
    let (code, said) = fails(node.command(&[]));
    assert_eq!(code, 1);
    let parts =
        ["the log is damaged and cannot be repaired", "is corrupt at offset", "term and vote", "--join and --replace"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

/// Small segments, of which several are full soon.
const SMALL: [&str; 4] = ["--segment-bytes", "1MiB", "--cache-bytes-max", "0"];

/// Three nodes with several full segments each, started with this as well. Who leads is to be damaged, and so stays.
fn written_much(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::steady(3);
    let arguments: Vec<&str> = SMALL.iter().chain(more).copied().collect();
    for node in &mut cluster.nodes {
        node.stop();
        node.start(&arguments);
        node.wait_ready();
    }
    put_much(&cluster.nodes[0], 0..700);
    cluster
}

fn put_much(node: &Node, keys: Range<usize>) {
    for n in keys {
        let reply = settle(&node.http, "PUT", &format!("/key/k{n}"), &[], &much(n));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

fn much(n: usize) -> Vec<u8> {
    format!("value {n:06} {}", "x".repeat(4_000)).into_bytes()
}

/// It ends by itself, and not well; started again, it is repaired and has everything.
fn ends_and_is_repaired(node: &mut Node, arguments: &[&str], keys: usize) {
    wait_until("it stops", || !node.runs());
    let said = node.log_text();
    assert!(said.contains("the node stops, and repairs it when it is started again"), "{said}");
    assert!(said.contains("start the node again, which repairs it"), "{said}");
    assert!(!node.ended().success());
    node.start(arguments);
    node.wait_ready();
    assert_eq!(metric(node, "hezong_log_repaired"), 1);
    for n in (0..keys).step_by(7) {
        let reply = settle(&node.http, "GET", &format!("/key/k{n}?raw&level=consistent"), &[], b"");
        assert_eq!((reply.status, reply.body), (200, much(n)));
    }
}

/// Nobody reads what is damaged: the node finds it by itself, hands over and stops.
#[test]
fn damage_is_found_by_scrubbing() {
    let scrub = ["--scrub-bytes-per-second", "1GiB"];
    let mut cluster = written_much(&scrub);
    let leader = cluster.leader();
    wait_until("it has read its log", || metric(&cluster.nodes[leader], "hezong_log_scrubbed_bytes_total") > 1 << 20);
    flip(&cluster.nodes[leader], "value 000020 ");
    ends_and_is_repaired(&mut cluster.nodes[leader], &[], 700);
    assert!(cluster.nodes[leader].log_text().contains("handed over"), "the others went on at once");
}

/// A member that was away needs what is damaged: it gets it from somebody else.
#[test]
fn damage_is_found_by_reading() {
    let off = ["--scrub-bytes-per-second", "0"];
    let mut cluster = written_much(&off);
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.nodes[away].stop();
    put_much(&cluster.nodes[leader], 700..1_300);
    flip(&cluster.nodes[leader], "value 000750 ");
    cluster.nodes[away].start(&[]);
    ends_and_is_repaired(&mut cluster.nodes[leader], &[], 1_300);
    cluster.nodes[away].wait_ready();
    let reply = settle(&cluster.nodes[away].http, "GET", "/key/k750?raw&level=consistent", &[], b"");
    assert_eq!((reply.status, reply.body), (200, much(750)));
}

/// So many nodes with more in their states than these keep in memory.
fn written_to_the_state(count: usize, more: &[&str]) -> Cluster {
    let mut cluster = Cluster::steady(count);
    for node in &mut cluster.nodes {
        node.stop();
        node.start(more);
        node.wait_ready();
    }
    for n in 0..400 {
        let reply = settle(&cluster.nodes[0].http, "PUT", &format!("/key/k{n}"), &[], &large(n));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let leader = cluster.leader();
    wait_until("some of it is in files", || !tables(&cluster.nodes[leader]).is_empty());
    cluster
}

fn large(n: usize) -> Vec<u8> {
    format!("value {n:06} {}", "x".repeat(60_000)).into_bytes()
}

/// It hands over and ends by itself, and not well; started again, it makes its state anew and has everything.
fn ends_and_makes_its_state_anew(cluster: &mut Cluster, at: usize) {
    let node = &mut cluster.nodes[at];
    wait_until("it stops", || !node.runs());
    let said = node.log_text();
    assert!(said.contains("the state store") && said.contains("handed over"), "{said}");
    assert!(said.contains("start the node again, which repairs it"), "{said}");
    assert!(!node.ended().success());
    node.start(&[]);
    node.wait_ready();
    let said = node.log_text();
    assert!(said.contains("is damaged") && said.contains("the state is made anew"), "{said}");
    assert!(node.folder.join("state.damaged").exists());
    assert_eq!(metric(node, "hezong_state_repaired"), 1);
    for n in 0..400 {
        let reply = settle(&node.http, "GET", &format!("/key/k{n}?raw&level=consistent"), &[], b"");
        assert_eq!((reply.status, reply.body), (200, large(n)), "{n}");
    }
    // It is whole now.
    node.kill();
    node.start(&[]);
    node.wait_ready();
    assert_eq!(metric(node, "hezong_state_repaired"), 0);
}

/// Nobody reads what is damaged.
#[test]
fn damage_of_the_state_is_found_by_scrubbing() {
    let mut cluster = written_to_the_state(3, &["--scrub-bytes-per-second", "1GiB"]);
    let leader = cluster.leader();
    let node = &cluster.nodes[leader];
    wait_until("it has read its state", || metric(node, "hezong_state_scrubbed_bytes_total") > 10 << 20);
    assert!(flip_in(tables(node), "value 000020 "));
    ends_and_makes_its_state_anew(&mut cluster, leader);
}

/// Nobody else has what it takes to make it anew: the node goes on with what is whole, after a restart too.
#[test]
fn damage_of_the_only_state_leaves_the_node_in_service() {
    let scrub = ["--scrub-bytes-per-second", "1GiB"];
    let mut cluster = written_to_the_state(1, &scrub);
    let node = &mut cluster.nodes[0];
    wait_until("it has read its state", || metric(node, "hezong_state_scrubbed_bytes_total") > 10 << 20);
    assert!(flip_in(tables(node), "value 000020 "));
    for times in 1..=2 {
        wait_until("it says so", || node.log_text().matches("it stays in service").count() == times || !node.runs());
        assert!(node.runs(), "{}", node.log_text());
        assert_eq!(metric(node, "hezong_state_damaged"), 1);
        let whole = settle(&node.http, "GET", "/key/k300?raw&level=consistent", &[], b"");
        assert_eq!((whole.status, whole.body), (200, large(300)));
        let reply = settle(&node.http, "PUT", "/key/more", &[], b"and writes");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let damaged = get(&node.http, "/key/k20?raw&level=stale").unwrap();
        assert_eq!(damaged.status, 500, "{}", damaged.text());
        assert!(node.stop().success(), "{}", node.log_text());
        node.start(&scrub);
        node.wait_ready();
    }
    assert_eq!(metric(node, "hezong_state_repaired"), 0);
}

/// A client asks for what is damaged: it is told so, and the node stops though it could go on with the rest.
#[test]
fn damage_of_the_state_is_found_by_reading() {
    let mut cluster = written_to_the_state(3, &["--scrub-bytes-per-second", "0"]);
    let leader = cluster.leader();
    let node = &cluster.nodes[leader];
    assert!(flip_in(tables(node), "value 000020 "));
    let reply = get(&node.http, "/key/k20?raw&level=stale").unwrap();
    assert!(reply.status == 500 && reply.message().contains("is damaged"), "{}", reply.text());
    ends_and_makes_its_state_anew(&mut cluster, leader);
}

/// What lay in a file that is gone, or has lost its header, was applied, or comes from the leader.
#[test]
fn segments_that_are_gone_are_repaired() {
    let mut cluster = written_much(&[]);
    for (at, is_gone, state_too) in [(1, true, false), (2, false, true)] {
        let node = &mut cluster.nodes[at];
        node.stop();
        let full = segments(node);
        let [.., lost, _newest] = &full[..] else { panic!("{full:?}") };
        if is_gone {
            fs::remove_file(lost).unwrap();
        } else {
            let mut bytes = fs::read(lost).unwrap();
            bytes[..64].fill(0);
            fs::write(lost, bytes).unwrap();
        }
        if state_too {
            fs::remove_dir_all(node.folder.join("state")).unwrap();
        }
        node.start(&SMALL);
        node.wait_ready();
        assert_eq!((metric(node, "hezong_log_repaired"), metric(node, "hezong_log_incomplete")), (1, 0));
        let said = node.log_text();
        let found = if is_gone { "is missing, and the files" } else { "the header of" };
        let lacks = if state_too { "must come from a leader" } else { "and lacks nothing" };
        assert!(said.contains(found) && said.contains(lacks), "{said}");
        for n in (0..700).step_by(7) {
            let reply = settle(&node.http, "GET", &format!("/key/k{n}?raw&level=consistent"), &[], b"");
            assert_eq!((reply.status, reply.body), (200, much(n)));
        }
    }
}
