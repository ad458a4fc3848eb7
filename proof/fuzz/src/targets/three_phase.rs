//! `ThreePhase::handle`: a coordinator, participant and backup of atomic commits. Its assumption does not hold here, so that
//! only what is left without it is looked at.

use std::collections::{BTreeMap, BTreeSet};

use hezong_base::{NodeId, RequestId, Rng};
use hezong_commit::three_phase::{Message, Saved, ThreePhase};
use hezong_commit::{Config, Event, Fenced, Outcome, Request, TransactionId};

use super::alone::{Subject, US, World};
use super::random;
use super::two_phase::{answered, anybody, config, known, outcome, request, transaction};

/// What was seen of a node.
#[derive(Default)]
pub(super) struct Seen {
    /// How each of its transactions ends, once that was on disk: in all lives.
    concluded: BTreeMap<u64, Outcome>,
    /// What its user was asked about in this life, and what it found in doubt.
    users: BTreeSet<TransactionId>,
    /// How each ends here, once that was on disk: in all lives.
    ends: BTreeMap<TransactionId, Outcome>,
    done: bool,
}

impl Subject for ThreePhase {
    type Seen = Seen;

    fn config() -> Config {
        config()
    }

    fn message(world: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Message {
        let tx = if rng.chance(500) { known(rng, &world.seen.users) } else { transaction(rng) };
        let ours = TransactionId { coordinator: US, ..tx };
        match rng.below(12) {
            0..=3 => {
                let tx = if rng.chance(900) { TransactionId { coordinator: from, ..transaction(rng) } } else { tx };
                let mut participants = anybody(rng);
                if rng.chance(900) {
                    participants.insert(US);
                }
                Message::CanCommit { tx, work: random::blob(rng), participants }
            }
            4 => Message::Vote { tx: ours, yes: rng.chance(700) },
            5 => Message::PreCommit(tx),
            6 => Message::Ready(ours),
            7 | 8 => Message::Decision { tx, outcome: outcome(rng) },
            9 => Message::Acknowledged(ours),
            10 => Message::StateRequest { tx, recovering: rng.chance(300) },
            _ => Message::State { tx, pre_committed: rng.chance(400), recovering: rng.chance(300) },
        }
    }

    fn reply(_: &mut World<Self>, rng: &mut Rng, _: NodeId, to: &Message) -> Option<Message> {
        match to {
            Message::CanCommit { tx, .. } => Some(Message::Vote { tx: *tx, yes: rng.chance(900) }),
            Message::Vote { tx, .. } => Some(Message::PreCommit(*tx)),
            Message::PreCommit(tx) => Some(Message::Ready(*tx)),
            Message::Ready(tx) => Some(Message::Decision { tx: *tx, outcome: outcome(rng) }),
            Message::Decision { tx, .. } => Some(Message::Acknowledged(*tx)),
            Message::StateRequest { tx, .. } => {
                Some(Message::State { tx: *tx, pre_committed: rng.chance(400), recovering: rng.chance(200) })
            }
            Message::Acknowledged(_) | Message::State { .. } => None,
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
        let (disk, seen, tx) = (&world.disk, &world.seen, message.tx());
        let is_begun = tx.coordinator == US && Some(tx.number) <= disk.last;
        let is_over = disk.fences.find(tx) != Fenced::Open;
        let is_promised = disk.promised.contains_key(&tx) || is_over;
        let is_stored = match message {
            Message::CanCommit { .. } => is_begun,
            Message::Vote { yes, .. } => !*yes || is_promised,
            Message::PreCommit(_) | Message::StateRequest { .. } => is_begun || is_promised,
            // Who knows of nobody else's vote says so before its own is on disk.
            Message::State { pre_committed, recovering, .. } => is_promised || (!*pre_committed && !*recovering),
            Message::Ready(_) => is_promised,
            Message::Decision { outcome: Outcome::Committed, .. } => {
                let concluded = seen.concluded.get(&tx.number).filter(|_| tx.coordinator == US);
                concluded == Some(&Outcome::Committed) || seen.ends.get(&tx) == Some(&Outcome::Committed)
            }
            // What was never promised, or comes so late that it counts as over, was aborted.
            Message::Decision { outcome: Outcome::Aborted, .. } => {
                let concluded = seen.concluded.get(&tx.number).filter(|_| tx.coordinator == US);
                let end = seen.ends.get(&tx);
                concluded != Some(&Outcome::Committed)
                    && end != Some(&Outcome::Committed)
                    && (is_over || concluded.is_some() || end.is_some())
            }
            Message::Acknowledged(_) => is_over,
        };
        assert!(is_stored, "{message:?} is said, where {disk:?} is stored");
    }

    fn check_told(world: &mut World<Self>, event: &Event) {
        let seen = &mut world.seen;
        match event {
            Event::Outcome { tx, outcome, .. } => {
                assert_eq!(seen.concluded.get(&tx.number), Some(outcome), "{tx} is told to end so");
                seen.done |= *outcome == Outcome::Committed;
            }
            Event::Refused { .. } => {}
            Event::Prepare { tx, .. } => {
                seen.users.insert(*tx);
            }
            Event::InDoubt { tx, work } => {
                let held = world.disk.promised.get(tx).map(|promise| &promise.work);
                assert_eq!(held, Some(work), "what was promised is told as it was");
                seen.users.insert(*tx);
            }
            Event::Apply { tx, outcome } => {
                assert!(seen.users.contains(tx), "{tx} ends so, and the user never heard of it");
                // It may have ended before the user was told to prepare it.
                let end = seen.ends.get(tx).copied().or_else(|| world.disk.fences.outcome(*tx));
                assert_eq!(end, Some(*outcome), "{tx} is to end so, and that is not on disk");
                seen.done = true;
            }
        }
    }

    fn check(world: &mut World<Self>) {
        let (coordinated, joined) = world.node.under_way();
        let most = config().transactions_max;
        // As many again may be on their way to the disk, aborted.
        assert!(coordinated <= most && joined <= 2 * most);
    }

    fn stored(seen: &mut Seen, disk: &Saved) {
        assert!(disk.promised.len() <= config().transactions_max);
        assert!(disk.begun.len() <= config().transactions_max);
        for (number, outcome) in disk.begun.iter().filter_map(|(number, (_, outcome))| Some((*number, (*outcome)?))) {
            let known = seen.concluded.entry(number).or_insert(outcome);
            assert_eq!(*known, outcome, "transaction {number} of ours ends in two ways");
        }
        let users = seen.users.iter().filter_map(|tx| Some((*tx, disk.fences.outcome(*tx)?)));
        let decided = disk.promised.iter().filter_map(|(tx, promise)| Some((*tx, promise.decided?)));
        for (tx, outcome) in users.chain(decided) {
            let known = seen.ends.entry(tx).or_insert(outcome);
            assert_eq!(*known, outcome, "{tx} ends in two ways");
        }
    }

    fn forget(seen: &mut Seen) {
        seen.users.clear();
    }

    fn has_done(seen: &Seen) -> bool {
        seen.done
    }
}
