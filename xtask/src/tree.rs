//! The checkout as the rules see it: crates with their dependencies, and source files.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

/// Everything the rules look at.
pub(crate) struct Tree {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// The workspace's crates.
    pub(crate) crates: Vec<Crate>,
    /// Rust files that git tracks, or would track.
    pub(crate) sources: Vec<Source>,
}

/// One crate of the workspace.
pub(crate) struct Crate {
    /// Its name, as `hezong-raft`.
    pub(crate) name: String,
    /// Its folder below the root, as `protocols/raft`.
    pub(crate) folder: String,
    /// The features it has unless told otherwise.
    pub(crate) defaults: Vec<String>,
    /// What its shipped code depends on, with the features asked for.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency of a crate's shipped code.
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// The features asked for.
    pub(crate) features: Vec<String>,
    /// Whether it comes only with a feature of the crate.
    pub(crate) optional: bool,
}

/// One Rust file.
pub(crate) struct Source {
    /// Its path below the root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Whether the whole file is test code, an example or a benchmark.
    pub(crate) fn is_test(&self) -> bool {
        ["/tests/", "/examples/", "/benches/"].iter().any(|part| self.path.contains(part))
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_test.rs")
    }

    /// The lines before the first test module, numbered from 1, without comments.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or("")))
    }

    /// How many of those lines are neither blank nor comment.
    pub(crate) fn code_lines(&self) -> usize {
        self.production().filter(|(_, line)| !line.trim().is_empty()).count()
    }

    /// How many lines come before the first test module.
    pub(crate) fn production_lines(&self) -> usize {
        self.production().count()
    }
}

impl Tree {
    /// Reads the checkout that holds this program's own sources.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let root = root()?;
        let metadata: Value = serde_json::from_slice(&run(Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&root))?)?;
        let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
        let crates = packages.iter().map(|package| read_crate(package, &root)).collect::<anyhow::Result<_>>()?;
        let listed = run(Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
            .current_dir(&root))?;
        let mut sources = Vec::new();
        for path in String::from_utf8(listed)?.lines() {
            // A file deleted and not yet committed is still listed.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                sources.push(Source { path: path.to_owned(), text });
            }
        }
        ensure!(!sources.is_empty(), "no Rust file found below {}", root.display());
        Ok(Self { root, crates, sources })
    }
}

/// The root of the checkout that holds this program's own sources.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in a workspace")?.to_owned())
}

fn read_crate(package: &Value, root: &std::path::Path) -> anyhow::Result<Crate> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let folder = manifest.parent().context("a manifest lies in a folder")?.strip_prefix(root)?;
    let dependencies = package["dependencies"].as_array().context("cargo metadata lists dependencies")?;
    let dependencies = dependencies
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| Dependency {
            name: text(&dependency["name"]),
            features: dependency["features"].as_array().into_iter().flatten().map(text).collect(),
            optional: dependency["optional"].as_bool().unwrap_or(false),
        })
        .collect();
    let defaults = package["features"]["default"].as_array().into_iter().flatten().map(text).collect();
    Ok(Crate { name: text(&package["name"]), folder: folder.to_string_lossy().into_owned(), defaults, dependencies })
}

/// What a program printed; an error when it failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
