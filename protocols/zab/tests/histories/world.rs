//! An ensemble under a network, disks and users that do what they like, and a dumb twin: the one order of all that was
//! delivered anywhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_zab::{
    Answer, Ask, Config, Epoch, Event, Log, Message, Request, Role, Saved, SnapshotId, Standing, Write, Zab, Zxid,
};

/// A node, its disk, and its user's state machine.
struct Node {
    running: Zab,
    config: Config,
    disk: Saved,
    unstored: VecDeque<(WriteId, Write)>,
    asks: VecDeque<(AskId, Ask)>,
    /// How much of the order its state machine has, and would find again after a crash.
    applied: usize,
    durable: usize,
    snapshots: BTreeMap<SnapshotId, usize>,
    /// Under whom it serves, since all was well.
    serves: Option<(NodeId, Epoch)>,
    lives: u32,
    /// The last that it was told in this life.
    told: Option<Zxid>,
    /// How fast its clock goes, in percent, and since when: what it showed then, and what the true one did.
    pace: u64,
    since: (Time, Time),
}

impl Node {
    /// What its clock shows.
    fn local(&self, now: Time) -> Time {
        let passed = now.since(self.since.1).as_nanos() * u128::from(self.pace) / 100;
        Time::from_nanos(self.since.0.as_nanos() + u64::try_from(passed).unwrap())
    }

    /// When its deadline is, by the true clock.
    fn deadline(&self) -> Option<Time> {
        let ahead = self.running.deadline()?.since(self.since.0).as_nanos() * 100;
        Some(Time::from_nanos(self.since.1.as_nanos() + u64::try_from(ahead.div_ceil(u128::from(self.pace))).unwrap()))
    }
}

/// What was asked of a node in one life.
struct Asked {
    node: NodeId,
    /// For a proposal.
    data: Option<Bytes>,
    /// For a `sync`: how much had been delivered anywhere by then.
    order: usize,
}

/// What one run is made of, and what it has seen.
pub(crate) struct World {
    pub(crate) rng: Rng,
    now: Time,
    nodes: BTreeMap<NodeId, Node>,
    voters: u64,
    letters: Vec<(NodeId, NodeId, Message)>,
    /// Those that can reach each other and nobody else.
    island: BTreeSet<NodeId>,
    requests: u64,
    waiting: BTreeMap<u64, Asked>,
    /// All that was delivered anywhere.
    order: Vec<(Zxid, Bytes)>,
    proposed: BTreeSet<Bytes>,
    refused: BTreeSet<Bytes>,
    /// Who led each epoch, in which life, and how much had been delivered when it was established.
    reigns: BTreeMap<Epoch, (NodeId, u32, usize)>,
    /// Who has taken up each epoch as its leader, established later or not, and in which life.
    taken: BTreeMap<Epoch, (NodeId, u32)>,
    /// Nothing bad happens any more.
    healing: bool,
    /// And what bad things have left behind is over.
    well: bool,
    /// The first property that was broken, and how.
    wrong: Option<(&'static str, String)>,
    pub(crate) seen: Seen,
}

/// What runs have taken part in, so that nothing is thought tried that never happened.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) losses: u32,
    pub(crate) reigns: u32,
    pub(crate) delivered: u32,
    pub(crate) snapshots: u32,
    pub(crate) truncations: u32,
    pub(crate) forwarded: u32,
    pub(crate) synced: u32,
    pub(crate) unknown: u32,
    pub(crate) used_up: u32,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.losses += other.losses;
        self.reigns += other.reigns;
        self.delivered += other.delivered;
        self.snapshots += other.snapshots;
        self.truncations += other.truncations;
        self.forwarded += other.forwarded;
        self.synced += other.synced;
        self.unknown += other.unknown;
        self.used_up += other.used_up;
    }
}

/// Whether a history has this, or had it and the state machine has it. Asks no more of the history than to be listed.
fn holds(log: &Log, zxid: Zxid) -> bool {
    log.base() >= Some(zxid) || log.entries().any(|entry| entry.zxid == zxid)
}

/// How long it takes at most until no session is left that has lost something, and a leader is there.
const SETTLE: Duration = Duration::from_secs(20);

impl World {
    pub(crate) fn new(seed: u64, prepare: impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::new(seed);
        let voters = 3 + 2 * u64::from(rng.chance(300));
        let counter_max = if rng.chance(500) { 2 + u32::try_from(rng.below(4)).unwrap() } else { 0xffff_fffe };
        let history_kept = usize::try_from(rng.below(6)).unwrap();
        // Sometimes one of them has a slow clock, and believes for too long that it still leads.
        let slow = rng.chance(300).then(|| NodeId(1 + rng.below(voters)));
        let mut world = Self {
            rng,
            now: Time::from_millis(1_000),
            nodes: BTreeMap::new(),
            voters,
            letters: Vec::new(),
            island: BTreeSet::new(),
            requests: 0,
            waiting: BTreeMap::new(),
            order: Vec::new(),
            proposed: BTreeSet::new(),
            refused: BTreeSet::new(),
            reigns: BTreeMap::new(),
            taken: BTreeMap::new(),
            healing: false,
            well: false,
            wrong: None,
            seen: Seen::default(),
        };
        // The last one observes.
        for id in (1..=voters + 1).map(NodeId) {
            let mut config = Config::new(id, (1..=voters).map(NodeId).collect());
            config.observers = [NodeId(voters + 1)].into();
            (config.counter_max, config.history_kept) = (counter_max, history_kept);
            prepare(&mut config);
            world.start(id, config, Saved::default(), 0, 0, if slow == Some(id) { 15 } else { 100 });
        }
        world
    }

    fn start(&mut self, id: NodeId, config: Config, disk: Saved, durable: usize, lives: u32, pace: u64) {
        let (mut out, rng) = (Vec::new(), self.rng.fork());
        let running = Zab::start(self.now, config.clone(), disk.clone(), rng, &mut out);
        let (unstored, asks, snapshots) = Default::default();
        let (applied, serves) = (durable, None);
        let (told, since) = (None, (self.now, self.now));
        let node = Node {
            running,
            config,
            disk,
            unstored,
            asks,
            applied,
            durable,
            snapshots,
            serves,
            lives,
            told,
            pace,
            since,
        };
        self.nodes.insert(id, node);
        self.carry_out(id, out);
    }

    fn blame(&mut self, wrong: bool, property: &'static str, what: impl FnOnce() -> String) {
        if wrong && self.wrong.is_none() {
            self.wrong = Some((property, what()));
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("every node is up")
    }

    fn hand(&mut self, id: NodeId, input: Input<Zab>) {
        let mut out = Vec::new();
        let now = self.nodes[&id].local(self.now);
        let node = self.node(id);
        let seen = |node: &Zab| (node.committed(), node.current(), node.accepted());
        let before = seen(&node.running);
        node.running.handle(now, input, &mut out);
        let (after, lives) = (seen(&node.running), node.lives);
        let takes_up = matches!(node.running.role(), Role::Preparing | Role::Leading);
        let shrunk = after.0 < before.0 || after.1 < before.1 || after.2 < before.2 || after.2 < after.1;
        self.blame(shrunk, "epochs and commits only grow", || {
            format!("{id} has forgotten what it knew: {before:?}, and now {after:?}")
        });
        if takes_up && before.1 < after.1 {
            let another = self.taken.insert(after.1, (id, lives)).filter(|taken| *taken != (id, lives));
            self.blame(another.is_some(), "one leader an epoch", || {
                format!("{id} takes up {}, as {another:?} has", after.1)
            });
        }
        self.carry_out(id, out);
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Effect<Zab>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => {
                    if self.island.contains(&id) == self.island.contains(&to) {
                        self.letters.push((id, to, message));
                    }
                }
                Effect::Store { id: write_id, write } => {
                    self.seen.truncations += u32::from(matches!(write, Write::Truncate(_)));
                    self.node(id).unstored.push_back((write_id, write));
                }
                Effect::Ask { id: ask_id, ask } => self.node(id).asks.push_back((ask_id, ask)),
                Effect::Emit(event) => self.on_event(id, event),
            }
        }
    }

    fn on_event(&mut self, id: NodeId, event: Event) {
        match event {
            Event::Delivered { zxid, data, request } => {
                if let Some(request) = request {
                    self.seen.forwarded += u32::from(self.node(id).running.role() != Role::Leading);
                    let asked = self.waiting.remove(&request.0);
                    let right = asked.is_some_and(|asked| asked.node == id && asked.data.as_ref() == Some(&data));
                    self.blame(!right, "one outcome a request", || {
                        format!("{id} is told that {request} is done, which is another's")
                    });
                }
                self.on_delivered(id, zxid, data);
            }
            Event::Refused { id: request, .. } => {
                if let Some(data) = self.outcome(id, request).and_then(|asked| asked.data) {
                    let delivered = self.order.iter().any(|(_, other)| *other == data);
                    self.blame(delivered, "refused is not done", || format!("{data:?} was delivered, and is refused"));
                    self.refused.insert(data);
                }
            }
            Event::Unknown { id: request } => {
                self.seen.unknown += 1;
                self.outcome(id, request);
            }
            Event::Synced { id: request } => {
                self.seen.synced += 1;
                let Some(asked) = self.outcome(id, request) else { return };
                let applied = self.node(id).applied;
                self.blame(applied < asked.order, "sync", || {
                    format!("{id} has {applied} of {} that were there when it asked for sync", asked.order)
                });
            }
            Event::Standing(standing) => self.on_standing(id, standing),
        }
    }

    fn outcome(&mut self, id: NodeId, request: RequestId) -> Option<Asked> {
        let asked = self.waiting.remove(&request.0).filter(|asked| asked.node == id);
        self.blame(asked.is_none(), "one outcome a request", || {
            format!("{id} is told of {request}, which has its outcome or is another's")
        });
        asked
    }

    fn on_delivered(&mut self, id: NodeId, zxid: Zxid, data: Bytes) {
        let before = self.node(id).told.replace(zxid);
        self.blame(before >= Some(zxid), "total order", || format!("{id} delivers {zxid} behind {before:?}"));
        let own = &self.node(id).disk.history;
        let stored = holds(own, zxid);
        self.blame(!stored, "delivered is on disk", || format!("{id} delivers {zxid}, which is not on its disk"));
        let applied = self.node(id).applied;
        if applied.checked_sub(1).and_then(|at| self.order.get(at)).is_some_and(|(last, _)| zxid <= *last) {
            // What the state machine has comes again after a restart, from where the history begins.
            let known = self.order.iter().take(applied).any(|known| *known == (zxid, data.clone()));
            return self.blame(!known, "agreement", || format!("{id} delivers {zxid} late, which is not in the order"));
        }
        if let Some(next) = self.order.get(applied) {
            let (there, same) = (next.0, *next == (zxid, data));
            self.blame(!same, "agreement", || format!("{id} delivers {zxid} where another has delivered {there}"));
        } else {
            self.blame(!self.proposed.contains(&data), "integrity", || format!("nobody has proposed {data:?}"));
            self.blame(self.refused.contains(&data), "refused is not done", || {
                format!("{data:?} was refused, and is delivered")
            });
            let twice = self.order.iter().any(|(_, other)| *other == data);
            self.blame(twice, "integrity", || format!("{data:?} is delivered twice"));
            let follows = match self.order.last() {
                Some((last, _)) if last.epoch == zxid.epoch => last.counter + 1 == zxid.counter,
                Some((last, _)) => last.epoch < zxid.epoch && zxid.counter == 1,
                None => zxid.counter == 1,
            };
            self.blame(!follows, "primary order", || format!("{zxid} is delivered, and not what comes before it"));
            let voters = self.nodes.iter().filter(|(id, _)| id.0 <= self.voters).map(|(_, node)| node);
            let copies = voters.filter(|node| holds(&node.disk.history, zxid)).count() as u64;
            self.blame(copies <= self.voters / 2, "delivered is on a majority's disks", || {
                format!("{zxid} is delivered with {copies} copies on disk")
            });
            self.order.push((zxid, data));
            self.seen.delivered += 1;
        }
        self.node(id).applied += 1;
    }

    fn on_standing(&mut self, id: NodeId, standing: Standing) {
        let (applied, well) = (self.nodes.get(&id).map_or(0, |node| node.applied), self.well);
        match standing {
            Standing::Looking => {
                let Some((leader, epoch)) = self.nodes.get_mut(&id).and_then(|node| node.serves.take()) else { return };
                let leads = self.nodes[&leader].running.role() == Role::Leading;
                let same = self.nodes[&leader].running.current() == epoch;
                let outdone = self.nodes.iter().any(|(id, node)| {
                    id.0 <= self.voters && (node.running.accepted() > epoch || node.disk.accepted > epoch)
                });
                let used_up = self.nodes[&id]
                    .running
                    .history()
                    .last()
                    .is_some_and(|last| last.epoch >= epoch && last.counter >= self.nodes[&id].config.counter_max);
                self.seen.used_up += u32::from(used_up);
                let no_reason = if leader == id { !outdone && !used_up } else { leads && same };
                self.blame(no_reason, "leaders are left for a reason", || {
                    format!("{id} leaves {leader} of {epoch} for no reason")
                });
            }
            Standing::Following { leader, epoch } => {
                let given = self.reigns.get(&epoch).map_or(0, |(.., delivered)| *delivered);
                self.blame(applied < given, "who serves has the history", || {
                    format!("{id} serves in {epoch} with {applied} of {given}")
                });
                self.node(id).serves = well.then_some((leader, epoch));
            }
            Standing::Leading { epoch } => {
                let lives = self.node(id).lives;
                let before = self.reigns.insert(epoch, (id, lives, applied));
                self.blame(before.is_some(), "one leader an epoch", || {
                    format!("{epoch} is led by {id}, and by {before:?} before")
                });
                self.node(id).serves = well.then_some((id, epoch));
                self.seen.reigns += 1;
            }
        }
    }

    fn any(&mut self) -> NodeId {
        NodeId(1 + self.rng.below(self.nodes.len() as u64))
    }

    fn ask(&mut self, id: NodeId, propose: bool) {
        self.requests += 1;
        let data = propose.then(|| Bytes::from(format!("value {}", self.requests)));
        self.proposed.extend(data.clone());
        let asked = Asked { node: id, data: data.clone(), order: self.order.len() };
        self.waiting.insert(self.requests, asked);
        let request = data.map_or(Request::Sync, Request::Propose);
        self.hand(id, Input::Request { id: RequestId(self.requests), request });
    }

    /// The user reports how much would survive.
    fn report(&mut self, id: NodeId) {
        let node = self.node(id);
        node.durable = node.applied;
        let Some((zxid, _)) = self.nodes[&id].applied.checked_sub(1).and_then(|at| self.order.get(at)) else { return };
        let request = Request::Applied(*zxid);
        self.hand(id, Input::Request { id: RequestId(u64::MAX), request });
    }

    fn answer(&mut self, id: NodeId) {
        let Some((ask_id, ask)) = self.node(id).asks.pop_front() else { return };
        let answer = match ask {
            Ask::TakeSnapshot(snapshot) => {
                let node = self.node(id);
                let applied = node.applied;
                node.snapshots.insert(snapshot, applied);
                Answer::Taken(applied.checked_sub(1).map(|at| self.order[at].0))
            }
            Ask::InstallSnapshot { from, id: snapshot, .. } => {
                let taken = self.nodes[&from].snapshots.get(&snapshot).copied();
                if let Some(taken) = taken {
                    self.seen.snapshots += 1;
                    let node = self.node(id);
                    node.applied = node.applied.max(taken);
                    node.durable = node.applied;
                }
                Answer::Installed(taken.is_some())
            }
        };
        self.hand(id, Input::Answered { id: ask_id, answer });
    }

    /// Hands over the oldest letter of a link, or any if it is a bad day.
    fn deliver(&mut self, keep: bool, in_order: bool) {
        if self.letters.is_empty() {
            return;
        }
        let mut at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
        if in_order {
            let link = (self.letters[at].0, self.letters[at].1);
            at = self.letters.iter().position(|(from, to, _)| (*from, *to) == link).unwrap();
        }
        let (from, to, message) = if keep { self.letters[at].clone() } else { self.letters.remove(at) };
        self.hand(to, Input::Message { from, message });
    }

    fn lose(&mut self) {
        if !self.letters.is_empty() {
            let at = usize::try_from(self.rng.below(self.letters.len() as u64)).unwrap();
            self.letters.remove(at);
        }
    }

    fn store(&mut self, id: NodeId) {
        let node = self.node(id);
        let Some((write_id, write)) = node.unstored.pop_front() else { return };
        Zab::save(&mut node.disk, &write);
        self.hand(id, Input::Stored(write_id));
        // Where epochs change hands, what is stored and what is not matters most.
        let epoch = matches!(write, Write::Accepted(_) | Write::Current(_));
        if epoch && !self.healing && self.rng.chance(120) {
            self.crash(id);
        }
    }

    fn crash(&mut self, id: NodeId) {
        let Node { config, disk, unstored, durable, lives, pace, .. } = self.nodes.remove(&id).unwrap();
        self.seen.losses += u32::from(!unstored.is_empty());
        if !self.healing && self.rng.chance(200) {
            // It stays away for a while.
            self.island = [id].into();
        }
        if self.rng.chance(500) {
            self.letters.retain(|(from, to, _)| *from != id && *to != id);
        }
        self.waiting.retain(|_, asked| asked.node != id);
        // Somebody must be there for what start emits.
        self.start(id, config, disk, durable, lives + 1, pace);
    }

    /// The deadline that comes first passes.
    fn pass(&mut self) {
        let due = self.nodes.iter().filter_map(|(id, node)| Some((node.deadline()?, *id))).min();
        if let Some((at, id)) = due {
            self.now = self.now.max(at);
            self.hand(id, Input::Timeout);
            let next = self.nodes[&id].deadline();
            let now = self.now;
            self.blame(next.is_some_and(|next| next <= now), "timeouts end", || {
                format!("{id} has a timeout without end")
            });
        }
    }

    /// All that can be done without time passing; false if there was nothing.
    fn calm_step(&mut self) -> bool {
        let busy = self.nodes.iter().filter(|(_, node)| !node.unstored.is_empty()).map(|(id, _)| *id);
        let busy = busy.collect::<Vec<_>>();
        let asked = self.nodes.iter().find(|(_, node)| !node.asks.is_empty()).map(|(id, _)| *id);
        if !busy.is_empty() && (self.letters.is_empty() || self.rng.chance(400)) {
            let at = usize::try_from(self.rng.below(busy.len() as u64)).unwrap();
            self.store(busy[at]);
        } else if !self.letters.is_empty() {
            self.deliver(false, true);
        } else if let Some(id) = asked {
            self.answer(id);
        } else {
            return false;
        }
        true
    }

    /// Users ask for things, some more often than others.
    fn users(&mut self) {
        let id = self.any();
        match self.rng.below(10) {
            0..6 => self.ask(id, true),
            6..8 => self.ask(id, false),
            _ => self.report(id),
        }
    }

    fn storm_step(&mut self) {
        match self.rng.below(1_000) {
            0..60 => self.users(),
            60..600 => self.deliver(false, true),
            600..606 => self.deliver(false, false),
            606..614 => self.deliver(true, true),
            614..630 => self.lose(),
            630..645 => {
                // Rather one that has something to lose.
                let ids = [self.any(), self.any(), self.any()];
                let busy = ids.into_iter().find(|id| !self.nodes[id].unstored.is_empty());
                self.crash(busy.unwrap_or(ids[0]));
            }
            645..675 => self.pass(),
            675..685 => {
                let id = self.any();
                self.answer(id);
            }
            _ => {
                let id = self.any();
                self.store(id);
            }
        }
    }

    /// A while of one kind of weather.
    pub(crate) fn spell(&mut self) {
        self.island.clear();
        if self.rng.chance(800) {
            // Rather the one that leads: who takes over must not be known to it at once.
            let leader = self.nodes.iter().find(|(_, node)| node.running.role() == Role::Leading).map(|(id, _)| *id);
            let any = NodeId(1 + self.rng.below(self.voters));
            self.island.insert(leader.filter(|_| self.rng.chance(500)).unwrap_or(any));
            if self.voters > 3 {
                let id = self.any();
                self.island.insert(id);
            }
        }
        let calm = self.rng.chance(600);
        for _ in 0..30 + self.rng.below(250) {
            if !calm {
                self.storm_step();
            } else if !self.calm_step() {
                self.pass();
            }
            if calm && self.rng.chance(80) {
                self.users();
            }
        }
        if calm && self.rng.chance(300) {
            let id = self.any();
            self.crash(id);
        }
    }

    /// All is well from now on, and users go on asking for a while: then everybody has everything, after at most so many
    /// steps.
    pub(crate) fn heal(&mut self, steps_max: u32) {
        self.island.clear();
        self.healing = true;
        let now = self.now;
        for node in self.nodes.values_mut() {
            (node.since, node.pace) = ((node.local(now), now), 100);
        }
        let (mut asked, settled_at) = (0, self.now + SETTLE);
        for _ in 0..steps_max {
            if self.wrong.is_some() {
                return;
            }
            if !self.well && self.now >= settled_at {
                // Sessions that had lost something are over. One that comes back must disturb nobody but whom it led.
                self.well = true;
                let id = self.any();
                self.crash(id);
            }
            if self.well && asked < 60 && self.rng.chance(30) {
                asked += 1;
                self.users();
            }
            if self.calm_step() {
                continue;
            }
            let total = self.order.len();
            let serves = |node: &Node| matches!(node.running.role(), Role::Following(_) | Role::Leading);
            if asked == 60
                && self.waiting.is_empty()
                && self.nodes.values().all(|node| serves(node) && node.applied == total)
            {
                return;
            }
            self.pass();
        }
        let roles = self.nodes.values().map(|node| (node.running.role(), node.applied)).collect::<Vec<_>>();
        let (total, waiting) = (self.order.len(), self.waiting.len());
        self.blame(true, "progress after healing", || format!("no progress: {roles:?} of {total}, {waiting} wait"));
    }

    pub(crate) fn verdict(&self) -> Option<&(&'static str, String)> {
        self.wrong.as_ref()
    }
}
