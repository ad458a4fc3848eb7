//! The cycles that a model forbids, each as short as can be, and their names.

use std::collections::BTreeSet;

use super::dependencies::Dependencies;
use super::findings::{Anomaly, AnomalyKind, Dependency, Findings, Isolation, Model, Step};
use super::graph::{Class, Order};

/// Edges looked at in search of short cycles, for each class and order. Whether there is a cycle is decided without
/// this bound, and one is always told.
const VISITS_MAX: u64 = 20_000_000;

/// Looks for them from the gravest on. What has been told is not told again under another name.
pub(crate) fn find(dependencies: &Dependencies<'_>, model: Model) -> Vec<Anomaly> {
    let classes = [
        (Class::Writes, Isolation::ReadUncommitted),
        (Class::Information, Isolation::ReadCommitted),
        (Class::NonAdjacent, Isolation::Snapshot),
        (Class::All, Isolation::Serializable),
    ];
    let orders = [Order::Data, Order::Session, Order::RealTime];
    let mut found = Vec::new();
    let widest = classes.iter().rev().find(|(_, isolation)| *isolation <= model.isolation);
    if widest.is_none_or(|(class, _)| dependencies.graph.view(*class, model.order, 0).parts().is_empty()) {
        return found;
    }
    let mut told: BTreeSet<Vec<usize>> = BTreeSet::new();
    for order in orders.into_iter().filter(|order| *order <= model.order) {
        for (class, _) in classes.iter().filter(|(_, isolation)| *isolation <= model.isolation) {
            let mut view = dependencies.graph.view(*class, order, VISITS_MAX);
            for part in view.parts().into_iter().take(Findings::KEPT_MAX) {
                let cycle = view.shortest_cycle(&part);
                let order = cycle.iter().map(|edge| dependencies.graph.edge(*edge).order).max().unwrap_or(Order::Data);
                let steps = dependencies.tell(&cycle);
                let mut members: Vec<usize> = steps.iter().map(|step| step.transaction).collect();
                members.sort_unstable();
                if told.insert(members) {
                    found.push(Anomaly { kind: kind(&steps), order, steps });
                }
            }
        }
    }
    found
}

fn kind(steps: &[Step]) -> AnomalyKind {
    let is = |place: usize, wanted| steps[place % steps.len()].dependency == Some(wanted);
    let missed = (0..steps.len()).filter(|place| is(*place, Dependency::ReadWrite));
    let adjacent = missed.clone().any(|place| is(place + 1, Dependency::ReadWrite));
    match missed.count() {
        0 if (0..steps.len()).any(|place| is(place, Dependency::WriteRead)) => AnomalyKind::G1c,
        0 => AnomalyKind::G0,
        1 => AnomalyKind::GSingle,
        _ if adjacent => AnomalyKind::G2Item,
        _ => AnomalyKind::GNonadjacent,
    }
}
