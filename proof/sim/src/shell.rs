//! What stands in the place of the shell: does what a node wants done, and hands it what comes of that.

use bytes::{Bytes, BytesMut};
use hezong_base::{GroupId, NodeId};
use hezong_codec::SnapshotMessage;
use hezong_codec::frame::{self, FRAME_BYTES_MAX, Frame};
use hezong_node::{BatchId, NodeEffect, NodeInput, SnapshotDone, SnapshotWork};
use hezong_raft::{Body, Entry, Message, Payload, Write};
use std::hash::Hasher;

use crate::check::{Violation, place};
use crate::disk::{Stopped, Task};
use crate::plan::{Fault, Slip};
use crate::process::{GROUP, Job};
use crate::sim::{Event, Sim};

impl Sim {
    /// Does what a node wants done. The process may die between any two effects.
    pub(crate) fn carry_out(&mut self, node: NodeId, effects: &mut Vec<NodeEffect>) -> Result<(), Violation> {
        for effect in effects.drain(..) {
            if let Some(left) = &mut self.processes[place(node)].crash_in {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.faults.add(Fault::Crash);
                    let power = self.trouble.chance(500);
                    return self.crash(node, power);
                }
            }
            self.story.effect(self.now, node, &effect);
            match effect {
                NodeEffect::Send { to, messages } => self.on_send(node, to, &messages)?,
                NodeEffect::Store { batch, writes } => self.on_store(node, batch, writes)?,
                NodeEffect::ReadLog { group, ask, from, through, bytes_max } => {
                    self.disk_task(node, Task::Read { group, ask, from, through, bytes_max })?;
                }
                NodeEffect::Apply { entries, .. } => self.on_apply(node, entries)?,
                NodeEffect::Snapshot { work, .. } => self.on_snapshot_work(node, work),
                NodeEffect::SendSnapshot { to, message } => self.send_snapshot(node, to, &message),
                NodeEffect::Persist { .. } => {
                    let at = self.now + self.plan.sync + self.pace.below(self.plan.patience);
                    let life = self.processes[place(node)].life;
                    self.queue.push(at, Event::PersistDone { node, life });
                }
                NodeEffect::Reply { id, reply } => {
                    self.processes[place(node)].room.on_reply(node, id, &reply)?;
                    self.on_reply(node, id, reply)?;
                }
                NodeEffect::Uses(version) => self.note_version(node, version),
                NodeEffect::Peers(_) | NodeEffect::Settled { .. } | NodeEffect::Notice(_) | NodeEffect::Drained => {}
            }
            if self.processes[place(node)].node.is_none() {
                // It died while writing: nothing after that happened.
                return Ok(());
            }
        }
        Ok(())
    }

    fn on_send(&mut self, node: NodeId, to: NodeId, messages: &[(GroupId, Message)]) -> Result<(), Violation> {
        for (_, message) in messages {
            self.checkers.on_send(node, to, message)?;
        }
        self.send(node, to, messages);
        if let Some(wish) = messages.iter().find(|(_, message)| message.body == Body::TimeoutNow) {
            self.on_timeout_now(node, to, wish);
        }
        self.maybe_ambush(node);
        Ok(())
    }

    fn on_store(&mut self, node: NodeId, batch: BatchId, writes: Vec<(GroupId, Write)>) -> Result<(), Violation> {
        for (_, write) in &writes {
            self.checkers.on_store(node, batch, write)?;
        }
        if self.has_two_programs() {
            self.processes[place(node)].check_known(&writes)?;
        }
        self.on_fetch_store(node, batch, &writes);
        self.maybe_strike_change(node, writes.iter().any(|(_, write)| changes_members(write)));
        self.disk_task(node, Task::Write(batch, writes))
    }

    fn on_apply(&mut self, node: NodeId, entries: Vec<Entry>) -> Result<(), Violation> {
        self.checkers.on_apply(node, &entries)?;
        self.maybe_strike_change(node, entries.iter().any(|entry| matches!(entry.payload, Payload::Membership(_))));
        self.machine_task(node, Job::Apply(entries));
        self.on_membership()
    }

    fn on_snapshot_work(&mut self, node: NodeId, work: SnapshotWork) {
        self.on_fetch_work(node, &work);
        let process = &mut self.processes[place(node)];
        match work {
            SnapshotWork::Read { id, to, cursor, bytes_max } => {
                if self.slip == Some(Slip::ChunksOfNow) {
                    process.renew_view(id);
                }
                let chunk = process.held.chunk(id, cursor.as_deref(), bytes_max);
                let done = SnapshotDone::Read { id, to, cursor, chunk };
                let life = process.life;
                let at = self.now + self.pace.below(self.plan.sync * 2);
                self.queue.push(at, Event::Input { node, life, input: NodeInput::Snapshot { group: GROUP, done } });
            }
            SnapshotWork::Drop(id) => process.held.remove(id),
            SnapshotWork::Finish { id, base } if self.slip == Some(Slip::InstallBeforeSwitch) => {
                // Told too early; in order all the same, so that only what a crash takes back tells.
                self.checkers.on_state(node, base.last.map(|last| last.index));
                let done = SnapshotDone::Finished { id, base: base.clone() };
                let life = process.life;
                self.queue
                    .push(self.now, Event::Input { node, life, input: NodeInput::Snapshot { group: GROUP, done } });
                self.machine_task(node, Job::Snapshot(SnapshotWork::Finish { id, base }));
            }
            work @ (SnapshotWork::Take(_)
            | SnapshotWork::Begin(_)
            | SnapshotWork::Install { .. }
            | SnapshotWork::Finish { .. }) => self.machine_task(node, Job::Snapshot(work)),
        }
    }

    /// The oldest work for the state machine is done.
    pub(crate) fn on_apply_done(&mut self, node: NodeId) -> Result<(), Violation> {
        let input = self.processes[place(node)].apply();
        if let Some(NodeInput::Applied { through, replies, .. }) = &input {
            let machine = &self.processes[place(node)].machine;
            self.checkers.on_applied(node, through.index, replies, || machine.digest())?;
        }
        if let Some(NodeInput::Snapshot { done: SnapshotDone::Finished { base, .. }, .. }) = &input {
            // Durable from here on, whether the node lives to hear of it or finds it at its next start.
            self.faults.add(Fault::Snapshot);
            let digest = self.processes[place(node)].machine.digest();
            self.checkers.on_installed(node, base.last, digest)?;
            if self.slip == Some(Slip::InstallBeforeSwitch) {
                // It was told before.
                self.begin_apply(node);
                return Ok(());
            }
            self.checkers.on_state(node, base.last.map(|last| last.index));
            if self.on_switched(node) {
                let power = self.trouble.chance(500);
                return self.crash(node, power);
            }
        }
        self.begin_apply(node);
        input.map_or(Ok(()), |input| self.hand(node, input))
    }

    fn send(&mut self, from: NodeId, to: NodeId, messages: &[(GroupId, Message)]) {
        if place(to) >= self.processes.len() {
            return;
        }
        let frame = self.framed(messages);
        self.send_frame(from, to, &frame);
    }

    fn send_snapshot(&mut self, from: NodeId, to: NodeId, message: &SnapshotMessage) {
        if place(to) >= self.processes.len() {
            return;
        }
        self.on_fetch_sent(from, to, message);
        frame::encode_snapshot(message, &mut self.spare_bytes);
        let frame = self.spare_bytes.split().freeze();
        self.send_frame(from, to, &frame);
    }

    fn send_frame(&mut self, from: NodeId, to: NodeId, frame: &Bytes) {
        if !self.talk(from, to) {
            return;
        }
        self.trace.write(frame);
        let [once, twice] = self.network.send(self.now, from, to, &self.plan.ways(), &mut self.faults);
        if once.is_none() {
            self.story.lost(self.now, from, to);
        }
        for at in [once, twice].into_iter().flatten() {
            self.queue.push(at, Event::Arrive { from, to, frame: frame.clone() });
        }
    }

    pub(crate) fn framed(&mut self, messages: &[(GroupId, Message)]) -> Bytes {
        frame::encode_messages(messages, &[], FRAME_BYTES_MAX, &mut self.spare_bytes).expect("messages are small");
        self.spare_bytes.split().freeze()
    }

    /// A frame is there.
    pub(crate) fn on_arrive(&mut self, from: NodeId, to: NodeId, frame: Bytes) -> Result<(), Violation> {
        if self.processes[place(to)].node.is_none() || self.network.is_cut(self.now, from, to) || !self.talk(from, to) {
            return Ok(());
        }
        let mut bytes = frame.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        loop {
            match frame::decode(&mut bytes, FRAME_BYTES_MAX) {
                Ok(Some(Frame::Messages(messages, _))) => self.hand(to, NodeInput::Received { from, messages })?,
                Ok(Some(Frame::Snapshot(message))) => self.hand(to, NodeInput::SnapshotMessage { from, message })?,
                Ok(None) => return Ok(()),
                other => return Err(Violation::new("what was encoded decodes", format!("{other:?}"))),
            }
        }
    }

    fn disk_task(&mut self, node: NodeId, task: Task) -> Result<(), Violation> {
        if self.processes[place(node)].disk.push(task) { self.begin_disk(node) } else { Ok(()) }
    }

    pub(crate) fn begin_disk(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.slip == Some(Slip::ReserveAtLog) && self.processes[place(node)].room.is_full() {
            return Ok(());
        }
        let process = &mut self.processes[place(node)];
        let is_slow = process.disk_slow_until > self.now;
        // Mostly one sync serves all that waits. But where it does, nobody sees what comes of one write without the next.
        let tasks_max = if self.pace.below(4) == 0 || is_slow { 1 } else { usize::MAX };
        match process.disk.begin(tasks_max) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let mut span = self.plan.sync + self.pace.below(self.plan.sync * 3);
                if is_slow {
                    span *= 20;
                }
                let at = (self.now + span).max(process.disk_stalled_until);
                let life = process.life;
                self.queue.push(at, Event::DiskDone { node, life });
                Ok(())
            }
            Err(Stopped) => self.die_writing(node),
        }
    }

    /// The sync under way is done.
    pub(crate) fn on_disk_done(&mut self, node: NodeId) -> Result<(), Violation> {
        let mut answers = Vec::new();
        let process = &mut self.processes[place(node)];
        let mut done = process.disk.finish(&mut answers);
        if done.is_ok() && process.room.is_full() {
            done = process.disk.reclaim();
        }
        match done {
            Ok(()) => self.begin_disk(node)?,
            Err(Stopped) => return self.die_writing(node),
        }
        answers.into_iter().try_for_each(|answer| self.hand(node, answer))
    }

    /// A write stopped half-way: the machine was switched off in the middle of it.
    fn die_writing(&mut self, node: NodeId) -> Result<(), Violation> {
        self.faults.add(Fault::TornWrite);
        self.crash(node, true)
    }

    fn machine_task(&mut self, node: NodeId, job: Job) {
        let process = &mut self.processes[place(node)];
        process.applying.push_back(job);
        if process.applying.len() == 1 {
            self.begin_apply(node);
        }
    }

    /// Begins with the oldest work for the state machine.
    pub(crate) fn begin_apply(&mut self, node: NodeId) {
        let process = &self.processes[place(node)];
        if process.applying.is_empty() {
            return;
        }
        let slow = if process.apply_slow_until > self.now { 50 } else { 1 };
        let at = self.now + self.pace.below(self.plan.way * slow);
        self.queue.push(at, Event::ApplyDone { node, life: process.life });
    }
}

fn changes_members(write: &Write) -> bool {
    matches!(write, Write::Append(entries) if entries.iter().any(|entry| matches!(entry.payload, Payload::Membership(_))))
}
