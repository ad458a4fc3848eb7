//! Snapshots over real sockets: who was away for longer than the log remembers gets the state, on a connection of its own.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{GROUP, certificate, eventually, files_of, free_address, hurry, member, steady};
use hezong_base::{LogId, NodeId};
use hezong_node::{Begun, Chunk, ReadLevel, Snapshot, StateError, StateMachine};
use hezong_raft::{Base, Entry, Membership, Payload, SnapshotId};
use hezong_shell::{Handle, Identity, Options, Start, StateMachines, block_on, open};
use hezong_tls::make::{Authority, Validity};

/// Every command applied. What it holds outlives the node, as a disk would.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    base: Option<Base>,
    commands: Vec<Bytes>,
    is_installed: bool,
    incoming: Option<(SnapshotId, Vec<Bytes>)>,
}

impl StateMachine for Ledger {
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(self.0.lock().unwrap().base.clone())
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        let mut state = self.0.lock().unwrap();
        for entry in entries {
            if let Payload::Command(command) = &entry.payload {
                state.commands.push(command.clone());
            }
            let membership = match &entry.payload {
                Payload::Membership(membership) => membership.clone(),
                _ => state.base.take().map(|base| base.membership).unwrap_or_default(),
            };
            state.base = Some(Base { last: Some(entry.id), time: entry.time, membership });
        }
        state.is_installed = false;
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        Ok(self.0.lock().unwrap().base.as_ref().and_then(|base| base.last))
    }

    fn is_installed(&self) -> Result<bool, StateError> {
        Ok(self.0.lock().unwrap().is_installed)
    }

    fn snapshot(&mut self) -> Result<Option<Arc<dyn Snapshot>>, StateError> {
        let state = self.0.lock().unwrap();
        let Some(last) = state.base.as_ref().and_then(|base| base.last) else { return Ok(None) };
        Ok(Some(Arc::new(Copy { last, commands: state.commands.clone() })))
    }

    fn begin(&mut self, id: SnapshotId) -> Result<Begun, StateError> {
        let mut state = self.0.lock().unwrap();
        match &state.incoming {
            Some((of, commands)) if *of == id => Ok(Begun::At(Some(Bytes::from(commands.len().to_string())))),
            _ => {
                state.incoming = Some((id, Vec::new()));
                Ok(Begun::At(None))
            }
        }
    }

    fn install(&mut self, _: SnapshotId, chunk: &Chunk) -> Result<bool, StateError> {
        let mut state = self.0.lock().unwrap();
        let (_, commands) = state.incoming.as_mut().expect("it was begun");
        commands.push(chunk.bytes.clone());
        Ok(true)
    }

    fn finish(&mut self, _: SnapshotId, base: &Base) -> Result<(), StateError> {
        let mut state = self.0.lock().unwrap();
        let (_, commands) = state.incoming.take().expect("it was begun");
        (state.commands, state.base, state.is_installed) = (commands, Some(base.clone()), true);
        Ok(())
    }
}

/// A command a chunk; a cursor counts them.
struct Copy {
    last: LogId,
    commands: Vec<Bytes>,
}

impl Snapshot for Copy {
    fn last(&self) -> LogId {
        self.last
    }

    fn chunk(&self, cursor: Option<&[u8]>, _: usize) -> Result<Chunk, StateError> {
        let at: usize =
            cursor.map_or(Ok(0), |cursor| std::str::from_utf8(cursor).unwrap().parse()).map_err(StateError::new)?;
        let bytes = self.commands.get(at).cloned().ok_or_else(|| StateError::new("nothing is there"))?;
        let next = (at + 1 < self.commands.len()).then(|| Bytes::from((at + 1).to_string()));
        Ok(Chunk { bytes, next })
    }
}

struct Cluster {
    folder: tempfile::TempDir,
    identities: Vec<Identity>,
    addresses: Vec<String>,
    ledgers: Vec<Ledger>,
    nodes: Vec<Option<Handle>>,
    /// Who signs the nodes' certificates; `None` when they talk in the clear.
    authority: Option<Authority>,
}

impl Cluster {
    fn start(authority: Option<Authority>) -> Self {
        let first = Identity::bootstrap("node01");
        let joined = |n| Identity::joined(first.cluster, NodeId(n), format!("node{n:02}"));
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            identities: vec![first.clone(), joined(2), joined(3)],
            addresses: vec![free_address(), free_address(), free_address()],
            ledgers: vec![Ledger::default(); 3],
            nodes: vec![None; 3],
            authority,
        };
        for ledger in &mut cluster.ledgers {
            *ledger = Ledger::default();
        }
        (0..3).for_each(|at| cluster.open(at));
        let members = (1..).zip(&cluster.addresses).map(|(n, address)| (NodeId(n), member(n, address)));
        let members = Membership::of_voters(members);
        for node in cluster.nodes.iter().flatten() {
            block_on(node.bootstrap(GROUP, members.clone())).unwrap();
        }
        cluster
    }

    fn open(&mut self, at: usize) {
        let start = Start::Join(self.identities[at].clone());
        let mut options = hurry(Options::new(self.folder.path().join(at.to_string()), &self.addresses[at], start));
        // A command is tried again when the leader is lost, and would be counted twice.
        steady(&mut options);
        let label = &self.identities[at].label;
        let signed = self.authority.as_ref();
        options.tls = signed.map(|signed| certificate(&files_of(self.folder.path(), label), signed, label));
        options.node.persist_interval = Duration::from_millis(50);
        options.node.log_retain_entries = 10;
        let machines = StateMachines::from([(GROUP, Box::new(self.ledgers[at].clone()) as Box<dyn StateMachine>)]);
        let node = open(options, machines).unwrap();
        self.addresses[at] = node.peer_address().unwrap().to_string();
        self.nodes[at] = Some(node);
    }

    fn put(&self, command: String) {
        eventually("a command is done", || {
            self.nodes.iter().flatten().find_map(|node| block_on(node.propose(GROUP, command.clone())).ok())
        });
    }

    fn commands(&self, at: usize) -> usize {
        self.ledgers[at].0.lock().unwrap().commands.len()
    }

    fn wait_compacted(&self, beyond: u64) {
        // All of them: the leader may be the last, and feeds whoever was away from its log until then.
        eventually("everybody has compacted its log", || {
            let base = |node: &Handle| block_on(node.status(GROUP)).ok()?.raft.base;
            let compacted = |node: &Handle| base(node).is_some_and(|base| base.index.0 > beyond);
            self.nodes.iter().flatten().all(compacted).then_some(())
        });
    }
}

#[test]
fn away_for_longer_than_the_log_remembers() {
    away_and_back(Cluster::start(None));
}

#[test]
fn away_for_longer_than_the_log_remembers_encrypted() {
    away_and_back(Cluster::start(Some(Authority::new(Validity::days(1)).unwrap())));
}

fn away_and_back(mut cluster: Cluster) {
    cluster.put("first".to_owned());
    let away = 2;
    cluster.nodes[away] = None;
    (0..200).for_each(|n| cluster.put(format!("command {n}")));
    cluster.wait_compacted(100);
    cluster.open(away);
    eventually("who was away has everything", || (cluster.commands(away) == 201).then_some(()));
    // The state machine stands on it before the node has counted it.
    let status = eventually("the snapshot is counted", || {
        let status = block_on(cluster.nodes[away].as_ref().unwrap().status(GROUP)).unwrap();
        (status.snapshots_installed > 0).then_some(status)
    });
    assert_eq!(status.snapshots_installed, 1);
    assert!(status.raft.base.is_some());
    // It takes part again, and comes back from its own disk.
    cluster.put("after".to_owned());
    cluster.nodes[away] = None;
    cluster.open(away);
    let node = cluster.nodes[away].as_ref().unwrap();
    eventually("it can be read", || block_on(node.read(GROUP, ReadLevel::Consistent, None)).ok());
    assert_eq!(cluster.commands(away), 202);
}

/// The log is whole, the state is gone: what the log does not lead to any more comes from the leader.
#[test]
fn state_lost_comes_back_from_the_leader() {
    let mut cluster = Cluster::start(None);
    (0..100).for_each(|n| cluster.put(format!("command {n}")));
    let lost = 0;
    eventually("it has compacted its log", || {
        let base = block_on(cluster.nodes[lost].as_ref().unwrap().status(GROUP)).ok()?.raft.base;
        base.filter(|base| base.index.0 > 50)
    });
    cluster.nodes[lost] = None;
    cluster.ledgers[lost] = Ledger::default();
    cluster.open(lost);
    let node = cluster.nodes[lost].as_ref().unwrap();
    // Until it has its state again nothing is read from it, not even at the lowest level.
    let early = block_on(node.read(GROUP, ReadLevel::Stale, None));
    assert!(early.is_err() || cluster.commands(lost) == 100, "{early:?}");
    eventually("it has its state again", || block_on(node.read(GROUP, ReadLevel::Consistent, None)).ok());
    assert_eq!(cluster.commands(lost), 100);
}
