//! `hezong-explore`: explores two-phase commit, whose number of states is known, Raft, Paxos, Multi-Paxos, ZAB
//! and two-phase and three-phase commit as they ship.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
#[cfg(feature = "weakened")]
use hezong_explore::mutants::{
    Mutant, OF_MULTI_PAXOS, OF_PAXOS, OF_RAFT, OF_THREE_PHASE, OF_TWO_PHASE, OF_ZAB, Weakened,
};
use hezong_explore::{
    Cluster, End, Folding, Limits, Model, MultiPaxosBounds, MultiPaxosSubject, Order, PaxosBounds, PaxosSubject,
    RaftBounds, RaftSubject, Report, Subject, ThreePhaseCommit, TwoPhase, TwoPhaseCommitBounds, TwoPhaseCommitSubject,
    ZabBounds, ZabStart, ZabSubject, explore, story,
};

/// Every run of a protocol there is, within bounds: visits each state once and checks it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explores a known model of two-phase commit, to test the explorer: 288 states with 3 participants, 8832 with 5.
    TwoPhase {
        /// How many participants.
        #[arg(long, default_value_t = 3)]
        participants: usize,
        /// Folds states that are the same but for names: 314 states with 5 participants.
        #[arg(long)]
        symmetry: bool,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Explores Raft as it ships: all orders of messages, lost and repeated ones, timeouts, slow disks and crashes.
    Raft {
        /// Voters.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
        nodes: u8,
        /// Nobody campaigns for a later term.
        #[arg(long, default_value_t = 2)]
        terms: u64,
        /// Entries proposed by clients in all, beside the empty one that opens each term.
        #[arg(long, default_value_t = 1)]
        entries: u8,
        /// Crashes in all.
        #[arg(long, default_value_t = 1)]
        crashes: u8,
        /// Writes take any time, not only up to the end of the step that issues them.
        #[arg(long)]
        slow_disks: bool,
        /// Every entry travels alone.
        #[arg(long)]
        one_by_one: bool,
        /// Messages arrive, too, that serve progress alone: pre-votes, refused votes, every heartbeat, and what answers it.
        #[arg(long)]
        asides: bool,
        /// Keeps messages on their way that can make nothing of their receivers any more: many more states, and nothing else
        /// in them.
        #[arg(long)]
        keep_spent: bool,
        /// Visits states that are the same but for names, too.
        #[arg(long)]
        no_symmetry: bool,
        /// With this known bug in every node.
        #[cfg(feature = "weakened")]
        #[arg(long)]
        weakness: Option<String>,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Explores basic Paxos as it ships, with prompt disks.
    Paxos {
        /// Acceptors.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
        acceptors: u8,
        /// The first so many of them propose, each a value of its own.
        #[arg(long, default_value_t = 2)]
        proposers: u8,
        /// Nobody makes a ballot of a later round.
        #[arg(long, default_value_t = 2)]
        rounds: u64,
        /// Crashes in all.
        #[arg(long, default_value_t = 1)]
        crashes: u8,
        /// Acceptors that hear nothing for long propose what they have accepted.
        #[arg(long)]
        helpers: bool,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Explores ZAB as it ships, among three voters, from a state that real steps lead to.
    Zab {
        /// Where to begin. Elected: n3 is. Established: it leads, and the others serve. Behind: it is elected again, and n1 has
        /// not heard of a transaction that is committed. Alone: nobody else has, and it is not. Interrupted: n1 was given it,
        /// but for the end, before n3 was elected once more. Torn: n1 crashed while it took it over, and n1 and n2 go on alone.
        #[arg(long, value_enum, default_value_t = Begin::Elected)]
        start: Begin,
        /// How often a node may give up whom it follows, or that it leads, because nobody is heard.
        #[arg(long, default_value_t = 0)]
        elections: u64,
        /// Transactions proposed by the leader's user in all.
        #[arg(long, default_value_t = 2)]
        writes: u8,
        /// `sync`s asked for in all, behind these.
        #[arg(long, default_value_t = 0)]
        syncs: u8,
        /// Sessions of a learner that its leader takes in beyond the first: new ones, and old ones whose first word comes again.
        #[arg(long, default_value_t = 1)]
        reopenings: u8,
        /// Crashes in all.
        #[arg(long, default_value_t = 1)]
        crashes: u8,
        /// Writes take any time, not only up to the end of the step that issues them.
        #[arg(long)]
        slow_disks: bool,
        /// The end of a session is told to the other side, too, which else finds out for itself.
        #[arg(long)]
        ends: bool,
        /// Puts this known bug into every node.
        #[cfg(feature = "weakened")]
        #[arg(long)]
        weakness: Option<String>,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Explores Multi-Paxos as it ships, with prompt disks, from a state in which n1 is master.
    MultiPaxos {
        /// Members.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
        nodes: u8,
        /// Nobody campaigns in a later round; in the first, n1 has become master.
        #[arg(long, default_value_t = 2)]
        rounds: u64,
        /// Commands proposed by masters' users in all, each in a slot of its own.
        #[arg(long, default_value_t = 2)]
        slots: u8,
        /// Crashes in all.
        #[arg(long, default_value_t = 0)]
        crashes: u8,
        /// Puts this known bug into every node.
        #[cfg(feature = "weakened")]
        #[arg(long)]
        weakness: Option<String>,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Explores two-phase commit as it ships: one transaction, which n1 coordinates and the others take part in.
    TwoPhaseCommit {
        /// How many participants.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
        participants: u8,
        /// So many of them, the last ones, vote no; the others yes.
        #[arg(long, default_value_t = 0)]
        noes: u8,
        /// Crashes in all.
        #[arg(long, default_value_t = 1)]
        crashes: u8,
        /// Writes take any time, not only up to the end of the step that issues them.
        #[arg(long)]
        slow_disks: bool,
        /// Puts this known bug into every node.
        #[cfg(feature = "weakened")]
        #[arg(long)]
        weakness: Option<String>,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Explores three-phase commit as it ships, where no message between nodes that are up is lost and each is prompt: one
    /// transaction, which n1 coordinates and the others take part in; their users vote yes or no.
    ThreePhaseCommit {
        /// How many participants.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
        participants: u8,
        /// Crashes in all.
        #[arg(long, default_value_t = 1)]
        crashes: u8,
        /// A message may take a while, a round trip less than three of these.
        #[arg(long)]
        slow: bool,
        /// Who crashes stays gone.
        #[arg(long)]
        no_restarts: bool,
        /// Puts this known bug into every node.
        #[cfg(feature = "weakened")]
        #[arg(long)]
        weakness: Option<String>,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Gives all of these known bugs, one at a time, and finds the shortest way to what each breaks: a line each, with how
    /// many steps that takes.
    #[cfg(feature = "weakened")]
    Mutants,
}

/// Where an exploration of ZAB begins.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Begin {
    Elected,
    Established,
    Behind,
    Alone,
    Interrupted,
    Torn,
}

#[derive(Debug, Args)]
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
        Command::TwoPhase { participants, symmetry, limits } => {
            let folding = if symmetry { Folding::Full } else { Folding::None };
            run(&mut TwoPhase { participants, folding }, limits.limits())
        }
        Command::Raft {
            nodes,
            terms,
            entries,
            crashes,
            slow_disks,
            one_by_one,
            asides,
            keep_spent,
            no_symmetry,
            #[cfg(feature = "weakened")]
            weakness,
            limits,
        } => {
            let bounds = RaftBounds {
                nodes,
                terms,
                entries,
                crashes,
                slow_disks,
                one_by_one,
                asides,
                keep_spent,
                symmetry: !no_symmetry,
            };
            let subject = RaftSubject::new(bounds);
            #[cfg(feature = "weakened")]
            let subject = subject.weakened(known_bug(&hezong_raft::Weakness::ALL, weakness));
            run_cluster(&mut Cluster::new(subject, bounds.general()), limits.limits())
        }
        Command::Paxos { acceptors, proposers, rounds, crashes, helpers, limits } => {
            let bounds = PaxosBounds { acceptors, proposers, rounds, crashes, helpers };
            run_cluster(&mut Cluster::new(PaxosSubject::new(bounds), bounds.general()), limits.limits())
        }
        Command::Zab {
            start,
            elections,
            writes,
            syncs,
            reopenings,
            crashes,
            slow_disks,
            ends,
            #[cfg(feature = "weakened")]
            weakness,
            limits,
        } => {
            let start = match start {
                Begin::Elected => ZabStart::Elected,
                Begin::Established => ZabStart::Established,
                Begin::Behind => ZabStart::Behind,
                Begin::Alone => ZabStart::Alone,
                Begin::Interrupted => ZabStart::Interrupted,
                Begin::Torn => ZabStart::Torn,
            };
            let bounds = ZabBounds { start, elections, writes, syncs, reopenings, crashes, slow_disks, ends };
            let subject = ZabSubject::new(bounds);
            #[cfg(feature = "weakened")]
            let subject = subject.weakened(known_bug(&hezong_zab::Weakness::ALL, weakness));
            run_cluster(&mut Cluster::new(subject, bounds.general()), limits.limits())
        }
        Command::MultiPaxos {
            nodes,
            rounds,
            slots,
            crashes,
            #[cfg(feature = "weakened")]
            weakness,
            limits,
        } => {
            let bounds = MultiPaxosBounds { nodes, rounds, slots, crashes };
            let subject = MultiPaxosSubject::new(bounds);
            #[cfg(feature = "weakened")]
            let subject = subject.weakened(known_bug(&hezong_paxos::multi::Weakness::ALL, weakness));
            run_cluster(&mut Cluster::new(subject, bounds.general()), limits.limits())
        }
        Command::TwoPhaseCommit {
            participants,
            noes,
            crashes,
            slow_disks,
            #[cfg(feature = "weakened")]
            weakness,
            limits,
        } => {
            let bounds = TwoPhaseCommitBounds { participants, noes: noes.min(participants), crashes, slow_disks };
            let subject = TwoPhaseCommitSubject::new(bounds);
            #[cfg(feature = "weakened")]
            let subject = subject.weakened(known_bug(&hezong_commit::Weakness::TWO_PHASE, weakness));
            run_cluster(&mut Cluster::new(subject, bounds.general()), limits.limits())
        }
        Command::ThreePhaseCommit {
            participants,
            crashes,
            slow,
            no_restarts,
            #[cfg(feature = "weakened")]
            weakness,
            limits,
        } => {
            let model =
                ThreePhaseCommit { slow, restarts: !no_restarts, ..ThreePhaseCommit::new(participants, crashes) };
            #[cfg(feature = "weakened")]
            let model =
                ThreePhaseCommit { weakness: known_bug(&hezong_commit::Weakness::THREE_PHASE, weakness), ..model };
            run(&mut { model }, limits.limits())
        }
        #[cfg(feature = "weakened")]
        Command::Mutants => mutants(),
    };
    outcome.unwrap_or(ExitCode::FAILURE)
}

/// The known bug that was asked for by its name, if any; or says that there is none of that name.
#[cfg(feature = "weakened")]
fn known_bug<W: Copy + std::fmt::Debug>(all: &[W], name: Option<String>) -> Option<W> {
    name.map(|name| named(all, &name)).transpose().unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{error}");
        std::process::exit(1)
    })
}

/// The known bug of this name.
#[cfg(feature = "weakened")]
fn named<W: Copy + std::fmt::Debug>(all: &[W], name: &str) -> Result<W, String> {
    all.iter().copied().find(|weakness| format!("{weakness:?}") == name).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|weakness| format!("{weakness:?}")).collect();
        format!("no known bug is called {name}; there are {}", names.join(", "))
    })
}

/// For each known bug that is within reach, and that nothing is found as far away without it: its name, its origin, how far it was, how long it took, and what it breaks.
#[cfg(feature = "weakened")]
fn mutants() -> io::Result<ExitCode> {
    let mut missed = go_through(&OF_RAFT)? + go_through(&OF_PAXOS)?;
    missed += go_through(&OF_MULTI_PAXOS)? + go_through(&OF_ZAB)?;
    missed += go_through(&OF_TWO_PHASE)? + go_through_three_phase()?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many were not found where they should be, or without the bug.
#[cfg(feature = "weakened")]
fn go_through<S: Weakened>(mutants: &[Mutant<S>]) -> io::Result<u64> {
    let mut missed = 0;
    for mutant in mutants {
        let report = mutant.explore();
        let is_sound = !matches!(mutant.explore_sound(report.depth).end, End::Violated { .. });
        let (name, origin) = (format!("{}{:?}", S::PREFIX, mutant.weakness), S::origin(mutant.weakness));
        missed += tell_mutant(&name, origin, (mutant.property, mutant.steps), &report, is_sound)?;
    }
    Ok(missed)
}

/// The same for three-phase commit, which is a model of its own.
#[cfg(feature = "weakened")]
fn go_through_three_phase() -> io::Result<u64> {
    let mut missed = 0;
    for (weakness, sound, property, steps) in OF_THREE_PHASE {
        let search = |weakness, limits| {
            let mut model = ThreePhaseCommit { weakness, ..sound };
            let start = model.initial();
            explore(&mut model, &start, Order::Breadth, limits, |_, _, _| {})
        };
        let report = search(Some(weakness), Limits::default());
        let sound = search(None, Limits { depth_max: Some(report.depth), ..Limits::default() });
        let is_sound = !matches!(sound.end, End::Violated { .. });
        let name = format!("three-phase::{weakness:?}");
        missed += tell_mutant(&name, weakness.origin(), (property, steps), &report, is_sound)?;
    }
    Ok(missed)
}

/// Tells what was found of a bug: 1 if it is not what is known, or is found without the bug as well.
#[cfg(feature = "weakened")]
fn tell_mutant<A>(
    name: &str,
    origin: &str,
    (property, steps): (&str, usize),
    report: &Report<A>,
    is_sound: bool,
) -> io::Result<u64> {
    let (effort, saw) = match &report.end {
        End::Violated { violation, steps } => (format!("{} steps", steps.len()), violation.property),
        End::Complete | End::Cut(_) => (format!("{} states", report.states), ""),
    };
    let as_known = saw == property && effort == format!("{steps} steps");
    if !as_known || !is_sound {
        let known = format!("{property} after {steps} steps, and nothing without the bug");
        writeln!(io::stderr(), "{name}: {effort}: {saw}; known is {known}")?;
    }
    writeln!(io::stdout(), "{name}\t{origin}\t{effort}\t{:.1} s\t{saw}", report.elapsed.as_secs_f64())?;
    Ok(u64::from(!as_known || !is_sound))
}

fn run_cluster<S: Subject>(cluster: &mut Cluster<S>, limits: Limits) -> io::Result<ExitCode> {
    let outcome = run(cluster, limits);
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
