//! One node, whose ensemble is the test.

use bytes::Bytes;
use hezong_base::{AskId, Effect, Input, NodeId, Protocol as _, RequestId, Rng, Time, WriteId};
use hezong_zab::{
    Answer, Ask, Body, Config, Entry, Epoch, Event, Message, Packet, Request, Role, Round, Saved, SessionId, Vote,
    Write, Zab, Zxid,
};

pub(crate) const N1: NodeId = NodeId(1);
pub(crate) const N2: NodeId = NodeId(2);
pub(crate) const N3: NodeId = NodeId(3);

/// A node, its disk, and what left it.
pub(crate) struct Alone {
    pub(crate) node: Zab,
    pub(crate) now: Time,
    pub(crate) disk: Saved,
    /// Writes wait in `unstored` until `stores`.
    pub(crate) slow: bool,
    pub(crate) unstored: Vec<(WriteId, Write)>,
    pub(crate) sent: Vec<(NodeId, Message)>,
    pub(crate) told: Vec<Event>,
    pub(crate) asked: Vec<(AskId, Ask)>,
    requests: u64,
    /// How much n2 and n3 have said in their sessions.
    numbers: [u64; 2],
    /// The session in which the node follows, or the last one.
    session: SessionId,
}

impl Alone {
    pub(crate) fn new(disk: Saved) -> Self {
        Self::with(Config::new(N1, [N1, N2, N3].into()), disk)
    }

    pub(crate) fn with(config: Config, disk: Saved) -> Self {
        let (now, mut out) = (Time::from_millis(1_000), Vec::new());
        let node = Zab::start(now, config, disk.clone(), Rng::new(1), &mut out);
        let session = SessionId { life: 0, number: 0 };
        let (unstored, sent, told, asked) = Default::default();
        let (slow, requests, numbers) = (false, 0, [0; 2]);
        let mut alone = Self { node, now, disk, slow, unstored, sent, told, asked, requests, numbers, session };
        alone.carry_out(out);
        alone
    }

    pub(crate) fn hand(&mut self, input: Input<Zab>) {
        let mut out = Vec::new();
        self.node.handle(self.now, input, &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<Effect<Zab>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => {
                    if let Message::Packet(Packet { session, body: Body::FollowerInfo(_), .. }) = &message {
                        self.session = *session;
                    }
                    self.sent.push((to, message));
                }
                Effect::Store { id, write } => self.unstored.push((id, write)),
                Effect::Ask { id, ask } => self.asked.push((id, ask)),
                Effect::Emit(event) => self.told.push(event),
            }
        }
        if !self.slow {
            self.stores();
        }
    }

    /// The disk catches up.
    pub(crate) fn stores(&mut self) {
        let writes = std::mem::take(&mut self.unstored);
        writes.iter().for_each(|(_, write)| Zab::save(&mut self.disk, write));
        if let Some((id, _)) = writes.last() {
            self.hand(Input::Stored(*id));
        }
    }

    /// What it sends on hearing this.
    pub(crate) fn hears(&mut self, from: NodeId, message: Message) -> Vec<(NodeId, Message)> {
        self.sent.clear();
        self.hand(Input::Message { from, message });
        self.sent.clone()
    }

    /// What it says within sessions on hearing this from its leader.
    pub(crate) fn leader_says(&mut self, epoch: u32, number: u64, body: Body) -> Vec<Body> {
        let message = Message::Packet(Packet { session: self.session, epoch: Some(Epoch(epoch)), number, body });
        bodies(self.hears(N3, message))
    }

    /// What it says within sessions on hearing this from a learner. Who says who it is opens another session.
    pub(crate) fn learner_says(&mut self, from: NodeId, body: Body) -> Vec<Body> {
        let opens = matches!(body, Body::FollowerInfo(_));
        let place = usize::try_from(from.0 - 2).unwrap();
        let number = if opens { 0 } else { self.numbers[place] };
        self.numbers[place] = number + 1;
        let epoch = Some(self.node.accepted()).filter(|_| !opens);
        let session = SessionId { life: from.0, number: 1 };
        bodies(self.hears(from, Message::Packet(Packet { session, epoch, number, body })))
    }

    pub(crate) fn asks(&mut self, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.hand(Input::Request { id, request });
        id
    }

    /// The user has done what it was last asked for.
    pub(crate) fn answers(&mut self, answer: Answer) -> Vec<Body> {
        let (id, _) = self.asked.pop().expect("something was asked");
        self.sent.clear();
        self.hand(Input::Answered { id, answer });
        bodies(self.sent.clone())
    }

    pub(crate) fn times_out(&mut self) {
        self.now = self.now.max(self.node.deadline().expect("it waits"));
        self.hand(Input::Timeout);
    }

    /// Is elected, and has n2's and its own word for it.
    pub(crate) fn leads(&mut self) {
        let vote = Vote { epoch: self.node.current(), zxid: self.node.history().last(), leader: N1 };
        for from in [N2, N3] {
            self.hears(from, Message::Looking { round: self.node.round(), vote: Some(vote) });
        }
        while self.node.role() == Role::Looking {
            self.times_out();
        }
        assert_eq!(self.node.role(), Role::Preparing);
    }

    /// Is established, with n2.
    pub(crate) fn serves(&mut self) {
        self.leads();
        self.learner_says(N2, Body::FollowerInfo(Epoch(0)));
        self.learner_says(N2, Body::AckEpoch { current: Some(Epoch(0)), last: None });
        self.learner_says(N2, Body::AckLeader { last: None });
        assert_eq!(self.node.role(), Role::Leading);
    }

    /// Joins n3, and says who it is.
    pub(crate) fn follows(&mut self) {
        for from in [N2, N3] {
            self.hears(from, Message::Settled { round: Round(1), leader: N3 });
        }
        assert_eq!(self.node.role(), Role::Joining(N3));
    }
}

pub(crate) fn bodies(sent: Vec<(NodeId, Message)>) -> Vec<Body> {
    let body = |message| match message {
        Message::Packet(packet) => Some(packet.body),
        Message::Looking { .. } | Message::Settled { .. } | Message::End(_) => None,
    };
    sent.into_iter().filter_map(|(_, message)| body(message)).collect()
}

pub(crate) fn entry(zxid: Zxid, data: &'static str) -> Entry {
    Entry { zxid, data: Bytes::from(data) }
}

/// A disk with epochs and a history.
pub(crate) fn disk(accepted: u32, current: u32, history: &[Zxid]) -> Saved {
    let mut disk = Saved { accepted: Epoch(accepted), current: Epoch(current), ..Saved::default() };
    history.iter().for_each(|zxid| disk.history.append(entry(*zxid, "old")));
    disk
}
