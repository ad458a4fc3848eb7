//! Three phases, and how they are terminated, rule by rule (Skeen 1981; Bernstein, Hadzilacos and Goodman 1987, §7.5). One node
//! is asked directly (`alone.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol as _, RequestId, Time};
use hezong_commit::three_phase::{Message, Promise, Saved, ThreePhase, Write};
use hezong_commit::{Config, Event, NUMBER_MAX, Outcome, Request, TransactionId};

use Outcome::{Aborted, Committed};

use crate::alone::{self, N1, N2, N3, Sent, tx};

const N4: NodeId = NodeId(4);
/// The default of `round_trip_max`.
const ROUND_TRIP: Duration = Duration::from_secs(1);
/// A transaction that another node coordinates.
const THEIRS: TransactionId = tx(N4, 1);
/// One that this node coordinates.
const OURS: TransactionId = tx(N1, 1);

pub(crate) type Alone = alone::Alone<ThreePhase>;

pub(crate) fn can_commit(tx: TransactionId) -> Message {
    Message::CanCommit { tx, work: Bytes::from("work"), participants: [N1, N2, N3].into() }
}

fn vote(tx: TransactionId, yes: bool) -> Message {
    Message::Vote { tx, yes }
}

fn decision(tx: TransactionId, outcome: Outcome) -> Message {
    Message::Decision { tx, outcome }
}

fn state(tx: TransactionId, pre_committed: bool, recovering: bool) -> Message {
    Message::State { tx, pre_committed, recovering }
}

fn asked(tx: TransactionId) -> Message {
    Message::StateRequest { tx, recovering: false }
}

fn to_all<const N: usize>(to: [NodeId; N], message: &Message) -> Sent<ThreePhase> {
    to.map(|to| (to, message.clone())).into()
}

/// A participant that has voted yes.
fn prepared(id: NodeId) -> Alone {
    let mut alone = Alone::new(Saved::default(), |config| config.id = id);
    alone.hears(N4, can_commit(THEIRS));
    alone.asks(Request::Vote { tx: THEIRS, yes: true });
    assert_eq!(alone.stores(), [(N4, vote(THEIRS, true))]);
    alone.written.clear();
    alone.told.clear();
    alone
}

/// A coordinator that has asked n2 and n3.
fn coordinator(prepare: impl Fn(&mut Config)) -> Alone {
    let mut alone = Alone::new(Saved::default(), prepare);
    let work = [(N2, Bytes::from("debit")), (N3, Bytes::from("credit"))];
    assert_eq!(alone.asks(Request::Begin(work.into())), [], "a crash would leave participants that nobody answers to");
    assert_eq!(alone.stores().len(), 2);
    alone.written.clear();
    alone
}

/// A coordinator that has the votes of both.
fn pre_committing(prepare: impl Fn(&mut Config)) -> Alone {
    let mut alone = coordinator(prepare);
    assert_eq!(alone.hears(N2, vote(OURS, true)), []);
    assert_eq!(alone.hears(N2, vote(OURS, true)), [], "votes twice");
    assert_eq!(alone.hears(N4, vote(OURS, true)), [], "does not take part");
    assert_eq!(alone.hears(N3, vote(OURS, true)), to_all([N2, N3], &Message::PreCommit(OURS)));
    alone
}

// Skeen 1981: the phases.

#[test]
fn commit_once_all_are_ready_and_it_is_stored() {
    let mut alone = pre_committing(|_| {});
    assert_eq!(alone.hears(N2, Message::Ready(OURS)), []);
    assert_eq!(alone.hears(N4, Message::Ready(OURS)), []);
    assert_eq!(alone.written, []);
    assert_eq!(alone.hears(N3, Message::Ready(OURS)), []);
    assert_eq!(alone.written, [Write::Concluded { number: 1, outcome: Committed }]);
    assert_eq!(alone.told, []);
    assert_eq!(alone.stores(), to_all([N2, N3], &decision(OURS, Committed)));
    assert_eq!(alone.told, [Event::Outcome { id: RequestId(7), tx: OURS, outcome: Committed }]);
    // It tells until both have acknowledged.
    alone.hears(N2, Message::Acknowledged(OURS));
    assert_eq!(alone.waits(), [(N3, decision(OURS, Committed))]);
    alone.hears(N3, Message::Acknowledged(OURS));
    alone.stores();
    assert_eq!((alone.node.under_way(), alone.node.deadline()), ((0, 0), None));
}

#[test]
fn abort_with_one_no_or_without_votes_in_time() {
    for late in [false, true] {
        let mut alone = coordinator(|_| {});
        alone.hears(N2, vote(OURS, true));
        if late {
            alone.waits();
            assert_eq!(alone.now, Time::ZERO + Duration::from_secs(2), "the default of `vote_timeout`");
        } else {
            alone.hears(N3, vote(OURS, false));
        }
        assert_eq!(alone.stores(), to_all([N2, N3], &decision(OURS, Aborted)));
        assert_eq!(alone.hears(N3, vote(OURS, true)), [], "decided");
    }
}

#[test]
fn yes_said_once_stored() {
    let mut alone = Alone::new(Saved::default(), |_| {});
    alone.hears(N4, can_commit(THEIRS));
    assert_eq!(alone.asks(Request::Vote { tx: THEIRS, yes: true }), []);
    assert_eq!(alone.hears(N4, Message::PreCommit(THEIRS)), [], "nonsense: our vote has not left");
    assert_eq!(alone.hears(N4, decision(THEIRS, Committed)), [], "nonsense, too");
    assert_eq!(alone.written.len(), 1, "the vote alone");
    assert_eq!(alone.stores(), [(N4, vote(THEIRS, true))]);
}

/// Nothing rests on it: who crashes after this only asks.
#[test]
fn ready_said_at_once() {
    let mut alone = prepared(N1);
    assert_eq!(alone.hears(N4, Message::PreCommit(THEIRS)), [(N4, Message::Ready(THEIRS))]);
    assert_eq!(alone.written, []);
}

#[test]
fn outcome_applied_once_stored_and_acknowledged_once_applied() {
    let mut alone = prepared(N1);
    alone.hears(N4, Message::PreCommit(THEIRS));
    alone.hears(N4, decision(THEIRS, Committed));
    assert_eq!(alone.told, []);
    // Meanwhile it knows that all have voted yes; that it is committed only afterwards.
    assert_eq!(alone.hears(N2, asked(THEIRS)), [(N2, state(THEIRS, true, false))]);
    alone.stores();
    assert_eq!(alone.told, [Event::Apply { tx: THEIRS, outcome: Committed }]);
    assert_eq!(alone.hears(N2, asked(THEIRS)), [(N2, decision(THEIRS, Committed))]);
    assert_eq!(alone.asks(Request::Applied(THEIRS)), []);
    assert_eq!(alone.stores(), [(N4, Message::Acknowledged(THEIRS))]);
    assert_eq!(alone.hears(N4, decision(THEIRS, Committed)), [(N4, Message::Acknowledged(THEIRS))]);
    assert_eq!(alone.hears(N4, can_commit(THEIRS)), [(N4, vote(THEIRS, false))], "over");
}

/// Who is not ready has crashed; all others know.
#[test]
fn ready_missing_commits_after_a_round_trip() {
    let mut alone = pre_committing(|_| {});
    alone.hears(N2, Message::Ready(OURS));
    let begun = alone.now;
    alone.waits();
    assert_eq!(alone.now, begun + ROUND_TRIP);
    assert_eq!(alone.stores(), to_all([N2, N3], &decision(OURS, Committed)));
}

/// TX-3 as textbooks have it. No Ready comes, and the coordinator aborts; one that has its PreCommit and is cut off hears nobody,
/// and commits. That the two can meet without a partition as well, by crashes, is among the known bugs.
#[cfg(feature = "weakened")]
#[test]
fn tx_3_coordinator_aborts_and_the_one_cut_off_commits() {
    let weaken = |config: &mut Config| config.weakness = Some(hezong_commit::Weakness::SilenceAborts);
    let mut coordinator = pre_committing(weaken);
    coordinator.waits();
    assert_eq!(coordinator.stores(), to_all([N2, N3], &decision(OURS, Aborted)));

    let mut alone = prepared(N2);
    alone.hears(N4, Message::PreCommit(THEIRS));
    (0..3).for_each(|_| drop(alone.waits()));
    alone.stores();
    assert_eq!(alone.told, [Event::Apply { tx: THEIRS, outcome: Committed }]);
}

// Bernstein, Hadzilacos and Goodman 1987, §7.5: the termination protocol. TR1 and TR2: somebody has decided.

#[test]
fn tr1_tr2_decided_is_taken_over() {
    for outcome in [Aborted, Committed] {
        let mut alone = prepared(N1);
        assert_eq!(alone.waits(), to_all([N2, N3, N4], &asked(THEIRS)));
        alone.hears(N2, decision(THEIRS, outcome));
        alone.stores();
        assert_eq!(alone.told, [Event::Apply { tx: THEIRS, outcome }]);
        assert_eq!(alone.node.deadline(), None);
    }
}

#[test]
fn tr3_nobody_knows_aborts_after_a_round_trip() {
    let mut alone = prepared(N1);
    alone.waits();
    let begun = alone.now;
    alone.hears(N2, state(THEIRS, false, false));
    alone.hears(N3, state(THEIRS, false, false));
    assert_eq!(alone.waits(), []);
    assert_eq!(alone.now, begun + ROUND_TRIP);
    assert_eq!(alone.stores(), to_all([N2, N3, N4], &decision(THEIRS, Aborted)), "once it is on disk");
}

#[test]
fn tr4_all_learn_before_any_commits() {
    for we_know in [false, true] {
        let mut alone = prepared(N1);
        if we_know {
            alone.hears(N4, Message::PreCommit(THEIRS));
        }
        alone.waits();
        alone.hears(N2, state(THEIRS, !we_know, false));
        alone.hears(N3, state(THEIRS, false, false));
        let told = if we_know { vec![N2, N3] } else { vec![N3] };
        let pre_commits: Vec<_> = told.into_iter().map(|to| (to, Message::PreCommit(THEIRS))).collect();
        assert_eq!(alone.waits(), pre_commits, "to those who answered that they do not know");
        assert_eq!(alone.hears(N3, Message::Ready(THEIRS)), []);
        assert_eq!(alone.written, []);
        alone.waits();
        assert_eq!(alone.stores(), to_all([N2, N3, N4], &decision(THEIRS, Committed)));
    }
}

#[test]
fn unvoted_aborts_for_good_before_it_says_so() {
    for is_asked in [false, true] {
        let mut alone = Alone::new(Saved::default(), |_| {});
        if is_asked {
            alone.hears(N4, can_commit(THEIRS));
        }
        assert_eq!(alone.hears(N2, asked(THEIRS)), []);
        assert_eq!(alone.asks(Request::Vote { tx: THEIRS, yes: true }), [], "too late");
        let acknowledged = (N4, Message::Acknowledged(THEIRS));
        assert_eq!(alone.stores(), [acknowledged, (N2, decision(THEIRS, Aborted))]);
        assert_eq!(alone.hears(N4, can_commit(THEIRS)), [(N4, vote(THEIRS, false))]);
    }
}

/// The election: the lower name goes on, the higher one gives way, and outwaits what the other may take.
#[test]
fn backup_gives_way_to_a_lower_name_alone() {
    let mut lower = prepared(N1);
    lower.waits();
    let polling_until = lower.node.deadline();
    assert_eq!(lower.hears(N2, asked(THEIRS)), [(N2, state(THEIRS, false, false))]);
    assert_eq!(lower.node.deadline(), polling_until);

    let mut higher = prepared(N2);
    higher.waits();
    assert_eq!(higher.hears(N1, asked(THEIRS)), [(N1, state(THEIRS, false, false))]);
    assert_eq!(
        higher.node.deadline(),
        Some(higher.now + 4 * ROUND_TRIP),
        "two rounds, a write, and one name before it"
    );
    assert_eq!(higher.waits(), to_all([N1, N3, N4], &asked(THEIRS)), "and begins anew");
}

/// Nobody asks while the coordinator may be at work: it waits for votes, and then for those who are not ready.
#[test]
fn patience_outlasts_the_coordinator() {
    for (id, rank) in [(N1, 0), (N2, 1), (N3, 2)] {
        let mut alone = prepared(id);
        assert_eq!(alone.node.deadline(), Some(Time::ZERO + Duration::from_secs(2) + (1 + rank) * ROUND_TRIP));
        alone.now = Time::from_millis(3_000);
        alone.hears(N4, Message::PreCommit(THEIRS));
        assert_eq!(alone.node.deadline(), Some(alone.now + (3 + rank) * ROUND_TRIP));
    }
}

// Recovery.

fn promised(decided: Option<Outcome>) -> Saved {
    let promise = Promise { work: Bytes::from("work"), participants: [N1, N2, N3].into(), decided };
    Saved { promised: [(THEIRS, promise)].into(), ..Saved::default() }
}

#[test]
fn recovered_asks_and_decides_nothing() {
    let mut alone = Alone::new(promised(None), |_| {});
    let asks = Message::StateRequest { tx: THEIRS, recovering: true };
    assert_eq!(alone.sent, to_all([N2, N3, N4], &asks));
    assert!(matches!(alone.told.as_slice(), [Event::InDoubt { .. }]));
    // Not even if it learns that all have voted yes.
    alone.hears(N4, Message::PreCommit(THEIRS));
    for _ in 0..100 {
        assert_eq!(alone.waits(), to_all([N2, N3, N4], &asks));
    }
    assert_eq!(alone.hears(N2, asked(THEIRS)), [(N2, state(THEIRS, true, true))]);
    assert_eq!(alone.written, []);
    alone.hears(N2, decision(THEIRS, Committed));
    assert_eq!(alone.written, [Write::Decided { tx: THEIRS, outcome: Committed }]);
}

/// It may have missed that another backup, gone since, heard of nobody who knows, and aborted.
#[test]
fn recovered_state_does_not_count() {
    let mut alone = prepared(N1);
    alone.waits();
    alone.hears(N2, state(THEIRS, true, true));
    alone.hears(N4, state(THEIRS, true, false));
    assert_eq!(alone.waits(), [], "n2 was gone, n4 does not take part");
    assert_eq!(alone.written, [Write::Decided { tx: THEIRS, outcome: Aborted }]);
}

#[test]
fn recovered_applies_what_it_had_decided() {
    let mut alone = Alone::new(promised(Some(Committed)), |_| {});
    assert_eq!(alone.sent, []);
    assert_eq!(alone.told.last(), Some(&Event::Apply { tx: THEIRS, outcome: Committed }));
    assert_eq!(alone.hears(N4, asked(THEIRS)), [(N4, decision(THEIRS, Committed))]);
}

/// Total failure: the coordinator aborts once all have said that they were gone, and nobody has anything on disk.
#[test]
fn coordinator_recovered_aborts_once_all_were_gone() {
    let saved = || Saved { last: Some(1), begun: [(1, ([N2, N3].into(), None))].into(), ..Saved::default() };
    let mut alone = Alone::new(saved(), |_| {});
    assert_eq!(alone.sent, to_all([N2, N3], &Message::StateRequest { tx: OURS, recovering: true }));
    for (from, recovering) in [(N2, true), (N2, true), (N4, true), (N3, false)] {
        alone.hears(from, state(OURS, false, recovering));
        assert_eq!(alone.written, [], "n3 may still commit");
    }
    alone.hears(N3, state(OURS, false, true));
    assert_eq!(alone.written, [Write::Concluded { number: 1, outcome: Aborted }]);
    assert_eq!(alone.stores(), to_all([N2, N3], &decision(OURS, Aborted)));

    // One that has decided while it was gone is believed, and all are told.
    let mut alone = Alone::new(saved(), |_| {});
    alone.hears(N2, state(OURS, false, true));
    alone.hears(N3, decision(OURS, Committed));
    assert_eq!(alone.stores(), to_all([N2, N3], &decision(OURS, Committed)));
    assert_eq!(alone.told, [], "whoever asked for it was told nothing before the crash, and is gone");
    assert_eq!(alone.hears(N2, asked(OURS)), [(N2, decision(OURS, Committed))]);
}

// What every module keeps.

/// Each write is carried out a second time at every later point, and changes nothing.
#[test]
fn write_carried_out_again_changes_nothing() {
    let participants: BTreeSet<NodeId> = [N1, N3].into();
    let writes = [
        Write::Begun { number: 1, participants: participants.clone() },
        Write::Prepared { tx: THEIRS, work: Bytes::from("work"), participants: participants.clone() },
        Write::Concluded { number: 1, outcome: Committed },
        Write::Begun { number: 2, participants },
        Write::Decided { tx: THEIRS, outcome: Committed },
        Write::Finished { tx: THEIRS, outcome: Committed },
        Write::End(1),
    ];
    alone::check_carried_out_again::<ThreePhase>(&writes, |_, _, _| {});
}

#[test]
fn nonsense_is_dropped() {
    let mut alone = coordinator(|_| {});
    let (stranger, long) = (NodeId(9), Bytes::from(vec![0; (64 << 10) + 1]));
    let participants: BTreeSet<NodeId> = [N1].into();
    for (from, message) in [
        (stranger, vote(OURS, false)),
        (stranger, asked(THEIRS)),
        (N1, vote(OURS, false)),
        (N2, Message::Ready(OURS)),
        (N2, Message::Acknowledged(OURS)),
        (N2, state(OURS, true, true)),
        (N2, decision(tx(N1, 2), Aborted)),
        (N2, Message::PreCommit(THEIRS)),
        (N2, state(THEIRS, true, false)),
        (N2, decision(OURS, Committed)),
        (N2, decision(THEIRS, Committed)),
        (N2, asked(tx(N4, 0))),
        (N2, asked(tx(N4, NUMBER_MAX + 1))),
        (N2, asked(tx(stranger, 1))),
        (N2, asked(tx(N1, 2))),
        (N3, can_commit(THEIRS)),
        (N4, Message::CanCommit { tx: THEIRS, work: long, participants: participants.clone() }),
        (N4, Message::CanCommit { tx: THEIRS, work: Bytes::new(), participants: [N3].into() }),
        (N4, Message::CanCommit { tx: THEIRS, work: Bytes::new(), participants: [N1, stranger].into() }),
    ] {
        assert_eq!(alone.hears(from, message.clone()), [], "{message:?}");
    }
    assert_eq!((alone.node.under_way(), alone.written.len(), alone.told.len()), ((1, 0), 0, 0));
}

#[test]
fn begin_refused_with_a_reason() {
    alone::check_refusals::<ThreePhase>(Saved { last: Some(NUMBER_MAX), ..Saved::default() });
}
