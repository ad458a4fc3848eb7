//! `hezong node`: one node, put together from the floors below.
//!
//! In this order, so that whatever is wrong is said before anything is touched: the settings, the certificates, the
//! ports, the folder, the cluster that is to take the node in, the state, the log. The node lives until it is told to stop
//! (SIGTERM, Ctrl-C, with `--stop-with-stdin` the end of stdin); then another node leads, requests under way are seen
//! through, the state is made durable, and the process ends with code 0. A disk that fails ends it at once, with a
//! sentence and a code other than 0.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hezong_base::{GroupId, NodeId};
use hezong_client::{Client, Join, Joined, Options as ClientOptions};
use hezong_codec::VERSIONS;
use hezong_http::{Api, Debug, Sockets};
use hezong_kv::{Kv, KvReader, Rules};
use hezong_node::{StateError, StateMachine};
use hezong_raft::{Member, Membership};
use hezong_shell::trace::Tracer;
use hezong_shell::{ClusterId, Handle, Identity, Start};
use hezong_store::{DiskStore, Store as _, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::args::{NodeArgs, Trial};
use crate::config::{self, Settings};
use crate::log::Log;
use crate::notify;
use crate::reload::Reload;
use crate::secure::{self, Secured, keep_fresh, raise_file_limit};
use crate::spans::Export;

/// The one group of keys this version serves.
pub(crate) const GROUP: GroupId = GroupId(1);
/// How long a node asks to be taken in. A cluster that elects a leader just now, or takes in another, needs a while.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the cluster a member names again with `--join` may take to say which one it is.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two attempts of a node whose state is damaged to have another one take over.
const TAKE_OVER_PAUSE: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: NodeArgs) -> Result<()> {
    let sources = args.sources();
    if args.print_config {
        return config::show_of_node(&sources);
    }
    let (settings, values) = sources.load()?;
    let log = Log::start(&settings.log_level, settings.log_format)?;
    for (stray, near) in sources.stray_variables() {
        tracing::warn!("the variable {stray} is no setting and has no effect; was {near} meant?");
    }
    // From here on SIGHUP no longer ends the process.
    let hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    secure::check(&settings)?;
    let secured = Secured::load(&settings)?;
    raise_file_limit();
    hear_file_size_limit()?;
    let http_bind = settings.http_bind();
    let listener = TcpListener::bind(http_bind).await.with_context(|| {
        format!("{http_bind} cannot be listened on for clients; stop what uses the port, or choose another --http")
    })?;
    let start = start_of(&settings, &secured, args.bootstrap, args.replace).await?;
    let bootstraps = matches!(start, Start::Bootstrap(_));

    let export = Export::start(&settings)?;
    let tracer = export.as_ref().map(|export| Arc::clone(&export.tracer));
    let opened = open(&settings, &secured, start, tracer, args.trial).await;
    let Open { node, keys, state, state_repaired } = opened.map_err(|error| explain_full(&settings, error))?;
    if bootstraps {
        bootstrap(&settings, &node).await?;
    }
    check_addresses(&settings, &node).await?;
    // Readers of clients that are never done may keep the state open beyond the node's end: the folder is free only once
    // the process has ended.
    std::mem::forget(node.hold_folder());
    let identity = node.identity();
    tracing::info!(
        id = %identity.label, node = identity.node.0, cluster = %identity.cluster, http = %settings.http,
        peer = %settings.peer, folder = %settings.data_dir.display(), "the node is open"
    );
    let (limits, followed) = watch::channel(settings.limits());
    let sockets = Sockets { tls: secured.tls.clone(), ..Sockets::default() };
    let (shown, shows) = watch::channel(config::print(&sources, &values));
    let recent = log.recent.clone();
    let api = Api {
        node: node.clone(),
        group: GROUP,
        keys,
        limits: followed,
        http: settings.http,
        peer: settings.peer,
        tls: secured.tls.clone(),
        token: secured.token,
        state_repaired,
        version: env!("CARGO_PKG_VERSION"),
        debug: Debug { settings: shows, log: Arc::new(move || recent.text()) },
    };
    let left_for = Arc::new(OnceLock::new());
    let stop = stop(told_to_stop(args.stop_with_stdin)?, node.clone(), state, Arc::clone(&left_for));
    let reload = Reload { sources, values, shown, log, limits, node: node.clone() };
    let reload = tokio::spawn(reload.on(hangup));
    if let Some(tls) = secured.tls {
        keep_fresh(tls, node.clone())?;
    }
    notify::ready();
    hezong_http::serve(listener, hezong_http::router(api), sockets, stop).await;
    reload.abort();
    end(node, export, left_for.get()).await
}

/// Ends when the node is to stop and has handed over. Where it leaves by itself, `left_for` says why.
async fn stop(told: impl Future<Output = ()>, node: Handle, state: DiskStore, left_for: Arc<OnceLock<String>>) {
    tokio::select! {
        () = told => {}
        damage = found(&node, Handle::log_damage) => left_for.set(damage).expect("one of these ends"),
        damage = replaced(&node, &state) => {
            return left_for.set(damage).expect("one of these ends");
        }
    }
    // While clients are still served, so that they hear who leads next. If nobody can take over, so be it.
    if let Ok(next) = node.transfer(GROUP, None).await {
        tracing::info!(node = next.id.0, "handed over");
    }
}

/// Closes a node that serves nobody any more.
async fn end(node: Handle, export: Option<Export>, left_for: Option<&String>) -> Result<()> {
    notify::stopping();
    tracing::info!("stopping");
    node.shutdown().await;
    tracing::info!("stopped");
    if let Some(export) = export {
        export.finish().await;
    }
    match left_for {
        Some(damage) => bail!("{damage}; start the node again, which repairs it"),
        None => Ok(()),
    }
}

/// Ends when such damage is found, and tells what it is.
async fn found(node: &Handle, damage: fn(&Handle) -> Option<String>) -> String {
    let mut events = node.events();
    loop {
        if let Some(damage) = damage(node) {
            return damage;
        }
        // What was missed may have been it.
        if let Err(RecvError::Closed) = events.recv().await {
            return std::future::pending().await;
        }
    }
}

/// Ends when the state is found damaged and another node leads, which has what it takes to make it anew; the next start
/// does. Until then the node serves what is whole: without others, the state would be lost with what is damaged.
async fn replaced(node: &Handle, state: &DiskStore) -> String {
    let damage = found(node, Handle::state_damage).await;
    let me = node.identity().node;
    let mut is_said = false;
    loop {
        let mut leader = node.leader(GROUP).await.ok().flatten().map(|leader| leader.id);
        if leader == Some(me) {
            leader = node.transfer(GROUP, None).await.ok().map(|next| next.id);
            if let Some(next) = leader {
                tracing::info!(node = next.0, "handed over");
            }
        }
        if leader.is_some_and(|leader| leader != me) {
            state.condemn(&damage);
            return damage;
        }
        if !is_said {
            tracing::error!(
                "the state is damaged and no other node can take over, so it stays in service; take a backup (hezong \
                 backup) and add nodes, or restore it"
            );
        }
        is_said = true;
        tokio::time::sleep(TAKE_OVER_PAUSE).await;
    }
}

/// Its addresses are the members' knowledge, and given once. A node that is started elsewhere is looked for where it no
/// longer is.
async fn check_addresses(settings: &Settings, node: &Handle) -> Result<()> {
    let members = node.members(GROUP).await?;
    // A node that was just taken in has not heard of itself yet.
    let Some(known) = members.members().get(&node.identity().node) else { return Ok(()) };
    for (name, given, known) in [("http", &settings.http, &known.client), ("peer", &settings.peer, &known.peer)] {
        if given != known {
            tracing::warn!(
                "{name} is {given}, but the cluster knows {} at {known} and looks for it there; start it with {name} \
                 {known}, or remove it and join with an empty folder",
                settings.id
            );
        }
    }
    Ok(())
}

/// Who the node is to be: what its folder says, or else a new member of a new or an existing cluster.
async fn start_of(settings: &Settings, secured: &Secured, bootstrap: bool, replace: bool) -> Result<Start> {
    let found = Identity::load(&settings.data_dir)?;
    match found {
        Some(found) => {
            if found.label != settings.id {
                bail!(
                    "{} belongs to {}, not to {}; start {} on it, or name another folder",
                    settings.data_dir.display(),
                    found.label,
                    settings.id,
                    found.label
                );
            }
            if !settings.join.is_empty() {
                check_cluster(settings, secured, &found).await?;
            }
            // A node that was taken in and holds nothing yet would otherwise found a second cluster under the same name.
            if bootstrap && found.node != NodeId(1) {
                bail!(
                    "{} was taken in by a cluster as node {} and cannot found it; leave --bootstrap out",
                    settings.data_dir.display(),
                    found.node.0
                );
            }
            // A bootstrap that broke off before the first members were on disk is taken up again; of one that did not,
            // nothing is left to do.
            Ok(if bootstrap { Start::Bootstrap(found) } else { Start::Reopen })
        }
        None if bootstrap => Ok(Start::Bootstrap(Identity::bootstrap(&settings.id))),
        None if !settings.join.is_empty() => join(settings, secured, replace).await,
        None => bail!(
            "{} is empty: make a new cluster with --bootstrap, join one with --join host:port, or name the folder that \
             holds this node's data",
            settings.data_dir.display()
        ),
    }
}

/// A member that is told again to join, as service files do, must not be told to join another cluster.
async fn check_cluster(settings: &Settings, secured: &Secured, found: &Identity) -> Result<()> {
    let options = ClientOptions { timeout: CHECK_TIMEOUT, ..secured.client.clone() };
    let Ok(members) = Client::with_options(&settings.join, options)?.members().await else { return Ok(()) };
    if members.cluster_id != found.cluster.to_string() {
        bail!(
            "{} belongs to cluster {}, and {} to {}; join with an empty folder, or leave --join out",
            settings.data_dir.display(),
            found.cluster,
            settings.join.join(","),
            members.cluster_id
        );
    }
    Ok(())
}

/// Asks to be taken in. If the reply is lost the same request is answered the same, so it is repeated until it is known.
async fn join(settings: &Settings, secured: &Secured, replace: bool) -> Result<Start> {
    let options = ClientOptions { timeout: JOIN_TIMEOUT, ..secured.client.clone() };
    let client = Client::with_options(&settings.join, options)?;
    let join = Join {
        id: settings.id.clone(),
        http_addr: settings.http.clone(),
        raft_addr: settings.peer.clone(),
        cluster_id: None,
        replace,
        version: VERSIONS.max,
    };
    let Joined { node_id, cluster_id, .. } =
        client.join(&join).await.with_context(|| format!("{} cannot join {}", settings.id, settings.join.join(",")))?;
    let cluster: ClusterId = cluster_id.parse().context("the cluster's id cannot be understood")?;
    Ok(Start::Join(Identity::joined(cluster, NodeId(node_id), &settings.id)))
}

/// A file that may not grow any more (`ulimit -f`) is a write that fails, told with its reason, rather than a signal that
/// ends the process without a word.
fn hear_file_size_limit() -> Result<()> {
    // Whoever has listened once is not ended any more, listening or not.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop).context("SIGXFSZ cannot be heard")
}

/// A node that is open.
struct Open {
    node: Handle,
    keys: KvReader<DiskStore>,
    state: DiskStore,
    /// Whether its state was set aside.
    state_repaired: bool,
}

/// Opens state and log.
async fn open(
    settings: &Settings,
    secured: &Secured,
    start: Start,
    tracer: Option<Arc<Tracer>>,
    trial: Trial,
) -> Result<Open> {
    let mut options = settings.options(start);
    options.trial_disk = trial.trial_disk;
    options.trial_clock = trial.trial_clock;
    options.tls = secured.tls.clone();
    options.tracer = tracer;
    let folder = settings.data_dir.join("state");
    // The log may be long; reading it must not hold up the runtime.
    tokio::task::spawn_blocking(move || {
        let mut parts = None;
        let node = hezong_shell::open_with(options, |_| {
            let (store, repaired) = open_state(&folder).map_err(StateError::new)?;
            let kv = Kv::open(store.clone(), "kv", Rules::default())?;
            parts = Some((kv.reader(), store, repaired));
            let machine: Box<dyn StateMachine> = Box::new(kv);
            Ok(BTreeMap::from([(GROUP, machine)]))
        })?;
        let (keys, state, state_repaired) = parts.expect("the machines are made before the node is open");
        Ok(Open { node, keys, state, state_repaired })
    })
    .await
    .context("opening the node was interrupted")?
}

/// Says what to do where a node cannot be opened for want of room: a start takes as much as a piece of the log.
fn explain_full(settings: &Settings, error: anyhow::Error) -> anyhow::Error {
    let (folder, needed) = (settings.data_dir.display(), settings.segment_bytes);
    match rustix::fs::statvfs(&settings.data_dir) {
        Ok(found) if found.f_bavail.saturating_mul(found.f_frsize) < needed => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            error.context(format!(
                "the disk of {folder} is full: {free} bytes are free, a start takes {needed} (disk.segment_bytes), and \
                 {} are to be kept (disk.reserve); remove other files or grow the disk, and start the node again",
                settings.disk_reserve
            ))
        }
        Ok(_) | Err(_) => error,
    }
}

/// Opens the state. One that cannot be read is set aside for people to look at: it is made anew from the log or, where
/// that begins too late, from the leader's state. Tells whether it was so.
fn open_state(path: &Path) -> Result<(DiskStore, bool), StoreError> {
    match hezong_store::open(path) {
        Err(damaged @ StoreError::Damaged { .. }) => {
            let aside = hezong_store::set_aside(path)
                .map_err(|source| StoreError::Damaged { path: path.to_owned(), source: Box::new(source) })?;
            tracing::warn!("{damaged}; it is kept in {}, and the state is made anew", aside.display());
            Ok((hezong_store::open(path)?, true))
        }
        opened => Ok((opened?, false)),
    }
}

async fn bootstrap(settings: &Settings, node: &Handle) -> Result<()> {
    let id = node.identity().node;
    let known = node.members(GROUP).await?;
    if !known.members().is_empty() {
        return Ok(());
    }
    let member = Member { name: settings.id.clone(), peer: settings.peer.clone(), client: settings.http.clone() };
    node.bootstrap(GROUP, Membership::of_voters([(id, member)])).await.context("the cluster cannot be made")
}

/// Ready once the node is told to stop.
fn told_to_stop(with_stdin: bool) -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C cannot be caught")?;
    let (told, mut stdin) = tokio::sync::mpsc::channel::<()>(1);
    // Without `--stop-with-stdin` the thread is not started, and the sender is kept so that nothing is ever received.
    let kept = if with_stdin {
        std::thread::Builder::new().name("hezong-stdin".to_owned()).spawn(move || {
            // Whatever comes is thrown away; the end, or a failure, is what counts.
            std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).ok();
            drop(told);
        })?;
        None
    } else {
        Some(told)
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = stdin.recv() => {}
        }
        drop(kept);
    })
}
