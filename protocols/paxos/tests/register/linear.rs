//! The dumb twin of a register: one value, one change after another. A history is right if there is an order in which the
//! twin would have given the same answers (Wing and Gong 1993, with what was seen before remembered).

use std::collections::HashSet;

/// What the twin holds.
pub(crate) type Value = Option<String>;

/// What is asked of the twin.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Read,
    Set(String),
    Initialise(String),
    /// Values are unique, so a version is as good as its value.
    CompareAndSet(String, String),
    Append(String),
    Delete,
}

/// How it ended, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Whether it took, and what was there right after.
    Done(u64, bool, Value),
    /// Certainly never made.
    Refused,
    /// Made at any time after it was asked for, or never.
    Open,
}

/// One change of one register.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) ask: Ask,
    pub(crate) from: u64,
    pub(crate) end: End,
}

fn apply(value: &Value, ask: &Ask) -> (bool, Value) {
    match ask {
        Ask::Read => (false, value.clone()),
        Ask::Set(new) => (true, Some(new.clone())),
        Ask::Initialise(new) if value.is_none() => (true, Some(new.clone())),
        Ask::CompareAndSet(old, new) if value.as_ref() == Some(old) => (true, Some(new.clone())),
        Ask::Initialise(_) | Ask::CompareAndSet(..) => (false, value.clone()),
        Ask::Append(tail) => (true, Some(value.clone().unwrap_or_default() + tail)),
        Ask::Delete => (value.is_some(), None),
    }
}

/// Whether there is such an order.
pub(crate) fn is_linearizable(history: &[Op]) -> bool {
    let counts = |op: &&Op| op.end != End::Refused && !(matches!(op.ask, Ask::Read) && op.end == End::Open);
    let ops: Vec<&Op> = history.iter().filter(counts).collect();
    assert!(ops.len() <= 64, "a history of {} is too long", ops.len());
    let done = |op: &&Op| matches!(op.end, End::Done(..));
    let wanted = (0..ops.len()).filter(|at| done(&ops[*at])).fold(0u64, |mask, at| mask | 1 << at);
    let (mut seen, mut open) = (HashSet::new(), vec![(0u64, None)]);
    while let Some((mask, value)) = open.pop() {
        if mask & wanted == wanted {
            return true;
        }
        if !seen.insert((mask, value.clone())) {
            continue;
        }
        let left = || (0..ops.len()).filter(|at| mask & 1 << at == 0);
        let first_end = left().filter_map(|at| match ops[at].end {
            End::Done(at, ..) => Some(at),
            End::Refused | End::Open => None,
        });
        let first_end = first_end.min().unwrap_or(u64::MAX);
        let fits = |at: usize| {
            let (took, after) = apply(&value, &ops[at].ask);
            let fits = match &ops[at].end {
                End::Done(_, said, seen) => (*said, seen) == (took, &after),
                End::Refused => false,
                End::Open => took,
            };
            fits.then_some((took, mask | 1 << at, after))
        };
        let next: Vec<_> = left().filter(|at| ops[*at].from < first_end).filter_map(fits).collect();
        // What changes nothing can as well be put here at once. Those that were answered are tried before those that were not.
        match next.iter().find(|(took, ..)| !took) {
            Some((_, mask, value)) => open.push((*mask, value.clone())),
            None => {
                let (answered, others): (Vec<_>, Vec<_>) = next
                    .into_iter()
                    .map(|(_, mask, value)| (mask, value))
                    .partition(|(after, _)| (after ^ mask) & wanted != 0);
                open.extend(others.into_iter().chain(answered));
            }
        }
    }
    false
}

#[test]
fn twin_tells_right_from_wrong() {
    let op = |ask: Ask, from, end| Op { ask, from, end };
    let set = |end| op(Ask::Set("x".into()), 1, end);
    let read = |from, value: Value| op(Ask::Read, from, End::Done(from + 1, false, value));
    let done = End::Done(2, true, Some("x".into()));
    assert!(is_linearizable(&[set(done.clone()), read(3, Some("x".into()))]));
    assert!(!is_linearizable(&[set(done), read(3, None)]));
    assert!(is_linearizable(&[set(End::Open), read(3, None), read(5, Some("x".into()))]), "made late");
    assert!(!is_linearizable(&[set(End::Open), read(3, Some("x".into())), read(5, None)]), "undone");
    assert!(!is_linearizable(&[set(End::Refused), read(3, Some("x".into()))]), "made though refused");
}
