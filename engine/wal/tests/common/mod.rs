//! What the tests share: records with few letters, and the dumb twin.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{GroupId, Index, Rng};
use hezong_codec::log::{Change, Record};
use hezong_wal::{Options, Recovered, Wal};

pub(crate) const IDENTITY: &[u8] = b"cluster 1 node 1";

pub(crate) fn options(segment_bytes: u64) -> Options {
    Options { identity: IDENTITY.to_vec(), segment_bytes }
}

pub(crate) fn state(group: u64, blob: &[u8]) -> Record {
    Record { group: GroupId(group), change: Change::State(Bytes::copy_from_slice(blob)) }
}

pub(crate) fn append(group: u64, first: u64, entries: &[&[u8]]) -> Record {
    let entries = entries.iter().map(|entry| Bytes::copy_from_slice(entry)).collect();
    Record { group: GroupId(group), change: Change::Append { first: Index(first), entries } }
}

pub(crate) fn truncate(group: u64, from: u64) -> Record {
    Record { group: GroupId(group), change: Change::Truncate { from: Index(from) } }
}

pub(crate) fn compact(group: u64, through: u64, base: &[u8]) -> Record {
    let base = Bytes::copy_from_slice(base);
    Record { group: GroupId(group), change: Change::Compact { through: Index(through), base } }
}

pub(crate) fn reset(group: u64, last: Option<u64>, base: &[u8]) -> Record {
    let base = Bytes::copy_from_slice(base);
    Record { group: GroupId(group), change: Change::Reset { last: last.map(Index), base } }
}

/// A log that keeps everything in the plainest way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Twin {
    pub(crate) groups: BTreeMap<GroupId, TwinGroup>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TwinGroup {
    pub(crate) state: Option<Bytes>,
    pub(crate) base: Option<(Option<Index>, Bytes)>,
    pub(crate) entries: BTreeMap<u64, Bytes>,
}

impl TwinGroup {
    pub(crate) fn base_last(&self) -> u64 {
        self.base.as_ref().and_then(|(last, _)| *last).map_or(0, |last| last.0)
    }

    pub(crate) fn end(&self) -> u64 {
        self.entries.keys().next_back().copied().unwrap_or_else(|| self.base_last())
    }
}

impl Twin {
    pub(crate) fn apply(&mut self, record: &Record) {
        let group = self.groups.entry(record.group).or_default();
        match &record.change {
            Change::State(state) => group.state = Some(state.clone()),
            Change::Append { first, entries } => {
                for (at, entry) in entries.iter().enumerate() {
                    group.entries.insert(first.0 + at as u64, entry.clone());
                }
            }
            Change::Truncate { from } => group.entries.retain(|index, _| *index < from.0),
            Change::Compact { through, base } => {
                group.entries.retain(|index, _| *index > through.0);
                group.base = Some((Some(*through), base.clone()));
            }
            Change::Reset { last, base } => {
                group.entries.clear();
                group.base = Some((*last, base.clone()));
            }
        }
    }

    /// What a log holds, told in the twin's words.
    pub(crate) fn of(wal: &Wal, recovered: &[Recovered]) -> Self {
        let mut twin = Self::default();
        for recovered in recovered {
            let group = recovered.group;
            twin.groups.insert(group, TwinGroup::default());
            for change in recovered.changes(&wal.reader()) {
                twin.apply(&Record { group, change: change.expect("entries can be read") });
            }
            let found = &twin.groups[&group];
            let ends = found.entries.first_key_value().zip(found.entries.last_key_value());
            let ends = ends.map(|((first, _), (last, _))| (Index(*first), Index(*last)));
            assert_eq!(ends, recovered.live, "what is told of the group and what it holds");
        }
        twin
    }
}

/// A change that fits the twin's group.
pub(crate) fn random_record(rng: &mut Rng, twin: &Twin, groups: u64, entry_bytes_max: u64) -> Record {
    let id = rng.below(groups) + 1;
    let empty = TwinGroup::default();
    let group = twin.groups.get(&GroupId(id)).unwrap_or(&empty);
    let (base, end) = (group.base_last(), group.end());
    let blob = |rng: &mut Rng, max: u64| {
        let letter = b'a' + rng.below(26) as u8;
        vec![letter; rng.below(max + 1) as usize]
    };
    match rng.below(20) {
        0..2 => state(id, &blob(rng, 20)),
        2 if end > base => truncate(id, base + 1 + rng.below(end - base)),
        3 if end > base => compact(id, base + 1 + rng.below(end - base), &blob(rng, 30)),
        4 if rng.chance(200) => reset(id, Some(rng.below(40)).filter(|last| *last > 0), &blob(rng, 30)),
        _ => {
            let entries: Vec<Vec<u8>> = (0..=rng.below(4)).map(|_| blob(rng, entry_bytes_max)).collect();
            let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            append(id, end + 1, &entries)
        }
    }
}
