//! Who accepts changes while everybody goes on changing registers: from three to four to five and back, one at a time, as
//! `Membership` tells whoever operates the nodes. And what is lost if a step is left out.

use hezong_base::NodeId;
use hezong_paxos::register::{Change, Config, Request};

use crate::linear::{Ask, End};
use crate::world::{World, membership};

const FIRST: &[u64] = &[1, 2, 3];
/// All propose.
const NODES: u64 = 6;
/// Who accepts next, step by step. None that was removed comes back.
const WALK: &[&[u64]] = &[&[1, 2, 3, 4], &[1, 2, 3, 4, 5], &[2, 3, 4, 5], &[2, 3, 4], &[2, 3, 4, 6]];

/// Whoever operates the nodes: one step after another, each asked for until it is carried out.
struct Operator {
    steps: Vec<Vec<(NodeId, Request)>>,
    /// What is not carried out of the present step, and the number under which it was asked for last.
    open: Vec<(NodeId, Request, u64)>,
}

impl Operator {
    fn new(walk: &[&[u64]], rewrites: bool) -> Self {
        let (mut steps, mut before) = (Vec::new(), FIRST);
        for (epoch, to) in (1..).zip(walk) {
            let order = |id| (NodeId(id), Request::Reconfigure(membership(epoch, to.iter().copied())));
            steps.push((1..=NODES).map(order).collect());
            if rewrites {
                let majority = before.iter().take(before.len() / 2 + 1);
                steps.push(majority.map(|id| (NodeId(*id), Request::Rewrite)).collect());
            }
            before = to;
        }
        steps.reverse();
        Self { steps, open: Vec::new() }
    }

    /// Goes on as far as answers allow; whether all is done.
    fn work(&mut self, world: &mut World) -> bool {
        self.open.retain(|(.., number)| world.outcomes.get(number) != Some(&true));
        for (id, request, number) in &mut self.open {
            // Refused, or asked of a node that has crashed.
            if !world.orders.contains_key(number) && world.rng.below(20) == 0 {
                *number = world.order(*id, request.clone());
            }
        }
        if !self.open.is_empty() {
            return false;
        }
        let Some(step) = self.steps.pop() else { return true };
        self.open = step.into_iter().map(|(id, request)| (id, request, 0)).collect();
        false
    }
}

fn run(seed: u64, walk: &[&[u64]], rewrites: bool, prepare: impl Fn(&mut Config)) -> World {
    let mut world = World::new(seed, FIRST.len() as u64, NODES, prepare);
    let (mut operator, mut steps, mut rest) = (Operator::new(walk, rewrites), 0, 500);
    while rest > 0 && world.broken.is_none() {
        steps += 1;
        if steps > 100_000 {
            world.break_it("members take for ever to change".to_owned());
        }
        rest -= u32::from(operator.work(&mut world));
        world.step();
    }
    match world.heal(40_000) {
        Some(_) => world.check(),
        None => world.break_it("no progress though all is well".to_owned()),
    }
    world
}

#[test]
fn membership_walks_under_way_and_registers_stay_linearizable() {
    for seed in 0..60 {
        let world = run(seed, WALK, true, |_| {});
        assert_eq!(world.broken, None, "seed {seed}");
        let last = membership(5, [2, 3, 4, 6]);
        assert!(world.nodes.values().all(|node| *node.running.membership() == last), "seed {seed}");
    }
}

/// What nodes 1 and 2 alone have accepted when node 3 was cut off, read by whoever is left when they are: with five acceptors,
/// that is a majority.
fn what_is_read_later(walk: &[&[u64]], rewrites: bool, prepare: impl Fn(&mut Config)) -> End {
    let mut world = World::new(1, FIRST.len() as u64, NODES, prepare);
    world.alone = [NodeId(3)].into();
    world.ask_of(NodeId(1), "a", Change::Set("x".into()), Ask::Set("x".into()));
    assert!(world.heal(1_000).is_some());
    let mut operator = Operator::new(walk, rewrites);
    for _ in 0..2_000 {
        if operator.work(&mut world) {
            break;
        }
        world.heal(1_000);
    }
    world.alone = [NodeId(1), NodeId(2)].into();
    world.ask_of(NodeId(4), "a", Change::Read, Ask::Read);
    world.heal(100_000);
    world.ops["a"][1].end.clone()
}

fn is_lost(end: &End) -> bool {
    matches!(end, End::Done(_, _, None))
}

/// Majorities of three and of five need not meet: what was done in the first is lost two steps later.
#[test]
fn membership_without_rewriting_in_between_loses_what_was_done() {
    let two_steps: &[&[u64]] = &[&[1, 2, 3, 4], &[1, 2, 3, 4, 5]];
    let kept = what_is_read_later(two_steps, true, |_| {});
    assert!(matches!(&kept, End::Done(_, _, Some(value)) if value == "x"), "{kept:?}");
    assert!(is_lost(&what_is_read_later(two_steps, false, |_| {})));
}

/// Three acceptors, of which one is cut off and then the two others are: nobody answers, which is right.
#[test]
fn membership_does_not_jump() {
    let end = what_is_read_later(&[&[1, 2, 3, 4, 5]], false, |_| {});
    assert_eq!(end, End::Refused);
}

#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn known_bug_membership_jumps_is_caught() {
    let weakness = hezong_paxos::register::Weakness::MembershipJumps;
    let weaken = |config: &mut Config| config.weakness = Some(weakness);
    assert!(is_lost(&what_is_read_later(&[&[1, 2, 3, 4, 5]], false, weaken)));
    println!("bug\tregister::{weakness:?}\t{}\tmembers that change\ta write is lost", weakness.origin());
}
