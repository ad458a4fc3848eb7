//! The golden scripts beside this file, a story each. `UPDATE=1` rewrites what happened; what a story expects stays.

use std::path::Path;

use hezong_script::two_phase::TwoPhaseDialect;
use hezong_script::{check_folder, replay};

#[test]
fn scripts_tell_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/two_phase/scripts");
    let update = std::env::var_os("UPDATE").is_some();
    let count = check_folder::<TwoPhaseDialect>(&folder, update).unwrap_or_else(|failures| panic!("{failures}"));
    assert!(count >= 7, "only {count} scripts were found");
}

/// What is neither must not pass for a no, or a story would tell another than it says.
#[test]
fn vote_neither_yes_nor_no_is_a_mistake() {
    let told = |vote: &str| {
        let script = format!("cluster nodes=2\nbegin 1 2=wait\nsettle\nvote 2 1.1 {vote}\n---\n");
        replay::<TwoPhaseDialect>(&script)
    };
    assert!(told("yes").is_ok() && told("no").is_ok());
    let mistake = told("ys").expect_err("a vote it cannot be");
    assert!(mistake.contains("ys is no vote; write yes or no"), "{mistake}");
}
