//! Two-phase commit: its stories, its papers, its bounds, and random histories.

#[path = "../common/alone.rs"]
mod alone;
mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod paper;
mod property;
mod scripts;
