//! What is bounded, whatever others do and however long the disk stalls.

use bytes::Bytes;
use hezong_base::Protocol as _;
use hezong_commit::two_phase::{Message, Saved, TwoPhase, Write};
use hezong_commit::{Event, FINISHED_MAX, Fenced, Fences, Outcome, Refusal, Request, TransactionId};

use crate::alone::{N1, N2, N3, tx};
use crate::paper::{Alone, prepare};

const MANY: u64 = 1_000;

#[test]
fn stalled_disk_transactions_of_others_are_voted_against() {
    let mut alone = Alone::few();
    let mut refused = 0;
    for number in 1..=MANY {
        let sent = alone.hears(N2, prepare(tx(N2, number)));
        refused += sent.len();
        alone.asks(Request::Vote { tx: tx(N2, number), yes: true });
        alone.hears(N2, Message::Decision { tx: tx(N2, number), outcome: Outcome::Aborted });
        alone.asks(Request::Applied(tx(N2, number)));
    }
    assert_eq!((refused, alone.written.len()), (990, 20), "a promise and an end each");
    assert_eq!(alone.stores().len(), 10, "votes that come too late");
    assert_eq!(alone.node.under_way(), (0, 0));
}

/// What is told waits behind a commit that is not stored. Others agree meanwhile on one abort after the other, or on one that
/// is asked about again and again.
#[test]
fn stalled_disk_aborts_of_others_are_told_up_to_a_limit() {
    for again in [false, true] {
        let mut alone = Alone::few();
        alone.asks(Request::Begin([(N2, Bytes::from("x"))].into()));
        alone.stores();
        alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: true });
        assert_eq!(alone.told, [], "the commit is on its way to the disk");
        for number in 1..=MANY {
            let tx = tx(N2, if again { 1 } else { number });
            alone.hears(N2, prepare(tx));
            alone.hears(N2, Message::Decision { tx, outcome: Outcome::Aborted });
        }
        alone.stores();
        let transactions = if again { 1 } else { 10 };
        assert_eq!(alone.told.len(), 1 + 2 * transactions, "the commit; to prepare each, and to undo it");
        assert_eq!(alone.node.under_way().1, 0);
    }
}

/// Each request has its answer, in the order in which the user is told all else: whoever asks bounds how many wait.
#[test]
fn stalled_disk_refusals_wait_one_a_request() {
    let mut alone = Alone::few();
    alone.asks(Request::Begin([(N2, Bytes::from("x"))].into()));
    alone.stores();
    alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: true });
    (0..MANY).for_each(|_| assert_eq!(alone.asks(Request::Begin([].into())), []));
    assert_eq!(alone.told, []);
    alone.stores();
    assert!(matches!(alone.told.first(), Some(Event::Outcome { outcome: Outcome::Committed, .. })));
    assert_eq!(alone.told.len() as u64, 1 + MANY);
}

#[test]
fn stalled_disk_questions_of_others_write_no_more() {
    let mut alone = Alone::few();
    for number in 1..=MANY {
        (0..3).for_each(|_| assert_eq!(alone.hears(N3, Message::Inquiry(tx(N2, number))), []));
    }
    assert_eq!(alone.written.len(), 10);
    assert_eq!(alone.stores().len(), 20, "an answer, and a no to the coordinator");
}

#[test]
fn stalled_disk_own_transactions_are_refused_and_asked_once() {
    let mut alone = Alone::few();
    for _ in 0..MANY {
        assert_eq!(alone.asks(Request::Begin([(N2, Bytes::from("x"))].into())), []);
    }
    let is_refused = |event: &&Event| matches!(event, Event::Refused { refusal: Refusal::Overloaded, .. });
    assert_eq!(alone.told.iter().filter(is_refused).count(), 990);
    (0..MANY).for_each(|_| assert_eq!(alone.waits(), []));
    assert_eq!(alone.stores().len(), 10, "each is asked once");
}

/// The first number was reserved long ago; that those of the next thousand are waits for the disk.
#[test]
fn stalled_disk_does_not_hold_up_what_was_asked_before() {
    let mut alone = Alone::new(Saved::default(), |_| {});
    let begin = || Request::Begin([(N2, Bytes::from("x")), (N3, Bytes::from("x"))].into());
    let ask = |tx| Message::Prepare { tx, work: Bytes::from("x"), participants: [N2, N3].into() };
    alone.asks(begin());
    assert_eq!(alone.stores().len(), 2);
    let Some(Write::Numbers(reserved)) = alone.written.last().cloned() else { panic!("{:?}", alone.written) };
    for number in 2..=reserved {
        assert_eq!(alone.asks(begin()).len(), 2, "reserved already");
        alone.hears(N2, Message::Vote { tx: tx(N1, number), yes: false });
    }
    alone.told.clear();
    assert_eq!(alone.asks(begin()), []);
    assert_eq!(alone.written.len(), 2);
    let sent: Vec<_> = (0..20).flat_map(|_| alone.waits()).collect();
    let asked = |tx: TransactionId| sent.iter().any(|(_, message)| *message == ask(tx));
    assert!(asked(tx(N1, 1)) && !asked(tx(N1, reserved + 1)), "{sent:?}");
    assert!(matches!(alone.told.as_slice(), [Event::Outcome { tx: ended, .. }] if ended.number == 1));
    assert_eq!(alone.node.under_way(), (1, 0));
}

/// Who votes on what nobody was asked would make room for the next, and leave behind what waits to be asked.
#[test]
fn stalled_disk_votes_that_nobody_asked_for_are_dropped() {
    let mut alone = Alone::few();
    for number in 1..=MANY {
        alone.asks(Request::Begin([(N2, Bytes::from("x"))].into()));
        alone.hears(N2, Message::Vote { tx: tx(N1, number), yes: false });
    }
    assert_eq!(alone.stores().len(), 10);
}

#[test]
fn fence_old_transactions_are_over_by_number() {
    let mut saved = Saved::default();
    let count = FINISHED_MAX as u64 + 10;
    for number in 1..=count {
        TwoPhase::save(&mut saved, &Write::Finished { tx: tx(N2, 2 * number), outcome: Outcome::Committed });
    }
    let find = |fences: &Fences, number| fences.find(tx(N2, number));
    assert_eq!(find(&saved.fences, 2 * count), Fenced::Finished(Outcome::Committed));
    assert_eq!(find(&saved.fences, 2 * count - 1), Fenced::Open, "it may yet come");
    assert_eq!(find(&saved.fences, 20), Fenced::Forgotten);
    assert_eq!(find(&saved.fences, 19), Fenced::Forgotten, "never heard of, and too far behind");
    assert_eq!(find(&saved.fences, 22), Fenced::Finished(Outcome::Committed));
    // What is promised no more must not be promised by a user who took its time either: `save` would not keep it.
    let mut slow = Alone::new(Saved::default(), |_| {});
    slow.hears(N2, prepare(tx(N2, 1)));
    for number in 2..=count {
        slow.hears(N3, Message::Inquiry(tx(N2, number)));
        slow.stores();
    }
    slow.written.clear();
    slow.told.clear();
    let sent = slow.asks(Request::Vote { tx: tx(N2, 1), yes: true });
    assert_eq!((sent, slow.written.len()), (vec![(N2, Message::Vote { tx: tx(N2, 1), yes: false })], 0));
    assert_eq!(slow.told, [Event::Apply { tx: tx(N2, 1), outcome: Outcome::Aborted }]);
    // A commit that is told again is acknowledged all the same.
    let mut alone = Alone::new(saved, |_| {});
    let sent = alone.hears(N2, Message::Decision { tx: tx(N2, 4), outcome: Outcome::Committed });
    assert_eq!(sent, [(N2, Message::Acknowledged(tx(N2, 4)))]);
    assert_eq!(alone.node.id(), N1);
}
