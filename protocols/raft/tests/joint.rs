//! Several voters at once, through a joint membership: a test for each sentence of §6 of the paper, and random changes
//! against a dumb twin.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Cluster, entry, member, saved, voters};
use hezong_base::{Index, LogId, NodeId, RequestId, Rng, Term};
use hezong_raft::{
    Body, Change, ChangeError, Config, Entry, Event, Member, Membership, Message, Payload, ReadLevel, Refusal, Request,
    Role,
};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn several(promote: &[u64], remove: &[u64]) -> Change {
    Change::Several { promote: ids(promote.iter().copied()), remove: ids(remove.iter().copied()) }
}

/// The members 1 to `count`, of which these vote.
fn members(count: u64, voting: impl IntoIterator<Item = u64>) -> Membership {
    Membership::new(ids(voting), (1..=count).map(|id| (NodeId(id), member(id))).collect(), None)
}

/// The members 1 to 5 on the way from voters 1, 2, 3 to voters 3, 4, 5.
fn joint() -> Membership {
    members(5, [1, 2, 3]).change(&several(&[4, 5], &[1, 2])).expect("a change of four voters")
}

/// Nodes 1 to 5, of which 1, 2, 3 vote, led by node 1; the others have caught up.
fn three_of_five() -> Cluster {
    let mut cluster = Cluster::with((1..=5).map(|id| (id, saved(&members(5, [1, 2, 3]), 0, None, &[]))));
    cluster.elect(1);
    cluster.run(millis(200));
    cluster
}

/// Nodes 1 to 5, led by node 1, whose joint membership nobody else has heard of, and which hears nobody.
fn half_done() -> Cluster {
    let mut cluster = three_of_five();
    cluster.request(1, Request::Change(several(&[4, 5], &[1, 2])));
    cluster.take_all();
    cluster
}

/// Makes a node lead, and stops before anything follows from it.
fn win(cluster: &mut Cluster, id: u64) {
    cluster.now = cluster.now + millis(1_000);
    for _ in 0..10 {
        cluster.timeout(id);
        while cluster.raft(id).role() != Role::Leader && cluster.deliver_one() {}
        if cluster.raft(id).role() == Role::Leader {
            return;
        }
    }
    panic!("node {id} was not elected");
}

fn change(cluster: &mut Cluster, id: u64, change: Change) -> RequestId {
    cluster.events(id);
    cluster.request(id, Request::Change(change))
}

fn refusal(cluster: &mut Cluster, id: u64, request: RequestId) -> Option<Refusal> {
    cluster.events(id).into_iter().find_map(|event| match event {
        Event::Refused { id, refusal } if id == request => Some(refusal),
        _ => None,
    })
}

/// Everybody but these is cut off.
fn only(cluster: &mut Cluster, reachable: &[u64]) {
    cluster.cut = (1..=5).filter(|id| !reachable.contains(id)).map(NodeId).collect();
}

// §6, sentence by sentence.

#[test]
fn entries_go_to_all_servers_in_both_configurations() {
    let mut cluster = half_done();
    cluster.propose(1, "a");
    let appends = cluster.take_all();
    let to: BTreeSet<u64> =
        appends.iter().filter(|(_, _, m)| matches!(m.body, Body::Append { .. })).map(|(_, to, _)| *to).collect();
    assert_eq!(to, (2..=5).collect());
}

#[test]
fn any_server_from_either_configuration_may_lead() {
    for candidate in 1..=5 {
        let mut cluster = Cluster::with((1..=5).map(|id| (id, saved(&joint(), 1, None, &[1]))));
        win(&mut cluster, candidate);
        cluster.run(millis(500));
        let after = cluster.raft(3).membership();
        assert_eq!((after.voters(), after.is_joint()), (&ids([3, 4, 5]), false), "and leaves the joint membership");
    }
}

#[test]
fn agreement_needs_separate_majorities_of_both() {
    // Commit: 1 leads; itself and 2 are a majority of the old voters, 3 and one of 4, 5 of the new ones.
    for (reachable, enough) in
        [(&[1, 2, 3, 4][..], true), (&[1, 3, 4], true), (&[1, 2, 3], false), (&[1, 4, 5], false), (&[1, 2, 4], false)]
    {
        let mut cluster = Cluster::with((1..=5).map(|id| (id, saved(&joint(), 1, None, &[1]))));
        win(&mut cluster, 1);
        only(&mut cluster, reachable);
        let before = cluster.raft(1).announced();
        cluster.propose(1, "a");
        cluster.settle();
        assert_eq!(cluster.raft(1).announced() > before, enough, "{reachable:?}");
    }
}

#[test]
fn reads_and_lease_need_both_too() {
    // The old voters are 1, 2, 3, the new ones 1, 3, 4, 5.
    for (reachable, enough) in [(&[1, 3, 4][..], true), (&[1, 2, 3][..], false), (&[1, 4, 5][..], false)] {
        let mut cluster = three_of_five();
        cluster.request(1, Request::Change(several(&[4, 5], &[2])));
        cluster.take_all();
        only(&mut cluster, reachable);
        cluster.run(millis(950));
        let lease = cluster.raft(1).status(cluster.now).lease.is_some();
        assert_eq!(lease, enough, "{reachable:?}");
        cluster.events(1);
        let read = cluster.request(1, Request::Read(ReadLevel::Quorum));
        cluster.settle();
        let readable = |event: &Event| matches!(event, Event::Readable { id, .. } if *id == read);
        assert_eq!(cluster.events(1).iter().any(readable), enough, "{reachable:?}");
        cluster.run(millis(400));
        assert_eq!(cluster.raft(1).role() == Role::Leader, enough, "check-quorum: {reachable:?}");
    }
}

#[test]
fn new_configuration_is_used_once_it_is_in_the_log() {
    let mut cluster = half_done();
    assert!(cluster.raft(1).membership().is_joint(), "in the leader's log, committed or not");
    assert!(!cluster.raft(2).membership().is_joint());
    // Whoever has it uses it in elections as well: its own majority of the old voters does not do.
    only(&mut cluster, &[1, 2]);
    cluster.run(millis(8_000));
    assert_ne!(cluster.leader(), Some(1));
    assert_eq!(cluster.leader(), None, "2 needs the vote of 1, whose log is longer");
}

#[test]
fn leader_that_crashes_is_followed_by_one_under_either_configuration() {
    // 1 has the joint membership, and so has 3 in the second case; then 1 dies.
    for heard in [false, true] {
        let mut cluster = three_of_five();
        cluster.request(1, Request::Change(several(&[4, 5], &[1, 2])));
        let to_3 = cluster.take_to(3);
        cluster.take_all();
        for (from, message) in to_3.into_iter().filter(|_| heard) {
            cluster.receive(3, from, message.term.0, message.body);
        }
        cluster.take_all();
        cluster.crash(1);
        cluster.run(millis(6_000));
        let leader = cluster.leader().expect("a majority of each is left");
        let after = cluster.raft(leader).membership().clone();
        if heard {
            assert_eq!((leader, after.voters()), (3, &ids([3, 4, 5])), "it ends what the other began");
        } else {
            assert_eq!(after.voters(), &ids([1, 2, 3]), "as if nothing had been");
        }
        assert!(!after.is_joint());
    }
}

#[test]
fn new_configuration_cannot_decide_alone_meanwhile() {
    let mut cluster = three_of_five();
    cluster.request(1, Request::Change(several(&[4, 5], &[1, 2])));
    // All of the new voters have heard of it, none of the old ones but 3.
    let heard: Vec<_> = (3..=5).map(|id| (id, cluster.take_to(id))).collect();
    cluster.take_all();
    for (id, messages) in heard {
        for (from, message) in messages {
            cluster.receive(id, from, message.term.0, message.body);
        }
    }
    cluster.take_all();
    only(&mut cluster, &[3, 4, 5]);
    let committed = cluster.raft(3).announced();
    cluster.run(millis(8_000));
    assert!(cluster.raft(3).membership().is_joint());
    assert!((3..=5).all(|id| cluster.raft(id).role() != Role::Leader), "3 alone is no majority of 1, 2, 3");
    assert_eq!(cluster.raft(3).announced(), committed);
}

#[test]
fn second_entry_follows_once_the_first_is_committed_and_not_before() {
    let mut cluster = three_of_five();
    // What was before it may be committed first.
    cluster.propose(1, "a");
    let last = cluster.raft(1).log().last_index();
    change(&mut cluster, 1, several(&[4, 5], &[1, 2]));
    cluster.take_all();
    for id in [3, 4] {
        cluster.receive(1, id, 1, Body::Appended { matched: last });
    }
    assert_eq!(cluster.raft(1).announced(), last);
    assert!(cluster.raft(1).membership().is_joint(), "its own entry is not committed");
    let mut cluster = three_of_five();
    only(&mut cluster, &[1, 4, 5]);
    let request = change(&mut cluster, 1, several(&[4, 5], &[1, 2]));
    cluster.settle();
    let entry = cluster.events(1).into_iter().find_map(|event| match event {
        Event::Accepted { id, first, count: 1 } if id == request => Some(first),
        _ => None,
    });
    let entry = entry.expect("it was taken in");
    assert_eq!(cluster.raft(1).log().last(), Some(entry), "of the old voters only the leader has it");
    cluster.cut.clear();
    cluster.run(millis(300));
    assert_eq!(cluster.raft(3).log().membership_index(), Some(entry.index.next()));
    assert_eq!(cluster.raft(3).membership(), &joint().left().expect("it was joint"));
}

#[test]
fn several_at_once_end_to_end() {
    let mut cluster = three_of_five();
    change(&mut cluster, 1, several(&[4, 5], &[2]));
    cluster.propose(1, "a");
    cluster.run(millis(300));
    for id in [1, 3, 4, 5] {
        let membership = cluster.raft(id).membership();
        assert_eq!((membership.voters(), membership.is_joint()), (&ids([1, 3, 4, 5]), false));
        assert!(!membership.members().contains_key(&NodeId(2)));
        assert_eq!(cluster.commands(id), ["a"]);
    }
    cluster.run(millis(5_000));
    assert_eq!((cluster.leader(), cluster.raft(2).role()), (Some(1), Role::Follower), "who left disturbs nobody");
    assert_eq!(cluster.raft(2).announced(), cluster.raft(2).log().membership_index(), "and knows that it left");
}

#[test]
fn new_servers_join_as_learners_first() {
    let mut cluster = led_by_1_of_3();
    let stranger = change(&mut cluster, 1, several(&[4, 5], &[]));
    assert_eq!(refusal(&mut cluster, 1, stranger), Some(Refusal::Change(ChangeError::Unknown(NodeId(4)))));
    change(&mut cluster, 1, Change::Add(member(4)));
    cluster.run(millis(100));
    change(&mut cluster, 1, Change::Add(member(5)));
    cluster.run(millis(100));
    // 4 runs and has caught up, 5 was never started.
    let early = change(&mut cluster, 1, several(&[4, 5], &[]));
    let behind = ChangeError::Behind { id: NodeId(5), holds: 0, of: 3 };
    assert_eq!(refusal(&mut cluster, 1, early), Some(Refusal::Change(behind)));
    cluster.add(Config::new(NodeId(5)), Vec::new());
    cluster.run(millis(300));
    let ready = change(&mut cluster, 1, several(&[4, 5], &[]));
    assert_eq!(refusal(&mut cluster, 1, ready), None);
    cluster.run(millis(300));
    assert_eq!(cluster.raft(5).membership().voters(), &ids(1..=5));
}

/// Three voters led by node 1, and an empty node 4.
fn led_by_1_of_3() -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.add(Config::new(NodeId(4)), Vec::new());
    cluster.elect(1);
    cluster.run(millis(200));
    cluster
}

#[test]
fn leader_outside_the_new_configuration_leads_until_it_is_committed_without_counting_itself() {
    let mut cluster = three_of_five();
    change(&mut cluster, 1, several(&[4, 5], &[1, 2]));
    // Both entries are appended; of the new voters only one acknowledges the second.
    while cluster.raft(1).membership().is_joint() || cluster.raft(1).log().membership_index() < Some(Index(3)) {
        assert!(cluster.deliver_one());
    }
    assert_eq!(cluster.raft(1).membership().voters(), &ids([3, 4, 5]));
    only(&mut cluster, &[1, 3]);
    cluster.settle();
    assert_eq!(cluster.raft(1).announced(), Some(Index(2)), "itself and one are no majority of three others");
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    cluster.cut.clear();
    cluster.run(millis(300));
    // It hands over rather than letting the others wait.
    let leader = cluster.leader().expect("one of the new voters");
    assert!((3..=5).contains(&leader));
    assert_eq!((cluster.raft(leader).term(), cluster.raft(1).role()), (Term(2), Role::Follower));
    cluster.run(millis(5_000));
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn removed_servers_stop_voting() {
    let mut cluster = three_of_five();
    change(&mut cluster, 1, several(&[4, 5], &[2, 3]));
    cluster.run(millis(2_000));
    assert!(cluster.raft(2).announced() >= cluster.raft(2).log().membership_index(), "it knows");
    cluster.take_all();
    cluster.now = cluster.now + millis(5_000);
    let last = Some(LogId::new(9, 99));
    cluster.receive(2, 4, 9, Body::RequestPreVote { last });
    cluster.receive(2, 4, 9, Body::RequestVote { last, transfer: false });
    cluster.receive(2, 4, 9, Body::RequestVote { last, transfer: true });
    let answers = cluster.take_all();
    assert!(
        matches!(answers[..], [(2, 4, Message { body: Body::PreVote { granted: false }, .. })]),
        "its word would not count: {answers:?}"
    );
    assert_eq!(cluster.raft(2).term(), Term(1), "nor does it take over a term");
}

#[test]
fn next_step_waits_until_the_joint_membership_is_left() {
    let mut cluster = half_done();
    let pending = change(&mut cluster, 1, Change::Remove(NodeId(2)));
    assert_eq!(refusal(&mut cluster, 1, pending), Some(Refusal::ChangePending));
    assert_eq!(joint().change(&Change::Remove(NodeId(2))), Err(ChangeError::Joint));
    cluster.run(millis(300));
    let leader = cluster.leader().expect("one of the new voters");
    let next = change(&mut cluster, leader, Change::Remove(NodeId(if leader == 5 { 4 } else { 5 })));
    assert_eq!(refusal(&mut cluster, leader, next), None);
}

#[test]
fn transfer_meanwhile_leaves_the_second_entry_to_the_next_leader() {
    let mut cluster = three_of_five();
    change(&mut cluster, 1, several(&[4, 5], &[2]));
    cluster.node(3).prompt = false;
    cluster.request(1, Request::Transfer(Some(NodeId(3))));
    cluster.settle();
    assert!(cluster.raft(1).membership().is_joint(), "committed, and kept until 3 is level");
    cluster.node(3).prompt = true;
    cluster.store(3);
    cluster.run(millis(300));
    assert_eq!(cluster.leader(), Some(3));
    assert_eq!(cluster.raft(3).membership().voters(), &ids([1, 3, 4, 5]));
    assert!(!cluster.raft(3).membership().is_joint());
}

#[test]
fn transfer_given_up_meanwhile_leaves_it_to_ourselves() {
    let mut cluster = three_of_five();
    change(&mut cluster, 1, several(&[4, 5], &[2]));
    cluster.node(3).prompt = false;
    cluster.request(1, Request::Transfer(Some(NodeId(3))));
    cluster.run(millis(1_100));
    assert_eq!(cluster.leader(), Some(1));
    assert!(!cluster.raft(1).membership().is_joint());
}

// What is refused.

#[test]
fn step_that_makes_no_sense_names_what_is_wrong() {
    let four = members(4, [1, 2, 3]);
    let cases = [
        (several(&[2], &[]), ChangeError::Votes(NodeId(2))),
        (several(&[9], &[]), ChangeError::Unknown(NodeId(9))),
        (several(&[4], &[9]), ChangeError::Unknown(NodeId(9))),
        (several(&[4], &[4]), ChangeError::Both(NodeId(4))),
        (several(&[], &[1, 2, 3]), ChangeError::LastVoter(NodeId(1))),
    ];
    for (step, error) in cases {
        assert_eq!(four.change(&step), Err(error), "{step:?}");
    }
}

#[test]
fn step_of_one_voter_is_not_joint() {
    let four = members(4, [1, 2, 3]);
    for (step, voting, count) in
        [(several(&[4], &[]), ids(1..=4), 4), (several(&[], &[2]), ids([1, 3]), 3), (several(&[], &[4]), ids(1..=3), 3)]
    {
        let next = four.change(&step).expect("it makes sense");
        assert_eq!((next.voters(), next.is_joint(), next.members().len()), (&voting, false, count));
        assert_eq!(next.left(), None);
    }
}

#[test]
fn removal_below_a_reachable_majority_is_refused_with_the_numbers() {
    let mut cluster = led_by_1_of_3();
    cluster.cut = vec![NodeId(3)];
    cluster.run(millis(1_500));
    let live = change(&mut cluster, 1, Change::Remove(NodeId(2)));
    let error = ChangeError::NoMajority { voters: 2, reachable: 1 };
    assert_eq!(refusal(&mut cluster, 1, live), Some(Refusal::Change(error.clone())));
    assert_eq!(
        error.to_string(),
        "2 voters would be left, 1 of them reachable, and 2 are needed for a majority; bring others back first, or remove \
         those that cannot be reached"
    );
    let dead = change(&mut cluster, 1, Change::Remove(NodeId(3)));
    assert_eq!(refusal(&mut cluster, 1, dead), None, "the dead one may go");
}

// RAFT-14: a dead node is replaced.

#[test]
fn raft_14_dead_node_is_replaced_with_a_majority_at_every_step() {
    let mut cluster = led_by_1_of_3();
    cluster.crash(2);
    cluster.run(millis(1_500));
    change(&mut cluster, 1, Change::Add(member(4)));
    cluster.run(millis(200));
    assert!(!cluster.raft(1).membership().is_voter(NodeId(4)), "a learner first");
    change(&mut cluster, 1, several(&[4], &[2]));
    let before = cluster.raft(1).announced();
    cluster.propose(1, "meanwhile");
    cluster.run(millis(200));
    assert!(cluster.raft(1).announced() > before);
    for id in [1, 3, 4] {
        assert_eq!(cluster.raft(id).membership().voters(), &ids([1, 3, 4]));
        assert_eq!(cluster.commands(id), ["meanwhile"]);
    }
    // Whoever was replaced and comes back finds nobody who counts on it.
    cluster.start(2);
    cluster.run(millis(5_000));
    assert_eq!(cluster.leader(), Some(1));
    assert_ne!(cluster.raft(2).role(), Role::Leader);
}

// Against a dumb twin: what decides is found by looking at all sets of nodes.

/// Whether these alone can decide.
fn decides(members: &Membership, those: &BTreeSet<NodeId>) -> bool {
    let more_than_half = |set: &BTreeSet<NodeId>| 2 * set.iter().filter(|id| those.contains(id)).count() > set.len();
    more_than_half(members.voters()) && (members.outgoing().is_empty() || more_than_half(members.outgoing()))
}

fn subsets() -> impl Iterator<Item = BTreeSet<NodeId>> {
    (0_u64..1 << 6).map(|bits| ids((1..=6).filter(|id| bits >> (id - 1) & 1 == 1)))
}

fn random_set(rng: &mut Rng) -> BTreeSet<NodeId> {
    ids((1..=6).filter(|_| rng.chance(300)))
}

#[test]
fn twin_sets_that_decide_before_and_after_a_step_meet() {
    let mut rng = Rng::new(3);
    let (mut joints, mut plain) = (0, 0);
    for _ in 0..1_500 {
        let mut now = members(6, 1..=1 + rng.below(6));
        for _ in 0..6 {
            let step = match rng.below(3) {
                0 => Change::Several { promote: random_set(&mut rng), remove: random_set(&mut rng) },
                1 => Change::Promote(NodeId(1 + rng.below(6))),
                _ => Change::Remove(NodeId(1 + rng.below(6))),
            };
            let Some(next) = now.left().or_else(|| now.change(&step).ok()) else { continue };
            let after: Vec<_> = subsets().filter(|those| decides(&next, those)).collect();
            for those in subsets().filter(|those| decides(&now, those)) {
                assert!(after.iter().all(|others| !those.is_disjoint(others)), "{now:?} and {next:?} by {step:?}");
            }
            assert!(next.voters().iter().chain(next.outgoing()).all(|id| next.members().contains_key(id)));
            *(if next.is_joint() { &mut joints } else { &mut plain }) += 1;
            now = next;
        }
    }
    assert!(joints > 100 && plain > 100, "{joints} joint, {plain} others");
}

#[test]
fn twin_elections_and_commits_are_decided_by_who_decides() {
    let mut rng = Rng::new(4);
    let (mut won, mut lost) = (0, 0);
    for _ in 0..2_000 {
        let voting = random_set(&mut rng);
        let all: Vec<(NodeId, Member)> = (1..=6).map(|id| (NodeId(id), member(id))).collect();
        let membership = Membership::new(voting, all.into_iter().collect(), None).with_outgoing(random_set(&mut rng));
        if !membership.is_voter(NodeId(1)) || membership.voters().is_empty() {
            continue;
        }
        let yes: BTreeSet<NodeId> = random_set(&mut rng).into_iter().chain([NodeId(1)]).collect();
        let mut cluster = Cluster::with([(1, saved(&membership, 1, None, &[1]))]);
        cluster.run(millis(1_000));
        while cluster.raft(1).role() == Role::Follower {
            cluster.timeout(1);
        }
        for id in yes.iter().filter(|id| id.0 != 1) {
            cluster.receive(1, id.0, 2, Body::PreVote { granted: true });
        }
        for id in yes.iter().filter(|id| id.0 != 1) {
            cluster.receive(1, id.0, 2, Body::Vote { granted: true });
        }
        let expected = decides(&membership, &yes);
        assert_eq!(cluster.raft(1).role() == Role::Leader, expected, "{membership:?} by {yes:?}");
        if !expected {
            lost += 1;
            continue;
        }
        won += 1;
        let acks: BTreeSet<NodeId> = random_set(&mut rng).into_iter().chain([NodeId(1)]).collect();
        for id in acks.iter().filter(|id| id.0 != 1) {
            cluster.receive(1, id.0, 2, Body::Appended { matched: Some(Index(2)) });
        }
        let committed = cluster.raft(1).announced() >= Some(Index(2));
        assert_eq!(committed, decides(&membership, &acks), "{membership:?} by {acks:?}");
    }
    assert!(won > 60 && lost > 60, "{won} won, {lost} lost");
}

#[test]
fn joint_membership_survives_a_restart() {
    let mut cluster = three_of_five();
    change(&mut cluster, 1, several(&[4, 5], &[1, 2]));
    assert!(matches!(
        cluster.node(1).disk.last(),
        Some(hezong_raft::Write::Append(entries))
            if matches!(&entries.last().expect("one").payload, Payload::Membership(members) if members.is_joint())
    ));
    cluster.take_all();
    cluster.crash(1);
    cluster.start(1);
    assert_eq!(cluster.raft(1).membership(), &joint());
    let mut alone = voters(3);
    alone = alone.change(&several(&[], &[2, 3])).expect("two leave");
    assert!(alone.is_joint());
    assert_eq!(alone.left().expect("it was joint").voters(), &ids([1]));
}

/// Node 2 led term 2, had one entry with the learners alone, and is gone for good. Node 1 led term 1, and alone has the
/// entry by which the learners vote. Neither node 1 nor node 3 can be elected: what the learners have is newer.
#[test]
fn learner_whose_vote_is_counted_on_leads_when_nobody_else_can_and_leaves_it_to_a_voter() {
    let old = members(6, 1..=3);
    let joint = old.change(&several(&[4, 5, 6], &[])).expect("three come");
    let mut disks: Vec<_> = (1..=6).map(|id| (id, saved(&old, 2, None, if id > 3 { &[1, 2] } else { &[1] }))).collect();
    let entry = Entry { payload: Payload::Membership(joint), ..entry(1, 2) };
    disks[0].1.push(hezong_raft::Write::Append(vec![entry].into()));
    let mut cluster = Cluster::with(disks);
    cluster.crash(2);
    cluster.run(millis(20_000));
    let leader = cluster.leader().expect("somebody leads");
    assert!([1, 3].contains(&leader), "{leader}");
    for id in [1, 3, 4, 5, 6] {
        assert_eq!(cluster.commands(id), ["1@1", "2@2"], "node {id}");
    }
}
