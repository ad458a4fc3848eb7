//! A node that was removed while it could not be told finds out, and says so.

mod support;

use support::{Cluster, get, settle, wait_until};

/// Removes a member. By its number it goes once, so that whoever asks may ask again while the outcome is unknown, as after a
/// change of leader; `settle` does with what carries a key.
fn remove(asked: &str, label: &str) {
    let known = get(asked, "/members").unwrap().json();
    let member = known["members"].as_array().unwrap().iter().find(|member| member["id"] == label).unwrap();
    let body = format!("{{\"id\":\"{label}\",\"nodeId\":{}}}", member["nodeId"]);
    let reply = settle(asked, "POST", "/remove", &[("idempotency-key", "removal")], body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
}

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
        remove(&first, &cluster.nodes[gone].id);
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
        // Said after it is known.
        wait_until(&format!("it says so, {away}"), || node.log_text().contains("was removed from its cluster"));
        assert_eq!(get(&node.http, "/health").unwrap().status, 200);
        assert_eq!(get(&first, "/status").unwrap().json()["removed"], false);
        wait_until("the others go on", || get(&first, "/ready").unwrap().status == 200);
    }
}

#[test]
fn removed_node_that_is_told_in_time_says_so_too() {
    // The leader tells it for an election timeout, which is to be longer than a machine may stand still.
    let mut cluster = Cluster::steady(3);
    let leader = cluster.leader();
    let gone = (leader + 1) % 3;
    remove(&cluster.nodes[leader].http, &cluster.nodes[gone].id);
    let http = cluster.nodes[gone].http.clone();
    wait_until("it knows", || get(&http, "/ready").is_some_and(|reply| reply.code() == "removed"));
    let status = get(&http, "/status").unwrap().json();
    assert_eq!((&status["removed"], &status["suffrage"]), (&true.into(), &"none".into()));
}
