//! Connections over TCP: dialling, accepting, the handshake, reading and writing.
//!
//! Every connection has two threads of its own, a reader and a writer that mostly sleeps. Blocking threads cost a
//! cluster's handful of peers less than a runtime does: a frame wakes its reader directly, and nobody else.
//!
//! Whoever is no peer (a scanner, a browser, a node of another cluster) is told so or hung up on, counted, and told of
//! at a limited rate; nothing it sends reaches the node.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hezong_base::{GroupId, NodeId};
use hezong_codec::{
    ClusterId, FRAME_BYTES_MAX, Frame, FrameError, Hello, Refusal, VERSIONS, Welcome,
    frame::{decode, encode_answer, encode_hello, encode_messages},
};
use hezong_node::NodeInput;
use hezong_raft::Message;
use rustix::net::sockopt;

use crate::event::Event;
use crate::peers::{Peer, Peers};
use crate::run::{Mail, MayWait};
use crate::threads::{Shared, chance, spawn, stop_process};

/// The longest frame of a handshake: labels and addresses, no payload.
const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// How many strangers may be in the middle of a handshake; more are hung up on.
const HANDSHAKES_MAX: usize = 64;

/// Our end of all connections.
pub(crate) struct Tcp {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cluster: ClusterId,
    pub(crate) me: NodeId,
    pub(crate) queue_bytes_max: usize,
    pub(crate) pause_max: Duration,
    pub(crate) timeout: Duration,
    pub(crate) peers: Peers,
    pub(crate) listener: TcpListener,
    /// Strangers in the middle of a handshake.
    pub(crate) handshakes: AtomicUsize,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("it sent something else than a handshake")]
    Unexpected,
    /// It refused us.
    #[error("{0}")]
    Refused(Refusal),
    /// We refused it.
    #[error("it was refused: {0}")]
    Refuse(String),
}

impl Tcp {
    /// Starts to accept; the thread ends with [`Tcp::close`].
    pub(crate) fn listen(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let tcp = Arc::clone(self);
        spawn("hezong-accept", move || tcp.accept())
    }

    /// Sends messages to a peer, in as many frames as they need.
    pub(crate) fn send(&self, to: NodeId, messages: &[(GroupId, Message)]) {
        let Some(peer) = self.peers.get(to) else {
            self.shared.metrics.frames_unsent.add(1);
            return;
        };
        let mut frame = BytesMut::new();
        if let Err(error) = encode_messages(messages, FRAME_BYTES_MAX, &mut frame) {
            tracing::error!("{error}: it cannot be sent to {to}");
        }
        if !frame.is_empty() {
            peer.send(&self.shared, frame, self.queue_bytes_max);
        }
    }

    /// Dials whoever is a member and was not dialled before.
    pub(crate) fn set_members(self: &Arc<Self>, members: std::collections::BTreeMap<NodeId, hezong_raft::Member>) {
        for peer in self.peers.set_members(self.me, members) {
            let tcp = Arc::clone(self);
            let started = spawn(&format!("hezong-dial-{}", peer.id), move || tcp.dial(&peer));
            if let Err(error) = started {
                stop_process(&format_args!("cannot start a thread to dial a peer: {error}"));
            }
        }
    }

    /// Ends every connection and stops listening.
    pub(crate) fn close(&self) {
        self.peers.close();
        // Wakes the thread that accepts; closing the socket alone would not.
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            tracing::warn!("cannot wake the thread that accepts peers: {error}");
        }
    }

    /// Keeps a peer connected for as long as it is a member. Pauses double while nobody answers, and half of each is
    /// chance, so that nodes which lost each other at the same moment do not knock at the same moment.
    fn dial(self: &Arc<Self>, peer: &Arc<Peer>) {
        let mut rng = chance();
        let pause_min = self.pause_max / 10;
        let first = if self.me < peer.id { Duration::ZERO } else { self.pause_max };
        let mut pause = first;
        let mut last_refusal = None;
        while let Some(address) = peer.wait_to_dial(pause) {
            match self.reach(peer.id, &address) {
                Ok((stream, buffer)) => {
                    last_refusal = None;
                    self.serve(peer, stream, buffer, false);
                    pause = first;
                }
                Err(error) => {
                    self.shared.metrics.dials_failed.add(1);
                    tracing::debug!("dialling {} at {address}: {error}", peer.id);
                    if let HandshakeError::Refused(_) | HandshakeError::Frame(_) | HandshakeError::Unexpected = error {
                        self.shared.metrics.handshakes_refused.add(1);
                        // Told once, not at every attempt.
                        let reason = error.to_string();
                        if last_refusal.as_ref() != Some(&reason) {
                            self.shared.tell(Event::PeerRefused { address, reason: reason.clone() });
                            last_refusal = Some(reason);
                        }
                    }
                    let doubled = (pause * 2).clamp(pause_min, self.pause_max).max(first);
                    pause = doubled / 2 + rng.between(Duration::ZERO, doubled / 2);
                }
            }
        }
        self.peers.forget_stranger(peer.id);
    }

    /// Connects and shakes hands.
    fn reach(&self, to: NodeId, address: &str) -> Result<(TcpStream, BytesMut), HandshakeError> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the address has no IP address");
        // Resolved anew each time: a peer may have moved.
        for ip in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&ip, self.timeout) {
                Ok(stream) => return self.greet(to, stream),
                Err(error) => failed = error,
            }
        }
        Err(failed.into())
    }

    fn greet(&self, to: NodeId, mut stream: TcpStream) -> Result<(TcpStream, BytesMut), HandshakeError> {
        self.tune(&stream)?;
        let member = self.peers.member();
        let hello = Hello { versions: VERSIONS, cluster: self.cluster, from: self.me, to, member };
        let mut bytes = BytesMut::new();
        encode_hello(&hello, &mut bytes);
        stream.write_all(&bytes)?;
        let mut buffer = BytesMut::new();
        match self.read_handshake(&mut stream, &mut buffer)? {
            Frame::Welcome(Welcome { version }) if VERSIONS.contains(version) => Ok((stream, buffer)),
            Frame::Refused(refusal) => Err(HandshakeError::Refused(refusal)),
            Frame::Welcome(_) | Frame::Hello(_) | Frame::Messages(_) => Err(HandshakeError::Unexpected),
        }
    }

    fn accept(self: &Arc<Self>) {
        loop {
            match self.listener.accept() {
                Ok(_) if self.peers.is_closed() => return,
                Ok((stream, address)) => {
                    if self.handshakes.fetch_add(1, Ordering::Relaxed) >= HANDSHAKES_MAX {
                        self.handshakes.fetch_sub(1, Ordering::Relaxed);
                        self.peers.garbage(&self.shared, address, "too many handshakes are under way".to_owned());
                        continue;
                    }
                    let tcp = Arc::clone(self);
                    if spawn("hezong-peer", move || tcp.answer(stream, address)).is_err() {
                        self.handshakes.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                Err(_) if self.peers.is_closed() => return,
                Err(error) => {
                    // Out of file descriptors, or the peer gave up: the next one may fare better.
                    tracing::warn!("cannot accept a peer's connection: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn answer(self: &Arc<Self>, mut stream: TcpStream, address: SocketAddr) {
        let mut buffer = BytesMut::new();
        let outcome = self.examine(&mut stream, &mut buffer);
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            Ok(from) => {
                if let Some(peer) = self.peers.admit(from) {
                    self.serve(&peer, stream, buffer, true);
                    self.peers.forget_stranger(from);
                }
            }
            Err(HandshakeError::Refuse(_)) if self.peers.is_closed() => {}
            Err(error @ HandshakeError::Refuse(_)) => {
                self.shared.metrics.handshakes_refused.add(1);
                if self.peers.may_tell() {
                    let (address, reason) = (address.to_string(), error.to_string());
                    self.shared.tell(Event::PeerRefused { address, reason });
                }
            }
            Err(error) => self.peers.garbage(&self.shared, address, error.to_string()),
        }
    }

    /// Reads a stranger's introduction and answers it; returns who it is.
    fn examine(&self, stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<NodeId, HandshakeError> {
        self.tune(stream)?;
        let Frame::Hello(hello) = self.read_handshake(stream, buffer)? else { return Err(HandshakeError::Unexpected) };
        let common = VERSIONS.common(hello.versions);
        let answer = match common {
            None => Err(Refusal::Version(VERSIONS)),
            Some(_) if hello.cluster != self.cluster => Err(Refusal::Cluster(self.cluster)),
            Some(_) if hello.to != self.me || hello.from == self.me => Err(Refusal::Node(self.me)),
            Some(_) if self.peers.has_left(hello.from) => Err(Refusal::Removed),
            Some(_) if self.peers.is_closed() => Err(Refusal::NotReady),
            Some(version) => Ok(Welcome { version }),
        };
        let mut bytes = BytesMut::new();
        encode_answer(&answer, &mut bytes);
        stream.write_all(&bytes)?;
        match answer {
            Ok(_) => Ok(hello.from),
            Err(_) => Err(HandshakeError::Refuse(format!(
                "{} of cluster {} dialled {} here, speaking versions {} to {}",
                hello.from, hello.cluster, hello.to, hello.versions.min, hello.versions.max
            ))),
        }
    }

    /// Reads one frame, within a time that a stranger cannot stretch by sending one byte at a time.
    fn read_handshake(&self, stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<Frame, HandshakeError> {
        let until = Instant::now() + self.timeout;
        let mut chunk = [0; 4096];
        let frame = loop {
            if let Some(frame) = decode(buffer, HANDSHAKE_BYTES_MAX)? {
                break frame;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut chunk)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => buffer.extend_from_slice(&chunk[..count]),
            }
        };
        stream.set_read_timeout(None)?;
        Ok(frame)
    }

    /// Sends without delay, and lets the kernel find out that a peer is gone: by probes when nothing is said, by what
    /// stays unacknowledged when something is. A peer whose process is merely paused is not gone.
    fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let fd = stream.as_fd();
        let third = (self.timeout / 3).max(Duration::from_secs(1));
        sockopt::set_socket_keepalive(fd, true)?;
        sockopt::set_tcp_keepidle(fd, third)?;
        sockopt::set_tcp_keepintvl(fd, third)?;
        sockopt::set_tcp_keepcnt(fd, 2)?;
        #[cfg(target_os = "linux")]
        sockopt::set_tcp_user_timeout(fd, u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX))?;
        Ok(())
    }

    /// Runs a connection to its end, reading on this thread.
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, stream: TcpStream, buffer: BytesMut, accepted: bool) {
        let address = stream.peer_addr().ok();
        let stream = Arc::new(stream);
        let Some(number) = peer.connect(&stream, accepted) else { return };
        if self.peers.is_closed() {
            // The node stopped in between, and nobody else will close what it did not know of.
            peer.disconnect(number);
            return;
        }
        self.shared.metrics.connections.add(1);
        self.shared.tell(Event::PeerConnected { peer: peer.id, address });
        let writer = {
            let (peer, stream) = (Arc::clone(peer), Arc::clone(&stream));
            spawn(&format!("hezong-write-{}", peer.id), move || write(&peer, &stream, number))
        };
        let reason = match writer {
            Ok(_) => self.read(peer.id, &stream, buffer),
            Err(error) => error.to_string(),
        };
        // Whatever came before the end counts.
        self.shared.inbox.wake();
        if peer.disconnect(number) {
            self.shared.metrics.disconnections.add(1);
            self.shared.tell(Event::PeerLost { peer: peer.id, reason });
        }
    }

    /// Hands what arrives to the node until nothing more does; returns why.
    fn read(&self, from: NodeId, mut stream: &TcpStream, mut buffer: BytesMut) -> String {
        let garbage = |reason: String| {
            let address = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
            self.peers.garbage(&self.shared, address, reason.clone());
            reason
        };
        let mut chunk = vec![0; 64 << 10];
        loop {
            let mut arrived = false;
            loop {
                let before = buffer.len();
                match decode(&mut buffer, FRAME_BYTES_MAX) {
                    Ok(None) => break,
                    Ok(Some(Frame::Messages(messages))) => {
                        let bytes = before - buffer.len();
                        self.shared.metrics.frames_received.add(1);
                        self.shared.metrics.bytes_received.add(bytes);
                        let mail = Mail::Input(NodeInput::Received { from, messages });
                        if self.shared.inbox.push_when_room(mail, bytes).is_err() {
                            return "this node is stopping".to_owned();
                        }
                        arrived = true;
                    }
                    Ok(Some(Frame::Hello(_) | Frame::Welcome(_) | Frame::Refused(_))) => {
                        return garbage(HandshakeError::Unexpected.to_string());
                    }
                    Err(error) => return garbage(error.to_string()),
                }
            }
            if arrived {
                self.shared.deliver(MayWait::Yes);
            }
            match stream.read(&mut chunk) {
                Ok(0) => return "the peer closed the connection".to_owned(),
                Ok(count) => buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.to_string(),
            }
        }
    }
}

/// Writes what the socket did not take at once, everything that waits in one go. A failed write is for the reader to
/// notice, which the same failure wakes.
fn write(peer: &Peer, mut stream: &TcpStream, number: u64) {
    let mut batch = Vec::new();
    while peer.take(number, &mut batch) {
        if stream.write_all(&batch).is_err() {
            drop(stream.shutdown(std::net::Shutdown::Both));
            return;
        }
    }
}
