//! Handing leadership over: on a client's wish, before a stop, and away from a disk that stalls.

mod harness;

use std::time::Duration;

use harness::{Cluster, GROUP, add, sum};
use hezong_base::NodeId;
use hezong_node::{ClientRequest, NodeInput, Refused, Reply};
use hezong_raft::{Change, TransferError, Version};

const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn transfer_leads_where_it_was_wished() {
    let (mut cluster, old) = Cluster::three();
    for to in [Some(cluster.others(old)[1]), None] {
        let old = cluster.leader(GROUP).unwrap();
        let began = cluster.now;
        let Reply::Transferred { leader, term } = cluster.call(old, ClientRequest::Transfer(to)) else {
            panic!("not transferred")
        };
        assert!(cluster.now.since(began) < ELECTION_TIMEOUT / 20, "nobody waits for a timeout");
        assert!(to.is_none_or(|to| to == leader.id) && leader.id != old && leader.member.is_some());
        assert_eq!(cluster.leader(GROUP), Some(leader.id));
        assert_eq!(cluster.hosts[&leader.id].node.raft(GROUP).unwrap().term(), term);
        assert!(matches!(cluster.call(old, add(1)), Reply::Refused(Refused::NotLeader(Some(_)))));
        assert!(sum(&cluster.call(leader.id, add(1))) > 0);
    }
}

#[test]
fn transfer_that_makes_no_sense_is_refused() {
    let (mut cluster, leader) = Cluster::three();
    let refused = |error| Reply::Refused(Refused::Transfer(error));
    let itself = cluster.call(leader, ClientRequest::Transfer(Some(leader)));
    assert_eq!(itself, refused(TransferError::Leads(leader)));
    let stranger = cluster.call(leader, ClientRequest::Transfer(Some(NodeId(9))));
    assert_eq!(stranger, refused(TransferError::Unknown(NodeId(9))));
    let follower = cluster.others(leader)[0];
    let elsewhere = cluster.call(follower, ClientRequest::Transfer(None));
    assert!(matches!(elsewhere, Reply::Refused(Refused::NotLeader(Some(named))) if named.id == leader));
}

#[test]
fn transfer_commands_of_the_same_turn_go_first_and_later_ones_wait() {
    let (mut cluster, old) = Cluster::three();
    let to = cluster.others(old)[0];
    // Its disk takes nothing, so that the transfer takes its time.
    cluster.hosts.get_mut(&to).unwrap().disk_stalled = true;
    let asked = cluster.ask_all(old, vec![ClientRequest::Transfer(Some(to)), add(1)]);
    let late = cluster.ask(old, add(2));
    assert_eq!(sum(&cluster.wait_reply(old, asked[1])), 1);
    assert_eq!(cluster.reply(old, late), None);
    let outcome = cluster.wait_reply(old, asked[0]);
    assert_eq!(outcome, Reply::Refused(Refused::Transfer(TransferError::TimedOut(to))));
    assert_eq!(sum(&cluster.wait_reply(old, late)), 3, "it leads on, and takes what waited");
}

#[test]
fn transfer_sends_commands_on_that_waited_for_it() {
    let (mut cluster, old) = Cluster::three();
    let to = cluster.others(old)[0];
    cluster.ask(old, ClientRequest::Transfer(Some(to)));
    let while_it_leads = cluster.ask(old, add(1));
    cluster.run_until(ELECTION_TIMEOUT, |c| c.leader(GROUP).is_none());
    let while_nobody_does = cluster.ask(old, add(2));
    assert_eq!(cluster.reply(old, while_it_leads), None);
    for late in [while_it_leads, while_nobody_does] {
        let reply = cluster.wait_reply(old, late);
        assert!(matches!(&reply, Reply::Refused(Refused::NotLeader(Some(named))) if named.id == to), "{reply:?}");
    }
    assert_eq!(sum(&cluster.call(to, add(4))), 4, "nothing of it was done");
}

/// Nobody tells it who leads next.
#[test]
fn leader_that_is_removed_lets_nobody_wait() {
    let (mut cluster, old) = Cluster::three();
    cluster.ask(old, ClientRequest::Change(Change::Remove(old)));
    let handing_over = |c: &Cluster| c.hosts[&old].node.status(c.now, GROUP).unwrap().raft.transfer.is_some();
    cluster.run_until(ELECTION_TIMEOUT, handing_over);
    let late = cluster.ask(old, add(1));
    let reply = cluster.reply(old, late);
    assert!(matches!(reply, Some(Reply::Refused(Refused::Transferring(_)))), "{reply:?}");
}

#[test]
fn transfer_keeps_what_waits_within_bounds() {
    let (mut cluster, old) = Cluster::three();
    let to = cluster.others(old)[0];
    cluster.hosts.get_mut(&to).unwrap().disk_stalled = true;
    cluster.ask(old, ClientRequest::Transfer(Some(to)));
    let large =
        || ClientRequest::Propose { command: vec![0; 40 << 20].into(), frees_space: false, version: Version(1) };
    let (first, second) = (cluster.ask(old, large()), cluster.ask(old, large()));
    assert_eq!(cluster.reply(old, first), None);
    let refused = Refused::Overloaded { limit: "node.queue_bytes_max" };
    assert_eq!(cluster.reply(old, second), Some(Reply::Refused(refused)));
    cluster.wait_reply(old, first);
    assert_eq!(sum(&cluster.call(old, add(2))), 2, "there is room again");
}

#[test]
fn stop_hands_over_first() {
    let (mut cluster, old) = Cluster::three();
    let waiting = cluster.ask(old, add(1));
    let began = cluster.now;
    cluster.hand(old, NodeInput::Stop);
    cluster.run_until(ELECTION_TIMEOUT, |c| c.hosts[&old].drained);
    assert!(cluster.now.since(began) < ELECTION_TIMEOUT / 20);
    assert_eq!(sum(&cluster.reply(old, waiting).unwrap()), 1, "who waited was seen through");
    let new = cluster.leader(GROUP).expect("another leads already");
    assert_ne!(new, old);
    cluster.crash(old);
    assert_eq!(sum(&cluster.call(new, add(1))), 2);
}

#[test]
fn stop_without_anybody_to_hand_over_to_ends_all_the_same() {
    let (mut cluster, leader) = Cluster::three();
    for other in cluster.others(leader) {
        cluster.crash(other);
    }
    cluster.hand(leader, NodeInput::Stop);
    assert!(!cluster.hosts[&leader].drained, "it was heard a moment ago");
    cluster.run_until(ELECTION_TIMEOUT + ELECTION_TIMEOUT / 10, |c| c.hosts[&leader].drained);
    let mut alone = Cluster::new(1);
    alone.open_everywhere(GROUP);
    let leader = alone.wait_leader(GROUP);
    alone.hand(leader, NodeInput::Stop);
    assert!(alone.hosts[&leader].drained);
}

#[test]
fn stalled_disk_moves_leadership_within_one_and_a_half_election_timeouts() {
    let (mut cluster, old) = Cluster::three();
    cluster.call(old, add(1));
    cluster.hosts.get_mut(&old).unwrap().disk_stalled = true;
    let began = cluster.now;
    let stalled = cluster.ask(old, add(2));
    cluster.run_until(ELECTION_TIMEOUT * 3 / 2, |c| c.leader(GROUP).is_some_and(|leader| leader != old));
    let new = cluster.leader(GROUP).unwrap();
    assert_eq!(sum(&cluster.call(new, add(4))), 7, "nothing was lost");
    assert!(cluster.now.since(began) < ELECTION_TIMEOUT * 3 / 2);
    cluster.resume_disk(old);
    assert_eq!(sum(&cluster.wait_reply(old, stalled)), 3);
}
