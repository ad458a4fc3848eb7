//! Logs that were damaged: how a node that lost entries it once stored takes part without breaking its word.
//!
//! Whoever opens a damaged log keeps a first part of it, of now or of an earlier time, and notes what it ended with: what
//! the node *owes*. Until what is stored is at least as up to date again (§5.4.1: by term, then by index) it
//! 1. campaigns in no way, and votes only for whom it would have voted for with the log it owes;
//! 2. acknowledges only what it holds now, and believes no commit but that of entries which just came with it;
//! 3. tells its leader at every heartbeat where its log ends, so that the leader takes back what it believed of it.
//!
//! So every majority that stored an entry still refuses whoever lacks it, which is all that Leader Completeness rests on,
//! and a leader may count an acknowledgement from before the damage. A log that is as up to date again is a part of the log
//! of some leader of the term owed or of a later one, and by Log Matching and Leader Completeness holds all that was
//! committed in what was lost. Where nobody has what is owed and no leader can be elected without this node, the group
//! stands still rather than lose it.
//!
//! What is owed may be estimated, and more than there ever was. An entry of a later term ends such a debt. Until there is
//! one, the leader of the very term owed answers a report with its own last entry: whatever this node held, that leader had
//! made before. The answer names the life that reported, for in a later one this node may have lost more. If that leader
//! ends before it could answer and be followed so far, and nobody can be elected without this node (of an odd number of
//! voters they can), the group stands still for what never was.

use hezong_base::{Index, LogId, NodeId, Time, sometimes};

use crate::node::Out;
use crate::{Body, Raft, Weakness};

impl Raft {
    /// The end of the log that our vote stands for: ours, or the one we should have.
    pub(crate) fn answers_for(&self) -> Option<LogId> {
        self.debt().max(self.log.last())
    }

    /// What keeps us from being elected.
    pub(crate) fn debt(&self) -> Option<LogId> {
        self.owed.filter(|_| !self.weak(Weakness::DebtForgotten))
    }

    /// Our log may be as long again as it was, on disk. That is written at once: what is cut off it later is not owed.
    pub(crate) fn maybe_settle_debt(&mut self, now: Time, out: &mut Out) {
        let Some(owed) = self.owed else { return };
        if self.stored.and_then(|stored| self.log.id_at(stored)) >= Some(owed) {
            sometimes!("raft: what a damaged log lost is back");
            self.set_debt(now, None, out);
        }
    }

    /// Tells the leader that was just heard where our log ends now.
    pub(crate) fn report_loss(&mut self, leader: NodeId, out: &mut Out) {
        if let Some(owed) = self.owed {
            let last = self.log.last();
            self.reply(leader, Body::LogLost { owed, last, token: self.life }, None, out);
        }
    }

    /// A member's log was damaged, which ended with `owed` and ends with `last` now. What it had acknowledged is void; one
    /// that repeats itself, or arrives late, changes nothing unless it shows that.
    pub(crate) fn on_log_lost(
        &mut self,
        now: Time,
        from: NodeId,
        owed: LogId,
        last: Option<LogId>,
        token: u64,
        out: &mut Out,
    ) {
        let end = self.log.last();
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.owed = Some(owed).min(end);
        let common = last.and_then(|last| feeder.log.floor(last)).map(|id| id.index);
        // What is left may be the log of an earlier time, and end with what we have not.
        let parted = progress.matched.is_some() && !feeder.log.agrees(last);
        if progress.matched > common || parted {
            progress.lost(Index::after(common));
            if !feeder.log.membership().is_voter(from) {
                // It has to catch up anew.
                progress.goal = end.map(|end| (end.index, now));
            }
            feeder.feed(from, progress);
        }
        if let Some(end) = end.filter(|end| *end < owed) {
            // Were we to forget that entry in a crash, nobody would have what is owed from then on.
            let rests_on = self.entry_rests_on(Some(end.index));
            self.reply(from, Body::LogLostAck { token, end }, rests_on, out);
        }
    }

    /// "Nothing of this term went beyond this": we cannot have held more.
    pub(crate) fn on_log_lost_ack(&mut self, now: Time, from: NodeId, token: u64, end: LogId, out: &mut Out) {
        if self.leader() != Some(from) || token != self.life {
            return;
        }
        if end.term != self.term {
            return self.drop_nonsense(from, "leads, and has no entry of its term", out);
        }
        if self.owed > Some(end) {
            sometimes!("raft: an estimated debt is found to be smaller");
            self.set_debt(now, Some(end), out);
        }
    }

    fn set_debt(&mut self, now: Time, owed: Option<LogId>, out: &mut Out) {
        self.owed = owed;
        self.set_term(now, self.term, self.vote, out);
    }
}
