//! Strikes at chosen moments: just after an election, and in the middle of what takes several steps.

use hezong_base::{GroupId, NodeId};
use hezong_node::ClientRequest;
use hezong_raft::{Change, Message};

use crate::check::{Violation, place};
use crate::cut::{Due, Source};
use crate::moment::{Moment, Spread};
use crate::plan::{Fault, pick};
use crate::process::Process;
use crate::sim::{Event, Sim};

impl Sim {
    /// A node has spoken; if it is the first time as the leader of its term, it may be struck for that.
    pub(crate) fn maybe_ambush(&mut self, leader: NodeId) {
        if self.checkers.terms_led() <= self.terms_led {
            return;
        }
        self.terms_led = self.checkers.terms_led();
        self.on_fetch_leader();
        if self.healed.is_none()
            && let Some(mut due) = self.due(Source::Election, self.plan.ambush)
        {
            let delay = due.rng.below(2) * due.rng.below(self.plan.patience / 4);
            self.queue.push(self.now + delay, Event::Ambush { leader, due });
        }
    }

    /// `node` stores or applies something, perhaps a change of members: then, if it leads, it may die over it.
    pub(crate) fn maybe_strike_change(&mut self, node: NodeId, changes: bool) {
        if changes
            && self.healed.is_none()
            && self.checkers.leader() == Some(node)
            && let Some(due) = self.due(Source::Change, self.plan.strike)
        {
            self.strike(due, "amid a change of members", |sim| {
                sim.processes[place(node)].crash_in = Some(1 + sim.trouble.below(12));
            });
        }
    }

    /// `node` dies, perhaps as a leader in the middle of a change of members.
    pub(crate) fn on_change_crash(&mut self, node: NodeId) {
        if self.checkers.leader() != Some(node) {
            return;
        }
        let Some(change) = self.checkers.last_change(node) else { return };
        let has = |process: &Process| process.machine.last().is_some_and(|last| last.index >= change.index);
        let members = self.membership.members().keys().filter_map(|id| self.processes.get(place(*id)));
        let spread = match (change.is_applied, change.copies) {
            (true, _) if members.clone().all(has) => return,
            (true, _) => Spread::Applied,
            (false, 1) => Spread::Alone,
            (false, _) => Spread::Several,
        };
        self.faults.add(Fault::StruckChange);
        self.moments.add(Moment::LeaderDies(change.step, spread));
    }

    /// Strikes a leader that was just elected, with what the plan has.
    pub(crate) fn on_ambush(&mut self, leader: NodeId, due: Due) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        self.strike(due, "after an election", |sim| sim.ambush(leader))
    }

    fn ambush(&mut self, leader: NodeId) -> Result<(), Violation> {
        let until = self.now + self.plan.patience / 2 + self.trouble.below(self.plan.patience * 2);
        let drawn = self.plan.drawn[pick(&mut self.trouble, self.plan.drawn.len())];
        match drawn {
            Fault::Partition | Fault::OneWay => {
                // Some still hear it: what it says reaches a few, or a majority, and then nobody.
                self.faults.add(Fault::Partition);
                for place in 0..self.processes.len() {
                    let other = self.processes[place].id;
                    if self.trouble.chance(600) {
                        self.network.cut(leader, other, until);
                        self.network.cut(other, leader, until);
                    }
                }
            }
            Fault::Pause => self.pause_node(leader, until),
            Fault::StalledDisk | Fault::SlowDisk => {
                self.faults.add(Fault::StalledDisk);
                self.processes[place(leader)].disk_stalled_until = until;
            }
            Fault::Removal | Fault::Addition if self.may_remove() => {
                // Two steps at once, of which a leader may take one at most, and not yet; then few hear of them.
                let others: Vec<_> = self.membership.voters().iter().copied().filter(|id| *id != leader).collect();
                for other in others.iter().skip(1).take(if others.len() > 3 { 2 } else { 1 }) {
                    self.ask(leader, ClientRequest::Change(Change::Remove(*other)))?;
                }
                for other in others.iter().skip(1).copied() {
                    self.network.cut(leader, other, until);
                    self.network.cut(other, leader, until);
                }
            }
            _ => self.processes[place(leader)].crash_in = Some(1 + self.trouble.below(30)),
        }
        Ok(())
    }

    /// A leader asks another to take over; in half of all cases one of them is struck at that very moment.
    pub(crate) fn on_timeout_now(&mut self, leader: NodeId, to: NodeId, wish: &(GroupId, Message)) {
        self.faults.add(Fault::Transfer);
        if self.healed.is_some() || place(to) >= self.processes.len() {
            return;
        }
        if let Some(due) = self.due(Source::Handover, 500) {
            self.strike(due, "amid a handover", |sim| sim.strike_handover(leader, to, wish));
        }
    }

    fn strike_handover(&mut self, leader: NodeId, to: NodeId, wish: &(GroupId, Message)) {
        self.faults.add(Fault::StruckTransfer);
        let patience = self.plan.patience;
        match self.trouble.below(5) {
            0 => self.processes[place(leader)].crash_in = Some(1 + self.trouble.below(8)),
            // In any step of its election.
            1 => self.processes[place(to)].crash_in = Some(1 + self.trouble.below(8)),
            2 => {
                // All that is said to it is lost until the leader has given up and leads on; then one copy arrives, just
                // before the leader loses touch with everybody.
                self.network.cut(leader, to, self.now + patience * 11 / 10);
                let at = self.now + patience * 5 / 4 + self.trouble.below(patience);
                let frame = self.framed(std::slice::from_ref(wish));
                self.queue.push(at, Event::Arrive { from: leader, to, frame });
                self.queue.push(at + 1, Event::Isolate { node: leader, until: at + patience * 2 });
            }
            // Everybody hears it, and it hears nobody: it goes on believing that it leads.
            _ => {
                let until = self.now + patience / 2 + self.trouble.below(patience * 2);
                for place in 0..self.processes.len() {
                    self.network.cut(self.processes[place].id, leader, until);
                }
            }
        }
    }
}
