//! Golden scripts: a story a file, one runner for every protocol.
