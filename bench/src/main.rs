//! Benchmarks: ours, and the same work on peers, in the same run.
//!
//! A figure means little without its neighbour: every benchmark here runs ours and the peer alternately in one process
//! or on one machine, prints the median of each and their ratio, and checks that both did the work.
//!
//! | file | holds |
//! |---|---|
//! | `core.rs`, `core/` | the Raft core against the crate `raft` 0.7: no disk, no network |
//!
//! Not a default member of the workspace: it pulls in the peers.

#![forbid(unsafe_code)]

mod core;

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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Core(options) => core::run(&options, std::io::stdout().lock()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
