//! A node that was removed while it could not be told finds out, and says so.

mod support;

use support::{Cluster, get, settle, wait_until};

#[test]
fn removed_node_says_so_once_it_is_back() {
    for away in ["killed", "stopped"] {
        let mut cluster = Cluster::new(3);
        let leader = cluster.leader();
        let gone = (leader + 1) % 3;
        let stay = [leader, (leader + 2) % 3].map(|at| cluster.nodes[at].http.clone());
        match away {
            "killed" => cluster.nodes[gone].kill(),
            _ => cluster.nodes[gone].signal("STOP"),
        }
        let first = cluster.nodes[leader].http.clone();
        let body = format!("{{\"id\":\"{}\"}}", cluster.nodes[gone].id);
        assert_eq!(settle(&first, "POST", "/remove", &[], body.as_bytes()).status, 200);
        // The leader goes on telling it for an election timeout (300 ms here), in case it listens; then nobody does.
        wait_until("the leader has let it go", || {
            stay.iter().any(|node| {
                let status = get(node, "/status").unwrap().json();
                status["role"] == "leader" && status["progress"].as_array().is_some_and(|all| all.len() == 1)
            })
        });
        match away {
            "killed" => cluster.nodes[gone].start(&[]),
            _ => cluster.nodes[gone].signal("CONT"),
        }
        let node = &cluster.nodes[gone];
        wait_until("it knows", || get(&node.http, "/ready").is_some_and(|reply| reply.code() == "removed"));
        let status = || get(&node.http, "/status").unwrap().json();
        wait_until("both others have hung up", || status()["connected"].as_array().unwrap().is_empty());
        let ready = get(&node.http, "/ready").unwrap();
        assert_eq!(ready.status, 503, "{away}");
        assert!(ready.message().contains("--join"), "{ready:?}");
        assert_eq!(status()["removed"], true);
        assert!(node.log_text().contains("was removed from its cluster"), "{away}: {}", node.log_text());
        assert_eq!(get(&node.http, "/health").unwrap().status, 200);
        assert_eq!(get(&first, "/status").unwrap().json()["removed"], false);
        wait_until("the others go on", || get(&first, "/ready").unwrap().status == 200);
    }
}

#[test]
fn removed_node_that_is_told_in_time_says_so_too() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    let body = format!("{{\"id\":\"{}\"}}", cluster.nodes[gone].id);
    assert_eq!(settle(&cluster.nodes[leader].http, "POST", "/remove", &[], body.as_bytes()).status, 200);
    let http = cluster.nodes[gone].http.clone();
    wait_until("it knows", || get(&http, "/ready").is_some_and(|reply| reply.code() == "removed"));
    let status = get(&http, "/status").unwrap().json();
    assert_eq!((&status["removed"], &status["suffrage"]), (&true.into(), &"none".into()));
}
