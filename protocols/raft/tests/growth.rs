//! RAFT-7 and RAFT-8: a group of three grows to five, by plain replacement, one at a time and through a joint membership,
//! and falls apart into {A, B} and {C, D, E} at every step of it.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Cluster, member, saved};
use hezong_base::{Index, NodeId};
use hezong_raft::{Change, Config, Entry, Membership, Request, Role};

const A_B: [u64; 2] = [1, 2];
const C_D_E: [u64; 3] = [3, 4, 5];

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn set(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

/// A, B, C vote and C leads; D and E have caught up.
fn three(change: impl Fn(&mut Config)) -> Cluster {
    let first = Membership::new(set(1..=3), (1..=5).map(|id| (NodeId(id), member(id))).collect(), None);
    let mut cluster = Cluster::with([]);
    for id in 1..=5 {
        let mut config = Config::new(NodeId(id));
        change(&mut config);
        cluster.add(config, saved(&first, 0, None, &[]));
    }
    cluster.elect(3);
    cluster.run(millis(200));
    cluster
}

/// The group falls apart, and both sides go on as well as they can.
fn fall_apart(cluster: &mut Cluster) {
    cluster.split = A_B.map(NodeId).to_vec();
    cluster.run(millis(6_000));
}

/// A command on each side, to whoever leads there.
fn write_on_both(cluster: &mut Cluster) {
    for (side, command) in [(&A_B[..], "left"), (&C_D_E[..], "right")] {
        if let Some(leader) = leader_of(cluster, side) {
            cluster.propose(leader, command);
            cluster.settle();
        }
    }
}

fn leader_of(cluster: &Cluster, side: &[u64]) -> Option<u64> {
    side.iter().copied().find(|id| cluster.raft(*id).role() == Role::Leader)
}

/// How many different entries were announced at one place in the log.
fn histories(cluster: &Cluster) -> usize {
    let mut seen: BTreeMap<Index, Vec<&Entry>> = BTreeMap::new();
    for entry in cluster.nodes.values().flat_map(|node| &node.delivered) {
        let others = seen.entry(entry.id.index).or_default();
        if !others.contains(&entry) {
            others.push(entry);
        }
    }
    seen.values().map(Vec::len).max().unwrap_or(0)
}

#[cfg(feature = "weakened")]
#[test]
fn raft_7_two_leaders_by_plain_replacement() {
    use hezong_raft::Weakness;
    for (weakness, leaders) in [(Some(Weakness::PlainReplacement), 2), (None, 1)] {
        let mut cluster = three(|config| config.weakness = weakness);
        // Only C, D and E hear that there are five voters now.
        cluster.split = A_B.map(NodeId).to_vec();
        cluster.request(3, Request::Change(Change::Several { promote: set([4, 5]), remove: set([]) }));
        // A and B elect one of theirs by the majority of the three they know.
        fall_apart(&mut cluster);
        let leading = [&A_B[..], &C_D_E[..]].iter().filter(|side| leader_of(&cluster, side).is_some()).count();
        assert_eq!(leading, leaders);
        write_on_both(&mut cluster);
        assert_eq!(histories(&cluster), leaders, "as many histories as leaders");
    }
}

/// Grows the group by `steps`, breaks off after `deliveries` messages, lets it fall apart, heals it. Returns whether it
/// had got to the end before.
fn grow(steps: &[Change], deliveries: usize) -> bool {
    let mut cluster = three(|_| {});
    let mut left = deliveries;
    let mut whole = true;
    for step in steps {
        cluster.request(3, Request::Change(step.clone()));
        while left > 0 && cluster.deliver_one() {
            left -= 1;
        }
        whole &= left > 0;
    }
    fall_apart(&mut cluster);
    write_on_both(&mut cluster);
    assert_eq!(histories(&cluster), 1, "one history, broken off after {deliveries} messages of {steps:?}");
    cluster.split.clear();
    cluster.run(millis(8_000));
    assert_eq!(histories(&cluster), 1);
    let leaders = (1..=5).filter(|id| cluster.raft(*id).role() == Role::Leader);
    assert_eq!(leaders.count(), 1, "one leader, healed after {deliveries} messages of {steps:?}");
    let leader = cluster.leader().expect("it was counted");
    assert!(!cluster.raft(leader).membership().is_joint(), "no joint membership is left behind");
    for id in cluster.raft(leader).membership().members().keys().map(|id| id.0) {
        assert_eq!(cluster.raft(id).announced(), cluster.raft(leader).announced());
    }
    whole
}

/// Breaks off after every number of messages there is.
fn grow_at_every_step(steps: &[Change]) {
    let wholes = (0..).map(|deliveries| grow(steps, deliveries)).take_while(|whole| !whole).count();
    assert!(wholes > 10, "only {wholes} messages were seen");
}

#[test]
fn raft_8_one_leader_always_growing_one_at_a_time() {
    grow_at_every_step(&[Change::Promote(NodeId(4)), Change::Promote(NodeId(5))]);
}

#[test]
fn raft_8_one_leader_always_growing_through_a_joint_membership() {
    grow_at_every_step(&[Change::Several { promote: set([4, 5]), remove: set([]) }]);
}

#[test]
fn raft_8_one_leader_always_replacing_all_but_one() {
    grow_at_every_step(&[Change::Several { promote: set([4, 5]), remove: set([1, 2]) }]);
}
