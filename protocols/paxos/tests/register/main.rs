//! Registers: their stories, their paper, their bounds, and random histories.

mod linear;
mod membership;
mod property;
mod scripts;
mod world;
