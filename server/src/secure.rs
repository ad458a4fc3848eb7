//! Certificates, the token, and the network beyond this machine: what nodes and clients are told of them, and what keeps
//! secrets in this process.
//!
//! A secret is named by its file and never by itself: whatever stands on a command line, `ps` shows to everybody.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use hezong_client::{ClientTls, Options as ClientOptions, Token};
use hezong_raft::Role;
use hezong_shell::{Clients, Files, Handle, NodeTls};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};
use zeroize::Zeroizing;

use crate::config::Settings;
use crate::node::GROUP;
use crate::say::{self, Exit};

/// Shorter tokens could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 1_024;
/// How often the files of certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long before its end a certificate is warned of, and how often.
const END_NEAR: Duration = Duration::from_secs(14 * 86_400);
const END_AGAIN: Duration = Duration::from_secs(86_400);
/// How long a node whose certificate has ended leads when it was elected again all the same.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(3_600);

/// What was last said of the certificate's end.
#[derive(Clone, Copy)]
struct Told {
    ended: bool,
    at: Instant,
}

/// What was read from a node's files.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// `None`: in the clear.
    pub(crate) tls: Option<NodeTls>,
    /// What the node's own client shows and believes when it asks to be taken in.
    pub(crate) client: ClientOptions,
    /// What clients must show to change who takes part or leads, and for a backup.
    pub(crate) token: Option<hezong_http::Token>,
}

/// Refuses to be reached from other machines in the clear, unless told that this is meant.
pub(crate) fn check(settings: &Settings) -> Result<()> {
    if settings.tls_cert.is_some() || settings.insecure {
        return Ok(());
    }
    let http = settings.http_bind.as_ref().map_or(("--http", &settings.http), |bind| ("--http-bind", bind));
    let peer = settings.peer_bind.as_ref().map_or(("--peer", &settings.peer), |bind| ("--peer-bind", bind));
    match [http, peer].into_iter().find(|(_, address)| !is_of_this_machine(address)) {
        None => Ok(()),
        Some((name, address)) => {
            let message = format!(
                "{name} {address} is reached from other machines, and without certificates anybody there may read and \
                 change everything: give --tls-cert, --tls-key and --tls-ca (hezong cert makes them), or on a network \
                 you trust --insecure"
            );
            Err(Exit { code: say::UNFIT, message }.into())
        }
    }
}

impl Secured {
    /// Reads and checks all files.
    pub(crate) fn load(settings: &Settings) -> Result<Self> {
        let mut client = ClientOptions::default();
        let mut tls = None;
        let files = (&settings.tls_cert, &settings.tls_key, &settings.tls_ca);
        if let (Some(certificate), Some(key), Some(authority)) = files {
            keep_secrets()?;
            let files = Files { certificate: certificate.clone(), key: key.clone(), authority: authority.clone() };
            let clients = if settings.tls_client_auth { Clients::Certified } else { Clients::Anyone };
            tls = Some(NodeTls::load_at(files, &settings.id, host_of(&settings.http), clients)?);
            client.tls = Some(ClientTls::load(authority, Some((certificate, key)))?);
        }
        let mut token = None;
        if let Some(path) = &settings.token_file {
            keep_secrets()?;
            let secret = read_token(path)?;
            token = Some(hezong_http::Token::of(secret.as_bytes()));
            client.token = Some(Token::new(&secret)?);
        }
        Ok(Self { tls, client, token })
    }
}

/// Whom a client believes, and what it shows.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct ClientSecurity {
    /// The certificate of the cluster's authority (PEM); with it every connection is by TLS.
    #[arg(long, env = "HEZONG_TLS_CA", value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A certificate to show to nodes that ask for one (PEM).
    #[arg(long, env = "HEZONG_TLS_CERT", value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "HEZONG_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The file with the cluster's token, which changing who takes part or leads takes, and a backup.
    #[arg(long, env = "HEZONG_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl ClientSecurity {
    /// Client options with what the files say.
    pub(crate) fn options(&self) -> Result<ClientOptions> {
        let mut options = ClientOptions::default();
        if let Some(authority) = &self.tls_ca {
            let own = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
            if own.is_some() {
                keep_secrets()?;
            }
            options.tls = Some(ClientTls::load(authority, own)?);
        }
        if let Some(path) = &self.token_file {
            keep_secrets()?;
            options.token = Some(Token::new(&read_token(path)?)?);
        }
        Ok(options)
    }
}

/// A file among a node's secrets that systemd hands to the service alone, and so is not there to be looked at.
pub(crate) fn handed_in(settings: &Settings) -> Option<&Path> {
    let Settings { tls_cert, tls_key, tls_ca, token_file, .. } = settings;
    let files = [tls_cert, tls_key, tls_ca, token_file].into_iter().flatten().map(PathBuf::as_path);
    files.into_iter().find(|path| path.starts_with("/run/credentials") && !path.exists())
}

/// The host of an address, as a certificate names it.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether only this machine reaches an address. One that cannot be resolved cannot be listened on either, which is said
/// in other words.
fn is_of_this_machine(address: &str) -> bool {
    match address.to_socket_addrs() {
        Ok(mut all) => all.all(|address: SocketAddr| address.ip().is_loopback()),
        Err(_) => true,
    }
}

/// Reads a token: one line, without what ends it.
fn read_token(path: &Path) -> Result<Zeroizing<String>> {
    let shown = path.display();
    let bytes = fs::read(path).map(Zeroizing::new).with_context(|| format!("the token {shown} cannot be read"))?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end_matches(['\r', '\n']);
    if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!(
            "{shown} holds no token: it is one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} letters, digits and signs \
             without spaces; make one with: hezong cert token {shown}"
        );
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Keeps what is in this process's memory in it: no core dump is written, and nobody but root may look inside.
pub(crate) fn keep_secrets() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps cannot be switched off")?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("core dumps cannot be limited")
}

/// Lets a node have as many sockets and files as the system grants: the limit set by default is meant for programs of
/// another time.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Takes new certificates into use as they come, and warns of an end that is near, for as long as the node runs. A node
/// whose certificate has ended leads no more if it can help it: clients refuse it.
pub(crate) fn keep_fresh(tls: NodeTls, node: Handle) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = warn_of_end(&tls, None);
    let mut handed_over = None;
    tokio::spawn(async move {
        loop {
            let asked = tokio::select! {
                told = hangup.recv() => told.is_some(),
                _ = look.tick() => false,
            };
            // Files may lie on a disk that is slow to answer.
            let (of_look, again) = (tls.clone(), asked);
            let looked =
                tokio::task::spawn_blocking(
                    move || if again { of_look.reload().map(|()| true) } else { of_look.refresh() },
                );
            match looked.await {
                Ok(Ok(true)) => {
                    tracing::info!("new connections use the certificate that was put in place");
                    (warned, handed_over) = (warn_of_end(&tls, None), None);
                }
                Ok(Ok(false)) => warned = warn_of_end(&tls, warned),
                Ok(Err(error)) => tracing::error!("{error}; the certificate in use stays in use"),
                // The runtime is shutting down.
                Err(_) => return,
            }
            if tls.has_ended() {
                handed_over = hand_over(&node, handed_over).await;
            }
        }
    });
    Ok(())
}

/// Warns if the certificate's end is near, and tells that it has come, each once a day. Returns what was last told.
fn warn_of_end(tls: &NodeTls, told: Option<Told>) -> Option<Told> {
    let ended = tls.has_ended();
    let left = tls.valid_until()?.duration_since(SystemTime::now()).unwrap_or_default();
    if left > END_NEAR || told.is_some_and(|told| told.ended == ended && told.at.elapsed() < END_AGAIN) {
        return told;
    }
    if ended {
        tracing::error!(
            "the certificate has ended: clients and other nodes refuse this node; put a new one in its place (hezong cert \
             node --renew), which is taken into use without a restart"
        );
    } else {
        tracing::warn!("the certificate ends in {} hours; put a new one in its place", left.as_secs() / 3_600);
    }
    Some(Told { ended, at: Instant::now() })
}

/// Has another node lead if this one does, and has not done so within the hour: were all certificates to end at once,
/// leadership would go round and round. Returns when it was last done.
async fn hand_over(node: &Handle, done: Option<Instant>) -> Option<Instant> {
    let leads = node.state(GROUP).await == Ok(Role::Leader);
    if !leads || done.is_some_and(|at| at.elapsed() < HAND_OVER_AGAIN) {
        return done;
    }
    match node.transfer(GROUP, None).await {
        Ok(next) => {
            tracing::warn!(node = next.id.0, "handed over: the certificate of this node has ended");
            Some(Instant::now())
        }
        Err(error) => {
            tracing::debug!("the certificate has ended, and nobody takes over: {error}");
            done
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_of_this_machine_means_loopback_alone() {
        for here in ["127.0.0.1:8091", "127.8.0.1:1", "[::1]:8091", "localhost:8091"] {
            assert!(is_of_this_machine(here), "{here}");
        }
        for beyond in ["0.0.0.0:8091", "[::]:8091", "10.0.0.5:8091", "192.0.2.1:80"] {
            assert!(!is_of_this_machine(beyond), "{beyond}");
        }
    }

    #[test]
    fn host_of_leaves_port_and_brackets() {
        for (address, host) in
            [("host1:8091", "host1"), ("10.0.0.1:1", "10.0.0.1"), ("[2001:db8::1]:8091", "2001:db8::1")]
        {
            assert_eq!(host_of(address), host);
        }
    }

    #[test]
    fn read_token_takes_one_line_and_repeats_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            read_token(&path)
        };
        assert_eq!(*read("0123456789abcdef\n").unwrap(), "0123456789abcdef");
        assert_eq!(*read("0123456789abcdef").unwrap(), "0123456789abcdef");
        for bad in ["", "\n", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\nmore", &"x".repeat(1_025)] {
            let error = format!("{:#}", read(bad).unwrap_err());
            assert!(error.contains("hezong cert token"), "{error}");
            assert!(!error.contains("0123456789"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(format!("{:#}", read_token(&path).unwrap_err()).contains("cannot be read"));
    }
}
