//! The nodes of a story, their disks, and the letters on their way between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::mem;
use std::time::Duration;

use hezong_base::{AskId, Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};

use crate::watch::{Moment, Watch};
use crate::{Command, duration};

/// What a protocol adds to the runner.
pub trait Dialect: Sized {
    /// The protocol.
    type Protocol: Protocol;
    /// What a node's disk holds, and survives a crash.
    type Disk: Clone + Default;

    /// The configuration of a node, from the options of `cluster` or `node`. Refuses options it does not know.
    ///
    /// # Errors
    /// Says what is wrong with the options.
    fn config(id: NodeId, options: &Command) -> Result<<Self::Protocol as Protocol>::Config, String>;
    /// The disk of a node that `cluster` creates together with all of `nodes`; an empty one unless told otherwise.
    ///
    /// # Errors
    /// Says what is wrong with the options.
    fn disk(_nodes: &[NodeId], _options: &Command) -> Result<Self::Disk, String> {
        Ok(Self::Disk::default())
    }
    /// Carries out a write.
    fn write(disk: &mut Self::Disk, write: &<Self::Protocol as Protocol>::Write);
    /// What a node finds when it starts.
    fn saved(disk: &Self::Disk) -> <Self::Protocol as Protocol>::Saved;
    /// Does local work.
    fn answer(disk: &Self::Disk, ask: &<Self::Protocol as Protocol>::Ask) -> <Self::Protocol as Protocol>::Answer;
    /// What the local user does by itself when told this, such as applying what is committed.
    fn react(
        _disk: &Self::Disk,
        _event: &<Self::Protocol as Protocol>::Event,
    ) -> Option<<Self::Protocol as Protocol>::Request> {
        None
    }

    /// How a node is called at present, as `n1@t3`.
    fn name(id: NodeId, _node: &Self::Protocol) -> String {
        id.to_string()
    }
    /// How the sender of a message is called in it. A message that was held back keeps the term it was held back in.
    fn sender(from: NodeId, _message: &<Self::Protocol as Protocol>::Message) -> String {
        from.to_string()
    }
    /// A message on one line. Its first word is its type.
    fn message(message: &<Self::Protocol as Protocol>::Message) -> String;
    /// A write on one line.
    fn show_write(write: &<Self::Protocol as Protocol>::Write) -> String;
    /// An event on one line.
    fn event(event: &<Self::Protocol as Protocol>::Event) -> String;
    /// An ask on one line.
    fn ask(ask: &<Self::Protocol as Protocol>::Ask) -> String;
    /// How a node stands, on one line.
    fn status(now: Time, node: &Self::Protocol) -> String;
    /// Carries out a command of the protocol's own; false if it has none of this name.
    ///
    /// # Errors
    /// Says what is wrong with the command, or that what it expects is not so.
    fn command(world: &mut World<Self>, command: &Command) -> Result<bool, String>;
}

type Message<D> = <<D as Dialect>::Protocol as Protocol>::Message;
type WriteOf<D> = <<D as Dialect>::Protocol as Protocol>::Write;
type AskOf<D> = <<D as Dialect>::Protocol as Protocol>::Ask;
type ConfigOf<D> = <<D as Dialect>::Protocol as Protocol>::Config;

/// A message on its way.
struct Letter<D: Dialect> {
    /// From 1, in the order of sending; copies share one.
    number: u64,
    from: NodeId,
    to: NodeId,
    message: Message<D>,
}

/// A node and what belongs to it.
struct Node<D: Dialect> {
    /// `None` while it is down.
    running: Option<D::Protocol>,
    /// Makes its configuration anew at each start.
    options: Command,
    disk: D::Disk,
    /// Writes issued and not yet on disk.
    unstored: VecDeque<(WriteId, WriteOf<D>)>,
    writes_held: bool,
    unanswered: VecDeque<(AskId, AskOf<D>)>,
    asks_held: bool,
    /// How often it was started: each life draws other chances.
    lives: u64,
}

/// What is decided before a story begins.
pub struct Setup<D: Dialect> {
    /// Decides what nodes draw: 0 for what scripts are written for.
    pub seed: u64,
    /// An option that every node gets on top of what the story says, such as a known bug.
    pub option: Option<(String, String)>,
    /// Who looks on.
    pub watch: Option<Box<dyn Watch<D>>>,
}

impl<D: Dialect> Default for Setup<D> {
    /// As scripts are played.
    fn default() -> Self {
        Self { seed: 0, option: None, watch: None }
    }
}

/// Everything a story is about.
pub struct World<D: Dialect> {
    now: Time,
    nodes: BTreeMap<NodeId, Node<D>>,
    letters: Vec<Letter<D>>,
    /// Links on which everything is lost, by direction.
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// The last request's number.
    requests: u64,
    /// The last letter's number.
    sent: u64,
    setup: Setup<D>,
    output: String,
}

impl<D: Dialect> Default for World<D> {
    fn default() -> Self {
        Self::new(Setup::default())
    }
}

/// More deliveries than any story needs: a protocol that answers answers would run for ever.
const DELIVERIES_MAX: usize = 10_000;

/// A name for requests that nobody asked and nobody answers.
const NOBODY: RequestId = RequestId(u64::MAX);

impl<D: Dialect> World<D> {
    /// Nobody yet.
    #[must_use]
    pub fn new(setup: Setup<D>) -> Self {
        let (nodes, letters, cuts) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { now: Time::ZERO, nodes, letters, cuts, requests: 0, sent: 0, setup, output: String::new() }
    }

    /// Carries out one command.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn command(&mut self, command: &Command) -> Result<(), String> {
        if D::command(self, command)? {
            return Ok(());
        }
        match command.name.as_str() {
            "cluster" => self.on_cluster(command),
            "node" => self.on_node(command),
            "start" | "restart" => self.on_start(command),
            "crash" => self.on_crash(command),
            "timeout" => command.nodes()?.into_iter().try_for_each(|id| self.timeout(id)),
            "advance" => self.advance(duration(command.word(0)?)?, false),
            "run" => self.advance(duration(command.word(0)?)?, true),
            "wait" => {
                self.now = self.now + duration(command.word(0)?)?;
                Ok(())
            }
            "deliver" => self.on_deliver(command),
            "settle" => self.settle(),
            "drop" => self.on_drop(command),
            "duplicate" => self.on_duplicate(command),
            "partition" => self.on_partition(command),
            "cut" => self.cut(command.node(0)?, command.node(1)?),
            "heal" => {
                self.cuts.clear();
                self.show(Moment::Healed)
            }
            "hold-writes" => self.hold(command, |node| node.writes_held = true),
            "hold-asks" => self.hold(command, |node| node.asks_held = true),
            "free-writes" => self.hold(command, |node| node.writes_held = false),
            "free-asks" => self.hold(command, |node| node.asks_held = false),
            "stored" => self.on_stored(command),
            "answer" => self.on_answer(command),
            "status" => self.on_status(command),
            other => Err(format!("no command is called {other}")),
        }
    }

    /// Hands a node its input, and carries out what follows from it locally.
    ///
    /// # Errors
    /// When the node is down or there is none.
    pub fn handle(&mut self, id: NodeId, input: Input<D::Protocol>) -> Result<(), String> {
        let now = self.now;
        let node = self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))?;
        let running = node.running.as_mut().ok_or_else(|| format!("{id} is down"))?;
        if let Some(watch) = &mut self.setup.watch {
            watch.see(now, Moment::Input(id, &input))?;
        }
        let mut effects = Vec::new();
        running.handle(now, input, &mut effects);
        self.look(id)?;
        self.carry_out(id, effects)
    }

    /// Hands a node a request under the next number.
    ///
    /// # Errors
    /// When the node is down or there is none.
    pub fn request(&mut self, id: NodeId, request: <D::Protocol as Protocol>::Request) -> Result<(), String> {
        self.requests += 1;
        self.handle(id, Input::Request { id: RequestId(self.requests), request })
    }

    /// Hands a node a request that is answered by nothing.
    ///
    /// # Errors
    /// When the node is down or there is none.
    pub fn tell(&mut self, id: NodeId, request: <D::Protocol as Protocol>::Request) -> Result<(), String> {
        self.handle(id, Input::Request { id: NOBODY, request })
    }

    /// Hands a node its deadline, moving the clock there if it lies ahead.
    ///
    /// # Errors
    /// When the node is down, there is none, or it waits for nothing.
    pub fn timeout(&mut self, id: NodeId) -> Result<(), String> {
        let deadline = self.running(id)?.deadline().ok_or_else(|| format!("{id} waits for nothing"))?;
        self.now = self.now.max(deadline);
        self.handle(id, Input::Timeout)
    }

    /// Delivers until nothing is on its way.
    ///
    /// # Errors
    /// When there is no end to it.
    pub fn settle(&mut self) -> Result<(), String> {
        for _ in 0..DELIVERIES_MAX {
            if self.letters.is_empty() {
                return Ok(());
            }
            let letter = self.letters.remove(0);
            self.deliver(letter)?;
        }
        Err(format!("still not quiet after {DELIVERIES_MAX} deliveries"))
    }

    /// A node that is up.
    ///
    /// # Errors
    /// When it is down or there is none.
    pub fn running(&self, id: NodeId) -> Result<&D::Protocol, String> {
        let node = self.nodes.get(&id).ok_or_else(|| format!("there is no node {id}"))?;
        node.running.as_ref().ok_or_else(|| format!("{id} is down"))
    }

    /// A node's disk.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn disk(&self, id: NodeId) -> Result<&D::Disk, String> {
        self.nodes.get(&id).map(|node| &node.disk).ok_or_else(|| format!("there is no node {id}"))
    }

    /// A node's disk, to be prepared while the node is down.
    ///
    /// # Errors
    /// When the node is up or there is none.
    pub fn disk_mut(&mut self, id: NodeId) -> Result<&mut D::Disk, String> {
        let node = self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))?;
        if node.running.is_some() {
            return Err(format!("{id} is up; its disk is its own"));
        }
        Ok(&mut node.disk)
    }

    /// All nodes, those that are down too.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Adds a line to what happened.
    pub fn say(&mut self, line: &str) {
        let _ = writeln!(self.output, "{}", line.trim_end());
    }

    /// What happened since the last call.
    pub(crate) fn take_output(&mut self) -> String {
        mem::take(&mut self.output)
    }

    /// How much was said so far.
    pub(crate) fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Takes back what was said since.
    pub(crate) fn cut_output(&mut self, len: usize) {
        self.output.truncate(len);
    }

    fn on_cluster(&mut self, command: &Command) -> Result<(), String> {
        if !self.nodes.is_empty() {
            return Err("there is a cluster already".to_owned());
        }
        let count = command.number("nodes")?.ok_or("cluster: nodes= is missing")?;
        let ids: Vec<_> = (1..=count).map(NodeId).collect();
        let mut options = command.clone();
        options.options.remove("nodes");
        let start = options.options.remove("start").as_deref() != Some("no");
        options.options.extend(self.setup.option.clone());
        for id in &ids {
            let node = Node { disk: D::disk(&ids, &options)?, ..Node::new(options.clone()) };
            self.nodes.insert(*id, node);
        }
        if start { ids.into_iter().try_for_each(|id| self.start(id)) } else { Ok(()) }
    }

    fn on_node(&mut self, command: &Command) -> Result<(), String> {
        let id = command.node(0)?;
        if self.nodes.contains_key(&id) {
            return Err(format!("there is a node {id} already"));
        }
        let mut options = command.clone();
        options.options.extend(self.setup.option.clone());
        self.nodes.insert(id, Node::new(options));
        self.start(id)
    }

    fn on_start(&mut self, command: &Command) -> Result<(), String> {
        let mut ids = command.nodes()?;
        if ids.is_empty() {
            ids = self.nodes.iter().filter(|(_, node)| node.running.is_none()).map(|(id, _)| *id).collect();
        }
        ids.into_iter().try_for_each(|id| self.start(id))
    }

    fn start(&mut self, id: NodeId) -> Result<(), String> {
        let now = self.now;
        let node = self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))?;
        if node.running.is_some() {
            return Err(format!("{id} is up already"));
        }
        node.lives += 1;
        let config: ConfigOf<D> = D::config(id, &node.options)?;
        let rng = Rng::new(id.0 << 32 | node.lives ^ self.setup.seed);
        let mut effects = Vec::new();
        node.running = Some(D::Protocol::start(now, config, D::saved(&node.disk), rng, &mut effects));
        self.show(Moment::Started(id))?;
        self.look(id)?;
        self.carry_out(id, effects)
    }

    fn on_crash(&mut self, command: &Command) -> Result<(), String> {
        command.only(&["stored"])?;
        let id = command.node(0)?;
        let survive = command.number("stored")?.unwrap_or(0);
        let node = self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))?;
        node.running.take().ok_or_else(|| format!("{id} is down"))?;
        let mut lost = Vec::new();
        for (place, (_, write)) in mem::take(&mut node.unstored).into_iter().enumerate() {
            if (place as u64) < survive { D::write(&mut node.disk, &write) } else { lost.push(write) }
        }
        node.unanswered.clear();
        self.show(Moment::Crashed(id))?;
        for write in lost {
            self.show(Moment::LostWrite(id, &write))?;
            self.say(&format!("{id} disk {}", strike(&D::show_write(&write))));
        }
        Ok(())
    }

    fn hold(&mut self, command: &Command, set: impl Fn(&mut Node<D>)) -> Result<(), String> {
        for id in command.nodes()? {
            set(self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))?);
            self.work(id)?;
        }
        Ok(())
    }

    fn on_stored(&mut self, command: &Command) -> Result<(), String> {
        command.only(&["count"])?;
        let id = command.node(0)?;
        let count = command.number("count")?;
        let node = self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))?;
        let count = count.map_or(node.unstored.len(), |count| usize::try_from(count).unwrap_or(usize::MAX));
        self.store(id, count)?.then_some(()).ok_or_else(|| format!("{id} holds no writes"))
    }

    fn on_answer(&mut self, command: &Command) -> Result<(), String> {
        let id = command.node(0)?;
        self.answer(id)?.then_some(()).ok_or_else(|| format!("{id} has no asks open"))
    }

    fn on_status(&mut self, command: &Command) -> Result<(), String> {
        let mut ids = command.nodes()?;
        if ids.is_empty() {
            ids = self.ids();
        }
        for id in ids {
            let node = self.nodes.get(&id).ok_or_else(|| format!("there is no node {id}"))?;
            let line = match &node.running {
                Some(running) => format!("{} {}", D::name(id, running), D::status(self.now, running)),
                None => format!("{id} down"),
            };
            self.say(&line);
        }
        Ok(())
    }

    fn on_deliver(&mut self, command: &Command) -> Result<(), String> {
        self.take_letters(command)?.into_iter().try_for_each(|letter| self.deliver(letter))
    }

    fn on_drop(&mut self, command: &Command) -> Result<(), String> {
        self.take_letters(command)?.iter().try_for_each(|letter| self.lose(letter))
    }

    fn on_duplicate(&mut self, command: &Command) -> Result<(), String> {
        for letter in self.take_letters(command)? {
            let (number, from, to, message) = (letter.number, letter.from, letter.to, letter.message.clone());
            self.letters.extend([letter, Letter { number, from, to, message }]);
        }
        Ok(())
    }

    fn on_partition(&mut self, command: &Command) -> Result<(), String> {
        let groups: Vec<&[String]> = command.words.split(|word| word == "|").collect();
        let parse = |words: &[String]| -> Result<Vec<NodeId>, String> {
            Command { name: command.name.clone(), words: words.to_vec(), options: BTreeMap::new() }.nodes()
        };
        let groups: Vec<Vec<NodeId>> = groups.into_iter().map(parse).collect::<Result<_, _>>()?;
        for (place, group) in groups.iter().enumerate() {
            for other in groups.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, other)| other) {
                group
                    .iter()
                    .flat_map(|from| other.iter().map(|to| (*from, *to)))
                    .try_for_each(|(a, b)| self.cut(a, b))?;
            }
        }
        Ok(())
    }

    /// Takes those on their way that fit the filters `from`, `to`, `type` and `last`. It fails when there are none: a
    /// story that thinks it delivers something should.
    fn take_letters(&mut self, command: &Command) -> Result<Vec<Letter<D>>, String> {
        command.only(&["from", "to", "type", "last"])?;
        let (from, to) = (command.number("from")?.map(NodeId), command.number("to")?.map(NodeId));
        let kind = command.options.get("type");
        let fits = |letter: &Letter<D>| {
            from.is_none_or(|from| from == letter.from)
                && to.is_none_or(|to| to == letter.to)
                && kind.is_none_or(|kind| D::message(&letter.message).split(' ').next() == Some(kind))
        };
        let fitting = self.letters.iter().filter(|letter| fits(letter)).count() as u64;
        let mut skip = command.number("last")?.map_or(0, |last| fitting.saturating_sub(last));
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for letter in mem::take(&mut self.letters) {
            if !fits(&letter) {
                left.push(letter);
            } else if skip > 0 {
                skip -= 1;
                left.push(letter);
            } else {
                taken.push(letter);
            }
        }
        self.letters = left;
        if taken.is_empty() { Err("no such message is on its way".to_owned()) } else { Ok(taken) }
    }

    fn deliver(&mut self, letter: Letter<D>) -> Result<(), String> {
        let up = self.nodes.get(&letter.to).is_some_and(|node| node.running.is_some());
        if !up || self.cuts.contains(&(letter.from, letter.to)) {
            return self.lose(&letter);
        }
        let Letter { number, from, to, message } = &letter;
        self.show(Moment::Delivered { number: *number, from: *from, to: *to, message })?;
        self.handle(letter.to, Input::Message { from: letter.from, message: letter.message })
    }

    fn lose(&mut self, letter: &Letter<D>) -> Result<(), String> {
        let Letter { number, from, to, message } = letter;
        self.show(Moment::Lost { number: *number, from: *from, to: *to, message })?;
        self.say(&format!("{} ⇥ {to} {}", D::sender(*from, message), strike(&D::message(message))));
        Ok(())
    }

    fn cut(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        self.cuts.insert((from, to));
        self.show(Moment::Cut(from, to))
    }

    /// Shows a moment to whoever looks on.
    fn show(&mut self, moment: Moment<'_, D>) -> Result<(), String> {
        self.setup.watch.as_mut().map_or(Ok(()), |watch| watch.see(self.now, moment))
    }

    /// Shows what a node has become.
    fn look(&mut self, id: NodeId) -> Result<(), String> {
        let (Some(watch), Some(Node { running: Some(node), disk, .. })) = (&mut self.setup.watch, self.nodes.get(&id))
        else {
            return Ok(());
        };
        watch.see(self.now, Moment::Became(id, node, disk))
    }

    /// Moves the clock by `span`, handing in deadlines in the order in which they come; with `deliver` also letters,
    /// each as soon as it is sent.
    fn advance(&mut self, span: Duration, deliver: bool) -> Result<(), String> {
        let end = self.now + span;
        loop {
            if deliver {
                self.settle()?;
            }
            let due = |(id, node): (&NodeId, &Node<D>)| Some((node.running.as_ref()?.deadline()?, *id));
            let Some((deadline, id)) = self.nodes.iter().filter_map(due).min().filter(|(at, _)| *at <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(deadline);
            self.handle(id, Input::Timeout)?;
            if self.running(id)?.deadline().is_some_and(|next| next <= self.now) {
                return Err(format!("{id} had its timeout and wants it again at once"));
            }
        }
    }

    /// Says what a node did, and does what is done at once.
    fn carry_out(&mut self, id: NodeId, effects: Vec<Effect<D::Protocol>>) -> Result<(), String> {
        let mut reactions = Vec::new();
        for effect in effects {
            let name = D::name(id, self.running(id)?);
            match effect {
                Effect::Send { to, message } => {
                    self.sent += 1;
                    let letter = Letter { number: self.sent, from: id, to, message };
                    let Letter { number, message, .. } = &letter;
                    self.show(Moment::Sent { number: *number, from: id, to, message })?;
                    if self.cuts.contains(&(id, to)) {
                        self.lose(&letter)?;
                    } else {
                        let sender = D::sender(id, &letter.message);
                        self.say(&format!("{sender} → {to} {}", D::message(&letter.message)));
                        self.letters.push(letter);
                    }
                }
                Effect::Store { id: write_id, write } => {
                    self.show(Moment::Wrote(id, &write))?;
                    let held = self.nodes.get(&id).is_some_and(|node| node.writes_held);
                    let note = if held { " (held)" } else { "" };
                    self.say(&format!("{name} disk {}{note}", D::show_write(&write)));
                    self.node_mut(id)?.unstored.push_back((write_id, write));
                }
                Effect::Ask { id: ask_id, ask } => {
                    self.say(&format!("{name} ask {}", D::ask(&ask)));
                    self.node_mut(id)?.unanswered.push_back((ask_id, ask));
                }
                Effect::Emit(event) => {
                    self.show(Moment::Told(id, &event))?;
                    self.say(&format!("{name} event {}", D::event(&event)));
                    reactions.push(event);
                }
            }
        }
        self.work(id)?;
        for event in reactions {
            if let Some(request) = D::react(self.disk(id)?, &event) {
                self.tell(id, request)?;
            }
        }
        Ok(())
    }

    /// Lets the disk and the reader of a node do what they are not kept from.
    fn work(&mut self, id: NodeId) -> Result<(), String> {
        let node = self.node_mut(id)?;
        let (store, answer) = (!node.writes_held, !node.asks_held);
        if store && !node.unstored.is_empty() {
            let count = node.unstored.len();
            self.store(id, count)?;
        }
        while answer && self.answer(id)? {}
        Ok(())
    }

    /// Stores the first `count` writes; false if there are none.
    fn store(&mut self, id: NodeId, count: usize) -> Result<bool, String> {
        let mut last = None;
        for _ in 0..count {
            let node = self.node_mut(id)?;
            let Some((write_id, write)) = node.unstored.pop_front() else { break };
            D::write(&mut node.disk, &write);
            last = Some(write_id);
            self.look(id)?;
        }
        match last {
            Some(last) => self.handle(id, Input::Stored(last)).map(|()| true),
            None => Ok(false),
        }
    }

    /// Answers the oldest ask; false if there is none.
    fn answer(&mut self, id: NodeId) -> Result<bool, String> {
        let node = self.node_mut(id)?;
        let Some((ask_id, ask)) = node.unanswered.pop_front() else { return Ok(false) };
        let answer = D::answer(&node.disk, &ask);
        self.handle(id, Input::Answered { id: ask_id, answer }).map(|()| true)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node<D>, String> {
        self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))
    }
}

impl<D: Dialect> Node<D> {
    fn new(options: Command) -> Self {
        let (unstored, unanswered) = (VecDeque::new(), VecDeque::new());
        let disk = D::Disk::default();
        Self { running: None, options, disk, unstored, writes_held: false, unanswered, asks_held: false, lives: 0 }
    }
}

/// Strikes a text out: what is lost stays readable.
#[must_use]
pub fn strike(text: &str) -> String {
    text.chars().flat_map(|c| [c, '\u{336}']).collect()
}
