//! The marks of rare branches (`sometimes!` in `hezong-base`): which there are, and which many runs have reached.
//!
//! The table is written by hand, so that it is known without running anything which marks a run has not reached; the test below
//! keeps it equal to the sources. A mark that no run reaches stands in a branch that the simulator cannot get to, or that
//! nothing can: either is worth knowing, and the mark goes, or the faults grow.

use std::collections::BTreeMap;

/// Every mark there is, in order.
pub const MARKS: &[&str] = &[
    "kv: a numbered write comes again",
    "kv: a numbered write comes when its session is gone",
    "kv: a session is swept",
    "kv: a session is used after its time",
    "kv: a session was used since it was put in order",
    "kv: a snapshot is begun over another",
    "kv: a snapshot is given up that nobody goes on with",
    "kv: a snapshot is gone on with after a restart",
    "kv: a write with a key comes again",
    "node: a chunk comes that is not asked for any more",
    "node: a client goes while its entry is under way",
    "node: a client waits in vain, and its write may happen yet",
    "node: a crash came between a snapshot and the log",
    "node: a joint change is told when it is left",
    "node: a read waits to be applied",
    "node: a snapshot hides what came of a write",
    "node: a snapshot is asked for that is not held",
    "node: a snapshot is gone on with",
    "node: a snapshot is let go that nobody fetches",
    "node: a step waits for a learner",
    "node: a turn takes no more bytes",
    "node: another entry took the place of a client's",
    "node: entries to apply have left memory",
    "node: the state got as far as the snapshot by itself",
    "node: too many clients wait",
    "node: too much waits to be applied",
    "node: who holds a snapshot is silent",
    "raft: a campaign waits for a lease granted to another",
    "raft: a candidate finds a leader of its own term",
    "raft: a change comes before another is over",
    "raft: a change comes before the term is opened",
    "raft: a change of members is rolled back",
    "raft: a change would leave too few within reach",
    "raft: a conflict is cut off",
    "raft: a forwarded read waits too long",
    "raft: a hint skips several terms",
    "raft: a joint change is rolled back",
    "raft: a joint membership is left by another leader",
    "raft: a late rejection changes nothing",
    "raft: a leader hears no majority and stops",
    "raft: a leader that is removed hands over",
    "raft: a leader whose disk stalls finds no successor",
    "raft: a leader without state hands the log on and stops",
    "raft: a learner took too long and has another round",
    "raft: a lease is disregarded for a transfer",
    "raft: a majority holds an entry of an earlier term, which does not count",
    "raft: a member needs entries that left memory",
    "raft: a prior vote answers an earlier question",
    "raft: a read finds no lease",
    "raft: a read is forwarded to who leads no more",
    "raft: a removed member is left alone untold",
    "raft: a snapshot ends before the log begins",
    "raft: a snapshot is offered to who needs none",
    "raft: a snapshot takes the place of one under way",
    "raft: a snapshot voids entries of another log",
    "raft: a transfer takes too long, and the leader goes on",
    "raft: a vote is given again to whom it was given",
    "raft: a vote is kept back for a lease",
    "raft: a vote is refused for a shorter log",
    "raft: a window is full",
    "raft: a wish to campaign comes from whom one does not follow",
    "raft: an acknowledgement from before damage is void",
    "raft: an answer comes to a question that another has replaced",
    "raft: an election is lost",
    "raft: an estimated debt is found to be smaller",
    "raft: entries are compacted while they are read",
    "raft: entries arrive from disk for nobody",
    "raft: entries behind an installed snapshot are kept",
    "raft: how a transfer ended is not known in time",
    "raft: no campaign while the disk stalls",
    "raft: no snapshot can be taken",
    "raft: of an append only the end is new",
    "raft: reads waited for a leader that stops",
    "raft: too many reads wait at a follower",
    "raft: too many reads wait at the leader",
    "raft: too much is not committed",
    "raft: what a damaged log lost is back",
    "raft: what was sent may be lost",
    "raft: who may not campaign is counted on",
    "raft: who offered a snapshot leads no more when it ends",
    "wal: a segment was being begun when the node stopped",
    "wal: a torn tail is cut off",
    "wal: batches survive that nobody was told of",
    "wal: the newest segment is too full to be moved whole",
];

/// In how many runs each mark was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    /// One run more, which reached these.
    pub(crate) fn add(&mut self, reached: &BTreeMap<&'static str, u64>) {
        for mark in reached.keys() {
            *self.0.entry(mark).or_default() += 1;
        }
    }

    /// Adds other runs.
    pub fn merge(&mut self, other: &Self) {
        for (mark, runs) in &other.0 {
            *self.0.entry(mark).or_default() += runs;
        }
    }

    /// In how many runs a mark was reached.
    #[must_use]
    pub fn of(&self, mark: &str) -> u64 {
        self.0.get(mark).copied().unwrap_or(0)
    }

    /// Those that no run reached.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        MARKS.iter().copied().filter(|mark| self.of(mark) == 0).collect()
    }

    /// The marks that were reached in the fewest runs, each with how many.
    #[must_use]
    pub fn rarest(&self, count: usize) -> Vec<(&'static str, u64)> {
        let mut reached: Vec<_> = self.0.iter().map(|(mark, runs)| (*mark, *runs)).collect();
        reached.sort_by_key(|(mark, runs)| (*runs, *mark));
        reached.truncate(count);
        reached
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Every mark in the Rust files below `folder`, as often as it stands there.
    fn collect(folder: &Path, into: &mut Vec<String>) {
        let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        for path in found {
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let calls = text.split("sometimes!(").skip(1);
                into.extend(
                    calls.filter_map(|call| Some(call.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned())),
                );
            }
        }
    }

    #[test]
    fn marks_are_those_of_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = Vec::new();
        for part in ["protocols/raft/src", "engine", "data"] {
            collect(&root.join(part), &mut found);
        }
        found.sort();
        assert_eq!(found, MARKS, "the table is in order, and every mark stands in one place");
    }
}
