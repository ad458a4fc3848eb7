//! Certificates, the token, and the network beyond this machine, as real processes meet them.

mod support;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use hezong_tls::make::{Authority, Pair, Validity};
use support::{HEZONG, Node, fails, get, hezong, wait_until};
use tempfile::TempDir;

/// A folder with an authority, certificates and a token, all made by the program itself, and nodes that use them.
struct World {
    root: TempDir,
    nodes: Vec<Node>,
    /// Whether the first node is to lead until it is told otherwise.
    is_steady: bool,
}

impl World {
    fn new() -> Self {
        let world = Self { root: tempfile::tempdir().unwrap(), nodes: Vec::new(), is_steady: false };
        succeeds(&["cert", "authority", &world.at("ca")]);
        succeeds(&["cert", "token", &world.at("token")]);
        world
    }

    fn at(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    fn ca(&self) -> String {
        self.at("ca/ca.pem")
    }

    /// Makes a certificate for a node, and returns the flags that use it.
    fn certify(&self, label: &str, more: &[&str]) -> Vec<String> {
        let (authority, out) = (self.at("ca"), self.at(label));
        let mut args = vec!["cert", "node", label, "--host", "127.0.0.1", "--authority", &authority, "--out", &out];
        args.extend(more);
        let out = succeeds(&args);
        out.split_whitespace().map(str::to_owned).collect()
    }

    fn node(&self, label: &str) -> Node {
        Node::new(&self.root.path().join("nodes"), label)
    }

    /// Starts a node, which is node01 for the first.
    fn start(&mut self, more: &[&str]) {
        fs::create_dir_all(self.root.path().join("nodes")).unwrap();
        let label = format!("node{:02}", self.nodes.len() + 1);
        let mut node = self.node(&label);
        if self.is_steady {
            node.be_patient();
        }
        let mut args = self.certify(&label, &["--renew"]);
        match self.nodes.first() {
            None => args.push("--bootstrap".to_owned()),
            Some(first) => args.extend(["--join".to_owned(), first.http.clone()]),
        }
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        node.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        self.nodes.push(node);
        self.wait_voters(self.nodes.len());
    }

    fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| format!("https://{}", node.http)).collect::<Vec<_>>().join(",")
    }

    /// A command to the cluster, with whom to believe.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let (ca, endpoints) = (self.ca(), self.endpoints());
        hezong(&[args, &["--tls-ca", &ca, "--endpoints", &endpoints, "--timeout", "60"]].concat())
    }

    fn wait_voters(&self, count: usize) {
        let own = [self.at("node01/node01.pem"), self.at("node01/node01.key")];
        wait_until("all vote", || {
            let (_, out, _) = self.run(&["members", "--json", "--tls-cert", &own[0], "--tls-key", &own[1]]);
            out.matches("\"voter\"").count() == count
        });
    }

    fn logs(&self) -> String {
        self.nodes.iter().map(Node::log_text).collect()
    }
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let (code, out, said) = hezong(args);
    assert_eq!(code, 0, "{args:?}: {said}");
    out
}

/// The certificate that a node shows to clients.
fn shown(node: &Node, ca: &str) -> Vec<u8> {
    support::get_by_tls(&node.http, Path::new(ca), "/health").1
}

#[test]
fn cluster_with_certificates_and_token_keeps_its_secrets() {
    let mut world = World::new();
    let token = world.at("token");
    for _ in 0..3 {
        world.start(&["--token-file", &token]);
    }
    let secret = fs::read_to_string(&token).unwrap().trim().to_owned();
    assert_eq!(world.run(&["put", "foo", "bar"]).0, 0);
    for node in &world.nodes {
        let endpoint = format!("https://{}", node.http);
        let found = hezong(&["get", "foo", "--level", "consistent", "--tls-ca", &world.ca(), "-e", &endpoint]);
        assert_eq!((found.0, found.1.as_str()), (0, "bar\n"), "{}", found.2);
        // In the clear it is told what to do, and nothing else.
        let (code, _, said) = hezong(&["get", "foo", "-e", &node.http]);
        assert!(code == 1 && said.contains("this port speaks TLS"), "{said}");
        let reply = get(&node.http, "/key/foo").unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (400, "tls_required"));
    }
    let (_, out, _) = world.run(&["status"]);
    assert!(!out.contains("silent") && out.lines().count() == 4, "{out}");
    let (_, out, _) = world.run(&["top", "--once", "--interval", "0.1"]);
    assert!(!out.contains("silent") && out.contains("3 nodes"), "{out}");

    // Who changes who takes part shows the token.
    let (_, _, said) = world.run(&["remove", "node03"]);
    assert!(said.contains("takes the cluster's token"), "{said}");
    let (_, _, said) = world.run(&["transfer"]);
    assert!(said.contains("takes the cluster's token"), "{said}");
    fs::write(world.at("wrong"), "x".repeat(64)).unwrap();
    let (_, _, said) = world.run(&["remove", "node03", "--token-file", &world.at("wrong")]);
    assert!(said.contains("token is wrong"), "{said}");
    world.wait_voters(3);
    let (code, out, said) = world.run(&["remove", "node03", "--token-file", &token]);
    assert!(code == 0 && !out.contains("node03"), "{said}");

    // No secret is in a log, an argument or a reply, and none can be dumped.
    let key = fs::read_to_string(world.at("node01/node01.key")).unwrap();
    let key = key.lines().nth(1).unwrap();
    wait_until("it is in a log", || world.logs().contains("token is wrong"));
    let logs = world.logs();
    for node in &world.nodes[..2] {
        let process = |file: &str| fs::read(format!("/proc/{}/{file}", node.process())).unwrap();
        let args = String::from_utf8_lossy(&process("cmdline")).into_owned();
        let metrics = hezong(&["status", "--json", "--tls-ca", &world.ca(), "-e", &node.http]).1;
        for text in [&logs, &args, &metrics] {
            assert!(!text.contains(&secret) && !text.contains(key), "{text}");
        }
        let limits = String::from_utf8_lossy(&process("limits")).into_owned();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().rev().nth(1), Some("0"), "{core}");
    }
}

#[test]
fn certificates_that_do_not_fit_are_refused_before_anything_is_touched() {
    let world = World::new();
    let node = world.node("node01");
    let path = |name: &str| world.root.path().join(name);
    let authority = Authority::read(&path("ca/ca.pem"), &path("ca/ca.key")).unwrap();
    let hosts = ["127.0.0.1".to_owned()];
    let made = |authority: &Authority, label: &str, validity| authority.node(label, &hosts, validity).unwrap();
    let refused = |pair: &Pair, words: &[&str]| {
        fs::write(path("node.pem"), &pair.certificate).unwrap();
        fs::write(path("node.key"), pair.key.as_bytes()).unwrap();
        let files = [world.at("node.pem"), world.at("node.key"), world.ca()];
        let args = ["--bootstrap", "--tls-cert", &files[0], "--tls-key", &files[1], "--tls-ca", &files[2]];
        let (code, said) = fails(node.command(&args));
        assert_eq!(code, 1, "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
        assert!(!node.folder.exists(), "something was touched");
    };
    let good = made(&authority, "node01", Validity::days(1));
    let day = Duration::from_secs(86_400);
    let past = Validity { from: SystemTime::now() - 9 * day, until: SystemTime::now() - 5 * day };
    refused(&made(&authority, "node01", past), &["node.pem", "expired 5 days ago", "renew"]);
    let elsewhere = authority.node("node01", &["host1".to_owned(), "10.0.0.1".to_owned()], Validity::days(1)).unwrap();
    let words = ["node.pem is of node01.hezong, host1, 10.0.0.1, and", "hezong cert node node01 --host 127.0.0.1"];
    refused(&elsewhere, &words);
    // Whoever checks a file is told the same.
    let file = world.at("node.toml");
    let files = format!(
        "tls_cert = {:?}\ntls_key = {:?}\ntls_ca = {:?}",
        world.at("node.pem"),
        world.at("node.key"),
        world.ca()
    );
    let node_part = format!("id = \"node01\"\ndata_dir = \"/nowhere\"\nhttp = {:?}\npeer = {:?}", node.http, node.peer);
    fs::write(&file, format!("[node]\n{node_part}\n[security]\n{files}\n")).unwrap();
    let (code, _, said) = hezong(&["check-config", &file]);
    assert!(code == 1 && words.iter().all(|word| said.contains(word)), "{said}");
    let handed_in = files.replace(&world.at("node.key"), "/run/credentials/hezong-test.service/node.key");
    fs::write(&file, format!("[node]\n{node_part}\n[security]\n{handed_in}\n")).unwrap();
    let (code, said, _) = hezong(&["check-config", &file]);
    assert!(code == 0 && said.contains("node.key is there only while the service runs"), "{said}");
    let words = ["node.pem", "node02.hezong", "node01.hezong", "hezong cert node node01"];
    refused(&made(&authority, "node02", Validity::days(1)), &words);
    let other = Authority::new(Validity::days(1)).unwrap();
    refused(&made(&other, "node01", Validity::days(1)), &["another authority", "ca.pem"]);
    let client = authority.client("node01", Validity::days(1)).unwrap();
    refused(&client, &["node.pem", "may not be used by a server"]);
    let other_key = made(&authority, "node01", Validity::days(1)).key;
    refused(
        &Pair { certificate: good.certificate.clone(), key: other_key },
        &["node.key is not the key of", "node.pem"],
    );
    let cut = good.certificate[..good.certificate.len() / 2].to_owned();
    refused(&Pair { certificate: cut, key: good.key.clone() }, &["node.pem is damaged"]);
    refused(&Pair { certificate: String::new(), key: good.key.clone() }, &["node.pem holds no certificate"]);

    fs::write(path("node.pem"), &good.certificate).unwrap();
    fs::remove_file(path("node.key")).unwrap();
    let (cert, key, ca) = (world.at("node.pem"), world.at("node.key"), world.ca());
    let (_, said) = fails(node.command(&["--bootstrap", "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca]));
    assert!(said.contains("node.key cannot be read"), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "each cause is told once: {said}");
    let (code, _) = fails(node.command(&["--bootstrap", "--tls-cert", &cert]));
    assert_eq!(code, 2, "one without the others");
    fs::write(path("short"), "0123456789abcde").unwrap();
    let (_, said) = fails(node.command(&["--bootstrap", "--token-file", &world.at("short")]));
    assert!(said.contains("holds no token") && !said.contains("0123456789"), "{said}");
    assert!(!node.folder.exists());
}

#[test]
fn join_without_the_right_token_or_certificate_refused() {
    let mut world = World::new();
    let token = world.at("token");
    world.start(&["--token-file", &token]);
    let first = world.nodes[0].http.clone();
    let late = world.node("node02");
    let flags = world.certify("node02", &[]);
    let join = |more: &[&str]| {
        let mut args: Vec<&str> = flags.iter().map(String::as_str).collect();
        args.extend(["--join", &first]);
        args.extend(more);
        fails(late.command(&args)).1
    };
    let said = join(&[]);
    assert!(said.contains("node02 cannot join") && said.contains("takes the cluster's token"), "{said}");
    fs::write(world.at("wrong"), "x".repeat(64)).unwrap();
    let said = join(&["--token-file", &world.at("wrong")]);
    assert!(said.contains("token is wrong") && !said.contains("xxxx"), "{said}");
    // Without a certificate it does not even come to that.
    let (_, said) = fails(late.command(&["--join", &first, "--token-file", &token]));
    assert!(said.contains("this port speaks TLS"), "{said}");
    assert!(!late.folder.exists());
    world.wait_voters(1);
    let (_, out, _) = world.run(&["members"]);
    assert!(!out.contains("node02"), "{out}");
    world.start(&["--token-file", &token]);
}

#[test]
fn token_changed_one_node_at_a_time() {
    let mut world = World::new();
    let token = world.at("token");
    for _ in 0..3 {
        world.start(&["--token-file", &token]);
    }
    assert_eq!(world.run(&["put", "foo", "bar"]).0, 0);
    fs::rename(&token, world.at("old")).unwrap();
    succeeds(&["cert", "token", &token]);
    let transfer = |world: &World, file: &str| world.run(&["transfer", "--token-file", &world.at(file)]);
    let (code, _, said) = transfer(&world, "token");
    assert!(code != 0 && said.contains("token is wrong"), "read at the start: {said}");
    assert_eq!(transfer(&world, "old").0, 0);
    for at in 0..3 {
        let flags = world.certify(&format!("node{:02}", at + 1), &["--renew"]);
        let mut args: Vec<&str> = flags.iter().map(String::as_str).collect();
        args.extend(["--token-file", &token]);
        assert!(world.nodes[at].stop().success());
        world.nodes[at].start(&args);
        let (node, ca) = (&world.nodes[at], world.ca());
        wait_until("it is ready again", || {
            TcpStream::connect(&node.http).is_ok()
                && support::get_by_tls(&node.http, Path::new(&ca), "/ready").0.status == 200
        });
        assert_eq!(world.run(&["get", "foo"]).1, "bar\n", "keys take no token");
    }
    let (code, _, said) = transfer(&world, "old");
    assert!(code != 0 && said.contains("token is wrong"), "{said}");
    assert_eq!(transfer(&world, "token").0, 0);
    world.start(&["--token-file", &token]);
}

#[test]
fn clients_without_a_certificate_are_not_served_where_one_is_asked_for() {
    let mut world = World::new();
    // Nodes are one another's clients too, when they join.
    world.start(&["--tls-client-auth"]);
    world.start(&["--tls-client-auth"]);
    let (code, _, said) = world.run(&["put", "foo", "bar"]);
    assert!(code == 1 && said.contains("it wants a certificate, and we have none"), "{said}");
    succeeds(&["cert", "client", "ann", "--authority", &world.at("ca"), "--out", &world.at("ann")]);
    let own = [world.at("ann/ann.pem"), world.at("ann/ann.key")];
    let flags = ["--tls-cert", own[0].as_str(), "--tls-key", own[1].as_str()];
    assert_eq!(world.run(&[&["put", "foo", "bar"][..], &flags].concat()).0, 0);
    assert_eq!(world.run(&[&["get", "foo"][..], &flags].concat()).1, "bar\n");
    succeeds(&["cert", "authority", &world.at("other")]);
    succeeds(&["cert", "client", "eve", "--authority", &world.at("other"), "--out", &world.at("eve")]);
    let own = [world.at("eve/eve.pem"), world.at("eve/eve.key")];
    let (_, _, said) = world.run(&["get", "foo", "--tls-cert", &own[0], "--tls-key", &own[1]]);
    assert!(said.contains("it does not accept our certificate"), "{said}");
}

#[test]
fn backup_takes_the_token_and_a_certificate() {
    let mut world = World::new();
    let token = world.at("token");
    for _ in 0..2 {
        world.start(&["--tls-client-auth", "--token-file", &token]);
    }
    succeeds(&["cert", "client", "ann", "--authority", &world.at("ca"), "--out", &world.at("ann")]);
    let own = [world.at("ann/ann.pem"), world.at("ann/ann.key")];
    let shown = ["--tls-cert", own[0].as_str(), "--tls-key", own[1].as_str()];
    assert_eq!(world.run(&[&["put", "foo", "bar"][..], &shown].concat()).0, 0);

    let file = world.at("monday");
    fs::write(world.at("wrong"), "x".repeat(64)).unwrap();
    let wrong = world.at("wrong");
    for (more, words) in [
        (&["--token-file", token.as_str()][..], "it wants a certificate"),
        (&shown, "takes the cluster's token"),
        (&[&shown[..], &["--token-file", &wrong]].concat(), "token is wrong"),
    ] {
        let (code, _, said) = world.run(&[&["backup", file.as_str()], more].concat());
        assert!(code != 0 && said.contains(words), "{words}: {said}");
        assert!(!Path::new(&file).exists() && !Path::new(&format!("{file}.part")).exists());
    }
    // A node that does not lead sends it on, and the token goes with it.
    for node in &world.nodes {
        let endpoint = format!("https://{}", node.http);
        let args = ["backup", &file, "--force", "--tls-ca", &world.ca(), "-e", &endpoint, "--token-file", &token];
        succeeds(&[&args[..], &shown].concat());
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(succeeds(&["backup", "--check", &file]).contains("is whole: 1 keys"));

    let mut again = world.node("again01");
    let flags = world.certify("again01", &[]);
    let folder = again.folder.display().to_string();
    succeeds(&["restore", &file, &folder, "--id", "again01", "--http", &again.http, "--peer", &again.peer]);
    again.start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let endpoint = format!("https://{}", again.http);
    assert_eq!(succeeds(&["get", "foo", "--tls-ca", &world.ca(), "-e", &endpoint, "--timeout", "60"]), "bar\n");
}

#[test]
fn recover_asks_the_other_voters_by_tls() {
    let mut world = World::new();
    for _ in 0..3 {
        world.start(&[]);
    }
    assert_eq!(world.run(&["put", "foo", "bar"]).0, 0);
    let first = world.nodes[0].folder.display().to_string();
    let (to, ca) = (world.at("new"), world.ca());
    let recover = ["recover", first.as_str(), to.as_str()];
    let by_tls = [&recover[..], &["--tls-ca", &ca]].concat();
    wait_until("node01 has it", || {
        let endpoint = format!("https://{}", world.nodes[0].http);
        hezong(&["get", "foo", "--level", "stale", "--tls-ca", &ca, "-e", &endpoint]).0 == 0
    });
    world.nodes[0].kill();
    world.nodes[1].kill();
    let (code, _, said) = hezong(&by_tls);
    assert!(code != 0 && said.contains("node01, node03 can still be had"), "{said}");

    // Another cluster's node in its place counts for it, until it can say by TLS whose it is.
    world.nodes[2].kill();
    let mut other = world.node("node03");
    other.http.clone_from(&world.nodes[2].http);
    other.folder = world.root.path().join("other");
    let flags = world.certify("node03", &["--renew"]);
    other.start(&[&flags.iter().map(String::as_str).collect::<Vec<_>>()[..], &["--bootstrap"]].concat());
    wait_until("it serves", || get(&other.http, "/health").is_some());
    let (code, _, said) = hezong(&recover);
    assert!(code != 0 && said.contains("node01, node03 can still be had"), "{said}");
    assert!(!Path::new(&to).exists());
    succeeds(&by_tls);
    other.kill();

    let mut again = world.node("node01");
    let flags = world.certify("node01", &["--renew"]);
    let (http, peer) = (&world.nodes[0].http, &world.nodes[0].peer);
    (again.http, again.peer, again.folder) = (http.clone(), peer.clone(), to.into());
    again.start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        succeeds(&["get", "foo", "--tls-ca", &ca, "-e", &format!("https://{http}"), "--timeout", "60"]),
        "bar\n"
    );
}

#[test]
fn certificate_renewed_is_shown_without_a_restart() {
    let mut world = World::new();
    world.start(&[]);
    let ca = world.ca();
    let first = shown(&world.nodes[0], &ca);
    world.certify("node01", &["--renew"]);
    wait_until("the new one is shown", || shown(&world.nodes[0], &ca) != first);
    let second = shown(&world.nodes[0], &ca);

    // Another node's in its place is told of once, and the old one stays.
    let (certificate, key) = (world.at("node01/node01.pem"), world.at("node01/node01.key"));
    world.certify("node02", &[]);
    fs::copy(world.at("node02/node02.key"), &key).unwrap();
    fs::copy(world.at("node02/node02.pem"), &certificate).unwrap();
    wait_until("it is told of", || world.logs().contains("node02.hezong"));
    // A look between the two copies finds a pair that does not fit, and tells of that as well.
    let told = world.logs().matches("stays in use").count();
    // Twice the time between two looks.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(world.logs().matches("stays in use").count(), told, "{}", world.logs());
    assert_eq!(shown(&world.nodes[0], &ca), second);

    // So is one that is not of the host that clients are sent to.
    let (authority, out) = (world.at("ca"), world.at("node01"));
    succeeds(&["cert", "node", "node01", "--host", "host1", "--authority", &authority, "--out", &out, "--renew"]);
    world.nodes[0].signal("HUP");
    wait_until("it is told of", || world.logs().contains("clients are sent to 127.0.0.1"));
    assert_eq!(shown(&world.nodes[0], &ca), second);

    // Asked by a signal, it does not wait for the next look.
    world.certify("node01", &["--renew"]);
    world.nodes[0].signal("HUP");
    wait_until("the third one is shown", || shown(&world.nodes[0], &ca) != second);
    assert_eq!(world.run(&["put", "foo", "bar"]).0, 0);
}

/// A leader that clients refuse would stop all writes.
#[test]
fn certificate_that_ends_is_told_and_another_node_leads() {
    // Only who leads hands over.
    let mut world = World { is_steady: true, ..World::new() };
    for _ in 0..3 {
        world.start(&[]);
    }
    let path = |name: &str| world.root.path().join(name);
    let authority = Authority::read(&path("ca/ca.pem"), &path("ca/ca.key")).unwrap();
    let validity = Validity { from: SystemTime::now(), until: SystemTime::now() + Duration::from_secs(10) };
    let pair = authority.node("node01", &["127.0.0.1".to_owned()], validity).unwrap();
    fs::write(path("node01/node01.pem"), &pair.certificate).unwrap();
    fs::write(path("node01/node01.key"), pair.key.as_bytes()).unwrap();
    let node = &world.nodes[0];
    node.signal("HUP");
    wait_until("it is in use", || node.log_text().contains("new connections use the certificate"));
    let connection = support::dial_by_tls(&node.http, Path::new(&world.ca()));
    let handed_over = "handed over: the certificate of this node has ended";
    wait_until("another leads", || node.log_text().contains(handed_over));
    let told = node.log_text();
    assert!(told.contains("the certificate ends in 0 hours"), "{told}");
    assert_eq!(told.matches("the certificate has ended: clients").count(), 1, "{told}");
    assert_eq!(world.run(&["put", "foo", "bar"]).0, 0, "{}", world.logs());
    let (_, out, said) = world.run(&["status"]);
    assert!(out.lines().any(|line| line.contains("node01") && line.contains("silent")), "{out}");
    assert!(said.contains("node01 is silent: ") && said.contains("its certificate expired"), "{said}");
    // Who was connected before is still served, and told.
    let reply = support::get_on(connection, "/ready").0;
    assert_eq!((reply.status, reply.code().as_str()), (503, "certificate_ended"));

    // Renewed, it is as good as before.
    world.certify("node01", &["--renew"]);
    wait_until("it is in use", || {
        world.nodes[0].log_text().matches("new connections use the certificate").count() == 2
    });
    wait_until("it is ready", || {
        support::get_by_tls(&world.nodes[0].http, Path::new(&world.ca()), "/ready").0.status == 200
    });
}

/// Old and new are believed side by side, so that nodes can go over one by one.
#[test]
fn authority_replaced_while_the_cluster_serves() {
    let mut world = World::new();
    world.start(&[]);
    world.start(&[]);
    succeeds(&["cert", "authority", &world.at("new")]);
    let (old, new) = (fs::read_to_string(world.ca()).unwrap(), fs::read_to_string(world.at("new/ca.pem")).unwrap());
    for file in ["ca/ca.pem", "node01/ca.pem", "node02/ca.pem"] {
        fs::write(world.at(file), format!("{old}{new}")).unwrap();
    }
    // Two nodes: nothing is acknowledged unless they talk to one another.
    let acknowledged =
        |world: &World, value: &str| assert_eq!(world.run(&["put", "foo", value]).0, 0, "{}", world.logs());
    for (at, label) in ["node02", "node01"].into_iter().enumerate() {
        let (authority, out) = (world.at("new"), world.at(label));
        let signed =
            ["cert", "node", label, "--host", "127.0.0.1", "--authority", &authority, "--out", &out, "--renew"];
        succeeds(&signed);
        for node in &world.nodes {
            let before = node.log_text().matches("new connections use").count();
            node.signal("HUP");
            wait_until("it uses what is new", || node.log_text().matches("new connections use").count() > before);
        }
        // Only new connections tell.
        let node = world.nodes.iter_mut().find(|node| node.id == label).unwrap();
        node.kill();
        let flags = world_flags(world.root.path(), label);
        node.start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        acknowledged(&world, &at.to_string());
    }
    fs::write(world.ca(), &new).unwrap();
    assert_eq!(world.run(&["get", "foo", "--level", "consistent"]).1, "1\n");
}

/// The flags that use the certificate a node has.
fn world_flags(root: &Path, label: &str) -> Vec<String> {
    let path = |name: String| root.join(label).join(name).display().to_string();
    let pairs =
        [("--tls-cert", format!("{label}.pem")), ("--tls-key", format!("{label}.key")), ("--tls-ca", "ca.pem".into())];
    pairs.into_iter().flat_map(|(flag, name)| [flag.to_owned(), path(name)]).collect()
}

/// A cluster that has run in the clear is started with certificates, and finds its data.
#[test]
fn cluster_in_the_clear_goes_over_to_certificates() {
    let mut world = World::new();
    let mut clear = support::Cluster::new(3);
    assert_eq!(hezong(&["put", "foo", "bar", "-e", &clear.https().join(",")]).0, 0);
    for node in &mut clear.nodes {
        assert!(node.stop().success());
        let flags = world.certify(&node.id, &[]);
        node.start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    }
    world.nodes = std::mem::take(&mut clear.nodes);
    let (code, out, said) = world.run(&["get", "foo", "--level", "consistent"]);
    assert_eq!((code, out.as_str()), (0, "bar\n"), "{said}");
    // One that comes back without is not talked to, and told why.
    let node = &mut world.nodes[0];
    assert!(node.stop().success());
    node.start(&[]);
    wait_until("it is told", || node.log_text().contains("it speaks TLS, and this node does not"));
}

#[test]
fn beyond_this_machine_only_with_certificates_or_consent() {
    let root = tempfile::tempdir().unwrap();
    let mut node = Node::new(root.path(), "node01");
    let bind = format!("0.0.0.0:{}", node.http.split(':').nth(1).unwrap());
    for flag in ["--http-bind", "--peer-bind"] {
        let (code, said) = fails(node.command(&["--bootstrap", flag, &bind]));
        assert_eq!(code, 2);
        for word in [flag, &bind, "--tls-cert", "--insecure"] {
            assert!(said.contains(word), "{said}");
        }
        assert!(!node.folder.exists());
    }
    node.start(&["--bootstrap", "--insecure", "--http-bind", &bind]);
    node.wait_ready();
}

/// A node that holds secrets leaves no core behind, however much its shell allows.
#[test]
fn crash_leaves_no_core() {
    let world = World::new();
    let node = world.node("node01");
    let crash = |more: &[&str], folder: &str| {
        let cwd = world.root.path().join(folder);
        fs::create_dir_all(&cwd).unwrap();
        let mut args: Vec<String> = ["--id", "node01", "--bootstrap", "--http", &node.http, "--peer", &node.peer]
            .iter()
            .chain(more)
            .map(|&arg| arg.to_owned())
            .collect();
        args.push("data".to_owned());
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -c unlimited; exec \"$0\" node \"$@\"", HEZONG])
            .args(args)
            .current_dir(&cwd)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // By TLS or not, whoever answers has read its secrets.
        wait_until("it serves", || get(&node.http, "/health").is_some());
        support::signal(child.id(), "ABRT");
        child.wait().unwrap()
    };
    let flags = world.certify("node01", &[]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert!(!crash(&flags, "with").core_dumped());
    let token = world.at("token");
    assert!(!crash(&["--token-file", &token], "with_token").core_dumped());
    let files = |folder: &str| fs::read_dir(world.root.path().join(folder)).unwrap().count();
    assert_eq!((files("with"), files("with_token")), (1, 1), "nothing but the data");
}

#[test]
fn cert_makes_files_that_only_their_owner_reads_and_replaces_none() {
    let world = World::new();
    let mode = |name: &str| fs::metadata(PathBuf::from(world.at(name))).unwrap().permissions().mode() & 0o777;
    world.certify("node01", &[]);
    for secret in ["ca/ca.key", "node01/node01.key", "token"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    let refused = |args: &[&str], words: &[&str]| {
        let (code, _, said) = hezong(args);
        assert_eq!(code, 1, "{said}");
        assert!(words.iter().all(|word| said.contains(word)) && said.lines().count() == 1, "{said}");
    };
    let (ca, out) = (world.at("ca"), world.at("node01"));
    let before = fs::read(world.at("ca/ca.key")).unwrap();
    refused(&["cert", "authority", &ca], &["ca.pem is there already", "another folder"]);
    assert_eq!(fs::read(world.at("ca/ca.key")).unwrap(), before);
    refused(&["cert", "token", &world.at("token")], &["token is there already"]);
    let node = |label: &str, host: &str, authority: &str, words: &[&str]| {
        refused(&["cert", "node", label, "--host", host, "--authority", authority, "--out", &out], words);
    };
    node("node01", "127.0.0.1", &ca, &["node01.pem is there already", "--renew"]);
    node("node02", "node01.hezong", &ca, &["node01.hezong is the name of a node"]);
    node("node02", "host1:8091", &ca, &["host1:8091", "without a port"]);
    node("Node 2", "host1", &ca, &["Node 2", "small letters"]);
    node("node02", "host1", &world.at("nowhere"), &["ca.pem cannot be read", "hezong cert authority"]);
    succeeds(&["cert", "authority", &world.at("other")]);
    node("node02", "host1", &world.at("other"), &["ca.pem is of another authority", "--out"]);
    let (code, ..) = hezong(&["cert", "authority", &world.at("third"), "--days", "0"]);
    assert_eq!(code, 2);
}
