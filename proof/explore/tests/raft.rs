//! Raft within bounds small enough for every build: all states visited, nothing wrong with any.

mod common;

use std::collections::{BTreeSet, HashSet, VecDeque};

use common::{SMALL, run};
use hezong_base::{Index, NodeId};
use hezong_explore::{Action, Cluster, End, Limits, Model, Order, RaftBounds, Step, Violation, explore};
use hezong_raft::Role;

fn complete(bounds: RaftBounds) -> (u64, u64, u32) {
    let mut cluster = Cluster::new(bounds);
    let report = run(&mut cluster, Limits::default());
    assert_eq!(report.end, End::Complete);
    (report.states, report.steps, report.depth)
}

#[test]
fn raft_small_bounds_complete_and_right() {
    for bounds in [
        RaftBounds { entries: 1, ..SMALL },
        RaftBounds { crashes: 1, ..SMALL },
        RaftBounds { terms: 1, entries: 1, crashes: 1, ..SMALL },
        RaftBounds { terms: 1, entries: 1, crashes: 1, slow_disks: true, ..SMALL },
        RaftBounds { terms: 1, entries: 1, one_by_one: true, ..SMALL },
        RaftBounds { nodes: 2, terms: 1, crashes: 1, asides: true, ..SMALL },
    ] {
        complete(bounds);
    }
}

#[test]
fn raft_same_bounds_same_counts() {
    let bounds = RaftBounds { entries: 1, ..SMALL };
    assert_eq!(complete(bounds), complete(bounds));
}

/// Looks at each state visited.
struct Watched {
    cluster: Cluster<RaftBounds>,
    /// How many there are, with all that are the same but for names.
    states: usize,
    /// What they are but for the messages on their way.
    nodes: HashSet<u64>,
}

impl Watched {
    fn new(bounds: RaftBounds) -> Self {
        let cluster = Cluster::new(bounds);
        Self { cluster, states: 0, nodes: HashSet::new() }
    }

    /// Visits all states; how many there are.
    fn watch(&mut self) -> u64 {
        let start = self.initial();
        let report = explore(self, &start, Order::Breadth, Limits::default(), |_, _, _| {});
        assert_eq!(report.end, End::Complete);
        report.states
    }
}

impl Model for Watched {
    type State = hezong_explore::State;
    type Action = Action;

    fn initial(&mut self) -> Self::State {
        self.cluster.initial()
    }

    fn actions(&mut self, state: &Self::State, actions: &mut Vec<Action>) {
        self.cluster.actions(state, actions);
    }

    fn next(&mut self, state: &Self::State, action: &Action) -> Result<Self::State, Violation> {
        self.cluster.next(state, action)
    }

    fn check(&mut self, state: &Self::State) -> Result<(), Violation> {
        self.states += self.cluster.orbit(state);
        let nodes = self.cluster.fingerprint_of_nodes(state);
        self.nodes.insert(nodes);
        self.cluster.check(state)
    }

    fn fingerprint(&mut self, state: &Self::State) -> u64 {
        self.cluster.fingerprint(state)
    }

    fn tell(&mut self, state: &Self::State, action: &Action) -> String {
        self.cluster.tell(state, action)
    }
}

/// Folding loses no state: those folded, unfolded again, are exactly as many as there are without folding.
#[test]
fn raft_folded_states_unfold_to_all() {
    for bounds in [
        RaftBounds { terms: 1, entries: 1, crashes: 1, ..SMALL },
        RaftBounds { terms: 1, crashes: 1, slow_disks: true, ..SMALL },
        RaftBounds { nodes: 4, terms: 1, ..SMALL },
    ] {
        let mut model = Watched::new(bounds);
        let folded = model.watch();
        let (all, ..) = complete(RaftBounds { symmetry: false, ..bounds });
        assert_eq!(model.states as u64, all, "{bounds:?}");
        assert!(folded * 5 < all, "{folded} of {all} states are left");
    }
}

/// Taking messages off their way that are spent loses nothing: what can become of the nodes is the same without it. (With slow
/// disks a node may hold an answer back that would be lost anyway, and looks different for that.)
#[test]
fn raft_spent_messages_make_no_difference_to_nodes() {
    for bounds in [
        RaftBounds { terms: 1, entries: 1, crashes: 1, ..SMALL },
        RaftBounds { nodes: 2, entries: 1, ..SMALL },
        SMALL,
        RaftBounds { nodes: 2, crashes: 1, one_by_one: true, ..SMALL },
    ] {
        let [mut without, mut with] = [false, true].map(|keep_spent| Watched::new(RaftBounds { keep_spent, ..bounds }));
        let (few, all) = (without.watch(), with.watch());
        assert!(few < all, "{few} of {all} states are left");
        assert_eq!(without.nodes, with.nodes, "{bounds:?}");
    }
}

/// What ought to be possible is: the bounds do not rule out what they are there to explore.
#[test]
fn raft_states_of_interest_are_reached() {
    let bounds = RaftBounds { entries: 1, crashes: 1, ..SMALL };
    let mut cluster = Cluster::new(bounds);
    let mut seen = Seen::default();
    let mut waiting = VecDeque::from([cluster.initial()]);
    let mut visited = HashSet::new();
    let mut actions = Vec::new();
    while let Some(state) = waiting.pop_front() {
        if !visited.insert(cluster.fingerprint(&state)) || visited.len() > 50_000 {
            continue;
        }
        seen.look(&cluster, &state);
        actions.clear();
        cluster.actions(&state, &mut actions);
        seen.crashes |= actions.iter().any(|action| action.step == Step::Restart);
        waiting.extend(actions.iter().filter_map(|action| cluster.next(&state, action).ok()));
    }
    assert!(seen.two_leaders, "leaders of two terms at once");
    assert!(seen.committed, "an entry of a client is committed on every node");
    assert!(seen.diverged, "logs part");
    assert!(seen.crashes, "nodes crash");
}

#[derive(Default)]
struct Seen {
    two_leaders: bool,
    committed: bool,
    diverged: bool,
    crashes: bool,
}

impl Seen {
    fn look(&mut self, cluster: &Cluster<RaftBounds>, state: &hezong_explore::State) {
        let nodes = [0, 1, 2].map(|at| cluster.node(state, at));
        self.two_leaders |= nodes.iter().filter(|node| node.role() == Role::Leader).count() > 1;
        self.committed |= nodes.iter().all(|node| node.announced() >= Some(Index(2)));
        let terms: BTreeSet<_> = nodes.iter().filter_map(|node| node.term_at(Index(1))).collect();
        self.diverged |= terms.len() > 1;
    }
}

#[test]
fn raft_start_may_be_any_state() {
    let bounds = RaftBounds { terms: 1, entries: 1, ..SMALL };
    let mut cluster = Cluster::new(bounds);
    // Somebody campaigns, is voted for, and leads.
    let mut state = cluster.initial();
    let mut actions = Vec::new();
    while (0..3).all(|at| cluster.node(&state, at).role() != Role::Leader) {
        actions.clear();
        cluster.actions(&state, &mut actions);
        let one = actions.iter().rev().find(|action| match action.step {
            Step::Deliver(letter) => cluster.letter(letter).0 == NodeId(1) || cluster.letter(letter).1 == NodeId(1),
            Step::Timeout => cluster.node(&state, 0).role() == Role::Follower && action.node == 0,
            Step::Stored | Step::Restart | Step::Request(_) => false,
        });
        state =
            cluster.next(&state, one.expect("something can happen to the first node")).expect("and nothing is wrong");
    }
    let report = explore(&mut cluster, &state, Order::Breadth, Limits::default(), |_, _, _| {});
    assert_eq!(report.end, End::Complete);
    let (all, ..) = complete(bounds);
    assert!(report.states > 100 && report.states < all, "{} of {all}", report.states);
}

#[test]
#[should_panic(expected = "one to 5 nodes")]
fn cluster_too_large_refused() {
    Cluster::new(RaftBounds { nodes: 6, ..SMALL });
}
