//! Every target for a second, or `HEZONG_FUZZ_SECONDS`, and what was found before, again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hezong_base::Rng;
use hezong_fuzz::{ALL, Failure, Meter, Target, drive, judge, shrink};

fn drive_all(names: &[&str]) {
    let seconds = std::env::var("HEZONG_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for target in ALL.iter().filter(|target| names.contains(&target.name)) {
        let seed = u64::from(std::process::id());
        let tally = drive(target, seed, Duration::from_secs(seconds), &());
        let name = target.name;
        assert!(tally.failed.is_none(), "{name}, seed {seed}: {:?}", tally.failed);
        // Neither nonsense alone nor nothing but what is valid.
        let (inputs, accepted) = (tally.inputs, tally.accepted);
        assert!(accepted > inputs / 100 && accepted < inputs, "{name}: {accepted} of {inputs} are valid");
    }
}

#[test]
fn targets_of_bytes_hold() {
    drive_all(&["frame", "entry", "cluster-id", "segment"]);
}

#[test]
fn targets_of_the_state_hold() {
    drive_all(&["request", "reply", "snapshot", "backup", "history"]);
}

#[test]
fn targets_of_people_hold() {
    drive_all(&["http", "config"]);
}

#[test]
fn targets_of_protocols_hold() {
    drive_all(&["raft", "paxos", "node"]);
}

#[test]
fn targets_of_protocols_not_served_hold() {
    drive_all(&["register", "multi-paxos", "zab", "two-phase", "three-phase", "tcc"]);
}

/// A target that no test drives would rot.
#[test]
fn every_target_is_driven_here() {
    let text = include_str!("targets.rs");
    for Target { name, .. } in ALL {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is in none of these tests");
    }
}

/// What was found once is found no more.
#[test]
fn found_inputs_are_mended() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    for folder in fs::read_dir(found).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let target = ALL.iter().find(|target| target.name == name).expect("a folder is called as its target");
        for file in fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            judge(target, &fs::read(&path).unwrap(), &()).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
    }
}

/// A target that fails in a known way, to see that it is found, and made small.
fn broken(run: fn(&[u8]) -> bool) -> Target {
    fn sample(rng: &mut Rng) -> Vec<u8> {
        hezong_fuzz::spoil::noise(rng, 300)
    }
    Target { name: "broken", what: "a test", sample, run, bytes_a_byte: 10, bytes_beside: 1_000 }
}

#[test]
fn driver_finds_a_panic_and_shrinks_it() {
    let target = broken(|input| {
        assert!(!(input.contains(&7) && input.contains(&200)), "both are there");
        true
    });
    let tally = drive(&target, 1, Duration::from_secs(20), &());
    let (input, failure) = tally.failed.expect("it is not rare");
    let (mut input, failure) = shrink(&target, input, failure, &());
    input.sort_unstable();
    assert_eq!(input, [7, 200]);
    assert!(matches!(failure, Failure::Panic(_)));
}

/// A meter that says what a target claims to have taken.
struct Claimed;

impl Meter for Claimed {
    fn current(&self) -> usize {
        500
    }

    fn peak(&self) -> usize {
        2_000
    }

    fn forget(&self) {}
}

#[test]
fn driver_holds_memory_against_the_size_of_the_input() {
    let target = broken(|_| true);
    assert_eq!(judge(&target, &[0; 51], &Claimed), Ok(true));
    assert_eq!(judge(&target, &[0; 49], &Claimed), Err(Failure::Memory { taken: 1_500, allowed: 1_490 }));
}
