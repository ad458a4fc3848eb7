//! What is made of the command line for shells and for `man`.

use std::fs;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::say;

const NAME: &str = "hezong";

/// `hezong completions`.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut script);
    say::bytes(&script);
    Ok(())
}

/// `hezong man`.
pub(crate) fn man(args: &ManArgs) -> Result<()> {
    let dir = args.dir.display();
    fs::create_dir_all(&args.dir).with_context(|| format!("the folder {dir} cannot be made"))?;
    clap_mangen::generate_to(Args::command(), &args.dir)
        .with_context(|| format!("man pages cannot be written to {dir}"))
}
