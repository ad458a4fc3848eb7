//! The verdict on what clients were told, and on what the nodes hold in the end.

use std::collections::BTreeMap;

use hezong_check::{Budget, History, check};

use crate::counter::{Count, contradiction};
use crate::work::Told;

/// What a run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that clients were told can be explained, and all nodes hold the same.
    Explained,
    /// Something cannot: the text tells what.
    Violation(String),
    /// An explanation was looked for until the budget was spent; nothing is shown. The text names the keys.
    Unknown(String),
}

impl Verdict {
    /// Both: the worse of the two, and of two violations all that is known.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Violation(one), Self::Violation(other)) => Self::Violation(format!("{one}\n{other}")),
            (Self::Violation(why), _) | (_, Self::Violation(why)) => Self::Violation(why),
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
            (Self::Explained, Self::Explained) => Self::Explained,
        }
    }
}

/// Judges what clients were told. Takes the operations out, and gives them back as a history.
pub(crate) fn judge(told: &mut Told) -> (History, Verdict) {
    let history = History { operations: std::mem::take(&mut told.operations) };
    let mut counters: BTreeMap<&str, Vec<Count>> = BTreeMap::new();
    for (key, count) in &told.counts {
        counters.entry(key).or_default().push(*count);
    }
    for (key, counts) in counters {
        if let Some(why) = contradiction(&counts) {
            return (history, Verdict::Violation(format!("counter {key:?}: {why}")));
        }
    }
    let verdict = match check(&history, Budget::default()) {
        hezong_check::Verdict::Linearizable => Verdict::Explained,
        hezong_check::Verdict::Violation(violation) => Verdict::Violation(violation.to_string()),
        hezong_check::Verdict::Unknown { keys } => {
            Verdict::Unknown(format!("nobody knows yet whether these keys are linearizable: {}", keys.join(", ")))
        }
    };
    (history, verdict)
}
