//! What many runs must have shown together, beyond that nothing was wrong with any: a fault that never struck, or a rare branch
//! that was never taken, has shown nothing.

use crate::batch::Summary;
use crate::plan::{Fault, Shape};
use crate::run::Options;

/// From so many seeds on, every kind of fault must have struck.
const SEEDS_FOR_FAULTS: u64 = 200;
/// From so many seeds on, every mark must have been reached.
const SEEDS_FOR_MARKS: u64 = 1_000;

/// What is missing, each as a sentence; nothing where too few seeds were run to demand it, or too short ones, or where they look at
/// one thing only.
#[must_use]
pub fn missing(summary: &Summary, options: Options) -> Vec<String> {
    let mut missing = Vec::new();
    if options.shape == Shape::Any && summary.seeds >= SEEDS_FOR_FAULTS {
        let unseen = Fault::ALL.into_iter().filter(|fault| summary.faults.of(*fault) == 0);
        missing.extend(unseen.map(|fault| format!("this fault never struck: {}", fault.name())));
    }
    let is_long = options.events >= Options::default().events;
    if options.shape == Shape::Any && is_long && summary.seeds >= SEEDS_FOR_MARKS {
        missing.extend(summary.marks.missed().iter().map(|mark| format!("this branch was never taken: {mark}")));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::MARKS;

    #[test]
    fn missing_faults_and_marks_are_told_from_enough_seeds_on() {
        let any = Options::default();
        let told = |seeds, options| missing(&Summary { seeds, ..Summary::default() }, options).len();
        assert_eq!(told(SEEDS_FOR_FAULTS - 1, any), 0);
        assert_eq!(told(SEEDS_FOR_FAULTS, any), Fault::ALL.len());
        assert_eq!(told(SEEDS_FOR_MARKS, any), Fault::ALL.len() + MARKS.len());
        assert_eq!(told(SEEDS_FOR_MARKS, Options { shape: Shape::Links, ..any }), 0, "one thing only is looked at");
        assert_eq!(told(SEEDS_FOR_MARKS, Options { events: 1_000, ..any }), Fault::ALL.len(), "short runs reach less");
        let mut summary = Summary { seeds: SEEDS_FOR_MARKS, ..Summary::default() };
        Fault::ALL.into_iter().for_each(|fault| summary.faults.add(fault));
        summary.marks.add(&MARKS.iter().map(|mark| (*mark, 1)).collect());
        assert!(missing(&summary, any).is_empty());
    }
}
