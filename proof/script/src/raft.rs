//! How Raft is told: its messages on one line each, its own commands, and a disk that carries out its writes.
//!
//! | command | effect |
//! |---|---|
//! | `campaign 1` | hands in the node's deadlines until it campaigns |
//! | `elect 1` | the same, then delivers everything, and expects it to lead |
//! | `propose 1 foo bar` | proposes the commands together |
//! | `read 2 lease\|quorum` | asks as of which index a read may be served |
//! | `bootstrap 1 voters=1` | gives an empty log its first members |
//! | `change 1 add 4`, `change 1 promote 4`, `change 1 remove 3` | one step of membership |
//! | `change 1 several promote=4,5 remove=2` | the same for several at once |
//! | `transfer 1 [2]` | hands leadership to 2, or to whoever suits best |
//! | `compact 1 5` | the state machine holds everything up to 5 durably, and the log may drop it |
//! | `disk 2 term=3 vote=1 log=1@1,2@3` | what a node that is down finds when it starts |
//! | `log 1 [2 …]` | the entries on a node's disk |
//! | `expect 1 role=leader term=4 vote=1 leader=1 committed=3 last=3@4 lease=no` | fails unless it is so |
//! | `expect-logs 1 2 3` | fails unless the disks of these nodes hold the same entries |
//!
//! Options of `cluster` and `node`: `election`, `heartbeat`, `lease`, `store` (time-outs); `drift` (ppm);
//! `append_bytes`, `window_bytes`, `cache_bytes`, `uncommitted_bytes`, `reads` (limits); `learners=2` on `cluster`:
//! the last two nodes are learners.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Index, LogId, NodeId, Protocol, Term, Time};
use hezong_raft::{
    Answer, Ask, Base, Body, Change, Config, Entry, Event, Member, Membership, Message, Payload, Raft, ReadLevel,
    Refusal, Request, Role, Saved, Write,
};

use crate::{Command, Dialect, World};

/// Raft's dialect.
#[derive(Debug)]
pub struct RaftDialect;

/// A disk that does what Raft's writes say, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct RaftDisk {
    /// What Raft is given when it starts.
    saved: Saved,
    /// The last entry that is gone from the log.
    base: Option<LogId>,
    /// The entries after it.
    entries: Vec<Entry>,
}

impl RaftDisk {
    /// Carries out a write.
    pub fn write(&mut self, write: &Write) {
        Raft::save(&mut self.saved, write);
        match write {
            Write::Vote { .. } => {}
            Write::Append(entries) => self.entries.extend(entries.iter().cloned()),
            Write::Truncate(from) => self.entries.retain(|entry| entry.id.index < *from),
            Write::Compact(base) => {
                self.entries.retain(|entry| Some(entry.id.index) > base.last.map(|last| last.index));
                self.base = base.last;
            }
            Write::Reset(base) => {
                self.entries.clear();
                self.base = base.last;
            }
        }
    }

    /// What Raft is given when it starts.
    #[must_use]
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// The entries after the base.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `index`, if it is here.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let first = Index::after(self.base.map(|base| base.index));
        self.entries.get(usize::try_from(index.0.checked_sub(first.0)?).ok()?)
    }

    /// Reads what is asked for: as much as fits, and at least one entry.
    #[must_use]
    pub fn answer(&self, ask: &Ask) -> Answer {
        let (from, through, bytes_max) = match ask {
            Ask::Entries { from, through, bytes_max } => (from, through, bytes_max),
            // A story's state machine holds what its log stands on; and it installs whatever it is offered.
            Ask::TakeSnapshot(_) => return Answer::SnapshotTaken(self.base),
            Ask::FetchSnapshot { base, .. } => return Answer::SnapshotFetched(Some(base.clone())),
        };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut index = *from;
        while let Some(entry) = self.entry(index).filter(|_| index <= *through) {
            bytes += entry.bytes();
            if bytes > *bytes_max && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
            index = index.next();
        }
        Answer::Entries(taken)
    }
}

/// The member that node `id` of a story is.
#[must_use]
pub fn member(id: NodeId) -> Member {
    Member {
        name: format!("node{:02}", id.0),
        peer: format!("host{}:8089", id.0),
        client: format!("host{}:8091", id.0),
    }
}

impl Dialect for RaftDialect {
    type Protocol = Raft;
    type Disk = RaftDisk;

    fn config(id: NodeId, options: &Command) -> Result<Config, String> {
        options.only(&[
            "election",
            "heartbeat",
            "lease",
            "store",
            "drift",
            "append_bytes",
            "window_bytes",
            "cache_bytes",
            "uncommitted_bytes",
            "reads",
            "learners",
        ])?;
        let mut config = Config::new(id);
        options.set_span(&mut config.election_timeout, "election")?;
        options.set_span(&mut config.heartbeat_interval, "heartbeat")?;
        options.set_span(&mut config.lease, "lease")?;
        options.set_span(&mut config.store_timeout, "store")?;
        let set = |field: &mut usize, key: &str| -> Result<(), String> {
            if let Some(value) = options.number(key)? {
                *field = usize::try_from(value).map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        set(&mut config.append_bytes_max, "append_bytes")?;
        set(&mut config.window_bytes_max, "window_bytes")?;
        set(&mut config.cache_bytes_max, "cache_bytes")?;
        set(&mut config.uncommitted_bytes_max, "uncommitted_bytes")?;
        set(&mut config.reads_max, "reads")?;
        if let Some(drift) = options.number("drift")? {
            config.clock_drift_ppm = u32::try_from(drift).map_err(|error| error.to_string())?;
        }
        #[cfg(feature = "weakened")]
        {
            config.weakness = options.weakness(&hezong_raft::Weakness::ALL)?;
        }
        Ok(config)
    }

    fn disk(nodes: &[NodeId], options: &Command) -> Result<RaftDisk, String> {
        let learners = usize::try_from(options.number("learners")?.unwrap_or(0)).map_err(|error| error.to_string())?;
        let voters: BTreeSet<_> = nodes.iter().take(nodes.len().saturating_sub(learners)).copied().collect();
        let membership = Membership::new(voters, nodes.iter().map(|id| (*id, member(*id))).collect(), None);
        let mut disk = RaftDisk::default();
        disk.write(&Write::Reset(Base { last: None, time: Duration::ZERO, membership }));
        Ok(disk)
    }

    fn write(disk: &mut RaftDisk, write: &Write) {
        disk.write(write);
    }

    fn saved(disk: &RaftDisk) -> Saved {
        disk.saved.clone()
    }

    fn answer(disk: &RaftDisk, ask: &Ask) -> Answer {
        disk.answer(ask)
    }

    fn react(disk: &RaftDisk, event: &Event) -> Option<Request> {
        // The state machine of a story applies at once, and never claims that anything of it is durable: what may be
        // dropped from the log is what `compact` says.
        let Event::Committed { through } = event else { return None };
        let applied = disk.entry(*through)?.id;
        Some(Request::Applied { applied, durable: None })
    }

    fn name(id: NodeId, node: &Raft) -> String {
        format!("{id}@{}", node.status(Time::ZERO).term)
    }

    fn sender(from: NodeId, message: &Message) -> String {
        format!("{from}@{}", message.term)
    }

    fn message(message: &Message) -> String {
        show_message(message)
    }

    fn show_write(write: &Write) -> String {
        show_write(write)
    }

    fn event(event: &Event) -> String {
        show_event(event)
    }

    fn ask(ask: &Ask) -> String {
        match ask {
            Ask::Entries { from, through, bytes_max } => {
                format!("entries {}..{} within {bytes_max} B", from.0, through.0)
            }
            // Named by chance, so that a story would tell nothing by the name.
            Ask::TakeSnapshot(_) => "take snapshot".to_owned(),
            Ask::FetchSnapshot { from, base, .. } => format!("fetch snapshot {} from {from}", show(base.last)),
        }
    }

    fn status(now: Time, node: &Raft) -> String {
        let status = node.status(now);
        let mut line = format!(
            "{} last={} committed={} applied={} vote={} leader={}",
            show_role(status.role),
            show(status.last),
            show_index(status.committed),
            show_index(status.applied),
            show(status.vote),
            show(status.leader),
        );
        if status.role == Role::Leader {
            let progress: Vec<_> =
                status.progress.iter().map(|(id, held, _)| format!("{id}:{}", show_index(*held))).collect();
            line += &format!(" progress={}", progress.join(","));
        }
        line
    }

    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String> {
        match command.name.as_str() {
            "campaign" => campaign(world, command.node(0)?)?,
            "elect" => {
                let id = command.node(0)?;
                campaign(world, id)?;
                world.settle()?;
                let role = world.running(id)?.status(world.now()).role;
                if role != Role::Leader {
                    return Err(format!("{id} was not elected, it is a {}", show_role(role)));
                }
            }
            "propose" => {
                let commands = command.words.iter().skip(1).map(|word| Bytes::from(word.clone())).collect();
                world.request(command.node(0)?, Request::Propose(commands))?;
            }
            "read" => {
                let level = match command.word(1)? {
                    "lease" => ReadLevel::Lease,
                    "quorum" => ReadLevel::Quorum,
                    other => return Err(format!("no read level is called {other}")),
                };
                world.request(command.node(0)?, Request::Read(level))?;
            }
            "bootstrap" => {
                let voters = ids(command, "voters")?;
                let membership = Membership::of_voters(voters.into_iter().map(|id| (id, member(id))));
                world.request(command.node(0)?, Request::Bootstrap(membership))?;
            }
            "change" => {
                let change = match command.word(1)? {
                    "add" => Change::Add(member(command.node(2)?)),
                    "promote" => Change::Promote(command.node(2)?),
                    "remove" => Change::Remove(command.node(2)?),
                    "several" => {
                        command.only(&["promote", "remove"])?;
                        Change::Several { promote: ids(command, "promote")?, remove: ids(command, "remove")? }
                    }
                    other => return Err(format!("no change is called {other}")),
                };
                world.request(command.node(0)?, Request::Change(change))?;
            }
            "transfer" => {
                let to = if command.words.len() > 1 { Some(command.node(1)?) } else { None };
                world.request(command.node(0)?, Request::Transfer(to))?;
            }
            "compact" => {
                let id = command.node(0)?;
                let index = index(command.word(1)?)?;
                let durable = world.disk(id)?.entry(index).ok_or_else(|| format!("{id} does not hold {}", index.0))?.id;
                world.tell(id, Request::Applied { applied: durable, durable: Some(durable) })?;
                world.tell(id, Request::Compact(index))?;
            }
            "disk" => prepare_disk(world, command)?,
            "log" => {
                for id in command.nodes()? {
                    let entries: Vec<_> = world.disk(id)?.entries().iter().map(show_entry).collect();
                    world.say(&format!("{id} log {}", entries.join(", ")));
                }
            }
            "expect" => expect(world, command)?,
            "expect-logs" => expect_logs(world, command)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The nodes an option lists; none without it.
fn ids(command: &Command, key: &str) -> Result<BTreeSet<NodeId>, String> {
    let list = command.options.get(key).map_or("", String::as_str);
    let ids = list.split(',').filter(|id| !id.is_empty());
    ids.map(|id| id.parse().map(NodeId).map_err(|_| format!("{id} names no node"))).collect()
}

/// A follower that still counts on its leader, or waits out a lease after a restart, may need more than one deadline.
fn campaign(world: &mut World<RaftDialect>, id: NodeId) -> Result<(), String> {
    for _ in 0..8 {
        world.timeout(id)?;
        if matches!(world.running(id)?.status(world.now()).role, Role::PreCandidate | Role::Candidate | Role::Leader) {
            return Ok(());
        }
    }
    Err(format!("{id} does not campaign"))
}

fn prepare_disk(world: &mut World<RaftDialect>, command: &Command) -> Result<(), String> {
    command.only(&["term", "vote", "owed", "log"])?;
    let id = command.node(0)?;
    let (term, vote) = (command.number("term")?, command.number("vote")?.map(NodeId));
    let owed = command.options.get("owed").map(|text| log_id(text)).transpose()?;
    let mut entries = Vec::new();
    for text in command.options.get("log").map_or("", String::as_str).split(',').filter(|text| !text.is_empty()) {
        let id = log_id(text)?;
        entries.push(Entry { id, time: Duration::ZERO, payload: Payload::Command(Bytes::from(format!("x{text}"))) });
    }
    let last_term = entries.last().map_or(Term(0), |entry: &Entry| entry.id.term);
    let term = term.map_or(last_term, Term);
    let disk = world.disk_mut(id)?;
    disk.write(&Write::Vote { term, vote, owed });
    if !entries.is_empty() {
        disk.write(&Write::Append(entries.into()));
    }
    Ok(())
}

fn expect(world: &mut World<RaftDialect>, command: &Command) -> Result<(), String> {
    for id in command.nodes()? {
        let status = world.running(id)?.status(world.now());
        for (key, wanted) in &command.options {
            let found = match key.as_str() {
                "role" => show_role(status.role).to_owned(),
                "term" => status.term.0.to_string(),
                "vote" => status.vote.map_or_else(|| "-".to_owned(), |id| id.0.to_string()),
                "leader" => status.leader.map_or_else(|| "-".to_owned(), |id| id.0.to_string()),
                "committed" => show_index(status.committed),
                "stored" => show_index(status.stored),
                "base" => show(status.base),
                "last" => show(status.last),
                "transfer" => show(status.transfer),
                "lease" => if status.lease.is_some() { "yes" } else { "no" }.to_owned(),
                "members" => show_membership(&status.membership).replace(' ', ","),
                "dropped" => status.dropped.to_string(),
                other => return Err(format!("expect: nothing is called {other}")),
            };
            if found != *wanted {
                return Err(format!("{id}: {key} should be {wanted} and is {found}"));
            }
        }
    }
    Ok(())
}

fn expect_logs(world: &mut World<RaftDialect>, command: &Command) -> Result<(), String> {
    let ids = command.nodes()?;
    let [first, others @ ..] = ids.as_slice() else { return Err("expect-logs: no nodes".to_owned()) };
    for other in others {
        if world.disk(*first)?.entries() != world.disk(*other)?.entries() {
            return Err(format!("the logs of {first} and {other} differ"));
        }
    }
    Ok(())
}

fn index(text: &str) -> Result<Index, String> {
    text.parse().map(Index).map_err(|_| format!("{text} is no index"))
}

fn log_id(text: &str) -> Result<LogId, String> {
    let parsed = text.split_once('@').and_then(|(index, term)| Some((index.parse().ok()?, term.parse().ok()?)));
    parsed.map(|(index, term)| LogId::new(term, index)).ok_or_else(|| format!("{text} is no entry; write index@term"))
}

fn show<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn show_index(value: Option<Index>) -> String {
    value.map_or_else(|| "-".to_owned(), |index| index.0.to_string())
}

fn show_role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// Voters, and learners in brackets. Of a joint membership the outgoing voters first, and behind an arrow the others.
#[must_use]
pub fn show_membership(membership: &Membership) -> String {
    let mut shown: Vec<String> = membership.outgoing().iter().map(NodeId::to_string).collect();
    if membership.is_joint() {
        shown.push("→".to_owned());
    }
    for id in membership.members().keys() {
        if membership.voters().contains(id) {
            shown.push(id.to_string());
        } else if !membership.is_voter(*id) {
            shown.push(format!("({id})"));
        }
    }
    shown.join(" ")
}

/// An entry with what it carries.
#[must_use]
pub fn show_entry(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Empty => format!("{} empty", entry.id),
        Payload::Command(command) => format!("{} {}", entry.id, show_command(command)),
        Payload::Membership(membership) => format!("{} {{{}}}", entry.id, show_membership(membership)),
    }
}

fn show_command(command: &[u8]) -> String {
    match std::str::from_utf8(command) {
        Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) && text.len() <= 40 => text.to_owned(),
        _ => format!("{} B", command.len()),
    }
}

/// A message on one line.
#[must_use]
pub fn show_message(message: &Message) -> String {
    let verdict = |granted: bool| if granted { "granted" } else { "refused" };
    match &message.body {
        Body::RequestPreVote { last } => format!("RequestPreVote last={}", show(*last)),
        Body::PreVote { granted } => format!("PreVote {}", verdict(*granted)),
        Body::RequestVote { last, transfer } => {
            format!("RequestVote last={}{}", show(*last), if *transfer { " transfer" } else { "" })
        }
        Body::Vote { granted } => format!("Vote {}", verdict(*granted)),
        Body::Append { previous, entries, committed } => {
            let entries: Vec<_> = entries.iter().map(|entry| entry.id.to_string()).collect();
            let committed = show_index(*committed);
            format!("Append base={} [{}] committed={committed}", show(*previous), entries.join(" "))
        }
        Body::Appended { matched } => format!("Appended matched={}", show_index(*matched)),
        Body::Diverged { previous, hint } => format!("Diverged base={previous} hint={}", show(*hint)),
        // Names are random numbers; their last digits tell two apart well enough to be read.
        Body::LogLost { owed, last, token } => {
            format!("LogLost owed={owed} last={} token={:04x}", show(*last), token & 0xffff)
        }
        Body::LogLostAck { token, end } => format!("LogLostAck token={:04x} end={end}", token & 0xffff),
        Body::InstallSnapshot { id, base } => {
            format!("InstallSnapshot {:04x} base={}", id.0 & 0xffff, show(base.last))
        }
        Body::SnapshotInstalled { id, installed: true } => format!("SnapshotInstalled {:04x}", id.0 & 0xffff),
        Body::SnapshotInstalled { id, installed: false } => format!("SnapshotInstalled {:04x} failed", id.0 & 0xffff),
        Body::RequestSnapshot => "RequestSnapshot".to_owned(),
        Body::Heartbeat { round, lease, committed } => {
            format!("Heartbeat round={round} lease={}ms committed={}", lease.as_millis(), show_index(*committed))
        }
        Body::HeartbeatAck { round, lease } => format!("HeartbeatAck round={round} lease={}ms", lease.as_millis()),
        Body::ReadIndex { token } => format!("ReadIndex token={:04x}", token & 0xffff),
        Body::ReadIndexAck { token, index } => {
            format!("ReadIndexAck token={:04x} index={}", token & 0xffff, show_index(*index))
        }
        Body::TimeoutNow => "TimeoutNow".to_owned(),
    }
}

/// A write on one line.
#[must_use]
pub fn show_write(write: &Write) -> String {
    match write {
        Write::Vote { term, vote, owed } => {
            let owed = owed.map_or_else(String::new, |owed| format!(" owed {owed}"));
            format!("Vote {term} for {}{owed}", show(*vote))
        }
        Write::Append(entries) => {
            format!("Append {}", entries.iter().map(show_entry).collect::<Vec<_>>().join(", "))
        }
        Write::Truncate(from) => format!("Truncate from {}", from.0),
        Write::Compact(base) => format!("Compact through {}", show(base.last)),
        Write::Reset(base) => format!("Reset to {} {{{}}}", show(base.last), show_membership(&base.membership)),
    }
}

/// An event on one line.
#[must_use]
pub fn show_event(event: &Event) -> String {
    match event {
        // First members make no entry, they are what the log stands on.
        Event::Accepted { id, count: 0, .. } => format!("{id} accepted"),
        Event::Accepted { id, first, count: 1 } => format!("{id} accepted at {first}"),
        Event::Accepted { id, first, count } => format!("{id} accepted at {first} and {} more", count - 1),
        Event::Refused { id, refusal } => format!("{id} refused: {}", show_refusal(refusal)),
        Event::Unknown { id } => format!("{id} unknown"),
        Event::Readable { id, index } => format!("{id} readable at {}", show_index(*index)),
        Event::Transferred { id, term, leader } => format!("{id} transferred to {leader} in {term}"),
        Event::Committed { through } => format!("committed {}", through.0),
        Event::Led { term, leader, role } => {
            let leader = leader.map_or_else(|| "nobody".to_owned(), |id| id.to_string());
            format!("{} in {term}, led by {leader}", show_role(*role))
        }
        Event::Peers(membership) => format!("peers {{{}}}", show_membership(membership)),
        Event::CaughtUp(id) => format!("{id} caught up"),
        Event::Dropped { from, reason } => format!("dropped from {from}: {reason}"),
    }
}

fn show_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotLeader(leader) => match leader {
            Some(id) => format!("not leader, try {id}"),
            None => "not leader, none known".to_owned(),
        },
        Refusal::Overloaded => "overloaded".to_owned(),
        Refusal::NotReady => "not ready".to_owned(),
        Refusal::ChangePending => "another change is pending".to_owned(),
        Refusal::Change(error) => error.to_string(),
        Refusal::Transferring(to) => format!("leadership is being handed to {to}"),
        Refusal::Transfer(error) => error.to_string(),
        Refusal::NotEmpty => "not empty".to_owned(),
    }
}
