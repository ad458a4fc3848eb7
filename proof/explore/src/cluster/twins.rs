//! Nodes of one fingerprint compared: what the explorer rests on is that they behave the same.

use std::collections::{BTreeSet, HashMap};

use hezong_base::NodeId;

use super::{Cluster, Step};
use crate::digest::ByDigest;
use crate::node::{How, Node, Touched};
use crate::subject::Subject;

impl<S: Subject> Cluster<S> {
    /// From here on keeps what [`Cluster::compare_twins`] compares.
    pub fn keep_twins(&mut self) {
        self.twins = Some(Vec::new());
    }

    /// Whether nodes that have the same fingerprint behave the same: all that were found in several ways are handed every
    /// input that any of them was handed, and must make the same of it; and a node whose fingerprint does not change with
    /// time must make the same of an input whenever it comes. Returns how many comparisons were made.
    ///
    /// # Errors
    /// Tells an input that shows a difference.
    pub fn compare_twins(&mut self) -> Result<u64, String> {
        let mut inputs: HashMap<u32, Vec<(Step, How)>, ByDigest> = HashMap::default();
        for (key, step, how) in self.outcomes.keys().copied() {
            inputs.entry(key).or_default().push((step, how));
        }
        let mut compared = 0;
        for (key, twin) in self.twins.take().unwrap_or_default() {
            for (step, how) in inputs.get(&key).into_iter().flatten().copied() {
                compared += 1;
                let [one, other] = [&self.known[key].node, &twin].map(|node| self.made_of(node, step, how));
                if one != other {
                    return Err(format!("{step:?}, {how:?}, of nodes found in two ways: {one:x?} but {other:x?}"));
                }
            }
        }
        for (key, inputs) in inputs {
            let known = &self.known[key];
            let soon = inputs.into_iter().filter(|(_, how)| *how == How::Soon).map(|(step, _)| step);
            for step in soon.filter(|step| !self.minds_time(key, *step)) {
                compared += 1;
                let [soon, late] = [How::Soon, How::Late].map(|how| self.made_of(&known.node, step, how));
                if (&soon.1, &soon.2) != (&late.1, &late.2) {
                    return Err(format!("{step:?}, at once and late: {soon:x?} but {late:x?}"));
                }
            }
        }
        Ok(compared)
    }

    /// What a node makes of an input: its digest, that once a long time has passed, and what it sends.
    fn made_of(&self, node: &Node<S>, step: Step, how: How) -> (u64, u64, BTreeSet<String>) {
        match self.touch(node, step, how) {
            Err(violation) => (0, 0, BTreeSet::from([violation.to_string()])),
            Ok(Touched { node, sends, .. }) => {
                let shown = |(to, sent): &(NodeId, _)| format!("{to}: {}", self.subject.show_message(sent));
                let sends = sends.iter().map(shown).collect();
                (node.digest(&self.subject, false), node.digest(&self.subject, true), sends)
            }
        }
    }
}
