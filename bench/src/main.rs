//! Benchmarks: ours, and the same work on peers.

fn main() {}
