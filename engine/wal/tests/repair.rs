//! Damaged logs that are repaired: at every offset of small logs, with a state machine that has applied nothing, something
//! or all that is committed. What comes out is right or nothing does.
//!
//! Right means: term and vote are the last; the entries are those the log held at one time, behind a base that was
//! committed; and either nothing is missing, or what is owed is no less than what the log ended with.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{GroupId, Index, LogId, NodeId, Protocol, Rng, Term};
use hezong_codec::log::{Record, Witness, decode_base, to_change, to_write};
use hezong_raft::{Base, Entry, Member, Membership, Payload, Raft, Saved, Write};
use hezong_wal::model::ModelFolder;
use hezong_wal::{DiskFolder, OpenError, ReadError, Recovered, Wal};

const GROUP: GroupId = GroupId(1);
const SEGMENT: u64 = 4 << 10;

/// A log as the plainest program would keep it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Twin {
    term: u64,
    vote: Option<NodeId>,
    owed: Option<LogId>,
    base: Option<LogId>,
    entries: Vec<Entry>,
}

impl Twin {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Vote { term, vote, owed } => (self.term, self.vote, self.owed) = (term.0, *vote, *owed),
            Write::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Write::Truncate(from) => self.entries.retain(|entry| entry.id.index < *from),
            Write::Compact(base) => {
                self.base = base.last;
                self.entries.retain(|entry| Some(entry.id) > base.last);
            }
            Write::Reset(base) => (self.base, self.entries) = (base.last, Vec::new()),
        }
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.id).or(self.base)
    }

    fn id_at(&self, index: Index) -> Option<LogId> {
        let found = self.entries.iter().map(|entry| entry.id).chain(self.base).find(|id| id.index == index);
        found.filter(|id| Some(id.index) >= self.base.map(|base| base.index))
    }

    fn of(wal: &Wal, recovered: &[Recovered]) -> Self {
        let mut twin = Self::default();
        for change in recovered.iter().flat_map(|group| group.changes(&wal.reader())) {
            twin.apply(&to_write(change.unwrap()).unwrap());
        }
        twin
    }
}

fn base(last: LogId) -> Base {
    Base { last: Some(last), time: Duration::ZERO, membership: alone() }
}

fn alone() -> Membership {
    let member = Member { name: "node1".into(), peer: "host:1".into(), client: "host:2".into() };
    Membership::of_voters([(NodeId(1), member)])
}

fn entries(term: u64, first: u64, count: u64, rng: &mut Rng) -> Vec<Entry> {
    let command = |rng: &mut Rng| Payload::Command(Bytes::from(vec![rng.next_u64() as u8; rng.below(200) as usize]));
    let entry = |index| Entry { id: LogId::new(term, index), time: Duration::ZERO, payload: command(rng) };
    (first..first + count).map(entry).collect()
}

/// What a log went through.
struct History {
    model: ModelFolder,
    /// How it stood after each batch.
    states: Vec<Twin>,
    /// What was committed at the end.
    committed: Vec<LogId>,
}

/// A member's life: it follows leaders of rising terms, each of which keeps what is committed and replaces some of the
/// rest; it compacts, and installs snapshots.
fn history(seed: u64, batches: u64) -> History {
    let rng = &mut Rng::new(seed);
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), common::options(SEGMENT)).unwrap();
    let mut twin = Twin::default();
    let mut states = vec![twin.clone()];
    let mut committed: Vec<LogId> = Vec::new();
    let mut term = 0;
    for _ in 0..batches {
        let last = twin.last().map_or(0, |last| last.index.0);
        let mut writes = Vec::new();
        match rng.below(10) {
            0 | 1 => {
                term += 1 + rng.below(2);
                writes.push(Write::Vote { term: Term(term), vote: Some(NodeId(1 + rng.below(3))), owed: None });
                let from = committed.len() as u64 + 1 + rng.below(last - committed.len() as u64 + 1);
                if from <= last {
                    writes.push(Write::Truncate(Index(from)));
                }
                writes.push(Write::Append(entries(term, from, 1 + rng.below(3), rng).into()));
            }
            2 if twin.base.map_or(0, |base| base.index.0) < committed.len() as u64 => {
                let through = committed[rng.below(committed.len() as u64) as usize];
                if Some(through) > twin.base {
                    writes.push(Write::Compact(base(through)));
                }
            }
            3 if term > 0 && rng.chance(200) => {
                committed.resize_with(last as usize, || LogId::new(term, last + 1));
                (0..last as usize).for_each(|at| {
                    committed[at] = twin.id_at(Index(at as u64 + 1)).unwrap_or(committed[at]);
                });
                let through = LogId::new(term, last + 5);
                (last + 1..=last + 5).for_each(|index| committed.push(LogId::new(term, index)));
                writes.push(Write::Reset(base(through)));
            }
            _ if term > 0 => writes.push(Write::Append(entries(term, last + 1, 1 + rng.below(3), rng).into())),
            _ => {}
        }
        if writes.is_empty() {
            continue;
        }
        let records: Vec<_> = writes.iter().map(|write| Record { group: GROUP, change: to_change(write) }).collect();
        wal.append(&records).unwrap();
        wal.sync().unwrap();
        writes.iter().for_each(|write| twin.apply(write));
        states.push(twin.clone());
        // Whoever leads may have got some of it committed.
        let last = twin.last().map_or(0, |last| last.index.0);
        if rng.chance(300) && twin.last().is_some_and(|last| last.term.0 == term) {
            let to = committed.len() as u64 + rng.below(last - committed.len() as u64 + 1);
            for index in committed.len() as u64 + 1..=to {
                committed.push(twin.id_at(Index(index)).unwrap());
            }
        }
    }
    // Or it dies, and its last batch alone tells that all before it was synced.
    if seed.is_multiple_of(2) {
        wal.close().unwrap();
    }
    History { model, states, committed }
}

impl History {
    /// A state machine that has applied so much of what is committed.
    fn witness(&self, applied: usize) -> Witness {
        let applied = applied.checked_sub(1).map(|at| base(self.committed[at]));
        Witness { applied: [(GROUP, applied)].into(), ..Witness::default() }
    }

    /// Opens the log with this file damaged, or gone; true when it was repaired.
    fn check(&self, name: &str, damaged: Option<&[u8]>, applied: usize, what: &str) -> bool {
        let model = self.model.fork();
        damaged.map_or_else(|| model.take(name), |damaged| model.put(name, damaged));
        let options = || common::options(SEGMENT);
        let last = self.states.last().unwrap();
        let (wal, recovered) = match Wal::repair(model.handle(), options(), &self.witness(applied)) {
            Err(OpenError::Corrupt { .. }) => {
                assert_eq!(model.contents(name).as_deref(), damaged, "{what}: a refused log was changed");
                return false;
            }
            result => result.unwrap_or_else(|error| panic!("{what}: {error}")),
        };
        let found = Twin::of(&wal, &recovered);
        assert_eq!((found.term, found.vote), (last.term, last.vote), "{what}");
        let is_whole = found.last() == last.last().max(self.applied(applied));
        assert!(is_whole || found.owed >= last.last(), "{what}: ends with {:?}, owes {:?}", found.last(), found.owed);
        if let Some(base) = found.base {
            let was_there = self.states.iter().any(|state| state.base == Some(base));
            assert!(was_there || self.committed.contains(&base), "{what}: stands on {base}");
        }
        let is_part_of = |state: &&Twin| {
            let joins = found.base.is_none_or(|base| state.id_at(base.index) == Some(base));
            joins && found.entries.iter().all(|entry| state.entries.contains(entry))
        };
        let held = self.states.iter().rev().find(is_part_of);
        assert!(found.entries.is_empty() || held.is_some(), "{what}: nobody ever had {:?}", ids(&found));
        if found.owed.is_none() {
            assert!(found.entries.is_empty() || is_part_of(&last), "{what}: owes nothing, and has {:?}", ids(&found));
        }
        let repaired = wal.opened().repaired.is_some();
        drop(wal);
        // It stands as it was told, also when power is lost right after, and is whole now.
        model.crash(&mut Rng::new(1));
        let (wal, recovered) = Wal::open(model.handle(), options()).unwrap();
        assert_eq!(Twin::of(&wal, &recovered), found, "{what}, opened again");
        repaired
    }

    /// Up to where a file may be damaged and the damage be told from a torn tail: to the end, or, of the newest, up to the
    /// batch that closes it, without which nothing says that what lies before it was synced.
    fn end(&self, name: &str) -> usize {
        let bytes = self.model.contents(name).unwrap();
        match segments(&self.model).last().is_some_and(|newest| newest == name) {
            true => (0..bytes.len() - 4).rfind(|at| bytes[*at..*at + 4] == *b"hzB1").unwrap(),
            false => bytes.len(),
        }
    }

    fn applied(&self, applied: usize) -> Option<LogId> {
        applied.checked_sub(1).map(|at| self.committed[at])
    }
}

fn ids(twin: &Twin) -> (Option<LogId>, Vec<LogId>) {
    (twin.base, twin.entries.iter().map(|entry| entry.id).collect())
}

fn segments(model: &ModelFolder) -> Vec<String> {
    model.files().into_iter().filter(|name| name.ends_with(".wal")).collect()
}

#[test]
fn repair_every_byte_of_every_segment() {
    let (mut repaired, mut refused) = (0, 0);
    for seed in 0..12 {
        let history = history(seed, 40);
        let committed = history.committed.len();
        for name in segments(&history.model) {
            let bytes = history.model.contents(&name).unwrap();
            let end = history.end(&name);
            for at in (0..end).step_by(7) {
                for (damage, applied) in
                    [("flip", committed), ("zero", committed / 2), ("flip", 0), ("zero", committed)]
                {
                    let mut damaged = bytes.clone();
                    match damage {
                        "flip" => damaged[at] ^= 1 << (at % 8),
                        _ => damaged[at..(at + 512).min(end)].fill(0),
                    }
                    let what = format!("seed {seed}, {damage} at {at} of {name}, {applied} of {committed} applied");
                    match history.check(&name, Some(&damaged), applied, &what) {
                        true => repaired += 1,
                        false if damaged == bytes => {}
                        false => refused += 1,
                    }
                }
            }
        }
    }
    assert!(repaired > 4 * refused, "{repaired} repaired, {refused} refused");
}

/// Several places at once, also in several segments.
#[test]
fn repair_of_much_damage() {
    let mut repaired = 0;
    for seed in 0..400 {
        let history = history(seed % 20, 60);
        let rng = &mut Rng::new(seed);
        let names = segments(&history.model);
        let name = &names[rng.below(names.len() as u64) as usize];
        let other = &names[rng.below(names.len() as u64) as usize];
        let spoiled = |rng: &mut Rng, name: &str| {
            let mut bytes = history.model.contents(name).unwrap();
            let end = history.end(name);
            (0..1 + rng.below(3)).for_each(|_| bytes[rng.below(end as u64) as usize] ^= 0x10);
            bytes
        };
        let other_bytes = spoiled(rng, other);
        history.model.put(other, &other_bytes);
        let bytes = spoiled(rng, name);
        let applied = rng.below(history.committed.len() as u64 + 1) as usize;
        repaired += u64::from(history.check(name, Some(&bytes), applied, &format!("seed {seed}")));
    }
    assert!(repaired > 200, "{repaired} of 400");
}

/// A file that is gone is a longer hole, and so is one without its header: what came before it is kept aside.
#[test]
fn repair_of_whole_segments() {
    let (mut repaired, mut owing, mut headless) = (0, 0, 0);
    for seed in 0..12 {
        let history = history(seed, 60);
        let committed = history.committed.len();
        let mut names = segments(&history.model);
        let newest = names.pop().unwrap();
        for (at, name) in names.iter().enumerate() {
            let mut beheaded = history.model.contents(name).unwrap();
            beheaded[..64].fill(0);
            for applied in [0, committed / 2, committed] {
                for damaged in [None, Some(&*beheaded)] {
                    let what = format!("seed {seed}, {name}, {applied} of {committed} applied");
                    repaired += u64::from(history.check(name, damaged, applied, &what));
                    let model = history.model.fork();
                    damaged.map_or_else(|| model.take(name), |damaged| model.put(name, damaged));
                    let options = common::options(SEGMENT);
                    let Ok((wal, _)) = Wal::repair(model.handle(), options, &history.witness(applied)) else {
                        continue;
                    };
                    owing += usize::from(wal.opened().repaired.as_ref().unwrap().groups[0].owed.is_some());
                    let aside = model.files().into_iter().filter(|name| name.ends_with(".damaged")).count();
                    assert_eq!(aside, at + usize::from(damaged.is_some()), "{what}");
                }
            }
        }
        // Without the newest header nothing tells which other files count, and all of them are kept aside. Its own opening
        // says how every group stood.
        let mut beheaded = history.model.contents(&newest).unwrap();
        beheaded[..64].fill(0);
        for applied in [0, committed / 2, committed] {
            let what = format!("seed {seed}, the newest, {applied} of {committed} applied");
            headless += u64::from(history.check(&newest, Some(&beheaded), applied, &what));
        }
    }
    assert!(repaired > 20 && owing > 5, "{repaired} repaired, {owing} of them owe something");
    assert!(headless > 30, "{headless} of 36 repaired without the newest header");
}

/// A lost segment, and behind it nothing but a vote is certain: what may be owed has no bound.
#[test]
fn repair_without_any_end_is_refused() {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), common::options(SEGMENT)).unwrap();
    let rng = &mut Rng::new(3);
    let mut put = |writes: &[Write]| {
        let records: Vec<_> = writes.iter().map(|write| Record { group: GROUP, change: to_change(write) }).collect();
        wal.append(&records).unwrap();
        wal.sync().unwrap();
        wal.segments()
    };
    let vote = |term| Write::Vote { term: Term(term), vote: None, owed: None };
    put(&[Write::Reset(Base::default()), vote(1)]);
    let mut index = 0;
    while put(&[Write::Append(entries(1, index + 1, 1, rng).into())]) < 3 {
        index += 1;
    }
    let mut term = 2;
    while put(&[vote(term)]) < 4 {
        term += 1;
    }
    drop(wal);
    let names = segments(&model);
    model.take(&names[2]);
    let mut bytes = model.contents(&names[3]).unwrap();
    bytes[80 + 40] ^= 1;
    model.put(&names[3], &bytes);
    let witness = Witness { applied: [(GROUP, Some(base(LogId::new(1, 1))))].into(), ..Witness::default() };
    match Wal::repair(model.handle(), common::options(SEGMENT), &witness) {
        Err(OpenError::Corrupt { reason, .. }) => assert_eq!(reason, "where the log of g1 ends may have been there"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert!(model.contents(&names[1]).is_some(), "a refused log was changed");
}

/// What was applied is no loss: nothing is owed, and what follows is kept.
#[test]
fn repair_behind_what_was_applied_owes_nothing() {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), common::options(1 << 20)).unwrap();
    let rng = &mut Rng::new(3);
    let vote = Write::Vote { term: Term(1), vote: None, owed: None };
    let mut put = |writes: &[Write]| {
        let records: Vec<_> = writes.iter().map(|write| Record { group: GROUP, change: to_change(write) }).collect();
        wal.append(&records).unwrap();
        wal.sync().unwrap();
    };
    put(&[Write::Reset(Base::default()), vote]);
    let all = entries(1, 1, 10, rng);
    all.iter().for_each(|entry| put(&[Write::Append(vec![entry.clone()].into())]));
    wal.close().unwrap();
    let name = &segments(&model)[0];
    let bytes = model.contents(name).unwrap();
    let starts: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == *b"hzB1").collect();
    let mut damaged = bytes;
    // The fourth entry: the batches before it are the first, and one for each of three.
    damaged[starts[4] + 60] ^= 1;
    model.put(name, &damaged);
    let open = |applied: Option<LogId>| {
        let witness = Witness { applied: [(GROUP, applied.map(base))].into(), ..Witness::default() };
        let (wal, recovered) = Wal::repair(model.fork().handle(), common::options(1 << 20), &witness).unwrap();
        (Twin::of(&wal, &recovered), wal.opened().repaired.clone().unwrap())
    };
    let (found, told) = open(Some(LogId::new(1, 6)));
    assert_eq!((found.base, found.owed), (Some(LogId::new(1, 6)), None));
    assert_eq!(found.entries, all[6..]);
    assert_eq!((told.gaps[0].offset, told.groups[0].owed), (starts[4] as u64, None));
    // Nothing was applied: what lies before the damage stays, and the tenth is owed.
    let (found, told) = open(None);
    assert_eq!((found.base, found.owed), (None, Some(LogId::new(1, 10))));
    assert_eq!(found.entries, all[..3]);
    assert_eq!((told.groups[0].end, told.groups[0].owed), (Some(Index(3)), Some(Index(10))));
    let mut saved = Saved::default();
    Raft::save(&mut saved, &Write::Vote { term: Term(found.term), vote: found.vote, owed: found.owed });
    assert_eq!(saved.owed, Some(LogId::new(1, 10)));
    let kept: Vec<_> = model.files();
    assert!(kept.contains(name), "a fork was repaired, not this one: {kept:?}");
}

/// A term or a vote that may have been lost would be a second vote: refused, by file and offset.
#[test]
fn repair_without_the_latest_vote_is_refused() {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), common::options(1 << 20)).unwrap();
    let rng = &mut Rng::new(3);
    let vote = |term| Write::Vote { term: Term(term), vote: None, owed: None };
    let batches = [
        vec![Write::Reset(Base::default()), vote(1)],
        vec![vote(2)],
        vec![Write::Append(entries(2, 1, 1, rng).into())],
        vec![Write::Append(entries(2, 2, 1, rng).into())],
    ];
    for writes in &batches {
        let records: Vec<_> = writes.iter().map(|write| Record { group: GROUP, change: to_change(write) }).collect();
        wal.append(&records).unwrap();
        wal.sync().unwrap();
    }
    drop(wal);
    let name = &segments(&model)[0];
    let mut bytes = model.contents(name).unwrap();
    let starts: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == *b"hzB1").collect();
    bytes[starts[1] + 40] ^= 1;
    model.put(name, &bytes);
    let witness = Witness { applied: [(GROUP, None)].into(), ..Witness::default() };
    match Wal::repair(model.handle(), common::options(1 << 20), &witness) {
        Err(OpenError::Corrupt { offset, reason, .. }) => {
            assert_eq!(offset, starts[1] as u64);
            assert_eq!(reason, "the latest term and vote of g1 may have been there");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// A page that the disk does not give back is damage of that page; behind the last that is known to have been synced,
/// it is no torn tail.
#[test]
fn repair_of_what_cannot_be_read() {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), common::options(1 << 20)).unwrap();
    let mut put = |writes: &[Write]| {
        let records: Vec<_> = writes.iter().map(|write| Record { group: GROUP, change: to_change(write) }).collect();
        wal.append(&records).unwrap();
        wal.sync().unwrap();
    };
    put(&[Write::Reset(Base::default()), Write::Vote { term: Term(1), vote: None, owed: None }]);
    let payload = Payload::Command(Bytes::from(vec![7; 3_000]));
    let entry = |index| Entry { id: LogId::new(1, index), time: Duration::ZERO, payload: payload.clone() };
    (1..=10).for_each(|index| put(&[Write::Append(vec![entry(index)].into())]));
    let killed = model.fork();
    wal.close().unwrap();
    let name = &segments(&model)[0];
    let spoiled = |model: &ModelFolder, offset| {
        let model = model.fork();
        model.spoil(name, offset);
        model
    };
    // The page from 12,288 on holds the end of the fourth entry, and more.
    let in_the_middle = spoiled(&model, 15_000);
    match Wal::open(in_the_middle.handle(), common::options(1 << 20)) {
        Err(OpenError::Corrupt { offset, .. }) => assert!((9_000..15_000).contains(&offset), "{offset}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    for (applied, last, owed) in [(7, 10, None), (0, 3, Some(LogId::new(1, 10)))] {
        let witness = Witness {
            applied: [(GROUP, (applied > 0).then(|| base(LogId::new(1, applied))))].into(),
            ..Witness::default()
        };
        let model = in_the_middle.fork();
        let (wal, recovered) = Wal::repair(model.handle(), common::options(1 << 20), &witness).unwrap();
        let found = Twin::of(&wal, &recovered);
        assert_eq!((found.last(), found.owed), (Some(LogId::new(1, last)), owed));
    }
    // Of a node that was killed, the last entry is behind the last mark.
    let at_the_end = spoiled(&killed, 30_000);
    let witness = Witness { applied: [(GROUP, None)].into(), ..Witness::default() };
    for result in [
        Wal::open(at_the_end.fork().handle(), common::options(1 << 20)),
        Wal::repair(at_the_end.fork().handle(), common::options(1 << 20), &witness),
    ] {
        assert!(matches!(result, Err(OpenError::Io(_))), "{:?}", result.map(|_| ()));
    }
    // And while it runs.
    let (wal, _) = Wal::open(model.handle(), common::options(1 << 20)).unwrap();
    let newest = segments(&model).pop().unwrap();
    model.spoil(&newest, 15_000);
    let error = wal.read(GROUP, Index(1), Index(10), usize::MAX).unwrap_err();
    assert!(error.is_damage(), "{error}");
}

#[test]
fn scrub_finds_what_changed_and_nothing_else() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Arc::new(DiskFolder::open(temporary.path()).unwrap());
    let (mut wal, _) = Wal::open(folder, common::options(SEGMENT)).unwrap();
    for index in 1..=49 {
        wal.append(&[common::append(1, index, &[&[b'x'; 300]])]).unwrap();
    }
    wal.sync().unwrap();
    let files = std::fs::read_dir(temporary.path()).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "wal")).collect();
    segments.sort();
    let round = |scrub: &mut hezong_wal::Scrub| {
        let mut bytes = 0;
        loop {
            match scrub.step() {
                Ok(0) => return Ok(bytes),
                Ok(read) => bytes += read,
                Err(error) => return Err(error),
            }
        }
    };
    let mut scrub = wal.reader().scrub();
    let first = round(&mut scrub).unwrap();
    assert!(segments.len() > 3 && first > (segments.len() as u64 - 2) * SEGMENT / 2, "{first} bytes of {segments:?}");
    assert_eq!(round(&mut scrub).unwrap(), first, "and again");
    // What is not synced may still change.
    wal.append(&[common::append(1, 50, &[&[b'x'; 300]])]).unwrap();
    assert_eq!(round(&mut scrub).unwrap(), first);
    wal.sync().unwrap();
    let flip = |path: &std::path::Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[500] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    for damaged in [segments.last().unwrap(), &segments[1]] {
        flip(damaged);
        match round(&mut wal.reader().scrub()) {
            Err(ReadError::Corrupt { path, offset, .. }) => {
                assert!(*damaged == *path && offset <= 500, "{path} at {offset}");
            }
            other => panic!("{other:?}"),
        }
        flip(damaged);
    }
    assert!(round(&mut scrub).unwrap() > first);
}

/// A log of which one batch after another is given.
fn written(batches: &[Vec<Write>]) -> ModelFolder {
    let model = ModelFolder::new();
    let (mut wal, _) = Wal::open(model.handle(), common::options(1 << 20)).unwrap();
    for batch in batches {
        let records: Vec<_> = batch.iter().map(|write| Record { group: GROUP, change: to_change(write) }).collect();
        wal.append(&records).unwrap();
        wal.sync().unwrap();
    }
    wal.close().unwrap();
    model
}

/// Damages this batch of the only segment; the first one is the opening.
fn damage(model: &ModelFolder, batch: usize) {
    let name = &segments(model)[0];
    let mut bytes = model.contents(name).unwrap();
    let starts: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == *b"hzB1").collect();
    bytes[starts[batch] + 40] ^= 1;
    model.put(name, &bytes);
}

/// It led term 2, and wrote what nobody else got; a later leader replaced that by entries of term 1, which lie in the gap.
#[test]
fn repair_to_an_earlier_log_owes_more_than_that() {
    let rng = &mut Rng::new(3);
    let vote = |term| Write::Vote { term: Term(term), vote: None, owed: None };
    let mut put = |term, first, count| Write::Append(entries(term, first, count, rng).into());
    let model = written(&[
        vec![Write::Reset(Base::default()), vote(1), put(1, 1, 2)],
        vec![vote(2), put(2, 3, 2)],
        vec![vote(3), Write::Truncate(Index(3)), put(1, 3, 2)],
        vec![put(1, 5, 1)],
    ]);
    damage(&model, 2);
    let witness = Witness { applied: [(GROUP, None)].into(), ..Witness::default() };
    let (wal, recovered) = Wal::repair(model.handle(), common::options(1 << 20), &witness).unwrap();
    let found = Twin::of(&wal, &recovered);
    assert_eq!(found.last(), Some(LogId::new(2, 4)), "the log of an earlier time stays");
    assert_eq!(found.owed, Some(LogId::new(3, 5)));
}

/// A state machine tells no members before the first entry of members: those are in the base that the log stood on.
#[test]
fn repair_keeps_the_members_a_group_began_with() {
    let rng = &mut Rng::new(3);
    let vote = |term| Write::Vote { term: Term(term), vote: None, owed: None };
    let mut put = |term, first, count| Write::Append(entries(term, first, count, rng).into());
    let model = written(&[
        vec![Write::Reset(Base { membership: alone(), ..Base::default() }), vote(1), put(1, 1, 2)],
        vec![put(1, 3, 1)],
        vec![put(1, 4, 1)],
    ]);
    damage(&model, 1);
    let applied = Base { membership: Membership::default(), ..base(LogId::new(1, 4)) };
    let witness = Witness { applied: [(GROUP, Some(applied))].into(), ..Witness::default() };
    let (_, recovered) = Wal::repair(model.handle(), common::options(1 << 20), &witness).unwrap();
    let found = decode_base(recovered[0].base.clone().unwrap().1).unwrap();
    assert_eq!((found.last, found.membership), (Some(LogId::new(1, 4)), alone()));
}

/// A snapshot was installed, and a crash came before the log was made to fit: it holds other entries.
#[test]
fn repair_below_an_installed_snapshot_keeps_nothing_of_another_log() {
    let rng = &mut Rng::new(3);
    let vote = |term| Write::Vote { term: Term(term), vote: None, owed: None };
    let mut put = |term, first, count| Write::Append(entries(term, first, count, rng).into());
    let model = written(&[
        vec![Write::Reset(Base::default()), vote(1), put(1, 1, 2)],
        vec![put(1, 3, 1)],
        vec![vote(2), put(2, 4, 3)],
        vec![vote(3)],
    ]);
    damage(&model, 1);
    let applied = [(GROUP, Some(base(LogId::new(3, 5))))];
    let witness = Witness { applied: applied.clone().into(), installed: [GROUP].into() };
    let (wal, recovered) = Wal::repair(model.fork().handle(), common::options(1 << 20), &witness).unwrap();
    let found = Twin::of(&wal, &recovered);
    assert_eq!((found.base, found.entries, found.owed), (Some(LogId::new(3, 5)), Vec::new(), None));
    // Applied entry by entry, they cannot be others.
    let witness = Witness { applied: applied.into(), ..Witness::default() };
    match Wal::repair(model.handle(), common::options(1 << 20), &witness) {
        Err(OpenError::Corrupt { reason, .. }) => {
            assert_eq!(reason, "and the state machine of g1 has applied another entry 5");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

/// Whenever a crash comes, what was damaged is kept.
#[test]
fn repair_that_a_crash_ends_keeps_what_was_damaged() {
    let rng = &mut Rng::new(3);
    let vote = Write::Vote { term: Term(1), vote: None, owed: None };
    let mut put = |first| Write::Append(entries(1, first, 2, rng).into());
    let damaged = written(&[vec![Write::Reset(base(LogId::new(1, 1))), vote, put(2)], vec![put(4)], vec![put(6)]]);
    damage(&damaged, 1);
    let name = segments(&damaged).pop().unwrap();
    let bytes = damaged.contents(&name).unwrap();
    let witness = Witness { applied: [(GROUP, Some(base(LogId::new(1, 5))))].into(), ..Witness::default() };
    let options = || common::options(1 << 20);
    let mut stop = 0;
    loop {
        let model = damaged.fork();
        model.stop_after(stop);
        let is_done = Wal::repair(model.handle(), options(), &witness).is_ok();
        model.crash(&mut Rng::new(stop));
        let opened = match Wal::open(model.handle(), options()) {
            Err(OpenError::Corrupt { .. }) => Wal::repair(model.handle(), options(), &witness),
            result => result,
        };
        opened.unwrap_or_else(|error| panic!("stopped after {stop}: {error}"));
        let kept = model.contents(&format!("{name}.damaged"));
        assert!(kept.as_ref() == Some(&bytes), "stopped after {stop}: {:?}", model.files());
        if is_done {
            break;
        }
        stop += 1;
    }
    assert!(stop > 5, "{stop}");
}
