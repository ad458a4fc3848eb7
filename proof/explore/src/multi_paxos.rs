//! Multi-Paxos as a subject: its bounds, where it begins, and what is left out.

use bytes::Bytes;
use clap::Args;
use hezong_base::NodeId;
use hezong_invariants::MultiPaxosInvariants;
use hezong_paxos::Ballot;
use hezong_paxos::multi::{Config, Message, MultiPaxos, Request, Role, Saved, Weakness};
use hezong_script::multi_paxos::MultiPaxosDialect;

use crate::Bounds;
use crate::subject::{GRAIN, PATIENCE, Passage, Scripted, Subject, Use, ids};

/// How far to go with Multi-Paxos, from a state in which n1 is master.
#[derive(Args, Clone, Copy, Debug)]
pub struct MultiPaxosBounds {
    /// Members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nodes: u8,
    /// Nobody campaigns in a later round; in the first, n1 has become master.
    #[arg(long, default_value_t = 2)]
    pub rounds: u64,
    /// Commands proposed by masters' users in all, each in a slot of its own.
    #[arg(long, default_value_t = 2)]
    pub slots: u8,
    /// Crashes in all.
    #[arg(long, default_value_t = 0)]
    pub crashes: u8,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::ALL)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

impl MultiPaxosBounds {
    /// Three members, one slot, one change of masters.
    pub const SMALL: Self = Self { nodes: 3, rounds: 2, slots: 1, crashes: 0, weakness: None };
}

/// How many slots may be under way at once: more than there are.
const ALPHA: u64 = 64;

impl Subject for MultiPaxosBounds {
    type Protocol = MultiPaxos;
    type Invariants = MultiPaxosInvariants;
    type Dialect = MultiPaxosDialect;

    fn general(&self) -> Bounds {
        // Ballots are told apart by who made them, so that names are not to be exchanged.
        Bounds { nodes: self.nodes, crashes: self.crashes, requests: self.slots, symmetry: false }
    }

    fn invariants(&self) -> MultiPaxosInvariants {
        MultiPaxosInvariants { members: ids(self.nodes).collect(), alpha: ALPHA }
    }

    fn time_shows(&self) -> bool {
        // By leases: who has just become master, or has just started, promises nothing for a moment.
        true
    }

    fn users_are_heard(&self) -> bool {
        true
    }

    fn script(&self) -> Vec<Scripted> {
        vec![Scripted::Timeout(1), Scripted::Exchange(&[1, 2, 3, 4, 5]), Scripted::Forget]
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id, ids(self.nodes).collect());
        config.alpha = ALPHA;
        (config.lease, config.drift_ppm, config.campaign_pause) = (GRAIN, 0, GRAIN);
        // What would be said again is on its way for good.
        config.heartbeat_interval = PATIENCE;
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn passage(&self, message: Message) -> Passage<Message> {
        match message {
            // A lease forbids; a refusal serves progress alone.
            Message::Heartbeat { .. } | Message::HeartbeatAck { .. } | Message::Nack { .. } => Passage::Lost,
            Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accept { .. }
            | Message::Accepted { .. }
            | Message::CatchUp { .. }
            | Message::Entries { .. }
            | Message::Snapshot { .. } => Passage::Sent(message),
        }
    }

    fn usefulness(&self, node: &MultiPaxos, saved: &Saved, _: NodeId, message: &Message, _: bool) -> Use {
        // What a known bug makes of it is not known.
        if self.weakness.is_some() {
            return Use::Open;
        }
        // Rounds only grow: what answers a ballot that is not the present one, of a round that is on disk, is of no use.
        let is_past = |ballot: Ballot| node.ballot() != Some(ballot) && ballot.round <= saved.round;
        match message {
            Message::Prepare { ballot, .. } | Message::Accept { ballot, .. } if Some(*ballot) < saved.promised => {
                Use::Spent
            }
            Message::Promise { ballot, .. } if is_past(*ballot) => Use::Spent,
            Message::Accepted { ballot, slot } if is_past(*ballot) || *slot < node.open() => Use::Spent,
            // Whoever has accepted it only hears once more who is master.
            Message::Accept { .. } | Message::Entries { .. } => Use::UntilDone,
            Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accepted { .. }
            | Message::Nack { .. }
            | Message::Heartbeat { .. }
            | Message::HeartbeatAck { .. }
            | Message::CatchUp { .. }
            | Message::Snapshot { .. } => Use::Open,
        }
    }

    fn may_time_out(&self, node: &MultiPaxos) -> bool {
        // A master that hears nobody would only step down, and be refused whatever comes of its proposals.
        node.role() != Role::Master && node.round() < self.rounds
    }

    fn request(&self, node: &MultiPaxos, nth: u8) -> Option<Request> {
        (node.role() == Role::Master).then(|| Request::Propose(Bytes::from(format!("v{nth}"))))
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Propose(value) => format!("propose {}", String::from_utf8_lossy(value)),
            Request::Read | Request::Reconfigure(_) | Request::Applied(_) => format!("{request:?}"),
        }
    }
}
