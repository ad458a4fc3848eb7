//! Keys and values with revisions, once-only writes and sessions: the state that a group's log is applied to.
//!
//! Every entry of the log is one [`Request`]: a [`Command`] and, if the client asked for it, a [`Once`] by which a
//! retry is recognised. Applying it changes the state in one step and yields one [`Reply`]. The same entries give the
//! same state and the same replies on every replica, whatever the slices in which they are applied and however often
//! the process dies in between; [`KvView::digest`] shows it.
//!
//! Words, etcd's where it has them: the **revision** counts the commands that changed keys; a key has the revision at
//! which it was **created**, that of its last change (**modified**) and its **version**, the number of changes since it
//! was created. **Log time** is the time that entries carry; everything that expires does so by it.
//!
//! | file | holds |
//! |---|---|
//! | `command.rs` | requests, and the limits they are held to before the log |
//! | `reply.rs` | replies: what was done, or why nothing was |
//! | `wire.rs` | both as bytes; what a node does not know stops it |
//! | `machine.rs` | [`Kv`], the state machine, and its rules |
//! | `turn.rs` | one slice of entries: what commands do to keys |
//! | `once.rs` | idempotency keys, sessions, and how they are forgotten |
//! | `record.rs` | how the state lies in the store |
//! | `snapshot.rs` | the state in chunks, and a new one built beside it |
//! | `reader.rs` | [`KvReader`]: reading while it is applied to |
//! | `backup.rs` | a view as a stream of bytes that is whole or refused |
//! | `refound.rs` | a state that a new cluster begins with |
//! | `weakness.rs` | known bugs as switches, for the proof |
//!
//! Left out: leases on keys, history of keys (only the last value is kept), watches.

#![forbid(unsafe_code)]

mod backup;
mod command;
mod machine;
mod once;
mod reader;
mod record;
mod refound;
mod reply;
mod snapshot;
mod turn;
mod weakness;
mod wire;

pub use backup::{BackupError, BackupMember, BackupReader, BackupWriter, Header};
pub use command::{Command, Condition, Expect, LimitError, Limits, Once, Operation, Request, RequestDigest, SessionId};
pub use machine::{Kv, KvError, Rules};
pub use reader::{KeyValue, KvReader, KvView, Page};
pub use refound::STEP;
pub use reply::{Done, Refusal, Reply, ReplyError, Revision};
pub use weakness::Weakness;
pub use wire::DecodeError;
