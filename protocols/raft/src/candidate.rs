//! Elections: asking first whether one would be elected, then for the votes, and giving one's own (§5.2, §5.4.1, §9.6).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use hezong_base::quorum::Tally;
use hezong_base::{LogId, NodeId, Term, Time, sometimes};

use crate::node::{Out, RoleState};
use crate::quorums::Quorums;
use crate::{Body, Message, Raft, Weakness};

/// The answers to one campaign, or to the question before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ballot {
    /// Who said yes and who said no. Our own vote is in it only once it is on disk.
    pub(crate) votes: BTreeMap<NodeId, bool>,
}

impl Raft {
    /// No leader was heard for long enough: ask whether we would be elected.
    pub(crate) fn on_election_timeout(&mut self, now: Time, out: &mut Out) {
        // A node whose disk stalls would lead without ever acknowledging its own entries. A node that is certainly no
        // member any more has nothing to win.
        if self.is_stalled(now) || !self.may_campaign() {
            sometimes!("raft: no campaign while the disk stalls", self.is_stalled(now));
            self.become_follower(now, None, out);
            return self.wait_for_leader(now);
        }
        // Our own vote is bound by the leases we granted like any other.
        if let Some(until) = self.promised_until.filter(|until| *until > now && self.is_bound(now)) {
            sometimes!("raft: a campaign waits for a lease granted to another");
            self.become_follower(now, None, out);
            self.election_at = until;
            return;
        }
        if self.is_sole_voter() {
            return self.campaign(now, false, out);
        }
        self.become_follower(now, None, out);
        self.wait_for_leader(now);
        self.role = RoleState::PreCandidate(Ballot { votes: BTreeMap::from([(self.config.id, true)]) });
        let message = Message { term: self.term.next(), body: Body::RequestPreVote { last: self.log.last() } };
        self.ask_voters(&message, out);
    }

    /// A sole voter need not wait for anybody, unless it may have granted a lease before it restarted.
    pub(crate) fn campaign_if_alone(&mut self, now: Time, out: &mut Out) {
        if self.is_sole_voter() && self.debt().is_none() {
            self.election_at = self.promised_until.unwrap_or(now);
            if self.promised_until.is_none() {
                self.campaign(now, false, out);
            }
        }
    }

    /// Enters a new term and asks for its votes; `transfer` when the leader wishes it.
    pub(crate) fn campaign(&mut self, now: Time, transfer: bool, out: &mut Out) {
        self.become_follower(now, None, out);
        self.wait_for_leader(now);
        self.set_term(now, self.term.next(), Some(self.config.id), out);
        self.role = RoleState::Candidate(Ballot::default());
        // The requests rest on the term's write: a candidate that forgot it in a crash could lead it twice.
        let message = Message { term: self.term, body: Body::RequestVote { last: self.log.last(), transfer } };
        self.ask_voters(&message, out);
        if self.weak(Weakness::ForgottenTerm) {
            self.count_own_vote(now, out);
        }
    }

    fn ask_voters(&mut self, message: &Message, out: &mut Out) {
        let rests_on = if self.weak(Weakness::ForgottenTerm) { None } else { self.term_rests_on() };
        let voters: Vec<_> = self.quorums().everybody().collect();
        for to in voters.into_iter().filter(|to| *to != self.config.id) {
            self.writes.send(rests_on, to, message.clone(), out);
        }
    }

    /// Our own vote is on disk: it counts.
    pub(crate) fn count_own_vote(&mut self, now: Time, out: &mut Out) {
        self.on_vote(now, self.config.id, true, out);
    }

    /// "Would you vote for me?" Yes, if the term would be new, the log is up to date, and we miss our leader too.
    pub(crate) fn on_request_pre_vote(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        last: Option<LogId>,
        out: &mut Out,
    ) {
        let unbound = !self.is_led(now) && !self.is_bound(now) && !self.is_removed();
        let up_to_date = last >= self.answers_for() || self.weak(Weakness::VoteForStaleLog);
        let granted = term > self.term && up_to_date && unbound;
        if unbound && last < self.answers_for() && !self.may_campaign() {
            sometimes!("raft: who may not campaign is counted on");
            self.counted_on = true;
            self.wait_for_leader(now);
        }
        if granted {
            // Carries the term asked about, which is not ours; nothing is promised, so it rests on nothing.
            self.writes.send(None, from, Message { term, body: Body::PreVote { granted } }, out);
        } else {
            self.reply(from, Body::PreVote { granted }, None, out);
        }
    }

    /// Whether a leader is known to live: we are one (else check-quorum would have ended it), or heard one lately.
    pub(crate) fn is_led(&self, now: Time) -> bool {
        let led = match &self.role {
            RoleState::Leader(_) => true,
            RoleState::Follower(follower) => {
                let heard = follower.heard_at.filter(|_| follower.leader.is_some());
                heard.is_some_and(|at| at + self.config.election_timeout > now)
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => false,
        };
        led && !self.weak(Weakness::VoteDuringLease)
    }

    /// An answer to our question.
    pub(crate) fn on_pre_vote(&mut self, now: Time, from: NodeId, term: Term, granted: bool, out: &mut Out) {
        // A yes names the term we would campaign in; another one answers an earlier question.
        if granted && term != self.term.next() {
            sometimes!("raft: a prior vote answers an earlier question");
            return;
        }
        let RoleState::PreCandidate(ballot) = &mut self.role else { return };
        ballot.votes.insert(from, granted);
        match Quorums::of(&self.log, self.committed, &self.config).tally(|id| ballot.votes.get(&id).copied()) {
            Tally::Won => self.campaign(now, false, out),
            Tally::Lost => self.become_follower(now, None, out),
            Tally::Open => {}
        }
    }

    /// "Vote for me." (figure 2, `RequestVote`)
    pub(crate) fn on_request_vote(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        last: Option<LogId>,
        transfer: bool,
        out: &mut Out,
    ) {
        if term < self.term {
            return self.reply(from, Body::Vote { granted: false }, None, out);
        }
        // A leader we granted a lease to may be serving reads from memory: not even its term is taken over. Dropped, not
        // refused: the candidate asks again after its timeout, when the lease has passed. Leases of terms before that of
        // a transfer are over, whomever we granted them to (see `transfer.rs`).
        let bound = self.is_bound(now) && !(transfer && term > self.term) || self.is_removed();
        if bound && (term > self.term || self.vote != Some(from)) {
            sometimes!("raft: a vote is kept back for a lease");
            return;
        }
        sometimes!("raft: a lease is disregarded for a transfer", transfer && self.is_bound(now));
        let unspent = term > self.term || self.vote.is_none() || self.weak(Weakness::DoubleVote);
        let up_to_date = last >= self.answers_for() || self.weak(Weakness::VoteForStaleLog);
        let granted = up_to_date && (unspent || self.vote == Some(from));
        sometimes!("raft: a vote is given again to whom it was given", granted && !unspent);
        sometimes!("raft: a vote is refused for a shorter log", unspent && !up_to_date);
        let vote = if granted { Some(from) } else { None };
        if term > self.term {
            self.set_term(now, term, vote, out);
            self.become_follower(now, None, out);
        } else if granted && self.vote != vote {
            self.set_term(now, term, vote, out);
        }
        if granted {
            // Whoever gave its vote away gives the winner time to be heard.
            self.wait_for_leader(now);
        }
        if self.weak(Weakness::VoteBeforeStored) {
            let message = Message { term: self.term, body: Body::Vote { granted } };
            return self.writes.send(None, from, message, out);
        }
        self.reply(from, Body::Vote { granted }, None, out);
    }

    /// An answer to our campaign.
    pub(crate) fn on_vote(&mut self, now: Time, from: NodeId, granted: bool, out: &mut Out) {
        let RoleState::Candidate(ballot) = &mut self.role else { return };
        ballot.votes.insert(from, granted);
        match Quorums::of(&self.log, self.committed, &self.config).tally(|id| ballot.votes.get(&id).copied()) {
            Tally::Won => self.become_leader(now, out),
            // Waits out its timer: somebody else may win this term yet.
            Tally::Lost => {
                sometimes!("raft: an election is lost");
                self.become_follower(now, None, out);
            }
            Tally::Open => {}
        }
    }
}
