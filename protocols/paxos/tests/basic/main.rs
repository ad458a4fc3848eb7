//! The basic protocol: its stories, its paper, its bounds, and random histories.

mod bounds;
mod paper;
mod property;
mod scripts;
