//! What is bounded, whatever others do and however long the disk stalls.

use bytes::Bytes;
use hezong_base::Protocol as _;
use hezong_commit::three_phase::{Message, Saved, ThreePhase, Write};
use hezong_commit::{Event, FINISHED_MAX, Outcome, Refusal, Request};

use crate::alone::{N1, N2, N3, tx};
use crate::paper::{Alone, can_commit};

const MANY: u64 = 1_000;

fn yes(alone: &mut Alone, number: u64) {
    alone.asks(Request::Vote { tx: tx(N2, number), yes: true });
}

#[test]
fn stalled_disk_transactions_of_others_are_voted_against() {
    let mut alone = Alone::few();
    let mut refused = 0;
    for number in 1..=MANY {
        refused += alone.hears(N2, can_commit(tx(N2, number))).len();
        yes(&mut alone, number);
        alone.hears(N2, Message::Decision { tx: tx(N2, number), outcome: Outcome::Aborted });
        alone.asks(Request::Applied(tx(N2, number)));
    }
    assert_eq!((refused, alone.written.len()), (990, 30), "a promise each, how it ends, and its end");
    alone.stores();
    assert_eq!(alone.told.len(), 20, "each is asked for, and undone");
}

#[test]
fn stalled_disk_questions_of_others_write_no_more_and_are_answered_once() {
    let mut alone = Alone::few();
    for number in 1..=MANY {
        let asked = Message::StateRequest { tx: tx(N2, number), recovering: false };
        (0..3).for_each(|_| drop(alone.hears(N3, asked.clone())));
    }
    assert_eq!(alone.written.len(), 10);
    assert_eq!(alone.stores().len(), 20, "an answer each, and an acknowledgement");
    assert_eq!(alone.node.under_way(), (0, 0));
}

/// Two nodes, each full of what the other must put an end to, would wait for each other.
#[test]
fn full_node_puts_an_end_to_what_it_has_no_part_in() {
    let mut alone = Alone::few();
    for number in 1..=10 {
        alone.hears(N2, can_commit(tx(N2, number)));
        yes(&mut alone, number);
    }
    alone.stores();
    let asked = tx(N3, 1);
    alone.hears(N3, Message::StateRequest { tx: asked, recovering: true });
    let aborted = Message::Decision { tx: asked, outcome: Outcome::Aborted };
    assert_eq!(alone.stores(), [(N3, Message::Acknowledged(asked)), (N3, aborted)]);
    alone.hears(N3, Message::Decision { tx: tx(N3, 2), outcome: Outcome::Aborted });
    assert_eq!(alone.stores(), [(N3, Message::Acknowledged(tx(N3, 2)))]);
    assert_eq!(alone.node.under_way(), (0, 10));
}

/// What is told waits behind a commit that is not stored.
#[test]
fn stalled_disk_aborts_of_others_are_told_up_to_a_limit() {
    for again in [false, true] {
        let mut alone = Alone::few();
        alone.hears(N3, can_commit(tx(N3, 1)));
        alone.asks(Request::Vote { tx: tx(N3, 1), yes: true });
        alone.stores();
        alone.hears(N3, Message::Decision { tx: tx(N3, 1), outcome: Outcome::Committed });
        alone.told.clear();
        for number in 1..=MANY {
            let tx = tx(N2, if again { 1 } else { number });
            alone.hears(N2, can_commit(tx));
            alone.hears(N2, Message::Decision { tx, outcome: Outcome::Aborted });
        }
        alone.stores();
        let transactions = if again { 1 } else { 9 };
        assert_eq!(alone.told.len(), 1 + 2 * transactions, "the commit; to prepare each, and to undo it");
        assert_eq!(alone.node.under_way().1, 1, "the commit is not applied yet");
    }
}

#[test]
fn stalled_disk_patience_ends_without_a_word() {
    let mut alone = Alone::few();
    alone.hears(N2, can_commit(tx(N2, 1)));
    yes(&mut alone, 1);
    (0..MANY).for_each(|_| assert_eq!(alone.waits(), []));
    assert_eq!(alone.stores().len(), 1, "its vote");
}

#[test]
fn stalled_disk_own_transactions_are_refused_and_asked_once() {
    let mut alone = Alone::few();
    for number in 1..=MANY {
        assert_eq!(alone.asks(Request::Begin([(N2, Bytes::from("x"))].into())), []);
        alone.hears(N2, Message::Vote { tx: tx(N1, number), yes: false });
    }
    let is_refused = |event: &&Event| matches!(event, Event::Refused { refusal: Refusal::Overloaded, .. });
    (0..MANY).for_each(|_| assert_eq!(alone.waits(), []));
    assert_eq!(alone.stores().len(), 20, "each is asked once, and told once that it is aborted");
    assert_eq!(alone.told.iter().filter(is_refused).count(), 990);
}

#[test]
fn stalled_disk_yes_before_anybody_was_asked_is_nonsense() {
    let mut alone = Alone::few();
    alone.asks(Request::Begin([(N2, Bytes::from("x"))].into()));
    assert_eq!(alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: true }), []);
    assert!(matches!(&alone.stores()[..], [(N2, Message::CanCommit { .. })]), "it is asked now");
    assert_eq!(alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: true }), [(N2, Message::PreCommit(tx(N1, 1)))]);
}

/// What is promised no more must not be promised by a user who took its time: `save` would not keep it.
#[test]
fn fence_vote_that_comes_too_late_is_a_no() {
    let mut alone = Alone::new(Saved::default(), |_| {});
    alone.hears(N2, can_commit(tx(N2, 1)));
    for number in 2..=FINISHED_MAX as u64 + 2 {
        alone.hears(N3, Message::StateRequest { tx: tx(N2, number), recovering: false });
        alone.stores();
    }
    alone.told.clear();
    alone.written.clear();
    let sent = alone.asks(Request::Vote { tx: tx(N2, 1), yes: true });
    assert_eq!(sent, [(N2, Message::Vote { tx: tx(N2, 1), yes: false })]);
    alone.stores();
    assert_eq!(alone.told, [Event::Apply { tx: tx(N2, 1), outcome: Outcome::Aborted }]);
    assert_eq!(alone.node.under_way(), (0, 0));
    // Nor does the disk keep it, should it be written all the same.
    let mut saved = Saved::default();
    for number in 2..=FINISHED_MAX as u64 + 2 {
        ThreePhase::save(&mut saved, &Write::Finished { tx: tx(N2, number), outcome: Outcome::Aborted });
    }
    let late = Write::Prepared { tx: tx(N2, 1), work: Bytes::new(), participants: [N1].into() };
    ThreePhase::save(&mut saved, &late);
    assert_eq!(saved.promised.len(), 0);
}
