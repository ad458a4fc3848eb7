//! What goes wrong, and when; and who joins and leaves meanwhile.

use std::collections::{BTreeSet, VecDeque};

use hezong_base::NodeId;
use hezong_node::ClientRequest;
use hezong_raft::Change;

use crate::check::{Violation, place};
use crate::cut::Source;
use crate::network::NODES_MAX;
use crate::plan::{Fault, pick};
use crate::process::{Damage, Process};
use crate::sim::{Event, Sim};

/// The most members at once: enough for every shape of majority, few enough to be quick.
const MEMBERS_MAX: usize = 6;

impl Sim {
    /// Draws one of the plan's troubles and makes it happen.
    pub(crate) fn on_trouble(&mut self) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        let patience = self.plan.patience;
        let next = self.now + patience / 8 + self.schedule.below(patience * 2 * (1 + self.plan.lull));
        self.queue.push(next, Event::Trouble);
        let Some(mut due) = self.due(Source::Schedule, 1_000) else { return Ok(()) };
        let fault = self.plan.drawn[pick(&mut due.rng, self.plan.drawn.len())];
        self.strike(due, fault.name(), |sim| sim.strike_with(fault))
    }

    fn strike_with(&mut self, fault: Fault) -> Result<(), Violation> {
        let until = self.now + self.trouble.below(self.plan.patience * 3);
        match fault {
            Fault::Partition if self.trouble.below(1_000) < self.plan.creep => self.creep(),
            Fault::Partition => self.partition(until),
            Fault::OneWay => self.cut_one_way(until),
            Fault::QuorumLoss => self.lose_quorum(),
            Fault::ConstrainedElection => self.constrain_election(),
            Fault::Chained => self.chain(),
            Fault::SlowLink => self.slow_link(),
            Fault::Flapping => self.flap(),
            Fault::Crash => self.let_die(),
            Fault::PowerLoss => return self.lose_power(),
            Fault::Pause => self.pause(until),
            Fault::StalledDisk if self.trouble.chance(300) => self.stall_last_listener(),
            Fault::SlowDisk | Fault::StalledDisk | Fault::SlowApply => self.slow_down(fault, until),
            Fault::ClockRate => self.change_clock(),
            Fault::FullDisk => self.fill_disks(until),
            Fault::StateLoss => return self.lose_state(),
            Fault::LogDamage => return self.damage_log(Damage::Cut),
            Fault::LogRot => return self.damage_log(Damage::Rot),
            Fault::Addition => self.add_member(),
            Fault::Removal => return self.remove_member(),
            Fault::Transfer => return self.transfer(),
            Fault::Joint => return self.change_several(),
            Fault::Program => return self.exchange_program(),
            Fault::NewUsed => return self.use_new(),
            // These strike frame by frame, or by the way.
            Fault::Loss
            | Fault::Delay
            | Fault::Duplication
            | Fault::Reordering
            | Fault::TornWrite
            | Fault::Snapshot => {}
            // Strike whoever hands over, changes members or fetches a snapshot.
            Fault::StruckTransfer | Fault::StruckChange | Fault::StruckSnapshot => {}
        }
        Ok(())
    }

    /// A process dies a little later, in the middle of something.
    fn let_die(&mut self) {
        let node = self.victim();
        let process = &mut self.processes[place(node)];
        if self.trouble.chance(200) {
            // In the middle of what the log does to its files.
            process.disk.stop_after(self.trouble.below(6));
        } else {
            process.crash_in = Some(1 + self.trouble.below(12));
        }
    }

    fn lose_power(&mut self) -> Result<(), Violation> {
        self.faults.add(Fault::PowerLoss);
        (0..self.processes.len()).try_for_each(|place| self.crash(self.processes[place].id, true))
    }

    /// A disk or a state machine is slow for a while, or a disk does nothing.
    fn slow_down(&mut self, fault: Fault, until: u64) {
        let node = self.victim();
        self.faults.add(fault);
        let process = &mut self.processes[place(node)];
        match fault {
            Fault::SlowDisk => process.disk_slow_until = until,
            Fault::StalledDisk => process.disk_stalled_until = until,
            _ => process.apply_slow_until = until,
        }
    }

    fn change_clock(&mut self) {
        let node = self.victim();
        let ppm = self.clock_ppm();
        self.faults.add(Fault::ClockRate);
        let process = &mut self.processes[place(node)];
        process.clock.set_rate(self.now, ppm);
        // What was planned for the old rate may now come too late.
        process.timer = u64::MAX;
        self.arm(node);
    }

    /// Whom it strikes: as often as not the leader, where it hurts most.
    pub(crate) fn victim(&mut self) -> NodeId {
        match self.checkers.leader() {
            Some(leader) if self.trouble.chance(500) => leader,
            _ => self.processes[pick(&mut self.trouble, self.processes.len())].id,
        }
    }

    /// One node loses the leader first, and campaigns when its patience is over; at about that time the leader is cut
    /// off from all others too, which have heard from it until then.
    fn creep(&mut self) {
        let Some(leader) = self.checkers.leader() else { return };
        self.faults.add(Fault::Partition);
        let other = self.processes[pick(&mut self.trouble, self.processes.len())].id;
        let patience = self.plan.patience;
        let until = self.now + patience * 4;
        self.network.cut(leader, other, until);
        self.network.cut(other, leader, until);
        let at = self.now + patience * 3 / 4 + self.trouble.below(patience * 5 / 4);
        self.queue.push(at, Event::Isolate { node: leader, until });
    }

    /// Only one node still hears the leader, and its disk stalls: what the leader sends it is on no other disk when the
    /// others elect another, whose entries take the same places.
    fn stall_last_listener(&mut self) {
        let Some(leader) = self.checkers.leader() else { return };
        let listener = self.processes[pick(&mut self.trouble, self.processes.len())].id;
        let patience = self.plan.patience;
        self.faults.add(Fault::StalledDisk);
        let stalled_until = self.now + patience * 4 + self.trouble.below(patience);
        let process = &mut self.processes[place(listener)];
        // Slow afterwards: what was written for the old leader is reported long before what was for the new one.
        (process.disk_stalled_until, process.disk_slow_until) = (stalled_until, stalled_until + patience);
        for place in 0..self.processes.len() {
            let other = self.processes[place].id;
            if other != listener {
                self.network.cut(leader, other, self.now + patience * 5);
                self.network.cut(other, leader, self.now + patience * 5);
            }
        }
        // The listener hears the new leader only after it has heard the old one for a while.
        let until = self.now + patience * 2;
        for place in 0..self.processes.len() {
            let other = self.processes[place].id;
            if other != leader {
                self.network.cut(other, listener, until);
            }
        }
    }

    /// Cuts a node off from all others.
    pub(crate) fn isolate(&mut self, node: NodeId, until: u64) {
        if self.healed.is_some() {
            return;
        }
        self.tell_isolation(node, until);
        for place in 0..self.processes.len() {
            let other = self.processes[place].id;
            self.network.cut(node, other, until);
            self.network.cut(other, node, until);
        }
    }

    fn partition(&mut self, until: u64) {
        self.faults.add(Fault::Partition);
        let side: Vec<bool> = if self.trouble.chance(400) {
            let alone = self.victim();
            self.processes.iter().map(|process| process.id == alone).collect()
        } else {
            self.processes.iter().map(|_| self.trouble.chance(500)).collect()
        };
        for (from, here) in side.iter().enumerate() {
            for (to, _) in side.iter().enumerate().filter(|(_, there)| *there != here) {
                self.network.cut(self.processes[from].id, self.processes[to].id, until);
            }
        }
    }

    fn cut_one_way(&mut self, until: u64) {
        self.faults.add(Fault::OneWay);
        let victim = self.victim();
        let other = self.processes[pick(&mut self.trouble, self.processes.len())].id;
        match self.trouble.below(3) {
            0 => self.network.cut(victim, other, until),
            1 => self.processes.iter().for_each(|process| self.network.cut(victim, process.id, until)),
            _ => self.processes.iter().for_each(|process| self.network.cut(process.id, victim, until)),
        }
    }

    /// A process stands still. Often nobody reaches it for a while afterwards: it goes on with what it believed before.
    fn pause(&mut self, until: u64) {
        let node = self.victim();
        if self.trouble.chance(400) {
            // What others said before that still waits in its inbox.
            let at = self.now + self.plan.patience / 8;
            self.queue.push(at, Event::Isolate { node, until: until + self.plan.patience });
        }
        self.pause_node(node, until);
    }

    pub(crate) fn pause_node(&mut self, node: NodeId, until: u64) {
        let process = &mut self.processes[place(node)];
        if process.runs() {
            self.faults.add(Fault::Pause);
            process.paused = Some(VecDeque::new());
            self.queue.push(until, Event::Resume { node, life: process.life });
            self.story.pauses(self.now, node, true);
        }
    }

    /// One machine's state is gone. Never two at a time: what nobody has is nobody's to give back.
    fn lose_state(&mut self) -> Result<(), Violation> {
        let victim = self.victim();
        let alone = self.membership.voters().len() < 3 || self.one_copy_is_gone();
        if alone || self.processes[place(victim)].node.is_none() {
            return Ok(());
        }
        self.faults.add(Fault::StateLoss);
        self.story.say(self.now, victim, "loses its state");
        self.crash(victim, true)?;
        self.processes[place(victim)].lose_state();
        Ok(())
    }

    /// The end of one machine's log is gone when it starts again, or some bytes of it are not what they were. Never two at a time, and never where all others together
    /// are too few to elect a leader, or soon may be: they hold all that is committed, but perhaps not all that the victim
    /// once held.
    fn damage_log(&mut self, damage: Damage) -> Result<(), Violation> {
        let victim = self.victim();
        // As long as a step may wait for a learner, and be taken.
        let leaving = self.removal_asked.is_some_and(|at| self.now < at + 7 * self.plan.patience);
        let few = self.checkers.voters_min() < 3 || leaving;
        if few || self.one_copy_is_gone() || self.processes[place(victim)].node.is_none() {
            return Ok(());
        }
        self.crash(victim, true)?;
        let rng = self.trouble.fork();
        self.processes[place(victim)].damage = Some((damage, rng));
        Ok(())
    }

    /// Whether a machine lacks what its disk once held. A second loss could be of the last copy.
    fn one_copy_is_gone(&self) -> bool {
        self.processes.iter().any(|process| process.state_lost || process.lacks_entries())
    }

    fn add_member(&mut self) {
        let waiting = self.newcomers.iter().filter(|newcomer| newcomer.told.is_none()).count();
        if self.membership.members().len() + waiting >= MEMBERS_MAX || !self.has_room() {
            return;
        }
        self.add_newcomer();
    }

    /// Whether another machine can be numbered.
    pub(crate) fn has_room(&self) -> bool {
        self.processes.len() + 2 < NODES_MAX
    }

    /// Whether a member may be asked to leave: not while one that stays may need those that are there.
    pub(crate) fn may_remove(&mut self) -> bool {
        let may = !self.processes.iter().any(Process::lacks_entries);
        self.removal_asked = if may { Some(self.now) } else { self.removal_asked };
        may
    }

    fn remove_member(&mut self) -> Result<(), Violation> {
        let members: Vec<_> = self.membership.members().keys().copied().collect();
        if self.membership.voters().len() < 3 || !self.may_remove() {
            return Ok(());
        }
        let victim = members[pick(&mut self.trouble, members.len())];
        self.change(Change::Remove(victim))
    }

    /// All learners are to vote, and some voters to go, all at once. At that the leader may die, between any two of its
    /// steps; or it is left alone with the newcomers, and perhaps one of the others.
    fn change_several(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.checkers.leader() else { return Ok(()) };
        if !self.may_remove() {
            return Ok(());
        }
        let members = self.membership.clone();
        let promote: BTreeSet<_> = members.members().keys().copied().filter(|id| !members.is_voter(*id)).collect();
        let mut remove = BTreeSet::new();
        for id in members.voters() {
            let left = members.voters().len() + promote.len() - remove.len();
            if left > 2 && self.trouble.chance(if promote.is_empty() { 500 } else { 250 }) {
                remove.insert(*id);
            }
        }
        match self.trouble.below(3) {
            0 => self.processes[place(leader)].crash_in = Some(1 + self.trouble.below(60)),
            1 => {
                let companion = self.processes[pick(&mut self.trouble, self.processes.len())].id;
                let alone = |id: NodeId| id == leader || id == companion || promote.contains(&id);
                let until = self.now + self.plan.patience + self.trouble.below(self.plan.patience * 3);
                for one in (1..=self.processes.len() as u64).map(NodeId).filter(|id| alone(*id)) {
                    for other in (1..=self.processes.len() as u64).map(NodeId).filter(|id| !alone(*id)) {
                        self.network.cut(one, other, until);
                        self.network.cut(other, one, until);
                    }
                }
            }
            _ => {}
        }
        self.ask(leader, ClientRequest::Change(Change::Several { promote, remove }))
    }

    /// Whoever leads is to hand over, to this member or to whom it likes.
    fn transfer(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.checkers.leader() else { return Ok(()) };
        if self.trouble.chance(100) {
            // Before or while it asks.
            self.processes[place(leader)].crash_in = Some(1 + self.trouble.below(8));
        }
        let members: Vec<_> = self.membership.members().keys().copied().collect();
        let to = self.trouble.chance(700).then(|| members[pick(&mut self.trouble, members.len())]);
        self.ask(leader, ClientRequest::Transfer(to))
    }

    /// Asks whoever leads, or thinks so.
    fn change(&mut self, change: Change) -> Result<(), Violation> {
        match self.checkers.leader() {
            Some(leader) => self.ask(leader, ClientRequest::Change(change)),
            None => Ok(()),
        }
    }

    /// Nothing goes wrong any more, and whatever was down comes back.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        self.healed = Some(self.now);
        self.story.note(self.now, || "everything is healed".to_owned());
        self.network.heal();
        for place in 0..self.processes.len() {
            let process = &mut self.processes[place];
            process.crash_in = None;
            process.disk.stop_after(u64::MAX);
            process.disk_slow_until = 0;
            process.disk_stalled_until = 0;
            process.apply_slow_until = 0;
            let (node, life) = (process.id, process.life);
            self.queue.push(self.now, Event::Resume { node, life });
            self.queue.push(self.now, Event::Start { node });
            if self.plan.drawn.contains(&Fault::FullDisk) {
                // All three of equal disks are full: reads, deletes and members must go on before they grow.
                self.fill_disk(node, u64::MAX);
            }
        }
        self.upgrade_all()
    }
}
