//! Drawings of what is wrong, for browsers: one file each, without scripts and without anything from elsewhere, in light
//! and dark, that a phone shows as well as a wall.

mod circle;
mod lanes;
mod page;

use crate::history::{Answer, Call, Operation};
use crate::isolation::{Anomaly, Model};
use crate::sessions::SessionViolation;
use crate::transaction::{End, Transactions};
use crate::window::Window;
use lanes::Bar;
use page::Page;

/// The shortest window that cannot be explained: a row for each client, a bar from call to return for each operation.
#[must_use]
pub fn draw_window(window: &Window) -> String {
    let mut page = Page::new(&format!("Key {:?} is not linearizable", window.key));
    page.text(
        "No order explains the marked answers, in which each operation takes effect at one instant of its bar. The others \
         wrote what was found; even if each of them happened at any time after its call, or never, none does.",
    );
    let bars: Vec<Bar> = window.operations.iter().map(|shown| bar(&shown.operation, shown.is_at_stake)).collect();
    page.figure(&lanes::draw(&bars), "One row a client, time from left to right; equal steps are not equal times.");
    let marked = window.operations.iter().map(|shown| (shown.is_at_stake, shown.operation.to_string()));
    page.list(marked);
    page.finish()
}

/// The operations by which a session guarantee was seen broken.
#[must_use]
pub fn draw_session(violation: &SessionViolation) -> String {
    let names: Vec<String> = violation.guarantees.iter().map(ToString::to_string).collect();
    let what = if names.is_empty() { "no order of versions".to_owned() } else { names.join(" or ") };
    let mut page = Page::new(&format!("Key {:?}: {what}", violation.key));
    page.text("For each reason one version is not later than another; together they make a circle.");
    let bars: Vec<Bar> = violation.operations.iter().map(|operation| bar(operation, true)).collect();
    page.figure(&lanes::draw(&bars), "One row a client, time from left to right; equal steps are not equal times.");
    page.list(violation.reasons.iter().map(|reason| (true, reason.clone())));
    page.list(violation.operations.iter().map(|operation| (false, operation.to_string())));
    page.finish()
}

/// The transactions of an anomaly: which must come before which, and when each ran.
#[must_use]
pub fn draw_anomaly(history: &Transactions, anomaly: &Anomaly, model: Model) -> String {
    let mut page = Page::new(&format!("{}: not {model}", anomaly.name()));
    page.text(anomaly.kind.meaning());
    let is_cycle = anomaly.steps.iter().all(|step| step.dependency.is_some());
    if is_cycle && anomaly.steps.len() > 1 {
        let caption = "Every transaction must come before the one its arrow points to: ww wrote what the other replaced, \
                       wr wrote what the other read, rw read what the other replaced.";
        page.figure(&circle::draw(&anomaly.steps), caption);
    }
    page.list(anomaly.steps.iter().map(|step| (true, step.why.clone())));
    let mut places: Vec<usize> = anomaly.steps.iter().map(|step| step.transaction).collect();
    places.sort_unstable();
    places.dedup();
    let bars: Vec<Bar> = places.iter().filter_map(|place| transaction_bar(history, *place)).collect();
    page.figure(&lanes::draw(&bars), "When each ran: one row a client, time from left to right, not to scale.");
    page.list(places.iter().map(|place| (false, history.show(*place))));
    page.finish()
}

fn bar(operation: &Operation, is_marked: bool) -> Bar {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "∅".to_owned());
    let answer = operation.outcome.as_ref().map(|outcome| &outcome.answer);
    let label = match (&operation.call, answer) {
        (Call::Get, Some(Answer::Found(found))) => format!("get {}", value(found)),
        (Call::Get, _) => "get ?".to_owned(),
        (Call::Put(value), _) => format!("put {value}"),
        (Call::Delete, _) => "delete".to_owned(),
        (Call::Cas { expected, value: new }, Some(Answer::Swapped(false))) => format!("cas {}≠→{new}", value(expected)),
        (Call::Cas { expected, value: new }, _) => format!("cas {}→{new}", value(expected)),
    };
    Bar {
        row: operation.client,
        from: operation.called,
        to: operation.outcome.as_ref().map(|outcome| outcome.at),
        label,
        tip: operation.to_string(),
        is_marked,
    }
}

fn transaction_bar(history: &Transactions, place: usize) -> Option<Bar> {
    let transaction = history.all.get(place)?;
    let to = match transaction.end {
        End::Committed(at) => Some(at),
        End::Aborted | End::Unknown => None,
    };
    let (row, from) = (transaction.client, transaction.called);
    Some(Bar { row, from, to, label: format!("T{}", place + 1), tip: history.show(place), is_marked: true })
}
