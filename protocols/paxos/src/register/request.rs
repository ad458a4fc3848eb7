//! What the local user asks for and is told.

use bytes::Bytes;
use hezong_base::RequestId;

use super::{Change, Epoch, Membership, State};

/// What the local user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change a register. Answered by [`Event::Done`], [`Event::Refused`] or [`Event::Unknown`].
    Change {
        /// Which.
        key: Bytes,
        /// How.
        change: Change,
    },
    /// Have acceptors forget a register that holds no value. Happens by itself after each change or read that found or left
    /// none, and each deletion of which that is unknown; to be asked for again after [`Event::NotCollected`], and after a
    /// crash. Answered by that or [`Event::Collected`].
    Collect(Bytes),
    /// Propose to these acceptors from now on. Answered by [`Event::Reconfigured`] or [`Event::Refused`]. See
    /// [`Membership`] for what must have been done before.
    Reconfigure(Membership),
    /// Read every register that is held here. Answered by [`Event::Rewritten`] or [`Event::Refused`].
    Rewrite,
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A register was read or changed.
    Done {
        /// On whose account.
        id: RequestId,
        /// Whether the change took.
        took: bool,
        /// What the register held right after.
        state: State,
    },
    /// Nothing came of a request, and nothing will.
    Refused {
        /// Which.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// A change may have been made, once, or may be made later, or never. Read the register to find out.
    Unknown {
        /// Which.
        id: RequestId,
    },
    /// A register that held no value is forgotten.
    Collected(Bytes),
    /// A register was not forgotten: in none of [`Config::collect_tries_max`](super::Config::collect_tries_max) tries could
    /// all nodes be reached and did nobody use it; or it holds a value. Or it was not even tried: as many wait as
    /// [`Config::collect_max`](super::Config::collect_max) allows, the key is too long, or this node does not propose.
    NotCollected(Bytes),
    /// A membership is in use, and will be after a crash.
    Reconfigured {
        /// On whose account.
        id: RequestId,
        /// The membership's number.
        epoch: Epoch,
    },
    /// All registers that were held here are held by a majority of this membership.
    Rewritten {
        /// On whose account.
        id: RequestId,
        /// The membership's number.
        epoch: Epoch,
    },
}

/// Why nothing came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A key or a value is longer than [`Config`](super::Config) allows.
    TooLong,
    /// As many changes wait as [`Config::waiting_max`](super::Config::waiting_max) allows. Of a membership: registers are
    /// being rewritten here, or as much is on its way to the disk as
    /// [`Config::unstored_bytes_max`](super::Config::unstored_bytes_max) allows. Of a rewriting: another is under way.
    Overloaded,
    /// No majority of the acceptors answered in time, or others were always faster.
    TimedOut,
    /// No ballot is left that would outbid what somebody has used: a disk or a node is not what it should be.
    BallotsSpent,
    /// This node is not among [`Config::proposers`](super::Config::proposers).
    NotAProposer,
    /// A membership does not follow on the one in use, or differs from it by more than one acceptor.
    NotTheNextStep,
}
