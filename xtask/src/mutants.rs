//! Every known bug, put in, and what caught it: the catalogue of `docs/proof.md`.
//!
//! The bugs and their origins stand beside the code they spoil (`Weakness`, `Slip`). Each rung that can have them in it
//! tells a line a bug, with tabs between: name, origin, how much it took, how long, and what saw it, which is empty where
//! nothing did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::tree;

/// The lines of the page around the table.
const PAGE: &str = "docs/proof.md";
pub(crate) const TABLE_BEGINS: &str = "| bug | made by, or warned of in | caught by |";

/// Tests that put a bug in themselves, and need it to be found or to do its harm.
const TESTS: [&str; 4] = ["known_bug", "without_the_empty_entry", "by_plain_replacement", "trial_forgotten"];

/// The crates whose random histories find known bugs.
const HISTORIES: [&str; 4] = ["hezong-commit", "hezong-paxos", "hezong-replicated", "hezong-zab"];

/// What one rung found of one bug.
struct Finding {
    bug: String,
    origin: String,
    rung: &'static str,
    effort: String,
    seconds: String,
    /// The property that was seen to be broken; empty when the bug survived.
    saw: String,
}

/// Runs every rung with every bug, and tells what caught each. `write` puts the table into the page.
pub(crate) fn run(write: bool) -> anyhow::Result<bool> {
    let root = tree::root()?;
    let mut found = Vec::new();
    let sim = ["-p", "hezong-sim", "--features", "weakened", "--", "mutants"];
    found.extend(rung("simulator", &[&["run", "--quiet", "--release"], &sim[..]].concat())?);
    let explore = ["-p", "hezong-explore", "--features", "weakened", "--", "mutants"];
    found.extend(rung("explorer", &[&["run", "--quiet", "--release"], &explore[..]].concat())?);
    found.push(torture()?);
    found.extend(histories()?);
    tests()?;

    let table = table(&found);
    say(&format!("\n{table}"))?;
    if write {
        replace(&root.join(PAGE), &table)?;
    }
    let bugs: BTreeSet<&str> = found.iter().map(|finding| finding.bug.as_str()).collect();
    let page = fs::read_to_string(root.join(PAGE))?;
    let known = rows(&page);
    // What drops out of a rung would survive unseen.
    for gone in known.difference(&bugs) {
        say(&format!("NOT LOOKED FOR: {gone}, which {PAGE} has: a rung has lost it, or --write is due"))?;
    }
    for new in bugs.difference(&known) {
        say(&format!("NOT ON THE PAGE: {new}: --write is due"))?;
    }
    let survived: Vec<_> = found.iter().filter(|finding| finding.saw.is_empty()).collect();
    for Finding { bug, rung, effort, .. } in &survived {
        say(&format!("SURVIVED: {bug}, {rung}, {effort}"))?;
    }
    say(&format!("{} bugs, {} findings, {} survived", bugs.len(), found.len(), survived.len()))?;
    Ok(survived.is_empty() && known == bugs)
}

/// The bugs that the page's table has.
fn rows(page: &str) -> BTreeSet<&str> {
    let table = page.split_once(TABLE_BEGINS).map_or("", |(_, table)| table);
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
    rows.filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(bug, _)| bug).collect()
}

/// Has a rung go through its bugs, and tells each as it comes.
fn rung(name: &'static str, arguments: &[&str]) -> anyhow::Result<Vec<Finding>> {
    let mut child = cargo(arguments).stdout(Stdio::piped()).spawn().context("cargo does not start")?;
    let lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
    let mut found = Vec::new();
    for line in lines {
        let line = line?;
        let mut cells = line.split('\t').map(str::to_owned);
        let mut next = || cells.next().with_context(|| format!("{name} said {line:?}, where a bug was expected"));
        let (bug, origin, effort, seconds, saw) = (next()?, next()?, next()?, next()?, next()?);
        found.push(tell(Finding { bug, origin, rung: name, effort, seconds, saw })?);
    }
    let status = child.wait()?;
    let survived = found.iter().any(|finding| finding.saw.is_empty());
    ensure!(status.success() || survived, "{name} ended with {status}, although every bug was seen: it says why above");
    ensure!(!found.is_empty(), "{name} went through no bug at all");
    Ok(found)
}

fn tell(finding: Finding) -> anyhow::Result<Finding> {
    let Finding { bug, rung, effort, seconds, saw, .. } = &finding;
    let saw = if saw.is_empty() { "SURVIVED" } else { saw };
    say(&format!("{bug:<28} {rung:<10} {effort:<22} {seconds:>8}  {saw}"))?;
    Ok(finding)
}

/// The log that never syncs, on real processes: after all nodes were killed, what clients were told is gone. The test also
/// has the same faults explained without the bug.
fn torture() -> anyhow::Result<Finding> {
    let test = ["test", "-p", "hezong", "--features", "weakened", "--test", "torture_mutant"];
    ensure!(cargo(&[&test[..], &["--no-run", "--quiet"]].concat()).status()?.success(), "hezong does not build");
    let started = Instant::now();
    let output = cargo(&test).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("running 2 tests"), "the tests of the torture did not run:\n{said}");
    if !output.status.success() {
        say(&said)?;
    }
    tell(Finding {
        bug: "NeverSynced".to_owned(),
        // The bug itself is `Unsynced::Forget` in `engine/wal/src/disk_trial.rs`.
        origin: "robustmq#2039, nats-server#8425".to_owned(),
        rung: "torture",
        effort: "8 s of killing all nodes".to_owned(),
        seconds: format!("{:.1} s", started.elapsed().as_secs_f64()),
        saw: if output.status.success() { "nodes find that their log was lost" } else { "" }.to_owned(),
    })
}

/// Random histories that protocols have among their tests, with every bug; each tells a line a bug, that begins with `bug`.
fn histories() -> anyhow::Result<Vec<Finding>> {
    let started = Instant::now();
    let mut arguments = ["test", "--tests"].map(str::to_owned).to_vec();
    for krate in HISTORIES {
        arguments.extend(["-p".to_owned(), krate.to_owned(), "--features".to_owned(), format!("{krate}/weakened")]);
    }
    arguments.extend(["--", "--nocapture", "known_bug"].map(str::to_owned));
    let output = cargo(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "a known bug is not caught by random histories:\n{said}");
    let mut found = Vec::new();
    for line in said.lines().filter_map(|line| line.split_once("bug\t").map(|(_, line)| line)) {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut next = || cells.next().with_context(|| format!("{line:?} is no line of a bug"));
        let (bug, origin, effort, saw) = (next()?, next()?, next()?, next()?);
        found.push(tell(Finding { bug, origin, rung: "histories", effort, seconds: String::new(), saw })?);
    }
    ensure!(!found.is_empty(), "no history had a known bug in it");
    say(&format!("{} known bugs in random histories, {:.1} s", found.len(), started.elapsed().as_secs_f64()))?;
    Ok(found)
}

/// The tests that put bugs in: with the features that have them.
fn tests() -> anyhow::Result<()> {
    let started = Instant::now();
    let crates = ["-p", "hezong-raft", "-p", "hezong-wal", "--features", "hezong-raft/weakened,hezong-wal/weakened"];
    let output = cargo(&[&["test", "--tests"], &crates[..], &["--"], &TESTS].concat()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "tests that put bugs in fail:\n{said}");
    for name in TESTS {
        let ran = said.lines().any(|line| line.contains(name) && line.ends_with("... ok"));
        ensure!(ran, "no test called *{name}* was run");
    }
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("{} tests that put bugs in: all pass, {seconds:.1} s", TESTS.len()))
}

/// A row a bug, in the order in which they came; what several rungs found of one stands in one row.
fn table(found: &[Finding]) -> String {
    let mut rows: Vec<&Finding> = Vec::new();
    let mut by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for finding in found {
        if !by.contains_key(finding.bug.as_str()) {
            rows.push(finding);
        }
        let Finding { rung, effort, saw, .. } = finding;
        let cell = if saw.is_empty() { format!("**survived** the {rung}") } else { format!("{rung}, {effort}: {saw}") };
        by.entry(&finding.bug).or_default().push(cell);
    }
    let mut text = format!("{TABLE_BEGINS}\n|---|---|---|\n");
    for Finding { bug, origin, .. } in rows {
        text += &format!("| `{bug}` | {origin} | {} |\n", by[bug.as_str()].join("; "));
    }
    text
}

/// Puts the table where the page has one.
fn replace(page: &Path, table: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(page)?;
    let (before, rest) = text.split_once(TABLE_BEGINS).with_context(|| format!("{PAGE} has no {TABLE_BEGINS:?}"))?;
    let after: String =
        rest.lines().skip(1).skip_while(|line| line.starts_with('|')).map(|l| format!("{l}\n")).collect();
    fs::write(page, format!("{before}{table}{after}"))?;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments);
    command
}
