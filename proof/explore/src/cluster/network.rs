//! The messages on their way: what was sent and may still matter to whom it was sent to.

use std::rc::Rc;

use super::known::{Letter, Outcome, addressed};
use super::{Cluster, NODES_MAX, State, Step, name};
use crate::node::How;
use crate::subject::{Subject, Use};

/// The messages ever sent.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// By number, ascending.
    pub(super) letters: Box<[u32]>,
    /// For each way of naming the nodes, the sum of the messages' digests.
    pub(super) sums: Box<[u64]>,
}

/// Whether a message still matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Usefulness {
    Open,
    /// Only for what its receiver sends again by this outcome, if that is not on its way any more.
    Done(u32),
    Spent,
}

impl Network {
    pub(super) fn has(&self, letter: u32) -> bool {
        self.letters.binary_search(&letter).is_ok()
    }
}

impl<S: Subject> Cluster<S> {
    /// Nothing on its way.
    pub(super) fn nothing(&self) -> Rc<Network> {
        Rc::new(Network { letters: Box::default(), sums: vec![0; self.namings.len()].into() })
    }

    /// The messages on their way once `node` has sent these and become what it is in `nodes`.
    pub(super) fn network(
        &mut self,
        state: &State,
        sends: &[u32],
        node: u8,
        nodes: &[u32; NODES_MAX],
        crashes: u8,
    ) -> Rc<Network> {
        let may_crash = crashes < self.bounds.crashes;
        let mut letters = Vec::with_capacity(state.network.letters.len() + sends.len());
        letters.extend(sends.iter().filter(|sent| !state.network.has(**sent)));
        letters.extend_from_slice(&state.network.letters);
        // All that is new for their receivers, and all whose receiver is.
        let new = letters.len() - state.network.letters.len();
        let all = may_crash != (state.crashes < self.bounds.crashes);
        let mut spent = Vec::new();
        for (at, letter) in letters.iter().enumerate() {
            let may_be_spent = all || at < new || self.letters[*letter].to == node;
            let useful = |this: &mut Self, letter| match this.usefulness_of(nodes, letter, may_crash) {
                Usefulness::Open => true,
                Usefulness::Spent => false,
                Usefulness::Done(outcome) => {
                    let Outcome::Next(_, again, ..) = &this.outcomes[outcome] else { return true };
                    let again = again.clone();
                    again.iter().any(|sent| {
                        let spent = this.usefulness_of(nodes, *sent, may_crash) == Usefulness::Spent;
                        !spent && !letters.contains(sent)
                    })
                }
            };
            if may_be_spent && !useful(self, *letter) {
                spent.push(*letter);
            }
        }
        if new == 0 && spent.is_empty() {
            return state.network.clone();
        }
        letters.retain(|letter| !spent.contains(letter));
        letters.sort_unstable();
        let mut sums = state.network.sums.clone();
        let mut add = |letter: u32, sign: u64| {
            let Letter { from, to, digest, .. } = &self.letters[letter];
            for (sum, naming) in sums.iter_mut().zip(&self.namings) {
                let digest = addressed(*digest, naming[usize::from(*from)], naming[usize::from(*to)]);
                *sum = sum.wrapping_add(digest.wrapping_mul(sign));
            }
        };
        let gone = state.network.letters.iter().filter(|letter| letters.binary_search(letter).is_err());
        gone.for_each(|letter| add(*letter, u64::MAX));
        letters.iter().filter(|letter| !state.network.has(**letter)).for_each(|letter| add(*letter, 1));
        Rc::new(Network { letters: letters.into(), sums })
    }

    /// Whether a message still matters to its receiver.
    fn usefulness_of(&mut self, nodes: &[u32; NODES_MAX], letter: u32, may_crash: bool) -> Usefulness {
        let sent = &self.letters[letter];
        let to = nodes[usize::from(sent.to)];
        let at = (letter as usize) << 1 | usize::from(may_crash);
        let found = self.usefulness.get(to as usize).and_then(|known| known.get(at).copied().flatten());
        if let Some(usefulness) = found {
            return usefulness;
        }
        let (node, from) = (&self.known[to].node, name(sent.from));
        let claimed = self.subject.usefulness(&node.protocol, &node.saved, from, &sent.message, may_crash);
        let usefulness = if claimed == Use::Open {
            Usefulness::Open
        } else if claimed == Use::Beyond {
            Usefulness::Spent
        } else {
            let outcome = self.outcome(to, Step::Deliver(letter), How::Soon);
            match (&self.outcomes[outcome], claimed) {
                (Outcome::Next(next, sends, ..), Use::Spent) => {
                    // An answer may be held back behind a write, only to be lost then.
                    let nothing = *next == to && sends.is_empty() || self.known[to].node.is_storing();
                    assert!(nothing, "what is spent makes nothing of its receiver");
                    Usefulness::Spent
                }
                (Outcome::Next(next, ..), Use::UntilDone) if *next == to => Usefulness::Done(outcome),
                _ => Usefulness::Open,
            }
        };
        if self.usefulness.len() <= to as usize {
            self.usefulness.resize(to as usize + 1, Vec::new());
        }
        let known = &mut self.usefulness[to as usize];
        known.resize(known.len().max(at + 1), None);
        known[at] = Some(usefulness);
        usefulness
    }
}
