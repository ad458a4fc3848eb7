//! The golden scripts beside this file, a story each. `UPDATE=1` rewrites what happened; what a story expects stays.

use std::path::Path;

use hezong_script::check_folder;
use hezong_script::two_phase::TwoPhaseDialect;

#[test]
fn scripts_tell_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/two_phase/scripts");
    let update = std::env::var_os("UPDATE").is_some();
    let count = check_folder::<TwoPhaseDialect>(&folder, update).unwrap_or_else(|failures| panic!("{failures}"));
    assert!(count >= 7, "only {count} scripts were found");
}
