//! The nodes of a run, their disks, clocks and users; what happens next, and what follows from it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hezong_base::{AskId, Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};
use hezong_invariants::{Invariants, Violation};
use hezong_script::Dialect;

use super::subject::{AskOf, EventOf, MessageOf, Outcome, ProtocolOf, RequestOf, SavedOf, Subject, WriteOf};
use crate::check::place;
use crate::clock::Clock;
use crate::digest::Digest;
use crate::network::{Network, Ways};
use crate::plan::{Fault, FaultCounts};
use crate::queue::Queue;

/// What is going to happen.
pub(super) enum Next<S: Subject> {
    /// A message arrives; of the sender's life in which it was sent.
    Arrive { from: NodeId, life: u64, to: NodeId, message: MessageOf<S> },
    /// A deadline, if it is still the node's latest.
    Deadline { node: NodeId, tick: u64 },
    /// A disk has written all up to there.
    Synced { node: NodeId, life: u64, through: WriteId },
    /// Local work is done.
    Answer { node: NodeId, life: u64, id: AskId, ask: AskOf<S> },
    /// A user may want something.
    User { node: NodeId },
    /// A process comes up.
    Start { node: NodeId },
    /// Something goes wrong.
    Trouble,
    /// One of the cuts of a flapping link.
    Flap { one: NodeId, other: NodeId, left: u64 },
}

/// A process that is up.
pub(super) struct Process<S: Subject> {
    pub(super) protocol: ProtocolOf<S>,
    machine: S::Machine,
    view: <S::Invariants as Invariants>::View,
}

/// A machine, with or without a process on it.
pub(super) struct Node<S: Subject> {
    pub(super) process: Option<Process<S>>,
    pub(super) saved: SavedOf<S>,
    /// Writes issued and not yet on disk, oldest first.
    pub(super) unstored: VecDeque<(WriteId, WriteOf<S>)>,
    /// Whether the disk is writing.
    is_syncing: bool,
    pub(super) clock: Clock,
    /// What its machine was at the crash.
    left: Option<S::Machine>,
    /// What was seen of it last, for the step that a crash is.
    last_view: Option<<S::Invariants as Invariants>::View>,
    /// How often it was started.
    pub(super) life: u64,
    /// The number of its latest deadline.
    tick: u64,
    /// When that is.
    ticks_at: Option<u64>,
    pub(super) paused_until: u64,
    pub(super) slow_disk_until: u64,
    pub(super) stalled_until: u64,
    /// At the next step it dies before all of what that does is done.
    pub(super) is_doomed: bool,
    /// What its user waits for, and since when.
    waits_for: Option<(RequestId, u64)>,
    /// Whether the user was served since everything was healed.
    pub(super) is_served: bool,
}

/// A run.
pub(super) struct World<S: Subject> {
    pub(super) subject: S,
    pub(super) ways: Ways,
    /// How long a sync takes, at least; up to four times as long.
    pub(super) sync: u64,
    /// How long a user rests, at most.
    pub(super) rest: u64,
    /// How long nothing new goes wrong, at most.
    pub(super) lull: u64,
    /// How long a process that died stays away, at most.
    away: u64,
    pub(super) now: u64,
    pub(super) queue: Queue<Next<S>>,
    pub(super) nodes: Vec<Node<S>>,
    pub(super) network: Network,
    /// When the last message of each way arrives, where order is kept.
    latest: BTreeMap<(NodeId, NodeId), u64>,
    pub(super) faults: FaultCounts,
    pub(super) drawn: Vec<Fault>,
    /// Decides what goes wrong.
    pub(super) trouble: Rng,
    /// Decides what users want and how long local work takes.
    work: Rng,
    past: <S::Invariants as Invariants>::Past,
    requests: u64,
    pub(super) done: u64,
    pub(super) events: u64,
    pub(super) is_healed: bool,
    pub(super) trace: Digest,
    /// What happened, line by line, where it is told.
    pub(super) story: Option<Vec<String>>,
}

type Step = Result<(), Violation>;
/// The message that made a step, if one did, and whose it was.
type Heard<S> = Option<(NodeId, MessageOf<S>)>;

impl<S: Subject> World<S> {
    /// Machines whose processes are about to start.
    pub(super) fn new(mut rng: Rng, weakness: Option<&str>, is_told: bool) -> Self {
        let subject = S::draw(&mut rng, weakness);
        let patience = 1_000_000_000;
        let mut some = |most: u64| if rng.chance(500) { 0 } else { rng.below(most) };
        let (mut loss, mut delay, duplication) = (some(500), some(300), some(200));
        let mut sync_parts = 2;
        if S::IS_SYNCHRONOUS {
            // Two ways, a sync and one that it waits for: each takes up to four times its least.
            (loss, delay, sync_parts) = (0, 0, 20);
        }
        let way = patience / (20 + rng.below(400));
        let ways = Ways { way, patience, loss, delay, duplication };
        let drawn = super::trouble::draw::<S>(&mut rng);
        let nodes = (1..=subject.nodes()).map(|id| Node {
            process: None,
            saved: subject.disk(NodeId(id)),
            unstored: VecDeque::new(),
            is_syncing: false,
            clock: Clock::new(0, 0),
            left: None,
            last_view: None,
            life: 0,
            tick: 0,
            ticks_at: None,
            paused_until: 0,
            slow_disk_until: 0,
            stalled_until: 0,
            is_doomed: false,
            waits_for: None,
            is_served: false,
        });
        let nodes: Vec<_> = nodes.collect();
        let mut queue = Queue::default();
        for id in (1..=nodes.len() as u64).map(NodeId) {
            queue.push(rng.below(patience / 10), Next::Start { node: id });
            queue.push(rng.below(patience / 4), Next::User { node: id });
        }
        // Where silence means a crash, the others are to go on meanwhile.
        let away = patience * if S::IS_SYNCHRONOUS { 8 } else { 1 };
        let lull = away / (1 + rng.below(20));
        queue.push(rng.below(lull), Next::Trouble);
        let (sync, rest) = (patience / (sync_parts + rng.below(100)), patience / (1 + rng.below(20)));
        let network = Network::new(rng.fork());
        let (trouble, work) = (rng.fork(), rng.fork());
        Self {
            subject,
            ways,
            sync,
            rest,
            lull,
            away,
            now: 0,
            queue,
            nodes,
            network,
            latest: BTreeMap::new(),
            faults: FaultCounts::default(),
            drawn,
            trouble,
            work,
            past: Default::default(),
            requests: 0,
            done: 0,
            events: 0,
            is_healed: false,
            trace: Digest::default(),
            story: is_told.then(Vec::new),
        }
    }

    /// Lets the next thing happen.
    pub(super) fn step(&mut self) -> Step {
        let Some((at, next)) = self.queue.pop() else { return Ok(()) };
        self.now = at;
        let node = match &next {
            Next::Arrive { to: node, .. }
            | Next::Deadline { node, .. }
            | Next::Synced { node, .. }
            | Next::Answer { node, .. }
            | Next::User { node }
            | Next::Start { node } => *node,
            Next::Trouble => {
                self.strike();
                return Ok(());
            }
            Next::Flap { one, other, left } => {
                self.flap(*one, *other, *left);
                return Ok(());
            }
        };
        let it = &self.nodes[place(node)];
        if it.paused_until > at {
            // All else first: what lies in the inbox came before the deadline.
            let later = it.paused_until + u64::from(matches!(next, Next::Deadline { .. }));
            self.queue.push(later, next);
            return Ok(());
        }
        match next {
            Next::Arrive { from, life, to, message } => {
                let is_up = it.process.is_some();
                // Where nothing else is lost, what one that crashed had on its way may be.
                let may_be_lost = S::IS_SYNCHRONOUS && self.nodes[place(from)].life != life;
                if is_up && !(may_be_lost && self.trouble.chance(500)) {
                    self.tell(|| format!("{to} ← {from} {}", S::Dialect::message(&message)));
                    return self.hand(to, Input::Message { from, message });
                }
                Ok(())
            }
            Next::Deadline { tick, .. } if tick == it.tick && it.process.is_some() => self.deadline(node),
            Next::Synced { life, through, .. } if life == it.life => self.synced(node, through),
            Next::Answer { life, id, ask, .. } if life == it.life => self.answer(node, id, &ask),
            Next::User { .. } => self.user(node),
            Next::Start { .. } => self.start(node),
            _ => Ok(()),
        }
    }

    /// A process comes up with what its disk holds.
    pub(super) fn start(&mut self, id: NodeId) -> Step {
        let now = self.now;
        let config = self.subject.config(id, Duration::from_nanos(self.ways.patience));
        let node = &mut self.nodes[place(id)];
        if node.process.is_some() {
            return Ok(());
        }
        node.life += 1;
        node.is_syncing = false;
        // A machine may have been started anew, and its clock with it.
        node.clock = Clock::started(now, self.trouble.below(self.ways.patience * 10), node.clock.ppm());
        let (local, rng, mut out) = (node.clock.local(now), self.work.fork(), Vec::new());
        let protocol = ProtocolOf::<S>::start(local, config, node.saved.clone(), rng, &mut out);
        let view = self.subject.invariants().view(&protocol, &node.saved, local);
        let machine = match node.left.take() {
            Some(left) => self.subject.revive(left, &node.saved),
            None => self.subject.machine(&node.saved),
        };
        node.process = Some(Process { protocol, machine, view });
        self.tell(|| format!("{id} starts"));
        if let Some(before) = self.nodes[place(id)].last_view.take() {
            let after = &self.nodes[place(id)].process.as_ref().expect("it was started").view;
            self.subject.invariants().check_step(id, &before, after)?;
        }
        self.follow(id, out, None)?;
        if let Some(process) = &mut self.nodes[place(id)].process {
            self.subject.started(&mut process.machine);
        }
        Ok(())
    }

    /// A process dies, and with it what was not on disk, but for the first `kept` writes.
    pub(super) fn crash(&mut self, id: NodeId, kept: usize) {
        let (back, now) = (1 + self.trouble.below(self.away), self.now);
        let node = &mut self.nodes[place(id)];
        let Some(process) = node.process.take() else { return };
        (node.last_view, node.left) = (Some(process.view), Some(process.machine));
        for (_, write) in node.unstored.drain(..).take(kept) {
            ProtocolOf::<S>::save(&mut node.saved, &write);
        }
        node.life += 1;
        (node.is_doomed, node.waits_for) = (false, None);
        self.queue.push(now + back, Next::Start { node: id });
        self.tell(|| format!("{id} crashes"));
    }

    fn deadline(&mut self, id: NodeId) -> Step {
        let node = &self.nodes[place(id)];
        let local = node.clock.local(self.now);
        let deadline =
            |world: &Self| world.nodes[place(id)].process.as_ref().and_then(|process| process.protocol.deadline());
        if deadline(self).is_none_or(|at| at > local) {
            self.wait(id);
            return Ok(());
        }
        self.tell(|| format!("{id} times out"));
        self.hand(id, Input::Timeout)?;
        match deadline(self).filter(|at| *at <= local) {
            Some(at) => {
                Err(Violation::new("a timeout is over once it was handed in", format!("{id} at {local}: {at}")))
            }
            None => Ok(()),
        }
    }

    fn synced(&mut self, id: NodeId, through: WriteId) -> Step {
        self.nodes[place(id)].is_syncing = false;
        loop {
            let node = &mut self.nodes[place(id)];
            let Some((_, write)) = node.unstored.pop_front_if(|(id, _)| *id <= through) else { break };
            ProtocolOf::<S>::save(&mut node.saved, &write);
            // One by one: what a later write replaces was on the disk all the same, and others may be told so.
            self.look(id, None)?;
        }
        self.sync(id);
        self.hand(id, Input::Stored(through))
    }

    /// Has the disk write all that waits, unless it is busy.
    fn sync(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        let Some((through, _)) = node.unstored.back().filter(|_| !node.is_syncing) else { return };
        let (through, life) = (*through, node.life);
        node.is_syncing = true;
        let slowness = if node.slow_disk_until > self.now { 20 } else { 1 };
        let takes = (self.sync + self.work.below(self.sync * 3)) * slowness;
        let at = (self.now + takes).max(node.stalled_until);
        self.queue.push(at, Next::Synced { node: id, life, through });
    }

    fn answer(&mut self, id: NodeId, ask_id: AskId, ask: &AskOf<S>) -> Step {
        let node = &mut self.nodes[place(id)];
        let Some(process) = &mut node.process else { return Ok(()) };
        let answer = self.subject.answer(&mut process.machine, &node.saved, ask);
        self.hand(id, Input::Answered { id: ask_id, answer })
    }

    /// A user asks for something, unless it waits already, or lately began to.
    fn user(&mut self, id: NodeId) -> Step {
        let next = self.now + 1 + self.work.below(self.rest);
        self.queue.push(next, Next::User { node: id });
        let process = self.nodes[place(id)].process.as_mut();
        if let Some(request) = process.and_then(|it| self.subject.idle(&mut it.machine, &mut self.work)) {
            self.ask(id, request)?;
        }
        let node = &mut self.nodes[place(id)];
        let Some(process) = &node.process else { return Ok(()) };
        // Once all is well whoever was served rests: users that never do may starve others, and no protocol claims otherwise.
        if self.is_healed && node.is_served {
            return Ok(());
        }
        if node.waits_for.is_some_and(|(_, since)| self.now < since + self.ways.patience * 4) {
            return Ok(());
        }
        self.requests += 1;
        let Some(request) = self.subject.request(&process.protocol, self.requests, &mut self.work) else {
            return Ok(());
        };
        let request_id = RequestId(self.requests);
        node.waits_for = Some((request_id, self.now));
        self.subject.invariants().asked(&mut self.past, id, request_id, &request);
        self.tell(|| format!("{id} is asked: {request:?}"));
        self.hand(id, Input::Request { id: request_id, request })
    }

    /// Hands a node that is up an input, and does what follows.
    fn hand(&mut self, id: NodeId, input: Input<ProtocolOf<S>>) -> Step {
        self.events += 1;
        let node = &mut self.nodes[place(id)];
        let Some(process) = &mut node.process else { return Ok(()) };
        let (local, mut out) = (node.clock.local(self.now), Vec::new());
        let heard = match &input {
            Input::Message { from, message } => Some((*from, message.clone())),
            Input::Request { .. } | Input::Stored(_) | Input::Answered { .. } | Input::Timeout => None,
        };
        process.protocol.handle(local, input, &mut out);
        self.trace.word(self.now);
        self.trace.word(id.0);
        process.protocol.fingerprint(local, &mut self.trace);
        let is_doomed = std::mem::take(&mut node.is_doomed);
        if is_doomed {
            let left = self.trouble.below(out.len() as u64 + 1);
            out.truncate(left as usize);
            self.faults.add(Fault::Crash);
        }
        self.follow(id, out, heard)?;
        if is_doomed {
            self.crash(id, 0);
        }
        Ok(())
    }

    /// Carries out effects, looks at what the node has become, and lets users do what they do when told something.
    fn follow(&mut self, id: NodeId, out: Vec<Effect<ProtocolOf<S>>>, heard: Heard<S>) -> Step {
        let mut told = Vec::new();
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.send(id, to, message),
                Effect::Store { id: write_id, write } => {
                    self.tell(|| format!("    {id} writes {}", S::Dialect::show_write(&write)));
                    self.nodes[place(id)].unstored.push_back((write_id, write));
                }
                Effect::Ask { id: ask_id, ask } => {
                    let at = self.now + 1 + self.work.below(self.sync * 4);
                    let life = self.nodes[place(id)].life;
                    self.queue.push(at, Next::Answer { node: id, life, id: ask_id, ask });
                }
                Effect::Emit(event) => told.push(event),
            }
        }
        self.sync(id);
        self.look(id, heard)?;
        for event in told {
            self.hear(id, &event)?;
        }
        self.wait(id);
        Ok(())
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: MessageOf<S>) {
        if to.0 == 0 || to.0 > self.nodes.len() as u64 {
            return;
        }
        let [mut once, mut twice] = self.network.send(self.now, from, to, &self.ways, &mut self.faults);
        if S::IN_ORDER {
            let latest = self.latest.entry((from, to)).or_default();
            for at in [&mut once, &mut twice].into_iter().flatten() {
                *at = (*at).max(*latest);
                *latest = *at;
            }
        }
        let lost = if once.is_some() { "" } else { "   lost" };
        self.tell(|| format!("    {from} → {to} {}{lost}", S::Dialect::message(&message)));
        let life = self.nodes[place(from)].life;
        if let Some(at) = twice {
            self.queue.push(at, Next::Arrive { from, life, to, message: message.clone() });
        }
        if let Some(at) = once {
            self.queue.push(at, Next::Arrive { from, life, to, message });
        }
    }

    /// What must hold of the node's step, by a message if that is what it heard, and of all nodes after it.
    fn look(&mut self, id: NodeId, heard: Heard<S>) -> Step {
        let (now, invariants) = (self.now, self.subject.invariants());
        let node = &mut self.nodes[place(id)];
        let Some(process) = &mut node.process else { return Ok(()) };
        let view = invariants.view(&process.protocol, &node.saved, node.clock.local(now));
        invariants.check_step(id, &process.view, &view)?;
        if let Some((from, message)) = heard {
            invariants.check_message(id, &process.view, from, &message, &view)?;
        }
        invariants.remember(&mut self.past, id, &view)?;
        process.view = view;
        let up = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let view = &node.process.as_ref()?.view;
            Some((NodeId(at as u64 + 1), view))
        });
        invariants.check(&up.collect::<Vec<_>>(), &self.past)
    }

    fn hear(&mut self, id: NodeId, event: &EventOf<S>) -> Step {
        self.tell(|| format!("    {id} tells {}", S::Dialect::event(event)));
        self.subject.invariants().hear(&mut self.past, id, event)?;
        let node = &mut self.nodes[place(id)];
        if let Some((request, outcome)) = self.subject.outcome(event)
            && node.waits_for.is_some_and(|(waits_for, _)| waits_for == request)
        {
            node.waits_for = None;
            self.done += u64::from(outcome == Outcome::Done);
            node.is_served |= self.is_healed && outcome == Outcome::Done;
        }
        let Some(process) = &mut node.process else { return Ok(()) };
        let requests: Vec<RequestOf<S>> = self.subject.hear(&mut process.machine, event, &mut self.work);
        requests.into_iter().try_for_each(|request| self.ask(id, request))
    }

    /// The local side asks for something that nobody waits for.
    fn ask(&mut self, id: NodeId, request: RequestOf<S>) -> Step {
        if self.nodes[place(id)].process.is_none() {
            return Ok(());
        }
        self.requests += 1;
        let request_id = RequestId(self.requests);
        self.subject.invariants().asked(&mut self.past, id, request_id, &request);
        self.tell(|| format!("{id} is asked by itself: {request:?}"));
        self.hand(id, Input::Request { id: request_id, request })
    }

    /// Plans the node's next deadline.
    pub(super) fn wait(&mut self, id: NodeId) {
        let node = &mut self.nodes[place(id)];
        let Some(process) = &node.process else { return };
        let at = process.protocol.deadline().map(|at: Time| node.clock.reaches(self.now, at));
        if at == node.ticks_at.filter(|ticks_at| *ticks_at > self.now) && at.is_some() {
            return;
        }
        node.tick += 1;
        node.ticks_at = at;
        let Some(at) = at else { return };
        self.queue.push(at, Next::Deadline { node: id, tick: node.tick });
    }

    /// Adds a line to the story, if there is one.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>12.3} ms  {}", self.now as f64 / 1e6, line()));
        }
    }

    /// Whether all is well.
    pub(super) fn is_well(&self) -> bool {
        let served: Vec<_> = self.nodes.iter().map(|node| node.is_served).collect();
        let up: Option<Vec<_>> = self.nodes.iter().map(|node| node.process.as_ref()).collect();
        let Some(up) = up else { return false };
        let nodes: Vec<_> = up.iter().map(|process| &process.protocol).collect();
        let machines: Vec<_> = up.iter().map(|process| &process.machine).collect();
        self.subject.is_well(&nodes, &machines, &served)
    }

    /// Whether nothing new can happen.
    pub(super) fn is_over(&self) -> bool {
        self.subject.is_over(&self.nodes.iter().map(|node| &node.saved).collect::<Vec<_>>())
    }
}
