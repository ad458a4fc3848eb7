//! The run itself: what happens next, and what follows from it.

use bytes::{Bytes, BytesMut};
use hezong_base::{AskId, NodeId, RequestId, Rng};
use hezong_node::{ClientRequest, NodeEffect, NodeInput, StateMachine};
use hezong_raft::{Base, Member, Membership, Write};
use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::{Checkers, Violation, place};
use crate::client::Client;
use crate::clock::Clock;
use crate::cut::{Chances, Cut, Due};
use crate::digest::Digest;
use crate::history::History;
use crate::moment::Moments;
use crate::network::{NODES_MAX, Network};
use crate::newcomer::Newcomer;
use crate::plan::{Fault, FaultCounts, Plan, Shape, Slip};
use crate::process::{GROUP, Left, Process};
use crate::queue::Queue;
use crate::story::Story;

/// Something planned.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame arrives.
    Arrive { from: NodeId, to: NodeId, frame: Bytes },
    /// A node's deadline may have come.
    Timer { node: NodeId },
    /// A node's inbox is empty: the turn ends.
    Flush { node: NodeId, life: u64 },
    /// The sync under way is done.
    DiskDone { node: NodeId, life: u64 },
    /// The oldest batch for the state machine is applied.
    ApplyDone { node: NodeId, life: u64 },
    /// The state machine has made everything durable.
    PersistDone { node: NodeId, life: u64 },
    /// A client's request, or the end of its patience, reaches a node.
    Input { node: NodeId, life: u64, input: NodeInput },
    /// A process that stood still goes on.
    Resume { node: NodeId, life: u64 },
    /// A machine is switched on.
    Start { node: NodeId },
    /// A machine that left the group is switched off for good.
    Leave { node: NodeId },
    /// Two nodes connect.
    Connect { one: NodeId, other: NodeId },
    /// A newcomer has rested, or has waited long enough.
    Newcomer { newcomer: usize, tick: u64 },
    /// A client has rested, or has waited long enough.
    Client { client: usize, tick: u64 },
    /// Something goes wrong, or somebody changes the members.
    Trouble,
    /// A leader that was just elected is struck.
    Ambush { leader: NodeId, due: Due },
    /// A full disk is made larger.
    DiskGrown { node: NodeId },
    /// A node is cut off from all others.
    Isolate { node: NodeId, until: u64 },
    /// A leader is cut off from all others, which lose all links but those of one of them.
    Constrain { leader: NodeId, hub: NodeId, until: u64 },
    /// A link goes, and will come and go until then.
    Flap { one: NodeId, other: NodeId, until: u64 },
}

/// One run.
pub(crate) struct Sim {
    pub(crate) now: u64,
    pub(crate) plan: Plan,
    pub(crate) queue: Queue<Event>,
    pub(crate) processes: Vec<Process>,
    pub(crate) network: Network,
    pub(crate) checkers: Checkers,
    pub(crate) clients: Vec<Client>,
    /// Which client waits for which request.
    pub(crate) waiting: BTreeMap<RequestId, usize>,
    pub(crate) newcomers: Vec<Newcomer>,
    /// Which newcomer waits for which request.
    pub(crate) joining: BTreeMap<RequestId, usize>,
    pub(crate) history: History,
    /// Writes that were told what an earlier copy of them was told.
    pub(crate) repeated: u64,
    /// Sessions whose clients were told that they are gone.
    pub(crate) expired: u64,
    pub(crate) faults: FaultCounts,
    /// In the middle of what it was struck.
    pub(crate) moments: Moments,
    pub(crate) story: Story,
    /// What clients do.
    pub(crate) workload: Rng,
    /// When something goes wrong.
    pub(crate) schedule: Rng,
    /// What goes wrong; while something strikes, a stream of that strike's own.
    pub(crate) trouble: Rng,
    /// Which strikes come, and which came.
    pub(crate) chances: Chances,
    /// How long everything takes.
    pub(crate) pace: Rng,
    pub(crate) requests: u64,
    /// Inputs handed to protocols: messages, requests, stored writes, answers, deadlines.
    pub(crate) events: u64,
    pub(crate) trace: Digest,
    /// Terms that had a leader, as far as ambushes are concerned.
    pub(crate) terms_led: u64,
    /// When a member was last asked to leave.
    pub(crate) removal_asked: Option<u64>,
    /// Since when nothing goes wrong any more.
    pub(crate) healed: Option<u64>,
    /// Every client has done what it should: none begins anything more.
    pub(crate) quiet: bool,
    /// The members as last seen applied.
    pub(crate) membership: Membership,
    /// What is done wrong by whoever runs the nodes.
    pub(crate) slip: Option<Slip>,
    #[cfg(feature = "weakened")]
    pub(crate) weakness: Option<crate::mutants::Mutant>,
    /// Kept for their memory.
    spare_effects: Vec<NodeEffect>,
    pub(crate) spare_bytes: BytesMut,
}

impl Sim {
    /// Everything that a seed decides, before anything happens.
    pub(crate) fn new(seed: u64, slip: Option<Slip>, shape: Shape, cut: &Cut, story: Story) -> Self {
        let mut chance = Rng::new(seed);
        let (mut planning, workload, trouble) = (chance.fork(), chance.fork(), chance.fork());
        let (pace, network) = (cut.pace(chance.fork()), chance.fork());
        let (schedule, strikes) = (chance.fork(), chance.fork());
        let mut plan = Plan::new(&mut planning, slip == Some(Slip::BrokenDrift), shape);
        cut.apply(&mut plan);
        let clients = std::iter::repeat_with(Client::default).take(plan.clients).collect();
        Self {
            now: 0,
            queue: Queue::default(),
            processes: Vec::new(),
            network: Network::new(network),
            checkers: Checkers::default(),
            clients,
            waiting: BTreeMap::new(),
            newcomers: Vec::new(),
            joining: BTreeMap::new(),
            history: History::default(),
            repeated: 0,
            expired: 0,
            faults: FaultCounts::default(),
            moments: Moments::default(),
            story,
            workload,
            schedule,
            trouble,
            chances: Chances::new(strikes, cut.only.clone()),
            pace,
            requests: 0,
            events: 0,
            trace: Digest::default(),
            terms_led: 0,
            removal_asked: None,
            healed: None,
            quiet: false,
            membership: Membership::default(),
            slip,
            #[cfg(feature = "weakened")]
            weakness: None,
            spare_effects: Vec::new(),
            spare_bytes: BytesMut::new(),
            plan,
        }
    }

    /// Switches everything on.
    pub(crate) fn begin(&mut self) {
        let ids: Vec<_> = (1..=self.plan.nodes).map(NodeId).collect();
        let membership = Membership::of_voters(ids.iter().map(|id| (*id, member(*id))));
        self.membership = membership.clone();
        let first = Write::Reset(Base { last: None, time: Duration::ZERO, membership });
        for id in ids {
            self.add_process(id);
            self.processes[place(id)].disk.prepare(&first);
            self.queue.push(0, Event::Start { node: id });
        }
        for client in 0..self.clients.len() {
            let rest = self.workload.below(self.plan.patience);
            self.queue.push(rest, Event::Client { client, tick: 0 });
        }
        self.queue.push(self.plan.patience, Event::Trouble);
    }

    /// A machine of its own, switched off.
    pub(crate) fn add_process(&mut self, id: NodeId) {
        assert!(place(id) < NODES_MAX && place(id) == self.processes.len(), "ids come one after the other");
        let ppm = self.clock_ppm();
        let clock = Clock::new(self.trouble.below(1 << 40), ppm);
        let newest = self.first_program();
        let mut process = Process::new(id, clock, self.plan.segment_bytes);
        #[cfg(feature = "weakened")]
        process.weaken(self.weakness);
        process.newest = newest;
        self.processes.push(process);
    }

    /// A rate within the bound.
    pub(crate) fn clock_ppm(&mut self) -> i64 {
        let width = i64::try_from(self.plan.clock_ppm).unwrap_or(0);
        // At the ends of what is allowed as often as between them: there it hurts.
        match self.trouble.below(4) {
            0 => -width,
            1 => width,
            _ => i64::try_from(self.trouble.below(2 * self.plan.clock_ppm + 1)).unwrap_or(0) - width,
        }
    }

    /// Lets the next thing happen.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        let (at, event) = self.queue.pop().expect("trouble and clients never end");
        self.now = at;
        match event {
            Event::Arrive { from, to, frame } => self.on_arrive(from, to, frame),
            Event::Timer { node } => self.on_timer(node),
            Event::Flush { node, life } => match self.alive(node, life) {
                true if self.processes[place(node)].flush_planned => self.flush(node),
                _ => Ok(()),
            },
            Event::DiskDone { node, life } if self.alive(node, life) => self.on_disk_done(node),
            Event::ApplyDone { node, life } if self.alive(node, life) => self.on_apply_done(node),
            Event::PersistDone { node, life } if self.alive(node, life) => {
                let machine = &mut self.processes[place(node)].machine;
                let lies = self.slip == Some(Slip::CompactUnpersisted);
                let durable = if lies { machine.last() } else { machine.persist().expect("the store is in memory") };
                self.hand(node, NodeInput::Persisted { group: GROUP, durable })
            }
            Event::Input { node, life, input } if self.alive(node, life) => self.hand(node, input),
            Event::Resume { node, life } if self.alive(node, life) => self.resume(node),
            Event::DiskDone { .. }
            | Event::ApplyDone { .. }
            | Event::PersistDone { .. }
            | Event::Input { .. }
            | Event::Resume { .. } => Ok(()),
            Event::Start { node } => self.start(node),
            Event::Leave { node } => {
                self.processes[place(node)].gone = true;
                self.crash(node, false)
            }
            Event::Connect { one, other } => self.on_connect(one, other),
            Event::Newcomer { newcomer, tick } => self.on_newcomer(newcomer, tick),
            Event::Client { client, tick } => self.on_client(client, tick),
            Event::Trouble => self.on_trouble(),
            Event::Ambush { leader, due } => self.on_ambush(leader, due),
            Event::DiskGrown { node } => self.on_disk_grown(node),
            Event::Isolate { node, until } => {
                self.isolate(node, until);
                Ok(())
            }
            Event::Constrain { leader, hub, until } => {
                self.on_constrain(leader, hub, until);
                Ok(())
            }
            Event::Flap { one, other, until } => {
                self.on_flap(one, other, until);
                Ok(())
            }
        }
    }

    /// Hands a node one input, now or when it goes on.
    pub(crate) fn hand(&mut self, node: NodeId, input: NodeInput) -> Result<(), Violation> {
        let process = &mut self.processes[place(node)];
        process.room.on_arrival(self.now, &input);
        match &mut process.paused {
            Some(inbox) => inbox.push_back(input),
            None => return self.take_in(node, input),
        }
        Ok(())
    }

    /// A node is handed an input.
    fn take_in(&mut self, node: NodeId, input: NodeInput) -> Result<(), Violation> {
        if self.processes[place(node)].node.is_none() {
            return Ok(());
        }
        self.events += match &input {
            NodeInput::Received { messages, .. } => messages.len() as u64,
            NodeInput::Request { .. }
            | NodeInput::Stored(_)
            | NodeInput::LogRead { .. }
            | NodeInput::Applied { .. }
            | NodeInput::Persisted { .. }
            | NodeInput::SnapshotMessage { .. }
            | NodeInput::Snapshot { .. }
            | NodeInput::Cancel { .. }
            | NodeInput::DiskReserve { .. }
            | NodeInput::Timeout
            | NodeInput::Version { .. }
            | NodeInput::Stop => 1,
        };
        self.trace.word(self.now);
        self.trace.word(node.0 << 8 | kind(&input));
        self.story.input(self.now, node, &input);
        match &input {
            NodeInput::Stored(batch) => {
                self.checkers.on_stored(node, *batch);
                self.on_fetch_stored(node, *batch);
            }
            NodeInput::SnapshotMessage { message, .. } => self.on_fetch_told(node, message),
            NodeInput::DiskReserve { below } => self.processes[place(node)].room.on_told(*below),
            _ => {}
        }
        let process = &mut self.processes[place(node)];
        let Some(running) = &mut process.node else { return Ok(()) };
        let mut effects = std::mem::take(&mut self.spare_effects);
        running.handle(process.clock.local(self.now), input, &mut effects);
        let outcome = self.carry_out(node, &mut effects);
        self.spare_effects = effects;
        outcome?;
        self.plan_flush(node)
    }

    /// Ends the turn now, or lets more arrive before it does.
    fn plan_flush(&mut self, node: NodeId) -> Result<(), Violation> {
        let process = &mut self.processes[place(node)];
        if process.node.is_none() || process.flush_planned {
            return Ok(());
        }
        if self.pace.below(1_000) >= self.plan.lazy_flush {
            return self.flush(node);
        }
        process.flush_planned = true;
        let (life, at) = (process.life, self.now + self.pace.below(self.plan.way));
        self.queue.push(at, Event::Flush { node, life });
        Ok(())
    }

    fn flush(&mut self, node: NodeId) -> Result<(), Violation> {
        let process = &mut self.processes[place(node)];
        process.flush_planned = false;
        let Some(running) = process.node.as_mut().filter(|_| process.paused.is_none()) else { return Ok(()) };
        let mut effects = std::mem::take(&mut self.spare_effects);
        running.flush(process.clock.local(self.now), &mut effects);
        let outcome = self.carry_out(node, &mut effects);
        self.spare_effects = effects;
        outcome?;
        self.arm(node);
        Ok(())
    }

    /// Plans the next timer event, unless one is planned that comes early enough.
    pub(crate) fn arm(&mut self, node: NodeId) {
        let process = &mut self.processes[place(node)];
        let Some(deadline) = process.node.as_ref().and_then(|running| running.deadline()) else { return };
        let at = process.clock.reaches(self.now, deadline);
        if at < process.timer {
            process.timer = at;
            self.queue.push(at, Event::Timer { node });
        }
    }

    /// A planned deadline. It may have moved, the clock may have changed its rate, or the process may stand still.
    fn on_timer(&mut self, node: NodeId) -> Result<(), Violation> {
        let process = &mut self.processes[place(node)];
        if process.timer != self.now {
            return Ok(());
        }
        process.timer = u64::MAX;
        if !process.runs() {
            return Ok(());
        }
        let local = process.clock.local(self.now);
        let deadline = process.node.as_ref().and_then(|running| running.deadline());
        if deadline.is_some_and(|deadline| deadline <= local) {
            self.hand(node, NodeInput::Timeout)?;
            let process = &self.processes[place(node)];
            let again = process.node.as_ref().and_then(|running| running.deadline());
            if again.is_some_and(|again| again <= local) && !process.flush_planned {
                let detail = format!("{node} had its timeout and wants it again at once");
                return Err(Violation::new("a timeout is over", detail));
            }
        }
        self.arm(node);
        Ok(())
    }

    /// Switches a machine on.
    fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let rng = self.pace.fork();
        // A newcomer may know its number before anybody has applied the entry that gives it.
        let Some(process) = self.processes.get(place(node)) else { return Ok(()) };
        let member = self.membership.members().get(&node);
        let unnumbered = process.life == 0 && member.is_none_or(|member| self.awaits_number(node, member));
        if process.node.is_some() || process.gone || unnumbered {
            return Ok(());
        }
        let process = &mut self.processes[place(node)];
        let mut effects = std::mem::take(&mut self.spare_effects);
        let config = self.plan.raft(node);
        #[cfg(feature = "weakened")]
        let config = hezong_raft::Config { weakness: self.weakness.and_then(crate::mutants::Mutant::raft), ..config };
        let Some((found, left)) = process.start(self.now, &self.plan, config, rng, &mut effects)? else {
            self.story.say(self.now, node, "dies while it starts");
            self.faults.add(Fault::TornWrite);
            process.crash(true, &mut self.trouble);
            let again = self.now + self.trouble.below(self.plan.patience);
            self.queue.push(again, Event::Start { node });
            return Ok(());
        };
        let applied = process.machine.last();
        self.checkers.on_start(node, found)?;
        match left {
            None => {}
            Some(Left::Cut(left)) => {
                self.faults.add(Fault::LogDamage);
                self.story.say(self.now, node, "finds the end of its log gone");
                self.checkers.on_damage(node, left);
            }
            Some(Left::Repaired(left, owed)) => {
                self.faults.add(Fault::LogRot);
                self.story.say(self.now, node, &format!("repairs its log, and owes {owed:?}"));
                self.checkers.on_repaired(node, left, owed, applied)?;
            }
            Some(Left::Spared(left)) => {
                self.story.say(self.now, node, "does not miss what was damaged of its log");
                self.checkers.on_repaired(node, left, None, applied)?;
            }
            Some(Left::Refused) => self.story.say(self.now, node, "cannot repair its log, and gets its disk back"),
        }
        self.checkers.on_state(node, applied.map(|last| last.index));
        self.story.starts(self.now, node);
        self.plan_connections(node);
        if self.processes[place(node)].room.is_full() && self.slip != Some(Slip::ReserveForgotten) {
            self.tell_room(node);
        }
        let outcome = self.carry_out(node, &mut effects);
        self.spare_effects = effects;
        outcome?;
        self.arm(node);
        Ok(())
    }

    /// A process dies, with its machine or without. It comes back after a while, unless it is gone for good.
    pub(crate) fn crash(&mut self, node: NodeId, power: bool) -> Result<(), Violation> {
        let process = &mut self.processes[place(node)];
        if process.node.is_none() {
            return Ok(());
        }
        self.on_fetch_crash(node);
        self.on_change_crash(node);
        let process = &mut self.processes[place(node)];
        self.story.dies(self.now, node, power);
        process.crash(power, &mut self.trouble);
        if power {
            // A machine that was switched off counts from anew.
            let ppm = process.clock.ppm();
            process.clock = Clock::started(self.now, self.trouble.below(1 << 30), ppm);
            if self.slip == Some(Slip::BlankDisk) {
                process.lose_everything(self.plan.segment_bytes);
            }
        }
        let down = self.trouble.below(self.plan.patience * 2);
        let healed = self.healed.is_some();
        self.queue.push(self.now + if healed { 0 } else { down }, Event::Start { node });
        self.forget_newcomers_at(node);
        self.forget_requests_at(node)
    }

    /// A process goes on: first what arrived meanwhile, then its deadline.
    fn resume(&mut self, node: NodeId) -> Result<(), Violation> {
        let Some(inbox) = self.processes[place(node)].paused.take() else { return Ok(()) };
        self.story.pauses(self.now, node, false);
        for input in inbox {
            self.take_in(node, input)?;
        }
        self.flush(node)?;
        self.arm(node);
        Ok(())
    }

    /// Whether a node is still in that life.
    pub(crate) fn alive(&self, node: NodeId, life: u64) -> bool {
        let process = &self.processes[place(node)];
        process.node.is_some() && process.life == life
    }

    /// New members are switched on, former ones are switched off after a while.
    pub(crate) fn on_membership(&mut self) -> Result<(), Violation> {
        let Some(now) = self.checkers.membership() else { return Ok(()) };
        if *now == self.membership {
            return Ok(());
        }
        let now = now.clone();
        let before = std::mem::replace(&mut self.membership, now.clone());
        if now.is_joint() {
            self.faults.add(Fault::Joint);
        }
        for id in now.members().keys().filter(|id| !before.members().contains_key(id)) {
            self.faults.add(Fault::Addition);
            if place(*id) < self.processes.len() {
                let detail = format!("{} is taken in as {id}, as another was", now.members()[id].name);
                return Err(Violation::new("a number is given once", detail));
            }
            self.add_process(*id);
            let at = self.now + self.trouble.below(self.plan.patience);
            self.queue.push(at, Event::Start { node: *id });
        }
        for id in before.members().keys().filter(|id| !now.members().contains_key(id)) {
            self.faults.add(Fault::Removal);
            let at = self.now + self.trouble.below(self.plan.patience * 4);
            self.queue.push(at, Event::Leave { node: *id });
        }
        Ok(())
    }

    /// A request that nobody waits for.
    pub(crate) fn ask(&mut self, node: NodeId, request: ClientRequest) -> Result<(), Violation> {
        let id = self.next_request();
        self.hand(node, NodeInput::Request { id, group: GROUP, request })
    }

    pub(crate) fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }
}

/// How a member of a simulation is called.
pub(crate) fn member(id: NodeId) -> Member {
    Member { name: format!("node{}", id.0), peer: format!("peer{}", id.0), client: format!("client{}", id.0) }
}

/// Numbers the kinds of input for the trace, with what tells two of a kind apart.
fn kind(input: &NodeInput) -> u64 {
    match input {
        NodeInput::Received { from, .. } => 16 | from.0,
        NodeInput::Request { .. } => 1,
        NodeInput::Cancel { .. } => 2,
        NodeInput::Stored(_) => 3,
        NodeInput::LogRead { ask: AskId(_), .. } => 4,
        NodeInput::Applied { .. } => 5,
        NodeInput::Persisted { .. } => 6,
        NodeInput::DiskReserve { .. } => 7,
        NodeInput::Timeout => 8,
        NodeInput::Stop => 9,
        NodeInput::SnapshotMessage { from, .. } => 32 | from.0,
        NodeInput::Snapshot { .. } => 10,
        NodeInput::Version { .. } => 11,
    }
}
