//! The Rust client: follows the leader by itself.
