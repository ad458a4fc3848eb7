//! Node processes: started, killed, stopped for a while, replaced.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hezong_base::NodeId;
use hezong_client::{Client, Options as ClientOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::Error;
use crate::disks::Disk;
use crate::ports::free_port;

/// How soon nodes elect. Half of the default: a run sees twice as many elections.
const ELECTION_TIMEOUT: &str = "500ms";
const HEARTBEAT: &str = "50ms";
/// Small files and a small reserve: logs are cut off and disks fill while people watch.
const SMALL: [&str; 8] = [
    "--segment-bytes",
    "4MiB",
    "--log-retain-bytes",
    "8MiB",
    "--disk-reserve",
    "32MiB",
    "--disk-reserve-interval",
    "500ms",
];
/// How long a node may take to come up, and to answer how it stands.
const PATIENCE: Duration = Duration::from_secs(60);
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// A node that is ours.
pub(crate) struct Node {
    pub(crate) label: String,
    pub(crate) http: String,
    /// Where the others reach it: a proxy. It listens at `bind`.
    pub(crate) peer: String,
    pub(crate) bind: String,
    pub(crate) disk: Disk,
    log: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn new(program: &Path, folder: &Path, place: usize, disk: Disk) -> Self {
        let label = format!("node{:02}", place + 1);
        let address = || format!("127.0.0.1:{}", free_port());
        Self {
            http: address(),
            peer: address(),
            bind: address(),
            disk,
            log: folder.join(format!("{label}.log")),
            program: program.to_owned(),
            child: None,
            label,
        }
    }

    /// Starts it, with what only a first start says.
    pub(crate) fn start(&mut self, first: &[&str]) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(&self.log).map_err(Error::file(&self.log))?;
        let mut command = Command::new(&self.program);
        command
            .args(["node", "--id", &self.label, "--http", &self.http, "--peer", &self.peer, "--peer-bind", &self.bind])
            .args(["--election-timeout", ELECTION_TIMEOUT, "--heartbeat-interval", HEARTBEAT])
            .args(SMALL)
            .arg("--trial-disk")
            .arg(self.disk.trial())
            .args(first)
            // However we end, it ends with us: it holds the end of a pipe.
            .arg("--stop-with-stdin")
            .arg(self.disk.data())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us, who then end the nodes in our own way.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| self.failed(error.to_string()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it takes part.
    pub(crate) async fn wait_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let asked = client_of(&self.http, STATUS_TIMEOUT)?;
        loop {
            if asked.ask("/ready").await.is_ok() {
                return Ok(());
            }
            if let Some(ended) = self.ended() {
                return Err(self.failed(ended));
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("it is not ready after {} s", PATIENCE.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As `kill -9`; false when it does not run. One that ended by itself is left for [`Node::ended`] to tell.
    pub(crate) async fn kill(&mut self) -> bool {
        let Some(child) = &mut self.child else { return false };
        if !matches!(child.try_wait(), Ok(None)) || child.kill().await.is_err() {
            return false;
        }
        self.child = None;
        true
    }

    /// Sends a signal; false when it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw).is_some_and(|id| kill_process(id, signal).is_ok())
    }

    /// How it ended, if it did.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// How it ended by itself, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.exit().map(|status| format!("it ended by itself: {status}"))
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) async fn status(&self) -> Option<Status> {
        status(&self.http).await
    }

    pub(crate) fn failed(&self, reason: String) -> Error {
        Error::Node { label: self.label.clone(), reason, log: self.log.clone() }
    }
}

/// How a node stands, by its own word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) number: NodeId,
    pub(crate) leads: bool,
    pub(crate) term: u64,
}

/// Asks a node how it stands; `None` if it does not answer.
pub(crate) async fn status(http: &str) -> Option<Status> {
    let told = client_of(http, STATUS_TIMEOUT).ok()?.status().await.ok()?;
    let number = |name: &str| told[name].as_u64();
    Some(Status {
        number: NodeId(number("nodeId")?),
        leads: told["role"] == "leader",
        term: number("term").unwrap_or(0),
    })
}

/// A client of the cluster that these nodes are of.
pub(crate) fn client(endpoints: &[String], timeout: Duration) -> Result<Client, Error> {
    made(endpoints, timeout, false)
}

/// A client of this node alone.
pub(crate) fn client_of(endpoint: &str, timeout: Duration) -> Result<Client, Error> {
    made(&[endpoint.to_owned()], timeout, true)
}

fn made(endpoints: &[String], timeout: Duration, given_only: bool) -> Result<Client, Error> {
    let options = ClientOptions {
        timeout,
        attempt_timeout: timeout.min(Duration::from_secs(1)),
        backoff_max: Duration::from_millis(100),
        given_only,
        ..ClientOptions::default()
    };
    Ok(Client::with_options(endpoints, options)?)
}
