//! Who may import whom, and what the lower floors may name at all (`ARCHITECTURE.md`, invariants 1 to 4).

use crate::tree::{Crate, Tree};

/// A folder, and the folders its crates may import from; its own is meant only where named.
const FLOORS: &[(&str, &[&str])] = &[
    ("protocols", &["protocols/base"]),
    ("engine/codec", &["protocols"]),
    ("engine/wal", &["protocols/base", "engine/codec"]),
    ("engine/node", &["protocols", "engine/codec"]),
    ("engine/replicated", &["protocols"]),
    ("engine/tls", &[]),
    ("engine/shell", &["protocols", "engine"]),
    ("data/store", &["protocols/base"]),
    ("data/kv", &["protocols", "engine/codec", "engine/node", "data/store"]),
    ("dialects", &["protocols", "engine", "data"]),
    ("client", &["engine/tls"]),
    ("server", &["protocols", "engine", "data", "dialects", "client", "proof/check", "proof/torture"]),
    ("proof/check", &[]),
    ("proof/script", &["protocols", "engine/replicated"]),
    ("proof/invariants", &["protocols", "engine/replicated"]),
    ("proof/explore", &["protocols", "proof/script", "proof/invariants"]),
    ("proof/fuzz", &["protocols", "engine", "data", "dialects", "server", "proof/check"]),
    ("proof/torture", &["protocols/base", "engine/codec", "client", "proof/check"]),
    ("lab", &["protocols", "engine/node", "engine/replicated", "data", "proof/script", "proof/invariants"]),
    ("proof/sim", &["protocols", "engine/codec", "engine/wal", "engine/node", "engine/replicated", "data", "proof"]),
    ("bench", &["protocols", "engine", "data", "dialects", "client", "proof/check"]),
    ("xtask", &[]),
];

/// What a protocol may use besides the contract.
const PROTOCOL_CRATES: &[&str] = &["bytes", "thiserror"];

/// Names that would let the world into a protocol, each with the way out.
const IMPURE: &[(&str, &str)] = &[
    ("extern crate std", "a protocol is no_std"),
    ("std::", "a protocol is no_std: use core or alloc"),
    ("core::sync", "a protocol has one owner and no shared state"),
    ("Atomic", "a protocol has one owner and no shared state"),
    ("f32", "floats differ between machines: use integers, as parts per million"),
    ("f64", "floats differ between machines: use integers, as parts per million"),
    ("HashMap", "iteration order must be the same everywhere: use BTreeMap"),
    ("HashSet", "iteration order must be the same everywhere: use BTreeSet"),
];

/// Below the protocols, but no part of what ships: compiled only with a feature of the proof (`shipped.rs`).
const WATCHED: &str = "protocols/base/src/marks.rs";

/// Names that touch the operating system.
const WORLD: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "tokio::",
    "rustix::",
    "getrandom::",
    "rand::",
];

/// Where names of [`WORLD`] are at home; everything else below the dialects must do without.
const WORLDLY: &[&str] =
    &["engine/shell/", "engine/tls/", "engine/wal/src/disk", "data/store/src/birth", "data/store/src/on_"];

/// The floors that must do without the world.
const PURE: &[&str] = &["protocols/", "engine/", "data/", "proof/check/"];

pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for krate in &tree.crates {
        check_imports(tree, krate, &mut findings);
        check_features(krate, &mut findings);
    }
    check_purity(tree, &mut findings);
    check_world(tree, &mut findings);
    findings
}

fn check_imports(tree: &Tree, krate: &Crate, findings: &mut Vec<String>) {
    let below = |folder: &str, floor: &str| folder == floor || folder.starts_with(&format!("{floor}/"));
    let Some((_, allowed)) = FLOORS.iter().find(|(floor, _)| below(&krate.folder, floor)) else {
        findings.push(format!("{}: stands on no floor; add it to xtask/src/floors.rs", krate.folder));
        return;
    };
    for dependency in &krate.dependencies {
        match tree.crates.iter().find(|other| other.name == dependency.name) {
            Some(other) if allowed.iter().any(|floor| below(&other.folder, floor)) => {}
            Some(other) => {
                findings.push(format!("{}: may not import {} (ARCHITECTURE.md, floors)", krate.folder, other.folder));
            }
            None if !krate.folder.starts_with("protocols/") => {}
            None if PROTOCOL_CRATES.contains(&dependency.name.as_str()) => {}
            None => findings.push(format!("{}: a protocol may not use the crate {}", krate.folder, dependency.name)),
        }
    }
}

/// What is only for the proof may be switched on only where nothing ships.
fn check_features(krate: &Crate, findings: &mut Vec<String>) {
    for (feature, what) in [("weakened", "known bugs"), ("next-version", "a version that is not there yet")] {
        let asks = |features: &[String]| features.iter().any(|asked| asked == feature);
        for dependency in krate.dependencies.iter().filter(|to| asks(&to.features) && !to.optional) {
            findings.push(format!("{}: always links {} with {what}", krate.folder, dependency.name));
        }
        if asks(&krate.defaults) {
            findings.push(format!("{}: has {what} by default", krate.folder));
        }
    }
}

fn check_purity(tree: &Tree, findings: &mut Vec<String>) {
    for krate in tree.crates.iter().filter(|krate| krate.folder.starts_with("protocols/")) {
        let lib = format!("{}/src/lib.rs", krate.folder);
        let text = tree.sources.iter().find(|source| source.path == lib).map_or("", |source| source.text.as_str());
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !text.contains(attribute) {
                findings.push(format!("{lib}: a protocol crate opens with {attribute}"));
            }
        }
        let own = format!("{}/src/", krate.folder);
        for source in tree.sources.iter().filter(|s| s.path.starts_with(&own) && s.path != WATCHED) {
            for (line, text) in source.production() {
                if text.trim_start().trim_start_matches("pub ").starts_with("static ") {
                    findings
                        .push(format!("{}:{line}: a protocol keeps its state in its struct: use const", source.path));
                }
                for (name, remedy) in IMPURE.iter().filter(|(name, _)| text.contains(name)) {
                    findings.push(format!("{}:{line}: `{}` in a protocol: {remedy}", source.path, name.trim()));
                }
            }
        }
    }
}

fn check_world(tree: &Tree, findings: &mut Vec<String>) {
    let pure = |path: &str| PURE.iter().any(|floor| path.starts_with(floor));
    let worldly = |path: &str| WORLDLY.iter().any(|home| path.starts_with(home));
    let looked_at = |path: &str| pure(path) && !worldly(path) && path != WATCHED;
    for source in tree.sources.iter().filter(|s| looked_at(&s.path) && !s.is_test()) {
        for (line, text) in source.production() {
            for name in WORLD.iter().filter(|name| text.contains(**name)) {
                findings.push(format!(
                    "{}:{line}: `{name}` touches the world, which only {} may",
                    source.path,
                    WORLDLY.join(", ")
                ));
            }
        }
    }
}
