//! Known bugs are found, each by the property that it breaks and by the shortest way; and within the same bounds nothing is
//! found where there is no bug.
#![cfg(feature = "weakened")]

use hezong_explore::mutants::{Mutant, OF_PAXOS, OF_RAFT, Weakened};
use hezong_explore::{End, Model, story};

#[test]
fn weaknesses_found_by_the_shortest_way_and_nothing_without_them() {
    go_through(&OF_RAFT);
    go_through(&OF_PAXOS);
}

fn go_through<S: Weakened>(mutants: &[Mutant<S>]) {
    for mutant in mutants {
        let weakness = mutant.weakness;
        let report = mutant.explore();
        let End::Violated { violation, steps } = report.end else { panic!("{weakness:?} is missed: {:?}", report.end) };
        let mut cluster = mutant.cluster();
        let start = cluster.initial();
        let told = story(&mut cluster, &start, &steps);
        assert_eq!(violation.property, mutant.property, "{weakness:?}: {violation}\n{told}");
        assert_eq!(steps.len(), mutant.steps, "{weakness:?}\n{told}");
        assert!(told.lines().count() > steps.len(), "every step is told, and what comes of it");

        let report = mutant.explore_sound(report.depth);
        assert!(!matches!(report.end, End::Violated { .. }), "{weakness:?}: {:?}", report.end);
    }
}
