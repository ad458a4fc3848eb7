//! Opening a node: identity, log, state machines, sockets, threads, in this order, so that whatever is wrong with a
//! folder is known before anybody hears of us.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hezong_base::{Index, Protocol};
use hezong_codec::log::{Change, Witness, to_write};
use hezong_node::{Node, StateError, StateFound};
use hezong_raft::{Raft, Saved};
use hezong_wal::{DiskFolder, Reader, Recovered, Repaired, RepairedGroup, TrialFolder, Wal};

use crate::apply::{self, StateMachines};
use crate::clock::Clock;
use crate::connection::Tcp;
use crate::handle::{Handle, Owner};
use crate::identity::{FolderLock, Identity, Start, check_log, claim, note_log};
use crate::inbox::Inbox;
use crate::options::{OpenError, Options, Storage, Transport};
use crate::peers::Peers;
use crate::promise::Promise;
use crate::room::Room;
use crate::run::{Inboxes, Link, Runner, run};
use crate::scrub::{Part, Scrubber};
use crate::threads::{Shared, chance, spawn};
use crate::{log, snapshot};

/// Opens a node with one state machine for each of its groups, and runs it. It takes part as soon as it has members: by
/// [`Handle::bootstrap`] on the first node, by being taken in on any other.
///
/// # Errors
/// [`OpenError`]: nothing is left running.
pub fn open(options: Options, machines: StateMachines) -> Result<Handle, OpenError> {
    open_with(options, |_| Ok(machines))
}

/// The same with state machines that are made once the folder is known to be this node's, and is locked: those that
/// keep their state in it must not touch it before.
///
/// # Errors
/// [`OpenError`], [`OpenError::Machines`] for what `machines` says: nothing is left running.
pub fn open_with(
    options: Options,
    machines: impl FnOnce(&Identity) -> Result<StateMachines, StateError>,
) -> Result<Handle, OpenError> {
    check_certificate(&options)?;
    let (identity, lock) = identify(&options)?;
    let mut machines = machines(&identity).map_err(OpenError::Machines)?;
    let (wal, recovered) = open_log(&options, &identity, &mut machines)?;
    let promise = match &options.storage {
        Storage::Folder(folder) => Some(Promise::open(folder, options.raft.lease)?),
        Storage::Memory(_) => None,
    };
    let folder = match &options.storage {
        Storage::Folder(folder) => Some(folder.clone()),
        Storage::Memory(_) => None,
    };
    let room = Room::new(folder.clone(), options.disk_reserve_bytes, options.disk_reserve_interval);
    let mut shared = Shared::new(options.inbox_bytes_max, room, options.tracer.clone());
    if let Some(control) = &options.trial_clock {
        let told = Clock::trial(control.clone());
        shared.clock = told.map_err(|source| OpenError::Folder { path: control.clone(), source })?;
    }
    let shared = Arc::new(shared);
    shared.slow.set(options.slow_step);
    shared.metrics.log_repairs.add(usize::from(wal.opened().repaired.is_some()));
    let granted = promise.as_ref().map_or(Duration::ZERO, Promise::longest);
    let (node, effects) = open_node(&options, &shared.clock, &identity, &machines, &wal, recovered, granted)?;
    let (link, address) = open_link(&options, &identity, &shared)?;

    let unbounded = usize::MAX;
    let readings = Arc::new(Inbox::new(unbounded));
    let reader = wal.reader();
    let states = machines.values().filter_map(|machine| machine.scrub()).map(Part::State);
    let parts = [Part::Log(reader.scrub())].into_iter().chain(states).collect();
    let scrubber = Scrubber::new(parts, options.scrub_bytes_per_second);
    let groups = machines.keys().copied().collect();
    let held = Arc::default();
    let inboxes = Inboxes {
        log: Arc::new(log::Log::new(wal, Arc::clone(&readings))),
        readings,
        machines: Arc::new(apply::Machines::new(machines, Arc::clone(&held))),
        snapshots: Arc::new(Inbox::new(unbounded)),
    };
    let held_folder = lock.as_ref().map(FolderLock::downgrade).unwrap_or_default();
    let mut runner = Runner {
        node,
        groups,
        shared: Arc::clone(&shared),
        inboxes,
        held,
        link,
        clients: HashMap::new(),
        mails: Vec::new(),
        asked: Vec::new(),
        effects,
        sleeps_until: None,
        end: None,
        threads: Vec::new(),
        lock,
        folder,
        shutdown_timeout: options.shutdown_timeout,
        stopping: None,
    };
    if let Err(error) = start(&mut runner, reader, scrubber, promise) {
        runner.abandon();
        return Err(OpenError::Thread(error));
    }
    let place = |runner| std::mem::replace(&mut *shared.runner.lock().unwrap_or_else(PoisonError::into_inner), runner);
    place(Some(runner));
    let of_node = Arc::clone(&shared);
    let thread = spawn("hezong-node", move || run(&of_node)).map_err(|error| {
        place(None).into_iter().for_each(Runner::abandon);
        OpenError::Thread(error)
    })?;
    let (requests, thread) = (AtomicU64::new(1), Mutex::new(Some(thread)));
    Ok(Handle::new(Owner { identity, address, shared, folder: held_folder, requests, thread }))
}

/// Refuses another node's certificate while nothing has been written.
fn check_certificate(options: &Options) -> Result<(), OpenError> {
    let Some(tls) = &options.tls else { return Ok(()) };
    let found = match (&options.start, &options.storage) {
        (Start::Bootstrap(identity) | Start::Join(identity), _) => Some(identity.clone()),
        (Start::Reopen, Storage::Folder(folder)) => Identity::load(folder)?,
        (Start::Reopen, Storage::Memory(_)) => None,
    };
    found.map_or(Ok(()), |identity| tls.check_label(&identity.label)).map_err(OpenError::Tls)
}

fn identify(options: &Options) -> Result<(Identity, Option<FolderLock>), OpenError> {
    Ok(match (&options.storage, &options.start) {
        (Storage::Folder(folder), start) => {
            let (identity, lock) = claim(folder, start)?;
            (identity, Some(lock))
        }
        (Storage::Memory(_), Start::Bootstrap(identity) | Start::Join(identity)) => (identity.clone(), None),
        (Storage::Memory(_), Start::Reopen) => return Err(OpenError::NoIdentity),
    })
}

fn open_log(
    options: &Options,
    identity: &Identity,
    machines: &mut StateMachines,
) -> Result<(Wal, Vec<Recovered>), OpenError> {
    let folder: Arc<dyn hezong_wal::Folder> = match &options.storage {
        Storage::Folder(folder) => {
            let path = folder.join("log");
            check_log(folder, &path)?;
            let disk = DiskFolder::open(&path).map_err(|source| OpenError::Folder { path, source })?;
            match &options.trial_disk {
                None => Arc::new(disk),
                Some(control) => {
                    let told = TrialFolder::new(disk, control.clone());
                    Arc::new(told.map_err(|source| OpenError::Folder { path: control.clone(), source })?)
                }
            }
        }
        Storage::Memory(folder) => folder.handle(),
    };
    let mut wal = wal_options(identity);
    wal.segment_bytes = options.segment_bytes;
    let (wal, recovered) = match Wal::open(Arc::clone(&folder), wal.clone()) {
        Err(damage @ (hezong_wal::OpenError::Corrupt { .. } | hezong_wal::OpenError::Missing { .. })) => {
            tracing::error!("the log is damaged: {damage}");
            let witness = witness(machines)?;
            Wal::repair(folder, wal, &witness).map_err(OpenError::Damaged)?
        }
        result => result?,
    };
    if let Some(repaired) = &wal.opened().repaired {
        tell_repaired(repaired);
    }
    if let Storage::Folder(folder) = &options.storage {
        note_log(folder)?;
    }
    if let Some(cut) = &wal.opened().cut {
        // Expected after a crash in the middle of a write; nobody was ever told that it was stored.
        tracing::info!("{}: cut {} bytes of a torn tail at offset {}", cut.path, cut.bytes, cut.offset);
    }
    Ok((wal, recovered))
}

/// What the log may stand on where it is damaged: what the state machines would find again, whatever happens.
fn witness(machines: &mut StateMachines) -> Result<Witness, OpenError> {
    let mut witness = Witness::default();
    for (&group, machine) in machines {
        let unreadable = |source| OpenError::State { group, source };
        machine.persist().map_err(unreadable)?;
        witness.applied.insert(group, machine.applied().map_err(unreadable)?);
        if machine.is_installed().map_err(unreadable)? {
            witness.installed.insert(group);
        }
    }
    Ok(witness)
}

fn tell_repaired(repaired: &Repaired) {
    repaired.gaps.iter().for_each(|gap| tracing::error!("{gap}"));
    for RepairedGroup { group, base, end, owed } in &repaired.groups {
        let place = |index: &Option<Index>| index.map_or(0, |index| index.0);
        let (group, base, end) = (group.0, place(base), place(end));
        match owed {
            None => tracing::warn!(
                "the log of group {group} is repaired: it stands on {base}, ends with {end}, and lacks nothing"
            ),
            Some(owed) => tracing::warn!(
                "the log of group {group} is repaired as far as it goes: it stands on {base} and ends with {end}; what follows, up \
                 to {owed} at most, must come from a leader, and until then this node elects nobody who lacks it"
            ),
        }
    }
}

/// How the log of this node is kept, with segments of the usual size.
pub(crate) fn wal_options(identity: &Identity) -> hezong_wal::Options {
    hezong_wal::Options::new(format!("cluster {} node {}", identity.cluster, identity.node.0))
}

/// Folds what the log holds and brings the node to life on it.
fn open_node(
    options: &Options,
    clock: &Clock,
    identity: &Identity,
    machines: &StateMachines,
    wal: &Wal,
    recovered: Vec<Recovered>,
    granted: Duration,
) -> Result<(Node, Vec<hezong_node::NodeEffect>), OpenError> {
    let mut saved = BTreeMap::new();
    for found in recovered {
        if !machines.contains_key(&found.group) {
            return Err(OpenError::NoMachine(found.group));
        }
        saved.insert(found.group, fold(wal, found)?);
    }
    let mut rng = chance();
    let mut config = options.node.clone();
    config.id = identity.node;
    let mut node = Node::new(config);
    let mut effects = Vec::new();
    for (&group, machine) in machines {
        let unreadable = |source| OpenError::State { group, source };
        let applied = machine.applied().map_err(unreadable)?;
        let state = StateFound { applied, is_installed: machine.is_installed().map_err(unreadable)? };
        let mut raft = options.raft.clone();
        raft.id = identity.node;
        raft.lease_granted = granted;
        let saved = saved.remove(&group).unwrap_or_default();
        node.open_group(clock.now(), group, raft, saved, state, rng.fork(), &mut effects)?;
    }
    Ok((node, effects))
}

fn fold(wal: &Wal, found: Recovered) -> Result<Saved, OpenError> {
    let group = found.group;
    let mut saved = Saved::default();
    let mut save = |change| {
        let write = to_write(change).map_err(|source| OpenError::Record { group, source })?;
        Raft::save(&mut saved, &write);
        Ok::<_, OpenError>(())
    };
    if let Some((last, base)) = found.base {
        save(Change::Reset { last, base })?;
    }
    for entries in wal.reader().entries(group) {
        let (first, entries) = entries.map_err(hezong_wal::OpenError::from)?;
        save(Change::Append { first, entries })?;
    }
    if let Some(state) = found.state {
        save(Change::State(state))?;
    }
    Ok(saved)
}

fn open_link(
    options: &Options,
    identity: &Identity,
    shared: &Arc<Shared>,
) -> Result<(Link, Option<SocketAddr>), OpenError> {
    match &options.transport {
        Transport::Memory(network) => {
            network.plug(identity.node, Arc::clone(&shared.inbox));
            Ok((Link::Memory { network: network.clone(), me: identity.node }, None))
        }
        Transport::Tcp(address) => {
            let listen = |source| OpenError::Listen { address: address.clone(), source };
            let listener = TcpListener::bind(address).map_err(listen)?;
            let bound = listener.local_addr().map_err(listen)?;
            let peers = Peers::default();
            peers.require(identity.version.0);
            let tcp = Tcp {
                shared: Arc::clone(shared),
                cluster: identity.cluster,
                me: identity.node,
                queue_bytes_max: options.peer_queue_bytes_max,
                pause_max: options.reconnect_pause_max,
                timeout: options.peer_timeout,
                tls: options.tls.clone(),
                peers,
                listener,
                handshakes: AtomicUsize::new(0),
            };
            Ok((Link::Tcp(Arc::new(tcp)), Some(bound)))
        }
    }
}

/// Starts the threads beside the node's own. The one that applies ends before the log's, so that the last thing written
/// is the end of the log.
fn start(runner: &mut Runner, reader: Reader, scrubber: Scrubber, promise: Option<Promise>) -> std::io::Result<()> {
    let shared = || Arc::clone(&runner.shared);
    let inboxes = &runner.inboxes;
    let mut threads = Vec::new();
    let outcome = (|| {
        let (of_node, machines) = (shared(), Arc::clone(&inboxes.machines));
        threads.push(spawn("hezong-apply", move || apply::run(&of_node, &machines))?);
        let (of_node, inbox, held) = (shared(), Arc::clone(&inboxes.snapshots), Arc::clone(&runner.held));
        threads.push(spawn("hezong-snapshot", move || snapshot::read(&of_node, &inbox, &held))?);
        let (of_node, inbox) = (shared(), Arc::clone(&inboxes.readings));
        threads.push(spawn("hezong-read", move || log::read(&of_node, &inbox, &reader, scrubber))?);
        let (of_node, log) = (shared(), Arc::clone(&inboxes.log));
        threads.push(spawn("hezong-log", move || log::run(&of_node, &log, promise))?);
        if let Link::Tcp(tcp) = &runner.link {
            threads.push(tcp.listen()?);
        }
        Ok(())
    })();
    runner.threads = threads;
    outcome
}
