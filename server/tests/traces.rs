//! Requests followed through three real nodes, as a collector sees them.

mod support;

#[allow(dead_code, unreachable_pub, reason = "what is sent is read here")]
#[path = "../src/spans/otlp.rs"]
mod otlp;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use otlp::{KIND_INTERNAL, KIND_SERVER, STATUS_ERROR, Value};
use prost::Message as _;
use support::{Cluster, Node, follow, free_port, get, hezong, send, settle, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A span as it came, with the node that sent it.
#[derive(Clone, Debug)]
struct Seen {
    node: String,
    span: otlp::Span,
}

impl Seen {
    fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    fn says(&self, key: &str) -> Option<&Value> {
        let attribute = self.span.attributes.iter().find(|attribute| attribute.key == key)?;
        attribute.value.as_ref()?.value.as_ref()
    }

    fn number(&self, key: &str) -> i64 {
        match self.says(key) {
            Some(Value::Number(number)) => *number,
            other => panic!("{key} is {other:?} in {self:?}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector of spans, which answers with a status of our choice.
struct Collector {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<AtomicU16>,
}

impl Collector {
    fn start(port: u16) -> Self {
        Self::answering(port, 200)
    }

    fn answering(port: u16, status: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let collector = Self { port, seen: Arc::default(), answer: Arc::new(AtomicU16::new(status)) };
        let (seen, answer) = (Arc::clone(&collector.seen), Arc::clone(&collector.answer));
        // Ends with the process.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || while take(connection.as_ref().unwrap(), &seen, &answer).is_some() {});
            }
        });
        collector
    }

    /// What the nodes are started with.
    fn arguments(port: u16, one_in: &str) -> [String; 4] {
        ["--trace-endpoint", &format!("http://127.0.0.1:{port}"), "--trace-one-in", one_in].map(str::to_owned)
    }

    fn of(&self, trace: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.trace() == trace).cloned().collect()
    }

    /// Waits until one has come of that name and with that parent.
    fn wait(&self, trace: &str, name: &str, parent: &[u8]) -> Seen {
        let mut found = self.wait_all(trace, name, parent, 1);
        // A frame that is sent again may be followed again.
        found.sort_by_key(|seen| seen.span.start_time_unix_nano);
        found.remove(0)
    }

    fn wait_all(&self, trace: &str, name: &str, parent: &[u8], count: usize) -> Vec<Seen> {
        let mut found = Vec::new();
        wait_until(&format!("{count} {name} under {} have come", hex(parent)), || {
            found = self.of(trace);
            found.retain(|seen| seen.span.name == name && seen.span.parent_span_id == parent);
            found.len() >= count
        });
        found
    }
}

/// One request of an exporter.
fn take(mut connection: &TcpStream, seen: &Mutex<Vec<Seen>>, answer: &AtomicU16) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    let status = answer.load(Ordering::Relaxed);
    if status == 200 {
        for of_process in otlp::ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
            let attributes = of_process.resource.unwrap().attributes;
            let node = attributes.iter().find(|attribute| attribute.key == "service.instance.id").unwrap();
            let Some(Value::Text(node)) = node.value.clone().unwrap().value else { panic!("{node:?}") };
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.lock().unwrap().extend(spans.map(|span| Seen { node: node.clone(), span }));
        }
    }
    write!(connection, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").ok()
}

/// Of itself it traces nothing.
fn traced(collector_port: u16) -> Cluster {
    traced_by_lot(collector_port, "0")
}

fn traced_by_lot(collector_port: u16, one_in: &str) -> Cluster {
    let mut cluster = Cluster::new(3);
    for node in &mut cluster.nodes {
        node.stop();
        let arguments = Collector::arguments(collector_port, one_in);
        node.start(&arguments.each_ref().map(String::as_str));
    }
    for node in &mut cluster.nodes {
        node.wait_ready();
    }
    cluster
}

fn spans(node: &Node, outcome: &str) -> u64 {
    let text = get(&node.http, "/metrics").unwrap().text();
    let line = format!("hezong_spans_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|it| it.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[test]
fn a_write_through_a_follower_is_one_trace_over_three_nodes() {
    let collector = Collector::start(free_port());
    let mut cluster = traced(collector.port);
    // What is not asked to be traced, or asked not to be, is not.
    let first = cluster.nodes[0].http.clone();
    settle(&first, "PUT", "/key/untraced", &[], b"v");
    settle(&first, "PUT", "/key/untraced", &[("traceparent", &format!("00-{TRACE}-{PARENT}-00"))], b"v");

    // Once more in another trace if the leader changed meanwhile, or a follower was not fed yet when the others were done.
    let (mut attempts, mut leader) = (0, 0);
    wait_until("a write meets no change of leader and both followers ready", || {
        attempts += 1;
        leader = cluster.leader();
        let term = |cluster: &Cluster| get(&cluster.nodes[leader].http, "/status").unwrap().json()["term"].clone();
        let (before, asked) = (term(&cluster), &cluster.nodes[(leader + 1) % 3].http);
        let traceparent = format!("00-{attempts:032x}-{PARENT}-01");
        let reply = follow(asked, "PUT", "/key/a", &[("traceparent", &traceparent)], b"v");
        let replicated = || {
            let spans = collector.of(&format!("{attempts:032x}"));
            spans.iter().filter(|seen| seen.span.name == "hezong.replicate").count() >= 2
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !replicated() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        reply.status == 200 && term(&cluster) == before && replicated()
    });
    let trace = &format!("{attempts:032x}");
    let (leads, asked) = (cluster.nodes[leader].id.clone(), &cluster.nodes[(leader + 1) % 3]);

    let parent: Vec<u8> = (0..8).map(|at| u8::from_str_radix(&PARENT[2 * at..2 * at + 2], 16).unwrap()).collect();
    let puts = collector.wait_all(trace, "put", &parent, 2);
    let status = |seen: &Seen| seen.number("http.response.status_code");
    let redirected = puts.iter().find(|put| put.node == asked.id).unwrap();
    let put = puts.iter().find(|put| put.node == leads).unwrap();
    assert_eq!((status(redirected), status(put)), (307, 200));
    assert_eq!((put.span.kind, put.says("http.request.method")), (KIND_SERVER, Some(&Value::Text("PUT".into()))));

    let steps = ["hezong.queue", "hezong.disk", "hezong.commit", "hezong.apply"];
    let steps = steps.map(|name| collector.wait(trace, name, &put.span.span_id));
    for step in &steps {
        assert_eq!((&step.node, step.span.kind), (&leads, KIND_INTERNAL));
        assert!(step.span.start_time_unix_nano >= put.span.start_time_unix_nano);
        assert!(step.span.end_time_unix_nano >= step.span.start_time_unix_nano);
    }
    let [queue, disk, commit, apply] = &steps;
    assert!(queue.span.end_time_unix_nano <= commit.span.start_time_unix_nano);
    assert!(commit.span.end_time_unix_nano <= apply.span.start_time_unix_nano);
    assert!(apply.span.end_time_unix_nano <= put.span.end_time_unix_nano);
    assert!(disk.number("hezong.disk.synced_us") > 0);

    let mut followers = Vec::new();
    for replicate in collector.wait_all(trace, "hezong.replicate", &put.span.span_id, 2) {
        let follow = collector.wait(trace, "hezong.follow", &replicate.span.span_id);
        let disk = collector.wait(trace, "hezong.disk", &follow.span.span_id);
        assert_eq!((disk.node.as_str(), follow.span.kind), (follow.node.as_str(), KIND_SERVER));
        assert!(replicate.span.start_time_unix_nano <= follow.span.start_time_unix_nano);
        assert!(follow.span.start_time_unix_nano <= disk.span.start_time_unix_nano);
        assert!(disk.span.end_time_unix_nano <= follow.span.end_time_unix_nano);
        assert!(follow.span.end_time_unix_nano <= replicate.span.end_time_unix_nano);
        followers.push(follow.node);
    }
    followers.push(leads);
    followers.sort();
    assert_eq!(followers, ["node01", "node02", "node03"]);
    // None of what was not to be traced.
    let strange = |seen: &Seen| hex(&seen.span.trace_id) == TRACE || seen.span.parent_span_id.is_empty();
    assert!(!collector.seen.lock().unwrap().iter().any(strange));
}

#[test]
fn reads_failures_and_commands_are_traced() {
    let collector = Collector::start(free_port());
    let mut cluster = traced(collector.port);
    let leader = cluster.leader();
    let endpoints = cluster.https().join(",");
    let command = |more: &[&str]| hezong(&[more, &["-e", &endpoints, "--traceparent", "new"]].concat());
    let (code, _, said) = command(&["put", "a", "v"]);
    assert_eq!(code, 0, "{said}");
    let trace = said.strip_prefix("trace ").unwrap().trim().to_owned();
    wait_until("its write has come", || collector.of(&trace).iter().any(|seen| seen.span.name == "hezong.apply"));

    let (_, _, said) = command(&["get", "a", "--level", "consistent"]);
    let trace = said.strip_prefix("trace ").unwrap().trim().to_owned();
    wait_until("its round has come", || {
        let all = collector.of(&trace);
        let of = |name: &'static str| all.iter().filter(move |seen| seen.span.name == name);
        of("hezong.round").any(|round| of("get").any(|get| round.span.parent_span_id == get.span.span_id))
    });

    // Whoever asked gives up. At any level but this one it would be sent on if the leader changed meanwhile.
    let mut asking = TcpStream::connect(&cluster.nodes[leader].http).unwrap();
    let given_up = "0".repeat(31) + "1";
    write!(
        asking,
        "GET /key/a?level=stale&min_index=1000000 HTTP/1.1\r\nhost: x\r\ntraceparent: 00-{given_up}-{PARENT}-01\r\n\r\n"
    )
    .unwrap();
    thread::sleep(Duration::from_millis(300));
    drop(asking);
    wait_until("its span has come", || !collector.of(&given_up).is_empty());
    let get = collector.of(&given_up).remove(0);
    assert_eq!((get.span.name.as_str(), get.says("http.response.status_code")), ("get", None));
    assert_eq!(get.span.status.unwrap().code, STATUS_ERROR);

    // Without a majority it fails, and its span says so.
    for at in [1, 2] {
        cluster.nodes[(leader + at) % 3].kill();
    }
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    wait_until("it fails", || {
        let reply = send(&cluster.nodes[leader].http, "PUT", "/key/a", &[("traceparent", &traceparent)], b"w");
        reply.is_some_and(|reply| reply.status >= 500)
    });
    let failed = |seen: &Seen| seen.span.status.as_ref().is_some_and(|status| status.code == STATUS_ERROR);
    wait_until("its span has come", || collector.of(TRACE).iter().any(|seen| seen.span.name == "put" && failed(seen)));

    let (code, _, said) = hezong(&["get", "a", "--traceparent", "00-12-34-01"]);
    assert!(code != 0 && said.contains("32 hex digits"), "{said}");
}

/// Nobody waits for a collector; what it does not take is counted, and told once.
#[test]
fn a_collector_that_is_away_costs_spans_alone() {
    let port = free_port();
    let cluster = traced(port);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let put = || {
        let reply = settle(&cluster.nodes[0].http, "PUT", "/key/a", &[("traceparent", &traceparent)], b"v");
        assert_eq!(reply.status, 200);
    };
    // More than once: a follower that is not fed yet when the others are done has nothing to tell of a write.
    let put_until = |what: &str, reached: &dyn Fn() -> bool| {
        wait_until(what, || {
            put();
            reached()
        });
    };
    for node in &cluster.nodes {
        put_until("spans are dropped", &|| spans(node, "dropped") > 0);
    }
    let told = |node: &Node, what: &str| node.log_text().matches(what).count();
    let collector = Collector::answering(port, 503);
    let before: Vec<u64> = cluster.nodes.iter().map(|node| spans(node, "dropped")).collect();
    for (node, before) in cluster.nodes.iter().zip(before) {
        put_until("a refusal counts as well", &|| spans(node, "dropped") > before);
        // Told after it is counted.
        wait_until("it is told", || told(node, "spans are dropped") > 0);
        assert_eq!((told(node, "spans are dropped"), spans(node, "exported")), (1, 0), "{}", node.log_text());
    }
    collector.answer.store(200, Ordering::Relaxed);
    for node in &cluster.nodes {
        put_until("spans are taken", &|| spans(node, "exported") > 0 && told(node, "takes spans again") == 1);
    }
}

#[test]
fn a_request_that_comes_without_a_trace_begins_one_by_lot() {
    let collector = Collector::start(free_port());
    let cluster = traced_by_lot(collector.port, "1");
    settle(&cluster.nodes[0].http, "PUT", "/key/a", &[], b"v");
    let is_root = |seen: &&Seen| seen.span.name == "put" && seen.span.parent_span_id.is_empty();
    wait_until("its write has come", || {
        let all = collector.seen.lock().unwrap().clone();
        all.iter().filter(is_root).any(|put| {
            let below = |seen: &Seen| seen.span.parent_span_id == put.span.span_id && seen.trace() == put.trace();
            all.iter().any(|seen| seen.span.name == "hezong.apply" && below(seen))
        })
    });
}

#[test]
fn a_node_that_stops_sees_its_spans_off() {
    let collector = Collector::start(free_port());
    let mut cluster = traced(collector.port);
    let leader = cluster.leader();
    let node = &mut cluster.nodes[leader];
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    settle(&node.http, "PUT", "/key/a", &[("traceparent", &traceparent)], b"v");
    assert!(node.stop().success());
    // It has ended: nothing can come from it any more.
    let from_it: Vec<Seen> = collector.of(TRACE).into_iter().filter(|seen| seen.node == node.id).collect();
    assert!(from_it.iter().any(|seen| seen.span.name == "put"), "{from_it:?}");
}
