//! Basic Paxos: some acceptors, some that only learn, and a user at each who proposes a value of its own, again and again.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_invariants::{PaxosInvariants, Proposals};
#[cfg(feature = "weakened")]
use hezong_paxos::basic::Weakness;
use hezong_paxos::basic::{Config, Event, Paxos, Request, Saved};
use hezong_script::paxos::PaxosDialect;

use super::{Outcome, Subject};

/// One instance.
#[derive(Clone, Debug)]
pub struct PaxosSubject {
    acceptors: u8,
    learners: u8,
    invariants: PaxosInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<Weakness>,
}

impl Subject for PaxosSubject {
    type Invariants = PaxosInvariants;
    type Dialect = PaxosDialect;
    type Machine = ();

    fn draw(rng: &mut Rng, _weakness: Option<&str>) -> Self {
        let acceptors = [2, 3, 3, 3, 4, 5][rng.below(6) as usize];
        Self {
            acceptors,
            learners: rng.below(3) as u8,
            invariants: PaxosInvariants { acceptors, proposals: Proposals::Asked },
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

    fn invariants(&self) -> &PaxosInvariants {
        &self.invariants
    }

    fn nodes(&self) -> u64 {
        u64::from(self.acceptors + self.learners)
    }

    fn config(&self, id: NodeId, patience: Duration) -> Config {
        let acceptors = u64::from(self.acceptors);
        let mut config = Config::new(id, (1..=acceptors).map(NodeId).collect());
        config.learners = (acceptors + 1..=self.nodes()).map(NodeId).collect();
        config.resend_interval = patience / 4;
        (config.backoff_min, config.backoff_max) = (patience / 16, patience * 2);
        config.learn_timeout = patience;
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

    fn request(&self, _: &Paxos, nth: u64, _: &mut Rng) -> Option<Request> {
        Some(Request::Propose(Bytes::from(format!("v{nth}"))))
    }

    fn hear(&self, (): &mut (), _: &Event, _: &mut Rng) -> Vec<Request> {
        Vec::new()
    }

    fn outcome(&self, event: &Event) -> Option<(RequestId, Outcome)> {
        match event {
            Event::Chosen(_) => None,
            Event::Answered { id, .. } => Some((*id, Outcome::Done)),
            Event::Refused { id, .. } => Some((*id, Outcome::Failed)),
        }
    }

    fn answer(&self, (): &mut (), _: &Saved, ask: &Infallible) -> Infallible {
        match *ask {}
    }

    fn is_over(&self, saved: &[&Saved]) -> bool {
        saved.iter().all(|saved| saved.chosen.is_some())
    }

    fn is_well(&self, nodes: &[&Paxos], _: &[&()], served: &[bool]) -> bool {
        served.iter().all(|served| *served) && nodes.iter().all(|node| node.chosen().is_some())
    }
}
