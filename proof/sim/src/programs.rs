//! Programs of two versions: machines are started again with the other one, newer commands are used at any moment, and
//! no older program may ever be given what it does not know (`docs/upgrades.md`).
//!
//! Here is what the shell does about it: nodes hear of each other's version when they connect, versions in use are noted
//! in the folder, and nodes that do not know each other's do not talk.

use hezong_base::{GroupId, NodeId};
use hezong_node::{ClientRequest, NodeInput};
use hezong_raft::{Change, Payload, Version, Write};

use crate::check::{Violation, place};
use crate::machine;
use crate::plan::{Fault, pick};
use crate::process::{GROUP, Process};
use crate::sim::{Event, Sim};

/// What both programs know, and what the newer one knows.
pub(crate) const OLD: Version = Version(1);
pub(crate) const NEW: Version = Version(2);

impl Sim {
    /// Whether an older program is there, or may come. In the end everybody is upgraded.
    pub(crate) fn has_two_programs(&self) -> bool {
        self.plan.programs && self.healed.is_none()
    }

    /// The program that a new machine begins with. One that is too old for the group would not be taken in.
    pub(crate) fn first_program(&mut self) -> Version {
        match self.plan.programs {
            true if self.membership.used() == NEW || self.trouble.chance(700) => NEW,
            _ => OLD,
        }
    }

    /// A process is stopped and started again with the other program, if that one opens its folder.
    pub(crate) fn exchange_program(&mut self) -> Result<(), Violation> {
        let victim = self.processes[pick(&mut self.trouble, self.processes.len())].id;
        let process = &mut self.processes[place(victim)];
        let other = if process.newest == NEW { OLD } else { NEW };
        if process.node.is_none() || process.used > other {
            return Ok(());
        }
        process.newest = other;
        self.faults.add(Fault::Program);
        self.story.say(self.now, victim, &format!("is started again with the program of version {other}"));
        self.crash(victim, false)
    }

    /// Somebody wants to use what is new.
    pub(crate) fn use_new(&mut self) -> Result<(), Violation> {
        match self.checkers.leader() {
            Some(leader) => self.ask(leader, ClientRequest::Change(Change::Use(NEW))),
            None => Ok(()),
        }
    }

    /// A version is in use from now on at this node: its folder says so.
    pub(crate) fn note_version(&mut self, node: NodeId, version: Version) {
        self.faults.add(Fault::NewUsed);
        let process = &mut self.processes[place(node)];
        process.used = process.used.max(version);
    }

    /// A process that was started is connected to all others after a while.
    pub(crate) fn plan_connections(&mut self, node: NodeId) {
        if !self.plan.programs {
            return;
        }
        for other in (1..=self.processes.len() as u64).map(NodeId).filter(|other| *other != node) {
            let at = self.now + self.trouble.below(self.plan.way * 4);
            self.queue.push(at, Event::Connect { one: node, other });
        }
    }

    /// Two nodes hear what the other knows. While one is down nothing comes of it: it connects when it starts.
    pub(crate) fn on_connect(&mut self, one: NodeId, other: NodeId) -> Result<(), Violation> {
        let [newest, theirs] = [one, other].map(|id| self.processes[place(id)].newest);
        let up = [one, other].iter().all(|id| self.processes[place(*id)].node.is_some());
        if !up || !self.talk(one, other) {
            return Ok(());
        }
        if self.network.is_cut(self.now, one, other) || self.network.is_cut(self.now, other, one) {
            self.queue.push(self.now + self.plan.patience / 2, Event::Connect { one, other });
            return Ok(());
        }
        let version = newest.min(theirs);
        self.hand(one, NodeInput::Version { peer: other, version })?;
        self.hand(other, NodeInput::Version { peer: one, version })
    }

    /// Whether two nodes talk: each knows what may lie in the other's log.
    pub(crate) fn talk(&self, one: NodeId, other: NodeId) -> bool {
        let (one, other) = (&self.processes[place(one)], &self.processes[place(other)]);
        one.used <= other.newest && other.used <= one.newest
    }

    /// Everybody is upgraded in the end.
    pub(crate) fn upgrade_all(&mut self) -> Result<(), Violation> {
        if !self.plan.programs {
            return Ok(());
        }
        for place in 0..self.processes.len() {
            let process = &mut self.processes[place];
            if std::mem::replace(&mut process.newest, NEW) == OLD {
                let node = process.id;
                self.crash(node, false)?;
            }
        }
        Ok(())
    }
}

impl Process {
    /// Whether what is about to be written is known to the program, and noted in the folder.
    pub(crate) fn check_known(&self, writes: &[(GroupId, Write)]) -> Result<(), Violation> {
        let knows = self.newest.min(self.used);
        let unknown = |write: &Write| match write {
            Write::Append(entries) => entries.iter().any(|entry| version_of(&entry.payload) > knows),
            Write::Compact(base) | Write::Reset(base) => base.membership.used() > knows,
            Write::Vote { .. } | Write::Truncate(_) => false,
        };
        match writes.iter().find(|(group, write)| *group == GROUP && unknown(write)) {
            None => Ok(()),
            Some((_, write)) => {
                let detail =
                    format!("{} knows {}, has noted {}, and writes {write:?}", self.id, self.newest, self.used);
                Err(Violation::new("no program is given what it does not know", detail))
            }
        }
    }
}

/// The version that a program must be of to be given this.
fn version_of(payload: &Payload) -> Version {
    match payload {
        Payload::Command(command) if machine::is_new(command) => NEW,
        Payload::Membership(members) => members.used(),
        Payload::Command(_) | Payload::Empty => OLD,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hezong_base::LogId;
    use hezong_raft::Entry;

    use super::*;
    use crate::clock::Clock;
    use crate::machine::{Command, Once};

    #[test]
    fn write_that_a_program_or_its_mark_does_not_know_is_seen() {
        let mut process = Process::new(NodeId(1), Clock::new(0, 0), 1 << 20);
        let command = |value| Command::Put { key: 1, value }.encode(Once::Never);
        let append = |value| {
            let payload = Payload::Command(command(value));
            let entry = Entry { id: LogId::new(1, 1), time: Duration::ZERO, payload };
            [(GROUP, Write::Append([entry].into_iter().collect()))]
        };
        assert!(machine::is_new(&command(5)) && !machine::is_new(&command(6)));
        for (newest, used, known) in [(OLD, OLD, false), (NEW, OLD, false), (NEW, NEW, true)] {
            (process.newest, process.used) = (newest, used);
            assert_eq!(process.check_known(&append(5)).is_ok(), known);
            assert_eq!(process.check_known(&append(6)), Ok(()));
        }
    }
}
