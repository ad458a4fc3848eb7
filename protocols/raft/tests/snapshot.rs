//! Snapshots (§7), and what the log makes of them (RAFT-13).

mod common;

use std::time::Duration;

use common::{Cluster, entries, voters};
use hezong_base::{Index, Input, LogId, NodeId, RequestId, Term, Time};
use hezong_raft::{Answer, Ask, Base, Body, Event, Message, Request, SnapshotId, Write};

const OFFER: SnapshotId = SnapshotId(7);

fn base(term: u64, index: u64) -> Base {
    Base { last: Some(LogId::new(term, index)), time: Duration::from_millis(index), membership: voters(3) }
}

/// Node 2 follows node 1, which leads term 2, and is offered a snapshot by it.
fn offered(base: Base) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.node(2).prompt = true;
    cluster.receive(2, 1, 2, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None });
    cluster.receive(2, 1, 2, Body::InstallSnapshot { id: OFFER, base });
    cluster
}

fn sent(cluster: &mut Cluster) -> Vec<Body> {
    cluster.wire.drain(..).map(|(_, _, Message { body, .. })| body).collect()
}

fn fetched(cluster: &mut Cluster, id: u64, base: Option<Base>) {
    let (ask, _) = cluster.node(id).asks.pop_front().expect("it was asked for");
    cluster.handle(id, Input::Answered { id: ask, answer: Answer::SnapshotFetched(base) });
}

#[test]
fn snapshot_behind_replaces_the_log() {
    let mut cluster = offered(base(2, 9));
    let asked = cluster.node(2).asks.front().cloned().expect("asked for").1;
    assert_eq!(asked, Ask::FetchSnapshot { from: NodeId(1), id: OFFER, base: base(2, 9) });
    // Offered again before it is there: it is being fetched already.
    cluster.receive(2, 1, 2, Body::InstallSnapshot { id: OFFER, base: base(2, 9) });
    assert_eq!(cluster.node(2).asks.len(), 1);
    sent(&mut cluster);
    fetched(&mut cluster, 2, Some(base(2, 9)));
    assert!(sent(&mut cluster).contains(&Body::Appended { matched: Some(Index(9)) }));
    assert_eq!(cluster.raft(2).log().last(), Some(LogId::new(2, 9)));
    assert_eq!(cluster.raft(2).announced(), Some(Index(9)));
    assert!(cluster.node(2).disk.contains(&Write::Reset(base(2, 9))));
}

#[test]
fn snapshot_ahead_keeps_the_suffix() {
    let mut cluster = Cluster::new(3);
    let entries = entries(&[1, 1, 1, 1]).into();
    cluster.receive(2, 1, 2, Body::Append { previous: None, entries, committed: None });
    sent(&mut cluster);
    cluster.receive(2, 1, 2, Body::InstallSnapshot { id: OFFER, base: base(1, 2) });
    assert_eq!(cluster.node(2).asks.len(), 0, "its log leads there anyhow");
    let sent = sent(&mut cluster);
    assert!(sent.contains(&Body::SnapshotInstalled { id: OFFER, installed: true }), "{sent:?}");
    assert!(sent.contains(&Body::Appended { matched: Some(Index(2)) }), "{sent:?}");
    assert_eq!(cluster.raft(2).log().last(), Some(LogId::new(1, 4)));
    assert_eq!(cluster.raft(2).announced(), Some(Index(2)), "what a snapshot covers is committed");
}

#[test]
fn snapshot_conflicting_suffix_is_voided() {
    let mut cluster = Cluster::new(3);
    let entries = entries(&[1, 1, 1, 1]).into();
    cluster.node(2).prompt = false;
    cluster.receive(2, 3, 1, Body::Append { previous: None, entries, committed: None });
    cluster.receive(2, 1, 2, Body::InstallSnapshot { id: OFFER, base: base(2, 3) });
    fetched(&mut cluster, 2, Some(base(2, 3)));
    // The write of what was voided is reported: it counts for nothing beyond the base.
    cluster.store(2);
    let status = cluster.raft(2).status(Time::from_millis(2_000));
    assert_eq!((status.last, status.stored), (Some(LogId::new(2, 3)), Some(Index(3))));
}

#[test]
fn snapshot_failed_is_said_and_another_taken() {
    let mut cluster = offered(base(2, 9));
    sent(&mut cluster);
    fetched(&mut cluster, 2, None);
    assert_eq!(sent(&mut cluster), [Body::SnapshotInstalled { id: OFFER, installed: false }]);
    cluster.receive(2, 1, 2, Body::InstallSnapshot { id: SnapshotId(8), base: base(2, 12) });
    let asked = cluster.node(2).asks.front().cloned().expect("asked for").1;
    assert_eq!(asked, Ask::FetchSnapshot { from: NodeId(1), id: SnapshotId(8), base: base(2, 12) });
}

#[test]
fn snapshot_of_another_leader_replaces_the_fetching() {
    let mut cluster = offered(base(2, 9));
    cluster.receive(2, 3, 4, Body::InstallSnapshot { id: SnapshotId(8), base: base(2, 12) });
    assert_eq!(cluster.node(2).asks.len(), 2);
    sent(&mut cluster);
    // The first one ends: nobody cares, and its leader leads no more.
    fetched(&mut cluster, 2, None);
    assert_eq!(sent(&mut cluster), []);
    fetched(&mut cluster, 2, Some(base(2, 12)));
    assert!(sent(&mut cluster).contains(&Body::Appended { matched: Some(Index(12)) }));
}

#[test]
fn snapshot_nonsense_dropped() {
    let mut cluster = Cluster::new(3);
    let entries = entries(&[1, 1]).into();
    cluster.receive(2, 1, 2, Body::Append { previous: None, entries, committed: Some(Index(2)) });
    let nothing = Base { last: None, ..base(1, 1) };
    for base in [nothing, base(3, 9), base(2, 2)] {
        cluster.receive(2, 1, 2, Body::InstallSnapshot { id: OFFER, base });
    }
    assert_eq!(cluster.node(2).asks.len(), 0);
    let dropped = cluster.node(2).events.iter().filter(|event| matches!(event, Event::Dropped { .. })).count();
    assert_eq!(dropped, 3);
}

/// A crash between the state machine's switch and the log's reset.
#[test]
fn snapshot_found_installed_at_the_start_resets_the_log() {
    let mut cluster = Cluster::new(3);
    let entries = entries(&[1, 1]).into();
    cluster.receive(2, 1, 1, Body::Append { previous: None, entries, committed: None });
    cluster.crash(2);
    cluster.start(2);
    cluster.handle(2, Input::Request { id: RequestId(1), request: Request::Installed(base(2, 9)) });
    assert_eq!(cluster.raft(2).log().last(), Some(LogId::new(2, 9)));
    assert!(cluster.node(2).disk.contains(&Write::Reset(base(2, 9))));
    // The crash took the term back as well, in which it was fetched: nothing was promised in it.
    assert_eq!(cluster.raft(2).term(), Term(2));
}

#[test]
fn state_lost_votes_and_acknowledges_and_asks_for_its_state() {
    let mut cluster = Cluster::new(3);
    cluster.handle(2, Input::Request { id: RequestId(1), request: Request::StateLost });
    cluster.receive(2, 3, 1, Body::RequestVote { last: None, transfer: false });
    assert_eq!(sent(&mut cluster), [Body::Vote { granted: true }]);
    cluster.receive(2, 3, 1, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None });
    assert!(sent(&mut cluster).contains(&Body::RequestSnapshot));
    // It has the log, and still needs the state.
    let entries = entries(&[1, 1]).into();
    cluster.receive(2, 3, 1, Body::Append { previous: None, entries, committed: Some(Index(2)) });
    assert!(sent(&mut cluster).contains(&Body::Appended { matched: Some(Index(2)) }));
    cluster.receive(2, 3, 1, Body::InstallSnapshot { id: OFFER, base: base(1, 2) });
    fetched(&mut cluster, 2, Some(base(1, 2)));
    assert!(sent(&mut cluster).contains(&Body::SnapshotInstalled { id: OFFER, installed: true }));
    assert_eq!(cluster.raft(2).log().base().last, None, "the log is kept");
}

/// The only one whose log is whole has no state: it leads for as long as it takes to hand its log on.
#[test]
fn state_lost_leads_only_until_a_majority_has_its_log() {
    let mut cluster = Cluster::with([
        (1, common::saved(&voters(2), 1, None, &[1, 1, 1])),
        (2, common::saved(&voters(2), 1, None, &[1])),
    ]);
    cluster.handle(1, Input::Request { id: RequestId(1), request: Request::StateLost });
    cluster.run(Duration::from_secs(20));
    assert_eq!(cluster.leader(), Some(2));
    assert_eq!(cluster.raft(2).log().last_index(), Some(Index(5)), "three, and two that opened terms");
}

/// Its leader applies more slowly than it did itself: that snapshot would leave a gap.
#[test]
fn state_lost_refuses_what_ends_before_its_log() {
    let mut cluster = Cluster::new(3);
    let entries = entries(&[1, 1, 1]).into();
    cluster.receive(2, 1, 1, Body::Append { previous: None, entries, committed: Some(Index(3)) });
    let applied = Request::Applied { applied: LogId::new(1, 3), durable: Some(LogId::new(1, 3)) };
    cluster.handle(2, Input::Request { id: RequestId(1), request: applied });
    cluster.handle(2, Input::Request { id: RequestId(2), request: Request::Compact(Index(3)) });
    cluster.crash(2);
    cluster.start(2);
    cluster.handle(2, Input::Request { id: RequestId(3), request: Request::StateLost });
    cluster.receive(2, 1, 1, Body::InstallSnapshot { id: OFFER, base: base(1, 2) });
    assert_eq!(cluster.node(2).asks.len(), 0);
    assert!(sent(&mut cluster).contains(&Body::SnapshotInstalled { id: OFFER, installed: false }));
}

/// What follows a snapshot that is on its way is what its receiver wants next.
#[test]
fn compaction_spares_what_follows_an_offer() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    cluster.crash(3);
    for _ in 0..6 {
        cluster.propose(1, "x");
    }
    cluster.settle();
    let applied = |index| Request::Applied { applied: LogId::new(1, index), durable: Some(LogId::new(1, index)) };
    cluster.handle(1, Input::Request { id: RequestId(90), request: applied(4) });
    cluster.handle(1, Input::Request { id: RequestId(91), request: Request::Compact(Index(4)) });
    assert_eq!(cluster.raft(1).log().base_index(), Some(Index(4)));
    cluster.start(3);
    let offered = |cluster: &Cluster| {
        cluster
            .wire
            .iter()
            .any(|(_, to, message)| *to == NodeId(3) && matches!(message.body, Body::InstallSnapshot { .. }))
    };
    for _ in 0..400 {
        cluster.answer(1);
        if offered(&cluster) {
            break;
        }
        if !cluster.deliver_one() {
            cluster.timeout(1);
        }
    }
    assert!(offered(&cluster), "the follower is offered a snapshot");
    cluster.handle(1, Input::Request { id: RequestId(92), request: applied(7) });
    cluster.handle(1, Input::Request { id: RequestId(93), request: Request::Compact(Index(7)) });
    assert_eq!(cluster.raft(1).log().base_index(), Some(Index(4)));
}
