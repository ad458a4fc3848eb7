//! Log matching (§5.3): two entries with the same index and term carry the same command, and so do all before them.
//!
//! Checked as it is proved, by induction: every entry ever appended anywhere is remembered together with the identity of
//! the entry before it. If all copies of (index, term) agree on both, whole logs agree up to any entry they share.

use std::collections::BTreeMap;

use hezong_base::{Index, LogId, NodeId, Term};
use hezong_raft::Entry;

use super::Violation;
use super::shadow::slot;

/// Every entry ever appended, by anybody.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    /// The first seen at each index; nearly always the only one.
    first: Vec<Seen>,
    /// All others.
    others: BTreeMap<(Index, Term), Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    term: Term,
    digest: u64,
    previous: Option<LogId>,
}

impl Matching {
    /// Whether somebody once appended an entry of this digest behind `previous`, or as the first that is known.
    pub(super) fn knows(&self, previous: Option<LogId>, id: LogId, digest: u64) -> bool {
        let seen = Seen { term: id.term, digest, previous };
        let first = id.index.0.checked_sub(1).and_then(|at| self.first.get(usize::try_from(at).ok()?));
        first == Some(&seen) || self.others.get(&(id.index, id.term)) == Some(&seen)
    }

    /// `node` appends `entry` after `previous`.
    pub(super) fn on_append(&mut self, node: NodeId, previous: Option<LogId>, entry: &Entry) -> Result<(), Violation> {
        let slot = slot(entry);
        let (index, seen) = (entry.id.index, Seen { term: slot.term, digest: slot.digest, previous });
        if index != Index::after(previous.map(|previous| previous.index)) {
            let detail = format!("{node} appends {} after {previous:?}", entry.id);
            return Err(Violation::new("log matching", detail));
        }
        let offset = usize::try_from(index.0 - 1).expect("a simulated log is short");
        let known = match self.first.get(offset) {
            // An index is first seen in order: nobody appends 7 before somebody has appended 6.
            None => {
                self.first.push(seen);
                seen
            }
            Some(first) if first.term == seen.term => *first,
            Some(_) => *self.others.entry((index, slot.term)).or_insert(seen),
        };
        if known == seen {
            return Ok(());
        }
        let detail = format!("{node} appends another {} than was seen before: {seen:?}, {known:?}", entry.id);
        Err(Violation::new("log matching", detail))
    }
}
