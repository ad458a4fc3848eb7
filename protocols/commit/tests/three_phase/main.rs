//! Three-phase commit: its stories, its papers, its bounds, and random histories within its assumption and outside it.

mod bounds;
mod paper;
mod property;
mod scripts;
mod timed;
