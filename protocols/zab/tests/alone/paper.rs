//! *Zab* (DSN 2011), step by step where a step binds, and what ZooKeeper's elections are known for. n1 is the node; n3 leads
//! where n1 follows, n2 and n3 follow where n1 leads.

use hezong_base::{Input, RequestId, Time};
use hezong_zab::{
    Answer, Ask, Body, Config, Epoch, Event, Message, Packet, Refusal, Request, Role, Round, Saved, SessionId, Vote,
    Zxid,
};

use crate::node::{Alone, N1, N2, N3, bodies, disk, entry};

fn vote(epoch: u32, zxid: u64, leader: u64) -> Vote {
    Vote { epoch: Epoch(epoch), zxid: Some(Zxid::from_u64(zxid)), leader: hezong_base::NodeId(leader) }
}

#[test]
fn zab_2_votes_are_compared_by_epoch_then_zxid_then_name() {
    assert!(vote(1, 0x1_0000_0009, 9) < vote(2, 0x1_0000_0001, 1));
    assert!(vote(2, 0x2_0000_0004, 1) > vote(2, 0x2_0000_0003, 5));
    assert!(vote(2, 0x2_0000_0004, 3) > vote(2, 0x2_0000_0004, 2));
    assert!(Vote { zxid: None, ..vote(2, 1, 9) } < vote(2, 0x1_0000_0001, 1));
}

#[test]
fn zab_1_zxid_is_epoch_and_counter() {
    assert_eq!(Zxid::new(5, 7).as_u64(), 0x5_0000_0007);
    assert_eq!(Zxid::from_u64(0x5_ffff_ffff), Zxid::new(5, 0xffff_ffff));
    assert_eq!(Config::new(N1, [N1].into()).counter_max, 0xffff_fffe);
}

#[test]
fn zab_2_vote_lower_round_is_answered_and_higher_round_adopted() {
    let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 3)]));
    let worse = vote(1, 0x1_0000_0001, 3);
    let looking = |round: u64, vote| Message::Looking { round: Round(round), vote: Some(vote) };
    let own = vote(1, 0x1_0000_0003, 1);
    // Equal, and no better: ours stays.
    assert_eq!(alone.hears(N3, looking(1, worse)), []);
    // Equal, and better: adopted, and told to all.
    let better = vote(2, 0x1_0000_0001, 2);
    assert_eq!(alone.hears(N2, looking(1, better)), [(N2, looking(1, better)), (N3, looking(1, better))]);
    // Higher: adopted, and our own vote competes again.
    assert_eq!(alone.hears(N3, looking(4, worse)), [(N2, looking(4, own)), (N3, looking(4, own))]);
    assert_eq!(alone.node.round(), Round(4));
    // Lower: answered.
    assert_eq!(alone.hears(N2, looking(3, better)), [(N2, looking(4, own))]);
}

#[test]
fn zab_2_votes_of_an_earlier_round_do_not_count() {
    let voters = (1..=5).map(hezong_base::NodeId).collect();
    let mut alone = Alone::with(Config::new(N1, voters), Saved::default());
    let looking = |round: u64| Message::Looking { round: Round(round), vote: Some(vote(1, 0x1_0000_0001, 3)) };
    alone.hears(N2, looking(1));
    alone.hears(N3, looking(4));
    alone.times_out();
    assert_eq!(alone.node.role(), Role::Looking, "n1 and n3 are no majority of five");
    alone.hears(N2, looking(4));
    alone.times_out();
    assert_eq!(alone.node.role(), Role::Joining(N3));
}

#[test]
fn election_waits_for_a_better_vote_and_says_its_own_less_and_less_often() {
    let mut alone = Alone::new(Saved::default());
    let start = alone.now;
    let mut waits = Vec::new();
    for _ in 0..11 {
        let before = alone.now;
        alone.times_out();
        waits.push(alone.now.since(before).as_millis());
    }
    assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    assert!(alone.now > start);
    let own = Vote { epoch: Epoch(0), zxid: None, leader: N1 };
    alone.hears(N2, Message::Looking { round: Round(1), vote: Some(own) });
    let agreed = alone.now;
    alone.times_out();
    assert_eq!((alone.now.since(agreed).as_millis(), alone.node.role()), (200, Role::Preparing));
}

#[test]
fn election_ensemble_is_joined_only_on_the_leaders_own_word() {
    let mut alone = Alone::new(Saved::default());
    let settled = |leader| Message::Settled { round: Round(7), leader };
    alone.hears(N2, settled(N3));
    assert_eq!(alone.node.role(), Role::Looking);
    alone.hears(N3, settled(N3));
    assert_eq!((alone.node.role(), alone.node.round()), (Role::Joining(N3), Round(7)));
}

#[test]
fn f_1_2_follower_stores_the_epoch_then_acknowledges_it_with_its_history() {
    let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 3)]));
    alone.follows();
    alone.slow = true;
    assert_eq!(alone.leader_says(2, 0, Body::LeaderInfo), []);
    alone.stores();
    let acknowledged = Body::AckEpoch { current: Some(Epoch(1)), last: Some(Zxid::new(1, 3)) };
    assert_eq!((alone.disk.accepted, bodies(alone.sent)), (Epoch(2), vec![acknowledged]));
}

#[test]
fn f_1_2_epoch_accepted_before_is_no_acknowledgement_and_a_lower_one_is_refused() {
    let mut alone = Alone::new(disk(2, 1, &[Zxid::new(1, 3)]));
    alone.follows();
    let repeated = Body::AckEpoch { current: None, last: Some(Zxid::new(1, 3)) };
    assert_eq!(alone.leader_says(2, 0, Body::LeaderInfo), [repeated]);
    let mut alone = Alone::new(disk(2, 1, &[Zxid::new(1, 3)]));
    alone.follows();
    assert_eq!(alone.leader_says(1, 0, Body::LeaderInfo), []);
    assert_eq!((alone.node.role(), alone.node.accepted()), (Role::Looking, Epoch(2)));
}

#[test]
fn l_1_1_epoch_is_above_all_that_a_majority_has_accepted() {
    let mut alone = Alone::new(disk(1, 1, &[]));
    alone.leads();
    assert_eq!(alone.learner_says(N2, Body::FollowerInfo(Epoch(4))), [Body::LeaderInfo]);
    assert_eq!(alone.disk.accepted, Epoch(5));
}

#[test]
fn l_1_2_leader_gives_up_before_one_of_more_recent_history() {
    for (current, last) in [(2, Zxid::new(1, 1)), (1, Zxid::new(1, 4))] {
        let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 3)]));
        alone.leads();
        alone.learner_says(N2, Body::FollowerInfo(Epoch(2)));
        alone.learner_says(N2, Body::AckEpoch { current: Some(Epoch(current)), last: Some(last) });
        assert_eq!(alone.node.role(), Role::Looking, "{current} {last}");
    }
}

/// n2 had accepted the epoch from another leader. Whether n1 takes it up by that.
fn takes_up_a_repeated_epoch(prepare: impl Fn(&mut Config)) -> bool {
    let mut config = Config::new(N1, [N1, N2, N3].into());
    prepare(&mut config);
    let mut alone = Alone::with(config, Saved::default());
    alone.leads();
    alone.learner_says(N2, Body::FollowerInfo(Epoch(0)));
    alone.learner_says(N2, Body::AckEpoch { current: None, last: None });
    alone.node.current() == alone.node.accepted()
}

#[test]
fn l_1_2_answer_that_repeats_is_not_counted() {
    assert!(!takes_up_a_repeated_epoch(|_| {}));
}

#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn known_bug_repeated_epoch_counted_is_taken_for_an_acknowledgement() {
    let weakness = hezong_zab::Weakness::RepeatedEpochCounted;
    assert!(takes_up_a_repeated_epoch(|config: &mut Config| config.weakness = Some(weakness)));
    let saw = "an epoch is acknowledged once";
    println!("bug\tzab::{weakness:?}\t{}\tone node asked directly\t{saw}", weakness.origin());
}

#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn known_bug_epoch_before_stored_is_acknowledged_and_forgotten() {
    let weakness = hezong_zab::Weakness::EpochBeforeStored;
    let mut config = Config::new(N1, [N1, N2, N3].into());
    config.weakness = Some(weakness);
    let mut alone = Alone::with(config, Saved::default());
    alone.follows();
    alone.slow = true;
    assert_eq!(alone.leader_says(1, 0, Body::LeaderInfo).len(), 1);
    assert_eq!(alone.disk.accepted, Epoch(0), "after a crash it would acknowledge the same epoch of another leader");
    let saw = "what is acknowledged is on disk";
    println!("bug\tzab::{weakness:?}\t{}\tone node asked directly\t{saw}", weakness.origin());
}

#[test]
fn f_2_1_history_is_stored_then_the_epoch_then_both_are_acknowledged() {
    let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 1), Zxid::new(1, 2)]));
    alone.follows();
    alone.leader_says(3, 0, Body::LeaderInfo);
    alone.leader_says(3, 1, Body::Trunc(Some(Zxid::new(1, 1))));
    let proposal = Body::Proposal { entry: entry(Zxid::new(2, 1), "new"), request: None };
    alone.leader_says(3, 2, proposal);
    alone.slow = true;
    assert_eq!(alone.leader_says(3, 3, Body::NewLeader), []);
    let writes = alone.unstored.iter().map(|(_, write)| write.clone()).collect::<Vec<_>>();
    use hezong_zab::Write::{Append, Current, Truncate};
    let expected = [Truncate(Some(Zxid::new(1, 1))), Append(entry(Zxid::new(2, 1), "new")), Current(Epoch(3))];
    assert_eq!(writes, expected);
    alone.stores();
    assert_eq!(bodies(alone.sent), [Body::AckLeader { last: Some(Zxid::new(2, 1)) }]);
}

#[test]
fn l_2_2_history_is_committed_once_a_majority_has_it() {
    let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 3)]));
    alone.leads();
    alone.learner_says(N2, Body::FollowerInfo(Epoch(1)));
    let last = Some(Zxid::new(1, 3));
    let given = alone.learner_says(N2, Body::AckEpoch { current: Some(Epoch(1)), last: None });
    let history = Body::Proposal { entry: entry(Zxid::new(1, 3), "old"), request: None };
    assert_eq!(given, [Body::Diff, history, Body::NewLeader]);
    assert_eq!((alone.node.role(), alone.node.committed()), (Role::Preparing, None));
    let welcome = alone.learner_says(N2, Body::AckLeader { last });
    assert_eq!(welcome, [Body::UpToDate { committed: last }]);
    assert_eq!((alone.node.role(), alone.node.committed()), (Role::Leading, last));
}

#[test]
fn l_3_1_nothing_is_proposed_before_that() {
    let mut alone = Alone::new(Saved::default());
    alone.leads();
    let id = alone.asks(Request::Propose("x".into()));
    assert_eq!(alone.told.last(), Some(&Event::Refused { id, refusal: Refusal::NoLeader }));
}

#[test]
fn l_3_1_proposals_reach_a_learner_that_has_not_acknowledged_its_history_and_may_be_acknowledged_early() {
    let mut alone = Alone::new(Saved::default());
    alone.serves();
    alone.learner_says(N3, Body::FollowerInfo(Epoch(0)));
    alone.learner_says(N3, Body::AckEpoch { current: Some(Epoch(0)), last: None });
    alone.sent.clear();
    alone.asks(Request::Propose("x".into()));
    let zxid = Zxid::new(1, 1);
    let to: Vec<_> = alone.sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [N2, N3]);
    // That counts only once it has acknowledged the history.
    alone.learner_says(N3, Body::Ack(zxid));
    assert_eq!((alone.node.role(), alone.node.committed()), (Role::Leading, None));
    alone.learner_says(N3, Body::AckLeader { last: Some(zxid) });
    assert_eq!(alone.node.committed(), Some(zxid));
}

#[test]
fn sync_waits_for_what_was_proposed_before_it_and_for_a_majority() {
    let mut alone = Alone::new(Saved::default());
    alone.serves();
    alone.asks(Request::Propose("x".into()));
    let id = alone.asks(Request::Sync);
    alone.told.clear();
    alone.learner_says(N2, Body::Pong(1));
    assert_eq!(alone.told, [], "the user's own proposal is not there yet");
    alone.learner_says(N2, Body::Ack(Zxid::new(1, 1)));
    assert_eq!(alone.told.last(), Some(&Event::Synced { id }));
    let id = alone.asks(Request::Sync);
    alone.learner_says(N2, Body::Pong(1));
    assert_ne!(alone.told.last(), Some(&Event::Synced { id }), "that was said before it was asked for");
    alone.learner_says(N2, Body::Pong(2));
    assert_eq!(alone.told.last(), Some(&Event::Synced { id }));
}

#[test]
fn proposal_that_leaves_a_hole_is_not_taken_whatever_its_number() {
    for wrong in [Zxid::new(1, 2), Zxid::new(2, 1)] {
        let mut alone = Alone::new(Saved::default());
        alone.follows();
        alone.leader_says(1, 0, Body::LeaderInfo);
        alone.leader_says(1, 1, Body::Diff);
        alone.leader_says(1, 2, Body::NewLeader);
        let proposal = Body::Proposal { entry: entry(wrong, "x"), request: None };
        assert_eq!(alone.leader_says(1, 3, proposal), [], "{wrong}");
        assert_eq!((alone.node.role(), alone.node.history().last()), (Role::Looking, None), "{wrong}");
    }
}

#[test]
fn commit_of_anything_but_the_next_is_not_taken() {
    let mut alone = Alone::new(Saved::default());
    alone.follows();
    alone.leader_says(1, 0, Body::LeaderInfo);
    alone.leader_says(1, 1, Body::Diff);
    alone.leader_says(1, 2, Body::NewLeader);
    alone.leader_says(1, 3, Body::UpToDate { committed: None });
    for counter in [1, 2] {
        let proposal = Body::Proposal { entry: entry(Zxid::new(1, counter), "x"), request: None };
        alone.leader_says(1, 3 + u64::from(counter), proposal);
    }
    alone.leader_says(1, 6, Body::Commit(Zxid::new(1, 2)));
    assert_eq!((alone.node.role(), alone.node.committed()), (Role::Looking, None));
}

#[test]
fn single_voter_is_its_own_majority_once_its_disk_says_so() {
    let mut alone = Alone::with(Config::new(N1, [N1].into()), Saved::default());
    alone.slow = true;
    alone.times_out();
    assert_eq!((alone.node.role(), alone.node.current()), (Role::Preparing, Epoch(0)));
    alone.stores();
    assert_eq!((alone.node.role(), alone.node.current()), (Role::Preparing, Epoch(1)));
    alone.stores();
    assert_eq!(alone.node.role(), Role::Leading);
    alone.told.clear();
    alone.asks(Request::Propose("x".into()));
    assert_eq!(alone.told, []);
    alone.stores();
    assert_eq!(alone.told.len(), 1, "delivered");
}

#[test]
fn trunc_below_what_was_delivered_or_to_what_is_not_there_is_nonsense() {
    for to in [Zxid::new(1, 1), Zxid::new(1, 3)] {
        let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 1), Zxid::new(1, 2), Zxid::new(1, 4)]));
        alone.follows();
        alone.leader_says(2, 0, Body::LeaderInfo);
        alone.leader_says(2, 1, Body::Diff);
        alone.leader_says(2, 2, Body::NewLeader);
        alone.leader_says(2, 3, Body::UpToDate { committed: Some(Zxid::new(1, 2)) });
        alone.leader_says(2, 9, Body::Ping(0));
        alone.follows();
        alone.leader_says(3, 0, Body::LeaderInfo);
        alone.leader_says(3, 1, Body::Trunc(Some(to)));
        assert_eq!(alone.leader_says(3, 2, Body::NewLeader), []);
        assert_eq!((alone.node.role(), alone.node.history().last()), (Role::Looking, Some(Zxid::new(1, 4))), "{to}");
    }
}

#[test]
fn snap_is_acknowledged_once_it_is_installed_and_not_if_it_could_not_be() {
    for done in [true, false] {
        let mut alone = Alone::new(disk(1, 1, &[Zxid::new(1, 1)]));
        alone.follows();
        alone.leader_says(3, 0, Body::LeaderInfo);
        let (id, last) = (hezong_zab::SnapshotId(7), Zxid::new(2, 5));
        alone.leader_says(3, 1, Body::Snap { id, last });
        alone.leader_says(3, 2, Body::NewLeader);
        // What is proposed meanwhile is not lost.
        let proposal = Body::Proposal { entry: entry(Zxid::new(3, 1), "new"), request: None };
        assert_eq!(alone.leader_says(3, 3, proposal), []);
        assert_eq!(alone.asked.last().map(|(_, ask)| ask), Some(&Ask::InstallSnapshot { from: N3, id, last }));
        let said = alone.answers(Answer::Installed(done));
        if done {
            assert_eq!(said, [Body::AckLeader { last: Some(Zxid::new(3, 1)) }]);
            assert_eq!((alone.disk.history.base(), alone.disk.current), (Some(last), Epoch(3)));
        } else {
            assert_eq!((said, alone.node.role()), (vec![], Role::Looking));
            assert_eq!(alone.disk.history.last(), Some(Zxid::new(1, 1)));
        }
    }
}

#[test]
fn snap_that_nothing_leads_on_from_is_not_offered() {
    for (taken, offered) in [(Some(Zxid::new(1, 5)), true), (Some(Zxid::new(1, 4)), false), (None, false)] {
        let mut saved = disk(1, 1, &[]);
        saved.history.reset(Zxid::new(1, 5));
        let mut alone = Alone::new(saved);
        alone.leads();
        alone.learner_says(N2, Body::FollowerInfo(Epoch(0)));
        assert_eq!(alone.learner_says(N2, Body::AckEpoch { current: Some(Epoch(0)), last: None }), []);
        assert_eq!(alone.answers(Answer::Taken(taken)).is_empty(), !offered, "{taken:?}");
    }
}

#[test]
fn session_gap_ends_it_and_what_is_old_is_dropped() {
    let mut alone = Alone::new(Saved::default());
    alone.follows();
    alone.leader_says(1, 0, Body::LeaderInfo);
    alone.leader_says(1, 1, Body::Diff);
    assert_eq!(alone.leader_says(1, 1, Body::Diff), []);
    assert_eq!(alone.leader_says(1, 0, Body::LeaderInfo), []);
    assert_eq!(alone.node.role(), Role::Joining(N3));
    alone.leader_says(1, 3, Body::NewLeader);
    assert_eq!(alone.node.role(), Role::Looking);
}

#[test]
fn session_that_a_later_reign_of_the_leader_takes_for_its_own_is_not_ours() {
    let mut alone = Alone::new(Saved::default());
    alone.follows();
    alone.leader_says(1, 0, Body::LeaderInfo);
    alone.leader_says(1, 1, Body::Diff);
    // n3 leads again, and a copy of our first message has reached it only now.
    assert_eq!(alone.leader_says(2, 2, Body::Ping(0)), []);
    assert_eq!(alone.leader_says(1, 2, Body::Ping(0)), [Body::Pong(0)]);
}

#[test]
fn session_late_copies_of_its_first_message_do_not_end_it() {
    let mut alone = Alone::new(Saved::default());
    alone.serves();
    assert_eq!(alone.learner_says(N2, Body::FollowerInfo(Epoch(0))), []);
    alone.asks(Request::Propose("x".into()));
    let proposal = Body::Proposal { entry: entry(Zxid::new(1, 1), "x"), request: None };
    assert_eq!(bodies(alone.sent), [proposal]);
}

#[test]
fn session_that_is_over_is_not_opened_again() {
    let mut alone = Alone::new(Saved::default());
    alone.serves();
    let session = SessionId { life: N2.0, number: 1 };
    // A copy that comes late, of what was said before either side ended it; or from before a later life of n2.
    let late = Message::Packet(Packet { session, epoch: None, number: 0, body: Body::FollowerInfo(Epoch(0)) });
    let later = SessionId { life: 77, number: 1 };
    let anew = Message::Packet(Packet { session: later, epoch: None, number: 0, body: Body::FollowerInfo(Epoch(1)) });
    assert_eq!(bodies(alone.hears(N2, anew)), [Body::LeaderInfo]);
    assert_eq!(alone.hears(N2, late), [(N2, Message::End(session))]);
    alone.hears(N2, Message::End(later));
    let copy = Message::Packet(Packet { session: later, epoch: None, number: 0, body: Body::FollowerInfo(Epoch(1)) });
    assert_eq!(alone.hears(N2, copy), [(N2, Message::End(later))]);
}

#[test]
fn session_of_an_earlier_reign_says_nothing_in_this_one() {
    let mut alone = Alone::new(Saved::default());
    alone.leads();
    alone.learner_says(N2, Body::FollowerInfo(Epoch(4)));
    // All of it was said to n1 when it led epoch 4, and comes late.
    let late = |number, body| {
        let session = SessionId { life: N2.0, number: 1 };
        Message::Packet(Packet { session, epoch: Some(Epoch(4)), number, body })
    };
    alone.hears(N2, late(1, Body::AckEpoch { current: Some(Epoch(0)), last: None }));
    alone.hears(N2, late(2, Body::AckLeader { last: None }));
    assert_eq!((alone.node.role(), alone.node.accepted(), alone.node.current()), (Role::Preparing, Epoch(5), Epoch(0)));
}

#[test]
fn nonsense_is_dropped() {
    let mut alone = Alone::new(Saved::default());
    let edge = Zxid::new(u32::MAX, u32::MAX);
    let vote = Vote { epoch: Epoch(1), zxid: Some(edge), leader: N2 };
    let stranger = hezong_base::NodeId(9);
    for message in [
        Message::Looking { round: Round(1), vote: Some(vote) },
        Message::Looking { round: Round(u64::MAX), vote: Some(Vote { zxid: None, ..vote }) },
        Message::Looking { round: Round(1), vote: Some(Vote { zxid: None, leader: stranger, ..vote }) },
        Message::Settled { round: Round(u64::MAX), leader: N2 },
    ] {
        assert_eq!(alone.hears(N2, message.clone()), [], "{message:?}");
        assert_eq!((alone.node.role(), alone.node.round()), (Role::Looking, Round(1)), "{message:?}");
    }
    assert_eq!(
        alone.hears(stranger, Message::Looking { round: Round(9), vote: Some(Vote { zxid: None, ..vote }) }),
        []
    );
    // A leader is told what it never proposed, and by one that is not that far.
    alone.serves();
    alone.learner_says(N2, Body::Ack(Zxid::new(1, 9)));
    assert_eq!(alone.node.committed(), None);
    alone.learner_says(N3, Body::FollowerInfo(Epoch(u32::MAX)));
    alone.learner_says(N3, Body::AckLeader { last: None });
    assert_eq!(alone.node.accepted(), Epoch(1));
    alone.now = Time::from_millis(100_000);
    alone.hand(Input::Stored(hezong_base::WriteId(999)));
    alone.hand(Input::Request { id: RequestId(77), request: Request::Applied(edge) });
    assert_eq!(alone.node.history().base(), None);
}

#[test]
fn stored_of_a_write_that_was_never_issued_stores_nothing() {
    let mut alone = Alone::new(Saved::default());
    alone.serves();
    alone.slow = true;
    alone.asks(Request::Propose("x".into()));
    alone.told.clear();
    alone.learner_says(N2, Body::Ack(Zxid::new(1, 1)));
    alone.hand(Input::Stored(hezong_base::WriteId(999)));
    assert_eq!(alone.told, [], "it is not on our disk");
    alone.stores();
    assert_eq!(alone.told.len(), 1);
}

/// What is to become its history does not grow behind what it has, or reaches into an epoch that no leader can know.
#[test]
fn history_that_does_not_lead_on_is_not_taken() {
    let snap = |epoch, counter| Body::Snap { id: hezong_zab::SnapshotId(7), last: Zxid::new(epoch, counter) };
    let trunc = |counter| Body::Trunc(Some(Zxid::new(1, counter)));
    for (start, first) in [
        (Body::Diff, Some(Zxid::new(1, 2))),
        (Body::Diff, Some(Zxid::new(1, 3))),
        (Body::Diff, Some(Zxid::new(3, 1))),
        (trunc(2), Some(Zxid::new(1, 1))),
        (trunc(2), Some(Zxid::new(1, 2))),
        (snap(1, 5), Some(Zxid::new(1, 4))),
        (snap(1, 5), Some(Zxid::new(1, 5))),
        (snap(3, 1), None),
    ] {
        let had = [Zxid::new(1, 1), Zxid::new(1, 2), Zxid::new(1, 3)];
        let mut alone = Alone::new(disk(1, 1, &had));
        alone.follows();
        alone.leader_says(2, 0, Body::LeaderInfo);
        let before = alone.disk.clone();
        alone.leader_says(2, 1, start.clone());
        if let Some(zxid) = first {
            alone.leader_says(2, 2, Body::Proposal { entry: entry(zxid, "new"), request: None });
        }
        alone.leader_says(2, 2 + u64::from(first.is_some()), Body::NewLeader);
        if !alone.asked.is_empty() {
            alone.answers(Answer::Installed(true));
        }
        assert_eq!((alone.node.role(), &alone.disk), (Role::Looking, &before), "{start:?}, {first:?}");
    }
}
