//! Backups of real clusters, what is made of them, and what is made of the last node's disk.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::{Cluster, HEZONG, Node, PATIENCE, get, hezong, settle};

/// How far a restored cluster goes on.
const STEP: u64 = 1 << 40;

fn put(node: &str, key: &str, value: &str) -> u64 {
    let reply = settle(node, "PUT", &format!("/key/{key}"), &[], value.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.number("x-hezong-revision")
}

fn read(node: &str, key: &str) -> String {
    let reply = settle(node, "GET", &format!("/key/{key}?raw&level=consistent"), &[], b"");
    assert_eq!(reply.status, 200, "{key}: {}", reply.text());
    reply.text()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that must do what it is told, and returns its JSON.
#[track_caller]
fn does(args: &[&str]) -> serde_json::Value {
    let (code, out, err) = hezong(&[args, &["--json"]].concat());
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap()
}

/// Runs a command that must refuse, and returns its sentence.
#[track_caller]
fn refuses(args: &[&str]) -> String {
    let (code, out, err) = hezong(args);
    assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
    err
}

fn restore(file: &Path, to: &Node) -> serde_json::Value {
    does(&["restore", text(file), text(&to.folder), "--id", &to.id, "--http", &to.http, "--peer", &to.peer])
}

/// A store that takes what it is sent, and never puts it together. Tells when it was asked to.
fn sulking_store(completes: mpsc::Sender<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let completes = completes.clone();
            thread::spawn(move || {
                let mut asked = BufReader::new(connection.unwrap());
                let lines = asked.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                let head: Vec<String> = lines.map(|line| line.to_lowercase()).collect();
                let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                asked.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
                let first = head.first().map_or("", String::as_str);
                let (status, body) = match first.split(' ').next().unwrap() {
                    "head" => ("404 Not Found", ""),
                    "post" if first.contains("?uploads") => ("200 OK", "<R><UploadId>7</UploadId></R>"),
                    "post" => {
                        completes.send(()).unwrap();
                        loop {
                            thread::park();
                        }
                    }
                    "put" => ("200 OK\r\netag: \"a\"", ""),
                    _ => ("204 No Content", ""),
                };
                let length = body.len();
                let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                asked.get_mut().write_all(reply.as_bytes()).ok();
            });
        }
    });
    endpoint
}

#[test]
fn backup_is_stopped_while_the_store_puts_it_together() {
    let cluster = Cluster::new(1);
    for signal in ["INT", "TERM"] {
        let (completes, completing) = mpsc::channel();
        let mut backup = Command::new(HEZONG);
        backup.args(["backup", "s3://vault/monday", "-e", &cluster.nodes[0].http]);
        backup.envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
        backup.env("AWS_ENDPOINT_URL", sulking_store(completes)).stderr(Stdio::piped());
        let mut backup = backup.spawn().unwrap();
        completing.recv_timeout(PATIENCE).unwrap();
        support::signal(backup.id(), signal);
        let ended = Instant::now() + PATIENCE;
        while backup.try_wait().unwrap().is_none() && Instant::now() < ended {
            thread::park_timeout(Duration::from_millis(20));
        }
        backup.kill().ok();
        let output = backup.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}: {said}");
        assert!(said.contains("interrupted") && said.contains("s3://vault/monday may be there"), "{signal}: {said}");
    }
}

/// Money moves between two accounts in single commands; no backup sees it in neither or in both.
#[test]
fn backup_under_load_is_of_one_moment_and_restores() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let http = cluster.nodes[leader].http.clone();
    for n in 0..300 {
        put(&http, &format!("ballast/{n:03}"), &"x".repeat(10_000));
    }
    let session = settle(&http, "POST", "/session", &[], b"{\"ttlSeconds\":600}").json()["session"].clone();
    let once = [("idempotency-key", "order-17")];
    let paid = settle(&http, "PUT", "/key/paid", &once, b"100");
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicI64::new(0));
    let file = cluster.root.path().join("backup");
    let (taken, before, after) = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = format!("{{\"a/left\":\"{n}\",\"z/right\":\"-{n}\"}}");
                let key = format!("move-{n}");
                let reply = settle(&http, "POST", "/key", &[("Idempotency-Key", &key)], body.as_bytes());
                assert_eq!(reply.status, 200, "{}", reply.text());
                acknowledged.store(n, Ordering::Relaxed);
            }
        });
        support::wait_until("money moves", || acknowledged.load(Ordering::Relaxed) > 20);
        let before = acknowledged.load(Ordering::Relaxed);
        let endpoints = cluster.https().join(",");
        let taken = does(&["backup", text(&file), "-e", &endpoints]);
        let after = acknowledged.load(Ordering::Relaxed) + 1;
        support::wait_until("more money moves", || acknowledged.load(Ordering::Relaxed) > after + 5);
        stop.store(true, Ordering::Relaxed);
        (taken, before, after)
    });
    let last = put(&http, "after", "the backup");
    assert!(!file.with_extension("part").exists());
    assert_eq!(does(&["backup", "--check", text(&file)])["revision"], taken["revision"]);
    assert_eq!(taken["keys"], 303);

    let mut node = Node::new(cluster.root.path(), "again01");
    let made = restore(&file, &node);
    assert_ne!(made["clusterId"], taken["clusterId"]);
    assert_eq!(made["nodeId"], 4);
    node.start(&[]);
    node.wait_ready();
    let left: i64 = read(&node.http, "a/left").parse().unwrap();
    let right: i64 = read(&node.http, "z/right").parse().unwrap();
    assert_eq!(left + right, 0, "of one moment");
    assert!((before..=after).contains(&left), "{left} was not current between {before} and {after}");
    for n in 0..300 {
        assert_eq!(read(&node.http, &format!("ballast/{n:03}")).len(), 10_000);
    }
    assert_eq!(get(&node.http, "/key/after").unwrap().status, 404);
    // Revisions lie beyond everything the old cluster told anybody.
    let revision = put(&node.http, "first", "write");
    assert_eq!(revision, taken["revision"].as_u64().unwrap() + STEP + 1);
    assert!(revision > last);
    // What was promised once only stays so.
    let again = settle(&node.http, "PUT", "/key/paid", &once, b"100");
    assert_eq!(again.headers.get("x-hezong-repeated").map(String::as_str), Some("true"), "{again:?}");
    assert_eq!(again.number("x-hezong-revision"), paid.number("x-hezong-revision"));
    let alive = format!("/session/{}/keepalive", session.as_str().unwrap());
    assert_eq!(settle(&node.http, "POST", &alive, &[], b"").status, 200);

    // Others join it, and the old cluster's nodes are not taken for members.
    let mut joins = Node::new(cluster.root.path(), "again02");
    joins.start(&["--join", &node.http]);
    joins.wait_ready();
    assert_eq!(read(&joins.http, "first"), "write");
    node.kill();
    node.start(&[]);
    node.wait_ready();
    assert_eq!(read(&node.http, "first"), "write");
}

#[test]
fn restore_refuses_what_is_not_whole_before_it_touches_anything() {
    let cluster = Cluster::new(1);
    for n in 0..50 {
        put(&cluster.nodes[0].http, &format!("k{n}"), "v");
    }
    let file = cluster.root.path().join("backup");
    does(&["backup", text(&file), "-e", &cluster.nodes[0].http]);
    let whole = fs::read(&file).unwrap();
    let bad = cluster.root.path().join("bad");
    let node = Node::new(cluster.root.path(), "again01");
    let refused = |bytes: &[u8], words: &[&str]| {
        fs::write(&bad, bytes).unwrap();
        let args = ["restore", text(&bad), text(&node.folder), "--id", "a", "--http", "h:1", "--peer", "h:2"];
        for said in [refuses(&args), refuses(&["backup", "--check", text(&bad)])] {
            assert!(words.iter().all(|word| said.contains(word)) && said.contains(text(&bad)), "{words:?}: {said}");
        }
        assert!(!node.folder.exists());
    };
    refused(b"", &["cut short", "offset 0"]);
    refused(b"a diary of 1897", &["no backup"]);
    let mut newer = whole.clone();
    newer[8] = 2;
    refused(&newer, &["version 2", "version 1"]);
    for at in (12..whole.len()).step_by(whole.len() / 30) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        refused(&bytes, &["at offset"]);
        refused(&whole[..at], &["cut short", "at offset"]);
    }
    refused(&whole[..whole.len() - 1], &["cut short"]);
    refused(&[whole.as_slice(), b"x"].concat(), &["something follows its end"]);

    fs::create_dir(&node.folder).unwrap();
    fs::write(node.folder.join("thesis.tex"), "").unwrap();
    let args = ["restore", text(&file), text(&node.folder), "--id", "a", "--http", "h:1", "--peer", "h:2"];
    assert!(refuses(&args).contains("thesis.tex"));
    assert_eq!(fs::read_dir(&node.folder).unwrap().count(), 1);
}

#[test]
fn recover_makes_a_cluster_of_the_last_node_and_only_then() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let mut revision = 0;
    for n in 0..40 {
        revision = put(&cluster.nodes[leader].http, &format!("k{n}"), &format!("value {n}"));
    }
    let left = (leader + 1) % 3;
    let others = [leader, (leader + 2) % 3];
    let new = cluster.root.path().join("new");
    let old = cluster.nodes[left].folder.clone();
    let recover = ["recover", text(&old), text(&new)];
    assert!(refuses(&recover).contains("in use"));
    // The leader's own log may be further; a node that is killed may miss the last entry, so it is given time.
    support::wait_until("it has everything", || {
        get(&cluster.nodes[left].http, "/key/k39?level=stale").is_some_and(|reply| reply.status == 200)
    });
    cluster.nodes[left].kill();
    assert!(refuses(&recover).contains("the majority is not lost"));
    cluster.nodes[others[0]].kill();
    let said = refuses(&recover);
    assert!(said.contains(&cluster.nodes[others[1]].id) && said.contains("2 of 3 voters are enough"), "{said}");
    assert!(!new.exists());
    cluster.nodes[others[1]].kill();

    let (code, out, err) = hezong(&recover);
    assert_eq!(code, 0, "{err}");
    for word in ["holds what was written up to index", "is lost", "40 keys", "the only node of the new cluster"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    let node = &mut cluster.nodes[left];
    node.folder = new;
    node.start(&[]);
    node.wait_ready();
    let http = node.http.clone();
    for n in 0..40 {
        assert_eq!(read(&http, &format!("k{n}")), format!("value {n}"));
    }
    assert!(put(&http, "first", "write") > revision + STEP / 2);
    // The old cluster's nodes stay what they are: they cannot reach the new one.
    cluster.nodes[others[0]].start(&[]);
    let mut joins = Node::new(cluster.root.path(), "node09");
    joins.start(&["--join", &http]);
    joins.wait_ready();
    let members = get(&http, "/members").unwrap().json();
    let ids: Vec<u64> =
        members["members"].as_array().unwrap().iter().map(|member| member["nodeId"].as_u64().unwrap()).collect();
    assert_eq!(ids, [4, 5]);
}
