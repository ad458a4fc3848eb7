//! What is bounded, whatever others do and however long the disk stalls.

use std::collections::BTreeSet;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_commit::tcc::{Message, Saved, Tcc};
use hezong_commit::{Config, Event, FINISHED_MAX, Outcome, Refusal, Request, TransactionId};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const MANY: u64 = 1_000;

struct Stalled {
    node: Tcc,
    now: Time,
    last: Option<WriteId>,
    stores: usize,
    refused: usize,
    /// How often the user was told to cancel.
    cancelled: usize,
    /// Whether the user votes by itself.
    answers: bool,
}

impl Stalled {
    fn new() -> Self {
        let mut config = Config::new(N1, BTreeSet::from([N1, N2]));
        config.transactions_max = 10;
        let node = Tcc::start(Time::ZERO, config, Saved::default(), Rng::new(1), &mut Vec::new());
        Self { node, now: Time::ZERO, last: None, stores: 0, refused: 0, cancelled: 0, answers: true }
    }

    /// Hands in an input; what leaves.
    fn hand(&mut self, input: Input<Tcc>) -> Vec<Message> {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        let mut left = Vec::new();
        for effect in out {
            match effect {
                Effect::Send { message, .. } => left.push(message),
                Effect::Store { id, .. } => (self.last, self.stores) = (Some(id), self.stores + 1),
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(Event::Refused { refusal: Refusal::Overloaded, .. }) => self.refused += 1,
                Effect::Emit(Event::Apply { outcome: Outcome::Aborted, .. }) => self.cancelled += 1,
                Effect::Emit(Event::Prepare { tx, .. }) if self.answers => {
                    self.hand(Input::Request { id: RequestId(1), request: Request::Vote { tx, yes: true } });
                }
                Effect::Emit(_) => {}
            }
        }
        left
    }

    fn hears(&mut self, message: Message) -> usize {
        self.hand(Input::Message { from: N2, message }).len()
    }
}

fn tx(number: u64) -> TransactionId {
    TransactionId { coordinator: N2, number }
}

#[test]
fn stalled_disk_branches_are_refused_beyond_a_limit() {
    let mut stalled = Stalled::new();
    let mut refused = 0;
    for number in 1..=MANY {
        refused += stalled.hears(Message::Try { tx: tx(number), work: Bytes::from("x") });
        (0..3).for_each(|_| assert_eq!(stalled.hears(Message::Cancel(tx(number))), 0));
    }
    assert_eq!(
        (refused, stalled.stores),
        (990, 11),
        "what is told after the first Cancel waits with it, and so do the users"
    );
}

#[test]
fn stalled_disk_cancels_without_a_try_are_remembered_up_to_a_limit() {
    let mut stalled = Stalled::new();
    (1..=MANY).for_each(|number| assert_eq!(stalled.hears(Message::Cancel(tx(number))), 0));
    assert_eq!(stalled.stores, 10, "the others will be said again");
    let last = stalled.last.unwrap();
    assert_eq!(stalled.hand(Input::Stored(last)).len(), 10);
    assert_eq!(stalled.node.under_way(), (0, 0));
}

#[test]
fn stalled_disk_own_transactions_are_refused_and_said_once() {
    let mut stalled = Stalled::new();
    for _ in 0..MANY {
        let request = Request::Begin([(N2, Bytes::from("x"))].into());
        assert_eq!(stalled.hand(Input::Request { id: RequestId(1), request }), []);
    }
    assert_eq!((stalled.refused, stalled.stores), (990, 10));
    for _ in 0..MANY {
        stalled.now = stalled.node.deadline().expect("it would say it again");
        assert_eq!(stalled.hand(Input::Timeout), []);
    }
    let last = stalled.last.unwrap();
    assert_eq!(stalled.hand(Input::Stored(last)).len(), 20, "a Try each, and its Cancel");
}

/// A user who takes its time must not reserve what counts as over by then: `save` would not keep it.
#[test]
fn fence_slow_user_does_not_reserve_what_is_over() {
    let mut stalled = Stalled::new();
    stalled.answers = false;
    stalled.hears(Message::Try { tx: tx(1), work: Bytes::from("x") });
    for number in 2..=FINISHED_MAX as u64 + 2 {
        stalled.hears(Message::Cancel(tx(number)));
        let last = stalled.last.unwrap();
        stalled.hand(Input::Stored(last));
    }
    let stores = stalled.stores;
    let sent = stalled.hand(Input::Request { id: RequestId(1), request: Request::Vote { tx: tx(1), yes: true } });
    assert_eq!(sent, [Message::Tried { tx: tx(1), yes: false }]);
    assert_eq!((stalled.stores, stalled.cancelled), (stores, 1), "the user gives it back");
}

#[test]
fn nonsense_is_dropped() {
    let mut stalled = Stalled::new();
    let strange = TransactionId { coordinator: NodeId(9), number: 1 };
    let work = Bytes::from(vec![0; (64 << 10) + 1]);
    for message in [
        Message::Cancel(strange),
        Message::Cancel(tx(0)),
        Message::Cancel(tx(u64::MAX)),
        Message::Cancel(TransactionId { coordinator: N1, number: 1 }),
        Message::Confirm(tx(1)),
        Message::Try { tx: tx(1), work },
        Message::Tried { tx: tx(1), yes: true },
        Message::Tried { tx: TransactionId { coordinator: N1, number: 7 }, yes: true },
    ] {
        assert_eq!(stalled.hears(message.clone()), 0, "{message:?}");
    }
    assert_eq!((stalled.stores, stalled.node.under_way()), (0, (0, 0)));
}
