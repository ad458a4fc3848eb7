//! The thin part that touches the world, and the embedding API.
//!
//! What runs the node lands next: `open(Options, BTreeMap<GroupId, Box<dyn StateMachine>>) -> Result<Handle, OpenError>`
//! with `Options::new(folder, listen, start)`.
#![allow(dead_code, reason = "until the threads that use it land")]

mod clock;
mod error;
mod event;
mod handle;
mod identity;
mod inbox;
mod metrics;
mod run;

pub use error::{BootstrapError, ChangeError, ProposeError, ReadError, StatusError};
pub use event::Event;
pub use handle::{Done, Handle, Readable, Stats, block_on};
pub use hezong_codec::ClusterId;
pub use identity::{Identity, IdentityError, Start};
pub use metrics::{BUCKETS_MICROS, HistogramSnapshot, MetricsSnapshot};
