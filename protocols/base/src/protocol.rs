//! The trait every protocol implements, and the two enums that are its whole world.

use alloc::vec::Vec;
use core::fmt::Debug;
use core::hash::Hasher;

use crate::{AskId, NodeId, RequestId, Rng, Time, WriteId};

/// A pure state machine that takes part in a protocol.
///
/// Duties of whoever runs it:
/// - writes are carried out in the order issued, events are delivered in the order emitted; nothing else is ordered;
/// - `Stored(id)` is handed in once every write up to and including `id` would survive a crash;
/// - what arrived before [`Protocol::deadline`] is handed in before its `Timeout`;
/// - `now` never decreases, and is read after the input it comes with has arrived;
/// - an effect is never refused: the protocol bounds its own outstanding bytes.
pub trait Protocol: Sized + Clone {
    /// What a node is told at birth: its identity, time-outs and limits.
    type Config;
    /// What nodes say to each other.
    type Message: Clone + Debug + Eq;
    /// What the local user asks for.
    type Request: Clone + Debug;
    /// What the local user is told.
    type Event: Clone + Debug;
    /// A change of what is on disk.
    type Write: Clone + Debug;
    /// The fold of all stored writes. Bounded: the runs of terms and the tail of a log, not the log.
    type Saved: Default + Clone;
    /// Local work whose result must come back.
    type Ask: Clone + Debug;
    /// That result.
    type Answer: Clone + Debug;

    /// Folds one stored write into what is saved. The runner calls it on recovery, write by write.
    fn save(saved: &mut Self::Saved, write: &Self::Write);

    /// Comes to life with what survived. Writes, asks and requests of an earlier life are forgotten.
    fn start(now: Time, config: Self::Config, saved: Self::Saved, rng: Rng, out: &mut Vec<Effect<Self>>) -> Self;

    /// The only way in. The same state, `now` and `input` always give the same state and effects.
    fn handle(&mut self, now: Time, input: Input<Self>, out: &mut Vec<Effect<Self>>);

    /// When to hand in [`Input::Timeout`] if nothing comes first; after a `Timeout` at t it is later than t.
    fn deadline(&self) -> Option<Time>;

    /// What makes two states the same to the explorer: without chance, ids or absolute time.
    fn fingerprint(&self, now: Time, into: &mut dyn Hasher);
}

/// What a protocol is handed.
#[derive(Clone, Debug)]
pub enum Input<P: Protocol> {
    /// A message from another node; `from` is known to be authentic.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: P::Message,
    },
    /// The local user wants something.
    Request {
        /// The name under which the outcome is reported.
        id: RequestId,
        /// What is wanted.
        request: P::Request,
    },
    /// Every write up to and including this one is on disk.
    Stored(WriteId),
    /// One answer an ask, in any order.
    Answered {
        /// Which ask.
        id: AskId,
        /// Its result.
        answer: P::Answer,
    },
    /// The deadline has passed.
    Timeout,
}

/// What a protocol wants done. Everything may be carried out at once, in parallel.
#[derive(Clone, Debug)]
pub enum Effect<P: Protocol> {
    /// May be lost, duplicated and reordered.
    Send {
        /// To whom.
        to: NodeId,
        /// What it says.
        message: P::Message,
    },
    /// A change of what is on disk; answered by [`Input::Stored`].
    Store {
        /// Its place among all writes.
        id: WriteId,
        /// The change.
        write: P::Write,
    },
    /// Local work; answered by [`Input::Answered`].
    Ask {
        /// The name under which the answer comes back.
        id: AskId,
        /// The work.
        ask: P::Ask,
    },
    /// News for the local user.
    Emit(P::Event),
}
