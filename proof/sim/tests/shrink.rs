//! A failing seed is cut down to a run that breaks the same, has little in it, and is told in a page.

use hezong_sim::{Case, Cut, Effort, Options, Shape, Shrunk, Slip, Strikes, run_many, short_story, shrink};

fn whole(seed: u64, options: Options) -> Case {
    Case { seed, options, cut: Cut::default() }
}

/// Less than what is tried by hand, so that a test takes seconds.
const EFFORT: Effort = Effort { runs: 800, events: 3_000_000 };

/// The first seed that fails, cut down.
fn shrunk(options: Options) -> Shrunk {
    let found = run_many(1..200, options, false, |failed| !failed.is_empty(), |_, _| {});
    let seed = found.failures.first().expect("a known bug is seen within 200 seeds").seed;
    shrink(&whole(seed, options), EFFORT, &mut |_, _| {}).expect("it fails")
}

/// So many strikes are left at most, with that effort.
const STRIKES_MAX: usize = 15;

/// What must hold of whatever is cut down.
fn assert_small(name: &str, shrunk: &Shrunk) {
    let Shrunk { case, before, after, runs } = shrunk;
    let property = |report: &hezong_sim::Report| report.violation.as_ref().map(|violation| violation.property);
    let told = format!(
        "{name}: {} events and {} strikes cut down to {} and {} by {runs} runs: {}",
        before.events,
        before.strikes.len(),
        after.events,
        after.strikes.len(),
        case.command()
    );
    assert_eq!(property(before), property(after), "{name}");
    assert_eq!(&case.run(), after, "{name}: the same case gives the same run");
    assert!(after.strikes.len() <= STRIKES_MAX.min(before.strikes.len()), "{told}");
    assert!(after.events <= before.events, "{name}");
    let (told, lines) = case.tell();
    assert_eq!(&told, after, "{name}: being listened to changes nothing");
    assert!(short_story(&lines).len() <= 80, "{name}");
}

#[test]
fn slips_are_cut_down_to_a_page() {
    for (slip, shape) in
        [(Slip::BlankDisk, Shape::Any), (Slip::DeletesBarred, Shape::FullDisks), (Slip::BrokenDrift, Shape::Leases)]
    {
        let shrunk = shrunk(Options { slip: Some(slip), shape, ..Options::default() });
        assert_small(&format!("{slip:?}"), &shrunk);
    }
}

#[test]
fn shrinking_the_same_seed_gives_the_same_run() {
    let options = Options { slip: Some(Slip::BlankDisk), ..Options::default() };
    let [first, again] = [(); 2].map(|()| shrunk(options));
    assert_eq!((first.case.cut, first.after, first.runs), (again.case.cut, again.after, again.runs));
}

#[test]
fn strikes_by_name_are_those_by_chance() {
    for seed in 1..9 {
        let options = Options { events: 5_000, ..Options::default() };
        // Leaves nothing out either; but what a whole run must have shown is not asked of one that is cut.
        let cut = Cut { clients: Some(usize::MAX), ..Cut::default() };
        let report = Case { cut: cut.clone(), ..whole(seed, options) }.run();
        let only = Some(Strikes(report.strikes.iter().copied().collect()));
        let named = Case { cut: Cut { only, ..cut }, ..whole(seed, options) };
        assert_eq!(named.run(), report);
        let none = Case { cut: Cut { only: Some(Strikes::default()), ..Cut::default() }, ..whole(seed, options) };
        assert_eq!(none.run().strikes, []);
    }
}

#[test]
fn seed_without_fault_is_not_cut_down() {
    assert!(shrink(&whole(1, Options::default()), EFFORT, &mut |_, _| {}).is_none());
}

#[cfg(feature = "weakened")]
mod weakened {
    use std::process::Command;

    use hezong_raft::Weakness;
    use hezong_sim::mutants::{Mutant, options};

    use super::*;

    #[test]
    fn known_bugs_are_cut_down_to_a_page() {
        for weakness in [
            Weakness::DoubleVote,
            Weakness::VoteBeforeStored,
            Weakness::AckBeforeStored,
            Weakness::ForgottenTerm,
            Weakness::TruncateAcknowledged,
            Weakness::AppendWithoutCheck,
            Weakness::ReadWithoutOwnTerm,
            Weakness::LearnerCounted,
            Weakness::PlainReplacement,
        ] {
            let shrunk = shrunk(options(Mutant::Weak(weakness)));
            assert_small(&format!("{weakness:?}"), &shrunk);
        }
    }

    /// What is printed as the command to see the run again is given to the program.
    #[test]
    fn command_of_what_is_left_replays_it() {
        let shrunk = shrunk(options(Mutant::Weak(Weakness::TruncateAcknowledged)));
        let command = shrunk.case.command();
        let (_, arguments) = command.split_once(" -- ").expect("cargo's arguments, then the program's");
        let output = Command::new(env!("CARGO_BIN_EXE_hezong-sim")).args(arguments.split(' ')).output();
        let output = String::from_utf8(output.expect("it runs").stdout).expect("it prints text");
        assert!(output.contains(&format!("trace {:016x}", shrunk.after.trace)), "{command}\n{output}");
        let violation = shrunk.after.violation.expect("it fails").to_string();
        assert!(output.trim_end().ends_with(violation.trim_end()), "{command}\n{output}");
    }
}
