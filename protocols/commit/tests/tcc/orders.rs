//! TX-4: one branch, every message delivered twice, in every order; after each message the node may crash, with nothing more
//! stored, with the next write stored, or with all. No order is left out. Of four messages no choice of crashes is either; of
//! six, all with up to two crashes are tried, and those with the same after every message.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_commit::tcc::{Message, Saved, Tcc, Write};
use hezong_commit::{Config, Event, Outcome, Request, TransactionId};

use Step::{Cancel, Confirm, Try};

use crate::alone::check_carried_out_again;

const BRANCH: NodeId = NodeId(1);
const COORDINATOR: NodeId = NodeId(2);
const TX: TransactionId = TransactionId { coordinator: COORDINATOR, number: 1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Try,
    Confirm,
    Cancel,
}

/// What happens after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Quiet,
    CrashNothingStored,
    CrashOneStored,
    CrashAllStored,
}

/// With more messages than four, no more crashes than these are combined freely.
const CRASHES_MAX: usize = 2;

const AFTER: [After; 4] = [After::Quiet, After::CrashNothingStored, After::CrashOneStored, After::CrashAllStored];

/// The branch, and what was seen of it.
struct Branch {
    node: Tcc,
    config: Config,
    disk: Saved,
    unstored: VecDeque<(WriteId, Write)>,
    applied: BTreeSet<Outcome>,
    reserved: bool,
    done: bool,
    fault: Option<&'static str>,
}

impl Branch {
    fn new(config: Config) -> Self {
        let node = Tcc::start(Time::ZERO, config.clone(), Saved::default(), Rng::new(1), &mut Vec::new());
        let (disk, unstored, applied) = Default::default();
        Self { node, config, disk, unstored, applied, reserved: false, done: false, fault: None }
    }

    fn hand(&mut self, input: Input<Tcc>) {
        let mut out = Vec::new();
        self.node.handle(Time::ZERO, input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<Effect<Tcc>>) {
        for effect in out {
            match effect {
                Effect::Send { message: Message::Tried { yes: true, .. }, .. } if self.done => {
                    self.fault = Some("it is reserved after all was done");
                }
                Effect::Send { message: Message::Tried { yes, .. }, .. } => self.reserved |= yes,
                Effect::Send { message: Message::Done { .. }, .. } => self.done = true,
                Effect::Send { message, .. } => panic!("{message:?}"),
                Effect::Store { id, write } => self.unstored.push_back((id, write)),
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.tell(event),
            }
        }
    }

    /// The user does at once what it is told.
    fn tell(&mut self, event: Event) {
        let request = match event {
            Event::Prepare { .. } if self.reserved => return self.fault = Some("it is tried anew"),
            Event::Prepare { tx, .. } => Request::Vote { tx, yes: true },
            Event::Apply { tx, outcome } => {
                self.applied.insert(outcome);
                Request::Applied(tx)
            }
            Event::InDoubt { .. } => return,
            Event::Outcome { .. } | Event::Refused { .. } => panic!("{event:?}"),
        };
        self.hand(Input::Request { id: RequestId(1), request });
    }

    fn store(&mut self, count: usize) {
        for _ in 0..count {
            let Some((id, write)) = self.unstored.pop_front() else { return };
            Tcc::save(&mut self.disk, &write);
            self.hand(Input::Stored(id));
        }
    }

    fn step(&mut self, step: Step, after: After) {
        let message = match step {
            Try => Message::Try { tx: TX, work: Bytes::from("work") },
            Confirm => Message::Confirm(TX),
            Cancel => Message::Cancel(TX),
        };
        self.hand(Input::Message { from: COORDINATOR, message });
        self.store(match after {
            After::Quiet | After::CrashAllStored => usize::MAX,
            After::CrashNothingStored => 0,
            After::CrashOneStored => 1,
        });
        if after != After::Quiet {
            self.unstored.clear();
            let mut out = Vec::new();
            self.node = Tcc::start(Time::ZERO, self.config.clone(), self.disk.clone(), Rng::new(1), &mut out);
            self.carry_out(out);
        }
    }
}

/// All different orders of these.
fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    let Some(last) = steps.len().checked_sub(1) else { return vec![Vec::new()] };
    let mut all = BTreeSet::new();
    for at in 0..=last {
        let mut rest = steps.to_vec();
        let first = rest.remove(at);
        all.extend(orders(&rest).into_iter().map(|order| [vec![first], order].concat()));
    }
    all.into_iter().collect()
}

/// Every order, with every choice of what happens after each message. The first fault.
fn fault(orders: &[Vec<Step>], prepare: &dyn Fn(&mut Config), check: &dyn Fn(&Branch) -> bool) -> Option<String> {
    let mut config = Config::new(BRANCH, [BRANCH, COORDINATOR].into());
    prepare(&mut config);
    for order in orders {
        let choices = AFTER.len().pow(u32::try_from(order.len()).unwrap());
        for choice in 0..choices {
            let after = |place| AFTER[choice / AFTER.len().pow(place) % AFTER.len()];
            let afters: Vec<After> = (0..).map(after).take(order.len()).collect();
            let crashes = afters.iter().filter(|after| **after != After::Quiet).count();
            let is_same = afters.iter().all(|after| *after == afters[0]);
            if order.len() > 4 && crashes > CRASHES_MAX && !is_same {
                continue;
            }
            let mut branch = Branch::new(config.clone());
            order.iter().zip(&afters).for_each(|(step, after)| branch.step(*step, *after));
            // The coordinator repeats nothing any more, and the disk has all the time it needs.
            branch.store(usize::MAX);
            let both = branch.applied.len() > 1;
            let left = branch.done && branch.node.under_way() != (0, 0);
            if both || left || branch.fault.is_some() || !check(&branch) {
                let fault = branch.fault.unwrap_or("both, or neither, or something is left");
                return Some(format!("{order:?} {afters:?}: {fault}: {:?}", branch.applied));
            }
        }
    }
    None
}

#[test]
fn tx_4_try_and_cancel_twice_all_six_orders() {
    let orders = orders(&[Try, Try, Cancel, Cancel]);
    assert_eq!(orders.len(), 6);
    let never_confirmed = |branch: &Branch| !branch.applied.contains(&Outcome::Committed);
    assert_eq!(fault(&orders, &|_| {}, &never_confirmed), None);
    // Without a crash all is done, whatever the order, and nothing stays reserved.
    for order in orders {
        let mut branch = Branch::new(Config::new(BRANCH, [BRANCH, COORDINATOR].into()));
        order.into_iter().for_each(|step| branch.step(step, After::Quiet));
        assert!(branch.done && branch.node.finished(TX) == Some(Outcome::Aborted));
    }
}

#[test]
fn tx_4_try_and_confirm_twice_three_orders_that_begin_with_try() {
    let orders: Vec<_> = orders(&[Try, Try, Confirm, Confirm]).into_iter().filter(|order| order[0] == Try).collect();
    assert_eq!(orders.len(), 3);
    // A coordinator confirms only what it was told is reserved: then it ends so, but for a Confirm that a crash made forgotten.
    let never_cancelled = |branch: &Branch| !branch.applied.contains(&Outcome::Aborted);
    assert_eq!(fault(&orders, &|_| {}, &never_cancelled), None);
    for order in orders {
        for after in [After::Quiet, After::CrashAllStored] {
            let mut branch = Branch::new(Config::new(BRANCH, [BRANCH, COORDINATOR].into()));
            order.iter().for_each(|step| branch.step(*step, after));
            assert!(branch.done && branch.node.finished(TX) == Some(Outcome::Committed));
        }
    }
}

#[test]
fn tx_4_hostile_all_ninety_orders_never_both() {
    let orders = orders(&[Try, Try, Confirm, Confirm, Cancel, Cancel]);
    assert_eq!(orders.len(), 90);
    assert_eq!(fault(&orders, &|_| {}, &|_| true), None);
}

/// Writes too: each is carried out a second time at every later point, and nothing is different.
#[test]
fn write_carried_out_again_changes_nothing() {
    let writes = [
        Write::Begun { number: 1, branches: [BRANCH].into() },
        Write::Tried { tx: TX, work: Bytes::from("work") },
        Write::Confirm(1),
        Write::Decided { tx: TX, outcome: Outcome::Committed },
        Write::Finished { tx: TX, outcome: Outcome::Committed },
        Write::End(1),
        Write::Begun { number: 2, branches: [BRANCH].into() },
    ];
    check_carried_out_again::<Tcc>(&writes, |_, _, _| {});
}

/// Known bugs of a branch, the two that an honest coordinator would never show among them.
#[cfg(feature = "weakened")]
#[test]
#[expect(clippy::print_stdout, reason = "`cargo xtask mutants` reads what each bug broke")]
fn known_bugs_of_a_branch_are_caught_by_some_order() {
    use hezong_commit::Weakness;
    for weakness in [
        Weakness::LateTry,
        Weakness::EmptyCancelForgotten,
        Weakness::ConfirmAfterCancel,
        Weakness::TriedBeforeStored,
        Weakness::AppliedBeforeDecided,
    ] {
        let weaken = |config: &mut Config| config.weakness = Some(weakness);
        let caught = fault(&orders(&[Try, Try, Confirm, Confirm, Cancel, Cancel]), &weaken, &|_| true);
        let what = caught.unwrap_or_else(|| panic!("{weakness:?} is not seen"));
        let what = what.rsplit("]: ").next().unwrap_or_default();
        println!("bug\ttcc::{weakness:?}\t{}\tevery order of what comes to a branch\t{what}", weakness.origin());
    }
}
