//! What is bounded, whatever others do and however long the disk stalls.

use std::collections::BTreeSet;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_commit::three_phase::{Message, Saved, ThreePhase};
use hezong_commit::{Config, Event, Outcome, Request, TransactionId};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const MANY: u64 = 1_000;

struct Stalled {
    node: ThreePhase,
    now: Time,
    last: Option<WriteId>,
    stores: usize,
}

impl Stalled {
    fn new() -> Self {
        let mut config = Config::new(N1, BTreeSet::from([N1, N2, N3]));
        config.transactions_max = 10;
        let node = ThreePhase::start(Time::ZERO, config, Saved::default(), Rng::new(1), &mut Vec::new());
        Self { node, now: Time::ZERO, last: None, stores: 0 }
    }

    /// Hands in an input; what leaves.
    fn hand(&mut self, input: Input<ThreePhase>) -> Vec<Message> {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        let mut left = Vec::new();
        for effect in out {
            match effect {
                Effect::Send { message, .. } => left.push(message),
                Effect::Store { id, .. } => (self.last, self.stores) = (Some(id), self.stores + 1),
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(Event::Prepare { tx, .. }) => {
                    left.extend(
                        self.hand(Input::Request { id: RequestId(1), request: Request::Vote { tx, yes: true } }),
                    );
                }
                Effect::Emit(_) => {}
            }
        }
        left
    }

    fn hears(&mut self, from: NodeId, message: Message) -> usize {
        self.hand(Input::Message { from, message }).len()
    }

    fn wakes(&mut self) -> usize {
        let last = self.last.expect("something was written");
        self.hand(Input::Stored(last)).len()
    }
}

fn tx(number: u64) -> TransactionId {
    TransactionId { coordinator: N2, number }
}

fn can_commit(number: u64) -> Message {
    Message::CanCommit { tx: tx(number), work: Bytes::from("x"), participants: [N1, N3].into() }
}

#[test]
fn stalled_disk_what_is_asked_again_is_answered_once() {
    let mut stalled = Stalled::new();
    for _ in 0..MANY {
        stalled.hears(N2, can_commit(1));
        stalled.hears(N3, Message::StateRequest { tx: tx(1), recovering: true });
        stalled.hears(N2, Message::PreCommit(tx(1)));
    }
    assert_eq!(stalled.stores, 2, "prepared, and pre-committed");
    assert_eq!(stalled.wakes(), 4, "a vote, two states, and ready");
}

#[test]
fn stalled_disk_transactions_of_others_are_voted_against() {
    let mut stalled = Stalled::new();
    let refused: usize = (1..=MANY).map(|number| stalled.hears(N2, can_commit(number))).sum();
    assert_eq!((refused, stalled.stores), (990, 10));
    let asked: usize =
        (MANY..2 * MANY).map(|n| stalled.hears(N3, Message::StateRequest { tx: tx(n), recovering: false })).sum();
    assert_eq!((asked, stalled.stores), (0, 10), "there is no room to remember more");
}

#[test]
fn stalled_disk_patience_ends_without_a_word() {
    let mut stalled = Stalled::new();
    stalled.hears(N2, can_commit(1));
    for _ in 0..MANY {
        stalled.now = stalled.node.deadline().expect("it waits");
        assert_eq!(stalled.hand(Input::Timeout), []);
    }
    assert_eq!(stalled.wakes(), 1, "its vote");
}

#[test]
fn nonsense_is_dropped() {
    let mut stalled = Stalled::new();
    let strange = TransactionId { coordinator: NodeId(9), number: 1 };
    let ours = TransactionId { coordinator: N1, number: 1 };
    for (from, message) in [
        (N2, Message::PreCommit(tx(1))),
        (N2, Message::Decision { tx: tx(1), outcome: Outcome::Committed }),
        (N2, Message::StateRequest { tx: tx(0), recovering: false }),
        (N2, Message::StateRequest { tx: tx(u64::MAX), recovering: false }),
        (N2, Message::StateRequest { tx: strange, recovering: false }),
        (N2, Message::StateRequest { tx: ours, recovering: false }),
        (N3, can_commit(1)),
        (NodeId(9), can_commit(1)),
        (N2, Message::Ready(ours)),
        (N2, Message::Vote { tx: ours, yes: true }),
        (N2, Message::Acknowledged(ours)),
        (N2, Message::State { tx: ours, pre_committed: true, recovering: true }),
    ] {
        assert_eq!(stalled.hears(from, message.clone()), 0, "{message:?}");
    }
    assert_eq!((stalled.stores, stalled.node.under_way()), (0, (0, 0)));
}
