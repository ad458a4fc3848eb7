//! What the service manager is told (`sd_notify(3)`): a datagram to the socket it names in `NOTIFY_SOCKET`. Without one
//! nothing is said.
//!
//! *Ready* means that the node is open, clients are served, and `/ready` says the rest: whether there is a leader is the
//! cluster's matter, and a service manager that waited for it could never start the first node of three.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

const SOCKET: &str = "NOTIFY_SOCKET";

/// The node serves.
pub(crate) fn ready() {
    tell("READY=1\n");
}

/// The node reads its configuration again; followed by [`ready`].
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
}

/// The node is on its way out.
pub(crate) fn stopping() {
    tell("STOPPING=1\n");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let send = || {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&socket)?,
        };
        let sent = UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
        if sent == state.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    };
    if let Err(error) = send() {
        // A manager that is not told waits until it loses patience, and then says no more than that.
        tracing::warn!("the service manager cannot be told {:?}: {error}", state.trim_end());
    }
}
