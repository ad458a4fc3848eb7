//! The golden scripts beside this file, a story each. `UPDATE=1` rewrites what happened; what a story expects stays.

use std::path::Path;

use hezong_script::check_folder;
use hezong_script::three_phase::ThreePhaseDialect;

#[test]
fn scripts_tell_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/three_phase/scripts");
    let update = std::env::var_os("UPDATE").is_some();
    let count = check_folder::<ThreePhaseDialect>(&folder, update).unwrap_or_else(|failures| panic!("{failures}"));
    assert!(count >= 7, "only {count} scripts were found");
}
