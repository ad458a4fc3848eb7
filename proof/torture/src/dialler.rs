//! Which process a connection comes from, by what the kernel tells in `/proc`: what nodes say of themselves is encrypted.

use std::fs;
use std::net::SocketAddr;

/// Which of these processes holds the end `from` of a connection to `to`. `None` where that cannot be told, as when it was
/// closed meanwhile.
pub(crate) fn holder(from: SocketAddr, to: SocketAddr, processes: impl IntoIterator<Item = u32>) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, from, to)?);
    processes.into_iter().find(|process| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target.as_os_str() == socket.as_str())
    })
}

/// The number of the socket with these ends, from the kernel's table: a line each, `sl local remote state … inode`.
fn inode(table: &str, from: SocketAddr, to: SocketAddr) -> Option<&str> {
    let (from, to) = (shown(from)?, shown(to)?);
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == from && words.next()? == to).then(|| words.nth(6))?
    })
}

/// As the kernel writes it: the four bytes of the address as one number of this machine, and the port.
fn shown(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn holder_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (from, to) = (dialled.local_addr().unwrap(), dialled.peer_addr().unwrap());
        let mine = std::process::id();
        assert_eq!(holder(from, to, [1, mine]), Some(mine));
        assert_eq!(holder(from, to, [u32::MAX]), None);
        let other = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(holder(from, other, [mine]), None);
    }
}
