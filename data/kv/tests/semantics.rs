//! What each command does, one table a topic: an entry, and what is answered and found afterwards.

mod common;

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, add, delete, put, revisions, txn};
use hezong_base::{Index, LogId};
use hezong_kv::{
    Command, Condition, DecodeError, Done, Expect, Kv, KvError, Once, Operation, Refusal, Reply, Request, Revision,
    Rules, SessionId,
};
use hezong_node::{StateError, StateMachine};
use hezong_raft::{Entry, Member, Membership, Payload};
use hezong_store::ModelStore;
use prost::Message;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn put_sets_all_keys_at_one_revision() {
    let mut kv = Cluster::new();
    assert_eq!(kv.apply(put(&[("a", "1"), ("b", "2")])), Ok(Done::Put { keys: 2, created: 2 }));
    assert_eq!(kv.apply(put(&[("a", "3"), ("c", "4")])), Ok(Done::Put { keys: 2, created: 1 }));
    assert_eq!(revisions(&kv, "a"), Some(("3".into(), 1, 2, 2)));
    assert_eq!(revisions(&kv, "b"), Some(("2".into(), 1, 1, 1)));
    assert_eq!(revisions(&kv, "c"), Some(("4".into(), 2, 2, 1)));
    let view = kv.view();
    assert_eq!((view.revision(), view.keys(), view.index()), (Revision(2), 3, Some(Index(2))));
}

#[test]
fn delete_absent_takes_no_revision() {
    let mut kv = Cluster::new();
    kv.apply(put(&[("a", "1")])).unwrap();
    let reply = kv.reply(Request::plain(delete(&["x"])));
    assert_eq!((reply.result, reply.revision, reply.index), (Ok(Done::Deleted { keys: 0 }), Revision(1), Index(2)));
    let reply = kv.reply(Request::plain(delete(&["a", "x"])));
    assert_eq!((reply.result, reply.revision, reply.index), (Ok(Done::Deleted { keys: 1 }), Revision(2), Index(3)));
    assert_eq!((revisions(&kv, "a"), kv.view().keys()), (None, 0));
}

#[test]
fn delete_then_put_creates_anew() {
    let mut kv = Cluster::new();
    for command in [put(&[("a", "1")]), put(&[("a", "2")]), delete(&["a"]), put(&[("a", "3")])] {
        kv.apply(command).unwrap();
    }
    assert_eq!(revisions(&kv, "a"), Some(("3".into(), 4, 4, 1)));
}

#[test]
fn txn_every_condition() {
    let value = |text: &str| Expect::Value(Bytes::copy_from_slice(text.as_bytes()));
    // Key `a` has the value 2, was created at revision 1, last changed at 3 and is in its second version.
    let cases = [
        ("a", Expect::Present, true),
        ("a", Expect::Absent, false),
        ("a", Expect::Created(Revision(1)), true),
        ("a", Expect::Created(Revision(3)), false),
        ("a", Expect::Modified(Revision(3)), true),
        ("a", Expect::Modified(Revision(1)), false),
        ("a", Expect::Version(2), true),
        ("a", Expect::Version(1), false),
        ("a", value("2"), true),
        ("a", value("1"), false),
        ("x", Expect::Present, false),
        ("x", Expect::Absent, true),
        ("x", Expect::Created(Revision(0)), false),
        ("x", Expect::Modified(Revision(0)), false),
        ("x", Expect::Version(0), false),
        ("x", value(""), false),
    ];
    for (key, expect, holds) in cases {
        let mut kv = Cluster::new();
        for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
            kv.apply(put(&[(key, value)])).unwrap();
        }
        let condition = Condition { key: Bytes::copy_from_slice(key.as_bytes()), expect: expect.clone() };
        let then = vec![Operation::Put { key: "new".into(), value: "!".into() }, Operation::Delete { key: "b".into() }];
        let done = kv.apply(Command::Txn { conditions: vec![condition], then });
        let (wanted, revision) =
            if holds { (Done::Committed { put: 1, deleted: 1 }, 4) } else { (Done::NotHeld { condition: 0 }, 3) };
        assert_eq!(done, Ok(wanted), "{key} {expect:?}");
        assert_eq!(revisions(&kv, "new").is_some(), holds, "{key} {expect:?}");
        assert_eq!(revisions(&kv, "b").is_none(), holds, "{key} {expect:?}");
        assert_eq!(kv.view().revision(), Revision(revision), "{key} {expect:?}");
    }
}

#[test]
fn txn_names_the_first_condition_that_does_not_hold() {
    let mut kv = Cluster::new();
    kv.apply(put(&[("a", "1")])).unwrap();
    let condition = |key: &'static str, expect| Condition { key: key.into(), expect };
    let conditions =
        vec![condition("a", Expect::Present), condition("b", Expect::Present), condition("a", Expect::Absent)];
    assert_eq!(kv.apply(txn(conditions, vec![])), Ok(Done::NotHeld { condition: 1 }));
}

#[test]
fn add_counts_and_refuses() {
    let mut kv = Cluster::new();
    assert_eq!(kv.apply(add("n", 5)), Ok(Done::Added { value: 5 }));
    assert_eq!(kv.apply(add("n", -7)), Ok(Done::Added { value: -2 }));
    assert_eq!(revisions(&kv, "n"), Some(("-2".into(), 1, 2, 2)));
    kv.apply(put(&[("n", "9223372036854775807"), ("t", "text"), ("e", "")])).unwrap();
    assert_eq!(kv.apply(add("n", 1)), Err(Refusal::OutOfRange));
    assert_eq!(kv.apply(add("t", 1)), Err(Refusal::NotANumber));
    assert_eq!(kv.apply(add("e", 1)), Err(Refusal::NotANumber));
    assert_eq!(revisions(&kv, "t"), Some(("text".into(), 3, 3, 1)));
    assert_eq!(kv.view().revision(), Revision(3));
}

/// RAFT-10: a client pays 100 coins, times out and sends it 5 times.
#[test]
fn coins_sent_five_times_are_credited_once() {
    let mut kv = Cluster::new();
    let pay = Request { once: Some(Once::idempotency("pay-1", &add("coins", 100))), command: add("coins", 100) };
    let first = kv.reply(pay.clone());
    assert_eq!((first.repeated, &first.result), (false, &Ok(Done::Added { value: 100 })));
    kv.apply(put(&[("between", "1")])).unwrap();
    for _ in 0..4 {
        kv.wait(MINUTE);
        assert_eq!(kv.reply(pay.clone()), Reply { repeated: true, ..first.clone() });
    }
    assert_eq!(revisions(&kv, "coins").unwrap().0, "100");
}

#[test]
fn idempotency_window_ends_by_log_time() {
    let mut kv = Cluster::new();
    let once = Once::idempotency("k", &add("n", 1));
    let request = Request { once: Some(once), command: add("n", 1) };
    assert!(!kv.reply(request.clone()).repeated);
    kv.wait(10 * MINUTE);
    assert!(kv.reply(request.clone()).repeated, "the last moment of the window");
    kv.wait(Duration::from_nanos(1));
    assert!(!kv.reply(request).repeated, "a retry does not lengthen the window");
    assert_eq!(kv.view().once(), 1);
}

#[test]
fn idempotency_key_with_another_body_is_refused() {
    let mut kv = Cluster::new();
    let keyed = |command: Command| Request { once: Some(Once::idempotency("k", &command)), command };
    kv.reply(keyed(add("n", 1)));
    assert_eq!(kv.reply(keyed(add("n", 2))).result, Err(Refusal::KeyReused));
    assert_eq!(revisions(&kv, "n").unwrap().0, "1");
}

#[test]
fn idempotency_records_refusals_of_the_command() {
    let mut kv = Cluster::new();
    kv.apply(put(&[("n", "text")])).unwrap();
    let request = Request { once: Some(Once::idempotency("k", &add("n", 1))), command: add("n", 1) };
    assert_eq!(kv.reply(request.clone()).result, Err(Refusal::NotANumber));
    kv.apply(put(&[("n", "1")])).unwrap();
    let again = kv.reply(request);
    assert_eq!((again.repeated, again.result), (true, Err(Refusal::NotANumber)));
}

#[test]
fn idempotency_full_refuses_new_keys_and_keeps_live_ones() {
    for rules in [
        Rules { once_max: 3, ..Rules::default() },
        // Three keys of one byte with a reply each; the fourth would pass the bound.
        Rules { once_bytes_max: 4 * 65, ..Rules::default() },
    ] {
        let mut kv = Cluster::with(rules.clone());
        let keyed = |key: &str| {
            let command = add("n", 1);
            Request { once: Some(Once::idempotency(Bytes::copy_from_slice(key.as_bytes()), &command)), command }
        };
        for key in ["1", "2", "3"] {
            assert!(kv.reply(keyed(key)).result.is_ok(), "{rules:?}");
        }
        assert_eq!(kv.reply(keyed("4")).result, Err(Refusal::TooManyKeys { live: 3 }), "{rules:?}");
        assert!(kv.reply(keyed("1")).repeated, "{rules:?}");
        assert_eq!(kv.apply(add("n", 1)), Ok(Done::Added { value: 4 }), "writes without a key go on");
        kv.wait(10 * MINUTE + Duration::from_nanos(1));
        assert!(kv.reply(keyed("4")).result.is_ok(), "{rules:?}");
        assert_eq!(kv.view().once(), 1, "{rules:?}");
    }
}

#[test]
fn session_numbers_are_applied_in_order_and_once() {
    let mut kv = Cluster::new();
    let session = kv.open_session(MINUTE);
    assert_eq!(session, SessionId(1));
    let mut send = |sequence, delta| {
        let command = add("n", delta);
        kv.reply(Request { once: Some(Once::session(session, sequence, &command)), command })
    };
    assert_eq!(send(0, 1).result, Err(Refusal::SequenceOld { last: 0 }));
    assert_eq!(send(2, 1).result, Err(Refusal::SequenceGap { expected: 1 }));
    let first = send(1, 1);
    assert_eq!((first.repeated, &first.result), (false, &Ok(Done::Added { value: 1 })));
    assert_eq!(send(1, 1), Reply { repeated: true, ..first });
    assert_eq!(send(1, 2).result, Err(Refusal::SequenceReused));
    assert_eq!(send(2, 10).result, Ok(Done::Added { value: 11 }));
    assert_eq!(send(1, 1).result, Err(Refusal::SequenceOld { last: 2 }));
    assert_eq!(send(4, 1).result, Err(Refusal::SequenceGap { expected: 3 }));
    assert_eq!(revisions(&kv, "n").unwrap().0, "11");
}

#[test]
fn session_expires_by_log_time_and_is_never_applied_then() {
    let mut kv = Cluster::new();
    let session = kv.open_session(MINUTE);
    let command = add("n", 1);
    let request =
        |sequence| Request { once: Some(Once::session(session, sequence, &command)), command: command.clone() };
    kv.wait(MINUTE);
    assert!(kv.reply(request(1)).result.is_ok(), "alive in its last moment");
    kv.wait(MINUTE);
    assert_eq!(kv.apply(Command::SessionKeepAlive(session)), Ok(Done::SessionKept), "a request is a use");
    kv.wait(MINUTE + Duration::from_nanos(1));
    assert_eq!(kv.reply(request(2)).result, Err(Refusal::SessionGone { session }));
    assert_eq!(kv.reply(request(1)).result, Err(Refusal::SessionGone { session }), "a retry neither");
    assert_eq!(kv.apply(Command::SessionKeepAlive(session)), Err(Refusal::SessionGone { session }));
    assert_eq!((revisions(&kv, "n").unwrap().0, kv.view().sessions()), ("1".into(), 0));
}

#[test]
fn session_is_swept_without_being_named() {
    let mut kv = Cluster::new();
    let (short, long) = (kv.open_session(MINUTE), kv.open_session(3 * MINUTE));
    kv.wait(MINUTE);
    assert_eq!(kv.apply(Command::SessionKeepAlive(short)), Ok(Done::SessionKept));
    kv.wait(Duration::from_secs(30));
    kv.apply(put(&[("a", "1")])).unwrap();
    assert_eq!(kv.view().sessions(), 2, "kept alive past its first due time");
    kv.wait(MINUTE);
    kv.apply(put(&[("a", "1")])).unwrap();
    assert_eq!(kv.view().sessions(), 1);
    assert_eq!(kv.apply(Command::SessionClose(long)), Ok(Done::SessionClosed));
    assert_eq!(kv.apply(Command::SessionClose(long)), Err(Refusal::SessionGone { session: long }));
    assert_eq!(kv.view().sessions(), 0);
}

#[test]
fn session_table_is_bounded() {
    let mut kv = Cluster::with(Rules { sessions_max: 1, ..Rules::default() });
    let session = kv.open_session(MINUTE);
    assert_eq!(kv.apply(Command::SessionOpen { ttl: MINUTE }), Err(Refusal::TooManySessions { open: 1 }));
    kv.apply(Command::SessionClose(session)).unwrap();
    assert_eq!(kv.open_session(MINUTE), SessionId(4));
}

#[test]
fn session_table_makes_room_before_it_refuses() {
    let mut kv = Cluster::with(Rules { sessions_max: 2, sweep_max: 1, ..Rules::default() });
    let (kept, _expires) = (kv.open_session(MINUTE), kv.open_session(MINUTE));
    kv.wait(MINUTE);
    kv.apply(Command::SessionKeepAlive(kept)).unwrap();
    kv.wait(Duration::from_secs(1));
    // The one step of the sweep goes to the session that was kept alive.
    kv.open_session(MINUTE);
    assert_eq!(kv.view().sessions(), 2);
}

#[test]
fn session_opened_once_by_key() {
    let mut kv = Cluster::new();
    let command = Command::SessionOpen { ttl: MINUTE };
    let request = Request { once: Some(Once::idempotency("open", &command)), command };
    let first = kv.reply(request.clone());
    assert_eq!(kv.reply(request), Reply { repeated: true, ..first });
    assert_eq!(kv.view().sessions(), 1);
}

#[test]
fn session_commands_are_refused_as_numbered_ones() {
    let mut kv = Cluster::new();
    let session = kv.open_session(MINUTE);
    let command = Command::SessionClose(session);
    let request = Request { once: Some(Once::session(session, 1, &command)), command };
    assert_eq!(kv.reply(request).result, Err(Refusal::SessionInSession));
}

#[test]
fn range_pages_in_order() {
    let mut kv = Cluster::new();
    kv.apply(put(&[("a/1", "1"), ("a/2", "2"), ("a/3", "3"), ("b", "4"), ("\u{7f}", "5")])).unwrap();
    let view = kv.view();
    let page = |prefix: &str, after: Option<&str>, limit, bytes| {
        let page = view.range(prefix.as_bytes(), after.map(str::as_bytes), limit, bytes).unwrap();
        let keys: Vec<_> = page.items.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect();
        (keys.join(" "), page.more)
    };
    assert_eq!(page("a/", None, 2, 1 << 20), ("a/1 a/2".into(), true));
    assert_eq!(page("a/", Some("a/2"), 2, 1 << 20), ("a/3".into(), false));
    assert_eq!(page("a/", Some("a/25"), 2, 1 << 20), ("a/3".into(), false));
    assert_eq!(page("a/", Some("a"), 3, 1 << 20), ("a/1 a/2 a/3".into(), false));
    assert_eq!(page("a/", Some("z"), 2, 1 << 20), (String::new(), false));
    assert_eq!(page("a/", None, 9, 1), ("a/1".into(), true));
    assert_eq!(page("", None, 9, 1 << 20), ("a/1 a/2 a/3 b \u{7f}".into(), false));
    assert_eq!(page("", None, 0, 1 << 20), (String::new(), true));
}

#[test]
fn view_does_not_change_under_a_reader() {
    let mut kv = Cluster::new();
    kv.apply(put(&[("a", "1")])).unwrap();
    let before = kv.view();
    kv.apply(put(&[("a", "2"), ("b", "2")])).unwrap();
    assert_eq!((before.index(), before.revision(), before.keys()), (Some(Index(1)), Revision(1), 1));
    assert_eq!(&before.get(b"a").unwrap().unwrap().value[..], b"1");
    assert_eq!(before.get(b"b").unwrap(), None);
}

#[test]
fn base_follows_every_entry() {
    let mut kv = Kv::open(ModelStore::new(), "g1", Rules::default()).unwrap();
    assert_eq!(kv.applied().unwrap(), None);
    let member = Member { name: "node01".into(), peer: "h:1".into(), client: "h:2".into() };
    let (one, two) = (hezong_base::NodeId(1), hezong_base::NodeId(2));
    let membership = Membership::of_voters([(one, member.clone()), (two, member)]).with_outgoing([two].into());
    let entry = |index, payload| Entry { id: LogId::new(3, index), time: Duration::from_nanos(index * 10), payload };
    let entries = [entry(1, Payload::Membership(membership.clone())), entry(2, Payload::Empty)];
    assert_eq!(kv.apply(&entries).unwrap(), [Bytes::new(), Bytes::new()]);
    let base = kv.applied().unwrap().unwrap();
    assert_eq!((base.last, base.time), (Some(LogId::new(3, 2)), Duration::from_nanos(20)));
    assert_eq!(base.membership, membership);
    assert_eq!(kv.persist().unwrap(), Some(LogId::new(3, 2)));
}

/// What failed.
fn cause(error: &StateError) -> Option<&KvError> {
    error.source()?.downcast_ref()
}

#[test]
fn entries_out_of_order_stop_the_node() {
    let mut kv = Cluster::new();
    kv.apply(put(&[("a", "1")])).unwrap();
    for index in [1, 3] {
        let entry = Entry { id: LogId::new(1, index), time: Duration::ZERO, payload: Payload::Empty };
        let error = kv.kv.apply(&[entry]).unwrap_err();
        assert!(matches!(cause(&error), Some(KvError::Order { expected: Index(2), .. })), "{error}");
    }
}

#[test]
fn commands_of_a_newer_version_stop_the_node() {
    /// A request with a format and a command as a later version might write them.
    #[derive(Clone, PartialEq, Message)]
    struct Newer {
        #[prost(uint32, tag = "1")]
        format: u32,
        #[prost(bytes = "bytes", tag = "200")]
        command: Bytes,
    }
    let unknown = Newer { format: 1, command: "x".into() }.encode_to_vec();
    let newer = Newer { format: 2, command: "x".into() }.encode_to_vec();
    let garbage = vec![0xff; 7];
    for (bytes, wanted) in [(unknown, "does not know"), (newer, "format 2"), (garbage, "cannot be decoded")] {
        let mut kv = Cluster::new();
        kv.apply(put(&[("a", "1")])).unwrap();
        let good = Payload::Command(Request::plain(put(&[("a", "2")])).encode());
        let entry = |index, payload| Entry { id: LogId::new(1, index), time: Duration::ZERO, payload };
        let error = kv.kv.apply(&[entry(2, good), entry(3, Payload::Command(bytes.into()))]).unwrap_err();
        let Some(KvError::Entry { index: Index(3), source }) = cause(&error) else { panic!("{error}") };
        assert!(source.to_string().contains(wanted), "{source}");
        assert_eq!(revisions(&kv, "a").unwrap().0, "1", "nothing of a slice that fails is applied");
    }
    assert_eq!(Request::decode(Bytes::new()), Err(DecodeError::Unknown));
}
