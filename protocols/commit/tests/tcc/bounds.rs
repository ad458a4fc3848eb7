//! What is bounded, whatever others do and however long the disk stalls.

use bytes::Bytes;
use hezong_base::NodeId;
use hezong_commit::tcc::{Message, Saved, Tcc};
use hezong_commit::{Event, FINISHED_MAX, NUMBER_MAX, Outcome, Refusal, Request, TransactionId};

use crate::alone::{self, N1, N2, N3, tx};

type Alone = alone::Alone<Tcc>;

const MANY: u64 = 1_000;

fn try_it(tx: TransactionId) -> Message {
    Message::Try { tx, work: Bytes::from("x") }
}

#[test]
fn stalled_disk_branches_are_refused_beyond_a_limit() {
    let mut alone = Alone::few();
    let mut refused = 0;
    for number in 1..=MANY {
        let tx = tx(N2, number);
        refused += alone.hears(N2, try_it(tx)).len();
        if alone.told.pop().is_some_and(|event| matches!(event, Event::Prepare { .. })) {
            assert_eq!(alone.asks(Request::Vote { tx, yes: true }), []);
        }
        (0..3).for_each(|_| assert_eq!(alone.hears(N2, Message::Cancel(tx)), []));
    }
    assert_eq!(
        (refused, alone.written.len()),
        (990, 11),
        "what is told after the first Cancel waits with it, and so do the users"
    );
}

#[test]
fn stalled_disk_cancels_without_a_try_are_remembered_up_to_a_limit() {
    let mut alone = Alone::few();
    (1..=MANY).for_each(|number| assert_eq!(alone.hears(N2, Message::Cancel(tx(N2, number))), []));
    assert_eq!(alone.written.len(), 10, "the others will be said again");
    assert_eq!(alone.stores().len(), 10);
    assert_eq!(alone.node.under_way(), (0, 0));
}

#[test]
fn stalled_disk_own_transactions_are_refused_and_said_once() {
    let mut alone = Alone::few();
    for _ in 0..MANY {
        assert_eq!(alone.asks(Request::Begin([(N2, Bytes::from("x"))].into())), []);
    }
    let is_refused = |event: &&Event| matches!(event, Event::Refused { refusal: Refusal::Overloaded, .. });
    assert_eq!((alone.told.iter().filter(is_refused).count(), alone.written.len()), (990, 10));
    (0..MANY).for_each(|_| assert_eq!(alone.waits(), []));
    assert_eq!(alone.stores().len(), 20, "a Try each, and its Cancel");
}

#[test]
fn begin_refused_with_a_reason() {
    alone::check_refusals::<Tcc>(Saved { last: Some(NUMBER_MAX), ..Saved::default() });
}

/// A user who takes its time must not reserve what counts as over by then: `save` would not keep it.
#[test]
fn fence_slow_user_does_not_reserve_what_is_over() {
    let mut alone = Alone::few();
    alone.hears(N2, try_it(tx(N2, 1)));
    for number in 2..=FINISHED_MAX as u64 + 2 {
        alone.hears(N2, Message::Cancel(tx(N2, number)));
        alone.stores();
    }
    alone.told.clear();
    alone.written.clear();
    let sent = alone.asks(Request::Vote { tx: tx(N2, 1), yes: true });
    assert_eq!((sent, alone.written.len()), (vec![(N2, Message::Tried { tx: tx(N2, 1), yes: false })], 0));
    assert_eq!(alone.told, [Event::Apply { tx: tx(N2, 1), outcome: Outcome::Aborted }], "the user gives it back");
}

#[test]
fn nonsense_is_dropped() {
    let mut alone = Alone::few();
    let work = Bytes::from(vec![0; (64 << 10) + 1]);
    for (from, message) in [
        (N2, Message::Cancel(tx(NodeId(9), 1))),
        (N2, Message::Cancel(tx(N2, 0))),
        (N2, Message::Cancel(tx(N2, u64::MAX))),
        (N2, Message::Cancel(tx(N1, 1))),
        (N3, Message::Cancel(tx(N2, 1))),
        (N2, Message::Confirm(tx(N2, 1))),
        (N2, Message::Try { tx: tx(N2, 1), work }),
        (N2, Message::Tried { tx: tx(N2, 1), yes: true }),
        (N2, Message::Tried { tx: tx(N1, 7), yes: true }),
    ] {
        assert_eq!(alone.hears(from, message.clone()), [], "{message:?}");
    }
    assert_eq!((alone.written.len(), alone.node.under_way()), (0, (0, 0)));
}
