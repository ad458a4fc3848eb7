//! A node's file of settings.

use std::io::Write as _;
use std::sync::LazyLock;

use hezong_base::Rng;
use hezong_server::{config_problems, example_config};
use tempfile::NamedTempFile;

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

/// Whether nothing is wrong with it. Every problem is one of this file, or of a key that it lacks.
pub(super) fn run(input: &[u8]) -> bool {
    let mut file = NamedTempFile::new().expect("a temporary file can be made");
    file.write_all(input).expect("there is room for temporary files");
    let problems = config_problems(file.path());
    for problem in &problems {
        let (place, _) = problem.split_once(": ").expect("a problem has a place");
        let is_key = EXAMPLE.contains(&format!("#{} = ", place.rsplit('.').next().unwrap_or_default()));
        assert!(place.starts_with(&*file.path().to_string_lossy()) || is_key, "{problem:?}");
    }
    problems.is_empty()
}
