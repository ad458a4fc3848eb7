//! What the transactions of a history saw of each key, and what is wrong with a transaction taken by itself.

use std::collections::BTreeMap;

use super::findings::{AnomalyKind, Findings, Step};
use crate::transaction::{End, Micro, Name, Transactions, Workload};

/// What became of a transaction, as far as all of the history tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It took effect: its client was told so, or somebody saw what it wrote.
    Committed,
    /// It took none.
    Aborted,
    /// Its client does not know, and nobody saw what it wrote.
    Unseen,
}

/// One write of a key.
#[derive(Clone, Copy)]
pub(crate) struct Write {
    pub(crate) by: u32,
    pub(crate) value: Name,
    /// Its transaction wrote the key no more afterwards.
    pub(crate) is_last: bool,
}

/// One read of a key by a transaction that committed.
pub(crate) struct Read<'a> {
    pub(crate) by: u32,
    /// All that was found.
    pub(crate) found: &'a [Name],
    /// How much of its end the transaction had appended itself.
    pub(crate) own: usize,
    /// It tells what was there before the transaction: nothing the transaction did or read before decides it.
    pub(crate) is_first: bool,
    /// The transaction wrote the key afterwards.
    pub(crate) then_wrote: Option<Name>,
}

impl<'a> Read<'a> {
    /// What was there before the transaction.
    pub(crate) fn before(&self) -> &'a [Name] {
        &self.found[..self.found.len() - self.own.min(self.found.len())]
    }
}

/// All of one key.
#[derive(Default)]
pub(crate) struct Key<'a> {
    pub(crate) writes: Vec<Write>,
    pub(crate) reads: Vec<Read<'a>>,
    /// Where each value is in `writes`.
    values: BTreeMap<Name, usize>,
}

impl Key<'_> {
    pub(crate) fn writer(&self, value: Name) -> Option<Write> {
        self.values.get(&value).map(|place| self.writes[*place])
    }
}

/// The history by keys.
pub(crate) struct Observed<'a> {
    pub(crate) history: &'a Transactions,
    pub(crate) keys: BTreeMap<Name, Key<'a>>,
    pub(crate) fates: Vec<Fate>,
}

/// A value that was written to a key twice, so that reads of it tell nothing.
pub(crate) struct Ambiguous {
    pub(crate) key: Name,
    pub(crate) value: Name,
    pub(crate) by: [u32; 2],
}

impl<'a> Observed<'a> {
    /// # Panics
    /// The history holds 2^31 transactions.
    pub(crate) fn new(history: &'a Transactions, findings: &mut Findings) -> Result<Self, Ambiguous> {
        let mut keys: BTreeMap<Name, Key<'a>> = BTreeMap::new();
        for (by, transaction) in (0_u32..).zip(&history.all) {
            for (place, micro) in transaction.micros.iter().enumerate() {
                let Micro::Write { key, value } = micro else { continue };
                let later = &transaction.micros[place + 1..];
                let is_last =
                    !later.iter().any(|micro| matches!(micro, Micro::Write { key: other, .. } if other == key));
                let writes = keys.entry(*key).or_default();
                if let Some(before) = writes.values.insert(*value, writes.writes.len()) {
                    let by = [writes.writes[before].by, by];
                    return Err(Ambiguous { key: *key, value: *value, by });
                }
                writes.writes.push(Write { by, value: *value, is_last });
            }
            if matches!(transaction.end, End::Committed(_)) {
                replay(history, by, &mut keys, findings);
            }
        }
        let mut fates: Vec<Fate> = history.all.iter().map(|transaction| fate(transaction.end)).collect();
        for key in keys.values() {
            for value in key.reads.iter().flat_map(|read| read.found) {
                let writer = key.writer(*value).map(|write| &mut fates[write.by as usize]);
                if let Some(fate @ Fate::Unseen) = writer {
                    *fate = Fate::Committed;
                }
            }
        }
        Ok(Self { history, keys, fates })
    }

    pub(crate) fn fate(&self, transaction: u32) -> Fate {
        self.fates[transaction as usize]
    }

    pub(crate) fn text(&self, name: Name) -> &'a str {
        self.history.names.text(name)
    }

    /// A value that was read must have been written, and not taken back.
    pub(crate) fn check_source(&self, key: Name, write: Option<Write>, value: Name, by: u32, findings: &mut Findings) {
        let (key, value) = (self.text(key), self.text(value));
        match write {
            None => findings.add(AnomalyKind::GarbageRead, || {
                vec![Step::alone(by, format!("T{} found {value} in {key}, which nobody wrote", by + 1))]
            }),
            Some(write) if self.fate(write.by) == Fate::Aborted => findings.add(AnomalyKind::G1a, || {
                let why = format!("T{} found {value} in {key}, which T{} wrote and took back", by + 1, write.by + 1);
                vec![Step::alone(by, why), Step::alone(write.by, format!("T{} was aborted", write.by + 1))]
            }),
            Some(_) => {}
        }
    }

    /// A version that its transaction itself replaced, read by another.
    pub(crate) fn check_intermediate(
        &self,
        key: Name,
        value: Name,
        write: Option<Write>,
        by: u32,
        findings: &mut Findings,
    ) {
        let Some(write) = write.filter(|write| !write.is_last && write.by != by) else { return };
        findings.add(AnomalyKind::G1b, || {
            let (key, value, writer) = (self.text(key), self.text(value), write.by + 1);
            let why = format!(
                "T{} read {key} as T{writer}'s write of {value} left it, which is not how T{writer} left it",
                by + 1
            );
            vec![Step::alone(by, why), Step::alone(write.by, format!("T{writer} wrote {key} again after {value}"))]
        });
    }

    /// Several transactions read the same version and wrote upon it: whichever came later should have read the other's.
    pub(crate) fn check_lost_update(&self, key: Name, version: &str, by: &[u32], findings: &mut Findings) {
        const SHOWN: usize = 4;
        if by.len() < 2 {
            return;
        }
        findings.add(AnomalyKind::LostUpdate, || {
            let key = self.text(key);
            let why = |by: &u32| format!("T{} read {key} -> {version} and then wrote {key}", by + 1);
            by.iter().take(SHOWN).map(|by| Step::alone(*by, why(by))).collect()
        });
    }
}

fn fate(end: End) -> Fate {
    match end {
        End::Committed(_) => Fate::Committed,
        End::Aborted => Fate::Aborted,
        End::Unknown => Fate::Unseen,
    }
}

/// What a transaction must find in a key, after what it did and read itself.
struct Expected<'a> {
    key: Name,
    /// What was there before, once a read has told or a write has made it irrelevant.
    before: Option<&'a [Name]>,
    own: Vec<Name>,
}

impl<'a> Expected<'a> {
    fn write(&mut self, workload: Workload, value: Name) {
        match workload {
            Workload::ListAppend => self.own.push(value),
            Workload::Register => (self.before, self.own) = (Some(&[][..]), vec![value]),
        }
    }

    fn allows(&self, found: &[Name]) -> bool {
        let is_rest = |before: &[Name]| found.len() == before.len() + self.own.len() && found.starts_with(before);
        found.ends_with(&self.own) && self.before.is_none_or(is_rest)
    }

    fn read(&mut self, workload: Workload, found: &'a [Name]) {
        match workload {
            Workload::ListAppend => self.before = found.get(..found.len().saturating_sub(self.own.len())),
            Workload::Register => (self.before, self.own) = (Some(found), Vec::new()),
        }
    }
}

/// Walks through a transaction: gathers its reads, and compares each with what it did before.
fn replay<'a>(history: &'a Transactions, by: u32, keys: &mut BTreeMap<Name, Key<'a>>, findings: &mut Findings) {
    let micros = &history.all[by as usize].micros;
    let mut expected: Vec<Expected<'a>> = Vec::new();
    for (place, micro) in micros.iter().enumerate() {
        let (Micro::Write { key, .. } | Micro::Read { key, .. }) = micro;
        let at = expected.iter().position(|known| known.key == *key).unwrap_or_else(|| {
            expected.push(Expected { key: *key, before: None, own: Vec::new() });
            expected.len() - 1
        });
        let known = &mut expected[at];
        let found = match micro {
            Micro::Write { value, .. } => {
                known.write(history.workload, *value);
                continue;
            }
            Micro::Read { found: None, .. } => continue,
            Micro::Read { found: Some(found), .. } => found,
        };
        let mut written_later = micros[place + 1..].iter().filter_map(|micro| match micro {
            Micro::Write { key: other, value } if other == key => Some(*value),
            Micro::Write { .. } | Micro::Read { .. } => None,
        });
        let fits = known.allows(found) && !written_later.clone().any(|value| found.contains(&value));
        if !fits {
            findings.add(AnomalyKind::Internal, || internal(history, by, micro));
        }
        keys.entry(*key).or_default().reads.push(Read {
            by,
            found,
            own: if fits { known.own.len() } else { 0 },
            is_first: fits && known.before.is_none(),
            then_wrote: written_later.next_back(),
        });
        if fits {
            known.read(history.workload, found);
        }
    }
}

fn internal(history: &Transactions, by: u32, micro: &Micro) -> Vec<Step> {
    let what = history.show_micro(micro);
    let why = format!("T{}'s step \"{what}\" does not fit what the same transaction did before and after it", by + 1);
    vec![Step::alone(by, why)]
}
