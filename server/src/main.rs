//! One binary that keeps many machines agreed.

fn main() {}
