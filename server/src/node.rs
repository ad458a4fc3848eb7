//! `hezong node`: one node, put together from the floors below.
//!
//! In this order, so that whatever is wrong is said before anything is touched: the arguments, the ports, the folder,
//! the cluster that is to take the node in, the state, the log. The node lives until it is told to stop (SIGTERM,
//! Ctrl-C, with `--stop-with-stdin` the end of stdin); then another node leads, requests under way are seen through, the state is made
//! durable, and the process ends with code 0. A disk that fails ends it at once, with a sentence and a code other than 0.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hezong_base::{GroupId, NodeId};
use hezong_client::{Client, Join, Joined, Options as ClientOptions};
use hezong_http::{Api, check_address};
use hezong_kv::{Kv, KvReader, Limits, Rules};
use hezong_node::{StateError, StateMachine};
use hezong_raft::{Member, Membership};
use hezong_shell::{ClusterId, Handle, Identity, Options, Start};
use hezong_store::{DiskStore, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::NodeArgs;

/// The one group of keys this version serves.
const GROUP: GroupId = GroupId(1);
/// How long a node asks to be taken in. A cluster that elects a leader just now, or takes in another, needs a while.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the cluster a member names again with `--join` may take to say which one it is.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: NodeArgs) -> Result<()> {
    start_log(&args.log)?;
    check(&args)?;
    let http_bind = args.http_bind.as_ref().unwrap_or(&args.http);
    let listener = TcpListener::bind(http_bind).await.with_context(|| {
        format!("{http_bind} cannot be listened on for clients; stop what uses the port, or choose another --http")
    })?;
    let start = start_of(&args).await?;
    let bootstraps = matches!(start, Start::Bootstrap(_));

    let (node, keys) = open(&args, start).await?;
    if bootstraps {
        bootstrap(&args, &node).await?;
    }
    let identity = node.identity();
    tracing::info!(
        id = %identity.label, node = identity.node.0, cluster = %identity.cluster, http = %args.http, peer = %args.peer,
        folder = %args.dir.display(), "the node is open"
    );
    let api = Api {
        node: node.clone(),
        group: GROUP,
        keys,
        limits: Limits { value_bytes_max: args.value_bytes_max, ..Limits::default() },
        http: args.http,
        peer: args.peer,
        version: env!("CARGO_PKG_VERSION"),
    };
    let told = told_to_stop(args.stop_with_stdin)?;
    let leading = node.clone();
    let stop = async move {
        told.await;
        // While clients are still served, so that they hear who leads next. If nobody can take over, so be it.
        if let Ok(next) = leading.transfer(GROUP, None).await {
            tracing::info!(node = next.id.0, "handed over");
        }
    };
    let served = hezong_http::serve(listener, hezong_http::router(api), stop).await;
    tracing::info!("stopping");
    node.shutdown().await;
    served.context("clients can no longer be served")?;
    tracing::info!("stopped");
    Ok(())
}

fn start_log(filter: &str) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .with_context(|| format!("--log {filter:?} is no filter; write a level such as info, or target=level"))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal).init();
    Ok(())
}

fn check(args: &NodeArgs) -> Result<()> {
    for (name, address) in [("--http", &args.http), ("--peer", &args.peer)] {
        if let Err(reason) = check_address(address) {
            bail!(
                "{name} {address:?} cannot be reached by others: {reason}; write host:port, and use {name}-bind to \
                 listen elsewhere"
            );
        }
    }
    if args.http == args.peer {
        bail!("--http and --peer are both {}; give them ports of their own", args.http);
    }
    if args.value_bytes_max == 0 || args.value_bytes_max > Limits::default().command_bytes_max {
        let most = Limits::default().command_bytes_max;
        bail!("--value-bytes-max is {}; choose from 1 to {most}", args.value_bytes_max);
    }
    Ok(())
}

/// Who the node is to be: what its folder says, or else a new member of a new or an existing cluster.
async fn start_of(args: &NodeArgs) -> Result<Start> {
    let found = Identity::load(&args.dir)?;
    match found {
        Some(found) => {
            if found.label != args.id {
                bail!(
                    "{} belongs to {}, not to {}; start {} on it, or name another folder",
                    args.dir.display(),
                    found.label,
                    args.id,
                    found.label
                );
            }
            if !args.join.is_empty() {
                check_cluster(args, &found).await?;
            }
            // A node that was taken in and holds nothing yet would otherwise found a second cluster under the same name.
            if args.bootstrap && found.node != NodeId(1) {
                bail!(
                    "{} was taken in by a cluster as node {} and cannot found it; leave --bootstrap out",
                    args.dir.display(),
                    found.node.0
                );
            }
            // A bootstrap that broke off before the first members were on disk is taken up again; of one that did not,
            // nothing is left to do.
            Ok(if args.bootstrap { Start::Bootstrap(found) } else { Start::Reopen })
        }
        None if args.bootstrap => Ok(Start::Bootstrap(Identity::bootstrap(&args.id))),
        None if !args.join.is_empty() => join(args).await,
        None => bail!(
            "{} is empty: make a new cluster with --bootstrap, join one with --join host:port, or name the folder that \
             holds this node's data",
            args.dir.display()
        ),
    }
}

/// A member that is told again to join, as service files do, must not be told to join another cluster.
async fn check_cluster(args: &NodeArgs, found: &Identity) -> Result<()> {
    let options = ClientOptions { timeout: CHECK_TIMEOUT, ..ClientOptions::default() };
    let Ok(members) = Client::with_options(&args.join, options)?.members().await else { return Ok(()) };
    if members.cluster_id != found.cluster.to_string() {
        bail!(
            "{} belongs to cluster {}, and {} to {}; join with an empty folder, or leave --join out",
            args.dir.display(),
            found.cluster,
            args.join.join(","),
            members.cluster_id
        );
    }
    Ok(())
}

/// Asks to be taken in. If the reply is lost the same request is answered the same, so it is repeated until it is known.
async fn join(args: &NodeArgs) -> Result<Start> {
    let options = ClientOptions { timeout: JOIN_TIMEOUT, ..ClientOptions::default() };
    let client = Client::with_options(&args.join, options)?;
    let join = Join {
        id: args.id.clone(),
        http_addr: args.http.clone(),
        raft_addr: args.peer.clone(),
        cluster_id: None,
        replace: args.replace,
    };
    let Joined { node_id, cluster_id, .. } =
        client.join(&join).await.with_context(|| format!("{} cannot join {}", args.id, args.join.join(",")))?;
    let cluster: ClusterId = cluster_id.parse().context("the cluster's id cannot be understood")?;
    Ok(Start::Join(Identity::joined(cluster, NodeId(node_id), &args.id)))
}

/// Opens state and log.
async fn open(args: &NodeArgs, start: Start) -> Result<(Handle, KvReader<DiskStore>)> {
    let mut options = Options::new(&args.dir, args.peer_bind.as_ref().unwrap_or(&args.peer), start);
    options.disk_reserve_bytes = args.disk_reserve;
    let election_timeout = Duration::from_millis(args.election_timeout);
    options.raft.election_timeout = election_timeout;
    options.raft.heartbeat_interval = election_timeout / 10;
    options.raft.lease = election_timeout * 9 / 10;
    options.raft.store_timeout = election_timeout;
    let state = args.dir.join("state");
    // The log may be long; reading it must not hold up the runtime.
    tokio::task::spawn_blocking(move || {
        let mut reader = None;
        let node = hezong_shell::open_with(options, |_| {
            let store = open_state(&state).map_err(StateError::new)?;
            let kv = Kv::open(store, "kv", Rules::default())?;
            reader = Some(kv.reader());
            let machine: Box<dyn StateMachine> = Box::new(kv);
            Ok(BTreeMap::from([(GROUP, machine)]))
        })?;
        Ok((node, reader.expect("the machines are made before the node is open")))
    })
    .await
    .context("opening the node was interrupted")?
}

/// Opens the state. One that cannot be read is set aside for people to look at: the log is kept whole, so replaying it
/// gives back everything the state held.
fn open_state(path: &Path) -> Result<DiskStore, StoreError> {
    match hezong_store::open(path) {
        Err(damaged @ StoreError::Damaged { .. }) => {
            let aside = hezong_store::set_aside(path)
                .map_err(|source| StoreError::Damaged { path: path.to_owned(), source: Box::new(source) })?;
            tracing::warn!("{damaged}; it is kept in {}, and the state is made anew from the log", aside.display());
            hezong_store::open(path)
        }
        opened => opened,
    }
}

async fn bootstrap(args: &NodeArgs, node: &Handle) -> Result<()> {
    let id = node.identity().node;
    let known = node.members(GROUP).await?;
    if !known.members().is_empty() {
        return Ok(());
    }
    let member = Member { name: args.id.clone(), peer: args.peer.clone(), client: args.http.clone() };
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
