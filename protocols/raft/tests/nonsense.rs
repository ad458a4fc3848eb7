//! What peers may send: anything. It is dropped and counted, changes nothing that is committed, and never panics.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Cluster, entry, member, saved, voters};
use hezong_base::{Index, LogId, NodeId, Rng, Term};
use hezong_raft::{Body, Entry, Event, Membership, Payload, Role};

/// A number that is mostly plausible and sometimes absurd.
fn number(rng: &mut Rng) -> u64 {
    match rng.below(12) {
        0 => 0,
        1 => u64::MAX - rng.below(2),
        2 => u64::MAX / 2 + rng.below(3),
        _ => rng.below(9),
    }
}

fn id(rng: &mut Rng) -> LogId {
    LogId { term: Term(number(rng)), index: Index(number(rng)) }
}

fn maybe<T>(rng: &mut Rng, make: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.chance(700).then(|| make(rng))
}

fn entries(rng: &mut Rng, previous: Option<LogId>) -> Vec<Entry> {
    let mut next = previous.map_or(1, |id| id.index.0.saturating_add(1));
    let mut term = previous.map_or(1, |id| id.term.0);
    let count = rng.below(4);
    let entries = (0..count).map(|_| {
        if rng.chance(50) {
            next = number(rng);
        }
        if rng.chance(200) {
            term = number(rng);
        }
        let made = entry(term, next);
        next = next.saturating_add(1);
        Entry { time: Duration::from_nanos(number(rng)), ..made }
    });
    entries.collect()
}

fn body(rng: &mut Rng) -> Body {
    let lease = Duration::from_nanos(number(rng));
    match rng.below(15) {
        0 => Body::RequestPreVote { last: maybe(rng, id) },
        1 => Body::PreVote { granted: rng.chance(500) },
        2 => Body::RequestVote { last: maybe(rng, id), transfer: rng.chance(500) },
        3 => Body::Vote { granted: rng.chance(500) },
        4..=6 => {
            let previous = maybe(rng, id);
            let entries = entries(rng, previous).into();
            Body::Append { previous, entries, committed: maybe(rng, |rng| Index(number(rng))) }
        }
        7 => Body::Appended { matched: maybe(rng, |rng| Index(number(rng))) },
        8 => Body::Diverged { previous: id(rng), hint: maybe(rng, id) },
        9 => Body::Heartbeat { round: number(rng), lease, committed: maybe(rng, |rng| Index(number(rng))) },
        10 => Body::HeartbeatAck { round: number(rng), lease },
        11 => Body::TimeoutNow,
        12 => Body::LogLost { owed: id(rng), last: maybe(rng, id), token: number(rng) },
        13 => Body::LogLostAck { token: number(rng), end: id(rng) },
        _ if rng.chance(500) => Body::ReadIndex { token: number(rng) },
        _ => Body::ReadIndexAck { token: number(rng), index: maybe(rng, |rng| Index(number(rng))) },
    }
}

#[test]
fn any_message_in_any_role_neither_panics_nor_takes_back_a_commit() {
    let (mut dropped, mut committed, mut led) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::with([(1, saved(&voters(3), 2, None, &[1, 1, 2]))]);
        let mut delivered: Vec<Entry> = Vec::new();
        for _ in 0..60 {
            if rng.chance(150) {
                cluster.timeout(1);
                if rng.chance(700) {
                    // Somebody grants whatever it asks, or it would never lead.
                    let term = cluster.raft(1).term().0;
                    cluster.receive(1, 2, term + 1, Body::PreVote { granted: true });
                    let term = cluster.raft(1).term().0;
                    cluster.receive(1, 2, term, Body::Vote { granted: true });
                }
            }
            let near = cluster.raft(1).term().0 + rng.below(3);
            let term = if rng.chance(100) { number(&mut rng) } else { near.saturating_sub(1) };
            cluster.receive(1, 1 + rng.below(4), term, body(&mut rng));
            led += usize::from(cluster.raft(1).role() == Role::Leader);
            let now = &cluster.nodes[&NodeId(1)].delivered;
            assert_eq!(now[..delivered.len()], delivered, "seed {seed}");
            delivered.clone_from(now);
        }
        committed += delivered.len();
        dropped += cluster.raft(1).status(cluster.now).dropped;
        // What is on disk is sound too.
        cluster.crash(1);
        cluster.start(1);
    }
    assert!(dropped > 1_000 && committed > 500 && led > 1_000, "{dropped} dropped, {committed} committed, {led} led");
}

/// What is dropped for being impossible is told, with the sender's name, and counted.
#[test]
fn nonsense_is_dropped_told_and_counted() {
    // Of somebody with the last number there is nobody could be taken in behind.
    let last = Payload::Membership(Membership::of_voters([(NodeId(u64::MAX), member(9))]));
    let last = Entry { payload: last, ..entry(3, 4) };
    let impossible = [
        (3, Body::Append { previous: Some(LogId::new(2, 3)), entries: vec![last].into(), committed: None }),
        (3, Body::Append { previous: None, entries: vec![entry(1, 0)].into(), committed: None }),
        (3, Body::Append { previous: None, entries: vec![entry(1, 2)].into(), committed: None }),
        (3, Body::Append { previous: None, entries: vec![entry(4, 1)].into(), committed: None }),
        (3, Body::Append { previous: Some(LogId::new(2, 3)), entries: vec![entry(1, 4)].into(), committed: None }),
        (3, Body::Append { previous: Some(LogId::new(2, u64::MAX)), entries: vec![].into(), committed: None }),
        (3, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: Some(Index(4)) }),
        (3, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: Some(Index(0)) }),
        (u64::MAX, Body::Vote { granted: true }),
    ];
    for (term, body) in impossible {
        let mut cluster = Cluster::with([(1, saved(&voters(3), 3, None, &[1, 1, 2]))]);
        cluster.receive(1, 2, term, body.clone());
        let told = cluster.events(1).iter().any(|event| matches!(event, Event::Dropped { from: NodeId(2), .. }));
        assert!(told, "{body:?}");
        assert_eq!(cluster.raft(1).status(cluster.now).dropped, 1);
        assert_eq!((cluster.terms(1), cluster.raft(1).term()), (vec![1, 1, 2], Term(3)));
        assert!(cluster.take_all().is_empty());
    }
}

#[test]
fn second_leader_of_a_term_is_not_followed() {
    let mut cluster = Cluster::with([(1, saved(&voters(3), 3, None, &[1]))]);
    let beat = Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None };
    cluster.receive(1, 2, 3, beat.clone());
    cluster.receive(1, 3, 3, beat);
    assert_eq!(cluster.raft(1).leader(), Some(NodeId(2)));
    assert!(cluster.events(1).iter().any(|event| matches!(event, Event::Dropped { from: NodeId(3), .. })));
}

#[test]
fn committed_entries_are_never_overwritten() {
    let mut cluster = Cluster::with([(1, saved(&voters(3), 3, None, &[1, 1]))]);
    cluster.receive(
        1,
        2,
        3,
        Body::Append { previous: Some(LogId::new(1, 2)), entries: vec![].into(), committed: Some(Index(2)) },
    );
    let other = vec![entry(3, 2)].into();
    cluster.receive(1, 2, 3, Body::Append { previous: Some(LogId::new(1, 1)), entries: other, committed: None });
    assert_eq!(cluster.terms(1), [1, 1]);
    assert_eq!(cluster.raft(1).status(cluster.now).dropped, 1);
}
