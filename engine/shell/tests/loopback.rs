//! Three nodes in one process, on real sockets and real folders: they replicate, crash, come back, and share what is to
//! be shared.

mod common;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Cluster, GROUP, eventually, free_address, hurry, member, open_with, steady};
use hezong_base::{GroupId, Index, LogId, NodeId};
use hezong_codec::VERSIONS;
use hezong_node::{Notice, ReadLevel, Refused, StateError, StateMachine};
use hezong_raft::{Base, Entry, Role};
use hezong_shell::{Event, Handle, Identity, Options, ProposeError, ReadError, Start, TransferError, block_on, open};

#[test]
fn replicate_three_nodes_apply_the_same() {
    let cluster = Cluster::start_with(3, 1, steady);
    let leader = cluster.leader(GROUP);
    for n in 1..=100 {
        let done = block_on(cluster.node(leader).propose(GROUP, format!("c{n}"))).unwrap();
        assert_eq!(done.reply, n.to_string());
    }
    for running in cluster.alive() {
        let read = block_on(running.node.read(GROUP, ReadLevel::Consistent, None)).unwrap();
        assert!(read.applied >= Some(Index(100)));
        assert_eq!(running.journal().len(), 100);
        assert_eq!(running.journal().commands(), cluster.running(leader).journal().commands());
    }
    assert!(block_on(cluster.node(leader).verify_leader(GROUP)).is_ok());
}

#[test]
fn versions_of_all_members_are_known_on_all() {
    let cluster = Cluster::start(3, 1);
    let network = hezong_shell::Network::new();
    for node in cluster.alive().chain(&common::in_memory(&network, 3)).map(|running| &running.node) {
        eventually("all have said what they know", || {
            let status = block_on(node.status(GROUP)).unwrap();
            (status.versions.len() == 3 && status.versions.values().all(|version| version.0 == VERSIONS.max))
                .then_some(())
        });
    }
}

#[test]
fn follower_refuses_and_names_the_leader() {
    let cluster = Cluster::start_with(3, 1, steady);
    let leader = cluster.leader(GROUP);
    let follower = (0..3).find(|at| *at != leader).unwrap();
    let named =
        eventually("the follower knows the leader", || match block_on(cluster.node(follower).propose(GROUP, "x")) {
            Err(ProposeError::Refused(Refused::NotLeader(named))) => named,
            other => panic!("{other:?}"),
        });
    assert_eq!(named.id, cluster.identities[leader].node);
    assert_eq!(named.member.unwrap().peer, cluster.addresses[leader]);
    let read = block_on(cluster.node(follower).read(GROUP, ReadLevel::Default, None));
    assert!(matches!(read, Err(ReadError::Refused(Refused::NotLeader(Some(_))))), "{read:?}");
    assert!(block_on(cluster.node(follower).read(GROUP, ReadLevel::Stale, None)).is_ok());
    assert!(block_on(cluster.node(follower).barrier(GROUP)).is_ok());
    let missing = block_on(cluster.node(leader).propose(GroupId(9), "x"));
    assert_eq!(missing, Err(ProposeError::Refused(Refused::NoGroup(GroupId(9)))));
}

#[test]
fn kill_and_reopen_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start(3, 1);
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let victim = if round % 2 == 0 { cluster.leader(GROUP) } else { round % 3 };
        for n in 0..20 {
            let command = format!("round {round} command {n}");
            cluster.put(command.clone());
            acknowledged.push(command);
        }
        cluster.kill(victim);
        let command = format!("round {round} without {victim}");
        cluster.put(command.clone());
        acknowledged.push(command);
        cluster.open(victim);
    }
    // All at once: what survives now is on disk, or nowhere.
    (0..3).for_each(|at| cluster.kill(at));
    (0..3).for_each(|at| cluster.open(at));
    cluster.leader(GROUP);
    for running in cluster.alive() {
        eventually("a consistent read succeeds", || {
            block_on(running.node.read(GROUP, ReadLevel::Consistent, None)).ok()
        });
        for command in &acknowledged {
            assert!(running.journal().has(command.as_bytes()), "{command} is gone");
        }
    }
}

#[test]
fn shutdown_graceful_answers_those_who_wait_and_frees_folder_and_port() {
    let mut cluster = Cluster::start_with(3, 1, steady);
    let leader = cluster.leader(GROUP);
    let node = cluster.node(leader).clone();
    let clients: Vec<_> = (0..50)
        .map(|n| {
            let node: Handle = node.clone();
            std::thread::spawn(move || block_on(node.propose(GROUP, format!("last {n}"))))
        })
        .collect();
    block_on(node.shutdown());
    let mut done = 0;
    for client in clients {
        match client.join().unwrap() {
            Ok(_) => done += 1,
            Err(ProposeError::Refused(Refused::Stopping)) => {}
            Err(other) => panic!("a graceful stop leaves nobody in doubt: {other:?}"),
        }
    }
    assert_eq!(block_on(node.propose(GROUP, "x")), Err(ProposeError::Refused(Refused::Stopping)));
    drop(node);
    // The same folder and the same port, at once.
    cluster.open(leader);
    cluster.put("after");
    eventually("everything done is back", || (cluster.running(leader).journal().len() > done).then_some(()));
}

#[test]
fn shutdown_answers_whoever_comes_at_the_last_moment() {
    // Nobody may wait for ever for a node that has just stopped listening; some rounds hit that moment.
    for _ in 0..100 {
        let network = hezong_shell::Network::new();
        let node = common::in_memory(&network, 1).remove(0).node;
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let node = node.clone();
                std::thread::spawn(move || while block_on(node.status(GROUP)).is_ok() {})
            })
            .collect();
        block_on(node.shutdown());
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

#[test]
fn join_learner_catches_up_and_votes() {
    let mut cluster = Cluster::start_with(1, 1, steady);
    for n in 0..50 {
        cluster.put(format!("before {n}"));
    }
    for n in 2..=3 {
        let (tell, told) = std::sync::mpsc::channel();
        let first = cluster.node(0).clone();
        let address = free_address();
        let newcomer = member(n, &address);
        let joining =
            std::thread::spawn(move || block_on(first.add_voter(GROUP, newcomer, move |id| tell.send(id).unwrap())));
        let id = told.recv().unwrap();
        assert_eq!(id, NodeId(n));
        let cluster_id = cluster.identities[0].cluster;
        cluster.identities.push(Identity::joined(cluster_id, id, format!("node{n:02}")));
        cluster.addresses.push(address);
        cluster.nodes.push(None);
        cluster.open(cluster.identities.len() - 1);
        assert_eq!(joining.join().unwrap(), Ok(id));
    }
    let members = block_on(cluster.node(0).members(GROUP)).unwrap();
    assert_eq!(members.voters().len(), 3);
    let taken = block_on(cluster.node(0).add_learner(GROUP, member(2, &cluster.addresses[1])));
    assert!(taken.is_err(), "a live member's name and addresses are taken: {taken:?}");

    // Three voters do without any one of them.
    cluster.kill(0);
    cluster.put("without the first");
    assert_eq!(cluster.running(cluster.leader(GROUP)).journal().len(), 51);
}

#[test]
fn remove_a_follower_the_rest_goes_on() {
    let cluster = Cluster::start_with(3, 1, steady);
    let leader = cluster.leader(GROUP);
    let gone = (0..3).find(|at| *at != leader).unwrap();
    let mut events = cluster.node(leader).events();
    block_on(cluster.node(leader).remove(GROUP, cluster.identities[gone].node)).unwrap();
    assert_eq!(block_on(cluster.node(leader).members(GROUP)).unwrap().members().len(), 2);
    cluster.put("after");
    eventually("the removal is told", || {
        let told = |event| matches!(event, Event::Group(Notice::MemberRemoved { .. }));
        std::iter::from_fn(|| events.try_recv().ok()).any(told).then_some(())
    });
}

#[test]
fn many_groups_share_one_log_and_one_connection_per_pair() {
    const GROUPS: u64 = 64;
    let cluster = Cluster::start_with(3, GROUPS, |options| {
        steady(options);
        options.raft.heartbeat_interval = Duration::from_millis(100);
    });
    for group in 1..=GROUPS {
        let leader = cluster.leader(GroupId(group));
        block_on(cluster.node(leader).propose(GroupId(group), "x")).unwrap();
    }
    for (at, running) in cluster.alive().enumerate() {
        let stats = eventually("all are connected", || {
            Some(block_on(running.node.stats()).unwrap()).filter(|stats| stats.connected.len() == 2)
        });
        // One to each of two peers. Where both dialled at once, one was replaced, which does not count as lost.
        let standing = stats.metrics.connections - stats.metrics.disconnections;
        assert!((2..=8).contains(&standing), "{standing} connections to two peers");
        assert_eq!(common::files(&cluster.path(at).join("log")).iter().filter(|f| !f.ends_with("lock")).count(), 1);
    }

    // Idle: what the groups have to say to each other shares frames.
    let sent = || -> Vec<u64> {
        cluster.alive().map(|running| block_on(running.node.stats()).unwrap().metrics.frames_sent).collect()
    };
    // Again where a machine that stood still had somebody elected.
    let (before, after, beats) = eventually("two seconds in which nothing happens", || {
        let mut events = cluster.node(0).events();
        let (before, since) = (sent(), Instant::now());
        while since.elapsed() < Duration::from_secs(2) {
            // Two seconds of nothing are what is being measured.
            std::thread::park_timeout(Duration::from_secs(2).saturating_sub(since.elapsed()));
        }
        let after = sent();
        // Looked at last: who wakes late counts what was sent until then.
        let beats = since.elapsed().as_secs_f64() / 0.1;
        events.try_recv().is_err().then_some((before, after, beats))
    });
    for (before, after) in before.iter().zip(after) {
        // A node has two peers; to each it may send two frames a beat: its own heartbeats, and the answers to theirs.
        let a_beat = (after - before) as f64 / beats / 2.0;
        assert!(a_beat <= 2.1, "{a_beat:.2} frames a heartbeat and peer");
        assert!(a_beat > 0.5, "{a_beat:.2} frames a heartbeat and peer: they do not even beat");
    }
}

#[test]
fn paused_leader_serves_no_default_read_after_its_lease() {
    // A pause of the process stops all threads alike. What counts is that time is read after the read was taken in; so
    // the leader is cut off and asked once the others have long elected another.
    let network = hezong_shell::Network::new();
    let nodes = common::in_memory(&network, 3);
    let old =
        eventually("somebody leads", || (0..3).find(|at| block_on(nodes[*at].node.propose(GROUP, "old")).is_ok()));
    let id = |at: usize| NodeId(at as u64 + 1);
    for at in (0..3).filter(|at| *at != old) {
        network.cut(id(old), id(at));
    }
    let new = eventually("another leads", || {
        (0..3).filter(|at| *at != old).find(|at| block_on(nodes[*at].node.propose(GROUP, "new")).is_ok())
    });
    assert_ne!(new, old);
    let read = block_on(nodes[old].node.read(GROUP, ReadLevel::Default, None));
    assert!(read.is_err(), "an old leader served a read: {read:?}");
    network.heal();
    eventually("the old leader follows", || {
        (block_on(nodes[old].node.state(GROUP)) == Ok(Role::Follower)).then_some(())
    });
    eventually("it catches up", || nodes[old].journal().has(b"new").then_some(()));
}

/// What a node promised under a longer lease it keeps after a restart with a shorter one: its folder remembers.
#[test]
fn lease_longer_before_a_restart_is_waited_out() {
    let long = Duration::from_millis(1_500);
    let mut cluster = Cluster::start_with(2, 1, |options| options.raft.lease = Duration::from_millis(1_500));
    cluster.leader(GROUP);
    (0..2).for_each(|at| cluster.kill(at));
    cluster.change = |_| {};
    let began = Instant::now();
    (0..2).for_each(|at| cluster.open(at));
    cluster.leader(GROUP);
    assert!(began.elapsed() > long, "a leader was elected after {:?}", began.elapsed());
}

#[test]
fn transfer_and_shutdown_hand_over() {
    let mut cluster = Cluster::start_with(3, 1, steady);
    let old = cluster.leader(GROUP);
    let to = (old + 1) % 3;
    let wanted = cluster.identities[to].node;
    let leader = block_on(cluster.node(old).transfer(GROUP, Some(wanted))).unwrap();
    assert_eq!((leader.id, leader.member.unwrap().peer), (wanted, cluster.addresses[to].clone()));
    assert_eq!(cluster.leader(GROUP), to);
    let again = block_on(cluster.node(to).transfer(GROUP, Some(wanted)));
    assert!(matches!(again, Err(TransferError::Refused(Refused::Transfer(_)))), "{again:?}");
    // Who is shut down hands over by itself: when it is gone, another leads already.
    block_on(cluster.node(to).shutdown());
    cluster.kill(to);
    let others: Vec<_> = cluster.alive().collect();
    assert!(others.iter().any(|running| block_on(running.node.state(GROUP)) == Ok(Role::Leader)));
}

/// A state machine that looks, when it is dropped, whether the folder's lock is still held.
struct Closing {
    lock: PathBuf,
    held: Arc<AtomicBool>,
}

impl StateMachine for Closing {
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(None)
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        Ok(None)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let lock = File::open(&self.lock).unwrap();
        self.held.store(lock.try_lock().is_err(), Ordering::SeqCst);
    }
}

#[test]
fn shutdown_holds_the_folder_until_the_state_is_closed_and_whoever_asked_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let held = Arc::default();
    let closing = Closing { lock: folder.path().join("lock"), held: Arc::clone(&held) };
    let start = Start::Bootstrap(Identity::bootstrap("node01"));
    let options = |start| hurry(Options::new(folder.path(), free_address(), start));
    let machines = [(GROUP, Box::new(closing) as Box<dyn StateMachine>)].into();
    let node = open(options(start), machines).unwrap();
    block_on(node.shutdown());
    assert!(held.load(Ordering::SeqCst), "the folder was free before the state was closed");
    let node = open_with(options(Start::Reopen), 1).unwrap().node;
    let reader = node.hold_folder().unwrap();
    block_on(node.shutdown());
    let error = open_with(options(Start::Reopen), 1).map(drop).unwrap_err().to_string();
    assert!(error.contains("in use by another process") && error.contains("if it is stopping"), "{error}");
    drop(reader);
    assert!(node.hold_folder().is_none());
    open_with(options(Start::Reopen), 1).unwrap();
}
