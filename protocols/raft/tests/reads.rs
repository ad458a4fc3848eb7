//! Reads at the leader and through followers. What the old leader may serve is RAFT-9, in `scenarios.rs`.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Cluster, member, saved, voters};
use hezong_base::{Index, NodeId, RequestId};
use hezong_raft::{Body, Config, Event, Membership, ReadLevel, Refusal, Request, Role};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn led_by_1() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.run(millis(200));
    cluster
}

fn outcomes(cluster: &mut Cluster, id: u64) -> Vec<(RequestId, Result<Option<Index>, Refusal>)> {
    let events = cluster.events(id).into_iter();
    events
        .filter_map(|event| match event {
            Event::Readable { id, index } => Some((id, Ok(index))),
            Event::Refused { id, refusal } => Some((id, Err(refusal))),
            _ => None,
        })
        .collect()
}

fn read(cluster: &mut Cluster, id: u64, level: ReadLevel) -> RequestId {
    cluster.request(id, Request::Read(level))
}

fn count(cluster: &Cluster, wanted: impl Fn(&Body) -> bool) -> usize {
    cluster.wire.iter().filter(|(.., message)| wanted(&message.body)).count()
}

#[test]
fn quorum_read_waits_for_a_round_that_began_behind_it() {
    let mut cluster = led_by_1();
    // A round is under way when the read arrives; its answers say nothing about the time after.
    cluster.timeout(1);
    let early = cluster.take_all();
    let id = read(&mut cluster, 1, ReadLevel::Quorum);
    for (_, to, message) in early {
        cluster.handle(to, hezong_base::Input::Message { from: NodeId(1), message });
    }
    let acks = cluster.take_all();
    for (from, _, message) in acks {
        cluster.receive(1, from, message.term.0, message.body);
    }
    assert!(outcomes(&mut cluster, 1).is_empty());
    cluster.settle();
    assert_eq!(outcomes(&mut cluster, 1), [(id, Ok(Some(Index(2))))]);
}

#[test]
fn many_reads_share_a_round() {
    let mut cluster = led_by_1();
    for _ in 0..1_000 {
        read(&mut cluster, 1, ReadLevel::Quorum);
    }
    assert_eq!(count(&cluster, |body| matches!(body, Body::Heartbeat { .. })), 2, "one round for the first read");
    let mut rounds = 0;
    while let Some((.., message)) = cluster.wire.front() {
        rounds += usize::from(matches!(message.body, Body::Heartbeat { .. }));
        cluster.deliver_one();
    }
    assert_eq!(rounds, 4, "and one for all that came meanwhile");
    assert_eq!(outcomes(&mut cluster, 1).len(), 1_000);
}

#[test]
fn one_voter_confirms_itself() {
    let mut cluster = Cluster::new(1);
    for level in [ReadLevel::Lease, ReadLevel::Quorum] {
        let id = read(&mut cluster, 1, level);
        assert_eq!(outcomes(&mut cluster, 1), [(id, Ok(Some(Index(1))))]);
    }
    // Asleep for an hour: its lease is over, but a round of one takes nobody else.
    cluster.now = cluster.now + Duration::from_secs(3_600);
    let id = read(&mut cluster, 1, ReadLevel::Lease);
    assert_eq!(outcomes(&mut cluster, 1), [(id, Ok(Some(Index(1))))]);
}

#[test]
fn reads_are_held_until_the_term_is_opened() {
    let mut cluster = led_by_1();
    cluster.cut = vec![NodeId(1)];
    cluster.now = cluster.now + millis(1_000);
    while cluster.raft(2).role() != Role::Leader {
        cluster.timeout(2);
        while cluster.raft(2).role() != Role::Leader && cluster.deliver_one() {}
    }
    // Its lease is granted and its round confirmed, but its empty entry is not committed.
    let mut appends = Vec::new();
    let ids = [ReadLevel::Lease, ReadLevel::Quorum].map(|level| read(&mut cluster, 2, level));
    while let Some((from, to, message)) = cluster.wire.pop_front() {
        match message.body {
            Body::Append { .. } => appends.push((from, to, message)),
            _ => cluster.handle(to.0, hezong_base::Input::Message { from, message }),
        }
    }
    assert!(cluster.raft(2).status(cluster.now).lease.is_some());
    assert!(outcomes(&mut cluster, 2).is_empty());
    cluster.wire.extend(appends);
    cluster.settle();
    assert_eq!(outcomes(&mut cluster, 2), ids.map(|id| (id, Ok(Some(Index(3))))));
}

#[test]
fn default_read_falls_back_to_a_round_without_leases() {
    let mut cluster = Cluster::with([]);
    for id in 1..=3 {
        cluster.add(Config { lease: Duration::ZERO, ..Config::new(NodeId(id)) }, saved(&voters(3), 0, None, &[]));
    }
    cluster.elect(1);
    cluster.run(millis(300));
    assert_eq!(cluster.raft(1).status(cluster.now).lease, None);
    cluster.events(1);
    let id = read(&mut cluster, 1, ReadLevel::Lease);
    assert!(outcomes(&mut cluster, 1).is_empty());
    cluster.settle();
    assert_eq!(outcomes(&mut cluster, 1), [(id, Ok(Some(Index(1))))]);
}

#[test]
fn lease_is_counted_from_before_the_heartbeat_left_less_the_drift() {
    let mut cluster = led_by_1();
    cluster.timeout(1);
    let sent_at = cluster.now;
    cluster.now = cluster.now + millis(50);
    cluster.settle();
    assert_eq!(cluster.raft(1).status(cluster.now).lease, Some((sent_at + millis(891)).since(cluster.now)));
}

#[test]
fn lease_counts_only_what_was_granted() {
    let mut cluster = led_by_1();
    cluster.now = cluster.now + millis(920);
    cluster.timeout(1);
    let round = cluster.take_all().into_iter().find_map(|(.., message)| match message.body {
        Body::Heartbeat { round, .. } => Some(round),
        _ => None,
    });
    let (round, term) = (round.expect("a round left"), cluster.raft(1).term().0);
    // Both heard us, and bind themselves for less than was asked: we lead, without a lease.
    for from in [2, 3] {
        cluster.receive(1, from, term, Body::HeartbeatAck { round, lease: millis(899) });
    }
    let status = cluster.raft(1).status(cluster.now);
    assert_eq!((status.role, status.lease), (Role::Leader, None));
    cluster.receive(1, 2, term, Body::HeartbeatAck { round, lease: millis(900) });
    assert!(cluster.raft(1).status(cluster.now).lease.is_some());
}

#[test]
fn lease_is_granted_for_no_longer_than_a_restart_would_keep_it() {
    let short = |id| Config { lease: millis(45), ..Config::new(NodeId(id)) };
    let mut cluster = Cluster::with([]);
    cluster.add(short(1), saved(&voters(3), 1, None, &[]));
    cluster.now = cluster.now + millis(950);
    cluster.receive(1, 2, 1, Body::Heartbeat { round: 1, lease: millis(900), committed: None });
    let granted = cluster.take_all().into_iter().find_map(|(.., message)| match message.body {
        Body::HeartbeatAck { lease, .. } => Some(lease),
        _ => None,
    });
    // It would come back bound for 45 ms and not remember more; so it must not let anybody count on more.
    assert_eq!(granted, Some(millis(45)));
}

#[test]
fn lease_granted_before_a_restart_with_a_shorter_one_is_waited_out() {
    let only_2 = Membership::of_voters([(NodeId(2), member(2))]);
    let mut cluster = Cluster::with([]);
    let shorter = Config { lease: millis(45), lease_granted: millis(900), ..Config::new(NodeId(2)) };
    cluster.add(shorter, saved(&only_2, 3, None, &[1, 3]));
    cluster.run(millis(899));
    assert_eq!(cluster.leader(), None, "a leader may still read under the lease it was granted for 900 ms");
    cluster.run(millis(2));
    assert_eq!(cluster.leader(), Some(2));
}

#[test]
fn lease_needs_a_majority() {
    let mut cluster = led_by_1();
    cluster.cut = vec![NodeId(2), NodeId(3)];
    let before = cluster.raft(1).status(cluster.now).lease.expect("it had one");
    cluster.run(millis(500));
    assert_eq!(cluster.raft(1).status(cluster.now).lease, Some(before - millis(500)), "and is not renewed alone");
}

#[test]
fn follower_asks_its_leader_and_shares_the_question() {
    let mut cluster = led_by_1();
    let ids: Vec<_> = (0..100).map(|_| read(&mut cluster, 2, ReadLevel::Quorum)).collect();
    assert_eq!(count(&cluster, |body| matches!(body, Body::ReadIndex { .. })), 1);
    cluster.settle();
    assert_eq!(outcomes(&mut cluster, 2), ids.into_iter().map(|id| (id, Ok(Some(Index(2))))).collect::<Vec<_>>());
}

#[test]
fn follower_never_asks_twice_under_one_token() {
    let mut cluster = led_by_1();
    let mut tokens = std::collections::BTreeSet::new();
    let id = read(&mut cluster, 2, ReadLevel::Quorum);
    let first = cluster.take_all();
    for _ in 0..2 {
        cluster.timeout(2);
    }
    for (.., message) in first.iter().cloned().chain(cluster.take_all()) {
        if let Body::ReadIndex { token } = message.body {
            assert!(tokens.insert(token), "a token was used again");
        }
    }
    assert_eq!(tokens.len(), 3);
    // An answer to an attempt that was given up serves nothing: a later read may wait under the next one.
    let Body::ReadIndex { token } = first[0].2.body else { panic!("{first:?}") };
    let term = cluster.raft(2).term().0;
    cluster.receive(2, 1, term, Body::ReadIndexAck { token, index: Some(Index(1)) });
    assert!(outcomes(&mut cluster, 2).is_empty());
    let last = *tokens.iter().find(|other| **other == token.wrapping_add(2)).expect("counted up");
    cluster.receive(2, 1, term, Body::ReadIndexAck { token: last, index: Some(Index(2)) });
    assert_eq!(outcomes(&mut cluster, 2), [(id, Ok(Some(Index(2))))]);
}

#[test]
fn follower_gives_up_after_an_election_timeout() {
    let mut cluster = led_by_1();
    let id = read(&mut cluster, 2, ReadLevel::Quorum);
    // Its leader is heard, and answers no question.
    for _ in 0..12 {
        cluster.now = cluster.now + millis(100);
        cluster.wire.retain(|(.., message)| !matches!(message.body, Body::ReadIndex { .. }));
        cluster.settle();
        cluster.handle(1, hezong_base::Input::Timeout);
        cluster.settle();
        cluster.handle(2, hezong_base::Input::Timeout);
    }
    assert_eq!(outcomes(&mut cluster, 2), [(id, Err(Refusal::NotLeader(Some(NodeId(1)))))]);
}

#[test]
fn reads_are_refused_where_they_cannot_be_served() {
    let mut cluster = led_by_1();
    let lease = read(&mut cluster, 2, ReadLevel::Lease);
    assert_eq!(outcomes(&mut cluster, 2), [(lease, Err(Refusal::NotLeader(Some(NodeId(1)))))]);
    // A new leader, or none: whatever waits is refused, for it would never be answered.
    let waiting = read(&mut cluster, 2, ReadLevel::Quorum);
    let term = cluster.raft(2).term().0;
    cluster.receive(2, 3, term + 1, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None });
    assert_eq!(outcomes(&mut cluster, 2), [(waiting, Err(Refusal::NotLeader(None)))]);
    let mut alone = Cluster::with([(1, saved(&voters(3), 1, None, &[1]))]);
    let none = read(&mut alone, 1, ReadLevel::Quorum);
    assert_eq!(outcomes(&mut alone, 1), [(none, Err(Refusal::NotLeader(None)))]);
}

#[test]
fn reads_that_wait_are_bounded() {
    let mut cluster = Cluster::with([]);
    for id in 1..=3 {
        cluster.add(Config { reads_max: 5, ..Config::new(NodeId(id)) }, saved(&voters(3), 0, None, &[]));
    }
    cluster.elect(1);
    cluster.run(millis(200));
    for node in [1, 2] {
        cluster.events(node);
        for _ in 0..8 {
            read(&mut cluster, node, ReadLevel::Quorum);
        }
        let refused = outcomes(&mut cluster, node);
        assert_eq!(refused.len(), 3);
        assert!(refused.iter().all(|(_, outcome)| *outcome == Err(Refusal::Overloaded)));
        cluster.settle();
        assert_eq!(outcomes(&mut cluster, node).len(), 5);
    }
}
