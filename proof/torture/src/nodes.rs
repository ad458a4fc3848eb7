//! Node processes: started, killed, stopped for a while, replaced.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hezong_base::NodeId;
use hezong_client::{Client, Options as ClientOptions};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::process::{Child, Command};

use crate::Error;
use crate::certs::Authority;
use crate::clocks::{Clocks, DRIFT_PPM};
use crate::disks::Disk;
use crate::links::Links;
use crate::plan::{Fault, Options};
use crate::ports::free_port;

/// How soon nodes elect. Half of the default: a run sees twice as many elections.
const ELECTION_TIMEOUT: &str = "500ms";
const HEARTBEAT: &str = "50ms";
/// Leases as long as can be, less only what clocks may drift: nothing else stands between a lease that is used too long and
/// whoever is elected meanwhile.
const LEASE: [&str; 4] = ["--lease", ELECTION_TIMEOUT, "--clock-drift-ppm", DRIFT_PPM];
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
    /// Where the others reach it: a proxy, unless it has a cable. It listens at `bind`.
    pub(crate) peer: String,
    pub(crate) bind: String,
    pub(crate) disk: Disk,
    pub(crate) clocks: Clocks,
    /// The flags that give it its certificate, or say that it needs none.
    security: Vec<String>,
    reach: Reach,
    links: Links,
    place: usize,
    log: PathBuf,
    program: PathBuf,
    child: Option<Child>,
    /// The process that was last started.
    process: u32,
}

/// What nodes are made of, besides their options.
pub(crate) struct Means {
    pub(crate) reach: Reach,
    pub(crate) links: Links,
    /// Who makes their certificates; without it they have none.
    pub(crate) authority: Option<Authority>,
    /// What sets their wall clocks.
    pub(crate) library: Option<PathBuf>,
}

impl Node {
    /// The node of this place, with a disk of its own, behind its proxy or with its cables, and yet to be started.
    pub(crate) async fn new(options: &Options, place: usize, means: &Means) -> Result<Self, Error> {
        let label = format!("node{:02}", place + 1);
        let folder = options.folder.join(format!("disk{:02}", place + 1));
        let own = options.faults.contains(&Fault::FullDisk);
        let disk = Disk::new(folder.clone(), own, options.unsynced).map_err(Error::file(folder))?;
        let base = options.folder.join(&label);
        let clocks = Clocks::new(&base, means.library.clone()).map_err(Error::file(base))?;
        let (http, peer, bind) = match means.links.cables() {
            Some(cables) => {
                cables.plug_in(place).map_err(Error::Cables)?;
                let [peer, client] = cables.hosts(place);
                (format!("{client}:8091"), format!("{peer}:8089"), format!("{peer}:8089"))
            }
            None => {
                let [http, peer, bind] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
                means.links.serve(place, &peer, &bind).await.map_err(Error::Listen)?;
                (http, peer, bind)
            }
        };
        let out = options.folder.join("secrets");
        let hosts = [&http, &peer].map(|address| address.split(':').next().unwrap_or_default());
        let hosts: Vec<&str> = BTreeSet::from(hosts).into_iter().collect();
        let security = means.authority.as_ref().map(|authority| authority.flags_of(&label, &hosts, &out)).transpose();
        let security = match security.map_err(Error::file(out))? {
            Some(flags) => flags,
            None if means.links.cables().is_some() => vec!["--insecure".to_owned()],
            None => Vec::new(),
        };
        Ok(Self {
            http,
            peer,
            bind,
            disk,
            clocks,
            security,
            reach: means.reach.clone(),
            links: means.links.clone(),
            place,
            log: options.folder.join(format!("{label}.log")),
            program: options.program.clone(),
            child: None,
            process: 0,
            label,
        })
    }

    /// Starts it, with what only a first start says.
    pub(crate) fn start(&mut self, first: &[&str]) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(&self.log).map_err(Error::file(&self.log))?;
        let mut command = match self.links.cables() {
            None => Command::new(&self.program),
            Some(cables) => {
                let [ip, words @ ..] = cables.inside(self.place);
                let mut command = Command::new(ip);
                command.args(words).arg(&self.program);
                command
            }
        };
        command
            .args(["node", "--id", &self.label, "--http", &self.http, "--peer", &self.peer, "--peer-bind", &self.bind])
            .args(["--election-timeout", ELECTION_TIMEOUT, "--heartbeat-interval", HEARTBEAT])
            .args(LEASE)
            .args(SMALL)
            .args(&self.security)
            .arg("--trial-disk")
            .arg(self.disk.trial())
            .args(first)
            // However we end, it ends with us: it holds the end of a pipe.
            .arg("--stop-with-stdin")
            .arg(self.disk.data())
            .env_clear();
        self.clocks.give(&mut command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us, who then end the nodes in our own way.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| self.failed(error.to_string()))?;
        self.process = child.id().unwrap_or(0);
        self.links.know_process(self.process, self.place);
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it takes part.
    pub(crate) async fn wait_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let asked = self.reach.client_of(&self.http, STATUS_TIMEOUT)?;
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
        self.clocks.forget(self.process);
        self.child = None;
        true
    }

    /// Sends a signal; false when it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.process().is_some_and(|id| kill_process(id, signal).is_ok())
    }

    fn process(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.as_ref()?.id()?).ok()?)
    }

    /// From now on no file of the process that runs may grow beyond so many bytes; `None` lets them. False when it does not
    /// run.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) -> bool {
        let limits = Rlimit { current: bytes, maximum: None };
        self.process().is_some_and(|id| prlimit(Some(id), Resource::Fsize, limits).is_ok())
    }

    /// Whether it ended by itself; how is left for [`Node::ended`] to tell.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// How it ended, if it did.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.clocks.forget(self.process);
        self.child = None;
        Some(status)
    }

    /// How it ended by itself, if it did.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.exit()?;
        Some(self.told_end(status))
    }

    /// The same in words: its own last ones.
    pub(crate) fn told_end(&self, status: ExitStatus) -> String {
        let log = self.log_text();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        format!("it ended by itself: {status}: {last}")
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) async fn status(&self) -> Option<Status> {
        self.reach.status(&self.http).await
    }

    pub(crate) fn failed(&self, reason: String) -> Error {
        Error::Node { label: self.label.clone(), reason, log: self.log.clone() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.clocks.forget(self.process);
    }
}

/// How a node stands, by its own word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) number: NodeId,
    pub(crate) leads: bool,
    pub(crate) term: u64,
}

/// How clients reach nodes: in the clear, or by TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    options: ClientOptions,
}

impl Reach {
    pub(crate) fn new(options: ClientOptions) -> Self {
        Self { options }
    }

    /// A client of the cluster that these nodes are of.
    pub(crate) fn client(&self, endpoints: &[String], timeout: Duration) -> Result<Client, Error> {
        self.made(endpoints, timeout, false)
    }

    /// A client of this node alone.
    pub(crate) fn client_of(&self, endpoint: &str, timeout: Duration) -> Result<Client, Error> {
        self.made(&[endpoint.to_owned()], timeout, true)
    }

    /// Asks a node how it stands; `None` if it does not answer.
    pub(crate) async fn status(&self, http: &str) -> Option<Status> {
        let told = self.client_of(http, STATUS_TIMEOUT).ok()?.status().await.ok()?;
        let number = |name: &str| told[name].as_u64();
        Some(Status {
            number: NodeId(number("nodeId")?),
            leads: told["role"] == "leader",
            term: number("term").unwrap_or(0),
        })
    }

    fn made(&self, endpoints: &[String], timeout: Duration, given_only: bool) -> Result<Client, Error> {
        let options = ClientOptions {
            timeout,
            attempt_timeout: timeout.min(Duration::from_secs(1)),
            backoff_max: Duration::from_millis(100),
            given_only,
            ..self.options.clone()
        };
        Ok(Client::with_options(endpoints, options)?)
    }
}
