//! The state machine against a deliberately dumb twin, under random commands, slices and crashes.
//!
//! The twin keeps everything in maps, forgets by looking at all of it before every entry, and knows neither batches nor
//! records. Where the machine's sweep is lazy, the twin is not, so a difference in when something is forgotten shows.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::entry;
use hezong_base::{Index, LogId, Rng};
use hezong_kv::{
    Command, Condition, Done, Expect, Kv, KvError, Limits, Once, Operation, Refusal, Reply, Request, RequestDigest,
    Revision, Rules, SessionId,
};
use hezong_node::StateMachine;
use hezong_raft::Entry;
use hezong_store::{ModelStore, Store};

#[derive(Clone)]
struct Value {
    value: Bytes,
    created: u64,
    modified: u64,
    version: u64,
}

struct Session {
    ttl: Duration,
    used: Duration,
    last: Option<(u64, RequestDigest, Reply)>,
}

#[derive(Default)]
struct Twin {
    rules: Rules,
    index: u64,
    now: Duration,
    revision: u64,
    keys: BTreeMap<Bytes, Value>,
    once: BTreeMap<Bytes, (RequestDigest, Reply, Duration)>,
    sessions: BTreeMap<u64, Session>,
}

impl Twin {
    fn apply(&mut self, time: Duration, request: &Request) -> Reply {
        self.index += 1;
        self.now = time;
        self.once.retain(|_, (_, _, first)| time - *first <= self.rules.once_window);
        self.sessions.retain(|_, session| time <= session.used + session.ttl);
        let refuse = |twin: &Self, refusal| twin.reply(Err(refusal));
        match &request.once {
            None => {
                let result = self.execute(&request.command);
                self.reply(result)
            }
            Some(Once::Idempotency { key, digest }) => {
                if let Some((known, reply, _)) = self.once.get(key) {
                    let same = known == digest;
                    let again = Reply { repeated: true, ..reply.clone() };
                    return if same { again } else { refuse(self, Refusal::KeyReused) };
                }
                if self.once.len() as u64 >= self.rules.once_max {
                    return refuse(self, Refusal::TooManyKeys { live: self.once.len() as u64 });
                }
                let result = self.execute(&request.command);
                let reply = self.reply(result);
                self.once.insert(key.clone(), (*digest, reply.clone(), time));
                reply
            }
            Some(Once::Session { session, sequence, digest }) => {
                let Some(known) = self.sessions.get_mut(&session.0) else {
                    return refuse(self, Refusal::SessionGone { session: *session });
                };
                known.used = time;
                let last = known.last.as_ref().map_or(0, |(sequence, ..)| *sequence);
                if let Some((_, known, reply)) = known.last.as_ref().filter(|_| *sequence == last) {
                    let same = known == digest;
                    let again = Reply { repeated: true, ..reply.clone() };
                    return if same { again } else { refuse(self, Refusal::SequenceReused) };
                }
                if *sequence <= last {
                    return refuse(self, Refusal::SequenceOld { last });
                }
                if *sequence != last + 1 {
                    return refuse(self, Refusal::SequenceGap { expected: last + 1 });
                }
                let result = self.execute(&request.command);
                let reply = self.reply(result);
                self.sessions.get_mut(&session.0).unwrap().last = Some((*sequence, *digest, reply.clone()));
                reply
            }
        }
    }

    fn reply(&self, result: Result<Done, Refusal>) -> Reply {
        Reply { index: Index(self.index), revision: Revision(self.revision), repeated: false, result }
    }

    fn execute(&mut self, command: &Command) -> Result<Done, Refusal> {
        let next = self.revision + 1;
        let before = self.keys.clone();
        let result = match command {
            Command::Put(pairs) => {
                let created = pairs.iter().filter(|(key, _)| !before.contains_key(key)).count() as u64;
                pairs.iter().for_each(|(key, value)| self.put(next, key, value));
                Ok(Done::Put { keys: pairs.len() as u64, created })
            }
            Command::Delete(keys) => {
                keys.iter().for_each(|key| drop(self.keys.remove(key)));
                Ok(Done::Deleted { keys: (before.len() - self.keys.len()) as u64 })
            }
            Command::Txn { conditions, then } => match conditions.iter().position(|condition| !self.holds(condition)) {
                Some(place) => Ok(Done::NotHeld { condition: place as u64 }),
                None => {
                    let (mut put, mut deleted) = (0, 0);
                    for operation in then {
                        match operation {
                            Operation::Put { key, value } => {
                                self.put(next, key, value);
                                put += 1;
                            }
                            Operation::Delete { key } => deleted += u64::from(self.keys.remove(key).is_some()),
                        }
                    }
                    Ok(Done::Committed { put, deleted })
                }
            },
            Command::Add { key, delta } => {
                let before = self.keys.get(key).map_or(Some(0), |value| {
                    std::str::from_utf8(&value.value).ok().and_then(|text| text.parse::<i64>().ok())
                });
                match before.map(|before| before.checked_add(*delta)) {
                    None => Err(Refusal::NotANumber),
                    Some(None) => Err(Refusal::OutOfRange),
                    Some(Some(value)) => {
                        self.put(next, key, &Bytes::from(value.to_string()));
                        Ok(Done::Added { value })
                    }
                }
            }
            Command::SessionOpen { ttl } if (self.sessions.len() as u64) < self.rules.sessions_max => {
                self.sessions.insert(self.index, Session { ttl: *ttl, used: self.now, last: None });
                Ok(Done::SessionOpened(SessionId(self.index)))
            }
            Command::SessionOpen { .. } => Err(Refusal::TooManySessions { open: self.sessions.len() as u64 }),
            Command::SessionKeepAlive(session) => match self.sessions.get_mut(&session.0) {
                Some(known) => {
                    known.used = self.now;
                    Ok(Done::SessionKept)
                }
                None => Err(Refusal::SessionGone { session: *session }),
            },
            Command::SessionClose(session) => match self.sessions.remove(&session.0) {
                Some(_) => Ok(Done::SessionClosed),
                None => Err(Refusal::SessionGone { session: *session }),
            },
        };
        let same = |(a, b): ((&Bytes, &Value), (&Bytes, &Value))| a.0 == b.0 && a.1.modified == b.1.modified;
        if self.keys.len() != before.len() || !self.keys.iter().zip(&before).all(same) {
            self.revision = next;
        }
        result
    }

    fn put(&mut self, revision: u64, key: &Bytes, value: &Bytes) {
        let (created, version) = self.keys.get(key).map_or((revision, 1), |old| (old.created, old.version + 1));
        self.keys.insert(key.clone(), Value { value: value.clone(), created, modified: revision, version });
    }

    fn holds(&self, condition: &Condition) -> bool {
        let found = self.keys.get(&condition.key);
        match &condition.expect {
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Created(revision) => found.is_some_and(|value| value.created == revision.0),
            Expect::Modified(revision) => found.is_some_and(|value| value.modified == revision.0),
            Expect::Version(version) => found.is_some_and(|value| value.version == *version),
            Expect::Value(wanted) => found.is_some_and(|value| value.value == *wanted),
        }
    }
}

/// Requests over few keys, few idempotency keys and the sessions opened so far, so that they meet.
struct Requests {
    rng: Rng,
    sessions: Vec<(SessionId, u64)>,
}

impl Requests {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound as u64)).unwrap()
    }

    fn key(&mut self) -> Bytes {
        ["a", "b", "c", "d", "n", "m"][self.below(6)].into()
    }

    fn value(&mut self) -> Bytes {
        ["", "1", "-2", "text", "9223372036854775807"][self.below(5)].into()
    }

    fn session(&mut self) -> SessionId {
        let place = self.below(self.sessions.len() + 1);
        self.sessions.get(place).map_or(SessionId(1), |(session, _)| *session)
    }

    fn condition(&mut self, twin: &Twin) -> Condition {
        let key = self.key();
        let near = |number: u64| Revision(number.saturating_sub(u64::from(twin.index.is_multiple_of(2))));
        let found = twin.keys.get(&key).cloned();
        let found = found.unwrap_or(Value { value: Bytes::new(), created: 0, modified: 0, version: 0 });
        let expect = match self.below(6) {
            0 => Expect::Absent,
            1 => Expect::Present,
            2 => Expect::Created(near(found.created)),
            3 => Expect::Modified(near(found.modified)),
            4 => Expect::Version(near(found.version).0),
            _ => Expect::Value(if self.rng.chance(500) { found.value } else { self.value() }),
        };
        Condition { key, expect }
    }

    fn command(&mut self, twin: &Twin) -> Command {
        match self.below(12) {
            0..3 => Command::Put((0..=self.below(3)).map(|_| (self.key(), self.value())).collect()),
            3 | 4 => Command::Delete((0..=self.below(2)).map(|_| self.key()).collect()),
            5 | 6 => Command::Txn {
                conditions: (0..self.below(3)).map(|_| self.condition(twin)).collect(),
                then: (0..self.below(3))
                    .map(|_| match self.rng.chance(600) {
                        true => Operation::Put { key: self.key(), value: self.value() },
                        false => Operation::Delete { key: self.key() },
                    })
                    .collect(),
            },
            7 | 8 => Command::Add { key: self.key(), delta: self.below(7) as i64 - 3 },
            9 => Command::SessionOpen { ttl: Duration::from_millis(self.rng.below(300)) },
            10 => Command::SessionKeepAlive(self.session()),
            _ if self.rng.chance(300) => Command::SessionClose(self.session()),
            _ => Command::Put(vec![(self.key(), self.value())]),
        }
    }

    fn request(&mut self, twin: &Twin) -> Request {
        // What validation refuses never reaches a log, as a key changed twice in one command.
        let limits = Limits { session_ttl_min: Duration::ZERO, ..Limits::default() };
        let command = loop {
            let command = self.command(twin);
            if command.validate(&limits).is_ok() {
                break command;
            }
        };
        let once = match self.below(3) {
            0 => None,
            1 => Some(Once::idempotency(format!("once {}", self.rng.below(12)), &command)),
            _ if self.sessions.is_empty() || matches!(command, Command::SessionOpen { .. }) => None,
            _ if matches!(command, Command::SessionKeepAlive(_) | Command::SessionClose(_)) => None,
            _ => {
                let place = self.below(self.sessions.len());
                let (session, sequence) = &mut self.sessions[place];
                // Mostly the next number, sometimes one left out, repeated or long past.
                match self.rng.below(10) {
                    0 => *sequence += 2,
                    1 => *sequence = sequence.saturating_sub(1),
                    2 => {}
                    _ => *sequence += 1,
                }
                Some(Once::session(*session, *sequence, &command))
            }
        };
        Request { once, command }
    }
}

/// How often each kind of outcome came up: a kind that never does is not tested.
type Seen = BTreeMap<String, u64>;

fn rules() -> Rules {
    Rules {
        once_window: Duration::from_millis(200),
        once_max: 8,
        sessions_max: 5,
        // Slower than what expires at once, so that what is left over must be treated as forgotten.
        sweep_max: 2,
        ..Rules::default()
    }
}

/// A log of random requests with the twin's replies, and the twin after it.
fn history(seed: u64, length: u64, seen: &mut Seen) -> (Vec<Entry>, Vec<Reply>, Twin) {
    let mut twin = Twin { rules: rules(), ..Twin::default() };
    let mut requests = Requests { rng: Rng::new(seed), sessions: Vec::new() };
    let (mut entries, mut replies): (Vec<Entry>, Vec<Reply>) = (Vec::new(), Vec::new());
    let mut log: Vec<Request> = Vec::new();
    let mut time = Duration::ZERO;
    for index in 1..=length {
        // Mostly a little or not at all, so that tables fill up; sometimes beyond every window.
        time += Duration::from_millis([0, 0, 0, 1, 3, 3, 7, 7, 7, 20, 50, 500][requests.below(12)]);
        // A retry of an earlier request now and then, as it was.
        let retry = requests.rng.chance(250).then(|| log.len().checked_sub(1 + requests.below(6))).flatten();
        let request = match retry {
            Some(place) => log[place].clone(),
            None => requests.request(&twin),
        };
        let reply = twin.apply(time, &request);
        if let Ok(Done::SessionOpened(session)) = reply.result {
            requests.sessions.push((session, 0));
            let forget = requests.sessions.len().saturating_sub(6);
            requests.sessions.drain(..forget);
        }
        let kind = format!("{:?}", reply.result).replace("SessionOpened(", "SessionOpened ");
        *seen
            .entry(kind.split([' ', '{', ')']).take(1).collect::<String>() + if reply.repeated { " again" } else { "" })
            .or_default() += 1;
        entries.push(entry(index, time, &request));
        replies.push(reply);
        log.push(request);
    }
    (entries, replies, twin)
}

fn digest(kv: &Kv<impl Store>) -> [u8; 32] {
    kv.reader().view().unwrap().digest().unwrap()
}

fn matches_twin(kv: &Kv<impl Store>, twin: &Twin) {
    let view = kv.reader().view().unwrap();
    let page = view.range(b"", None, usize::MAX, usize::MAX).unwrap();
    let held: Vec<_> =
        page.items.into_iter().map(|kv| (kv.key, kv.value, kv.created.0, kv.modified.0, kv.version)).collect();
    let wanted: Vec<_> = twin
        .keys
        .iter()
        .map(|(key, value)| (key.clone(), value.value.clone(), value.created, value.modified, value.version))
        .collect();
    assert_eq!(held, wanted);
    assert_eq!((view.revision(), view.keys()), (Revision(twin.revision), twin.keys.len() as u64));
    assert_eq!(view.index(), Some(Index(twin.index)));
    assert!(view.once() >= twin.once.len() as u64 && view.sessions() >= twin.sessions.len() as u64);
}

/// The reference: one entry a call, no crash. Replies and state are the twin's.
#[test]
fn replies_and_state_are_the_twins() {
    let mut seen = Seen::new();
    for seed in 0..60 {
        let (entries, replies, twin) = history(seed, 250, &mut seen);
        let mut kv = Kv::open(ModelStore::new(), "g1", rules()).unwrap();
        for (place, (entry, wanted)) in entries.iter().zip(&replies).enumerate() {
            let reply = kv.apply(std::slice::from_ref(entry)).unwrap();
            assert_eq!(Reply::decode(&reply[0]).unwrap(), *wanted, "seed {seed}, entry {place}: {entry:?}");
        }
        matches_twin(&kv, &twin);
    }
    for kind in [
        "Ok(Put",
        "Ok(Deleted",
        "Ok(Committed",
        "Ok(NotHeld",
        "Ok(Added",
        "Ok(SessionOpened",
        "Ok(SessionKept",
        "Ok(SessionClosed",
        "Ok(Put again",
        "Err(KeyReused",
        "Err(TooManyKeys",
        "Err(SessionGone",
        "Err(SequenceOld",
        "Err(SequenceGap",
        "Err(SequenceReused",
        "Err(TooManySessions",
        "Err(NotANumber",
        "Err(OutOfRange",
    ] {
        assert!(seen.iter().any(|(known, _)| known.starts_with(kind)), "{kind} never came up: {seen:?}");
    }
}

/// However entries are sliced, and however often the machine crashes and replays from what it finds.
#[test]
fn slices_and_crashes_change_nothing() {
    let mut lost = 0;
    for seed in 0..60 {
        let (entries, replies, _) = history(seed, 250, &mut Seen::new());
        let mut reference = Kv::open(ModelStore::new(), "g1", rules()).unwrap();
        reference.apply(&entries).unwrap();

        let mut rng = Rng::new(seed);
        let mut store = ModelStore::new();
        let mut kv = Kv::open(store.clone(), "g1", rules()).unwrap();
        let (mut at, mut durable) = (0, None);
        while at < entries.len() {
            let end = entries.len().min(at + 1 + usize::try_from(rng.below(40)).unwrap());
            let found = kv.apply(&entries[at..end]).unwrap();
            for (reply, wanted) in found.iter().zip(&replies[at..end]) {
                assert_eq!(Reply::decode(reply).unwrap(), *wanted, "seed {seed}, slice {at}..{end}");
            }
            at = end;
            if rng.chance(200) {
                durable = kv.persist().unwrap();
                assert_eq!(durable, Some(entries[at - 1].id));
            }
            if rng.chance(200) {
                store = store.crash(&mut rng);
                kv = Kv::open(store.clone(), "g1", rules()).unwrap();
                let last = kv.applied().unwrap().and_then(|base| base.last);
                assert!(last >= durable, "seed {seed}: {durable:?} was durable, {last:?} is found");
                let back = last.map_or(0, |last: LogId| usize::try_from(last.index.0).unwrap());
                assert!(back <= at);
                lost += at - back;
                at = back;
            }
        }
        assert_eq!(digest(&kv), digest(&reference), "seed {seed}");
    }
    assert!(lost > 100, "the crashes lost something: {lost}");
}

/// The same on the store the server runs on, closed and opened again in between.
#[test]
fn on_disk_the_state_is_the_same() {
    let (entries, replies, _) = history(99, 400, &mut Seen::new());
    let mut reference = Kv::open(ModelStore::new(), "g1", rules()).unwrap();
    reference.apply(&entries).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let open = || Kv::open(hezong_store::open(folder.path().join("state")).unwrap(), "g1", rules()).unwrap();
    let mut kv = open();
    for (place, slice) in entries.chunks(7).enumerate() {
        let found = kv.apply(slice).unwrap();
        for (reply, wanted) in found.iter().zip(&replies[place * 7..]) {
            assert_eq!(Reply::decode(reply).unwrap(), *wanted, "slice {place}");
        }
        if place % 9 == 8 {
            drop(kv);
            kv = open();
            assert_eq!(kv.applied().unwrap().unwrap().last, Some(slice[slice.len() - 1].id));
        }
    }
    assert_eq!(digest(&kv), digest(&reference));
}

/// The digest tells states apart that differ in anything a client or a later entry could notice.
#[test]
fn digest_tells_apart() {
    let request = |command| Request::plain(command);
    let put = |value: &'static str| Command::Put(vec![("a".into(), value.into())]);
    let keyed = Request { once: Some(Once::idempotency("k", &put("1"))), command: put("1") };
    let after = |requests: &[(u64, Request)]| -> Result<[u8; 32], KvError> {
        let mut kv = Kv::open(ModelStore::new(), "g1", Rules::default())?;
        for (place, (millis, request)) in requests.iter().enumerate() {
            kv.apply(&[entry(place as u64 + 1, Duration::from_millis(*millis), request)]).unwrap();
        }
        kv.reader().view()?.digest()
    };
    let open = |ttl| request(Command::SessionOpen { ttl: Duration::from_secs(ttl) });
    let states = [
        after(&[]),
        after(&[(0, request(put("1")))]),
        after(&[(0, request(put("2")))]),
        after(&[(1, request(put("1")))]),
        after(&[(0, request(put("1"))), (0, request(put("1")))]),
        after(&[(0, keyed)]),
        after(&[(0, open(1))]),
        after(&[(0, open(2))]),
    ];
    let different: std::collections::BTreeSet<_> = states.iter().map(|state| state.as_ref().unwrap()).collect();
    assert_eq!(different.len(), states.len());
    assert_eq!(after(&[(0, open(2))]).unwrap(), *states[7].as_ref().unwrap());
}
