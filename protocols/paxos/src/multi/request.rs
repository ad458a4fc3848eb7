//! What the local user asks for and is told, and what is done for the protocol outside it.

use bytes::Bytes;
use hezong_base::{NodeId, RequestId, Time};

use super::{Base, Members, Slot, SnapshotId, Value};

/// What the local user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Have a command chosen. Answered by [`Event::Done`], [`Event::Refused`] or [`Event::Unknown`].
    Propose(Bytes),
    /// May the state be read? Answered by [`Event::Readable`] or [`Event::Refused`].
    Read,
    /// Have these accept from α slots later on. Answered as a command is, once it is chosen.
    Reconfigure(Members),
    /// The state machine has applied all up to this slot, and would find that again after a crash. Answered by nothing. Handed
    /// in once at the start too.
    Applied(Slot),
}

/// What the local user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This was chosen there. In the order of slots, none left out but by a snapshot; after a start, those still held are told
    /// again, which a state machine that has applied them leaves aside.
    Chosen {
        /// Where.
        slot: Slot,
        /// What.
        value: Value,
    },
    /// What was asked for is chosen, and was told of just before.
    Done {
        /// Which request.
        id: RequestId,
        /// Where.
        slot: Slot,
    },
    /// The state that all events before this one lead to holds everything that was done anywhere before the read was asked
    /// for. Whoever answers looks at the clock once more, and answers nothing from `until` on.
    Readable {
        /// Which request.
        id: RequestId,
        /// When the lease ends.
        until: Time,
    },
    /// What was asked for is not done, and never will be on account of this request.
    Refused {
        /// Which request.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// What was asked for may be done by now, or later, or never: the master has lost its office.
    Unknown {
        /// Which request.
        id: RequestId,
    },
    /// Who is master has changed, as far as is known here.
    MasterChanged(Option<NodeId>),
}

/// Why something was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only the master can help, who is this one as far as is known.
    NotMaster(Option<NodeId>),
    /// The master has no lease at present, or does not know yet all that was chosen before it. Ask again soon.
    NotReadable,
    /// The value is longer than [`Config::value_bytes_max`](super::Config::value_bytes_max).
    TooLong,
    /// There are no members, or more than [`Config::members_max`](super::Config::members_max).
    NoSuchMembers,
    /// The last change of members is not in force yet.
    Changing,
    /// As much waits as [`Config::waiting_max`](super::Config::waiting_max) and
    /// [`Config::waiting_bytes_max`](super::Config::waiting_bytes_max) allow.
    Overloaded,
}

/// Local work whose result must come back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Holds the state machine's state as of now ready under this name; it may take the place of one held before for the same.
    TakeSnapshot {
        /// Its name.
        id: SnapshotId,
        /// Who will fetch it.
        to: NodeId,
    },
    /// Fetches a snapshot and switches the state machine over to it, durably, unless it stands there or further already.
    FetchSnapshot {
        /// Who holds it.
        from: NodeId,
        /// Its name there.
        id: SnapshotId,
        /// What it leads up to.
        base: Base,
    },
}

/// That result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The snapshot is held, and holds all up to this slot; `None` when there is none to give.
    SnapshotTaken(Option<Slot>),
    /// Whether the state machine stands there now, and would after a crash.
    SnapshotFetched(bool),
}
