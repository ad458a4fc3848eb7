//! From the protocol and the state machine to clients: what came of what they wanted, and news for people.

use bytes::Bytes;
use hezong_base::{Index, LogId, NodeId, RequestId, Term, Time, sometimes};
use hezong_raft::{ChangeError, Membership, Refusal, Role};

use super::{Group, Handed};
use crate::clients::{Place, Want};
use crate::common::Common;
use crate::{Leader, NodeEffect, Notice, Refused, Reply, Weakness};

impl Group {
    pub(super) fn on_accepted(
        &mut self,
        id: RequestId,
        first: LogId,
        count: u64,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let clients = match self.handed.remove(&id) {
            Some(Handed::Commands(clients)) => clients,
            Some(Handed::Change(client, _)) => vec![client],
            // First members are no entry: they are done once on disk, and said to be accepted then.
            Some(Handed::Bootstrap(client)) => {
                // They are in force without an entry that could be applied; what comes next is told against them.
                self.membership_applied = self.raft.membership().clone();
                return common.reply(client, Reply::Bootstrapped, out);
            }
            Some(Handed::Promotion(_) | Handed::Agreement) => return,
            Some(Handed::Reads { .. } | Handed::Transfer(_) | Handed::HandOver | Handed::Told) | None => {
                unreachable!("the protocol accepts only what it was handed to append")
            }
        };
        assert_eq!(clients.len() as u64, count, "each command becomes one entry");
        for (client, index) in clients.into_iter().zip(first.index.0..) {
            let entry = LogId { term: first.term, index: Index(index) };
            if common.clients.place(client, Place::Accepted(entry)) {
                self.accepted.insert((entry.index, entry.term), client);
            }
        }
    }

    pub(super) fn on_refused(
        &mut self,
        now: Time,
        id: RequestId,
        refusal: Refusal,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(mut handed) = self.handed.remove(&id) else { return };
        if let (Refusal::Change(ChangeError::Behind { .. }), Handed::Change(client, change)) = (&refusal, &mut handed) {
            // Whoever wants a learner to vote waits for it.
            return self.hold_change(*client, change.clone(), common);
        }
        let refused = match refusal {
            // A leader becomes ready by what the next message or write brings, so steps and reads are asked again at the
            // end of the turn that brings it, and their clients are spared the retry. Commands never wait for this: a
            // leader appends from its first moment on.
            Refusal::NotReady => match handed {
                Handed::Change(client, change) => return self.change_again(client, change, common),
                Handed::Reads { clients, .. } => return self.read_again(&clients, common),
                Handed::Promotion(_) | Handed::Agreement | Handed::HandOver | Handed::Told => return,
                Handed::Commands(_) | Handed::Bootstrap(_) | Handed::Transfer(_) => {
                    Refused::Overloaded { limit: "raft" }
                }
            },
            Refusal::NotLeader(_) => Refused::NotLeader(self.leader_to_ask(now)),
            Refusal::Overloaded => Refused::Overloaded { limit: "raft" },
            Refusal::ChangePending => Refused::ChangePending,
            Refusal::Change(error) => Refused::Change(error),
            Refusal::Transferring(to) => Refused::Transferring(self.known(to)),
            Refusal::Transfer(error) => Refused::Transfer(error),
            Refusal::NotEmpty => Refused::NotEmpty,
        };
        match handed {
            Handed::Commands(clients) | Handed::Reads { clients, .. } => self.refuse(clients, &refused, common, out),
            Handed::Change(client, _) | Handed::Bootstrap(client) | Handed::Transfer(client) => {
                self.refuse(vec![client], &refused, common, out);
            }
            // What makes no sense now never will, and who is behind again will catch up again; anything else is asked again by
            // maybe_promote.
            Handed::Promotion(learner) if matches!(&refused, Refused::Change(error) if !matches!(error, ChangeError::NoMajority { .. })) =>
            {
                self.caught_up.remove(&learner);
            }
            Handed::Promotion(_) | Handed::Agreement | Handed::HandOver | Handed::Told => {}
        }
    }

    pub(super) fn on_unknown(&mut self, id: RequestId, common: &mut Common, out: &mut Vec<NodeEffect>) {
        match self.handed.remove(&id) {
            Some(Handed::Commands(clients)) => {
                for client in clients {
                    common.reply(client, Reply::Unknown, out);
                }
            }
            Some(Handed::Change(client, _) | Handed::Bootstrap(client) | Handed::Transfer(client)) => {
                common.reply(client, Reply::Unknown, out);
            }
            // A read leaves no trace, so it is simply asked again.
            Some(Handed::Reads { clients, .. }) => self.read_again(&clients, common),
            Some(Handed::Promotion(_) | Handed::Agreement | Handed::HandOver | Handed::Told) | None => {}
        }
    }

    pub(super) fn on_transferred(
        &mut self,
        id: RequestId,
        term: Term,
        leader: NodeId,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        if let Some(Handed::Transfer(client)) = self.handed.remove(&id) {
            common.reply(client, Reply::Transferred { term, leader: self.known(leader) }, out);
        }
    }

    pub(super) fn on_readable(
        &mut self,
        now: Time,
        id: RequestId,
        index: Option<Index>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(Handed::Reads { clients, led }) = self.handed.remove(&id) else { return };
        for client in clients {
            self.readable(now, client, index, led, common, out);
        }
    }

    pub(super) fn on_led(&mut self, term: Term, leader: Option<NodeId>, role: Role, out: &mut Vec<NodeEffect>) {
        let news = match (self.leader, leader) {
            (old, Some(leader)) if old != Some(leader) || term != self.term => {
                Some(Notice::LeaderElected { group: self.id, term, leader })
            }
            (Some(leader), None) => Some(Notice::LeaderLost { group: self.id, term, leader }),
            (_, Some(_)) | (None, None) => None,
        };
        if role != Role::Leader {
            self.caught_up.clear();
            self.release_held();
        }
        (self.term, self.leader, self.role) = (term, leader, role);
        out.extend(news.map(NodeEffect::Notice));
    }

    /// The protocol has said as of which index a read may be served.
    pub(super) fn readable(
        &mut self,
        now: Time,
        id: RequestId,
        index: Option<Index>,
        led: Option<Term>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(client) = common.clients.get(id) else { return };
        let index = index.filter(|_| !common.config.weak(Weakness::ReadBeforeApplied));
        match client.want {
            Want::Verified if self.role == Role::Leader && led == Some(self.term) => {
                common.reply(id, Reply::Verified { term: self.term }, out);
            }
            Want::Verified => {
                let refused = Refused::NotLeader(self.leader_to_ask(now));
                common.reply(id, Reply::Refused(refused), out);
            }
            Want::Readable { min_index, .. } => match index.max(min_index).filter(|i| !self.applying.reaches(Some(*i)))
            {
                None => self.reply_readable(now, id, common, out),
                Some(index) => {
                    sometimes!("node: a read waits to be applied");
                    common.clients.place(id, Place::Applying(index));
                    self.applying.wait(index, id);
                }
            },
            Want::Done | Want::Changed | Want::Transferred | Want::Bootstrapped => {
                unreachable!("a write is not answered as a read")
            }
        }
    }

    pub(super) fn reply_readable(&self, now: Time, id: RequestId, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let applied = self.applying.last().map(|entry| entry.index);
        common.reply(id, Reply::Readable { applied, last_contact: self.raft.last_contact(now) }, out);
    }

    /// Whatever waited for this index is decided by the entry that was applied there.
    pub(super) fn settle(
        &mut self,
        entry: LogId,
        reply: Bytes,
        changed: Option<&Membership>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let by_index = common.config.weak(Weakness::AnswerByIndex);
        while let Some(first) = self.accepted.first_entry().filter(|first| first.key().0 <= entry.index) {
            let ((index, term), id) = first.remove_entry();
            sometimes!("node: another entry took the place of a client's", (LogId { term, index }) != entry);
            let outcome = match changed {
                _ if (LogId { term, index }) != entry && !by_index => Reply::Refused(Refused::Lost),
                Some(membership) if membership.is_joint() => {
                    self.half_done.push(id);
                    continue;
                }
                Some(membership) => Reply::Changed { id: entry, membership: membership.clone() },
                None => Reply::Done { id: entry, reply: reply.clone() },
            };
            common.reply(id, outcome, out);
        }
        // What follows a joint membership is what it leads to, whoever leads by then.
        if let Some(membership) = changed.filter(|membership| !membership.is_joint()) {
            for id in std::mem::take(&mut self.half_done) {
                sometimes!("node: a joint change is told when it is left");
                common.reply(id, Reply::Changed { id: entry, membership: membership.clone() }, out);
            }
        }
    }

    /// Tells people what a committed membership step changed.
    pub(super) fn announce(
        &mut self,
        entry: LogId,
        membership: Membership,
        common: &Common,
        out: &mut Vec<NodeEffect>,
    ) {
        out.push(NodeEffect::Settled { group: self.id, membership: membership.clone() });
        let before = std::mem::replace(&mut self.membership_applied, membership);
        // To a node that has just joined, those who were there before are no news either.
        if Some(entry.index) <= self.old_news || before.members().is_empty() {
            return;
        }
        let (group, after) = (self.id, &self.membership_applied);
        if after.version() != before.version() {
            out.push(NodeEffect::Notice(Notice::VersionAgreed { group, version: after.version() }));
        }
        if after.used() != before.used() {
            out.push(NodeEffect::Notice(Notice::VersionUsed { group, version: after.used() }));
        }
        for (&id, member) in before.members().iter().filter(|(id, _)| !after.members().contains_key(id)) {
            out.push(NodeEffect::Notice(Notice::MemberRemoved { group, id, member: member.clone() }));
            if id == common.config.id {
                out.push(NodeEffect::Notice(Notice::Left { group, id }));
            }
        }
        for (&id, member) in after.members() {
            if !before.members().contains_key(&id) {
                out.push(NodeEffect::Notice(Notice::MemberAdded { group, id, member: member.clone() }));
            }
            if after.is_voter(id) && !before.is_voter(id) {
                out.push(NodeEffect::Notice(Notice::MemberPromoted { group, id, member: member.clone() }));
            }
        }
    }

    pub(super) fn refuse(
        &self,
        clients: Vec<RequestId>,
        refused: &Refused,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        for client in clients {
            common.reply(client, Reply::Refused(refused.clone()), out);
        }
    }

    /// Whom to send to who wants the leader.
    pub(super) fn leader_to_ask(&self, now: Time) -> Option<Leader> {
        self.raft.leader_in_touch(now).map(|id| self.known(id))
    }

    /// A member with what we know of it.
    pub(super) fn known(&self, id: NodeId) -> Leader {
        Leader { id, member: self.membership.members().get(&id).cloned() }
    }
}
