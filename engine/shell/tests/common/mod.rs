//! What the tests of this crate share: a state machine that counts, nodes on loopback, waiting without sleeping.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests has no public")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hezong_base::{GroupId, LogId, NodeId};
use hezong_node::{ReadLevel, StateError, StateMachine};
use hezong_raft::{Base, Entry, Member, Membership, Payload, Role};
use hezong_shell::{
    Clients, Files, Handle, Identity, NodeTls, OpenError, Options, Start, StateMachines, block_on, open,
};
use hezong_tls::make::{Authority, Pair, Validity};

/// As the tests of the program find them.
#[path = "../../../../proof/torture/src/ports.rs"]
mod ports;

pub use ports::free_port;

pub const GROUP: GroupId = GroupId(1);

/// Every command applied, in order; the reply is how many there are. Kept in memory, so that a node which is opened
/// again replays its log.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Vec<Bytes>>>);

impl Journal {
    pub fn commands(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn has(&self, command: &[u8]) -> bool {
        self.0.lock().unwrap().iter().any(|found| found == command)
    }
}

impl StateMachine for Journal {
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(None)
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        let mut commands = self.0.lock().unwrap();
        let reply = |entry: &Entry| match &entry.payload {
            Payload::Command(command) => {
                commands.push(command.clone());
                Bytes::from(commands.len().to_string())
            }
            Payload::Empty | Payload::Membership(_) => Bytes::new(),
        };
        Ok(entries.iter().map(reply).collect())
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        Ok(None)
    }
}

pub fn member(node: u64, address: impl ToString) -> Member {
    Member { name: format!("node{node:02}"), peer: address.to_string(), client: format!("client{node}") }
}

/// Time-outs short enough for tests.
pub fn hurry(mut options: Options) -> Options {
    options.raft.election_timeout = Duration::from_millis(250);
    options.raft.heartbeat_interval = Duration::from_millis(25);
    options.raft.lease = Duration::from_millis(200);
    options.reconnect_pause_max = Duration::from_millis(100);
    options.segment_bytes = 1 << 20;
    // Whatever disk the tests run on, it is not what they are about.
    options.disk_reserve_bytes = 0;
    options
}

/// For tests in which whoever leads stays the leader, however slow the machine is.
pub fn steady(options: &mut Options) {
    options.raft.election_timeout = Duration::from_secs(2);
    options.raft.lease = Duration::from_millis(1_800);
}

/// An address on loopback that is nobody else's, also while the node there is down.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A node and what it was opened with.
pub struct Running {
    pub node: Handle,
    pub journals: BTreeMap<GroupId, Journal>,
}

impl Running {
    pub fn journal(&self) -> &Journal {
        &self.journals[&GROUP]
    }
}

pub fn open_with(options: Options, groups: u64) -> Result<Running, OpenError> {
    let journals: BTreeMap<_, _> = (1..=groups).map(|group| (GroupId(group), Journal::default())).collect();
    let machine = |(group, journal): (&GroupId, &Journal)| (*group, Box::new(journal.clone()) as Box<dyn StateMachine>);
    let machines: StateMachines = journals.iter().map(machine).collect();
    Ok(Running { node: open(options, machines)?, journals })
}

/// Nodes on loopback, each in a folder of its own.
pub struct Cluster {
    pub folder: tempfile::TempDir,
    pub identities: Vec<Identity>,
    pub addresses: Vec<String>,
    pub nodes: Vec<Option<Running>>,
    pub groups: u64,
    pub change: fn(&mut Options),
    /// Who signs the nodes' certificates; `None` when they talk in the clear.
    pub authority: Option<Authority>,
    /// The certificates in use.
    pub tls: BTreeMap<usize, NodeTls>,
}

impl Cluster {
    /// So many nodes, all of them voters of all groups from the start.
    pub fn start(count: u64, groups: u64) -> Self {
        Self::start_with(count, groups, |_| {})
    }

    pub fn start_with(count: u64, groups: u64, change: fn(&mut Options)) -> Self {
        Self::start_signed(count, groups, change, None)
    }

    /// The same, each node with a certificate.
    pub fn start_encrypted(count: u64, change: fn(&mut Options)) -> Self {
        Self::start_signed(count, 1, change, Some(Authority::new(Validity::days(2)).unwrap()))
    }

    fn start_signed(count: u64, groups: u64, change: fn(&mut Options), authority: Option<Authority>) -> Self {
        let first = Identity::bootstrap("node01");
        let joined = |n| Identity::joined(first.cluster, NodeId(n), format!("node{n:02}"));
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            identities: std::iter::once(first.clone()).chain((2..=count).map(joined)).collect(),
            addresses: (0..count).map(|_| free_address()).collect(),
            nodes: (0..count).map(|_| None).collect(),
            groups,
            change,
            authority,
            tls: BTreeMap::new(),
        };
        for at in 0..cluster.nodes.len() {
            cluster.open(at);
        }
        let members = (1..).zip(&cluster.addresses).map(|(n, address)| (NodeId(n), member(n, address)));
        let members = Membership::of_voters(members);
        for (group, running) in (1..=groups).flat_map(|group| cluster.alive().map(move |running| (group, running))) {
            block_on(running.node.bootstrap(GroupId(group), members.clone())).unwrap();
        }
        cluster
    }

    pub fn path(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("node{:02}", at + 1))
    }

    pub fn options(&self, at: usize) -> Options {
        let start = Start::Join(self.identities[at].clone());
        let mut options = hurry(Options::new(self.path(at), self.addresses[at].clone(), start));
        options.tls = self.authority.as_ref().map(|_| self.certificate(&self.identities[at].label));
        (self.change)(&mut options);
        options
    }

    /// The certificate of the node of this label: the same files each time.
    pub fn certificate(&self, label: &str) -> NodeTls {
        certificate(&self.files(label), self.authority.as_ref().unwrap(), label)
    }

    /// Where a node's certificate lies.
    pub fn files(&self, label: &str) -> Files {
        files_of(self.folder.path(), label)
    }

    /// Opens a node, again at the port it had before.
    pub fn open(&mut self, at: usize) {
        let options = self.options(at);
        self.tls.extend(options.tls.clone().map(|tls| (at, tls)));
        let running = open_with(options, self.groups).unwrap();
        self.addresses[at] = running.node.peer_address().unwrap().to_string();
        self.nodes[at] = Some(running);
    }

    /// Stops a node as a crash would.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at] = None;
    }

    pub fn running(&self, at: usize) -> &Running {
        self.nodes[at].as_ref().unwrap()
    }

    pub fn node(&self, at: usize) -> &Handle {
        &self.running(at).node
    }

    pub fn alive(&self) -> impl Iterator<Item = &Running> {
        self.nodes.iter().flatten()
    }

    /// Waits for a leader that can serve, and returns its place.
    pub fn leader(&self, group: GroupId) -> usize {
        eventually("a leader serves", || {
            let leads = |at: &usize| {
                self.nodes[*at].as_ref().is_some_and(|running| {
                    block_on(running.node.state(group)) == Ok(Role::Leader)
                        && block_on(running.node.read(group, ReadLevel::Consistent, None)).is_ok()
                })
            };
            (0..self.nodes.len()).find(leads)
        })
    }

    /// Proposes until it is done, wherever the leader is.
    pub fn put(&self, command: impl Into<Bytes>) -> LogId {
        let command = command.into();
        eventually("a command is done", || {
            self.alive().find_map(|running| block_on(running.node.propose(GROUP, command.clone())).ok()).map(|d| d.id)
        })
    }
}

/// Where the certificate of a node lies in a folder.
pub fn files_of(folder: &Path, label: &str) -> Files {
    let path = |end: &str| folder.join(format!("{label}.{end}"));
    Files { certificate: path("pem"), key: path("key"), authority: path("ca") }
}

/// The certificate in these files, which is made if it is not there.
pub fn certificate(files: &Files, authority: &Authority, label: &str) -> NodeTls {
    if !files.certificate.exists() {
        write_pair(files, authority, &authority.node(label, &[], Validity::days(1)).unwrap());
    }
    NodeTls::load(files.clone(), label, Clients::Anyone).unwrap()
}

/// Writes a certificate and whom it is to be believed with.
pub fn write_pair(files: &Files, authority: &Authority, pair: &Pair) {
    std::fs::write(&files.authority, authority.certificate()).unwrap();
    std::fs::write(&files.certificate, &pair.certificate).unwrap();
    std::fs::write(&files.key, pair.key.as_bytes()).unwrap();
}

/// Tries again until there is something; what is tried waits by itself, mostly.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < until, "waited 120 s in vain until {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The size of a folder's files.
pub fn files(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Nodes in memory, all of them voters.
pub fn in_memory(network: &hezong_shell::Network, count: u64) -> Vec<Running> {
    let cluster = Identity::bootstrap("node01").cluster;
    let nodes: Vec<_> = (1..=count)
        .map(|n| {
            let identity = Identity::joined(cluster, NodeId(n), format!("node{n:02}"));
            let disk = hezong_wal::model::ModelFolder::new();
            open_with(hurry(Options::in_memory(network, &disk, identity)), 1).unwrap()
        })
        .collect();
    let members = Membership::of_voters((1..=count).map(|n| (NodeId(n), member(n, format!("memory{n}")))));
    for running in &nodes {
        block_on(running.node.bootstrap(GROUP, members.clone())).unwrap();
    }
    nodes
}

/// Waits for a leader that can serve, and returns its place.
pub fn leader_of(nodes: &[Running]) -> usize {
    eventually("a leader serves", || {
        nodes.iter().position(|running| block_on(running.node.read(GROUP, ReadLevel::Default, None)).is_ok())
    })
}
