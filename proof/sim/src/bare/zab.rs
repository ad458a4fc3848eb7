//! ZAB: voters, observers, and a user at each who proposes, asks for `sync`, and has a state machine that reports what it has
//! durably, now and then, so that histories are cut and those who are behind need snapshots.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_invariants::ZabInvariants;
use hezong_script::zab::ZabDialect;
#[cfg(feature = "weakened")]
use hezong_zab::Weakness;
use hezong_zab::{Answer, Ask, Config, Event, Request, Role, Saved, Zab, Zxid};

use super::{Outcome, Subject};
use crate::check::place;

/// Voters and observers.
const NODES_MAX: usize = 7;

/// An ensemble.
#[derive(Clone, Debug)]
pub struct ZabSubject {
    observers: u8,
    /// The last counter of an epoch, and how much history is kept for those who were away.
    counter_max: u32,
    history_kept: usize,
    /// How many in a thousand deliveries are followed by a report.
    reports: u64,
    /// How many in a thousand requests are `sync`s.
    syncs: u64,
    /// How long each node waits for the other side of a session, in halves of patience. Where they differ, a leader may believe
    /// that it leads while others, which wait less, have another one already.
    limits: [u32; NODES_MAX],
    invariants: ZabInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<Weakness>,
}

impl Subject for ZabSubject {
    type Invariants = ZabInvariants;
    type Dialect = ZabDialect;
    /// The last transaction that the state machine has.
    type Machine = Option<Zxid>;

    const IN_ORDER: bool = true;
    const UNSEEN: &'static [&'static str] = &["RepeatedEpochCounted"];

    fn draw(rng: &mut Rng, _weakness: Option<&str>) -> Self {
        let voters = [2, 3, 3, 3, 3, 5][rng.below(6) as usize];
        Self {
            observers: rng.below(3) as u8,
            counter_max: if rng.chance(300) { 2 + rng.below(6) as u32 } else { 0xffff_fffe },
            history_kept: rng.below(6) as usize,
            reports: [0, 100, 500, 1_000][rng.below(4) as usize],
            syncs: [100, 300, 600][rng.below(3) as usize],
            limits: if rng.chance(500) {
                [6; NODES_MAX]
            } else {
                [(); NODES_MAX].map(|()| [1, 2, 6, 16][rng.below(4) as usize])
            },
            invariants: ZabInvariants { voters },
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

    fn invariants(&self) -> &ZabInvariants {
        &self.invariants
    }

    fn nodes(&self) -> u64 {
        u64::from(self.invariants.voters + self.observers)
    }

    fn config(&self, id: NodeId, patience: Duration) -> Config {
        let voters = u64::from(self.invariants.voters);
        let mut config = Config::new(id, (1..=voters).map(NodeId).collect());
        config.observers = (voters + 1..=self.nodes()).map(NodeId).collect();
        config.finalize_wait = patience / 8;
        (config.notify_interval_min, config.notify_interval_max) = (patience / 8, patience);
        config.ping_interval = patience / 4;
        let limit = patience / 2 * self.limits[place(id)];
        (config.sync_limit, config.init_limit) = (limit, limit + patience * 5);
        (config.counter_max, config.history_kept) = (self.counter_max, self.history_kept);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn disk(&self, _: NodeId) -> Saved {
        Saved::default()
    }

    fn machine(&self, saved: &Saved) -> Option<Zxid> {
        // The rest comes again.
        saved.history.base()
    }

    fn request(&self, _: &Zab, nth: u64, rng: &mut Rng) -> Option<Request> {
        let propose = || Request::Propose(Bytes::from(format!("v{nth}")));
        Some(if rng.chance(self.syncs) { Request::Sync } else { propose() })
    }

    fn hear(&self, machine: &mut Option<Zxid>, event: &Event, rng: &mut Rng) -> Vec<Request> {
        let Event::Delivered { zxid, .. } = event else { return Vec::new() };
        // What it has already comes again behind a snapshot whose session has ended. Beyond a hole it takes nothing.
        let is_next = match machine {
            Some(last) if last.epoch == zxid.epoch => last.counter.checked_add(1) == Some(zxid.counter),
            Some(last) => last.epoch < zxid.epoch && zxid.counter == 1,
            None => zxid.counter == 1,
        };
        if is_next {
            *machine = Some(*zxid);
        }
        let last = machine.filter(|_| rng.chance(self.reports));
        last.map(Request::Applied).into_iter().collect()
    }

    fn outcome(&self, event: &Event) -> Option<(RequestId, Outcome)> {
        match event {
            Event::Delivered { request, .. } => request.map(|id| (id, Outcome::Done)),
            Event::Synced { id } => Some((*id, Outcome::Done)),
            Event::Refused { id, .. } | Event::Unknown { id } => Some((*id, Outcome::Failed)),
            Event::Standing(_) => None,
        }
    }

    fn answer(&self, machine: &mut Option<Zxid>, _: &Saved, ask: &Ask) -> Answer {
        match ask {
            Ask::TakeSnapshot(_) => Answer::Taken(*machine),
            Ask::InstallSnapshot { last, .. } => {
                *machine = (*machine).max(Some(*last));
                Answer::Installed(true)
            }
        }
    }

    fn is_well(&self, nodes: &[&Zab], _: &[&Option<Zxid>], served: &[bool]) -> bool {
        let leaders = nodes.iter().filter(|node| node.role() == Role::Leading).count();
        let serves = |node: &&Zab| matches!(node.role(), Role::Leading | Role::Following(_));
        leaders == 1 && nodes.iter().all(serves) && served.iter().all(|served| *served)
    }
}
