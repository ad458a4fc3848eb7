//! Fast leader election: who looks for a leader votes for the best it has heard of, until a majority agrees.
//!
//! It only proposes a leader. That the leader has what was committed is checked by discovery, so that a message of an earlier
//! election which comes late can cost time and nothing else.

use alloc::collections::BTreeMap;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use hezong_base::{NodeId, Time};

use crate::node::{Out, State, Zab};
use crate::{Event, Log, Message, Refusal, Round, Standing, Vote, Weakness};

/// The data of a node that looks for a leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looking {
    /// Our vote. `None`: we observe.
    pub(crate) vote: Option<Vote>,
    /// The best vote of each voter in this round, ours too.
    received: BTreeMap<NodeId, Vote>,
    /// Whom voters follow that do not look any more, and since which round. Whatever the round, unlike votes.
    settled: BTreeMap<NodeId, (Round, NodeId)>,
    /// When the vote stands, since a majority shares it.
    finalize_at: Option<Time>,
    /// When the vote is said again.
    notify_at: Time,
    /// How long until then. Doubles while nobody is heard.
    pause: Duration,
    /// The vote is to be said as soon as the disk has caught up.
    owed: bool,
}

impl Looking {
    pub(crate) fn deadline(&self) -> Option<Time> {
        Some(self.finalize_at.map_or(self.notify_at, |at| at.min(self.notify_at)))
    }

    pub(crate) fn fingerprint(&self, mut into: &mut dyn Hasher) {
        let Self { vote, received, settled, finalize_at, notify_at: _, pause: _, owed } = self;
        (0_u8, vote, received, settled, finalize_at.is_some(), owed).hash(&mut into);
    }
}

impl Zab {
    /// Gives up whatever it was doing, and looks for a leader.
    pub(crate) fn look(&mut self, now: Time, out: &mut Out) {
        match &self.state {
            State::Following(following) => {
                self.writes.send(None, following.link.peer, Message::End(following.link.id), out);
            }
            State::Leading(leading) => {
                for learner in leading.learners.values() {
                    self.writes.send(None, learner.link.peer, Message::End(learner.link.id), out);
                }
            }
            State::Looking(_) => {}
        }
        if !self.weak(Weakness::Zk4712) {
            self.queue = Log::default();
        }
        self.round = self.round.next();
        let vote = self.own_vote();
        let received = vote.map(|vote| (self.config.id, vote)).into_iter().collect();
        let pause = self.config.notify_interval_min;
        self.state = State::Looking(Looking { vote, received, pause, ..Looking::default() });
        self.writes.emit(None, Event::Standing(Standing::Looking), out);
        let waiting = core::mem::take(&mut self.waiting);
        for id in waiting.proposed.into_values().chain(waiting.asked.into_keys()) {
            self.writes.emit(None, Event::Unknown { id }, out);
        }
        for id in waiting.syncs {
            self.writes.emit(None, Event::Refused { id, refusal: Refusal::NoLeader }, out);
        }
        self.notify_all(now, out);
        self.count_votes(now);
    }

    /// The vote with which an election begins: for ourselves.
    fn own_vote(&self) -> Option<Vote> {
        let vote = Vote { epoch: self.current, zxid: self.log.last(), leader: self.config.id };
        self.config.is_voter().then_some(vote)
    }

    fn better(&self, one: Vote, other: Vote) -> Vote {
        if self.weak(Weakness::OldestHistoryLeads) {
            return if one.leader > other.leader { one } else { other };
        }
        one.max(other)
    }

    /// Somebody looks for a leader.
    pub(crate) fn on_looking(&mut self, now: Time, from: NodeId, round: Round, vote: Option<Vote>, out: &mut Out) {
        let leader = match &self.state {
            State::Looking(_) => return self.on_vote(now, from, round, vote, out),
            State::Following(following) => following.link.peer,
            State::Leading(_) => self.config.id,
        };
        self.writes.send(None, from, Message::Settled { round: self.round, leader }, out);
    }

    fn on_vote(&mut self, now: Time, from: NodeId, round: Round, vote: Option<Vote>, out: &mut Out) {
        let Some(theirs) = vote.filter(|vote| {
            let voters = &self.config.voters;
            voters.contains(&from) && voters.contains(&vote.leader)
        }) else {
            return;
        };
        let own = self.own_vote();
        let State::Looking(looking) = &mut self.state else { return };
        let Some(current) = looking.vote else { return };
        looking.pause = self.config.notify_interval_min;
        looking.notify_at = looking.notify_at.min(now.after(looking.pause));
        if round < self.round {
            // It is told of this round by our vote, and adopts it.
            return self.notify(now, from, out);
        }
        let State::Looking(looking) = &self.state else { return };
        let newer = round > self.round;
        let ours = own.filter(|_| newer).unwrap_or(current);
        let best = self.better(ours, theirs);
        // Votes only get better within a round: a worse one was overtaken on its way.
        let known = looking.received.get(&from).filter(|_| !newer).map_or(theirs, |known| self.better(*known, theirs));
        let State::Looking(looking) = &mut self.state else { return };
        if newer {
            self.round = round;
            looking.received.clear();
        }
        if newer || best != current {
            (looking.vote, looking.finalize_at) = (Some(best), None);
            looking.received.insert(self.config.id, best);
        }
        looking.received.insert(from, known);
        if newer || best != current {
            self.notify_all(now, out);
        }
        self.count_votes(now);
    }

    /// Waits a little once a majority shares our vote: a better one may be on its way.
    fn count_votes(&mut self, now: Time) {
        let majority = self.config.majority();
        let State::Looking(looking) = &mut self.state else { return };
        let shared = looking.received.values().filter(|vote| Some(**vote) == looking.vote).count();
        if shared >= majority {
            looking.finalize_at.get_or_insert(now.after(self.config.finalize_wait));
        } else {
            looking.finalize_at = None;
        }
    }

    /// Somebody does not look any more. Where a majority follows one leader, and that one says itself that it leads, we join
    /// them: without its own word, one that crashed would be followed for ever. Not while our disk is behind: we ask again
    /// when it has caught up.
    pub(crate) fn on_settled(&mut self, now: Time, from: NodeId, round: Round, leader: NodeId, out: &mut Out) {
        let (majority, voters) = (self.config.majority(), &self.config.voters);
        let State::Looking(looking) = &mut self.state else { return };
        if !voters.contains(&from) || !voters.contains(&leader) || leader == self.config.id {
            return;
        }
        looking.settled.insert(from, (round, leader));
        let leads = looking.settled.get(&leader).filter(|(_, whom)| *whom == leader);
        let Some((its_round, _)) = leads.copied() else { return };
        let follows = |voter: &NodeId| match looking.settled.get(voter) {
            Some((_, whom)) => *whom == leader,
            // Those that still look count by their votes of the same election.
            None => its_round == self.round && looking.received.get(voter).is_some_and(|vote| vote.leader == leader),
        };
        if voters.iter().filter(|voter| follows(voter)).count() >= majority && self.writes.last_outstanding().is_none()
        {
            self.round = its_round;
            self.follow(now, leader, out);
        }
    }

    pub(crate) fn on_looking_timeout(&mut self, now: Time, out: &mut Out) {
        let longest = self.config.notify_interval_max;
        let behind = self.writes.last_outstanding().is_some();
        let State::Looking(looking) = &mut self.state else { return };
        if behind && looking.finalize_at.is_some_and(|at| at <= now) {
            looking.finalize_at = Some(now.after(self.config.finalize_wait));
        }
        if looking.finalize_at.is_some_and(|at| at <= now)
            && let Some(vote) = looking.vote
        {
            return if vote.leader == self.config.id {
                self.lead(now, out)
            } else {
                self.follow(now, vote.leader, out)
            };
        }
        if looking.notify_at <= now {
            looking.pause = looking.pause.saturating_mul(2).min(longest);
            self.notify_all(now, out);
        }
    }

    /// Says our vote to all voters, unless the disk has to catch up first.
    fn notify_all(&mut self, now: Time, out: &mut Out) {
        let behind = self.writes.last_outstanding().is_some();
        let State::Looking(looking) = &mut self.state else { return };
        looking.notify_at = now.after(looking.pause);
        looking.owed = behind;
        if behind {
            return;
        }
        let message = Message::Looking { round: self.round, vote: looking.vote };
        for to in self.config.voters.iter().copied().filter(|to| *to != self.config.id) {
            self.writes.send(None, to, message.clone(), out);
        }
    }

    /// The same to one, who will ask again if the disk has to catch up first.
    fn notify(&mut self, now: Time, to: NodeId, out: &mut Out) {
        let State::Looking(looking) = &mut self.state else { return };
        if self.writes.last_outstanding().is_none() {
            self.writes.send(None, to, Message::Looking { round: self.round, vote: looking.vote }, out);
        } else {
            looking.notify_at = looking.notify_at.min(now.after(looking.pause));
        }
    }

    pub(crate) fn notify_owed(&mut self, now: Time, out: &mut Out) {
        if matches!(&self.state, State::Looking(looking) if looking.owed) {
            self.notify_all(now, out);
        }
    }
}
