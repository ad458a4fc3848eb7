//! The paper, line by line: "In Search of an Understandable Consensus Algorithm" (extended version), figure 2 from top to
//! bottom, then figures 7 and 8. A test's name begins with the box of figure 2 it stands in.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Cluster, entries, entry, saved, voters};
use hezong_base::{Index, LogId, NodeId, Term, Time};
use hezong_raft::{Body, Entry, Event, Message, Role};

const HEARTBEAT: Duration = Duration::from_millis(100);

/// Node 1 of a group of `count`, alone at the table: the test plays all others. Its term and log are given.
fn alone(count: u64, term: u64, terms: &[u64]) -> Cluster {
    let mut cluster = Cluster::with([(1, saved(&voters(count), term, None, terms))]);
    // Whatever it may have promised before it restarted has passed; its own timer runs out one timeout later.
    cluster.now = cluster.now + Duration::from_millis(950);
    cluster
}

/// Lets node 1 miss its leader and win the pre-vote.
fn make_candidate(cluster: &mut Cluster) {
    while cluster.raft(1).role() == Role::Follower {
        cluster.timeout(1);
    }
    let asked = cluster.take_all();
    let term = asked.first().map_or(0, |(_, _, message)| message.term.0);
    assert!(asked.iter().all(|(_, _, message)| matches!(message.body, Body::RequestPreVote { .. })), "{asked:?}");
    for (_, to, _) in asked {
        cluster.receive(1, to, term, Body::PreVote { granted: true });
    }
    assert_eq!(cluster.raft(1).role(), Role::Candidate);
}

/// Lets node 1 win an election; what it said when it won stays on the wire.
fn make_leader(cluster: &mut Cluster) {
    make_candidate(cluster);
    let term = cluster.raft(1).term().0;
    let asked = cluster.take_all();
    for (_, to, _) in asked {
        cluster.receive(1, to, term, Body::Vote { granted: true });
    }
    assert_eq!(cluster.raft(1).role(), Role::Leader);
}

fn append(previous: Option<LogId>, entries: Vec<Entry>, committed: Option<u64>) -> Body {
    Body::Append { previous, entries: entries.into(), committed: committed.map(Index) }
}

fn heartbeat(round: u64) -> Body {
    Body::Heartbeat { round, lease: Duration::from_millis(900), committed: None }
}

/// The only message under way, which must be for `to`.
fn only_answer(cluster: &mut Cluster, to: u64) -> Message {
    let all = cluster.take_all();
    assert_eq!(all.len(), 1, "{all:?}");
    let (from, receiver, message) = all.into_iter().next().expect("there is one");
    assert_eq!((from, receiver), (1, to));
    message
}

/// When node 1's timer runs out.
fn due(cluster: &Cluster) -> Time {
    cluster.deadline(1).expect("a voter's timer runs")
}

fn committed(cluster: &Cluster) -> Option<u64> {
    cluster.raft(1).status(cluster.now).committed.map(|index| index.0)
}

// State.

#[test]
fn state_term_vote_and_log_survive_a_crash() {
    let mut cluster = alone(3, 4, &[1, 4]);
    cluster.receive(1, 2, 5, Body::RequestVote { last: Some(LogId::new(4, 2)), transfer: false });
    cluster.receive(1, 2, 5, append(Some(LogId::new(4, 2)), vec![entry(5, 3)], None));
    let before = cluster.raft(1).status(cluster.now);
    cluster.crash(1);
    cluster.start(1);
    let after = cluster.raft(1).status(cluster.now);
    assert_eq!((before.term, before.vote, before.last), (Term(5), Some(NodeId(2)), Some(LogId::new(5, 3))));
    assert_eq!((after.term, after.vote, after.last), (before.term, before.vote, before.last));
}

#[test]
fn state_is_on_disk_before_any_answer() {
    let mut cluster = alone(3, 4, &[1, 4]);
    cluster.node(1).prompt = false;
    cluster.receive(1, 2, 5, Body::RequestVote { last: Some(LogId::new(4, 2)), transfer: false });
    assert!(cluster.take_all().is_empty(), "a vote waits for the disk");
    cluster.receive(1, 2, 5, append(Some(LogId::new(4, 2)), vec![entry(5, 3)], None));
    assert!(cluster.take_all().is_empty(), "an acknowledgement waits for the disk");
    cluster.store_one(1);
    assert_eq!(only_answer(&mut cluster, 2).body, Body::Vote { granted: true });
    cluster.store_one(1);
    assert_eq!(only_answer(&mut cluster, 2).body, Body::Appended { matched: Some(Index(3)) });
}

#[test]
fn state_write_of_a_truncated_entry_does_not_count_for_its_successor() {
    // ABA: indices 2 and 3 are written, truncated and written anew; the first write's report is about the old ones.
    let mut cluster = alone(3, 3, &[1]);
    cluster.node(1).prompt = false;
    cluster.receive(1, 2, 3, append(Some(LogId::new(1, 1)), vec![entry(3, 2), entry(3, 3)], None));
    cluster.receive(1, 3, 4, append(Some(LogId::new(1, 1)), vec![entry(4, 2), entry(4, 3)], Some(3)));
    cluster.store_one(1);
    assert_eq!(cluster.raft(1).status(cluster.now).stored, Some(Index(1)));
    assert!(cluster.commands(1).iter().all(|command| command == "1@1"));
    let told = cluster.take_to(3);
    assert!(told.is_empty(), "the new leader is told nothing yet: {told:?}");
    cluster.store(1);
    assert_eq!(cluster.take_to(3)[0].1.body, Body::Appended { matched: Some(Index(3)) });
    assert_eq!(cluster.commands(1), ["1@1", "2@4", "3@4"]);
}

#[test]
fn state_own_vote_counts_once_it_is_on_disk() {
    let mut cluster = Cluster::with([(1, Vec::new())]);
    cluster.node(1).prompt = false;
    cluster.request(1, hezong_raft::Request::Bootstrap(voters(1)));
    cluster.store_one(1);
    assert_eq!(cluster.raft(1).role(), Role::Candidate, "the members are on disk, the vote is not");
    cluster.store_one(1);
    assert_eq!(cluster.raft(1).role(), Role::Leader);
}

#[test]
fn state_committed_starts_from_nothing_and_only_grows() {
    let mut cluster = alone(3, 1, &[1, 1, 1]);
    assert_eq!(committed(&cluster), None);
    cluster.receive(1, 2, 1, append(Some(LogId::new(1, 3)), vec![], Some(3)));
    cluster.receive(1, 2, 1, append(Some(LogId::new(1, 2)), vec![], Some(1)));
    assert_eq!(committed(&cluster), Some(3));
}

#[test]
fn state_leader_starts_behind_its_last_entry_and_knows_no_match() {
    let mut cluster = alone(3, 2, &[1, 2]);
    make_leader(&mut cluster);
    let appended: Vec<_> =
        cluster.take_all().into_iter().filter(|(.., m)| matches!(m.body, Body::Append { .. })).collect();
    assert_eq!(appended.len(), 2);
    for (_, _, message) in appended {
        let Body::Append { previous, .. } = message.body else { unreachable!("filtered above") };
        assert_eq!(previous, Some(LogId::new(2, 2)), "nextIndex starts at last log index + 1");
    }
    let status = cluster.raft(1).status(cluster.now);
    assert!(status.progress.iter().all(|(_, matched, _)| matched.is_none()), "matchIndex starts at 0");
}

// AppendEntries RPC, receiver.

#[test]
fn append_1_smaller_term_is_refused() {
    let mut cluster = alone(3, 5, &[1]);
    cluster.receive(1, 2, 4, append(Some(LogId::new(1, 1)), vec![entry(4, 2)], Some(1)));
    assert_eq!(only_answer(&mut cluster, 2), Message { term: Term(5), body: Body::Appended { matched: None } });
    assert_eq!((cluster.terms(1), committed(&cluster)), (vec![1], None));
    assert_eq!(cluster.raft(1).leader(), None);
}

#[test]
fn append_2_missing_or_other_previous_is_refused() {
    // Ours is [1, 1, 3]; the hint is the last of ours that may be in both logs.
    for (previous, hint) in [
        (LogId::new(3, 4), LogId::new(3, 3)),
        (LogId::new(4, 3), LogId::new(3, 3)),
        (LogId::new(2, 3), LogId::new(1, 2)),
        (LogId::new(5, 9), LogId::new(3, 3)),
    ] {
        let mut cluster = alone(3, 5, &[1, 1, 3]);
        cluster.receive(1, 2, 5, append(Some(previous), vec![], Some(1)));
        assert_eq!(only_answer(&mut cluster, 2).body, Body::Diverged { previous, hint: Some(hint) });
        assert_eq!((cluster.terms(1), committed(&cluster)), (vec![1, 1, 3], None), "nothing moved");
    }
}

#[test]
fn append_3_conflict_deletes_it_and_all_that_follow() {
    let mut cluster = alone(3, 4, &[1, 1, 2, 2, 2]);
    cluster.receive(1, 2, 4, append(Some(LogId::new(1, 2)), vec![entry(3, 3)], None));
    assert_eq!(cluster.terms(1), [1, 1, 3]);
    assert_eq!(only_answer(&mut cluster, 2).body, Body::Appended { matched: Some(Index(3)) });
}

#[test]
fn append_4_only_what_is_new_is_appended() {
    let mut cluster = alone(3, 2, &[1, 1, 2]);
    let writes = cluster.node(1).disk.len();
    // A late duplicate of an earlier, shorter append: what came after it stays.
    cluster.receive(1, 2, 2, append(None, entries(&[1, 1]), None));
    assert_eq!(only_answer(&mut cluster, 2).body, Body::Appended { matched: Some(Index(2)) });
    assert_eq!((cluster.terms(1), cluster.node(1).disk.len()), (vec![1, 1, 2], writes), "nothing was written");
    cluster.receive(1, 2, 2, append(Some(LogId::new(1, 1)), vec![entry(1, 2), entry(2, 3), entry(2, 4)], None));
    assert_eq!(cluster.terms(1), [1, 1, 2, 2]);
    assert_eq!(cluster.node(1).disk.last(), Some(&hezong_raft::Write::Append(vec![entry(2, 4)].into())));
}

#[test]
fn append_5_commit_is_the_lesser_of_leaders_and_last_new() {
    for (leaders, ours) in [(None, None), (Some(1), Some(1)), (Some(2), Some(2)), (Some(9), Some(2))] {
        // The third entry may differ from the leader's: the message vouches for two only.
        let mut cluster = alone(3, 2, &[1, 1, 1]);
        cluster.receive(1, 2, 2, append(None, entries(&[1, 1]), leaders));
        assert_eq!(committed(&cluster), ours);
    }
}

// RequestVote RPC, receiver.

#[test]
fn vote_1_smaller_term_is_refused() {
    let mut cluster = alone(3, 5, &[1]);
    cluster.receive(1, 2, 4, Body::RequestVote { last: Some(LogId::new(4, 9)), transfer: false });
    assert_eq!(only_answer(&mut cluster, 2), Message { term: Term(5), body: Body::Vote { granted: false } });
}

#[test]
fn vote_2_is_given_once_a_term() {
    let mut cluster = alone(3, 1, &[1]);
    let ask = Body::RequestVote { last: Some(LogId::new(1, 1)), transfer: false };
    for (from, term, granted) in [(2, 2, true), (3, 2, false), (2, 2, true), (3, 3, true), (2, 3, false)] {
        cluster.receive(1, from, term, ask.clone());
        assert_eq!(only_answer(&mut cluster, from), Message { term: Term(term), body: Body::Vote { granted } });
    }
}

#[test]
fn vote_2_is_not_given_twice_across_a_crash() {
    let mut cluster = alone(3, 1, &[1]);
    let ask = Body::RequestVote { last: Some(LogId::new(1, 1)), transfer: false };
    cluster.receive(1, 2, 2, ask.clone());
    cluster.crash(1);
    cluster.start(1);
    cluster.now = cluster.now + Duration::from_millis(950);
    cluster.take_all();
    cluster.receive(1, 3, 2, ask);
    assert_eq!(only_answer(&mut cluster, 3).body, Body::Vote { granted: false });
}

#[test]
fn vote_2_only_to_a_log_at_least_as_up_to_date() {
    // Ours ends in 3@2: a later term wins, in the same term the longer log (§5.4.1).
    for (last, granted) in [
        (None, false),
        (Some(LogId::new(1, 9)), false),
        (Some(LogId::new(2, 2)), false),
        (Some(LogId::new(2, 3)), true),
        (Some(LogId::new(2, 4)), true),
        (Some(LogId::new(3, 1)), true),
    ] {
        let mut cluster = alone(3, 3, &[1, 2, 2]);
        cluster.receive(1, 2, 4, Body::RequestPreVote { last });
        assert_eq!(only_answer(&mut cluster, 2).body, Body::PreVote { granted }, "{last:?}");
        cluster.receive(1, 2, 4, Body::RequestVote { last, transfer: false });
        assert_eq!(only_answer(&mut cluster, 2).body, Body::Vote { granted }, "{last:?}");
    }
}

// Rules for servers: all.

#[test]
fn all_1_committed_entries_are_delivered_in_order_once() {
    let mut cluster = alone(3, 1, &[]);
    cluster.receive(1, 2, 1, append(None, entries(&[1, 1, 1]), Some(2)));
    cluster.receive(1, 2, 1, append(None, entries(&[1, 1, 1]), Some(3)));
    assert_eq!(cluster.commands(1), ["1@1", "2@1", "3@1"]);
}

#[test]
fn all_1_nothing_is_delivered_that_is_not_on_our_disk() {
    let mut cluster = alone(3, 1, &[]);
    cluster.node(1).prompt = false;
    cluster.receive(1, 2, 1, append(None, entries(&[1, 1]), Some(2)));
    assert!(cluster.commands(1).is_empty());
    cluster.store(1);
    assert_eq!(cluster.commands(1), ["1@1", "2@1"]);
}

#[test]
fn all_2_larger_term_makes_a_follower_of_every_role() {
    let later = |body: Body| Message { term: Term(9), body };
    let told = [
        later(append(None, vec![], None)),
        later(heartbeat(1)),
        later(Body::RequestVote { last: None, transfer: false }),
        later(Body::Vote { granted: false }),
        later(Body::PreVote { granted: false }),
        later(Body::Appended { matched: None }),
        later(Body::Diverged { previous: LogId::new(1, 1), hint: None }),
        later(Body::HeartbeatAck { round: 1, lease: Duration::ZERO }),
        later(Body::ReadIndex { token: 1 }),
        later(Body::ReadIndexAck { token: 1, index: None }),
    ];
    let roles: [fn(&mut Cluster); 3] = [|_| {}, make_candidate, make_leader];
    for message in told {
        for make in roles {
            let mut cluster = alone(3, 1, &[1]);
            make(&mut cluster);
            cluster.receive(1, 2, message.term.0, message.body.clone());
            assert_eq!(cluster.raft(1).term(), Term(9), "{message:?}");
            assert_eq!(cluster.raft(1).role(), Role::Follower, "{message:?}");
        }
    }
}

// Followers.

#[test]
fn follower_timeout_without_leader_campaigns() {
    let mut cluster = alone(3, 1, &[1]);
    make_candidate(&mut cluster);
    assert_eq!(cluster.raft(1).term(), Term(2));
}

#[test]
fn follower_waits_for_one_timeout_and_up_to_a_fifth_more() {
    let mut spread = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut cluster = alone(3, 1, &[1]);
        cluster.crash(1);
        cluster.rng = hezong_base::Rng::new(seed);
        cluster.start(1);
        cluster.receive(1, 2, 1, heartbeat(1));
        let wait = due(&cluster).since(cluster.now);
        assert!((1_000..1_200).contains(&wait.as_millis()), "{wait:?}");
        spread.insert(wait);
    }
    assert!(spread.len() > 50, "waits are drawn at random, or votes split for ever");
}

#[test]
fn follower_timer_starts_anew_for_the_leader_and_for_a_vote_given() {
    let restarts: [(Body, bool); 5] = [
        (heartbeat(1), true),
        (append(Some(LogId::new(1, 1)), vec![], None), true),
        (Body::RequestVote { last: Some(LogId::new(1, 1)), transfer: false }, true),
        (Body::RequestVote { last: None, transfer: false }, false),
        (Body::RequestPreVote { last: Some(LogId::new(1, 1)) }, false),
    ];
    for (body, anew) in restarts {
        let mut cluster = alone(3, 2, &[1]);
        let before = due(&cluster);
        cluster.now = cluster.now.max(before - Duration::from_millis(1));
        cluster.receive(1, 2, 2, body.clone());
        assert_eq!(due(&cluster) >= cluster.now + Duration::from_millis(1_000), anew, "{body:?}");
    }
}

// Candidates.

#[test]
fn candidate_enters_a_term_votes_for_itself_and_asks_everybody() {
    let mut cluster = alone(5, 3, &[1, 3]);
    make_candidate(&mut cluster);
    let status = cluster.raft(1).status(cluster.now);
    assert_eq!((status.term, status.vote), (Term(4), Some(NodeId(1))));
    assert!(due(&cluster) > cluster.now, "its timer runs anew");
    let asked = cluster.take_all();
    let ask = Message { term: Term(4), body: Body::RequestVote { last: Some(LogId::new(3, 2)), transfer: false } };
    assert_eq!(asked, (2..=5).map(|to| (1, to, ask.clone())).collect::<Vec<_>>());
}

#[test]
fn candidate_asks_only_once_its_term_is_on_disk() {
    let mut cluster = alone(3, 3, &[1, 3]);
    cluster.node(1).prompt = false;
    make_candidate(&mut cluster);
    assert!(cluster.take_all().is_empty());
    cluster.store(1);
    assert_eq!(cluster.take_all().len(), 2);
}

#[test]
fn candidate_leads_with_a_majority_and_not_before() {
    let mut cluster = alone(5, 1, &[1]);
    make_candidate(&mut cluster);
    cluster.receive(1, 2, 2, Body::Vote { granted: true });
    cluster.receive(1, 2, 2, Body::Vote { granted: true });
    assert_eq!(cluster.raft(1).role(), Role::Candidate, "one voter counts once");
    cluster.receive(1, 3, 1, Body::Vote { granted: true });
    assert_eq!(cluster.raft(1).role(), Role::Candidate, "a vote of another term counts for nothing");
    cluster.receive(1, 9, 2, Body::Vote { granted: true });
    assert_eq!(cluster.raft(1).role(), Role::Candidate, "nor does a stranger's");
    cluster.receive(1, 4, 2, Body::Vote { granted: false });
    cluster.receive(1, 5, 2, Body::Vote { granted: true });
    assert_eq!(cluster.raft(1).role(), Role::Leader);
}

#[test]
fn candidate_hears_the_new_leader_and_follows() {
    for body in [append(Some(LogId::new(1, 1)), vec![], None), heartbeat(1)] {
        let mut cluster = alone(3, 1, &[1]);
        make_candidate(&mut cluster);
        cluster.receive(1, 2, 2, body);
        assert_eq!((cluster.raft(1).role(), cluster.raft(1).leader()), (Role::Follower, Some(NodeId(2))));
    }
}

#[test]
fn candidate_timeout_starts_a_new_election() {
    let mut cluster = alone(3, 1, &[1]);
    make_candidate(&mut cluster);
    cluster.take_all();
    cluster.timeout(1);
    assert_eq!(cluster.raft(1).role(), Role::PreCandidate);
    make_candidate(&mut cluster);
    assert_eq!(cluster.raft(1).term(), Term(3));
}

#[test]
fn pre_vote_leaves_no_trace() {
    // §9.6 of the dissertation: whoever is cut off asks for ever without disturbing the term.
    let mut cluster = alone(3, 1, &[1]);
    for _ in 0..20 {
        cluster.timeout(1);
    }
    assert_eq!(cluster.raft(1).term(), Term(1));
    cluster.take_all();
    cluster.receive(1, 2, 7, Body::RequestPreVote { last: Some(LogId::new(1, 1)) });
    assert_eq!(only_answer(&mut cluster, 2), Message { term: Term(7), body: Body::PreVote { granted: true } });
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).status(cluster.now).vote), (Term(1), None));
}

#[test]
fn pre_vote_is_refused_while_a_leader_lives() {
    let ask = Body::RequestPreVote { last: Some(LogId::new(9, 9)) };
    // A follower that heard its leader less than a timeout ago, lease or no lease.
    let mut cluster = alone(3, 1, &[1]);
    cluster.receive(1, 2, 1, Body::Heartbeat { round: 1, lease: Duration::ZERO, committed: None });
    cluster.take_all();
    cluster.now = cluster.now + Duration::from_millis(999);
    cluster.receive(1, 3, 2, ask.clone());
    assert_eq!(only_answer(&mut cluster, 3), Message { term: Term(1), body: Body::PreVote { granted: false } });
    cluster.now = cluster.now + Duration::from_millis(1);
    cluster.receive(1, 3, 2, ask.clone());
    assert_eq!(only_answer(&mut cluster, 3), Message { term: Term(2), body: Body::PreVote { granted: true } });
    // The leader itself, whom check-quorum would have ended if it were cut off.
    let mut cluster = alone(3, 1, &[1]);
    make_leader(&mut cluster);
    cluster.take_all();
    cluster.receive(1, 3, 9, ask);
    assert_eq!(only_answer(&mut cluster, 3), Message { term: Term(2), body: Body::PreVote { granted: false } });
}

// Leaders.

#[test]
fn leader_makes_itself_heard_at_once_and_while_idle() {
    let mut cluster = alone(3, 1, &[1]);
    make_leader(&mut cluster);
    let beats = |cluster: &mut Cluster| {
        let all = cluster.take_all();
        all.iter().filter(|(.., message)| matches!(message.body, Body::Heartbeat { .. })).count()
    };
    assert_eq!(beats(&mut cluster), 2);
    for _ in 0..5 {
        let before = cluster.now;
        cluster.timeout(1);
        assert!(cluster.now.since(before) <= HEARTBEAT);
        assert_eq!(beats(&mut cluster), 2);
    }
}

#[test]
fn leader_answers_a_command_once_it_is_committed() {
    let mut cluster = alone(3, 1, &[]);
    make_leader(&mut cluster);
    cluster.take_all();
    let id = cluster.propose(1, "a");
    let first = LogId::new(2, 2);
    assert!(cluster.events(1).contains(&Event::Accepted { id, first, count: 1 }));
    assert!(cluster.commands(1).is_empty());
    cluster.receive(1, 2, 2, Body::Appended { matched: Some(Index(2)) });
    assert_eq!(cluster.commands(1), ["a"]);
}

#[test]
fn leader_sends_what_follows_next_and_moves_on_with_each_answer() {
    let mut cluster = alone(3, 1, &[]);
    make_leader(&mut cluster);
    cluster.take_all();
    cluster.receive(1, 2, 2, Body::Appended { matched: Some(Index(1)) });
    cluster.take_all();
    // The logs agree: appends follow each other without waiting for answers.
    for index in 2..=4 {
        cluster.propose(1, "a");
        let sent = cluster.take_to(2);
        let [(1, Message { body: Body::Append { previous, entries, .. }, .. })] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(*previous, Some(LogId::new(2, index - 1)));
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [LogId::new(2, index)]);
        cluster.take_all();
    }
    cluster.receive(1, 2, 2, Body::Appended { matched: Some(Index(4)) });
    let matched = |cluster: &Cluster| cluster.raft(1).status(cluster.now).progress[0].1;
    assert_eq!(matched(&cluster), Some(Index(4)));
    cluster.receive(1, 2, 2, Body::Appended { matched: Some(Index(3)) });
    assert_eq!(matched(&cluster), Some(Index(4)), "a late answer takes nothing back");
}

#[test]
fn leader_goes_back_on_a_rejection_and_tries_again() {
    let mut cluster = alone(3, 4, &[1, 1, 3, 4]);
    make_leader(&mut cluster);
    cluster.take_all();
    let (previous, hint) = (LogId::new(4, 4), Some(LogId::new(2, 3)));
    cluster.receive(1, 2, 5, Body::Diverged { previous, hint });
    let sent = cluster.take_to(2);
    let [(1, Message { body: Body::Append { previous, entries, .. }, .. })] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*previous, Some(LogId::new(1, 2)), "the whole of term 3 is skipped");
    assert_eq!(entries.len(), 3);
    // The same rejection once more answers no probe that is under way.
    cluster.receive(1, 2, 5, Body::Diverged { previous: LogId::new(4, 4), hint });
    assert!(cluster.take_to(2).is_empty());
}

#[test]
fn leader_commits_what_a_majority_holds() {
    let mut cluster = alone(5, 1, &[]);
    make_leader(&mut cluster);
    cluster.propose(1, "a");
    cluster.receive(1, 2, 2, Body::Appended { matched: Some(Index(2)) });
    assert_eq!(committed(&cluster), None);
    cluster.receive(1, 3, 2, Body::Appended { matched: Some(Index(1)) });
    assert_eq!(committed(&cluster), Some(1));
    cluster.receive(1, 4, 2, Body::Appended { matched: Some(Index(2)) });
    assert_eq!(committed(&cluster), Some(2));
}

#[test]
fn leader_counts_itself_only_once_its_own_disk_has_the_entry() {
    let mut cluster = alone(3, 1, &[]);
    make_leader(&mut cluster);
    cluster.node(1).prompt = false;
    cluster.propose(1, "a");
    cluster.receive(1, 2, 2, Body::Appended { matched: Some(Index(2)) });
    assert_eq!(committed(&cluster), Some(1));
    cluster.store(1);
    assert_eq!(committed(&cluster), Some(2));
}

#[test]
fn leader_commits_on_followers_alone_but_delivers_only_what_it_stored() {
    let mut cluster = alone(3, 1, &[]);
    make_leader(&mut cluster);
    cluster.node(1).prompt = false;
    cluster.propose(1, "a");
    for from in [2, 3] {
        cluster.receive(1, from, 2, Body::Appended { matched: Some(Index(2)) });
    }
    assert_eq!(committed(&cluster), Some(2), "a majority is a majority without the leader");
    assert!(cluster.commands(1).is_empty());
    cluster.store(1);
    assert_eq!(cluster.commands(1), ["a"]);
}

// Figure 7 (RAFT-6).

#[test]
fn figure_7_every_follower_is_repaired() {
    let logs: [(u64, &[u64]); 7] = [
        (7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6]),
        (6, &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        (4, &[1, 1, 1, 4]),
        (6, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        (7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        (4, &[1, 1, 1, 4, 4, 4, 4]),
        (3, &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    let members = voters(7);
    let mut cluster = Cluster::with((1..).zip(logs).map(|(id, (term, log))| (id, saved(&members, term, None, log))));
    let mut rejections = [0; 8];
    cluster.now = cluster.now + Duration::from_millis(1_000);
    cluster.timeout(1);
    while cluster.raft(1).role() == Role::Follower {
        cluster.timeout(1);
    }
    while let Some((from, _, message)) = cluster.wire.front() {
        if matches!(message.body, Body::Diverged { .. }) {
            rejections[usize::try_from(from.0).expect("small")] += 1;
        }
        cluster.deliver_one();
    }
    assert_eq!((cluster.raft(1).role(), cluster.raft(1).term()), (Role::Leader, Term(8)));
    cluster.run(HEARTBEAT * 3);
    for id in 1..=7 {
        assert_eq!(cluster.terms(id), [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8], "follower {id}");
        assert_eq!(cluster.raft(id).announced(), Some(Index(11)));
    }
    assert!(rejections.iter().all(|count| *count <= 2), "terms are skipped as a whole: {rejections:?}");
}

// Figure 8 (RAFT-6).

/// Figure 8 (c): S1 leads term 4 and has brought the entry of term 2 to a majority.
fn figure_8_c() -> Cluster {
    let mut cluster = alone(5, 3, &[1, 2]);
    make_leader(&mut cluster);
    assert_eq!(cluster.raft(1).term(), Term(4));
    for from in [2, 3] {
        cluster.receive(1, from, 4, Body::Appended { matched: Some(Index(2)) });
    }
    cluster
}

#[test]
fn figure_8_c_an_older_term_is_never_committed_by_counting() {
    let cluster = figure_8_c();
    assert_eq!(committed(&cluster), None);
}

#[test]
fn figure_8_d_such_an_entry_can_be_overwritten() {
    let members = voters(5);
    let logs: [(u64, &[u64]); 5] = [(4, &[1, 2, 4]), (4, &[1, 2]), (4, &[1, 2]), (3, &[1]), (3, &[1, 3])];
    let mut cluster = Cluster::with((1..).zip(logs).map(|(id, (term, log))| (id, saved(&members, term, None, log))));
    cluster.crash(1);
    cluster.elect(5);
    cluster.start(1);
    cluster.run(HEARTBEAT * 3);
    for id in 1..=5 {
        assert_eq!(cluster.terms(id), [1, 3, 5], "S{id}");
    }
}

#[test]
fn figure_8_e_an_entry_of_its_own_term_commits_both() {
    let mut cluster = figure_8_c();
    for from in [2, 3] {
        cluster.receive(1, from, 4, Body::Appended { matched: Some(Index(3)) });
    }
    assert_eq!(committed(&cluster), Some(3));
    // S5 cannot win any more: no majority has a log that S5's is not behind.
    let members = voters(5);
    let logs: [(u64, &[u64]); 5] = [(4, &[1, 2, 4]), (4, &[1, 2, 4]), (4, &[1, 2, 4]), (3, &[1]), (3, &[1, 3])];
    let mut cluster = Cluster::with((1..).zip(logs).map(|(id, (term, log))| (id, saved(&members, term, None, log))));
    cluster.crash(1);
    cluster.now = cluster.now + Duration::from_millis(1_000);
    for _ in 0..20 {
        cluster.timeout(5);
        cluster.settle();
        assert_ne!(cluster.raft(5).role(), Role::Leader);
    }
}
