//! What is bounded: what waits for a disk that stalls, what a proposer remembers, what an acceptor holds, who waits.

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::register::{
    Age, Body, Change, Config, Event, Message, Proposal, Refusal, Registers, Request, Saved, State,
};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const MANY: u64 = 1_000;

/// A node whose disk takes for ever, unless it is told otherwise.
struct Stalled {
    node: Registers,
    now: Time,
    last: Option<WriteId>,
    stores: usize,
    told: Vec<Event>,
}

impl Stalled {
    /// Of so many acceptors; alone, it decides for itself.
    fn new(acceptors: u64, prepare: impl Fn(&mut Config)) -> Self {
        let mut config = Config::new(N1, (1..=acceptors).map(NodeId).collect());
        config.proposers.insert(N2);
        prepare(&mut config);
        let node = Registers::start(Time::ZERO, config, Saved::default(), Rng::new(1), &mut Vec::new());
        Self { node, now: Time::ZERO, last: None, stores: 0, told: Vec::new() }
    }

    /// Hands in an input; what leaves.
    fn hand(&mut self, input: Input<Registers>) -> Vec<Message> {
        let (mut out, mut left) = (Vec::new(), Vec::new());
        self.node.handle(self.now, input, &mut out);
        for effect in out {
            match effect {
                Effect::Send { message, .. } => left.push(message),
                Effect::Store { id, .. } => (self.last, self.stores) = (Some(id), self.stores + 1),
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.told.push(event),
            }
        }
        left
    }

    fn hears(&mut self, key: impl Into<Bytes>, body: Body) {
        let left = self.hand(Input::Message { from: N2, message: Message { key: key.into(), body } });
        assert_eq!(left, [], "nothing is stored");
    }

    fn wants(&mut self, id: u64, key: impl Into<Bytes>, change: Change) {
        let request = Request::Change { key: key.into(), change };
        self.hand(Input::Request { id: RequestId(id), request });
    }

    /// The disk is back, until nothing is left to be written. How many messages leave.
    fn wakes(&mut self) -> usize {
        let mut left = 0;
        while let Some(last) = self.last.take() {
            left += self.hand(Input::Stored(last)).len();
        }
        left
    }
}

fn prepare(round: u64) -> Body {
    Body::Prepare { age: Age(0), ballot: Ballot { round, node: N2 } }
}

fn accept(round: u64, bytes: usize) -> Body {
    let ballot = Ballot { round, node: N2 };
    let state = State { version: Some(ballot), previous: None, value: Some(vec![0; bytes].into()) };
    Body::Accept { age: Age(0), proposal: Proposal { ballot, state }, next: None }
}

fn delete(round: u64) -> Body {
    let ballot = Ballot { round, node: N2 };
    let state = State { version: Some(ballot), ..State::default() };
    Body::Accept { age: Age(0), proposal: Proposal { ballot, state }, next: None }
}

fn key(number: u64) -> Bytes {
    Bytes::from(number.to_string())
}

#[test]
fn stalled_disk_repeated_requests_are_answered_once() {
    let mut stalled = Stalled::new(3, |_| {});
    (0..MANY).for_each(|_| stalled.hears("a", prepare(2)));
    (0..MANY).for_each(|_| stalled.hears("a", prepare(1)));
    (0..MANY).for_each(|_| stalled.hears("a", accept(2, 0)));
    assert_eq!((stalled.stores, stalled.wakes()), (2, 2));

    let erase = Body::Erase { tombstone: Ballot { round: 3, node: N2 }, ages: [(N2, Age(1))].into() };
    stalled.hears("a", delete(3));
    assert_eq!(stalled.wakes(), 1);
    (0..MANY).for_each(|_| stalled.hears("a", erase.clone()));
    assert_eq!((stalled.stores, stalled.wakes()), (4, 1));
}

#[test]
fn stalled_disk_own_ballot_is_asked_for_once() {
    let mut stalled = Stalled::new(3, |_| {});
    stalled.wants(1, "a", Change::Read);
    for _ in 0..10 {
        stalled.now = stalled.node.deadline().expect("it would ask again");
        assert_eq!(stalled.hand(Input::Timeout), []);
    }
    assert_eq!((stalled.told.len(), stalled.wakes()), (0, 2), "both others are asked to promise");
}

/// What is given up makes room for others: then nothing of it may be left that waits for the disk.
#[test]
fn stalled_disk_changes_given_up_leave_nothing_behind() {
    let mut stalled = Stalled::new(3, |_| {});
    for round in 0..3 {
        (0..MANY).for_each(|number| stalled.wants(number, key(round * MANY + number), Change::Read));
        while let Some(at) = stalled.node.deadline() {
            stalled.now = at;
            assert_eq!(stalled.hand(Input::Timeout), []);
        }
    }
    let refused = |event: &Event| matches!(event, Event::Refused { refusal: Refusal::TimedOut, .. });
    assert_eq!(stalled.told.iter().filter(|event| refused(event)).count() as u64, 3 * MANY);
    stalled.wants(0, "a", Change::Read);
    // What leaves is for the one that waits. Those given up are asked about neither of others nor of its own acceptor.
    assert_eq!((stalled.wakes(), stalled.node.sizes().0), (2, 1));
}

#[test]
fn stalled_disk_writes_are_taken_up_to_a_limit() {
    let mut stalled = Stalled::new(3, |config| config.unstored_bytes_max = 1 << 20);
    stalled.hears("a", delete(1));
    for number in 1..=MANY {
        stalled.hears(key(number), accept(number, 100 << 10));
    }
    assert_eq!(stalled.stores, 12, "what goes beyond a mebibyte is the last");
    let ages = [(N2, Age(1))].into();
    stalled.hears("a", Body::Erase { tombstone: Ballot { round: 1, node: N2 }, ages });
    stalled.hears("a", Body::Retire { tombstone: Ballot { round: 1, node: N2 }, epoch: Default::default() });
    assert_eq!((stalled.stores, stalled.node.age()), (12, Age(0)));
    stalled.wakes();
    stalled.hears("z", prepare(MANY));
    assert_eq!(stalled.stores, 13, "and all is well again");
}

#[test]
fn acceptor_holds_registers_up_to_a_limit() {
    let mut stalled = Stalled::new(3, |config| config.registers_max = 10);
    (1..=MANY).for_each(|number| stalled.hears(key(number), prepare(1)));
    assert_eq!(stalled.node.sizes().0, 10);
    stalled.hears(key(1), accept(1, 0));
    assert_eq!(stalled.stores, 11, "those that it holds go on");
}

#[test]
fn proposer_remembers_those_changed_last() {
    let mut alone = Stalled::new(1, |config| config.remembered_max = 10);
    for number in 1..=MANY {
        alone.wants(number, key(number), Change::Set(Bytes::from("x")));
        alone.wakes();
    }
    assert_eq!((alone.told.len() as u64, alone.node.sizes().1), (MANY, 10));
    assert!(alone.node.remembered(&key(MANY - 9)).is_some());
}

#[test]
fn changes_wait_up_to_a_limit_and_not_for_ever() {
    let mut stalled = Stalled::new(3, |config| config.waiting_max = 10);
    (1..=11).for_each(|id| stalled.wants(id, key(id % 3), Change::Read));
    assert_eq!(stalled.told, [Event::Refused { id: RequestId(11), refusal: Refusal::Overloaded }]);
    while let Some(at) = stalled.node.deadline() {
        stalled.now = at;
        stalled.hand(Input::Timeout);
    }
    let refused = |event: &Event| matches!(event, Event::Refused { refusal: Refusal::TimedOut, .. });
    assert_eq!(stalled.told.iter().filter(|event| refused(event)).count(), 10);
    stalled.wants(12, "a", Change::Read);
    assert_eq!(stalled.told.len(), 11, "there is room again");
}

#[test]
fn collections_wait_up_to_a_limit_and_are_not_tried_for_ever() {
    let mut stalled = Stalled::new(3, |config| (config.collect_max, config.collect_tries_max) = (10, 3));
    for number in 1..=11 {
        stalled.hand(Input::Request { id: RequestId(0), request: Request::Collect(key(number)) });
        stalled.hand(Input::Request { id: RequestId(0), request: Request::Collect(key(number)) });
    }
    assert_eq!(stalled.told, [Event::NotCollected(key(11)), Event::NotCollected(key(11))]);
    while let Some(at) = stalled.node.deadline() {
        stalled.now = at;
        stalled.hand(Input::Timeout);
    }
    assert_eq!(stalled.told.len(), 12);
}

/// One after another, but without a pause in between: else deletions outrun it.
#[test]
fn collections_that_have_waited_do_not_wait_for_each_other() {
    let mut alone = Stalled::new(1, |config| config.proposers = [N1].into());
    for number in 1..=MANY {
        alone.wants(2 * number, key(number), Change::Set(Bytes::from("x")));
        alone.wants(2 * number + 1, key(number), Change::Delete);
        alone.wakes();
    }
    assert_eq!(alone.node.sizes().0 as u64, MANY);
    while let Some(at) = alone.node.deadline() {
        assert!(at > alone.now, "a node that is asked at a time has nothing more to do then");
        alone.now = at;
        alone.hand(Input::Timeout);
        alone.wakes();
    }
    let collected = |event: &Event| matches!(event, Event::Collected(_));
    assert_eq!(alone.told.iter().filter(|event| collected(event)).count() as u64, MANY);
    assert_eq!(alone.node.sizes().0, 0);
    assert!(alone.now < Time::from_millis(2_100), "{:?}: each has waited at most 2 s", alone.now);
}

#[test]
fn request_too_long_is_refused() {
    let mut stalled = Stalled::new(3, |_| {});
    stalled.wants(1, vec![0; 1_025], Change::Read);
    stalled.wants(2, "a", Change::Set(vec![0; (1 << 20) + 1].into()));
    let refused = |id| Event::Refused { id: RequestId(id), refusal: Refusal::TooLong };
    assert_eq!(stalled.told, [refused(1), refused(2)]);
}
