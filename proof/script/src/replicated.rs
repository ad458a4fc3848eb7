//! How two-phase commit is told whose coordinator is replicated. The users of participants vote and apply as in `commit.rs`.
//!
//! The first three nodes are members, the others take part, and the group is node 9, so that its transactions are 9.1 and so on.
//!
//! | command | effect |
//! |---|---|
//! | `elect 1` | hands in the node's deadlines until it campaigns, then delivers everything, and expects it to act |
//! | `begin 1 4=debit 5=credit` | member 1 coordinates a transaction, if it acts: node 4 is to do `debit`, node 5 `credit` |
//! | `vote 4 9.1 yes` | the user at node 4 votes on the group's first transaction |
//! | `expect 4 9.1=committed` | fails unless it ended so there; `doubt`: it voted yes and does not know; `-`: neither |
//! | `expect 1 acts=yes under-way=0/0` | fails unless it acts, and so many are under way there, as coordinator and as participant |
//!
//! Options of `cluster`: `nodes-all=5` (who there is; else five), `vote` (how long a coordinator waits for votes), `retry` (of the
//! commit protocol), `election` (of Raft), `kept` (applied entries).

use std::convert::Infallible;

use hezong_base::{NodeId, Protocol, Time};
use hezong_commit::Request;
use hezong_commit::two_phase::{Saved, TwoPhase, Write as CommitWrite};
use hezong_raft::{Body, Entry, Payload, Role};
use hezong_replicated::{Config, Event, Message, Replicable, Replicated, Saved as NodeSaved, Write};

use crate::commit::{CommitDialect, Told, begun_work, show_standing, show_under_way, told_vote};
use crate::raft::RaftDialect;
use crate::{Command, Dialect, World};

/// Two-phase commit's dialect, where its coordinator is replicated.
#[derive(Debug)]
pub struct ReplicatedDialect;

/// How many nodes there are where a story does not say, and how many of them are members.
const NODES: u64 = 5;
const MEMBERS: u64 = 3;
/// The name under which they coordinate.
pub const GROUP: NodeId = NodeId(9);

type Node = Replicated<TwoPhase>;
type InnerMessage = hezong_commit::two_phase::Message;

impl Dialect for ReplicatedDialect {
    type Protocol = Node;
    type Disk = NodeSaved<Saved>;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&["nodes-all", "vote", "retry", "election", "kept"])?;
        let nodes = options.number("nodes-all")?.unwrap_or(NODES);
        let members = (1..=MEMBERS).map(NodeId).collect();
        let mut config = Config::new(id, GROUP, members, (MEMBERS + 1..=nodes).map(NodeId).collect());
        options.set_span(&mut config.commit.vote_timeout, "vote")?;
        options.set_span(&mut config.commit.retry_min, "retry")?;
        options.set_span(&mut config.raft.election_timeout, "election")?;
        config.log_kept = options.number("kept")?.unwrap_or(config.log_kept);
        #[cfg(feature = "weakened")]
        if let Ok(weakness) = options.weakness(&hezong_replicated::Weakness::ALL) {
            config.weakness = weakness;
        } else {
            config.commit.weakness = options.weakness(&hezong_commit::Weakness::REPLICATED)?;
        }
        Ok(config)
    }

    fn write(disk: &mut NodeSaved<Saved>, write: &Write<CommitWrite, Saved>) {
        Node::save(disk, write);
    }

    fn saved(disk: &NodeSaved<Saved>) -> NodeSaved<Saved> {
        disk.clone()
    }

    fn answer(_: &NodeSaved<Saved>, ask: &Infallible) -> Infallible {
        match *ask {}
    }

    fn react(disk: &NodeSaved<Saved>, event: &Event) -> Option<Request> {
        match event {
            Event::Commit(event) => CommitDialect::<TwoPhase>::react(&disk.own, event),
            Event::NotActing { .. } | Event::Acting(_) => None,
        }
    }

    fn message(message: &Message<InnerMessage, Saved>) -> String {
        match message {
            Message::Raft(message) => show_raft(message),
            Message::ToGroup(message) | Message::FromGroup(message) | Message::Direct(message) => {
                TwoPhase::show_message(message)
            }
            // Named by chance, so that a story would tell nothing by the name.
            Message::Fetch(_) => "Fetch".to_owned(),
            Message::Snapshot { fold, .. } => format!("Snapshot {}", show_last(fold)),
        }
    }

    fn show_write(write: &Write<CommitWrite, Saved>) -> String {
        match write {
            Write::Raft(hezong_raft::Write::Append(entries)) => format!("Append {}", show_entries(entries)),
            Write::Raft(write) => RaftDialect::show_write(write),
            Write::Fold(fold) => format!("Fold {}", show_last(fold)),
            Write::Own(write) => TwoPhase::show_write(write),
        }
    }

    fn event(event: &Event) -> String {
        match event {
            Event::Commit(event) => CommitDialect::<TwoPhase>::event(event),
            Event::NotActing { id, leader } => {
                format!("{id} does not act; {}", leader.map_or("-".to_owned(), |id| id.to_string()))
            }
            Event::Acting(true) => "acts".to_owned(),
            Event::Acting(false) => "acts no more".to_owned(),
        }
    }

    fn ask(ask: &Infallible) -> String {
        match *ask {}
    }

    fn status(now: Time, node: &Node) -> String {
        let raft = node.raft().map_or(String::new(), |raft| RaftDialect::status(now, raft));
        format!("{raft} {}", node.inner().map_or_else(String::new, show_under_way)).trim().to_owned()
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        match command.name.as_str() {
            "elect" => elect(world, command.node(0)?)?,
            "begin" => world.request(command.node(0)?, Request::Begin(begun_work(command)?))?,
            "vote" => world.tell(command.node(0)?, told_vote(command)?)?,
            "expect" => expect(world, command)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A follower that still counts on its leader, or waits out a lease after a restart, may need more than one deadline.
fn elect(world: &mut World<ReplicatedDialect>, id: NodeId) -> Result<(), String> {
    let campaigns = |world: &World<ReplicatedDialect>| {
        let role = world.running(id).ok().and_then(Node::raft).map(hezong_raft::Raft::role);
        role.is_some_and(|role| role != Role::Follower)
    };
    for _ in 0..8 {
        world.timeout(id)?;
        if campaigns(world) {
            break;
        }
    }
    world.settle()?;
    let acts = world.running(id)?.is_acting();
    acts.then_some(()).ok_or_else(|| format!("{id} was not elected, or does not act"))
}

fn expect(world: &World<ReplicatedDialect>, command: &Command) -> Result<(), String> {
    let id = command.node(0)?;
    let node = world.running(id)?;
    for (key, wanted) in &command.options {
        let is = match (key.as_str(), node.inner()) {
            ("acts", _) => if node.is_acting() { "yes" } else { "no" }.to_owned(),
            (_, Some(inner)) => show_standing(inner, key)?,
            (_, None) => return Err(format!("{id} does not act")),
        };
        if is != *wanted {
            return Err(format!("{id} has {key}={is}, and not {wanted}"));
        }
    }
    Ok(())
}

fn show_raft(message: &hezong_raft::Message) -> String {
    if let Body::Append { entries, .. } = &message.body
        && !entries.is_empty()
    {
        return format!("Append {}", show_entries(entries));
    }
    RaftDialect::message(message)
}

fn show_entries(entries: &[Entry]) -> String {
    let show = |entry: &Entry| match &entry.payload {
        Payload::Command(command) => {
            let write = TwoPhase::decode(command).map_or("nonsense".to_owned(), |write| TwoPhase::show_write(&write));
            format!("{} {write}", entry.id)
        }
        Payload::Empty | Payload::Membership(_) => crate::raft::show_entry(entry),
    };
    entries.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn show_last(fold: &hezong_replicated::Fold<Saved>) -> String {
    fold.base.last.map_or("-".to_owned(), |last| format!("through {last}"))
}
