//! Starting and stopping: folders and ports that are not this node's are refused in one sentence; what stops is found
//! again.

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::json;
use support::{Cluster, HEZONG, Node, fails, get, hezong, settle};

#[test]
fn folders_that_are_not_this_nodes_are_refused() {
    let mut cluster = Cluster::new(1);
    let root = cluster.root.path().to_owned();

    let fresh = Node::new(&root, "fresh");
    let (_, said) = fails(fresh.command(&[]));
    assert!(said.contains("is empty") && said.contains("--bootstrap") && said.contains("--join"), "{said}");
    assert!(!fresh.folder.exists(), "nothing is left behind");

    let mut twin = Node::new(&root, "node01");
    let (_, said) = fails(twin.command(&[]));
    assert!(said.contains("in use by another process"), "{said}");

    assert!(cluster.nodes[0].stop().success());
    let mut other = Node::new(&root, "node02");
    other.folder = cluster.nodes[0].folder.clone();
    let (_, said) = fails(other.command(&[]));
    assert!(said.contains("belongs to node01, not to node02"), "{said}");

    // Another cluster's node is told so by the folder, and by the cluster it wants to join.
    let second = Cluster::new(1);
    twin.folder = cluster.nodes[0].folder.clone();
    let (_, said) = fails(twin.command(&["--join", &second.nodes[0].http]));
    assert!(said.contains("belongs to cluster") && said.contains("empty folder"), "{said}");

    fs::create_dir(root.join("stray")).unwrap();
    fs::write(root.join("stray/thesis.tex"), "").unwrap();
    let stray = Node::new(&root, "stray");
    let (_, said) = fails(stray.command(&["--bootstrap"]));
    assert!(said.contains("thesis.tex") && said.contains("name an empty one"), "{said}");

    let identity = twin.folder.join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replacen("identity 1", "identity 9", 1)).unwrap();
    let (_, said) = fails(twin.command(&[]));
    assert!(said.contains("format 9") && said.contains("upgrade"), "{said}");
    fs::write(&identity, "nonsense").unwrap();
    let (_, said) = fails(twin.command(&[]));
    assert!(said.contains("damaged"), "{said}");
    fs::write(&identity, text).unwrap();
    cluster.nodes[0].start(&[]);
    cluster.nodes[0].wait_ready();
}

#[test]
fn ports_and_arguments_that_do_not_fit_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::new(root.path(), "node01");
    for (address, name) in [(&node.http, "clients"), (&node.peer, "peers")] {
        let _taken = TcpListener::bind(address).unwrap();
        let (code, said) = fails(node.command(&["--bootstrap"]));
        assert_eq!(code, 1);
        assert!(said.contains(address.as_str()) && said.contains(name) && said.contains("another"), "{said}");
    }
    let with = |http: &str, peer: &str, more: &[&str]| {
        let mut command = Command::new(HEZONG);
        command.args(["node", "--id", "node01", "--http", http, "--peer", peer]).arg(&node.folder).args(more);
        fails(command)
    };
    let (_, said) = with("0.0.0.0:8091", &node.peer, &["--bootstrap"]);
    assert!(said.contains("--http") && said.contains("every address") && said.contains("--http-bind"), "{said}");
    let (_, said) = with(&node.http, "nowhere", &["--bootstrap"]);
    assert!(said.contains("--peer") && said.contains("port is missing"), "{said}");
    let (_, said) = with(&node.http, &node.http, &["--bootstrap"]);
    assert!(said.contains("both"), "{said}");
    let (code, _) = with(&node.http, &node.peer, &["--bootstrap", "--join", &node.http]);
    assert_eq!(code, 2);
}

/// A node that was taken in and stopped before it held anything must not found the same cluster again.
#[test]
fn bootstrap_of_a_node_that_joined_refused() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::new(root.path(), "node02");
    fs::create_dir_all(&node.folder).unwrap();
    let identity = "hezong identity 1\ncluster 5f0c6f1b2a9e4d3c8b7a695847362514\nnode 2\nlabel node02\n";
    fs::write(node.folder.join("identity"), identity).unwrap();
    let (code, said) = fails(node.command(&["--bootstrap"]));
    assert_eq!(code, 1);
    assert!(said.contains("node 2") && said.contains("leave --bootstrap out"), "{said}");
}

/// The reply to a join may be lost: the node asks again and gets the same number, as long as it never took part.
#[test]
fn join_repeated_gives_the_same_number() {
    let mut cluster = Cluster::new(1);
    let first = cluster.nodes[0].http.clone();
    let late = Node::new(cluster.root.path(), "node02");
    let body = format!("{{\"id\":\"node02\",\"httpAddr\":\"{}\",\"raftAddr\":\"{}\"}}", late.http, late.peer);
    let one = settle(&first, "POST", "/join", &[], body.as_bytes());
    let two = settle(&first, "POST", "/join", &[], body.as_bytes());
    assert_eq!((one.status, two.status), (200, 200), "{one:?} {two:?}");
    assert_eq!((&one.json()["nodeId"], &one.json()["clusterId"]), (&two.json()["nodeId"], &two.json()["clusterId"]));
    assert_eq!(two.json()["members"].as_array().unwrap().len(), 2);

    cluster.nodes.push(late);
    cluster.nodes[1].start(&["--join", &first]);
    cluster.nodes[1].wait_ready();
    support::wait_until("it votes", || get(&first, "/status").unwrap().json()["members"][1]["suffrage"] == "voter");
    let three = settle(&first, "POST", "/join", &[], body.as_bytes());
    assert_eq!((three.status, three.code().as_str()), (409, "member_taken"), "now it is somebody");

    // A service file keeps its --join; a member that starts again is not stopped by it.
    assert!(cluster.nodes[1].stop().success());
    cluster.nodes[1].start(&["--join", &first]);
    cluster.nodes[1].wait_ready();
}

#[test]
fn member_removed_is_gone_and_its_number_is_not_used_again() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let first = cluster.nodes[leader].http.clone();
    let gone = (leader + 1) % 3;
    let id = cluster.nodes[gone].id.clone();
    let numbers = |json: &serde_json::Value| -> Vec<u64> {
        json["members"].as_array().unwrap().iter().map(|member| member["nodeId"].as_u64().unwrap()).collect()
    };
    let before = get(&first, "/members").unwrap().json();
    let most = numbers(&before).into_iter().max().unwrap();
    let removed = before["members"].as_array().unwrap().iter().find(|member| member["id"] == *id).unwrap();
    let removed = removed["nodeId"].as_u64().unwrap();
    let (code, out, said) = hezong(&["remove", &id, "--json", "--endpoints", &first]);
    assert_eq!(code, 0, "{said}");
    assert!(!out.contains(&id), "{out}");
    cluster.nodes[gone].kill();
    assert_eq!(settle(&first, "PUT", "/key/foo", &[], b"bar").status, 200);

    // The machine comes back with an empty folder, under its old label, as a new member.
    fs::remove_dir_all(&cluster.nodes[gone].folder).unwrap();
    cluster.nodes[gone].start(&["--join", &first]);
    cluster.nodes[gone].wait_ready();
    support::wait_until("it votes", || {
        let members = get(&first, "/members").unwrap().json();
        members["members"].as_array().unwrap().iter().filter(|member| member["suffrage"] == "voter").count() == 3
    });
    let now = numbers(&get(&first, "/members").unwrap().json());
    assert_eq!(now.iter().max(), Some(&(most + 1)));

    // A late copy of the request finds the number gone, and leaves the new member of that label alone.
    let remove = |body: serde_json::Value| settle(&first, "POST", "/remove", &[], body.to_string().as_bytes());
    for body in [json!({ "id": id, "nodeId": removed }), json!({ "nodeId": removed })] {
        let again = remove(body);
        assert_eq!((again.status, numbers(&again.json())), (200, now.clone()), "{again:?}");
    }
    let kept = &cluster.nodes[leader].id;
    let mixed = remove(json!({ "id": kept, "nodeId": most + 1 }));
    assert_eq!((mixed.status, mixed.code().as_str()), (409, "member_differs"));
    assert!(mixed.message().contains(kept) && mixed.message().contains(&id), "{mixed:?}");
    let never = remove(json!({ "nodeId": most + 2 }));
    assert_eq!((never.status, never.code().as_str()), (404, "no_such_member"));
    assert_eq!(remove(json!({ "nodeId": 0 })).code(), "no_such_member");
    assert_eq!(numbers(&settle(&first, "GET", "/members?level=consistent", &[], b"").json()), now);
    let read = settle(&cluster.nodes[gone].http, "GET", "/key/foo?raw&level=consistent", &[], b"");
    assert_eq!(read.text(), "bar");
}

#[test]
fn stop_is_graceful_and_the_data_is_found_again() {
    let mut cluster = Cluster::new(3);
    let all = cluster.https();
    for n in 0..100 {
        let reply = settle(&all[n % 3], "PUT", &format!("/key/k{n}"), &[], n.to_string().as_bytes());
        assert_eq!(reply.status, 200);
    }
    for signal in ["TERM", "INT"] {
        for node in &cluster.nodes {
            node.signal(signal);
        }
        for node in &mut cluster.nodes {
            let status = node.stop();
            assert_eq!(status.code(), Some(0), "{signal}: {}", node.log_text());
        }
        cluster.start_all();
        for n in 0..100 {
            let reply = settle(&all[n % 3], "GET", &format!("/key/k{n}?raw&level=consistent"), &[], b"");
            assert_eq!((reply.status, reply.text()), (200, n.to_string()));
        }
    }
}

#[test]
fn damaged_state_is_set_aside_and_made_anew_from_the_log() {
    let mut cluster = Cluster::new(1);
    let http = cluster.https()[0].clone();
    for n in 0..20 {
        assert_eq!(settle(&http, "PUT", &format!("/key/k{n}"), &[], n.to_string().as_bytes()).status, 200);
    }
    cluster.nodes[0].signal("TERM");
    cluster.nodes[0].stop();
    let state = cluster.nodes[0].folder.join("state");
    fs::write(state.join("keyspaces").join("0").join("current"), [0xaa; 3]).unwrap();

    cluster.start_all();
    for n in 0..20 {
        let reply = settle(&http, "GET", &format!("/key/k{n}?raw"), &[], b"");
        assert_eq!((reply.status, reply.text()), (200, n.to_string()), "{}", cluster.nodes[0].log_text());
    }
    assert!(state.with_extension("damaged").exists(), "what cannot be read is kept for people");
}

#[test]
fn disk_below_its_reserve_takes_deletes_alone() {
    let mut cluster = Cluster::new(1);
    let http = cluster.https()[0].clone();
    assert_eq!(settle(&http, "PUT", "/key/foo", &[], b"bar").status, 200);
    assert!(cluster.nodes[0].stop().success());

    // More than any disk has free.
    cluster.nodes[0].disk_reserve = 1 << 50;
    cluster.start_all();
    support::wait_until("writes are refused", || {
        let reply = settle(&http, "PUT", "/key/foo", &[], b"other");
        reply.status == 507 && reply.code() == "disk_full"
    });
    assert_eq!(settle(&http, "DELETE", "/key/absent", &[], b"").status, 200, "what frees space is taken");

    assert!(cluster.nodes[0].stop().success());
    cluster.nodes[0].disk_reserve = 0;
    cluster.start_all();
    assert_eq!(settle(&http, "PUT", "/key/foo", &[], b"new").status, 200);
}
