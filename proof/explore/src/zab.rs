//! ZAB as a subject: its bounds, where it begins, and what is left out.

use bytes::Bytes;
use clap::{Args, ValueEnum};
use hezong_base::NodeId;
use hezong_invariants::ZabInvariants;
use hezong_script::zab::ZabDialect;
use hezong_zab::{Body, Config, Message, Packet, Request, Role, Round, Saved, Weakness, Zab};

use crate::Bounds;
use crate::subject::{GRAIN, PATIENCE, Passage, Scripted, Subject, Use, ids};

/// Where exploration begins. Real steps lead there, from nodes that have just started; what they said before is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ZabStart {
    /// All have elected the last node, and have opened a session with it.
    Elected,
    /// It has been established, and the others serve.
    Established,
    /// n2 and n3 have a transaction, which n3 knows to be committed and n1 has never heard of. Then all have looked for a
    /// leader once more, have elected n3 again, and have opened a session with it.
    Behind,
    /// The same, but n3 alone has the transaction, so that it is not committed.
    Alone,
    /// As `Behind`; and then n1 has been given the transaction, in a session that ended before it was told that this is all, and
    /// all have elected n3 for the third time.
    Interrupted,
    /// As `Behind`; and then n1 has crashed right after the first write by which it took n3's history over, or after all of them
    /// where disks are prompt, nobody has heard of n3 any more, and n1 and n2 have elected one of them.
    Torn,
}

/// How far to go with ZAB among three voters.
#[derive(Args, Clone, Copy, Debug)]
pub struct ZabBounds {
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = ZabStart::Elected)]
    pub start: ZabStart,
    /// How often, beside what happened before, a node may give up whom it follows, or that it leads, because nobody is heard.
    #[arg(long, default_value_t = 0)]
    pub elections: u64,
    /// Transactions proposed by the leader's user in all.
    #[arg(long, default_value_t = 2)]
    pub writes: u8,
    /// `sync`s asked for in all, behind these.
    #[arg(long, default_value_t = 0)]
    pub syncs: u8,
    /// Sessions of a learner that its leader takes in beyond the first: new ones, and old ones whose first word comes again.
    #[arg(long, default_value_t = 1)]
    pub reopenings: u8,
    /// Crashes in all.
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// Writes take any time, not only up to the end of the step that issues them.
    #[arg(long)]
    pub slow_disks: bool,
    /// The end of a session is told to the other side, too, which else finds out for itself.
    #[arg(long)]
    pub ends: bool,
    /// Puts this known bug into every node.
    #[cfg_attr(feature = "weakened", arg(long, value_parser = crate::subject::by_name(&Weakness::ALL)))]
    #[cfg_attr(not(feature = "weakened"), arg(skip))]
    pub weakness: Option<Weakness>,
}

impl ZabBounds {
    /// A leader who is to be established, and little that may happen.
    pub const SMALL: Self = Self {
        start: ZabStart::Elected,
        elections: 0,
        writes: 0,
        syncs: 0,
        reopenings: 1,
        crashes: 0,
        slow_disks: false,
        ends: false,
        weakness: None,
    };

    /// Requests made before exploration begins.
    fn before(self) -> u8 {
        u8::from(!matches!(self.start, ZabStart::Elected | ZabStart::Established))
    }

    /// The round in which nobody gives up any more.
    fn last_round(self) -> Round {
        let before = match self.start {
            ZabStart::Elected | ZabStart::Established => 1,
            ZabStart::Behind | ZabStart::Alone => 2,
            ZabStart::Interrupted | ZabStart::Torn => 3,
        };
        Round(before + self.elections)
    }
}

const VOTERS: u8 = 3;

impl Subject for ZabBounds {
    type Protocol = Zab;
    type Invariants = ZabInvariants;
    type Dialect = ZabDialect;

    fn general(&self) -> Bounds {
        // The best vote is that of the greatest name, so that names are not to be exchanged.
        let requests = self.before() + self.writes + self.syncs;
        let crashes = self.crashes + u8::from(self.start == ZabStart::Torn);
        Bounds { nodes: VOTERS, crashes, requests, symmetry: false }
    }

    fn invariants(&self) -> ZabInvariants {
        ZabInvariants { voters: VOTERS }
    }

    fn disks_are_prompt(&self) -> bool {
        !self.slow_disks
    }

    fn seed(&self, id: NodeId, life: u64) -> u64 {
        // Lives draw the names of their sessions.
        id.0 | life << 8
    }

    fn users_are_heard(&self) -> bool {
        true
    }

    fn script(&self) -> Vec<Scripted> {
        use Scripted::{Deliver, Exchange, Forget, Request, Tear, Timeout};
        let start = self.start;
        let mut script = vec![Exchange(&[1, 2, 3]), Forget];
        match start {
            ZabStart::Elected => script.extend([Timeout(3), Timeout(2), Timeout(1)]),
            ZabStart::Established => {
                script.extend([Timeout(3), Timeout(2), Timeout(1), Exchange(&[1, 2, 3]), Forget]);
            }
            ZabStart::Behind | ZabStart::Alone | ZabStart::Interrupted | ZabStart::Torn => {
                script.extend([Timeout(3), Timeout(2), Exchange(&[2, 3]), Request(3)]);
                if start != ZabStart::Alone {
                    script.extend([Deliver(3, 2), Deliver(2, 3)]);
                }
                script.extend([Forget, Timeout(3), Timeout(2), Exchange(&[1, 2, 3]), Forget]);
                script.extend([Timeout(3), Timeout(2), Timeout(1)]);
            }
        }
        // n1 opens its session, accepts the epoch, and is told where to go on, and what comes there.
        let given = [Deliver(1, 3), Deliver(3, 1), Deliver(1, 3), Deliver(3, 1), Deliver(3, 1)];
        match start {
            ZabStart::Elected | ZabStart::Established | ZabStart::Behind | ZabStart::Alone => {}
            ZabStart::Interrupted => {
                script.extend(given);
                script.extend([Forget, Timeout(3), Timeout(2), Timeout(1), Exchange(&[1, 2, 3]), Forget]);
                script.extend([Timeout(3), Timeout(2), Timeout(1)]);
            }
            ZabStart::Torn => {
                script.extend(given);
                script.extend([Tear(3, 1), Forget, Timeout(2), Timeout(1), Exchange(&[1, 2]), Forget]);
                script.extend([Timeout(2), Timeout(1)]);
            }
        }
        script
    }

    fn config(&self, id: NodeId) -> Config {
        let mut config = Config::new(id, ids(VOTERS).collect());
        // Whoever waits for anything but the end of an election gives up when it waits no more: what would be said again
        // meanwhile is on its way for good, and a ping that keeps somebody waiting is a deadline that has not passed yet.
        config.finalize_wait = GRAIN;
        (config.notify_interval_min, config.notify_interval_max) = (PATIENCE, PATIENCE);
        (config.ping_interval, config.sync_limit, config.init_limit) = (PATIENCE, PATIENCE, PATIENCE);
        #[cfg(feature = "weakened")]
        {
            config.weakness = self.weakness;
        }
        config
    }

    fn passage(&self, message: Message) -> Passage<Message> {
        let too_far = match &message {
            Message::End(_) => !self.ends,
            Message::Looking { round, .. } => *round > self.last_round(),
            // Whoever gives up because of something that it heard, and not because it heard nothing, does so in rounds that
            // are not counted, and might for ever.
            Message::Packet(Packet { session, body: Body::FollowerInfo(_), .. }) => {
                session.number > self.last_round().0
            }
            Message::Packet(_) | Message::Settled { .. } => false,
        };
        if too_far { Passage::Lost } else { Passage::Sent(message) }
    }

    fn usefulness(&self, node: &Zab, saved: &Saved, from: NodeId, message: &Message, _: bool) -> Use {
        let openings_max = u64::from(1 + self.reopenings);
        let opens = matches!(message, Message::Packet(Packet { body: Body::FollowerInfo(_), .. }));
        if opens && node.openings(from) >= openings_max {
            return Use::Beyond;
        }
        if self.ends || self.weakness.is_some() {
            return Use::Open;
        }
        match message {
            // A vote of a round that is over. Its receiver would tell once more how it votes; and later whom it follows, which
            // it tells whoever looks for a leader by a vote of the present round as well.
            Message::Looking { round, .. } if *round < node.round() => Use::UntilDone,
            Message::Looking { .. } | Message::Settled { .. } | Message::End(_) => Use::Open,
            Message::Packet(Packet { epoch, body, .. }) => match body {
                // A learner that has heard it, or that has left the session, never waits for it again.
                Body::LeaderInfo
                | Body::Diff
                | Body::Trunc(_)
                | Body::Snap { .. }
                | Body::NewLeader
                | Body::UpToDate { .. }
                | Body::Proposal { .. }
                | Body::Commit(_)
                | Body::Inform { .. }
                | Body::Ping(_)
                | Body::Refused { .. }
                | Body::Synced(_) => Use::UntilDone,
                // It may come to somebody who leads later.
                Body::FollowerInfo(_) => Use::Open,
                // A leader that hears of its session once more begins it anew, as long as it leads the same epoch.
                Body::AckEpoch { .. }
                | Body::AckLeader { .. }
                | Body::Ack(_)
                | Body::Pong(_)
                | Body::Request { .. }
                | Body::Sync(_) => {
                    let leads = matches!(node.role(), Role::Preparing | Role::Leading);
                    let over = *epoch < Some(saved.accepted) || !leads && *epoch == Some(saved.accepted);
                    if over { Use::UntilDone } else { Use::Open }
                }
            },
        }
    }

    fn may_time_out(&self, node: &Zab) -> bool {
        let last = self.last_round();
        match node.role() {
            Role::Looking => node.round() <= last,
            Role::Joining(_) | Role::Following(_) | Role::Preparing | Role::Leading => node.round() < last,
        }
    }

    fn request(&self, node: &Zab, nth: u8) -> Option<Request> {
        let write = nth <= self.before() + self.writes;
        let serves = match node.role() {
            Role::Leading => true,
            Role::Following(_) => !write,
            Role::Looking | Role::Joining(_) | Role::Preparing => false,
        };
        let request = if write { Request::Propose(Bytes::from(format!("v{nth}"))) } else { Request::Sync };
        serves.then_some(request)
    }

    fn show_request(&self, request: &Request) -> String {
        match request {
            Request::Propose(data) => format!("propose {}", String::from_utf8_lossy(data)),
            Request::Sync => "sync".to_owned(),
            Request::Applied(through) => format!("applied {through}"),
        }
    }
}
