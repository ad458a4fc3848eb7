//! What happened, for a person: everything line by line, or what matters, with a column a node. Costs nothing while nobody
//! listens.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use hezong_base::{LogId, NodeId, Term};
use hezong_node::{NodeEffect, NodeInput, SnapshotWork};
use hezong_raft::{Body, Message, Payload, Write};
use hezong_script::raft::{show_entry, show_membership, show_message, show_write};

use crate::check::place;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// One input or effect of many.
    Detail,
    /// What a client was told.
    Client,
    /// What turns the run: elections, changes of members, deaths, trouble.
    Turn,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in nanoseconds of the run.
    pub at: u64,
    /// How much it matters.
    pub weight: Weight,
    /// How every node stood then, a column each.
    pub columns: String,
    /// In words.
    pub text: String,
}

impl Line {
    /// How wide a column is.
    pub(crate) const COLUMN: usize = 5;
}

impl fmt::Display for Line {
    /// Without the columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.3} ms  {}", self.at as f64 / 1e6, self.text)
    }
}

/// How a node stands, as far as what it does has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Down,
    Follows,
    Campaigns,
    Leads,
}

/// The last lines of a run, or nothing at all.
#[derive(Debug, Default)]
pub(crate) struct Story {
    told: Option<Told>,
}

#[derive(Debug, Default)]
struct Told {
    lines: Vec<Line>,
    /// A column each.
    nodes: Vec<Column>,
    /// Memberships whose entry was seen.
    members: BTreeSet<LogId>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    standing: Standing,
    term: Term,
    is_paused: bool,
}

impl Story {
    /// A story that is told.
    pub(crate) fn told() -> Self {
        Self { told: Some(Told::default()) }
    }

    /// Whether anybody listens.
    pub(crate) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// What was told.
    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.told.map_or_else(Vec::new, |told| told.lines)
    }

    /// What a node does, in words.
    pub(crate) fn say(&mut self, now: u64, node: NodeId, what: &str) {
        if let Some(told) = &mut self.told {
            told.turn(now, format!("{node} {what}"));
        }
    }

    /// Something that concerns nobody in particular.
    pub(crate) fn note(&mut self, now: u64, what: impl FnOnce() -> String) {
        self.line(now, Weight::Turn, || format!("-- {}", what()));
    }

    /// A node comes to life, dies, stands still or goes on; then, in words.
    pub(crate) fn starts(&mut self, now: u64, node: NodeId) {
        self.stands(node, |column| (column.standing, column.is_paused) = (Standing::Follows, false));
        self.say(now, node, "starts");
    }

    /// See `starts`.
    pub(crate) fn dies(&mut self, now: u64, node: NodeId, power: bool) {
        self.stands(node, |column| (column.standing, column.is_paused) = (Standing::Down, false));
        self.say(now, node, if power { "dies, power and all" } else { "dies" });
    }

    /// See `starts`.
    pub(crate) fn pauses(&mut self, now: u64, node: NodeId, is_paused: bool) {
        self.stands(node, |column| column.is_paused = is_paused);
        self.say(now, node, if is_paused { "stands still" } else { "goes on" });
    }

    fn stands(&mut self, node: NodeId, change: impl FnOnce(&mut Column)) {
        if let Some(told) = &mut self.told {
            change(told.column(node));
        }
    }

    /// What a client was told.
    pub(crate) fn client(&mut self, now: u64, text: impl FnOnce() -> String) {
        self.line(now, Weight::Client, text);
    }

    /// A frame is lost.
    pub(crate) fn lost(&mut self, now: u64, from: NodeId, to: NodeId) {
        self.line(now, Weight::Detail, || format!("   {from} ⇥ {to} lost"));
    }

    /// What a node is handed.
    pub(crate) fn input(&mut self, now: u64, node: NodeId, input: &NodeInput) {
        self.line(now, Weight::Detail, || match input {
            NodeInput::Received { from, messages } => {
                let mut line = format!("{node} ← {from}");
                for (_, message) in messages {
                    let _ = write!(line, " {}:{};", message.term, show_message(message));
                }
                line
            }
            NodeInput::Request { id, request, .. } => format!("{node} asked {id} {request:?}"),
            NodeInput::Stored(batch) => format!("{node} stored {batch}"),
            NodeInput::LogRead { entries, .. } => format!("{node} read {} entries from its log", entries.len()),
            NodeInput::Applied { through, .. } => format!("{node} applied {through}"),
            NodeInput::Persisted { durable, .. } => format!("{node} persisted {durable:?}"),
            NodeInput::Cancel { id } => format!("{node} told that {id} is given up"),
            NodeInput::SnapshotMessage { from, message } => {
                format!("{node} ← {from} snapshot {} {:?}", message.snapshot, message.body)
            }
            NodeInput::Snapshot { done, .. } => format!("{node} snapshot {done:?}"),
            NodeInput::DiskReserve { below } => format!("{node} disk reserve below={below}"),
            NodeInput::Version { peer, version } => format!("{node} hears that {peer} knows version {version}"),
            NodeInput::Timeout => format!("{node} timeout"),
            NodeInput::Stop => format!("{node} stop"),
        });
    }

    /// What a node wants done.
    pub(crate) fn effect(&mut self, now: u64, node: NodeId, effect: &NodeEffect) {
        self.line(now, Weight::Detail, || match effect {
            NodeEffect::Send { to, messages } => {
                let mut line = format!("   {node} → {to}");
                for (_, message) in messages {
                    let _ = write!(line, " {}:{};", message.term, show_message(message));
                }
                line
            }
            NodeEffect::Store { batch, writes } => {
                let writes: Vec<_> = writes.iter().map(|(_, write)| show_write(write)).collect();
                format!("   {node} disk {batch} {}", writes.join("; "))
            }
            NodeEffect::ReadLog { from, through, .. } => format!("   {node} reads {}..{}", from.0, through.0),
            NodeEffect::Apply { entries, .. } => {
                format!("   {node} applies {}", entries.iter().map(show_entry).collect::<Vec<_>>().join(", "))
            }
            NodeEffect::Persist { .. } => format!("   {node} persists"),
            NodeEffect::Snapshot { work, .. } => format!("   {node} snapshot {work:?}"),
            NodeEffect::SendSnapshot { to, message } => {
                format!("   {node} → {to} snapshot {} {:?}", message.snapshot, message.body)
            }
            NodeEffect::Reply { id, reply } => format!("   {node} answers {id} {reply:?}"),
            NodeEffect::Peers(peers) => {
                format!("   {node} peers {:?}", peers.keys().map(|id| id.0).collect::<Vec<_>>())
            }
            NodeEffect::Settled { membership, .. } => format!("   {node} settled {{{}}}", show_membership(membership)),
            NodeEffect::Uses(version) => format!("   {node} notes that version {version} is in use"),
            NodeEffect::Notice(notice) => format!("   {node} notice: {notice}"),
            NodeEffect::Drained => format!("   {node} drained"),
        });
        if let Some(told) = &mut self.told {
            told.turn_of(now, node, effect);
        }
    }

    fn line(&mut self, now: u64, weight: Weight, text: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.line(now, weight, text());
        }
    }
}

impl Told {
    fn line(&mut self, at: u64, weight: Weight, text: String) {
        let columns = if weight == Weight::Detail { String::new() } else { self.columns() };
        self.lines.push(Line { at, weight, columns, text });
    }

    fn turn(&mut self, at: u64, text: String) {
        self.line(at, Weight::Turn, text);
    }

    fn column(&mut self, node: NodeId) -> &mut Column {
        let place = place(node);
        while self.nodes.len() <= place {
            self.nodes.push(Column { standing: Standing::Down, term: Term(0), is_paused: false });
        }
        &mut self.nodes[place]
    }

    /// A letter and a term for each node.
    fn columns(&self) -> String {
        let mut columns = String::new();
        for column in &self.nodes {
            let stands = match column.standing {
                Standing::Down => "-".to_owned(),
                _ if column.is_paused => "zz".to_owned(),
                Standing::Follows => format!("f{}", column.term.0),
                Standing::Campaigns => format!("c{}", column.term.0),
                Standing::Leads => format!("L{}", column.term.0),
            };
            let _ = write!(columns, "{stands:<0$}", Line::COLUMN);
        }
        columns
    }

    /// What of an effect turns the run.
    fn turn_of(&mut self, now: u64, node: NodeId, effect: &NodeEffect) {
        match effect {
            NodeEffect::Send { to, messages } => {
                messages.iter().for_each(|(_, message)| self.turn_of_message(now, node, *to, message));
            }
            NodeEffect::Store { writes, .. } => {
                writes.iter().for_each(|(_, write)| self.turn_of_write(now, node, write));
            }
            NodeEffect::Snapshot { work: SnapshotWork::Finish { base, .. }, .. } => {
                let last = base.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
                self.turn(now, format!("{node} has a snapshot through {last} and switches over to it"));
            }
            NodeEffect::Snapshot { .. }
            | NodeEffect::Notice(_)
            | NodeEffect::ReadLog { .. }
            | NodeEffect::Apply { .. }
            | NodeEffect::SendSnapshot { .. }
            | NodeEffect::Persist { .. }
            | NodeEffect::Reply { .. }
            | NodeEffect::Peers(_)
            | NodeEffect::Settled { .. }
            | NodeEffect::Uses(_)
            | NodeEffect::Drained => {}
        }
    }

    fn turn_of_message(&mut self, now: u64, node: NodeId, to: NodeId, message: &Message) {
        let term = message.term;
        let column = self.column(node);
        let became = |column: &mut Column, standing| {
            let new = (column.standing, column.term) != (standing, term);
            (column.standing, column.term) = (standing, term);
            new
        };
        match &message.body {
            Body::RequestVote { transfer, .. } => {
                if became(column, Standing::Campaigns) {
                    let why = if *transfer { ", as it was asked to take over" } else { "" };
                    self.turn(now, format!("{node} asks for votes in {term}{why}"));
                }
            }
            Body::Vote { granted: true } => {
                became(column, Standing::Follows);
                self.turn(now, format!("{node} votes for {to} in {term}"));
            }
            Body::Append { .. } | Body::Heartbeat { .. } => {
                if became(column, Standing::Leads) {
                    self.turn(now, format!("{node} leads {term}"));
                }
            }
            Body::TimeoutNow => self.turn(now, format!("{node} asks {to} to take over")),
            Body::InstallSnapshot { .. } => self.turn(now, format!("{node} offers {to} a snapshot")),
            Body::RequestPreVote { .. }
            | Body::PreVote { .. }
            | Body::Vote { granted: false }
            | Body::Appended { .. }
            | Body::Diverged { .. }
            | Body::LogLost { .. }
            | Body::LogLostAck { .. }
            | Body::SnapshotInstalled { .. }
            | Body::RequestSnapshot
            | Body::HeartbeatAck { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexAck { .. } => {}
        }
    }

    fn turn_of_write(&mut self, now: u64, node: NodeId, write: &Write) {
        match write {
            Write::Vote { term, .. } => {
                let column = self.column(node);
                if *term > column.term {
                    (column.standing, column.term) = (Standing::Follows, *term);
                }
            }
            Write::Truncate(from) => self.turn(now, format!("{node} removes its entries from {} on", from.0)),
            Write::Append(entries) => {
                for entry in entries {
                    if let Payload::Membership(members) = &entry.payload
                        && self.members.insert(entry.id)
                    {
                        let members = show_membership(members);
                        self.turn(now, format!("{node} appends {}, new members: {members}", entry.id));
                    }
                }
            }
            Write::Reset(base) => {
                let last = base.last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
                self.turn(now, format!("{node} begins its log anew on {last}"));
            }
            Write::Compact(_) => {}
        }
    }
}
