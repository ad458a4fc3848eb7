//! The clients and what they record.
//!
//! Four kinds of work, each on a few keys that all clients share, so that their operations overlap: a register (put, delete,
//! get), compare-and-set, a list that is appended to by compare-and-set, and a counter. Keys are left for new ones every
//! few seconds: what nobody knows the outcome of must be thought of at every later moment, and would add up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hezong_base::Rng;
use hezong_check::{Answer, Call, Operation, Outcome};
use hezong_client::{Client, Error, Found, Level};

use crate::counter::Count;
use crate::lists;

/// For so long the same keys are used.
const EPOCH: Duration = Duration::from_secs(10);
/// How soon a client hears that it is to stop.
const NAP: Duration = Duration::from_millis(100);
/// How many keys each kind of work has.
const KEYS: u64 = 4;
/// Of so many clients one only reads, under leases. Whoever writes to a leader that was cut off, or has it ask a majority, gets
/// no answer and goes elsewhere; whoever reads so stays with it for as long as it believes that it leads.
const READER: u64 = 4;
/// A list is let be at this length.
const LIST_BYTES_MAX: usize = 4_000;

/// How one operation ended, for the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// Certainly not done.
    Refused,
    Unknown,
}

/// What all clients record to.
pub(crate) struct Record {
    began: Instant,
    /// In front of every key: runs on the same cluster do not meet.
    prefix: String,
    stop: AtomicBool,
    next: AtomicU64,
    told: Mutex<Told>,
}

/// What clients were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Of registers and lists.
    pub(crate) operations: Vec<Operation>,
    /// Of counters, each with its key.
    pub(crate) counts: Vec<(String, Count)>,
    /// When each operation ended, in nanoseconds since the start, how long it took, and how.
    pub(crate) ends: Vec<(u64, u64, End)>,
    /// The first reason of each kind why something was not done.
    pub(crate) reasons: BTreeMap<&'static str, (u64, String)>,
}

impl Record {
    pub(crate) fn new(began: Instant, prefix: String) -> Self {
        Self { began, prefix, stop: AtomicBool::new(false), next: AtomicU64::new(1), told: Mutex::default() }
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Lets the clients end after what they are at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn told<R>(&self, with: impl FnOnce(&mut Told) -> R) -> R {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One client at work until it is stopped; `pause` is how long its turns are apart on average.
    pub(crate) async fn work(&self, number: u64, client: Client, mut rng: Rng, pause: Duration) {
        let mut turn = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            self.one(number, &client, &mut rng).await;
            // Turns that were missed while a call took long are not made up for.
            turn = (turn + rng.between(Duration::ZERO, pause * 2)).max(Instant::now() - pause);
            while Instant::now() < turn && !self.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(turn.saturating_duration_since(Instant::now()).min(NAP)).await;
            }
        }
    }

    /// Reads every key once more that anybody used, as another client: what was acknowledged long ago is still there.
    pub(crate) async fn read_all(&self, number: u64, client: &Client) -> Result<(), Error> {
        let (keys, counters) = self.told(|told| {
            let keys: BTreeSet<_> = told.operations.iter().map(|operation| operation.key.clone()).collect();
            (keys, told.counts.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>())
        });
        for key in keys {
            let called = self.now();
            let found = client.get(key.as_bytes(), Level::Consistent).await?;
            let found = found.map(|found| String::from_utf8_lossy(&found.value).into_owned());
            self.record(number, &key, called, Call::Get, Ok(Answer::Found(found)));
        }
        for key in counters {
            let called = self.now();
            let found = client.get(key.as_bytes(), Level::Consistent).await?;
            let outcome = Some((self.now(), number_of(found.as_ref())));
            self.told(|told| told.counts.push((key, Count { called, outcome, adds: false })));
        }
        Ok(())
    }

    async fn one(&self, number: u64, client: &Client, rng: &mut Rng) {
        let epoch = self.began.elapsed().as_secs() / EPOCH.as_secs();
        let (which, level) = (rng.below(KEYS), if rng.chance(500) { Level::Default } else { Level::Consistent });
        let key = |kind: &str| format!("{}/{kind}/{epoch}/{which}", self.prefix);
        if number % READER == READER - 1 {
            let level = Level::Default;
            return match rng.below(4) {
                0 => drop(self.get(number, client, &key("register"), level).await),
                1 => drop(self.get(number, client, &key("cas"), level).await),
                2 => drop(self.get(number, client, &key(lists::KIND), level).await),
                _ => self.count(client, false, key("counter"), level).await,
            };
        }
        match rng.below(4) {
            0 => self.register(number, client, rng, &key("register"), level).await,
            1 => self.swap(number, client, &key("cas"), level).await,
            2 => self.append(number, client, &key(lists::KIND), level).await,
            _ => self.count(client, rng.chance(600), key("counter"), level).await,
        }
    }

    async fn register(&self, number: u64, client: &Client, rng: &mut Rng, key: &str, level: Level) {
        let called = self.now();
        match rng.below(10) {
            0..4 => {
                let value = self.fresh();
                let done = client.put(key.as_bytes(), value.clone()).await.map(|_| Answer::Done);
                self.record(number, key, called, Call::Put(value), done);
            }
            4 => {
                let done = client.delete(key.as_bytes()).await.map(|_| Answer::Done);
                self.record(number, key, called, Call::Delete, done);
            }
            _ => drop(self.get(number, client, key, level).await),
        }
    }

    /// Reads, and sets what it then decides on if nobody else was quicker.
    async fn swap(&self, number: u64, client: &Client, key: &str, level: Level) {
        let Some(found) = self.get(number, client, key, level).await else { return };
        self.set_if(number, client, key, found, self.fresh()).await;
    }

    /// The same with one item more at the list's end.
    async fn append(&self, number: u64, client: &Client, key: &str, level: Level) {
        let Some(found) = self.get(number, client, key, level).await else { return };
        let mut list = found.as_ref().map(|(list, _)| format!("{list},")).unwrap_or_default();
        if list.len() < LIST_BYTES_MAX {
            list.push_str(&self.fresh());
            self.set_if(number, client, key, found, list).await;
        }
    }

    async fn set_if(&self, number: u64, client: &Client, key: &str, found: Option<(String, u64)>, value: String) {
        let (expected, modified) = found.unzip();
        let called = self.now();
        let done = client.put_if(key.as_bytes(), modified, value.clone()).await;
        let answer = done.map(|written| Answer::Swapped(written.is_some()));
        // The revision stands for the value: no value is ever set twice.
        self.record(number, key, called, Call::Cas { expected, value }, answer);
    }

    /// What it reads, and the revision that set it; `None` if nobody answered.
    async fn get(&self, number: u64, client: &Client, key: &str, level: Level) -> Option<Option<(String, u64)>> {
        let called = self.now();
        let found = client.get(key.as_bytes(), level).await.map(|found| {
            found.map(|found| (String::from_utf8_lossy(&found.value).into_owned(), found.modified.unwrap_or(u64::MAX)))
        });
        let answer = found.clone().map(|found| Answer::Found(found.map(|(value, _)| value)));
        self.record(number, key, called, Call::Get, answer);
        found.ok()
    }

    async fn count(&self, client: &Client, adds: bool, key: String, level: Level) {
        let called = self.now();
        let sum = if adds {
            client.add(key.as_bytes(), 1).await
        } else {
            client.get(key.as_bytes(), level).await.map(|found| number_of(found.as_ref()))
        };
        let end = self.end(called, sum.as_ref().err());
        if end == End::Done || (end == End::Unknown && adds) {
            let outcome = sum.ok().map(|sum| (self.now(), sum));
            self.told(|told| told.counts.push((key, Count { called, outcome, adds })));
        }
    }

    fn record(&self, client: u64, key: &str, called: u64, call: Call, answer: Result<Answer, Error>) {
        let at = self.now();
        let end = self.end(called, answer.as_ref().err());
        // What was certainly not done, and reads that nobody answered, show nothing.
        if end == End::Refused || (end == End::Unknown && call == Call::Get) {
            return;
        }
        let outcome = answer.ok().map(|answer| Outcome { at, answer });
        self.told(|told| told.operations.push(Operation { client, key: key.to_owned(), called, call, outcome }));
    }

    /// Notes how an operation ended.
    fn end(&self, called: u64, error: Option<&Error>) -> End {
        let (end, kind) = match error {
            None => (End::Done, None),
            Some(Error::Unavailable { .. }) => (End::Refused, Some("nobody took it in time")),
            Some(Error::Refused { status: 507, .. }) => (End::Refused, Some("the disk is full")),
            Some(Error::Refused { status: 429, .. }) => (End::Refused, Some("overloaded")),
            Some(Error::Refused { .. }) => (End::Refused, Some("refused")),
            Some(Error::Unknown { .. }) => (End::Unknown, Some("nobody told what became of it")),
            Some(_) => (End::Unknown, Some("an answer that was not understood")),
        };
        let at = self.now();
        self.told(|told| {
            told.ends.push((at, at - called, end));
            if let (Some(kind), Some(error)) = (kind, error) {
                told.reasons.entry(kind).or_insert_with(|| (0, error.to_string())).0 += 1;
            }
        });
        end
    }

    /// A value that nobody else writes.
    fn fresh(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

/// What a counter holds; absent it is 0, and what is no number is below all that may be.
fn number_of(found: Option<&Found>) -> i64 {
    found.map_or(0, |found| String::from_utf8_lossy(&found.value).parse().unwrap_or(-1))
}
