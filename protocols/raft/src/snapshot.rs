//! Snapshots: how a member gets the state when the log that leads to it is gone (§7).
//!
//! The leader has whoever runs it hold a snapshot ready, and offers it by name. The member has whoever runs it fetch that
//! and switch its state machine over; neither chunk nor byte of it passes through here, so that a state of any size is
//! no message of the protocol. An offer is repeated while its member lives and has not answered: a member that restarts
//! goes on where it was, a leader that restarts offers a new one.
//!
//! What a state machine holds is committed, whoever leads by now. So an installed snapshot counts whatever the term in
//! which it was asked for, and the log is made to fit it: kept where it holds the last entry covered, reset where not.

use hezong_base::{AskId, Effect, Index, LogId, NodeId, Time, sometimes};

use crate::node::{Out, RoleState};
use crate::progress::{Mode, Offer, Progress};
use crate::{Answer, Ask, Base, Body, Message, Raft, Weakness, Write};

/// Names a snapshot among all that are ever offered: drawn by chance, so that one of an earlier life is not taken for
/// one of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub u64);

impl core::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A snapshot being fetched for us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Install {
    /// The name under which its end is reported.
    ask: AskId,
    /// Who offered it.
    from: NodeId,
    id: SnapshotId,
}

/// At the leader.
impl Raft {
    /// Offers what a member needs, or offers it again. Called whenever the member is heard.
    pub(crate) fn maybe_offer(&mut self, now: Time, to: NodeId, out: &mut Out) {
        let interval = self.config.heartbeat_interval;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&to) else { return };
        let needed = progress.needs_snapshot();
        match &mut progress.offer {
            None if needed => {
                let (ask, id) = (self.next_ask, SnapshotId(self.rng.next_u64()));
                self.next_ask = ask.next();
                progress.offer = Some(Offer::Taking { ask, id });
                out.push(Effect::Ask { id: ask, ask: Ask::TakeSnapshot(id) });
            }
            Some(Offer::Made { id, base, sent_at }) if *sent_at + interval <= now => {
                *sent_at = now;
                let body = Body::InstallSnapshot { id: *id, base: base.clone() };
                out.push(Effect::Send { to, message: Message { term: self.term, body } });
            }
            None | Some(Offer::Taking { .. } | Offer::Made { .. }) => {}
        }
    }

    /// A snapshot is held ready, which covers everything up to `last`; or there can be none.
    fn on_snapshot_taken(&mut self, now: Time, ask: AskId, last: Option<LogId>, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let taking = |progress: &Progress| matches!(progress.offer, Some(Offer::Taking { ask: of, .. }) if of == ask);
        let Some((to, progress)) = leader.progress.iter_mut().find(|(_, progress)| taking(progress)) else { return };
        let Some(Offer::Taking { id, .. }) = progress.offer.take() else { return };
        // The members as of an entry are known to the log alone: a state machine knows those of the entries it applied.
        let base = last.filter(|last| self.log.agrees(Some(*last))).and_then(|last| self.log.base_as_of(last.index));
        let Some(base) = base else {
            sometimes!("raft: no snapshot can be taken");
            return;
        };
        progress.offer = Some(Offer::Made { id, base: base.clone(), sent_at: now });
        let body = Body::InstallSnapshot { id, base };
        out.push(Effect::Send { to: *to, message: Message { term: self.term, body } });
    }

    /// "My state is lost, and my log does not lead to it."
    pub(crate) fn on_request_snapshot(&mut self, now: Time, from: NodeId, out: &mut Out) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.state_lost = true;
        self.maybe_offer(now, from, out);
    }

    /// What became of our offer. A failed one is followed by another, of a new snapshot, once the member is heard again.
    pub(crate) fn on_snapshot_installed(&mut self, from: NodeId, id: SnapshotId, installed: bool) {
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        if matches!(&progress.offer, Some(Offer::Made { id: of, .. }) if *of == id) {
            progress.offer = None;
            progress.state_lost &= !installed;
        }
    }

    /// The last entry that may be compacted as far as members are concerned to whom a snapshot is on its way: what
    /// follows it they will want next. `None`: nobody is.
    pub(crate) fn offered(&self) -> Option<Index> {
        let RoleState::Leader(leader) = &self.role else { return None };
        let base = |progress: &Progress| match &progress.offer {
            Some(Offer::Made { base, .. }) => base.last.map(|last| last.index),
            Some(Offer::Taking { .. }) | None => None,
        };
        leader.progress.values().filter_map(base).min()
    }
}

/// At the member.
impl Raft {
    /// "What you need is gone from my log: fetch this state from me instead."
    pub(crate) fn on_install_snapshot(&mut self, now: Time, from: NodeId, id: SnapshotId, base: &Base, out: &mut Out) {
        let Some(last) = base.last else { return self.drop_nonsense(from, "a snapshot of nothing", out) };
        if last.term > self.term {
            return self.drop_nonsense(from, "a snapshot beyond the sender's term", out);
        }
        if Some(last.index) <= self.committed && !self.log.agrees(Some(last)) {
            return self.drop_nonsense(from, "a snapshot of another history", out);
        }
        if !self.hear_leader(now, from, out) {
            return;
        }
        // Whatever a snapshot covers is committed. Where our log leads there too, it is all we need (RAFT-13, "ahead").
        if self.leads_to(last) && !self.state_lost {
            sometimes!("raft: a snapshot is offered to who needs none");
            self.committed = self.committed.max(Some(last.index));
            self.reply(from, Body::SnapshotInstalled { id, installed: true }, None, out);
            let matched = Some(last.index).max(self.log.base_index());
            return self.reply(from, Body::Appended { matched }, self.entry_rests_on(matched), out);
        }
        if self.install.is_some_and(|install| install.id == id) {
            return;
        }
        // Our state would end before our log begins: the leader's has yet to get as far.
        if Some(last.index) < self.log.base_index() {
            sometimes!("raft: a snapshot ends before the log begins");
            return self.reply(from, Body::SnapshotInstalled { id, installed: false }, None, out);
        }
        // A leader makes one offer at a time, so whatever we were fetching before is worth nothing any more.
        sometimes!("raft: a snapshot takes the place of one under way", self.install.is_some());
        let ask = self.next_ask;
        self.next_ask = ask.next();
        self.install = Some(Install { ask, from, id });
        let ask_for = Ask::FetchSnapshot { from, id, base: base.clone() };
        out.push(Effect::Ask { id: ask, ask: ask_for });
    }

    /// The state machine stands on `base` now, durably; or the snapshot could not be had.
    fn on_snapshot_fetched(&mut self, now: Time, ask: AskId, base: Option<Base>, out: &mut Out) {
        let install = self.install.take_if(|install| install.ask == ask);
        let installed = base.is_some();
        let matched = base.as_ref().and_then(|base| base.last).map(|last| last.index);
        if let Some(base) = base {
            self.stand_on(now, base, out);
        }
        let Some(Install { from, id, .. }) = install else { return };
        // Only to whoever leads now: another one has made, or will make, an offer of its own.
        if self.leader() != Some(from) {
            sometimes!("raft: who offered a snapshot leads no more when it ends");
            return;
        }
        self.reply(from, Body::SnapshotInstalled { id, installed }, None, out);
        if installed {
            self.reply(from, Body::Appended { matched }, self.entry_rests_on(matched), out);
        }
    }

    /// Makes the log fit a state machine that stands on `base`.
    pub(crate) fn stand_on(&mut self, now: Time, base: Base, out: &mut Out) {
        let Some(last) = base.last else { return };
        self.state_lost = false;
        if self.leads_to(last) {
            // Our log led there anyhow: what follows is kept (§7, "retain entries following it").
            sometimes!("raft: entries behind an installed snapshot are kept");
            self.committed = self.committed.max(Some(last.index));
            return;
        }
        if last.term > self.term {
            // Found at a start: the crash took back the term in which it was fetched, and so all that rested on it.
            self.set_term(now, last.term, None, out);
            self.become_follower(now, None, out);
        }
        let careless = self.weak(Weakness::SnapshotDropsSuffix);
        assert!(self.committed < Some(last.index) || careless, "what is committed is the same in every log");
        assert!(!matches!(self.role, RoleState::Leader(_)), "a leader's log holds all that is committed");
        sometimes!("raft: a snapshot voids entries of another log", self.log.last_index() >= Some(last.index));
        self.log.reset(base.clone());
        self.peers_changed = true;
        // The state machine is durable before it says where it stands, and whoever finds it ahead of its log at a start
        // hands that in again. So the base is as good as on disk, and nothing rests on this write; what it voided counts
        // for nothing any more.
        (self.stored, self.committed, self.announced) = (Some(last.index), Some(last.index), Some(last.index));
        for (_, vouched) in &mut self.appends {
            *vouched = (*vouched).min(Some(last.index));
        }
        let bytes = base.membership.bytes();
        self.writes.store(now, Write::Reset(base), bytes, out);
    }

    /// Whether our log holds `last`, or stands on it.
    fn leads_to(&self, last: LogId) -> bool {
        let careless = self.weak(Weakness::SnapshotDropsSuffix) && Some(last.index) > self.applied;
        self.log.agrees(Some(last)) && Some(last.index) <= self.log.last_index() && !careless
    }

    /// The state machine lost its state, and the log that would lead there is gone: nobody but a leader can help.
    pub(crate) fn on_state_lost(&mut self, now: Time) {
        self.state_lost = true;
        self.wait_for_leader(now);
    }

    /// Asks the leader that was just heard for what we lost.
    pub(crate) fn ask_for_state(&mut self, leader: NodeId, out: &mut Out) {
        if self.state_lost && self.install.is_none() {
            self.reply(leader, Body::RequestSnapshot, None, out);
        }
    }
}

impl Raft {
    /// Local work is done.
    pub(crate) fn on_answered(&mut self, now: Time, id: AskId, answer: Answer, out: &mut Out) {
        match answer {
            Answer::Entries(entries) => self.on_entries_read(now, id, entries, out),
            Answer::SnapshotTaken(last) => self.on_snapshot_taken(now, id, last, out),
            Answer::SnapshotFetched(base) => self.on_snapshot_fetched(now, id, base, out),
        }
    }
}

impl Progress {
    /// Whether nothing but a snapshot helps it.
    fn needs_snapshot(&self) -> bool {
        self.mode == Mode::Snapshot || self.state_lost
    }
}
