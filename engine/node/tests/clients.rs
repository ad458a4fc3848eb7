//! What clients get: proposals, reads, membership, limits; through leader changes, slow machines and full disks.

mod harness;

use std::time::Duration;

use bytes::Bytes;
use harness::{Cluster, GROUP, add, member, read, sum, voters};
use hezong_base::{GroupId, Index, NodeId, RequestId};
use hezong_node::{ClientRequest, Leader, NodeConfig, NodeEffect, NodeInput, Notice, ReadLevel, Refused, Reply};
use hezong_raft::{Body, Change, Message, Role, Version};

const SECOND: Duration = Duration::from_secs(1);

fn applied(reply: &Reply) -> Index {
    match reply {
        Reply::Readable { applied: Some(index), .. } => *index,
        other => panic!("not readable: {other:?}"),
    }
}

#[test]
fn propose_leader_done_everywhere() {
    let (mut cluster, leader) = Cluster::three();
    assert_eq!(sum(&cluster.call(leader, add(2))), 2);
    assert_eq!(sum(&cluster.call(leader, add(40))), 42);
    cluster.wait_same_state();
    assert_eq!(cluster.machine(cluster.others(leader)[0]).sum, 42);
}

#[test]
fn propose_many_in_one_turn_share_one_proposal_frame_and_batch() {
    let (mut cluster, leader) = Cluster::three();
    cluster.run(SECOND / 20);
    let before = cluster.hosts[&leader].node.stats();
    let requests = cluster.ask_all(leader, (1..=100).map(add).collect());
    let after = cluster.hosts[&leader].node.stats();
    assert_eq!(after.proposal_batches - before.proposal_batches, 1);
    assert_eq!(after.proposal_batch_max, 100);
    assert_eq!(after.batches - before.batches, 1);
    assert_eq!(after.frames_sent - before.frames_sent, 2, "one frame for each follower");
    let replies: Vec<Reply> = requests.iter().map(|id| cluster.wait_reply(leader, *id)).collect();
    let sums: Vec<u64> = replies.iter().map(sum).collect();
    let expected: Vec<u64> = (1..=100).map(|n| n * (n + 1) / 2).collect();
    assert_eq!(sums, expected, "first in, first applied");
}

#[test]
fn propose_follower_refused_with_leader_address() {
    let (mut cluster, leader) = Cluster::three();
    let follower = cluster.others(leader)[0];
    let refused = Refused::NotLeader(Some(Leader { id: leader, member: Some(member(leader.0)) }));
    assert!(refused.to_string().contains(&format!("host{}:8091", leader.0)), "{refused}");
    assert_eq!(cluster.call(follower, add(1)), Reply::Refused(refused));
}

#[test]
fn propose_no_such_group_refused() {
    let (mut cluster, leader) = Cluster::three();
    let group = GroupId(9);
    cluster.hand(leader, NodeInput::Request { id: RequestId(900), group, request: ClientRequest::Status });
    assert_eq!(cluster.reply(leader, RequestId(900)), Some(Reply::Refused(Refused::NoGroup(group))));
}

#[test]
fn propose_leader_cut_off_lost_once_another_entry_stands_there() {
    let (mut cluster, old) = Cluster::three();
    cluster.isolate(old);
    let request = cluster.ask(old, add(1));
    let rest = cluster.others(old);
    cluster.run_until(10 * SECOND, |c| rest.iter().any(|id| c.role(*id, GROUP) == Some(Role::Leader)));
    let new = *rest.iter().find(|id| cluster.role(**id, GROUP) == Some(Role::Leader)).unwrap();
    assert_eq!(sum(&cluster.call(new, add(10))), 10);
    assert_eq!(cluster.reply(old, request), None, "nobody knows yet what came of it");
    cluster.heal();
    assert_eq!(cluster.wait_reply(old, request), Reply::Refused(Refused::Lost));
    cluster.wait_same_state();
    assert_eq!(cluster.machine(old).sum, 10);
}

#[test]
fn propose_leader_changed_done_when_the_new_leader_commits_it() {
    let (mut cluster, old) = Cluster::three();
    let rest = cluster.others(old);
    // The entry reaches the others, but their answers do not come back.
    cluster.cut.extend(rest.iter().map(|id| (*id, old)));
    let request = cluster.ask(old, add(5));
    cluster.run(SECOND / 100);
    cluster.isolate(old);
    cluster.run_until(10 * SECOND, |c| {
        c.role(old, GROUP) != Some(Role::Leader) && rest.iter().any(|id| c.role(*id, GROUP) == Some(Role::Leader))
    });
    assert_eq!(cluster.reply(old, request), None);
    cluster.heal();
    assert_eq!(sum(&cluster.wait_reply(old, request)), 5, "the entry kept its term and place, so its client is told");
}

#[test]
fn propose_leader_cut_off_unknown_after_the_time_out() {
    let (mut cluster, old) = Cluster::three();
    cluster.isolate(old);
    let asked = cluster.now;
    let request = cluster.ask(old, add(1));
    assert_eq!(cluster.wait_reply(old, request), Reply::Unknown);
    assert_eq!(cluster.now.since(asked), 5 * SECOND);
    assert_eq!(cluster.hosts[&old].node.stats().unknown, 1);
    assert_eq!(cluster.hosts[&old].node.stats().waiting, 0);
}

#[test]
fn propose_queue_full_overloaded_at_once() {
    let (mut cluster, leader) = Cluster::three_with(|config| config.queue_bytes_max = 24);
    let now = cluster.now;
    let node = &mut cluster.hosts.get_mut(&leader).unwrap().node;
    let mut out = Vec::new();
    for id in 1..=4 {
        let input = NodeInput::Request { id: RequestId(100 + id), group: GROUP, request: add(id) };
        node.handle(now, input, &mut out);
    }
    let [NodeEffect::Reply { id, reply }] = &out[..] else { panic!("one answer, before the turn ends: {out:?}") };
    assert_eq!(*id, RequestId(104));
    assert_eq!(*reply, Reply::Refused(Refused::Overloaded { limit: "node.queue_bytes_max" }));
    assert_eq!(node.stats().refused["overloaded"], 1);
    node.flush(now, &mut out);
    cluster.carry_out(leader, out);
    // The queue is that of one turn: the next has room again.
    assert_eq!(sum(&cluster.call(leader, add(4))), 10);
}

#[test]
fn request_too_many_waiting_overloaded_at_once() {
    let (mut cluster, leader) = Cluster::three_with(|config| config.waiting_max = 2);
    let requests = cluster.ask_all(leader, vec![add(1), read(ReadLevel::Default), add(1)]);
    let overloaded = Reply::Refused(Refused::Overloaded { limit: "node.waiting_max" });
    assert_eq!(cluster.reply(leader, requests[2]), Some(overloaded));
    cluster.wait_reply(leader, requests[0]);
    assert_eq!(sum(&cluster.call(leader, add(1))), 2);
}

#[test]
fn propose_state_machine_far_behind_overloaded_at_once() {
    let (mut cluster, leader) = Cluster::three_with(|config| config.apply_lag_max = 10);
    cluster.hosts.get_mut(&leader).unwrap().apply_stalled = true;
    for number in 0..11 {
        cluster.ask(leader, add(number));
        cluster.run(SECOND / 100);
    }
    let overloaded = Reply::Refused(Refused::Overloaded { limit: "node.apply_lag_max" });
    let request = cluster.ask(leader, add(1));
    assert_eq!(cluster.reply(leader, request), Some(overloaded));
    cluster.resume_apply(leader);
    cluster.run(SECOND / 100);
    assert!(matches!(cluster.call(leader, add(1)), Reply::Done { .. }));
}

#[test]
fn request_cancelled_gets_no_reply_and_may_still_be_done() {
    let (mut cluster, leader) = Cluster::three();
    let request = cluster.ask(leader, add(1));
    let far = cluster.ask(leader, ClientRequest::Read { level: ReadLevel::Stale, min_index: Some(Index(1_000)) });
    let status = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap();
    assert_eq!((status.accepted, status.reads_waiting), (1, 1));
    cluster.hand(leader, NodeInput::Cancel { id: request });
    cluster.hand(leader, NodeInput::Cancel { id: far });
    let status = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap();
    assert_eq!((status.accepted, status.reads_waiting), (0, 0));
    assert_eq!(cluster.hosts[&leader].node.stats().waiting, 0);
    assert_eq!(sum(&cluster.call(leader, add(1))), 2);
    assert_eq!(cluster.reply(leader, request), None);
    assert_eq!(cluster.hosts[&leader].node.stats().cancelled, 2);
}

#[test]
fn request_cancelled_in_the_inbox_is_never_proposed() {
    let (mut cluster, leader) = Cluster::three();
    let now = cluster.now;
    let node = &mut cluster.hosts.get_mut(&leader).unwrap().node;
    let mut out = Vec::new();
    node.handle(now, NodeInput::Request { id: RequestId(500), group: GROUP, request: add(1) }, &mut out);
    node.handle(now, NodeInput::Cancel { id: RequestId(500) }, &mut out);
    node.flush(now, &mut out);
    cluster.carry_out(leader, out);
    assert_eq!(sum(&cluster.call(leader, add(1))), 1);
}

#[test]
fn read_levels_see_what_was_acknowledged() {
    let (mut cluster, leader) = Cluster::three();
    let Reply::Done { id, .. } = cluster.call(leader, add(1)) else { panic!("not done") };
    assert!(applied(&cluster.call(leader, read(ReadLevel::Default))) >= id.index);
    for node in 1..=3 {
        assert!(applied(&cluster.call(NodeId(node), read(ReadLevel::Consistent))) >= id.index);
        assert!(applied(&cluster.call(NodeId(node), ClientRequest::Barrier)) >= id.index);
    }
    let follower = cluster.others(leader)[0];
    let default = cluster.call(follower, read(ReadLevel::Default));
    assert!(matches!(default, Reply::Refused(Refused::NotLeader(Some(_)))), "{default:?}");
}

#[test]
fn read_stale_answered_at_once_and_tells_last_contact() {
    let (mut cluster, leader) = Cluster::three();
    let follower = cluster.others(leader)[0];
    cluster.isolate(follower);
    cluster.run(SECOND / 2);
    let request = cluster.ask(follower, read(ReadLevel::Stale));
    let Some(Reply::Readable { applied: Some(_), last_contact: Some(contact) }) = cluster.reply(follower, request)
    else {
        panic!("a stale read waits for nothing: {:?}", cluster.reply(follower, request));
    };
    assert!((SECOND / 2..SECOND).contains(&contact), "{contact:?}");
}

#[test]
fn read_many_in_one_turn_share_one_round() {
    let (mut cluster, leader) = Cluster::three();
    // Between two heartbeats, so that no round is under way: reads would gather behind it.
    cluster.run(SECOND / 20);
    let before = cluster.hosts[&leader].node.stats();
    let requests = cluster.ask_all(leader, vec![read(ReadLevel::Consistent); 50]);
    let after = cluster.hosts[&leader].node.stats();
    assert_eq!(after.read_batches - before.read_batches, 1);
    assert_eq!(after.frames_sent - before.frames_sent, 2);
    for request in requests {
        assert!(matches!(cluster.wait_reply(leader, request), Reply::Readable { .. }));
    }
}

#[test]
fn read_waits_until_applied() {
    let (mut cluster, leader) = Cluster::three();
    let before = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().applied.unwrap();
    cluster.hosts.get_mut(&leader).unwrap().apply_stalled = true;
    let write = cluster.ask(leader, add(1));
    cluster
        .run_until(SECOND, |c| c.hosts[&leader].node.status(c.now, GROUP).unwrap().raft.committed > Some(before.index));
    let lease = cluster.ask(leader, read(ReadLevel::Default));
    let quorum = cluster.ask(leader, read(ReadLevel::Consistent));
    cluster.run(SECOND);
    for request in [write, lease, quorum] {
        assert_eq!(cluster.reply(leader, request), None);
    }
    assert_eq!(cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().reads_waiting, 2);
    cluster.resume_apply(leader);
    let Reply::Done { id, .. } = cluster.wait_reply(leader, write) else { panic!("not done") };
    assert!(applied(&cluster.wait_reply(leader, lease)) >= id.index);
    assert!(applied(&cluster.wait_reply(leader, quorum)) >= id.index);
}

#[test]
fn read_fresh_leader_waits_for_its_first_entry_instead_of_refusing() {
    let mut cluster = Cluster::new(3);
    cluster.open_everywhere(GROUP);
    cluster.run_until(10 * SECOND, |c| c.leader(GROUP).is_some());
    let leader = cluster.leader(GROUP).unwrap();
    let requests = cluster.ask_all(leader, vec![read(ReadLevel::Default), read(ReadLevel::Consistent)]);
    assert_eq!(cluster.reply(leader, requests[0]), None);
    for request in requests {
        assert_eq!(applied(&cluster.wait_reply(leader, request)), Index(1));
    }
}

#[test]
fn read_min_index_waits_until_applied_here() {
    let (mut cluster, leader) = Cluster::three();
    let follower = cluster.others(leader)[0];
    let next = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().applied.unwrap().index.next();
    let stale = ClientRequest::Read { level: ReadLevel::Stale, min_index: Some(next) };
    let request = cluster.ask(follower, stale);
    cluster.run(SECOND);
    assert_eq!(cluster.reply(follower, request), None);
    cluster.call(leader, add(1));
    assert!(applied(&cluster.wait_reply(follower, request)) >= next);
}

#[test]
fn read_min_index_never_reached_refused_after_the_time_out() {
    let (mut cluster, leader) = Cluster::three();
    let far = ClientRequest::Read { level: ReadLevel::Stale, min_index: Some(Index(1_000_000)) };
    let asked = cluster.now;
    assert_eq!(cluster.call(leader, far), Reply::Refused(Refused::Timeout));
    assert_eq!(cluster.now.since(asked), 5 * SECOND);
    assert_eq!(cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().reads_waiting, 0);
}

#[test]
fn propose_follower_names_no_leader_that_fell_silent() {
    let (mut cluster, leader) = Cluster::three();
    let follower = cluster.others(leader)[0];
    cluster.isolate(leader);
    // A leader says something every 100 ms and is missed after a second at the earliest.
    cluster.run(Duration::from_millis(300));
    assert!(matches!(cluster.call(follower, add(1)), Reply::Refused(Refused::NotLeader(Some(_)))));
    cluster.run(Duration::from_millis(300));
    let status = cluster.hosts[&follower].node.status(cluster.now, GROUP).unwrap();
    assert_eq!((status.raft.leader, status.leader), (Some(leader), None), "followed still, but nobody is sent there");
    assert_eq!(cluster.call(follower, add(1)), Reply::Refused(Refused::NotLeader(None)));
    let read = cluster.call(follower, read(ReadLevel::Default));
    assert_eq!(read, Reply::Refused(Refused::NotLeader(None)));
}

#[test]
fn verify_leader_confirmed_or_refused() {
    let (mut cluster, leader) = Cluster::three();
    assert!(matches!(cluster.call(leader, ClientRequest::VerifyLeader), Reply::Verified { .. }));
    let follower = cluster.others(leader)[0];
    let refused = cluster.call(follower, ClientRequest::VerifyLeader);
    assert!(matches!(refused, Reply::Refused(Refused::NotLeader(Some(_)))), "{refused:?}");
    // Cut off, it still believes to lead; a majority does not confirm it.
    cluster.isolate(leader);
    let refused = cluster.call(leader, ClientRequest::VerifyLeader);
    assert!(matches!(refused, Reply::Refused(Refused::NotLeader(None) | Refused::Timeout)), "{refused:?}");
}

/// Deposed within the turn in which it was asked, the node asks its new leader, as it would for a read. The answer proves
/// that somebody leads, not that we do.
#[test]
fn verify_leader_deposed_in_the_same_turn_refused() {
    let (mut cluster, old) = Cluster::three();
    let new = cluster.others(old)[0];
    let term = cluster.hosts[&old].node.status(cluster.now, GROUP).unwrap().raft.term.next();
    let now = cluster.now;
    let node = &mut cluster.hosts.get_mut(&old).unwrap().node;
    let received = |body| NodeInput::Received { from: new, messages: vec![(GROUP, Message { term, body })] };
    let mut out = Vec::new();
    let request = ClientRequest::VerifyLeader;
    node.handle(now, NodeInput::Request { id: RequestId(800), group: GROUP, request }, &mut out);
    let heartbeat = Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None };
    node.handle(now, received(heartbeat), &mut out);
    node.flush(now, &mut out);
    let batch = out.iter().find_map(|effect| match effect {
        NodeEffect::Store { batch, .. } => Some(*batch),
        _ => None,
    });
    // The question carries the new term, and leaves once that is on disk.
    node.handle(now, NodeInput::Stored(batch.unwrap()), &mut out);
    node.flush(now, &mut out);
    let sent = out.iter().flat_map(|effect| match effect {
        NodeEffect::Send { messages, .. } => messages.as_slice(),
        _ => &[],
    });
    let tokens = sent.filter_map(|(_, message)| match message.body {
        Body::ReadIndex { token } => Some(token),
        _ => None,
    });
    let token = tokens.last().expect("the new leader is asked");
    out.clear();
    node.handle(now, received(Body::ReadIndexAck { token, index: Some(Index(1)) }), &mut out);
    let [NodeEffect::Reply { reply, .. }] = &out[..] else { panic!("no answer: {out:?}") };
    assert_eq!(*reply, Reply::Refused(Refused::NotLeader(Some(Leader { id: new, member: Some(member(new.0)) }))));
}

#[test]
fn disk_reserve_refuses_writes_that_free_nothing() {
    let (mut cluster, leader) = Cluster::three();
    cluster.hand(leader, NodeInput::DiskReserve { below: true });
    assert_eq!(cluster.call(leader, add(1)), Reply::Refused(Refused::DiskFull));
    let command = Bytes::copy_from_slice(&7u64.to_be_bytes());
    assert_eq!(
        sum(&cluster.call(leader, ClientRequest::Propose { command, frees_space: true, version: Version::default() })),
        7
    );
    applied(&cluster.call(leader, read(ReadLevel::Default)));
    assert!(matches!(cluster.change(leader, Change::Add(member(4))), Reply::Changed { .. }));
    // Whoever does not lead says who does: it is the leader's disk that matters to the client.
    let follower = cluster.others(leader)[0];
    cluster.hand(follower, NodeInput::DiskReserve { below: true });
    assert!(matches!(cluster.call(follower, add(1)), Reply::Refused(Refused::NotLeader(_))));
    cluster.hand(leader, NodeInput::DiskReserve { below: false });
    assert_eq!(sum(&cluster.call(leader, add(1))), 8);
}

#[test]
fn bootstrap_once() {
    let mut cluster = Cluster::new(1);
    cluster.open(NodeId(1), GROUP);
    assert_eq!(cluster.call(NodeId(1), add(1)), Reply::Refused(Refused::NotLeader(None)));
    let bootstrap = ClientRequest::Bootstrap(voters([1]));
    let request = cluster.ask(NodeId(1), bootstrap.clone());
    assert_eq!(cluster.reply(NodeId(1), request), None, "not before it is on disk");
    assert_eq!(cluster.wait_reply(NodeId(1), request), Reply::Bootstrapped);
    assert_eq!(cluster.wait_leader(GROUP), NodeId(1));
    assert_eq!(sum(&cluster.call(NodeId(1), add(1))), 1);
    assert_eq!(cluster.call(NodeId(1), bootstrap), Reply::Refused(Refused::NotEmpty));
}

#[test]
fn member_added_catches_up_and_is_promoted_by_itself() {
    let (mut cluster, leader) = Cluster::three();
    for number in 1..=50 {
        cluster.call(leader, add(number));
    }
    let Reply::Changed { membership, .. } = cluster.change(leader, Change::Add(member(4))) else { panic!("not added") };
    assert_eq!(membership.last_id(), Some(NodeId(4)));
    assert!(!membership.is_voter(NodeId(4)));
    assert!(cluster.hosts.values().all(|host| host.peers.contains_key(&NodeId(4))), "everybody is told whom to dial");
    cluster.add_host(NodeConfig::new(NodeId(4)));
    cluster.open(NodeId(4), GROUP);
    let id = NodeId(4);
    let added = Notice::MemberAdded { group: GROUP, id, member: member(4) };
    let promoted = Notice::MemberPromoted { group: GROUP, id, member: member(4) };
    cluster.run_until(10 * SECOND, |c| c.hosts[&leader].notices.contains(&promoted));
    cluster.wait_same_state();
    let notices = &cluster.hosts[&leader].notices;
    let newcomer = cluster.hosts[&id].notices.iter().filter(|n| !matches!(n, Notice::LeaderElected { .. }));
    assert_eq!(newcomer.collect::<Vec<_>>(), [&promoted], "what went before it came is no news to it");
    let place = |notice: &Notice| notices.iter().position(|n| n == notice);
    assert!(place(&added).is_some() && place(&added) < place(&promoted), "{notices:?}");

    assert!(matches!(cluster.change(leader, Change::Remove(id)), Reply::Changed { .. }));
    let removed = Notice::MemberRemoved { group: GROUP, id, member: member(4) };
    assert!(cluster.hosts[&leader].notices.contains(&removed));
    assert!(!cluster.hosts[&leader].peers.contains_key(&id));
    let term = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().raft.term;
    cluster.run(10 * SECOND);
    let after = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap().raft.term;
    assert_eq!(after, term, "whoever was removed leaves the others alone");
}

#[test]
fn member_added_after_bootstrap_is_the_only_news() {
    let mut cluster = Cluster::new(1);
    let first = NodeId(1);
    cluster.open(first, GROUP);
    cluster.call(first, ClientRequest::Bootstrap(voters([1])));
    cluster.wait_leader(GROUP);
    cluster.change(first, Change::Add(member(2)));
    cluster.change(first, Change::Remove(NodeId(2)));
    let (group, id, member) = (GROUP, NodeId(2), member(2));
    let notices = cluster.hosts[&first].notices.iter().filter(|n| !matches!(n, Notice::LeaderElected { .. }));
    let expected =
        [Notice::MemberAdded { group, id, member: member.clone() }, Notice::MemberRemoved { group, id, member }];
    assert_eq!(notices.cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn member_leader_removes_itself() {
    let (mut cluster, leader) = Cluster::three();
    let Reply::Changed { membership, .. } = cluster.change(leader, Change::Remove(leader)) else {
        panic!("not removed")
    };
    assert!(!membership.members().contains_key(&leader));
    let rest = cluster.others(leader);
    cluster.run_until(10 * SECOND, |c| rest.iter().any(|id| c.role(*id, GROUP) == Some(Role::Leader)));
    let new = *rest.iter().find(|id| cluster.role(**id, GROUP) == Some(Role::Leader)).unwrap();
    assert_eq!(sum(&cluster.call(new, add(1))), 1);
    assert!(matches!(cluster.call(leader, add(1)), Reply::Refused(Refused::NotLeader(_))));
}

#[test]
fn member_added_to_fresh_leader_waits_for_its_first_entry_instead_of_refusing() {
    let mut cluster = Cluster::new(3);
    cluster.open_everywhere(GROUP);
    cluster.run_until(10 * SECOND, |c| c.leader(GROUP).is_some());
    let leader = cluster.leader(GROUP).unwrap();
    assert!(matches!(cluster.change(leader, Change::Add(member(4))), Reply::Changed { .. }));
}

#[test]
fn member_added_stays_learner_without_auto_promote() {
    let (mut cluster, leader) = Cluster::three_with(|config| config.auto_promote = false);
    cluster.change(leader, Change::Add(member(4)));
    cluster.add_host(NodeConfig::new(NodeId(4)));
    cluster.open(NodeId(4), GROUP);
    cluster.wait_same_state();
    cluster.run(10 * SECOND);
    let status = cluster.hosts[&leader].node.status(cluster.now, GROUP).unwrap();
    assert!(!status.raft.membership.is_voter(NodeId(4)));
    assert!(matches!(cluster.change(leader, Change::Promote(NodeId(4))), Reply::Changed { .. }));
}

#[test]
fn member_change_nonsense_refused() {
    let (mut cluster, leader) = Cluster::three();
    let refused = cluster.change(leader, Change::Add(member(2)));
    assert!(matches!(refused, Reply::Refused(Refused::Change(_))), "{refused:?}");
    let follower = cluster.others(leader)[0];
    assert!(matches!(cluster.change(follower, Change::Add(member(4))), Reply::Refused(Refused::NotLeader(Some(_)))));
}

#[test]
fn stop_sees_those_waiting_through_and_says_when() {
    let (mut cluster, leader) = Cluster::three();
    let request = cluster.ask(leader, add(1));
    cluster.hand(leader, NodeInput::Stop);
    assert!(!cluster.hosts[&leader].drained);
    let late = cluster.ask(leader, add(1));
    assert_eq!(cluster.reply(leader, late), Some(Reply::Refused(Refused::Stopping)));
    assert_eq!(sum(&cluster.wait_reply(leader, request)), 1);
    cluster.run_until(SECOND, |c| c.hosts[&leader].drained);
    // An idle follower has nothing to wait for.
    let follower = cluster.others(leader).into_iter().find(|id| cluster.leader(GROUP) != Some(*id)).unwrap();
    cluster.hand(follower, NodeInput::Stop);
    assert!(cluster.hosts[&follower].drained);
}

#[test]
fn status_tells_everything_hashicorp_tells() {
    let (mut cluster, leader) = Cluster::three();
    cluster.call(leader, add(1));
    let Reply::Status(status) = cluster.call(leader, ClientRequest::Status) else { panic!("no status") };
    let fields: std::collections::BTreeMap<&str, String> = status.fields().into_iter().collect();
    for (name, value) in [("state", "leader"), ("last_log_index", "2"), ("applied_index", "2"), ("commit_index", "2")] {
        assert_eq!(fields[name], value, "{name}");
    }
    for name in [
        "term",
        "last_log_term",
        "fsm_pending",
        "last_snapshot_index",
        "last_snapshot_term",
        "latest_configuration",
        "latest_configuration_index",
        "last_contact",
        "num_peers",
    ] {
        assert!(fields.contains_key(name), "{name}");
    }
    assert_eq!(fields["num_peers"], "2");
    assert!(fields["latest_configuration"].contains("host1:8089"), "{}", fields["latest_configuration"]);
}
