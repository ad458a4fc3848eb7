//! Lists: every read of one is its history. The longest read of a key orders all versions in it, and every other read must
//! be one of its beginnings (Kingsbury and Alvaro, 2020, §4.2).

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{AnomalyKind, Findings, Step};
use super::graph::Order;
use super::observed::{Fate, Key, Observed, Read};
use super::versions::{Source, Versions};
use crate::transaction::Name;

/// Adds the versions of one key, and tells what is wrong with its lists themselves.
pub(crate) fn versions(
    observed: &Observed<'_>,
    name: Name,
    key: &Key<'_>,
    into: &mut Versions,
    findings: &mut Findings,
) {
    let mut longest: Option<&Read<'_>> = None;
    for read in &key.reads {
        if longest.is_none_or(|other| read.found.len() > other.found.len()) {
            longest = Some(read);
        }
    }
    let list = longest.map_or(&[][..], |read| read.found);
    let lists = Lists { observed, name, key, list, by: longest.map(|read| read.by) };
    lists.check_reads(findings);
    lists.check_order(findings);
    lists.check_lost(findings);
    lists.add_versions(into);
}

struct Lists<'a> {
    observed: &'a Observed<'a>,
    name: Name,
    key: &'a Key<'a>,
    /// The longest read, and whose.
    list: &'a [Name],
    by: Option<u32>,
}

impl Lists<'_> {
    fn text(&self, name: Name) -> &str {
        self.observed.text(name)
    }

    fn fits(&self, read: &Read<'_>) -> bool {
        self.list.starts_with(read.found)
    }

    /// Reads against the longest one, and against who wrote what is in them.
    fn check_reads(&self, findings: &mut Findings) {
        // What is wrong with the longest read is wrong with all that begin alike; it is told once.
        let mut told: BTreeSet<Name> = BTreeSet::new();
        let longest = self.by.into_iter().map(|by| (by, self.list));
        let others = self.key.reads.iter().filter(|read| !self.fits(read)).map(|read| (read.by, read.found));
        for (by, found) in longest.chain(others) {
            let mut seen = BTreeSet::new();
            for value in found {
                if !seen.insert(*value) {
                    let (value, list) = (self.text(*value), self.text(self.name));
                    let why = || format!("T{} found {value} twice in {list}, to which it was appended once", by + 1);
                    findings.add(AnomalyKind::DuplicateElements, || vec![Step::alone(by, why())]);
                }
                if told.insert(*value) {
                    self.observed.check_source(self.name, self.key.writer(*value), *value, by, findings);
                }
            }
            if !self.list.starts_with(found) {
                findings.add(AnomalyKind::IncompatibleOrder, || self.incompatible(by, found));
            }
        }
        for read in self.key.reads.iter().filter(|read| read.is_first) {
            let Some(last) = read.before().last() else { continue };
            self.observed.check_intermediate(self.name, *last, self.key.writer(*last), read.by, findings);
        }
    }

    fn incompatible(&self, by: u32, found: &[Name]) -> Vec<Step> {
        let history = self.observed.history;
        let why = format!(
            "T{} read {} as {}, which is no beginning of {}, as another read it: a list that only grows cannot have been both",
            by + 1,
            self.text(self.name),
            history.show_found(found),
            history.show_found(self.list)
        );
        let whole = format!("read {} as {}", self.text(self.name), history.show_found(self.list));
        let other = self.by.map(|longest| Step::alone(longest, format!("T{} {whole}", longest + 1)));
        [Step::alone(by, why)].into_iter().chain(other).collect()
    }

    /// A write that took effect upon one that did not.
    fn check_order(&self, findings: &mut Findings) {
        for pair in self.list.windows(2) {
            let [Some(first), Some(then)] = [self.key.writer(pair[0]), self.key.writer(pair[1])] else { continue };
            if self.observed.fate(first.by) == Fate::Aborted && self.observed.fate(then.by) == Fate::Committed {
                findings.add(AnomalyKind::DirtyUpdate, || {
                    let [behind, value, list] = [pair[0], pair[1], self.name].map(|name| self.text(name));
                    let (first, then) = (first.by, then.by);
                    let why =
                        format!("T{} appended {value} to {list} right behind T{}'s {behind}", then + 1, first + 1);
                    vec![Step::alone(then, why), Step::alone(first, format!("T{} was aborted", first + 1))]
                });
            }
        }
    }

    fn check_lost(&self, findings: &mut Findings) {
        let mut updates: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for read in self.key.reads.iter().filter(|read| read.is_first && read.own == 0 && self.fits(read)) {
            if read.then_wrote.is_some() {
                updates.entry(read.found.len()).or_default().push(read.by);
            }
        }
        for (length, by) in updates {
            let version = self.observed.history.show_found(&self.list[..length]);
            self.observed.check_lost_update(self.name, &version, &by, findings);
        }
    }

    fn add_versions(&self, into: &mut Versions) {
        let mut places = vec![into.add(self.name, None, None)];
        for value in self.list {
            let writer = self.key.writer(*value).filter(|write| self.observed.fate(write.by) == Fate::Committed);
            let version = into.add(self.name, Some(*value), writer.map(|write| write.by));
            if let (Some(before), Some(by)) = (places.last(), self.by) {
                into.succeed(*before, version, Order::Data, Source::Listed { by });
            }
            places.push(version);
        }
        for read in self.key.reads.iter().filter(|read| read.is_first && self.fits(read)) {
            into.read(places[read.before().len()], read.by);
        }
        let listed: BTreeSet<Name> = self.list.iter().copied().collect();
        for write in self.key.writes.iter().filter(|write| !listed.contains(&write.value)) {
            if self.observed.fate(write.by) == Fate::Committed {
                let version = into.add(self.name, Some(write.value), Some(write.by));
                into.succeed(places[self.list.len()], version, Order::Data, Source::Unlisted { by: self.by });
            }
        }
    }
}
