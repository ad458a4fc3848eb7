//! From clients to the protocol: what is refused at once, what waits for the end of the turn, and how what waits is handed
//! over together.

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time, sometimes};
use hezong_raft::{Change, Membership, ReadLevel as RaftLevel, Request, Role};

use super::{Group, Handed};
use crate::clients::{Client, Place, Want};
use crate::common::Common;
use crate::{NodeEffect, ReadLevel, Refused};

impl Group {
    /// A client wants a command applied.
    pub(crate) fn on_propose(
        &mut self,
        now: Time,
        id: RequestId,
        command: Bytes,
        frees_space: bool,
        common: &mut Common,
    ) -> Result<(), Refused> {
        common.stats.proposals += 1;
        // While leadership is handed over it waits for whoever leads next, which is soon.
        if !self.raft.is_transferring() {
            self.must_lead(now, common)?;
        }
        if self.restoring {
            return Err(Refused::Restoring);
        }
        if common.disk_full && !frees_space {
            return Err(Refused::DiskFull);
        }
        if self.applying.lag() > common.config.apply_lag_max {
            sometimes!("node: too much waits to be applied");
            return Err(Refused::Overloaded { limit: "node.apply_lag_max" });
        }
        if common.queue_bytes + command.len() > common.config.queue_bytes_max {
            sometimes!("node: a turn takes no more bytes");
            return Err(Refused::Overloaded { limit: "node.queue_bytes_max" });
        }
        common.admit(now, id, self.client(Want::Done))?;
        common.queue_bytes += command.len();
        self.commands.push((id, command));
        Ok(())
    }

    /// A client wants to read.
    pub(crate) fn on_read(
        &mut self,
        now: Time,
        id: RequestId,
        want: Want,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> Result<(), Refused> {
        common.stats.reads += 1;
        if want == Want::Verified {
            self.must_lead(now, common)?;
        }
        if self.restoring {
            return Err(Refused::Restoring);
        }
        common.admit(now, id, self.client(want))?;
        match want {
            Want::Readable { level: ReadLevel::Stale, .. } => self.readable(now, id, None, None, common, out),
            Want::Readable { .. }
            | Want::Verified
            | Want::Done
            | Want::Changed
            | Want::Transferred
            | Want::Bootstrapped => {
                self.queue_read(id, want);
            }
        }
        Ok(())
    }

    /// A client wants a membership step taken.
    pub(crate) fn on_change(
        &mut self,
        now: Time,
        id: RequestId,
        change: Change,
        common: &mut Common,
    ) -> Result<(), Refused> {
        if let Change::Use(version) = change {
            self.may_use(version, common)?;
        }
        self.must_lead(now, common)?;
        common.admit(now, id, self.client(Want::Changed))?;
        self.changes.push((id, change));
        Ok(())
    }

    /// A client wants another to lead.
    pub(crate) fn on_transfer(
        &mut self,
        now: Time,
        id: RequestId,
        to: Option<NodeId>,
        common: &mut Common,
    ) -> Result<(), Refused> {
        self.must_lead(now, common)?;
        common.admit(now, id, self.client(Want::Transferred))?;
        self.transfers.push((id, to));
        Ok(())
    }

    /// A client gives the group its first members.
    pub(crate) fn on_bootstrap(
        &mut self,
        now: Time,
        id: RequestId,
        members: Membership,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) -> Result<(), Refused> {
        common.admit(now, id, self.client(Want::Bootstrapped))?;
        common.clients.place(id, Place::Handed);
        self.request(now, Handed::Bootstrap(id), Request::Bootstrap(members), common, out);
        Ok(())
    }

    /// A client has gone, or its patience is over: what stands under its name goes too. Commands and reads still in
    /// the inbox, or with the protocol, are skipped when they come up.
    pub(crate) fn forget(&mut self, id: RequestId, place: Place) {
        match place {
            // A step that waits would keep a learner waiting as well.
            Place::Queued => self.held.retain(|(held, _)| *held != id),
            Place::Handed => {}
            Place::Accepted(entry) => {
                sometimes!("node: a client goes while its entry is under way");
                self.accepted.remove(&(entry.index, entry.term));
            }
            Place::Applying(index) => self.applying.forget(index, id),
        }
    }

    pub(super) fn hand_commands(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        if self.raft.is_transferring() {
            return;
        }
        let commands = std::mem::take(&mut self.commands);
        common.queue_bytes -= commands.iter().map(|(_, command)| command.len()).sum::<usize>();
        let (clients, commands): (Vec<_>, Vec<_>) =
            commands.into_iter().filter(|(id, _)| common.clients.place(*id, Place::Handed)).unzip();
        if commands.is_empty() {
            return;
        }
        let count = commands.len() as u64;
        common.stats.proposal_batches += 1;
        common.stats.proposal_batch_max = common.stats.proposal_batch_max.max(count);
        self.request(now, Handed::Commands(clients), Request::Propose(commands), common, out);
    }

    /// All reads of a turn that ask the same share one request, and so at most one round.
    pub(super) fn hand_reads(
        &mut self,
        now: Time,
        level: RaftLevel,
        mut clients: Vec<RequestId>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        clients.retain(|id| common.clients.place(*id, Place::Handed));
        if clients.is_empty() {
            return;
        }
        common.stats.read_batches += 1;
        let led = (self.role == Role::Leader).then_some(self.term);
        self.request(now, Handed::Reads { clients, led }, Request::Read(level), common, out);
    }

    pub(super) fn hand_changes(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        for (id, change) in std::mem::take(&mut self.changes) {
            if common.clients.place(id, Place::Handed) {
                self.request(now, Handed::Change(id, change.clone()), Request::Change(change), common, out);
            }
        }
    }

    /// Keeps a step that is too early, until a learner has caught up or its client has no patience any more.
    pub(super) fn hold_change(&mut self, id: RequestId, change: Change, common: &mut Common) {
        if common.clients.place(id, Place::Queued) {
            sometimes!("node: a step waits for a learner");
            self.held.push((id, change));
        }
    }

    /// Tries those again: a learner has caught up, or we lead no more and say so.
    pub(super) fn release_held(&mut self) {
        self.changes.append(&mut self.held);
    }

    /// Lets one learner vote that has caught up: steps are taken one at a time. A learner for which a client has plans is
    /// left to that client.
    pub(super) fn maybe_promote(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        if self.caught_up.is_empty() {
            return;
        }
        let membership = &self.membership;
        self.caught_up.retain(|id| membership.members().contains_key(id) && !membership.is_voter(*id));
        let under_way = self.handed.values().any(|handed| matches!(handed, Handed::Promotion(_)));
        // While a step is not applied here, the protocol would only refuse the next.
        if under_way || self.membership != self.membership_applied {
            return;
        }
        let planned = |id: &NodeId| {
            let changes = self.held.iter().chain(&self.changes);
            changes
                .into_iter()
                .any(|(_, change)| matches!(change, Change::Several { promote, .. } if promote.contains(id)))
        };
        if let Some(id) = self.caught_up.iter().copied().find(|id| !planned(id)) {
            self.request(now, Handed::Promotion(id), Request::Change(Change::Promote(id)), common, out);
        }
    }

    pub(super) fn hand_transfers(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        for (id, to) in std::mem::take(&mut self.transfers) {
            if common.clients.place(id, Place::Handed) {
                self.request(now, Handed::Transfer(id), Request::Transfer(to), common, out);
            }
        }
        // Others would miss a leader that merely goes for as long as they wait for one.
        if common.stopping && !self.handed_over && self.role == Role::Leader {
            self.handed_over = true;
            self.request(now, Handed::HandOver, Request::Transfer(None), common, out);
        }
    }

    /// Puts reads back into the inbox.
    pub(super) fn read_again(&mut self, clients: &[RequestId], common: &mut Common) {
        for &id in clients {
            if let Some(client) = common.clients.get(id) {
                common.clients.place(id, Place::Queued);
                self.queue_read(id, client.want);
            }
        }
    }

    /// Puts a membership step back into the inbox.
    pub(super) fn change_again(&mut self, id: RequestId, change: Change, common: &mut Common) {
        if common.clients.place(id, Place::Queued) {
            self.changes.push((id, change));
        }
    }

    pub(super) fn queue_read(&mut self, id: RequestId, want: Want) {
        match want {
            Want::Readable { level: ReadLevel::Default, .. } => self.lease_reads.push(id),
            // Who leads is confirmed as a consistent read is.
            Want::Readable { level: ReadLevel::Consistent, .. } | Want::Verified => self.quorum_reads.push(id),
            Want::Readable { level: ReadLevel::Stale, .. }
            | Want::Done
            | Want::Changed
            | Want::Transferred
            | Want::Bootstrapped => {
                unreachable!("the protocol is not asked for this")
            }
        }
    }

    pub(super) fn client(&self, want: Want) -> Client {
        Client { group: self.id, want, place: Place::Queued }
    }

    /// Refuses at once what the protocol would refuse at the end of the turn, and so keeps it out of the queue.
    pub(super) fn must_lead(&self, now: Time, common: &Common) -> Result<(), Refused> {
        debug_assert!(!common.stopping, "a stopping node takes nothing in");
        if self.role == Role::Leader { Ok(()) } else { Err(Refused::NotLeader(self.leader_to_ask(now))) }
    }
}
