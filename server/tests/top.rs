//! `hezong top` over real nodes: as text, as JSON, and on a terminal that it leaves as it was.

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;
use support::{Cluster, HEZONG, PATIENCE, get, hezong, send, signal, wait_until};

#[test]
fn top_once_shows_rates_of_all_nodes_and_who_is_silent() {
    let mut cluster = Cluster::steady(3);
    let leader = cluster.leader();
    let (http, label) = (cluster.nodes[leader].http.clone(), cluster.nodes[leader].id.clone());
    let gone = (leader + 1) % 3;
    cluster.nodes[gone].kill();
    let any = cluster.nodes[(leader + 2) % 3].http.clone();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let (json, text) = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                send(&http, "PUT", "/key/a", &[], b"v").unwrap();
                get(&http, "/key/a").unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        wait_until("there is something to see", || written.load(Ordering::Relaxed) > 10);
        // Long enough for a few writes on a slow disk.
        let once = |more: &[&str]| hezong(&[&["top", "--interval", "2", "-e", &any], more].concat());
        let outputs = (once(&["--json"]), once(&[]));
        stop.store(true, Ordering::Relaxed);
        outputs
    });
    assert_eq!((json.0, text.0), (0, 0), "{}{}", json.2, text.2);
    let view: serde_json::Value = serde_json::from_str(&json.1).unwrap();
    assert_eq!(view["groups"][0]["leader"], label.as_str(), "{view}");
    let of = |n: usize| &view["nodes"].as_array().unwrap()[n];
    assert_eq!((of(leader)["role"].as_str(), of(leader)["suffrage"].as_str()), (Some("leader"), Some("voter")));
    let rates = &of(leader)["rates"];
    for name in [
        "writesPerSecond",
        "readsPerSecond",
        "writeP50Seconds",
        "writeP99Seconds",
        "syncP99Seconds",
        "sentBytesPerSecond",
    ] {
        assert!(rates[name].as_f64().is_some_and(|rate| rate > 0.0), "{name}: {view}");
    }
    assert!(of(leader)["logEntries"].as_u64() > Some(10), "{view}");
    assert!(of(gone)["error"].as_str().is_some_and(|error| error.contains("refused")), "{view}");
    assert!(of((leader + 2) % 3)["lastContactMs"].as_u64().is_some(), "{view}");
    let lines: Vec<&str> = text.1.lines().collect();
    assert!(lines[0].ends_with("3 nodes, 1 silent") && lines[1].contains(&format!("{label} leads")), "{}", text.1);
    assert!(lines[4 + gone].contains("silent "), "{}", text.1);
}

/// Answers what it is asked, as `answer` says of each path, for as long as the test runs.
fn stub(listener: TcpListener, answer: impl Fn(&str) -> (&'static str, String) + Send + 'static) {
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut asked = BufReader::new(connection.unwrap());
            let mut lines = asked.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let Some(first) = lines.next() else { continue };
            lines.for_each(drop);
            let (status, body) = answer(first.split(' ').nth(1).unwrap());
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            asked.get_mut().write_all((head + &body).as_bytes()).ok();
        }
    });
}

#[test]
fn node_that_tells_nothing_is_not_shown_as_another() {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two] = [0, 1].map(|n: usize| listeners[n].local_addr().unwrap().to_string());
    let member = |n: u64, http: &str| json!({ "nodeId": n, "id": format!("node0{n}"), "httpAddr": http, "raftAddr": http, "suffrage": "voter" });
    let members = json!([member(1, &one), member(2, &two)]);
    let listed = json!({ "clusterId": "c", "members": members }).to_string();
    let status = json!({
        "clusterId": "c", "version": "1", "id": "node02", "role": "leader", "term": 7, "lastIndex": 1, "commitIndex": 1,
        "appliedIndex": 1, "firstIndex": 1, "membershipIndex": 1, "joint": false, "revision": 1, "keys": 1,
        "members": members,
    });
    let [dumb, other] = listeners;
    let known = listed.clone();
    stub(dumb, move |path| match path {
        "/members" => ("200 OK", known.clone()),
        _ => ("503 Service Unavailable", "it says nothing".to_owned()),
    });
    stub(other, move |path| match path {
        "/members" => ("200 OK", listed.clone()),
        "/status" => ("200 OK", status.to_string()),
        _ => ("200 OK", String::new()),
    });
    for command in [&["top", "--once", "--interval", "0.1"][..], &["status"]] {
        let (code, said, error) = hezong(&[command, &["-e", &one]].concat());
        let row = |label: &str| said.lines().find(|line| line.starts_with(label)).unwrap_or_default().to_owned();
        assert!(code == 0 && row("node01").contains(" silent"), "{said}{error}");
        assert!(row("node02").contains(" leader"), "{said}{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.tar.gz").display().to_string();
    let (code, said, error) = hezong(&["debug", "bundle", &path, "--apart", "0", "--timeout", "1", "-e", &one]);
    assert!(code == 0 && said.contains("nodes/1-node01 is missing: "), "{said}{error}");
    assert!(!said.contains("node02"), "{said}");
}

#[test]
fn top_that_cannot_begin_says_why() {
    let (code, _, said) = hezong(&["top", "--timeout", "0.3", "-e", "127.0.0.1:1"]);
    assert!(code == 4 && said.contains("is the cluster up?"), "{code} {said}");
    let (code, _, said) = hezong(&["top", "--interval", "0"]);
    assert!(code == 2 && said.contains("from 0.1 to 3600"), "{code} {said}");
}

/// A terminal with a program on it.
struct Terminal {
    ours: File,
    theirs: OwnedFd,
    seen: Arc<Mutex<String>>,
    child: Child,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || Stdio::from(theirs.try_clone().unwrap());
        let child = Command::new(HEZONG).args(args).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (ours, seen) = (File::from(ours), Arc::new(Mutex::new(String::new())));
        let (mut reading, of_reader) = (ours.try_clone().unwrap(), Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reading.read(&mut bytes) {
                of_reader.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { ours, theirs, seen, child }
    }

    fn wait_for(&self, text: &str) {
        wait_until(text, || self.seen.lock().unwrap().contains(text));
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits for the program's end, which must be a good one, and looks at what it left behind.
    fn ends_restored(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(self.child.wait().unwrap().success(), "{}", self.seen.lock().unwrap());
        assert!(!self.is_raw(), "the terminal stays without its line discipline");
        self.wait_for("\x1b[?1049l");
        self.wait_for("\x1b[?25h");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn top_on_a_terminal_answers_to_keys_and_restores_it_however_it_ends() {
    let cluster = Cluster::new(1);
    let start = || {
        let terminal = Terminal::start(&["top", "--interval", "0.2", "-e", &cluster.nodes[0].http]);
        terminal.wait_for("node01");
        assert!(terminal.is_raw());
        terminal
    };
    let type_in = |terminal: &Terminal, keys: &[u8]| (&terminal.ours).write_all(keys).unwrap();

    let terminal = start();
    type_in(&terminal, b"p");
    terminal.wait_for("PAUSED");
    type_in(&terminal, b"?");
    terminal.wait_for("how long syncs of the log took");
    type_in(&terminal, b"q");
    terminal.ends_restored();

    let terminal = start();
    type_in(&terminal, b"\x03");
    terminal.ends_restored();

    for name in ["TERM", "INT"] {
        let terminal = start();
        signal(terminal.child.id(), name);
        terminal.ends_restored();
    }
}
