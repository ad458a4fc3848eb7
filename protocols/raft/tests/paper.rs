//! The paper, line by line.
mod common;

use common::Cluster;
use std::time::Duration;

#[test]
fn three_nodes_elect_and_replicate() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(3));
    let leader = cluster.leader().expect("somebody leads after three election timeouts");
    cluster.propose(leader, "a");
    cluster.propose(leader, "b");
    cluster.run(Duration::from_millis(200));
    for id in 1..=3 {
        assert_eq!(cluster.commands(id), ["a", "b"]);
    }
}

#[test]
fn one_node_leads_at_once() {
    let mut cluster = Cluster::new(1);
    assert_eq!(cluster.leader(), Some(1));
    cluster.propose(1, "a");
    assert_eq!(cluster.commands(1), ["a"]);
}
