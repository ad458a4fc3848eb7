//! Two-phase commit as it ships, as a subject: its bounds, what its users do, and what is left out.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use hezong_base::NodeId;
use hezong_commit::two_phase::{Message, Saved, TwoPhase, Write};
use hezong_commit::{Config, Event, Fenced, Request, TransactionId};
use hezong_invariants::CommitInvariants;
use hezong_script::Dialect;
use hezong_script::commit::{CommitDialect, Told, show_nodes, show_vote};

use crate::Bounds;
use crate::subject::{Passage, Subject, Use};

/// How far to go with one transaction, which n1 coordinates without taking part in it.
#[derive(Clone, Copy, Debug)]
pub struct TwoPhaseCommitBounds {
    /// Who takes part: n2 and those behind it.
    pub participants: u8,
    /// So many of them, the last ones, vote no as often as they are asked; the others yes.
    pub noes: u8,
    /// Crashes in all, of whichever node.
    pub crashes: u8,
    /// Whether writes take any time. If not, they are on disk at the end of the step that issues them, unless the node crashes
    /// right then.
    pub slow_disks: bool,
}

impl TwoPhaseCommitBounds {
    /// Two participants who vote yes, and nothing goes wrong but messages and time.
    pub const SMALL: Self = Self { participants: 2, noes: 0, crashes: 0, slow_disks: false };

    /// The part that every protocol shares. Messages name all who take part, so that names are not to be exchanged. Beside the
    /// transaction everybody may be asked to vote on it, and once more for each crash, which takes a vote.
    #[must_use]
    pub fn general(self) -> Bounds {
        let requests = 1 + self.participants + self.crashes;
        Bounds { nodes: 1 + self.participants, crashes: self.crashes, requests, symmetry: false }
    }

    fn votes_yes(self, id: NodeId) -> bool {
        id.0 <= u64::from(1 + self.participants - self.noes)
    }
}

/// Who coordinates.
const COORDINATOR: NodeId = NodeId(1);
/// Its only transaction.
const TX: TransactionId = TransactionId { coordinator: COORDINATOR, number: 1 };

/// Two-phase commit under exploration.
#[derive(Clone, Copy, Debug)]
pub struct TwoPhaseCommitSubject {
    bounds: TwoPhaseCommitBounds,
    invariants: CommitInvariants<TwoPhase>,
    #[cfg(feature = "weakened")]
    weakness: Option<hezong_commit::Weakness>,
}

impl TwoPhaseCommitSubject {
    /// Two-phase commit as it ships.
    #[must_use]
    pub fn new(bounds: TwoPhaseCommitBounds) -> Self {
        Self {
            bounds,
            // What a user does at once is not told to the checks.
            invariants: CommitInvariants::new(false),
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
    pub fn weakened(self, weakness: Option<hezong_commit::Weakness>) -> Self {
        Self { weakness, ..self }
    }
}

impl Subject for TwoPhaseCommitSubject {
    type Protocol = TwoPhase;
    type Invariants = CommitInvariants<TwoPhase>;

    const GRAIN: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(4_000);

    fn disks_are_prompt(&self) -> bool {
        !self.bounds.slow_disks
    }

    fn time_shows(&self) -> bool {
        false
    }

    fn users_are_heard(&self) -> bool {
        true
    }

    fn config(&self, id: NodeId) -> Config {
        let nodes = 1..=u64::from(1 + self.bounds.participants);
        let mut config = Config::new(id, nodes.map(NodeId).collect());
        // Whoever waits for votes gives up when it waits no more: what would be said again meanwhile is on its way for good.
        config.vote_timeout = Self::GRAIN;
        (config.retry_min, config.retry_max) = (Duration::from_secs(1_000), Duration::from_secs(1_000));
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

    fn usefulness(&self, _: &TwoPhase, saved: &Saved, _: NodeId, message: &Message, may_crash: bool) -> Use {
        // What a known bug makes of it is not known.
        if self.is_weak() {
            return Use::Open;
        }
        let is_over = saved.fences.find(TX) != Fenced::Open;
        match message {
            // Who does not abort because of a no has decided, or has forgotten what it asked for.
            Message::Vote { yes: false, .. } => Use::UntilDone,
            // Where it is over on disk, the same is answered for ever.
            Message::Prepare { .. } | Message::Decision { .. } if is_over => Use::UntilDone,
            Message::Inquiry(_) if is_over => Use::UntilDone,
            // A coordinator that starts again waits for all of them once more, unless it has them all on disk.
            Message::Acknowledged(_) if !may_crash || saved.committed.is_empty() => Use::UntilDone,
            Message::Prepare { .. }
            | Message::Vote { .. }
            | Message::Decision { .. }
            | Message::Acknowledged(_)
            | Message::Inquiry(_) => Use::Open,
        }
    }

    fn may_time_out(&self, node: &TwoPhase) -> bool {
        // Else it waits for nothing but messages.
        hezong_base::Protocol::deadline(node).is_some()
    }

    fn request(&self, node: &TwoPhase, nth: u8) -> Option<Request> {
        if node.id() == COORDINATOR {
            let participants = 2..=u64::from(1 + self.bounds.participants);
            let work = participants.map(|id| (NodeId(id), Bytes::from_static(b"work"))).collect();
            return (nth == 1).then_some(Request::Begin(work));
        }
        // What is under way here and not in doubt waits for its user's vote, since users apply at once.
        let is_asked = node.under_way().1 > 0 && node.in_doubt().next().is_none();
        is_asked.then(|| Request::Vote { tx: TX, yes: self.bounds.votes_yes(node.id()) })
    }

    fn react(&self, _: &TwoPhase, event: &Event) -> Option<Request> {
        match event {
            Event::Apply { tx, .. } => Some(Request::Applied(*tx)),
            Event::Prepare { .. } | Event::InDoubt { .. } | Event::Outcome { .. } | Event::Refused { .. } => None,
        }
    }

    fn invariants(&self) -> &CommitInvariants<TwoPhase> {
        &self.invariants
    }

    fn show_message(&self, message: &Message) -> String {
        TwoPhase::show_message(message)
    }

    fn show_write(&self, write: &Write) -> String {
        <TwoPhase as Told>::show_write(write)
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Begin(work) => format!("begin at {}", show_nodes(work.keys())),
            Request::Vote { tx, yes } => format!("vote on {tx}: {}", show_vote(*yes)),
            Request::Applied(tx) => format!("applied {tx}"),
        }
    }

    fn show_event(&self, event: &Event) -> String {
        CommitDialect::<TwoPhase>::event(event)
    }
}
