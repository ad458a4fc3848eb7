//! Newcomers: machines that ask to be taken in, as `POST /join` does it: through random nodes, again and again until they
//! are told their number, and only then are they switched on. Two machines of one number would vote twice.

use hezong_base::{NodeId, RequestId};
use hezong_node::{ClientRequest, GroupStatus, NodeInput, Refused, Reply};
use hezong_raft::{Change, Member, Role};

use crate::check::{Violation, place};
use crate::plan::pick;
use crate::process::GROUP;
use crate::sim::{Event, Sim, member};

/// How long a newcomer waits for an answer, in election timeouts, at most.
const PATIENCE: u64 = 10;

/// One newcomer.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// Its name and addresses, which nobody else has.
    pub(crate) member: Member,
    /// The number it was told.
    pub(crate) told: Option<NodeId>,
    /// The request under way, and where.
    request: Option<(RequestId, NodeId)>,
    /// Whom it was told to ask.
    hint: Option<NodeId>,
    /// Sorts out wake-ups that were planned for something that is over.
    tick: u64,
}

impl Sim {
    /// A machine is bought.
    pub(crate) fn add_newcomer(&mut self) {
        let name = self.next_request();
        let member = member(NodeId(1_000 + name.0));
        self.newcomers.push(Newcomer { member, told: None, request: None, hint: None, tick: 0 });
        self.queue.push(self.now, Event::Newcomer { newcomer: self.newcomers.len() - 1, tick: 0 });
    }

    /// Whether the machine of this member has not been told its number yet: nobody can switch it on.
    pub(crate) fn awaits_number(&self, id: NodeId, member: &Member) -> bool {
        self.newcomers.iter().any(|newcomer| newcomer.member == *member && newcomer.told != Some(id))
    }

    /// A newcomer has rested, or has waited long enough.
    pub(crate) fn on_newcomer(&mut self, newcomer: usize, tick: u64) -> Result<(), Violation> {
        let it = &mut self.newcomers[newcomer];
        if it.tick != tick || it.told.is_some() {
            return Ok(());
        }
        if let Some((id, node)) = it.request.take() {
            self.joining.remove(&id);
            self.ask_again(newcomer);
            return self.hand(node, NodeInput::Cancel { id });
        }
        let hint = it.hint.take().filter(|hint| place(*hint) < self.processes.len());
        let members: Vec<_> = self.membership.members().keys().copied().collect();
        let node = hint.unwrap_or_else(|| members[pick(&mut self.workload, members.len())]);
        // As the leader it looks first whether an earlier request was done.
        self.ask_for_newcomer(newcomer, node, ClientRequest::Status);
        Ok(())
    }

    fn ask_for_newcomer(&mut self, newcomer: usize, node: NodeId, request: ClientRequest) {
        let Some(process) = self.processes.get(place(node)).filter(|process| process.node.is_some()) else {
            return self.ask_again(newcomer);
        };
        let life = process.life;
        let id = self.next_request();
        self.joining.insert(id, newcomer);
        let at = self.now + self.workload.below(self.plan.way);
        self.queue.push(at, Event::Input { node, life, input: NodeInput::Request { id, group: GROUP, request } });
        let patience = self.plan.patience * (1 + self.workload.below(PATIENCE));
        let it = &mut self.newcomers[newcomer];
        it.request = Some((id, node));
        it.tick += 1;
        self.queue.push(self.now + patience, Event::Newcomer { newcomer, tick: it.tick });
    }

    fn ask_again(&mut self, newcomer: usize) {
        let it = &mut self.newcomers[newcomer];
        it.request = None;
        it.tick += 1;
        let rest = self.workload.below(self.plan.patience / 4);
        self.queue.push(self.now + rest, Event::Newcomer { newcomer, tick: it.tick });
    }

    /// A node answers a newcomer.
    pub(crate) fn on_newcomer_reply(&mut self, newcomer: usize, node: NodeId, reply: Reply) -> Result<(), Violation> {
        self.newcomers[newcomer].request = None;
        match reply {
            Reply::Status(status) => return self.on_newcomer_status(newcomer, node, &status),
            Reply::Changed { membership, .. } => {
                let id = membership.last_id().expect("a member was added");
                return self.tell_number(newcomer, id);
            }
            Reply::Refused(Refused::NotLeader(leader)) => {
                self.newcomers[newcomer].hint = leader.map(|leader| leader.id);
            }
            // Perhaps done, or an earlier copy was quicker: the next look tells.
            Reply::Refused(_) | Reply::Unknown => {}
            Reply::Done { .. }
            | Reply::Readable { .. }
            | Reply::Verified { .. }
            | Reply::Transferred { .. }
            | Reply::Bootstrapped => {
                let detail = format!("{node} answers a newcomer with {reply:?}");
                return Err(Violation::new("answers fit their questions", detail));
            }
        }
        self.ask_again(newcomer);
        Ok(())
    }

    fn on_newcomer_status(&mut self, newcomer: usize, node: NodeId, status: &GroupStatus) -> Result<(), Violation> {
        let has_room = self.has_room();
        let it = &mut self.newcomers[newcomer];
        if status.raft.role != Role::Leader {
            it.hint = status.leader.as_ref().map(|leader| leader.id);
            self.ask_again(newcomer);
            return Ok(());
        }
        match status.taken_in(&it.member) {
            Ok(Some(id)) => self.tell_number(newcomer, id),
            Ok(None) if has_room => {
                let change = Change::Add(it.member.clone());
                self.ask_for_newcomer(newcomer, node, ClientRequest::Change(change));
                Ok(())
            }
            Ok(None) | Err(_) => {
                self.ask_again(newcomer);
                Ok(())
            }
        }
    }

    /// A newcomer knows its number, and its machine is switched on, now or when the group is seen to have it.
    fn tell_number(&mut self, newcomer: usize, id: NodeId) -> Result<(), Violation> {
        let name = &self.newcomers[newcomer].member.name;
        let other = self.newcomers.iter().find(|other| other.told == Some(id)).map(|other| &other.member.name);
        if let Some(other) = other {
            let detail = format!("{other} and {name} were both told that they are {id}");
            return Err(Violation::new("a number is given once", detail));
        }
        self.newcomers[newcomer].told = Some(id);
        self.queue.push(self.now, Event::Start { node: id });
        Ok(())
    }

    /// Whether every number told belongs to whom it was told, as long as that is a member.
    pub(crate) fn check_numbers(&self) -> Result<(), Violation> {
        for newcomer in &self.newcomers {
            let Some(id) = newcomer.told else { continue };
            if let Some(member) = self.membership.members().get(&id).filter(|member| **member != newcomer.member) {
                let detail = format!("{} was told that it is {id}, which is {}", newcomer.member.name, member.name);
                return Err(Violation::new("a number is given once", detail));
            }
        }
        Ok(())
    }

    /// A process died: newcomers that asked it see their connections close.
    pub(crate) fn forget_newcomers_at(&mut self, node: NodeId) {
        for newcomer in 0..self.newcomers.len() {
            if let Some((id, _)) = self.newcomers[newcomer].request.filter(|(_, at)| *at == node) {
                self.joining.remove(&id);
                self.ask_again(newcomer);
            }
        }
    }
}
