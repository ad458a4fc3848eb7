//! Connections over TCP: dialling, accepting, the handshake, reading and writing.
//!
//! Every connection has two threads of its own, a reader and a writer that mostly sleeps. Blocking threads cost a
//! cluster's handful of peers less than a runtime does: a frame wakes its reader directly, and nobody else.
//!
//! Whoever is no peer (a scanner, a browser, a node of another cluster) is told so or hung up on, counted, and told of
//! at a limited rate; nothing it sends reaches the node.
//!
//! With certificates both ends are encrypted before the first frame, and each must be the node it says it is: the one
//! dialled by the label its member has, the one that dials by the label of the number it gives. A number that is not
//! known here yet is let in with any node's certificate, and looked at again once it is known.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hezong_base::{GroupId, NodeId};
use hezong_codec::{
    ClusterId, FRAME_BYTES_MAX, Frame, FrameError, Hello, Lane, Refusal, SnapshotMessage, TracedEntry, VERSIONS,
    Versions, Welcome,
    frame::{decode, encode_answer, encode_hello, encode_messages, encode_snapshot},
};
use hezong_node::NodeInput;
use hezong_raft::{Member, Message, Version};
use hezong_tls::{NodeTls, TlsError, explain_io, is_of_tls, name_of_node};
use rustix::net::sockopt;

use crate::event::Event;
use crate::peers::{Peer, Peers, Taken};
use crate::run::{Mail, MayWait};
use crate::threads::{Shared, chance, spawn, stop_process};
use crate::wire::Wire;

/// The longest frame of a handshake: labels and addresses, no payload.
const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// After so long without a word a connection for snapshots is closed.
const SNAPSHOTS_IDLE: Duration = Duration::from_secs(30);

/// For how long a member is dialled in vain before people are told.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);

/// How TLS begins: an alert, or a handshake. No frame of ours does.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];

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
    /// `None`: in the clear.
    pub(crate) tls: Option<NodeTls>,
    pub(crate) peers: Peers,
    pub(crate) listener: TcpListener,
    /// Strangers in the middle of a handshake.
    pub(crate) handshakes: AtomicUsize,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("{}", explain_io(.0))]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("it sent something else than a handshake")]
    Unexpected,
    /// It wants to encrypt, or has told us so, and we do not.
    #[error("it speaks TLS, and this node does not; either all nodes have certificates or none")]
    Encrypted,
    /// A member whose label no certificate can hold.
    #[error("{0}")]
    Label(#[from] TlsError),
    /// Its certificate is not of the node it says it is.
    #[error("it says that it is {from}, which is {wanted}, and its certificate is of {found}")]
    Impostor { from: NodeId, wanted: String, found: String },
    /// It refused us.
    #[error("{0}")]
    Refused(Refusal),
    /// We refused it.
    #[error("it was refused: {0}")]
    Refuse(String),
}

impl HandshakeError {
    /// Whether it is more than a network that fails or a node that is down: something a person must put right.
    fn needs_a_person(&self) -> bool {
        match self {
            Self::Io(error) => is_of_tls(error),
            Self::Frame(_) | Self::Unexpected | Self::Encrypted | Self::Label(_) | Self::Impostor { .. } => true,
            Self::Refused(_) | Self::Refuse(_) => true,
        }
    }
}

impl Tcp {
    /// Starts to accept; the thread ends with [`Tcp::close`].
    pub(crate) fn listen(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let tcp = Arc::clone(self);
        spawn("hezong-accept", move || tcp.accept())
    }

    /// Sends messages to a peer, in as many frames as they need.
    pub(crate) fn send(&self, to: NodeId, messages: &[(GroupId, Message)], traced: &[TracedEntry]) {
        let Some(peer) = self.peers.get(to) else {
            self.shared.metrics.frames_unsent.add(1);
            return;
        };
        let mut frame = BytesMut::new();
        if let Err(error) = encode_messages(messages, traced, FRAME_BYTES_MAX, &mut frame) {
            tracing::error!("{error}: it cannot be sent to {to}");
        }
        if !frame.is_empty() {
            peer.send(&self.shared, frame, self.queue_bytes_max);
        }
    }

    /// Sends something about a snapshot, on a connection of its own that is made for it.
    pub(crate) fn send_snapshot(self: &Arc<Self>, to: NodeId, message: &SnapshotMessage) {
        let Some(peer) = self.peers.for_snapshots(to) else {
            self.shared.metrics.frames_unsent.add(1);
            return;
        };
        let mut frame = BytesMut::new();
        encode_snapshot(message, &mut frame);
        peer.send(&self.shared, frame, self.queue_bytes_max);
        if peer.must_be_dialled() {
            self.start_dialling(peer);
        }
    }

    /// Dials whoever is a member and was not dialled before.
    pub(crate) fn set_members(self: &Arc<Self>, members: BTreeMap<NodeId, Member>) {
        for peer in self.peers.set_members(self.me, members) {
            self.start_dialling(peer);
        }
    }

    fn start_dialling(self: &Arc<Self>, peer: Arc<Peer>) {
        let tcp = Arc::clone(self);
        let started = spawn(&format!("hezong-dial-{}", peer.id), move || tcp.dial(&peer));
        if let Err(error) = started {
            stop_process(&format_args!("cannot start a thread to dial a peer: {error}"));
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
        let at_once = self.me < peer.id || peer.lane == Lane::Snapshots;
        let first = if at_once { Duration::ZERO } else { self.pause_max };
        let mut pause = first;
        let mut last_refusal = None;
        let mut vain = Vain::new(peer);
        while let Some(member) = peer.wait_to_dial(pause) {
            vain.begin(peer);
            match self.reach(peer, &member) {
                Ok((wire, buffer, version)) => {
                    last_refusal = None;
                    self.serve(peer, wire, buffer, version, false);
                    pause = first;
                }
                Err(error) => {
                    let address = member.peer;
                    self.shared.metrics.dials_failed.add(1);
                    tracing::debug!("dialling {} at {address}: {error}", peer.id);
                    if let HandshakeError::Refused(Refusal::Removed) = error {
                        // It will say the same for ever.
                        self.shared.removed(peer.id);
                        peer.close();
                    } else if error.needs_a_person() {
                        self.shared.metrics.handshakes_refused.add(1);
                        // Told once, not at every attempt.
                        let reason = error.to_string();
                        if last_refusal.as_ref() != Some(&reason) {
                            self.shared.tell(Event::PeerRefused { address, reason: reason.clone() });
                            last_refusal = Some(reason);
                        }
                    } else if vain.is_to_be_told() && peer.lane == Lane::Messages {
                        let reason = error.to_string();
                        self.shared.tell(Event::PeerUnreachable { peer: peer.id, address, reason });
                    }
                    let doubled = (pause * 2).clamp(pause_min, self.pause_max).max(first);
                    pause = doubled / 2 + rng.between(Duration::ZERO, doubled / 2);
                }
            }
        }
        self.peers.forget_stranger(peer.id);
    }

    /// Connects and shakes hands. Returns the version that both speak as well.
    fn reach(&self, to: &Peer, member: &Member) -> Result<(Wire, BytesMut, u8), HandshakeError> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the address has no IP address");
        // Resolved anew each time: a peer may have moved.
        for ip in member.peer.to_socket_addrs()? {
            match TcpStream::connect_timeout(&ip, self.timeout) {
                Ok(stream) => return self.greet(to, member, stream),
                Err(error) => failed = error,
            }
        }
        Err(failed.into())
    }

    fn greet(&self, to: &Peer, member: &Member, stream: TcpStream) -> Result<(Wire, BytesMut, u8), HandshakeError> {
        self.tune(&stream)?;
        let (wire, mut buffer) = match &self.tls {
            None => (Wire::plain(stream), BytesMut::new()),
            Some(tls) => {
                let name = name_of_node(&member.name)?;
                Wire::dialled(stream, tls.to_dial(), name, Instant::now() + self.timeout)?
            }
        };
        // Its name was checked in the handshake; a wildcard would have passed there, and names no node.
        self.check_certificate(&wire, to.id, Some(&member.name))?;
        let member = self.peers.member();
        let (cluster, from) = (self.cluster, self.me);
        let versions = self.versions();
        let hello = Hello { versions, cluster, from, to: to.id, lane: to.lane, member };
        let mut bytes = BytesMut::new();
        encode_hello(&hello, &mut bytes);
        wire.write(&bytes, 0)?;
        match self.read_handshake(&wire, &mut buffer)? {
            Frame::Welcome(Welcome { version }) if versions.contains(version) => Ok((wire, buffer, version)),
            Frame::Refused(refusal) => Err(HandshakeError::Refused(refusal)),
            Frame::Welcome(_) | Frame::Hello(_) | Frame::Messages(..) | Frame::Snapshot(_) => {
                Err(HandshakeError::Unexpected)
            }
        }
    }

    /// Checks that a certificate, if one was shown, is of the node it is said to be; of any node if that is not known.
    fn check_certificate(&self, wire: &Wire, from: NodeId, label: Option<&str>) -> Result<(), HandshakeError> {
        let Some(found) = wire.labels() else { return Ok(()) };
        if label.map_or(!found.is_empty(), |label| wire.may_be(label)) {
            return Ok(());
        }
        let wanted = label.map_or("a node unknown here".to_owned(), str::to_owned);
        let found = if found.is_empty() { "no node".to_owned() } else { found.join(", ") };
        Err(HandshakeError::Impostor { from, wanted, found })
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

    fn answer(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let outcome = self.examine(stream);
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            Ok((hello, wire, buffer, version)) => {
                if let Some(peer) = self.peers.admit(hello.from, hello.lane) {
                    self.serve(&peer, wire, buffer, version, true);
                    self.peers.forget_stranger(hello.from);
                }
            }
            Err(HandshakeError::Refuse(_)) if self.peers.is_closed() => {}
            Err(HandshakeError::Io(error)) if !is_of_tls(&error) => {
                self.peers.garbage(&self.shared, address, error.to_string());
            }
            Err(error @ (HandshakeError::Refuse(_) | HandshakeError::Impostor { .. } | HandshakeError::Io(_))) => {
                self.shared.metrics.handshakes_refused.add(1);
                if self.peers.may_tell() {
                    let (address, reason) = (address.to_string(), error.to_string());
                    self.shared.tell(Event::PeerRefused { address, reason });
                }
            }
            Err(error) => self.peers.garbage(&self.shared, address, error.to_string()),
        }
    }

    /// Reads a stranger's introduction and answers it; returns how it introduced itself, and the version that both speak.
    fn examine(&self, stream: TcpStream) -> Result<(Hello, Wire, BytesMut, u8), HandshakeError> {
        self.tune(&stream)?;
        let (wire, mut buffer) = match &self.tls {
            None => (Wire::plain(stream), BytesMut::new()),
            Some(tls) => Wire::accepted(stream, tls.to_accept(), Instant::now() + self.timeout)?,
        };
        let Frame::Hello(hello) = self.read_handshake(&wire, &mut buffer)? else {
            return Err(HandshakeError::Unexpected);
        };
        let known = self.peers.get(hello.from).and_then(|peer| peer.label());
        if let Err(error) = self.check_certificate(&wire, hello.from, known.as_deref()) {
            wire.shutdown();
            return Err(error);
        }
        let versions = self.versions();
        let answer = match versions.common(hello.versions) {
            None => Err(Refusal::Version(versions)),
            Some(_) if hello.cluster != self.cluster => Err(Refusal::Cluster(self.cluster)),
            Some(_) if hello.to != self.me || hello.from == self.me => Err(Refusal::Node(self.me)),
            Some(_) if self.peers.has_left(hello.from) => Err(Refusal::Removed),
            Some(_) if self.peers.is_closed() => Err(Refusal::NotReady),
            Some(_) if self.was_removed(hello.from) => Err(Refusal::Removed),
            Some(version) => Ok(Welcome { version }),
        };
        let mut bytes = BytesMut::new();
        encode_answer(&answer, &mut bytes);
        wire.write(&bytes, 0)?;
        match answer {
            Ok(Welcome { version }) => Ok((hello, wire, buffer, version)),
            Err(_) => Err(HandshakeError::Refuse(format!(
                "{} of cluster {} dialled {} here, speaking versions {} to {}",
                hello.from, hello.cluster, hello.to, hello.versions.min, hello.versions.max
            ))),
        }
    }

    /// What this node speaks: nothing older than what may lie in its log.
    fn versions(&self) -> Versions {
        VERSIONS.since(self.peers.required())
    }

    /// Asks the node whether this one was a member once and is none any more.
    fn was_removed(&self, id: NodeId) -> bool {
        let (tell, told) = std::sync::mpsc::channel();
        self.shared.post(Mail::Removed(id, tell));
        // A node too busy to tell lets it in: a stranger's word counts for nothing.
        told.recv_timeout(self.timeout).unwrap_or(false)
    }

    /// Reads one frame, within a time that a stranger cannot stretch by sending one byte at a time.
    fn read_handshake(&self, wire: &Wire, buffer: &mut BytesMut) -> Result<Frame, HandshakeError> {
        let until = Instant::now() + self.timeout;
        let mut chunk = [0; 4096];
        let frame = loop {
            match decode(buffer, HANDSHAKE_BYTES_MAX) {
                Ok(Some(frame)) => break frame,
                Ok(None) => {}
                Err(FrameError::Magic) if buffer.first().is_some_and(|byte| TLS_RECORDS.contains(byte)) => {
                    return Err(HandshakeError::Encrypted);
                }
                Err(error) => return Err(error.into()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            wire.set_read_timeout(Some(left))?;
            if !wire.read(&mut chunk, buffer)? {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        wire.set_read_timeout(None)?;
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
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, wire: Wire, buffer: BytesMut, version: u8, accepted: bool) {
        let address = wire.peer_addr().ok();
        let wire = Arc::new(wire);
        let Some(number) = peer.connect(&wire, accepted, version) else { return };
        if self.peers.is_closed() {
            // The node stopped in between, and nobody else will close what it did not know of.
            peer.disconnect(number);
            return;
        }
        self.shared.metrics.connections.add(1);
        if peer.lane == Lane::Messages {
            let heard = NodeInput::Version { peer: peer.id, version: Version(version) };
            peer.while_current(number, || self.shared.inbox.push(Mail::Input(heard), 0));
            self.shared.deliver(MayWait::Nothing);
            self.shared.tell(Event::PeerConnected { peer: peer.id, address });
        } else if let Err(error) = wire.set_read_timeout(Some(SNAPSHOTS_IDLE)) {
            tracing::debug!("a connection for snapshots cannot be given a time-out: {error}");
        }
        let writer = {
            let (peer, wire) = (Arc::clone(peer), Arc::clone(&wire));
            let shared = Arc::clone(&self.shared);
            spawn(&format!("hezong-write-{}", peer.id), move || write(&shared, &peer, &wire, number))
        };
        let reason = match writer {
            Ok(_) => self.read(peer.id, &wire, buffer),
            Err(error) => error.to_string(),
        };
        // Whatever came before the end counts.
        self.shared.inbox.wake();
        if peer.disconnect(number) {
            self.shared.metrics.disconnections.add(1);
            if peer.lane == Lane::Messages {
                self.shared.tell(Event::PeerLost { peer: peer.id, reason });
            }
        }
    }

    /// Hands what arrives to the node until nothing more does; returns why.
    fn read(&self, from: NodeId, wire: &Wire, mut buffer: BytesMut) -> String {
        let garbage = |reason: String| {
            let address = wire.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
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
                    Ok(Some(Frame::Messages(messages, traced))) => {
                        // Before the node hears of them.
                        self.shared.traces.received(from, &traced);
                        let bytes = before - buffer.len();
                        self.shared.metrics.frames_received.add(1);
                        self.shared.metrics.bytes_received.add(bytes);
                        let mail = Mail::Input(NodeInput::Received { from, messages });
                        if self.shared.inbox.push_when_room(mail, bytes).is_err() {
                            return "this node is stopping".to_owned();
                        }
                        arrived = true;
                    }
                    Ok(Some(Frame::Snapshot(message))) => {
                        let bytes = before - buffer.len();
                        self.shared.metrics.bytes_received.add(bytes);
                        let mail = Mail::Input(NodeInput::SnapshotMessage { from, message });
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
                self.shared.deliver(MayWait::Disk);
            }
            match wire.read(&mut chunk, &mut buffer) {
                Ok(true) => {}
                Ok(false) => return "the peer closed the connection".to_owned(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return explain_io(&error),
            }
        }
    }
}

/// Since when a peer is dialled in vain.
struct Vain {
    /// When the first attempt began; `None` while there was none since the last connection.
    since: Option<Instant>,
    told: bool,
    /// How many connections there were when `since` was set: the peer may have dialled us meanwhile.
    connections: u64,
}

impl Vain {
    fn new(peer: &Peer) -> Self {
        Self { since: None, told: false, connections: peer.connections() }
    }

    /// An attempt begins.
    fn begin(&mut self, peer: &Peer) {
        if self.connections != peer.connections() {
            *self = Self::new(peer);
        }
        self.since.get_or_insert_with(Instant::now);
    }

    /// Whether people should hear of it now that an attempt has failed; true once.
    fn is_to_be_told(&mut self) -> bool {
        let now = !self.told && self.since.is_some_and(|since| since.elapsed() >= UNREACHABLE_AFTER);
        self.told |= now;
        now
    }
}

/// Writes what the socket did not take at once, everything that waits in one go. A failed write is for the reader to
/// notice, which the same failure wakes.
fn write(shared: &Shared, peer: &Peer, wire: &Wire, number: u64) {
    let mut batch = Vec::new();
    while let Some(Taken { begun, waited }) = peer.take(number, &mut batch) {
        let started = Instant::now();
        if wire.write(&batch, begun).is_err() {
            wire.shutdown();
            return;
        }
        shared.slow.send(peer.id, waited, started.elapsed(), batch.len());
    }
}
