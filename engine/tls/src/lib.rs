//! Certificates: what a node shows, whom it believes, and how both are renewed while it runs.
//!
//! A cluster has one authority (or several, while one takes over from another). Whoever holds a certificate of it is
//! trusted as far as the certificate's names go, and no further:
//!
//! - A **node** called `node02` has the name `node02.hezong` in its certificate. That name, and not the host, is what
//!   other nodes check, on both ends of a connection: a machine may move, and a host name may be anybody's tomorrow.
//!   A wildcard names no node.
//! - Its **hosts**, names and addresses, are there for clients, who dial those. A node that says where its clients are sent
//!   takes no certificate without that host.
//! - A **client's** certificate has no such name, so that it opens the client port and never the peer port.
//!
//! Everything is read and checked before it is used: a certificate that has expired, is of another name or another
//! authority, or whose key does not fit, is refused by name when the node starts, and when it is renewed the one in use
//! stays in use.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | [`NodeTls`]: a node's ends of connections, and their renewal |
//! | `client.rs` | [`ClientTls`]: a client's end |
//! | `files.rs` | reading PEM, and checking what it says |
//! | `make.rs` | making authorities and certificates (feature `make`) |
//! | `error.rs` | what is wrong with files, and what went wrong in a handshake, as sentences |
//!
//! Left out: revocation (certificates are meant to be short-lived, and an authority is as quickly replaced), keys that
//! are encrypted or in hardware.

#![forbid(unsafe_code)]

mod client;
mod error;
mod files;
#[cfg(feature = "make")]
pub mod make;
mod node;

pub use client::ClientTls;
pub use error::{TlsError, explain, explain_io, inside, is_of_tls, is_refusal};
pub use files::{Files, labels, name_of_node};
pub use node::{Clients, NodeTls};
