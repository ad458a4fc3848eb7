//! More clients than a node has room for: those too many are told so at once (429) and have lost nothing but time.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use hezong_client::{Client, Options};
use support::{Node, PATIENCE, get, send};

const WRITERS: u64 = 16;

/// A node alone, with room for one request at a time.
fn narrow(root: &std::path::Path) -> Node {
    let mut node = Node::new(root, "node01");
    node.start(&["--bootstrap", "--waiting-max", "1"]);
    node.wait_ready();
    node
}

#[test]
fn overloaded_is_said_at_once_and_nothing_of_it_is_done() {
    let root = tempfile::tempdir().unwrap();
    let mut node = narrow(root.path());
    let http = node.http.clone();
    let (next, refusals) = (AtomicU64::new(0), AtomicU64::new(0));
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            let (sender, http, next, refusals) = (sender.clone(), &http, &next, &refusals);
            scope.spawn(move || {
                let deadline = Instant::now() + PATIENCE;
                // However fast the disk is, at some time two requests meet.
                while refusals.load(Ordering::Relaxed) < 100 && Instant::now() < deadline {
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    let reply = send(http, "PUT", &format!("/key/{key}"), &[], b"v").expect("the node answers");
                    refusals.fetch_add(u64::from(reply.status == 429), Ordering::Relaxed);
                    sender.send((key, reply)).unwrap();
                }
            });
        }
    });
    drop(sender);
    let (mut done, mut refused) = (0, 0);
    for (key, reply) in outcomes {
        let found = get(&http, &format!("/key/{key}?raw")).unwrap();
        match reply.status {
            200 => {
                assert_eq!(found.text(), "v", "{key} was acknowledged");
                done += 1;
            }
            429 => {
                assert_eq!((reply.code().as_str(), reply.headers["retry-after"].as_str()), ("overloaded", "1"));
                for word in ["node.waiting_max", "try again"] {
                    assert!(reply.message().contains(word), "{word:?} is not in {:?}", reply.message());
                }
                assert_eq!(found.status, 404, "{key} was refused, and so never happened");
                refused += 1;
            }
            other => panic!("{other}: {reply:?}"),
        }
    }
    assert!(refused >= 100 && done > 0, "{refused} refused, {done} done");
    // What is refused is counted, and a node that refuses goes on telling how it is.
    let metrics = get(&http, "/metrics").unwrap().text();
    assert!(metrics.contains(&format!("hezong_refused_total{{reason=\"overloaded\"}} {refused}")), "{metrics}");
    assert_eq!(get(&http, "/status").unwrap().json()["writesWaiting"], 0);
    assert!(node.runs());
}

/// The Rust client comes again until there is room.
#[tokio::test(flavor = "multi_thread")]
async fn overloaded_node_serves_patient_clients_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    let node = narrow(root.path());
    let options = Options { timeout: PATIENCE, ..Options::default() };
    let client = Client::with_options([&node.http], options).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.spawn(async move {
            for n in 0..20 {
                client.put(format!("{writer}/{n}").as_bytes(), "v").await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let status = get(&node.http, "/status").unwrap().json();
    assert_eq!(status["keys"], WRITERS * 20);
    assert_eq!(status["revision"], WRITERS * 20, "each happened once");
    let metrics = get(&node.http, "/metrics").unwrap().text();
    assert!(metrics.contains("reason=\"overloaded\""), "nobody was refused: {metrics}");
}
