//! What is kept out of the log, and in which words; and that bytes from elsewhere never panic.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{add, bytes, delete, put, txn};
use hezong_base::{Index, Rng};
use hezong_kv::{
    Command, Condition, Done, Expect, Limits, Once, Operation, Refusal, Reply, Request, Revision, SessionId,
};

#[test]
fn limits_name_the_thing_the_limit_and_the_remedy() {
    let long = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
    let keyed = |key: Bytes| Request { once: Some(Once::idempotency(key, &add("n", 1))), command: add("n", 1) };
    let plain = Request::plain;
    let open = |ttl| plain(Command::SessionOpen { ttl });
    let absent = |key: &str| Condition { key: bytes(key), expect: Expect::Absent };
    let numbered = Command::SessionClose(SessionId(1));
    let cases = [
        (plain(put(&[("", "1")])), "key is empty; give it at least one byte"),
        (
            plain(Command::Delete(vec![long(4_097)])),
            "key is 4,097 bytes, over the limit of 4,096 (kv.key_bytes_max); shorten it",
        ),
        (
            plain(Command::Put(vec![("k".into(), long(1_048_577))])),
            "value is 1,048,577 bytes, over the limit of 1,048,576 (kv.value_bytes_max); split it over several keys",
        ),
        (
            plain(txn(vec![Condition { key: "k".into(), expect: Expect::Value(long(1_048_577)) }], vec![])),
            "value is 1,048,577 bytes, over the limit of 1,048,576 (kv.value_bytes_max); split it over several keys",
        ),
        (plain(put(&[])), "command names no key; give it at least one"),
        (plain(txn(vec![], vec![])), "command names no key; give it at least one"),
        (
            plain(Command::Delete((0..1_025).map(|number| format!("{number}").into()).collect())),
            "command names 1,025 keys, over the limit of 1,024 (kv.command_keys_max); split it into several",
        ),
        (
            plain(Command::Put((0..9).map(|number| (format!("{number}").into(), long(1 << 20))).collect())),
            "command is 9,437,193 bytes, over the limit of 8,388,608 (kv.command_bytes_max); split it into several",
        ),
        (plain(put(&[("k", "1"), ("k", "2")])), "key \"k\" is changed twice in one command; name it once"),
        (plain(delete(&["k", "k"])), "key \"k\" is changed twice in one command; name it once"),
        (keyed(Bytes::new()), "idempotency key is empty; give it at least one byte"),
        (keyed(long(129)), "idempotency key is 129 bytes, over the limit of 128; a UUID is enough"),
        (open(Duration::from_millis(999)), "session ttl is 999 ms, outside of 1000 to 86400000 ms; choose one within"),
        (
            open(Duration::from_secs(86_401)),
            "session ttl is 86401000 ms, outside of 1000 to 86400000 ms; choose one within",
        ),
        (
            Request { once: Some(Once::session(SessionId(1), 1, &numbered)), command: numbered },
            "sessions cannot be opened, kept alive or closed as a numbered command of a session; leave the number out",
        ),
    ];
    for (request, wanted) in cases {
        let error = request.validate(&Limits::default()).expect_err(wanted);
        assert_eq!(error.to_string(), wanted);
    }
    let at_the_limit = [
        plain(Command::Put(vec![(long(4_096), long(1 << 20))])),
        plain(put(&[("k", "")])),
        plain(txn(vec![absent("k"), absent("k")], vec![Operation::Put { key: "k".into(), value: Bytes::new() }])),
        keyed(long(128)),
        open(Duration::from_secs(1)),
        open(Duration::from_secs(86_400)),
    ];
    for request in at_the_limit {
        assert_eq!(request.validate(&Limits::default()), Ok(()));
    }
}

fn requests() -> Vec<Request> {
    let condition = |expect| Condition { key: "k".into(), expect };
    let every_condition = vec![
        condition(Expect::Absent),
        condition(Expect::Present),
        condition(Expect::Created(Revision(1))),
        condition(Expect::Modified(Revision(u64::MAX))),
        condition(Expect::Version(0)),
        condition(Expect::Value(Bytes::new())),
    ];
    let then = vec![Operation::Put { key: "k".into(), value: "v".into() }, Operation::Delete { key: "k".into() }];
    let commands = [
        put(&[("a", "1"), ("", "")]),
        put(&[]),
        delete(&["a", "b"]),
        delete(&[]),
        txn(every_condition, then),
        add("n", i64::MIN),
        Command::SessionOpen { ttl: Duration::from_nanos(1) },
        Command::SessionKeepAlive(SessionId(7)),
        Command::SessionClose(SessionId(u64::MAX)),
    ];
    let every_way = |command: Command| {
        [
            Request::plain(command.clone()),
            Request { once: Some(Once::idempotency("k", &command)), command: command.clone() },
            Request { once: Some(Once::session(SessionId(7), 9, &command)), command },
        ]
    };
    commands.into_iter().flat_map(every_way).collect()
}

fn replies() -> Vec<Reply> {
    let session = SessionId(7);
    let results = [
        Ok(Done::Put { keys: 3, created: 1 }),
        Ok(Done::Deleted { keys: 0 }),
        Ok(Done::Committed { put: 2, deleted: 1 }),
        Ok(Done::NotHeld { condition: 0 }),
        Ok(Done::Added { value: -1 }),
        Ok(Done::SessionOpened(session)),
        Ok(Done::SessionKept),
        Ok(Done::SessionClosed),
        Err(Refusal::KeyReused),
        Err(Refusal::TooManyKeys { live: 100_000 }),
        Err(Refusal::SessionGone { session }),
        Err(Refusal::SequenceOld { last: 0 }),
        Err(Refusal::SequenceGap { expected: 1 }),
        Err(Refusal::SequenceReused),
        Err(Refusal::SessionInSession),
        Err(Refusal::TooManySessions { open: 1 }),
        Err(Refusal::NotANumber),
        Err(Refusal::OutOfRange),
    ];
    let reply =
        |(place, result)| Reply { index: Index(9), revision: Revision(place as u64), repeated: place % 2 == 0, result };
    results.into_iter().enumerate().map(reply).collect()
}

#[test]
fn requests_and_replies_come_back_as_they_went() {
    for request in requests() {
        assert_eq!(Request::decode(request.encode()).unwrap(), request);
    }
    for reply in replies() {
        assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply);
    }
}

/// Digests lie in logs and in recorded outcomes: a change of encoding must not change them.
#[test]
fn digest_of_a_command_is_fixed() {
    let digest = put(&[("foo", "bar")]).digest();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    // SHA-256 of 82 01 0c (field 16, 12 bytes) 0a 0a (field 1, 10 bytes) 0a 03 foo 12 03 bar.
    assert_eq!(hex, "61ff332f4fac2f7f2ff194e00cb861632020d8ac520e032fede70512417845b7");
    assert_ne!(put(&[("foo", "baz")]).digest(), digest);
}

#[test]
fn hostile_bytes_never_panic() {
    let mut rng = Rng::new(11);
    let seeds: Vec<Bytes> = requests().iter().map(Request::encode).chain(replies().iter().map(Reply::encode)).collect();
    let mut understood = 0;
    for _ in 0..200_000 {
        let mut bytes = seeds[usize::try_from(rng.below(seeds.len() as u64)).unwrap()].to_vec();
        for _ in 0..=rng.below(3) {
            match rng.below(3) {
                0 => bytes.truncate(usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap()),
                1 => bytes.push(rng.next_u64() as u8),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
                    bytes[at] = rng.next_u64() as u8;
                }
            }
        }
        understood += u32::from(Reply::decode(&bytes).is_ok()) + u32::from(Request::decode(bytes.into()).is_ok());
    }
    assert!(understood > 1_000, "some of them still mean something: {understood}");
}
