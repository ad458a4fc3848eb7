//! Paxos as a subject: its bounds, and what is left out.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{NodeId, Protocol as _};
use hezong_invariants::{PaxosInvariants, Proposals};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Event, Message, Paxos, Phase, Request, Saved, Write};
use hezong_script::paxos::{show_event, show_message, show_write};

use crate::Bounds;
use crate::subject::{Passage, Subject, Use};

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
    invariants: PaxosInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<hezong_paxos::basic::Weakness>,
}

impl PaxosSubject {
    /// Paxos as it ships.
    #[must_use]
    pub fn new(bounds: PaxosBounds) -> Self {
        Self {
            bounds,
            invariants: PaxosInvariants { acceptors: bounds.acceptors, proposals: Proposals::Named(bounds.proposers) },
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
}

impl Subject for PaxosSubject {
    type Protocol = Paxos;
    type Invariants = PaxosInvariants;

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

    fn invariants(&self) -> &PaxosInvariants {
        &self.invariants
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
