//! A node's configuration from outside: what is wrong is told before anything is touched, and what may change while the
//! node runs does.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{HEZONG, Node, PATIENCE, fails, get, hezong, send, wait_until};

/// A node that reads a file.
struct Configured {
    node: Node,
    file: PathBuf,
}

impl Configured {
    fn new(root: &Path, text: &str) -> Self {
        let file = root.join("hezong.toml");
        fs::write(&file, text).unwrap();
        Self { node: Node::new(root, "node01"), file }
    }

    fn start(&mut self, more: &[&str]) {
        let file = self.file.display().to_string();
        self.node.start(&[&["--bootstrap", "--config", &file], more].concat());
        self.node.wait_ready();
    }

    /// Has it read another text, and waits until it said so.
    #[track_caller]
    fn reload(&self, text: &str, says: &str) {
        fs::write(&self.file, text).unwrap();
        self.node.signal("HUP");
        wait_until(says, || self.node.log_text().contains(says));
    }
}

#[test]
fn mistakes_are_told_before_anything_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let Configured { node, file } = Configured::new(root.path(), "[raft]\nelecton_timeout = \"2s\"\n");
    let file = file.display().to_string();
    let (code, said) = fails(node.command(&["--bootstrap", "--config", &file]));
    assert_eq!(code, 2);
    assert!(said.contains(&format!("{file}:2: unknown key raft.electon_timeout")), "{said}");
    assert!(said.contains("did you mean raft.election_timeout?"), "{said}");
    // The variable names the file as well.
    let mut command = node.command(&["--bootstrap"]);
    let (code, again) = fails({
        command.env("HEZONG_CONFIG", &file);
        command
    });
    assert_eq!((code, again), (2, said));
    let (code, said) = fails(node.command(&["--bootstrap", "--waiting-max", "none"]));
    assert_eq!(code, 2);
    assert!(said.contains("--waiting-max: node.waiting_max is \"none\""), "{said}");
    assert!(!node.folder.exists(), "nothing was touched");
}

#[test]
fn commands_check_and_explain() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("hezong.toml");
    let path = file.display().to_string();
    let (code, example, _) = hezong(&["example-config"]);
    assert_eq!(code, 0);
    fs::write(&file, &example).unwrap();
    let (code, said, _) = hezong(&["check-config", &path]);
    assert_eq!(code, 0);
    assert!(said.contains("good, 0 keys set; to be set by flags or variables: node.id, node.data_dir"), "{said}");

    fs::write(&file, "[raft]\nlease = \"5s\"\n[disk]\nreserve = \"much\"\n").unwrap();
    let (code, _, said) = hezong(&["check-config", &path]);
    assert_eq!(code, 2);
    assert!(said.contains(":4: disk.reserve is \"much\""), "{said}");
    assert!(said.contains(":2: raft.lease is 5s, above raft.election_timeout, which is 1s"), "{said}");

    let whole = "id = \"node01\"\ndata_dir = \"/nowhere\"\nhttp = \"192.0.2.1:8091\"\npeer = \"192.0.2.1:8089\"\n";
    for (more, good) in [("", false), ("[security]\ninsecure = true\n", true)] {
        fs::write(&file, format!("[node]\n{whole}{more}")).unwrap();
        let (code, _, said) = hezong(&["check-config", &path]);
        assert_eq!((code, said.contains("is reached from other machines")), if good { (0, false) } else { (2, true) });
    }

    fs::write(&file, "[raft]\nelection_timeout = \"2s\"\n").unwrap();
    let print = |id: &[&str]| {
        let output = Command::new(HEZONG)
            .args(["node", "--config", &path, "--http", "host1:8091", "--peer", "host1:8089", "--print-config"])
            .args(id)
            .env("HEZONG_DATA_DIR", "/nowhere")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, shown, _) = print(&["--id", "node01"]);
    assert_eq!(code, Some(0));
    for (key, origin) in [
        ("election_timeout = \"2s\"", format!("{path}:2 (default: 1s)")),
        ("data_dir = \"/nowhere\"", "HEZONG_DATA_DIR".to_owned()),
        ("lease = \"1800ms\"", "default: nine tenths of election_timeout".to_owned()),
    ] {
        assert!(shown.lines().any(|line| line.starts_with(key) && line.ends_with(&origin)), "{key} {origin}: {shown}");
    }
    fs::write(&file, &shown).unwrap();
    assert_eq!(hezong(&["check-config", &path]).0, 0, "what is shown is a file itself");
    // What is missing is said, and what there is shown all the same.
    fs::write(&file, "").unwrap();
    let (code, shown, said) = print(&[]);
    assert_eq!(code, Some(2));
    assert!(shown.contains("#id =") && said.contains("give --id, HEZONG_ID, or id under [node]"), "{said}");
}

#[test]
fn hangup_applies_what_may_change_and_names_what_needs_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let mut configured = Configured::new(root.path(), "[kv]\nvalue_bytes_max = \"16B\"\n");
    configured.start(&["--session-ttl-max", "2h"]);
    let http = configured.node.http.clone();
    let put = |size: usize| send(&http, "PUT", "/key/a", &[], &vec![b'v'; size]).unwrap();
    assert_eq!((put(16).status, put(17).status), (200, 413));
    assert!(put(17).message().contains("over the limit of 16 (kv.value_bytes_max)"));

    let text = "[kv]\nvalue_bytes_max = \"32B\"\nsession_ttl_max = \"3h\"\n[log]\nlevel = \"debug\"\n\
                [disk]\nsegment_bytes = \"8MiB\"\n";
    configured.reload(text, "disk.segment_bytes: 64MiB → 8MiB needs a restart; until then 64MiB holds");
    for says in ["kv.value_bytes_max: 16B → 32B", "log.level: info → debug"] {
        wait_until(says, || configured.node.log_text().contains(&format!("{says}, in effect from now on")));
    }
    let said = configured.node.log_text();
    assert!(!said.contains("session_ttl_max"), "the flag is stronger, so nothing changed: {said}");
    wait_until("the limit is another", || put(32).status == 200);
    assert_eq!(put(33).status, 413);

    // A file that is wrong changes nothing, and is no reason to stop.
    let wrong = "[kv]\nvalue_bytes_max = \"64B\"\nvalue_bytes_min = 1\n";
    configured.reload(wrong, "is wrong; nothing was changed");
    wait_until("it says why", || configured.node.log_text().contains(":3: unknown key kv.value_bytes_min"));
    assert_eq!((put(32).status, put(33).status), (200, 413));

    // One that is no TOML says that, and nothing about what it might have set.
    let errors = |log: &str| log.lines().filter(|line| line.contains("ERROR")).count();
    let before = errors(&configured.node.log_text());
    configured.reload("[kv\nvalue_bytes_max = 1\n", "it is no TOML");
    wait_until("it is told", || configured.node.log_text().matches("is wrong; nothing was changed").count() == 2);
    assert_eq!(errors(&configured.node.log_text()), before + 2, "{}", configured.node.log_text());

    // What needs a restart is said again as long as it does.
    let count = |says: &str| configured.node.log_text().matches(says).count();
    let before = count("needs a restart");
    configured.reload(text, "1 settings differ");
    wait_until("it is said again", || count("needs a restart") == before + 1);

    let quiet = text.replace("\"debug\"", "\"warn\"");
    configured.reload(&quiet, "disk.segment_bytes");
    wait_until("it is quiet", || count("log.level: debug → warn, in effect from now on") == 1);
    // The next line that is no warning would be the last of a graceful stop.
    assert!(configured.node.stop().success());
    assert!(!configured.node.log_text().contains("stopped"), "{}", configured.node.log_text());
}

/// The log shrinks while the node runs: nobody stops a node because its disk fills.
#[test]
fn hangup_changes_how_much_of_the_log_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let text = "[disk]\npersist_interval = \"100ms\"\n";
    let mut configured = Configured::new(root.path(), text);
    configured.start(&[]);
    let http = configured.node.http.clone();
    let put = || assert_eq!(send(&http, "PUT", "/key/a", &[], b"v").unwrap().status, 200);
    let status = |field: &str| get(&http, "/status").unwrap().json()[field].as_u64().unwrap();
    (0..50).for_each(|_| put());
    wait_until("the state is durable", || status("durableIndex") > 50);
    assert_eq!(status("firstIndex"), 1);
    configured.reload(&format!("{text}log_retain_entries = 5\n"), "disk.log_retain_entries: 1000000 → 5, in effect");
    wait_until("the log begins later", || {
        put();
        status("firstIndex") > 40
    });
}

#[test]
fn hangup_without_a_file_is_harmless() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), "node01");
    node.start(&["--bootstrap"]);
    node.wait_ready();
    node.signal("HUP");
    wait_until("it says why nothing happens", || node.log_text().contains("there is no file to read again"));
    assert!(node.stop().success());
}

/// Its addresses are the cluster's knowledge, and a misspelt variable would have no effect: neither happens silently.
#[test]
fn changed_addresses_and_stray_variables_are_told() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), "node01");
    node.start(&["--bootstrap"]);
    node.wait_ready();
    assert!(node.stop().success());
    assert!(!node.log_text().contains("the cluster knows"), "{}", node.log_text());
    let known = std::mem::replace(&mut node.http, format!("127.0.0.1:{}", support::free_port()));
    let log = fs::File::options().append(true).open(&node.log).unwrap();
    let mut command = node.command(&[]);
    let mut child = command.env("HEZONG_ELECTON_TIMEOUT", "2s").stderr(log).spawn().unwrap();
    wait_until("it serves", || get(&node.http, "/health").is_some());
    wait_until("it has told", || node.log_text().contains("but the cluster knows"));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = node.log_text();
    assert!(said.contains(&format!("http is {}, but the cluster knows node01 at {known}", node.http)), "{said}");
    assert!(said.contains("HEZONG_ELECTON_TIMEOUT is no setting"), "{said}");
    assert!(said.contains("was HEZONG_ELECTION_TIMEOUT meant?"), "{said}");
}

/// The service manager hears what is true: ready once clients are served, stopping when it stops.
#[test]
fn service_manager_is_told_ready_reloading_and_stopping() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let node = Node::new(root.path(), "node01");
    let mut child = node.command(&["--bootstrap"]).env("NOTIFY_SOCKET", &path).stderr(Stdio::null()).spawn().unwrap();
    let mut said = vec![hear()];
    // Ready means that a connection made now is served.
    let health = get(&node.http, "/health").map(|reply| reply.status);
    support::signal(child.id(), "HUP");
    said.extend([hear(), hear()]);
    support::signal(child.id(), "TERM");
    said.push(hear());
    let ended = child.wait().unwrap();
    assert_eq!(health, Some(200));
    assert!(said[1].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
    assert_eq!([&said[0], &said[2], &said[3]], ["READY=1\n", "READY=1\n", "STOPPING=1\n"]);
    assert!(ended.success());
}

/// A log for programs has nothing in it that they cannot read, and tells of slow steps by their parts.
#[test]
fn json_log_tells_slow_steps_by_their_parts() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), "node01");
    node.start(&["--bootstrap", "--log-format", "json", "--slow-step", "1us"]);
    node.wait_ready();
    for _ in 0..3 {
        assert_eq!(send(&node.http, "PUT", "/key/a", &[], b"v").unwrap().status, 200);
    }
    let lines = |text: &str| -> Vec<serde_json::Value> {
        // The last line may be on its way to the file.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
    };
    let step = |name: &str| lines(&node.log_text()).into_iter().find(|line| line["step"] == name);
    for (name, parts) in [
        ("log", ["waited_ms", "wrote_ms", "synced_ms", "writes"].as_slice()),
        ("turn", &["waited_ms", "handled_ms", "carried_out_ms", "inputs"]),
        ("apply", &["waited_ms", "applied_ms", "group", "entries"]),
    ] {
        wait_until(name, || step(name).is_some());
        let told = step(name).unwrap();
        assert_eq!((&told["level"], &told["message"]), (&"WARN".into(), &"a slow step".into()));
        assert!(parts.iter().all(|part| told[part].is_number()), "{told}");
        let sum: f64 = parts.iter().filter(|part| part.ends_with("_ms")).map(|part| told[part].as_f64().unwrap()).sum();
        assert!((told["took_ms"].as_f64().unwrap() - sum).abs() < 0.01, "the parts add up: {told}");
    }
    assert!(node.stop().success());

    // What ends a node is told in the same way.
    fs::remove_dir_all(node.folder.join("log")).unwrap();
    node.start(&["--log-format", "json"]);
    wait_until("it ends", || !node.runs());
    let told = lines(&node.log_text()).pop().unwrap();
    assert_eq!(told["level"], "ERROR");
    assert!(told["message"].as_str().unwrap().contains("is missing or empty"), "{told}");
}
