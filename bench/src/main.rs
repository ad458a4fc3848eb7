//! Benchmarks: ours, and the same work on peers, in the same run.
//!
//! A figure means little without its neighbour: every benchmark here runs ours and the peer alternately in one process
//! or on one machine, prints the median of each and their ratio, and checks that both did the work.
//!
//! | file | holds |
//! |---|---|
//! | `core.rs`, `core/` | the Raft core against the crate `raft` 0.7: no disk, no network |
//! | `puts.rs` | puts of three hezong nodes against three etcd nodes, each over its own API |
//! | `failover.rs` | how long a cluster under load is without a leader once it is killed or stopped |
//! | `memory.rs` | what a node holds resident, idle and with a million keys, and how soon it serves after kill -9 |
//! | `join.rs` | how soon a node that joins votes, and what clients feel of the snapshot |
//! | `upkeep.rs` | what clients feel of nodes that are restarted and replaced |
//! | `nodes.rs`, `load.rs` | node processes, and clients that work on them |
//! | `rest.rs`, `etcd.rs` | our API and etcd's by hand, over one connection each |
//!
//! Not a default member of the workspace: it pulls in the peers.

#![forbid(unsafe_code)]

#[path = "../../proof/torture/src/certs.rs"]
#[expect(unreachable_pub, reason = "`hezong torture` has it too")]
mod certs;
mod core;
mod etcd;
mod failover;
mod join;
mod load;
mod memory;
mod nodes;
#[path = "../../proof/torture/src/ports.rs"]
#[expect(unreachable_pub, reason = "tests have it too")]
mod ports;
mod puts;
mod rest;
mod upkeep;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures hezong, and its peers beside it.
#[derive(Parser)]
#[command(name = "hezong-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The Raft core: three nodes in one thread, no disk, no network, against the crate `raft` 0.7.
    Core(core::Options),
    /// Puts: three hezong nodes against three etcd nodes on this machine, in turns.
    Puts(puts::Options),
    /// Leader killed, and stopped, under load: how long until the next acknowledged write.
    Failover(failover::Options),
    /// Resident memory, idle and with many keys, and the time to a consistent read after kill -9.
    Memory(memory::Options),
    /// A node that joins a cluster with a large state: how soon it votes, and what clients feel of it.
    Join(join::Options),
    /// Nodes restarted one at a time, and replaced, under load: the longest time without an acknowledged write.
    Upkeep(upkeep::Options),
}

/// Why a benchmark could not be run, in one sentence.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

/// Runs to the end on one thread, as the clients of both sides do.
fn on_runtime(benchmark: impl Future<Output = Outcome<()>>) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(benchmark).map_err(|error| -> Box<dyn std::error::Error> { error })
}

/// Prints one line.
fn say(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{line}")
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Core(options) => core::run(&options, std::io::stdout().lock()),
        Command::Puts(options) => on_runtime(puts::run(&options)),
        Command::Failover(options) => on_runtime(failover::run(&options)),
        Command::Memory(options) => on_runtime(memory::run(&options)),
        Command::Join(options) => on_runtime(join::run(&options)),
        Command::Upkeep(options) => on_runtime(upkeep::run(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
