//! `Tcc::handle`: a coordinator and branch of Try-Confirm-Cancel.

use std::collections::{BTreeMap, BTreeSet};

use hezong_base::{NodeId, RequestId, Rng};
use hezong_commit::tcc::{Message, Saved, Tcc};
use hezong_commit::{Config, Event, Fenced, Outcome, Request, TransactionId};

use super::alone::{Subject, US, World};
use super::random;
use super::two_phase::{answered, config, known, outcome, request, transaction};

/// What was seen of a node.
#[derive(Default)]
pub(super) struct Seen {
    /// Which of its transactions were on disk to be confirmed at some time.
    confirmed: BTreeSet<u64>,
    /// What its user was asked about in this life, or is told anew.
    users: BTreeSet<TransactionId>,
    /// How each ends, once that was on disk: in all lives.
    ends: BTreeMap<TransactionId, Outcome>,
    done: bool,
}

impl Subject for Tcc {
    type Seen = Seen;

    fn config() -> Config {
        config()
    }

    fn message(world: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Message {
        let mut tx = if rng.chance(500) { known(rng, &world.seen.users) } else { transaction(rng) };
        if rng.chance(500) {
            tx.coordinator = from;
        }
        let ours = TransactionId { coordinator: US, ..tx };
        match rng.below(9) {
            0..=2 => Message::Try { tx, work: random::blob(rng) },
            3 => Message::Tried { tx: ours, yes: rng.chance(700) },
            4 | 5 => Message::Confirm(tx),
            6 | 7 => Message::Cancel(tx),
            _ => Message::Done { tx: ours, outcome: outcome(rng) },
        }
    }

    fn reply(_: &mut World<Self>, rng: &mut Rng, _: NodeId, to: &Message) -> Option<Message> {
        match to {
            Message::Try { tx, .. } => Some(Message::Tried { tx: *tx, yes: rng.chance(900) }),
            Message::Tried { tx, .. } if rng.chance(600) => Some(Message::Confirm(*tx)),
            Message::Tried { tx, .. } => Some(Message::Cancel(*tx)),
            Message::Confirm(tx) => Some(Message::Done { tx: *tx, outcome: Outcome::Committed }),
            Message::Cancel(tx) => Some(Message::Done { tx: *tx, outcome: Outcome::Aborted }),
            Message::Done { .. } => None,
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
        let (over, is_ours) = (disk.fences.find(tx), tx.coordinator == US);
        let is_stored = match message {
            Message::Try { .. } => is_ours && Some(tx.number) <= disk.last,
            Message::Tried { yes, .. } => !*yes || disk.tried.contains_key(&tx) || over != Fenced::Open,
            Message::Confirm(_) => is_ours && world.seen.confirmed.contains(&tx.number),
            Message::Cancel(_) => is_ours && !world.seen.confirmed.contains(&tx.number) && Some(tx.number) <= disk.last,
            Message::Done { outcome, .. } => over == Fenced::Finished(*outcome) || over == Fenced::Forgotten,
        };
        assert!(is_stored, "{message:?} is said, where {disk:?} is stored");
    }

    fn check_told(world: &mut World<Self>, event: &Event) {
        let seen = &mut world.seen;
        match event {
            Event::Outcome { tx, outcome, .. } => {
                let is_confirmed = seen.confirmed.contains(&tx.number);
                assert_eq!(is_confirmed, *outcome == Outcome::Committed, "{tx} is told to end {outcome:?}");
                seen.done |= is_confirmed;
            }
            Event::Refused { .. } => {}
            Event::Prepare { tx, .. } => {
                seen.users.insert(*tx);
            }
            Event::InDoubt { tx, work } => {
                let held = world.disk.tried.get(tx).map(|(work, _)| work);
                assert_eq!(held, Some(work), "what was reserved is told as it was");
                seen.users.insert(*tx);
            }
            Event::Apply { tx, outcome } => {
                assert!(seen.users.contains(tx), "{tx} ends so, and the user never heard of it");
                let stored = seen.ends.get(tx).copied().or(world.disk.fences.outcome(*tx));
                // What comes so late that it counts as over was never reserved.
                let is_late = world.disk.fences.find(*tx) == Fenced::Forgotten && *outcome == Outcome::Aborted;
                assert!(stored == Some(*outcome) || is_late, "{tx} ends {outcome:?}, where {stored:?} is stored");
                seen.done = true;
            }
        }
    }

    fn check(world: &mut World<Self>) {
        let (coordinated, joined) = world.node.under_way();
        assert!(coordinated <= config().transactions_max && joined <= config().transactions_max);
    }

    fn stored(seen: &mut Seen, disk: &Saved) {
        let confirmed = disk.begun.iter().filter(|(_, (_, confirmed))| *confirmed);
        seen.confirmed.extend(confirmed.map(|(number, _)| *number));
        assert!(disk.tried.len() <= config().transactions_max);
        let users = seen.users.iter().filter_map(|tx| Some((*tx, disk.fences.outcome(*tx)?)));
        let decided = disk.tried.iter().filter_map(|(tx, (_, decided))| Some((*tx, (*decided)?)));
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
