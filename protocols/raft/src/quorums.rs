//! Whose agreement decides: a majority of the voters, or while the membership is joint a majority of those who count from
//! now on and one of those who counted before (§6). Everything that needs a majority asks here: votes, pre-votes, commits,
//! rounds of reads, the lease, and check-quorum.

use alloc::collections::BTreeSet;

use hezong_base::quorum::{self, Tally};
use hezong_base::{Index, NodeId};

use crate::{Config, Log, Membership, Weakness};

/// The voters, in one set or two.
#[derive(Clone, Debug)]
pub(crate) struct Quorums<'a> {
    members: &'a Membership,
    /// The bug that counts two sets as one.
    summed: bool,
}

impl<'a> Quorums<'a> {
    /// Those in force at the end of a log, whether their entry is committed or not.
    pub(crate) fn of(log: &'a Log, committed: Option<Index>, config: &Config) -> Self {
        let late = committed.filter(|_| config.weak(Weakness::MembershipOnCommit));
        let members = late.map_or_else(|| log.membership(), |committed| log.membership_at(committed));
        Self { members, summed: config.weak(Weakness::JointMajorityOfSum) }
    }

    /// Every voter once.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        self.members.voters().union(self.members.outgoing()).copied()
    }

    /// The largest value that majorities have reached; `None` while none has reached any.
    pub(crate) fn reached<T: Ord + Copy>(&self, value: impl Fn(NodeId) -> Option<T>) -> Option<T> {
        if !self.members.is_joint() {
            return quorum::reached(self.members.voters(), value);
        }
        if self.summed {
            return quorum::reached(&self.sum(), value);
        }
        quorum::reached(self.members.voters(), &value).min(quorum::reached(self.members.outgoing(), &value))
    }

    /// Counts a ballot.
    pub(crate) fn tally(&self, vote: impl Fn(NodeId) -> Option<bool>) -> Tally {
        if !self.members.is_joint() {
            return quorum::tally(self.members.voters(), vote);
        }
        if self.summed {
            return quorum::tally(&self.sum(), vote);
        }
        match (quorum::tally(self.members.voters(), &vote), quorum::tally(self.members.outgoing(), &vote)) {
            (Tally::Won, Tally::Won) => Tally::Won,
            (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
            (Tally::Open, _) | (_, Tally::Open) => Tally::Open,
        }
    }

    fn sum(&self) -> BTreeSet<NodeId> {
        self.everybody().collect()
    }
}
