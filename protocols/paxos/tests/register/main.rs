//! Registers: their stories, their paper, their bounds, and random histories.

mod linear;
mod property;
mod world;
