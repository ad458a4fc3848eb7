//! Linearizable reads: as of which index may one be served (§6.4 of the dissertation).
//!
//! A leader answers from its lease, or after a round that began behind the read has been acknowledged by a majority; all
//! reads that arrive while one round is under way share the next. A follower asks its leader, under a token that no
//! other attempt ever has: an answer to an earlier attempt may be older than the read.

use alloc::collections::VecDeque;
use core::time::Duration;

use hezong_base::{Index, NodeId, RequestId, Time, sometimes};

use crate::node::{Out, RoleState};
use crate::{Body, Config, Event, Raft, ReadLevel, Refusal, Weakness};

/// Who wants to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reader {
    /// A client of ours.
    Local(RequestId),
    /// A client of that follower, under that token.
    Remote(NodeId, u64),
}

/// Reads that wait at the leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// In order of arrival, each with the first round that began behind it.
    waiting: VecDeque<(u64, Reader)>,
}

impl Reads {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The round for which the first of them waits.
    pub(crate) fn oldest_round(&self) -> Option<u64> {
        self.waiting.front().map(|(round, _)| *round)
    }
}

/// Reads that wait at a follower.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded {
    /// In order of arrival.
    waiting: VecDeque<(RequestId, Time)>,
    /// The attempt under way.
    asked: Option<Attempt>,
}

/// One question to the leader, on behalf of all reads that had arrived.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    token: u64,
    sent_at: Time,
    /// How many of the reads waiting it covers: the first so many.
    covers: usize,
}

impl Forwarded {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the next attempt is due, or the oldest read has waited long enough.
    pub(crate) fn deadline(&self, config: &Config) -> Option<Time> {
        let expires = self.waiting.front().map(|(_, at)| *at + config.election_timeout)?;
        Some(self.asked.map_or(expires, |asked| expires.min(asked.sent_at + retry_after(config))))
    }
}

/// When a question counts as lost: long enough for any answer that is on its way, short enough for several attempts
/// before the reader gives up.
fn retry_after(config: &Config) -> Duration {
    config.election_timeout / 3
}

impl Raft {
    /// A client of the leader wants to read.
    pub(crate) fn on_leader_read(&mut self, now: Time, id: RequestId, level: ReadLevel, out: &mut Out) {
        let own_term = self.has_own_term();
        let RoleState::Leader(leader) = &mut self.role else { return };
        match level {
            ReadLevel::Lease if own_term && leader.lease_until.is_some_and(|until| until > now) => {
                self.emit(Event::Readable { id, index: self.committed }, out);
            }
            // Without a lease, the round that a stricter read takes gives the answer too.
            ReadLevel::Lease | ReadLevel::Quorum => {
                sometimes!("raft: a read finds no lease", own_term && level == ReadLevel::Lease);
                self.wait_for_round(now, Reader::Local(id), out);
            }
        }
    }

    /// A follower asks on behalf of its clients.
    pub(crate) fn on_read_index(&mut self, now: Time, from: NodeId, token: u64, out: &mut Out) {
        match self.role {
            RoleState::Leader(_) => self.wait_for_round(now, Reader::Remote(from, token), out),
            RoleState::Follower(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) => {
                sometimes!("raft: a read is forwarded to who leads no more");
                self.reply(from, Body::ReadIndexAck { token, index: None }, None, out);
            }
        }
    }

    /// Whether the leader has committed an entry of its own term, and thereby knows all that is committed (§8).
    fn has_own_term(&self) -> bool {
        matches!(&self.role, RoleState::Leader(leader) if Some(leader.opened) <= self.committed)
            || self.weak(Weakness::ReadWithoutOwnTerm)
    }

    fn wait_for_round(&mut self, now: Time, reader: Reader, out: &mut Out) {
        if self.weak(Weakness::ReadWithoutRound) && self.has_own_term() {
            return self.answer(reader, Ok(self.committed), out);
        }
        let RoleState::Leader(leader) = &mut self.role else { return };
        if leader.reads.len() >= self.config.reads_max {
            sometimes!("raft: too many reads wait at the leader");
            return self.answer(reader, Err(Refusal::Overloaded), out);
        }
        leader.reads.waiting.push_back((leader.round + 1, reader));
        // While a round is under way, reads gather behind it for the next one.
        if leader.confirmed == Some(leader.round) {
            self.start_round(now, out);
        }
    }

    /// A round was confirmed, or our term opened: serves whatever waited for no more than that.
    pub(crate) fn release_reads(&mut self, now: Time, out: &mut Out) {
        if !self.has_own_term() {
            return;
        }
        let index = self.committed;
        loop {
            let RoleState::Leader(leader) = &mut self.role else { return };
            let confirmed = leader.confirmed;
            let Some((_, reader)) = leader.reads.waiting.pop_front_if(|(round, _)| Some(*round) <= confirmed) else {
                // Those that gathered meanwhile get a round of their own.
                let wanted = leader.reads.waiting.front().is_some_and(|(round, _)| *round > leader.round);
                if wanted && confirmed == Some(leader.round) {
                    self.start_round(now, out);
                }
                return;
            };
            self.answer(reader, Ok(index), out);
        }
    }

    /// We lead no more: whoever waited for our word gets none.
    pub(crate) fn refuse_leader_reads(&mut self, reads: Reads, leader: Option<NodeId>, out: &mut Out) {
        sometimes!("raft: reads waited for a leader that stops", reads.len() > 0);
        for (_, reader) in reads.waiting {
            self.answer(reader, Err(Refusal::NotLeader(leader)), out);
        }
    }

    fn answer(&mut self, reader: Reader, answer: Result<Option<Index>, Refusal>, out: &mut Out) {
        match (reader, answer) {
            (Reader::Local(id), Ok(index)) => self.emit(Event::Readable { id, index }, out),
            (Reader::Local(id), Err(refusal)) => self.refuse(id, refusal, out),
            (Reader::Remote(to, token), answer) => {
                self.reply(to, Body::ReadIndexAck { token, index: answer.ok().flatten() }, None, out);
            }
        }
    }

    /// A client of a follower wants to read.
    pub(crate) fn on_follower_read(&mut self, now: Time, id: RequestId, level: ReadLevel, out: &mut Out) {
        let leader = self.leader();
        let RoleState::Follower(follower) = &mut self.role else { return };
        match level {
            ReadLevel::Quorum if leader.is_some() => {
                if follower.reads.len() >= self.config.reads_max {
                    sometimes!("raft: too many reads wait at a follower");
                    return self.refuse(id, Refusal::Overloaded, out);
                }
                follower.reads.waiting.push_back((id, now));
                if follower.reads.asked.is_none() {
                    self.ask_leader(now, out);
                }
            }
            ReadLevel::Lease | ReadLevel::Quorum => self.refuse(id, Refusal::NotLeader(leader), out),
        }
    }

    /// Asks on behalf of all that wait, under a new token.
    fn ask_leader(&mut self, now: Time, out: &mut Out) {
        let reused = self.weak(Weakness::ReadTokenReused);
        let RoleState::Follower(follower) = &mut self.role else { return };
        let Some(to) = follower.leader else { return };
        let token = if reused { 0 } else { self.next_token };
        self.next_token = self.next_token.wrapping_add(1);
        follower.reads.asked = Some(Attempt { token, sent_at: now, covers: follower.reads.len() });
        self.reply(to, Body::ReadIndex { token }, None, out);
    }

    /// The leader's word. It holds whatever the terms: the leader was confirmed after we asked.
    pub(crate) fn on_read_index_ack(
        &mut self,
        now: Time,
        _from: NodeId,
        token: u64,
        index: Option<Index>,
        out: &mut Out,
    ) {
        let leader = self.leader();
        let RoleState::Follower(follower) = &mut self.role else { return };
        let Some(asked) = follower.reads.asked.take_if(|asked| asked.token == token) else {
            sometimes!("raft: an answer comes to a question that another has replaced");
            return;
        };
        let rest = follower.reads.waiting.split_off(asked.covers);
        let served = core::mem::replace(&mut follower.reads.waiting, rest);
        for (id, _) in served {
            match index {
                Some(_) => self.emit(Event::Readable { id, index }, out),
                None => self.refuse(id, Refusal::NotLeader(leader), out),
            }
        }
        let waiting = matches!(&self.role, RoleState::Follower(follower) if follower.reads.len() > 0);
        if waiting {
            self.ask_leader(now, out);
        }
    }

    /// Gives up reads that waited for an election timeout, and asks again for the others if there was no answer.
    pub(crate) fn on_reads_timeout(&mut self, now: Time, out: &mut Out) {
        let leader = self.leader();
        loop {
            let RoleState::Follower(follower) = &mut self.role else { return };
            let timeout = self.config.election_timeout;
            let Some((id, _)) = follower.reads.waiting.pop_front_if(|(_, at)| *at + timeout <= now) else { break };
            sometimes!("raft: a forwarded read waits too long");
            if let Some(asked) = &mut follower.reads.asked {
                asked.covers = asked.covers.saturating_sub(1);
            }
            self.refuse(id, Refusal::NotLeader(leader), out);
        }
        let RoleState::Follower(follower) = &mut self.role else { return };
        if follower.reads.waiting.is_empty() {
            follower.reads.asked = None;
        } else if follower.reads.asked.is_none_or(|asked| asked.sent_at + retry_after(&self.config) <= now) {
            self.ask_leader(now, out);
        }
    }

    /// Our leader is ours no more: its word would not come.
    pub(crate) fn refuse_reads(&mut self, reads: Forwarded, leader: Option<NodeId>, out: &mut Out) {
        for (id, _) in reads.waiting {
            self.refuse(id, Refusal::NotLeader(leader), out);
        }
    }
}
