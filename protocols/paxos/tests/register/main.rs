//! Registers: their stories, their paper, their bounds, and random histories.

mod bounds;
mod linear;
mod membership;
mod paper;
mod property;
mod scripts;
mod world;
