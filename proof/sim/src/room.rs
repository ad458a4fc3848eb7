//! Disks that fill up: below its reserve a node takes no write of a client, and everything else goes on.

use std::collections::BTreeSet;

use hezong_base::{NodeId, RequestId};
use hezong_node::{ClientRequest, NodeInput, Refused, Reply};

use crate::check::{Violation, place};
use crate::moment::Moment;
use crate::plan::{Fault, Slip};
use crate::sim::{Event, Sim};

const PROPERTY: &str = "below the reserve";

/// How full a machine's disk is.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Below the reserve, and after so many deletes no more.
    full: Option<u64>,
    /// From when on the node knows.
    known_at: u64,
    /// What the node was told last.
    told: bool,
    /// Writes asked for while there was no room for them.
    barred: BTreeSet<RequestId>,
}

impl Room {
    /// Whether the disk is below its reserve.
    pub(crate) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// The process dies: the next one knows nothing.
    pub(crate) fn forget(&mut self) {
        self.told = false;
        self.barred.clear();
    }

    /// Something arrives for the node, which may stand still and look at it later, in order.
    pub(crate) fn on_arrival(&mut self, now: u64, input: &NodeInput) {
        if let NodeInput::Request { id, request: ClientRequest::Propose { frees_space: false, .. }, .. } = input
            && self.is_full()
            && self.known_at <= now
        {
            self.barred.insert(*id);
        }
    }

    /// The node is told how things are.
    pub(crate) fn on_told(&mut self, below: bool) {
        self.told = below;
    }

    /// The node answers.
    pub(crate) fn on_reply(&mut self, node: NodeId, id: RequestId, reply: &Reply) -> Result<(), Violation> {
        let barred = self.barred.remove(&id);
        match reply {
            Reply::Refused(Refused::DiskFull) if !self.told => {
                Err(Violation::new(PROPERTY, format!("{node} refuses {id} for want of room, of which there is enough")))
            }
            Reply::Done { .. } | Reply::Unknown if barred => {
                Err(Violation::new(PROPERTY, format!("{node} takes {id}, for which there is no room: {reply:?}")))
            }
            _ => Ok(()),
        }
    }
}

impl Sim {
    /// Free space falls below the reserve: of one machine, or of all, as equal disks do.
    pub(crate) fn fill_disks(&mut self, until: u64) {
        self.faults.add(Fault::FullDisk);
        let victim = self.victim();
        let all = self.trouble.chance(500);
        for place in 0..self.processes.len() {
            let node = self.processes[place].id;
            if all || node == victim {
                let deletes = 1 + self.trouble.below(4);
                self.fill_disk(node, deletes);
                self.queue.push(until, Event::DiskGrown { node });
            }
        }
    }

    /// Until `deletes` were done or the disk grows.
    pub(crate) fn fill_disk(&mut self, node: NodeId, deletes: u64) {
        self.processes[place(node)].room.full = Some(deletes);
        self.story.say(self.now, node, "has a full disk");
        self.tell_room(node);
    }

    /// A disk is made larger, unless everything is healed: then all are, at once.
    pub(crate) fn on_disk_grown(&mut self, node: NodeId) -> Result<(), Violation> {
        if self.healed.is_some() { Ok(()) } else { self.make_room(node, Moment::RoomByGrowth) }
    }

    /// All disks are made larger.
    pub(crate) fn grow_disks(&mut self) -> Result<(), Violation> {
        (0..self.processes.len()).try_for_each(|place| self.make_room(self.processes[place].id, Moment::RoomByGrowth))
    }

    /// A client deleted something, everywhere.
    pub(crate) fn on_deleted(&mut self) -> Result<(), Violation> {
        for place in 0..self.processes.len() {
            let process = &mut self.processes[place];
            let node = process.id;
            if let Some(left) = &mut process.room.full {
                *left -= 1;
                if *left == 0 {
                    self.make_room(node, Moment::RoomByDeletes)?;
                }
            }
        }
        Ok(())
    }

    fn make_room(&mut self, node: NodeId, how: Moment) -> Result<(), Violation> {
        if self.processes[place(node)].room.full.take().is_none() {
            return Ok(());
        }
        self.moments.add(how);
        self.story.say(self.now, node, "has room again");
        self.tell_room(node);
        if self.slip == Some(Slip::ReserveAtLog) { self.begin_disk(node) } else { Ok(()) }
    }

    /// The process is told how things are, a little later.
    pub(crate) fn tell_room(&mut self, node: NodeId) {
        let delay = self.pace.below(self.plan.way);
        let process = &mut self.processes[place(node)];
        process.room.known_at = process.room.known_at.max(self.now + delay);
        let (at, life, below) = (process.room.known_at, process.life, process.room.is_full());
        self.queue.push(at, Event::Input { node, life, input: NodeInput::DiskReserve { below } });
    }
}
