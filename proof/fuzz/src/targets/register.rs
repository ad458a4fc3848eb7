//! `Registers::handle`: CASPaxos, with all its roles in one node.

use std::collections::BTreeMap;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_paxos::register::{
    Age, Body, Change, Config, Epoch, Event, Membership, Message, Proposal, Registers, Request, Saved, State,
};
use hezong_paxos::{Ballot, ROUND_MAX};

use super::alone::{Subject, US, World, counted, members};
use super::random;

/// What was seen of a register node.
#[derive(Default)]
pub(super) struct Seen {
    before: Saved,
    /// The highest that was promised of each register and accepted in it, on disk: what is forgotten may begin anew before an
    /// answer that waited for it is said.
    highest: BTreeMap<Bytes, (Ballot, Option<Ballot>)>,
    done: bool,
}

fn key(rng: &mut Rng) -> Bytes {
    match rng.below(40) {
        0 => random::blob(rng),
        at => Bytes::from(vec![b'a' + u8::try_from(at % 3).unwrap_or(0)]),
    }
}

fn ballot(rng: &mut Rng, node: NodeId) -> Ballot {
    Ballot { round: counted(rng, ROUND_MAX), node }
}

fn anybody(rng: &mut Rng) -> NodeId {
    NodeId(1 + rng.below(5))
}

fn age(rng: &mut Rng) -> Age {
    Age(counted(rng, ROUND_MAX).saturating_sub(1))
}

/// Of those who are honest each ballot has one state; mostly these are.
fn proposal(rng: &mut Rng, ballot: Ballot) -> Proposal {
    let mut state = State { version: Some(ballot), previous: None, value: Some(Bytes::from(format!("{ballot}"))) };
    match rng.below(8) {
        0 => state.value = None,
        1 => state.value = Some(random::blob(rng)),
        2 => {
            let node = anybody(rng);
            state.version = rng.chance(700).then(|| self::ballot(rng, node));
        }
        3 => {
            let node = anybody(rng);
            state.previous = Some(self::ballot(rng, node));
        }
        _ => {}
    }
    Proposal { ballot, state }
}

fn ages(rng: &mut Rng) -> BTreeMap<NodeId, Age> {
    (0..rng.below(4)).map(|_| (anybody(rng), age(rng))).collect()
}

/// What of a register was on disk.
fn was_held(seen: &Seen, message: &Message, check: impl Fn(Ballot, Option<Ballot>) -> bool) -> bool {
    seen.highest.get(&message.key).is_some_and(|(promised, accepted)| check(*promised, *accepted))
}

impl Subject for Registers {
    type Seen = Seen;

    fn config() -> Config {
        let mut config = Config::new(US, members());
        config.acceptors = (1..=3).map(NodeId).collect();
        (config.waiting_max, config.registers_max, config.remembered_max, config.collect_max) = (4, 6, 2, 2);
        (config.key_bytes_max, config.value_bytes_max, config.unstored_bytes_max) = (20, 200, 2_000);
        (config.rounds_reserved, config.collect_tries_max) = (3, 2);
        config
    }

    fn message(_: &mut World<Self>, rng: &mut Rng, from: NodeId) -> Message {
        let node = if rng.chance(950) { from } else { anybody(rng) };
        let (his, ours) = (ballot(rng, node), ballot(rng, US));
        let body = match rng.below(13) {
            0 | 1 => Body::Prepare { age: age(rng), ballot: his },
            2..=4 => {
                let next = rng.chance(600).then(|| ballot(rng, node));
                Body::Accept { age: age(rng), proposal: proposal(rng, his), next }
            }
            5 => {
                let accepted = rng.chance(500).then(|| proposal(rng, his));
                Body::Promise { ballot: ours, accepted }
            }
            6 => Body::Accepted { ballot: ours },
            7 => {
                let promised = anybody(rng);
                Body::Nack { ballot: ours, promised: ballot(rng, promised) }
            }
            8 => Body::Retire { tombstone: his, epoch: Epoch(rng.below(2)) },
            9 => Body::Retired { tombstone: ours, age: age(rng) },
            10 | 11 => Body::Erase { tombstone: his, ages: ages(rng) },
            _ => Body::Erased { tombstone: ours },
        };
        Message { key: key(rng), body }
    }

    fn reply(_: &mut World<Self>, rng: &mut Rng, _: NodeId, to: &Message) -> Option<Message> {
        let body = match &to.body {
            Body::Prepare { ballot, .. } => {
                let node = anybody(rng);
                let earlier = self::ballot(rng, node);
                let accepted = rng.chance(400).then(|| proposal(rng, earlier));
                Body::Promise { ballot: *ballot, accepted: accepted.filter(|known| known.ballot < *ballot) }
            }
            Body::Accept { proposal, .. } => Body::Accepted { ballot: proposal.ballot },
            Body::Retire { tombstone, .. } => Body::Retired { tombstone: *tombstone, age: age(rng) },
            Body::Erase { tombstone, .. } => Body::Erased { tombstone: *tombstone },
            Body::Promise { .. }
            | Body::Accepted { .. }
            | Body::Nack { .. }
            | Body::Retired { .. }
            | Body::Erased { .. } => return None,
        };
        Some(Message { key: to.key.clone(), body })
    }

    fn request(world: &World<Self>, rng: &mut Rng) -> Request {
        let change = match rng.below(8) {
            0 | 1 => Change::Read,
            2 => Change::Set(random::blob(rng)),
            3 => Change::InitialiseIfEmpty(random::blob(rng)),
            4 => {
                let node = anybody(rng);
                Change::CompareAndSet { expected: ballot(rng, node), value: random::blob(rng) }
            }
            5 => Change::Append(random::blob(rng)),
            _ => Change::Delete,
        };
        match rng.below(12) {
            0 => Request::Collect(key(rng)),
            1 => {
                let Membership { epoch, mut acceptors } = world.node.membership().clone();
                let whom = anybody(rng);
                if !acceptors.remove(&whom) {
                    acceptors.insert(whom);
                }
                let epoch = if rng.chance(900) { epoch.0.saturating_add(1) } else { super::raft::number(rng) };
                Request::Reconfigure(Membership { epoch: Epoch(epoch), acceptors })
            }
            2 => Request::Rewrite,
            _ => Request::Change { key: key(rng), change },
        }
    }

    fn answer(_: &mut Rng, to: Option<&std::convert::Infallible>) -> Option<std::convert::Infallible> {
        to.map(|never| match *never {})
    }

    fn answered(event: &Event) -> Option<RequestId> {
        match event {
            Event::Done { id, .. }
            | Event::Refused { id, .. }
            | Event::Unknown { id }
            | Event::Reconfigured { id, .. }
            | Event::Rewritten { id, .. } => Some(*id),
            Event::Collected(_) | Event::NotCollected(_) => None,
        }
    }

    fn check_sent(world: &World<Self>, message: &Message) {
        let disk = &world.disk;
        let is_ours = |ballot: Ballot| ballot.node == US && ballot.round <= disk.reserved;
        let is_stored = match &message.body {
            Body::Prepare { age, ballot } => *age <= disk.age && is_ours(*ballot),
            Body::Accept { age, proposal, next } => {
                *age <= disk.age && is_ours(proposal.ballot) && next.is_none_or(is_ours)
            }
            Body::Promise { ballot, accepted } => was_held(&world.seen, message, |promised, held| {
                *ballot <= promised && accepted.as_ref().map(|told| told.ballot) <= held
            }),
            Body::Accepted { ballot } => was_held(&world.seen, message, |_, held| Some(*ballot) <= held),
            Body::Nack { promised: told, .. } => was_held(&world.seen, message, |promised, _| *told <= promised),
            Body::Retired { tombstone, age } => *age <= disk.age && tombstone.round <= disk.reserved,
            // All hold it, all have written down what they told; or whoever told us that lied, and it is here again.
            Body::Retire { .. } | Body::Erase { .. } | Body::Erased { .. } => true,
        };
        assert!(is_stored, "{message:?} is said, where {disk:?} is stored");
    }

    fn check_told(world: &mut World<Self>, event: &Event) {
        match event {
            Event::Done { .. } => world.seen.done = true,
            Event::Reconfigured { epoch, .. } => {
                let stored = world.disk.membership.as_ref().map(|membership| membership.epoch).unwrap_or_default();
                assert!(*epoch <= stored, "a membership is in use that a crash undoes");
            }
            Event::Refused { .. }
            | Event::Unknown { .. }
            | Event::Collected(_)
            | Event::NotCollected(_)
            | Event::Rewritten { .. } => {}
        }
    }

    fn check(world: &mut World<Self>) {
        let config = Self::config();
        let (held, remembered) = world.node.sizes();
        assert!(held <= config.registers_max && remembered <= config.remembered_max);
    }

    fn stored(seen: &mut Seen, disk: &Saved) {
        let before = &seen.before;
        for (key, register) in &disk.registers {
            let accepted = register.accepted.as_ref().map(|accepted| accepted.ballot);
            assert!(accepted <= Some(register.promised), "what is accepted is promised");
            let highest = seen.highest.entry(key.clone()).or_insert((register.promised, accepted));
            *highest = (highest.0.max(register.promised), highest.1.max(accepted));
            if let Some(before) = before.registers.get(key) {
                let had = before.accepted.as_ref().map(|accepted| accepted.ballot);
                assert!(
                    before.promised <= register.promised && had <= accepted,
                    "a promise is kept, until it is forgotten"
                );
            }
        }
        assert!(before.reserved <= disk.reserved && before.age <= disk.age, "neither rounds nor ages come back");
        assert!(before.ages.iter().all(|(node, age)| Some(age) <= disk.ages.get(node)), "ages grow");
        seen.before.clone_from(disk);
    }

    fn has_done(seen: &Seen) -> bool {
        seen.done
    }
}
