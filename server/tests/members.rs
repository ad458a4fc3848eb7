//! Members come, go and take each other's place, by real processes and the commands a person types.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::Value;
use support::{Cluster, HEZONG, Node, get, hezong, send, settle, wait_until};

fn members(http: &str) -> Vec<Value> {
    get(http, "/members").unwrap().json()["members"].as_array().unwrap().clone()
}

fn labels(http: &str, suffrage: &str) -> Vec<String> {
    let fit = members(http).into_iter().filter(|member| member["suffrage"] == suffrage);
    let mut labels: Vec<_> = fit.map(|member| member["id"].as_str().unwrap().to_owned()).collect();
    labels.sort();
    labels
}

fn number(http: &str, label: &str) -> u64 {
    members(http).iter().find(|member| member["id"] == label).unwrap()["nodeId"].as_u64().unwrap()
}

/// Writes without end, and counts what was acknowledged and what was not.
struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    written: thread::JoinHandle<u64>,
}

impl Load {
    fn start(endpoints: &str) -> Self {
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, failing, endpoints) = (stop.clone(), failed.clone(), endpoints.to_owned());
        let written = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let client = hezong_client::Client::new(endpoints.split(',')).unwrap();
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let key = format!("load/{written}");
                match runtime.block_on(client.put(key.as_bytes(), written.to_string())) {
                    Ok(_) => written += 1,
                    Err(_) => drop(failing.fetch_add(1, Ordering::Relaxed)),
                }
            }
            written
        });
        Self { stop, failed, written }
    }

    /// Ends it, and finds everything again that was acknowledged.
    fn end(self, http: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.written.join().unwrap();
        assert_eq!(self.failed.load(Ordering::Relaxed), 0, "no write failed beyond its retries");
        assert!(written > 10, "only {written} writes in all that time");
        for n in 0..written {
            let reply = settle(http, "GET", &format!("/key/load/{n}?raw&level=consistent"), &[], b"");
            assert_eq!((reply.status, reply.text()), (200, n.to_string()));
        }
    }
}

#[test]
fn raft_14_dead_node_is_replaced_by_one_command_under_load() {
    let mut cluster = Cluster::new(3);
    let endpoints = cluster.https().join(",");
    let dead = cluster.follower();
    let (alive, old) = (cluster.https()[(dead + 1) % 3].clone(), cluster.nodes[dead].id.clone());
    let load = Load::start(&endpoints);
    cluster.nodes[dead].kill();

    // The command comes first, and waits for the new node to be started.
    let replace = Command::new(HEZONG)
        .args(["replace", &old, "--with", "node04", "--endpoints", &endpoints])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut fresh = Node::new(cluster.root.path(), "node04");
    fresh.start(&["--join", &alive]);
    let output = replace.wait_with_output().unwrap();
    let (said, out) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{said}{out}");
    assert!(out.contains("node04") && !out.lines().any(|line| line.starts_with(&old)), "{out}");

    wait_until("the node that is asked knows", || {
        let voters = labels(&alive, "voter");
        voters.len() == 3 && voters.contains(&"node04".to_owned()) && !voters.contains(&old)
    });
    fresh.wait_ready();
    load.end(&fresh.http);

    // Whoever was replaced and comes back is nobody any more, and is told so.
    cluster.nodes[dead].start(&[]);
    wait_until("it is told", || cluster.nodes[dead].log_text().contains("removed"));
    assert_eq!(settle(&alive, "PUT", "/key/foo", &[], b"bar").status, 200);
}

#[test]
fn live_leader_is_replaced_in_one_step() {
    let mut cluster = Cluster::new(3);
    let endpoints = cluster.https().join(",");
    let old = cluster.leader();
    let (label, other) = (cluster.nodes[old].id.clone(), cluster.https()[(old + 1) % 3].clone());
    let load = Load::start(&endpoints);
    let mut fresh = Node::new(cluster.root.path(), "node04");
    fresh.start(&["--join", &other]);
    let (code, out, said) = hezong(&["replace", &label, "--with", "node04", "--endpoints", &endpoints]);
    assert_eq!(code, 0, "{said}{out}");
    wait_until("the others know", || {
        let voters = labels(&other, "voter");
        voters.len() == 3 && voters.contains(&"node04".to_owned()) && !voters.contains(&label)
    });
    fresh.wait_ready();
    load.end(&fresh.http);
    // It says that it is removed, and does not call itself ready.
    wait_until("it says so", || cluster.nodes[old].log_text().contains("was removed from group 1"));
    wait_until("it is not ready any more", || {
        let ready = get(&cluster.nodes[old].http, "/ready").unwrap();
        (ready.status, ready.code().as_str()) == (503, "removed")
    });
    assert_eq!(get(&cluster.nodes[old].http, "/status").unwrap().json()["suffrage"], "none");
}

#[test]
fn several_members_come_and_go_at_once() {
    let cluster = Cluster::new(3);
    let endpoints = cluster.https().join(",");
    let first = cluster.https()[0].clone();
    let stays = cluster.nodes[0].id.clone();
    let mut fresh: Vec<Node> = ["node04", "node05"].map(|id| Node::new(cluster.root.path(), id)).into();
    for node in &mut fresh {
        node.start(&["--join", &first]);
    }
    let (code, out, said) =
        hezong(&["replace", "node02", "node03", "--with", "node04,node05", "--endpoints", &endpoints]);
    assert_eq!(code, 0, "{said}{out}");
    wait_until("it is known", || {
        labels(&first, "voter") == [stays.as_str(), "node04", "node05"]
            && get(&first, "/members").unwrap().json()["joint"] == false
    });
    // And two at once out again, which leaves one.
    let (code, out, said) = hezong(&["remove", "node04", "node05", "--endpoints", &endpoints]);
    assert_eq!(code, 0, "{said}{out}");
    wait_until("it is known", || labels(&first, "voter") == [stays.as_str()]);
    // A script that runs twice can tell it from a refusal.
    let (code, _, said) = hezong(&["remove", "node04", "--endpoints", &first]);
    assert!(
        code == 3 && said.contains("no member is called node04: it was removed before, or never was one"),
        "{said}"
    );
    assert_eq!(settle(&first, "PUT", "/key/foo", &[], b"bar").status, 200);
}

/// Whichever node answered first would speak for all: a put would go to either cluster.
#[test]
fn endpoints_of_different_clusters_are_refused() {
    let (mut one, other) = (Cluster::new(1), Cluster::new(1));
    let [first, second] = [&one, &other].map(|cluster| cluster.nodes[0].http.clone());
    let both = format!("{first},{second}");
    let cluster_of = |http: &str| get(http, "/members").unwrap().json()["clusterId"].as_str().unwrap().to_owned();
    let said_of = [&first, &second].map(|http| format!("{http} is of {}", cluster_of(http)));
    let words = [said_of[0].clone(), said_of[1].replace(" is of", " of"), "different clusters".to_owned()];
    for command in [
        &["status"][..],
        &["members"],
        &["top", "--once", "--interval", "0.1"],
        &["get", "foo"],
        &["put", "foo", "bar"],
        &["remove", "node01"],
        &["transfer"],
        &["bench", "--puts", "1"],
        &["debug", "bundle", "/nowhere/bundle.tar.gz"],
    ] {
        let (code, out, said) = hezong(&[command, &["-e", &both]].concat());
        assert!(code == 2 && out.is_empty() && words.iter().all(|word| said.contains(word)), "{command:?}: {said}");
    }
    for http in [&first, &second] {
        assert_eq!(get(http, "/key/foo").unwrap().status, 404, "nothing was written");
    }
    // Who is down cannot say whose it is, and stops nobody.
    one.nodes[0].kill();
    assert_eq!(hezong(&["put", "foo", "bar", "-e", &both]).0, 0);
    assert_eq!(hezong(&["get", "foo", "-e", &second]).1, "bar\n");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let mut cluster = Cluster::steady(3);
    let endpoints = cluster.https().join(",");
    let leader = cluster.leader();
    let (dead, live) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[dead].kill();
    wait_until("the leader misses it", || {
        let all = members(&cluster.nodes[leader].http);
        all.iter().any(|member| member["reachable"] == false)
    });
    let live = cluster.nodes[live].id.clone();
    let (code, _, said) = hezong(&["remove", &live, "--endpoints", &endpoints]);
    assert_eq!(code, 1);
    assert!(said.contains("2 voters would be left, 1 of them reachable, and 2 are needed for a majority"), "{said}");

    let (code, _, said) = hezong(&["replace", "node09", "--with", "node04", "--endpoints", &endpoints]);
    assert_eq!(code, 3);
    assert!(said.contains("no member is called node09") && said.contains("the members are node01"), "{said}");
    let (code, _, said) = hezong(&["replace", "node01", "node02", "--with", "node04", "--endpoints", &endpoints]);
    assert_eq!(code, 1);
    assert!(said.contains("name one new member for each old one"), "{said}");
    let (code, out, said) =
        hezong(&["replace", "node01", "--with", "node04", "--wait", "3", "--endpoints", &endpoints]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("node04 has not joined in time; start it with: hezong node --id node04 --join"), "{said}");
    assert!(out.contains("waiting for node04 to join"), "{out}");

    let http = &cluster.nodes[leader].http;
    for (body, code) in [
        ("{}", "bad_field"),
        ("{\"promote\":[\"node09\"]}", "no_such_member"),
        ("{\"remove\":[9]}", "no_such_member"),
        ("{\"remove\":\"node01\"}", "bad_field"),
        ("{\"removed\":[1]}", "unknown_field"),
        ("{\"remove\":[1,2,3]}", "membership"),
    ] {
        let reply = send(http, "POST", "/change", &[], body.as_bytes()).unwrap();
        assert_eq!(reply.code(), code, "{body}: {}", reply.message());
    }
    assert_eq!(labels(http, "voter").len(), 3, "nothing was changed");
}

#[test]
fn same_label_with_an_empty_disk_replaces_the_old_node_and_never_resurrects_it() {
    let mut cluster = Cluster::steady(3);
    let lost = cluster.follower();
    let (other, label) = (cluster.https()[(lost + 1) % 3].clone(), cluster.nodes[lost].id.clone());
    let before = number(&other, &label);
    assert_eq!(settle(&other, "PUT", "/key/foo", &[], b"bar").status, 200);

    // A second node of that label, while the first one lives, is refused however it asks.
    let mut twin = Node::new(cluster.root.path(), &label);
    twin.folder = cluster.root.path().join("twin");
    let reply = send(
        &cluster.https()[cluster.leader()],
        "POST",
        "/join",
        &[],
        format!(
            "{{\"id\":\"{label}\",\"httpAddr\":\"{}\",\"raftAddr\":\"{}\",\"replace\":true}}",
            twin.http, twin.peer
        )
        .as_bytes(),
    )
    .unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (503, "member_alive"), "{}", reply.message());

    // Its disk is lost. Without a word about that it is refused, with the remedy.
    cluster.nodes[lost].kill();
    fs::remove_dir_all(&cluster.nodes[lost].folder).unwrap();
    let (_, said) = support::fails(cluster.nodes[lost].command(&["--join", &other]));
    assert!(said.contains(&format!("belongs to member {before}")) && said.contains("--replace"), "{said}");
    assert_eq!(number(&other, &label), before);

    cluster.nodes[lost].start(&["--join", &other, "--replace"]);
    cluster.nodes[lost].wait_ready();
    wait_until("it votes under a number nobody had", || {
        let new = |member: &Value| member["id"] == *label && member["nodeId"].as_u64() > Some(before);
        members(&other).iter().any(|member| new(member) && member["suffrage"] == "voter")
    });
    assert_eq!(members(&other).len(), 3);
    let read = settle(&cluster.nodes[lost].http, "GET", "/key/foo?raw&level=consistent", &[], b"");
    assert_eq!(read.text(), "bar");
    // Started the same way again, it is who it was.
    assert!(cluster.nodes[lost].stop().success());
    let now = number(&other, &label);
    cluster.nodes[lost].start(&["--join", &other, "--replace"]);
    cluster.nodes[lost].wait_ready();
    assert_eq!(number(&other, &label), now);
}
