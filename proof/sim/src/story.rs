//! What happened, line by line, for a person who replays a seed. Costs nothing while nobody listens.

use std::fmt::Write as _;

use hezong_base::NodeId;
use hezong_node::{NodeEffect, NodeInput};
use hezong_script::raft::{show_entry, show_membership, show_message, show_write};

/// The last lines of a run, or nothing at all.
#[derive(Debug, Default)]
pub(crate) struct Story {
    lines: Option<Vec<String>>,
}

impl Story {
    /// A story that is told.
    pub(crate) fn told() -> Self {
        Self { lines: Some(Vec::new()) }
    }

    /// What was told.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }

    /// What a node does, in words.
    pub(crate) fn say(&mut self, now: u64, node: NodeId, what: &str) {
        self.line(now, || format!("{node} {what}"));
    }

    /// Something that concerns nobody in particular.
    pub(crate) fn note(&mut self, now: u64, what: &str) {
        self.line(now, || format!("-- {what}"));
    }

    /// A frame is lost.
    pub(crate) fn lost(&mut self, now: u64, from: NodeId, to: NodeId) {
        self.line(now, || format!("   {from} ⇥ {to} lost"));
    }

    /// What a node is handed.
    pub(crate) fn input(&mut self, now: u64, node: NodeId, input: &NodeInput) {
        self.line(now, || match input {
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
        self.line(now, || match effect {
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
    }

    fn line(&mut self, now: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.3} ms  {}", now as f64 / 1e6, text()));
        }
    }
}
