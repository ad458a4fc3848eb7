//! The native REST API.
