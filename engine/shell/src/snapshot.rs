//! Snapshots that are held for other nodes, and the thread that reads them: chunk after chunk of a large state comes from
//! the disk, and neither the state machine nor the log should wait for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hezong_base::{GroupId, NodeId};
use hezong_node::{NodeInput, Snapshot, SnapshotDone, StateError};
use hezong_raft::SnapshotId;

use crate::inbox::Inbox;
use crate::threads::Shared;

/// The snapshots a node holds.
#[derive(Default)]
pub(crate) struct Held(Mutex<BTreeMap<(GroupId, SnapshotId), Arc<dyn Snapshot>>>);

/// A chunk that is wanted.
pub(crate) struct Reading {
    pub(crate) group: GroupId,
    pub(crate) id: SnapshotId,
    pub(crate) to: NodeId,
    pub(crate) cursor: Option<Bytes>,
    pub(crate) bytes_max: usize,
}

impl Held {
    pub(crate) fn insert(&self, group: GroupId, id: SnapshotId, snapshot: Arc<dyn Snapshot>) {
        self.lock().insert((group, id), snapshot);
    }

    pub(crate) fn remove(&self, group: GroupId, id: SnapshotId) {
        self.lock().remove(&(group, id));
    }

    fn get(&self, group: GroupId, id: SnapshotId) -> Option<Arc<dyn Snapshot>> {
        self.lock().get(&(group, id)).map(Arc::clone)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(GroupId, SnapshotId), Arc<dyn Snapshot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the inbox is closed and empty.
pub(crate) fn read(shared: &Arc<Shared>, inbox: &Inbox<Reading>, held: &Held) {
    let mut readings = Vec::new();
    while inbox.take(&mut readings, None) {
        for Reading { group, id, to, cursor, bytes_max } in readings.drain(..) {
            if shared.is_abandoned() {
                return;
            }
            // The one who fetches asks elsewhere. A state that cannot be read is for the state machine to find, unless it is
            // known to be damaged.
            let chunk = held.get(group, id).and_then(|snapshot| {
                let read = snapshot.chunk(cursor.as_deref(), bytes_max);
                let failed = |error: &StateError| {
                    tracing::error!("snapshot {id} of group {} cannot be read: {error}", group.0);
                    if let StateError::Damaged(damage) = error {
                        shared.state_damaged(damage);
                    }
                };
                read.inspect_err(failed).ok()
            });
            let done = SnapshotDone::Read { id, to, cursor, chunk };
            shared.report(NodeInput::Snapshot { group, done });
        }
    }
}
