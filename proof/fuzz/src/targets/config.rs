//! A node's file of settings.

use std::fs;
use std::sync::LazyLock;

use hezong_base::Rng;
use hezong_server::{config_problems, example_config};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a temporary folder can be made"));
static EXAMPLE: LazyLock<String> = LazyLock::new(example_config);

/// The example with what must be set, and some of the rest.
pub(super) fn sample(rng: &mut Rng) -> Vec<u8> {
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let must = ["#id =", "#data_dir =", "#http =", "#peer ="].iter().any(|start| line.starts_with(start));
        let setting = line.strip_prefix('#').filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()));
        match setting {
            Some(setting) if must || rng.chance(30) => text += &format!("{setting}\n"),
            // What explains is left out: damage there shows nothing.
            _ if line.starts_with('#') => {}
            _ => text += &format!("{line}\n"),
        }
    }
    text.into_bytes()
}

/// Whether nothing is wrong with it. Every problem names its place.
pub(super) fn run(input: &[u8]) -> bool {
    let path = FOLDER.path().join(format!("{:?}.toml", std::thread::current().id()));
    fs::write(&path, input).expect("there is room in the temporary folder");
    let problems = config_problems(&path);
    for problem in &problems {
        let (place, text) = problem.split_once(": ").expect("a problem has a place");
        assert!(!place.is_empty() && !text.is_empty(), "{problem:?}");
    }
    problems.is_empty()
}
