//! The eight defects of the reference implementation, `raftdb`, none of which may come back here. Black box: real
//! processes, real sockets.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::{Cluster, Node, fails, get, send, settle};

/// (a) A `POST` of several keys is one command: nobody ever sees a part of it, and one bad member spoils it all.
#[test]
fn a_multi_key_post_is_atomic() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0].http;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let page = get(node, "/keys?prefix=pair/&level=stale").unwrap().json();
                let keys = page["keys"].as_array().unwrap();
                if !keys.is_empty() {
                    assert_eq!(keys.len(), 2, "{page}");
                    assert_eq!(keys[0]["value"], keys[1]["value"], "{page}");
                    assert_eq!(keys[0]["modified"], keys[1]["modified"], "{page}");
                    seen += 1;
                }
            }
            seen
        });
        for n in 0..200 {
            let body = format!("{{\"pair/a\":\"{n}\",\"pair/b\":\"{n}\"}}");
            assert_eq!(send(node, "POST", "/key", &[], body.as_bytes()).unwrap().status, 200);
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    let reply = send(node, "POST", "/key", &[], br#"{"good":"1","bad":2}"#).unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "not_a_string"));
    assert_eq!(get(node, "/key/good").unwrap().status, 404);
}

/// (b) A `DELETE` is one entry of the log, not two.
#[test]
fn b_delete_is_submitted_once() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0].http;
    let put = send(node, "PUT", "/key/foo", &[], b"bar").unwrap();
    let delete = send(node, "DELETE", "/key/foo", &[], b"").unwrap();
    assert_eq!(delete.json()["deleted"], true);
    assert_eq!(delete.number("x-hezong-index"), put.number("x-hezong-index") + 1);
    let again = send(node, "DELETE", "/key/foo", &[], b"").unwrap();
    assert_eq!((again.status, &again.json()["deleted"]), (200, &false.into()));
    assert_eq!(again.number("x-hezong-index"), delete.number("x-hezong-index") + 1);
    assert_eq!(again.number("x-hezong-revision"), delete.number("x-hezong-revision"), "nothing was changed");
}

/// (c) Where nodes are reached is no user's key: keys named like nodes break no redirect.
#[test]
fn c_keys_named_like_nodes_break_no_redirect() {
    let mut cluster = Cluster::steady(2);
    let follower = cluster.follower();
    let leader = 1 - follower;
    let (leader, follower) = (cluster.nodes[leader].http.clone(), cluster.nodes[follower].http.clone());
    let body = format!("{{\"node01\":\"x\",\"node02\":\"x\",\"1\":\"x\",\"{leader}\":\"x\"}}");
    assert_eq!(send(&leader, "POST", "/key", &[], body.as_bytes()).unwrap().status, 200);
    let reply = send(&follower, "PUT", "/key/foo", &[], b"bar").unwrap();
    assert_eq!(reply.status, 307);
    assert_eq!(reply.headers["location"], format!("http://{leader}/key/foo"));
    for key in ["node01", "node02", "1"] {
        assert_eq!(send(&leader, "DELETE", &format!("/key/{key}"), &[], b"").unwrap().status, 200);
    }
    assert_eq!(send(&follower, "PUT", "/key/foo", &[], b"bar").unwrap().status, 307);
}

/// (d) A key that is missing is not a key that is empty.
#[test]
fn d_missing_key_is_404_and_empty_value_is_not() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0].http;
    for level in ["stale", "default", "consistent"] {
        let reply = get(node, &format!("/key/foo?level={level}")).unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (404, "key_not_found"));
        assert!(reply.message().contains("foo"), "{reply:?}");
        reply.number("x-hezong-index");
    }
    assert_eq!(send(node, "PUT", "/key/foo", &[], b"").unwrap().status, 200);
    let reply = get(node, "/key/foo").unwrap();
    assert_eq!((reply.status, reply.text().trim()), (200, r#"{"foo":""}"#));
}

/// (e) A node that is refused says so and ends; it does not run on as if it were a member.
#[test]
fn e_join_refused_ends_the_node() {
    let cluster = Cluster::new(1);
    let root = cluster.root.path();
    let mut twin = Node::new(root, "node01");
    twin.folder = root.join("twin");
    let (code, said) = fails(twin.command(&["--join", &cluster.nodes[0].http]));
    assert_eq!(code, 1);
    assert!(said.contains("node01") && said.contains("member 1") && said.contains("remove"), "{said}");
    assert!(!twin.folder.join("identity").exists(), "a node that was refused is nobody");
}

/// (f) Who joins under the name or an address of a member is refused, and the member stays.
#[test]
fn f_join_cannot_evict_a_member() {
    let mut cluster = Cluster::steady(3);
    let leader = cluster.leader();
    let (first, third) = (cluster.nodes[leader].http.clone(), &cluster.nodes[(leader + 1) % 3]);
    let before = get(&first, "/members").unwrap().json();
    let (id, http, peer) = (&third.id, &third.http, &third.peer);
    for (id, http, peer) in [
        (id.as_str(), "127.0.0.1:1", "127.0.0.1:2"),
        ("node09", http.as_str(), "127.0.0.1:2"),
        ("node09", "127.0.0.1:1", peer.as_str()),
        (id.as_str(), http.as_str(), peer.as_str()),
    ] {
        let body = format!("{{\"id\":\"{id}\",\"httpAddr\":\"{http}\",\"raftAddr\":\"{peer}\"}}");
        let reply = settle(&first, "POST", "/join", &[], body.as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (409, "member_taken"), "{reply:?}");
    }
    assert_eq!(get(&first, "/members").unwrap().json()["members"], before["members"]);
    assert_eq!(settle(&first, "PUT", "/key/foo", &[], b"bar").status, 200);
}

/// (g) Nothing that is sent to either port ends the process; keys may contain `/`; an unknown level is an error.
#[test]
fn g_garbage_slashes_and_unknown_levels_are_answered() {
    let mut cluster = Cluster::new(1);
    let (http, peer) = (cluster.nodes[0].http.clone(), cluster.nodes[0].peer.clone());
    let garbage: [&[u8]; 5] = [
        b"\0\0\0\0\0\0\0\0",
        b"GET / HTTP/9.9\r\n\r\n",
        &[0xff; 4_096],
        b"",
        b"PUT /key/a HTTP/1.1\r\ncontent-length: 9\r\n\r\nx",
    ];
    for port in [&http, &peer] {
        for bytes in garbage {
            let mut connection = TcpStream::connect(port).unwrap();
            connection.write_all(bytes).ok();
            connection.shutdown(std::net::Shutdown::Write).ok();
            connection.read_to_end(&mut Vec::new()).ok();
        }
    }
    assert!(cluster.nodes[0].runs(), "{}", cluster.nodes[0].log_text());
    support::wait_until("garbage is counted", || {
        let metrics = get(&http, "/metrics").unwrap().text();
        let counted = metrics.lines().find_map(|line| line.strip_prefix("hezong_peer_garbage_total ")).unwrap();
        counted.parse::<u64>().unwrap() >= 2
    });

    for key in ["a/b", "a//b", "/", "a/../b", "%2F%25", "%FF"] {
        let target = format!("/key/{key}");
        assert_eq!(send(&http, "PUT", &target, &[], key.as_bytes()).unwrap().status, 200, "{key}");
        assert_eq!(get(&http, &format!("{target}?raw")).unwrap().body, key.as_bytes());
    }
    assert_eq!(get(&http, "/keys").unwrap().json()["keys"].as_array().unwrap().len(), 6, "six different keys");

    let reply = get(&http, "/key/a/b?level=strong").unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "unknown_level"));
    assert!(reply.message().contains("stale, default, consistent"), "{reply:?}");
    assert!(cluster.nodes[0].runs());
}

/// (h) A consistent read waits until its own node has applied what was acknowledged before it, and a new leader serves
/// nothing before an entry of its own term: right after every write, and right after a change of leader.
#[test]
fn h_consistent_read_is_never_old() {
    let mut cluster = Cluster::new(3);
    let all = cluster.https();
    for n in 0..60_usize {
        let value = n.to_string();
        assert_eq!(settle(&all[n % 3], "PUT", "/key/foo", &[], value.as_bytes()).status, 200);
        let reply = settle(&all[(n + 1) % 3], "GET", "/key/foo?raw&level=consistent", &[], b"");
        assert_eq!((reply.status, reply.text()), (200, value.clone()));
        let reply = settle(&all[(n + 2) % 3], "GET", "/key/foo?raw", &[], b"");
        assert_eq!((reply.status, reply.text()), (200, value));
    }
    assert_eq!(settle(&all[0], "PUT", "/key/foo", &[], b"last").status, 200);
    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    for level in ["consistent", "default"] {
        // Asked without pause, so that the very first answer after the election is among those looked at.
        let mut served = 0;
        support::wait_until("the others serve", || {
            for other in [(leader + 1) % 3, (leader + 2) % 3] {
                let Some(reply) = get(&all[other], &format!("/key/foo?raw&level={level}")) else { continue };
                if reply.status == 200 {
                    assert_eq!(reply.text(), "last", "{level} at {other}");
                    served += 1;
                }
            }
            served >= 20
        });
    }
}
