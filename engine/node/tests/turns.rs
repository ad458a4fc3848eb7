//! What the machinery owes: economy when idle, no blocking when slow, safety at the start, the same effects for the
//! same inputs.

mod harness;

use std::time::Duration;

use harness::{Cluster, GROUP, add, member, read, sum, voters};
use hezong_base::{GroupId, Index, LogId, NodeId, Protocol, RequestId, Rng, Time};
use hezong_node::{Node, NodeConfig, NodeEffect, NodeInput, Notice, ReadLevel, Reply, StartError, StateFound};
use hezong_raft::{Base, Body, Change, Config, Entry, Message, Payload, Raft, Role, Saved, Write};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn idle_groups_share_frames() {
    let mut cluster = Cluster::new(3);
    let groups: Vec<GroupId> = (1..=64).map(GroupId).collect();
    for group in &groups {
        cluster.open_everywhere(*group);
    }
    for group in &groups {
        cluster.wait_leader(*group);
    }
    let leaders = |c: &Cluster| groups.iter().map(|group| c.leader(*group).unwrap()).collect::<Vec<_>>();
    let before = leaders(&cluster);
    for id in 1..=3 {
        assert!(before.iter().filter(|leader| leader.0 == id).count() >= 8, "leaders are spread: {before:?}");
    }
    cluster.run(2 * SECOND);
    let frames = |c: &Cluster| -> Vec<((NodeId, NodeId), u64)> {
        let hosts = c.hosts.iter();
        hosts.flat_map(|(from, host)| host.frames.iter().map(|(to, count)| ((*from, *to), *count))).collect()
    };
    let start = frames(&cluster);
    cluster.run(10 * SECOND);
    assert_eq!(leaders(&cluster), before, "nobody was disturbed meanwhile");
    for ((pair, start), (_, end)) in start.into_iter().zip(frames(&cluster)) {
        // Ten heartbeats a second; 64 groups on three nodes.
        let rate = (end - start) / 10;
        assert!(rate <= 20, "{pair:?}: {rate} frames a second");
        assert!(rate >= 10, "{pair:?}: {rate} frames a second is too few to be true");
    }
}

#[test]
fn slow_apply_holds_up_nothing_but_itself() {
    let (mut cluster, leader) = Cluster::three();
    let term = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().raft.term;
    cluster.hosts.get_mut(&leader).unwrap().apply_stalled = true;
    let mut requests = Vec::new();
    for number in 0..200 {
        requests.push(cluster.ask(leader, add(number)));
        cluster.run(SECOND / 20);
    }
    let status = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap();
    assert_eq!((status.raft.role, status.raft.term), (Role::Leader, term), "heartbeats went on");
    assert!(status.raft.committed >= Some(Index(200)), "so did commits");
    assert_eq!(cluster.hosts[&leader].stalled_applies.len(), 2, "and no more is handed out than agreed");
    assert_eq!(cluster.reply(leader, requests[0]), Some(Reply::Unknown), "patience is bounded");
    cluster.resume_apply(leader);
    cluster.wait_same_state();
    assert_eq!(cluster.machine(leader).sum, (0..200).sum());
    assert!(matches!(cluster.reply(leader, requests[199]), Some(Reply::Done { .. })));
}

#[test]
fn entries_gone_from_memory_are_read_from_disk() {
    let mut cluster = Cluster::new(3);
    cluster.raft.cache_bytes_max = 400;
    cluster.open_everywhere(GROUP);
    let leader = cluster.wait_leader(GROUP);
    cluster.hosts.get_mut(&leader).unwrap().apply_stalled = true;
    for number in 0..100 {
        cluster.ask(leader, add(number));
        cluster.run(SECOND / 100);
    }
    assert_eq!(cluster.hosts[&leader].node.stats().apply_reads, 0);
    cluster.resume_apply(leader);
    cluster.wait_same_state();
    assert_eq!(cluster.machine(leader).sum, (0..100).sum());
    assert!(cluster.hosts[&leader].node.stats().apply_reads > 0, "some had left memory");
}

#[test]
fn apply_batches_are_bounded_in_bytes() {
    let (mut cluster, leader) = Cluster::three_with(|config| config.apply_bytes_max = 400);
    let before = cluster.hosts[&leader].node.stats();
    let requests = cluster.ask_all(leader, (0..100).map(add).collect());
    cluster.wait_reply(leader, requests[99]);
    let after = cluster.hosts[&leader].node.stats();
    // Ten entries of 8 bytes and 32 more each.
    assert_eq!(after.apply_entries - before.apply_entries, 100);
    assert_eq!(after.apply_batches - before.apply_batches, 10);
}

#[test]
fn messages_of_a_turn_keep_their_order_within_the_frame() {
    let mut cluster = Cluster::new(3);
    cluster.raft.append_bytes_max = 100;
    cluster.open_everywhere(GROUP);
    let leader = cluster.wait_leader(GROUP);
    let now = cluster.now;
    let node = &mut cluster.hosts.get_mut(&leader).unwrap().node;
    let mut out = Vec::new();
    for id in 0..20 {
        let id = RequestId(700 + id);
        node.handle(now, NodeInput::Request { id, group: GROUP, request: add(1) }, &mut out);
    }
    node.flush(now, &mut out);
    let mut frames = 0;
    for effect in &out {
        let NodeEffect::Send { messages, .. } = effect else { continue };
        let appends = messages.iter().filter_map(|(_, message)| match &message.body {
            Body::Append { entries, .. } => Some(entries[0].id),
            _ => None,
        });
        assert!(messages.len() >= 10 && appends.is_sorted(), "{messages:?}");
        frames += 1;
    }
    assert_eq!(frames, 2);
}

#[test]
fn stalled_disk_moves_the_leader() {
    let (mut cluster, old) = Cluster::three();
    cluster.hosts.get_mut(&old).unwrap().disk_stalled = true;
    let request = cluster.ask(old, add(1));
    cluster.run_until(20 * SECOND, |c| c.leader(GROUP).is_some_and(|leader| leader != old));
    let new = cluster.leader(GROUP).unwrap();
    assert!(sum(&cluster.call(new, add(1))) >= 1);
    cluster.resume_disk(old);
    cluster.wait_same_state();
    assert!(cluster.reply(old, request).is_some());
}

#[test]
fn crash_replays_the_log_and_repeats_no_news() {
    let (mut cluster, leader) = Cluster::three();
    for number in 1..=20 {
        cluster.call(leader, add(number));
    }
    cluster.change(leader, Change::Add(member(4)));
    cluster.crash(leader);
    let new = cluster.wait_leader(GROUP);
    assert_eq!(sum(&cluster.call(new, add(1))), 211);
    cluster.restart(leader);
    cluster.wait_leader(GROUP);
    cluster.wait_same_state();
    assert_eq!(cluster.machine(leader).sum, 211);
    let members = |notice: &&Notice| !matches!(notice, Notice::LeaderElected { .. } | Notice::LeaderLost { .. });
    assert_eq!(cluster.hosts[&leader].notices.iter().find(members), None);
}

#[test]
fn leader_killed_is_noticed() {
    let (mut cluster, leader) = Cluster::three();
    cluster.crash(leader);
    let new = cluster.wait_leader(GROUP);
    let third = cluster.others(leader).into_iter().find(|id| *id != new).unwrap();
    let notices = &cluster.hosts[&third].notices;
    assert!(notices.iter().any(|n| matches!(n, Notice::LeaderElected { leader, .. } if *leader == new)), "{notices:?}");
}

#[test]
fn persist_is_asked_for_by_bytes_and_by_time() {
    let (mut cluster, leader) = Cluster::three_with(|config| {
        config.persist_bytes = 4_000;
        config.persist_interval = Duration::from_secs(10);
    });
    let durable = |c: &Cluster| c.hosts[&leader].node.status(c.now, GROUP).unwrap().durable;
    assert_eq!(durable(&cluster), None);
    for number in 0..100 {
        cluster.call(leader, add(number));
    }
    assert_eq!(cluster.hosts[&leader].persists, 1, "100 entries of 40 bytes");
    cluster.run(SECOND);
    let first = durable(&cluster);
    assert!(first.is_some());
    cluster.call(leader, add(1));
    cluster.run(9 * SECOND);
    assert_eq!(cluster.hosts[&leader].persists, 1);
    cluster.run(2 * SECOND);
    assert_eq!(cluster.hosts[&leader].persists, 2);
    assert!(durable(&cluster) > first);
    cluster.run(60 * SECOND);
    assert_eq!(cluster.hosts[&leader].persists, 2, "nothing new, nothing to persist");
}

#[test]
fn nonsense_is_dropped_counted_and_reported_once_a_second() {
    let (mut cluster, leader) = Cluster::three();
    let from = cluster.others(leader)[0];
    let message = Message { term: hezong_base::Term(1), body: Body::Vote { granted: true } };
    let messages = vec![(GroupId(77), message)];
    for _ in 0..20 {
        cluster.hand(leader, NodeInput::Received { from, messages: messages.clone() });
        cluster.run(SECOND / 10);
    }
    assert_eq!(cluster.hosts[&leader].node.stats().dropped, 20);
    let counts: Vec<u64> = cluster.hosts[&leader]
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Dropped { from: who, count, .. } if *who == from => Some(*count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 10]);
    assert_eq!(cluster.leader(GROUP), Some(leader));
}

#[test]
fn same_inputs_same_effects() {
    let story = || {
        let mut cluster = Cluster::new(3);
        cluster.trace = Some(Vec::new());
        cluster.open_everywhere(GROUP);
        let leader = cluster.wait_leader(GROUP);
        cluster.ask_all(leader, (0..50).map(add).collect());
        cluster.ask_all(leader, vec![read(ReadLevel::Consistent), read(ReadLevel::Default), add(3)]);
        cluster.run(SECOND / 100);
        cluster.crash(leader);
        let new = cluster.wait_leader(GROUP);
        cluster.ask_all(new, (0..50).map(add).collect());
        cluster.restart(leader);
        cluster.run(5 * SECOND);
        cluster.wait_same_state();
        cluster.trace.unwrap()
    };
    let (first, second) = (story(), story());
    assert!(first.len() > 200, "{} effects are too few to mean anything", first.len());
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one, other);
    }
    assert_eq!(first.len(), second.len());
}

// ---- at the start

fn entry(term: u64, index: u64) -> Entry {
    Entry { id: LogId::new(term, index), time: Duration::ZERO, payload: Payload::Empty }
}

fn log(terms: &[u64]) -> Saved {
    let mut saved = Saved::default();
    Raft::save(
        &mut saved,
        &Write::Vote { term: hezong_base::Term(terms.last().copied().unwrap_or(0)), vote: None, owed: None },
    );
    Raft::save(&mut saved, &Write::Reset(Base { membership: voters([1, 2, 3]), ..Base::default() }));
    let entries = terms.iter().zip(1..).map(|(term, index)| entry(*term, index)).collect();
    Raft::save(&mut saved, &Write::Append(entries));
    saved
}

fn open(saved: Saved, applied: Option<LogId>) -> Result<Vec<NodeEffect>, StartError> {
    open_found(saved, applied, false)
}

fn open_found(saved: Saved, applied: Option<LogId>, is_installed: bool) -> Result<Vec<NodeEffect>, StartError> {
    let mut node = Node::new(NodeConfig::new(NodeId(1)));
    let applied = applied.map(|id| Base { last: Some(id), membership: voters([1, 2, 3]), ..Base::default() });
    let applied = StateFound { applied, is_installed };
    let mut out = Vec::new();
    let now = Time::from_millis(5);
    node.open_group(now, GROUP, Config::new(NodeId(1)), saved.clone(), applied.clone(), Rng::new(1), &mut out)?;
    node.flush(now, &mut out);
    let again = node.open_group(now, GROUP, Config::new(NodeId(1)), saved, applied, Rng::new(1), &mut out);
    assert_eq!(again, Err(StartError::Open { group: GROUP }));
    Ok(out)
}

#[test]
fn start_applied_within_the_log_is_replayed_from_there() {
    let out = open(log(&[1, 1, 2, 2]), Some(LogId::new(1, 2))).unwrap();
    assert!(!out.iter().any(|effect| matches!(effect, NodeEffect::Apply { .. })), "nothing more is known committed");
    assert!(open(log(&[1, 1, 2, 2]), Some(LogId::new(2, 4))).is_ok());
    assert!(open(log(&[]), None).is_ok());
    assert!(open(Saved::default(), None).is_ok());
}

#[test]
fn start_applied_beyond_the_log_is_refused() {
    let applied = LogId::new(2, 5);
    let error = open(log(&[1, 1, 2, 2]), Some(applied)).unwrap_err();
    assert_eq!(error, StartError::LogLost { group: GROUP, applied, last: Some(LogId::new(2, 4)) });
    assert!(error.to_string().contains("the log was lost"), "{error}");
    let error = open(Saved::default(), Some(applied)).unwrap_err();
    assert_eq!(error, StartError::LogLost { group: GROUP, applied, last: None });
}

#[test]
fn start_applied_of_another_term_is_refused() {
    let applied = LogId::new(3, 4);
    let error = open(log(&[1, 1, 2, 2]), Some(applied)).unwrap_err();
    assert_eq!(error, StartError::LogDiffers { group: GROUP, applied, logged: LogId::new(2, 4) });
}

#[test]
fn start_state_ahead_of_the_log_by_a_snapshot_makes_the_log_fit() {
    for log in [log(&[1, 1]), log(&[1, 1, 1, 1, 1, 1]), Saved::default()] {
        let out = open_found(log, Some(LogId::new(2, 5)), true).unwrap();
        let resets = |effect: &NodeEffect| match effect {
            NodeEffect::Store { writes, .. } => writes
                .iter()
                .any(|(_, write)| matches!(write, Write::Reset(base) if base.last == Some(LogId::new(2, 5)))),
            _ => false,
        };
        assert!(out.iter().any(resets), "{out:?}");
    }
}

#[test]
fn start_state_behind_the_base_waits_for_others_if_there_are_any() {
    let mut saved = log(&[1, 1, 2, 2]);
    let base = LogId::new(2, 3);
    let compacted = Base { last: Some(base), membership: voters([1, 2, 3]), ..Base::default() };
    Raft::save(&mut saved, &Write::Compact(compacted));
    for applied in [Some(LogId::new(1, 2)), None] {
        let out = open(saved.clone(), applied).unwrap();
        assert!(!out.iter().any(|effect| matches!(effect, NodeEffect::Apply { .. })), "there is nothing to apply to");
    }
    assert!(open(saved, Some(base)).is_ok());
}

#[test]
fn start_state_behind_the_base_of_a_node_alone_is_refused() {
    let mut saved = log(&[1, 1, 2, 2]);
    let base = LogId::new(2, 3);
    let compacted = Base { last: Some(base), membership: voters([1]), ..Base::default() };
    Raft::save(&mut saved, &Write::Compact(compacted));
    let error = open(saved.clone(), Some(LogId::new(1, 2))).unwrap_err();
    assert_eq!(error, StartError::StateLost { group: GROUP, applied: Some(LogId::new(1, 2)), base });
    let error = open(saved.clone(), None).unwrap_err();
    assert_eq!(error, StartError::StateLost { group: GROUP, applied: None, base });
    assert!(open(saved, Some(base)).is_ok());
}
