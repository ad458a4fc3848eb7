//! The log under a master: its stories, its papers, its bounds, and random histories.

mod bounds;
mod paper;
mod property;
mod scripts;
mod world;
