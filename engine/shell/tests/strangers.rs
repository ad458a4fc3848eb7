//! What a node makes of those who knock at its peer port, and of folders and ports that are not its own.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::{Cluster, GROUP, Running, eventually, hurry, member, open_with, steady};
use hezong_base::{NodeId, Term};
use hezong_codec::{
    ClusterId, FRAME_BYTES_MAX, Frame, Hello, Lane, Refusal, VERSIONS, Versions,
    frame::{decode, encode_hello, encode_messages},
};
use hezong_node::ReadLevel;
use hezong_raft::{Body, Membership, Message};
use hezong_shell::{Event, Identity, IdentityError, MetricsSnapshot, OpenError, Options, Start, block_on};

fn metrics(running: &Running) -> MetricsSnapshot {
    block_on(running.node.stats()).unwrap().metrics
}

fn knock(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect(&cluster.addresses[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Whether the other side hangs up, having said nothing.
fn hung_up(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        // As good: it closed while something of ours was still unread.
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn hello(cluster: &Cluster) -> Hello {
    let cluster = cluster.identities[0].cluster;
    Hello { versions: VERSIONS, cluster, from: NodeId(9), to: NodeId(1), lane: Lane::Messages, member: None }
}

/// Introduces itself and returns the answer.
fn introduce(stream: &mut TcpStream, hello: &Hello) -> Frame {
    let mut bytes = BytesMut::new();
    encode_hello(hello, &mut bytes);
    stream.write_all(&bytes).unwrap();
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(frame) = decode(&mut buffer, FRAME_BYTES_MAX).unwrap() {
            return frame;
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "it hung up instead of answering");
        buffer.extend_from_slice(&chunk[..count]);
    }
}

#[test]
fn garbage_is_hung_up_on_counted_and_harmless() {
    let cluster = Cluster::start(1, 1);
    cluster.leader(GROUP);
    let mut events = cluster.node(0).events();
    let samples: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[0; 4096], b"HZ\x01\x01\xff\xff\xff\xff0000", b"HZ\x63"];
    let began = Instant::now();
    for (before, sample) in samples.iter().enumerate() {
        let mut stream = knock(&cluster);
        stream.write_all(sample).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(hung_up(stream));
        eventually("it is counted", || (metrics(cluster.running(0)).garbage > before as u64).then_some(()));
    }
    let told = std::iter::from_fn(|| events.try_recv().ok()).filter(|e| matches!(e, Event::Garbage { .. })).count();
    // At most once a second.
    let most = began.elapsed().as_secs() + 2;
    assert!((1..=most).contains(&(told as u64)), "told {told} times: a stranger could fill the log");
    cluster.put("alive");
}

#[test]
fn garbage_after_a_good_handshake_closes_that_connection_only() {
    let cluster = Cluster::start(1, 1);
    let mut stream = knock(&cluster);
    assert!(matches!(introduce(&mut stream, &hello(&cluster)), Frame::Welcome(_)));
    eventually("it is connected", || {
        block_on(cluster.node(0).stats()).unwrap().connected.contains(&NodeId(9)).then_some(())
    });
    stream.write_all(b"and now for something completely different").unwrap();
    eventually("it is not", || block_on(cluster.node(0).stats()).unwrap().connected.is_empty().then_some(()));
    assert_eq!(metrics(cluster.running(0)).garbage, 1);
    cluster.put("alive");
}

#[test]
fn handshake_wrong_refused_with_the_reason() {
    let cluster = Cluster::start(1, 1);
    let ours = cluster.identities[0].cluster;
    let right = hello(&cluster);
    let cases = [
        (Hello { cluster: ClusterId(5), ..right.clone() }, Refusal::Cluster(ours)),
        (Hello { to: NodeId(2), ..right.clone() }, Refusal::Node(NodeId(1))),
        (Hello { from: NodeId(1), ..right.clone() }, Refusal::Node(NodeId(1))),
        (Hello { versions: Versions { min: 200, max: 201 }, ..right.clone() }, Refusal::Version(VERSIONS)),
    ];
    for (wrong, reason) in cases {
        assert_eq!(introduce(&mut knock(&cluster), &wrong), Frame::Refused(reason));
    }
    eventually("they are counted", || (metrics(cluster.running(0)).handshakes_refused == 4).then_some(()));
    assert_eq!(metrics(cluster.running(0)).connections, 0);
    assert_eq!(metrics(cluster.running(0)).garbage, 0, "they spoke as peers do");
    assert!(matches!(introduce(&mut knock(&cluster), &right), Frame::Welcome(_)));
}

#[test]
fn removed_node_that_comes_back_is_told() {
    let cluster = Cluster::start(1, 1);
    let id = block_on(cluster.node(0).add_learner(GROUP, member(2, "127.0.0.1:1"))).unwrap();
    let back = Hello { from: id, ..hello(&cluster) };
    assert!(matches!(introduce(&mut knock(&cluster), &back), Frame::Welcome(_)));
    block_on(cluster.node(0).remove(GROUP, id)).unwrap();
    assert_eq!(introduce(&mut knock(&cluster), &back), Frame::Refused(Refusal::Removed));
    assert!(matches!(introduce(&mut knock(&cluster), &hello(&cluster)), Frame::Welcome(_)), "who is yet to join");
}

#[test]
fn nodes_of_two_clusters_never_talk() {
    let one = Cluster::start(1, 1);
    let other = Cluster::start(1, 1);
    let mut events = one.node(0).events();
    // As after a mistake in somebody's configuration: the address of a member belongs to another cluster's node.
    block_on(one.node(0).add_learner(GROUP, member(2, &other.addresses[0]))).unwrap();
    eventually("the refusal is told", || {
        std::iter::from_fn(|| events.try_recv().ok()).find(|event| matches!(event, Event::PeerRefused { .. }))
    });
    assert_eq!(metrics(one.running(0)).connections + metrics(other.running(0)).connections, 0);
}

#[test]
fn member_that_cannot_be_reached_is_told_once_until_it_comes_back() {
    let cluster = Cluster::start(1, 1);
    let mut events = cluster.node(0).events();
    let nobody = common::free_address();
    let id = block_on(cluster.node(0).add_learner(GROUP, member(2, &nobody))).unwrap();
    let mut next = |wanted: fn(&Event) -> bool| {
        eventually("it is told", || std::iter::from_fn(|| events.try_recv().ok()).find(wanted))
    };
    let unreachable = |event: &Event| matches!(event, Event::PeerUnreachable { .. });
    let told = next(unreachable).to_string();
    for word in [&id.to_string(), &nobody, "refused"] {
        assert!(told.contains(word), "{told}");
    }
    // It is dialled ten times a second or so, and told of once, though it fails for as long as before.
    let failed = || metrics(cluster.running(0)).dials_failed;
    let before = failed();
    eventually("it is dialled on", || (failed() >= 2 * before.max(10)).then_some(()));
    let listener = std::net::TcpListener::bind(&nobody).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = BytesMut::new();
    hezong_codec::frame::encode_answer(&Ok(hezong_codec::Welcome { version: VERSIONS.max }), &mut bytes);
    stream.write_all(&bytes).unwrap();
    let back = next(|event| matches!(event, Event::PeerUnreachable { .. } | Event::PeerConnected { .. }));
    assert!(matches!(back, Event::PeerConnected { peer, .. } if peer == id), "{back:?}");
    drop((stream, listener));
    next(unreachable);
}

#[test]
fn second_connection_of_a_peer_replaces_the_first() {
    let cluster = Cluster::start(1, 1);
    let mut first = knock(&cluster);
    assert!(matches!(introduce(&mut first, &hello(&cluster)), Frame::Welcome(_)));
    // Welcomed is not yet taken into use; only then is the second one the later.
    eventually("the first is connected", || {
        block_on(cluster.node(0).stats()).unwrap().connected.contains(&NodeId(9)).then_some(())
    });
    let mut second = knock(&cluster);
    assert!(matches!(introduce(&mut second, &hello(&cluster)), Frame::Welcome(_)));
    // Who dials anew has lost the old one, whether or not we have noticed.
    assert!(hung_up(first));
    let mut bytes = BytesMut::new();
    let message = Message { term: Term(0), body: Body::RequestPreVote { last: None } };
    encode_messages(&[(GROUP, message)], &[], FRAME_BYTES_MAX, &mut bytes).unwrap();
    second.write_all(&bytes).unwrap();
    eventually("the second is heard", || (metrics(cluster.running(0)).frames_received == 1).then_some(()));
    assert_eq!(block_on(cluster.node(0).stats()).unwrap().connected, [NodeId(9)]);
}

#[test]
fn peer_that_answers_nothing_holds_up_nobody() {
    let mut cluster = Cluster::start(1, 1);
    // A member whose process stands still after its handshake: its kernel takes things in, and nobody reads them.
    let stopped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stopped.local_addr().unwrap();
    let id = block_on(cluster.node(0).add_learner(GROUP, member(2, address))).unwrap();
    let (mut stream, _) = stopped.accept().unwrap();
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 1024];
    while decode(&mut buffer, FRAME_BYTES_MAX).unwrap().is_none() {
        let count = stream.read(&mut chunk).unwrap();
        buffer.extend_from_slice(&chunk[..count]);
    }
    let mut bytes = BytesMut::new();
    hezong_codec::frame::encode_answer(&Ok(hezong_codec::Welcome { version: VERSIONS.max }), &mut bytes);
    stream.write_all(&bytes).unwrap();
    eventually("it is connected", || block_on(cluster.node(0).stats()).unwrap().connected.contains(&id).then_some(()));
    for _ in 0..16 {
        cluster.put(vec![7; 64 << 10]);
    }
    // The node goes on all the while, and shuts down at once.
    assert!(block_on(cluster.node(0).read(GROUP, ReadLevel::Consistent, None)).is_ok());
    block_on(cluster.node(0).shutdown());
    cluster.kill(0);
}

#[test]
fn open_folder_or_port_of_another_refused() {
    let cluster = Cluster::start(1, 1);
    let refused = |options: Options| open_with(hurry(options), 1).err().expect("it was opened");

    let error = refused(cluster.options(0));
    assert!(matches!(error, OpenError::Identity(IdentityError::InUse(_))), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let start = Start::Bootstrap(Identity::bootstrap("node01"));
    let error = refused(Options::new(folder.path(), cluster.addresses[0].clone(), start));
    assert!(matches!(&error, OpenError::Listen { address, .. } if *address == cluster.addresses[0]), "{error}");
    // What was refused holds nothing: the same folder opens on another port.
    assert!(open_with(hurry(Options::new(folder.path(), "127.0.0.1:0", Start::Reopen)), 1).is_ok());

    let empty = tempfile::tempdir().unwrap();
    let error = refused(Options::new(empty.path(), "127.0.0.1:0", Start::Reopen));
    assert!(matches!(error, OpenError::Identity(IdentityError::Empty(_))), "{error}");
}

#[test]
fn open_without_its_log_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start::Bootstrap(Identity::bootstrap("node01"));
    let options = || hurry(Options::new(folder.path(), "127.0.0.1:0", start.clone()));
    drop(open_with(options(), 1).unwrap());
    let log = folder.path().join("log");
    for empty in [false, true] {
        std::fs::remove_dir_all(&log).unwrap();
        if empty {
            std::fs::create_dir(&log).unwrap();
        }
        let error = open_with(options(), 1).err().expect("a node without memory would vote twice").to_string();
        assert!(error.contains("log") && error.contains("join as a new node"), "{error}");
        std::fs::create_dir_all(&log).unwrap();
    }
}

#[test]
fn open_without_a_state_machine_for_a_group_refused() {
    let mut cluster = Cluster::start(1, 2);
    cluster.leader(GROUP);
    cluster.kill(0);
    let error = open_with(cluster.options(0), 1).err().expect("it was opened");
    assert!(matches!(error, OpenError::NoMachine(group) if group.0 == 2), "{error}");
    cluster.open(0);
}

#[test]
fn disk_below_its_reserve_refuses_writes_but_not_deletes() {
    let cluster = Cluster::start_with(1, 1, |options| options.disk_reserve_bytes = u64::MAX);
    eventually("the node knows", || block_on(cluster.node(0).status(GROUP)).unwrap().disk_full.then_some(()));
    cluster.leader(GROUP);
    let refused = block_on(cluster.node(0).propose(GROUP, "more")).unwrap_err();
    assert_eq!(refused, hezong_shell::ProposeError::Refused(hezong_node::Refused::DiskFull));
    block_on(cluster.node(0).propose_freeing(GROUP, "less")).unwrap();
}

#[test]
fn bootstrap_twice_refused() {
    let cluster = Cluster::start(1, 1);
    let members = Membership::of_voters([(NodeId(1), member(1, &cluster.addresses[0]))]);
    let again = block_on(cluster.node(0).bootstrap(GROUP, members));
    assert_eq!(again, Err(hezong_shell::BootstrapError::Refused(hezong_node::Refused::NotEmpty)));
}

#[test]
fn removed_node_is_told_when_it_comes_back() {
    let mut cluster = Cluster::start_with(3, 1, steady);
    cluster.leader(GROUP);
    cluster.kill(2);
    let leader = cluster.leader(GROUP);
    block_on(cluster.node(leader).remove(GROUP, NodeId(3))).unwrap();
    // Whoever follows hears later that it is committed, and would let the removed one in until it has applied it.
    let knows = |running: &Running| {
        let status = block_on(running.node.status(GROUP)).unwrap();
        let is_applied = status.applied.map(|entry| entry.index) >= status.raft.membership_index;
        is_applied && !status.raft.membership.members().contains_key(&NodeId(3))
    };
    eventually("both know that it is gone", || cluster.alive().all(knows).then_some(()));
    cluster.open(2);
    let by = eventually("it hears of it", || block_on(cluster.node(2).stats()).unwrap().removed_by);
    assert!([NodeId(1), NodeId(2)].contains(&by));
    // Counted after it has gone out.
    let told = || (0..2).any(|at| metrics(cluster.running(at)).handshakes_refused > 0);
    eventually("the refusal is counted", || told().then_some(()));
    // It dials nobody any more, and so its campaigns reach nobody.
    let dials = |cluster: &Cluster| metrics(cluster.running(2)).dials_failed;
    eventually("both have told it", || (dials(&cluster) == 2).then_some(()));
    cluster.put("alive");
    assert_eq!(dials(&cluster), 2);
    assert_eq!(metrics(cluster.running(2)).connections, 0);
}

#[test]
fn removed_node_that_campaigns_over_its_old_connection_is_hung_up_on_and_told() {
    let cluster = Cluster::start(1, 1);
    let id = block_on(cluster.node(0).add_learner(GROUP, member(2, "127.0.0.1:1"))).unwrap();
    let hello = Hello { from: id, ..hello(&cluster) };
    let mut stream = knock(&cluster);
    assert!(matches!(introduce(&mut stream, &hello), Frame::Welcome(_)));
    eventually("it is connected", || block_on(cluster.node(0).stats()).unwrap().connected.contains(&id).then_some(()));
    block_on(cluster.node(0).remove(GROUP, id)).unwrap();
    let mut bytes = BytesMut::new();
    let message = Message { term: Term(1), body: Body::RequestPreVote { last: None } };
    encode_messages(&[(GROUP, message)], &[], FRAME_BYTES_MAX, &mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
    // What was on its way to it, then the end.
    assert!(stream.read_to_end(&mut Vec::new()).is_ok());
    assert_eq!(introduce(&mut knock(&cluster), &hello), Frame::Refused(Refusal::Removed));
    // A number that was never given may belong to a member we have yet to hear of.
    let newcomer = Hello { from: NodeId(id.0 + 1), ..hello };
    assert!(matches!(introduce(&mut knock(&cluster), &newcomer), Frame::Welcome(_)));
}
