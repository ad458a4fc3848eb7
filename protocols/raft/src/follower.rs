//! What a follower does with what its leader sends (figure 2, `AppendEntries`), and how it forwards reads.

use core::time::Duration;

use hezong_base::{Index, LogId, NodeId, Term, Time, sometimes};

use crate::node::{Out, RoleState};
use crate::reads::Forwarded;
use crate::{Body, Entries, Entry, Payload, Raft, Weakness};

/// What only a follower knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Follower {
    /// Whom we follow in this term; `None` until it is heard.
    pub(crate) leader: Option<NodeId>,
    /// When it was last heard.
    pub(crate) heard_at: Option<Time>,
    /// Reads that wait for its word.
    pub(crate) reads: Forwarded,
}

impl Raft {
    /// Entries from the leader.
    pub(crate) fn on_append(
        &mut self,
        now: Time,
        from: NodeId,
        previous: Option<LogId>,
        entries: Entries,
        committed: Option<Index>,
        out: &mut Out,
    ) {
        if let Some(reason) = self.nonsense_in(previous, &entries) {
            return self.drop_nonsense(from, reason, out);
        }
        if !self.hear_leader(now, from, out) {
            return;
        }
        if let Some(previous) = previous.filter(|previous| !self.holds(*previous)) {
            let hint = self.log.floor(previous);
            return self.reply(from, Body::Diverged { previous, hint }, None, out);
        }
        let vouched = entries.last().map(|entry| entry.id).or(previous).map(|id| id.index);
        // What we hold already is not written again: a late duplicate must not cut off what came after it.
        let known = entries.iter().take_while(|entry| self.log.agrees(Some(entry.id))).count();
        sometimes!("raft: of an append only the end is new", known > 0 && known < entries.len());
        let entries = entries.slice(known..);
        if let Some(first) = entries.first().map(|entry| entry.id.index) {
            if Some(first) <= self.committed {
                return self.drop_nonsense(from, "would overwrite what is committed", out);
            }
            if Some(first) <= self.log.last_index() {
                sometimes!("raft: a conflict is cut off");
                self.truncate(now, first, out);
            }
            self.append(now, entries, out);
        } else if self.weak(Weakness::TruncateAcknowledged) && self.committed.max(vouched) < self.log.last_index() {
            self.truncate(now, Index::after(self.committed.max(vouched)), out);
        }
        // Beyond what this message vouches for, our log may still differ from the leader's.
        let vouched_for = if self.weak(Weakness::CommitUnvouched) { self.log.last_index() } else { vouched };
        self.committed = self.committed.max(committed.min(vouched_for));
        self.reply(from, Body::Appended { matched: vouched }, self.entry_rests_on(vouched), out);
    }

    /// Whether our log agrees with one that holds `previous`.
    fn holds(&self, previous: LogId) -> bool {
        let careless = self.weak(Weakness::AppendWithoutCheck) && Some(previous.index) <= self.log.last_index();
        self.log.agrees(Some(previous)) || careless
    }

    /// What no correct leader of our term would send.
    fn nonsense_in(&self, previous: Option<LogId>, entries: &[Entry]) -> Option<&'static str> {
        let mut last = previous;
        let mut time = Duration::ZERO;
        for entry in entries {
            let follows = entry.id.index == Index::after(last.map(|id| id.index));
            if !follows || Some(entry.id.term) < last.map(|id| id.term) || entry.time < time {
                return Some("entries that do not follow each other");
            }
            if matches!(&entry.payload, Payload::Membership(membership) if !membership.is_possible()) {
                return Some("members of numbers that nobody is given");
            }
            (last, time) = (Some(entry.id), entry.time);
        }
        if last.is_some_and(|last| last.term > self.term) {
            return Some("entries beyond the sender's term");
        }
        None
    }

    /// "I lead."
    pub(crate) fn on_heartbeat(
        &mut self,
        now: Time,
        from: NodeId,
        round: u64,
        lease: Duration,
        committed: Option<Index>,
        out: &mut Out,
    ) {
        // What the leader believes us to hold, it may believe from before our log was damaged.
        let committed = committed.filter(|_| self.owed.is_none());
        if committed > self.log.last_index() {
            return self.drop_nonsense(from, "a commit of entries we never acknowledged", out);
        }
        if !self.hear_leader(now, from, out) {
            return;
        }
        self.committed = self.committed.max(committed);
        // However long a lease is asked for, we bind ourselves for no longer than we would wait for a leader anyway; nor
        // for longer than our own configuration says, which is all that binds us if we restart and forget this one.
        let lease = lease.min(self.config.election_timeout).min(self.config.lease);
        if !lease.is_zero() {
            self.promised_until = self.promised_until.max(Some(now + lease));
        }
        self.reply(from, Body::HeartbeatAck { round, lease }, None, out);
        self.ask_for_state(from, out);
        self.report_loss(from, out);
    }

    /// Follows the leader of our term that was just heard. False if there cannot be such a leader.
    pub(crate) fn hear_leader(&mut self, now: Time, from: NodeId, out: &mut Out) -> bool {
        if self.term == Term(0) {
            self.drop_nonsense(from, "leads the term in which nobody ever leads", out);
            return false;
        }
        match self.leader() {
            Some(leader) if leader == from => {}
            // Election Safety (§5.2) forbids it; should it happen all the same, the first one stays.
            Some(_) => {
                self.drop_nonsense(from, "a second leader of one term", out);
                return false;
            }
            None => {
                let campaigns = matches!(self.role, RoleState::Candidate(_));
                sometimes!("raft: a candidate finds a leader of its own term", campaigns);
                self.become_follower(now, Some(from), out);
            }
        }
        self.wait_for_leader(now);
        if let RoleState::Follower(follower) = &mut self.role {
            follower.heard_at = Some(now);
        }
        true
    }
}
