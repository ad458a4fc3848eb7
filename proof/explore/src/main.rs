//! `hezong-explore`: explores two-phase commit, whose number of states is known, Raft, Paxos, registers,
//! Multi-Paxos, ZAB and two-phase and three-phase commit as they ship.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
#[cfg(feature = "weakened")]
use hezong_explore::mutants::{
    Mutant, OF_MULTI_PAXOS, OF_PAXOS, OF_RAFT, OF_REGISTER, OF_THREE_PHASE, OF_TWO_PHASE, OF_ZAB, Weakened,
};
use hezong_explore::{
    Cluster, End, Folding, Limits, Model, MultiPaxosBounds, Order, PaxosBounds, RaftBounds, RegisterBounds, Report,
    Subject, ThreePhaseCommit, TwoPhase, TwoPhaseCommitBounds, ZabBounds, explore, story,
};

/// Every run of a protocol there is, within bounds: visits each state once and checks it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// What each of them can be told stands beside it, in the library.
#[derive(Debug, Subcommand)]
enum Command {
    /// Explores a known model of two-phase commit, to test the explorer: 288 states with 3 participants, 8832 with 5.
    TwoPhase(Within<TwoPhaseArguments>),
    /// Explores Raft as it ships: all orders of messages, lost and repeated ones, timeouts, slow disks and crashes.
    Raft(Within<RaftBounds>),
    /// Explores basic Paxos as it ships, with prompt disks.
    Paxos(Within<PaxosBounds>),
    /// Explores a CASPaxos register as it ships, with prompt disks: changes of it, each of which appends.
    Register(Within<RegisterBounds>),
    /// Explores ZAB as it ships, among three voters, from a state that real steps lead to.
    Zab(Within<ZabBounds>),
    /// Explores Multi-Paxos as it ships, with prompt disks, from a state in which n1 is master.
    MultiPaxos(Within<MultiPaxosBounds>),
    /// Explores two-phase commit as it ships: one transaction, which n1 coordinates and the others take part in.
    TwoPhaseCommit(Within<TwoPhaseCommitBounds>),
    /// Explores three-phase commit as it ships, where no message between nodes that are up is lost and each is prompt: one
    /// transaction, which n1 coordinates and the others take part in; their users vote yes or no.
    ThreePhaseCommit(Within<ThreePhaseCommit>),
    /// Gives all of these known bugs, one at a time, and finds the shortest way to what each breaks: a line each, with how
    /// many steps that takes.
    #[cfg(feature = "weakened")]
    Mutants,
}

#[derive(Args, Debug)]
struct TwoPhaseArguments {
    /// How many participants.
    #[arg(long, default_value_t = 3)]
    participants: usize,
    /// Folds states that are the same but for names: 314 states with 5 participants.
    #[arg(long)]
    symmetry: bool,
}

/// The bounds of a protocol, and those of the search.
#[derive(Args, Debug)]
struct Within<B: Args> {
    #[command(flatten)]
    bounds: B,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Args, Debug)]
struct LimitArguments {
    /// Stops after so many states. 10 million take about a gigabyte.
    #[arg(long)]
    states_max: Option<u64>,
    /// Goes no further than so many steps from the start.
    #[arg(long)]
    depth_max: Option<u32>,
    /// Stops after so many seconds.
    #[arg(long)]
    seconds_max: Option<u64>,
}

impl LimitArguments {
    fn limits(&self) -> Limits {
        let time_max = self.seconds_max.map(Duration::from_secs);
        Limits { states_max: self.states_max, depth_max: self.depth_max, time_max }
    }
}

fn main() -> ExitCode {
    // A panic inside a step is a finding, and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = match Arguments::parse().command {
        Command::TwoPhase(Within { bounds: TwoPhaseArguments { participants, symmetry }, limits }) => {
            let folding = if symmetry { Folding::Full } else { Folding::None };
            run(&mut TwoPhase { participants, folding }, limits.limits())
        }
        Command::Raft(within) => run_cluster(within),
        Command::Paxos(within) => run_cluster(within),
        Command::Register(within) => run_cluster(within),
        Command::Zab(within) => run_cluster(within),
        Command::MultiPaxos(within) => run_cluster(within),
        Command::TwoPhaseCommit(within) => run_cluster(within),
        Command::ThreePhaseCommit(Within { mut bounds, limits }) => run(&mut bounds, limits.limits()),
        #[cfg(feature = "weakened")]
        Command::Mutants => mutants(),
    };
    outcome.unwrap_or(ExitCode::FAILURE)
}

/// For each known bug that is within reach, and that nothing is found as far away without it: its name, its origin, how far it
/// was, how long it took, and what it breaks.
#[cfg(feature = "weakened")]
fn mutants() -> io::Result<ExitCode> {
    let mut missed = go_through(&OF_RAFT)? + go_through(&OF_PAXOS)?;
    missed += go_through(&OF_REGISTER)? + go_through(&OF_MULTI_PAXOS)? + go_through(&OF_ZAB)?;
    missed += go_through(&OF_TWO_PHASE)? + go_through(&OF_THREE_PHASE)?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many were not found where they should be, or without the bug.
#[cfg(feature = "weakened")]
fn go_through<B: Weakened>(mutants: &[Mutant<B>]) -> io::Result<u64> {
    let mut missed = 0;
    for mutant @ Mutant { weakness, property, steps, .. } in mutants {
        let report = mutant.explore();
        let is_sound = !matches!(mutant.explore_sound(report.depth).end, End::Violated { .. });
        let (name, origin) = (format!("{}{weakness:?}", B::PREFIX), B::origin(*weakness));
        let (effort, saw) = match &report.end {
            End::Violated { violation, steps } => (format!("{} steps", steps.len()), violation.property),
            End::Complete | End::Cut(_) => (format!("{} states", report.states), ""),
        };
        let as_known = saw == *property && effort == format!("{steps} steps");
        if !as_known || !is_sound {
            let known = format!("{property} after {steps} steps, and nothing without the bug");
            writeln!(io::stderr(), "{name}: {effort}: {saw}; known is {known}")?;
            missed += 1;
        }
        writeln!(io::stdout(), "{name}\t{origin}\t{effort}\t{:.1} s\t{saw}", report.elapsed.as_secs_f64())?;
    }
    Ok(missed)
}

fn run_cluster<S: Subject + Args>(Within { bounds, limits }: Within<S>) -> io::Result<ExitCode> {
    let mut cluster = Cluster::new(bounds);
    let outcome = run(&mut cluster, limits.limits());
    let (nodes, letters, handled) = cluster.counts();
    let _ = writeln!(io::stderr(), "{nodes} states of single nodes, {letters} messages, {handled} calls of `handle`");
    outcome
}

fn run<M: Model>(model: &mut M, limits: Limits) -> io::Result<ExitCode> {
    let start = model.initial();
    let mut told = std::time::Instant::now();
    let report = explore(model, &start, Order::Breadth, limits, |states, waiting, depth| {
        if told.elapsed() >= Duration::from_secs(2) {
            told = std::time::Instant::now();
            let _ = writeln!(io::stderr(), "{states} states, {waiting} of them waiting, {depth} steps from the start");
        }
    });
    print(model, &start, &report)
}

fn print<M: Model>(model: &mut M, start: &M::State, report: &Report<M::Action>) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if let End::Violated { violation, steps } = &report.end {
        writeln!(out, "{}{violation}\n", story(model, start, steps))?;
    }
    writeln!(
        out,
        "{} states, {} steps between them, {} steps from the start at most, {:.1} s, {:.0} states a second",
        report.states,
        report.steps,
        report.depth,
        report.elapsed.as_secs_f64(),
        report.rate()
    )?;
    match &report.end {
        End::Complete => {
            writeln!(out, "complete: nothing is wrong; a state was overlooked with odds of {:.0e}", report.odds())?;
            Ok(ExitCode::SUCCESS)
        }
        End::Cut(limit) => {
            writeln!(
                out,
                "cut: nothing is wrong with these, and the limit of {limit} was met before all were visited"
            )?;
            Ok(ExitCode::SUCCESS)
        }
        End::Violated { .. } => Ok(ExitCode::FAILURE),
    }
}
