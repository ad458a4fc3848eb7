//! What is bounded while a disk stalls: nothing piles up that waits for it.

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Message, Paxos, Proposal, Request, Saved};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const MANY: u64 = 1_000;

/// A node whose disk takes for ever, unless it is told otherwise.
struct Stalled {
    node: Paxos,
    now: Time,
    last: Option<WriteId>,
    stores: usize,
}

impl Stalled {
    fn new(unstored_bytes_max: usize) -> Self {
        let mut config = Config::new(N1, [N1, N2, N3].into());
        config.unstored_bytes_max = unstored_bytes_max;
        let node = Paxos::start(Time::ZERO, config, Saved::default(), Rng::new(1), &mut Vec::new());
        Self { node, now: Time::ZERO, last: None, stores: 0 }
    }

    /// Hands in an input; what leaves.
    fn hand(&mut self, input: Input<Paxos>) -> Vec<Message> {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        let mut left = Vec::new();
        for effect in out {
            match effect {
                Effect::Send { message, .. } => left.push(message),
                Effect::Store { id, .. } => (self.last, self.stores) = (Some(id), self.stores + 1),
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => panic!("{event:?}"),
            }
        }
        left
    }

    fn hears(&mut self, message: Message) {
        let left = self.hand(Input::Message { from: N2, message });
        assert_eq!(left, [], "nothing is stored");
    }

    /// The disk is back. How many messages leave.
    fn wakes(&mut self) -> usize {
        let last = self.last.expect("something was written");
        self.hand(Input::Stored(last)).len()
    }
}

fn proposal(round: u64, bytes: usize) -> Proposal {
    Proposal { ballot: Ballot { round, node: N2 }, value: Bytes::from(vec![0; bytes]) }
}

#[test]
fn stalled_disk_repeated_requests_are_answered_once() {
    let mut stalled = Stalled::new(1 << 20);
    (0..MANY).for_each(|_| stalled.hears(Message::Prepare(proposal(2, 0).ballot)));
    (0..MANY).for_each(|_| stalled.hears(Message::Prepare(proposal(1, 0).ballot)));
    (0..MANY).for_each(|_| stalled.hears(Message::Accept(proposal(2, 0))));
    assert_eq!(stalled.stores, 2);
    assert_eq!(stalled.wakes(), 3, "a promise to one, and what was accepted to both");
}

#[test]
fn stalled_disk_own_ballot_is_asked_for_once() {
    let mut stalled = Stalled::new(1 << 20);
    let request = Request::Propose(Bytes::from("x"));
    assert_eq!(stalled.hand(Input::Request { id: RequestId(1), request }), []);
    for _ in 0..MANY {
        stalled.now = stalled.node.deadline().expect("it would ask again");
        assert_eq!(stalled.hand(Input::Timeout), []);
    }
    assert_eq!(stalled.wakes(), 2, "both others are asked to promise");
}

#[test]
fn stalled_disk_higher_ballots_are_taken_up_to_a_limit() {
    let mut stalled = Stalled::new(1 << 20);
    for round in 1..=MANY {
        stalled.hears(Message::Accept(proposal(round, 100 << 10)));
    }
    assert_eq!(stalled.stores, 11, "what goes beyond a mebibyte is the last");
    let writes = stalled.stores;
    stalled.wakes();
    stalled.hears(Message::Accept(proposal(MANY + 1, 0)));
    assert_eq!(stalled.stores, writes + 1, "and all is well again");
}
