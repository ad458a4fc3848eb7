//! Writes that happen at most once, whichever nodes they are sent to; reads and writes that find the leader (KV-1,
//! RAFT-10).

mod support;

use std::process::Command;

use support::{Cluster, follow, get, hezong, send, settle, wait_until};

/// RAFT-10: a client pays 100 coins, times out and sends it five times, through different nodes: 100 are credited.
#[test]
fn raft_10_payment_sent_five_times_is_credited_once() {
    let mut cluster = Cluster::new(3);
    let nodes = cluster.https();
    let pay = |node: &str| settle(node, "POST", "/key/account?add=100", &[("Idempotency-Key", "payment-1")], b"");
    let first = pay(&nodes[0]);
    assert_eq!(first.status, 200);
    assert!(!first.headers.contains_key("x-hezong-repeated"));
    for attempt in 1..5 {
        if attempt == 3 {
            // The outcome is part of the state: a new leader knows it as well.
            let leader = cluster.leader();
            cluster.nodes[leader].kill();
            cluster.nodes[leader].start(&[]);
            cluster.nodes[leader].wait_ready();
        }
        let again = pay(&nodes[attempt % 3]);
        assert_eq!(again.text(), first.text(), "a retry is told what the first was told");
        assert_eq!(again.headers["x-hezong-repeated"], "true");
    }
    let balance = settle(&nodes[1], "GET", "/key/account?raw&level=consistent", &[], b"");
    assert_eq!(balance.text(), "100");

    let other = settle(&nodes[2], "POST", "/key/account?add=7", &[("Idempotency-Key", "payment-1")], b"");
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    let other = settle(&nodes[2], "POST", "/key/account?add=7", &[("Idempotency-Key", "payment-2")], b"");
    assert_eq!(other.json()["value"], 107);
}

/// What a client read is still there when it writes, or its write does not happen, whichever nodes are asked.
#[test]
fn conditional_put_happens_if_nobody_else_changed_the_key() {
    let cluster = Cluster::new(3);
    let nodes = cluster.https();
    let put = |node: usize, modified: &str, value: &str, once: &str| {
        let target = format!("/key/lock?if_modified={modified}");
        settle(&nodes[node], "PUT", &target, &[("Idempotency-Key", once)], value.as_bytes())
    };
    assert_eq!(put(0, "0", "first", "a").status, 200, "an absent key is made");
    let late = put(1, "0", "second", "b");
    assert_eq!((late.status, late.code().as_str()), (412, "condition_failed"));
    let found = settle(&nodes[2], "GET", "/key/lock?raw&level=consistent", &[], b"");
    assert_eq!(found.text(), "first");
    let modified = &found.headers["x-hezong-modified"];
    assert_eq!(put(2, modified, "third", "c").status, 200);
    assert_eq!(put(0, modified, "fourth", "d").status, 412);
    let again = put(1, modified, "third", "c");
    assert_eq!((again.status, again.headers["x-hezong-repeated"].as_str()), (200, "true"), "it happened already");
    let late = put(1, "0", "second", "b");
    assert_eq!(late.status, 412, "a repetition is told what the first was told");

    let found = settle(&nodes[0], "GET", "/key/lock?raw&level=consistent", &[], b"");
    assert_eq!(found.text(), "third");
    let delete = |modified: &str| settle(&nodes[1], "DELETE", &format!("/key/lock?if_modified={modified}"), &[], b"");
    assert_eq!(delete(modified).status, 412);
    let deleted = delete(&found.headers["x-hezong-modified"]);
    assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &true.into()));

    let endpoints = nodes.join(",");
    let cli = |modified: &str| hezong(&["put", "lock", "mine", "--if-modified", modified, "-e", &endpoints]);
    assert_eq!(cli("0").0, 0);
    let (code, _, said) = cli("0");
    assert_eq!(code, 1);
    assert!(said.contains("was changed meanwhile"), "{said}");
}

#[test]
fn session_counts_each_number_once_and_ends_when_closed_or_expired() {
    let cluster = Cluster::new(3);
    let nodes = cluster.https();
    let open = |body: &[u8]| {
        let reply = settle(&nodes[1], "POST", "/session", &[], body);
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["session"].as_str().unwrap().to_owned()
    };
    let add = |node: usize, session: &str, number: &str| {
        let headers = [("X-Hezong-Session", session), ("X-Hezong-Sequence", number)];
        settle(&nodes[node], "POST", "/key/coins?add=1", &headers, b"")
    };
    let session = open(b"{\"ttlSeconds\":600}");
    for node in [0, 1, 2, 0] {
        assert_eq!(add(node, &session, "1").json()["value"], 1);
    }
    assert_eq!(add(2, &session, "2").json()["value"], 2);
    assert_eq!(add(1, &session, "4").code(), "sequence_gap");
    assert_eq!(add(1, &session, "1").code(), "sequence_old");
    let path = format!("/session/{session}");
    assert_eq!(settle(&nodes[0], "POST", &format!("{path}/keepalive"), &[], b"").status, 200);
    assert_eq!(settle(&nodes[2], "DELETE", &path, &[], b"").status, 200);
    let gone = add(0, &session, "3");
    assert_eq!((gone.status, gone.code().as_str()), (410, "session_gone"));

    // Long enough to be used once on a slow disk.
    let short = open(b"{\"ttlSeconds\":5}");
    assert_eq!(add(0, &short, "1").json()["value"], 3);
    // Log time passes while somebody leads; other writes carry it into the log.
    wait_until("the session has expired", || {
        settle(&nodes[0], "PUT", "/key/clock", &[], b"tick");
        settle(&nodes[0], "GET", "/key/clock?level=consistent", &[], b"");
        get(&nodes[0], "/status").unwrap().json()["sessions"] == 0
    });
    assert_eq!(settle(&nodes[0], "POST", &format!("/session/{short}/keepalive"), &[], b"").status, 410);
    assert_eq!(add(1, &short, "2").status, 410);
    let coins = settle(&nodes[0], "GET", "/key/coins?raw&level=consistent", &[], b"").text();
    assert_eq!(coins, "3", "an expired session writes nothing");
}

/// KV-1: the course's curl lines, with `level` and `-L`, against a follower.
#[test]
fn kv_1_curl_lines_against_a_follower() {
    let mut cluster = Cluster::steady(3);
    let follower = cluster.follower();
    let node = &cluster.nodes[follower].http;
    let reply = send(node, "POST", "/key?", &[], b"{\"foo\":\"bar\"}").unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (307, "not_leader"));
    let curl = |args: &[&str]| {
        let output = Command::new("curl").args(["-sS", "-L"]).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    if Command::new("curl").arg("--version").output().is_err() {
        // A machine without curl still checks the same by hand.
        assert_eq!(follow(node, "POST", "/key", &[], b"{\"foo\":\"bar\"}").status, 200);
        return;
    }
    let url = |path: &str| format!("{node}{path}");
    assert!(curl(&["-XPOST", &url("/key"), "-d", "{\"foo\":\"bar\"}"]).contains("\"revision\":1"));
    for level in ["consistent", "default"] {
        assert_eq!(curl(&[&url(&format!("/key/foo?level={level}"))]), "{\"foo\":\"bar\"}\n");
    }
    let stale = get(node, "/key/foo?level=stale&min_index=1").unwrap();
    assert_eq!(stale.text(), "{\"foo\":\"bar\"}\n");
    assert!(stale.number("x-hezong-last-contact") < 10_000);
    assert!(curl(&["-XDELETE", &url("/key/foo")]).contains("\"deleted\":true"));
    let gone = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url("/key/foo?level=consistent")]);
    assert_eq!(gone, "404");
}

#[test]
fn min_index_waits_for_what_was_written_elsewhere() {
    let mut cluster = Cluster::steady(3);
    let follower = cluster.follower();
    let leader = cluster.leader();
    let (leader, follower) = (cluster.nodes[leader].http.clone(), cluster.nodes[follower].http.clone());
    for n in 0..50 {
        let value = n.to_string();
        let index = send(&leader, "PUT", "/key/n", &[], value.as_bytes()).unwrap().number("x-hezong-index");
        let read = get(&follower, &format!("/key/n?raw&level=stale&min_index={index}")).unwrap();
        assert_eq!(read.text(), value);
        assert!(read.number("x-hezong-index") >= index);
    }
}

#[test]
fn pages_walk_all_keys_in_order() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0].http;
    let mut wanted: Vec<String> = (0..25).map(|n| format!("p/{}", n * 7 % 25)).collect();
    for key in wanted.iter().chain([&"other".to_owned()]) {
        assert_eq!(send(node, "PUT", &format!("/key/{key}"), &[], key.as_bytes()).unwrap().status, 200);
    }
    wanted.sort();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(node, &format!("/keys?prefix=p/&limit=10&after={after}")).unwrap().json();
        let keys = page["keys"].as_array().unwrap();
        assert!(keys.len() <= 10);
        found.extend(keys.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, wanted);
}

#[test]
fn commands_follow_the_leader_and_tell_by_their_exit_codes() {
    let mut cluster = Cluster::steady(3);
    let follower = cluster.follower();
    let at = cluster.nodes[follower].http.clone();
    let run = |args: &[&str]| hezong(&[args, &["--endpoints", &at, "--timeout", "60"]].concat());
    assert_eq!(run(&["put", "foo", "bar"]).0, 0);
    assert_eq!(run(&["get", "foo"]), (0, "bar\n".into(), String::new()));
    let (code, json, _) = run(&["get", "foo", "--json", "--level", "consistent"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["value"], &json["version"]), (0, &"bar".into(), &1.into()));
    assert_eq!(run(&["scan", "f"]).1, "foo\tbar\n");
    assert_eq!(run(&["del", "foo"]).0, 0);
    let (code, out, said) = run(&["get", "foo"]);
    assert_eq!((code, out.as_str(), said.as_str()), (3, "", "hezong: key \"foo\" is absent\n"));
    let (code, out, _) = run(&["status"]);
    assert_eq!((code, out.matches("leader").count(), out.matches("follower").count()), (0, 1, 2), "{out}");
    let (code, out, _) = run(&["members", "--json"]);
    let members: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, members["members"].as_array().unwrap().len()), (0, 3));
    let (code, _, said) = run(&["put", "", "x"]);
    assert_eq!(code, 1);
    assert!(said.contains("key is empty"), "{said}");
    let (code, out, said) = run(&["bench", "--puts", "500", "--keys", "50", "--clients", "8", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {out} {said}"));
    assert_eq!((code, &report["puts"], &report["keysReadBack"]), (0, &500.into(), &50.into()));
    let (code, _, said) = hezong(&["get", "foo", "--endpoints", "127.0.0.1:1", "--timeout", "0.3"]);
    assert_eq!(code, 4, "{said}");
    assert_eq!(hezong(&["get"]).0, 2);
}

/// Some puts are acknowledged and some fail: the rate is told, and no script takes it for a success.
#[test]
fn bench_with_failed_puts_is_no_success() {
    let mut cluster = Cluster::new(1);
    let http = cluster.nodes[0].http.clone();
    let to = http.clone();
    let bench = std::thread::spawn(move || {
        let args = ["bench", "--seconds", "4", "--clients", "2", "--keys", "10", "--no-verify", "--timeout", "0.5"];
        hezong(&[&args[..], &["--endpoints", &to]].concat())
    });
    // The first puts may be there before their clients have heard so; by the sixth, two clients have heard of some.
    wait_until("it puts", || get(&http, "/key/bench/000000000005").is_some_and(|reply| reply.status == 200));
    cluster.nodes[0].kill();
    let (code, out, said) = bench.join().unwrap();
    assert!(out.contains("puts of 256 bytes") && !out.starts_with("0 puts"), "{out}");
    assert!(matches!(code, 4 | 5), "{code}: {said}");
    assert!(said.contains("puts failed, the first: ") && said.contains(&http), "{said}");
}

/// A write without a majority ends as 503 or 504 in time, never as done, and is served again afterwards.
#[test]
fn without_a_majority_nothing_is_acknowledged() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    others.iter().for_each(|other| cluster.nodes[*other].kill());
    let node = cluster.nodes[leader].http.clone();
    let reply = send(&node, "PUT", "/key/foo", &[("Idempotency-Key", "order-17")], b"bar").unwrap();
    match reply.status {
        504 => assert!(reply.message().contains("Idempotency-Key: order-17"), "{reply:?}"),
        503 => assert!(reply.headers.contains_key("retry-after"), "{reply:?}"),
        // It lost its place in the very moment, to one that is gone by now.
        307 => {}
        other => panic!("{other}: {reply:?}"),
    }
    wait_until("the node knows that it leads no more", || get(&node, "/ready").unwrap().status == 503);
    for level in ["default", "consistent"] {
        let reply = get(&node, &format!("/key/foo?level={level}")).unwrap();
        assert_eq!(reply.status, 503, "{level}: {reply:?}");
        assert_eq!(reply.headers["retry-after"], "1");
    }
    assert_eq!(get(&node, "/key/foo?level=stale").unwrap().status, 404, "a stale read is served all the same");
    assert_eq!(get(&node, "/health").unwrap().status, 200);
    for other in others {
        cluster.nodes[other].start(&[]);
    }
    cluster.nodes[leader].wait_ready();
    let reply = settle(&node, "PUT", "/key/foo", &[("Idempotency-Key", "order-17")], b"bar");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(settle(&node, "GET", "/key/foo?raw", &[], b"").text(), "bar");
}
