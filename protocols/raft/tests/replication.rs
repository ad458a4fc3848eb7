//! Replication under loss, within its limits, and from a log that is no longer all in memory.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, entry, saved, voters};
use hezong_base::{Index, LogId, NodeId, Protocol};
use hezong_raft::{Ask, Base, Body, Config, Entry, Event, Raft, Refusal, Request, Role, Saved, Write};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three voters with these limits, led by node 1, everything committed.
fn led_by_1(limit: impl Fn(&mut Config)) -> Cluster {
    let mut cluster = Cluster::with([]);
    for id in 1..=3 {
        let mut config = Config::new(NodeId(id));
        limit(&mut config);
        cluster.add(config, saved(&voters(3), 0, None, &[]));
    }
    cluster.elect(1);
    cluster.run(millis(200));
    cluster
}

fn commands(count: usize, bytes: usize) -> Request {
    Request::Propose(vec![Bytes::from(vec![7; bytes]); count])
}

fn appends(cluster: &mut Cluster, to: u64) -> Vec<usize> {
    let sent = cluster.take_to(to).into_iter();
    sent.filter_map(|(_, message)| match message.body {
        Body::Append { entries, .. } => Some(entries.len()),
        _ => None,
    })
    .collect()
}

#[test]
fn lost_append_is_found_out_by_a_heartbeat() {
    let mut cluster = led_by_1(|_| {});
    cluster.propose(1, "a");
    cluster.take_all();
    cluster.run(millis(400));
    for id in 1..=3 {
        assert_eq!(cluster.commands(id), ["a"]);
    }
}

#[test]
fn lost_append_is_found_out_by_the_next_one() {
    let mut cluster = led_by_1(|_| {});
    cluster.propose(1, "a");
    cluster.take_all();
    cluster.propose(1, "b");
    cluster.settle();
    assert_eq!(cluster.raft(2).log().last(), cluster.raft(1).log().last(), "no timer was needed");
}

#[test]
fn lost_probe_is_sent_again() {
    let mut cluster = Cluster::new(3);
    cluster.now = cluster.now + millis(1_000);
    while cluster.raft(1).role() != Role::Leader {
        cluster.timeout(1);
        while cluster.raft(1).role() != Role::Leader && cluster.deliver_one() {}
    }
    cluster.take_all();
    cluster.run(millis(400));
    assert_eq!(cluster.raft(3).announced(), Some(Index(1)));
}

#[test]
fn append_carries_no_more_than_its_limit_but_at_least_one() {
    let mut cluster = led_by_1(|config| config.append_bytes_max = 300);
    cluster.request(1, commands(7, 68));
    assert_eq!(appends(&mut cluster, 2), [3, 3, 1], "100 bytes each with what surrounds them");
    cluster.request(1, commands(2, 1_000));
    assert_eq!(appends(&mut cluster, 3).last(), Some(&1), "a larger one goes alone");
}

#[test]
fn window_bounds_what_is_under_way() {
    let mut cluster = led_by_1(|config| {
        config.append_bytes_max = 300;
        config.window_bytes_max = 900;
    });
    cluster.request(1, commands(30, 68));
    assert_eq!(appends(&mut cluster, 2), [3, 3, 3]);
    cluster.take_all();
    let term = cluster.raft(1).term().0;
    cluster.receive(1, 2, term, Body::Appended { matched: Some(Index(1 + 6)) });
    assert_eq!(appends(&mut cluster, 2), [3, 3], "what is acknowledged makes room");
    // Told the truth, it gets there without a timer.
    let mut cluster = led_by_1(|config| config.window_bytes_max = 300);
    cluster.request(1, commands(30, 68));
    cluster.settle();
    assert_eq!(cluster.raft(1).announced(), Some(Index(31)));
    cluster.run(millis(100));
    for id in 1..=3 {
        assert_eq!(cluster.commands(id).len(), 30);
    }
}

#[test]
fn uncommitted_bytes_are_bounded() {
    let mut cluster = led_by_1(|config| config.uncommitted_bytes_max = 1_000);
    cluster.cut = vec![NodeId(2), NodeId(3)];
    let mut refused = 0;
    for _ in 0..20 {
        cluster.request(1, commands(1, 68));
        cluster.settle();
        refused += cluster
            .events(1)
            .iter()
            .filter(|event| matches!(event, Event::Refused { refusal: Refusal::Overloaded, .. }))
            .count();
    }
    assert_eq!(refused, 10);
    cluster.cut.clear();
    cluster.run(millis(300));
    assert_eq!(cluster.raft(1).status(cluster.now).uncommitted_bytes, 0);
    cluster.request(1, commands(1, 68));
    assert!(cluster.events(1).iter().any(|event| matches!(event, Event::Accepted { .. })));
}

#[test]
fn entries_out_of_memory_are_asked_for_and_sent() {
    let mut cluster = led_by_1(|config| {
        config.cache_bytes_max = 500;
        config.append_bytes_max = 1_000;
    });
    cluster.cut = vec![NodeId(3)];
    for _ in 0..40 {
        cluster.request(1, commands(1, 68));
        cluster.settle();
        let last = cluster.raft(1).log().last().expect("there are entries");
        cluster.request(1, Request::Applied { applied: last, durable: None });
    }
    assert!(cluster.raft(1).log().cache_bytes() <= 500);
    cluster.cut.clear();
    let mut asked = 0;
    for _ in 0..200 {
        cluster.now = cluster.now + millis(10);
        cluster.handle(1, hezong_base::Input::Timeout);
        while cluster.deliver_one() {}
        let asks = &cluster.node(1).asks;
        assert!(asks.len() <= 1, "one read for one follower at a time");
        asked += asks.len();
        if let Some((_, Ask::Entries { bytes_max, .. })) = asks.front() {
            assert!(*bytes_max <= 1_000);
        }
        cluster.answer(1);
    }
    assert!(asked >= 1);
    assert_eq!(cluster.commands(3).len(), 40);
}

#[test]
fn answer_nobody_waits_for_is_dropped() {
    let mut cluster = led_by_1(|config| config.cache_bytes_max = 0);
    let entries = vec![entry(1, 1)];
    let answer = hezong_raft::Answer::Entries(entries);
    cluster.handle(1, hezong_base::Input::Answered { id: hezong_base::AskId(99), answer });
    assert!(cluster.take_all().is_empty());
}

#[test]
fn compaction_keeps_what_is_not_durable() {
    let mut cluster = led_by_1(|_| {});
    cluster.request(1, commands(10, 8));
    cluster.settle();
    let entries = cluster.node(1).delivered.clone();
    let applied = entries[8].id;
    cluster.request(1, Request::Compact(Index(5)));
    assert_eq!(cluster.raft(1).log().base_index(), None, "nothing is durable yet");
    cluster.request(1, Request::Applied { applied, durable: Some(entries[5].id) });
    cluster.request(1, Request::Compact(Index(9)));
    assert_eq!(cluster.raft(1).log().base().last, Some(entries[5].id));
    assert_eq!(cluster.raft(1).log().base().membership, voters(3));
    let written = matches!(cluster.node(1).disk.last(), Some(Write::Compact(base)) if base.last == Some(entries[5].id));
    assert!(written);
    // After a crash the log stands on the base, and the group goes on.
    cluster.crash(1);
    cluster.start(1);
    assert_eq!(cluster.raft(1).announced(), Some(entries[5].id.index));
    cluster.run(millis(5_000));
    let leader = cluster.leader().expect("somebody leads");
    cluster.propose(leader, "z");
    cluster.run(millis(300));
    assert_eq!(cluster.commands(1).last().map(String::as_str), Some("z"));
}

#[test]
fn follower_that_needs_what_is_compacted_is_left_waiting() {
    let mut cluster = led_by_1(|_| {});
    cluster.cut = vec![NodeId(3)];
    cluster.request(1, commands(10, 8));
    cluster.run(millis(300));
    let last = cluster.raft(1).log().last().expect("there are entries");
    cluster.request(1, Request::Applied { applied: last, durable: Some(last) });
    cluster.request(1, Request::Compact(last.index));
    cluster.cut.clear();
    cluster.run(millis(1_000));
    let mut counted = 0;
    for _ in 0..10 {
        cluster.timeout(1);
        counted += cluster.wire.len();
        cluster.settle();
    }
    assert!(counted <= 30, "heartbeats and nothing else: {counted}");
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    cluster.propose(1, "a");
    cluster.run(millis(300));
    assert_eq!(cluster.commands(2).last().map(String::as_str), Some("a"), "the others go on");
}

#[test]
fn stalled_disk_ends_leadership_and_another_leads() {
    let mut cluster = led_by_1(|_| {});
    cluster.node(1).prompt = false;
    cluster.propose(1, "a");
    cluster.run(millis(999));
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    cluster.run(millis(10));
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    cluster.run(millis(4_000));
    assert!(cluster.leader().is_some_and(|leader| leader != 1));
    assert_ne!(cluster.raft(1).role(), Role::Leader, "nor does it campaign");
}

#[test]
fn leader_that_hears_no_majority_steps_down() {
    let mut cluster = led_by_1(|_| {});
    cluster.cut = vec![NodeId(2)];
    cluster.run(millis(3_000));
    assert_eq!(cluster.raft(1).role(), Role::Leader, "one of two is enough");
    cluster.cut = vec![NodeId(2), NodeId(3)];
    cluster.run(millis(1_200));
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).leader()), (Role::Follower, None));
}

#[test]
fn log_time_advances_only_while_somebody_leads() {
    let mut cluster = led_by_1(|_| {});
    cluster.propose(1, "a");
    cluster.run(millis(700));
    cluster.propose(1, "b");
    cluster.settle();
    let times: Vec<Duration> = cluster.node(1).delivered.iter().map(|entry| entry.time).collect();
    assert_eq!(times[2] - times[1], millis(700));
    // Nobody leads for an hour.
    (1..=3).for_each(|id| cluster.crash(id));
    cluster.now = cluster.now + Duration::from_secs(3_600);
    (1..=3).for_each(|id| cluster.start(id));
    cluster.elect(2);
    cluster.propose(2, "c");
    cluster.run(millis(200));
    let after = cluster.node(2).delivered.last().map(|entry| entry.time).expect("it delivered");
    assert!(after >= times[2] && after < times[2] + millis(100), "{after:?} after {times:?}");
}

#[test]
fn log_time_of_what_was_truncated_does_not_count() {
    let at = |term, index, secs| {
        let entries = vec![Entry { time: Duration::from_secs(secs), ..entry(term, index) }];
        Write::Append(entries.into())
    };
    let base = Base { last: Some(LogId::new(1, 5)), time: Duration::from_secs(1), membership: voters(3) };
    let mut saved = Saved::default();
    // What a leader appended that led nobody any more, and what the next one wrote over it.
    for write in [Write::Reset(base), at(1, 6, 9), Write::Truncate(Index(6)), at(2, 6, 2)] {
        Raft::save(&mut saved, &write);
    }
    assert_eq!(saved.log.time(), Duration::from_secs(2), "else all that expires would expire too early");
}

#[test]
fn restarted_node_knows_what_its_state_machine_had_applied() {
    let mut cluster = led_by_1(|_| {});
    cluster.propose(1, "a");
    cluster.run(millis(200));
    let last = cluster.raft(1).log().last().expect("there are entries");
    cluster.crash(1);
    cluster.start(1);
    assert_eq!(cluster.raft(1).announced(), None);
    cluster.events(1);
    cluster.request(1, Request::Applied { applied: last, durable: Some(last) });
    assert_eq!(cluster.raft(1).announced(), Some(last.index));
    assert!(!cluster.events(1).iter().any(|event| matches!(event, Event::Committed { .. })), "it knows that already");
}
