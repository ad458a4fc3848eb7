//! Clients: each does one thing at a time, through random nodes, and remembers exactly what it was told.

use std::collections::BTreeMap;

use hezong_base::{Index, NodeId, RequestId, Rng};
use hezong_kv::SessionId;
use hezong_node::{ClientRequest, NodeInput, ReadLevel, Refused, Reply};

use crate::check::{Violation, place};
use crate::history::{Action, History, Outcome};
use crate::machine::{Command, Once, Told, is_new, told};
use crate::plan::{Plan, Slip, pick};
use crate::process::GROUP;
use crate::programs::{NEW, OLD};
use crate::sim::{Event, Sim};

/// How long a client waits for an answer, in election timeouts. Longer than a node lets a request wait at times, and
/// shorter at others, so that both ends are seen giving up.
const PATIENCE: u64 = 5;

/// After so many refusals a client does something else.
const REFUSALS_MAX: u64 = 40;

/// One client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// What it is doing, by its place in the history.
    pub(crate) operation: Option<usize>,
    /// What it wants of the node.
    pub(crate) wanted: Option<Wanted>,
    /// The request under way, and where.
    pub(crate) request: Option<(RequestId, NodeId)>,
    /// Whom it was told to ask.
    pub(crate) hint: Option<NodeId>,
    /// It was refused for want of room: it deletes something next.
    pub(crate) deletes: bool,
    /// Refusals of the present operation.
    pub(crate) refusals: u64,
    /// Whether an earlier attempt of the present operation may have been done.
    pub(crate) maybe: bool,
    /// Sorts out wake-ups that were planned for something that is over.
    pub(crate) tick: u64,
    /// When it began the present operation.
    pub(crate) began: u64,
    /// Its session, if it has one.
    pub(crate) session: Option<Session>,
    /// The largest index it has heard of: its stale reads must not lie before it.
    pub(crate) seen: Option<Index>,
    /// The value it last saw of each register, to compare with.
    pub(crate) values: BTreeMap<u64, u64>,
    /// Operations that succeeded since everything was healed.
    pub(crate) done_since_healed: u64,
}

/// A session as its client knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    id: SessionId,
    /// For how many nanoseconds of log time it lives without being used.
    ttl: u64,
    /// When its last use that is known to have happened began: it happened then or later.
    used: u64,
    /// The number of the last write known to have happened.
    sequence: u64,
}

/// What a client wants of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// A command; perhaps one that may be sent again.
    Write { command: Command, once: Once },
    /// A register.
    Read { key: u64, level: ReadLevel, min_index: Option<Index> },
}

impl Wanted {
    /// What is asked for, `gated`: where only the newer program is taken to know some of it.
    pub(crate) fn request(self, gated: bool) -> ClientRequest {
        match self {
            Self::Write { command, once } => {
                let frees_space = matches!(command, Command::Delete { .. });
                let command = command.encode(once);
                let version = if gated && is_new(&command) { NEW } else { OLD };
                ClientRequest::Propose { command, frees_space, version }
            }
            Self::Read { level, min_index, .. } => ClientRequest::Read { level, min_index },
        }
    }

    /// Whether it must fit into one order with everything else: stale reads need not, and `default` reads only while
    /// clocks keep their bound.
    fn action(self) -> Option<Action> {
        match self {
            Self::Write { command: Command::Put { key, value }, .. } => Some(Action::Put { key, value }),
            Self::Write { command: Command::Cas { key, expected, value }, .. } => {
                Some(Action::Cas { key, expected, value })
            }
            Self::Write { command: Command::Delete { key }, .. } => Some(Action::Delete { key }),
            Self::Write { command: Command::Open { .. } | Command::KeepAlive(_), .. } => None,
            Self::Read { level: ReadLevel::Stale, .. } => None,
            Self::Read { key, .. } => Some(Action::Get { key }),
        }
    }
}

impl Client {
    /// Decides what to do next. `number` names the value that a write would write. `look_at` asks for a consistent read of that
    /// register.
    pub(crate) fn begin(
        &mut self,
        now: u64,
        name: usize,
        plan: &Plan,
        rng: &mut Rng,
        history: &mut History,
        look_at: Option<u64>,
    ) {
        let key = rng.below(plan.keys);
        let wanted = match (look_at, rng.below(100)) {
            (Some(key), _) => Wanted::Read { key, level: ReadLevel::Consistent, min_index: None },
            (None, _) if std::mem::take(&mut self.deletes) => {
                Wanted::Write { command: Command::Delete { key }, once: Once::Never }
            }
            (None, dice) if dice < plan.lease_reads => Wanted::Read { key, level: ReadLevel::Default, min_index: None },
            // What is left is divided in the same way, however much that is.
            (None, _) => match rng.below(80) {
                0..4 => {
                    let longest = 1 + rng.below(8);
                    let open = Command::Open { ttl: plan.patience / 4 + rng.below(plan.patience * longest) };
                    let command = self.session.map_or(open, |session| Command::KeepAlive(session.id));
                    Wanted::Write { command, once: Once::Never }
                }
                4..35 => {
                    let command = Command::Put { key, value: history.fresh_value() };
                    Wanted::Write { command, once: self.once(rng) }
                }
                35..55 => {
                    let expected = self.values.get(&key).copied().unwrap_or(0);
                    let command = Command::Cas { key, expected, value: history.fresh_value() };
                    Wanted::Write { command, once: self.once(rng) }
                }
                55..72 => Wanted::Read { key, level: ReadLevel::Consistent, min_index: None },
                _ => Wanted::Read { key, level: ReadLevel::Stale, min_index: self.seen },
            },
        };
        self.began = now;
        self.operation = wanted.action().map(|action| history.begin(name, action, now));
        self.wanted = Some(wanted);
        self.refusals = 0;
        self.maybe = false;
    }

    /// By what the next write is recognised.
    fn once(&self, rng: &mut Rng) -> Once {
        match self.session {
            Some(session) if rng.chance(500) => Once::Numbered(session.id, session.sequence + 1),
            _ if rng.chance(500) => Once::Keyed,
            _ => Once::Never,
        }
    }
}

impl Sim {
    /// A client has rested, or has waited long enough.
    pub(crate) fn on_client(&mut self, client: usize, tick: u64) -> Result<(), Violation> {
        if self.clients[client].tick != tick {
            return Ok(());
        }
        if let Some((id, node)) = self.clients[client].request.take() {
            // Nobody will ever know, unless the request is still on its way and finds nobody.
            self.waiting.remove(&id);
            self.on_unknown(client);
            return self.hand(node, NodeInput::Cancel { id });
        }
        if self.clients[client].wanted.is_none() {
            if self.quiet {
                return Ok(());
            }
            let look_at = self.look_at(client);
            // Then it deletes once, which a full disk must not keep it from.
            let looked = self.healed.is_some() && self.clients[client].done_since_healed == self.plan.keys;
            self.clients[client].deletes |= looked && self.processes[0].room.is_full();
            let (plan, rng) = (&self.plan, &mut self.workload);
            self.clients[client].begin(self.now, client, plan, rng, &mut self.history, look_at);
        }
        self.attempt(client);
        Ok(())
    }

    /// Once everything is healed, every client first looks at every register.
    fn look_at(&self, client: usize) -> Option<u64> {
        let done = self.clients[client].done_since_healed;
        (self.healed.is_some() && done < self.plan.keys).then_some(done)
    }

    /// Sends what the client wants to whom it was told to ask, or to anybody.
    fn attempt(&mut self, client: usize) {
        let hint = self.clients[client].hint.take().filter(|hint| place(*hint) < self.processes.len());
        let members: Vec<_> = self.membership.members().keys().copied().collect();
        let node = hint.unwrap_or_else(|| members[pick(&mut self.workload, members.len())]);
        let Some(process) = self.processes.get(place(node)).filter(|process| process.node.is_some()) else {
            // The connection is refused: nothing was asked.
            return self.retry(client);
        };
        let life = process.life;
        let id = self.next_request();
        let it = &mut self.clients[client];
        let Some(wanted) = it.wanted else { return };
        it.request = Some((id, node));
        it.tick += 1;
        let tick = it.tick;
        self.waiting.insert(id, client);
        let mut request = wanted.request(self.has_two_programs());
        if let ClientRequest::Propose { frees_space, .. } = &mut request {
            *frees_space &= self.slip != Some(Slip::DeletesBarred);
        }
        let input = NodeInput::Request { id, group: GROUP, request };
        let at = self.now + self.workload.below(self.plan.way);
        self.queue.push(at, Event::Input { node, life, input });
        let patience = self.plan.patience * (1 + self.workload.below(PATIENCE * 2));
        self.queue.push(self.now + patience, Event::Client { client, tick });
    }

    /// Tries the same again a little later: it was certainly not done. After many refusals it gives up.
    fn retry(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.refusals += 1;
        it.request = None;
        it.tick += 1;
        let tick = it.tick;
        if it.refusals > REFUSALS_MAX {
            let outcome = if it.maybe { Outcome::Unknown } else { Outcome::Failed };
            return self.end(client, outcome);
        }
        let rest = self.workload.below(self.plan.patience / 8);
        self.queue.push(self.now + rest, Event::Client { client, tick });
    }

    /// Nobody knows what came of it. A write that is recognised when it comes again is sent again, through whomever: it
    /// must happen once at most, however often it is sent (DESIGN §3).
    fn on_unknown(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.maybe = true;
        match it.wanted {
            Some(Wanted::Write { once: Once::Keyed | Once::Numbered(..), .. }) => self.retry(client),
            _ => self.end(client, Outcome::Unknown),
        }
    }

    /// A node answers.
    pub(crate) fn on_reply(&mut self, node: NodeId, id: RequestId, reply: Reply) -> Result<(), Violation> {
        if let Some(newcomer) = self.joining.remove(&id) {
            return self.on_newcomer_reply(newcomer, node, reply);
        }
        let Some(client) = self.waiting.remove(&id) else { return Ok(()) };
        let it = &mut self.clients[client];
        it.request = None;
        match reply {
            Reply::Done { id, reply } => {
                it.seen = it.seen.max(Some(id.index));
                self.checkers.on_client_written(client, id.index);
                return self.on_done(client, &reply);
            }
            Reply::Readable { applied, .. } => return self.read(client, node, applied),
            Reply::Refused(Refused::DiskFull) => return self.on_disk_full(client, node),
            Reply::Refused(refused) => {
                if let Refused::NotLeader(leader) = refused {
                    it.hint = leader.map(|leader| leader.id);
                }
                self.retry(client);
            }
            Reply::Unknown => self.on_unknown(client),
            Reply::Verified { .. }
            | Reply::Changed { .. }
            | Reply::Transferred { .. }
            | Reply::Bootstrapped
            | Reply::Status(_) => {
                let detail = format!("{node} answers a client with {reply:?}");
                return Err(Violation::new("answers fit their questions", detail));
            }
        }
        Ok(())
    }

    /// Below its reserve a node takes no write that frees nothing. The client makes room itself, by a delete.
    fn on_disk_full(&mut self, client: usize, node: NodeId) -> Result<(), Violation> {
        let it = &mut self.clients[client];
        if let Some(Wanted::Read { .. } | Wanted::Write { command: Command::Delete { .. }, .. }) = it.wanted {
            let detail = format!("{node} refuses {:?} for want of room", it.wanted);
            return Err(Violation::new("below the reserve", detail));
        }
        it.deletes = self.workload.chance(500);
        let outcome = if it.maybe { Outcome::Unknown } else { Outcome::Failed };
        self.end(client, outcome);
        Ok(())
    }

    /// A command was applied.
    fn on_done(&mut self, client: usize, reply: &[u8]) -> Result<(), Violation> {
        let it = &mut self.clients[client];
        let Some(Wanted::Write { command, once }) = it.wanted else { return Ok(()) };
        let (told, repeated) = told(command, reply)?;
        self.repeated += u64::from(repeated);
        if matches!(command, Command::Delete { .. }) {
            self.on_deleted()?;
        }
        let it = &mut self.clients[client];
        let outcome = match (told, command) {
            (Told::Session(id), Command::Open { ttl }) => {
                it.session = Some(Session { id, ttl, used: it.began, sequence: 0 });
                Outcome::Written(true)
            }
            (Told::Session(_) | Told::Written(_), _) => {
                let uses = matches!(once, Once::Numbered(..)) || matches!(command, Command::KeepAlive(_));
                if let Some(session) = it.session.as_mut().filter(|_| uses) {
                    session.used = it.began;
                    session.sequence += u64::from(matches!(once, Once::Numbered(..)));
                }
                Outcome::Written(told != Told::Written(false))
            }
            (Told::Gone, _) => {
                let Some(session) = it.session.take() else { return Ok(()) };
                self.expired += 1;
                // Log time passes no faster than the fastest clock, and while nobody leads not at all.
                let most = u128::from(self.now - session.used) * u128::from(1_000_000 + self.plan.clock_ppm);
                if most < u128::from(session.ttl) * 1_000_000 {
                    let detail = format!("{session:?} is gone at {}", self.now);
                    return Err(Violation::new("sessions live as long as promised", detail));
                }
                // What is refused for that was not done; but an earlier copy may have been, while the session lived.
                if it.maybe { Outcome::Unknown } else { Outcome::Failed }
            }
        };
        self.end(client, outcome);
        Ok(())
    }

    /// The client reads the state by itself, as it is at this moment.
    fn read(&mut self, client: usize, node: NodeId, applied: Option<Index>) -> Result<(), Violation> {
        let Some(Wanted::Read { key, min_index, .. }) = self.clients[client].wanted else { return Ok(()) };
        let machine = &self.processes[place(node)].machine;
        let last = machine.last().map(|last| last.index);
        if last < applied || applied < min_index {
            let detail = format!("{node} has applied {last:?}, said {applied:?}, and was asked for {min_index:?}");
            return Err(Violation::new("reads wait for their index", detail));
        }
        self.checkers.on_client_read(client, node, last);
        let value = machine.read(key);
        let it = &mut self.clients[client];
        it.values.insert(key, value);
        it.seen = it.seen.max(last);
        self.end(client, Outcome::Value(value));
        Ok(())
    }

    /// A process died: its clients see their connections close. What they asked may have been done.
    pub(crate) fn forget_requests_at(&mut self, node: NodeId) -> Result<(), Violation> {
        for client in 0..self.clients.len() {
            if let Some((id, _)) = self.clients[client].request.filter(|(_, at)| *at == node) {
                self.waiting.remove(&id);
                self.on_unknown(client);
            }
        }
        Ok(())
    }

    /// The operation is over; the client rests before the next.
    fn end(&mut self, client: usize, outcome: Outcome) {
        let it = &mut self.clients[client];
        if let Some(operation) = it.operation {
            self.history.end(operation, outcome, self.now);
            let operation = &self.history.operations[operation];
            self.story.client(self.now, || format!("client {client} {operation}"));
        }
        if let Some(Wanted::Write { once: Once::Numbered(..), .. }) = it.wanted
            && matches!(outcome, Outcome::Unknown | Outcome::Failed)
        {
            // Which number comes next is not known any more.
            it.session = None;
        }
        if self.healed.is_some() && matches!(outcome, Outcome::Written(_) | Outcome::Value(_)) {
            it.done_since_healed += 1;
        }
        it.operation = None;
        it.wanted = None;
        it.request = None;
        it.tick += 1;
        let tick = it.tick;
        let rest = self.workload.below(self.plan.rest);
        self.queue.push(self.now + rest, Event::Client { client, tick });
    }
}
