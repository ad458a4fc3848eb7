//! What a client sends: bytes on a connection, served by a node that is alone and keeps everything in memory. hyper takes
//! heads apart; what is made of paths, parameters, headers and bodies is ours.
//!
//! One node serves many inputs, since one takes longer to start than many take to be served. What fails may therefore need
//! those before it, and not fail again by itself; its seed repeats it.

use std::future::pending;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hezong_base::{GroupId, NodeId, Rng};
use hezong_http::{Api, Debug, router};
use hezong_kv::{Kv, Limits, Rules};
use hezong_node::ReadLevel;
use hezong_raft::{Member, Membership};
use hezong_shell::{Handle, Identity, Network, Options, StateMachines, open};
use hezong_store::ModelStore;
use hezong_wal::model::ModelFolder;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const GROUP: GroupId = GroupId(1);
/// Who sends no more and gets no answer, because it asked for what is yet to come or sent half of something, goes then.
const PATIENCE: Duration = Duration::from_millis(20);
/// Whoever asked for something whole that is there now has an answer by then.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// What may be waited for: an index that is yet to come, and members that never do.
const WAITS: [&str; 3] = ["min_index", "/join", "/change"];
/// A node that has served so many is replaced: what they wrote would fill the memory in the end.
const SERVED_MAX: u32 = 3_000;
/// More than any answer that is not a stream.
const ANSWER_BYTES: usize = 1 << 20;
const STARTS: &str = "a node in memory starts";

/// What serves now, and how often it has.
static SERVING: Mutex<Option<(Serving, u32)>> = Mutex::new(None);

struct Serving {
    runtime: Runtime,
    node: Handle,
    router: TowerToHyperService<axum::Router>,
}

impl Serving {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect(STARTS);
        let kv = Kv::open(ModelStore::new(), "g1", Rules::default()).expect(STARTS);
        let keys = kv.reader();
        let identity = Identity::bootstrap("node01");
        let mut options = Options::in_memory(&Network::new(), &ModelFolder::new(), identity);
        options.segment_bytes = 1 << 20;
        options.raft.election_timeout = Duration::from_millis(50);
        options.raft.heartbeat_interval = Duration::from_millis(10);
        let node = open(options, StateMachines::from([(GROUP, Box::new(kv) as Box<_>)])).expect(STARTS);
        let member =
            Member { name: "node01".to_owned(), peer: "host1:8089".to_owned(), client: "host1:8091".to_owned() };
        runtime.block_on(async {
            node.bootstrap(GROUP, Membership::of_voters([(NodeId(1), member)])).await.expect(STARTS);
            let leads = async {
                while node.read(GROUP, ReadLevel::Consistent, None).await.is_err() {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(ANSWER_TIME_MAX, leads).await.expect(STARTS);
        });
        let api = Api {
            node: node.clone(),
            group: GROUP,
            keys,
            limits: watch::channel(Limits::default()).1,
            http: "host1:8091".to_owned(),
            peer: "host1:8089".to_owned(),
            tls: None,
            token: None,
            state_repaired: false,
            version: "0",
            debug: Debug { settings: watch::channel(String::new()).1, log: Arc::new(String::new) },
        };
        Self { runtime, node, router: TowerToHyperService::new(router(api)) }
    }

    /// Serves one connection on which these bytes come; what was answered.
    fn serve(&self, input: &[u8], patience: Duration) -> Vec<u8> {
        let service = service_fn(|request: Request<Incoming>| self.router.call(request.map(Body::new)));
        self.runtime.block_on(async {
            let (client, server) = duplex(ANSWER_BYTES);
            let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
            let mut answer = Vec::new();
            // What was said before the connection ended is heard all the same. Err: what came was no HTTP.
            let served = async {
                connection.await.ok();
                pending::<()>().await;
            };
            tokio::select! {
                () = ask(client, input, patience, &mut answer) => {}
                () = served => {}
            }
            answer
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.runtime.block_on(self.node.shutdown());
    }
}

/// Sends, then listens until nothing more comes; for the first of it so long.
async fn ask(mut client: DuplexStream, input: &[u8], mut patience: Duration, answer: &mut Vec<u8>) {
    if client.write_all(input).await.is_err() {
        return;
    }
    let mut chunk = vec![0; 8 << 10];
    while let Ok(Ok(read @ 1..)) = timeout(patience, client.read(&mut chunk)).await {
        patience = PATIENCE;
        answer.extend_from_slice(&chunk[..read]);
        if answer.len() > ANSWER_BYTES || is_whole(answer) {
            break;
        }
    }
}

/// Whether there is one answer, and all of it.
fn is_whole(answer: &[u8]) -> bool {
    let is_last = |head: &str, body: &[u8]| head.contains("chunked") && body.ends_with(b"0\r\n\r\n");
    taken_apart(answer).is_some_and(|(head, length, body)| length == Some(body.len()) || is_last(head, body))
}

/// The head of an answer, the length it tells, and what there is of its body.
fn taken_apart(answer: &[u8]) -> Option<(&str, Option<usize>, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..end]).expect("heads of ours are ASCII");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some((head, length.and_then(|length| length.parse().ok()), &answer[end + 4..]))
}

/// The same as what hyper lets pass: a head of lines, and a body as long as the head says. Otherwise most of what is spoilt
/// would go no further.
fn mended(input: &[u8]) -> Vec<u8> {
    let end = input.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(input.len());
    let (head, body) = (String::from_utf8_lossy(&input[..end]), input.get(end + 4..).unwrap_or_default());
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
    let (method, target) = first.split_once(' ').unwrap_or(("GET", first));
    let method: String = method.chars().filter(char::is_ascii_uppercase).collect();
    let target: String = target.chars().filter(char::is_ascii_graphic).collect();
    let target = target.trim_start_matches('/');
    let mut whole = format!("{} /{target} HTTP/1.1\r\nhost: h\r\n", if method.is_empty() { "GET" } else { &method });
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        if !["", "content-length", "transfer-encoding", "host"].contains(&name.to_ascii_lowercase().as_str()) {
            whole += &format!("{name}: {value}\r\n");
        }
    }
    whole += &format!("content-length: {}\r\n\r\n", body.len());
    [whole.as_bytes(), body].concat()
}

/// Whether something was done. What is refused is refused in words.
pub(super) fn run(input: &[u8]) -> bool {
    let mut serving = SERVING.lock().unwrap_or_else(PoisonError::into_inner);
    // Not the one before, if something was wrong with what it answered: it is gone.
    let (node, served) = mem::take(&mut *serving).unwrap_or_else(|| (Serving::start(), 0));
    let is_mended = !input.len().is_multiple_of(4);
    let bytes = if is_mended { mended(input) } else { input.to_vec() };
    let waits = WAITS.iter().any(|word| bytes.windows(word.len()).any(|part| part == word.as_bytes()));
    let answer = node.serve(&bytes, if is_mended && !waits { ANSWER_TIME_MAX } else { PATIENCE });
    assert!(!answer.is_empty() || waits || !is_mended, "no answer");
    let is_done = judge(&answer);
    *serving = (served < SERVED_MAX).then_some((node, served + 1));
    is_done
}

/// Whether an answer says that something was done; what else it says must be right.
fn judge(answer: &[u8]) -> bool {
    let Some((head, length, body)) = taken_apart(answer) else { return false };
    let status = head.get(9..12).expect("an answer has a status");
    assert_ne!(status, "500", "{head}");
    if status >= "400" && head.contains("application/json") && length == Some(body.len()) {
        let said: serde_json::Value = serde_json::from_slice(body).expect("a refusal is JSON");
        let [code, message] = ["code", "message"].map(|field| said["error"][field].as_str().unwrap_or_default());
        assert!(!code.is_empty() && !message.is_empty(), "{said}");
    }
    status < "400"
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[usize::try_from(rng.below(of.len() as u64)).unwrap_or(0)]
}

/// A request that is right, or nearly.
pub(super) fn sample(rng: &mut Rng) -> Vec<u8> {
    let key = pick(rng, &["a", "b", "a/b", "%2f%00", "%ff", "", "ключ"]);
    let text = pick(rng, &["", "v", "\\u0000\\ud834\\udd1e", "{}", "0"]);
    let number = pick(rng, &["0", "1", "2", "99", "-1", "18446744073709551615", "1e9", ""]);
    let (method, path, body) = match rng.below(20) {
        0..3 => ("POST", "/key".to_owned(), format!("{{\"{key}\":\"{text}\",\"b\":\"{text}\"}}")),
        3..6 => ("GET", format!("/key/{key}{}", query(rng, number)), String::new()),
        6..8 => ("PUT", format!("/key/{key}{}", query(rng, number)), text.to_owned()),
        8 => ("POST", format!("/key/{key}?add={number}"), String::new()),
        9 => ("DELETE", format!("/key/{key}{}", query(rng, number)), String::new()),
        10..12 => ("GET", format!("/keys?prefix={key}&after={key}&limit={number}&level=stale"), String::new()),
        12 => ("POST", "/session".to_owned(), format!("{{\"ttlSeconds\":{number}}}")),
        13 => (
            pick(rng, &["POST", "DELETE"]),
            format!("/session/{number}{}", pick(rng, &["", "/keepalive"])),
            String::new(),
        ),
        14 => {
            let fields = "{\"id\":\"node02\",\"httpAddr\":\"h:1\",\"raftAddr\":\"h:2\"}";
            ("POST", "/join".to_owned(), fields.to_owned())
        }
        15 => ("POST", "/remove".to_owned(), format!("{{\"id\":\"node0{number}\"}}")),
        16 => ("POST", "/change".to_owned(), "{\"promote\":[\"node02\"],\"remove\":[\"node03\"]}".to_owned()),
        17 => ("POST", "/transfer".to_owned(), format!("{{\"to\":\"node0{number}\"}}")),
        18 => ("GET", pick(rng, &["/members", "/status", "/ready", "/health", "/metrics"]).to_owned(), String::new()),
        _ => ("GET", pick(rng, &["/backup", "/debug/log", "/debug/settings", "/", "*"]).to_owned(), String::new()),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\n");
    if rng.chance(300) {
        head += &format!("Idempotency-Key: k{number}\r\n");
    }
    if rng.chance(100) {
        head += &format!("X-Hezong-Session: {number}\r\nX-Hezong-Sequence: {number}\r\n");
    }
    if rng.chance(100) {
        head += &format!("traceparent: 00-{:032x}-{:016x}-01\r\n", rng.below(9), rng.below(9));
    }
    let length = if rng.chance(50) { rng.below(4 << 20) } else { body.len() as u64 };
    if !body.is_empty() || rng.chance(100) {
        head += &format!("content-length: {length}\r\n");
    }
    format!("{head}\r\n{body}").into_bytes()
}

fn query(rng: &mut Rng, number: &str) -> String {
    let parameter =
        pick(rng, &["level=stale", "level=consistent", "level=default", "min_index", "raw", "if_modified", "keys"]);
    match rng.below(3) {
        0 => String::new(),
        1 => format!("?{parameter}"),
        _ => format!("?{parameter}={number}&raw"),
    }
}
