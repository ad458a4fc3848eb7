//! One node, asked directly, the same for every module: n1 is the node unless said otherwise, n2 and n3 are whoever asks and
//! answers. And what every module keeps, whatever it says to whom.

use std::fmt::Debug;

use bytes::Bytes;
use hezong_base::{Effect, Input, NodeId, Protocol, RequestId, Rng, Time, WriteId};
use hezong_commit::{Config, Event, Refusal, Request, TransactionId};
use hezong_script::commit::Told;

pub(crate) const N1: NodeId = NodeId(1);
pub(crate) const N2: NodeId = NodeId(2);
pub(crate) const N3: NodeId = NodeId(3);

pub(crate) const fn tx(coordinator: NodeId, number: u64) -> TransactionId {
    TransactionId { coordinator, number }
}

/// What leaves a node at once.
pub(crate) type Sent<P> = Vec<(NodeId, <P as Protocol>::Message)>;

/// A node of four whose disk waits to be told.
pub(crate) struct Alone<P: Told> {
    pub(crate) node: P,
    pub(crate) now: Time,
    last: Option<WriteId>,
    pub(crate) written: Vec<P::Write>,
    pub(crate) sent: Sent<P>,
    pub(crate) told: Vec<Event>,
}

impl<P: Told> Alone<P> {
    pub(crate) fn new(saved: P::Saved, prepare: impl Fn(&mut Config)) -> Self {
        let mut config = Config::new(N1, (1..=4).map(NodeId).collect());
        prepare(&mut config);
        let mut out = Vec::new();
        let node = P::start(Time::ZERO, config, saved, Rng::new(1), &mut out);
        let (last, written, sent, told) = Default::default();
        let mut alone = Self { node, now: Time::ZERO, last, written, sent, told };
        alone.carry_out(out);
        alone
    }

    /// One that takes part in few transactions at once.
    pub(crate) fn few() -> Self {
        Self::new(P::Saved::default(), |config| config.transactions_max = 10)
    }

    fn hand(&mut self, input: Input<P>) -> Sent<P> {
        let mut out = Vec::new();
        self.sent.clear();
        self.node.handle(self.now, input, &mut out);
        self.carry_out(out);
        std::mem::take(&mut self.sent)
    }

    fn carry_out(&mut self, out: Vec<Effect<P>>) {
        for effect in out {
            match effect {
                Effect::Send { to, message } => self.sent.push((to, message)),
                Effect::Store { id, write } => {
                    self.last = Some(id);
                    self.written.push(write);
                }
                Effect::Ask { ask, .. } => match ask {},
                Effect::Emit(event) => self.told.push(event),
            }
        }
    }

    pub(crate) fn hears(&mut self, from: NodeId, message: P::Message) -> Sent<P> {
        self.hand(Input::Message { from, message })
    }

    pub(crate) fn asks(&mut self, request: Request) -> Sent<P> {
        self.hand(Input::Request { id: RequestId(7), request })
    }

    /// The disk has all. What leaves.
    pub(crate) fn stores(&mut self) -> Sent<P> {
        let last = self.last.expect("something was written");
        self.hand(Input::Stored(last))
    }

    /// Its patience ends. What leaves.
    pub(crate) fn waits(&mut self) -> Sent<P> {
        self.now = self.node.deadline().expect("it waits for something");
        self.hand(Input::Timeout)
    }
}

/// Each write is carried out a second time at every later point, and changes nothing, but for what is `allowed`.
pub(crate) fn check_carried_out_again<P: Told>(writes: &[P::Write], allowed: impl Fn(&P::Write, usize, &mut P::Saved))
where
    P::Saved: Debug + PartialEq,
{
    let fold = |writes: &[&P::Write]| {
        let mut saved = P::Saved::default();
        writes.iter().for_each(|write| P::save(&mut saved, write));
        saved
    };
    for (first, again) in writes.iter().enumerate() {
        for second in first + 1..=writes.len() {
            let mut order: Vec<&P::Write> = writes.iter().collect();
            let mut wanted = fold(&order);
            allowed(again, second, &mut wanted);
            order.insert(second, again);
            assert_eq!(fold(&order), wanted, "{order:?}");
        }
    }
}

/// One whose disk says that all numbers are used begins nothing, and says why.
pub(crate) fn check_refusals<P: Told>(numbers_spent: P::Saved) {
    let mut alone = Alone::<P>::new(numbers_spent, |_| {});
    let long = Bytes::from(vec![0; (64 << 10) + 1]);
    for (work, wanted) in [
        ([].into(), Refusal::Empty),
        ([(NodeId(9), Bytes::new())].into(), Refusal::UnknownNode),
        ([(N2, long)].into(), Refusal::TooLong),
        ([(N2, Bytes::new())].into(), Refusal::NumbersSpent),
    ] {
        assert_eq!(alone.asks(Request::Begin(work)), []);
        assert_eq!(alone.told.pop(), Some(Event::Refused { id: RequestId(7), refusal: wanted }));
    }
}
