//! The explorer itself is tested by a model whose states others have counted: two-phase commit, as Gray and Lamport state it
//! and as Stateright's example has it.

use hezong_explore::{End, Folding, Limits, Model, Order, TwoPhase, TwoPhaseAction, Violation, explore, story};

fn count(participants: usize, folding: Folding, order: Order) -> u64 {
    let mut model = TwoPhase { participants, folding };
    let start = model.initial();
    let report = explore(&mut model, &start, order, Limits::default(), |_, _, _| {});
    assert_eq!(report.end, End::Complete);
    report.states
}

#[test]
fn two_phase_states_are_as_many_as_others_count() {
    for order in [Order::Breadth, Order::Depth] {
        assert_eq!(count(3, Folding::None, order), 288);
        assert_eq!(count(5, Folding::None, order), 8_832);
    }
}

/// Stateright's 665 depends on going depth first, since its representatives are not unique: breadth first they are 508, and
/// with unique ones 314, whatever the order.
#[test]
fn two_phase_folded_states_are_as_many_as_others_count() {
    assert_eq!(count(5, Folding::Partial, Order::Depth), 665);
    assert_eq!(count(5, Folding::Partial, Order::Breadth), 508);
    assert_eq!(count(5, Folding::Full, Order::Depth), 314);
    assert_eq!(count(5, Folding::Full, Order::Breadth), 314);
}

/// A manager that hears of a commit before everybody is prepared.
struct Hasty(TwoPhase);

impl Model for Hasty {
    type State = <TwoPhase as Model>::State;
    type Action = TwoPhaseAction;

    fn initial(&mut self) -> Self::State {
        self.0.initial()
    }

    fn actions(&mut self, state: &Self::State, actions: &mut Vec<TwoPhaseAction>) {
        self.0.actions(state, actions);
        if actions.contains(&TwoPhaseAction::Abort) {
            actions.push(TwoPhaseAction::Commit);
        }
    }

    fn next(&mut self, state: &Self::State, action: &TwoPhaseAction) -> Result<Self::State, Violation> {
        self.0.next(state, action)
    }

    fn check(&mut self, state: &Self::State) -> Result<(), Violation> {
        self.0.check(state)
    }

    fn fingerprint(&mut self, state: &Self::State) -> u64 {
        self.0.fingerprint(state)
    }

    fn tell(&mut self, state: &Self::State, action: &TwoPhaseAction) -> String {
        self.0.tell(state, action)
    }
}

#[test]
fn two_phase_hasty_manager_found_by_the_shortest_way() {
    for folding in [Folding::None, Folding::Full] {
        let mut model = Hasty(TwoPhase { participants: 3, folding });
        let start = model.initial();
        let report = explore(&mut model, &start, Order::Breadth, Limits::default(), |_, _, _| {});
        let End::Violated { violation, steps } = report.end else { panic!("{:?}", report.end) };
        assert_eq!(violation.property, "consistency");
        // Commit, one that hears it, and one that aborts of its own accord: there is no shorter way.
        assert_eq!(steps.len(), 3, "{}", story(&mut model, &start, &steps));
        let last = steps.iter().try_fold(start.clone(), |state, step| model.next(&state, step));
        assert!(last.and_then(|state| model.check(&state)).is_err(), "the steps lead there");
    }
}

#[test]
fn explore_limits_are_told() {
    let mut model = TwoPhase { participants: 5, folding: Folding::None };
    let start = model.initial();
    let mut end = |limits| explore(&mut model, &start, Order::Breadth, limits, |_, _, _| {});
    let by_states = end(Limits { states_max: Some(1_000), ..Limits::default() });
    assert_eq!((by_states.end, by_states.states), (End::Cut("states"), 1_000));
    let by_depth = end(Limits { depth_max: Some(2), ..Limits::default() });
    assert_eq!((by_depth.end, by_depth.depth), (End::Cut("depth"), 2));
    // The deepest state is 16 steps away, and nothing follows that was not visited.
    let enough = end(Limits { depth_max: Some(17), ..Limits::default() });
    assert_eq!((enough.end, enough.states), (End::Complete, 8_832));
}
