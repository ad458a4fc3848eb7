//! Repository rules as checks.

fn main() {}
