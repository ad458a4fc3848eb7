//! Repository rules as checks: `cargo xtask tidy` refuses what `ARCHITECTURE.md` and the house style forbid.
//!
//! | file | holds |
//! |---|---|
//! | `tree.rs` | the checkout: its crates, their dependencies, its source files |
//! | `floors.rs` | who may import whom, and what a protocol may name at all |
//! | `shipped.rs` | what the shipped program must not be made with |
//! | `style.rs` | sizes, openings, words that must not be left behind |
//! | `docs.rs` | pages that must agree with the code |

mod docs;
mod floors;
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
    /// Checks floors, purity of protocols, file sizes, and that the documents agree with the code.
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command: Command::Tidy } = Arguments::parse();
    let tree = tree::Tree::load()?;
    let mut findings = Vec::new();
    findings.extend(floors::check(&tree));
    findings.extend(shipped::check(&tree)?);
    findings.extend(style::check(&tree));
    findings.extend(docs::check(&tree)?);
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
