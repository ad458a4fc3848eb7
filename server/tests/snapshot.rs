//! Nodes that were away for longer than the log remembers, or whose disk lost something: real processes, real disks.

mod support;

use std::fs;

use support::{Cluster, Node, get, settle, wait_until};

const TERSE: [&str; 4] = ["--log-retain-entries", "50", "--persist-interval", "200ms"];

fn metric(node: &Node, name: &str) -> u64 {
    let text = get(&node.http, "/metrics").map(|reply| reply.text()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Three voters whose logs keep little, and node 3 stopped while so many keys were written.
fn left_behind(keys: usize) -> Cluster {
    let mut cluster = Cluster::new(3);
    for node in &mut cluster.nodes {
        node.stop();
        node.start(&TERSE);
        node.wait_ready();
    }
    cluster.nodes[2].kill();
    let first = cluster.nodes[0].http.clone();
    for n in 0..keys {
        let reply = settle(&first, "PUT", &format!("/key/k{n}"), &[], format!("value {n}").as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    wait_until("the others have compacted their logs", || {
        cluster.nodes[..2].iter().all(|node| metric(node, "hezong_log_base_index") > 100)
    });
    cluster
}

fn reads_all(node: &Node, keys: usize) {
    for n in 0..keys {
        let reply = settle(&node.http, "GET", &format!("/key/k{n}?raw&level=consistent"), &[], b"");
        assert_eq!((reply.status, reply.text()), (200, format!("value {n}")));
    }
}

#[test]
fn node_away_for_long_gets_the_state() {
    let mut cluster = left_behind(300);
    let node = &mut cluster.nodes[2];
    node.start(&TERSE);
    wait_until("it has installed a snapshot", || metric(node, "hezong_snapshots_installed_total") == 1);
    node.wait_ready();
    reads_all(node, 300);
    assert!(node.log_text().contains("fetching a snapshot of group 1"), "{}", node.log_text());
    // It comes back from its own disk, at once and whole.
    node.kill();
    node.start(&TERSE);
    node.wait_ready();
    reads_all(node, 300);
    assert_eq!(metric(node, "hezong_snapshots_installed_total"), 0);
}

#[test]
fn node_that_joins_late_gets_the_state() {
    let mut cluster = left_behind(200);
    cluster.nodes[2].start(&TERSE);
    let mut late = Node::new(cluster.root.path(), "node04");
    late.start(&["--join", &cluster.nodes[0].http]);
    late.wait_ready();
    wait_until("it votes", || get(&late.http, "/status").unwrap().json()["suffrage"] == "voter");
    reads_all(&late, 200);
    assert_eq!(metric(&late, "hezong_snapshots_installed_total"), 1);
}

/// The log begins too late to build the state again: it comes from the leader, and until then nothing is read here.
#[test]
fn state_lost_comes_from_the_leader() {
    let mut cluster = left_behind(200);
    cluster.nodes[2].start(&TERSE);
    cluster.nodes[2].wait_ready();
    let node = &mut cluster.nodes[1];
    node.kill();
    fs::remove_dir_all(node.folder.join("state")).unwrap();
    node.start(&TERSE);
    wait_until("its state is there again", || metric(node, "hezong_snapshots_installed_total") == 1);
    node.wait_ready();
    reads_all(node, 200);
}
