//! Multi-Paxos: members that change in some runs, users who propose and read at whoever takes itself for the master, and machines
//! that apply what they are told.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_invariants::MultiPaxosInvariants;
#[cfg(feature = "weakened")]
use hezong_paxos::multi::Weakness;
use hezong_paxos::multi::{Answer, Ask, Config, Event, Members, MultiPaxos, Request, Role, Saved, Slot};
use hezong_script::multi_paxos::MultiPaxosDialect;

use super::trouble::CLOCK_PPM;
use super::{Outcome, Subject};

/// One log.
#[derive(Clone, Debug)]
pub struct MultiPaxosSubject {
    nodes: u64,
    /// Of a thousand requests, how many are reads.
    reads: u64,
    /// The same of changes of members.
    changes: u64,
    invariants: MultiPaxosInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<Weakness>,
}

impl Subject for MultiPaxosSubject {
    type Invariants = MultiPaxosInvariants;
    type Dialect = MultiPaxosDialect;
    /// The first slot that is not applied.
    type Machine = Slot;

    const UNSEEN: &'static [&'static str] =
        &["LeaseFromReply", "LeaseWithoutDrift", "LeaseOverridden", "LeaseForgotten"];
    fn draw(rng: &mut Rng, _weakness: Option<&str>) -> Self {
        let members = [2, 3, 3, 3, 4, 5][rng.below(6) as usize];
        let changes = if rng.chance(500) { 0 } else { 100 };
        Self {
            nodes: members + if changes > 0 { rng.below(3) } else { 0 },
            reads: [100, 500, 900][rng.below(3) as usize],
            changes,
            invariants: MultiPaxosInvariants { members: (1..=members).map(NodeId).collect(), alpha: 1 + rng.below(4) },
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

    fn invariants(&self) -> &MultiPaxosInvariants {
        &self.invariants
    }

    fn nodes(&self) -> u64 {
        self.nodes
    }

    fn config(&self, id: NodeId, patience: Duration) -> Config {
        let mut config = Config::new(id, self.invariants.members.clone());
        config.alpha = self.invariants.alpha;
        config.lease = patience;
        config.drift_ppm = CLOCK_PPM as u32;
        config.heartbeat_interval = patience / 5;
        config.campaign_pause = patience / 10;
        (config.kept_max, config.unapplied_max, config.batch_bytes_max) = (4, 12, 300);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn disk(&self, _: NodeId) -> Saved {
        Saved::default()
    }

    fn machine(&self, saved: &Saved) -> Slot {
        saved.base.as_ref().map_or(Slot::FIRST, |base| base.first)
    }

    fn request(&self, node: &MultiPaxos, nth: u64, rng: &mut Rng) -> Option<Request> {
        if node.role() != Role::Master && rng.chance(900) {
            return None;
        }
        if rng.chance(self.reads) {
            return Some(Request::Read);
        }
        if rng.chance(self.changes) {
            let mut members: Members = (1..=self.nodes).map(NodeId).filter(|_| rng.chance(600)).collect();
            members.insert(NodeId(1 + rng.below(self.nodes)));
            return Some(Request::Reconfigure(members));
        }
        Some(Request::Propose(Bytes::from(format!("v{nth}"))))
    }

    fn hear(&self, machine: &mut Slot, event: &Event, rng: &mut Rng) -> Vec<Request> {
        let Event::Chosen { slot, .. } = event else { return Vec::new() };
        *machine = slot.next().max(*machine);
        if rng.chance(500) { vec![Request::Applied(*slot)] } else { Vec::new() }
    }

    fn idle(&self, machine: &mut Slot, rng: &mut Rng) -> Option<Request> {
        // However late: a machine that never says so has its node take in nothing any more.
        (machine.0 > 1 && rng.chance(200)).then(|| Request::Applied(Slot(machine.0 - 1)))
    }

    fn outcome(&self, event: &Event) -> Option<(RequestId, Outcome)> {
        match event {
            Event::Chosen { .. } | Event::MasterChanged(_) => None,
            Event::Done { id, .. } | Event::Readable { id, .. } => Some((*id, Outcome::Done)),
            Event::Refused { id, .. } | Event::Unknown { id } => Some((*id, Outcome::Failed)),
        }
    }

    fn answer(&self, machine: &mut Slot, _: &Saved, ask: &Ask) -> Answer {
        match ask {
            Ask::TakeSnapshot { .. } => Answer::SnapshotTaken((machine.0 > 1).then(|| Slot(machine.0 - 1))),
            Ask::FetchSnapshot { base, .. } => {
                *machine = base.first.max(*machine);
                Answer::SnapshotFetched(true)
            }
        }
    }

    fn is_well(&self, nodes: &[&MultiPaxos], _: &[&Slot], served: &[bool]) -> bool {
        let Some(furthest) = nodes.iter().max_by_key(|node| node.open()) else { return false };
        let (members, open) = (furthest.members_at(furthest.open()), furthest.open());
        let knows = |node: &&&MultiPaxos| open.since(node.open()) <= self.invariants.alpha;
        served.iter().any(|served| *served)
            && nodes.iter().filter(|node| members.contains(&node.id())).all(|node| knows(&node))
    }
}
