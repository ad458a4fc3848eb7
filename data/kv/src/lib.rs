//! Keys and values with revisions, once-only writes and sessions.
