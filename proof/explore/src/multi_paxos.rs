//! Multi-Paxos as a subject: its bounds, where it begins, and what is left out.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::NodeId;
use hezong_invariants::MultiPaxosInvariants;
use hezong_paxos::Ballot;
use hezong_paxos::multi::{Config, Event, Members, Message, MultiPaxos, Request, Role, Saved, Write};
use hezong_script::multi_paxos::{show_event, show_message, show_write};

use crate::Bounds;
use crate::subject::{Passage, Scripted, Subject, Use};

/// How far to go with Multi-Paxos, from a state in which n1 is master.
#[derive(Clone, Copy, Debug)]
pub struct MultiPaxosBounds {
    /// Members.
    pub nodes: u8,
    /// Nobody campaigns in a later round than this; in the first n1 has become master.
    pub rounds: u64,
    /// Commands proposed by masters' users in all, each in a slot of its own.
    pub slots: u8,
    /// Crashes in all.
    pub crashes: u8,
}

impl MultiPaxosBounds {
    /// Three members, one slot, one change of masters.
    pub const SMALL: Self = Self { nodes: 3, rounds: 2, slots: 1, crashes: 0 };

    /// The part that every protocol shares. Ballots are told apart by who made them, so that names are not to be exchanged.
    #[must_use]
    pub fn general(self) -> Bounds {
        Bounds { nodes: self.nodes, crashes: self.crashes, requests: self.slots, symmetry: false }
    }
}

/// Multi-Paxos under exploration.
#[derive(Clone, Debug)]
pub struct MultiPaxosSubject {
    bounds: MultiPaxosBounds,
    invariants: MultiPaxosInvariants,
    #[cfg(feature = "weakened")]
    weakness: Option<hezong_paxos::multi::Weakness>,
}

impl MultiPaxosSubject {
    /// Multi-Paxos as it ships.
    #[must_use]
    pub fn new(bounds: MultiPaxosBounds) -> Self {
        let members = (1..=u64::from(bounds.nodes)).map(NodeId).collect();
        Self {
            bounds,
            invariants: MultiPaxosInvariants { members, alpha: 64 },
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
    pub fn weakened(self, weakness: Option<hezong_paxos::multi::Weakness>) -> Self {
        Self { weakness, ..self }
    }
}

impl Subject for MultiPaxosSubject {
    type Protocol = MultiPaxos;
    type Invariants = MultiPaxosInvariants;

    const GRAIN: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(4_000);

    fn disks_are_prompt(&self) -> bool {
        true
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
        let members: Members = self.invariants.members.clone();
        let mut config = Config::new(id, members);
        config.alpha = self.invariants.alpha;
        (config.lease, config.drift_ppm, config.campaign_pause) = (Self::GRAIN, 0, Self::GRAIN);
        // What would be said again is on its way for good.
        config.heartbeat_interval = Duration::from_secs(1_000);
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

    fn usefulness(&self, node: &MultiPaxos, saved: &Saved, _: NodeId, message: &Message, _: bool) -> Use {
        // What a known bug makes of it is not known.
        if self.is_weak() {
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
        node.role() != Role::Master && node.round() < self.bounds.rounds
    }

    fn request(&self, node: &MultiPaxos, nth: u8) -> Option<Request> {
        (node.role() == Role::Master).then(|| Request::Propose(Bytes::from(format!("v{nth}"))))
    }

    fn react(&self, _: &MultiPaxos, _: &Event) -> Option<Request> {
        None
    }

    fn invariants(&self) -> &MultiPaxosInvariants {
        &self.invariants
    }

    fn show_message(&self, message: &Message) -> String {
        show_message(message)
    }

    fn show_write(&self, write: &Write) -> String {
        show_write(write)
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Propose(value) => format!("propose {}", String::from_utf8_lossy(value)),
            Request::Read | Request::Reconfigure(_) | Request::Applied(_) => format!("{request:?}"),
        }
    }

    fn show_event(&self, event: &Event) -> String {
        show_event(event)
    }
}
