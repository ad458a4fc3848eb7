//! What members know: agreeing on the newest version that all of them do, and noting when it is used (`docs/upgrades.md`).
//!
//! Both are steps of membership, so that they are in force from where they stand in the log, come with every snapshot,
//! and exclude each other: a version is used or left, never both.

use std::collections::BTreeMap;

use hezong_base::{NodeId, Time};
use hezong_raft::{Change, Membership, Request, Role, Version};

use super::{Group, Handed};
use crate::common::Common;
use crate::{NodeEffect, Refused};

impl Group {
    /// What may lie in this node's log or state: as of the members in force, and of the snapshot that is being fetched.
    pub(crate) fn used(&self) -> Version {
        let fetched = self.snapshots.membership().map(Membership::used);
        self.raft.membership().used().max(fetched.unwrap_or_default())
    }

    /// On a leader: has the group agree on what its members were last heard to know.
    pub(super) fn maybe_agree(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let under_way = || self.handed.values().any(|handed| matches!(handed, Handed::Agreement));
        // While a step is not applied here, the protocol would only refuse the next.
        if self.role != Role::Leader || self.membership != self.membership_applied || under_way() {
            return;
        }
        if let Some(version) = to_agree(&self.membership, &common.versions) {
            self.request(now, Handed::Agreement, Request::Change(Change::Agree(version)), common, out);
        }
    }

    /// Refuses a command that some member would not know. What is applied here stays so, whoever leads.
    pub(crate) fn may_propose(&self, version: Version, common: &Common) -> Result<(), Refused> {
        if version <= self.membership_applied.used() {
            return Ok(());
        }
        self.may_use(version, common)?;
        Err(Refused::ChangePending)
    }

    /// Refuses what the leader would refuse; also where another leads that is too old to understand the question.
    pub(super) fn may_use(&self, needed: Version, common: &Common) -> Result<(), Refused> {
        let knows = |id: &NodeId| common.versions.get(id).copied();
        let leads_older = self.leader.and_then(|leader| knows(&leader)).is_some_and(|version| version < needed);
        // Who went back counts before the group has agreed on it: it may be the leader itself, just elected.
        let oldest = self.membership.members().keys().filter_map(knows).min();
        let agreed = self.membership.version();
        let agreed = oldest.map_or(agreed, |oldest| agreed.min(oldest.max(self.membership.used())));
        if needed <= agreed || !(self.role == Role::Leader || leads_older) {
            return Ok(());
        }
        let members = self.membership.members().keys();
        let behind = members.filter(|id| knows(id) < Some(needed)).map(|id| (self.known(*id), knows(id))).collect();
        Err(Refused::Version { needed, agreed, behind })
    }
}

/// What is to be agreed on next. Up: what everybody knows, once everybody was heard. Down: what somebody knows at most, as
/// far as nothing newer was used.
fn to_agree(members: &Membership, versions: &BTreeMap<NodeId, Version>) -> Option<Version> {
    let known: Option<Vec<Version>> = members.members().keys().map(|id| versions.get(id).copied()).collect();
    let up = known.and_then(|known| known.into_iter().min());
    let oldest = members.members().keys().filter_map(|id| versions.get(id)).min();
    let down = oldest.map(|oldest| (*oldest).max(members.used())).filter(|version| *version < members.version());
    down.or(up.filter(|version| *version > members.version()))
}

#[cfg(test)]
mod tests {
    use hezong_raft::Member;

    use super::*;

    #[test]
    fn to_agree_up_needs_everybody_and_down_anybody() {
        let members = |version, used| {
            let members = (1..=3).map(|id| (NodeId(id), Member::default()));
            Membership::of_voters(members).with_versions(Version(version), Version(used))
        };
        let cases: [(_, &[(u64, u8)], _); 8] = [
            (members(1, 1), &[(1, 2), (2, 2), (3, 2)], Some(2)),
            (members(1, 1), &[(1, 2), (2, 2)], None),
            (members(1, 1), &[(1, 2), (2, 2), (3, 1)], None),
            (members(2, 1), &[(1, 2), (2, 2), (3, 1)], Some(1)),
            (members(2, 1), &[(3, 1)], Some(1)),
            (members(2, 1), &[(1, 2)], None),
            (members(2, 2), &[(1, 2), (2, 2), (3, 1)], None),
            // Who is no member has no say.
            (members(1, 1), &[(1, 2), (2, 2), (3, 2), (4, 1)], Some(2)),
        ];
        for (members, versions, wanted) in cases {
            let versions = versions.iter().map(|(id, version)| (NodeId(*id), Version(*version))).collect();
            assert_eq!(to_agree(&members, &versions), wanted.map(Version), "{versions:?}");
        }
    }
}
