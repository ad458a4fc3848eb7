//! Renaming.
//!
//! Nodes are interchangeable, so of all states that are the same but for names one is enough. A node's state cannot be
//! renamed from outside, but its history can: what the same inputs under other names make of the other node. That is found
//! out once for each state of a node as well.

use super::known::{Letter, Outcome};
use super::{Cluster, State, Step, place};
use crate::digest::Digest;
use crate::subject::Subject;

impl<S: Subject> Cluster<S> {
    /// How many states there are that are the same as this but for names, itself included.
    pub fn orbit(&mut self, state: &State) -> usize {
        let mut all: Vec<_> = (0..self.namings.len()).map(|naming| self.fingerprint_under(state, naming)).collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    /// What a node's state is under another naming: what the same history makes of the other node.
    fn renamed(&mut self, key: u32, naming: usize) -> u32 {
        if let Some(renamed) = self.known[key].renamed[naming] {
            return renamed;
        }
        let known = &self.known[key];
        let renamed = match known.origin {
            None => self.first[usize::from(self.namings[naming][usize::from(place(known.node.id))])],
            Some((parent, step, how)) => {
                let parent = self.renamed(parent, naming);
                let step = match step {
                    Step::Deliver(letter) => Step::Deliver(self.renamed_letter(letter, naming)),
                    Step::Timeout | Step::Stored | Step::Restart | Step::Request(_) => step,
                };
                let outcome = self.outcome(parent, step, how);
                let Outcome::Next(next, ..) = self.outcomes[outcome] else {
                    panic!("what is right under one name is right under another");
                };
                next
            }
        };
        let digest = self.known[renamed].digests[0];
        let known = &mut self.known[key];
        (known.renamed[naming], known.digests[naming]) = (Some(renamed), digest);
        renamed
    }

    fn renamed_letter(&mut self, letter: u32, naming: usize) -> u32 {
        let Letter { from, to, message, .. } = &self.letters[letter];
        let named = |node: &u8| self.namings[naming][usize::from(*node)];
        self.know_letter(named(from), named(to), message.clone())
    }

    pub(super) fn fingerprint_under(&mut self, state: &State, naming: usize) -> u64 {
        let mut sum = state.network.sums[naming].wrapping_add(self.pasts[state.past].digests[naming]);
        for key in &state.nodes[..usize::from(self.bounds.nodes)] {
            if self.known[*key].renamed[naming].is_none() {
                self.renamed(*key, naming);
            }
            sum = sum.wrapping_add(self.known[*key].digests[naming]);
        }
        Digest::of(sum, u64::from(state.crashes) << 8 | u64::from(state.requests))
    }
}

/// All orders of these, the given one first.
pub(super) fn permutations(of: &[u8]) -> Vec<Vec<u8>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        let rest: Vec<u8> = of.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other).collect();
        all.extend(permutations(&rest).into_iter().map(|rest| [&[*first], rest.as_slice()].concat()));
    }
    all
}
