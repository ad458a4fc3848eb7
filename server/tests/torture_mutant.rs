//! The bug that `hezong torture` is there for, put in on purpose: a log that never syncs. In a build of its own:
//! `cargo test -p hezong --features weakened --test torture_mutant`.
#![cfg(feature = "weakened")]

mod support;

use serde_json::Value;
use support::hezong;
use tempfile::TempDir;

fn torture(unsynced: &str) -> (i32, Value, String) {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("run");
    let args =
        ["torture", "--time", "8s", "--seed", "1", "--faults", "kill-all", "--unsynced", unsynced, "--json", "--dir"];
    let (code, report, said) = hezong(&[&args[..], &[folder.to_str().unwrap()]].concat());
    (code, serde_json::from_str(&report).unwrap(), said)
}

#[test]
fn torture_finds_a_log_that_never_syncs() {
    let (code, report, said) = torture("forget");
    assert_eq!((code, report["verdict"].as_str()), (1, Some("violation")), "{said}");
    let why = report["why"].as_str().unwrap();
    assert!(why.contains("the log was lost"), "the reason is the bug and no other: {why}");
}

/// Or the other test would show nothing but that nodes were killed.
#[test]
fn torture_explains_the_same_faults_on_a_log_that_syncs() {
    let (code, report, said) = torture("lose");
    assert_eq!((code, report["verdict"].as_str()), (0, Some("explained")), "{said}");
    assert!(report["faults"]["kill-all"].as_u64().unwrap() > 0, "{report}");
}
