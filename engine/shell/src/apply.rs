//! The state machines: apply what the node hands out, in its order, and make it durable when asked.
//!
//! One thread serves all groups, because a machine has few disks and a state machine that is busy delays the others no
//! more than the disk would; while they are quick, whoever learns what is committed, a peer's reader or the writer of the
//! log, applies it itself, which saves waking that thread. Persisting and snapshots are that thread's alone: a disk has no
//! promise to be quick. A state machine that fails stops the process: going on would let this replica drift.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hezong_base::GroupId;
use hezong_node::{NodeInput, SnapshotDone, SnapshotWork, StateError, StateMachine};
use hezong_raft::Entry;

use crate::inbox::Inbox;
use crate::snapshot::Held;
use crate::threads::{Shared, stop_process, with_causes};

/// The state machines of a node.
pub type StateMachines = BTreeMap<GroupId, Box<dyn StateMachine>>;

/// What reaches the thread. Bounded by the node, which hands out no more before it has heard back.
pub(crate) enum Job {
    Apply {
        group: GroupId,
        entries: Vec<Entry>,
    },
    Persist {
        group: GroupId,
    },
    /// All but reading and dropping, which are others' matter.
    Snapshot {
        group: GroupId,
        work: SnapshotWork,
    },
}

impl Job {
    /// Whose job it is, and of how many entries, if of any.
    fn size(&self) -> (GroupId, Option<usize>) {
        match self {
            Self::Apply { group, entries } => (*group, Some(entries.len())),
            Self::Persist { group } | Self::Snapshot { group, .. } => (*group, None),
        }
    }
}

/// Jobs that took longer altogether are not quick: far above what a few commands take, far below a heartbeat.
const QUICK: Duration = Duration::from_millis(5);

/// The state machines of a node while it runs.
pub(crate) struct Machines {
    /// What is to be done. Quiet: whoever puts something in decides who does it.
    pub(crate) inbox: Inbox<Job>,
    /// Locked by whoever works.
    machines: Mutex<StateMachines>,
    /// The snapshots held for others.
    held: Arc<Held>,
    /// Whether what was done last was quick.
    quick: AtomicBool,
}

impl Machines {
    pub(crate) fn new(machines: StateMachines, held: Arc<Held>) -> Self {
        let inbox = Inbox::quiet(usize::MAX);
        Self { inbox, machines: Mutex::new(machines), held, quick: AtomicBool::new(true) }
    }

    /// Applies what waits on this thread, if that is quick, nobody is at it and nothing else waits; else leaves it to the
    /// thread for it.
    pub(crate) fn work_here(&self, shared: &Shared) {
        if let Ok(mut machines) = self.machines.try_lock()
            && self.quick.load(Ordering::Relaxed)
        {
            let mut jobs = Vec::new();
            self.inbox.take_if_all(&mut jobs, |job| matches!(job, Job::Apply { .. }));
            self.work(shared, &mut machines, jobs);
        }
        // Also for what came after we took what we took.
        self.inbox.wake();
    }

    fn work(&self, shared: &Shared, machines: &mut StateMachines, jobs: Vec<Job>) {
        let (worked, taken) = (!jobs.is_empty(), Instant::now());
        for job in jobs {
            if shared.is_abandoned() {
                return;
            }
            let (waited, began) = (self.inbox.waited() + taken.elapsed(), Instant::now());
            let (group, entries) = job.size();
            let done = work(shared, &self.held, machines, job);
            shared.slow.apply(group, entries, waited, began.elapsed());
            shared.report(done);
        }
        // A turn without jobs says nothing of how quick they are.
        if worked {
            self.quick.store(taken.elapsed() < QUICK, Ordering::Relaxed);
        }
        shared.room.look(shared);
    }
}

/// The thread for it: works until the inbox is closed and empty. While the disk is below its reserve, what deletes have
/// left behind is given back to it now and then.
pub(crate) fn run(shared: &Shared, machines: &Machines) {
    let interval = shared.room.interval();
    let mut reclaimed = Instant::now();
    while machines.inbox.wait(interval) {
        let mut locked = machines.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = Vec::new();
        machines.inbox.take_now(&mut jobs);
        machines.work(shared, &mut locked, jobs);
        if shared.room.is_below() && interval.is_some_and(|interval| reclaimed.elapsed() >= interval) {
            for (group, machine) in &mut *locked {
                machine
                    .reclaim()
                    .unwrap_or_else(|error| stop_process(&format_args!("group {}: {}", group.0, with_causes(&error))));
            }
            reclaimed = Instant::now();
        }
    }
}

fn work(shared: &Shared, held: &Held, machines: &mut StateMachines, job: Job) -> NodeInput {
    let (Job::Apply { group, .. } | Job::Persist { group } | Job::Snapshot { group, .. }) = &job;
    let group = *group;
    let machine = machines.get_mut(&group).expect("the node opens only groups that have a state machine");
    let outcome = match job {
        Job::Apply { entries, .. } => machine.apply(&entries).map(|replies| {
            assert_eq!(replies.len(), entries.len(), "{group}: a state machine gives one reply an entry");
            shared.metrics.applied.add(entries.len());
            shared.room.wrote(entries.iter().map(Entry::bytes).sum());
            let through = entries.last().expect("the node hands out no empty batch").id;
            NodeInput::Applied { group, through, replies }
        }),
        Job::Persist { .. } => machine.persist().map(|durable| {
            shared.metrics.persists.add(1);
            NodeInput::Persisted { group, durable }
        }),
        Job::Snapshot { work, .. } => {
            if let SnapshotWork::Install { chunk, .. } = &work {
                shared.room.wrote(chunk.bytes.len());
            }
            on_snapshot(held, group, machine.as_mut(), work).map(|done| NodeInput::Snapshot { group, done })
        }
    };
    outcome.unwrap_or_else(|error| stop_process(&format_args!("group {}: {}", group.0, with_causes(&error))))
}

fn on_snapshot(
    held: &Held,
    group: GroupId,
    machine: &mut dyn StateMachine,
    work: SnapshotWork,
) -> Result<SnapshotDone, StateError> {
    Ok(match work {
        SnapshotWork::Take(id) => {
            let snapshot = machine.snapshot()?;
            let last = snapshot.as_ref().map(|snapshot| snapshot.last());
            snapshot.into_iter().for_each(|snapshot| held.insert(group, id, snapshot));
            SnapshotDone::Taken { id, last }
        }
        SnapshotWork::Begin(id) => SnapshotDone::Begun { id, begun: machine.begin(id)? },
        SnapshotWork::Install { id, chunk } => SnapshotDone::Installed { id, understood: machine.install(id, &chunk)? },
        SnapshotWork::Finish { id, base } => {
            machine.finish(id, &base)?;
            SnapshotDone::Finished { id, base }
        }
        SnapshotWork::Read { .. } | SnapshotWork::Drop(_) => unreachable!("no matter of the state machine"),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use bytes::Bytes;
    use hezong_base::{Index, LogId, Term};
    use hezong_raft::{Base, Payload};

    use super::*;
    use crate::room::Room;

    const GROUP: GroupId = GroupId(1);

    /// Takes its time over every entry.
    struct Takes(Duration);

    impl StateMachine for Takes {
        fn applied(&self) -> Result<Option<Base>, StateError> {
            Ok(None)
        }

        fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
            thread::sleep(self.0);
            Ok(vec![Bytes::new(); entries.len()])
        }

        fn persist(&mut self) -> Result<Option<LogId>, StateError> {
            Ok(None)
        }
    }

    fn machines(takes: Duration) -> Machines {
        let machine: Box<dyn StateMachine> = Box::new(Takes(takes));
        Machines::new([(GROUP, machine)].into(), Arc::default())
    }

    fn apply() -> Job {
        let id = LogId { term: Term(1), index: Index(1) };
        Job::Apply { group: GROUP, entries: vec![Entry { id, time: Duration::ZERO, payload: Payload::Empty }] }
    }

    #[test]
    fn work_here_applies_and_leaves_the_disk_to_the_thread() {
        let (shared, machines) = (Shared::new(usize::MAX, Room::endless(), None), machines(Duration::ZERO));
        machines.inbox.push(apply(), 0);
        machines.work_here(&shared);
        assert_eq!(machines.inbox.depth().0, 0);
        for job in [Job::Persist { group: GROUP }, apply()] {
            machines.inbox.push(job, 0);
            let waiting = machines.inbox.depth().0;
            machines.work_here(&shared);
            assert_eq!(machines.inbox.depth().0, waiting, "what comes behind it is not done before it");
        }
        machines.inbox.close();
        run(&shared, &machines);
        assert_eq!(machines.inbox.depth().0, 0);
    }

    #[test]
    fn work_here_leaves_slow_machines_to_the_thread() {
        let (shared, machines) = (Shared::new(usize::MAX, Room::endless(), None), machines(QUICK * 2));
        machines.inbox.push(apply(), 0);
        machines.work_here(&shared);
        machines.work(&shared, &mut machines.machines.lock().unwrap(), Vec::new());
        machines.inbox.push(apply(), 0);
        machines.work_here(&shared);
        assert_eq!(machines.inbox.depth().0, 1, "a turn without work does not make them quick");
    }
}
