//! Parking: nothing leaves before what it rests on is stored, nothing later, and no event overtakes another.
#![allow(missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use hezong_base::{Effect, Input, NodeId, Protocol, Rng, Time, WriteId, Writes};

/// A protocol of numbers: what it says, emits and writes are plain numbers.
#[derive(Clone, Debug)]
struct Numbers;

impl Protocol for Numbers {
    type Config = ();
    type Message = u64;
    type Request = ();
    type Event = u64;
    type Write = u64;
    type Saved = ();
    type Ask = ();
    type Answer = ();

    fn save((): &mut (), _: &u64) {}
    fn start(_: Time, (): (), (): (), _: Rng, _: &mut Vec<Effect<Self>>) -> Self {
        Self
    }
    fn handle(&mut self, _: Time, _: Input<Self>, _: &mut Vec<Effect<Self>>) {}
    fn deadline(&self) -> Option<Time> {
        None
    }
    fn fingerprint(&self, _: Time, _: &mut dyn Hasher) {}
}

type Out = Vec<Effect<Numbers>>;

fn store(writes: &mut Writes<Numbers>, at: u64, out: &mut Out) -> WriteId {
    writes.store(Time::from_millis(at), at, 10, out)
}

/// What was sent and what was emitted, in order.
fn left(out: &mut Out) -> (Vec<u64>, Vec<u64>) {
    let (mut sent, mut emitted) = (Vec::new(), Vec::new());
    for effect in out.drain(..) {
        match effect {
            Effect::Send { message, .. } => sent.push(message),
            Effect::Emit(event) => emitted.push(event),
            Effect::Store { .. } | Effect::Ask { .. } => {}
        }
    }
    (sent, emitted)
}

#[test]
fn send_resting_on_nothing_leaves_at_once() {
    let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
    store(&mut writes, 1, &mut out);
    writes.send(None, NodeId(2), 7, &mut out);
    assert_eq!(left(&mut out).0, [7]);
}

#[test]
fn fingerprint_tells_what_waits_for_what() {
    let fingerprint = |parked: &[(u64, u64)]| {
        let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
        // Write ids tell nothing: these are later ones than those of another run may be.
        let gone = store(&mut writes, 1, &mut out);
        writes.stored(gone, &mut out);
        let ids = [1, 2].map(|at| store(&mut writes, at, &mut out));
        for (behind, message) in parked {
            writes.send(Some(ids[*behind as usize]), NodeId(2), *message, &mut out);
        }
        let mut hasher = DefaultHasher::new();
        writes.fingerprint(&mut hasher, |message, into| into.write_u64(*message));
        hasher.finish()
    };
    assert_eq!(fingerprint(&[(0, 7), (1, 8)]), fingerprint(&[(1, 8), (0, 7), (1, 8)]), "order and repetition");
    let different = [[].as_slice(), &[(0, 7)], &[(1, 7)], &[(0, 8)], &[(0, 7), (1, 7)]].map(fingerprint);
    assert_eq!(different.iter().collect::<BTreeSet<_>>().len(), different.len());
}

#[test]
fn send_waits_for_its_write_and_no_other() {
    let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
    let first = store(&mut writes, 1, &mut out);
    let second = store(&mut writes, 2, &mut out);
    writes.send(Some(second), NodeId(2), 22, &mut out);
    writes.send(Some(first), NodeId(2), 11, &mut out);
    assert_eq!(left(&mut out).0, [0; 0]);
    writes.stored(first, &mut out);
    assert_eq!(left(&mut out).0, [11]);
    writes.stored(second, &mut out);
    assert_eq!(left(&mut out).0, [22]);
    writes.send(Some(first), NodeId(2), 33, &mut out);
    assert_eq!(left(&mut out).0, [33], "what is stored holds nothing back");
}

#[test]
fn stored_reports_all_before_it() {
    let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
    let ids: Vec<_> = (1..=3).map(|at| store(&mut writes, at, &mut out)).collect();
    for (message, id) in (1..).zip(&ids) {
        writes.send(Some(*id), NodeId(2), message, &mut out);
    }
    assert_eq!(writes.bytes(), 30);
    assert_eq!(writes.oldest(), Some(Time::from_millis(1)));
    writes.stored(ids[1], &mut out);
    assert_eq!(left(&mut out).0, [1, 2]);
    assert_eq!((writes.bytes(), writes.oldest()), (10, Some(Time::from_millis(3))));
    assert_eq!(writes.last_outstanding(), Some(ids[2]));
    writes.stored(ids[0], &mut out);
    assert_eq!(writes.bytes(), 10, "an old report is no news");
    writes.stored(ids[2], &mut out);
    assert_eq!((writes.bytes(), writes.oldest(), writes.last_outstanding()), (0, None, None));
}

#[test]
fn stored_of_what_was_never_issued_is_ignored() {
    let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
    let id = store(&mut writes, 1, &mut out);
    writes.send(Some(id), NodeId(2), 11, &mut out);
    for never in [id.next(), WriteId(999)] {
        writes.stored(never, &mut out);
        assert_eq!((left(&mut out).0, writes.bytes(), writes.is_outstanding(id)), (vec![], 10, true), "{never:?}");
    }
    writes.stored(id, &mut out);
    assert_eq!(left(&mut out).0, [11]);
}

#[test]
fn event_never_overtakes_a_parked_one() {
    let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
    let first = store(&mut writes, 1, &mut out);
    let second = store(&mut writes, 2, &mut out);
    writes.emit(Some(second), 1, &mut out);
    writes.emit(Some(first), 2, &mut out);
    writes.emit(None, 3, &mut out);
    writes.stored(first, &mut out);
    assert_eq!((left(&mut out).1, writes.last_event()), (vec![], Some(second)));
    writes.stored(second, &mut out);
    assert_eq!((left(&mut out).1, writes.last_event()), (vec![1, 2, 3], None));
}

#[test]
fn everything_leaves_exactly_when_a_dumb_twin_says() {
    let mut rng = Rng::new(8);
    for _ in 0..300 {
        let (mut writes, mut out) = (Writes::<Numbers>::default(), Vec::new());
        let mut issued: Vec<WriteId> = Vec::new();
        let mut stored = 0;
        // The twin remembers all that was ever handed in: number, what it rests on.
        let (mut sends, mut events) = (Vec::<(u64, usize)>::new(), Vec::<(u64, usize)>::new());
        let (mut sent, mut emitted) = (BTreeSet::new(), Vec::new());
        for number in 0..60 {
            let rests = usize::try_from(rng.below(issued.len() as u64 + 1)).expect("small");
            let on = rests.checked_sub(1).and_then(|at| issued.get(at)).copied();
            match rng.below(4) {
                0 => issued.push(store(&mut writes, number, &mut out)),
                1 => {
                    writes.send(on, NodeId(2), number, &mut out);
                    sends.push((number, rests));
                }
                2 => {
                    writes.emit(on, number, &mut out);
                    events.push((number, rests));
                }
                _ if rests > stored => {
                    stored = rests;
                    writes.stored(issued[rests - 1], &mut out);
                }
                _ => {}
            }
            let (more_sent, more_emitted) = left(&mut out);
            sent.extend(more_sent);
            emitted.extend(more_emitted);
            let may_send: BTreeSet<u64> = sends.iter().filter(|(_, on)| *on <= stored).map(|(n, _)| *n).collect();
            let may_emit: Vec<u64> = events.iter().take_while(|(_, on)| *on <= stored).map(|(n, _)| *n).collect();
            assert_eq!((&sent, &emitted), (&may_send, &may_emit));
        }
    }
}

#[test]
fn time_next_multiple_lies_ahead() {
    let step = Duration::from_millis(100);
    assert_eq!(Time::from_millis(0).next_multiple(step), Time::from_millis(100));
    assert_eq!(Time::from_millis(199).next_multiple(step), Time::from_millis(200));
    assert_eq!(Time::from_millis(200).next_multiple(step), Time::from_millis(300));
}
