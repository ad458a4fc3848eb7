//! Snapshots between the protocol, the state machine and the peers: `snapshots.rs` knows how they travel, here is when.

use hezong_base::{Input, LogId, NodeId, Time, sometimes};
use hezong_codec::SnapshotMessage;
use hezong_raft::{Answer, Ask, Base, Request};

use super::Group;
use crate::clients::Place as ClientPlace;
use crate::common::Common;
use crate::snapshots::{Ended, Place};
use crate::{NodeEffect, Notice, Reply, SnapshotDone};

impl Group {
    /// The state machine was found to stand on a snapshot that the log does not lead to: a crash came between the two.
    pub(crate) fn on_found_installed(&mut self, now: Time, base: Base, common: &mut Common, out: &mut Vec<NodeEffect>) {
        sometimes!("node: a crash came between a snapshot and the log");
        self.tell(now, Request::Installed(base), common, out);
    }

    /// The state machine was found to have lost what the log does not hold any more.
    pub(crate) fn on_found_lost(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        self.applying.hold_back();
        self.restoring = true;
        self.tell(now, Request::StateLost, common, out);
    }

    /// The protocol wants something done about a snapshot.
    pub(super) fn on_snapshot_ask(
        &mut self,
        now: Time,
        id: hezong_base::AskId,
        ask: Ask,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        match ask {
            Ask::TakeSnapshot(snapshot) => self.snapshots.take(self.id, id, snapshot, out),
            Ask::FetchSnapshot { from, id: snapshot, base } => {
                out.push(NodeEffect::Notice(Notice::SnapshotBegun { group: self.id, from, last: base.last }));
                let place = Place { group: self.id, peer: from, id: snapshot };
                let given_up = self.snapshots.fetch(id, place, base, out);
                common.peers_changed = true;
                self.ended(now, given_up, common, out);
            }
            Ask::Entries { .. } => unreachable!("readings of the log go to the log"),
        }
    }

    /// A peer says something about a snapshot.
    pub(crate) fn on_snapshot_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: SnapshotMessage,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let ended = self.snapshots.on_message(now, &common.config, from, message, out);
        self.ended(now, ended, common, out);
        self.go_on_with_snapshots(now, common, out);
    }

    /// Something about a snapshot was done.
    pub(crate) fn on_snapshot_done(
        &mut self,
        now: Time,
        done: SnapshotDone,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        match done {
            SnapshotDone::Taken { id, last } => {
                if let Some(ask) = self.snapshots.taken(now, id, last.is_some()) {
                    let answer = Answer::SnapshotTaken(last);
                    self.drive(now, Input::Answered { id: ask, answer }, common, out);
                }
            }
            SnapshotDone::Read { id, to, cursor, chunk } => {
                self.snapshots.read(Place { group: self.id, peer: to, id }, cursor, chunk, out);
            }
            SnapshotDone::Begun { id, begun } => self.snapshots.begun(now, id, begun),
            SnapshotDone::Installed { id, understood } => {
                let ended = self.snapshots.chunk_installed(id, understood);
                self.ended(now, ended, common, out);
            }
            SnapshotDone::Finished { id, base } => {
                let ended = self.snapshots.finished(self.id, id, &base, out);
                self.stand_on(now, base, ended, common, out);
            }
        }
        self.go_on_with_snapshots(now, common, out);
    }

    /// Whatever of snapshots is due, or may be done by now.
    pub(super) fn go_on_with_snapshots(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let ended = self.snapshots.go_on(now, self.id, &common.config, out);
        self.ended(now, ended, common, out);
        if let Some(last) = self.snapshots.ready().and_then(|base| base.last) {
            self.maybe_switch_over(now, last, common, out);
        }
        self.reschedule(common);
    }

    /// All chunks are there. Nothing more is handed to the state machine, and once it is done with what it has, it
    /// switches over; unless it got as far by itself meanwhile.
    fn maybe_switch_over(&mut self, now: Time, last: LogId, common: &mut Common, out: &mut Vec<NodeEffect>) {
        self.applying.hold_back();
        if !self.applying.is_idle() {
            return;
        }
        if self.applying.reaches(Some(last.index)) {
            sometimes!("node: the state got as far as the snapshot by itself");
            self.applying.go_on();
            let ended = self.snapshots.give_up(None);
            return self.ended(now, ended, common, out);
        }
        self.snapshots.finish(self.id, out);
    }

    /// The state machine stands on a snapshot. Whoever waits for an entry it covers will never hear what came of that.
    fn stand_on(
        &mut self,
        now: Time,
        base: Base,
        ended: Option<Ended>,
        common: &mut Common,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(last) = base.last else { return };
        self.applying.stand_on(last);
        self.restoring = false;
        out.push(NodeEffect::Notice(Notice::SnapshotInstalled { group: self.id, last: base.last }));
        self.announce(last, base.membership.clone(), common, out);
        match ended {
            Some(Ended { ask, .. }) => {
                let answer = Answer::SnapshotFetched(Some(base));
                self.drive(now, Input::Answered { id: ask, answer }, common, out);
            }
            // The protocol has asked for another one meanwhile, but this is what we stand on.
            None => self.tell(now, Request::Installed(base), common, out),
        }
        self.tell(now, Request::Applied { applied: last, durable: Some(last) }, common, out);
        while let Some(first) = self.accepted.first_entry().filter(|first| first.key().0 <= last.index) {
            let id = first.remove();
            sometimes!("node: a snapshot hides what came of a write");
            debug_assert!(common.clients.get(id).is_none_or(|client| matches!(client.place, ClientPlace::Accepted(_))));
            common.reply(id, Reply::Unknown, out);
        }
        while let Some(id) = self.applying.next_readable() {
            self.reply_readable(now, id, common, out);
        }
    }

    /// A fetching ended without a state.
    fn ended(&mut self, now: Time, ended: Option<Ended>, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let Some(Ended { ask, base }) = ended else { return };
        out.push(NodeEffect::Notice(Notice::SnapshotFailed { group: self.id }));
        self.drive(now, Input::Answered { id: ask, answer: Answer::SnapshotFetched(base) }, common, out);
    }

    /// Lets the beginning of the log go that nobody wants any more.
    pub(super) fn maybe_compact(&mut self, now: Time, common: &mut Common, out: &mut Vec<NodeEffect>) {
        let before = self.raft.log().base_index();
        let Some(through) = self.applying.expendable().filter(|through| Some(*through) > before) else { return };
        self.tell(now, Request::Compact(through), common, out);
        if let Some(through) = self.raft.log().base_index().filter(|through| Some(*through) > before) {
            out.push(NodeEffect::Notice(Notice::Compacted { group: self.id, through }));
        }
    }
}
