//! Logs that were damaged: how a node that lost entries it once stored takes part without breaking its word.
//!
//! Whoever opens a damaged log keeps a first part of it, of now or of an earlier time, and notes what it ended with: what
//! the node *owes*. Until its log is at least as up to date again (§5.4.1: by term, then by index) it
//! 1. campaigns in no way, and votes only for whom it would have voted for with the log it owes;
//! 2. acknowledges only what it holds now, and believes no commit but that of entries which just came with it;
//! 3. tells its leader at every heartbeat where its log ends, so that the leader takes back what it believed of it.
//!
//! So every majority that stored an entry still refuses whoever lacks it, which is all that Leader Completeness rests on,
//! and a leader may count an acknowledgement from before the damage. A log that is as up to date again is a part of the log
//! of some leader of the term owed or of a later one, and by Log Matching and Leader Completeness holds all that was
//! committed in what was lost. Where nobody has what is owed and no leader can be elected without this node, the group
//! stands still rather than lose it. A debt that is larger than what was really there is as safe; but it lasts until the log
//! has grown so far or a later term has an entry, and a leader that goes before may be the last.

use hezong_base::{Index, LogId, NodeId, Time};

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

    /// Our log may be as long again as it was. That is written with the next term, before which nothing is cut off our log
    /// again; and whoever starts compares anew.
    pub(crate) fn maybe_settle_debt(&mut self) {
        self.owed.take_if(|owed| Some(*owed) <= self.log.last());
    }

    /// Tells the leader that was just heard where our log ends now.
    pub(crate) fn report_loss(&mut self, leader: NodeId, out: &mut Out) {
        if let Some(previous) = self.owed {
            let hint = self.log.last();
            self.reply(leader, Body::Diverged { previous, hint, lost: true }, None, out);
        }
    }

    /// A member's log was damaged, which ended with `owed` and ends with `last` now. What it had acknowledged is void; one
    /// that repeats itself, or arrives late, changes nothing unless it shows that.
    pub(crate) fn on_lost(&mut self, now: Time, from: NodeId, owed: LogId, last: Option<LogId>, out: &mut Out) {
        let Some((leader, mut feeder)) = self.feeder(now, out) else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.owed = Some(owed);
        let common = last.and_then(|last| feeder.log.floor(last)).map(|id| id.index);
        if progress.matched > common {
            progress.lost(Index::after(common));
            feeder.feed(from, progress);
        }
    }
}
