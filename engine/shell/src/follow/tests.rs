//! What is told of traced entries when logs diverge, frames come twice and things get full.

use hezong_base::Term;
use hezong_raft::Payload;
use tokio::sync::mpsc::Receiver;

use super::*;

const GROUP: GroupId = GroupId(1);
const PARTS: DiskParts = DiskParts { waited: Duration::ZERO, wrote: Duration::ZERO, synced: Duration::from_micros(7) };

fn traces() -> (Traces, Receiver<Span>) {
    let (tracer, spans) = Tracer::new(0);
    (Traces::new(Some(tracer)), spans)
}

fn context() -> TraceContext {
    TraceContext { trace: [1; 16], span: [2; 8] }
}

fn names(spans: &mut Receiver<Span>) -> Vec<&'static str> {
    std::iter::from_fn(|| spans.try_recv().ok()).map(|span| span.name).collect()
}

fn lead(traces: &Traces, id: LogId) {
    traces.accepted(GROUP, id, &Asked { context: context(), at: SystemTime::now() });
}

fn entry(id: LogId) -> Entry {
    Entry { id, time: Duration::ZERO, payload: Payload::Empty }
}

fn append(id: LogId) -> [(GroupId, Message); 1] {
    let body = Body::Append { previous: None, entries: [entry(id)].into_iter().collect(), committed: None };
    [(GROUP, Message { term: id.term, body })]
}

fn appended(term: u64, matched: u64) -> [(GroupId, Message); 1] {
    [(GROUP, Message { term: Term(term), body: Body::Appended { matched: Some(Index(matched)) } })]
}

#[test]
fn a_write_is_told_in_all_its_steps_and_then_forgotten() {
    let (traces, mut spans) = traces();
    let id = LogId::new(3, 10);
    lead(&traces, id);
    let sent = [2, 3].map(|to| traces.sending(NodeId(to), &append(id)));
    traces.storing(BatchId(1), &[(GROUP, Write::Append(vec![entry(id)].into()))]);
    assert_eq!(names(&mut spans), ["hezong.queue"]);
    traces.stored(BatchId(1), PARTS);
    traces.heard(NodeId(2), &appended(3, 10));
    traces.applying(GROUP, &[entry(id)]);
    traces.applied(GROUP, Index(10));
    assert_eq!(names(&mut spans), ["hezong.disk", "hezong.replicate", "hezong.commit", "hezong.apply"]);
    assert!(traces.is_active(), "the other has not acknowledged");
    traces.heard(NodeId(3), &appended(3, 10));
    assert_eq!(names(&mut spans), ["hezong.replicate"]);
    assert!(!traces.is_active());
    assert_ne!(sent[0][0].context.span, sent[1][0].context.span);
    assert!(sent.iter().all(|sent| sent[0].id == id && sent[0].context.trace == context().trace));
}

/// A single voter waits for nobody.
#[test]
fn a_lone_leader_forgets_what_it_applied() {
    let (traces, mut spans) = traces();
    lead(&traces, LogId::new(1, 1));
    traces.applying(GROUP, &[entry(LogId::new(1, 1))]);
    traces.applied(GROUP, Index(1));
    assert_eq!(names(&mut spans), ["hezong.queue", "hezong.commit", "hezong.apply"]);
    assert!(!traces.is_active());
}

#[test]
fn an_entry_in_the_place_of_a_lost_one_is_another() {
    let (traces, mut spans) = traces();
    let (lost, other) = (LogId::new(1, 10), LogId::new(2, 10));
    lead(&traces, lost);
    traces.sending(NodeId(2), &append(lost));
    names(&mut spans);
    assert_eq!(traces.sending(NodeId(2), &append(other)), []);
    traces.storing(BatchId(1), &[(GROUP, Write::Append(vec![entry(other)].into()))]);
    traces.stored(BatchId(1), PARTS);
    traces.heard(NodeId(2), &appended(2, 10));
    traces.applying(GROUP, &[entry(other)]);
    traces.applied(GROUP, Index(10));
    assert_eq!(names(&mut spans), [""; 0], "nothing happened to the lost one");
    // The new leader's entry takes its place, and a late frame of the old leader changes nothing.
    let late = TracedEntry { group: GROUP, id: lost, context: context() };
    traces.received(NodeId(3), &[TracedEntry { id: other, ..late }]);
    traces.received(NodeId(2), &[late]);
    traces.sending(NodeId(3), &appended(2, 10));
    assert_eq!(names(&mut spans), ["hezong.follow"]);
    assert!(!traces.is_active());
}

#[test]
fn a_frame_that_comes_twice_is_followed_once() {
    let (traces, mut spans) = traces();
    let id = LogId::new(1, 5);
    let came = TracedEntry { group: GROUP, id, context: context() };
    traces.received(NodeId(1), &[came]);
    traces.storing(BatchId(7), &[(GROUP, Write::Append(vec![entry(id)].into()))]);
    traces.received(NodeId(1), &[came]);
    traces.stored(BatchId(7), PARTS);
    // An acknowledgement of less, to another, or of another term is not the one.
    for (to, body) in [(1, appended(1, 4)), (2, appended(1, 5)), (1, appended(2, 5))] {
        traces.sending(NodeId(to), &body);
    }
    assert_eq!(names(&mut spans), ["hezong.disk"]);
    traces.sending(NodeId(1), &appended(1, 5));
    assert_eq!(names(&mut spans), ["hezong.follow"]);
}

#[test]
fn each_batch_is_told_with_its_own_parts() {
    let (traces, mut spans) = traces();
    for (index, batch) in [(1, 1), (2, 2)] {
        lead(&traces, LogId::new(1, index));
        traces.storing(BatchId(batch), &[(GROUP, Write::Append(vec![entry(LogId::new(1, index))].into()))]);
    }
    names(&mut spans);
    traces.stored(BatchId(1), PARTS);
    let told = std::iter::from_fn(|| spans.try_recv().ok()).collect::<Vec<_>>();
    assert_eq!(told.len(), 1);
    assert!(told[0].attributes.contains(&("hezong.disk.synced_us", Attribute::Number(7))));
    traces.stored(BatchId(2), PARTS);
    assert_eq!(names(&mut spans), ["hezong.disk"]);
}

#[test]
fn what_does_not_fit_is_counted_and_what_is_old_makes_room() {
    let (traces, mut spans) = traces();
    let max = ENTRIES_MAX as u64;
    (1..=max + 2).for_each(|index| lead(&traces, LogId::new(1, index)));
    let dropped = || traces.tracer().unwrap().counts().1;
    assert_eq!((traces.table().entries.len(), dropped()), (ENTRIES_MAX, 2));
    {
        let mut table = traces.table();
        table.entries.values_mut().for_each(|followed| followed.until = Instant::now());
        table.swept = None;
    }
    lead(&traces, LogId::new(1, max + 3));
    assert_eq!((traces.table().entries.len(), dropped()), (1, 2));
    drop(names(&mut spans));
}

#[test]
fn a_round_that_nobody_waits_for_any_more_failed() {
    let (traces, mut spans) = traces();
    drop(Round::new(&traces, context()));
    Round::new(&traces, context()).succeeded();
    let failed: Vec<bool> = std::iter::from_fn(|| spans.try_recv().ok()).map(|span| span.failed).collect();
    assert_eq!(failed, [true, false]);
}
