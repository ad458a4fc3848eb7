//! Raft as a pure state machine.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod config;
mod entry;
mod log;
mod membership;
mod message;
mod request;

pub use config::Config;
pub use entry::{Base, Entry, Payload};
pub use log::Log;
pub use membership::{Change, ChangeError, Member, Membership};
pub use message::{Body, Message};
pub use request::{Answer, Ask, Event, ReadLevel, Refusal, Request, Role, Saved, Status, Write};
