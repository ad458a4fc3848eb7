//! What is only for the proof stays out of what ships: known bugs, marks in rare branches, and a version that is not there yet.
//!
//! That no manifest asks for bugs or that version is checked in `floors.rs` (the simulator asks for marks); here it is asked of cargo itself, which knows what features
//! the shipped binary's crates have once defaults, optional dependencies and features of features are resolved. And as a
//! bug is chosen by a field that its crate has with that feature alone, a binary without the feature has nowhere to say
//! which.

use std::process::Command;

use anyhow::ensure;

use crate::tree::{self, Tree};

/// What ships.
const SHIPPED: &str = "hezong";

/// Features that nothing shipped has.
const PROOF_ONLY: &[&str] = &["weakened", "marks", "next-version"];

/// Crates that nothing shipped has: known bugs are chosen and looked for there.
const PROOF_CRATES: &[&str] = &["hezong-explore", "hezong-invariants", "hezong-lab", "hezong-script", "hezong-sim"];

pub(crate) fn check(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut findings = check_features(tree)?;
    check_switches(tree, &mut findings);
    Ok(findings)
}

/// What cargo would build, crate by crate.
fn check_features(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let listed = tree::run(
        Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "-p",
                SHIPPED,
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "--format",
                "{p}|{f}",
            ])
            .current_dir(&tree.root),
    )?;
    let listed = String::from_utf8(listed)?;
    let mut findings = Vec::new();
    let mut own = std::collections::BTreeSet::new();
    for (package, features) in listed.lines().filter_map(|line| line.split_once('|')) {
        let name = package.split(' ').next().unwrap_or(package);
        if !tree.crates.iter().any(|krate| krate.name == name) {
            continue;
        }
        own.insert(name);
        for feature in features.trim_end_matches(" (*)").split(',').filter(|feature| PROOF_ONLY.contains(feature)) {
            findings.push(format!("{SHIPPED} would be built with {name}'s `{feature}`, which is for the proof alone"));
        }
    }
    for name in PROOF_CRATES.iter().filter(|name| own.contains(*name)) {
        findings.push(format!("{SHIPPED} would be built with {name}, which is for the proof alone"));
    }
    ensure!(own.contains("hezong-raft"), "cargo tree lists {own:?}, and no hezong-raft: {SHIPPED} cannot be judged");
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Every field that holds a bug is there with the feature alone.
fn check_switches(tree: &Tree, findings: &mut Vec<String>) {
    for source in tree.sources.iter().filter(|source| !source.is_test() && !source.path.starts_with("proof/")) {
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let name = match line.strip_prefix("pub(") {
                Some(rest) => rest.split_once(") ").map_or("", |(_, name)| name),
                None => line.trim_start_matches("pub "),
            };
            let is_field = name.starts_with("weakness: ") && line.ends_with(',');
            let guarded = at > 0 && lines[at - 1] == "#[cfg(feature = \"weakened\")]";
            if is_field && !guarded {
                findings.push(format!(
                    "{}:{}: a bug can be chosen here in what ships: put #[cfg(feature = \"weakened\")] above it",
                    source.path,
                    at + 1
                ));
            }
        }
    }
}
