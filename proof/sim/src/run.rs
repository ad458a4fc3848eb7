//! One seed from beginning to end: trouble until enough has happened, then healing, then proof that everybody goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hezong_base::marks;
use hezong_check::{Answer, Budget, Call, Verdict};

use crate::check::{Violation, place};
use crate::cut::{Cut, Strike};
use crate::history::{Action, Outcome};
use crate::moment::Moments;
use crate::plan::{FaultCounts, Shape, Slip};
use crate::process::{GROUP, Process};
use crate::sim::Sim;
use crate::story::{Line, Story};

/// What a run is given besides its seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Events, at least, before everything is healed.
    pub events: u64,
    /// Where to look.
    pub shape: Shape,
    /// What whoever runs the nodes does wrong.
    pub slip: Option<Slip>,
    /// The bug that every node suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<crate::mutants::Mutant>,
}

impl Default for Options {
    /// What counts as a run: 20,000 events, clocks within their bound, no bug known.
    fn default() -> Self {
        Self {
            events: 20_000,
            shape: Shape::Any,
            slip: None,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }
}

/// What a run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Inputs handed to protocols.
    pub events: u64,
    /// How long it took in its own time, in nanoseconds.
    pub simulated: u64,
    /// The patience of its nodes, their election timeout, in nanoseconds.
    pub patience: u64,
    /// What went wrong, and how often.
    pub faults: FaultCounts,
    /// In the middle of what it was struck.
    pub moments: Moments,
    /// The rare branches that were taken, and how often.
    pub marks: BTreeMap<&'static str, u64>,
    /// Terms that had a leader.
    pub terms_led: u64,
    /// Entries committed.
    pub committed: u64,
    /// Operations that clients began, those among them that succeeded, and those of which nobody knows.
    pub operations: u64,
    /// See `operations`.
    pub succeeded: u64,
    /// See `operations`.
    pub unknown: u64,
    /// Writes that were told what an earlier copy of them was told.
    pub repeated: u64,
    /// Sessions whose clients were told that they are gone.
    pub expired: u64,
    /// From healing until every client had finished and all replicas were equal, in nanoseconds.
    pub recovery: u64,
    /// The same for the same seed, always.
    pub trace: u64,
    /// What struck, in order.
    pub strikes: Vec<Strike>,
    /// What did not hold.
    pub violation: Option<Violation>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    Case { seed, options, cut: Cut::default() }.run()
}

/// Runs a seed and tells what happened, line by line.
#[must_use]
pub fn replay(seed: u64, options: Options) -> (Report, Vec<Line>) {
    Case { seed, options, cut: Cut::default() }.tell()
}

/// A run: a seed, how it is run, and what is left out of it. The same case gives the same run, always.
#[derive(Clone, Debug)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// How it is run.
    pub options: Options,
    /// What is left out.
    pub cut: Cut,
}

impl Case {
    /// Runs it.
    #[must_use]
    pub fn run(&self) -> Report {
        play(self, Story::default()).0
    }

    /// What to type to see it.
    #[must_use]
    pub fn command(&self) -> String {
        let Options { events, shape, slip, .. } = self.options;
        let bug = slip.map(|slip| format!("{slip:?}"));
        #[cfg(feature = "weakened")]
        let bug = bug.or(self.options.weakness.map(|weakness| weakness.to_string()));
        let features = if bug.is_some() { " --features weakened" } else { "" };
        let mut command = format!("cargo run --release -p hezong-sim{features} -- replay {}", self.seed);
        if let Some(bug) = &bug {
            command += &format!(" --mutant {bug}");
        }
        // With a known bug the usual is where that is looked for.
        if shape != Shape::Any || bug.is_some() {
            command += &format!(" --shape {}", format!("{shape:?}").to_lowercase());
        }
        if events != Options::default().events {
            command += &format!(" --events {events}");
        }
        command + &self.cut.to_string()
    }

    /// Runs it and tells what happened.
    #[must_use]
    pub fn tell(&self) -> (Report, Vec<Line>) {
        play(self, Story::told())
    }
}

fn play(case: &Case, story: Story) -> (Report, Vec<Line>) {
    let (seed, options) = (case.seed, case.options);
    let mut sim = Sim::new(seed, options.slip, options.shape, &case.cut, story);
    #[cfg(feature = "weakened")]
    {
        sim.weakness = options.weakness;
    }
    // What is left of a run that nobody asked for its marks.
    drop(marks::take());
    // A protocol that asserts has found a bug by itself; the run reports it like any other.
    let outcome = catch_unwind(AssertUnwindSafe(|| whole_run(&mut sim, case)));
    let (recovery, violation) = match outcome {
        Ok(Ok(recovery)) => (recovery, None),
        Ok(Err(violation)) => (0, Some(violation)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            (0, Some(Violation::new("assertions", text.unwrap_or_else(|| "a panic without words".to_owned()))))
        }
    };
    let count = |wanted: fn(&Outcome) -> bool| {
        sim.history.operations.iter().filter(|operation| wanted(&operation.outcome)).count() as u64
    };
    let report = Report {
        seed,
        events: sim.events,
        simulated: sim.now,
        patience: sim.plan.patience,
        faults: sim.faults,
        moments: sim.moments,
        marks: marks::take(),
        terms_led: sim.checkers.terms_led(),
        committed: sim.checkers.applied(),
        operations: sim.history.operations.len() as u64,
        succeeded: count(|outcome| matches!(outcome, Outcome::Written(_) | Outcome::Value(_))),
        unknown: count(|outcome| *outcome == Outcome::Unknown),
        repeated: sim.repeated,
        expired: sim.expired,
        recovery,
        trace: sim.trace.finish(),
        strikes: sim.chances.into_struck(),
        violation,
    };
    (report, sim.story.into_lines())
}

/// In how many election timeouts a healed cluster must have everybody served and all replicas equal.
const RECOVERY: u64 = 60;
/// How many operations every client must finish then, besides looking at every register.
const OPERATIONS: u64 = 3;
/// A run in which clients hardly do anything still ends: after so many election timeouts.
const TROUBLE_MAX: u64 = 2_000;
/// Kinds of fault, at least, before everything is healed.
pub const FAULT_KINDS_MIN: usize = 3;
/// Operations of clients, at least, before everything is healed.
pub const OPERATIONS_MIN: u64 = 200;

/// A history that was too hard to check has shown nothing: no clean run, and no bug caught either.
pub(crate) const UNDECIDED: &str = "a verdict on linearizability";

fn whole_run(sim: &mut Sim, case: &Case) -> Result<u64, Violation> {
    let options = case.options;
    // What little is left of a run that was cut down need not be of many kinds.
    let kinds_min = if case.cut.is_empty() { FAULT_KINDS_MIN } else { 0 };
    sim.begin();
    let end = sim.plan.patience * TROUBLE_MAX;
    let operations_min = if case.cut.is_empty() { OPERATIONS_MIN } else { 0 };
    let enough = |sim: &Sim| {
        sim.events >= options.events
            && sim.history.operations.len() as u64 >= operations_min
            && sim.faults.kinds() >= kinds_min
    };
    while !enough(sim) && sim.now < end {
        sim.step()?;
    }
    sim.heal()?;
    let healed = sim.now;
    let bound = healed + sim.plan.patience * RECOVERY + alone(sim);
    let wanted = sim.plan.keys + OPERATIONS;
    let lost = |sim: &Sim| sim.has_room() && sim.newcomers.iter().any(|newcomer| newcomer.told.is_none());
    while sim.clients.iter().any(|client| client.done_since_healed < wanted) || !settled(sim) || lost(sim) {
        if sim.now > bound {
            let done: Vec<_> = sim.clients.iter().map(|client| client.done_since_healed).collect();
            let detail = format!(
                "{} election timeouts after healing, of {wanted} operations each client has finished {done:?}; \
                 replicas equal: {}; newcomers without a number: {}",
                (bound - healed) / sim.plan.patience,
                settled(sim),
                lost(sim)
            );
            return Err(Violation::new("progress after healing", detail));
        }
        // Everybody has looked at every register, and deleted one.
        if sim.clients.iter().all(|client| client.done_since_healed > sim.plan.keys) {
            sim.grow_disks()?;
        }
        sim.quiet = sim.clients.iter().all(|client| client.done_since_healed >= wanted);
        sim.step()?;
    }
    let members = sim.membership.members().keys();
    let machines = members.map(|id| (*id, &sim.processes[place(*id)].machine));
    let states: Vec<_> = machines.map(|(id, machine)| (id, machine.last(), machine.digest())).collect();
    if states.iter().map(|(.., digest)| digest).collect::<BTreeSet<_>>().len() != 1 {
        return Err(Violation::new("equal replicas", "replicas that have applied the same entries differ"));
    }
    if let Some((id, Some(last), digest)) = states.first() {
        sim.checkers.on_end(*id, last.index, *digest)?;
    }
    sim.check_numbers()?;
    linearizable(sim, options)?;
    sim.checkers.sessions()?;
    Ok(sim.now - healed)
}

/// What a whole log may take in addition where each entry travels, and is synced, alone, and comes before the one ahead of
/// it now and then.
fn alone(sim: &Sim) -> u64 {
    if sim.plan.append_bytes_max > 1 {
        return 0;
    }
    let last = |process: &Process| Some(process.node.as_ref()?.raft(GROUP)?.log().last_index()?.0);
    let entries = sim.processes.iter().filter_map(last).max().unwrap_or(0);
    entries * 4 * (2 * sim.plan.way + sim.plan.sync)
}

/// Whether no change of members is half done, every member is up, and all have applied the same.
fn settled(sim: &Sim) -> bool {
    if sim.membership.is_joint() {
        return false;
    }
    let mut members = sim.membership.members().keys().map(|id| sim.processes.get(place(*id)));
    let Some(Some(first)) = members.next() else { return false };
    first.node.is_some()
        && members.all(|other| {
            other.is_some_and(|other| other.node.is_some() && other.machine.last() == first.machine.last())
        })
}

/// Whether some order of all operations explains every answer.
fn linearizable(sim: &Sim, _options: Options) -> Result<(), Violation> {
    let value = |value: u64| (value != 0).then(|| value.to_string());
    let operations = sim.history.operations.iter().filter(|operation| operation.outcome != Outcome::Failed);
    let history = operations
        .map(|operation| {
            let (key, call) = match operation.action {
                Action::Put { key, value } => (key, Call::Put(value.to_string())),
                Action::Cas { key, expected, value: new } => {
                    (key, Call::Cas { expected: value(expected), value: new.to_string() })
                }
                Action::Delete { key } => (key, Call::Delete),
                Action::Get { key } => (key, Call::Get),
            };
            let answer = match (operation.outcome, operation.action) {
                (Outcome::Written(_), Action::Put { .. } | Action::Delete { .. }) => Some(Answer::Done),
                (Outcome::Written(swapped), _) => Some(Answer::Swapped(swapped)),
                (Outcome::Value(found), _) => Some(Answer::Found(value(found))),
                (Outcome::Unknown | Outcome::Failed, _) => None,
            };
            let at = operation.returned.unwrap_or(u64::MAX);
            hezong_check::Operation {
                client: operation.client as u64,
                key: key.to_string(),
                called: operation.called,
                call,
                outcome: answer.map(|answer| hezong_check::Outcome { at, answer }),
            }
        })
        .collect();
    match hezong_check::check(&history, Budget::default()) {
        Verdict::Linearizable => Ok(()),
        Verdict::Violation(violation) => Err(Violation::new("linearizability", violation.to_string())),
        Verdict::Unknown { keys } => {
            Err(Violation::new(UNDECIDED, format!("the checker gave up on the registers {keys:?}")))
        }
    }
}
