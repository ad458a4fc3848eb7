//! `hezong check`: everything that docs/checking.md shows, the exit codes, and the drawings.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::HEZONG;

const PAGE: &str = include_str!("../../docs/checking.md");

/// The blocks of the page: what stands behind the fence, and the lines.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("\n```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// The files that the page shows, in a folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in blocks().into_iter().filter(|(name, _)| name.contains('.')) {
        fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
    }
    folder
}

/// The exit code, stdout and stderr.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(HEZONG).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn page_shows_what_is_printed() {
    let folder = folder();
    let mut commands = 0;
    for (_, text) in blocks().into_iter().filter(|(name, _)| *name == "console") {
        for shown in format!("\n{text}").split("\n$ ").skip(1) {
            let (command, expected) = shown.split_once('\n').unwrap();
            let args: Vec<&str> = command.split(' ').skip(1).collect();
            let (_, out, err) = run(folder.path(), &args);
            assert_eq!(format!("{out}{err}").trim_end(), expected.trim_end(), "{command}");
            commands += 1;
        }
    }
    assert_eq!(commands, 8);
    for drawing in ["window.html", "cycle.html"] {
        let html = fs::read_to_string(folder.path().join(drawing)).unwrap();
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains("<svg"), "{drawing}");
    }
}

#[test]
fn every_format_fine_or_broken() {
    let folder = folder();
    for (args, code) in [
        ("register.edn", 1),
        ("register.log", 0),
        ("events.json", 1),
        ("name.jsonl", 1),
        ("name.jsonl --model monotonic-reads", 0),
        ("skew.edn", 1),
        ("skew.edn --model read-committed", 0),
        ("stale.jsonl", 1),
        ("stale.jsonl --model serializable", 0),
    ] {
        let args: Vec<&str> = ["check"].into_iter().chain(args.split(' ')).collect();
        let (found, _, said) = run(folder.path(), &args);
        assert_eq!(found, code, "{args:?}: {said}");
    }
}

#[test]
fn what_cannot_be_checked_is_told() {
    let folder = folder();
    let refused = |args: &[&str], says: &str| {
        let (code, out, said) = run(folder.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(said.contains(says), "{args:?}: {said}");
    };
    refused(&["check", "nowhere"], "hezong: nowhere cannot be read: No such file");
    fs::write(folder.path().join("cut.edn"), "{:process 0, :type :invoke,\n :f :rea").unwrap();
    refused(&["check", "cut.edn"], "hezong: cut.edn: line 2, column 9: the text ends where } was to come");
    fs::write(folder.path().join("empty"), "").unwrap();
    refused(&["check", "empty"], "hezong: empty: it holds no history");
    refused(&["check", "skew.edn", "--model", "sessions"], "skew.edn holds transactions");
    refused(&["check", "register.edn", "--model", "serializable"], "holds operations on one key each");
    refused(&["check", "register.edn", "--time-limit", "soon"], "a number of seconds");
    refused(&["check", "register.edn", "--draw", "no/such/folder.html"], "no/such/folder.html cannot be written");
}

/// A search that was given up is no verdict: neither its exit code nor its words are those of one.
#[test]
fn unknown_has_its_own_code() {
    let folder = folder();
    let (code, out, said) = run(folder.path(), &["check", "register.edn", "--time-limit", "0"]);
    assert_eq!(code, 5, "{said}");
    assert!(out.contains("key \"register\" is open: give the search more"), "{out}");
    assert_eq!(said, "hezong: whether register.edn is linearizable is unknown\n");
    let twice = r#"{"client":1,"called":1,"committed":2,"transaction":[["append","x",1],["append","x",1]]}"#;
    fs::write(folder.path().join("twice"), twice).unwrap();
    let (code, out, _) = run(folder.path(), &["check", "twice", "--json"]);
    assert_eq!(code, 5);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["verdict"], "unknown");
    assert!(told["found"][0].as_str().unwrap().starts_with("T1 and T1 both write 1 to x"), "{out}");
}

#[test]
fn stdin_is_a_file_too() {
    let folder = folder();
    let input = fs::File::open(folder.path().join("register.log")).unwrap();
    let output = Command::new(HEZONG).args(["check", "-"]).stdin(input).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}
