//! Partial partitions: some links are gone, and every machine, or most, still reaches some other. The three that end the
//! progress of one protocol or another (Ng, Haridi, Carbone, "Omni-Paxos", EuroSys 2023, §2), a link that is only slow, and
//! one that comes and goes.
//!
//! What Raft with pre-vote, leases and check-quorum can do meanwhile, so that nobody expects more than safety of it until all
//! is healed:
//!
//! | links | while they last |
//! |---|---|
//! | quorum loss: members reach only one of them, the hub | of five, a leader that is not the hub hears no majority and stops by itself after an election timeout (check-quorum); the hub is elected if its log is up to date, and serves everybody. Of three, each still reaches a majority, and the leader stays |
//! | constrained election: as above, the leader reaches nobody, and the hub lacks its last entries | of five, nobody but the hub reaches a majority, and the hub is refused for its log: the group stands still, unless what it lacks is on no majority either. Of three, the third is elected by the hub |
//! | chained: each member reaches its neighbours in a row | a leader that reaches a majority keeps it: whoever does not hear it asks before it campaigns, and those who hear it refuse (pre-vote, lease). Without these, two that cannot reach each other would take over from each other for ever. Of five, one at an end reaches too few: it stops, and another leads |
//! | slow link | nothing is lost; who is behind it may miss its leader, and is refused |
//! | flapping link | the same; what was sent while it was down is lost, which the next heartbeat that arrives finds out |

use hezong_base::NodeId;

use crate::check::place;
use crate::plan::{Fault, pick};
use crate::sim::{Event, Sim};

/// Fewer machines have nothing between "all" and "none".
const MACHINES_MIN: usize = 3;

impl Sim {
    /// All members but one lose their links to each other.
    pub(crate) fn lose_quorum(&mut self) {
        let Some(hub) = self.hub() else { return };
        self.faults.add(Fault::QuorumLoss);
        let until = self.long();
        self.leave_only_links_of(hub, until);
    }

    /// First one member misses what the leader says; later the leader is cut off from all, and only that member reaches the
    /// others.
    pub(crate) fn constrain_election(&mut self) {
        let (Some(hub), Some(leader)) = (self.hub(), self.checkers.leader()) else { return };
        if hub == leader {
            return;
        }
        let until = self.long();
        self.cut_both_ways(leader, hub, until);
        // Long enough to miss entries, and mostly too short to be missed by the leader.
        let at = self.now + self.plan.patience / 8 + self.trouble.below(self.plan.patience * 3 / 4);
        self.queue.push(at, Event::Constrain { leader, hub, until });
    }

    /// The second part of a constrained election.
    pub(crate) fn on_constrain(&mut self, leader: NodeId, hub: NodeId, until: u64) {
        let is_still = self.checkers.leader() == Some(leader) && self.membership.members().contains_key(&hub);
        if self.healed.is_some() || !is_still {
            return;
        }
        self.faults.add(Fault::ConstrainedElection);
        self.isolate(leader, until);
        self.leave_only_links_of(hub, until);
    }

    /// Members stand in a row, and each reaches its neighbours only. Whoever leads stands anywhere, or at the end.
    pub(crate) fn chain(&mut self) {
        let mut row = self.linked();
        if row.len() < MACHINES_MIN {
            return;
        }
        for at in (1..row.len()).rev() {
            row.swap(at, pick(&mut self.trouble, at + 1));
        }
        let leader = self.checkers.leader().and_then(|leader| row.iter().position(|id| *id == leader));
        if let Some(at) = leader.filter(|_| self.trouble.chance(500)) {
            row.swap(at, 0);
        }
        self.faults.add(Fault::Chained);
        let until = self.long();
        for (at, one) in row.iter().enumerate() {
            for other in row.iter().skip(at + 2) {
                self.cut_both_ways(*one, *other, until);
            }
        }
    }

    /// What is sent between two nodes takes many times as long as usual.
    pub(crate) fn slow_link(&mut self) {
        let Some((one, other)) = self.link() else { return };
        self.faults.add(Fault::SlowLink);
        let until = self.long();
        self.network.slow(one, other, until);
        self.network.slow(other, one, until);
    }

    /// The link between two nodes begins to come and go.
    pub(crate) fn flap(&mut self) {
        let Some((one, other)) = self.link() else { return };
        let until = self.long();
        self.on_flap(one, other, until);
    }

    /// The link goes, and comes back after a while, unless that is over.
    pub(crate) fn on_flap(&mut self, one: NodeId, other: NodeId, until: u64) {
        if self.healed.is_some() || self.now >= until {
            return;
        }
        self.faults.add(Fault::Flapping);
        let patience = self.plan.patience;
        let back = self.now + patience / 32 + self.trouble.below(patience / 2);
        self.cut_both_ways(one, other, back);
        let again = back + patience / 32 + self.trouble.below(patience / 2);
        self.queue.push(again, Event::Flap { one, other, until });
    }

    /// Members lose all links but those of `hub`.
    fn leave_only_links_of(&mut self, hub: NodeId, until: u64) {
        let others: Vec<_> = self.linked().into_iter().filter(|id| *id != hub).collect();
        for (at, one) in others.iter().enumerate() {
            for other in others.iter().skip(at + 1) {
                self.cut_both_ways(*one, *other, until);
            }
        }
    }

    fn cut_both_ways(&mut self, one: NodeId, other: NodeId, until: u64) {
        self.network.cut(one, other, until);
        self.network.cut(other, one, until);
    }

    /// Members whose machines are there.
    fn linked(&self) -> Vec<NodeId> {
        self.membership.members().keys().copied().filter(|id| place(*id) < self.processes.len()).collect()
    }

    /// The one that everybody reaches: mostly not the leader, to whom less would happen.
    fn hub(&mut self) -> Option<NodeId> {
        let members = self.linked();
        if members.len() < MACHINES_MIN {
            return None;
        }
        let hub = members[pick(&mut self.trouble, members.len())];
        if self.checkers.leader() != Some(hub) || self.trouble.chance(200) {
            return Some(hub);
        }
        members.into_iter().find(|id| *id != hub)
    }

    /// Two members: as often as not one is the leader.
    fn link(&mut self) -> Option<(NodeId, NodeId)> {
        let one = self.victim();
        let others: Vec<_> = self.linked().into_iter().filter(|id| *id != one).collect();
        if others.is_empty() {
            return None;
        }
        Some((one, others[pick(&mut self.trouble, others.len())]))
    }

    /// Long enough for several elections, or for none to end one.
    fn long(&mut self) -> u64 {
        self.now + self.plan.patience + self.trouble.below(self.plan.patience * 6)
    }
}
