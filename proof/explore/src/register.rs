//! CASPaxos registers as a subject: the bounds, and what is left out.

use bytes::Bytes;
use clap::Args;
use hezong_base::NodeId;
use hezong_invariants::RegisterInvariants;
use hezong_paxos::Ballot;
use hezong_paxos::register::{Body, Change, Config, Message, Phase, Registers, Request, Saved, Weakness};
use hezong_script::register::RegisterDialect;

use crate::Bounds;
use crate::subject::{GRAIN, PATIENCE, Passage, Subject, Use, ids};

/// How far to go with one register, to which everybody appends.
#[derive(Args, Clone, Copy, Debug)]
pub struct RegisterBounds {
    /// Acceptors.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub acceptors: u8,
    /// The first so many of them propose.
    #[arg(long, default_value_t = 3)]
    pub proposers: u8,
    /// Changes in all, each unlike all others.
    #[arg(long, default_value_t = 2)]
    pub changes: u8,
    /// Nobody asks for promises in a later round; a change uses up one, and another for the change that follows it.
    #[arg(long, default_value_t = 2)]
    pub rounds: u64,
    /// Crashes in all.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::ALL)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

impl RegisterBounds {
    /// Two proposers, three acceptors, two changes in all.
    pub const SMALL: Self = Self { acceptors: 3, proposers: 2, changes: 2, rounds: 1, crashes: 0, weakness: None };
}

/// The register.
const KEY: Bytes = Bytes::from_static(b"a");

impl Subject for RegisterBounds {
    type Protocol = Registers;
    type Invariants = RegisterInvariants;
    type Dialect = RegisterDialect;

    fn general(&self) -> Bounds {
        // Ballots are told apart by who made them, so that names are not to be exchanged.
        Bounds { nodes: self.acceptors, crashes: self.crashes, requests: self.changes, symmetry: false }
    }

    fn invariants(&self) -> RegisterInvariants {
        RegisterInvariants { acceptors: self.acceptors }
    }

    fn users_are_heard(&self) -> bool {
        true
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id, ids(self.acceptors).collect());
        (config.backoff_min, config.backoff_max) = (GRAIN, GRAIN);
        // What would be said again is on its way for good, and who has waited for long gives up.
        (config.resend_interval, config.change_timeout) = (PATIENCE, PATIENCE);
        // As many are lost in a crash, which is to leave some within bounds.
        config.rounds_reserved = 1;
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn passage(&self, message: Message) -> Passage<Message> {
        match message.body {
            Body::Prepare { ballot, .. } if ballot.round > self.rounds => Passage::Lost,
            Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Accept { .. }
            | Body::Accepted { .. }
            | Body::Nack { .. }
            | Body::Retire { .. }
            | Body::Retired { .. }
            | Body::Erase { .. }
            | Body::Erased { .. } => Passage::Sent(message),
        }
    }

    fn usefulness(&self, node: &Registers, saved: &Saved, _: NodeId, message: &Message, _: bool) -> Use {
        // What a known bug makes of it is not known.
        if self.weakness.is_some() {
            return Use::Open;
        }
        // What answers a ballot of a round that is on disk is of no use, but for the one under way and those that are kept for the
        // next change: rounds only grow.
        let (now, next) = match node.phase(&KEY) {
            Some(Phase::Preparing { ballot, .. }) => (Some(*ballot), None),
            Some(Phase::Accepting { proposal, next, .. }) => (Some(proposal.ballot), *next),
            Some(Phase::Waiting) | None => (None, node.remembered(&KEY).map(|remembered| remembered.ballot)),
        };
        let is_past = |ballot: Ballot| ![now, next].contains(&Some(ballot)) && ballot.round <= saved.reserved;
        match &message.body {
            Body::Promise { ballot, .. } | Body::Accepted { ballot } if is_past(*ballot) => Use::Spent,
            // Who has proposed does not go back to asking.
            Body::Promise { .. } if matches!(node.phase(&KEY), Some(Phase::Accepting { .. })) => Use::Spent,
            Body::Nack { ballot, promised } if is_past(*ballot) && promised.round <= saved.reserved => Use::Spent,
            Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Accept { .. }
            | Body::Accepted { .. }
            | Body::Nack { .. }
            | Body::Retire { .. }
            | Body::Retired { .. }
            | Body::Erase { .. }
            | Body::Erased { .. } => Use::Open,
        }
    }

    fn may_time_out(&self, node: &Registers) -> bool {
        // Whoever waits for answers would ask once more, which is on its way already, or give up.
        node.phase(&KEY) == Some(&Phase::Waiting)
    }

    fn request(&self, node: &Registers, nth: u8) -> Option<Request> {
        let proposes = node.id().0 <= u64::from(self.proposers) && node.phase(&KEY).is_none();
        // None ends in another, so that what came of it is told from what came of those.
        let change = Change::Append(Bytes::from(format!(".{nth}")));
        proposes.then_some(Request::Change { key: KEY, change })
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Change { change: Change::Append(value), .. } => {
                format!("append {}", String::from_utf8_lossy(value))
            }
            Request::Change { .. } | Request::Collect(_) | Request::Reconfigure(_) | Request::Rewrite => {
                format!("{request:?}")
            }
        }
    }
}
