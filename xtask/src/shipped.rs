//! What the shipped program is made with: by the word of the resolver, for the command that builds it.
//!
//! `floors.rs` looks at what each manifest asks for. Features come together, though, from every crate that is built at once, and
//! the simulator asks for some that only the proof may have; what counts in the end is `cargo build -p hezong`.

use std::process::Command;

use crate::tree::{Tree, run};

/// Features that only the proof has, each with what it brings.
const PROOF_ONLY: &[(&str, &str)] = &[
    ("marks", "marks in rare branches"),
    ("weakened", "known bugs"),
    ("next-version", "a version that is not there yet"),
];

pub(crate) fn check(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let listed = run(Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "hezong", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}|{f}"])
        .current_dir(&tree.root))?;
    let listed = String::from_utf8(listed)?;
    anyhow::ensure!(listed.contains("hezong-base"), "cargo tree does not list what the program is made of");
    Ok(findings(&listed))
}

/// Of lines as `name version path|feature,feature`, and ` (*)` behind what was listed before.
fn findings(listed: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (package, features) in listed.lines().filter_map(|line| line.split_once('|')) {
        let features: Vec<_> = features.trim_end_matches(" (*)").split(',').collect();
        let name = package.split(' ').next().unwrap_or(package);
        for (feature, what) in PROOF_ONLY.iter().filter(|(feature, _)| features.contains(feature)) {
            findings.push(format!("server: `cargo build -p hezong` links {name} with `{feature}`: {what}"));
        }
    }
    findings.retain(|finding| finding.contains("links hezong"));
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::findings;

    #[test]
    fn features_of_the_proof_are_found() {
        let clean = "hezong v0.1.0 (/a/server)|default\nhezong-base v0.1.0 (/a/base)|\nbytes v1.0.0|default,std (*)\n";
        assert_eq!(findings(clean), Vec::<String>::new());
        let marked = clean.replace("(/a/base)|", "(/a/base)|marks (*)");
        assert_eq!(findings(&marked).len(), 1);
        assert_eq!(findings(&clean.replace("default,std", "default,marks")), Vec::<String>::new(), "another's crate");
    }
}
