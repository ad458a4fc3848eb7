//! Repository rules as checks: `cargo xtask tidy` refuses what `ARCHITECTURE.md` and the house style forbid. And runs that
//! go over several crates.
//!
//! | file | holds |
//! |---|---|
//! | `tree.rs` | the checkout: its crates, their dependencies, its source files |
//! | `floors.rs` | who may import whom, and what a protocol may name at all |
//! | `style.rs` | sizes, openings, words that must not be left behind |
//! | `docs.rs` | pages that must agree with the code |
//! | `shipped.rs` | that no known bug is in what ships |
//! | `mutants.rs` | every known bug put in, and what caught it |

mod docs;
mod floors;
mod mutants;
mod shipped;
mod style;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Rules of this repository.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks floors, purity of protocols, file sizes, that the documents agree with the code, and that no known bug can be
    /// switched on in what ships.
    Tidy,
    /// Puts every known bug in, one at a time, and tells which rung of the proof caught it and after how much.
    Mutants {
        /// Puts the table into docs/proof.md.
        #[arg(long)]
        write: bool,
    },
    /// Feeds every decoder and every protocol with what nobody should send: `cargo xtask fuzz --time 1h`, or `--help`.
    #[command(disable_help_flag = true)]
    Fuzz {
        /// What `hezong-fuzz` takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Tidy => tidy(),
        Command::Mutants { write } => Ok(exit(mutants::run(write)?)),
        Command::Fuzz { arguments } => Ok(exit(fuzz(&arguments)?)),
    }
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Optimised: in the time there is, a hundred times as many inputs are tried.
fn fuzz(arguments: &[String]) -> anyhow::Result<bool> {
    let run = ["run", "--quiet", "--release", "-p", "hezong-fuzz", "--"];
    Ok(std::process::Command::new(env!("CARGO")).args(run).args(arguments).status()?.success())
}

fn tidy() -> anyhow::Result<ExitCode> {
    let tree = tree::Tree::load()?;
    let mut findings = Vec::new();
    findings.extend(floors::check(&tree));
    findings.extend(style::check(&tree));
    findings.extend(docs::check(&tree)?);
    findings.extend(shipped::check(&tree)?);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    eprintln!("{}", style::report(&tree));
    if findings.is_empty() {
        eprintln!("tidy: clean");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("tidy: {} findings", findings.len());
    Ok(ExitCode::FAILURE)
}
