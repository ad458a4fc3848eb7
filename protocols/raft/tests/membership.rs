//! Membership, one server at a time (§4 of the dissertation).
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Cluster, member, saved, voters};
use hezong_base::{Index, LogId, NodeId, RequestId};
use hezong_raft::{
    Change, ChangeError, Config, Event, Member, Membership, Payload, Refusal, Request, Role, Version, Write,
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three voters led by node 1, with everything committed, and an empty node 4.
fn led_by_1() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.add(Config::new(NodeId(4)), Vec::new());
    cluster.elect(1);
    cluster.run(millis(200));
    cluster
}

fn change(cluster: &mut Cluster, change: Change) -> RequestId {
    cluster.events(1);
    cluster.request(1, Request::Change(change))
}

fn refusal(cluster: &mut Cluster, id: u64, request: RequestId) -> Option<Refusal> {
    cluster.events(id).into_iter().find_map(|event| match event {
        Event::Refused { id, refusal } if id == request => Some(refusal),
        _ => None,
    })
}

fn ids(membership: &Membership) -> (Vec<u64>, Vec<u64>) {
    (membership.voters().iter().map(|id| id.0).collect(), membership.members().keys().map(|id| id.0).collect())
}

#[test]
fn bootstrap_needs_an_empty_log_and_ourselves() {
    let mut cluster = Cluster::with([(1, Vec::new())]);
    let stranger = cluster.request(1, Request::Bootstrap(Membership::of_voters([(NodeId(2), member(2))])));
    assert_eq!(refusal(&mut cluster, 1, stranger), Some(Refusal::Change(ChangeError::Unknown(NodeId(1)))));
    let first = cluster.request(1, Request::Bootstrap(voters(1)));
    let events = cluster.events(1);
    assert!(events.iter().any(|event| matches!(event, Event::Accepted { id, count: 0, .. } if *id == first)));
    assert!(events.contains(&Event::Peers(voters(1))), "or nobody can dial anybody");
    assert_eq!(cluster.raft(1).role(), Role::Leader, "a sole voter leads at once");
    let again = cluster.request(1, Request::Bootstrap(voters(1)));
    assert_eq!(refusal(&mut cluster, 1, again), Some(Refusal::NotEmpty));
}

#[test]
fn bootstrap_is_told_once_it_is_on_disk() {
    let mut cluster = Cluster::with([(1, Vec::new())]);
    cluster.node(1).prompt = false;
    cluster.request(1, Request::Bootstrap(voters(3)));
    assert!(!cluster.events(1).iter().any(|event| matches!(event, Event::Accepted { .. })));
    cluster.store(1);
    assert!(cluster.events(1).iter().any(|event| matches!(event, Event::Accepted { .. })));
}

#[test]
fn add_promote_remove_keeps_the_group_going() {
    let mut cluster = led_by_1();
    change(&mut cluster, Change::Add(member(4)));
    cluster.run(millis(200));
    assert_eq!(ids(cluster.raft(4).membership()), (vec![1, 2, 3], vec![1, 2, 3, 4]), "the learner has the log");
    assert!(cluster.events(1).contains(&Event::CaughtUp(NodeId(4))));
    change(&mut cluster, Change::Promote(NodeId(4)));
    cluster.run(millis(200));
    change(&mut cluster, Change::Remove(NodeId(3)));
    cluster.run(millis(200));
    cluster.propose(1, "a");
    cluster.run(millis(200));
    for id in [1, 2, 4] {
        assert_eq!(ids(cluster.raft(id).membership()), (vec![1, 2, 4], vec![1, 2, 4]));
        assert_eq!(cluster.commands(id), ["a"]);
    }
    assert!(cluster.commands(3).is_empty(), "who is removed gets no more");
    assert_eq!(cluster.raft(3).announced(), cluster.raft(3).log().membership_index(), "but learns of its removal");
    cluster.run(millis(5_000));
    assert_eq!(cluster.raft(3).role(), Role::Follower, "and disturbs nobody");
    assert_eq!(cluster.leader(), Some(1));
}

#[test]
fn caught_up_is_said_once() {
    let mut cluster = led_by_1();
    change(&mut cluster, Change::Add(member(4)));
    for _ in 0..20 {
        cluster.propose(1, "a");
        cluster.run(millis(50));
    }
    let said = cluster.events(1).iter().filter(|event| matches!(event, Event::CaughtUp(_))).count();
    assert_eq!(said, 1);
}

#[test]
fn caught_up_is_not_said_before_the_learner_has_the_log() {
    let mut cluster = led_by_1();
    cluster.cut = vec![NodeId(4)];
    change(&mut cluster, Change::Add(member(4)));
    cluster.run(millis(3_000));
    assert!(!cluster.events(1).contains(&Event::CaughtUp(NodeId(4))));
    cluster.cut.clear();
    cluster.run(millis(500));
    assert!(cluster.events(1).contains(&Event::CaughtUp(NodeId(4))));
}

#[test]
fn learner_neither_counts_nor_campaigns() {
    let mut cluster = led_by_1();
    change(&mut cluster, Change::Add(member(4)));
    cluster.run(millis(200));
    let before = cluster.raft(1).announced();
    cluster.cut = vec![NodeId(2), NodeId(3)];
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.raft(4).log().last(), cluster.raft(1).log().last(), "the learner holds it");
    assert_eq!(cluster.raft(1).announced(), before, "and yet it is not committed");
    cluster.run(millis(1_500));
    assert_eq!(cluster.raft(1).role(), Role::Follower, "nor does a learner keep a leader in office");
    cluster.cut = vec![NodeId(1), NodeId(2), NodeId(3)];
    cluster.run(millis(10_000));
    assert_eq!((cluster.raft(4).role(), cluster.deadline(4)), (Role::Follower, None));
}

#[test]
fn node_outside_its_own_view_still_votes() {
    // Its view may be old: the entry that makes it a voter may be one it has not got.
    let mut cluster = Cluster::with([(4, saved(&voters(3), 1, None, &[1]))]);
    cluster.now = cluster.now + millis(1_000);
    cluster.receive(4, 2, 2, hezong_raft::Body::RequestVote { last: Some(LogId::new(1, 2)), transfer: false });
    let answers = cluster.take_all();
    assert!(matches!(
        answers[..],
        [(4, 2, hezong_raft::Message { body: hezong_raft::Body::Vote { granted: true }, .. })]
    ));
}

#[test]
fn one_step_at_a_time() {
    let mut cluster = led_by_1();
    cluster.cut = vec![NodeId(2), NodeId(3)];
    change(&mut cluster, Change::Add(member(4)));
    let second = change(&mut cluster, Change::Remove(NodeId(2)));
    assert_eq!(refusal(&mut cluster, 1, second), Some(Refusal::ChangePending));
    cluster.cut.clear();
    cluster.run(millis(300));
    let third = change(&mut cluster, Change::Remove(NodeId(2)));
    assert_eq!(refusal(&mut cluster, 1, third), None);
}

#[test]
fn step_that_makes_no_sense_changes_nothing() {
    let mut cluster = led_by_1();
    let before = cluster.raft(1).log().last();
    let taken = Member { name: "other".into(), peer: member(2).peer, client: "c".into() };
    for (step, error) in [
        (Change::Add(taken), ChangeError::Taken(NodeId(2))),
        (Change::Promote(NodeId(9)), ChangeError::Unknown(NodeId(9))),
        (Change::Promote(NodeId(2)), ChangeError::Votes(NodeId(2))),
        (Change::Remove(NodeId(9)), ChangeError::Unknown(NodeId(9))),
    ] {
        let id = change(&mut cluster, step);
        assert_eq!(refusal(&mut cluster, 1, id), Some(Refusal::Change(error)));
    }
    let follower = cluster.request(2, Request::Change(Change::Remove(NodeId(3))));
    assert_eq!(refusal(&mut cluster, 2, follower), Some(Refusal::NotLeader(Some(NodeId(1)))));
    assert_eq!(cluster.raft(1).log().last(), before);
    let mut alone = Cluster::new(1);
    let last = alone.request(1, Request::Change(Change::Remove(NodeId(1))));
    assert_eq!(refusal(&mut alone, 1, last), Some(Refusal::Change(ChangeError::LastVoter(NodeId(1)))));
}

#[test]
fn ids_are_never_given_twice() {
    let mut cluster = led_by_1();
    change(&mut cluster, Change::Add(member(4)));
    cluster.run(millis(200));
    change(&mut cluster, Change::Remove(NodeId(4)));
    cluster.run(millis(200));
    change(&mut cluster, Change::Add(member(4)));
    cluster.run(millis(200));
    assert_eq!(ids(cluster.raft(1).membership()).1, [1, 2, 3, 5]);
}

#[test]
fn removed_leader_steps_down_once_it_is_committed() {
    let mut cluster = led_by_1();
    cluster.cut = vec![NodeId(2), NodeId(3)];
    change(&mut cluster, Change::Remove(NodeId(1)));
    cluster.settle();
    assert_eq!(cluster.raft(1).role(), Role::Leader, "it leads a group without itself");
    cluster.cut.clear();
    cluster.run(millis(300));
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    cluster.run(millis(4_000));
    let leader = cluster.leader().expect("the others go on");
    assert_ne!(leader, 1);
    assert_eq!(ids(cluster.raft(leader).membership()).0, [2, 3]);
}

#[test]
fn removed_leader_does_not_count_itself() {
    let mut cluster = led_by_1();
    change(&mut cluster, Change::Remove(NodeId(2)));
    cluster.run(millis(200));
    // Voters are 1 and 3. Without 1, node 3 alone decides; with 1 counted, 1 and its own disk would.
    cluster.cut = vec![NodeId(3)];
    let before = cluster.raft(1).announced();
    change(&mut cluster, Change::Remove(NodeId(1)));
    cluster.settle();
    assert_eq!(cluster.raft(1).announced(), before);
}

#[test]
fn truncated_step_is_rolled_back_and_announced() {
    let mut cluster = led_by_1();
    cluster.cut = vec![NodeId(1)];
    change(&mut cluster, Change::Add(member(9)));
    cluster.settle();
    assert_eq!(ids(cluster.raft(1).membership()).1, [1, 2, 3, 4]);
    cluster.elect(2);
    cluster.cut.clear();
    cluster.events(1);
    cluster.run(millis(500));
    assert_eq!(ids(cluster.raft(1).membership()).1, [1, 2, 3]);
    assert!(cluster.events(1).contains(&Event::Peers(voters(3))));
}

/// The log of node 3 ends in its own removal, which nobody else has: node 2 needs the vote of node 3, whose log is
/// longer, and node 3 is no voter in its own eyes. Only node 3 can be elected (§4.2.2 of the dissertation).
#[test]
fn removed_node_leads_once_more_if_nobody_else_can() {
    let members =
        voters(1).change(&Change::Add(member(2))).and_then(|m| m.change(&Change::Promote(NodeId(2)))).expect("two");
    let without_1 = members.change(&Change::Remove(NodeId(1))).expect("one is left");
    let mut disk = saved(&members, 1, None, &[1]);
    let id = LogId::new(1, 2);
    let removal = hezong_raft::Entry { id, time: Duration::ZERO, payload: Payload::Membership(without_1) };
    let mut cluster = Cluster::with([(2, disk.clone())]);
    disk.push(Write::Append(vec![removal].into()));
    cluster.add(Config::new(NodeId(1)), disk);
    cluster.run(millis(8_000));
    assert_eq!(cluster.leader(), Some(2), "node 1 led, committed its removal and left");
    assert!(cluster.raft(2).announced() >= Some(Index(2)));
    assert_eq!(ids(cluster.raft(2).membership()).0, [2]);
}

#[test]
fn sole_voter_that_may_have_granted_a_lease_waits_it_out() {
    let only_2 = Membership::of_voters([(NodeId(2), member(2))]);
    let mut cluster = Cluster::with([(2, saved(&only_2, 3, None, &[1, 3]))]);
    assert_eq!(cluster.leader(), None);
    cluster.run(millis(899));
    assert_eq!(cluster.leader(), None);
    cluster.run(millis(2));
    assert_eq!(cluster.leader(), Some(2));
    // A group that never had another member has nothing to wait for.
    let cluster = Cluster::with([(1, saved(&voters(1), 3, Some(1), &[1, 3]))]);
    assert_eq!(cluster.leader(), Some(1));
}

#[test]
fn version_may_be_used_once_agreed_and_never_left_once_used() {
    let versions = |members: &Membership| (members.version().0, members.used().0);
    let members = Membership::of_voters([(NodeId(1), member(1))]);
    assert_eq!(versions(&members), (1, 1));
    let early = members.change(&Change::Use(Version(2)));
    assert_eq!(early, Err(ChangeError::NotAgreed { needed: Version(2), agreed: Version(1) }));
    let agreed = members.change(&Change::Agree(Version(2))).unwrap();
    assert_eq!(versions(&agreed), (2, 1));
    assert_eq!(agreed.change(&Change::Agree(Version(1))), Ok(members));
    let used = agreed.change(&Change::Use(Version(2))).unwrap();
    assert_eq!(versions(&used), (2, 2));
    assert_eq!(used.change(&Change::Agree(Version(1))), Err(ChangeError::InUse(Version(2))));
    // Whatever else changes, it stays so.
    let joined = used.change(&Change::Add(member(2))).unwrap();
    let left = joined.change(&Change::Promote(NodeId(2))).unwrap().change(&Change::Remove(NodeId(1))).unwrap();
    assert_eq!(versions(&left), (2, 2));
}
