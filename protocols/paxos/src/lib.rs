//! The Paxos family as pure state machines, each in a module of its own.
//!
//! | module | agrees on |
//! |---|---|
//! | [`basic`] | one value, once (Lamport, *Paxos Made Simple*, 2001) |
//! | [`multi`] | a log of values, under a master with a lease (Chandra, Griesemer and Redstone, *Paxos Made Live*, 2007) |
//! | [`register`] | many registers, each changed again and again, without a log (Rystsov, *CASPaxos*, 2018) |
//!
//! They share the *ballot*, the paper's proposal number (`ballot.rs`). Each module tells what it promises, its words, its files,
//! and where it departs from its paper.

#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod ballot;
pub mod basic;
pub mod multi;
pub mod register;

pub use ballot::{Ballot, ROUND_MAX};
