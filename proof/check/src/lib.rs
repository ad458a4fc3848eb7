//! History checkers: does what clients recorded fit what they were promised?
//!
//! Clients record what they asked, when, and what they were told. Three questions are answered, each from the recorded run
//! alone: the checkers know nothing of Raft, and nothing of Hezong.
//!
//! - [`check`]: are operations on single keys *linearizable*: does some order of them, in which each takes effect at one
//!   instant between its call and its return, explain every answer (Herlihy and Wing, 1990)? [`shortest_window`] makes of
//!   a violation as few answers as can be that no order explains.
//! - [`check_sessions`]: is what one client may rely on from one operation to the next kept (Terry and others, 1994)?
//! - [`check_isolation`]: do transactions see of each other what a model allows, from read committed to strict
//!   serializability (Adya, 1999; Kingsbury and Alvaro, 2020)?
//!
//! What they promise:
//! - A violation is one: no run that keeps the promise looks so. What a checker gives up on, or cannot tell, is `Unknown`,
//!   never a verdict. [`Verdict::Linearizable`] is exact as well; the other two look for contradictions, and that none was
//!   found proves less.
//! - The same history and budget give the same verdict, everywhere: the budget counts steps, not seconds. There is no
//!   clock, file or thread in here; [`check_while`] asks its caller whether to go on.
//! - An operation whose outcome nobody knows (it timed out, its client was cut off) may have taken effect at any instant
//!   after its call, or never. Operations that were certainly not done are left out of the history by whoever records.
//!
//! The words are those of the papers: an *operation* has a *call* and a *return*; operations whose spans overlap are
//! *concurrent*; to *linearize* one is to give it its instant. A transaction consists of *micro-operations*; *ww*, *wr* and
//! *rw* are the ways in which one must come before another.
//!
//! | file | holds |
//! |---|---|
//! | `history.rs`, `transaction.rs` | what is checked: operations on one key each, and transactions |
//! | `read.rs`, `read/` | both from text: lines of JSON, and what Jepsen writes |
//! | `linearizable.rs` | [`check`]: key by key, the verdict, the shortest prefix that cannot be explained |
//! | `search.rs` | the search: Wing and Gong (1993) with Lowe's memory (2017) and shortcuts of ours |
//! | `window.rs` | [`shortest_window`] |
//! | `sessions.rs` | [`check_sessions`] |
//! | `isolation.rs`, `isolation/` | [`check_isolation`]: `observed.rs` by keys, `lists.rs` and `registers.rs` the order of versions, `dependencies.rs` that of transactions, `graph.rs` and `cycles.rs` what is wrong with it, `findings.rs` its names |
//! | `draw.rs`, `draw/` | drawings for browsers |
//!
//! Left out: operations on several keys at once that are no transactions of reads and writes, and reads by predicate.

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
