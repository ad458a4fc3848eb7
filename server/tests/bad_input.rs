//! What bad input gets: a 4xx and one sentence that names the thing, the limit and the remedy; nothing is stored, and
//! the node lives on.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use support::{Cluster, get, send};

type Headers<'a> = &'a [(&'a str, &'a str)];
/// Method, target, headers, body; then the status, the code, and words that the sentence has.
type Case<'a> = (&'a str, &'a str, Headers<'a>, &'a [u8], u16, &'a str, &'a [&'a str]);

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let mut cluster = Cluster::new(1);
    let node = cluster.nodes[0].http.clone();
    assert_eq!(send(&node, "PUT", "/key/kept", &[], b"kept").unwrap().status, 200);
    let before = get(&node, "/keys").unwrap();

    let long_key = "k".repeat(4_097);
    let long_path = format!("/key/{long_key}");
    let long_in_json = format!("{{\"{long_key}\":\"v\"}}");
    let large = vec![b'v'; (1 << 20) + 1];
    let large_in_json = format!("{{\"k\":\"{}\"}}", "v".repeat((1 << 20) + 1));
    let huge = vec![b' '; (16 << 20) + 1];
    let many = format!("{{{}}}", (0..1_025).map(|n| format!("\"k{n}\":\"v\"")).collect::<Vec<_>>().join(","));
    let long_once = "x".repeat(129);
    let cases: &[Case<'_>] = &[
        ("POST", "/key", &[], b"{\"a\":", 400, "malformed_json", &["JSON"]),
        ("POST", "/key", &[], b"", 400, "malformed_json", &["JSON"]),
        ("POST", "/key", &[], b"[\"a\"]", 400, "malformed_json", &["object"]),
        ("POST", "/key", &[], b"{\"a\":\"b\"}x", 400, "malformed_json", &[]),
        ("POST", "/key", &[], b"\xff\xfe", 400, "malformed_json", &[]),
        ("POST", "/key", &[], b"{\"a\":1}", 400, "not_a_string", &["\"a\"", "quotes"]),
        ("POST", "/key", &[], b"{\"a\":\"1\",\"a\":\"2\"}", 400, "repeated_key", &["\"a\"", "once"]),
        ("POST", "/key", &[], b"{}", 400, "no_keys", &["at least one"]),
        ("POST", "/key", &[], b"{\"\":\"v\"}", 400, "empty_key", &["at least one byte"]),
        ("POST", "/key", &[], long_in_json.as_bytes(), 400, "key_too_long", &["4,097", "4,096", "kv.key_bytes_max"]),
        ("POST", "/key", &[], large_in_json.as_bytes(), 413, "value_too_large", &["1,048,577", "1,048,576"]),
        ("POST", "/key", &[], &huge, 413, "body_too_large", &["16,777,217", "16,777,216"]),
        ("POST", "/key", &[], many.as_bytes(), 400, "too_many_keys", &["1,025", "1,024"]),
        ("POST", "/key?level=stale", &[], b"{\"a\":\"b\"}", 400, "unknown_parameter", &["takes none"]),
        ("PUT", "/key/", &[], b"v", 400, "empty_key", &[]),
        ("PUT", &long_path, &[], b"v", 400, "key_too_long", &["4,097", "4,096"]),
        ("PUT", "/key/a", &[], &large, 413, "value_too_large", &["1,048,577", "1,048,576", "kv.value_bytes_max"]),
        ("PUT", "/key/a%zz", &[], b"v", 400, "bad_encoding", &["%25"]),
        ("PUT", "/key/a", &[("Idempotency-Key", "")], b"v", 400, "bad_header", &["Idempotency-Key", "128"]),
        ("PUT", "/key/a", &[("Idempotency-Key", &long_once)], b"v", 400, "bad_header", &["129", "128"]),
        ("PUT", "/key/a", &[("X-Hezong-Session", "5")], b"v", 400, "bad_header", &["X-Hezong-Sequence"]),
        ("PUT", "/key/a", &[("X-Hezong-Session", "x"), ("X-Hezong-Sequence", "1")], b"v", 400, "bad_session", &[]),
        (
            "PUT",
            "/key/a",
            &[("X-Hezong-Session", "5"), ("X-Hezong-Sequence", "0")],
            b"v",
            400,
            "bad_header",
            &["from 1"],
        ),
        ("PUT", "/key/a", &[("X-Hezong-Session", "5"), ("X-Hezong-Sequence", "1")], b"v", 410, "session_gone", &["5"]),
        ("POST", "/key/a", &[], b"", 400, "missing_parameter", &["?add=1", "PUT"]),
        ("POST", "/key/a?add=x", &[], b"", 400, "bad_parameter", &["\"x\""]),
        ("POST", "/key/kept?add=1", &[], b"", 409, "not_a_number", &["integer"]),
        ("PUT", "/key/kept?if_modified=x", &[], b"v", 400, "bad_parameter", &["if_modified", "whole number"]),
        ("PUT", "/key/kept?if_modified=0", &[], b"v", 412, "condition_failed", &["is there", "X-Hezong-Modified"]),
        ("PUT", "/key/kept?if_modified=999", &[], b"v", 412, "condition_failed", &["revision 999", "read it again"]),
        ("DELETE", "/key/kept?if_modified=999", &[], b"", 412, "condition_failed", &["revision 999"]),
        ("DELETE", "/key/kept", &[], b"body", 400, "unexpected_body", &["no body"]),
        ("DELETE", "/key/kept?level=stale", &[], b"", 400, "unknown_parameter", &[]),
        ("GET", "/key/", &[], b"", 400, "empty_key", &[]),
        ("GET", &long_path, &[], b"", 400, "key_too_long", &["4,097", "4,096"]),
        ("GET", "/key/kept?level=strong", &[], b"", 400, "unknown_level", &["strong", "stale, default, consistent"]),
        ("GET", "/key/kept?levle=stale", &[], b"", 400, "unknown_parameter", &["did you mean \"level\""]),
        ("GET", "/key/kept?min_index=x", &[], b"", 400, "bad_parameter", &["min_index"]),
        ("GET", "/key/kept?raw=maybe", &[], b"", 400, "bad_parameter", &["raw"]),
        ("GET", "/key/kept?raw&raw", &[], b"", 400, "repeated_parameter", &["twice"]),
        ("GET", "/keys?limit=0", &[], b"", 400, "bad_parameter", &["limit is 0"]),
        ("GET", "/keys?limit=10001", &[], b"", 400, "bad_parameter", &["10000"]),
        ("GET", "/keys?perfix=a", &[], b"", 400, "unknown_parameter", &["did you mean \"prefix\""]),
        ("POST", "/session", &[], b"{\"ttlSeconds\":0.1}", 400, "bad_ttl", &["100 ms"]),
        ("POST", "/session", &[], b"{\"ttl\":1}", 400, "unknown_field", &["ttlSeconds"]),
        ("POST", "/session/5/keepalive", &[], b"", 410, "session_gone", &["5"]),
        ("POST", "/join", &[], b"{\"id\":\"node02\"}", 400, "bad_field", &["httpAddr"]),
        (
            "POST",
            "/join",
            &[],
            b"{\"id\":\"\",\"httpAddr\":\"h:1\",\"raftAddr\":\"h:2\"}",
            400,
            "bad_field",
            &["label"],
        ),
        (
            "POST",
            "/join",
            &[],
            b"{\"id\":\"n\",\"httpAddr\":\"0.0.0.0:1\",\"raftAddr\":\"h:2\"}",
            400,
            "bad_field",
            &["httpAddr"],
        ),
        (
            "POST",
            "/join",
            &[],
            b"{\"id\":\"n\",\"httpAddr\":\"h:1\",\"raftAddr\":\"h:2\",\"clusterId\":\"00\"}",
            409,
            "other_cluster",
            &["cluster 00", "empty folder"],
        ),
        ("POST", "/remove", &[], b"{\"id\":\"node07\"}", 404, "no_such_member", &["node07", "/members"]),
        ("POST", "/remove", &[], b"{\"id\":\"node01\"}", 409, "membership", &["last voter"]),
        ("POST", "/remove", &[], b"{}", 400, "bad_field", &["nodeId"]),
        ("GET", "/kez", &[], b"", 404, "no_such_path", &["did you mean /key"]),
    ];
    for (method, target, headers, body, status, code, words) in cases {
        let shown = &target[..target.len().min(60)];
        let reply = send(&node, method, target, headers, body).unwrap_or_else(|| panic!("{method} {shown}: no reply"));
        assert_eq!((reply.status, reply.code().as_str()), (*status, *code), "{method} {shown}: {}", reply.text());
        let message = reply.message();
        for word in *words {
            assert!(message.contains(word), "{method} {shown}: {word:?} is not in {message:?}");
        }
        assert!(!message.ends_with('.') && !message.contains('\n'), "one sentence: {message:?}");
    }
    for (method, target, allow) in [
        ("PATCH", "/key/a", "GET, PUT, POST, DELETE"),
        ("GET", "/key", "POST"),
        ("POST", "/keys", "GET"),
        ("GET", "/join", "POST"),
        ("DELETE", "/status", "GET"),
        ("POST", "/health", "GET"),
        ("PUT", "/session", "POST, DELETE"),
    ] {
        let reply = send(&node, method, target, &[], b"").unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (405, "method_not_allowed"), "{method} {target}");
        assert_eq!(reply.headers["allow"], allow, "{method} {target}");
    }

    let after = get(&node, "/keys").unwrap();
    assert_eq!(after.text(), before.text());
    assert_eq!(after.number("x-hezong-revision"), before.number("x-hezong-revision"), "nothing was changed");
    assert!(cluster.nodes[0].runs());
}

/// What just fits is taken: the limits are where the sentences say they are.
#[test]
fn what_just_fits_is_taken() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0].http;
    let path = format!("/key/{}", "k".repeat(4_096));
    let value = vec![0xa5; 1 << 20];
    assert_eq!(send(node, "PUT", &path, &[("Idempotency-Key", &"x".repeat(128))], &value).unwrap().status, 200);
    assert_eq!(get(node, &format!("{path}?raw")).unwrap().body, value);
    let json = get(node, &path).unwrap().json();
    assert!(json["k".repeat(4_096)]["base64"].is_string(), "bytes that are no text are told apart");
}

/// Who asks before sending (`Expect: 100-continue`, as curl does) is told without having sent anything.
#[test]
fn over_long_body_announced_is_refused_at_once() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0].http;
    let mut connection = TcpStream::connect(node).unwrap();
    let head = "PUT /key/a HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    connection.write_all(head.as_bytes()).unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 413") && said.contains("99,999,999"), "{said}");
}
