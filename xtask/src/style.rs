//! Sizes, openings, and words that must not be left behind.

use crate::tree::{Source, Tree};

/// Production files over this many lines need a reason in [`LARGE`].
const FILE_LINES_MAX: usize = 800;

/// Files that may be larger, and why.
const LARGE: &[(&str, &str)] = &[];

/// A function over this many lines is listed; one over [`FUNCTION_LINES_HARD`] is refused.
const FUNCTION_LINES_MAX: usize = 70;

/// No dispatch, however flat, needs more.
const FUNCTION_LINES_HARD: usize = 120;

/// What the shell aims to stay under in all, so that what the simulator cannot run stays small.
const SHELL_LINES_MAX: usize = 1_000;

/// Words that must not stay in code, each with what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!", "finish it or leave it out"),
    ("unimplemented!", "finish it or leave it out"),
    (".unwrap()", "say by `expect` which invariant makes it true, or return an error"),
    ("#[ignore", "a test that is not run proves nothing"),
    ("#[allow(", "`expect` tells when it is no longer needed"),
];

pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        if !source.text.starts_with("//!") && !source.text.starts_with("#!") {
            findings.push(format!("{}: a file opens with `//!` and what it is for", source.path));
        }
        for (at, line) in source.text.lines().enumerate().filter(|(_, line)| leftover(line)) {
            findings.push(format!("{}:{}: leftover: {}", source.path, at + 1, line.trim()));
        }
        if source.is_test() || source.path.starts_with("xtask/") {
            continue;
        }
        check_words(source, &mut findings);
        check_size(source, &mut findings);
    }
    findings
}

/// What a reader should know and no rule refuses.
pub(crate) fn report(tree: &Tree) -> String {
    let shell: usize =
        tree.sources.iter().filter(|s| s.path.starts_with("engine/shell/src/")).map(Source::code_lines).sum();
    let mut long: Vec<_> = tree.sources.iter().filter(|s| !s.is_test()).flat_map(functions).collect();
    long.retain(|function| function.lines > FUNCTION_LINES_MAX);
    long.sort_by_key(|function| std::cmp::Reverse(function.lines));
    let mut text =
        format!("tidy: engine/shell is {shell} lines of code without comments (aim: under {SHELL_LINES_MAX})");
    for function in long {
        text += &format!("\ntidy: {} lines: {}:{} {}", function.lines, function.path, function.at, function.name);
    }
    text
}

fn leftover(line: &str) -> bool {
    let Some((_, comment)) = line.split_once("//") else { return false };
    ["TODO", "FIXME", "XXX"].iter().any(|word| comment.contains(word))
}

fn check_words(source: &Source, findings: &mut Vec<String>) {
    for (line, text) in source.production() {
        for (word, remedy) in BANNED.iter().filter(|(word, _)| text.contains(word)) {
            findings.push(format!("{}:{line}: `{word}`: {remedy}", source.path));
        }
    }
}

fn check_size(source: &Source, findings: &mut Vec<String>) {
    let lines = source.production_lines();
    let excused = LARGE.iter().any(|(path, _)| *path == source.path);
    if lines > FILE_LINES_MAX && !excused {
        findings.push(format!(
            "{}: {lines} lines, over {FILE_LINES_MAX}: split it by what it owns, or write the reason in xtask/src/style.rs",
            source.path
        ));
    }
    for function in functions(source).filter(|function| function.lines > FUNCTION_LINES_HARD) {
        findings.push(format!(
            "{}:{}: {} is {} lines, over {FUNCTION_LINES_HARD}",
            source.path, function.at, function.name, function.lines
        ));
    }
}

struct Function<'a> {
    path: &'a str,
    name: &'a str,
    at: usize,
    lines: usize,
}

/// Functions by indentation: rustfmt puts a function's closing brace under the start of its first line.
fn functions(source: &Source) -> impl Iterator<Item = Function<'_>> {
    let lines: Vec<&str> = source.text.lines().take(source.production_lines()).collect();
    let starts = |line: &str| {
        let line = line.trim_start();
        ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn ", "pub(crate) async fn ", "pub(super) fn "]
            .iter()
            .any(|opening| line.starts_with(opening))
    };
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| starts(line)) {
        let indent = line.len() - line.trim_start().len();
        // A trait's method without a body has no length.
        if lines[at..].iter().find(|line| line.ends_with(['{', ';'])).is_some_and(|line| line.ends_with(';')) {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[at..].iter().position(|line| *line == closing) else { continue };
        let name = line.split_once("fn ").map_or("", |(_, rest)| rest.split(['(', '<']).next().unwrap_or(rest));
        found.push(Function { path: &source.path, name, at: at + 1, lines: length + 1 });
    }
    found.into_iter()
}
