//! Logs that were damaged: what a node owes, and what it may do meanwhile (`damage.rs`).

mod common;

use std::time::Duration;

use common::{Cluster, entries, member, saved, voters};
use hezong_base::{Index, LogId, NodeId, Protocol, RequestId, Term};
use hezong_raft::{Base, Body, Event, Membership, Message, Raft, Refusal, Request, Role, Saved, TransferError, Write};

/// What a disk holds whose log was `terms` once and was damaged at its end, which was `owed`.
fn damaged(count: u64, term: u64, owed: LogId, terms: &[u64]) -> Vec<Write> {
    let mut writes = saved(&voters(count), term, None, terms);
    writes.push(Write::Vote { term: Term(term), vote: None, owed: Some(owed) });
    writes
}

fn refused(id: RequestId, error: TransferError) -> Event {
    Event::Refused { id, refusal: Refusal::Transfer(error) }
}

fn sent(cluster: &mut Cluster) -> Vec<Body> {
    cluster.wire.drain(..).map(|(_, _, Message { body, .. })| body).collect()
}

/// Node 2 of three; held three entries, the last of term 2, and has one left.
fn one_of_three_left() -> Cluster {
    let mut cluster = Cluster::with([(2, damaged(3, 2, LogId::new(2, 3), &[1]))]);
    // A lease it may have granted is over.
    cluster.now = cluster.now + Duration::from_secs(2);
    cluster
}

#[test]
fn debt_votes_only_for_what_it_once_held() {
    let refused = [LogId::new(1, 9), LogId::new(2, 2)];
    let granted = [LogId::new(2, 3), LogId::new(3, 1)];
    for (last, wanted) in refused.map(|last| (last, false)).into_iter().chain(granted.map(|last| (last, true))) {
        let mut cluster = one_of_three_left();
        cluster.receive(2, 1, 4, Body::RequestPreVote { last: Some(last) });
        assert_eq!(sent(&mut cluster), [Body::PreVote { granted: wanted }], "{last}");
        cluster.receive(2, 1, 4, Body::RequestVote { last: Some(last), transfer: false });
        assert_eq!(sent(&mut cluster), [Body::Vote { granted: wanted }], "{last}");
        assert_eq!(cluster.raft(2).term(), Term(4));
    }
}

#[test]
fn debt_is_remembered_with_every_term() {
    let mut cluster = one_of_three_left();
    cluster.receive(2, 1, 5, Body::RequestVote { last: None, transfer: false });
    let mut found = Saved::default();
    cluster.node(2).disk.iter().for_each(|write| Raft::save(&mut found, write));
    assert_eq!((found.term, found.owed), (Term(5), Some(LogId::new(2, 3))));
}

#[test]
fn debt_does_not_campaign() {
    let mut cluster = one_of_three_left();
    assert_eq!(cluster.deadline(2), None);
    cluster.receive(2, 1, 2, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None });
    cluster.wire.clear();
    cluster.receive(2, 1, 2, Body::TimeoutNow);
    cluster.timeout(2);
    assert_eq!((sent(&mut cluster), cluster.raft(2).role()), (Vec::new(), Role::Follower));
}

/// Nobody else could have what is lost, and nobody else is needed to be elected: all the same it does not lead.
#[test]
fn debt_of_a_sole_voter_stands_still() {
    let mut cluster = Cluster::with([(1, damaged(1, 2, LogId::new(2, 3), &[1]))]);
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    assert_eq!(cluster.raft(1).owed(), Some(LogId::new(2, 3)));
    let refused = cluster.request(1, Request::Propose(vec!["x".into()]));
    let refusal = Refusal::NotLeader(None);
    assert!(cluster.events(1).contains(&Event::Refused { id: refused, refusal }));
}

/// The leader may count on an acknowledgement from before the damage, for a log that has another entry there now.
#[test]
fn debt_believes_no_commit_of_a_heartbeat() {
    let mut cluster = one_of_three_left();
    cluster.receive(2, 1, 3, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: Some(Index(1)) });
    assert_eq!(cluster.raft(2).announced(), None);
    cluster.receive(2, 1, 3, Body::Heartbeat { round: 2, lease: Duration::ZERO, committed: Some(Index(3)) });
    let ack = |round| Body::HeartbeatAck { round, lease: Duration::ZERO };
    let sent = sent(&mut cluster);
    let [first, Body::LogLost { owed, last, token }, second, lost] = &sent[..] else { panic!("sent {sent:?}") };
    assert_eq!((first, second), (&ack(1), &ack(2)), "heard");
    assert_eq!((*owed, *last), (LogId::new(2, 3), Some(LogId::new(1, 1))), "and told where the log ends");
    assert_eq!(*lost, Body::LogLost { owed: *owed, last: *last, token: *token });
}

#[test]
fn debt_ends_when_the_log_is_as_up_to_date_again() {
    let mut cluster = one_of_three_left();
    let lacking = entries(&[1, 2])[1..].to_vec();
    let previous = Some(LogId::new(1, 1));
    cluster.receive(2, 1, 3, Body::Append { previous, entries: lacking.into(), committed: Some(Index(2)) });
    assert!(sent(&mut cluster).contains(&Body::Appended { matched: Some(Index(2)) }), "it acknowledges what it holds");
    assert_eq!(cluster.raft(2).announced(), Some(Index(2)));
    assert_eq!(cluster.raft(2).owed(), Some(LogId::new(2, 3)));
    let later = entries(&[1, 2, 3])[2..].to_vec();
    cluster.receive(2, 1, 3, Body::Append { previous: Some(LogId::new(2, 2)), entries: later.into(), committed: None });
    assert_eq!(cluster.raft(2).owed(), None, "(3, 3) is more than (2, 3)");
    assert!(cluster.deadline(2).is_some(), "it may campaign again");
    cluster.crash(2);
    cluster.start(2);
    assert_eq!(cluster.raft(2).owed(), None);
}

/// A leader that never stopped believes that the member holds all of its log.
#[test]
fn leader_takes_back_what_a_damaged_member_acknowledged() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for command in ["a", "b", "c"] {
        cluster.propose(1, command);
    }
    cluster.run(Duration::from_secs(1));
    let last = cluster.raft(2).log().last().expect("it has some");
    let late = Body::Appended { matched: Some(last.index) };
    cluster.crash(2);
    let note = Write::Vote { term: Term(1), vote: Some(NodeId(1)), owed: Some(last) };
    cluster.node(2).disk.extend([Write::Truncate(Index(2)), note]);
    cluster.start(2);
    assert_eq!(cluster.raft(2).log().last_index(), Some(Index(1)));
    // Even when an acknowledgement from before comes in between.
    cluster.run(Duration::from_millis(150));
    cluster.receive(1, 2, 1, late);
    cluster.run(Duration::from_secs(1));
    assert_eq!((cluster.raft(2).log().last(), cluster.raft(2).owed()), (Some(last), None));
    assert_eq!(cluster.commands(2), ["a", "b", "c"]);
}

/// A repeated or late report of a loss that was made good costs nothing.
#[test]
fn leader_disregards_a_loss_it_knows_of() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.run(Duration::from_secs(1));
    cluster.wire.clear();
    let last = cluster.raft(1).log().last();
    cluster.receive(1, 2, 1, Body::LogLost { owed: LogId::new(1, 1), last, token: 7 });
    assert_eq!(sent(&mut cluster), []);
}

#[test]
fn leader_hands_over_to_nobody_who_owes() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.run(Duration::from_millis(500));
    let owed = cluster.raft(1).log().last().expect("it has some");
    for id in [2, 3] {
        cluster.receive(1, id, 1, Body::LogLost { owed, last: None, token: 7 });
    }
    for (to, error) in [(Some(NodeId(3)), TransferError::Incomplete(NodeId(3))), (None, TransferError::Nobody)] {
        let id = cluster.request(1, Request::Transfer(to));
        assert!(cluster.events(1).contains(&refused(id, error)));
    }
    cluster.run(Duration::from_millis(500));
    cluster.request(1, Request::Transfer(Some(NodeId(3))));
    cluster.run(Duration::from_millis(500));
    assert_eq!(cluster.leader(), Some(3));
}

#[test]
fn leader_chooses_a_successor_that_lacks_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    // Of two that hold as much, it would take the one that was heard last.
    cluster.receive(1, 2, 1, Body::RequestSnapshot);
    cluster.now = cluster.now + Duration::from_millis(10);
    cluster.receive(1, 2, 1, Body::Appended { matched: Some(Index(1)) });
    let id = cluster.request(1, Request::Transfer(Some(NodeId(2))));
    assert!(cluster.events(1).contains(&refused(id, TransferError::Incomplete(NodeId(2)))));
    cluster.request(1, Request::Transfer(None));
    cluster.settle();
    assert_eq!(cluster.leader(), Some(3));
}

/// One of two voters, led by the other in term 1, lost nothing, and believes that it may owe entries up to the 514th.
fn owes_what_never_was() -> Cluster {
    let mut cluster = Cluster::new(2);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.run(Duration::from_secs(1));
    cluster.crash(2);
    let note = Write::Vote { term: Term(1), vote: Some(NodeId(1)), owed: Some(LogId::new(1, 514)) };
    cluster.node(2).disk.push(note);
    cluster.start(2);
    cluster
}

/// Nobody could be elected once that leader had ended.
#[test]
fn debt_of_what_never_was_ends_when_its_leader_says_so() {
    let mut cluster = owes_what_never_was();
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.raft(2).owed(), None);
    cluster.crash(1);
    cluster.crash(2);
    cluster.start(1);
    cluster.start(2);
    assert_eq!(cluster.raft(2).owed(), None, "that is on disk");
    cluster.run(Duration::from_secs(20));
    assert!(cluster.leader().is_some());
}

/// Less was lost then than now.
#[test]
fn debt_is_not_lowered_by_what_an_earlier_life_was_told() {
    let mut cluster = owes_what_never_was();
    cluster.receive(2, 1, 1, Body::Heartbeat { round: 90, lease: Duration::ZERO, committed: None });
    let report = sent(&mut cluster).pop().expect("it reports");
    let Body::LogLost { token, .. } = report else { panic!("{report:?}") };
    cluster.crash(2);
    cluster.start(2);
    cluster.receive(2, 1, 1, Body::Heartbeat { round: 91, lease: Duration::ZERO, committed: None });
    let end = LogId::new(1, 400);
    cluster.receive(2, 1, 1, Body::LogLostAck { token, end });
    assert_eq!(cluster.raft(2).owed(), Some(LogId::new(1, 514)));
    let report = sent(&mut cluster).pop().expect("it reports");
    let Body::LogLost { token, .. } = report else { panic!("{report:?}") };
    cluster.receive(2, 1, 1, Body::LogLostAck { token, end });
    assert_eq!(cluster.raft(2).owed(), Some(end));
}

/// A crash would bring it back, when others count on this node being whole.
#[test]
fn debt_ends_when_what_was_lost_is_on_disk() {
    let mut cluster = one_of_three_left();
    cluster.node(2).prompt = false;
    let lacking = entries(&[1, 2, 2])[1..].to_vec();
    let previous = Some(LogId::new(1, 1));
    cluster.receive(2, 1, 2, Body::Append { previous, entries: lacking.into(), committed: None });
    assert_eq!(cluster.raft(2).owed(), Some(LogId::new(2, 3)));
    cluster.store(2);
    assert_eq!(cluster.raft(2).owed(), None);
}

/// Nobody who lacks what the damaged node held can be elected by it; with whoever has it, everything goes on.
#[test]
fn debt_keeps_what_only_one_other_has() {
    let mut cluster = Cluster::with([
        (1, saved(&voters(3), 1, None, &[1, 1, 1])),
        (2, damaged(3, 1, LogId::new(1, 3), &[1])),
        (3, saved(&voters(3), 1, None, &[1])),
    ]);
    cluster.crash(1);
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.leader(), None);
    cluster.start(1);
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.leader(), Some(1));
    for id in 1..=3 {
        assert_eq!(cluster.commands(id)[..3], ["1@1", "2@1", "3@1"], "node {id}");
        assert_eq!(cluster.raft(id).owed(), None);
    }
}

/// Node 1 was alone once, and others came since. Damaged back to then, it still granted a lease.
#[test]
fn damaged_back_to_when_it_was_alone_it_keeps_the_lease_it_granted() {
    let alone = Membership::of_voters([(NodeId(1), member(1))]);
    let mut cluster = Cluster::new(3);
    cluster.elect(2);
    cluster.propose(2, "x");
    cluster.run(Duration::from_millis(400));
    let (last, term) = (cluster.raft(2).log().last().unwrap(), cluster.raft(2).term());
    cluster.crash(1);
    let mut disk = saved(&alone, term.0, Some(2), &[]);
    disk.push(Write::Vote { term, vote: Some(NodeId(2)), owed: Some(last) });
    cluster.node(1).disk = disk;
    cluster.cut = vec![NodeId(2)];
    cluster.start(1);
    cluster.wire.clear();
    // Somebody missed the leader's last heartbeats.
    cluster.receive(1, 3, term.0 + 1, Body::RequestVote { last: Some(last), transfer: false });
    assert!(cluster.raft(2).status(cluster.now).lease.is_some(), "the lease runs");
    assert_eq!(sent(&mut cluster), [], "who granted it votes for nobody");
}

/// A snapshot's state was durable before its term was, and an earlier batch of the log is damaged.
#[test]
fn base_of_a_later_term_than_the_stored_one_raises_it() {
    let base = Base { last: Some(LogId::new(6, 9)), time: Duration::ZERO, membership: voters(3) };
    let note = Write::Vote { term: Term(5), vote: Some(NodeId(1)), owed: Some(LogId::new(5, 9)) };
    let cluster = Cluster::with([(2, vec![Write::Reset(base), note])]);
    assert_eq!((cluster.raft(2).role(), cluster.raft(2).term()), (Role::Follower, Term(6)));
}
