//! History checkers: was this linearizable?
//!
//! Clients record what they asked, when, and what they were told ([`History`]); [`check`] decides whether some order of
//! the operations, in which each takes effect at one instant between its call and its return, explains every answer
//! (Herlihy and Wing, 1990). The verdict comes from the recorded run alone: the checker knows nothing of Raft.
//!
//! What it promises:
//! - [`Verdict::Linearizable`] and [`Verdict::Violation`] are exact. What it gives up on is [`Verdict::Unknown`], never
//!   either of them.
//! - The same history and budget give the same verdict, everywhere: the budget counts steps, not seconds.
//! - An operation whose outcome nobody knows (it timed out, its client was cut off) may have taken effect at any instant
//!   after its call, or never. Operations that were certainly not done are left out of the history by whoever records.
//!
//! The words are those of the papers: an *operation* has a *call* and a *return*; operations whose spans overlap are
//! *concurrent*; to *linearize* one is to give it its instant.
//!
//! | file | holds |
//! |---|---|
//! | `history.rs` | operations, and histories as lines of JSON |
//! | `linearizable.rs` | [`check`]: key by key, the verdict, the shortest prefix that cannot be explained |
//! | `search.rs` | the search: Wing and Gong (1993) with Lowe's memory (2017) and three shortcuts of ours |
//!
//! Left out: operations on several keys at once. Recorded as one operation a key they are checked for what each key
//! shows, but not for being atomic together.

#![forbid(unsafe_code)]

mod draw;
mod history;
mod isolation;
mod linearizable;
mod read;
mod search;
mod sessions;
mod transaction;
mod window;

pub use draw::{draw_anomaly, draw_session, draw_window};
pub use history::{Answer, Call, History, HistoryError, Operation, Outcome};
pub use isolation::{
    Anomaly, AnomalyKind, Dependency, Isolation, IsolationVerdict, Model, NoSuchModel, Order, Step, check_isolation,
};
pub use linearizable::{Budget, Progress, Verdict, Violation, check, check_while};
pub use read::{ReadError, Recorded, read};
pub use sessions::{Guarantee, SessionVerdict, SessionViolation, check_sessions};
pub use transaction::{End, Micro, Name, Names, Transaction, Transactions, Workload};
pub use window::{Shown, Window, shortest_window};
