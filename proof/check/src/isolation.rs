//! Whether transactions are isolated as a model demands, by the method of Elle (Kingsbury and Alvaro, 2020).
//!
//! From what transactions read it is inferred which version of each key came after which, and from that which
//! transaction must come before which. A circle among these is an anomaly, and which edges it has says what it is called
//! and which models forbid it (Adya, 1999). Time and memory grow about linearly with the history.

mod cycles;
mod dependencies;
mod findings;
pub(crate) mod graph;
mod lists;
mod observed;
mod registers;
mod versions;

pub use findings::{Anomaly, AnomalyKind, Dependency, Isolation, Model, NoSuchModel, Step};
pub use graph::Order;

use crate::transaction::{Transactions, Workload};
use dependencies::Dependencies;
use findings::Findings;
use observed::Observed;
use versions::Versions;

/// What a history of transactions shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsolationVerdict {
    /// Nothing that clients saw contradicts the model. Unlike for single operations this is no proof that an order exists:
    /// what was written and never read leaves the order of versions open.
    NothingFound,
    /// The model does not allow this. The first is the gravest; of each kind a few are told.
    Broken(Vec<Anomaly>),
    /// Nothing can be said, and why, as a sentence without its full stop.
    Unknown(String),
}

/// Looks for what the model forbids.
#[must_use]
pub fn check_isolation(history: &Transactions, model: Model) -> IsolationVerdict {
    let mut findings = Findings::default();
    let observed = match Observed::new(history, &mut findings) {
        Ok(observed) => observed,
        Err(twice) => {
            let [key, value] = [twice.key, twice.value].map(|name| history.names.text(name));
            let [first, then] = twice.by.map(|by| by + 1);
            return IsolationVerdict::Unknown(format!(
                "T{first} and T{then} both write {value} to {key}, so that a read of it does not tell whose it saw: \
                 record a history in which every write of a key has a value of its own"
            ));
        }
    };
    let mut versions = Versions::default();
    for (name, key) in &observed.keys {
        match history.workload {
            Workload::ListAppend => lists::versions(&observed, *name, key, &mut versions, &mut findings),
            Workload::Register => {
                registers::versions(&observed, *name, key, model.order, &mut versions, &mut findings);
            }
        }
    }
    let dependencies = Dependencies::new(&observed, &versions, model.order);
    let mut found = findings.kept;
    found.extend(cycles::find(&dependencies, model));
    found.retain(|anomaly| anomaly.breaks(model));
    found.sort_by_key(|anomaly| (anomaly.order, anomaly.kind));
    if found.is_empty() { IsolationVerdict::NothingFound } else { IsolationVerdict::Broken(found) }
}
