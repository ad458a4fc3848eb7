//! `TwoPhase::handle`: a coordinator and participant of atomic commits.

use std::collections::{BTreeMap, BTreeSet};

use hezong_base::{NodeId, RequestId, Rng};
use hezong_commit::two_phase::{Message, Saved, TwoPhase};
use hezong_commit::{Config, Event, Fenced, NUMBER_MAX, Outcome, Request, TransactionId, Work};

use super::alone::{Subject, US, World, counted, members};
use super::random;

/// What was seen of a node.
#[derive(Default)]
pub(super) struct Seen {
    /// Of which of its transactions the commit was on disk at some time.
    committed: BTreeSet<u64>,
    /// What its user was asked about or has voted for in this life, and what it found in doubt.
    users: BTreeSet<TransactionId>,
    /// How each was told to end in this life, since the user was asked last.
    ends: BTreeMap<TransactionId, Outcome>,
    done: bool,
}

pub(super) fn config() -> Config {
    let mut config = Config::new(US, members());
    (config.transactions_max, config.work_bytes_max) = (4, 200);
    config
}

pub(super) fn transaction(rng: &mut Rng) -> TransactionId {
    TransactionId { coordinator: NodeId(1 + rng.below(5)), number: counted(rng, NUMBER_MAX) }
}

/// One that it may know.
pub(super) fn known(rng: &mut Rng, users: &BTreeSet<TransactionId>) -> TransactionId {
    let at = usize::try_from(rng.below(users.len().max(1) as u64)).unwrap_or(0);
    users.iter().nth(at).copied().filter(|_| rng.chance(900)).unwrap_or_else(|| transaction(rng))
}

pub(super) fn outcome(rng: &mut Rng) -> Outcome {
    if rng.chance(600) { Outcome::Committed } else { Outcome::Aborted }
}

pub(super) fn anybody(rng: &mut Rng) -> BTreeSet<NodeId> {
    (0..1 + rng.below(3)).map(|_| NodeId(1 + rng.below(5))).collect()
}

/// What a user asks for.
pub(super) fn request(rng: &mut Rng, users: &BTreeSet<TransactionId>) -> Request {
    match rng.below(10) {
        0..=2 => Request::Begin(anybody(rng).into_iter().map(|id| (id, random::blob(rng))).collect::<Work>()),
        3..=6 => Request::Vote { tx: known(rng, users), yes: rng.chance(850) },
        _ => Request::Applied(known(rng, users)),
    }
}

pub(super) fn answered(event: &Event) -> Option<RequestId> {
    match event {
        Event::Outcome { id, .. } | Event::Refused { id, .. } => Some(*id),
        Event::Prepare { .. } | Event::InDoubt { .. } | Event::Apply { .. } => None,
    }
}

impl Subject for TwoPhase {
    type Seen = Seen;

    fn config() -> Config {
        config()
    }

    fn message(world: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Message {
        let tx = if rng.chance(500) { known(rng, &world.seen.users) } else { transaction(rng) };
        match rng.below(9) {
            0..=3 => {
                let tx = if rng.chance(900) { TransactionId { coordinator: from, ..transaction(rng) } } else { tx };
                let mut participants = anybody(rng);
                if rng.chance(900) {
                    participants.insert(US);
                }
                Message::Prepare { tx, work: random::blob(rng), participants }
            }
            4 => Message::Vote { tx: TransactionId { coordinator: US, ..tx }, yes: rng.chance(700) },
            5 | 6 => Message::Decision { tx, outcome: outcome(rng) },
            7 => Message::Acknowledged(TransactionId { coordinator: US, ..tx }),
            _ => Message::Inquiry(tx),
        }
    }

    fn reply(_: &mut World<Self>, rng: &mut Rng, _: NodeId, to: &Message) -> Option<Message> {
        match to {
            Message::Prepare { tx, .. } => Some(Message::Vote { tx: *tx, yes: rng.chance(900) }),
            Message::Vote { tx, .. } | Message::Inquiry(tx) => {
                Some(Message::Decision { tx: *tx, outcome: outcome(rng) })
            }
            Message::Decision { tx, outcome: Outcome::Committed } => Some(Message::Acknowledged(*tx)),
            Message::Decision { .. } | Message::Acknowledged(_) => None,
        }
    }

    fn request(world: &World<Self>, rng: &mut Rng) -> Request {
        request(rng, &world.seen.users)
    }

    fn answer(_: &mut Rng, to: Option<&std::convert::Infallible>) -> Option<std::convert::Infallible> {
        to.map(|never| match *never {})
    }

    fn answered(event: &Event) -> Option<RequestId> {
        answered(event)
    }

    fn check_sent(world: &World<Self>, message: &Message) {
        let (disk, tx) = (&world.disk, message.tx());
        let is_over = disk.fences.find(tx) != Fenced::Open;
        let is_stored = match message {
            Message::Prepare { .. } => tx.coordinator == US && Some(tx.number) <= disk.numbers,
            Message::Vote { yes, .. } => !*yes || disk.prepared.contains_key(&tx) || is_over,
            Message::Decision { outcome: Outcome::Committed, .. } if tx.coordinator == US => {
                world.seen.committed.contains(&tx.number)
            }
            Message::Decision { outcome: Outcome::Aborted, .. } if tx.coordinator == US => {
                // Once all have acknowledged a commit, nobody who is honest asks.
                !disk.committed.contains_key(&tx.number)
            }
            // Somebody told us, or we refuse it for good.
            Message::Decision { .. } => true,
            Message::Acknowledged(_) => is_over,
            Message::Inquiry(_) => disk.prepared.contains_key(&tx) || is_over,
        };
        assert!(is_stored, "{message:?} is said, where {disk:?} is stored");
    }

    fn check_told(world: &mut World<Self>, event: &Event) {
        let seen = &mut world.seen;
        match event {
            Event::Outcome { tx, outcome: Outcome::Committed, .. } => {
                assert!(seen.committed.contains(&tx.number), "{tx} is committed, and that is not on disk");
                seen.done = true;
            }
            Event::Outcome { tx, outcome: Outcome::Aborted, .. } => {
                assert!(!seen.committed.contains(&tx.number), "{tx} is aborted, and was committed");
            }
            Event::Refused { .. } => {}
            Event::Prepare { tx, .. } => {
                seen.users.insert(*tx);
                seen.ends.remove(tx);
            }
            Event::InDoubt { tx, work } => {
                let held = world.disk.prepared.get(tx).map(|(work, _)| work);
                assert_eq!(held, Some(work), "what was promised is told as it was");
                seen.users.insert(*tx);
            }
            Event::Apply { tx, outcome } => {
                assert!(seen.users.contains(tx), "{tx} ends so, and the user never heard of it");
                assert_eq!(seen.ends.insert(*tx, *outcome).unwrap_or(*outcome), *outcome, "{tx} ends in two ways");
                seen.done = true;
            }
        }
    }

    fn check(world: &mut World<Self>) {
        let (coordinated, joined) = world.node.under_way();
        assert!(coordinated <= config().transactions_max && joined <= config().transactions_max);
    }

    fn stored(seen: &mut Seen, disk: &Saved) {
        seen.committed.extend(disk.committed.keys());
        assert!(disk.prepared.len() <= config().transactions_max);
        assert!(disk.committed.keys().all(|number| Some(*number) <= disk.numbers));
    }

    fn forget(seen: &mut Seen) {
        seen.users.clear();
        seen.ends.clear();
    }

    fn has_done(seen: &Seen) -> bool {
        seen.done
    }
}
