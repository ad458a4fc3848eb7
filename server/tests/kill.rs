//! Numbered keys are written through random nodes while node processes are killed with -9 and started again. Afterwards
//! every acknowledged key is there, and the recorded history is linearizable.
//!
//! `HEZONG_KILLS=20 cargo test --release -p hezong --test kill -- --nocapture` runs the long form; the default is short
//! enough for every day. `HEZONG_SEED` repeats the choice of nodes and pauses, though not how the processes interleave.

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hezong_base::Rng;
use hezong_check::{Answer, Budget, Call, History, Operation, Outcome, Verdict, check};
use support::{Cluster, Reply, Silence, attempt, settle};

const KILLS: u64 = 3;
const CLIENTS: u64 = 6;
/// Few keys that all clients share, so that their operations overlap; each client also writes keys of its own.
const SHARED_KEYS: u64 = 3;

/// What all clients record to.
struct Run {
    nodes: Vec<String>,
    began: Instant,
    stop: AtomicBool,
    operations: Mutex<Vec<Operation>>,
    /// Acknowledged keys that were written once, and their values.
    acknowledged: Mutex<BTreeMap<String, String>>,
    next: AtomicU64,
}

impl Run {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap()
    }

    /// One request to a random node, redirected at most a few times.
    fn ask(&self, rng: &mut Rng, method: &str, target: &str, body: &str) -> Told {
        let mut node = self.nodes[usize::try_from(rng.below(self.nodes.len() as u64)).unwrap()].clone();
        for _ in 0..4 {
            let reply = match attempt(&node, method, target, &[], body.as_bytes()) {
                Ok(reply) => reply,
                Err(Silence::Refused) => return Told::NotDone,
                Err(Silence::Broken) => return Told::Nothing,
            };
            match reply.status {
                200 | 404 => return Told::Reply(reply),
                307 => node = reply.headers["location"][7..].split('/').next().unwrap().to_owned(),
                503 | 429 => return Told::NotDone,
                504 => return Told::Nothing,
                other => panic!("{method} {target} at {node}: {other} {}", reply.text()),
            }
        }
        Told::NotDone
    }

    fn record(&self, client: u64, key: &str, called: u64, call: Call, answer: Option<Answer>) {
        let outcome = answer.map(|answer| Outcome { at: self.now(), answer });
        self.operations.lock().unwrap().push(Operation { client, key: key.to_owned(), called, call, outcome });
    }

    fn client(&self, client: u64, mut rng: Rng) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let value = format!("v{number}");
            let key = match rng.below(2) {
                0 => format!("shared/{}", rng.below(SHARED_KEYS)),
                _ => format!("own/{number:08}"),
            };
            let target = format!("/key/{key}");
            let called = self.now();
            match rng.below(10) {
                0..=4 => {
                    let told = self.ask(&mut rng, "PUT", &target, &value);
                    let call = Call::Put(value.clone());
                    match told {
                        Told::Reply(_) => {
                            if key.starts_with("own/") {
                                self.acknowledged.lock().unwrap().insert(key.clone(), value);
                            }
                            self.record(client, &key, called, call, Some(Answer::Done));
                        }
                        Told::Nothing => self.record(client, &key, called, call, None),
                        Told::NotDone => {}
                    }
                }
                5 => {
                    let key = format!("shared/{}", rng.below(SHARED_KEYS));
                    match self.ask(&mut rng, "DELETE", &format!("/key/{key}"), "") {
                        Told::Reply(_) => self.record(client, &key, called, Call::Delete, Some(Answer::Done)),
                        Told::Nothing => self.record(client, &key, called, Call::Delete, None),
                        Told::NotDone => {}
                    }
                }
                which => {
                    let level = if which % 2 == 0 { "default" } else { "consistent" };
                    let key = format!("shared/{}", rng.below(SHARED_KEYS));
                    let target = format!("/key/{key}?raw&level={level}");
                    if let Told::Reply(reply) = self.ask(&mut rng, "GET", &target, "") {
                        let found = (reply.status == 200).then(|| reply.text());
                        self.record(client, &key, called, Call::Get, Some(Answer::Found(found)));
                    }
                }
            }
        }
    }
}

enum Told {
    Reply(Reply),
    NotDone,
    Nothing,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn acknowledged_writes_survive_kills_and_the_history_is_linearizable() {
    let (kills, seed) = (setting("HEZONG_KILLS", KILLS), setting("HEZONG_SEED", 7));
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::new(3);
    let run = Run {
        nodes: cluster.https(),
        began: Instant::now(),
        stop: AtomicBool::new(false),
        operations: Mutex::default(),
        acknowledged: Mutex::default(),
        next: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (run, rng) = (&run, rng.fork());
            scope.spawn(move || run.client(client, rng));
        }
        // A panic here must let the clients go, or the scope would wait for them for ever.
        let _stop = Stop(&run.stop);
        for kill in 0..kills {
            let before = run.acknowledged.lock().unwrap().len();
            support::wait_until("clients make progress", || run.acknowledged.lock().unwrap().len() > before + 20);
            // Mostly the leader, since that is what hurts; now and then two at once, or all of them.
            let mut victims = vec![match rng.below(3) {
                0 => usize::try_from(rng.below(3)).unwrap(),
                _ => cluster.leader(),
            }];
            match rng.below(6) {
                0 => victims = vec![0, 1, 2],
                1 => victims.push((victims[0] + 1) % 3),
                _ => {}
            }
            for victim in &victims {
                cluster.nodes[*victim].kill();
            }
            thread::sleep(Duration::from_millis(rng.below(700)));
            for victim in &victims {
                cluster.nodes[*victim].start(&[]);
            }
            for victim in &victims {
                cluster.nodes[*victim].wait_ready();
            }
            // The only word to a person who waits for a long run.
            eprintln!("kill {} of {kills}: nodes {victims:?}", kill + 1);
        }
        let before = run.acknowledged.lock().unwrap().len();
        support::wait_until("clients make progress", || run.acknowledged.lock().unwrap().len() > before + 20);
    });

    let acknowledged = run.acknowledged.into_inner().unwrap();
    for (at, (key, value)) in acknowledged.iter().enumerate() {
        let target = format!("/key/{key}?raw&level=consistent");
        let reply = settle(&run.nodes[at % 3], "GET", &target, &[], b"");
        assert_eq!((reply.status, reply.text()), (200, value.clone()), "{key} was acknowledged");
    }
    let history = History { operations: run.operations.into_inner().unwrap() };
    let open = history.operations.iter().filter(|operation| operation.outcome.is_none()).count();
    let verdict = check(&history, Budget::default());
    let counts = format!("{} operations, {open} open, {} keys read back", history.operations.len(), acknowledged.len());
    if verdict != Verdict::Linearizable {
        let path = std::env::temp_dir().join(format!("hezong-history-{seed}.jsonl"));
        history.write(std::fs::File::create(&path).unwrap()).unwrap();
        panic!("{counts}; the history is kept in {}: {verdict:?}", path.display());
    }
    assert!(acknowledged.len() > 50);
    eprintln!("{kills} kills, seed {seed}: {counts}; linearizable");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
