//! Several voters at once, as a client asks for it: it waits for learners, is answered when it is over, and goes on when
//! its leader does not.

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Cluster, GROUP, add, member, sum};
use hezong_base::{NodeId, RequestId};
use hezong_node::{ClientRequest, NodeConfig, Notice, Refused, Reply};
use hezong_raft::{Change, ChangeError, Membership, Role};

const SECOND: Duration = Duration::from_secs(1);

fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn several(promote: impl IntoIterator<Item = u64>, remove: impl IntoIterator<Item = u64>) -> ClientRequest {
    ClientRequest::Change(Change::Several { promote: ids(promote), remove: ids(remove) })
}

/// Three voters and the learners 4 and 5, which were taken in and not started.
fn with_two_learners() -> (Cluster, NodeId) {
    let (mut cluster, leader) = Cluster::three();
    for id in [4, 5] {
        assert!(matches!(cluster.change(leader, Change::Add(member(id))), Reply::Changed { .. }));
    }
    (cluster, leader)
}

fn start(cluster: &mut Cluster, id: u64) {
    cluster.add_host(NodeConfig::new(NodeId(id)));
    cluster.open(NodeId(id), GROUP);
}

fn changed(cluster: &mut Cluster, at: NodeId, request: RequestId) -> Membership {
    match cluster.wait_reply(at, request) {
        Reply::Changed { membership, .. } => membership,
        other => panic!("not changed: {other:?}"),
    }
}

#[test]
fn change_waits_for_its_learners_and_they_are_not_promoted_one_by_one() {
    let (mut cluster, leader) = with_two_learners();
    let gone = cluster.others(leader)[0];
    let request = cluster.ask(leader, several([4, 5], [gone.0]));
    start(&mut cluster, 4);
    cluster.run(SECOND);
    assert_eq!(cluster.reply(leader, request), None, "5 is not there yet");
    assert!(
        !cluster.hosts[&leader].node.raft(GROUP).unwrap().membership().is_voter(NodeId(4)),
        "nor does 4 vote alone"
    );
    start(&mut cluster, 5);
    let membership = changed(&mut cluster, leader, request);
    assert!(!membership.is_joint(), "answered when it is over");
    let mut expected = ids(1..=5);
    expected.remove(&gone);
    assert_eq!(membership.voters(), &expected);
    assert_eq!(sum(&cluster.call(leader, add(1))), 1);
    let promoted = |notice: &&Notice| matches!(notice, Notice::MemberPromoted { .. });
    assert_eq!(cluster.hosts[&leader].notices.iter().filter(promoted).count(), 2);
    assert!(cluster.hosts[&leader].settled.has_left(gone), "so that it is told, should it come back");
    // Who was removed says so.
    cluster.run(SECOND);
    let left = Notice::Left { group: GROUP, id: gone };
    assert!(cluster.hosts[&gone].notices.contains(&left), "{:?}", cluster.hosts[&gone].notices);
    assert!(left.to_string().contains("was removed from group 1"));
}

#[test]
fn change_whose_learner_never_comes_is_refused_in_time_and_leaves_nothing_behind() {
    let (mut cluster, leader) = with_two_learners();
    let request = cluster.ask(leader, several([4, 5], []));
    start(&mut cluster, 4);
    assert_eq!(cluster.wait_reply(leader, request), Reply::Refused(Refused::Timeout));
    // 4 is not kept waiting for what nobody wants any more.
    cluster.run_until(10 * SECOND, |c| c.hosts[&leader].node.raft(GROUP).unwrap().membership().is_voter(NodeId(4)));
}

#[test]
fn change_waiting_at_a_leader_that_hands_over_is_sent_on() {
    let (mut cluster, old) = with_two_learners();
    let request = cluster.ask(old, several([4, 5], []));
    assert!(matches!(cluster.call(old, ClientRequest::Transfer(None)), Reply::Transferred { .. }));
    let new = cluster.leader(GROUP).unwrap();
    assert!(matches!(cluster.wait_reply(old, request), Reply::Refused(Refused::NotLeader(_))));
    let again = cluster.ask(new, several([4, 5], []));
    start(&mut cluster, 4);
    start(&mut cluster, 5);
    assert_eq!(changed(&mut cluster, new, again).voters(), &ids(1..=5));
}

#[test]
fn change_is_answered_by_the_old_leader_when_the_new_one_ends_it() {
    let (mut cluster, old) = with_two_learners();
    start(&mut cluster, 4);
    start(&mut cluster, 5);
    cluster.run_until(10 * SECOND, |c| c.hosts[&old].node.raft(GROUP).unwrap().membership().voters().len() == 5);
    cluster.run(SECOND);
    let removed: Vec<u64> = cluster.others(old).iter().map(|id| id.0).take(2).collect();
    let request = cluster.ask(old, several([], removed.clone()));
    // Its first entry is on its way; then the leader is asked to hand over, which leaves the second to the next one.
    let stays = cluster.others(old).into_iter().find(|id| !removed.contains(&id.0)).unwrap();
    let transfer = cluster.ask(old, ClientRequest::Transfer(Some(stays)));
    assert!(matches!(cluster.wait_reply(old, transfer), Reply::Transferred { .. }));
    let membership = changed(&mut cluster, old, request);
    assert_eq!((membership.voters().len(), membership.is_joint()), (3, false));
    assert_eq!(cluster.leader(GROUP), Some(stays));
}

#[test]
fn change_below_a_reachable_majority_is_refused_with_the_numbers() {
    let (mut cluster, leader) = Cluster::three();
    let others = cluster.others(leader);
    cluster.crash(others[0]);
    cluster.run(2 * SECOND);
    let Reply::Refused(refused) = cluster.change(leader, Change::Remove(others[1])) else { panic!("it was taken") };
    assert_eq!(refused, Refused::Change(ChangeError::NoMajority { voters: 2, reachable: 1 }));
    assert!(refused.to_string().starts_with("2 voters would be left, 1 of them reachable"), "{refused}");
    assert!(matches!(cluster.change(leader, Change::Remove(others[0])), Reply::Changed { .. }));
}

#[test]
fn leader_replaced_with_others_hands_over() {
    let (mut cluster, old) = with_two_learners();
    start(&mut cluster, 4);
    start(&mut cluster, 5);
    let request = cluster.ask(old, several([4, 5], [old.0]));
    let began = cluster.now;
    let membership = changed(&mut cluster, old, request);
    assert!(!membership.members().contains_key(&old));
    cluster.run_until(SECOND / 2, |c| c.hosts.keys().any(|id| *id != old && c.role(*id, GROUP) == Some(Role::Leader)));
    assert!(cluster.now.since(began) < SECOND, "nobody waited for a timeout");
    assert!(cluster.hosts[&old].notices.contains(&Notice::Left { group: GROUP, id: old }));
}
