//! A whole cluster in one thread, replayed by a seed.
