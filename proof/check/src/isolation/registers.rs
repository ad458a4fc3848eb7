//! Registers: a read shows one version and nothing of its past, so the order of versions has to be inferred (Kingsbury and
//! Alvaro, 2020, §4.3): every key is absent at first; who reads a version and then writes makes a later one; and where
//! the model demands an order of sessions or of time, versions keep to it.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{AnomalyKind, Findings, Step};
use super::graph::{Class, Edge, Graph, Kind, Order};
use super::observed::{Fate, Key, Observed};
use super::versions::{Source, Succession, Versions};
use crate::transaction::{End, Name};

/// Adds the versions of one key, and tells what is wrong with them by themselves.
pub(crate) fn versions(
    observed: &Observed<'_>,
    name: Name,
    key: &Key<'_>,
    order: Order,
    into: &mut Versions,
    findings: &mut Findings,
) {
    check_reads(observed, name, key, findings);
    let first_version = into.all.len();
    let first_succession = into.successions.len();
    let mut numbers: BTreeMap<Option<Name>, u32> = BTreeMap::new();
    let initial = into.add(name, None, None);
    numbers.insert(None, initial);
    for write in key.writes.iter().filter(|write| observed.fate(write.by) == Fate::Committed) {
        let version = into.add(name, Some(write.value), Some(write.by));
        numbers.insert(Some(write.value), version);
        into.succeed(initial, version, Order::Data, Source::Initial);
    }
    let mut updates: BTreeMap<Option<Name>, Vec<u32>> = BTreeMap::new();
    for read in key.reads.iter().filter(|read| read.is_first) {
        let found = read.found.first().copied();
        let Some(version) = numbers.get(&found).copied() else { continue };
        into.read(version, read.by);
        let Some(written) = read.then_wrote else { continue };
        updates.entry(found).or_default().push(read.by);
        if found.is_some()
            && let Some(next) = numbers.get(&Some(written))
        {
            into.succeed(version, *next, Order::Data, Source::ReadThenWritten { by: read.by });
        }
    }
    for (found, by) in updates {
        let version = found.map_or("nothing", |value| observed.text(value));
        observed.check_lost_update(name, version, &by, findings);
    }
    let made = &into.successions[first_succession..];
    if let Some(cycle) = cycle(made, first_version, into.all.len()) {
        findings.add(AnomalyKind::CyclicVersions, || cyclic(observed, name, into, made, &cycle));
        // Nothing can be built on an order that contradicts itself.
        into.successions.truncate(first_succession);
    } else if order > Order::Data {
        keep_order(observed, key, &numbers, order, first_succession, into);
    }
}

fn check_reads(observed: &Observed<'_>, name: Name, key: &Key<'_>, findings: &mut Findings) {
    for read in key.reads.iter().filter(|read| read.is_first) {
        let Some(value) = read.found.first() else { continue };
        let write = key.writer(*value);
        observed.check_source(name, write, *value, read.by, findings);
        observed.check_intermediate(name, *value, write, read.by, findings);
    }
}

/// A cycle among the versions of one key, as places in `made`.
fn cycle(made: &[Succession], first_version: usize, versions_end: usize) -> Option<Vec<u32>> {
    let first = u32::try_from(first_version).expect("versions are counted in u32");
    let nodes = versions_end - first_version;
    let edge = |(about, made): (u32, &Succession)| Edge {
        from: made.from - first,
        to: made.to - first,
        kind: Kind::Ww,
        order: Order::Data,
        about,
    };
    let graph = Graph::new(nodes, nodes, (0..).zip(made).map(edge).collect());
    let mut view = graph.view(Class::Writes, Order::Data, 100_000);
    let part = view.parts().into_iter().next()?;
    Some(view.shortest_cycle(&part).into_iter().map(|number| graph.edge(number).about).collect())
}

fn cyclic(observed: &Observed<'_>, name: Name, versions: &Versions, made: &[Succession], cycle: &[u32]) -> Vec<Step> {
    let value = |version: u32| {
        versions.all[version as usize].value.map_or("nothing".to_owned(), |value| observed.text(value).to_owned())
    };
    let steps = cycle.iter().filter_map(|place| {
        let Succession { from, to, source: Source::ReadThenWritten { by }, .. } = made[*place as usize] else {
            return None;
        };
        let why = format!("T{} read {} = {} and then wrote {}", by + 1, observed.text(name), value(from), value(to));
        Some(Step::alone(by, why))
    });
    steps.collect()
}

/// When a transaction touched the key, what it found first and what it left.
struct Touch {
    by: u32,
    client: u64,
    called: u64,
    ended: Option<u64>,
    first: u32,
    last: u32,
}

/// What a transaction leaves does not come after what one finds that begins later: of the same client where sessions are
/// to be kept, of any where time is.
fn keep_order(
    observed: &Observed<'_>,
    key: &Key<'_>,
    numbers: &BTreeMap<Option<Name>, u32>,
    order: Order,
    first_succession: usize,
    into: &mut Versions,
) {
    let mut known: BTreeSet<(u32, u32)> =
        into.successions[first_succession..].iter().map(|known| (known.from, known.to)).collect();
    let mut touches: BTreeMap<u32, (Option<u32>, Option<u32>)> = BTreeMap::new();
    for read in key.reads.iter().filter(|read| read.is_first) {
        let version = numbers.get(&read.found.first().copied()).copied();
        touches.insert(read.by, (version, version));
    }
    for write in key.writes.iter().filter(|write| observed.fate(write.by) == Fate::Committed) {
        let version = numbers.get(&Some(write.value)).copied();
        let touch = touches.entry(write.by).or_insert((version, version));
        touch.1 = version;
    }
    let mut touches: Vec<Touch> = touches
        .into_iter()
        .filter_map(|(by, (first, last))| {
            let transaction = &observed.history.all[by as usize];
            let ended = match transaction.end {
                End::Committed(at) => Some(at),
                End::Aborted | End::Unknown => None,
            };
            let (client, called) = (transaction.client, transaction.called);
            Some(Touch { by, client, called, ended, first: first?, last: last? })
        })
        .collect();
    touches.sort_by_key(|touch| touch.called);
    let mut ends: Vec<usize> = (0..touches.len()).filter(|place| touches[*place].ended.is_some()).collect();
    ends.sort_by_key(|place| touches[*place].ended);
    let mut ends = ends.into_iter().peekable();
    // Those that have ended and that no other that has ended began after: what comes later comes after these at least.
    let mut frontier: Vec<usize> = Vec::new();
    let mut last_of: BTreeMap<u64, usize> = BTreeMap::new();
    for touch in &touches {
        while let Some(place) = ends.next_if(|place| touches[*place].ended < Some(touch.called)) {
            let ended = &touches[place];
            last_of.insert(ended.client, place);
            if order == Order::RealTime {
                frontier.retain(|other| touches[*other].ended >= Some(ended.called));
                frontier.push(place);
            }
        }
        let mine = last_of.get(&touch.client).map(|place| (*place, Order::Session));
        let all = frontier.iter().map(|place| (*place, Order::RealTime));
        let sources: BTreeSet<_> = mine.into_iter().chain(all).collect();
        let mut before = None;
        for (place, order) in sources {
            let earlier = &touches[place];
            let pair = (earlier.last, touch.first);
            // Of two versions known in both orders one will do: whoever shows the other then shows a cycle, which says
            // more than that versions go in a circle.
            let is_new = pair.0 != pair.1 && before != Some(place) && !known.contains(&(pair.1, pair.0));
            if is_new && known.insert(pair) {
                let source = Source::Earlier { first: earlier.by, then: touch.by };
                into.succeed(earlier.last, touch.first, order, source);
            }
            before = Some(place);
        }
    }
}
