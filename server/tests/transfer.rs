//! Leadership handed over: by the command, over HTTP, and by a node that is told to stop.

mod support;

use std::time::{Duration, Instant};

use support::{Cluster, STEADY, get, hezong, send, settle};

/// Who leads, by the word of a node.
fn leader_by(http: &str) -> Option<u64> {
    get(http, "/members")?.json()["leader"].as_u64()
}

fn number_of(cluster: &Cluster, at: usize) -> u64 {
    get(&cluster.nodes[at].http, "/status").unwrap().json()["nodeId"].as_u64().unwrap()
}

#[test]
fn transfer_by_command_and_over_http() {
    let mut cluster = Cluster::steady(3);
    let https = cluster.https();
    let endpoints = https.join(",");
    for round in 0..3 {
        let to = cluster.follower();
        let id = cluster.nodes[to].id.clone();
        let (code, out, said) = hezong(&["transfer", &id, "--endpoints", &endpoints]);
        assert_eq!(code, 0, "{said}");
        let line = out.lines().find(|line| line.starts_with(&id)).unwrap();
        assert!(line.ends_with("leader"), "{out}");
        assert_eq!(cluster.leader(), to);
        assert_eq!(settle(&https[0], "PUT", "/key/foo", &[], round.to_string().as_bytes()).status, 200);
    }
    // The one that leads already is asked again: what was wished is so.
    let leader = cluster.leader();
    let id = cluster.nodes[leader].id.clone();
    let again = send(&https[leader], "POST", "/transfer", &[], format!("{{\"to\":\"{id}\"}}").as_bytes()).unwrap();
    assert_eq!(again.status, 200);
    // Without a name to another, and a follower sends the request on.
    // It may not have heard yet who leads since the last one.
    let (follower, wanted) = (cluster.follower(), format!("http://{}/transfer", https[leader]));
    let began = Instant::now();
    loop {
        let elsewhere = send(&https[follower], "POST", "/transfer", &[], b"").unwrap();
        if elsewhere.headers.get("location") == Some(&wanted) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}, and not {wanted}", elsewhere.headers);
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, _, said) = hezong(&["transfer", "--endpoints", &endpoints]);
    assert_eq!(code, 0, "{said}");
    assert_ne!(cluster.leader(), leader);
}

#[test]
fn transfer_that_makes_no_sense_is_refused() {
    let mut cluster = Cluster::new(1);
    let http = cluster.https()[0].clone();
    let leader = cluster.leader();
    assert_eq!(leader, 0);
    let unknown = send(&http, "POST", "/transfer", &[], b"{\"to\":\"node07\"}").unwrap();
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "no_such_member"));
    let nobody = send(&http, "POST", "/transfer", &[], b"{}").unwrap();
    assert_eq!((nobody.status, nobody.code().as_str()), (409, "transfer"));
    assert!(nobody.message().contains("nobody can take over"), "{}", nobody.message());
    let typo = send(&http, "POST", "/transfer", &[], b"{\"too\":\"node01\"}").unwrap();
    assert_eq!(typo.code(), "unknown_field");
    assert!(typo.message().contains("did you mean \"to\"?"), "{}", typo.message());
    let (code, _, said) = hezong(&["transfer", "node07", "--endpoints", &http]);
    assert_eq!(code, 1);
    assert!(said.contains("no member is called node07"), "{said}");
}

#[test]
fn leader_told_to_stop_hands_over_and_nobody_waits_for_a_timeout() {
    let mut cluster = Cluster::steady(3);
    let https = cluster.https();
    for round in 0..3 {
        let old = cluster.leader();
        let number = number_of(&cluster, old);
        let other = &https[(old + 1) % 3];
        cluster.nodes[old].signal("TERM");
        let began = Instant::now();
        support::wait_until("another leads", || leader_by(other).is_some_and(|leader| leader != number));
        let took = began.elapsed();
        // A follower waits for as long as STEADY for a leader it heard. The rest is for a machine that stands still meanwhile.
        assert!(took < STEADY * 9 / 10, "{took:?}");
        assert!(cluster.nodes[old].stop().success(), "{}", cluster.nodes[old].log_text());
        assert!(cluster.nodes[old].log_text().contains("handed over"), "{}", cluster.nodes[old].log_text());
        assert_eq!(settle(other, "PUT", "/key/foo", &[], round.to_string().as_bytes()).status, 200);
        cluster.nodes[old].start(&[]);
        cluster.nodes[old].wait_ready();
    }
}
