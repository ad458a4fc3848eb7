//! What a protocol adds to the explorer: what makes its parts the same, what its users do, and what must hold.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use hezong_base::{NodeId, Protocol};
use hezong_invariants::Invariants;
use hezong_script::Dialect;

use crate::Bounds;

/// What a clock moves by, and what each of its readings is a multiple of: every span that a protocol measures is one too, so
/// that no two nodes differ in how far they are from a multiple.
pub(crate) const GRAIN: Duration = Duration::from_millis(100);
/// For what a protocol says again, or gives up, when nothing comes for long: longer than all short waits of a run together.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1_000);
/// Longer than a protocol waits for anything, the spread of an election timeout included.
pub(crate) const LONG: Duration = Duration::from_secs(4_000);

/// A message of the subject's protocol.
pub(crate) type MessageOf<S> = <<S as Subject>::Protocol as Protocol>::Message;
/// A write of the subject's protocol.
pub(crate) type WriteOf<S> = <<S as Subject>::Protocol as Protocol>::Write;
/// What a disk holds for the subject's protocol.
pub(crate) type SavedOf<S> = <<S as Subject>::Protocol as Protocol>::Saved;
/// What a node is told at birth.
pub(crate) type ConfigOf<S> = <<S as Subject>::Protocol as Protocol>::Config;
/// What the local user asks for.
pub(crate) type RequestOf<S> = <<S as Subject>::Protocol as Protocol>::Request;
/// What the local user is told.
pub(crate) type EventOf<S> = <<S as Subject>::Protocol as Protocol>::Event;

/// What is looked at of one node.
pub(crate) type ViewOf<S> = <<S as Subject>::Invariants as Invariants>::View;
/// What is remembered.
pub(crate) type PastOf<S> = <<S as Subject>::Invariants as Invariants>::Past;

/// What becomes of a message.
#[derive(Clone, Debug)]
pub enum Passage<M> {
    /// It may arrive from now on, any number of times.
    Sent(M),
    /// It never arrives.
    Lost,
    /// It is answered by this, before anything else happens.
    Answered(M),
}

/// Whether a message on its way still matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Perhaps.
    Open,
    /// If it makes nothing of its receiver now, it never will again.
    UntilDone,
    /// It makes nothing of its receiver, now and for ever.
    Spent,
    /// What it makes of its receiver is beyond the bounds: it is lost.
    Beyond,
}

/// A part of what happens before exploration begins: real steps, taken in an order that is given. Nodes are numbered from 1,
/// and have stored whatever they write before anything else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripted {
    /// All that is on its way among these nodes arrives, what was sent first first, and what they say to it as well.
    Exchange(&'static [u8]),
    /// What is on its way from one to the other arrives: the one that was sent first, of those that did not arrive yet.
    Deliver(u8, u8),
    /// The same, but right after the first write that comes of it is on disk, who gets it crashes and starts again. With prompt
    /// disks all writes are.
    Tear(u8, u8),
    /// The deadline of this node passes.
    Timeout(u8),
    /// This node gets the next request.
    Request(u8),
    /// All that is on its way has arrived or is lost, and is not repeated.
    Forget,
}

/// A protocol within bounds, as it ships or with a known bug in every node: what the command line gives, and all that
/// exploration asks of it.
///
/// Nodes are interchangeable where [`Bounds::symmetry`] is asked for: renamed, a run is a run. So nothing may depend on the
/// order of ids there, and no message, write or request may carry one but as the sender or the receiver.
pub trait Subject {
    /// The protocol. Messages, writes and disks are the same to exploration where their hashes are.
    type Protocol: Protocol<Message: Hash, Write: Hash, Saved: Hash>;
    /// What must hold of it. What is looked at of a node is made once of each node's state, and the past is a part of the
    /// state.
    type Invariants: Invariants<Protocol = Self::Protocol>;
    /// How its messages, writes and news are put on a line.
    type Dialect: Dialect<Protocol = Self::Protocol>;

    /// The part of the bounds that every protocol shares.
    fn general(&self) -> Bounds;
    /// What must hold.
    fn invariants(&self) -> Self::Invariants;

    /// Whether whatever a step writes is on disk before anything else happens, unless the node crashes right then; else
    /// writes take any time.
    fn disks_are_prompt(&self) -> bool {
        true
    }

    /// Whether it matters to anything but deadlines how long ago something was. If not, nodes that differ in nothing else
    /// are one.
    fn time_shows(&self) -> bool {
        false
    }

    /// Whether what users ask for and are told is looked at, too; but for what they are told right before a crash.
    fn users_are_heard(&self) -> bool {
        false
    }

    /// What a node's chance is drawn from in this of its lives, counted from 0. Where lives are told apart by what they draw,
    /// each must have a seed of its own, and the protocol's fingerprint tells them apart as well.
    fn seed(&self, id: NodeId, _life: u64) -> u64 {
        id.0
    }

    /// What has happened before everything that is explored.
    fn script(&self) -> Vec<Scripted> {
        Vec::new()
    }

    /// What a node is told at each of its births.
    fn config(&self, id: NodeId) -> ConfigOf<Self>;

    /// What its disk holds before the first.
    fn disk(&self) -> SavedOf<Self> {
        SavedOf::<Self>::default()
    }

    /// What becomes of a message. What may arrive is without all that exploration leaves out, such as times and the
    /// numbers of attempts: which of two runs it stems from must not be seen.
    fn passage(&self, message: MessageOf<Self>) -> Passage<MessageOf<Self>> {
        Passage::Sent(message)
    }

    /// A write, without the same.
    fn plain_write(&self, write: WriteOf<Self>) -> WriteOf<Self> {
        write
    }

    /// Whether a message still matters to its receiver, whatever happens to that, crashes included if `may_crash`. What
    /// does not is taken off its way, so that states which differ in nothing else are one. That nothing comes of it now
    /// is checked.
    fn usefulness(
        &self,
        node: &Self::Protocol,
        saved: &SavedOf<Self>,
        from: NodeId,
        message: &MessageOf<Self>,
        may_crash: bool,
    ) -> Use;

    /// Whether a deadline of this node may pass, within bounds.
    fn may_time_out(&self, node: &Self::Protocol) -> bool;
    /// The `nth` request of the whole run, counted from 1, if it may be made of this node.
    fn request(&self, node: &Self::Protocol, nth: u8) -> Option<RequestOf<Self>>;

    /// What the local user does at once when told this.
    fn react(&self, _node: &Self::Protocol, _event: &EventOf<Self>) -> Option<RequestOf<Self>> {
        None
    }

    /// A message on one line.
    fn show_message(&self, message: &MessageOf<Self>) -> String {
        Self::Dialect::message(message)
    }

    /// A request on one line.
    fn show_request(&self, request: &RequestOf<Self>) -> String;
}

/// So many nodes.
pub(crate) fn ids(count: u8) -> impl Iterator<Item = NodeId> {
    (1..=u64::from(count)).map(NodeId)
}

/// Finds a known bug by its name, as the command line gives it.
#[cfg(feature = "weakened")]
pub(crate) fn by_name<W: Copy + Debug + Sync>(
    all: &'static [W],
) -> impl Fn(&str) -> Result<W, String> + Clone + Send + Sync {
    move |name| {
        all.iter().copied().find(|weakness| format!("{weakness:?}") == name).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|weakness| format!("{weakness:?}")).collect();
            format!("no known bug is called {name}; there are {}", names.join(", "))
        })
    }
}
