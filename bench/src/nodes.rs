//! Node processes in temporary folders, ours and etcd's.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hezong_client::{Client, ClientTls, Options};

use crate::Outcome;
use crate::certs::Authority;
use crate::ports::free_port;

/// How long anything may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The `hezong` that was built beside this program, in the same profile.
pub(crate) fn hezong_beside() -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("hezong");
    if !path.exists() {
        return Err(format!("{} is missing; build it first: cargo build --release -p hezong", path.display()).into());
    }
    Ok(path)
}

/// One node process.
pub(crate) struct Node {
    program: PathBuf,
    args: Vec<String>,
    /// What is said only the first time.
    first: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// Where its clients reach it.
    pub(crate) client: String,
    /// Where its data lies.
    pub(crate) folder: PathBuf,
    /// Whom its clients believe; `None` when they talk in the clear.
    pub(crate) tls: Option<ClientTls>,
}

impl Node {
    /// Starts it; the first time with what makes it a member.
    pub(crate) fn start(&mut self) -> Outcome<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(self.first.drain(..)).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child =
            command.spawn().map_err(|error| format!("{} cannot be started: {error}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop (SIGTERM), and waits until it has.
    pub(crate) async fn stop(&mut self) -> Outcome<()> {
        self.signal("TERM")?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the node stopped with {status}").into()) }
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) -> Outcome<()> {
        let process = self.process()?.to_string();
        let status = Command::new("kill").args([format!("-{name}"), process]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name} failed").into()) }
    }

    fn process(&self) -> Outcome<u32> {
        Ok(self.child.as_ref().ok_or("the node does not run")?.id())
    }

    /// What it holds resident, in bytes.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1_024)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to stop.
        self.kill().ok();
    }
}

/// Three hezong nodes, all of them voters, in the clear.
pub(crate) async fn hezong(program: &Path, root: &Path) -> Outcome<Vec<Node>> {
    three(program, root, None).await
}

/// The same with certificates, which the program itself makes.
pub(crate) async fn hezong_by_tls(program: &Path, root: &Path) -> Outcome<Vec<Node>> {
    let authority = Authority::new(program, root.join("authority"))?;
    three(program, root, Some(&authority)).await
}

async fn three(program: &Path, root: &Path, authority: Option<&Authority>) -> Outcome<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..3 {
        let node = one_more(program, root, authority, &nodes)?;
        wait_ready(&node).await?;
        nodes.push(node);
    }
    wait_voters(&nodes, 3).await?;
    Ok(nodes)
}

/// Starts a node that joins the others, or founds their cluster.
pub(crate) fn one_more(program: &Path, root: &Path, authority: Option<&Authority>, others: &[Node]) -> Outcome<Node> {
    let tls = authority.map(|authority| ClientTls::load(&authority.ca(), None)).transpose()?;
    let id = format!("node{:02}", others.len() + 1);
    let (client, peer) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let folder = root.join(&id);
    let args = ["node", "--id", &id, "--http", &client, "--peer", &peer, &folder.display().to_string()];
    let mut args = args.map(str::to_owned).to_vec();
    args.push("--stop-with-stdin".to_owned());
    if let Some(authority) = authority {
        args.extend(authority.flags_of(&id, &["127.0.0.1"], &root.join("secrets"))?);
    }
    let first = match others.first() {
        None => vec!["--bootstrap".to_owned()],
        Some(node) => vec!["--join".to_owned(), node.client.clone()],
    };
    let log = root.join(format!("{id}.log"));
    let mut node = Node { program: program.to_owned(), args, first, log, child: None, client, folder, tls };
    node.start()?;
    Ok(node)
}

/// Waits until so many members vote.
pub(crate) async fn wait_voters(nodes: &[Node], voters: usize) -> Outcome<()> {
    let tls = nodes.first().and_then(|node| node.tls.clone());
    let client = client_of(nodes, Options { tls, ..Options::default() })?;
    let began = Instant::now();
    while client.members().await?.members.iter().filter(|member| member.suffrage == "voter").count() < voters {
        if began.elapsed() > 5 * PATIENCE {
            return Err(format!("{voters} hezong nodes did not become voters").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A client of these nodes.
pub(crate) fn client_of(nodes: &[Node], options: Options) -> Outcome<Client> {
    Ok(Client::with_options(nodes.iter().map(|node| node.client.clone()), options)?)
}

/// Waits until a hezong node knows a leader.
pub(crate) async fn wait_ready(node: &Node) -> Outcome<()> {
    let began = Instant::now();
    let client = Client::with_options([&node.client], quick(node))?;
    loop {
        if client.status().await.is_ok_and(|status| !status["leader"].is_null()) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("the node at {} does not become ready; see {}", node.client, node.log.display()).into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How a client asks a node something that it is to answer at once.
fn quick(node: &Node) -> Options {
    Options { timeout: Duration::from_millis(500), tls: node.tls.clone(), ..Options::default() }
}

/// Which of them leads: of those that believe so, the one in the latest term. One that was stopped believes it still.
pub(crate) async fn leader(nodes: &[Node]) -> Outcome<usize> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let mut latest = None;
        for (at, node) in nodes.iter().enumerate() {
            let status = Client::with_options([&node.client], quick(node))?.status().await;
            if let Some(term) = status.ok().filter(|s| s["role"] == "leader").and_then(|s| s["term"].as_u64()) {
                latest = latest.max(Some((term, at)));
            }
        }
        if let Some((_, at)) = latest {
            return Ok(at);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("no node leads".into())
}

/// Three etcd nodes with their defaults (heartbeat 100 ms, election 1 s, fsync on).
pub(crate) async fn etcd(program: &Path, root: &Path) -> Outcome<Vec<Node>> {
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push((free_port(), free_port()));
    }
    let all: Vec<String> =
        ports.iter().enumerate().map(|(n, (_, peer))| format!("etcd{n}=http://127.0.0.1:{peer}")).collect();
    let mut nodes = Vec::new();
    for (n, (client, peer)) in ports.iter().enumerate() {
        let name = format!("etcd{n}");
        let folder = root.join(&name);
        let (client, peer) = (format!("127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let args = [
            "--name",
            &name,
            "--data-dir",
            &folder.display().to_string(),
            "--listen-client-urls",
            &format!("http://{client}"),
            "--advertise-client-urls",
            &format!("http://{client}"),
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &all.join(","),
            "--initial-cluster-state",
            "new",
            "--log-level",
            "error",
        ];
        let args = args.map(str::to_owned).to_vec();
        let log = root.join(format!("{name}.log"));
        let mut node =
            Node { program: program.to_owned(), args, first: Vec::new(), log, child: None, client, folder, tls: None };
        node.start()?;
        nodes.push(node);
    }
    for node in &nodes {
        let began = Instant::now();
        while TcpStream::connect(&node.client).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(format!("etcd at {} does not start; see {}", node.client, node.log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(nodes)
}

/// Which etcd node leads: its clients are sent there, as ours find our leader.
pub(crate) async fn etcd_leader(nodes: &[Node]) -> Outcome<usize> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        for (at, node) in nodes.iter().enumerate() {
            let mut connection = tokio::net::TcpStream::connect(&node.client).await?;
            connection.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").await?;
            let mut text = String::new();
            connection.read_to_string(&mut text).await?;
            if text.lines().any(|line| line == "etcd_server_is_leader 1") {
                return Ok(at);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("no etcd node leads".into())
}
