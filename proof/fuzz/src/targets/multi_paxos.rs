//! `MultiPaxos::handle`: the log under a master.

use std::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_paxos::multi::{
    Answer, Ask, Base, Config, Entry, Event, Members, Message, MultiPaxos, Request, SLOT_MAX, Saved, Slot, SnapshotId,
    Value,
};
use hezong_paxos::{Ballot, ROUND_MAX};

use super::alone::{Subject, US, World, counted, members};
use super::random;

/// What was seen of a node with a log.
#[derive(Default)]
pub(super) struct Seen {
    before: Saved,
    /// The slot after the last that it told of in this life.
    told: Slot,
    open: Slot,
    done: bool,
}

/// Mostly near the end of what is known to be chosen.
fn slot(world: &World<MultiPaxos>, rng: &mut Rng) -> Slot {
    let open = world.node.open().0;
    match rng.below(8) {
        0 => Slot(counted(rng, SLOT_MAX)),
        1 => world.node.first(),
        _ => Slot((open + rng.below(5)).saturating_sub(1).max(1)),
    }
}

fn anybody(rng: &mut Rng) -> NodeId {
    NodeId(1 + rng.below(5))
}

/// Mostly near what is promised.
fn ballot(world: &World<MultiPaxos>, rng: &mut Rng, node: NodeId) -> Ballot {
    let round = match rng.below(6) {
        0 => counted(rng, ROUND_MAX),
        _ => (world.node.round() + rng.below(3)).saturating_sub(1).max(1),
    };
    Ballot { round, node }
}

/// The ballot of ours that is under way, as a rule.
fn ours(world: &World<MultiPaxos>, rng: &mut Rng) -> Ballot {
    world.node.ballot().filter(|_| rng.chance(900)).unwrap_or_else(|| ballot(world, rng, US))
}

fn few(rng: &mut Rng) -> Members {
    (0..rng.below(5)).map(|_| anybody(rng)).collect()
}

fn value(rng: &mut Rng, ballot: Ballot, slot: Slot) -> Value {
    match rng.below(8) {
        0 => Value::NoOp,
        1 => Value::Members(few(rng)),
        2 => Value::Command(random::blob(rng)),
        // Of those who are honest a ballot has one value in a slot.
        _ => Value::Command(Bytes::from(format!("{ballot} {slot}"))),
    }
}

fn entry(world: &World<MultiPaxos>, rng: &mut Rng, slot: Slot) -> Entry {
    let node = anybody(rng);
    let ballot = ballot(world, rng, node);
    Entry { ballot, value: value(rng, ballot, slot) }
}

fn entries(world: &World<MultiPaxos>, rng: &mut Rng, from: Slot) -> Vec<Entry> {
    (0..rng.below(4)).map(|at| entry(world, rng, from.plus(at))).collect()
}

fn accepted(world: &World<MultiPaxos>, rng: &mut Rng, open: Slot) -> BTreeMap<Slot, Entry> {
    let at = |rng: &mut Rng| if rng.chance(900) { open.plus(rng.below(4)) } else { slot(world, rng) };
    (0..rng.below(3))
        .map(|_| {
            let slot = at(rng);
            (slot, entry(world, rng, slot))
        })
        .collect()
}

fn base(world: &World<MultiPaxos>, rng: &mut Rng) -> Base {
    let first = slot(world, rng);
    let mut seats: BTreeMap<Slot, Members> = [(Slot::FIRST, members())].into();
    if rng.chance(300) {
        seats.insert(slot(world, rng), few(rng));
    }
    Base { first, members: seats }
}

impl Subject for MultiPaxos {
    type Seen = Seen;

    fn config() -> Config {
        let mut config = Config::new(US, (1..=3).map(NodeId).collect());
        (config.alpha, config.members_max, config.value_bytes_max) = (3, 4, 200);
        (config.waiting_max, config.waiting_bytes_max, config.unapplied_max) = (4, 400, 8);
        (config.kept_max, config.kept_bytes_max, config.log_bytes_max) = (3, 600, 3_000);
        (config.batch_bytes_max, config.unstored_bytes_max) = (300, 1_500);
        config
    }

    fn message(world: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Message {
        let node = if rng.chance(950) { from } else { anybody(rng) };
        let (his, ours, at) = (ballot(world, rng, node), ours(world, rng), slot(world, rng));
        match rng.below(16) {
            0 | 1 => Message::Prepare { ballot: his, from: at },
            2 => Message::Promise { ballot: ours, open: at, accepted: accepted(world, rng, at) },
            3..=6 => Message::Accept { ballot: his, slot: at, value: value(rng, his, at), open: slot(world, rng) },
            7 => Message::Accepted { ballot: ours, slot: at },
            8 => {
                let promised = anybody(rng);
                Message::Nack { ballot: ours, promised: ballot(world, rng, promised) }
            }
            9 | 10 => Message::Heartbeat { ballot: his, open: at, round: super::raft::number(rng) },
            11 => Message::HeartbeatAck { ballot: ours, round: super::raft::number(rng) },
            12 => Message::CatchUp { from: at },
            13 | 14 => Message::Entries { from: at, entries: entries(world, rng, at), open: slot(world, rng) },
            _ => Message::Snapshot { id: SnapshotId(rng.next_u64()), base: base(world, rng) },
        }
    }

    fn reply(world: &mut World<Self>, rng: &mut Rng, _: NodeId, to: &Message) -> Option<Message> {
        Some(match to {
            Message::Prepare { ballot, from } => {
                let open = if rng.chance(900) { *from } else { slot(world, rng) };
                let accepted = if rng.chance(300) { accepted(world, rng, open) } else { BTreeMap::new() };
                Message::Promise { ballot: *ballot, open, accepted }
            }
            Message::Accept { ballot, slot, .. } => Message::Accepted { ballot: *ballot, slot: *slot },
            Message::Heartbeat { ballot, round, .. } => Message::HeartbeatAck { ballot: *ballot, round: *round },
            Message::CatchUp { from } => {
                let entries = entries(world, rng, *from);
                Message::Entries { from: *from, entries, open: slot(world, rng) }
            }
            Message::Promise { .. }
            | Message::Accepted { .. }
            | Message::Nack { .. }
            | Message::HeartbeatAck { .. }
            | Message::Entries { .. }
            | Message::Snapshot { .. } => return None,
        })
    }

    fn request(world: &World<Self>, rng: &mut Rng) -> Request {
        match rng.below(8) {
            0..=2 => Request::Propose(random::blob(rng)),
            3 => Request::Read,
            4 => Request::Reconfigure(few(rng)),
            // Nobody has applied what was not told of.
            _ => Request::Applied(Slot(world.seen.told.0.saturating_sub(1 + rng.below(2)))),
        }
    }

    fn answer(rng: &mut Rng, to: Option<&Ask>) -> Option<Answer> {
        Some(match to {
            Some(Ask::TakeSnapshot { .. }) => Answer::SnapshotTaken(rng.chance(800).then(|| Slot(rng.below(9)))),
            Some(Ask::FetchSnapshot { .. }) => Answer::SnapshotFetched(rng.chance(800)),
            None if rng.chance(500) => Answer::SnapshotTaken(Some(Slot(counted(rng, SLOT_MAX)))),
            None => Answer::SnapshotFetched(true),
        })
    }

    fn answered(event: &Event) -> Option<RequestId> {
        match event {
            Event::Done { id, .. } | Event::Readable { id, .. } | Event::Refused { id, .. } | Event::Unknown { id } => {
                Some(*id)
            }
            Event::Chosen { .. } | Event::MasterChanged(_) => None,
        }
    }

    fn check_sent(world: &World<Self>, message: &Message) {
        let disk = &world.disk;
        let is_ours = |ballot: Ballot| ballot.node == US && ballot.round <= disk.round;
        let is_stored = match message {
            Message::Prepare { ballot, .. } | Message::Accept { ballot, .. } | Message::Heartbeat { ballot, .. } => {
                is_ours(*ballot)
            }
            Message::Promise { ballot, .. } | Message::HeartbeatAck { ballot, .. } => Some(*ballot) <= disk.promised,
            Message::Accepted { ballot, slot } => {
                // What is chosen may be held as of an earlier ballot, or be gone.
                let held = disk.entries.get(slot).map(|entry| entry.ballot);
                Some(*ballot) <= disk.promised && (*slot < world.node.open() || Some(*ballot) <= held)
            }
            Message::Nack { promised, .. } => Some(*promised) <= disk.promised,
            Message::CatchUp { .. } | Message::Entries { .. } | Message::Snapshot { .. } => true,
        };
        assert!(is_stored, "{message:?} is said, where {disk:?} is stored");
    }

    fn check_told(world: &mut World<Self>, event: &Event) {
        let seen = &mut world.seen;
        match event {
            Event::Chosen { slot, .. } => {
                // Whatever is left out came in a snapshot.
                let is_next = *slot == seen.told || (*slot > seen.told && *slot >= world.node.first());
                assert!(is_next, "{slot} is told of behind {}", seen.told);
                (seen.told, seen.done) = (slot.next(), true);
            }
            Event::Done { slot, .. } => {
                assert!(*slot < seen.told, "what is done was told of before");
                seen.done = true;
            }
            Event::Readable { until, .. } => {
                assert!(*until > world.now, "a lease is not over");
                seen.done = true;
            }
            Event::Refused { .. } | Event::Unknown { .. } | Event::MasterChanged(_) => {}
        }
    }

    fn check(world: &mut World<Self>) {
        let (node, config) = (&world.node, Self::config());
        assert!(node.open() >= world.seen.open, "what is chosen stays so");
        world.seen.open = node.open();
        assert!(node.first() <= node.open());
        let last = node.entries().last();
        assert!(
            last.is_none_or(|(slot, _)| slot.since(node.open()) <= config.unapplied_max),
            "it holds what is far ahead"
        );
        let held: usize = node.entries().filter_map(|(_, entry)| size(&entry.value)).sum();
        assert!(held <= config.log_bytes_max + config.value_bytes_max, "{held} bytes are held");
    }

    fn stored(seen: &mut Seen, disk: &Saved) {
        let before = &seen.before;
        assert!(before.promised <= disk.promised, "a promise is kept");
        assert!(before.round <= disk.round && before.open <= disk.open, "nothing comes back");
        assert!(before.base.as_ref().map(|base| base.first) <= disk.base.as_ref().map(|base| base.first));
        seen.before.clone_from(disk);
    }

    fn forget(seen: &mut Seen) {
        (seen.told, seen.open) = (Slot::FIRST, Slot::FIRST);
    }

    fn has_done(seen: &Seen) -> bool {
        seen.done
    }
}

fn size(value: &Value) -> Option<usize> {
    match value {
        Value::Command(bytes) => Some(bytes.len()),
        Value::NoOp | Value::Members(_) => None,
    }
}
