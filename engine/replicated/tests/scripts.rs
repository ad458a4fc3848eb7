//! The golden scripts beside this file, a story each. `UPDATE=1` rewrites what happened; what a story expects stays.

use std::path::Path;

use hezong_script::check_folder;
use hezong_script::replicated::ReplicatedDialect;

#[test]
fn scripts_tell_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let update = std::env::var_os("UPDATE").is_some();
    let count = check_folder::<ReplicatedDialect>(&folder, update).unwrap_or_else(|failures| panic!("{failures}"));
    assert!(count >= 6, "only {count} scripts were found");
}
