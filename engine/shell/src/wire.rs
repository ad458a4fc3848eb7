//! A connection's bytes on the socket: as they are, or encrypted.
//!
//! Encryption numbers its records, so they must leave in the order in which they were made: whoever may write to the
//! socket (one at a time, as `peers.rs` decides) encrypts what he writes, right before. What was encrypted can no longer be
//! dropped; what waits in a peer's queue is therefore not encrypted yet.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, BytesMut};
use hezong_tls::labels;
use rustix::net::{SendFlags, send};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// How long, and how many bytes, we listen to one that we have turned away: were the socket closed with something of his
/// unread, he would never read why.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 64 << 10;

/// One connection.
pub(crate) struct Wire {
    socket: TcpStream,
    /// `None` when nothing is encrypted.
    tls: Option<Tls>,
}

struct Tls {
    /// Locked for as long as it takes to encrypt or decrypt what is at hand, never while waiting for the socket.
    connection: Mutex<Connection>,
    /// The labels of the nodes in the certificate of the other side, which our authority has signed.
    labels: Vec<String>,
}

/// What became of a frame that was to be sent without waiting.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It is on its way.
    Whole,
    /// Of this the other side may have seen the start: it must follow before anything else, and as it is.
    Begun(BytesMut),
    /// Nothing of it was sent.
    Nothing(BytesMut),
    /// The connection is broken, as its reader is about to find out.
    Broken,
}

impl Wire {
    /// A connection in the clear.
    pub(crate) fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// Encrypts a connection that we made, to one who must prove to have this name. Also returns what came after the
    /// handshake.
    pub(crate) fn dialled(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        until: Instant,
    ) -> io::Result<(Self, BytesMut)> {
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::encrypted(socket, connection.into(), until)
    }

    /// Encrypts a connection that another one made, who must show a certificate of our authority.
    pub(crate) fn accepted(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        until: Instant,
    ) -> io::Result<(Self, BytesMut)> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        Self::encrypted(socket, connection.into(), until)
    }

    fn encrypted(socket: TcpStream, mut connection: Connection, until: Instant) -> io::Result<(Self, BytesMut)> {
        // A frame is encrypted whole; what bounds it are the frames themselves.
        connection.set_buffer_limit(None);
        if let Err(error) = shake_hands(&socket, &mut connection, until) {
            linger(&socket);
            return Err(error);
        }
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(None)?;
        let mut early = BytesMut::new();
        take_plain(&mut connection, &mut early)?;
        let labels = connection.peer_certificates().and_then(<[_]>::first).map(labels).unwrap_or_default();
        Ok((Self { socket, tls: Some(Tls { connection: Mutex::new(connection), labels }) }, early))
    }

    /// The labels of the nodes in the other side's certificate; `None` when it has shown none, in the clear.
    pub(crate) fn labels(&self) -> Option<&[String]> {
        self.tls.as_ref().map(|tls| tls.labels.as_slice())
    }

    /// Whether nothing speaks against the other side being the node of this label.
    pub(crate) fn may_be(&self, label: &str) -> bool {
        self.labels().is_none_or(|labels| labels.iter().any(|found| found == label))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Ends the connection, and wakes whoever reads from it or writes to it.
    pub(crate) fn shutdown(&self) {
        // Failing means that the other side was quicker.
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Sends as much as the socket takes at once.
    pub(crate) fn send(&self, frame: BytesMut) -> Sent {
        let Some(tls) = &self.tls else { return send_now(&self.socket, frame, false) };
        let mut sealed = BytesMut::with_capacity(frame.len() + 64);
        match seal(&mut tls.lock(), &frame, &mut (&mut sealed).writer()) {
            Ok(()) => send_now(&self.socket, sealed, true),
            Err(_) => Sent::Broken,
        }
    }

    /// Writes all of it, however long that takes. Its first `begun` bytes are the rest of what was sent before.
    pub(crate) fn write(&self, batch: &[u8], begun: usize) -> io::Result<()> {
        let Some(tls) = &self.tls else { return (&self.socket).write_all(batch) };
        let (rest, fresh) = batch.split_at(begun);
        let mut sealed = Vec::with_capacity(batch.len() + batch.len() / 128 + 64);
        sealed.extend_from_slice(rest);
        seal(&mut tls.lock(), fresh, &mut sealed)?;
        (&self.socket).write_all(&sealed)
    }

    /// Waits for something to arrive and appends it to `into`; false when nothing more will. `chunk` is only for its room.
    pub(crate) fn read(&self, chunk: &mut [u8], into: &mut BytesMut) -> io::Result<bool> {
        let count = (&self.socket).read(chunk)?;
        if count == 0 {
            return Ok(false);
        }
        let mut arrived = &chunk[..count];
        let Some(tls) = &self.tls else {
            into.extend_from_slice(arrived);
            return Ok(true);
        };
        let mut connection = tls.lock();
        // Nothing is taken once it has said that nothing more will come.
        while !arrived.is_empty() && connection.read_tls(&mut arrived)? > 0 {
            take_plain(&mut connection, into)?;
        }
        Ok(arrived.is_empty())
    }
}

impl Tls {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send_now(socket: &TcpStream, mut frame: BytesMut, sealed: bool) -> Sent {
    match send(socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) if sent == frame.len() => Sent::Whole,
        Ok(sent) => {
            frame.advance(sent);
            Sent::Begun(frame)
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if sealed => Sent::Begun(frame),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Sent::Nothing(frame),
        Err(_) => Sent::Broken,
    }
}

/// Encrypts, and appends it to `into` together with whatever the protocol itself has to say.
fn seal(connection: &mut Connection, plain: &[u8], into: &mut dyn io::Write) -> io::Result<()> {
    connection.writer().write_all(plain)?;
    while connection.wants_write() {
        connection.write_tls(into)?;
    }
    Ok(())
}

/// Decrypts what was read, and moves it to `into`.
fn take_plain(connection: &mut Connection, into: &mut BytesMut) -> io::Result<()> {
    let mut left = connection.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
    let mut reader = connection.reader();
    while left > 0 {
        let part = reader.fill_buf()?;
        let count = part.len();
        into.extend_from_slice(part);
        reader.consume(count);
        left -= count;
    }
    Ok(())
}

/// Shakes hands within a time that the other side cannot stretch by sending one byte at a time.
fn shake_hands(mut socket: &TcpStream, connection: &mut Connection, until: Instant) -> io::Result<()> {
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    loop {
        while connection.wants_write() {
            socket.set_write_timeout(left()?)?;
            connection.write_tls(&mut socket)?;
        }
        if !connection.is_handshaking() {
            return Ok(());
        }
        socket.set_read_timeout(left()?)?;
        if connection.read_tls(&mut socket)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = connection.process_new_packets() {
            // It should hear why, if it still listens.
            socket.set_write_timeout(left()?)?;
            connection.write_tls(&mut socket).ok();
            return Err(io::Error::other(error));
        }
    }
}

/// Says that nothing more will come, and reads on for a moment.
fn linger(mut socket: &TcpStream) {
    let until = Instant::now() + LINGER;
    let mut unread = [0; 4096];
    let mut bytes = 0;
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    while bytes < LINGER_BYTES {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match socket.read(&mut unread) {
            Ok(count) if count > 0 => bytes += count,
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::thread;

    use hezong_tls::make::{Authority, Validity};
    use hezong_tls::{Clients, Files, NodeTls, name_of_node};

    use super::*;

    /// A node's certificate of an authority of its own.
    pub(crate) fn certificate(label: &str) -> (tempfile::TempDir, NodeTls) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = Files { certificate: path("node.pem"), key: path("node.key"), authority: path("ca.pem") };
        let authority = Authority::new(Validity::days(1)).unwrap();
        let pair = authority.node(label, &[], Validity::days(1)).unwrap();
        std::fs::write(&files.authority, authority.certificate()).unwrap();
        std::fs::write(&files.certificate, &pair.certificate).unwrap();
        std::fs::write(&files.key, pair.key.as_bytes()).unwrap();
        let tls = NodeTls::load(files, label, Clients::Anyone).unwrap();
        (folder, tls)
    }

    /// Who connects and says nothing, or one byte at a time, is given up.
    #[test]
    fn handshake_that_drags_on_is_given_up() {
        let (_folder, tls) = certificate("node01");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slow = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        let dripping = thread::spawn(move || {
            // The head of a long record, and then its body, as slowly as it likes.
            slow.write_all(&[0x16, 3, 1, 0x3f, 0xff]).unwrap();
            while slow.write_all(&[1]).is_ok() {
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        let began = Instant::now();
        let error = Wire::accepted(socket, tls.to_accept(), began + Duration::from_millis(200)).err().unwrap();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        dripping.join().unwrap();
    }

    #[test]
    fn dialled_under_another_name_refused() {
        let (_folder, tls) = certificate("node01");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let dialler = {
            let (config, address) = (tls.to_dial(), listener.local_addr().unwrap());
            thread::spawn(move || {
                let socket = TcpStream::connect(address).unwrap();
                Wire::dialled(socket, config, name_of_node("node02").unwrap(), until).err().unwrap()
            })
        };
        let accepted = Wire::accepted(listener.accept().unwrap().0, tls.to_accept(), until).err().unwrap();
        let told = hezong_tls::explain_io(&dialler.join().unwrap());
        assert_eq!(told, "its certificate is of node01.hezong, not of node02.hezong");
        let told = hezong_tls::explain_io(&accepted);
        assert_eq!(told, "it does not accept our certificate: not valid there");
    }
}
