//! Three-phase commit: its stories, its papers, its bounds, and random histories within its assumption and outside it.

#[path = "../common/alone.rs"]
mod alone;
mod bounds;
mod paper;
mod property;
mod scripts;
mod timed;
