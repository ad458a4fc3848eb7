//! The file format: steps separated by blank lines, each with `---` between what is done and what happened.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::{Command, Dialect, World};

/// Runs every script in `folder` and compares; with `update` writes the present behaviour instead.
///
/// # Errors
/// Lists every script that fails, with the first line that differs. A folder without scripts fails too: a test that
/// found nothing to check would pass for ever.
pub fn check_folder<D: Dialect>(folder: &Path, update: bool) -> Result<usize, String> {
    let listing = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = listing.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: no scripts", folder.display()));
    }
    let mut failures = String::new();
    for path in &paths {
        if let Err(error) = check_file::<D>(path, update) {
            let _ = writeln!(failures, "{}: {error}", path.display());
        }
    }
    if failures.is_empty() { Ok(paths.len()) } else { Err(failures) }
}

fn check_file<D: Dialect>(path: &Path, update: bool) -> Result<(), String> {
    let old = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let new = replay::<D>(&old)?;
    if old == new {
        return Ok(());
    }
    if update {
        return fs::write(path, new).map_err(|error| error.to_string());
    }
    let mut number = 0;
    let (mut was, mut is) = (old.lines(), new.lines());
    loop {
        number += 1;
        match (was.next(), is.next()) {
            (None, None) => return Err("differs in its line ends; run with UPDATE=1".to_owned()),
            (was, is) if was == is => {}
            (was, is) => {
                let (was, is) = (was.unwrap_or("(end)"), is.unwrap_or("(end)"));
                return Err(format!("line {number} differs\n  script: {was}\n  now:    {is}\n  UPDATE=1 rewrites it"));
            }
        }
    }
}

/// Plays a script and returns it as it should read: the comments and commands as they are, the outputs as they are now.
///
/// # Errors
/// When a command is not understood, cannot be carried out, or expects what is not so. Names the line.
pub fn replay<D: Dialect>(script: &str) -> Result<String, String> {
    let mut world = World::<D>::default();
    let mut text = String::new();
    let mut in_output = false;
    let mut commands = 0;
    for (number, line) in script.lines().enumerate() {
        let at = |error: String| format!("line {}: {error}", number + 1);
        if in_output {
            // What the script says happened ends at a blank line; what happened now was written at the `---`.
            if line.is_empty() {
                in_output = false;
                text.push('\n');
            }
        } else if line == "---" {
            in_output = true;
            let output = world.take_output();
            let _ = write!(text, "---\n{}", if output.is_empty() { "nothing\n" } else { &output });
        } else {
            let _ = writeln!(text, "{line}");
            let command = line.trim();
            if !command.is_empty() && !command.starts_with('#') {
                // What leads up to a story is done in silence.
                let quiet = command.strip_prefix('~');
                let before = world.output_len();
                world.command(&Command::parse(quiet.unwrap_or(command)).map_err(at)?).map_err(at)?;
                if quiet.is_some() {
                    world.cut_output(before);
                }
                commands += 1;
            }
        }
    }
    if !world.take_output().is_empty() {
        return Err("the last commands have no --- below them".to_owned());
    }
    if commands == 0 { Err("no commands".to_owned()) } else { Ok(text) }
}
