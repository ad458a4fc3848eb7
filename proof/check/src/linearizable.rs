//! Key by key, the verdict, and the shortest prefix that cannot be explained.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Call, History, Operation};
use crate::search::{Found, Patience, search};

/// How long to search before giving up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps a key. A step is one operation tried; it takes some tens of nanoseconds and remembers at most some fifty
    /// bytes.
    pub steps: u64,
}

impl Default for Budget {
    /// Ten million: seconds, and at most half a gigabyte. Ordinary histories take about a step an operation.
    fn default() -> Self {
        Self { steps: 10_000_000 }
    }
}

/// What a history shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Some order explains every answer.
    Linearizable,
    /// None does.
    Violation(Violation),
    /// The budget ran out on these keys before either was certain; the others are linearizable. A run with such a verdict
    /// has shown nothing and must count as a failure of the test, not of the system.
    Unknown {
        /// Which keys.
        keys: Vec<String>,
    },
}

/// Answers that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of which key.
    pub key: String,
    /// What had been recorded of that key when the first inexplicable answer arrived: by time of call, and operations
    /// whose answer arrived later with nothing known of their outcome. Without the answer of `culprit` it is linearizable.
    pub window: Vec<Operation>,
    /// The operation whose answer that was.
    pub culprit: Operation,
}

impl fmt::Display for Violation {
    /// The last of the window, which is where to look first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 24;
        writeln!(f, "key {:?} is not linearizable: nothing explains", self.key)?;
        writeln!(f, "  {}", self.culprit)?;
        let left_out = self.window.len().saturating_sub(SHOWN);
        writeln!(f, "after ({left_out} earlier operations not shown)")?;
        self.window.iter().skip(left_out).try_for_each(|operation| writeln!(f, "  {operation}"))
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Keys that are done.
    pub keys: usize,
    /// Keys there are.
    pub keys_all: usize,
    /// Steps taken so far, to the nearest few ten thousand.
    pub steps: u64,
}

/// Decides whether some order explains the history.
///
/// Keys are checked one by one: a history is linearizable exactly if each object's part of it is (Herlihy and Wing,
/// theorem 1), and the parts are far smaller. Of several violations the one of the first key in order is told.
#[must_use]
pub fn check(history: &History, budget: Budget) -> Verdict {
    check_while(history, budget, &mut |_| true)
}

/// As [`check`], but asks every few milliseconds whether to go on; `false` makes the keys that are left unknown. Only what
/// is still open may be cut off so: a violation once found is narrowed down within the budget.
#[must_use]
pub fn check_while(history: &History, budget: Budget, go_on: &mut dyn FnMut(Progress) -> bool) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut progress = Progress { keys_all: keys.len(), ..Progress::default() };
    let mut unknown = Vec::new();
    for (key, operations) in keys {
        let mut asked = |steps| {
            progress.steps += steps;
            go_on(progress)
        };
        let found = if asked(0) {
            search(&operations, &mut Patience { steps_max: budget.steps, go_on: &mut asked })
        } else {
            Found::GaveUp
        };
        match found {
            Found::Order => {}
            Found::GaveUp => unknown.push(key.to_string()),
            Found::Nothing => return Verdict::Violation(narrow(key, &operations, budget)),
        }
        progress.keys += 1;
    }
    if unknown.is_empty() { Verdict::Linearizable } else { Verdict::Unknown { keys: unknown } }
}

/// Within the budget, however long it takes.
fn search_within(operations: &[&Operation], budget: Budget) -> Found {
    search(operations, &mut Patience { steps_max: budget.steps, go_on: &mut |_| true })
}

/// The shortest prefix in time that cannot be explained. Every prefix of a linearizable history is linearizable, so the
/// answers, in the order of their arrival, are first explicable and then not: bisection finds where that turns. Where the
/// search gives up it is taken for explicable, which at worst makes the prefix longer than need be.
fn narrow(key: &str, operations: &[&Operation], budget: Budget) -> Violation {
    let mut returns: Vec<u64> =
        operations.iter().filter_map(|o| o.outcome.as_ref()).map(|outcome| outcome.at).collect();
    returns.sort_unstable();
    returns.dedup();
    let turn = returns.partition_point(|at| {
        let window = prefix(operations, *at);
        search_within(&window.iter().collect::<Vec<_>>(), budget) != Found::Nothing
    });
    let last = returns.get(turn).or(returns.last()).copied().unwrap_or(u64::MAX);
    let (window, culprit) = split_off_culprit(prefix(operations, last), last, budget);
    Violation { key: key.to_string(), window, culprit }
}

/// Several answers may have arrived in that last instant: takes them back one after the other until what is left can be
/// explained. The one taken back last is the culprit.
fn split_off_culprit(mut window: Vec<Operation>, last: u64, budget: Budget) -> (Vec<Operation>, Operation) {
    let mut culprit = None;
    for place in 0..window.len() {
        if window[place].outcome.as_ref().is_none_or(|outcome| outcome.at != last) {
            continue;
        }
        let with_answer = window[place].clone();
        window[place].outcome = None;
        let explained = search_within(&window.iter().collect::<Vec<_>>(), budget) == Found::Order;
        culprit = Some((place, with_answer));
        if explained {
            break;
        }
    }
    let (place, culprit) = culprit.expect("a violation rests on an answer that arrived");
    window.remove(place);
    (window, culprit)
}

/// What was known at `at`.
fn prefix(operations: &[&Operation], at: u64) -> Vec<Operation> {
    let mut found: Vec<Operation> = operations.iter().filter(|o| o.called <= at).map(|o| (*o).clone()).collect();
    for operation in &mut found {
        operation.outcome.take_if(|outcome| outcome.at > at);
    }
    // A read that nobody has the answer of says nothing.
    found.retain(|operation| operation.call != Call::Get || operation.outcome.is_some());
    found.sort_by_key(|operation| operation.called);
    found
}
