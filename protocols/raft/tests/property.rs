//! Random histories. The log against a twin that is a plain vector; small clusters, through `handle` alone, against the
//! five safety properties of the paper's figure 3, against what was once acknowledged, and against time: healed, they
//! agree.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, fold_entries, member, saved, voters};
use hezong_base::{Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Term};
use hezong_raft::{
    Base, Change, Config, Entry, Event, Membership, Payload, Raft, ReadLevel, Request, Role, Saved, Write,
};

// The log against a vector.

/// Everything [`hezong_raft::Log`] is asked, answered the slow way.
struct Twin {
    base: Base,
    entries: Vec<Entry>,
}

impl Twin {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.id).or(self.base.last)
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        let ids = self.entries.iter().map(|entry| entry.id).chain(self.base.last);
        ids.into_iter().find(|id| id.index == index).map(|id| id.term)
    }

    fn floor(&self, id: LogId) -> Option<LogId> {
        let ids = self.base.last.into_iter().chain(self.entries.iter().map(|entry| entry.id));
        ids.filter(|own| own.index <= id.index && own.term <= id.term).last()
    }

    fn membership_at(&self, index: Index) -> Membership {
        let mut membership = &self.base.membership;
        for entry in self.entries.iter().filter(|entry| entry.id.index <= index) {
            if let Payload::Membership(next) = &entry.payload {
                membership = next;
            }
        }
        membership.clone()
    }
}

fn random_entry(rng: &mut Rng, id: LogId) -> Entry {
    let payload = match rng.below(8) {
        0 => Payload::Empty,
        1 => Payload::Membership(voters(1 + rng.below(5))),
        _ => Payload::Command(Bytes::from(vec![0; usize::try_from(rng.below(50)).expect("small")])),
    };
    Entry { id, time: Duration::from_millis(id.index.0), payload }
}

fn random_write(rng: &mut Rng, twin: &Twin) -> Write {
    let last = twin.last();
    let after_base = Index::after(twin.base.last.map(|id| id.index)).0;
    let end = Index::after(last.map(|id| id.index)).0;
    match rng.below(20) {
        0 => {
            let last = (rng.below(3) > 0).then(|| LogId::new(1 + rng.below(5), 1 + rng.below(20)));
            Write::Reset(Base { last, time: Duration::ZERO, membership: voters(3) })
        }
        1..=3 => Write::Truncate(Index(after_base + rng.below(end + 1 - after_base))),
        4 if !twin.entries.is_empty() => {
            let at = usize::try_from(rng.below(twin.entries.len() as u64)).expect("small");
            let entry = &twin.entries[at];
            Write::Compact(Base {
                last: Some(entry.id),
                time: entry.time,
                membership: twin.membership_at(entry.id.index),
            })
        }
        5 => Write::Vote { term: Term(rng.below(9)), vote: None, owed: None },
        _ => {
            let mut term = last.map_or(1, |id| id.term.0) + rng.below(4) / 3;
            let ids = (end..end + 1 + rng.below(6)).map(|index| {
                term += rng.below(8) / 7;
                LogId::new(term, index)
            });
            Write::Append(ids.collect::<Vec<_>>().into_iter().map(|id| random_entry(rng, id)).collect())
        }
    }
}

#[test]
fn log_equals_dumb_twin() {
    let mut rng = Rng::new(11);
    for _ in 0..300 {
        let mut saved = Saved::default();
        let mut twin = Twin { base: Base::default(), entries: Vec::new() };
        for _ in 0..60 {
            let write = random_write(&mut rng, &twin);
            Raft::save(&mut saved, &write);
            match &write {
                Write::Append(entries) => twin.entries.extend(entries.iter().cloned()),
                Write::Truncate(from) => twin.entries.retain(|entry| entry.id.index < *from),
                Write::Compact(base) => {
                    twin.entries.retain(|entry| Some(entry.id.index) > base.last.map(|id| id.index));
                    twin.base = base.clone();
                }
                Write::Reset(base) => twin = Twin { base: base.clone(), entries: Vec::new() },
                Write::Vote { .. } => {}
            }
            compare(&saved.log, &twin, &mut rng);
        }
    }
}

fn compare(log: &hezong_raft::Log, twin: &Twin, rng: &mut Rng) {
    assert_eq!(log.last(), twin.last());
    assert_eq!(log.base(), &twin.base);
    let end = twin.last().map_or(0, |id| id.index.0);
    for index in 1..=end + 2 {
        let index = Index(index);
        assert_eq!(log.term_at(index), twin.term_at(index), "{index:?} in {log:?}");
        if Some(index) >= twin.base.last.map(|id| id.index) {
            assert_eq!(log.membership_at(index), &twin.membership_at(index));
        }
        let id = LogId { term: Term(rng.below(9)), index };
        assert_eq!(log.floor(id), twin.floor(id), "{id:?} in {log:?}");
    }
    assert_eq!(log.membership(), &twin.membership_at(Index(end)));
    let from = Index(1 + rng.below(end + 2));
    let through = Index(1 + rng.below(end + 2));
    let bytes_max = usize::try_from(rng.below(300)).expect("small");
    if let Some(found) = log.cached(from, through, bytes_max) {
        let wanted = twin.entries.iter().filter(|entry| (from..=through).contains(&entry.id.index));
        let mut room = bytes_max;
        let mut fits: Vec<Entry> = Vec::new();
        for entry in wanted {
            if !fits.is_empty() && entry.bytes() > room {
                break;
            }
            room = room.saturating_sub(entry.bytes());
            fits.push(entry.clone());
        }
        assert_eq!(*found, fits);
    } else {
        assert!(from.0 <= end, "nothing that is not there is wanted from disk");
    }
}

// Random clusters.

/// What the checks remember of a history.
#[derive(Default)]
struct History {
    /// Who led each term (Election Safety).
    leaders: BTreeMap<Term, NodeId>,
    /// What anybody announced at each index (State Machine Safety).
    committed: BTreeMap<Index, Entry>,
    /// Reads under way: at which node, and how much was committed anywhere when it arrived.
    reads: BTreeMap<RequestId, Option<Index>>,
    /// How many reads were served, entries committed, leaders elected: a history in which nothing happens checks nothing.
    served: usize,
    /// How many transfers were done.
    transferred: usize,
    /// How many joint memberships were committed.
    joint: usize,
}

impl History {
    /// Looks at everything there is to see.
    fn check(&mut self, cluster: &mut Cluster) {
        let ids: Vec<u64> = cluster.nodes.keys().map(|id| id.0).collect();
        let mut transferred = Vec::new();
        for id in ids {
            let events = cluster.events(id);
            for event in &events {
                match event {
                    Event::Led { term, role: Role::Leader, .. } => {
                        let first = *self.leaders.entry(*term).or_insert(NodeId(id));
                        assert_eq!(first, NodeId(id), "Election Safety: one leader in {term}");
                    }
                    Event::Readable { id: read, index } => {
                        if let Some(floor) = self.reads.remove(read) {
                            assert!(
                                *index >= floor,
                                "a read that misses what was committed before it: {index:?} {floor:?}"
                            );
                            self.served += 1;
                        }
                    }
                    Event::Transferred { leader, term, .. } => transferred.push((*term, *leader)),
                    Event::Dropped { from, reason } => panic!("n{id} finds that {from} sent {reason}"),
                    _ => {}
                }
            }
            for entry in std::mem::take(&mut cluster.node(id).delivered_since_check) {
                let joint = matches!(&entry.payload, Payload::Membership(members) if members.is_joint());
                self.joint += usize::from(joint && !self.committed.contains_key(&entry.id.index));
                let first = self.committed.entry(entry.id.index).or_insert_with(|| entry.clone());
                assert_eq!(*first, entry, "State Machine Safety");
            }
            let Some(raft) = &cluster.nodes[&NodeId(id)].raft else { continue };
            if raft.role() == Role::Leader {
                self.check_leader(raft);
            }
        }
        for (term, leader) in transferred {
            assert_eq!(self.leaders.get(&term), Some(&leader), "a transfer is told once it is done");
            self.transferred += 1;
        }
        self.check_matching(cluster);
    }

    /// Leader Completeness: what was committed in an earlier term is in every later leader's log.
    fn check_leader(&self, leader: &Raft) {
        for (index, entry) in &self.committed {
            if entry.id.term < leader.term() && Some(*index) > leader.log().base_index() {
                assert_eq!(leader.term_at(*index), Some(entry.id.term), "Leader Completeness at {index:?}");
            }
        }
    }

    /// Log Matching: logs that share an entry's index and term share everything before it.
    fn check_matching(&self, cluster: &Cluster) {
        let logs: Vec<Vec<Entry>> = cluster.nodes.values().map(|node| fold_entries(&node.disk)).collect();
        for (at, one) in logs.iter().enumerate() {
            for other in &logs[at + 1..] {
                let shared = one.iter().zip(other).rposition(|(a, b)| a.id == b.id);
                if let Some(shared) = shared {
                    assert_eq!(one[..=shared], other[..=shared], "Log Matching");
                }
            }
        }
    }
}

/// One random thing happens.
fn happen(cluster: &mut Cluster, history: &mut History, rng: &mut Rng, count: u64) {
    let id = 1 + rng.below(count);
    let up = cluster.nodes[&NodeId(id)].raft.is_some();
    // Most of the time the network moves; a history of nothing but faults gets nowhere.
    if rng.chance(600) && cluster.deliver_random(rng) {
        return;
    }
    match rng.below(100) {
        0..=69 => cluster.store_one(id),
        70..=79 => {
            cluster.now = cluster.now + Duration::from_millis(rng.below(150));
            if cluster.deadline(id).is_some_and(|at| at <= cluster.now) {
                cluster.handle(id, Input::Timeout);
            }
        }
        80..=87 => {
            let id = if rng.chance(800) { cluster.leader().unwrap_or(id) } else { id };
            let commands = (0..1 + rng.below(4)).map(|_| Bytes::copy_from_slice(&rng.next_u64().to_le_bytes()));
            cluster.request(id, Request::Propose(commands.collect()));
        }
        88..=91 => {
            let level = if rng.chance(500) { ReadLevel::Lease } else { ReadLevel::Quorum };
            let floor = history.committed.keys().next_back().copied();
            let read = cluster.request_id();
            history.reads.insert(read, floor);
            cluster.handle(id, Input::Request { id: read, request: Request::Read(level) });
        }
        92 if up => {
            cluster.crash(id);
            // Reads of that life are never answered.
        }
        93..=94 if !up => {
            cluster.start(id);
            cluster.node(id).prompt = false;
        }
        95 => cluster.cut = if rng.chance(500) { Vec::new() } else { vec![NodeId(id)] },
        96 => {
            let some = |rng: &mut Rng, share| (1..=count).map(NodeId).filter(|_| rng.chance(share)).collect();
            let change = match rng.below(6) {
                0 => Change::Add(member(100 + rng.below(1_000))),
                1 => Change::Promote(NodeId(1 + rng.below(count))),
                2 => Change::Remove(NodeId(1 + rng.below(count))),
                _ => {
                    let members = cluster.leader().map(|leader| cluster.raft(leader).membership().clone());
                    let known = members.unwrap_or_default();
                    let mut promote: BTreeSet<NodeId> = some(rng, 800);
                    promote.retain(|id| known.members().contains_key(id) && !known.is_voter(*id));
                    let mut remove: BTreeSet<NodeId> = some(rng, 200);
                    remove.retain(|id| known.members().contains_key(id) && !promote.contains(id));
                    Change::Several { promote, remove }
                }
            };
            if let Some(leader) = cluster.leader() {
                cluster.request(leader, Request::Change(change));
            }
        }
        97 => {
            let to = rng.chance(700).then(|| NodeId(1 + rng.below(count)));
            if let Some(leader) = cluster.leader() {
                cluster.request(leader, Request::Transfer(to));
            }
        }
        98 => cluster.answer(id),
        _ => {
            if let Some(last) = cluster.nodes[&NodeId(id)].delivered.last().map(|entry| entry.id) {
                cluster.request(id, Request::Applied { applied: last, durable: None });
            }
        }
    }
}

/// A history of `steps` steps. Panics with what went wrong.
fn run(seed: u64, steps: usize, change: impl Fn(&mut Config)) -> (Cluster, History) {
    let mut rng = Rng::new(seed);
    let count = 3 + 2 * rng.below(2);
    let learners = rng.chance(500);
    let everybody = (1..=if learners { count + 2 } else { count }).map(|id| (NodeId(id), member(id)));
    let first = Membership::new((1..=count).map(NodeId).collect(), everybody.collect(), None);
    let mut cluster = Cluster::with([]);
    cluster.rng = rng.fork();
    for id in 1..=count {
        let mut config = Config::new(NodeId(id));
        // Small limits, so that entries leave memory and windows fill.
        config.append_bytes_max = 120;
        config.window_bytes_max = 400;
        config.cache_bytes_max = 300;
        change(&mut config);
        cluster.add(config, saved(&first, 0, None, &[]));
        cluster.node(id).prompt = false;
    }
    // Two more that wait to be added, the ids the group gives next; or learners from the beginning.
    for id in count + 1..=count + 2 {
        let disk = if learners { saved(&first, 0, None, &[]) } else { Vec::new() };
        cluster.add(Config::new(NodeId(id)), disk);
        cluster.node(id).prompt = false;
    }
    let mut history = History::default();
    for _ in 0..steps {
        happen(&mut cluster, &mut history, &mut rng, count + 2);
        history.check(&mut cluster);
    }
    (cluster, history)
}

/// All faults end: within a few election timeouts the members lead, commit and agree.
fn heal(cluster: &mut Cluster, history: &mut History) {
    cluster.cut.clear();
    let ids: Vec<u64> = cluster.nodes.keys().map(|id| id.0).collect();
    for id in &ids {
        if cluster.nodes[&NodeId(*id)].raft.is_none() {
            cluster.start(*id);
        }
        cluster.node(*id).prompt = true;
        cluster.store(*id);
    }
    // Members that were added but never existed may be needed for a majority; then nothing can be expected.
    cluster.run(Duration::from_secs(12));
    history.check(cluster);
    let Some(leader) = cluster.leader() else {
        let newest = ids.iter().map(|id| cluster.raft(*id)).max_by_key(|raft| raft.log().last()).expect("nodes");
        let lacks = |set: &BTreeSet<NodeId>| {
            let alive = set.iter().filter(|id| cluster.nodes.contains_key(id)).count();
            !set.is_empty() && alive <= set.len() / 2
        };
        let members = newest.membership();
        assert!(lacks(members.voters()) || lacks(members.outgoing()), "healed, and nobody leads");
        return;
    };
    let before = cluster.raft(leader).announced();
    cluster.propose(leader, "healed");
    cluster.run(Duration::from_secs(2));
    history.check(cluster);
    assert!(cluster.raft(leader).announced() > before, "healed, and nothing commits");
    let announced = cluster.raft(leader).announced();
    for id in cluster.raft(leader).membership().members().keys().filter(|id| cluster.nodes.contains_key(id)) {
        assert_eq!(cluster.raft(id.0).announced(), announced, "healed, and {id} lags");
    }
}

#[test]
fn cluster_keeps_the_five_properties_and_heals() {
    let (mut served, mut committed, mut elected, mut transferred, mut joint) = (0, 0, 0, 0, 0);
    for seed in 0..150 {
        let (mut cluster, mut history) = run(seed, 3_000, |_| {});
        heal(&mut cluster, &mut history);
        served += history.served;
        committed += history.committed.len();
        elected += history.leaders.len();
        transferred += history.transferred;
        joint += history.joint;
    }
    assert!(
        served > 200 && committed > 3_000 && elected > 120 && transferred > 20 && joint > 10,
        "{served} reads, {committed} entries, {elected} leaders, {transferred} transfers, {joint} joint"
    );
}

#[test]
fn cluster_without_leases_keeps_them_too() {
    for seed in 1_000..1_020 {
        let (mut cluster, mut history) = run(seed, 1_500, |config| config.lease = Duration::ZERO);
        heal(&mut cluster, &mut history);
    }
}

#[test]
fn cluster_same_seed_same_history() {
    for seed in 0..5 {
        let trace = |seed| {
            let (cluster, history) = run(seed, 800, |_| {});
            let disks: Vec<_> = cluster.nodes.values().map(|node| node.disk.clone()).collect();
            (disks, cluster.wire.clone(), history.leaders, history.committed)
        };
        assert!(trace(seed) == trace(seed), "the same seed gives the same history, bit for bit");
    }
}

/// Bugs that random histories of this size find soon. All the others are for the simulator, which draws longer ones.
#[cfg(feature = "weakened")]
#[test]
fn cluster_with_a_known_bug_is_caught() {
    use hezong_raft::Weakness;
    let found_soon = [
        Weakness::AckBeforeStored,
        Weakness::AppendWithoutCheck,
        Weakness::ReadWithoutOwnTerm,
        Weakness::TruncateAcknowledged,
    ];
    for weakness in found_soon {
        let caught = (0..100).any(|seed| {
            let history = std::panic::catch_unwind(|| {
                let (mut cluster, mut history) = run(seed, 3_000, |config| config.weakness = Some(weakness));
                heal(&mut cluster, &mut history);
            });
            history.is_err()
        });
        assert!(caught, "{weakness:?} was not caught");
    }
}
