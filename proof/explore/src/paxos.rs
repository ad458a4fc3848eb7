//! Paxos as a subject: its bounds, and what is left out.

use bytes::Bytes;
use clap::Args;
use hezong_base::{NodeId, Protocol as _};
use hezong_invariants::{PaxosInvariants, Proposals};
use hezong_paxos::Ballot;
use hezong_paxos::basic::{Config, Message, Paxos, Phase, Request, Saved, Weakness};
use hezong_script::paxos::PaxosDialect;

use crate::Bounds;
use crate::subject::{GRAIN, PATIENCE, Subject, Use, ids};

/// How far to go with Paxos.
#[derive(Args, Clone, Copy, Debug)]
pub struct PaxosBounds {
    /// Acceptors; all of them are learners too.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub acceptors: u8,
    /// The first so many of them propose, each a value of its own.
    #[arg(long, default_value_t = 2)]
    pub proposers: u8,
    /// Nobody makes a ballot of a later round.
    #[arg(long, default_value_t = 2)]
    pub rounds: u64,
    /// Crashes in all.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// Acceptors that hear nothing for long propose what they have accepted.
    #[arg(long)]
    pub helpers: bool,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::ALL)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

impl PaxosBounds {
    /// Two proposers, three acceptors, one ballot each.
    pub const SMALL: Self = Self { acceptors: 3, proposers: 2, rounds: 1, crashes: 0, helpers: false, weakness: None };
}

impl Subject for PaxosBounds {
    type Protocol = Paxos;
    type Invariants = PaxosInvariants;
    type Dialect = PaxosDialect;

    fn general(&self) -> Bounds {
        // Ballots are told apart by who made them, so that names are not to be exchanged.
        Bounds { nodes: self.acceptors, crashes: self.crashes, requests: self.proposers, symmetry: false }
    }

    fn invariants(&self) -> PaxosInvariants {
        PaxosInvariants { acceptors: self.acceptors, proposals: Proposals::Named(self.proposers) }
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id, ids(self.acceptors).collect());
        (config.backoff_min, config.backoff_max) = (GRAIN, GRAIN);
        config.resend_interval = GRAIN;
        config.learn_timeout = PATIENCE;
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn usefulness(&self, node: &Paxos, saved: &Saved, _: NodeId, message: &Message, _: bool) -> Use {
        let asks = matches!(message, Message::Prepare(_) | Message::Accept(_));
        if saved.chosen.is_some() {
            // Whoever asks is told, the same each time; all else comes too late for good.
            return if asks { Use::UntilDone } else { Use::Spent };
        }
        // What a known bug makes of the rest is not known.
        if self.weakness.is_some() {
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
            Phase::Idle => self.helpers,
            Phase::Preparing { .. } | Phase::Accepting(_) => false,
        };
        campaigns && node.deadline().is_some() && node.round() < self.rounds
    }

    fn request(&self, node: &Paxos, nth: u8) -> Option<Request> {
        let proposes = node.id().0 <= u64::from(self.proposers) && node.round() < self.rounds;
        (proposes && *node.phase() == Phase::Idle).then(|| Request::Propose(Bytes::from(format!("v{nth}"))))
    }

    fn show_request(&self, Request::Propose(value): &Request) -> String {
        format!("propose {}", String::from_utf8_lossy(value))
    }
}
