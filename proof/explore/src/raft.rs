//! Raft as a subject: its bounds, and what is left out.

use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Args};
use hezong_base::{NodeId, Protocol, Term};
use hezong_invariants::RaftInvariants;
use hezong_raft::{
    Base, Body, Config, Entries, Entry, Event, Member, Membership, Message, Raft, Request, Role, Saved, Weakness, Write,
};
use hezong_script::raft::{RaftDialect, show_message};

use crate::Bounds;
use crate::subject::{GRAIN, PATIENCE, Passage, Subject, Use, ids};

/// How far to go with Raft.
#[derive(Args, Clone, Copy, Debug)]
pub struct RaftBounds {
    /// Voters.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nodes: u8,
    /// Nobody campaigns for a later term.
    #[arg(long, default_value_t = 2)]
    pub terms: u64,
    /// Entries proposed by clients in all, beside the empty one that opens each term.
    #[arg(long, default_value_t = 1)]
    pub entries: u8,
    /// Crashes in all.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// Writes take any time, not only up to the end of the step that issues them.
    #[arg(long)]
    pub slow_disks: bool,
    /// Every entry travels alone. If not, a message takes all that follows.
    #[arg(long)]
    pub one_by_one: bool,
    /// Messages arrive, too, that serve progress alone: pre-votes, refused votes, heartbeats that tell of no commit, and what
    /// acknowledges these. If not, they are lost, and every pre-vote is granted at once.
    #[arg(long)]
    pub asides: bool,
    /// Keeps messages on their way that can make nothing of their receivers any more: many more states, and nothing else in
    /// them.
    #[arg(long)]
    pub keep_spent: bool,
    /// Whether states that are the same but for names are folded.
    #[arg(long = "no-symmetry", action = ArgAction::SetFalse, help = "Visits states that are the same but for names, too")]
    pub symmetry: bool,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::ALL)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

impl RaftBounds {
    /// Three nodes, and little that may happen.
    pub const SMALL: Self = Self {
        nodes: 3,
        terms: 2,
        entries: 0,
        crashes: 0,
        slow_disks: false,
        one_by_one: false,
        asides: false,
        keep_spent: false,
        symmetry: true,
        weakness: None,
    };
}

impl Subject for RaftBounds {
    type Protocol = Raft;
    type Invariants = RaftInvariants;
    type Dialect = RaftDialect;

    fn general(&self) -> Bounds {
        let Self { nodes, entries: requests, crashes, symmetry, .. } = *self;
        Bounds { nodes, crashes, requests, symmetry }
    }

    fn invariants(&self) -> RaftInvariants {
        RaftInvariants
    }

    fn disks_are_prompt(&self) -> bool {
        !self.slow_disks
    }

    fn time_shows(&self) -> bool {
        // By pre-votes, and by acknowledged heartbeats.
        self.asides
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id);
        config.heartbeat_interval = GRAIN;
        config.election_timeout = PATIENCE;
        // Leases count time, and bind for less than an election timeout: a run with them has fewer behaviours, not more.
        config.lease = Duration::ZERO;
        if self.one_by_one {
            config.append_bytes_max = 1;
        }
        config.store_timeout = Duration::from_secs(1 << 32);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn disk(&self) -> Saved {
        let members = ids(self.nodes).map(|id| (id, Member::default()));
        let base = Base { last: None, time: Duration::ZERO, membership: Membership::of_voters(members) };
        let mut saved = Saved::default();
        Raft::save(&mut saved, &Write::Reset(base));
        saved
    }

    fn passage(&self, Message { term, body }: Message) -> Passage<Message> {
        let body = match body {
            Body::Append { previous, entries, committed } => {
                Body::Append { previous, entries: plain(&entries), committed }
            }
            Body::RequestPreVote { .. } if !self.asides => {
                return Passage::Answered(Message { term, body: Body::PreVote { granted: true } });
            }
            Body::Vote { granted: false }
            | Body::Appended { matched: None }
            | Body::HeartbeatAck { .. }
            | Body::Heartbeat { committed: None, .. }
                if !self.asides =>
            {
                return Passage::Lost;
            }
            // Rounds serve reads and leases, which are left out. An old one may always be acknowledged.
            Body::Heartbeat { lease, committed, .. } => Body::Heartbeat { round: 0, lease, committed },
            Body::HeartbeatAck { lease, .. } => Body::HeartbeatAck { round: 0, lease },
            other => other,
        };
        Passage::Sent(Message { term, body })
    }

    fn plain_write(&self, write: Write) -> Write {
        match write {
            Write::Append(entries) => Write::Append(plain(&entries)),
            other => other,
        }
    }

    fn usefulness(&self, node: &Raft, saved: &Saved, from: NodeId, message: &Message, may_crash: bool) -> Use {
        let term = message.term;
        if term > saved.term || self.keep_spent {
            return Use::Open;
        }
        // From here on the term is on the receiver's disk, or a later one. Who is no candidate of it will never be one.
        let (past, follows) = (term < saved.term, node.role() == Role::Follower);
        let answered = |done: bool| if done { Use::UntilDone } else { Use::Open };
        match &message.body {
            Body::Vote { .. } if past || follows || node.role() == Role::Leader => Use::Spent,
            Body::Appended { .. } | Body::Diverged { .. } | Body::HeartbeatAck { .. } if past || follows => Use::Spent,
            Body::PreVote { granted: true } => Use::Spent,
            // What else arrives late is refused, and would be again and again, if refusals were not lost.
            _ if self.asides => Use::Open,
            _ if past => Use::Spent,
            // What a known bug makes of the rest is not known.
            _ if self.weakness.is_some() => Use::Open,
            // A vote that was given to another is not given any more; given to this one, it is given again at most.
            Body::RequestVote { .. } if saved.vote.is_some_and(|vote| vote != from) => Use::Spent,
            Body::RequestVote { .. } => answered(saved.vote.is_some()),
            // What was taken over from the leader of one's term stays; only who leads, and that it is committed, is
            // forgotten in a crash.
            _ if !follows || self.slow_disks || may_crash => Use::Open,
            Body::Append { previous, entries, .. } => {
                let last = entries.last().map(|entry| entry.id).or(*previous);
                answered(last.is_none_or(|last| node.log().id_at(last.index) == Some(last)))
            }
            Body::Heartbeat { committed, .. } => answered(*committed <= node.announced()),
            _ => Use::Open,
        }
    }

    fn may_time_out(&self, node: &Raft) -> bool {
        node.role() == Role::Leader || node.term() < Term(self.terms)
    }

    fn request(&self, node: &Raft, nth: u8) -> Option<Request> {
        // Every command differs from every other, or two entries in one place would go unnoticed.
        (node.role() == Role::Leader).then(|| Request::Propose(vec![Bytes::from(format!("c{nth}"))]))
    }

    fn react(&self, node: &Raft, event: &Event) -> Option<Request> {
        // The state machine applies at once, and forgets in a crash.
        let Event::Committed { through } = event else { return None };
        let applied = node.log().id_at(*through)?;
        Some(Request::Applied { applied, durable: None })
    }

    fn show_message(&self, message: &Message) -> String {
        format!("{} ({})", show_message(message), message.term)
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Propose(commands) => format!("propose {}", String::from_utf8_lossy(&commands.concat())),
            other => format!("{other:?}"),
        }
    }
}

/// Entries without the time at which they were appended.
fn plain(entries: &Entries) -> Entries {
    entries.iter().map(|entry| Entry { time: Duration::ZERO, ..entry.clone() }).collect()
}
