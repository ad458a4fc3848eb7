//! Presumed abort, sentence by sentence where a sentence binds (Mohan, Lindsay and Obermarck 1986, §3). One node is asked
//! directly (`alone.rs`).

use std::collections::BTreeSet;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId};
use hezong_commit::two_phase::{Message, Saved, TwoPhase, Write};
use hezong_commit::{Event, NUMBER_MAX, Outcome, Request, TransactionId};

use crate::alone::{self, N1, N2, N3, tx};

pub(crate) type Alone = alone::Alone<TwoPhase>;

pub(crate) fn prepare(tx: TransactionId) -> Message {
    Message::Prepare { tx, work: Bytes::from("work"), participants: [N1, N3].into() }
}

fn decision(tx: TransactionId, outcome: Outcome) -> Message {
    Message::Decision { tx, outcome }
}

fn coordinator() -> Alone {
    let mut alone = Alone::new(Saved::default(), |_| {});
    alone.asks(Request::Begin([(N2, Bytes::from("debit")), (N3, Bytes::from("credit"))].into()));
    assert_eq!(alone.stores().len(), 2, "both are asked once the number is stored");
    alone.written.clear();
    alone
}

/// "No information in stable storage" is presumed to be abort.
#[test]
fn inquiry_unknown_transaction_is_told_abort() {
    let saved = Saved { numbers: Some(1_024), ..Saved::default() };
    let mut alone = Alone::new(saved, |_| {});
    let answer = alone.hears(N2, Message::Inquiry(tx(N1, 9)));
    assert_eq!(answer, [(N2, decision(tx(N1, 9), Outcome::Aborted))]);
    assert_eq!(alone.hears(N2, Message::Inquiry(tx(N1, 1_025))), [], "which it has never begun");
    assert_eq!(alone.written, []);
}

/// The commit record is forced before anybody hears of it; the user neither.
#[test]
fn commit_told_once_stored() {
    let mut alone = coordinator();
    assert_eq!(alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: true }), []);
    assert_eq!(alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: true }), [], "one yes is one yes");
    assert_eq!(alone.hears(N3, Message::Vote { tx: tx(N1, 1), yes: true }), []);
    assert_eq!(alone.written, [Write::Commit { number: 1, participants: [N2, N3].into() }]);
    assert_eq!(alone.hears(N3, Message::Inquiry(tx(N1, 1))), [], "it is not certain yet");
    assert_eq!(alone.told, []);
    let commit = decision(tx(N1, 1), Outcome::Committed);
    assert_eq!(alone.stores(), [(N2, commit.clone()), (N3, commit)]);
    assert_eq!(alone.told, [Event::Outcome { id: RequestId(7), tx: tx(N1, 1), outcome: Outcome::Committed }]);
}

/// An abort is not written, and forgotten at once; who voted no is not told.
#[test]
fn abort_neither_written_nor_acknowledged() {
    let mut alone = coordinator();
    let sent = alone.hears(N2, Message::Vote { tx: tx(N1, 1), yes: false });
    assert_eq!(sent, [(N3, decision(tx(N1, 1), Outcome::Aborted))]);
    assert_eq!((alone.written.len(), alone.node.under_way()), (0, (0, 0)));
    // The vote that comes now is in doubt.
    let sent = alone.hears(N3, Message::Vote { tx: tx(N1, 1), yes: true });
    assert_eq!(sent, [(N3, decision(tx(N1, 1), Outcome::Aborted))]);
}

/// The coordinator writes an end record, without haste, after the last acknowledgement.
#[test]
fn end_written_after_the_last_acknowledgement() {
    let saved = Saved { numbers: Some(1_024), committed: [(1, [N2, N3].into())].into(), ..Saved::default() };
    let mut alone = Alone::new(saved, |_| {});
    assert_eq!(alone.sent.len(), 2, "told again after a restart");
    alone.hears(N2, Message::Acknowledged(tx(N1, 1)));
    alone.hears(N2, Message::Acknowledged(tx(N1, 1)));
    assert_eq!(alone.written, []);
    alone.hears(N3, Message::Acknowledged(tx(N1, 1)));
    assert_eq!(alone.written, [Write::End(1)]);
    alone.stores();
    assert_eq!(alone.node.under_way(), (0, 0));
}

/// The prepare record is forced before the vote.
#[test]
fn yes_said_once_stored() {
    let mut alone = Alone::new(Saved::default(), |_| {});
    let yes = Message::Vote { tx: tx(N2, 1), yes: true };
    assert_eq!(alone.hears(N2, prepare(tx(N2, 1))), []);
    assert_eq!(alone.asks(Request::Vote { tx: tx(N2, 1), yes: true }), []);
    assert_eq!(alone.hears(N2, prepare(tx(N2, 1))), []);
    assert_eq!(alone.stores(), [(N2, yes.clone())]);
    assert_eq!(alone.hears(N2, prepare(tx(N2, 1))), [(N2, yes)], "and said again");
}

/// A participant acknowledges what it has applied for good, and again when it is told again.
#[test]
fn acknowledged_once_applied_and_stored() {
    let participants: BTreeSet<NodeId> = [N1, N3].into();
    let prepared = [(tx(N2, 1), (Bytes::from("work"), participants))].into();
    let mut alone = Alone::new(Saved { prepared, ..Saved::default() }, |_| {});
    assert_eq!(alone.sent, [(N2, Message::Inquiry(tx(N2, 1)))], "in doubt after a restart");
    assert!(matches!(alone.told.as_slice(), [Event::InDoubt { .. }]));
    let (commit, acknowledged) = (decision(tx(N2, 1), Outcome::Committed), Message::Acknowledged(tx(N2, 1)));
    assert_eq!(alone.hears(N2, commit.clone()), []);
    assert_eq!(alone.asks(Request::Applied(tx(N2, 1))), []);
    assert_eq!(alone.hears(N2, commit.clone()), [], "it waits for the disk");
    assert_eq!(alone.stores(), [(N2, acknowledged.clone())]);
    assert_eq!(alone.hears(N2, commit), [(N2, acknowledged)]);
    // What is over is not opened again.
    assert_eq!(alone.hears(N2, prepare(tx(N2, 1))), [(N2, Message::Vote { tx: tx(N2, 1), yes: false })]);
}

/// One that has promised nothing may abort for another, and is bound by that (Bernstein et al. 1987, §7.4).
#[test]
fn peer_inquiry_abort_once_stored_and_for_good() {
    let mut alone = Alone::new(Saved::default(), |_| {});
    assert_eq!(alone.hears(N3, Message::Inquiry(tx(N2, 1))), []);
    let sent = alone.stores();
    assert_eq!(sent.first(), Some(&(N3, decision(tx(N2, 1), Outcome::Aborted))));
    let no = Message::Vote { tx: tx(N2, 1), yes: false };
    assert_eq!(alone.hears(N2, prepare(tx(N2, 1))), [(N2, no)]);
    // One that has promised says nothing.
    alone.hears(N2, prepare(tx(N2, 2)));
    alone.asks(Request::Vote { tx: tx(N2, 2), yes: true });
    assert_eq!(alone.hears(N3, Message::Inquiry(tx(N2, 2))), []);
    assert_eq!(alone.node.in_doubt().collect::<Vec<_>>(), [tx(N2, 2)]);
}

/// Each write is carried out a second time at every later point: only a commit comes back, to be told and acknowledged again.
#[test]
fn write_carried_out_again_opens_nothing() {
    let participants: BTreeSet<NodeId> = [N1, N3].into();
    let writes = [
        Write::Numbers(1_024),
        Write::Prepared { tx: tx(N2, 1), work: Bytes::from("work"), participants: participants.clone() },
        Write::Commit { number: 1, participants: participants.clone() },
        Write::Finished { tx: tx(N2, 1), outcome: Outcome::Committed },
        Write::End(1),
        Write::Numbers(2_048),
    ];
    alone::check_carried_out_again::<TwoPhase>(&writes, |again, second, wanted| {
        if matches!(again, Write::Commit { .. }) && second > 4 {
            wanted.committed.insert(1, participants.clone());
        }
    });
}

#[test]
fn nonsense_is_dropped() {
    let mut alone = coordinator();
    let stranger = NodeId(9);
    let work = Bytes::from(vec![0; (64 << 10) + 1]);
    let participants: BTreeSet<NodeId> = [N1].into();
    for (from, message) in [
        (stranger, Message::Vote { tx: tx(N1, 1), yes: false }),
        (stranger, Message::Inquiry(tx(N2, 1))),
        (N1, Message::Vote { tx: tx(N1, 1), yes: false }),
        (N3, prepare(tx(N2, 1))),
        (N2, prepare(tx(N2, 0))),
        (N2, prepare(tx(N2, NUMBER_MAX + 1))),
        (N2, Message::Prepare { tx: tx(N2, 1), work, participants: participants.clone() }),
        (N2, Message::Prepare { tx: tx(N2, 1), work: Bytes::new(), participants: [N3].into() }),
        (N2, Message::Prepare { tx: tx(N2, 1), work: Bytes::new(), participants: [N1, stranger].into() }),
        (N2, decision(tx(N2, 1), Outcome::Committed)),
        (N2, Message::Inquiry(tx(stranger, 1))),
        (N2, Message::Acknowledged(tx(N3, u64::MAX))),
    ] {
        assert_eq!(alone.hears(from, message.clone()), [], "{message:?}");
    }
    assert_eq!((alone.node.under_way(), alone.written.len(), alone.told.len()), ((1, 0), 0, 0));
}

#[test]
fn begin_refused_with_a_reason() {
    alone::check_refusals::<TwoPhase>(Saved { numbers: Some(NUMBER_MAX), ..Saved::default() });
}
