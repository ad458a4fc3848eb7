//! What of a violation must be looked at: as few answers as can be that no order explains.
//!
//! An answer is let go by taking its operation for one whose outcome nobody knows: then it may have happened at any time
//! after its call, or never. That allows every order that was allowed before, so what cannot be explained without some
//! answers cannot be explained with them, and answers can be let go one after the other for as long as it lasts.

use std::collections::BTreeSet;

use crate::history::{Answer, Call, Operation};
use crate::linearizable::Violation;
use crate::search::{Found, Patience, search};

/// The shortest window that cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Of which key.
    pub key: String,
    /// The operations, by time of call.
    pub operations: Vec<Shown>,
}

/// An operation of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The operation.
    pub operation: Operation,
    /// Its answer is one of those that no order explains. The others wrote what these found, and could have done so at any
    /// time after they were called, or not at all.
    pub is_at_stake: bool,
}

/// Steps of each search. One that takes more keeps the answer it was about.
const STEPS: u64 = 100_000;
/// Operations looked at in all, after which the window is as short as it is.
const WORK_MAX: usize = 20_000_000;

/// Shortens a violation. The window is minimal: without any one of the answers at stake the others can be explained, unless
/// finding that out would have taken too long.
#[must_use]
pub fn shortest_window(violation: &Violation) -> Window {
    let mut operations = violation.window.clone();
    let place = operations.partition_point(|operation| operation.called <= violation.culprit.called);
    operations.insert(place, violation.culprit.clone());
    let mut shortening = Shortening { operations: &operations, work: 0 };
    let mut kept: Vec<usize> = (0..operations.len()).filter(|at| operations[*at].outcome.is_some()).collect();
    // While a refused swap is among them, every write there was may matter, which makes searches slow; few are to blame.
    let rest: Vec<usize> = kept.iter().copied().filter(|at| !is_refusal(&operations[*at])).collect();
    if shortening.is_broken(&rest) {
        kept = rest;
    }
    // Most of a long history is over long before; what began last is tried alone first.
    let enough = partition_point(kept.len(), |from| shortening.is_broken(&kept[from..]));
    if enough > 0 {
        kept.drain(..enough - 1);
    }
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < kept.len() {
            let to = (from + size).min(kept.len());
            let rest: Vec<usize> = kept[..from].iter().chain(&kept[to..]).copied().collect();
            if shortening.is_broken(&rest) {
                kept = rest;
            } else {
                from = to;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    let at_stake: BTreeSet<usize> = kept.iter().copied().collect();
    let seen = shortening.sources(&at_stake);
    let shown = (0..operations.len()).filter(|at| at_stake.contains(at) || seen.contains(at));
    let shown = shown.map(|at| Shown { operation: operations[at].clone(), is_at_stake: at_stake.contains(&at) });
    Window { key: violation.key.clone(), operations: shown.collect() }
}

fn is_refusal(operation: &Operation) -> bool {
    operation.outcome.as_ref().is_some_and(|outcome| outcome.answer == Answer::Swapped(false))
}

/// How many of `0..length` the predicate holds for, which holds for none after the first it does not hold for.
fn partition_point(length: usize, mut holds: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

struct Shortening<'a> {
    operations: &'a [Operation],
    work: usize,
}

impl Shortening<'_> {
    /// Whether these answers alone cannot be explained.
    fn is_broken(&mut self, kept: &[usize]) -> bool {
        if self.work > WORK_MAX {
            return false;
        }
        let kept: BTreeSet<usize> = kept.iter().copied().collect();
        let mut weakened: Vec<Operation> = Vec::new();
        for at in self.sources(&kept).union(&kept) {
            let mut operation = self.operations[*at].clone();
            operation.outcome.take_if(|_| !kept.contains(at));
            weakened.push(operation);
        }
        self.work += self.operations.len();
        search(&weakened.iter().collect::<Vec<_>>(), &mut Patience { steps_max: STEPS, go_on: &mut |_| true })
            == Found::Nothing
    }

    /// The writes, besides these operations, that may have made what these found, or what such a write itself needs.
    fn sources(&self, kept: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut wanted: BTreeSet<Option<&str>> = BTreeSet::new();
        let mut anything = false;
        for at in kept {
            let operation = &self.operations[*at];
            match (&operation.call, operation.outcome.as_ref().map(|outcome| &outcome.answer)) {
                (Call::Get, Some(Answer::Found(found))) => drop(wanted.insert(found.as_deref())),
                // It saw something else, and what that was it does not tell.
                (Call::Cas { .. }, Some(Answer::Swapped(false))) => anything = true,
                (Call::Cas { expected, .. }, _) => drop(wanted.insert(expected.as_deref())),
                _ => {}
            }
        }
        let mut sources = BTreeSet::new();
        loop {
            let before = sources.len();
            for (at, operation) in self.operations.iter().enumerate().filter(|(at, _)| !kept.contains(at)) {
                let (made, needs) = match &operation.call {
                    Call::Get => continue,
                    Call::Cas { .. } if is_refusal(operation) => continue,
                    Call::Put(value) => (Some(value.as_str()), None),
                    Call::Delete => (None, None),
                    Call::Cas { expected, value } => (Some(value.as_str()), Some(expected.as_deref())),
                };
                if (anything || wanted.contains(&made)) && sources.insert(at) {
                    wanted.extend(needs);
                }
            }
            if sources.len() == before {
                return sources;
            }
        }
    }
}
