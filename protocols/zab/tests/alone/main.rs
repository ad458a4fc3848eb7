//! One node asked directly: its paper, and its bounds.

mod bounds;
mod node;
mod paper;
