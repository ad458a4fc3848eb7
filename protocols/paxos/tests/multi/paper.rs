//! *Paxos Made Simple* §3 and *Paxos Made Live* §5, sentence by sentence where a sentence binds. One node is asked directly; n1 is
//! the node, n2 and n3 are whoever asks and answers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time};
use hezong_paxos::Ballot;
use hezong_paxos::multi::{
    Answer, Ask, Base, Config, Entry, Event, Members, Message, MultiPaxos, Refusal, Request, Role, SLOT_MAX, Saved,
    Slot, SnapshotId, Value,
};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

/// A node of three members whose disk takes no time.
struct Alone {
    node: MultiPaxos,
    now: Time,
    disk: Saved,
    sent: Vec<(NodeId, Message)>,
    told: Vec<Event>,
    asked: Vec<(AskId, Ask)>,
}

impl Alone {
    fn new(disk: Saved) -> Self {
        Self::with(disk, |_| {})
    }

    fn with(disk: Saved, prepare: impl Fn(&mut Config)) -> Self {
        let mut config = Config::new(N1, [N1, N2, N3].into());
        config.alpha = 3;
        prepare(&mut config);
        let (mut out, now) = (Vec::new(), Time::from_millis(1_000));
        let node = MultiPaxos::start(now, config, disk.clone(), Rng::new(1), &mut out);
        let (sent, told, asked) = Default::default();
        let mut alone = Self { node, now, disk, sent, told, asked };
        alone.carry_out(out);
        alone
    }

    /// A master at ballot 1.1, whom n2 has promised it with this report.
    fn master(accepted: BTreeMap<Slot, Entry>, prepare: impl Fn(&mut Config)) -> Self {
        let mut alone = Self::with(Saved::default(), prepare);
        alone.times_out();
        alone.hears(N2, Message::Promise { ballot: ballot(1, N1), open: Slot(1), accepted });
        assert_eq!(alone.node.role(), Role::Master);
        alone
    }

    fn hand(&mut self, input: Input<MultiPaxos>) {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<Effect<MultiPaxos>>) {
        let mut stored = None;
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.sent.push((to, message)),
                Effect::Store { id, write } => {
                    MultiPaxos::save(&mut self.disk, &write);
                    stored = Some(id);
                }
                Effect::Ask { id, ask } => self.asked.push((id, ask)),
                Effect::Emit(event) => self.told.push(event),
            }
        }
        if let Some(id) = stored {
            self.hand(Input::Stored(id));
        }
    }

    /// Hears something; what it answers to whoever said it.
    fn hears(&mut self, from: NodeId, message: Message) -> Vec<Message> {
        self.sent.clear();
        self.hand(Input::Message { from, message });
        self.sent.iter().filter(|(to, _)| *to == from).map(|(_, message)| message.clone()).collect()
    }

    fn times_out(&mut self) {
        self.now = self.now.max(self.node.deadline().expect("a deadline"));
        self.sent.clear();
        self.hand(Input::Timeout);
    }

    /// What comes of a request, of which nobody else need be asked.
    fn asks(&mut self, request: Request) -> Vec<Event> {
        self.told.clear();
        self.sent.clear();
        self.hand(Input::Request { id: RequestId(1), request });
        self.told.clone()
    }

    /// What it asks n2 to accept, by slot.
    fn proposed(&self) -> BTreeMap<Slot, Value> {
        let accept = |(to, message): &(NodeId, Message)| match message {
            Message::Accept { slot, value, .. } if *to == N2 => Some((*slot, value.clone())),
            _ => None,
        };
        self.sent.iter().filter_map(accept).collect()
    }
}

fn ballot(round: u64, node: NodeId) -> Ballot {
    Ballot { round, node }
}

fn value(text: &'static str) -> Value {
    Value::Command(Bytes::from(text))
}

fn entry(text: &'static str, ballot: Ballot) -> Entry {
    Entry { ballot, value: value(text) }
}

fn accept(ballot: Ballot, slot: u64, text: &'static str, open: u64) -> Message {
    Message::Accept { ballot, slot: Slot(slot), value: value(text), open: Slot(open) }
}

fn propose(text: &'static str) -> Request {
    Request::Propose(Bytes::from(text))
}

#[test]
fn section_3_leader_executes_phase_1_for_all_instances_at_once() {
    let mut alone = Alone::new(Saved::default());
    alone.times_out();
    let prepare = Message::Prepare { ballot: ballot(1, N1), from: Slot(1) };
    assert_eq!(alone.sent, [(N2, prepare.clone()), (N3, prepare)]);
    // Itself last: until somebody else has promised, it has not either.
    assert_eq!(alone.node.promised(), None);
    alone.hears(N2, Message::Promise { ballot: ballot(1, N1), open: Slot(1), accepted: BTreeMap::new() });
    assert_eq!((alone.node.promised(), alone.node.role()), (Some(ballot(1, N1)), Role::Master));
    alone.asks(propose("x"));
    alone.asks(propose("y"));
    assert_eq!(alone.proposed(), [(Slot(2), value("y"))].into(), "phase 2 only, and no waiting for slot 1");
}

#[test]
fn section_3_leader_takes_the_highest_ballots_value_and_fills_gaps_with_no_ops() {
    let accepted = [(Slot(1), entry("old", ballot(1, N2))), (Slot(3), entry("c", ballot(1, N2)))].into_iter().collect();
    let mut alone =
        Alone::new(Saved { round: 4, entries: [(Slot(1), entry("new", ballot(2, N3)))].into(), ..Saved::default() });
    alone.times_out();
    alone.hears(N2, Message::Promise { ballot: ballot(5, N1), open: Slot(1), accepted });
    let expected = [(Slot(1), value("new")), (Slot(2), Value::NoOp), (Slot(3), value("c"))];
    assert_eq!(alone.proposed(), expected.into());
}

#[test]
fn section_3_new_leader_learns_what_is_chosen_before_it_proposes() {
    let mut alone = Alone::new(Saved::default());
    alone.times_out();
    let promise = Message::Promise { ballot: ballot(1, N1), open: Slot(3), accepted: BTreeMap::new() };
    // What is chosen is not reported: it is asked for.
    assert_eq!(alone.hears(N2, promise.clone()), [Message::CatchUp { from: Slot(1) }]);
    assert_eq!(alone.node.role(), Role::Candidate);
    // Either may be lost: it asks again.
    alone.times_out();
    let again = Message::Prepare { ballot: ballot(1, N1), from: Slot(1) };
    assert_eq!(alone.sent, [(N3, again), (N2, Message::CatchUp { from: Slot(1) })]);
    let entries = vec![entry("a", ballot(1, NodeId(0))), entry("b", ballot(1, NodeId(0)))];
    alone.hears(N2, Message::Entries { from: Slot(1), entries, open: Slot(3) });
    assert_eq!((alone.node.role(), alone.node.open()), (Role::Master, Slot(3)));
    alone.asks(propose("c"));
    assert_eq!(alone.proposed(), [(Slot(3), value("c"))].into());
    // One that has begun to lead, and finds by a late promise that others have led further, leaves office.
    let mut alone = Alone::master(BTreeMap::new(), |_| {});
    alone.hears(N3, promise);
    assert_eq!(alone.node.role(), Role::Replica);
}

#[test]
fn section_3_leader_gets_at_most_alpha_commands_ahead() {
    let mut alone = Alone::master(BTreeMap::new(), |_| {});
    let ahead: Vec<_> = ["a", "b", "c", "d"].map(|text| alone.asks(propose(text))).concat();
    assert_eq!(ahead, []);
    assert!(alone.proposed().is_empty(), "slot 4 waits for slot 1");
    alone.hears(N2, Message::Accepted { ballot: ballot(1, N1), slot: Slot(1) });
    assert_eq!(alone.proposed(), [(Slot(4), value("d"))].into());
}

#[test]
fn section_3_members_chosen_in_i_accept_from_i_plus_alpha_on() {
    let mut alone = Alone::master(BTreeMap::new(), |_| {});
    let (old, new): (Members, Members) = ([N1, N2, N3].into(), [N1, NodeId(4), NodeId(5)].into());
    alone.asks(Request::Reconfigure(new.clone()));
    assert_eq!(
        alone.asks(Request::Reconfigure(old.clone())),
        [Event::Refused { id: RequestId(1), refusal: Refusal::Changing }]
    );
    alone.hears(N2, Message::Accepted { ballot: ballot(1, N1), slot: Slot(1) });
    assert_eq!((alone.node.members_at(Slot(3)), alone.node.members_at(Slot(4))), (&old, &new));
    // The way there is filled with nothing, and the new ones are asked to promise.
    assert_eq!(alone.proposed(), [(Slot(2), Value::NoOp), (Slot(3), Value::NoOp)].into());
    assert!(alone.sent.contains(&(NodeId(4), Message::Prepare { ballot: ballot(1, N1), from: Slot(2) })));
    for slot in [2, 3] {
        alone.hears(N2, Message::Accepted { ballot: ballot(1, N1), slot: Slot(slot) });
    }
    // Until they have, nothing is proposed to them, and nothing is read either: another may have led there.
    alone.asks(propose("x"));
    assert!(alone.sent.is_empty());
    alone.hears(NodeId(4), Message::HeartbeatAck { ballot: ballot(1, N1), round: 1 });
    assert_eq!(alone.asks(Request::Read), [Event::Refused { id: RequestId(1), refusal: Refusal::NotReadable }]);
    let accepted = [(Slot(4), entry("theirs", ballot(1, NodeId(0))))].into();
    alone.hears(NodeId(4), Message::Promise { ballot: ballot(1, N1), open: Slot(1), accepted });
    let to_four: Vec<_> = alone.sent.iter().filter(|(to, _)| *to == NodeId(4)).map(|(_, message)| message).collect();
    let found = accept(ballot(1, N1), 4, "theirs", 4);
    let own = accept(ballot(1, N1), 5, "x", 4);
    assert_eq!(to_four, [&found, &own]);
}

#[test]
fn section_2_5_replica_remembers_after_failure_what_it_promised_and_accepted() {
    let mut alone = Alone::new(Saved::default());
    let refused = Message::Nack { ballot: ballot(2, N2), promised: ballot(3, N3) };
    alone.hears(N2, accept(ballot(2, N2), 2, "x", 1));
    alone.hears(N3, Message::Prepare { ballot: ballot(3, N3), from: Slot(1) });
    let mut again = Alone::new(alone.disk);
    assert_eq!(again.hears(N2, accept(ballot(2, N2), 2, "x", 1)), [refused]);
    let accepted = [(Slot(2), entry("x", ballot(2, N2)))].into();
    assert_eq!(
        again.hears(N3, Message::Prepare { ballot: ballot(4, N3), from: Slot(1) }),
        [Message::Promise { ballot: ballot(4, N3), open: Slot(1), accepted }]
    );
}

#[test]
fn live_5_2_replica_that_has_heard_the_master_promises_nobody_else_for_a_lease() {
    let mut alone = Alone::new(Saved::default());
    alone.hears(N2, Message::Heartbeat { ballot: ballot(2, N2), open: Slot(1), round: 1 });
    let other = Message::Prepare { ballot: ballot(3, N3), from: Slot(1) };
    alone.now = alone.now + Duration::from_millis(2_999);
    assert_eq!(alone.hears(N3, other.clone()), []);
    // The master itself may raise its ballot.
    assert_eq!(alone.hears(N2, Message::Prepare { ballot: ballot(3, N2), from: Slot(1) }).len(), 1);
    alone.now = alone.now + Duration::from_millis(1);
    assert_eq!(alone.hears(N3, other).len(), 1);
}

/// Whether a replica that has granted one master a lease grants another one, who leads already.
pub(crate) fn lease_is_given_to_another(prepare: impl Fn(&mut Config)) -> bool {
    let mut alone = Alone::with(Saved::default(), prepare);
    alone.hears(N2, Message::Heartbeat { ballot: ballot(2, N2), open: Slot(1), round: 1 });
    !alone.hears(N3, Message::Heartbeat { ballot: ballot(3, N3), open: Slot(1), round: 1 }).is_empty()
}

#[test]
fn live_5_2_lease_binds_against_a_master_too() {
    assert!(!lease_is_given_to_another(|_| {}));
}

#[test]
fn live_5_2_restarted_replica_waits_out_a_lease_before_it_promises() {
    let mut alone = Alone::new(Saved { promised: Some(ballot(2, N2)), ..Saved::default() });
    let other = Message::Prepare { ballot: ballot(3, N3), from: Slot(1) };
    assert_eq!(alone.hears(N3, other.clone()), []);
    assert!(alone.node.deadline() > Some(alone.now + Duration::from_secs(3)), "nor does it campaign");
    alone.now = alone.now + Duration::from_secs(3);
    assert_eq!(alone.hears(N3, other).len(), 1);
}

/// Whether a master could read for longer than those keep its lease who granted it, by clocks that go as wrong as they may: its
/// own slow, theirs fast.
pub(crate) fn lease_outlasts_those_who_grant_it(prepare: impl Fn(&mut Config)) -> bool {
    let mut alone = Alone::master(BTreeMap::new(), prepare);
    let (asked_at, lease, drift) = (alone.now, Duration::from_secs(3), 1);
    // It asks again and again, and the answer to the first time comes late.
    (0..3).for_each(|_| alone.times_out());
    alone.hears(N2, Message::HeartbeatAck { ballot: ballot(1, N1), round: 1 });
    let until = alone.node.lease().expect("a majority has granted it");
    // One in a hundred: ours tells 99 where theirs tells 101. They may have been asked as soon as we began to.
    until.since(asked_at) * (100 + drift) > lease * (100 - drift)
}

#[test]
fn live_5_2_masters_lease_is_shorter_than_that_of_its_replicas() {
    assert!(!lease_outlasts_those_who_grant_it(|_| {}));
}

#[test]
fn live_5_2_master_serves_reads_while_it_holds_the_lease_and_stops_after_it() {
    let mut alone = Alone::master(BTreeMap::new(), |_| {});
    let refused = [Event::Refused { id: RequestId(1), refusal: Refusal::NotReadable }];
    assert_eq!(alone.asks(Request::Read), refused, "nobody has granted it yet");
    alone.hears(N2, Message::HeartbeatAck { ballot: ballot(1, N1), round: 1 });
    let until = alone.node.lease().expect("it is granted");
    assert_eq!(alone.asks(Request::Read), [Event::Readable { id: RequestId(1), until }]);
    alone.now = until;
    assert_eq!(alone.asks(Request::Read), refused);
    while alone.node.role() == Role::Master {
        alone.times_out();
    }
    assert!(alone.now.since(until) < Duration::from_millis(300), "and leaves office at the next beat");
}

#[test]
fn master_reads_only_once_what_it_found_is_chosen() {
    let accepted = [(Slot(1), entry("x", ballot(1, NodeId(0))))].into();
    let mut alone = Alone::master(accepted, |_| {});
    alone.hears(N2, Message::HeartbeatAck { ballot: ballot(1, N1), round: 1 });
    assert_eq!(alone.asks(Request::Read), [Event::Refused { id: RequestId(1), refusal: Refusal::NotReadable }]);
    alone.hears(N2, Message::Accepted { ballot: ballot(1, N1), slot: Slot(1) });
    assert!(matches!(alone.asks(Request::Read).as_slice(), [Event::Readable { .. }]));
}

#[test]
fn master_that_is_outbid_leaves_office_and_says_what_it_does_not_know() {
    let mut alone = Alone::master(BTreeMap::new(), |config| config.alpha = 1);
    alone.asks(propose("x"));
    alone.hand(Input::Request { id: RequestId(2), request: propose("y") });
    alone.hears(N3, Message::Nack { ballot: ballot(1, N1), promised: ballot(2, N3) });
    assert_eq!(alone.node.role(), Role::Replica);
    let not_done = Event::Refused { id: RequestId(2), refusal: Refusal::NotMaster(None) };
    assert_eq!(alone.told, [Event::MasterChanged(None), Event::Unknown { id: RequestId(1) }, not_done]);
    assert!(alone.node.deadline() > Some(alone.now), "it does not campaign at once");
}

#[test]
fn live_5_2_master_with_the_lease_is_not_deposed_by_a_refusal_but_raises_its_ballot() {
    let mut alone = Alone::master(BTreeMap::new(), |_| {});
    alone.hears(N2, Message::HeartbeatAck { ballot: ballot(1, N1), round: 1 });
    alone.asks(propose("x"));
    alone.told.clear();
    alone.hears(N3, Message::Nack { ballot: ballot(1, N1), promised: ballot(4, N3) });
    // What is under way goes on at the old ballot, and what comes waits for the next.
    alone.hand(Input::Request { id: RequestId(2), request: propose("y") });
    assert_eq!((alone.node.role(), alone.node.ballot()), (Role::Master, Some(ballot(1, N1))));
    assert!(alone.sent.is_empty());
    alone.hears(N2, Message::Accepted { ballot: ballot(1, N1), slot: Slot(1) });
    let prepare = Message::Prepare { ballot: ballot(5, N1), from: Slot(2) };
    assert_eq!(alone.sent, [(N2, prepare.clone()), (N3, prepare)]);
    assert_eq!((alone.node.role(), alone.node.lease()), (Role::Master, None), "it reads nothing meanwhile");
    alone.hears(N3, Message::Promise { ballot: ballot(5, N1), open: Slot(1), accepted: BTreeMap::new() });
    assert_eq!(alone.proposed(), [(Slot(2), value("y"))].into());
    alone.hears(N3, Message::Accepted { ballot: ballot(5, N1), slot: Slot(2) });
    let until = alone.node.lease().expect("what was granted is granted still");
    let told: Vec<_> = alone.told.iter().filter(|event| !matches!(event, Event::Chosen { .. })).collect();
    let done = [(1, 1), (2, 2)].map(|(id, slot)| Event::Done { id: RequestId(id), slot: Slot(slot) });
    assert_eq!(told, done.iter().collect::<Vec<_>>());
    // Without the lease it may be a majority that refuses.
    alone.now = until;
    alone.hears(N3, Message::Nack { ballot: ballot(5, N1), promised: ballot(6, N3) });
    assert_eq!(alone.node.role(), Role::Replica);
}

#[test]
fn watermark_counts_for_what_was_accepted_at_the_same_ballot() {
    let mut alone = Alone::new(Saved { entries: [(Slot(1), entry("x", ballot(1, N3)))].into(), ..Saved::default() });
    let beat = |round| Message::Heartbeat { ballot: ballot(2, N2), open: Slot(2), round };
    let answers = alone.hears(N2, beat(1));
    assert!(answers.contains(&Message::CatchUp { from: Slot(1) }));
    assert_eq!(alone.node.open(), Slot(1));
    alone.hears(N2, accept(ballot(2, N2), 1, "y", 2));
    assert_eq!(alone.told.last(), Some(&Event::Chosen { slot: Slot(1), value: value("y") }));
}

#[test]
fn live_5_5_snapshot_names_its_slot_and_the_members_as_of_then() {
    let mut alone = Alone::with(Saved::default(), |config| config.kept_max = 1);
    let members: Members = [N1, N2].into();
    let change =
        Message::Accept { ballot: ballot(1, N2), slot: Slot(1), value: Value::Members(members.clone()), open: Slot(1) };
    alone.hears(N2, change);
    for slot in [2, 3] {
        alone.hears(N2, accept(ballot(1, N2), slot, "x", slot));
    }
    alone.asks(Request::Applied(Slot(2)));
    assert_eq!((alone.node.first(), alone.node.open()), (Slot(3), Slot(3)));
    assert_eq!(alone.hears(N3, Message::CatchUp { from: Slot(1) }), []);
    let Some((id, Ask::TakeSnapshot { id: name, to: N3 })) = alone.asked.pop() else { panic!("{:?}", alone.asked) };
    alone.sent.clear();
    alone.hand(Input::Answered { id, answer: Answer::SnapshotTaken(Some(Slot(2))) });
    let all = [(Slot(1), [N1, N2, N3].into()), (Slot(4), members)].into();
    let base = Base { first: Slot(3), members: all };
    assert_eq!(alone.sent, [(N3, Message::Snapshot { id: name, base: base.clone() })]);
    // Whoever fetches it stands there, and keeps what it has accepted beyond.
    let mut other = Alone::new(Saved { entries: [(Slot(5), entry("z", ballot(1, N3)))].into(), ..Saved::default() });
    other.hears(N1, Message::Snapshot { id: name, base: base.clone() });
    let Some((id, Ask::FetchSnapshot { .. })) = other.asked.pop() else { panic!("{:?}", other.asked) };
    other.hand(Input::Answered { id, answer: Answer::SnapshotFetched(true) });
    assert_eq!((other.node.open(), other.node.members_at(Slot(4))), (Slot(3), alone.node.members_at(Slot(4))));
    assert_eq!(other.disk.base, Some(base));
    assert_eq!(other.node.entries().count(), 1);
}

#[test]
fn nonsense_is_dropped() {
    let (endless, base) = (ballot(u64::MAX, N2), Base { first: Slot(9), members: BTreeMap::new() });
    let far = [(Slot(5_000), entry("x", ballot(1, N2)))].into();
    let long = Value::Command(vec![0; (1 << 20) + 1].into());
    let mine = ballot(1, N1);
    for message in [
        Message::Prepare { ballot: endless, from: Slot(1) },
        Message::Prepare { ballot: ballot(2, N3), from: Slot(1) },
        Message::Prepare { ballot: ballot(2, N2), from: Slot(0) },
        Message::Prepare { ballot: ballot(2, N2), from: Slot(SLOT_MAX + 1) },
        Message::Heartbeat { ballot: ballot(2, N2), open: Slot(SLOT_MAX + 1), round: 1 },
        accept(ballot(2, N2), 5_000, "x", 1),
        Message::Accept { ballot: ballot(2, N2), slot: Slot(1), value: long, open: Slot(1) },
        Message::Accept { ballot: ballot(2, N2), slot: Slot(1), value: Value::Members(Members::new()), open: Slot(1) },
        Message::Nack { ballot: mine, promised: endless },
        Message::Snapshot { id: SnapshotId(1), base },
        Message::Entries { from: Slot(2), entries: vec![entry("x", ballot(1, N2))], open: Slot(3) },
    ] {
        let mut alone = Alone::new(Saved::default());
        assert_eq!(alone.hears(N2, message.clone()), [], "{message:?}");
        assert_eq!(alone.disk, Saved::default(), "{message:?}");
        assert!(alone.asked.is_empty() && alone.told.is_empty());
        assert_eq!(alone.node.round(), 0, "{message:?}");
    }
    // Who waits for a promise takes none that nobody can have meant.
    let mut alone = Alone::new(Saved::default());
    alone.times_out();
    alone.hears(N2, Message::Promise { ballot: mine, open: Slot(1), accepted: far });
    assert_eq!((alone.node.role(), alone.node.promised()), (Role::Candidate, None));
}
