//! Two-phase commit as it ships, as a subject: its bounds, what its users do, and what is left out.

use bytes::Bytes;
use clap::Args;
use hezong_base::{NodeId, Protocol as _};
use hezong_commit::two_phase::{Message, Saved, TwoPhase};
use hezong_commit::{Config, Event, Fenced, Request, TransactionId, Weakness};
use hezong_invariants::CommitInvariants;
use hezong_script::commit::{CommitDialect, show_nodes, show_vote};

use crate::Bounds;
use crate::subject::{GRAIN, PATIENCE, Subject, Use, ids};

/// How far to go with one transaction, which n1 coordinates without taking part in it.
#[derive(Args, Clone, Copy, Debug)]
pub struct TwoPhaseCommitBounds {
    /// How many participants: n2 and those behind it.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub participants: u8,
    /// So many of them, the last ones, vote no, as often as they are asked; the others yes.
    #[arg(long, default_value_t = 0)]
    pub noes: u8,
    /// Crashes in all, of whichever node.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// Writes take any time, not only up to the end of the step that issues them.
    #[arg(long)]
    pub slow_disks: bool,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::TWO_PHASE)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

impl TwoPhaseCommitBounds {
    /// Two participants who vote yes, and nothing goes wrong but messages and time.
    pub const SMALL: Self = Self { participants: 2, noes: 0, crashes: 0, slow_disks: false, weakness: None };

    fn votes_yes(self, id: NodeId) -> bool {
        id.0 <= u64::from(1 + self.participants.saturating_sub(self.noes))
    }
}

/// Who coordinates.
const COORDINATOR: NodeId = NodeId(1);
/// Its only transaction.
const TX: TransactionId = TransactionId { coordinator: COORDINATOR, number: 1 };

impl Subject for TwoPhaseCommitBounds {
    type Protocol = TwoPhase;
    type Invariants = CommitInvariants<TwoPhase>;
    type Dialect = CommitDialect<TwoPhase>;

    fn general(&self) -> Bounds {
        // Messages name all who take part, so that names are not to be exchanged. Beside the transaction everybody may be asked
        // to vote on it, and once more for each crash, which takes a vote.
        let requests = 1 + self.participants + self.crashes;
        Bounds { nodes: 1 + self.participants, crashes: self.crashes, requests, symmetry: false }
    }

    fn invariants(&self) -> CommitInvariants<TwoPhase> {
        // What a user does at once is not told to the checks.
        CommitInvariants::new(false)
    }

    fn disks_are_prompt(&self) -> bool {
        !self.slow_disks
    }

    fn users_are_heard(&self) -> bool {
        true
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id, ids(1 + self.participants).collect());
        // Whoever waits for votes gives up when it waits no more: what would be said again meanwhile is on its way for good.
        config.vote_timeout = GRAIN;
        (config.retry_min, config.retry_max) = (PATIENCE, PATIENCE);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn usefulness(&self, _: &TwoPhase, saved: &Saved, _: NodeId, message: &Message, may_crash: bool) -> Use {
        // What a known bug makes of it is not known.
        if self.weakness.is_some() {
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
        node.deadline().is_some()
    }

    fn request(&self, node: &TwoPhase, nth: u8) -> Option<Request> {
        if node.id() == COORDINATOR {
            let work = ids(1 + self.participants).skip(1).map(|id| (id, Bytes::from_static(b"work"))).collect();
            return (nth == 1).then_some(Request::Begin(work));
        }
        // What is under way here and not in doubt waits for its user's vote, since users apply at once.
        let is_asked = node.under_way().1 > 0 && node.in_doubt().next().is_none();
        is_asked.then(|| Request::Vote { tx: TX, yes: self.votes_yes(node.id()) })
    }

    fn react(&self, _: &TwoPhase, event: &Event) -> Option<Request> {
        match event {
            Event::Apply { tx, .. } => Some(Request::Applied(*tx)),
            Event::Prepare { .. } | Event::InDoubt { .. } | Event::Outcome { .. } | Event::Refused { .. } => None,
        }
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Begin(work) => format!("begin at {}", show_nodes(work.keys())),
            Request::Vote { tx, yes } => format!("vote on {tx}: {}", show_vote(*yes)),
            Request::Applied(tx) => format!("applied {tx}"),
        }
    }
}
