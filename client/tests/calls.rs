//! What a call does with what nodes answer, told by nodes that answer what they are told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hezong_client::{Client, Error, Level, Options, Scan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a stub does with one request.
#[derive(Clone, Debug)]
enum Do {
    /// Answers: status line, further headers (each with its line end), body.
    Answer(&'static str, String, String),
    /// Reads the request and says nothing.
    Hang,
    /// Reads the request and closes the connection.
    Close,
}

/// A node that follows a script; its last line is repeated for ever.
struct Stub {
    address: String,
    script: Arc<Mutex<VecDeque<Do>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    async fn new(script: impl IntoIterator<Item = Do>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (lines, all) = (script.clone(), heard.clone());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, lines.clone(), all.clone()));
            }
        });
        Self { address, script, heard }
    }

    /// The requests heard, heads in small letters.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// The requests other than the client's looking for members.
    fn calls(&self) -> Vec<String> {
        self.heard().into_iter().filter(|head| !head.starts_with("get /members http")).collect()
    }
}

async fn serve(mut connection: TcpStream, script: Arc<Mutex<VecDeque<Do>>>, heard: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if connection.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        let members = text.starts_with("get /members http");
        while bytes.len() < head + length {
            if connection.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8_lossy(&bytes[head..head + length]).into_owned();
        bytes.drain(..head + length);
        heard.lock().unwrap().push(text + &body);
        let next = {
            let mut script = script.lock().unwrap();
            if members {
                no_leader()
            } else if script.len() > 1 {
                script.pop_front().unwrap()
            } else {
                script[0].clone()
            }
        };
        match next {
            Do::Answer(status, headers, body) => {
                let length = body.len();
                let reply = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
                if connection.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
            }
            Do::Hang => std::future::pending().await,
            Do::Close => return,
        }
    }
}

fn done() -> Do {
    Do::Answer("200 OK", "X-Hezong-Index: 7\r\nX-Hezong-Revision: 3\r\n".into(), "{\"index\":7,\"revision\":3}".into())
}

fn redirect(to: &Stub) -> Do {
    Do::Answer("307 Temporary Redirect", format!("Location: http://{}/key/foo\r\n", to.address), String::new())
}

fn failure(status: &'static str, code: &str) -> Do {
    let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"it says {code}\"}}}}");
    Do::Answer(status, "Retry-After: 1\r\n".into(), body)
}

fn no_leader() -> Do {
    failure("503 Service Unavailable", "no_leader")
}

/// Nobody but who is to hang takes as long as an attempt may, on a slow machine too.
fn quick() -> Options {
    Options {
        timeout: Duration::from_secs(30),
        attempt_timeout: Duration::from_secs(1),
        backoff_max: Duration::from_millis(20),
        ..Options::default()
    }
}

/// The error of a call whose last attempt was not cut short by the call's own end, which says nothing about who was asked, and
/// leaves a write open.
async fn uncut(mut call: impl AsyncFnMut() -> Error) -> Error {
    for _ in 0..20 {
        let error = call().await;
        if !error.to_string().contains("did not answer within") {
            return error;
        }
    }
    panic!("every call was cut short");
}

fn once_key(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("idempotency-key: "))
}

#[tokio::test]
async fn put_redirected_goes_to_leader_and_stays_there() {
    let leader = Stub::new([done()]).await;
    let follower = Stub::new([redirect(&leader)]).await;
    let client = Client::with_options([&follower.address], quick()).unwrap();
    for _ in 0..3 {
        let written = client.put(b"foo", "bar").await.unwrap();
        assert_eq!((written.at.index, written.at.revision), (Some(7), Some(3)));
    }
    assert_eq!(follower.calls().len(), 1, "later writes go to the leader at once");
    assert_eq!(leader.calls().len(), 3);
    assert_eq!(client.endpoints(), [leader.address.clone(), follower.address.clone()]);
}

#[tokio::test]
async fn given_only_asks_nobody_else() {
    let other = Stub::new([done()]).await;
    let stub = Stub::new([redirect(&other), no_leader()]).await;
    let timeout = Duration::from_secs(2);
    let client = Client::with_options([&stub.address], Options { given_only: true, timeout, ..quick() }).unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { tried, .. } if *tried == stub.address), "{error}");
    assert!(stub.heard().len() > 3 && stub.heard().len() == stub.calls().len(), "{:?}", stub.heard());
    assert!(other.heard().is_empty(), "{:?}", other.heard());
}

/// What is left of a cluster without its majority: whoever reads the error sees which nodes are gone and which are not.
#[tokio::test]
async fn nobody_answers_and_each_is_named_with_its_reason() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let left = Stub::new([no_leader()]).await;
    let options = Options { timeout: Duration::from_secs(1), ..quick() };
    let client = Client::with_options([&gone, &left.address], options).unwrap();
    for is_put in [false, true] {
        let error = uncut(async || match is_put {
            false => client.get(b"foo", Level::Default).await.unwrap_err(),
            true => client.put(b"foo", "x").await.unwrap_err(),
        })
        .await;
        let said = error.to_string();
        assert!(matches!(&error, Error::Unavailable { .. }), "{said}");
        assert!(said.contains(&format!("{gone}: Connection refused")), "{said}");
        assert!(said.contains(&format!("{}: ", left.address)), "{said}");
        let times = |address: &str| said.split("; last: ").nth(1).unwrap().matches(address).count();
        assert_eq!((times(&gone), times(&left.address)), (1, 1), "each once: {said}");
    }
}

#[tokio::test]
async fn put_without_leader_is_tried_elsewhere_until_one_is_found() {
    let one = Stub::new([no_leader()]).await;
    let two = Stub::new([no_leader(), no_leader(), done()]).await;
    let client = Client::with_options([&one.address, &two.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!(two.calls().len(), 3);
}

#[tokio::test]
async fn put_retried_carries_the_same_key_and_the_next_another() {
    let stub = Stub::new([Do::Close, Do::Hang, failure("504 Gateway Timeout", "unknown"), done()]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    client.put(b"foo", "bar").await.unwrap();
    let calls = stub.calls();
    let keys: Vec<_> = calls.iter().map(|head| once_key(head).expect("every write carries a key")).collect();
    assert_eq!(keys.len(), 5, "{calls:?}");
    assert!(keys[..4].iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_ne!(keys[4], keys[0]);
}

#[tokio::test]
async fn put_without_key_is_not_repeated_once_it_may_have_happened() {
    let stub = Stub::new([Do::Close, done()]).await;
    let client = Client::with_options([&stub.address], Options { once_only: false, ..quick() }).unwrap();
    let error = client.put(b"foo", "bar").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { key: None, .. }), "{error}");
    assert_eq!(stub.calls().len(), 1);

    // What certainly did not happen may be repeated all the same.
    let stub = Stub::new([no_leader(), done()]).await;
    let client = Client::with_options([&stub.address], Options { once_only: false, ..quick() }).unwrap();
    client.put(b"foo", "bar").await.unwrap();
}

#[tokio::test]
async fn deadline_says_unknown_only_if_something_was_sent() {
    let quick = Options { timeout: Duration::from_secs(1), attempt_timeout: Duration::from_millis(300), ..quick() };
    let silent = Stub::new([Do::Hang]).await;
    let error = Client::with_options([&silent.address], quick.clone()).unwrap().put(b"foo", "bar").await.unwrap_err();
    let Error::Unknown { key: Some(key), .. } = &error else { panic!("{error}") };
    assert_eq!(once_key(&silent.calls()[0]), Some(key.as_str()));
    assert!(error.to_string().contains(key.as_str()), "{error}");

    let error = Client::with_options([&silent.address], quick.clone()).unwrap();
    let error = error.get(b"foo", Level::Default).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let began = Instant::now();
    let error = Client::with_options([&refusing], quick).unwrap().put(b"foo", "bar").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "the deadline holds for connections that are refused");
}

#[tokio::test]
async fn refusal_is_final_and_speaks_for_itself() {
    let stub = Stub::new([failure("413 Payload Too Large", "value_too_large")]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    let error = client.put(b"foo", "bar").await.unwrap_err();
    assert_eq!(error.to_string(), "it says value_too_large");
    assert!(matches!(error, Error::Refused { status: 413, .. }));
    assert_eq!(stub.calls().len(), 1);
}

#[tokio::test]
async fn refusal_after_an_open_attempt_leaves_it_open() {
    // The first attempt may have been carried out; the disk that is full by the second says nothing about that.
    let stub = Stub::new([Do::Close, failure("507 Insufficient Storage", "disk_full")]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    let error = client.put(b"foo", "bar").await.unwrap_err();
    assert!(matches!(&error, Error::Unknown { key: Some(_), .. }), "{error}");

    // A session that has expired since may have lived when the first attempt came.
    let stub = Stub::new([failure("504 Gateway Timeout", "unknown"), failure("410 Gone", "session_gone")]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    let error = client.put_in_session(b"foo", "bar", "17", 1).await.unwrap_err();
    assert!(matches!(&error, Error::Unknown { .. }), "{error}");

    // What the log says of a key, it says of all attempts.
    let stub = Stub::new([Do::Close, failure("422 Unprocessable Entity", "idempotency_key_reused")]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    let error = client.put(b"foo", "bar").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status: 422, .. }), "{error}");
}

#[tokio::test]
async fn stopped_node_is_left_for_another() {
    let stopped = Stub::new([Do::Hang]).await;
    let other = Stub::new([done()]).await;
    let client = Client::with_options([&stopped.address, &other.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!(stopped.calls().len(), 1, "it is left once an attempt has waited in vain");
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!(stopped.calls().len(), 1, "the next write goes where the last one succeeded");
}

#[tokio::test]
async fn stopped_leader_is_not_followed_to_again() {
    // Followers miss a stopped leader later than its clients do, and send them back to it until then.
    let leader = Stub::new([Do::Hang]).await;
    let follower = Stub::new([redirect(&leader), redirect(&leader), redirect(&leader), done()]).await;
    let client = Client::with_options([&leader.address, &follower.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!(leader.calls().len(), 1, "one attempt waited in vain, and no other");
    assert_eq!(leader.heard().len(), 1, "nor is it asked for the members");
    assert_eq!(follower.calls().len(), 4);
}

#[tokio::test]
async fn stopped_leader_is_passed_over_by_reads_from_anywhere() {
    let leader = Stub::new([done(), Do::Hang]).await;
    let other = Stub::new([done()]).await;
    let client = Client::with_options([&leader.address, &other.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    for _ in 0..3 {
        client.get(b"foo", Level::Stale).await.unwrap();
    }
    assert_eq!(leader.calls().len(), 2, "the write, and the one read that waited in vain");
}

#[tokio::test]
async fn leader_that_was_only_slow_is_found_again() {
    let leader = Stub::new([Do::Hang, done()]).await;
    let follower = Stub::new([redirect(&leader)]).await;
    let client = Client::with_options([&leader.address, &follower.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!(leader.calls().len(), 2);

    // Whoever is alone is asked again at once, and once it has answered it is followed to as before.
    let other = Stub::new([done()]).await;
    let alone = Stub::new([Do::Hang, redirect(&other), redirect(&other), done()]).await;
    *other.script.lock().unwrap() = [redirect(&alone)].into();
    let client = Client::with_options([&alone.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    // Were it passed over, the other would send us there again and again for a second.
    assert!(other.calls().len() < 10, "{} times", other.calls().len());
}

#[tokio::test]
async fn follower_that_lets_a_consistent_read_wait_is_not_silent() {
    // Without a leader such a read waits at any node; that must not keep writes from the node that is elected then.
    let elected = Stub::new([Do::Hang, done()]).await;
    let other = Stub::new([done(), redirect(&elected)]).await;
    let client = Client::with_options([&elected.address, &other.address], quick()).unwrap();
    client.get(b"foo", Level::Consistent).await.unwrap();
    client.put(b"foo", "bar").await.unwrap();
    // Were it passed over, the other would send us there again and again for a second.
    assert_eq!((elected.calls().len(), other.calls().len()), (2, 2));
}

#[tokio::test]
async fn put_without_key_to_a_stopped_leader_stays_unknown() {
    let leader = Stub::new([Do::Hang]).await;
    let follower = Stub::new([redirect(&leader), done()]).await;
    let options = Options { once_only: false, ..quick() };
    let client = Client::with_options([&leader.address, &follower.address], options).unwrap();
    let error = client.put(b"foo", "bar").await.unwrap_err();
    assert!(matches!(error, Error::Unknown { key: None, .. }), "{error}");
    // The next write is sent there neither at first nor by redirect: nothing of it can be open.
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!((leader.calls().len(), follower.calls().len()), (1, 2));
}

#[tokio::test]
async fn redirects_in_a_circle_end_at_the_deadline() {
    let one = Stub::new([no_leader()]).await;
    let two = Stub::new([redirect(&one)]).await;
    let circle = Stub::new([redirect(&two)]).await;
    let options = Options { timeout: Duration::from_secs(1), ..quick() };
    let client = Client::with_options([&circle.address], options).unwrap();
    let error = uncut(async || client.put(b"foo", "bar").await.unwrap_err()).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn get_absent_is_none_and_bytes_come_as_they_are() {
    let stub = Stub::new([
        failure("404 Not Found", "key_not_found"),
        Do::Answer("200 OK", "X-Hezong-Modified: 9\r\n".into(), "\u{1}v".into()),
        failure("404 Not Found", "no_such_path"),
    ])
    .await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    assert_eq!(client.get(b"a/b c", Level::Consistent).await.unwrap(), None);
    let found = client.get(b"a", Level::Stale).await.unwrap().unwrap();
    assert_eq!((found.value.as_ref(), found.modified), (&b"\x01v"[..], Some(9)));
    assert!(matches!(client.get(b"a", Level::Stale).await, Err(Error::Refused { status: 404, .. })));
    let calls = stub.calls();
    assert!(calls[0].starts_with("get /key/a/b%20c?raw&level=consistent http"), "{}", calls[0]);
    assert!(calls[1].starts_with("get /key/a?raw&level=stale http"), "{}", calls[1]);
}

#[tokio::test]
async fn scan_reads_texts_and_bytes() {
    let body = r#"{"keys":[{"key":"a","value":{"base64":"/wA="},"created":1,"modified":2,"version":2}],"next":"a"}"#;
    let stub = Stub::new([Do::Answer("200 OK", String::new(), body.into())]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    let page = client.scan(&Scan { prefix: b"a&".to_vec(), limit: Some(5), ..Scan::default() }).await.unwrap();
    assert_eq!(page.pairs[0].value, b"\xff\0");
    assert_eq!(page.next.as_deref(), Some(&b"a"[..]));
    assert!(stub.calls()[0].starts_with("get /keys?prefix=a%26&limit=5 http"), "{}", stub.calls()[0]);
}

#[tokio::test]
async fn members_heard_of_are_tried_when_the_endpoint_given_is_gone() {
    // A follower that redirects to a leader that dies: the client must come back and find the next one.
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let next = Stub::new([done()]).await;
    let to_gone = Do::Answer("307 Temporary Redirect", format!("Location: http://{gone}/key/foo\r\n"), String::new());
    let follower = Stub::new([to_gone.clone(), to_gone, redirect(&next)]).await;
    let client = Client::with_options([&follower.address], quick()).unwrap();
    client.put(b"foo", "bar").await.unwrap();
    assert_eq!(next.calls().len(), 1);
}

#[tokio::test]
async fn remove_repeated_means_the_same_member() {
    let members = |number: u64| {
        let member =
            format!(r#"{{"nodeId":{number},"id":"node03","httpAddr":"h:1","raftAddr":"h:2","suffrage":"voter"}}"#);
        Do::Answer("200 OK", String::new(), format!(r#"{{"clusterId":"c","leader":1,"members":[{member}]}}"#))
    };
    // The first attempt is lost; by the second, the machine may have come back as member 4 under the same label.
    let stub = Stub::new([members(3), Do::Close, no_leader(), members(4)]).await;
    let client = Client::with_options([&stub.address], quick()).unwrap();
    assert_eq!(client.remove("node03").await.unwrap().members[0].node_id, 4);
    let calls = stub.calls();
    assert!(calls[0].starts_with("get /members?level=consistent http"), "{}", calls[0]);
    assert_eq!(calls.len(), 4, "the number is asked once");
    for call in &calls[1..] {
        assert!(call.starts_with("post /remove") && call.ends_with(r#"{"id":"node03","nodeId":3}"#), "{call}");
    }

    let error = client.remove("node07").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status: 404, .. }), "{error}");
    assert_eq!(stub.calls().len(), 5, "nobody was asked to remove anybody");
}

#[test]
fn endpoints_that_are_none_are_refused() {
    for bad in ["", "host", "https://host:1", "a:b:c", "http://", ":8091"] {
        let error = Client::new([bad]).unwrap_err();
        assert!(matches!(error, Error::Endpoint { .. }), "{bad}: {error}");
    }
    assert!(matches!(Client::new([""; 0]), Err(Error::Endpoint { .. })));
    assert!(Client::new(["http://127.0.0.1:8091/", "[::1]:8091"]).is_ok());
}
