//! Members of two versions: what they agree on, what is refused until then, and what is noted before it is used.

mod harness;

use std::time::Duration;

use bytes::Bytes;
use harness::{Cluster, GROUP, sum};
use hezong_base::{NodeId, Rng};
use hezong_node::{ClientRequest, NodeInput, Notice, Refused, Reply};
use hezong_raft::{Change, Payload, Version};

const OLD: Version = Version(1);
const NEW: Version = Version(2);
const WAIT: Duration = Duration::from_secs(5);

/// Three nodes of which these run the older program.
fn three(older: &[u64]) -> (Cluster, NodeId) {
    let (mut cluster, leader) =
        Cluster::three_with(|config| config.newest = if older.contains(&config.id.0) { OLD } else { NEW });
    cluster.connect();
    (cluster, leader)
}

/// A command that only the newer program knows.
fn new_command() -> ClientRequest {
    let command = Bytes::copy_from_slice(&7_u64.to_be_bytes());
    ClientRequest::Propose { command, frees_space: false, version: NEW }
}

/// Starts a node again with another program.
fn restart_as(cluster: &mut Cluster, id: NodeId, newest: Version) {
    cluster.hosts.get_mut(&id).unwrap().config.newest = newest;
    cluster.crash(id);
    cluster.restart(id);
}

fn versions(cluster: &Cluster, id: NodeId) -> (Version, Version) {
    let members = cluster.hosts[&id].node.status(cluster.now, GROUP).unwrap().raft.membership;
    (members.version(), members.used())
}

/// Runs until all nodes have applied these versions, agreed on and used.
fn wait_versions(cluster: &mut Cluster, agreed: Version, used: Version) {
    cluster.run_until(WAIT, |cluster| {
        let mut settled = cluster.hosts.values().map(|host| (host.settled.version(), host.settled.used()));
        settled.all(|settled| settled == (agreed, used))
    });
}

fn said(reply: &Reply) -> String {
    let Reply::Refused(refused) = reply else { panic!("not refused: {reply:?}") };
    refused.to_string()
}

#[test]
fn version_rises_once_all_know_it_and_falls_again_before_use() {
    let (mut cluster, leader) = three(&[]);
    wait_versions(&mut cluster, NEW, OLD);
    let agreed = Notice::VersionAgreed { group: GROUP, version: NEW };
    assert!(cluster.hosts[&leader].notices.contains(&agreed));

    let other = cluster.others(leader)[0];
    restart_as(&mut cluster, other, OLD);
    cluster.connect();
    wait_versions(&mut cluster, OLD, OLD);
    restart_as(&mut cluster, other, NEW);
    cluster.connect();
    wait_versions(&mut cluster, NEW, OLD);
}

#[test]
fn version_holds_while_somebody_was_not_heard() {
    let (mut cluster, leader) = Cluster::three_with(|config| config.newest = NEW);
    let [heard, silent] = cluster.others(leader)[..] else { panic!("three nodes") };
    cluster.hand(leader, NodeInput::Version { peer: heard, version: NEW });
    cluster.run(WAIT);
    assert_eq!(versions(&cluster, leader), (OLD, OLD));
    let refused = said(&cluster.call(leader, new_command()));
    assert!(refused.ends_with(&format!("upgrade node{:02} (not heard of yet)", silent.0)), "{refused}");
}

#[test]
fn command_of_a_version_not_agreed_names_who_holds_it_back() {
    let (mut cluster, leader) = three(&[3]);
    cluster.run(WAIT);
    // The older one leads for a moment, and newer ones still tell.
    assert_eq!(versions(&cluster, leader), (OLD, OLD));
    let newer = if leader == NodeId(3) { cluster.others(leader)[0] } else { leader };
    let told = "this needs cluster version 2, and the cluster is at 1; upgrade node03 (version 1)";
    assert_eq!(said(&cluster.call(newer, ClientRequest::Change(Change::Use(NEW)))), told);
    assert_eq!(said(&cluster.call(newer, new_command())), told);
    let follower = cluster.others(leader).into_iter().find(|id| *id != NodeId(3)).unwrap();
    let refused = cluster.call(follower, ClientRequest::Change(Change::Use(NEW)));
    match leader {
        NodeId(3) => assert_eq!(said(&refused), told),
        _ => assert!(matches!(refused, Reply::Refused(Refused::NotLeader(_))), "{refused:?}"),
    }
}

#[test]
fn command_waits_for_the_use_to_be_committed() {
    let (mut cluster, leader) = three(&[]);
    wait_versions(&mut cluster, NEW, OLD);
    assert!(matches!(cluster.call(leader, new_command()), Reply::Refused(Refused::ChangePending)));
    assert!(matches!(cluster.change(leader, Change::Use(NEW)), Reply::Changed { .. }));
    assert_eq!(sum(&cluster.call(leader, new_command())), 7);
    wait_versions(&mut cluster, NEW, NEW);
    let used = Notice::VersionUsed { group: GROUP, version: NEW };
    assert!(cluster.hosts[&leader].notices.contains(&used));
}

#[test]
fn use_is_told_before_anything_of_its_turn_leaves() {
    let (mut cluster, leader) = three(&[]);
    wait_versions(&mut cluster, NEW, OLD);
    cluster.trace = Some(Vec::new());
    assert!(matches!(cluster.change(leader, Change::Use(NEW)), Reply::Changed { .. }));
    wait_versions(&mut cluster, NEW, NEW);
    let trace = cluster.trace.take().unwrap();
    for id in cluster.hosts.keys() {
        let of_node: Vec<&String> = trace.iter().filter(|line| line.contains(&format!(" {id} "))).collect();
        let noted = of_node.iter().position(|line| line.contains("Uses(Version(2))")).expect("it was told");
        let carries = |line: &&&String| line.contains("used: Version(2)") && !line.contains(" Peers");
        let left = of_node.iter().position(|line| carries(&line)).expect("it was stored");
        assert!(noted < left, "{id}: {} came before {}", of_node[left], of_node[noted]);
    }
}

#[test]
fn member_that_goes_back_as_it_is_used_gets_nothing_of_it() {
    let (mut cluster, leader) = three(&[]);
    wait_versions(&mut cluster, NEW, OLD);
    let back = cluster.others(leader)[0];
    // The leader has not heard of it yet.
    restart_as(&mut cluster, back, OLD);
    assert!(matches!(cluster.change(leader, Change::Use(NEW)), Reply::Changed { .. }));
    cluster.connect();
    assert_eq!(sum(&cluster.call(leader, new_command())), 7);
    cluster.run(WAIT);
    assert_eq!(versions(&cluster, back).1, OLD, "it was given what it does not know");
    assert_eq!(cluster.machine(back).sum, 0);
    assert_eq!(cluster.leader(GROUP), Some(leader));

    restart_as(&mut cluster, back, NEW);
    cluster.connect();
    wait_versions(&mut cluster, NEW, NEW);
    cluster.wait_same_state();
    assert_eq!(cluster.machine(back).sum, 7);
}

#[test]
fn older_leader_of_a_group_that_agreed_on_the_newer_does_not_use_it() {
    let (mut cluster, _) = three(&[]);
    wait_versions(&mut cluster, NEW, OLD);
    for id in cluster.hosts.keys().copied().collect::<Vec<_>>() {
        restart_as(&mut cluster, id, OLD);
    }
    // It has just been elected, and had no time to have the group agree on the older one.
    cluster.run_until(WAIT, |cluster| cluster.leader(GROUP).is_some());
    let leader = cluster.leader(GROUP).unwrap();
    assert_eq!(versions(&cluster, leader), (NEW, OLD));
    let refused = said(&cluster.call(leader, ClientRequest::Change(Change::Use(NEW))));
    assert!(refused.contains(&format!("upgrade node{:02} (version 1)", leader.0)), "{refused}");
}

#[test]
fn use_found_at_the_start_is_told_in_the_first_turn() {
    let (mut cluster, leader) = three(&[]);
    wait_versions(&mut cluster, NEW, OLD);
    assert!(matches!(cluster.change(leader, Change::Use(NEW)), Reply::Changed { .. }));
    wait_versions(&mut cluster, NEW, NEW);
    cluster.hosts.get_mut(&leader).unwrap().used = OLD;
    cluster.crash(leader);
    cluster.restart(leader);
    assert_eq!(cluster.hosts[&leader].used, NEW);
}

/// What goes wrong with programs, on top of what does with networks and processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// Nodes do not note what is in use.
    MarksIgnored,
    /// Commands are proposed before their version is in use.
    UsedAtOnce,
}

/// A command of the newer program adds at least this.
const NEW_COMMAND: u64 = 1 << 32;

/// Whether a node's disk holds what only the newer program knows.
fn holds_new(cluster: &Cluster, id: NodeId) -> bool {
    cluster.hosts[&id].disks[&GROUP].entries.values().any(|entry| match &entry.payload {
        Payload::Command(command) => u64::from_be_bytes(command[..8].try_into().unwrap()) >= NEW_COMMAND,
        Payload::Membership(members) => members.used() == NEW,
        Payload::Empty => false,
    })
}

/// Programs are exchanged, nodes die and are cut off, and the new version is used at any moment. Returns whether it came
/// into use, or which node was given what it does not know.
fn exchange_programs(seed: u64, bug: Bug) -> Result<bool, String> {
    let mut rng = Rng::new(seed);
    let (mut cluster, _) = three(&[]);
    cluster.marks_ignored = bug == Bug::MarksIgnored;
    cluster.bad_network = Some(rng.fork());
    for _ in 0..120 {
        let id = NodeId(1 + rng.below(3));
        let leader = cluster.leader(GROUP).unwrap_or(id);
        match rng.below(8) {
            0 => {
                // The older program refuses a folder that is marked, and the newer one is started again.
                let newest = cluster.hosts[&id].used.max(if rng.chance(600) { NEW } else { OLD });
                restart_as(&mut cluster, id, newest);
            }
            1 => cluster.crash(id),
            2 => cluster.isolate(id),
            3 => cluster.heal(),
            4 => drop(cluster.ask(leader, ClientRequest::Change(Change::Use(NEW)))),
            5 | 6 => {
                let command = Bytes::copy_from_slice(&(NEW_COMMAND + rng.below(100)).to_be_bytes());
                let version = if bug == Bug::UsedAtOnce { OLD } else { NEW };
                cluster.ask(leader, ClientRequest::Propose { command, frees_space: false, version });
            }
            _ => drop(cluster.ask(leader, harness::add(rng.below(100)))),
        }
        if rng.chance(400) {
            restart_the_dead(&mut cluster);
            cluster.connect();
        }
        cluster.run(Duration::from_millis(rng.below(1_500)));
        for (id, host) in &cluster.hosts {
            if holds_new(&cluster, *id) && (host.config.newest == OLD || host.used == OLD) {
                return Err(format!("seed {seed}: {id} holds what its program, or its mark, does not know"));
            }
        }
    }
    cluster.heal();
    cluster.bad_network = None;
    for id in (1..=3).map(NodeId) {
        restart_as(&mut cluster, id, NEW);
    }
    cluster.connect();
    cluster.wait_leader(GROUP);
    cluster.wait_same_state();
    Ok(cluster.hosts.keys().all(|id| holds_new(&cluster, *id)))
}

fn restart_the_dead(cluster: &mut Cluster) {
    let dead: Vec<NodeId> = cluster.hosts.iter().filter(|(_, host)| !host.up).map(|(id, _)| *id).collect();
    dead.into_iter().for_each(|id| cluster.restart(id));
}

#[test]
fn older_program_is_never_given_what_it_does_not_know() {
    let used = (1..=100).filter(|seed| exchange_programs(*seed, Bug::None).unwrap()).count();
    assert!((20..100).contains(&used), "the version came into use in {used} of 100 runs");
}

#[test]
fn older_program_given_the_new_is_seen() {
    for bug in [Bug::MarksIgnored, Bug::UsedAtOnce] {
        let seen = (1..=100).any(|seed| exchange_programs(seed, bug).is_err());
        assert!(seen, "{bug:?} was missed");
    }
}
