//! CASPaxos registers: some acceptors, some that only propose, and a user at each that reads, changes and deletes a few
//! registers. Who accepts stays as it is.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_invariants::RegisterInvariants;
#[cfg(feature = "weakened")]
use hezong_paxos::register::Weakness;
use hezong_paxos::register::{Change, Config, Event, Registers, Request, Saved};
use hezong_script::register::RegisterDialect;

use super::{Outcome, Subject};

/// The registers' names.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// One set of nodes.
#[derive(Clone, Debug)]
pub struct RegisterSubject {
    acceptors: u8,
    /// How many propose only.
    others: u8,
    /// How many registers users want something of: few make for more conflicts.
    keys: u8,
    /// Of ten changes, how many delete.
    deletes: u64,
    /// How many registers a proposer remembers.
    remembered: usize,
    /// How long a tombstone waits, as a part of the yardstick.
    collect_part: u32,
    invariants: RegisterInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<Weakness>,
}

impl Subject for RegisterSubject {
    type Invariants = RegisterInvariants;
    type Dialect = RegisterDialect;
    type Machine = ();

    const UNSEEN: &'static [&'static str] = &["MembershipJumps"];
    fn draw(rng: &mut Rng, _weakness: Option<&str>) -> Self {
        let acceptors = [2, 3, 3, 3, 4, 5][rng.below(6) as usize];
        Self {
            acceptors,
            others: rng.below(3) as u8,
            keys: 1 + rng.below(KEYS.len() as u64) as u8,
            deletes: rng.below(6),
            remembered: [0, 1, 8][rng.below(3) as usize],
            collect_part: [4, 16, 64][rng.below(3) as usize],
            invariants: RegisterInvariants { acceptors },
            #[cfg(feature = "weakened")]
            weakness: super::subject::named(&Weakness::ALL, _weakness),
        }
    }

    fn weaknesses() -> Vec<(String, &'static str)> {
        #[cfg(not(feature = "weakened"))]
        return Vec::new();
        #[cfg(feature = "weakened")]
        Weakness::ALL.iter().map(|it| (format!("{it:?}"), it.origin())).collect()
    }

    fn invariants(&self) -> &RegisterInvariants {
        &self.invariants
    }

    fn nodes(&self) -> u64 {
        u64::from(self.acceptors + self.others)
    }

    fn config(&self, id: NodeId, patience: Duration) -> Config {
        let mut config = Config::new(id, (1..=u64::from(self.acceptors)).map(NodeId).collect());
        config.proposers = (1..=self.nodes()).map(NodeId).collect();
        config.resend_interval = patience / 4;
        (config.backoff_min, config.backoff_max) = (patience / 16, patience * 2);
        config.change_timeout = patience * 3;
        config.collect_delay = patience / self.collect_part;
        config.collect_tries_max = 3;
        config.rounds_reserved = 3;
        config.remembered_max = self.remembered;
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn disk(&self, _: NodeId) -> Saved {
        Saved::default()
    }

    fn machine(&self, _: &Saved) {}

    fn request(&self, node: &Registers, nth: u64, rng: &mut Rng) -> Option<Request> {
        let key = KEYS[rng.below(u64::from(self.keys)) as usize];
        // Unlike all others, and none ends in another, so that what came of it is told from what came of those.
        let value = Bytes::from(format!(".{nth}"));
        let version = node.register(key.as_bytes()).and_then(|register| register.accepted.as_ref()?.state.version);
        let change = match rng.below(10) {
            draw if draw < self.deletes => Change::Delete,
            6 => Change::Set(value),
            7 => Change::InitialiseIfEmpty(value),
            8 => match version {
                Some(expected) => Change::CompareAndSet { expected, value },
                None => Change::Append(value),
            },
            5 | 9 => Change::Read,
            _ => Change::Append(value),
        };
        Some(Request::Change { key: Bytes::from(key), change })
    }

    fn hear(&self, (): &mut (), event: &Event, rng: &mut Rng) -> Vec<Request> {
        match event {
            // Whoever operates the nodes wants the room back, and asks again.
            Event::NotCollected(key) if rng.chance(500) => vec![Request::Collect(key.clone())],
            _ => Vec::new(),
        }
    }

    fn outcome(&self, event: &Event) -> Option<(RequestId, Outcome)> {
        match event {
            Event::Done { id, .. } => Some((*id, Outcome::Done)),
            Event::Refused { id, .. } | Event::Unknown { id } => Some((*id, Outcome::Failed)),
            Event::Collected(_) | Event::NotCollected(_) | Event::Reconfigured { .. } | Event::Rewritten { .. } => None,
        }
    }

    fn answer(&self, (): &mut (), _: &Saved, ask: &Infallible) -> Infallible {
        match *ask {}
    }

    fn is_well(&self, _: &[&Registers], _: &[&()], served: &[bool]) -> bool {
        served.iter().all(|served| *served)
    }
}
