//! Which nodes there are, where they listen and where their data lies.

use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::args::UpArgs;

const NODES: u16 = 3;
const HTTP_PORT: u16 = 8091;
const PEER_PORT: u16 = 8081;
const FILE: &str = "up.json";

/// The nodes of one `up`.
pub(super) struct Plan {
    /// Where everything lies.
    pub(super) folder: PathBuf,
    /// The nodes, in order.
    pub(super) places: Vec<Place>,
}

/// One node's name, addresses and files.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) http: String,
    pub(super) peer: String,
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
}

/// What the data folder remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ports {
    nodes: u16,
    http_port: u16,
    peer_port: u16,
}

impl Plan {
    /// Works out the plan from the arguments and what the folder remembers.
    pub(super) fn make(args: UpArgs) -> Result<Self> {
        let folder = args.data;
        fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        let ports = match Ports::load(&folder)? {
            Some(found) => found.unless_differs(&folder, args.nodes, args.http_port, args.peer_port)?,
            None => {
                let new = Ports {
                    nodes: args.nodes.unwrap_or(NODES),
                    http_port: args.http_port.unwrap_or(HTTP_PORT),
                    peer_port: args.peer_port.unwrap_or(PEER_PORT),
                };
                new.check()?;
                let plan = Self::of(folder.clone(), new);
                // Before anything is written: a port that is taken must not leave a folder that remembers it.
                plan.places.iter().try_for_each(Place::check_ports)?;
                new.store(&folder)?;
                new
            }
        };
        let plan = Self::of(folder, ports);
        plan.places.iter().try_for_each(Place::check_ports)?;
        plan.check_folders()?;
        Ok(plan)
    }

    fn of(folder: PathBuf, ports: Ports) -> Self {
        let places = (0..ports.nodes)
            .map(|n| {
                let id = format!("node{:02}", n + 1);
                Place {
                    http: format!("127.0.0.1:{}", ports.http_port + n),
                    peer: format!("127.0.0.1:{}", ports.peer_port + n),
                    folder: folder.join(&id),
                    log: folder.join(format!("{id}.log")),
                    id,
                }
            })
            .collect();
        Self { folder, places }
    }

    /// Whether no node has data yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.places.iter().all(|place| !place.has_data())
    }

    /// How a node comes to be a member: nothing to say once its folder knows.
    pub(super) fn role(&self, place: &Place) -> Vec<String> {
        if place.has_data() {
            return Vec::new();
        }
        if self.places[0].id == place.id {
            return vec!["--bootstrap".to_owned()];
        }
        vec!["--join".to_owned(), self.places[0].http.clone()]
    }

    /// What a person types to start a node again.
    pub(super) fn command(&self, place: &Place) -> String {
        format!("{} {}", own_command(), place.args().join(" "))
    }

    /// Without its first node's folder the others are still a cluster; bootstrapping beside them would make a second.
    fn check_folders(&self) -> Result<()> {
        let first = &self.places[0];
        if first.has_data() {
            return Ok(());
        }
        if let Some(other) = self.places.iter().find(|place| place.has_data()) {
            bail!(
                "{} is empty while {} holds data of a cluster; bring it back, or name another --data for a new cluster",
                first.folder.display(),
                other.folder.display()
            );
        }
        Ok(())
    }
}

impl Ports {
    fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} is damaged; remove it and give the ports the nodes had", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    fn store(self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string(&self).context("numbers always serialise")?;
        fs::write(&path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }

    fn unless_differs(
        self,
        folder: &Path,
        nodes: Option<u16>,
        http_port: Option<u16>,
        peer_port: Option<u16>,
    ) -> Result<Self> {
        let wanted = [("--nodes", nodes, self.nodes), ("--http-port", http_port, self.http_port)];
        for (name, wanted, found) in wanted.into_iter().chain([("--peer-port", peer_port, self.peer_port)]) {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                bail!(
                    "the cluster in {} was made with {name} {found}, not {wanted}, and its members know each other by \
                     that; leave {name} out, or name another --data",
                    folder.display()
                );
            }
        }
        Ok(self)
    }

    fn check(self) -> Result<()> {
        for (name, port) in [("--http-port", self.http_port), ("--peer-port", self.peer_port)] {
            ensure!(
                port > 0 && port.checked_add(self.nodes).is_some(),
                "{name} {port} leaves no room for {} nodes; choose from 1 to {}",
                self.nodes,
                u16::MAX - self.nodes
            );
        }
        let apart = self.http_port.abs_diff(self.peer_port);
        ensure!(
            apart >= self.nodes,
            "--http-port {} and --peer-port {} overlap with {} nodes; set them at least {} apart",
            self.http_port,
            self.peer_port,
            self.nodes,
            self.nodes
        );
        Ok(())
    }
}

impl Place {
    /// Whether the node was started here before.
    pub(super) fn has_data(&self) -> bool {
        self.folder.join("identity").exists()
    }

    /// The arguments that start it, its role left out.
    pub(super) fn args(&self) -> Vec<String> {
        let folder = self.folder.display().to_string();
        ["node", "--id", &self.id, "--http", &self.http, "--peer", &self.peer, &folder].map(str::to_owned).to_vec()
    }

    /// Says in time, and in one sentence, that a port is taken.
    pub(super) fn check_ports(&self) -> Result<()> {
        for (address, option) in [(&self.http, "--http-port"), (&self.peer, "--peer-port")] {
            let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).context("we wrote it")?;
            if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                let id = &self.id;
                bail!(
                    "port {port}, for {id}, cannot be used ({error}); stop what listens there (another `up`?), or \
                     choose others with {option} and another --data"
                );
            }
        }
        Ok(())
    }

    /// The last line of its log, which says why it ended.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let tail = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("its log is empty");
        tail.strip_prefix("hezong: ").unwrap_or(tail).to_owned()
    }
}

/// How this program was started, as a person would type it.
pub(super) fn own_command() -> String {
    let Ok(path) = env::current_exe() else { return "hezong".to_owned() };
    let short = env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    short.unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_overlap_or_overflow_refused() {
        let ports = |nodes, http_port, peer_port| Ports { nodes, http_port, peer_port };
        assert!(ports(3, 8091, 8081).check().is_ok());
        assert!(ports(3, 8091, 8093).check().unwrap_err().to_string().contains("overlap"));
        assert!(ports(3, 65_533, 8081).check().is_err());
        assert!(ports(3, 0, 8081).check().is_err());
    }

    #[test]
    fn ports_other_than_remembered_refused() {
        let folder = Path::new("d");
        let found = Ports { nodes: 3, http_port: 8091, peer_port: 8081 };
        assert!(found.unless_differs(folder, Some(3), None, None).is_ok());
        let error = found.unless_differs(folder, None, Some(9000), None).unwrap_err().to_string();
        assert!(error.contains("--http-port 8091, not 9000"), "{error}");
    }
}
