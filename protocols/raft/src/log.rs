//! The log as one node knows it.

/// Base, runs of terms, and the tail of entries.
#[derive(Clone, Debug, Default)]
pub struct Log;
