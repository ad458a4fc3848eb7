//! Which transaction must come before which, and why.

use std::collections::BTreeMap;

use super::findings::{Dependency, Step};
use super::graph::{Edge, Graph, Kind, Order};
use super::observed::{Fate, Observed};
use super::versions::{Source, Versions};
use crate::transaction::End;

/// Of the transactions that read a version and wrote the next, so many get edges of their own. More than one is a lost
/// update already.
const CONFLICTS_MAX: usize = 16;

/// The graph, and what its edges are about: for `Wr` a version; for `Ww`, `Rw` and `Carry` the succession of versions that
/// the last edge of a way rests on, or nothing.
pub(crate) struct Dependencies<'a> {
    observed: &'a Observed<'a>,
    versions: &'a Versions,
    pub(crate) graph: Graph,
}

/// `about` of an edge that needs no words.
const NOTHING: u32 = u32::MAX;

impl<'a> Dependencies<'a> {
    /// With the edges that models up to `order` know.
    pub(crate) fn new(observed: &'a Observed<'a>, versions: &'a Versions, order: Order) -> Self {
        let transactions = observed.fates.len();
        let mut edges = Vec::new();
        version_edges(versions, number(transactions), &mut edges);
        let mut nodes = transactions + versions.all.len();
        if order >= Order::Session {
            session_edges(observed, &mut edges);
        }
        if order >= Order::RealTime {
            nodes += time_edges(observed, nodes, &mut edges);
        }
        Self { observed, versions, graph: Graph::new(transactions, nodes, edges) }
    }

    /// The cycle in words: one step for each of its transactions. Stations are passed over.
    pub(crate) fn tell(&self, cycle: &[u32]) -> Vec<Step> {
        let edges: Vec<Edge> = cycle.iter().map(|number| self.graph.edge(*number)).collect();
        let mut steps = Vec::new();
        let mut at = 0;
        while let Some(entry) = edges.get(at) {
            let mut last = *entry;
            while self.graph.is_station(last.to) {
                at += 1;
                last = edges[at];
            }
            at += 1;
            let (dependency, why) = self.why(*entry, last);
            steps.push(Step { transaction: entry.from as usize, dependency: Some(dependency), why });
        }
        steps
    }

    /// One way from a transaction to another, of which these are the first edge and the last.
    fn why(&self, entry: Edge, last: Edge) -> (Dependency, String) {
        let (from, to) = (entry.from + 1, last.to + 1);
        let version = |number: u32| &self.versions.all[number as usize];
        let state = |number: u32| {
            let version = version(number);
            let key = self.observed.text(version.key);
            version.value.map_or(format!("{key} when it was empty"), |value| {
                format!("{key} as {} left it", self.observed.text(value))
            })
        };
        match entry.kind {
            Kind::Before | Kind::Carry if entry.order == Order::RealTime => {
                (Dependency::RealTime, format!("T{from} ended before T{to} began"))
            }
            Kind::Before | Kind::Carry => {
                (Dependency::Session, format!("the same client asked for T{from} and, when that had ended, for T{to}"))
            }
            Kind::Wr => {
                let value = version(entry.about).value.map_or("", |value| self.observed.text(value));
                let key = self.observed.text(version(entry.about).key);
                (Dependency::WriteRead, format!("T{to} read T{from}'s write of {value} to {key}"))
            }
            Kind::Ww => {
                let after = format!("T{to} wrote {} after T{from}'s", self.written(last));
                (Dependency::WriteWrite, format!("{after}{}", self.source(last)))
            }
            Kind::Rw => {
                let missed = format!(
                    "T{from} read {} and so missed T{to}'s {}",
                    state(self.versions.successions[last.about as usize].from),
                    self.written(last)
                );
                (Dependency::ReadWrite, format!("{missed}{}", self.source(last)))
            }
        }
    }

    fn written(&self, last: Edge) -> String {
        let succession = &self.versions.successions[last.about as usize];
        let version = &self.versions.all[succession.to as usize];
        let value = version.value.map_or("", |value| self.observed.text(value));
        format!("{value} in {}", self.observed.text(version.key))
    }

    /// How it is known that the later version is later.
    fn source(&self, last: Edge) -> String {
        match self.versions.successions[last.about as usize].source {
            Source::Listed { by } => format!(", as T{} read the list", by + 1),
            Source::Unlisted { by: Some(by) } => {
                format!(", which even the longest list, read by T{}, does not hold", by + 1)
            }
            Source::Unlisted { by: None } | Source::Initial => String::new(),
            Source::ReadThenWritten { by } => format!(", as T{} read the one and then wrote the other", by + 1),
            Source::Earlier { first, then } => {
                format!(
                    ", as T{}, which left the one, ended before T{}, which met the other, began",
                    first + 1,
                    then + 1
                )
            }
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("a history holds fewer than 2^31 transactions")
}

/// From who wrote a version to who read it, and from both to who wrote a later one.
fn version_edges(versions: &Versions, stations: u32, edges: &mut Vec<Edge>) {
    let mut later: Vec<Vec<u32>> = vec![Vec::new(); versions.all.len()];
    for (place, succession) in (0..).zip(&versions.successions) {
        later[succession.from as usize].push(place);
    }
    for (about, version) in (0..).zip(&versions.all) {
        let order = Order::Data;
        if let Some(from) = version.writer {
            let readers = version.readers.iter().filter(|reader| **reader != from);
            edges.extend(readers.map(|to| Edge { from, to: *to, kind: Kind::Wr, order, about }));
        }
        let station = stations + about;
        let ways: Vec<Edge> = later[about as usize]
            .iter()
            .filter_map(|place| {
                let succession = &versions.successions[*place as usize];
                let to = versions.all[succession.to as usize].writer?;
                Some(Edge { from: station, to, kind: Kind::Carry, order: succession.order, about: *place })
            })
            .collect();
        if ways.is_empty() {
            continue;
        }
        edges.extend(&ways);
        let writer = version.writer.map(|from| (from, Kind::Ww));
        let readers = version.readers.iter().map(|from| (*from, Kind::Rw));
        let mut conflicts = 0;
        for (from, kind) in writer.into_iter().chain(readers) {
            if ways.iter().all(|way| way.to != from) {
                edges.push(Edge { from, to: station, kind, order, about });
            } else if ways.len() > 1 && conflicts < CONFLICTS_MAX {
                // Through the station it would come before itself.
                conflicts += 1;
                let others = ways.iter().filter(|way| way.to != from);
                edges.extend(others.map(|way| Edge { from, to: way.to, kind, order: way.order, about: way.about }));
            }
        }
    }
}

/// From each transaction to its client's next.
fn session_edges(observed: &Observed<'_>, edges: &mut Vec<Edge>) {
    let mut order: Vec<u32> =
        (0..).zip(&observed.fates).filter(|(_, fate)| **fate == Fate::Committed).map(|(at, _)| at).collect();
    let transaction = |at: u32| &observed.history.all[at as usize];
    order.sort_by_key(|at| transaction(*at).called);
    let mut last: BTreeMap<u64, u32> = BTreeMap::new();
    for to in order {
        let Some(from) = last.insert(transaction(to).client, to) else { continue };
        if matches!(transaction(from).end, End::Committed(at) if at < transaction(to).called) {
            edges.push(Edge { from, to, kind: Kind::Before, order: Order::Session, about: NOTHING });
        }
    }
}

/// From each transaction to all that began after it had ended, through one station for each end: from the end of a
/// transaction to the next end, and on to those that begin between the two. Tells how many stations that took.
fn time_edges(observed: &Observed<'_>, first_station: usize, edges: &mut Vec<Edge>) -> usize {
    let order = Order::RealTime;
    let mut ends = Vec::new();
    let mut calls = Vec::new();
    for (at, transaction) in (0..).zip(&observed.history.all).filter(|(at, _)| observed.fate(*at) == Fate::Committed) {
        calls.push((transaction.called, at));
        if let End::Committed(end) = transaction.end {
            ends.push((end, at));
        }
    }
    ends.sort_unstable();
    for (place, (_, from)) in ends.iter().enumerate() {
        let to = number(first_station + place);
        edges.push(Edge { from: *from, to, kind: Kind::Before, order, about: NOTHING });
        if place > 0 {
            edges.push(Edge { from: to - 1, to, kind: Kind::Carry, order, about: NOTHING });
        }
    }
    for (called, to) in calls {
        let ended = ends.partition_point(|(end, _)| *end < called);
        if ended > 0 {
            let from = number(first_station + ended - 1);
            edges.push(Edge { from, to, kind: Kind::Carry, order, about: NOTHING });
        }
    }
    ends.len()
}
