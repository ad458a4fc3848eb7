//! What is bounded: while a disk stalls, while nobody answers, and while the state machine does not get on.

use bytes::Bytes;
use hezong_zab::{Body, Config, Epoch, Event, Message, Packet, Refusal, Request, Role, Round, Saved, SessionId, Zxid};

use crate::node::{Alone, N1, N2, N3, entry};

const MANY: u64 = 1_000;

fn config(set: impl Fn(&mut Config)) -> Config {
    let mut config = Config::new(N1, [N1, N2, N3].into());
    set(&mut config);
    config
}

/// A follower that serves, with this configuration.
fn follower(set: impl Fn(&mut Config)) -> Alone {
    let mut alone = Alone::with(config(set), Saved::default());
    alone.follows();
    alone.leader_says(1, 0, Body::LeaderInfo);
    alone.leader_says(1, 1, Body::Diff);
    alone.leader_says(1, 2, Body::NewLeader);
    alone.leader_says(1, 3, Body::UpToDate { committed: None });
    assert_eq!(alone.node.role(), Role::Following(N3));
    alone
}

fn proposal(counter: u32, data: &'static str) -> Body {
    Body::Proposal { entry: entry(Zxid::new(1, counter), data), request: None }
}

#[test]
fn stalled_disk_pings_are_answered_once() {
    let mut alone = follower(|_| {});
    alone.slow = true;
    alone.leader_says(1, 4, proposal(1, "x"));
    for ping in 0..MANY {
        assert_eq!(alone.leader_says(1, 5 + ping, Body::Ping(ping)), []);
    }
    alone.sent.clear();
    alone.stores();
    assert_eq!(crate::node::bodies(alone.sent), [Body::Ack(Zxid::new(1, 1)), Body::Pong(0), Body::Pong(MANY - 1)]);
}

#[test]
fn stalled_disk_vote_is_said_once_it_has_caught_up() {
    let mut alone = follower(|_| {});
    alone.slow = true;
    alone.leader_says(1, 4, proposal(1, "x"));
    alone.leader_says(1, 9, proposal(9, "y"));
    assert_eq!(alone.node.role(), Role::Looking);
    alone.sent.clear();
    for round in 3..MANY {
        let vote = hezong_zab::Vote { epoch: Epoch(0), zxid: None, leader: N2 };
        assert_eq!(alone.hears(N2, Message::Looking { round: Round(round), vote: Some(vote) }), []);
        alone.times_out();
    }
    assert_eq!(alone.sent, []);
    alone.stores();
    let votes = alone.sent.iter().filter(|(_, message)| matches!(message, Message::Looking { .. })).count();
    assert_eq!((votes, alone.sent.len()), (2, 3), "one to each voter, and what its last session still had to say");
}

#[test]
fn stalled_disk_no_ensemble_is_joined_and_none_led() {
    let mut alone = follower(|_| {});
    alone.slow = true;
    alone.leader_says(1, 4, proposal(1, "x"));
    alone.leader_says(1, 9, proposal(9, "y"));
    for _ in 0..MANY {
        for from in [N2, N3] {
            assert_eq!(alone.hears(from, Message::Settled { round: Round(2), leader: N3 }), []);
            let vote = hezong_zab::Vote { epoch: Epoch(9), zxid: None, leader: N2 };
            assert_eq!(alone.hears(from, Message::Looking { round: Round(2), vote: Some(vote) }), []);
        }
        alone.times_out();
    }
    assert_eq!(alone.node.role(), Role::Looking);
}

#[test]
fn stalled_disk_follower_leaves_and_leader_refuses_at_a_limit() {
    let mut alone = follower(|config| config.unstored_bytes_max = 100);
    alone.slow = true;
    for number in 1..=4 {
        alone.leader_says(1, 3 + u64::from(number), proposal(number, "x"));
    }
    assert_eq!(alone.node.role(), Role::Following(N3));
    alone.leader_says(1, 8, proposal(5, "x"));
    assert_eq!((alone.node.role(), alone.unstored.len()), (Role::Looking, 4));

    let mut alone = Alone::with(config(|config| config.unstored_bytes_max = 100), Saved::default());
    alone.serves();
    alone.slow = true;
    for _ in 0..4 {
        alone.asks(Request::Propose(Bytes::from("x")));
    }
    let id = alone.asks(Request::Propose(Bytes::from("x")));
    assert_eq!(alone.told.last(), Some(&Event::Refused { id, refusal: Refusal::Overloaded }));
    // And gives up when that takes too long, though n2 is there.
    let late = alone.now + core::time::Duration::from_millis(1_200);
    let mut number = 0;
    while alone.now < late && alone.node.role() == Role::Leading {
        number += 1;
        alone.times_out();
        alone.learner_says(N2, Body::Pong(number));
    }
    assert_eq!(alone.node.role(), Role::Looking);
}

#[test]
fn history_is_bounded_until_the_state_machine_gets_on() {
    let mut alone =
        Alone::with(config(|config| (config.history_bytes_max, config.history_kept) = (100, 1)), Saved::default());
    alone.serves();
    for _ in 0..3 {
        alone.asks(Request::Propose(Bytes::from("x")));
    }
    alone.asks(Request::Applied(Zxid::new(1, 3)));
    assert_eq!(alone.node.history().base(), None, "nothing is committed: nobody can have applied it");
    alone.learner_says(N2, Body::Ack(Zxid::new(1, 3)));
    let id = alone.asks(Request::Propose(Bytes::from("x")));
    assert_eq!(alone.told.last(), Some(&Event::Refused { id, refusal: Refusal::Overloaded }));
    alone.asks(Request::Applied(Zxid::new(1, 3)));
    assert_eq!((alone.node.history().base(), alone.node.history().entries().len()), (Some(Zxid::new(1, 2)), 1));
    assert_eq!(alone.disk.history, *alone.node.history());
    alone.asks(Request::Propose(Bytes::from("x")));
    assert_eq!(alone.node.history().last(), Some(Zxid::new(1, 4)));

    let mut alone = follower(|config| config.history_bytes_max = 100);
    for number in 1..=4 {
        alone.leader_says(1, 3 + u64::from(number), proposal(number, "x"));
    }
    assert_eq!((alone.node.role(), alone.node.history().entries().len()), (Role::Looking, 3));
}

/// Each session brings a queue, which is bounded by itself.
#[test]
fn history_is_bounded_over_rejoins_unless_all_is_applied() {
    let joins = |alone: &mut Alone, epoch, history: &[(u32, u32)]| {
        alone.follows();
        alone.leader_says(epoch, 0, Body::LeaderInfo);
        alone.leader_says(epoch, 1, Body::Diff);
        for (number, (epoch_of, counter)) in (2..).zip(history) {
            let body = Body::Proposal { entry: entry(Zxid::new(*epoch_of, *counter), "x"), request: None };
            alone.leader_says(epoch, number, body);
        }
        alone.leader_says(epoch, 2 + history.len() as u64, Body::NewLeader);
    };
    let config = config(|config| config.history_bytes_max = 100);
    let mut alone = Alone::with(config.clone(), Saved::default());
    joins(&mut alone, 1, &[(1, 1), (1, 2), (1, 3)]);
    alone.leader_says(1, 6, Body::UpToDate { committed: Some(Zxid::new(1, 2)) });
    assert_eq!(alone.node.role(), Role::Following(N3));
    let left = |alone: &mut Alone| {
        alone.leader_says(1, 99, Body::Ping(0));
        assert_eq!(alone.node.role(), Role::Looking);
    };
    left(&mut alone);
    joins(&mut alone, 2, &[(2, 1)]);
    assert_eq!((alone.node.role(), alone.disk.history.entries().len()), (Role::Looking, 3));
    // Where nothing waits for the state machine, leaving would help nobody. Neither does it after a restart.
    let mut again = Alone::with(config, alone.disk.clone());
    alone.asks(Request::Applied(Zxid::new(1, 2)));
    for alone in [&mut alone, &mut again] {
        joins(alone, 3, &[(2, 1), (2, 2)]);
        assert_eq!((alone.node.role(), alone.disk.history.last()), (Role::Joining(N3), Some(Zxid::new(2, 2))));
    }
}

#[test]
fn forwarded_requests_are_bounded_in_bytes() {
    let mut alone = follower(|config| config.unstored_bytes_max = 100);
    alone.slow = true;
    alone.leader_says(1, 4, proposal(1, "x"));
    let long = || Request::Propose(Bytes::from(vec![0; 60]));
    for _ in 0..2 {
        alone.asks(long());
    }
    alone.told.clear();
    let id = alone.asks(long());
    assert_eq!(alone.told, [Event::Refused { id, refusal: Refusal::Overloaded }]);
    // One that came back is the leader's to count.
    let entry = entry(Zxid::new(1, 2), "x");
    alone.leader_says(1, 5, Body::Proposal { entry, request: Some(hezong_base::RequestId(1)) });
    alone.told.clear();
    alone.asks(long());
    assert_eq!(alone.told, []);
}

#[test]
fn waiting_requests_are_bounded_and_have_one_outcome() {
    let mut alone = follower(|config| config.waiting_max = 2);
    let asked = [Request::Propose(Bytes::from("x")), Request::Sync, Request::Sync].map(|request| alone.asks(request));
    assert_eq!(alone.told.last(), Some(&Event::Refused { id: asked[2], refusal: Refusal::Overloaded }));
    let long = alone.asks(Request::Propose(vec![0; (1 << 20) + 1].into()));
    assert_eq!(alone.told.last(), Some(&Event::Refused { id: long, refusal: Refusal::TooLong }));
    alone.told.clear();
    while alone.node.role() != Role::Looking {
        alone.times_out();
    }
    let refused = Event::Refused { id: asked[1], refusal: Refusal::NoLeader };
    assert_eq!(alone.told[1..], [Event::Unknown { id: asked[0] }, refused]);
}

#[test]
fn sessions_that_are_over_are_bounded_by_the_end_of_the_reign() {
    let mut alone = Alone::new(Saved::default());
    alone.leads();
    let opens = |life| {
        let session = SessionId { life, number: 1 };
        Message::Packet(Packet { session, epoch: None, number: 0, body: Body::FollowerInfo(Epoch(0)) })
    };
    for life in 0..=1_024 {
        alone.hears(N2, opens(life));
        assert_ne!(alone.node.role(), Role::Looking, "life {life}");
    }
    alone.hears(N2, opens(1_025));
    assert_eq!(alone.node.role(), Role::Looking);
}
