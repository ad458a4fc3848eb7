//! Two-phase commit whose coordinator is replicated: members, of whom one acts and is asked by its user for transactions, and
//! participants with resources as in `commit.rs`.

use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Rng};
use hezong_commit::two_phase::TwoPhase;
use hezong_commit::{Request, Work};
use hezong_invariants::ReplicatedInvariants;
#[cfg(feature = "weakened")]
use hezong_replicated::Weakness;
use hezong_replicated::{Config, Event, Replicated};
use hezong_script::replicated::ReplicatedDialect;

use super::subject::{AnswerOf, AskOf, SavedOf};
use super::{Outcome, Resource, Subject, TwoPhaseSubject};

/// Members and participants.
pub struct ReplicatedSubject {
    members: u64,
    participants: u64,
    /// How many applied entries are kept, so that members that are behind need the fold.
    log_kept: u64,
    /// The users of participants.
    users: TwoPhaseSubject,
    invariants: ReplicatedInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<Weakness>,
    /// Of the commit protocol.
    #[cfg(feature = "weakened")]
    inner_weakness: Option<hezong_commit::Weakness>,
}

impl ReplicatedSubject {
    fn participants(&self) -> impl Iterator<Item = NodeId> + Clone + use<> {
        (self.members + 1..=self.members + self.participants).map(NodeId)
    }

    /// This for some of the participants.
    fn work(&self, part: &str, rng: &mut Rng) -> Work {
        let (count, first) = (1 + rng.below(self.participants), rng.below(self.participants));
        let chosen = self.participants().cycle().skip(first as usize).take(count as usize);
        chosen.map(|id| (id, Bytes::copy_from_slice(part.as_bytes()))).collect()
    }
}

impl Subject for ReplicatedSubject {
    type Invariants = ReplicatedInvariants;
    type Dialect = ReplicatedDialect;
    type Machine = Resource;

    // Who acts beside its successor does so for a moment only, where clocks run alike.
    const UNSEEN: &'static [&'static str] = &["UnbegunAborts"];

    fn draw(rng: &mut Rng, _weakness: Option<&str>) -> Self {
        let members = [1, 3, 3, 3, 5][rng.below(5) as usize];
        let participants = 2 + rng.below(3);
        Self {
            members,
            participants,
            log_kept: 1 + rng.below(20),
            users: TwoPhaseSubject::draw(rng, None),
            invariants: ReplicatedInvariants::new(NodeId(members + participants + 1)),
            #[cfg(feature = "weakened")]
            weakness: super::subject::named(&Weakness::ALL, _weakness),
            #[cfg(feature = "weakened")]
            inner_weakness: super::subject::named(&hezong_commit::Weakness::REPLICATED, _weakness),
        }
    }

    fn weaknesses() -> Vec<(String, &'static str)> {
        #[cfg(not(feature = "weakened"))]
        return Vec::new();
        #[cfg(feature = "weakened")]
        {
            let inner = hezong_commit::Weakness::REPLICATED.iter().map(|it| (format!("{it:?}"), it.origin()));
            Weakness::ALL.iter().map(|it| (format!("{it:?}"), it.origin())).chain(inner).collect()
        }
    }

    fn invariants(&self) -> &ReplicatedInvariants {
        &self.invariants
    }

    fn nodes(&self) -> u64 {
        self.members + self.participants
    }

    fn config(&self, id: NodeId, patience: Duration) -> Config {
        let members = (1..=self.members).map(NodeId).collect();
        let mut config = Config::new(id, self.invariants.group, members, self.participants().collect());
        config.log_kept = self.log_kept;
        config.raft.election_timeout = patience;
        (config.raft.heartbeat_interval, config.raft.lease) = (patience / 8, patience / 10 * 9);
        (config.raft.store_timeout, config.raft.snapshot_patience) = (patience, patience * 10);
        config.commit.vote_timeout = patience * 2;
        (config.commit.retry_min, config.commit.retry_max) = (patience / 8, patience);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
            config.commit.weakness = self.inner_weakness;
        }
        config
    }

    fn disk(&self, _: NodeId) -> SavedOf<Self> {
        SavedOf::<Self>::default()
    }

    fn machine(&self, _: &SavedOf<Self>) -> Resource {
        Resource::default()
    }

    fn revive(&self, left: Resource, saved: &SavedOf<Self>) -> Resource {
        self.users.revive(left, &saved.own)
    }

    fn started(&self, machine: &mut Resource) {
        self.users.started(machine);
    }

    fn request(&self, node: &Replicated<TwoPhase>, nth: u64, rng: &mut Rng) -> Option<Request> {
        // Some ask a member that does not act, and are told so.
        node.raft().filter(|_| node.is_acting() || rng.chance(50))?;
        Some(Request::Begin(self.work(&format!("v{nth}"), rng)))
    }

    fn hear(&self, machine: &mut Resource, event: &Event, rng: &mut Rng) -> Vec<Request> {
        match event {
            // What a member is told ends what its user has asked for.
            Event::Commit(hezong_commit::Event::Outcome { .. }) | Event::NotActing { .. } | Event::Acting(_) => {
                Vec::new()
            }
            Event::Commit(event) => self.users.hear(machine, event, rng),
        }
    }

    fn idle(&self, machine: &mut Resource, rng: &mut Rng) -> Option<Request> {
        self.users.idle(machine, rng)
    }

    fn outcome(&self, event: &Event) -> Option<(RequestId, Outcome)> {
        match event {
            Event::Commit(event) => self.users.outcome(event),
            Event::NotActing { id, .. } => Some((*id, Outcome::Failed)),
            Event::Acting(_) => None,
        }
    }

    fn answer(&self, _: &mut Resource, _: &SavedOf<Self>, ask: &AskOf<Self>) -> AnswerOf<Self> {
        match *ask {}
    }

    fn is_well(&self, nodes: &[&Replicated<TwoPhase>], machines: &[&Resource], served: &[bool]) -> bool {
        let is_idle = |node: &&Replicated<TwoPhase>| node.inner().is_none_or(|inner| inner.under_way() == (0, 0));
        nodes.iter().any(|node| node.is_acting())
            && nodes.iter().all(is_idle)
            && self.users.is_well(&[], machines, &[])
            && served.contains(&true)
    }
}
