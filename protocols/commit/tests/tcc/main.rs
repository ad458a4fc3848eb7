//! Try-Confirm-Cancel: its stories, all orders of what comes to a branch, its bounds, and random histories.

#[path = "../common/alone.rs"]
mod alone;
mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod orders;
mod property;
mod scripts;
