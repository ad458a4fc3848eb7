//! Turns: take what waits, read the clock, hand it in, carry out what the node wants done.
//!
//! The node has a thread of its own, and one turn is taken at a time; but when the node is idle, whoever brings it
//! something to do takes that turn itself. A write of a lone client would otherwise wake some ten threads one after the
//! other, and waking them would take longer than the disk. Under load all turns are the node's thread's.
//!
//! The order matters. The clock is read *after* the inputs were taken: a leader that was paused in between would
//! otherwise judge its lease by a time before the pause, and serve an old value to a read that came after it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hezong_base::{GroupId, NodeId, RequestId, Time};
use hezong_codec::SnapshotMessage;
use hezong_node::{ClientRequest, Node, NodeEffect, NodeInput, Refused, Reply, SnapshotWork, Tuning};
use hezong_raft::{Body, Message, Version};
use tokio::sync::oneshot;

use crate::connection::Tcp;
use crate::event::Event;
use crate::follow::Asked;
use crate::handle::Stats;
use crate::identity::{FolderLock, Identity};
use crate::inbox::Inbox;
use crate::memory::Network;
use crate::threads::{Shared, stop_process};
use crate::{apply, log, snapshot};

/// Between two looks at whether a thread has ended.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// So many looks in a row may find threads waiting on a full disk, about five seconds.
const FULL_MAX: u32 = 1_000;

/// What reaches the node.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From a thread of ours: a peer's frame, or the result of something the node asked for.
    Input(NodeInput),
    /// From a client.
    Request {
        id: RequestId,
        group: GroupId,
        request: ClientRequest,
        reply: oneshot::Sender<Reply>,
        /// Where a command belongs that is traced.
        trace: Option<Box<Asked>>,
    },
    /// The client has gone.
    Cancel(RequestId),
    /// Somebody wants to know how the node stands.
    Stats(oneshot::Sender<Stats>),
    /// Somebody wants to know whether a peer was removed.
    Removed(NodeId, std::sync::mpsc::Sender<bool>),
    /// From now on other limits hold.
    Tune(Tuning),
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
    pub(crate) log: Arc<log::Log>,
    pub(crate) readings: Arc<Inbox<log::Reading>>,
    pub(crate) machines: Arc<apply::Machines>,
    pub(crate) snapshots: Arc<Inbox<snapshot::Reading>>,
}

/// The node and everything that belongs to it: whoever has it may take a turn.
pub(crate) struct Runner {
    pub(crate) node: Node,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inboxes: Inboxes,
    /// The snapshots held for others.
    pub(crate) held: Arc<snapshot::Held>,
    pub(crate) link: Link,
    /// Those who wait for a reply.
    pub(crate) clients: HashMap<RequestId, oneshot::Sender<Reply>>,
    /// What was taken from the inbox and not handed in yet. Empty between turns.
    pub(crate) mails: Vec<Mail>,
    /// Traced commands that are not in the log yet.
    pub(crate) asked: Vec<(RequestId, GroupId, Box<Asked>)>,
    /// What the node wants done and is not done yet. Empty between turns.
    pub(crate) effects: Vec<NodeEffect>,
    /// Until when the node's thread sleeps, unless woken; `None` for ever.
    pub(crate) sleeps_until: Option<Time>,
    /// Set by the turn that ends it all.
    pub(crate) end: Option<End>,
    /// Ended, in this order, after the inboxes were closed.
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) lock: Option<FolderLock>,
    /// `None`: everything is kept in memory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) shutdown_timeout: Duration,
    /// Once a graceful stop was asked for: until when it may take, and who wants to know.
    pub(crate) stopping: Option<(Time, Vec<oneshot::Sender<()>>)>,
}

/// What a turn leaves to be done by whoever took it, once the node is let go. Whoever is woken by it has work for the
/// node soon, often on the processor of the one that wakes: under the lock it would only find the node taken.
#[derive(Default)]
pub(crate) struct Afterwards {
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    /// Something was put into its inbox.
    log: Option<Arc<log::Log>>,
    /// The same.
    machines: Option<Arc<apply::Machines>>,
}

/// What a thread may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MayWait {
    Nothing,
    /// The state machines, while they are quick.
    Machines,
    /// These, and the disk while it is.
    Disk,
}

impl Shared {
    /// Does what a turn left to be done.
    pub(crate) fn carry_out(&self, Afterwards { replies, log, machines }: Afterwards, may_wait: MayWait) {
        if may_wait < MayWait::Disk {
            log.iter().for_each(|log| log.inbox.wake());
        }
        if may_wait < MayWait::Machines {
            machines.iter().for_each(|machines| machines.inbox.wake());
        }
        for (client, reply) in replies {
            // Err: it has gone this very moment.
            client.send(reply).ok();
        }
        if may_wait >= MayWait::Disk {
            log.iter().for_each(|log| log.write_here(self));
        }
        if may_wait >= MayWait::Machines {
            machines.iter().for_each(|machines| machines.work_here(self));
        }
    }
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nobody waits for anything any more, or the time for that is over.
    Graceful,
    Abandoned,
}

/// With this many clients waiting, turns are left to the node's thread: it is awake anyway, and what comes while it
/// works shares the next turn's frames and its sync.
const CLIENTS_IDLE_MAX: usize = 4;

/// The node's thread: takes the turns nobody else takes, above all those that time brings, and ends everything else in
/// the end.
pub(crate) fn run(shared: &Shared) {
    let lock = || shared.runner.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut locked = lock();
        let runner = locked.as_mut().expect("only this thread takes it away");
        // Awake, so nobody need wake it.
        runner.sleeps_until = Some(Time::ZERO);
        let afterwards = runner.turn();
        if let Some(end) = runner.end {
            let runner = locked.take().expect("it was there");
            // Others may look in vain from now on, while this waits for them to end.
            drop(locked);
            shared.carry_out(afterwards, MayWait::Nothing);
            return runner.close(end);
        }
        runner.sleeps_until = runner.deadline();
        let until = runner.sleeps_until;
        drop(locked);
        shared.carry_out(afterwards, MayWait::Nothing);
        shared.inbox.wait(until.map(|at| at.since(shared.clock.now())));
    }
}

impl Runner {
    /// Takes what waits, hands it in as of now, and carries out what follows from it, on whichever thread brought it; but
    /// for what is left to be done once the lock is let go.
    pub(crate) fn turn(&mut self) -> Afterwards {
        let mut mails = std::mem::take(&mut self.mails);
        self.shared.inbox.take_now(&mut mails);
        // After the mails were taken: see above.
        let now = self.shared.clock.now();
        let inputs = mails.len();
        for mail in mails.drain(..) {
            self.take_in(now, mail);
        }
        self.mails = mails;
        if self.node.deadline().is_some_and(|at| at <= now) {
            self.node.handle(now, NodeInput::Timeout, &mut self.effects);
        }
        self.node.flush(now, &mut self.effects);
        if !self.asked.is_empty() {
            self.follow_asked();
        }
        let handled = self.shared.clock.now();
        let afterwards = self.carry_out();
        let (handling, carrying_out) = (handled.since(now), self.shared.clock.now().since(handled));
        self.shared.slow.turn(self.shared.inbox.waited(), handling, carrying_out, inputs);
        if self.stopping.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.end.get_or_insert(End::Graceful);
        }
        let sleeps_too_long = match (self.deadline(), self.sleeps_until) {
            (Some(deadline), Some(until)) => deadline < until,
            (deadline, None) => deadline.is_some(),
            (None, Some(_)) => false,
        };
        if self.end.is_some() || sleeps_too_long {
            self.shared.inbox.poke();
        }
        afterwards
    }

    /// Whether so little goes on that a turn may be taken on the thread that brings it something to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.clients.len() < CLIENTS_IDLE_MAX && self.end.is_none()
    }

    fn deadline(&self) -> Option<Time> {
        let until = self.stopping.as_ref().map(|(until, _)| *until);
        self.node.deadline().into_iter().chain(until).min()
    }

    fn take_in(&mut self, now: Time, mail: Mail) {
        match mail {
            Mail::Input(input) => {
                self.hang_up_on_removed(&input);
                self.trace_input(&input);
                self.node.handle(now, input, &mut self.effects);
            }
            Mail::Request { id, group, request, reply, trace } => {
                self.clients.insert(id, reply);
                self.asked.extend(trace.map(|asked| (id, group, asked)));
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
            Mail::Removed(peer, tell) => {
                // Err: whoever asked has gone.
                tell.send(self.node.has_removed(peer)).ok();
            }
            Mail::Tune(tuning) => self.node.tune(tuning),
            Mail::Stop(tell) => {
                let until = now + self.shutdown_timeout;
                self.stopping.get_or_insert_with(|| (until, Vec::new())).1.push(tell);
                self.node.handle(now, NodeInput::Stop, &mut self.effects);
            }
            Mail::Abandon => self.end = Some(End::Abandoned),
        }
    }

    /// A node that was removed while it could not be told keeps its connections, and campaigns over them: nobody else
    /// asks for votes of those who let it go. It is hung up on, and told when it dials again.
    fn hang_up_on_removed(&self, input: &NodeInput) {
        let (NodeInput::Received { from, messages }, Link::Tcp(tcp)) = (input, &self.link) else { return };
        let campaigns = messages.iter().any(|(_, message)| matches!(message.body, Body::RequestPreVote { .. }));
        if campaigns && self.node.has_removed(*from) {
            tcp.peers.get(*from).inspect(|peer| peer.hang_up());
        }
    }

    /// Of traced commands, follows those from here on that became entries.
    fn follow_asked(&mut self) {
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|(id, group, asked)| match self.node.accepted(*id) {
            Some(entry) => {
                self.shared.traces.accepted(*group, entry, asked);
                false
            }
            // Not yet, unless it was refused or is gone.
            None => self.clients.contains_key(id),
        });
        self.asked = asked;
    }

    /// What came may concern entries that are followed.
    fn trace_input(&self, input: &NodeInput) {
        let traces = &self.shared.traces;
        if !traces.is_active() {
            return;
        }
        match input {
            NodeInput::Received { from, messages } => traces.heard(*from, messages),
            NodeInput::Applied { group, through, .. } => traces.applied(*group, through.index),
            _ => {}
        }
    }

    fn carry_out(&mut self) -> Afterwards {
        let traces = self.shared.traces.is_active();
        let mut afterwards = Afterwards::default();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                NodeEffect::Store { batch, writes } => {
                    if traces {
                        self.shared.traces.storing(batch, &writes);
                    }
                    self.inboxes.log.inbox.push(log::Job::Store { batch, writes }, 0);
                    afterwards.log = Some(Arc::clone(&self.inboxes.log));
                }
                NodeEffect::Send { to, messages } => self.send(to, messages, traces),
                NodeEffect::ReadLog { group, ask, from, through, bytes_max } => {
                    let reading = log::Reading { group, ask, from, through, bytes_max };
                    self.inboxes.log.inbox.push(log::Job::Read(reading), 0);
                    afterwards.log = Some(Arc::clone(&self.inboxes.log));
                }
                NodeEffect::Apply { group, entries } => {
                    if traces {
                        self.shared.traces.applying(group, &entries);
                    }
                    self.inboxes.machines.inbox.push(apply::Job::Apply { group, entries }, 0);
                    afterwards.machines = Some(Arc::clone(&self.inboxes.machines));
                }
                NodeEffect::Persist { group } => {
                    self.inboxes.machines.inbox.push(apply::Job::Persist { group }, 0);
                    afterwards.machines = Some(Arc::clone(&self.inboxes.machines));
                }
                NodeEffect::Snapshot { group, work: SnapshotWork::Read { id, to, cursor, bytes_max } } => {
                    let reading = snapshot::Reading { group, id, to, cursor, bytes_max };
                    self.inboxes.snapshots.push(reading, 0);
                }
                NodeEffect::Snapshot { group, work: SnapshotWork::Drop(id) } => self.held.remove(group, id),
                NodeEffect::Snapshot { group, work } => {
                    self.inboxes.machines.inbox.push(apply::Job::Snapshot { group, work }, 0);
                    afterwards.machines = Some(Arc::clone(&self.inboxes.machines));
                }
                NodeEffect::SendSnapshot { to, message } => self.send_snapshot(to, message),
                NodeEffect::Reply { id, reply } => {
                    if let Some(client) = self.clients.remove(&id) {
                        afterwards.replies.push((client, reply));
                    }
                }
                NodeEffect::Settled { group, membership } => match &self.link {
                    Link::Tcp(tcp) => tcp.peers.settle(group, membership),
                    Link::Memory { .. } => {}
                },
                NodeEffect::Peers(members) => match &self.link {
                    Link::Tcp(tcp) => tcp.set_members(members),
                    // The network knows everybody in it.
                    Link::Memory { .. } => {}
                },
                NodeEffect::Uses(version) => self.note_version(version),
                NodeEffect::Notice(notice) => self.shared.tell(Event::Group(notice)),
                NodeEffect::Drained => {
                    self.end.get_or_insert(End::Graceful);
                }
            }
        }
        // Kept for its allocation.
        self.effects = effects;
        afterwards
    }

    /// Notes in the folder that older programs cannot open it any more, and hangs up on those that run. The node waits for
    /// the disk; once in the life of a version.
    fn note_version(&self, version: Version) {
        let noted = self.folder.as_ref().map_or(Ok(()), |folder| Identity::note_version(folder, version));
        if let Err(error) = noted {
            stop_process(&format_args!("the use of version {version} cannot be noted: {error}"));
        }
        if let Link::Tcp(tcp) = &self.link {
            tcp.peers.require(version.0);
        }
    }

    fn send(&self, to: NodeId, messages: Vec<(GroupId, Message)>, traces: bool) {
        let traced = if traces { self.shared.traces.sending(to, &messages) } else { Vec::new() };
        match &self.link {
            Link::Tcp(tcp) => tcp.send(to, &messages, &traced),
            Link::Memory { network, me } => {
                let sent = network.send(*me, to, messages);
                let metrics = &self.shared.metrics;
                if sent { &metrics.frames_sent } else { &metrics.frames_unsent }.add(1);
            }
        }
    }

    fn send_snapshot(&self, to: NodeId, message: SnapshotMessage) {
        match &self.link {
            Link::Tcp(tcp) => tcp.send_snapshot(to, &message),
            Link::Memory { network, me } => {
                if !network.send_snapshot(*me, to, message) {
                    self.shared.metrics.frames_unsent.add(1);
                }
            }
        }
    }

    fn stats(&self, now: Time) -> Stats {
        let mut metrics = self.shared.metrics.snapshot();
        metrics.inbox_bytes = self.shared.inbox.depth().1;
        metrics.log_queue = self.inboxes.log.inbox.depth().0;
        metrics.apply_queue = self.inboxes.machines.inbox.depth().0;
        metrics.slow = self.shared.slow.counts();
        metrics.spans = self.shared.traces.tracer().map_or((0, 0), |tracer| tracer.counts());
        let connected = match &self.link {
            Link::Tcp(tcp) => tcp.peers.connected(),
            Link::Memory { network, me } => network.reachable(*me),
        };
        let status = |group: &GroupId| self.node.status(now, *group).map(|status| (*group, status));
        let groups = self.groups.iter().filter_map(status).collect();
        Stats { node: self.node.stats(), metrics, connected, removed_by: self.shared.removed_by.get().copied(), groups }
    }

    /// Ends everything without having run.
    pub(crate) fn abandon(self) {
        self.close(End::Abandoned);
    }

    /// Answers what came after the last turn and before the inbox was closed: nobody else takes it out any more.
    fn turn_away(&mut self) {
        let mut mails = Vec::new();
        self.shared.inbox.take_now(&mut mails);
        for mail in mails {
            match mail {
                Mail::Request { reply, .. } => {
                    // Err: whoever asked has gone.
                    reply.send(Reply::Refused(Refused::Stopping)).ok();
                }
                Mail::Stop(tell) => match &mut self.stopping {
                    Some((_, waiting)) => waiting.push(tell),
                    // Dropped, it tells as well that the node is gone; so do all others.
                    None => drop(tell),
                },
                Mail::Input(_)
                | Mail::Cancel(_)
                | Mail::Stats(_)
                | Mail::Removed(..)
                | Mail::Tune(_)
                | Mail::Abandon => {}
            }
        }
    }

    /// Ends all other threads. After a graceful end the state machines are durable and the log is closed.
    fn close(mut self, end: End) {
        self.shared.inbox.close();
        self.turn_away();
        match &self.link {
            Link::Tcp(tcp) => tcp.close(),
            Link::Memory { network, me } => network.unplug(*me, &self.shared.inbox),
        }
        if end == End::Abandoned {
            self.shared.abandon();
        } else {
            for group in &self.groups {
                self.inboxes.machines.inbox.push(apply::Job::Persist { group: *group }, 0);
            }
        }
        self.inboxes.machines.inbox.close();
        self.inboxes.log.inbox.close();
        self.inboxes.readings.close();
        self.inboxes.snapshots.close();
        let mut full = 0;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() {
                std::thread::sleep(CLOSE_PAUSE);
                full = if self.shared.room.is_full() { full + 1 } else { 0 };
                if full > FULL_MAX {
                    stop_process(&"the node cannot end in order: its disk is full; nothing acknowledged is lost");
                }
            }
            thread.join().expect("a thread of ours that panics aborts the process");
        }
        let (lock, stopping) = (self.lock.take(), self.stopping.take());
        // The state machines close with all else that is left: whoever finds the folder free finds them closed.
        drop(self);
        drop(lock);
        for tell in stopping.into_iter().flat_map(|(_, tell)| tell) {
            // Err: whoever asked has gone.
            tell.send(()).ok();
        }
    }
}
