//! An established leader: what is proposed, acknowledged and committed, and whether it still leads.

use alloc::vec::Vec;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};

use crate::leader::{Learner, Stage};
use crate::log::size;
use crate::node::{Out, State, Zab};
use crate::{Body, Entry, Epoch, Event, Refusal, SessionId, Weakness, Zxid};

/// A `sync` that waits: for the proposals before it, and for a majority to say that we still lead.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Barrier {
    /// A majority must have answered this ping.
    round: u64,
    /// This must be committed: what was proposed before, since its user may have asked for that.
    through: Option<Zxid>,
    /// Whose it is; `None`: our own user's.
    asker: Option<(NodeId, SessionId)>,
    id: RequestId,
}

impl Zab {
    /// A learner's user wants something broadcast.
    pub(crate) fn on_forwarded(&mut self, now: Time, from: NodeId, id: RequestId, data: Bytes, out: &mut Out) {
        let Some(session) = self.session_of(from) else { return };
        let asked = if data.len() > self.config.data_bytes_max {
            Err(Refusal::TooLong)
        } else {
            self.propose(now, Some((from, session)), id, data, out)
        };
        self.refuse(from, id, asked, out);
    }

    /// A learner's user wants to know that it has everything.
    pub(crate) fn on_forwarded_sync(&mut self, from: NodeId, id: RequestId, out: &mut Out) {
        let Some(session) = self.session_of(from) else { return };
        let asked = self.sync(Some((from, session)), id, out);
        self.refuse(from, id, asked, out);
    }

    fn session_of(&self, learner: NodeId) -> Option<SessionId> {
        let State::Leading(leading) = &self.state else { return None };
        leading.learners.get(&learner).map(|learner| learner.link.id)
    }

    fn refuse(&mut self, to: NodeId, id: RequestId, asked: Result<(), Refusal>, out: &mut Out) {
        let (Err(refusal), State::Leading(leading)) = (asked, &mut self.state) else { return };
        if let Some(learner) = leading.learners.get_mut(&to) {
            learner.link.say(&mut self.writes, None, Body::Refused { id, refusal }, out);
        }
    }

    /// Proposes (l.3.1). What we send does not wait for our own disk; our own acknowledgement does.
    pub(crate) fn propose(
        &mut self,
        now: Time,
        asker: Option<(NodeId, SessionId)>,
        id: RequestId,
        data: Bytes,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let State::Leading(leading) = &self.state else { return Err(Refusal::NoLeader) };
        let Some(epoch) = leading.epoch.filter(|_| leading.is_established()) else { return Err(Refusal::NoLeader) };
        let Some(zxid) = self.next_zxid(epoch) else {
            // The epoch is used up; the next one has all its counters.
            self.look(now, out);
            return Err(Refusal::NoLeader);
        };
        let entry = Entry { zxid, data };
        if self.is_flooded() || self.log.bytes() + size(&entry) > self.config.history_bytes_max {
            return Err(Refusal::Overloaded);
        }
        self.append(now, entry.clone(), out);
        if asker.is_none() {
            self.waiting.proposed.insert(zxid, id);
        }
        let observer = asker.filter(|(node, _)| !self.counts(*node));
        let is_voter = |id: &NodeId| self.config.voters.contains(id) || self.config.weak(Weakness::ObserverCounts);
        let State::Leading(leading) = &mut self.state else { return Ok(()) };
        if let Some((node, session)) = observer {
            leading.askers.insert(zxid, (node, session, id));
        }
        for (to, learner) in &mut leading.learners {
            if is_voter(to) && learner.stage >= Stage::Given {
                let request = asker.filter(|(node, _)| node == to).map(|_| id);
                let body = Body::Proposal { entry: entry.clone(), request };
                learner.link.say(&mut self.writes, None, body, out);
            }
        }
        self.maybe_commit(out);
        Ok(())
    }

    /// The place behind the last one, if our epoch has one.
    fn next_zxid(&self, epoch: Epoch) -> Option<Zxid> {
        match self.log.last().filter(|last| last.epoch >= epoch) {
            None => Some(Zxid { epoch, counter: 1 }),
            Some(last) if last.counter < self.config.counter_max => {
                Some(Zxid { epoch: last.epoch, counter: last.counter + 1 })
            }
            Some(last) if self.weak(Weakness::RollOver) => last.epoch.next().map(|epoch| Zxid { epoch, counter: 1 }),
            Some(_) => None,
        }
    }

    /// A learner has stored what was proposed, and all before it. What it stores of the history counts only once it has
    /// acknowledged that as a whole; that it says so earlier is no harm.
    pub(crate) fn on_ack(&mut self, now: Time, from: NodeId, zxid: Zxid, out: &mut Out) {
        let last = self.log.last();
        let early_is_breach = self.weak(Weakness::Zk4685);
        let State::Leading(leading) = &mut self.state else { return };
        let Some(learner) = leading.learners.get_mut(&from) else { return };
        if Some(zxid) > last {
            return self.dismiss(from, out);
        }
        if learner.stage == Stage::Given && early_is_breach {
            return self.look(now, out);
        }
        learner.acked = learner.acked.max(Some(zxid));
        self.maybe_commit(out);
    }

    /// Commits what a majority has stored, in the order of zxids (l.3.2).
    pub(crate) fn maybe_commit(&mut self, out: &mut Out) {
        let own = if self.weak(Weakness::ProposalAckBeforeStored) { self.log.last() } else { self.stored() };
        let acked = |learner: &Learner| learner.acked.filter(|_| learner.stage >= Stage::Acknowledged);
        let reached = self.reached(own, acked);
        let State::Leading(leading) = &mut self.state else { return };
        if !leading.is_established() || reached.flatten() <= self.committed {
            return;
        }
        let entries = self.log.after(self.committed).take_while(|entry| Some(entry.zxid) <= reached.flatten());
        for entry in entries {
            let asker = leading.askers.remove(&entry.zxid);
            for (to, learner) in &mut leading.learners {
                let voter = self.config.voters.contains(to) || self.config.weak(Weakness::ObserverCounts);
                let body = if voter && learner.stage == Stage::Serving {
                    Body::Commit(entry.zxid)
                } else if !voter && learner.stage >= Stage::Given {
                    let request = asker.filter(|(node, session, _)| (*node, *session) == (*to, learner.link.id));
                    Body::Inform { entry: entry.clone(), request: request.map(|(_, _, id)| id) }
                } else {
                    continue;
                };
                learner.link.say(&mut self.writes, None, body, out);
            }
        }
        self.deliver_through(reached.flatten(), out);
        self.release(out);
    }

    /// The most that a majority has reached.
    fn reached<T: Ord + Copy>(&self, own: T, theirs: impl Fn(&Learner) -> T) -> Option<T> {
        let State::Leading(leading) = &self.state else { return None };
        let theirs = leading.learners.iter().filter(|(id, _)| self.counts(**id)).map(|(_, learner)| theirs(learner));
        let mut reached = theirs.chain([own]).collect::<Vec<_>>();
        reached.sort_unstable_by(|one, other| other.cmp(one));
        reached.get(self.config.majority() - 1).copied()
    }

    /// Takes in a `sync`.
    pub(crate) fn sync(
        &mut self,
        asker: Option<(NodeId, SessionId)>,
        id: RequestId,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        let unconfirmed = self.weak(Weakness::SyncUnconfirmed);
        let through = self.log.last();
        let State::Leading(leading) = &mut self.state else { return Err(Refusal::NoLeader) };
        if !leading.is_established() {
            return Err(Refusal::NoLeader);
        }
        if leading.barriers.len() >= self.config.waiting_max {
            return Err(Refusal::Overloaded);
        }
        leading.pings += 1;
        let round = if unconfirmed { 0 } else { leading.pings };
        leading.barriers.push_back(Barrier { round, through, asker, id });
        self.ping(out);
        self.release(out);
        Ok(())
    }

    /// Asks all that have our epoch whether they still follow.
    pub(crate) fn ping(&mut self, out: &mut Out) {
        let State::Leading(leading) = &mut self.state else { return };
        let pings = leading.pings;
        for learner in leading.learners.values_mut().filter(|learner| learner.stage >= Stage::Offered) {
            learner.link.say(&mut self.writes, None, Body::Ping(pings), out);
        }
    }

    /// Answers the `sync`s that wait for nothing any more. No later leader had committed anything when a majority said, after
    /// the `sync` was asked for, that it still follows us.
    pub(crate) fn release(&mut self, out: &mut Out) {
        let State::Leading(leading) = &self.state else { return };
        let confirmed = |learner: &Learner| if learner.stage == Stage::Serving { learner.confirmed } else { 0 };
        let confirmed = self.reached(leading.pings, confirmed).unwrap_or(0);
        let committed = self.committed;
        let State::Leading(leading) = &mut self.state else { return };
        let due = |barrier: &mut Barrier| barrier.round <= confirmed && barrier.through <= committed;
        while let Some(Barrier { asker, id, .. }) = leading.barriers.pop_front_if(due) {
            match asker {
                None => {
                    self.waiting.syncs.remove(&id);
                    // Behind what was delivered, which may wait for the disk.
                    self.writes.emit(None, Event::Synced { id }, out);
                }
                Some((node, session)) => {
                    let learner = leading.learners.get_mut(&node).filter(|learner| learner.link.id == session);
                    if let Some(learner) = learner {
                        learner.link.say(&mut self.writes, None, Body::Synced(id), out);
                    }
                }
            }
        }
    }
}
