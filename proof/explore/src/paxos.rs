//! Paxos as a subject: its bounds, what is left out, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol as _, Time};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Event, Message, Paxos, Phase, Proposal, Request, Saved, Write};
use hezong_script::paxos::{show_event, show_message, show_write};

use crate::subject::{Passage, Subject, Use};
use crate::{Bounds, Violation};

/// How far to go with Paxos.
#[derive(Clone, Copy, Debug)]
pub struct PaxosBounds {
    /// Acceptors; all of them are learners too.
    pub acceptors: u8,
    /// The first so many of them propose, each a value of its own.
    pub proposers: u8,
    /// Nobody makes a ballot of a later round than this.
    pub rounds: u64,
    /// Crashes in all.
    pub crashes: u8,
    /// Whether acceptors that hear nothing for long propose what they have accepted.
    pub helpers: bool,
}

impl PaxosBounds {
    /// Two proposers, three acceptors, one ballot each.
    pub const SMALL: Self = Self { acceptors: 3, proposers: 2, rounds: 1, crashes: 0, helpers: false };

    /// The part that every protocol shares. Ballots are told apart by who made them, so that names are not to be exchanged.
    #[must_use]
    pub fn general(self) -> Bounds {
        Bounds { nodes: self.acceptors, crashes: self.crashes, requests: self.proposers, symmetry: false }
    }
}

/// Paxos under exploration.
#[derive(Clone, Copy, Debug)]
pub struct PaxosSubject {
    bounds: PaxosBounds,
    #[cfg(feature = "weakened")]
    weakness: Option<hezong_paxos::basic::Weakness>,
}

impl PaxosSubject {
    /// Paxos as it ships.
    #[must_use]
    pub fn new(bounds: PaxosBounds) -> Self {
        Self {
            bounds,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }

    /// Whether nodes suffer from a known bug.
    fn is_weak(&self) -> bool {
        #[cfg(feature = "weakened")]
        return self.weakness.is_some();
        #[cfg(not(feature = "weakened"))]
        false
    }

    /// The same with a known bug in every node.
    #[cfg(feature = "weakened")]
    #[must_use]
    pub fn weakened(self, weakness: Option<hezong_paxos::basic::Weakness>) -> Self {
        Self { weakness, ..self }
    }

    fn majority(&self) -> usize {
        hezong_base::quorum::majority(usize::from(self.bounds.acceptors))
    }
}

/// A node as the checks see it.
#[derive(Debug)]
pub struct PaxosView {
    promised: Option<Ballot>,
    accepted: Option<Proposal>,
    chosen: Option<Bytes>,
}

/// What no node may hold any more: by ballot, what was accepted, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PaxosPast(BTreeMap<Ballot, (Bytes, BTreeSet<NodeId>)>);

impl PaxosPast {
    /// What a majority has accepted at one ballot, with the ballot.
    fn chosen(&self, majority: usize) -> impl Iterator<Item = (Ballot, &Bytes)> {
        let chosen = move |(_, (_, by)): &(&Ballot, &(Bytes, BTreeSet<NodeId>))| by.len() >= majority;
        self.0.iter().filter(chosen).map(|(ballot, (value, _))| (*ballot, value))
    }
}

impl Subject for PaxosSubject {
    type Protocol = Paxos;
    type View = PaxosView;
    type Past = PaxosPast;

    const GRAIN: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(4_000);

    fn disks_are_prompt(&self) -> bool {
        true
    }

    fn time_shows(&self) -> bool {
        false
    }

    fn config(&self, id: NodeId) -> Config {
        let acceptors = (1..=u64::from(self.bounds.acceptors)).map(NodeId).collect();
        let mut config = Config::new(id, acceptors);
        (config.backoff_min, config.backoff_max) = (Self::GRAIN, Self::GRAIN);
        config.resend_interval = Self::GRAIN;
        config.learn_timeout = Duration::from_secs(1_000);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn disk(&self) -> Saved {
        Saved::default()
    }

    fn passage(&self, message: Message) -> Passage<Message> {
        Passage::Sent(message)
    }

    fn plain_write(&self, write: Write) -> Write {
        write
    }

    fn hash_message(&self, message: &Message, mut into: &mut dyn Hasher) {
        message.hash(&mut into);
    }

    fn hash_write(&self, write: &Write, mut into: &mut dyn Hasher) {
        write.hash(&mut into);
    }

    fn hash_saved(&self, saved: &Saved, mut into: &mut dyn Hasher) {
        saved.hash(&mut into);
    }

    fn usefulness(&self, node: &Paxos, saved: &Saved, _: NodeId, message: &Message, _: bool) -> Use {
        let asks = matches!(message, Message::Prepare(_) | Message::Accept(_));
        if saved.chosen.is_some() {
            // Whoever asks is told, the same each time; all else comes too late for good.
            return if asks { Use::UntilDone } else { Use::Spent };
        }
        // What a known bug makes of the rest is not known.
        if self.is_weak() {
            return Use::Open;
        }
        // Rounds only grow: what answers a ballot that is not the present one, of a round that is on disk, is of no use.
        let is_past = |ballot: Ballot| match node.phase() {
            Phase::Preparing { ballot: now, .. } => ballot != *now && ballot.round <= saved.round,
            Phase::Accepting(_) | Phase::Idle | Phase::Waiting => ballot.round <= saved.round,
        };
        match message {
            Message::Promise { ballot, .. } if is_past(*ballot) => Use::Spent,
            Message::Nack { ballot, promised } => {
                let at_it = matches!(node.phase(), Phase::Accepting(proposal) if proposal.ballot == *ballot);
                let is_news = promised.round > saved.round;
                if is_past(*ballot) && !at_it && !is_news { Use::Spent } else { Use::Open }
            }
            Message::Prepare(_)
            | Message::Promise { .. }
            | Message::Accept(_)
            | Message::Accepted(_)
            | Message::Chosen(_) => Use::Open,
        }
    }

    fn may_time_out(&self, node: &Paxos) -> bool {
        // Whoever waits for answers would ask once more, which is on its way already.
        let campaigns = match node.phase() {
            Phase::Waiting => true,
            Phase::Idle => self.bounds.helpers,
            Phase::Preparing { .. } | Phase::Accepting(_) => false,
        };
        campaigns && node.deadline().is_some() && node.round() < self.bounds.rounds
    }

    fn request(&self, node: &Paxos, nth: u8) -> Option<Request> {
        let proposes = node.id().0 <= u64::from(self.bounds.proposers) && node.round() < self.bounds.rounds;
        (proposes && *node.phase() == Phase::Idle).then(|| Request::Propose(Bytes::from(format!("v{nth}"))))
    }

    fn react(&self, _: &Paxos, _: &Event) -> Option<Request> {
        None
    }

    fn view(&self, node: &Paxos, _: Time) -> PaxosView {
        PaxosView { promised: node.promised(), accepted: node.accepted().cloned(), chosen: node.chosen().cloned() }
    }

    fn check_step(&self, id: NodeId, before: &PaxosView, after: &PaxosView) -> Result<(), Violation> {
        if after.promised < before.promised {
            let (had, has) = (before.promised, after.promised);
            return Err(Violation::new("promises are kept", format!("{id} had promised {had:?}, and now {has:?}")));
        }
        if before.chosen.is_some() && after.chosen.is_some() && before.chosen != after.chosen {
            return Err(Violation::new("agreement", format!("{id} learns another value than it knew")));
        }
        Ok(())
    }

    fn remember(&self, past: &PaxosPast, id: NodeId, view: &PaxosView) -> Result<PaxosPast, Violation> {
        let mut past = past.clone();
        if let Some(Proposal { ballot, value }) = &view.accepted {
            if !(1..=self.bounds.proposers).any(|nth| *value == format!("v{nth}")) {
                return Err(Violation::new("only what was proposed is accepted", format!("{id} accepts {value:?}")));
            }
            let (first, by) = past.0.entry(*ballot).or_insert_with(|| (value.clone(), BTreeSet::new()));
            if first != value {
                let detail = format!("{id} accepts {value:?} at {ballot}, where {first:?} was accepted");
                return Err(Violation::new("one value a ballot", detail));
            }
            by.insert(id);
        }
        let chosen: Vec<(Ballot, &Bytes)> = past.chosen(self.majority()).collect();
        if let Some((later, other)) =
            chosen.iter().find(|(_, other)| Some(*other) != chosen.first().map(|(_, value)| *value))
        {
            let (ballot, value) = &chosen[0];
            let detail = format!("{value:?} was chosen at {ballot}, and {other:?} at {later}");
            return Err(Violation::new("agreement", detail));
        }
        let chosen = chosen.first().map(|(_, value)| *value);
        if let Some(learned) = view.chosen.as_ref().filter(|learned| Some(*learned) != chosen) {
            let detail = format!("{id} learns {learned:?}, where {chosen:?} was chosen");
            return Err(Violation::new("only what was chosen is learned", detail));
        }
        Ok(past)
    }

    fn check(&self, _: &[&PaxosView], _: &PaxosPast) -> Result<(), Violation> {
        // Whatever concerns several nodes concerns what was accepted, which is remembered.
        Ok(())
    }

    fn hash_past(&self, past: &PaxosPast, name: &dyn Fn(NodeId) -> NodeId, mut into: &mut dyn Hasher) {
        for (ballot, (value, by)) in &past.0 {
            let by: BTreeSet<NodeId> = by.iter().map(|id| name(*id)).collect();
            (ballot, value, by).hash(&mut into);
        }
    }

    fn show_message(&self, message: &Message) -> String {
        show_message(message)
    }

    fn show_write(&self, write: &Write) -> String {
        show_write(write)
    }

    fn show_request(&self, Request::Propose(value): &Request) -> String {
        format!("propose {}", String::from_utf8_lossy(value))
    }

    fn show_event(&self, event: &Event) -> String {
        show_event(event)
    }
}
