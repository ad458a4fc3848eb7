//! Logs that were damaged: histories by which promises were broken once.

mod common;

use std::time::Duration;

use common::{Cluster, member, saved, voters};
use hezong_base::{Index, LogId, NodeId, Term};
use hezong_raft::{Body, Change, Config, Event, Request, Write};

const NOTHING: Duration = Duration::ZERO;

/// Node 2 of three in term 3. It once led term 2 and wrote two entries that nobody else got; the leader of term 3 made it
/// replace them by entries of term 1, which it acknowledged. The replacement lies in a gap of its log: what it has left is
/// the log of before.
fn replaced_and_damaged(owed: LogId, terms: &[u64]) -> Cluster {
    let mut disk = saved(&voters(3), 3, None, terms);
    disk.push(Write::Vote { term: Term(3), vote: None, owed: Some(owed) });
    Cluster::with([(2, disk)])
}

/// It was repaired to the log of an earlier time, which is more up to date than what it ended with.
#[test]
fn log_of_an_earlier_time_believes_no_commit_of_a_heartbeat() {
    // (1, 5) was the end, acknowledged up to (1, 4) at least; a heartbeat of then is late. Owing (1, 5), it would owe nothing.
    let mut cluster = replaced_and_damaged(LogId::new(3, 5), &[1, 1, 2, 2]);
    cluster.receive(2, 1, 3, Body::Heartbeat { round: 9, lease: NOTHING, committed: Some(Index(4)) });
    assert_eq!(cluster.raft(2).announced(), None, "entries of term 2 that nobody else has are not committed");
}

/// Where the member's log ends, the leader has an entry of an earlier term, which the member acknowledged once and does not
/// hold any more.
#[test]
fn leader_takes_back_what_a_member_with_an_earlier_log_acknowledged() {
    let mut cluster = Cluster::with([
        (1, saved(&voters(3), 2, None, &[1, 1, 1, 1, 1])),
        (2, saved(&voters(3), 2, None, &[1, 1])),
        (3, saved(&voters(3), 2, None, &[1, 1])),
    ]);
    // It led term 2, and wrote two entries; replacing them lies in the gap, and where the log ended is told behind it.
    cluster.crash(2);
    cluster.elect(1);
    let term = cluster.raft(1).term();
    cluster.receive(1, 2, term.0, Body::Appended { matched: Some(Index(4)) });
    let mut disk = saved(&voters(3), term.0, None, &[1, 1, 2, 2]);
    disk.push(Write::Vote { term, vote: None, owed: Some(LogId { term, index: Index(4) }) });
    cluster.node(2).disk = disk;
    cluster.wire.clear();
    cluster.start(2);
    cluster.crash(3);
    cluster.propose(1, "x");
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.raft(1).term(), term);
    assert_eq!(cluster.raft(2).owed(), None, "{:?}", cluster.raft(1).status(cluster.now).progress);
    assert_eq!(cluster.commands(1).last().map(String::as_str), Some("x"), "nodes 1 and 2 are a majority");
}

/// Its disk has not got that entry yet; were it to crash, nobody could be elected by whoever owes it.
#[test]
fn leader_names_no_end_that_a_crash_would_take_from_it() {
    let mut cluster = Cluster::new(2);
    cluster.elect(1);
    cluster.node(1).prompt = false;
    cluster.propose(1, "x");
    cluster.wire.clear();
    let answers = |cluster: &Cluster| {
        cluster.wire.iter().filter(|(_, _, message)| matches!(message.body, Body::LogLostAck { .. })).count()
    };
    let last = cluster.raft(1).log().id_at(Index(1));
    cluster.receive(1, 2, 1, Body::LogLost { owed: LogId::new(1, 514), last, token: 7 });
    assert_eq!(answers(&cluster), 0);
    cluster.store(1);
    assert_eq!(answers(&cluster), 1);
}

/// The leader appends before its next heartbeat, which the member would answer by telling what it lost.
#[test]
fn leader_does_not_probe_for_ever_what_a_member_acknowledged_and_lost() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for command in ["a", "b", "c"] {
        cluster.propose(1, command);
    }
    cluster.run(Duration::from_secs(1));
    let last = cluster.raft(2).log().last();
    cluster.crash(2);
    let note = Write::Vote { term: Term(1), vote: Some(NodeId(1)), owed: last };
    cluster.node(2).disk.extend([Write::Truncate(Index(2)), note]);
    cluster.propose(1, "while it was down");
    cluster.settle();
    cluster.start(2);
    cluster.propose(1, "d");
    let sent = (0..1_000).take_while(|_| cluster.deliver_one()).count();
    assert!(sent < 50, "{sent} messages without any time passing");
}

/// Its log is gone, and the leader knows.
#[test]
fn learner_with_a_debt_is_not_promoted() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(2));
    cluster.request(1, Request::Change(Change::Add(member(2))));
    cluster.add(Config::new(NodeId(2)), Vec::new());
    cluster.propose(1, "x");
    cluster.run(Duration::from_secs(1));
    assert!(cluster.events(1).contains(&Event::CaughtUp(NodeId(2))));
    let last = cluster.raft(1).log().last().unwrap();
    cluster.receive(1, 2, last.term.0, Body::LogLost { owed: last, last: None, token: 7 });
    let id = cluster.request(1, Request::Change(Change::Promote(NodeId(2))));
    let is_refused = |event: &Event| matches!(event, Event::Refused { id: of, .. } if *of == id);
    assert!(cluster.events(1).iter().any(is_refused));
}
