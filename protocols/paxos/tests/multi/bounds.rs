//! What is bounded while a disk, a state machine or the others stall: nothing piles up that waits for them.

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_paxos::Ballot;
use hezong_paxos::multi::{Config, Event, Message, MultiPaxos, Refusal, Request, Role, Saved, Slot, Value};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const MANY: u64 = 1_000;

/// A node whose disk takes for ever, unless it is told otherwise.
struct Stalled {
    node: MultiPaxos,
    now: Time,
    last: Option<WriteId>,
    stores: usize,
    asks: usize,
    told: Vec<Event>,
}

impl Stalled {
    fn new(prepare: impl Fn(&mut Config)) -> Self {
        let mut config = Config::new(N1, [N1, N2, N3].into());
        prepare(&mut config);
        let node = MultiPaxos::start(Time::ZERO, config, Saved::default(), Rng::new(1), &mut Vec::new());
        Self { node, now: Time::ZERO, last: None, stores: 0, asks: 0, told: Vec::new() }
    }

    /// Hands in an input; what leaves.
    fn hand(&mut self, input: Input<MultiPaxos>) -> Vec<Message> {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        let mut left = Vec::new();
        for effect in out {
            match effect {
                Effect::Send { message, .. } => left.push(message),
                Effect::Store { id, .. } => (self.last, self.stores) = (Some(id), self.stores + 1),
                Effect::Ask { .. } => self.asks += 1,
                Effect::Emit(event) => self.told.push(event),
            }
        }
        left
    }

    fn hears(&mut self, message: Message) -> Vec<Message> {
        self.hand(Input::Message { from: N2, message })
    }

    /// The disk is back. How many messages leave.
    fn wakes(&mut self) -> usize {
        let last = self.last.expect("something was written");
        self.hand(Input::Stored(last)).len()
    }

    fn leads(&mut self) {
        self.now = self.node.deadline().expect("it campaigns");
        self.hand(Input::Timeout);
        self.wakes();
        let (ballot, accepted) = (self.node.ballot().expect("it campaigns"), [].into());
        self.hears(Message::Promise { ballot, open: Slot(1), accepted });
        self.wakes();
    }

    /// Leads, and is outbid by n3: its next ballot is on its way to the disk.
    fn raises(&mut self) {
        self.leads();
        let ballot = self.node.ballot().expect("it leads");
        self.hears(Message::HeartbeatAck { ballot, round: 1 });
        assert_eq!(self.hears(Message::Nack { ballot, promised: Ballot { round: 4, node: N3 } }), []);
        assert_eq!(self.node.ballot(), Some(Ballot { round: 5, node: N1 }));
    }
}

fn ballot(round: u64) -> Ballot {
    Ballot { round, node: N2 }
}

fn accept(slot: u64, bytes: usize, open: u64) -> Message {
    let value = Value::Command(Bytes::from(vec![0; bytes]));
    Message::Accept { ballot: ballot(2), slot: Slot(slot), value, open: Slot(open) }
}

#[test]
fn stalled_disk_repeated_requests_are_answered_once() {
    let mut stalled = Stalled::new(|_| {});
    for round in 0..MANY {
        assert_eq!(stalled.hears(Message::Prepare { ballot: ballot(2), from: Slot(1) }), []);
        assert_eq!(stalled.hears(Message::Prepare { ballot: ballot(1), from: Slot(1) }), []);
        assert_eq!(stalled.hears(accept(1, 0, 1)), []);
        assert_eq!(stalled.hears(Message::Heartbeat { ballot: ballot(2), open: Slot(1), round }), []);
    }
    assert_eq!(stalled.stores, 2);
    assert_eq!(stalled.wakes(), 2, "a promise, and what was accepted");
}

#[test]
fn stalled_disk_own_ballot_is_asked_for_once() {
    let mut stalled = Stalled::new(|_| {});
    stalled.now = stalled.node.deadline().expect("it campaigns");
    stalled.hand(Input::Timeout);
    for _ in 0..5 {
        stalled.now = stalled.node.deadline().expect("it would ask again");
        assert_eq!(stalled.hand(Input::Timeout), []);
    }
    assert_eq!(stalled.wakes(), 2, "both others are asked to promise");
}

#[test]
fn stalled_disk_candidate_does_not_lead_before_its_own_promise_is_stored() {
    let mut stalled = Stalled::new(|_| {});
    stalled.now = stalled.node.deadline().expect("it campaigns");
    stalled.hand(Input::Timeout);
    stalled.wakes();
    let ballot = stalled.node.ballot().expect("it campaigns");
    for from in [N2, N3] {
        let message = Message::Promise { ballot, open: Slot(1), accepted: [].into() };
        stalled.hand(Input::Message { from, message });
    }
    assert_eq!(stalled.node.role(), Role::Candidate);
    stalled.wakes();
    assert_eq!(stalled.node.role(), Role::Master);
}

#[test]
fn stalled_disk_master_that_raises_its_ballot_is_not_heard_before_it_is_stored() {
    let mut stalled = Stalled::new(|_| {});
    stalled.raises();
    for _ in 0..5 {
        stalled.now = stalled.node.deadline().expect("it would be heard again");
        assert_eq!(stalled.hand(Input::Timeout), []);
    }
    assert_eq!(stalled.wakes(), 2, "both others are asked to promise");
    while stalled.node.role() == Role::Master {
        stalled.now = stalled.node.deadline().expect("it beats");
        stalled.hand(Input::Timeout);
    }
    assert!(stalled.now < Time::from_millis(5_000), "without answers the lease ends: {}", stalled.now);
}

/// Nobody has heard of a ballot that is not on disk. Who promises it all the same lies, or mistakes it for another: were that
/// counted, something would be proposed at a ballot that a crash makes forgotten.
#[test]
fn stalled_disk_promises_of_an_unheard_ballot_do_not_count() {
    let mut stalled = Stalled::new(|_| {});
    stalled.raises();
    let promise = Message::Promise { ballot: Ballot { round: 5, node: N1 }, open: Slot(1), accepted: [].into() };
    let request = Request::Propose(Bytes::from("x"));
    assert_eq!(stalled.hand(Input::Request { id: RequestId(1), request }), []);
    for from in [N2, N3] {
        assert_eq!(stalled.hand(Input::Message { from, message: promise.clone() }), []);
    }
    assert_eq!(stalled.wakes(), 2, "both others are asked to promise");
    assert_eq!(stalled.hears(promise.clone()), [], "its own is not on disk yet");
    assert_eq!(stalled.hand(Input::Message { from: N3, message: promise }).len(), 2, "both are to accept");
}

#[test]
fn stalled_disk_values_are_taken_up_to_a_limit() {
    let mut stalled = Stalled::new(|config| config.unstored_bytes_max = 1 << 20);
    for slot in 1..=MANY {
        stalled.hears(accept(slot, 100 << 10, 1));
    }
    assert_eq!(stalled.stores, 1 + 11, "what goes beyond a mebibyte is the last");
    for round in 3..MANY {
        stalled.hears(Message::Prepare { ballot: ballot(round), from: Slot(1) });
    }
    assert_eq!(stalled.stores, 12, "nor are ballots");
    stalled.wakes();
    stalled.hears(accept(12, 0, 1));
    assert_eq!(stalled.stores, 13, "and all is well again");
}

#[test]
fn stalled_machine_log_ends_so_far_behind_it() {
    let mut stalled = Stalled::new(|config| config.unapplied_max = 10);
    for slot in 1..=MANY {
        stalled.hears(accept(slot, 0, slot));
        if stalled.last.is_some() {
            stalled.wakes();
        }
    }
    assert_eq!((stalled.node.open(), stalled.node.entries().count()), (Slot(10), 10));
    let applied = Request::Applied(Slot(9));
    stalled.hand(Input::Request { id: RequestId(1), request: applied });
    stalled.hears(accept(11, 0, 11));
    assert_eq!(stalled.node.entries().count(), 11);
}

#[test]
fn applied_slots_are_given_up_but_for_so_many_and_so_many_bytes() {
    for (kept_max, kept_bytes_max) in [(8, 1 << 20), (MANY, 8 << 10)] {
        let mut stalled = Stalled::new(|config| (config.kept_max, config.kept_bytes_max) = (kept_max, kept_bytes_max));
        for slot in 1..=MANY {
            stalled.hears(accept(slot, 1 << 10, slot));
            stalled.wakes();
            let applied = Request::Applied(Slot(slot - 1));
            stalled.hand(Input::Request { id: RequestId(1), request: applied });
            assert!(stalled.node.entries().count() <= 10, "{}", stalled.node.entries().count());
        }
        assert_eq!(stalled.node.open(), Slot(MANY));
    }
}

#[test]
fn log_bytes_nothing_but_the_next_slot_is_taken_beyond_them() {
    let mut stalled = Stalled::new(|config| (config.log_bytes_max, config.unstored_bytes_max) = (1 << 20, usize::MAX));
    for slot in (2..=MANY).chain([1]) {
        stalled.hears(accept(slot, 100 << 10, 1));
    }
    assert_eq!(stalled.node.entries().count(), 12);
    assert!(stalled.node.entries().any(|(slot, _)| slot == Slot(1)));
}

#[test]
fn silent_members_requests_wait_up_to_a_limit() {
    let mut stalled = Stalled::new(|config| (config.alpha, config.waiting_max) = (2, 5));
    stalled.leads();
    stalled.told.clear();
    for id in 1..=MANY {
        stalled.hand(Input::Request { id: RequestId(id), request: Request::Propose(Bytes::from("x")) });
    }
    let overloaded = |event: &Event| matches!(event, Event::Refused { refusal: Refusal::Overloaded, .. });
    assert_eq!(stalled.told.iter().filter(|event| overloaded(event)).count(), 1_000 - 2 - 5);
    let mut stalled = Stalled::new(|config| config.waiting_bytes_max = 10 << 10);
    stalled.leads();
    stalled.told.clear();
    for id in 1..=MANY {
        stalled.hand(Input::Request { id: RequestId(id), request: Request::Propose(Bytes::from(vec![0; 1 << 10])) });
    }
    assert_eq!(stalled.told.iter().filter(|event| overloaded(event)).count(), 1_000 - 10);
}

#[test]
fn snapshots_one_is_taken_for_each_at_a_time() {
    let mut stalled = Stalled::new(|config| config.kept_max = 1);
    for slot in 1..=4 {
        stalled.hears(accept(slot, 0, slot));
        stalled.wakes();
    }
    let applied = Request::Applied(Slot(3));
    stalled.hand(Input::Request { id: RequestId(1), request: applied });
    for _ in 0..5 {
        stalled.hears(Message::CatchUp { from: Slot(1) });
    }
    assert_eq!(stalled.asks, 1, "one for n2, however often it asks");
    for from in (0..MANY).map(|id| NodeId(id % 100)) {
        stalled.hand(Input::Message { from, message: Message::CatchUp { from: Slot(1) } });
    }
    assert_eq!(stalled.asks, 15, "nor more than there may be members");
}
