//! The node's thread: takes what waits, reads the clock, hands it in, carries out what the node wants done.
//!
//! The order matters. The clock is read *after* the inputs were taken: a leader that was paused in between would
//! otherwise judge its lease by a time before the pause, and serve an old value to a read that came after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hezong_base::{GroupId, NodeId, RequestId, Time};
use hezong_node::{ClientRequest, Node, NodeEffect, NodeInput, Reply};
use hezong_raft::Message;
use tokio::sync::oneshot;

use crate::connection::Tcp;
use crate::event::Event;
use crate::handle::Stats;
use crate::identity::FolderLock;
use crate::inbox::Inbox;
use crate::memory::Network;
use crate::threads::Shared;
use crate::{apply, clock, log};

/// What reaches the node's thread.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From a thread of ours: a peer's frame, or the result of something the node asked for.
    Input(NodeInput),
    /// From a client.
    Request { id: RequestId, group: GroupId, request: ClientRequest, reply: oneshot::Sender<Reply> },
    /// The client has gone.
    Cancel(RequestId),
    /// Somebody wants to know how the node stands.
    Stats(oneshot::Sender<Stats>),
    /// Stop gracefully, and tell when done.
    Stop(oneshot::Sender<()>),
    /// Stop at once, as a crash would.
    Abandon,
}

/// How messages leave.
pub(crate) enum Link {
    Tcp(Arc<Tcp>),
    Memory { network: Network, me: NodeId },
}

/// The inboxes of the other threads.
pub(crate) struct Inboxes {
    pub(crate) log: Arc<Inbox<log::Job>>,
    pub(crate) readings: Arc<Inbox<log::Reading>>,
    pub(crate) apply: Arc<Inbox<apply::Job>>,
}

/// Everything the node's thread owns.
pub(crate) struct Runner {
    pub(crate) node: Node,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inboxes: Inboxes,
    pub(crate) link: Link,
    /// Those who wait for a reply.
    pub(crate) clients: HashMap<RequestId, oneshot::Sender<Reply>>,
    /// What the node wants done and is not done yet. Empty between turns.
    pub(crate) effects: Vec<NodeEffect>,
    /// Ended, in this order, after the inboxes were closed.
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) lock: Option<FolderLock>,
    pub(crate) shutdown_timeout: Duration,
    /// Once a graceful stop was asked for: until when it may take, and who wants to know.
    pub(crate) stopping: Option<(Time, Vec<oneshot::Sender<()>>)>,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Next,
    /// Nobody waits for anything any more.
    Drained,
    Abandoned,
}

impl Runner {
    /// Runs the node to its end, and then ends everything else.
    pub(crate) fn run(mut self) {
        let mut mails = Vec::new();
        let mut now = clock::now();
        let end = loop {
            match self.turn(now, &mut mails) {
                Turn::Next if self.stopping.as_ref().is_some_and(|(until, _)| *until <= now) => break Turn::Drained,
                Turn::Next => {}
                end @ (Turn::Drained | Turn::Abandoned) => break end,
            }
            let until = self.stopping.as_ref().map(|(until, _)| *until);
            let deadline = self.node.deadline().into_iter().chain(until).min();
            self.shared.inbox.take(&mut mails, deadline.map(|at| at.since(clock::now())));
            now = clock::now();
        };
        self.close(end);
    }

    /// Hands in what was taken, as of `now`, and carries out what follows from it.
    fn turn(&mut self, now: Time, mails: &mut Vec<Mail>) -> Turn {
        for mail in mails.drain(..) {
            match mail {
                Mail::Input(input) => self.node.handle(now, input, &mut self.effects),
                Mail::Request { id, group, request, reply } => {
                    self.clients.insert(id, reply);
                    self.node.handle(now, NodeInput::Request { id, group, request }, &mut self.effects);
                }
                Mail::Cancel(id) => {
                    // Gone already if the reply and the cancellation crossed.
                    if self.clients.remove(&id).is_some() {
                        self.node.handle(now, NodeInput::Cancel { id }, &mut self.effects);
                    }
                }
                Mail::Stats(tell) => {
                    // Err: whoever asked has gone.
                    tell.send(self.stats(now)).ok();
                }
                Mail::Stop(tell) => {
                    let until = now + self.shutdown_timeout;
                    self.stopping.get_or_insert_with(|| (until, Vec::new())).1.push(tell);
                    self.node.handle(now, NodeInput::Stop, &mut self.effects);
                }
                Mail::Abandon => return Turn::Abandoned,
            }
        }
        if self.node.deadline().is_some_and(|at| at <= now) {
            self.node.handle(now, NodeInput::Timeout, &mut self.effects);
        }
        self.node.flush(now, &mut self.effects);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Turn {
        let mut turn = Turn::Next;
        let mut effects = std::mem::take(&mut self.effects);
        // The disk is slowest, so it starts first; a stable sort keeps each kind in the order issued.
        effects.sort_by_key(|effect| !matches!(effect, NodeEffect::Store { .. }));
        for effect in effects.drain(..) {
            match effect {
                NodeEffect::Store { batch, writes } => self.inboxes.log.push(log::Job::Store { batch, writes }, 0),
                NodeEffect::Send { to, messages } => self.send(to, messages),
                NodeEffect::ReadLog { group, ask, from, through, bytes_max } => {
                    let reading = log::Reading { group, ask, from, through, bytes_max };
                    self.inboxes.log.push(log::Job::Read(reading), 0);
                }
                NodeEffect::Apply { group, entries } => {
                    self.inboxes.apply.push(apply::Job::Apply { group, entries }, 0);
                }
                NodeEffect::Persist { group } => self.inboxes.apply.push(apply::Job::Persist { group }, 0),
                NodeEffect::Reply { id, reply } => {
                    if let Some(client) = self.clients.remove(&id) {
                        // Err: it has gone this very moment.
                        client.send(reply).ok();
                    }
                }
                NodeEffect::Peers(members) => match &self.link {
                    Link::Tcp(tcp) => tcp.set_members(members),
                    // The network knows everybody in it.
                    Link::Memory { .. } => {}
                },
                NodeEffect::Notice(notice) => self.shared.tell(Event::Group(notice)),
                NodeEffect::Drained => turn = Turn::Drained,
            }
        }
        // Kept for its allocation.
        self.effects = effects;
        turn
    }

    fn send(&self, to: NodeId, messages: Vec<(GroupId, Message)>) {
        match &self.link {
            Link::Tcp(tcp) => tcp.send(to, &messages),
            Link::Memory { network, me } => {
                let sent = network.send(*me, to, messages);
                let metrics = &self.shared.metrics;
                if sent { &metrics.frames_sent } else { &metrics.frames_unsent }.add(1);
            }
        }
    }

    fn stats(&self, now: Time) -> Stats {
        let mut metrics = self.shared.metrics.snapshot();
        metrics.inbox_bytes = self.shared.inbox.depth().1;
        metrics.log_queue = self.inboxes.log.depth().0;
        metrics.apply_queue = self.inboxes.apply.depth().0;
        let connected = match &self.link {
            Link::Tcp(tcp) => tcp.peers.connected(),
            Link::Memory { network, me } => network.reachable(*me),
        };
        let status = |group: &GroupId| self.node.status(now, *group).map(|status| (*group, status));
        Stats { node: self.node.stats(), metrics, connected, groups: self.groups.iter().filter_map(status).collect() }
    }

    /// Ends everything without having run.
    pub(crate) fn abandon(self) {
        self.close(Turn::Abandoned);
    }

    /// Ends all other threads. After a graceful end the state machines are durable and the log is closed.
    fn close(mut self, end: Turn) {
        self.shared.inbox.close();
        match &self.link {
            Link::Tcp(tcp) => tcp.close(),
            Link::Memory { network, me } => network.unplug(*me, &self.shared.inbox),
        }
        if end == Turn::Abandoned {
            self.shared.abandon();
        } else {
            for group in &self.groups {
                self.inboxes.apply.push(apply::Job::Persist { group: *group }, 0);
            }
        }
        self.inboxes.apply.close();
        self.inboxes.log.close();
        self.inboxes.readings.close();
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread of ours that panics aborts the process");
        }
        drop(self.lock.take());
        for tell in self.stopping.take().into_iter().flat_map(|(_, tell)| tell) {
            // Err: whoever asked has gone.
            tell.send(()).ok();
        }
    }
}
