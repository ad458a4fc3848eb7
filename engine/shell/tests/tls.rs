//! Nodes that encrypt: what works as in the clear, and who is turned away.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use common::{Cluster, GROUP, eventually, hurry, member, open_with, write_pair};
use hezong_base::NodeId;
use hezong_codec::{
    FRAME_BYTES_MAX, Frame, Hello, Lane, VERSIONS,
    frame::{decode, encode_hello},
};
use hezong_shell::{Clients, Event, Identity, MetricsSnapshot, NodeTls, OpenError, Options, Start, block_on};
use hezong_tls::make::{Authority, Pair, Validity};
use hezong_tls::{ClientTls, name_of_node};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::sync::broadcast::Receiver;

type Stranger = StreamOwned<ClientConnection, TcpStream>;

fn metrics(cluster: &Cluster, at: usize) -> MetricsSnapshot {
    block_on(cluster.node(at).stats()).unwrap().metrics
}

fn connected(cluster: &Cluster, at: usize) -> Vec<NodeId> {
    block_on(cluster.node(at).stats()).unwrap().connected
}

/// Waits for a refusal that says this.
fn refused_with(events: &mut Receiver<Event>, words: &str) {
    eventually(words, || {
        let told = std::iter::from_fn(|| events.try_recv().ok());
        told.map(|event| event.to_string()).find(|told| told.contains(words))
    });
}

/// A connection to the first node, which is to be called `label` there.
fn knock(cluster: &Cluster, config: Arc<ClientConfig>, label: &str) -> Stranger {
    let stream = TcpStream::connect(&cluster.addresses[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    StreamOwned::new(ClientConnection::new(config, name_of_node(label).unwrap()).unwrap(), stream)
}

/// Introduces itself; the answer, or how the other side hung up.
fn introduce(stranger: &mut Stranger, cluster: &Cluster, from: u64) -> Result<Frame, String> {
    introduce_for(Lane::Messages, stranger, cluster, from)
}

fn introduce_for(lane: Lane, stranger: &mut Stranger, cluster: &Cluster, from: u64) -> Result<Frame, String> {
    let cluster = cluster.identities[0].cluster;
    let hello = Hello { versions: VERSIONS, cluster, from: NodeId(from), to: NodeId(1), lane, member: None };
    let mut bytes = BytesMut::new();
    encode_hello(&hello, &mut bytes);
    stranger.write_all(&bytes).map_err(|error| error.to_string())?;
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(frame) = decode(&mut buffer, FRAME_BYTES_MAX).unwrap() {
            return Ok(frame);
        }
        match stranger.read(&mut chunk) {
            Ok(0) => return Err("hung up".to_owned()),
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err("hung up".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// How a client with this certificate would dial, whatever is wrong with it.
fn dialler(cluster: &Cluster, name: &str, pair: &Pair) -> Arc<ClientConfig> {
    let files = cluster.files(name);
    write_pair(&files, cluster.authority.as_ref().unwrap(), pair);
    ClientTls::load(&files.authority, Some((&files.certificate, &files.key))).unwrap().config()
}

#[test]
fn replicate_encrypted_as_in_the_clear() {
    let mut cluster = Cluster::start_encrypted(3, |_| {});
    cluster.leader(GROUP);
    for n in 0..100 {
        cluster.put(format!("small {n}"));
    }
    // Larger than a socket takes at once, so that the rest goes through the writer.
    let large = Bytes::from(vec![7; 4 << 20]);
    for _ in 0..4 {
        cluster.put(large.clone());
    }
    cluster.kill(2);
    cluster.put("while it was away");
    cluster.open(2);
    eventually("all have it", || {
        cluster
            .alive()
            .all(|running| running.journal().has(b"while it was away") && running.journal().has(&large))
            .then_some(())
    });
    assert_eq!((0..3).map(|at| metrics(&cluster, at).garbage).sum::<u64>(), 0);
}

#[test]
fn stranger_in_the_clear_refused() {
    let cluster = Cluster::start_encrypted(1, |_| {});
    let mut events = cluster.node(0).events();
    let mut stranger = TcpStream::connect(&cluster.addresses[0]).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let hello = Hello {
        versions: VERSIONS,
        cluster: cluster.identities[0].cluster,
        from: NodeId(9),
        to: NodeId(1),
        lane: Lane::Messages,
        member: None,
    };
    let mut bytes = BytesMut::new();
    encode_hello(&hello, &mut bytes);
    stranger.write_all(&bytes).unwrap();
    let mut said = Vec::new();
    stranger.read_to_end(&mut said).unwrap();
    assert!(!said.starts_with(b"HZ"), "it was answered in the clear");
    refused_with(&mut events, "it does not speak TLS");
    assert_eq!(metrics(&cluster, 0).connections, 0);
}

#[test]
fn node_with_and_node_without_certificate_say_so() {
    let encrypted = Cluster::start_encrypted(1, |_| {});
    let clear = Cluster::start(1, 1);
    let (mut of_encrypted, mut of_clear) = (encrypted.node(0).events(), clear.node(0).events());
    block_on(clear.node(0).add_learner(GROUP, member(2, &encrypted.addresses[0]))).unwrap();
    refused_with(&mut of_clear, "it speaks TLS, and this node does not");
    refused_with(&mut of_encrypted, "it does not speak TLS");
    block_on(encrypted.node(0).add_learner(GROUP, member(2, &clear.addresses[0]))).unwrap();
    refused_with(&mut of_clear, "it speaks TLS, and this node does not");
    assert_eq!(metrics(&clear, 0).connections + metrics(&encrypted, 0).connections, 0);
}

/// Dials with a certificate, which must be refused with these words here, and be heard to be refused there.
fn turned_away(make: impl FnOnce(&Authority) -> Pair, words: &str, heard: &str) {
    let cluster = Cluster::start_encrypted(1, |_| {});
    let mut events = cluster.node(0).events();
    let pair = make(cluster.authority.as_ref().unwrap());
    let mut stranger = knock(&cluster, dialler(&cluster, "stranger", &pair), "node01");
    let answer = introduce(&mut stranger, &cluster, 9).unwrap_err();
    assert!(answer.contains(heard), "{answer}");
    refused_with(&mut events, words);
    assert_eq!((metrics(&cluster, 0).handshakes_refused, metrics(&cluster, 0).connections), (1, 0));
}

#[test]
fn certificate_of_another_authority_refused() {
    let other = Authority::new(Validity::days(1)).unwrap();
    let pair = |_: &Authority| other.node("node09", &[], Validity::days(1)).unwrap();
    turned_away(pair, "its certificate is from another authority", "UnknownCA");
}

#[test]
fn certificate_expired_refused() {
    let day = Duration::from_secs(86_400);
    let past = Validity { from: SystemTime::now() - 9 * day, until: SystemTime::now() - 3 * day };
    let pair = |authority: &Authority| authority.node("node09", &[], past).unwrap();
    turned_away(pair, "its certificate expired 3 days ago", "CertificateExpired");
}

#[test]
fn certificate_of_a_client_opens_no_peer_port() {
    let pair = |authority: &Authority| authority.client("node09", Validity::days(1)).unwrap();
    turned_away(pair, "its certificate is of no node", "hung up");
}

#[test]
fn certificate_missing_refused() {
    let cluster = Cluster::start_encrypted(1, |_| {});
    let mut events = cluster.node(0).events();
    let config = ClientTls::load(&cluster.files("node01").authority, None).unwrap().config();
    let answer = introduce(&mut knock(&cluster, config, "node01"), &cluster, 9).unwrap_err();
    assert!(answer.contains("CertificateRequired"), "{answer}");
    refused_with(&mut events, "it shows no certificate");
}

/// The certificate of one member does not make it another.
#[test]
fn member_cannot_pose_as_another() {
    let mut cluster = Cluster::start_encrypted(3, |_| {});
    let mut events = cluster.node(0).events();
    cluster.kill(1);
    let third = cluster.certificate("node03").to_dial();
    let mut stranger = knock(&cluster, Arc::clone(&third), "node01");
    assert_eq!(introduce(&mut stranger, &cluster, 2), Err("hung up".to_owned()));
    refused_with(&mut events, "it says that it is n2, which is node02, and its certificate is of node03");
    let mut stranger = knock(&cluster, Arc::clone(&third), "node01");
    let answer = introduce_for(Lane::Snapshots, &mut stranger, &cluster, 2);
    assert_eq!(answer, Err("hung up".to_owned()), "a snapshot would be believed as well");
    // As itself it may, were it not there already.
    let mut honest = knock(&cluster, third, "node01");
    assert!(matches!(introduce(&mut honest, &cluster, 3), Ok(Frame::Welcome(_))));
}

/// A number that is not known yet is let in with any node's certificate, and goes once it is known to be another's.
#[test]
fn stranger_goes_once_its_number_is_known_to_be_anothers() {
    let cluster = Cluster::start_encrypted(1, |_| {});
    cluster.leader(GROUP);
    let mut stranger = knock(&cluster, cluster.certificate("node07").to_dial(), "node01");
    assert!(matches!(introduce(&mut stranger, &cluster, 2), Ok(Frame::Welcome(_))));
    eventually("it is connected", || (connected(&cluster, 0) == [NodeId(2)]).then_some(()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    block_on(cluster.node(0).add_learner(GROUP, member(2, nobody.local_addr().unwrap()))).unwrap();
    eventually("it is not", || connected(&cluster, 0).is_empty().then_some(()));
    let mut again = knock(&cluster, cluster.certificate("node07").to_dial(), "node01");
    assert!(introduce(&mut again, &cluster, 2).is_err());
}

/// Who answers at a member's address must be that member: here its address leads to another one.
#[test]
fn dialled_one_is_another_refused_by_name() {
    let cluster = Cluster::start_encrypted(1, |_| {});
    let mut events = cluster.node(0).events();
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::joined(cluster.identities[0].cluster, NodeId(3), "node03");
    let mut options = hurry(Options::new(folder.path(), "127.0.0.1:0", Start::Join(identity)));
    options.tls = Some(cluster.certificate("node03"));
    let third = open_with(options, 1).unwrap();
    block_on(cluster.node(0).add_learner(GROUP, member(2, third.node.peer_address().unwrap()))).unwrap();
    refused_with(&mut events, "its certificate is of node03.hezong, not of node02.hezong");
    assert_eq!(metrics(&cluster, 0).connections, 0);
}

/// New connections are made with the new certificate, and those that stand go on.
#[test]
fn renewed_certificate_is_used_without_a_restart() {
    let cluster = Cluster::start_encrypted(3, |_| {});
    cluster.leader(GROUP);
    let shown = |cluster: &Cluster| {
        let mut stranger = knock(cluster, cluster.certificate("node09").to_dial(), "node01");
        introduce(&mut stranger, cluster, 9).unwrap();
        stranger.conn.peer_certificates().unwrap()[0].clone()
    };
    let before = shown(&cluster);
    assert_eq!(shown(&cluster), before);
    let authority = cluster.authority.as_ref().unwrap();
    let files = cluster.files("node01");
    write_pair(&files, authority, &authority.node("node01", &[], Validity::days(2)).unwrap());
    let losses: u64 = (0..3).map(|at| metrics(&cluster, at).disconnections).sum();
    cluster.tls[&0].reload().unwrap();
    let after = shown(&cluster);
    assert_ne!(after, before);
    // A bad one in its place changes nothing.
    write_pair(&files, authority, &authority.node("node02", &[], Validity::days(2)).unwrap());
    let error = cluster.tls[&0].reload().unwrap_err();
    assert!(error.to_string().contains("node02.hezong"), "{error}");
    assert_eq!(shown(&cluster), after);
    cluster.put("on the old connections");
    // Strangers came and went; members stayed.
    let strangers = 4;
    let now: u64 = (0..3).map(|at| metrics(&cluster, at).disconnections).sum();
    assert!(now <= losses + strangers, "{now} after {losses}");
    assert_eq!(connected(&cluster, 0).iter().filter(|id| id.0 <= 3).count(), 2);
}

/// Whoever says nothing takes a slot for a while, and nobody else's.
#[test]
fn silent_strangers_hold_up_nobody() {
    let mut cluster = Cluster::start_encrypted(2, |options| options.peer_timeout = Duration::from_secs(1));
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(&cluster.addresses[0]).unwrap()).collect();
    cluster.kill(1);
    cluster.open(1);
    cluster.leader(GROUP);
    cluster.put("alive");
    let began = Instant::now();
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(stream.read(&mut [0; 64]), Ok(_) | Err(_)));
    }
    assert!(began.elapsed() < Duration::from_secs(8), "they were not hung up on");
}

#[test]
fn open_with_the_certificate_of_another_touches_nothing() {
    let cluster = Cluster::start_encrypted(1, |_| {});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let start = Start::Bootstrap(Identity::bootstrap("node02"));
    let mut options = hurry(Options::new(&path, "127.0.0.1:0", start));
    options.tls = Some(cluster.certificate("node03"));
    let error = open_with(options, 1).err().expect("it was opened");
    assert!(matches!(error, OpenError::Tls(_)) && error.to_string().contains("node03.hezong"), "{error}");
    assert!(!path.exists());
    let files = cluster.files("node03");
    assert!(NodeTls::load(files, "node02", Clients::Anyone).is_err());
}
