//! Leadership transfer (§3.10 of the dissertation), and why no `default` read is old after it.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Cluster, member, saved, voters};
use hezong_base::{LogId, NodeId, RequestId, Term};
use hezong_raft::{Body, Change, Config, Event, ReadLevel, Refusal, Request, Role, TransferError};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many voters led by node 1, with everything committed.
fn led_by_1(count: u64) -> Cluster {
    let mut cluster = Cluster::new(count);
    cluster.elect(1);
    cluster.run(millis(200));
    cluster.events(1);
    cluster
}

fn transfer(cluster: &mut Cluster, to: impl Into<Option<u64>>) -> RequestId {
    cluster.request(1, Request::Transfer(to.into().map(NodeId)))
}

/// What node 1 was told of its request.
fn told(cluster: &mut Cluster, request: RequestId) -> Option<Event> {
    cluster.events(1).into_iter().find(|event| match event {
        Event::Transferred { id, .. } | Event::Refused { id, .. } | Event::Unknown { id } => *id == request,
        _ => false,
    })
}

#[test]
fn transfer_is_told_once_the_other_leads() {
    let mut cluster = led_by_1(3);
    let request = transfer(&mut cluster, 3);
    assert_eq!(told(&mut cluster, request), None, "it was asked, and that is all that is known");
    cluster.settle();
    let done = Event::Transferred { id: request, term: Term(2), leader: NodeId(3) };
    assert_eq!(told(&mut cluster, request), Some(done));
    assert_eq!(cluster.leader(), Some(3));
}

#[test]
fn transfer_without_a_name_goes_to_who_holds_most() {
    let mut cluster = led_by_1(5);
    cluster.cut = vec![NodeId(2), NodeId(5)];
    cluster.node(3).prompt = false;
    cluster.propose(1, "a");
    cluster.settle();
    let request = transfer(&mut cluster, None);
    cluster.node(3).prompt = true;
    cluster.settle();
    assert_eq!(cluster.leader(), Some(4), "2 and 5 did not hear of the entry, 3 has not stored it");
    assert!(matches!(told(&mut cluster, request), Some(Event::Transferred { leader: NodeId(4), .. })));
}

#[test]
fn transfer_takes_no_new_proposals_until_it_ends() {
    let mut cluster = led_by_1(3);
    cluster.node(2).prompt = false;
    cluster.propose(1, "before");
    transfer(&mut cluster, 2);
    let refused = |cluster: &mut Cluster, request| {
        let refused = Event::Refused { id: request, refusal: Refusal::Transferring(NodeId(2)) };
        cluster.events(1).contains(&refused)
    };
    let during = cluster.propose(1, "during");
    assert!(refused(&mut cluster, during));
    let change = cluster.request(1, Request::Change(Change::Add(member(4))));
    assert!(refused(&mut cluster, change));
    cluster.run(millis(1_000));
    let after = cluster.propose(1, "after");
    assert!(!refused(&mut cluster, after));
    cluster.settle();
    assert_eq!(cluster.commands(1), ["before", "after"]);
}

#[test]
fn transfer_ends_after_an_election_timeout() {
    let mut cluster = led_by_1(3);
    cluster.node(2).prompt = false;
    cluster.propose(1, "a");
    let request = transfer(&mut cluster, 2);
    cluster.run(millis(999));
    assert_eq!(told(&mut cluster, request), None);
    cluster.run(millis(1));
    let timed_out = Refusal::Transfer(TransferError::TimedOut(NodeId(2)));
    assert_eq!(told(&mut cluster, request), Some(Event::Refused { id: request, refusal: timed_out }));
    assert_eq!(cluster.leader(), Some(1));
    assert!(cluster.raft(1).status(cluster.now).lease.is_some(), "nobody was asked, so the lease was not given up");
}

#[test]
fn transfer_is_unknown_when_the_leader_hears_of_no_successor() {
    let mut cluster = led_by_1(3);
    // What the leader heard last lies back a while, so that it stops before the transfer's time is over.
    cluster.cut = vec![NodeId(1)];
    cluster.run(millis(500));
    let request = transfer(&mut cluster, 2);
    cluster.run(millis(1_000));
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    assert_eq!(told(&mut cluster, request), Some(Event::Unknown { id: request }));
}

#[test]
fn transfer_is_refused_with_the_leader_that_came_between() {
    let mut cluster = led_by_1(3);
    cluster.node(2).prompt = false;
    cluster.propose(1, "a");
    let request = transfer(&mut cluster, 2);
    cluster.receive(1, 3, 5, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None });
    let refused = Event::Refused { id: request, refusal: Refusal::NotLeader(Some(NodeId(3))) };
    assert_eq!(told(&mut cluster, request), Some(refused));
}

#[test]
fn transfer_nobody_else_votes() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    let request = transfer(&mut cluster, None);
    let refused = Event::Refused { id: request, refusal: Refusal::Transfer(TransferError::Nobody) };
    assert_eq!(told(&mut cluster, request), Some(refused));
}

#[test]
fn wish_of_a_stranger_is_ignored() {
    let mut cluster = led_by_1(3);
    // Not the leader; the leader of another term.
    for (from, term) in [(3, 1), (1, 0), (1, 9)] {
        cluster.receive(2, from, term, Body::TimeoutNow);
        assert_eq!(cluster.raft(2).role(), Role::Follower, "{from} in {term}");
    }
}

#[test]
fn wish_to_who_cannot_lead_is_ignored() {
    let mut cluster = led_by_1(3);
    cluster.add(Config::new(NodeId(4)), Vec::new());
    cluster.request(1, Request::Change(Change::Add(member(4))));
    cluster.run(millis(50));
    assert_eq!(cluster.raft(4).leader(), Some(NodeId(1)));
    cluster.receive(4, 1, 1, Body::TimeoutNow);
    assert_eq!(cluster.raft(4).role(), Role::Follower, "a learner");
    cluster.node(2).prompt = false;
    cluster.propose(1, "a");
    for _ in 0..11 {
        cluster.run(millis(100));
    }
    cluster.receive(2, 1, 1, Body::TimeoutNow);
    assert_eq!(cluster.raft(2).role(), Role::Follower, "its disk stalls");
}

/// Whether node 2 takes over the term and gives its vote, `since` the last heartbeat of node 1.
fn votes(cluster: &mut Cluster, term: u64, transfer: bool) -> bool {
    cluster.take_all();
    let ask = Body::RequestVote { last: Some(LogId::new(9, 9)), transfer };
    cluster.receive(2, 3, term, ask);
    cluster.take_all().iter().any(|(_, _, message)| matches!(message.body, Body::Vote { granted: true }))
}

#[test]
fn vote_for_a_transfer_disregards_leases_of_earlier_terms_only() {
    let mut cluster = led_by_1(3);
    assert!(!votes(&mut cluster, 2, false), "bound by the lease it granted");
    assert!(votes(&mut cluster, 2, true));
    // The leader of term 2 has another lease. A campaign for term 2 was wished by the leader of term 1, who has no say.
    cluster.receive(2, 1, 2, Body::Heartbeat { round: 1, lease: millis(900), committed: None });
    assert!(!votes(&mut cluster, 3, false));
    let mut cluster = Cluster::with([(2, saved(&voters(3), 2, None, &[1]))]);
    cluster.receive(2, 1, 2, Body::Heartbeat { round: 1, lease: millis(900), committed: None });
    assert!(!votes(&mut cluster, 2, true), "late by a term");
    assert!(votes(&mut cluster, 3, true));
}

#[test]
fn lease_is_not_taken_up_again_in_the_term() {
    let mut cluster = led_by_1(3);
    // Rounds that were sent with a lease and are acknowledged after it was given up give none either.
    cluster.timeout(1);
    let acknowledgements: Vec<_> = cluster.take_all().into_iter().filter(|(from, ..)| *from == 1).collect();
    transfer(&mut cluster, 2);
    let wish: Vec<_> = cluster.take_to(2);
    assert!(matches!(wish[..], [(1, hezong_raft::Message { body: Body::TimeoutNow, .. })]));
    for (from, to, message) in acknowledgements {
        cluster.receive(to, from, message.term.0, message.body);
    }
    cluster.cut = vec![NodeId(2)];
    for _ in 0..30 {
        cluster.run(millis(100));
        let read = cluster.request(1, Request::Read(ReadLevel::Lease));
        let at_once = cluster.events(1).iter().any(|event| matches!(event, Event::Readable { id, .. } if *id == read));
        assert!(!at_once, "a round is what it takes");
        cluster.settle();
        assert!(cluster.events(1).iter().any(|event| matches!(event, Event::Readable { id, .. } if *id == read)));
    }
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), Term(1)), "it leads on, without a lease");
    // The wish arrives after all, long after. Nothing that was promised stands in its way.
    cluster.cut.clear();
    cluster.run(millis(200));
    cluster.receive(2, 1, 1, Body::TimeoutNow);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(2));
    assert!(cluster.raft(2).status(cluster.now).lease.is_some(), "a new term, a new lease");
}

#[test]
fn stalled_disk_moves_leadership_within_one_and_a_half_election_timeouts() {
    for count in [3, 5] {
        let mut cluster = led_by_1(count);
        cluster.node(1).prompt = false;
        // Under load: some entry is always on its way.
        let began = cluster.now;
        let mut other = None;
        while other.is_none() && cluster.now < began + millis(3_000) {
            cluster.propose(1, "a");
            cluster.now = cluster.now + millis(1);
            for id in 1..=count {
                if cluster.deadline(id).is_some_and(|at| at <= cluster.now) {
                    cluster.timeout(id);
                }
            }
            for _ in 0..cluster.wire.len() {
                cluster.deliver_one();
            }
            other = cluster.leader().filter(|leader| *leader != 1);
        }
        let took = cluster.now.since(began);
        assert!(other.is_some() && took <= millis(1_500), "{took:?}");
    }
}

#[test]
fn stalled_disk_that_recovers_in_time_leads_on() {
    let mut cluster = led_by_1(3);
    cluster.cut = vec![NodeId(2), NodeId(3)];
    cluster.node(1).prompt = false;
    cluster.propose(1, "a");
    cluster.run(millis(800));
    // The others come back just before they would be given up, and lag.
    cluster.cut.clear();
    cluster.node(2).prompt = false;
    cluster.node(3).prompt = false;
    cluster.run(millis(400));
    assert!(cluster.raft(1).status(cluster.now).transfer.is_some());
    cluster.node(1).prompt = true;
    cluster.store(1);
    cluster.run(millis(1_000));
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), Term(1)));
    assert_eq!(cluster.raft(1).status(cluster.now).transfer, None);
}
