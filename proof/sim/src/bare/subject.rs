//! What a protocol adds to the bare simulation.

use std::time::Duration;

use hezong_base::{NodeId, Protocol, RequestId, Rng};
use hezong_invariants::Invariants;
use hezong_script::Dialect;

/// The protocol of a subject.
pub(crate) type ProtocolOf<S> = <<S as Subject>::Invariants as Invariants>::Protocol;
/// What its nodes say to each other.
pub(crate) type MessageOf<S> = <ProtocolOf<S> as Protocol>::Message;
/// A change of what is on a disk.
pub(crate) type WriteOf<S> = <ProtocolOf<S> as Protocol>::Write;
/// What a disk holds.
pub(crate) type SavedOf<S> = <ProtocolOf<S> as Protocol>::Saved;
/// What users ask for.
pub(crate) type RequestOf<S> = <ProtocolOf<S> as Protocol>::Request;
/// What users are told.
pub(crate) type EventOf<S> = <ProtocolOf<S> as Protocol>::Event;
/// Local work.
pub(crate) type AskOf<S> = <ProtocolOf<S> as Protocol>::Ask;
/// Its result.
pub(crate) type AnswerOf<S> = <ProtocolOf<S> as Protocol>::Answer;

/// How a request ended, as far as its user was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not, or nobody knows.
    Failed,
}

/// A protocol, with what one seed decides about it.
pub trait Subject: Sized {
    /// What must hold of it.
    type Invariants: Invariants;
    /// How it is told.
    type Dialect: Dialect<Protocol = ProtocolOf<Self>>;
    /// What is replicated, or guarded, at one node: lost in a crash but for what is made of the disk, or outlives it by itself.
    type Machine;

    /// Whether it claims what it claims for synchronous systems only. Then nodes crash and messages come twice or out of order,
    /// but nothing is lost between nodes that stay up, clocks run equally fast, and a round trip with a disk in it takes less
    /// than one patience; only a second copy may come later.
    const IS_SYNCHRONOUS: bool = false;

    /// Whether what is sent on one way arrives in the order of sending, as on a connection, as far as it arrives at all.
    const IN_ORDER: bool = false;

    /// Known bugs that are not looked for here: 15,000 seeds have not met them. The tests of the protocol find them.
    const UNSEEN: &'static [&'static str] = &[];

    /// What a seed decides, with the known bug of this name in every node, if one is named and this build has it.
    fn draw(rng: &mut Rng, weakness: Option<&str>) -> Self;

    /// The bugs it can be given in this build, each with who has made it.
    fn weaknesses() -> Vec<(String, &'static str)>;

    /// What must hold.
    fn invariants(&self) -> &Self::Invariants;
    /// How many nodes there are.
    fn nodes(&self) -> u64;
    /// What a node is told at each of its births. `patience` is the yardstick for all spans.
    fn config(&self, id: NodeId, patience: Duration) -> <ProtocolOf<Self> as Protocol>::Config;
    /// What its disk holds before the first.
    fn disk(&self, id: NodeId) -> SavedOf<Self>;
    /// The machine at the first birth.
    fn machine(&self, saved: &SavedOf<Self>) -> Self::Machine;
    /// The machine at a later one, of what it was at the crash: as at the first, where it keeps nothing of its own.
    fn revive(&self, _left: Self::Machine, saved: &SavedOf<Self>) -> Self::Machine {
        self.machine(saved)
    }
    /// What the machine does once it has heard what the start of its node tells.
    fn started(&self, _machine: &mut Self::Machine) {}

    /// What the user of a node asks for next, if for anything. `nth` differs from one request of a run to the next.
    fn request(&self, node: &ProtocolOf<Self>, nth: u64, rng: &mut Rng) -> Option<RequestOf<Self>>;
    /// What the local side does when told this: requests that nobody waits for.
    fn hear(&self, machine: &mut Self::Machine, event: &EventOf<Self>, rng: &mut Rng) -> Vec<RequestOf<Self>>;
    /// What the local side does of itself, now and then: a request that nobody waits for.
    fn idle(&self, _machine: &mut Self::Machine, _rng: &mut Rng) -> Option<RequestOf<Self>> {
        None
    }
    /// Which request an event ends, and how.
    fn outcome(&self, event: &EventOf<Self>) -> Option<(RequestId, Outcome)>;
    /// Local work, done at one node.
    fn answer(&self, machine: &mut Self::Machine, saved: &SavedOf<Self>, ask: &AskOf<Self>) -> AnswerOf<Self>;
    /// Whether nothing new can happen any more, whatever crashes, so that there is no point in going on: by what is on disks.
    fn is_over(&self, _saved: &[&SavedOf<Self>]) -> bool {
        false
    }
    /// Whether all is well, once everything was healed: `served` tells of each node whether its user was served since.
    fn is_well(&self, nodes: &[&ProtocolOf<Self>], machines: &[&Self::Machine], served: &[bool]) -> bool;
}

/// The bug of this name, if one is named.
#[cfg(feature = "weakened")]
pub(super) fn named<W: Copy + std::fmt::Debug>(all: &[W], name: Option<&str>) -> Option<W> {
    all.iter().copied().find(|weakness| name == Some(&format!("{weakness:?}")))
}
