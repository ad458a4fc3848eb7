//! Pages that must agree with the code: the architecture page, the table of scenarios with the test of each, and that of
//! known bugs.

use std::fs;

use anyhow::Context;

use crate::tree::Tree;

/// Longer, and nobody reads it.
const ARCHITECTURE_LINES_MAX: usize = 400;

pub(crate) fn check(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    let read = |page: &str| fs::read_to_string(tree.root.join(page)).with_context(|| format!("cannot read {page}"));
    check_architecture(tree, &read("ARCHITECTURE.md")?, &mut findings);
    check_scenarios(tree, &read("docs/scenarios.md")?, &mut findings);
    check_catalogue(tree, &read("docs/proof.md")?, &mut findings);
    Ok(findings)
}

/// The page stays short, shows every folder that holds a crate, and gives a sentence to every dependency.
fn check_architecture(tree: &Tree, page: &str, findings: &mut Vec<String>) {
    let lines = page.lines().count();
    if lines > ARCHITECTURE_LINES_MAX {
        findings.push(format!("ARCHITECTURE.md: {lines} lines, over {ARCHITECTURE_LINES_MAX}"));
    }
    for krate in &tree.crates {
        if !page.contains(&format!("`{}`", krate.folder)) {
            findings.push(format!("ARCHITECTURE.md: does not name `{}`", krate.folder));
        }
        for dependency in &krate.dependencies {
            let own = tree.crates.iter().any(|other| other.name == dependency.name);
            if !own && !page.contains(&format!("`{}`", dependency.name)) {
                findings.push(format!("ARCHITECTURE.md: gives no reason for the dependency `{}`", dependency.name));
            }
        }
    }
}

/// Every row of the table ends with the tests of that scenario, as `file::test` or the path of a golden script; each
/// must exist.
fn check_scenarios(tree: &Tree, page: &str, findings: &mut Vec<String>) {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id"));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(id), Some(tests)) = (cells.first(), cells.last()) else { continue };
        let mut named = 0;
        for test in tests.split('`').skip(1).step_by(2) {
            named += 1;
            if !exists(tree, test) {
                findings.push(format!("docs/scenarios.md: {id} names `{test}`, which is not there"));
            }
        }
        if named == 0 {
            findings.push(format!("docs/scenarios.md: {id} names no test"));
        }
    }
}

/// Every known bug has a row: its name is what has an origin.
fn check_catalogue(tree: &Tree, page: &str, findings: &mut Vec<String>) {
    let mut bugs = 0;
    let table = page.split_once(crate::mutants::TABLE_BEGINS).map_or("", |(_, rows)| rows);
    for source in tree.sources.iter().filter(|source| source.text.contains("fn origin(self) -> &'static str {")) {
        let Some((_, origins)) = source.text.split_once("fn origin(self) -> &'static str {") else { continue };
        let arms = origins.lines().take_while(|line| *line != "    }").filter(|line| line.contains("=>"));
        for name in arms.flat_map(|line| line.split("=>").next().unwrap_or("").split('|')) {
            let Some(name) = name.trim().strip_prefix("Self::").filter(|name| !name.contains('(')) else { continue };
            bugs += 1;
            let prefixes = prefixes(&source.path);
            if !prefixes.iter().any(|prefix| table.contains(&format!("\n| `{prefix}{name}` |"))) {
                findings.push(format!(
                    "docs/proof.md: has no row for `{name}` of {}: cargo xtask mutants --write",
                    source.path
                ));
            }
        }
    }
    if bugs == 0 {
        findings.push("docs/proof.md: no bug with an origin was found, so that the table cannot be judged".to_owned());
    }
}

/// What stands before the names of bugs of this file, of which there may be several kinds.
fn prefixes(path: &str) -> &'static [&'static str] {
    let of = |folder: &str| path.starts_with(folder);
    match () {
        () if of("engine/replicated/") => &["replicated::"],
        () if of("protocols/commit/") => &["two-phase::", "three-phase::", "tcc::"],
        () if of("protocols/paxos/src/basic/") => &["paxos::"],
        () if of("protocols/paxos/src/multi/") => &["multi-paxos::"],
        () if of("protocols/paxos/src/register/") => &["register::"],
        () if of("protocols/zab/") => &["zab::"],
        () => &[""],
    }
}

fn exists(tree: &Tree, test: &str) -> bool {
    match test.split_once("::") {
        Some((file, name)) => {
            tree.sources.iter().any(|source| source.path == file && source.text.contains(&format!("fn {name}(")))
        }
        None => tree.root.join(test).exists(),
    }
}
