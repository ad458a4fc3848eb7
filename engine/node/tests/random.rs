//! What clients are told is true, whatever happens: random stories with crashes, cuts, lost frames, stalled disks and
//! state machines. The simulator tells many more, with the log and the store as shipped; these are told at every build.

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Cluster, GROUP, add};
use hezong_base::{Index, NodeId, RequestId, Rng};
use hezong_node::{ClientRequest, NodeConfig, NodeInput, ReadLevel, Reply};

/// One client's request.
struct Asked {
    node: NodeId,
    what: What,
    cancelled: bool,
}

enum What {
    /// Adds this number, which no other request adds.
    Add(u64),
    /// Must see this index, which was acknowledged before it was asked.
    Read(Option<Index>),
}

struct Story {
    cluster: Cluster,
    rng: Rng,
    asked: BTreeMap<RequestId, Asked>,
    /// The last entry that any client was told to be done.
    acknowledged: Option<Index>,
    numbers: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::new(0);
        for id in 1..=3 {
            let mut config = NodeConfig::new(NodeId(id));
            config.request_timeout = Duration::from_secs(3);
            config.apply_bytes_max = 200;
            config.persist_bytes = 2_000;
            cluster.add_host(config);
        }
        cluster.raft.cache_bytes_max = 1_000;
        cluster.open_everywhere(GROUP);
        cluster.bad_network = Some(rng.fork());
        Self { cluster, rng, asked: BTreeMap::new(), acknowledged: None, numbers: 0, faults: BTreeMap::new() }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(3))
    }

    /// Several clients ask one node in one turn.
    fn ask(&mut self) {
        let node = if self.rng.chance(700) { self.cluster.leader(GROUP) } else { None };
        let node = node.unwrap_or_else(|| self.any_node());
        if !self.cluster.hosts[&node].up {
            return;
        }
        let mut requests = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..=self.rng.below(4) {
            if self.rng.chance(600) {
                self.numbers += 1;
                requests.push(add(self.numbers));
                wanted.push(What::Add(self.numbers));
            } else {
                let level = if self.rng.chance(500) { ReadLevel::Default } else { ReadLevel::Consistent };
                requests.push(ClientRequest::Read { level, min_index: None });
                wanted.push(What::Read(self.acknowledged));
            }
        }
        for (id, what) in self.cluster.ask_all(node, requests).into_iter().zip(wanted) {
            let cancelled = self.rng.chance(50) && self.cluster.reply(node, id).is_none();
            if cancelled {
                self.cluster.hand(node, NodeInput::Cancel { id });
            }
            self.asked.insert(id, Asked { node, what, cancelled });
        }
    }

    fn fault(&mut self) {
        let node = self.any_node();
        let up = self.cluster.hosts[&node].up;
        let name = match self.rng.below(9) {
            0 if up => {
                self.cluster.crash(node);
                "crash, state lost"
            }
            1 if up => {
                self.cluster.crash_with_state(node);
                "crash, state kept"
            }
            0..=2 if !up => {
                self.cluster.restart(node);
                "restart"
            }
            3 => {
                self.cluster.isolate(node);
                "cut"
            }
            4 | 5 => {
                self.cluster.heal();
                "heal"
            }
            6 if up => {
                self.cluster.hosts.get_mut(&node).unwrap().disk_stalled = true;
                "disk stalls"
            }
            7 if up => {
                self.cluster.hosts.get_mut(&node).unwrap().apply_stalled = true;
                "apply stalls"
            }
            _ => {
                self.cluster.resume_disk(node);
                self.cluster.resume_apply(node);
                "resume"
            }
        };
        *self.faults.entry(name).or_default() += 1;
    }

    fn note_acknowledged(&mut self) {
        for host in self.cluster.hosts.values() {
            let done = host.replies.values().filter_map(|reply| match reply {
                Reply::Done { id, .. } => Some(id.index),
                _ => None,
            });
            self.acknowledged = self.acknowledged.max(done.max());
        }
    }

    fn tell(&mut self) {
        for _ in 0..400 {
            self.cluster.run(Duration::from_millis(50));
            self.note_acknowledged();
            if self.rng.chance(600) {
                self.ask();
            }
            if self.rng.chance(80) {
                self.fault();
            }
        }
    }

    /// Everything works again: everybody gets an answer and all replicas become the same.
    fn heal(&mut self) {
        self.cluster.heal();
        self.cluster.bad_network = None;
        for id in (1..=3).map(NodeId) {
            if !self.cluster.hosts[&id].up {
                self.cluster.restart(id);
            }
            self.cluster.resume_disk(id);
            self.cluster.resume_apply(id);
        }
        self.cluster.run(Duration::from_secs(5));
        let leader = self.cluster.wait_leader(GROUP);
        let reply = self.cluster.call(leader, add(0));
        assert!(matches!(reply, Reply::Done { .. }), "the healed cluster takes writes: {reply:?}");
        self.cluster.wait_same_state();
        for host in self.cluster.hosts.values() {
            assert_eq!(host.node.stats().waiting, 0, "nobody waits for ever");
        }
    }

    /// Compares what clients were told with what happened.
    fn judge(&self, outcomes: &mut BTreeMap<&'static str, u64>) {
        let machine = self.cluster.machine(NodeId(1));
        let mut added: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (id, number) in &machine.added {
            added.entry(*number).or_default().push(*id);
        }
        for (id, asked) in &self.asked {
            let reply = self.cluster.reply(asked.node, *id);
            assert!(
                !asked.cancelled || reply.is_none() || !matches!(reply, Some(Reply::Unknown)),
                "{id} was cancelled"
            );
            let entries = match asked.what {
                What::Add(number) => added.get(&number).map_or(&[][..], Vec::as_slice),
                What::Read(_) => &[],
            };
            let outcome = match (&asked.what, &reply) {
                (What::Add(_), Some(Reply::Done { id: entry, .. })) => {
                    assert_eq!(entries, [*entry], "{id}: done means done once, there");
                    "done"
                }
                (What::Add(_), Some(Reply::Refused(refused))) => {
                    assert!(entries.is_empty(), "{id}: refused ({refused}) and done all the same at {entries:?}");
                    refused.name()
                }
                (What::Add(_), Some(Reply::Unknown) | None) => {
                    assert!(entries.len() <= 1, "{id}: nothing is done twice");
                    "unknown"
                }
                (What::Read(seen), Some(Reply::Readable { applied, .. })) => {
                    assert!(applied >= seen, "{id}: reads {applied:?} after {seen:?} was acknowledged");
                    "readable"
                }
                (What::Read(_), Some(Reply::Refused(refused))) => refused.name(),
                (What::Read(_), None) => "gone",
                (What::Add(_) | What::Read(_), Some(reply)) => panic!("{id}: {reply:?} is no answer to that"),
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
}

#[test]
fn random_stories_tell_clients_the_truth() {
    let seeds: u64 = std::env::var("HEZONG_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 1..=seeds {
        let told = std::panic::catch_unwind(|| {
            let mut story = Story::new(seed);
            story.tell();
            story.heal();
            let mut outcomes = BTreeMap::new();
            story.judge(&mut outcomes);
            (outcomes, story.faults)
        });
        let (more, fired) = told.unwrap_or_else(|_| panic!("seed {seed} tells of it"));
        more.into_iter().for_each(|(name, count)| *outcomes.entry(name).or_default() += count);
        fired.into_iter().for_each(|(name, count)| *faults.entry(name).or_default() += count);
    }
    // A story in which something never happens proves nothing about it.
    for name in ["done", "unknown", "readable", "not_leader", "lost", "timeout"] {
        assert!(outcomes.contains_key(name), "no client was ever told {name}: {outcomes:?}");
    }
    assert_eq!(faults.len(), 8, "{faults:?}");
}
