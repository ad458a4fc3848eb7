//! What a commit protocol adds so that its coordinator can be replicated.

use alloc::collections::BTreeSet;
use core::convert::Infallible;
use core::fmt::Debug;

use bytes::Bytes;
use hezong_base::Protocol;
use hezong_commit::tcc::{self, Tcc};
use hezong_commit::two_phase::{self, TwoPhase};
use hezong_commit::{Config, Event, Request, TransactionId};

use crate::bytes::{read, write};

/// A commit protocol whose coordinator's writes can be entries of a log.
///
/// What its coordinator says without a write of its own to rest on must be true for ever, whoever coordinates later under the
/// same id from the fold of the log. The crate's page has the argument, and what it needs of the protocol.
pub trait Replicable:
    Protocol<Config = Config, Request = Request, Event = Event, Ask = Infallible, Answer = Infallible, Saved: Debug + Eq>
{
    /// Which transaction a message is about.
    fn tx(message: &Self::Message) -> TransactionId;
    /// A coordinator's write as bytes; `None` for those of a participant.
    fn encode(write: &Self::Write) -> Option<Bytes>;
    /// The write that these bytes are; `None` if they are none.
    fn decode(bytes: &[u8]) -> Option<Self::Write>;
    /// How many transactions are under way, as coordinator and as participant.
    fn under_way(&self) -> (usize, usize);
}

impl Replicable for TwoPhase {
    fn tx(message: &two_phase::Message) -> TransactionId {
        message.tx()
    }

    fn encode(change: &two_phase::Write) -> Option<Bytes> {
        match change {
            two_phase::Write::Numbers(last) => Some(write(0, *last, &BTreeSet::new())),
            two_phase::Write::Commit { number, participants } => Some(write(1, *number, participants)),
            two_phase::Write::End(number) => Some(write(2, *number, &BTreeSet::new())),
            two_phase::Write::Prepared { .. } | two_phase::Write::Finished { .. } => None,
        }
    }

    fn decode(bytes: &[u8]) -> Option<two_phase::Write> {
        match read(bytes)? {
            (0, last, _) => Some(two_phase::Write::Numbers(last)),
            (1, number, participants) => Some(two_phase::Write::Commit { number, participants }),
            (2, number, _) => Some(two_phase::Write::End(number)),
            (3.., _, _) => None,
        }
    }

    fn under_way(&self) -> (usize, usize) {
        self.under_way()
    }
}

impl Replicable for Tcc {
    fn tx(message: &tcc::Message) -> TransactionId {
        message.tx()
    }

    fn encode(change: &tcc::Write) -> Option<Bytes> {
        match change {
            tcc::Write::Begun { number, branches } => Some(write(0, *number, branches)),
            tcc::Write::Confirm(number) => Some(write(1, *number, &BTreeSet::new())),
            tcc::Write::End(number) => Some(write(2, *number, &BTreeSet::new())),
            tcc::Write::Tried { .. } | tcc::Write::Decided { .. } | tcc::Write::Finished { .. } => None,
        }
    }

    fn decode(bytes: &[u8]) -> Option<tcc::Write> {
        match read(bytes)? {
            (0, number, branches) => Some(tcc::Write::Begun { number, branches }),
            (1, number, _) => Some(tcc::Write::Confirm(number)),
            (2, number, _) => Some(tcc::Write::End(number)),
            (3.., _, _) => None,
        }
    }

    fn under_way(&self) -> (usize, usize) {
        self.under_way()
    }
}
