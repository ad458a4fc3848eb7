//! Bytes to messages, writes and records, and back.
