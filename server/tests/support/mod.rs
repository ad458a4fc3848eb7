//! Real node processes on free ports and temporary folders, and requests sent over plain sockets, so that nothing of
//! ours stands between a test and what a node says.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[path = "../../../proof/torture/src/ports.rs"]
mod ports;

#[allow(unused_imports, reason = "each test binary uses its own part")]
pub use ports::{free_port, free_ports};

/// The program under test.
pub const HEZONG: &str = env!("CARGO_BIN_EXE_hezong");
/// How long anything may take before the test fails. Never waited out when all is well.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Elections are quicker here than by default, so that tests are. On a slow machine a leader may lose its place at any time.
const QUICK: [&str; 4] = ["--election-timeout", "300ms", "--heartbeat-interval", "30ms"];
/// Where the leader is to stay, whatever the machine does meanwhile, a follower waits for longer.
const PATIENT: [&str; 4] = ["--election-timeout", "6s", "--heartbeat-interval", "30ms"];
/// For so long.
pub const STEADY: Duration = Duration::from_secs(6);

/// Waits until `what` is true.
#[track_caller]
pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "still waiting until {what} after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A node and where it lives.
pub struct Node {
    pub id: String,
    pub http: String,
    pub peer: String,
    pub folder: PathBuf,
    pub log: PathBuf,
    /// What `--disk-reserve` says. None by default: a test is not about the disk it runs on.
    pub disk_reserve: u64,
    /// When it elects.
    elections: [&'static str; 4],
    child: Option<Child>,
}

impl Node {
    pub fn new(root: &Path, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            http: format!("127.0.0.1:{}", free_port()),
            peer: format!("127.0.0.1:{}", free_port()),
            folder: root.join(id),
            log: root.join(format!("{id}.log")),
            disk_reserve: 0,
            elections: QUICK,
            child: None,
        }
    }

    /// From its next start on it waits for long before it elects: see [`Cluster::steady`].
    pub fn be_patient(&mut self) {
        self.elections = PATIENT;
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(HEZONG);
        command
            .args(["node", "--id", &self.id, "--http", &self.http, "--peer", &self.peer])
            .args(self.elections)
            .args(["--disk-reserve", &self.disk_reserve.to_string()])
            .arg(&self.folder)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub fn start(&mut self, more: &[&str]) {
        self.start_with(more, &[]);
    }

    /// The same with variables of the environment.
    pub fn start_with(&mut self, more: &[&str], variables: &[(String, String)]) {
        assert!(self.child.is_none(), "{} runs already", self.id);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        // Whatever becomes of the test, its nodes end with it: they hold the end of a pipe.
        let mut command = self.command(more);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let child = command.arg("--stop-with-stdin").stdin(Stdio::piped()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while get(&self.http, "/ready").is_none_or(|reply| reply.status != 200) {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!("{} ended with {status}: {}", self.id, self.log_text());
            }
            assert!(Instant::now() < deadline, "{} is not ready: {}", self.id, self.log_text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs").id(), name);
    }

    /// As `kill`, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not stop: {}", self.id, self.log_text());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, once it does not run any more.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// The process it runs as.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Sends a signal by name to a process the test started.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), process.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {process}");
}

/// Nodes of one cluster. Their folder goes when it is dropped.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub root: TempDir,
}

impl Cluster {
    /// Starts so many nodes and waits until all of them vote.
    pub fn new(count: usize) -> Self {
        Self::start(count, |_| {})
    }

    /// The same, for tests in which one leader leads until it is told otherwise: the first node does.
    pub fn steady(count: usize) -> Self {
        Self::start(count, Node::be_patient)
    }

    fn start(count: usize, change: fn(&mut Node)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut nodes: Vec<_> = (1..=count).map(|n| Node::new(root.path(), &format!("node{n:02}"))).collect();
        nodes.iter_mut().for_each(change);
        let mut cluster = Self { nodes, root };
        cluster.nodes[0].start(&["--bootstrap"]);
        cluster.nodes[0].wait_ready();
        let first = cluster.nodes[0].http.clone();
        for node in &mut cluster.nodes[1..] {
            node.start(&["--join", &first]);
        }
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let members = get(&first, "/members").unwrap().json();
            let all = members["members"].as_array().unwrap();
            if all.len() == count && all.iter().all(|member| member["suffrage"] == "voter") {
                break;
            }
            let logs = || cluster.nodes.iter().map(Node::log_text).collect::<Vec<_>>().join("\n");
            assert!(Instant::now() < deadline, "not all nodes vote: {members}\n{}", logs());
            thread::sleep(Duration::from_millis(10));
        }
        cluster
    }

    pub fn start_all(&mut self) {
        for node in &mut self.nodes {
            node.start(&[]);
        }
        for node in &mut self.nodes {
            node.wait_ready();
        }
    }

    pub fn https(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.http.clone()).collect()
    }

    /// Which node leads, as those that run agree.
    pub fn leader(&mut self) -> usize {
        let mut found = None;
        wait_until("a leader is known", || {
            found = self.nodes.iter().position(|node| {
                let status = get(&node.http, "/status").map(|reply| reply.json());
                status.is_some_and(|status| status["role"] == "leader")
            });
            found.is_some()
        });
        found.unwrap()
    }

    pub fn follower(&mut self) -> usize {
        let leader = self.leader();
        (leader + 1) % self.nodes.len()
    }
}

/// A reply as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error's code; empty when it is none.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The error's sentence.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn number(&self, header: &str) -> u64 {
        let value = self.headers.get(header).unwrap_or_else(|| panic!("no {header} in {self:?}"));
        value.parse().unwrap()
    }
}

/// Why there was no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The node cannot be reached: it has certainly heard nothing.
    Refused,
    /// It broke off: what it was asked may have been done.
    Broken,
}

/// One request, one reply, no redirect followed. `None` when the node cannot be reached or breaks off.
pub fn send(node: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
    attempt(node, method, target, headers, body).ok()
}

/// The same, telling the two apart.
pub fn attempt(
    node: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Reply, Silence> {
    let mut connection = TcpStream::connect(node).map_err(|_| Silence::Refused)?;
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {node}\r\nconnection: close\r\n");
    if !body.is_empty() || method == "POST" || method == "PUT" {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut whole = request.into_bytes();
    whole.extend_from_slice(body);
    // A node that refuses early may close before it has read everything; its reply counts all the same.
    connection.write_all(&whole).ok();
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).ok();
    parse(&bytes).ok_or(Silence::Broken)
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Some(Reply { status, headers, body: bytes[end + 4..].to_vec() })
}

/// `GET`, without redirects.
pub fn get(node: &str, target: &str) -> Option<Reply> {
    send(node, "GET", target, &[], b"")
}

/// A client's end of a connection by TLS.
pub type ByTls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// The same by TLS, of a node that must answer; and the certificate it showed.
#[track_caller]
pub fn get_by_tls(node: &str, ca: &Path, target: &str) -> (Reply, Vec<u8>) {
    get_on(dial_by_tls(node, ca), target)
}

/// A connection by TLS on which nothing was asked yet.
pub fn dial_by_tls(node: &str, ca: &Path) -> ByTls {
    let connection = TcpStream::connect(node).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let config = hezong_tls::ClientTls::load(ca, None).unwrap().config();
    let mut stream = rustls::StreamOwned::new(rustls::ClientConnection::new(config, name).unwrap(), connection);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}

/// Asks on a connection, which ends with it.
pub fn get_on(mut stream: ByTls, target: &str) -> (Reply, Vec<u8>) {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    (parse(&bytes).unwrap(), stream.conn.peer_certificates().unwrap()[0].to_vec())
}

/// The same, for a node that must answer, following redirects as `curl -L` does.
#[track_caller]
pub fn follow(node: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let reply = redirected(node, method, target, headers, body);
    reply.unwrap_or_else(|silence| panic!("{method} {target} at {node} is not answered: {silence:?}"))
}

/// The same, repeated while it is refused for now, as every client has to: there may be no leader at any time. A request
/// that may be sent twice is repeated also while its outcome is unknown.
#[track_caller]
pub fn settle(node: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let once = |name: &str| ["idempotency-key", "x-hezong-sequence"].contains(&name.to_lowercase().as_str());
    let twice = method != "POST" || headers.iter().any(|(name, _)| once(name));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last = redirected(node, method, target, headers, body);
        let again = match &last {
            Ok(reply) => matches!(reply.status, 307 | 503) || (twice && reply.status == 504),
            Err(Silence::Refused) => true,
            Err(Silence::Broken) => twice,
        };
        match last {
            Ok(reply) if !again => return reply,
            last => assert!(again && Instant::now() < deadline, "{method} {target} at {node}: {last:?}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The last reply when a request is redirected a few times at most: while the leader changes, nodes may point at one
/// another, or at one that is gone.
fn redirected(node: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, Silence> {
    let (mut node, mut target) = (node.to_owned(), target.to_owned());
    let mut reply = attempt(&node, method, &target, headers, body)?;
    for _ in 0..5 {
        let Some(location) = reply.headers.get("location").filter(|_| reply.status == 307) else { break };
        let rest = location.strip_prefix("http://").unwrap();
        let (to, path) = rest.split_at(rest.find('/').unwrap());
        (node, target) = (to.to_owned(), path.to_owned());
        reply = attempt(&node, method, &target, headers, body)?;
    }
    Ok(reply)
}

/// Runs the program to its end.
pub fn hezong(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(HEZONG).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Runs a command that must end by itself with a failure, and returns its code and what it said.
pub fn fails(mut command: Command) -> (i32, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it runs on although it should have refused");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!status.success(), "it ended well: {said}");
    let last = said.lines().rev().find(|line| line.starts_with("hezong: ")).unwrap_or(said.as_str());
    (status.code().unwrap_or(-1), last.to_owned())
}
