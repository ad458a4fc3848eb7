//! `hezong up`: what it prints, what it notices, and that nothing of it outlives it.

mod support;

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{HEZONG, PATIENCE, free_ports, get, settle, signal, wait_until};

struct Up {
    child: Child,
    out: PathBuf,
    data: PathBuf,
    http_port: u16,
    peer_port: u16,
}

/// Three ports in a row for clients, and three for peers.
fn ports() -> (u16, u16) {
    let first = free_ports(6);
    (first, first + 3)
}

impl Up {
    fn new(root: &Path, http_port: u16, peer_port: u16, more: &[&str]) -> Self {
        let out = root.join("out");
        let data = root.join("data");
        let child = Command::new(HEZONG)
            .arg("up")
            .arg("--data")
            .arg(&data)
            .args(["--http-port", &http_port.to_string(), "--peer-port", &peer_port.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::options().append(true).open(&out).unwrap())
            .spawn()
            .unwrap();
        let mut up = Self { child, out, data, http_port, peer_port };
        wait_until("it is up", || {
            assert!(up.child.try_wait().unwrap().is_none(), "it ended:\n{}", up.text());
            up.text().contains("Events:")
        });
        up
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(words) {
            assert!(Instant::now() < deadline, "no {words:?} in\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn http(&self, n: u16) -> String {
        format!("127.0.0.1:{}", self.http_port + n)
    }

    /// Process ids of its nodes, in order.
    fn nodes(&self) -> Vec<u32> {
        let output = Command::new("ps").args(["-o", "pid=", "--ppid", &self.child.id().to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn nobody_listens(&self) -> bool {
        let ports = (self.http_port..self.http_port + 3).chain(self.peer_port..self.peer_port + 3);
        ports.into_iter().all(|port| TcpStream::connect(("127.0.0.1", port)).is_err())
    }

    fn stop(&mut self) -> i32 {
        signal(self.child.id(), "INT");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it does not stop:\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.text());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn up_tells_serves_notices_stops_and_finds_its_data() {
    let root = tempfile::tempdir().unwrap();
    let (http_port, peer_port) = ports();
    let mut up = Up::new(root.path(), http_port, peer_port, &[]);
    let text = up.text();
    for n in 0..3 {
        let place = format!("node0{}  http {}  peer 127.0.0.1:{}", n + 1, up.http(n), up.peer_port + n);
        assert!(text.contains(&place), "{place} is missing in\n{text}");
        assert!(text.contains(&up.data.join(format!("node0{}", n + 1)).display().to_string()), "{text}");
    }
    assert!(text.contains("leader") && text.contains("follower"), "{text}");
    assert!(text.contains(&format!("curl -XPOST {}/key -d '{{\"foo\":\"bar\"}}' -L", up.http(1))), "{text}");

    assert_eq!(settle(&up.http(1), "POST", "/key", &[], b"{\"foo\":\"bar\"}").status, 200);
    let third = up.nodes()[2];
    signal(third, "KILL");
    up.wait_for("node lost: node03 was killed by signal 9; start it again with");
    // Other events may follow: the lost one may have been the leader.
    let mut command = None;
    wait_until("the command is told", || {
        let text = up.text();
        let line = text.split_once("start it again with\n").and_then(|(_, rest)| rest.split_once('\n'));
        command = line.map(|(line, _)| line.trim().to_owned());
        command.is_some()
    });
    let command = command.unwrap();
    let mut words = command.split(' ');
    let mut back = Command::new(words.next().unwrap()).args(words).stderr(Stdio::null()).spawn().unwrap();
    up.wait_for("node back: node03");
    back.kill().unwrap();
    back.wait().unwrap();

    let first = up.nodes()[0];
    signal(first, "KILL");
    up.wait_for("node lost: node01");
    assert_eq!(up.stop(), 0);
    assert!(up.text().contains("the next `up` finds it"), "{}", up.text());
    assert!(up.nobody_listens());

    let mut again = Up::new(root.path(), http_port, peer_port, &["--restart"]);
    assert!(again.text().contains("found the cluster"), "{}", again.text());
    assert_eq!(settle(&again.http(2), "GET", "/key/foo?level=consistent", &[], b"").text(), "{\"foo\":\"bar\"}\n");
    // The leader is lost, another is elected, and the lost one comes back by itself.
    let leads = |n: u16| get(&again.http(n), "/status").unwrap().json()["role"] == "leader";
    let mut leader = None;
    wait_until("there is a leader", || {
        leader = (0..3).find(|n| leads(*n));
        leader.is_some()
    });
    let leader = leader.unwrap();
    signal(again.nodes()[usize::from(leader)], "KILL");
    again.wait_for("it is started again in");
    again.wait_for("leader elected: node0");
    again.wait_for(&format!("node back: node0{}", leader + 1));
    assert_eq!(settle(&again.http(0), "GET", "/key/foo?raw", &[], b"").text(), "bar");

    // However it dies, its nodes do not outlive it.
    signal(again.child.id(), "KILL");
    again.child.wait().unwrap();
    wait_until("its nodes have stopped", || again.nobody_listens());
}

#[test]
fn up_refuses_ports_that_are_taken_or_differ() {
    let root = tempfile::tempdir().unwrap();
    let (http_port, peer_port) = ports();
    let up = |http_port: u16, more: &[&str]| {
        let mut command = Command::new(HEZONG);
        let ports = ["--http-port".to_owned(), http_port.to_string(), "--peer-port".to_owned(), peer_port.to_string()];
        command.arg("up").arg("--data").arg(root.path().join("data")).args(ports).args(more).stdout(Stdio::null());
        support::fails(command)
    };
    let taken = TcpListener::bind(("127.0.0.1", http_port + 1)).unwrap();
    let (_, said) = up(http_port, &[]);
    let port = (http_port + 1).to_string();
    assert!(said.contains(&port) && said.contains("node02") && said.contains("--http-port"), "{said}");
    assert!(!root.path().join("data/up.json").exists(), "a refused port is not remembered");
    drop(taken);
    let (code, _) = up(http_port, &["--nodes", "0"]);
    assert_eq!(code, 2);
    fs::write(
        root.path().join("data/up.json"),
        format!("{{\"nodes\":3,\"httpPort\":{http_port},\"peerPort\":{peer_port}}}"),
    )
    .unwrap();
    let (_, said) = up(http_port, &["--nodes", "5"]);
    assert!(said.contains("--nodes 3, not 5"), "{said}");
}
