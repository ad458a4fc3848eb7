//! A scenario played: what happens is recorded row by row, and judged after every step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hezong_base::{Input, NodeId, Time};
use hezong_invariants::{Invariants, Violation};
use hezong_script::multi_paxos::MultiPaxosDialect;
use hezong_script::paxos::PaxosDialect;
use hezong_script::raft::RaftDialect;
use hezong_script::register::RegisterDialect;
use hezong_script::replicated::ReplicatedDialect;
use hezong_script::tcc::TccDialect;
use hezong_script::three_phase::ThreePhaseDialect;
use hezong_script::two_phase::TwoPhaseDialect;
use hezong_script::zab::ZabDialect;
use hezong_script::{Command, Moment, Setup, Watch, World};

use crate::accounts::Accounts;
use crate::catalogue::{Breaks, Protocol, Scenario, Spoilt};
use crate::protocols::Taught;

/// What happens in a row of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the story says.
    Prose,
    /// Something at one node.
    At(NodeId),
    /// A message arrives, or is lost.
    Message {
        /// Who said it.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// Whether it never arrives.
        is_lost: bool,
    },
    /// Something that concerns the network, or all.
    All,
    /// A property that does not hold.
    Broken,
}

/// A row of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub at: Time,
    /// What.
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// How nodes stand after it, of those that stand differently.
    pub states: BTreeMap<NodeId, String>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything held, and the story ended as it says.
    Holds,
    /// This did not.
    Broken {
        /// A property, or what the story expects.
        breaks: Breaks,
        /// In words.
        what: String,
    },
    /// The story cannot go on, so that nothing is known: the story is wrong.
    Unclear(String),
}

/// A scenario played.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What was played.
    pub scenario: &'static Scenario,
    /// With its weakness or without.
    pub is_spoilt: bool,
    /// What the letters of states mean.
    pub legend: &'static str,
    /// Everybody.
    pub nodes: Vec<NodeId>,
    /// What happened.
    pub rows: Vec<Row>,
    /// How it went.
    pub verdict: Verdict,
}

/// Plays a scenario, as it ships or with its weakness.
#[must_use]
pub fn play(scenario: &'static Scenario, is_spoilt: bool, seed: u64) -> Recording {
    match scenario.protocol {
        Protocol::Raft | Protocol::Accounts => play_with::<RaftDialect>(scenario, is_spoilt, seed),
        Protocol::Paxos => play_with::<PaxosDialect>(scenario, is_spoilt, seed),
        Protocol::MultiPaxos => play_with::<MultiPaxosDialect>(scenario, is_spoilt, seed),
        Protocol::Register => play_with::<RegisterDialect>(scenario, is_spoilt, seed),
        Protocol::Replicated => play_with::<ReplicatedDialect>(scenario, is_spoilt, seed),
        Protocol::Zab => play_with::<ZabDialect>(scenario, is_spoilt, seed),
        Protocol::TwoPhase => play_with::<TwoPhaseDialect>(scenario, is_spoilt, seed),
        Protocol::ThreePhase => play_with::<ThreePhaseDialect>(scenario, is_spoilt, seed),
        Protocol::Tcc => play_with::<TccDialect>(scenario, is_spoilt, seed),
    }
}

fn play_with<D: Taught + 'static>(scenario: &'static Scenario, is_spoilt: bool, seed: u64) -> Recording
where
    D::Invariants: 'static,
{
    let option = match scenario.spoilt {
        Spoilt::By(weakness) => ("weakness", weakness),
        Spoilt::Option(name, value) => (name, value),
    };
    let mut option = Some((option.0.to_owned(), option.1.to_owned())).filter(|_| is_spoilt);
    // Where there is a state machine on top, it is what is spoilt.
    let accounts = (scenario.protocol == Protocol::Accounts)
        .then(|| Accounts::new(option.take().map(|(_, weakness)| weakness).as_deref()));
    let recorder = Rc::new(RefCell::new(Recorder::<D>::new(scenario.voters, accounts)));
    let watch = Some(Box::new(Shared(Rc::clone(&recorder))) as Box<dyn Watch<D>>);
    let mut world = World::<D>::new(Setup { seed, option, watch });
    let outcome = tell(&mut world, scenario.story, &recorder);
    drop(world);
    let Recorder { rows, violation, nodes, .. } = Rc::into_inner(recorder).expect("the world is gone").into_inner();
    let verdict = match (violation, outcome) {
        (Some(violation), _) => {
            Verdict::Broken { breaks: Breaks::Property(violation.property), what: violation.to_string() }
        }
        (None, Err(verdict)) => verdict,
        (None, Ok(())) => Verdict::Holds,
    };
    let nodes = nodes.into_keys().collect();
    Recording { scenario, is_spoilt, legend: D::LEGEND, nodes, rows, verdict }
}

/// Goes through a story up to its end, or to what goes wrong in it.
fn tell<D: Taught>(world: &mut World<D>, story: &str, recorder: &RefCell<Recorder<D>>) -> Result<(), Verdict> {
    for (number, line) in story.lines().enumerate() {
        let line = line.trim();
        if let Some(prose) = line.strip_prefix('#') {
            recorder.borrow_mut().prose(world.now(), prose.trim());
            continue;
        }
        // What may be done or not, as things stand: a weakness may have made it impossible, or possible.
        let (optional, text) = line.strip_prefix('?').map_or((false, line), |rest| (true, rest.trim()));
        if text.is_empty() {
            continue;
        }
        let done = Command::parse(text).and_then(|command| match &recorder.borrow().accounts {
            Some(accounts) if command.name == "expect-balance" => accounts.expect(&command).map(|()| None),
            _ => Ok(Some(command)),
        });
        let done = done.and_then(|command| command.map_or(Ok(()), |command| world.command(&command)));
        let is_judged = recorder.borrow().violation.is_some();
        match done {
            Err(error) if is_judged || !optional => {
                let what = format!("line {} of the story, `{text}`: {error}", number + 1);
                // Only what a story expects is its verdict.
                return Err(if text.starts_with("expect") {
                    Verdict::Broken { breaks: Breaks::Story, what }
                } else {
                    Verdict::Unclear(what)
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// What is known of one node.
struct Known<D: Taught> {
    view: Option<<D::Invariants as Invariants>::View>,
    state: String,
    is_up: bool,
}

/// Writes down what happens, and judges it.
struct Recorder<D: Taught> {
    invariants: D::Invariants,
    past: <D::Invariants as Invariants>::Past,
    nodes: BTreeMap<NodeId, Known<D>>,
    rows: Vec<Row>,
    violation: Option<Violation>,
    /// The message that the node which is handed an input right now hears, if it is one.
    heard: Option<(NodeId, <D::Protocol as hezong_base::Protocol>::Message)>,
    /// The state machine on top, where the story is about that.
    accounts: Option<Accounts>,
}

/// The recorder, as the world has it.
struct Shared<D: Taught>(Rc<RefCell<Recorder<D>>>);

impl<D: Taught> Watch<D> for Shared<D> {
    fn see(&mut self, now: Time, moment: Moment<'_, D>) -> Result<(), String> {
        let mut recorder = self.0.borrow_mut();
        recorder.see(now, &moment).map_err(|violation| {
            let text = violation.to_string();
            recorder.row(now, Kind::Broken, text.clone());
            recorder.violation = Some(violation);
            text
        })
    }
}

impl<D: Taught> Recorder<D> {
    fn new(voters: u8, accounts: Option<Accounts>) -> Self {
        let past = <D::Invariants as Invariants>::Past::default();
        let (nodes, rows) = (BTreeMap::new(), Vec::new());
        Self { invariants: D::invariants(voters), past, nodes, rows, violation: None, heard: None, accounts }
    }

    /// A line of the story's prose; lines that follow each other are one paragraph.
    fn prose(&mut self, at: Time, text: &str) {
        match self.rows.last_mut() {
            Some(Row { kind: Kind::Prose, text: before, .. }) => *before += &format!(" {text}"),
            _ => self.row(at, Kind::Prose, text.to_owned()),
        }
    }

    fn row(&mut self, at: Time, kind: Kind, text: String) {
        self.rows.push(Row { at, kind, text, states: BTreeMap::new() });
    }

    fn see(&mut self, now: Time, moment: &Moment<'_, D>) -> Result<(), Violation> {
        match moment {
            Moment::Started(id) => {
                self.row(now, Kind::At(*id), format!("{id} starts"));
                if let Some(accounts) = &mut self.accounts {
                    accounts.start(*id);
                }
            }
            Moment::Crashed(id) => {
                self.row(now, Kind::At(*id), format!("{id} crashes"));
                if let Some(known) = self.nodes.get_mut(id) {
                    known.is_up = false;
                }
                self.stands(*id, "down".to_owned());
            }
            Moment::LostWrite(id, write) => {
                self.row(now, Kind::At(*id), format!("{id} loses {}", D::show_write(write)));
            }
            Moment::Input(id, input) => match input {
                Input::Timeout => self.row(now, Kind::At(*id), format!("{id} times out")),
                Input::Request { id: request_id, request } => {
                    self.row(now, Kind::At(*id), format!("{id} is asked: {request:?}"));
                    self.invariants.asked(&mut self.past, *id, *request_id, request);
                }
                Input::Message { from, message } => self.heard = Some((*from, message.clone())),
                Input::Stored(_) | Input::Answered { .. } => {}
            },
            Moment::Became(id, node, disk) => return self.became(now, *id, node, disk),
            Moment::Sent { .. } | Moment::Wrote(..) => {}
            Moment::Delivered { from, to, message, .. } => {
                self.row(now, Kind::Message { from: *from, to: *to, is_lost: false }, D::message(message));
            }
            Moment::Lost { from, to, message, .. } => {
                self.row(now, Kind::Message { from: *from, to: *to, is_lost: true }, D::message(message));
            }
            Moment::Told(id, event) => {
                self.row(now, Kind::At(*id), format!("{id} tells {}", D::event(event)));
                self.invariants.hear(&mut self.past, *id, event)?;
            }
            Moment::Cut(from, to) => self.row(now, Kind::All, format!("cut: {from} no longer reaches {to}")),
            Moment::Healed => self.row(now, Kind::All, "healed: everybody reaches everybody".to_owned()),
        }
        Ok(())
    }

    fn became(&mut self, now: Time, id: NodeId, node: &D::Protocol, disk: &D::Disk) -> Result<(), Violation> {
        let mut state = D::state(node);
        if let Some(accounts) = &mut self.accounts {
            accounts.apply(id, &D::committed(node, disk));
            for (account, balance) in accounts.balances(id) {
                state += &format!(" {account}={balance}");
            }
        }
        self.stands(id, state);
        let view = self.invariants.view(node, &D::saved(disk), now);
        let known = self.nodes.get_mut(&id).expect("it was just seen to stand");
        known.is_up = true;
        let heard = self.heard.take();
        if let Some(before) = &known.view {
            self.invariants.check_step(id, before, &view)?;
            if let Some((from, message)) = heard {
                self.invariants.check_message(id, before, from, &message, &view)?;
            }
        }
        self.invariants.remember(&mut self.past, id, &view)?;
        known.view = Some(view);
        let up = self.nodes.iter().filter(|(_, known)| known.is_up);
        let views: Vec<_> = up.filter_map(|(id, known)| Some((*id, known.view.as_ref()?))).collect();
        self.invariants.check(&views, &self.past)
    }

    /// Notes how a node stands, beside what made it so.
    fn stands(&mut self, id: NodeId, state: String) {
        let known = self.nodes.entry(id).or_insert(Known { view: None, state: String::new(), is_up: false });
        if known.state != state {
            known.state.clone_from(&state);
            if let Some(row) = self.rows.last_mut() {
                row.states.insert(id, state);
            }
        }
    }
}
