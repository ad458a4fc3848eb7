//! What peers may send: anything. It never panics, and what is no entry of ours changes nothing.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Effect, Index, Input, LogId, NodeId, Protocol, RequestId, Rng, Term, Time, WriteId};
use hezong_commit::two_phase::{Message as Inner, Saved, TwoPhase};
use hezong_commit::{Outcome, Request, TransactionId};
use hezong_raft::{Base, Body, Entry, Membership, Payload, SnapshotId};
use hezong_replicated::{Config, Fold, Message, Replicable, Replicated};

type Node = Replicated<TwoPhase>;

/// A number that is mostly plausible and sometimes absurd.
fn number(rng: &mut Rng) -> u64 {
    match rng.below(16) {
        0 => 0,
        1 => u64::MAX - rng.below(2),
        2 => u64::MAX / 2 + rng.below(3),
        _ => rng.below(9),
    }
}

fn id(rng: &mut Rng) -> LogId {
    LogId { term: Term(number(rng)), index: Index(number(rng)) }
}

fn bytes(rng: &mut Rng) -> Bytes {
    let nodes = rng.below(3);
    let numbers: Vec<u8> = (0..=nodes).flat_map(|_| number(rng).to_be_bytes()).collect();
    let mut bytes = vec![rng.below(5) as u8];
    bytes.extend(numbers);
    bytes.truncate(bytes.len() - usize::from(rng.chance(200)));
    bytes.into()
}

fn base(rng: &mut Rng) -> Base {
    Base { last: Some(id(rng)), time: Duration::from_nanos(number(rng)), membership: Membership::default() }
}

fn body(rng: &mut Rng) -> Body {
    match rng.below(9) {
        0 | 7 => Body::Vote { granted: true },
        1 | 8 => Body::PreVote { granted: true },
        2 => Body::RequestVote { last: Some(id(rng)), transfer: false },
        3 => {
            let previous = rng.chance(700).then(|| id(rng));
            let next = previous.map_or(1, |id| id.index.0.saturating_add(1));
            let id = LogId { term: Term(number(rng)), index: Index(next) };
            let entry = Entry { id, time: Duration::ZERO, payload: Payload::Command(bytes(rng)) };
            Body::Append { previous, entries: vec![entry].into(), committed: Some(Index(number(rng))) }
        }
        4 => Body::Appended { matched: Some(Index(number(rng))) },
        5 => Body::Heartbeat { round: number(rng), lease: Duration::ZERO, committed: Some(Index(number(rng))) },
        _ => Body::InstallSnapshot { id: SnapshotId(rng.below(3)), base: base(rng) },
    }
}

fn inner(rng: &mut Rng) -> Inner {
    let tx = TransactionId { coordinator: NodeId(1 + rng.below(9)), number: number(rng) };
    match rng.below(6) {
        0 => Inner::Prepare { tx, work: bytes(rng), participants: [NodeId(4), NodeId(9)].into() },
        1 => Inner::Vote { tx, yes: rng.chance(500) },
        2 => Inner::Decision { tx, outcome: Outcome::Committed },
        3 => Inner::Decision { tx, outcome: Outcome::Aborted },
        4 => Inner::Acknowledged(tx),
        _ => Inner::Inquiry(tx),
    }
}

/// A message; those of the log are of this term as a rule.
fn message(rng: &mut Rng, term: Term) -> Message<Inner, Saved> {
    match rng.below(10) {
        0 => Message::ToGroup(inner(rng)),
        1 => Message::FromGroup(inner(rng)),
        2 => Message::Direct(inner(rng)),
        3 => Message::Fetch(SnapshotId(rng.below(3))),
        4 => {
            let state = Saved { numbers: Some(number(rng)), ..Saved::default() };
            Message::Snapshot { id: SnapshotId(rng.below(3)), fold: Fold { base: base(rng), state } }
        }
        _ => {
            // Who asks whether it would be elected is told yes for the next.
            let (body, next) = (body(rng), Term(term.0.saturating_add(1)));
            let term = if matches!(body, Body::PreVote { .. }) { next } else { term };
            let term = if rng.chance(30) { Term(number(rng)) } else { term };
            Message::Raft(hezong_raft::Message { term, body })
        }
    }
}

#[test]
fn nonsense_never_panics() {
    let mut acted = 0;
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let me = NodeId([1, 4][rng.below(2) as usize]);
        let members = [1, 2, 3].map(NodeId).into();
        let config = Config::new(me, NodeId(9), members, [4, 5].map(NodeId).into());
        let (mut now, mut out) = (Time::from_millis(1), Vec::new());
        let mut node = Node::start(now, config, Default::default(), rng.fork(), &mut out);
        let mut unstored: VecDeque<WriteId> = VecDeque::new();
        for request in 0..400 {
            for effect in out.drain(..) {
                match effect {
                    Effect::Store { id, .. } => unstored.push_back(id),
                    Effect::Send { .. } | Effect::Emit(_) | Effect::Ask { .. } => {}
                }
            }
            let input = match rng.below(10) {
                0 => {
                    now = now.max(node.deadline().unwrap_or(now));
                    Input::Timeout
                }
                1 | 2 if !unstored.is_empty() => Input::Stored(unstored.pop_front().unwrap()),
                3 => {
                    let work = [(NodeId(4), bytes(&mut rng)), (NodeId(1 + rng.below(9)), bytes(&mut rng))].into();
                    Input::Request { id: RequestId(request), request: Request::Begin(work) }
                }
                _ => {
                    let term = node.raft().map_or(Term(1), hezong_raft::Raft::term);
                    Input::Message { from: NodeId(2 + rng.below(5)), message: message(&mut rng, term) }
                }
            };
            node.handle(now, input, &mut out);
            acted += usize::from(me == NodeId(1) && node.is_acting());
        }
    }
    assert!(acted > 0, "no member was led on to act");
}

/// Every write of a coordinator is read back as it was; a participant's is none.
#[test]
fn bytes_are_read_back_and_nothing_else_is() {
    use hezong_commit::two_phase::Write;
    let participants: std::collections::BTreeSet<_> = [NodeId(4), NodeId(u64::MAX)].into();
    for write in [Write::Numbers(7), Write::Commit { number: u64::MAX, participants }, Write::End(1)] {
        let bytes = TwoPhase::encode(&write).unwrap();
        assert_eq!(TwoPhase::decode(&bytes), Some(write));
        assert_eq!(TwoPhase::decode(&bytes[..bytes.len() - 1]), None);
    }
    assert_eq!(
        TwoPhase::encode(&Write::Finished {
            tx: TransactionId { coordinator: NodeId(9), number: 1 },
            outcome: Outcome::Aborted
        }),
        None
    );
    assert_eq!(TwoPhase::decode(&[]), None);
    assert_eq!(TwoPhase::decode(&[3, 0, 0, 0, 0, 0, 0, 0, 1]), None);
}
