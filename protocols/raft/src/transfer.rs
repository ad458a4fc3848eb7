//! Handing leadership over (§3.10 of the dissertation): the leader takes no more proposals, waits until the log of one voter
//! is level with its own, and asks it to campaign at once.
//!
//! Such a campaign comes while the voters still owe the leader its lease, so they are told that it is by the leader's
//! own wish, and disregard what they owe. That no `default` read is ever old all the same rests on three rules:
//!
//! 1. Before a leader asks, it gives up its lease, and **takes up none again in that term**, however the transfer ends:
//!    what it said may arrive late, and twice.
//! 2. Only a voter that follows this leader in this term does as it is asked, so the campaign is for the very next term.
//! 3. A voter disregards leases for such a campaign only while its own term is an earlier one.
//!
//! So whatever lease a voter then breaks was granted to a leader of the asking leader's term, which has none any more, or
//! of a term before. Leases of the latter were over when the asking leader was elected, for the same two reasons: its
//! voters had waited them out, or they had been given up.
//!
//! A leader hands over when it is told to, when its disk stalls, and when it is no voter any more.

use core::fmt;

use hezong_base::{Effect, NodeId, RequestId, Term, Time, sometimes};

use crate::node::{Out, RoleState};
use crate::{Body, Event, Message, Raft, Refusal, Weakness};

/// Leadership that is being handed over.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    /// Who wants to know how it ends; `None` when we hand over of our own accord.
    id: Option<RequestId>,
    /// Whom we hand over to.
    pub(crate) to: NodeId,
    /// Whether that was our choice: then the wish is fulfilled whoever leads next.
    chosen: bool,
    /// The term we lead.
    term: Term,
    /// When we give up.
    pub(crate) until: Time,
    /// Whether it was asked to take over.
    pub(crate) asked: bool,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// No member has this id.
    Unknown(NodeId),
    /// It is a learner; it is to be promoted first.
    Learner(NodeId),
    /// It leads already.
    Leads(NodeId),
    /// It was not heard for an election timeout.
    Silent(NodeId),
    /// Its log or its state was lost, and has not come back yet.
    Incomplete(NodeId),
    /// No other voter was heard within an election timeout, or none that has its log and its state.
    Nobody,
    /// Another transfer, to this member, is under way.
    Pending(NodeId),
    /// Its log did not become level, or it was not elected, within an election timeout. If it was asked, and only slow
    /// to hear it, it may take over yet.
    TimedOut(NodeId),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "no member has the id {}", id.0),
            Self::Learner(id) => write!(f, "member {} is a learner and cannot lead before it is promoted", id.0),
            Self::Leads(id) => write!(f, "member {} leads already", id.0),
            Self::Silent(id) => write!(f, "member {} was not heard for an election timeout", id.0),
            Self::Incomplete(id) => {
                write!(f, "member {} has not got back yet what its log or its state lost, and cannot lead without it", id.0)
            }
            Self::Nobody => f.write_str(
                "no other voter was heard for an election timeout, or none with its log and state whole, so nobody can take over",
            ),
            Self::Pending(id) => write!(f, "leadership is being handed to member {} already", id.0),
            Self::TimedOut(id) => write!(f, "member {} did not take over within an election timeout", id.0),
        }
    }
}

impl core::error::Error for TransferError {}

impl Raft {
    /// The local user wants somebody else to lead.
    pub(crate) fn on_transfer(&mut self, now: Time, id: RequestId, to: Option<NodeId>, out: &mut Out) {
        if !matches!(self.role, RoleState::Leader(_)) {
            return self.refuse(id, Refusal::NotLeader(self.leader()), out);
        }
        if let Some(transfer) = &self.transfer {
            return self.refuse(id, Refusal::Transfer(TransferError::Pending(transfer.to)), out);
        }
        match to.map_or_else(|| self.successor(now).ok_or(TransferError::Nobody), |to| self.checked(now, to)) {
            Ok(successor) => {
                let until = now + self.config.election_timeout;
                self.begin_transfer(Some(id), successor, to.is_none(), until, out);
            }
            Err(error) => self.refuse(id, Refusal::Transfer(error), out),
        }
    }

    /// Hands over of our own accord, as far as anybody can take over. Half an election timeout must do: without us, the
    /// others would elect somebody about then.
    pub(crate) fn hand_over(&mut self, now: Time, out: &mut Out) -> bool {
        let Some(successor) = self.successor(now) else { return false };
        self.begin_transfer(None, successor, true, now + self.config.election_timeout / 2, out);
        true
    }

    /// "Campaign at once."
    pub(crate) fn on_timeout_now(&mut self, now: Time, from: NodeId, out: &mut Out) {
        // From anybody but the leader we follow it is late, or nonsense: either way nobody has given up a lease for it.
        let follows = matches!(self.role, RoleState::Follower(_)) && self.leader() == Some(from);
        sometimes!("raft: a wish to campaign comes from whom one does not follow", !follows);
        if follows && self.is_voter() && !self.is_stalled(now) && self.debt().is_none() {
            self.campaign(now, true, out);
        }
    }

    /// Asks whom we hand over to, once its log is level with ours; with `again`, also if it was asked before.
    pub(crate) fn ask_successor(&mut self, again: bool, out: &mut Out) {
        let (keeps, renews) = (self.weak(Weakness::LeaseKeptOverTransfer), self.weak(Weakness::LeaseTakenUpAgain));
        let (Some(transfer), RoleState::Leader(leader)) = (&mut self.transfer, &mut self.role) else { return };
        let level = leader.progress.get(&transfer.to).is_some_and(|to| to.matched >= self.log.last_index());
        if !level || (transfer.asked && !again) {
            return;
        }
        transfer.asked = true;
        if !keeps {
            leader.lease_given_up = !renews;
            leader.lease_until = None;
        }
        out.push(Effect::Send { to: transfer.to, message: Message { term: self.term, body: Body::TimeoutNow } });
    }

    /// Gives up what took too long.
    pub(crate) fn on_transfer_timeout(&mut self, now: Time, out: &mut Out) {
        let Some(transfer) = self.transfer.take_if(|transfer| transfer.until <= now) else { return };
        if matches!(self.role, RoleState::Leader(_)) {
            sometimes!("raft: a transfer takes too long, and the leader goes on");
            if let Some(id) = transfer.id {
                self.refuse(id, Refusal::Transfer(TransferError::TimedOut(transfer.to)), out);
            }
            // What made us hand over of our own accord.
            let removed = !self.is_voter() && self.log.membership_index() <= self.committed;
            if self.is_stalled(now) || removed {
                return self.step_down(now, out);
            }
            self.maybe_leave_joint(now, out);
        } else if let Some(id) = transfer.id {
            sometimes!("raft: how a transfer ended is not known in time");
            self.emit(Event::Unknown { id }, out);
        }
    }

    /// Tells how a transfer ended, once that is known.
    pub(crate) fn conclude_transfer(&mut self, out: &mut Out) {
        let (leader, term) = (self.leader(), self.term);
        let Some(transfer) = self.transfer.take_if(|transfer| {
            // While we lead the term it began in, it goes on. If we stopped leading before anybody was asked, it is
            // over; after that, once a leader is known.
            term > transfer.term && (leader.is_some() || !transfer.asked)
                || term == transfer.term && leader.is_none() && !transfer.asked
        }) else {
            return;
        };
        let Some(id) = transfer.id else { return };
        match leader {
            Some(leader) if leader == self.config.id => {
                self.refuse(id, Refusal::Transfer(TransferError::TimedOut(transfer.to)), out);
            }
            Some(leader) if leader == transfer.to || transfer.chosen => {
                self.emit(Event::Transferred { id, term, leader }, out);
            }
            leader => self.refuse(id, Refusal::NotLeader(leader), out),
        }
    }

    fn begin_transfer(&mut self, id: Option<RequestId>, to: NodeId, chosen: bool, until: Time, out: &mut Out) {
        self.transfer = Some(Transfer { id, to, chosen, term: self.term, until, asked: false });
        self.ask_successor(false, out);
    }

    /// Whether a member may take over.
    fn checked(&self, now: Time, to: NodeId) -> Result<NodeId, TransferError> {
        let members = self.log.membership();
        if to == self.config.id {
            Err(TransferError::Leads(to))
        } else if members.voters().contains(&to) {
            if !self.was_heard(now, to) {
                Err(TransferError::Silent(to))
            } else if !self.is_whole(to) {
                Err(TransferError::Incomplete(to))
            } else {
                Ok(to)
            }
        } else if members.members().contains_key(&to) {
            Err(TransferError::Learner(to))
        } else {
            Err(TransferError::Unknown(to))
        }
    }

    /// The voter that suits best: of those that were heard lately, the one that holds most.
    fn successor(&self, now: Time) -> Option<NodeId> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let others = self.log.membership().voters().iter().copied().filter(|id| *id != self.config.id);
        let fit = others.filter(|id| self.was_heard(now, *id) && self.is_whole(*id));
        let fit = fit.filter_map(|id| Some((id, leader.progress.get(&id)?)));
        fit.max_by_key(|(id, progress)| (progress.matched, progress.heard_at, core::cmp::Reverse(*id)))
            .map(|(id, _)| id)
    }

    /// Whether a member lost nothing, as far as we know. Who owes entries would not campaign; whose state is lost would lead
    /// without being able to answer anybody.
    fn is_whole(&self, id: NodeId) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.progress.get(&id).is_some_and(|progress| {
            let held = progress.matched.and_then(|matched| self.log.id_at(matched));
            !progress.state_lost && progress.owed <= held
        })
    }

    /// Whether we, as the leader, heard a member within an election timeout.
    pub(crate) fn was_heard(&self, now: Time, id: NodeId) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.progress.get(&id).is_some_and(|progress| progress.heard_at + self.config.election_timeout > now)
    }
}
