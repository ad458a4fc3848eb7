//! Who is connected, and what waits to be sent to whom.
//!
//! Exactly one connection stands between two nodes. Either may dial, because either may be the one that knows the other:
//! a newcomer is known to the members before it knows them, and one that was away is known by members it has never heard
//! of. Three rules keep it at one:
//!
//! 1. The lower id dials at once. The higher one waits a whole `reconnect_pause_max` before each attempt, so that it
//!    dials only where the lower does not or cannot.
//! 2. An accepted connection replaces whatever there is: its dialler knows of no live one.
//! 3. A dialled connection yields to one that is there by the time its handshake is over.
//!
//! Should two cross after all, both are closed, and by rule 1 the lower dials again at once while the higher waits.
//!
//! The node's thread writes to the socket itself as long as that takes everything without waiting, which saves a
//! thread's wake-up on every message's way. What does not fit waits for the connection's writer. When too much waits,
//! the oldest goes first: Raft sends again what matters, and what is older matters less.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hezong_base::{GroupId, NodeId};
use hezong_codec::Lane;
use hezong_raft::{Member, Membership};

use crate::event::Event;
use crate::threads::Shared;
use crate::wire::{Sent, Wire};

/// The most bytes a writer takes at once. What it holds can no longer be dropped.
const WRITE_BYTES: usize = 1 << 20;

/// One peer: a member, or a node of our cluster that has dialled us and is none yet.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// What its connection is for. One for snapshots is dialled when there is something to send, which waits meanwhile.
    pub(crate) lane: Lane,
    state: Mutex<State>,
    /// The writer of the connection sleeps here.
    writable: Condvar,
    /// The dialler sleeps here.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Its label and where it is dialled; `None` while it is no member.
    member: Option<Member>,
    /// The version its connection speaks. Means nothing without one.
    version: u8,
    /// Below this version no connection is taken, since what is sent would not be known.
    required: u8,
    /// Whether a dialler is at work. It ends when its peer is no member any more.
    dialled: bool,
    /// The connection and its number. Numbers only grow, so that a thread of an earlier connection knows it is one.
    connection: Option<(Arc<Wire>, u64)>,
    /// The number the next connection gets.
    next_number: u64,
    /// What waits for the writer, oldest first.
    queue: VecDeque<BytesMut>,
    /// Bytes in `queue`.
    bytes: usize,
    /// Since when the first of `queue` has waited, or one taken out before it.
    since: Option<Instant>,
    /// Whether the first of `queue` is the rest of a frame of which the peer has seen the start: it cannot be dropped.
    begun: bool,
    /// Whether the writer is writing what it took out: nobody else may write meanwhile.
    writing: bool,
}

impl State {
    /// Forgets the connection and what waits for it: its peer will be told afresh.
    fn disconnect(&mut self) {
        if let Some((wire, _)) = self.connection.take() {
            wire.shutdown();
        }
        self.queue.clear();
        self.since = None;
        (self.bytes, self.begun, self.writing) = (0, false, false);
    }

    /// Takes note of who it is. A connection that was let in before we knew whose number this is ends here if it is
    /// somebody else's.
    fn know(&mut self, member: Option<Member>) {
        self.member = member;
        if let (Some(member), Some((wire, _))) = (&self.member, &self.connection)
            && !wire.may_be(&member.name)
        {
            self.disconnect();
        }
    }

    fn is(&self, number: u64) -> bool {
        self.connection.as_ref().is_some_and(|(_, current)| *current == number)
    }
}

/// What a writer is told of what it took.
pub(crate) struct Taken {
    /// How many bytes at its start are the rest of what was sent before.
    pub(crate) begun: usize,
    /// How long the oldest of it had waited.
    pub(crate) waited: Duration,
}

impl Peer {
    pub(crate) fn new(id: NodeId, lane: Lane) -> Self {
        Self { id, lane, state: Mutex::default(), writable: Condvar::new(), changed: Condvar::new() }
    }

    /// Sends now if the socket takes it, else queues.
    pub(crate) fn send(&self, shared: &Shared, mut frame: BytesMut, queue_bytes_max: usize) {
        let metrics = &shared.metrics;
        let mut state = self.lock();
        let connected = state.connection.as_ref().map(|(wire, _)| Arc::clone(wire));
        if connected.is_none() && self.lane == Lane::Messages {
            metrics.frames_unsent.add(1);
            return;
        }
        metrics.frames_sent.add(1);
        metrics.bytes_sent.add(frame.len());
        if let Some(wire) = connected.filter(|_| state.queue.is_empty() && !state.writing) {
            match wire.send(frame) {
                Sent::Whole | Sent::Broken => return,
                Sent::Begun(rest) => (frame, state.begun) = (rest, true),
                Sent::Nothing(whole) => frame = whole,
            }
        }
        state.since.get_or_insert_with(Instant::now);
        state.bytes += frame.len();
        state.queue.push_back(frame);
        let kept = usize::from(state.begun);
        while state.bytes > queue_bytes_max && state.queue.len() > kept + 1 {
            let oldest = state.queue.remove(kept).expect("the queue is longer than that");
            state.bytes -= oldest.len();
            metrics.frames_dropped.add(1);
        }
        drop(state);
        self.writable.notify_one();
    }

    /// Takes a connection into use that speaks `version`; `None` when it has to yield, is not of the member that this peer
    /// is, or is too old by now.
    pub(crate) fn connect(&self, wire: &Arc<Wire>, accepted: bool, version: u8) -> Option<u64> {
        let mut state = self.lock();
        let impostor = state.member.as_ref().is_some_and(|member| !wire.may_be(&member.name));
        if impostor || version < state.required || (state.connection.is_some() && !accepted) {
            return None;
        }
        let (mut waiting, mut bytes) = (std::mem::take(&mut state.queue), std::mem::take(&mut state.bytes));
        if state.begun {
            // The rest of a frame means nothing to whoever has not seen its start.
            bytes -= waiting.pop_front().map_or(0, |rest| rest.len());
        }
        state.disconnect();
        if self.lane == Lane::Snapshots {
            (state.queue, state.bytes) = (waiting, bytes);
        }
        let number = state.next_number;
        state.next_number += 1;
        state.connection = Some((Arc::clone(wire), number));
        state.version = version;
        drop(state);
        // The writer of a connection that was replaced must find out.
        self.writable.notify_all();
        self.changed.notify_all();
        Some(number)
    }

    /// Does something unless another connection has taken the place of this one, and before one does: what a peer says
    /// of itself on two connections must not be heard in the wrong order.
    pub(crate) fn while_current(&self, number: u64, act: impl FnOnce()) {
        let state = self.lock();
        if state.is(number) {
            act();
        }
    }

    /// Takes a connection out of use; false if another has long taken its place.
    pub(crate) fn disconnect(&self, number: u64) -> bool {
        let mut state = self.lock();
        let current = state.is(number);
        if current {
            state.disconnect();
        }
        drop(state);
        self.writable.notify_all();
        self.changed.notify_all();
        current
    }

    /// From now on has no connection that speaks an older version.
    fn require(&self, version: u8) {
        let mut state = self.lock();
        state.required = version;
        if state.version < version {
            state.disconnect();
        }
        drop(state);
        self.writable.notify_all();
        self.changed.notify_all();
    }

    /// Ends the connection, if there is one; its reader sees to the rest.
    pub(crate) fn hang_up(&self) {
        if let Some((wire, _)) = &self.lock().connection {
            wire.shutdown();
        }
    }

    /// Takes whatever there is out of use and stops dialling.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.member = None;
        state.disconnect();
        drop(state);
        self.writable.notify_all();
        self.changed.notify_all();
    }

    /// Sets who it is and where it is dialled; true when a dialler must be started for it.
    pub(crate) fn set_member(&self, member: Option<Member>) -> bool {
        let mut state = self.lock();
        state.know(member);
        let start = state.member.is_some() && !state.dialled;
        state.dialled |= start;
        drop(state);
        self.writable.notify_all();
        self.changed.notify_all();
        start
    }

    /// The same, and it is dialled only when there is something to send.
    fn know(&self, member: Option<Member>) {
        self.lock().know(member);
        self.writable.notify_all();
        self.changed.notify_all();
    }

    /// Its label, if it is a member.
    pub(crate) fn label(&self) -> Option<String> {
        self.lock().member.as_ref().map(|member| member.name.clone())
    }

    /// Whether something speaks for keeping it: a connection, or somebody who dials.
    fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.connection.is_some() || state.dialled
    }

    /// Whether something waits to be sent that nobody dials for; whoever asks is to start dialling.
    pub(crate) fn must_be_dialled(&self) -> bool {
        let mut state = self.lock();
        let start = state.member.is_some() && state.connection.is_none() && !state.dialled;
        state.dialled |= start;
        start
    }

    /// How many connections it has had.
    pub(crate) fn connections(&self) -> u64 {
        self.lock().next_number
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connection.is_some()
    }

    /// Whether nothing speaks for keeping it: no member and not connected.
    pub(crate) fn is_stranger(&self) -> bool {
        let state = self.lock();
        state.member.is_none() && state.connection.is_none() && !state.dialled
    }

    /// For the dialler: waits until there has been no connection for `pause`, and returns whom to dial; `None` when
    /// it is to end.
    pub(crate) fn wait_to_dial(&self, pause: Duration) -> Option<Member> {
        let mut state = self.lock();
        let mut since = Instant::now();
        loop {
            let unwanted = self.lane == Lane::Snapshots && state.queue.is_empty() && state.connection.is_none();
            if state.member.is_none() || unwanted {
                state.dialled = false;
                return None;
            }
            if state.connection.is_some() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                since = Instant::now();
                continue;
            }
            let left = pause.saturating_sub(since.elapsed());
            if left.is_zero() {
                return state.member.clone();
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// For the writer: waits for something to write and puts it into `batch`; `None` when the connection is over.
    pub(crate) fn take(&self, number: u64, batch: &mut Vec<u8>) -> Option<Taken> {
        let nothing = |state: &mut State| state.is(number) && state.queue.is_empty();
        let mut state = self.lock();
        if state.is(number) {
            // What was taken before is written.
            state.writing = false;
        }
        state = self.writable.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        if !state.is(number) {
            return None;
        }
        let now = Instant::now();
        let waited = state.since.take().map_or(Duration::ZERO, |since| now - since);
        let begun = state.queue.front().filter(|_| state.begun).map_or(0, BytesMut::len);
        batch.clear();
        while let Some(frame) = state.queue.front().filter(|f| batch.is_empty() || batch.len() + f.len() <= WRITE_BYTES)
        {
            batch.extend_from_slice(frame);
            state.queue.pop_front();
        }
        state.bytes -= batch.len();
        (state.writing, state.begun) = (true, false);
        // What is left came later than what was taken; when, nobody noted.
        state.since = (!state.queue.is_empty()).then_some(now);
        Some(Taken { begun, waited })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All peers, by id.
#[derive(Default)]
pub(crate) struct Peers {
    state: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    peers: BTreeMap<NodeId, Arc<Peer>>,
    /// The same nodes, as far as snapshots travel to or from them.
    snapshots: BTreeMap<NodeId, Arc<Peer>>,
    /// Our own name and addresses, once we know them.
    member: Option<Member>,
    /// The members of each group as of what is applied here.
    settled: BTreeMap<GroupId, Membership>,
    /// The version that every peer must know.
    required: u8,
    /// Whether the node has stopped: no connection is taken in any more.
    closed: bool,
    /// When something about a stranger was last told.
    told: Option<Instant>,
}

impl Table {
    fn peer(&self, id: NodeId, lane: Lane) -> Arc<Peer> {
        let peer = Peer::new(id, lane);
        peer.require(self.required);
        Arc::new(peer)
    }
}

impl Peers {
    /// Talks from now on only with peers that know this version, and has hung up on all others on return.
    pub(crate) fn require(&self, version: u8) {
        let mut table = self.lock();
        table.required = table.required.max(version);
        table.peers.values().chain(table.snapshots.values()).for_each(|peer| peer.require(table.required));
    }

    /// The version that every peer must know.
    pub(crate) fn required(&self) -> u8 {
        self.lock().required
    }

    /// The peer of this id, if there is one.
    pub(crate) fn get(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.lock().peers.get(&id).cloned()
    }

    /// The peer of this id, in any case; `None` when the node has stopped.
    pub(crate) fn admit(&self, id: NodeId, lane: Lane) -> Option<Arc<Peer>> {
        let mut table = self.lock();
        if table.closed {
            return None;
        }
        let new = table.peer(id, lane);
        let peers = match lane {
            Lane::Messages => &mut table.peers,
            Lane::Snapshots => &mut table.snapshots,
        };
        Some(Arc::clone(peers.entry(id).or_insert(new)))
    }

    /// The peer of this id as far as snapshots are concerned, dialled where messages are; `None` when nobody knows where
    /// it is, or the node has stopped.
    pub(crate) fn for_snapshots(&self, id: NodeId) -> Option<Arc<Peer>> {
        let member = self.get(id).and_then(|peer| peer.lock().member.clone());
        let peer = self.admit(id, Lane::Snapshots)?;
        // One that dialled us is answered even when nobody could dial it.
        let known = member.is_some() || peer.is_connected();
        peer.know(member);
        known.then_some(peer)
    }

    /// Takes note of the members, this node among them; returns those for which a dialler must be started. Who is no
    /// member any more is not dialled again, but may go on talking: it has yet to be told.
    pub(crate) fn set_members(&self, me: NodeId, mut members: BTreeMap<NodeId, Member>) -> Vec<Arc<Peer>> {
        let mut table = self.lock();
        table.member = members.remove(&me).or(table.member.take());
        if table.closed {
            return Vec::new();
        }
        for id in members.keys() {
            let new = table.peer(*id, Lane::Messages);
            table.peers.entry(*id).or_insert(new);
        }
        for peer in table.snapshots.values() {
            match members.get(&peer.id) {
                Some(member) => peer.know(Some(member.clone())),
                None => peer.close(),
            }
        }
        let mut start = Vec::new();
        for peer in table.peers.values() {
            if peer.set_member(members.get(&peer.id).cloned()) {
                start.push(Arc::clone(peer));
            }
        }
        table.peers.retain(|_, peer| !peer.is_stranger());
        start
    }

    /// Takes note of the members of a group as of what is applied here.
    pub(crate) fn settle(&self, group: GroupId, membership: Membership) {
        self.lock().settled.insert(group, membership);
    }

    /// Whether this node was removed for good, from whatever it took part in.
    pub(crate) fn has_left(&self, id: NodeId) -> bool {
        let table = self.lock();
        let takes_part = table.settled.values().any(|members| members.members().contains_key(&id));
        !takes_part && table.settled.values().any(|members| members.has_left(id))
    }

    /// Our own name and addresses, once we know them.
    pub(crate) fn member(&self) -> Option<Member> {
        self.lock().member.clone()
    }

    /// Forgets a peer that is neither member nor connected.
    pub(crate) fn forget_stranger(&self, id: NodeId) {
        let mut table = self.lock();
        if table.peers.get(&id).is_some_and(|peer| peer.is_stranger()) {
            table.peers.remove(&id);
        }
        if table.snapshots.get(&id).is_some_and(|peer| !peer.is_wanted()) {
            table.snapshots.remove(&id);
        }
    }

    /// Those connected.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        self.lock().peers.values().filter(|peer| peer.is_connected()).map(|peer| peer.id).collect()
    }

    /// Closes every connection and lets no new one in.
    pub(crate) fn close(&self) {
        let mut table = self.lock();
        table.closed = true;
        std::mem::take(&mut table.peers).values().for_each(|peer| peer.close());
        std::mem::take(&mut table.snapshots).values().for_each(|peer| peer.close());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Counts a connection that turned out to be nonsense, and tells of it if it may.
    pub(crate) fn garbage(&self, shared: &Shared, address: SocketAddr, reason: String) {
        shared.metrics.garbage.add(1);
        if self.may_tell() {
            shared.tell(Event::Garbage { address: address.to_string(), reason });
        }
    }

    /// Whether something about a stranger may be told: once a second, or strangers could fill the log.
    pub(crate) fn may_tell(&self) -> bool {
        let mut table = self.lock();
        let may = table.told.is_none_or(|at| at.elapsed() > Duration::from_secs(1));
        if may {
            table.told = Some(Instant::now());
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::room::Room;

    /// A connection, and the other end of it.
    fn pair() -> (Arc<Wire>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Arc::new(Wire::plain(ours)), listener.accept().unwrap().0)
    }

    fn is_open(stream: &TcpStream) -> bool {
        stream.set_nonblocking(true).unwrap();
        let open = stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        open
    }

    #[test]
    fn connect_accepted_replaces_and_dialled_yields() {
        let peer = Peer::new(NodeId(2), Lane::Messages);
        let (first, far_first) = pair();
        let (second, far_second) = pair();
        let (third, _far_third) = pair();
        let one = peer.connect(&first, false, 1).unwrap();
        let two = peer.connect(&second, true, 1).unwrap();
        assert!(!is_open(&far_first));
        assert_eq!(peer.connect(&third, false, 1), None);
        assert!(is_open(&far_second));
        // The first one's reader finds out late, and must not take the second down with it.
        assert!(!peer.disconnect(one));
        assert!(peer.is_connected());
        assert!(peer.disconnect(two));
        assert!(!peer.is_connected());
    }

    #[test]
    fn require_hangs_up_on_older_peers_and_takes_none_anew() {
        let peers = Peers::default();
        let (old, new) = (peers.admit(NodeId(2), Lane::Messages), peers.admit(NodeId(3), Lane::Messages));
        let (old, new) = (old.unwrap(), new.unwrap());
        let (first, far_first) = pair();
        let (second, far_second) = pair();
        old.connect(&first, true, 1).unwrap();
        new.connect(&second, true, 2).unwrap();
        peers.require(2);
        assert!(!old.is_connected() && !is_open(&far_first));
        assert!(new.is_connected() && is_open(&far_second));
        assert_eq!(old.connect(&first, true, 1), None, "it shook hands before, and comes too late");
        let later = peers.admit(NodeId(4), Lane::Snapshots).unwrap();
        assert_eq!(later.connect(&first, true, 1), None);
        assert!(later.connect(&first, true, 2).is_some());
    }

    /// The same, encrypted.
    fn encrypted_pair() -> (Arc<Wire>, Wire) {
        let (_folder, node) = crate::wire::tests::certificate("node02");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let theirs = listener.accept().unwrap().0;
        let until = Instant::now() + Duration::from_secs(10);
        let far = {
            let config = node.to_accept();
            thread::spawn(move || Wire::accepted(theirs, config, until).unwrap().0)
        };
        let name = hezong_tls::name_of_node("node02").unwrap();
        let near = Wire::dialled(ours, node.to_dial(), name, until).unwrap().0;
        (Arc::new(near), far.join().unwrap())
    }

    /// What was encrypted has its place among the records: it cannot be dropped, though nothing of it was sent.
    #[test]
    fn send_full_encrypted_counts_as_begun() {
        let fill = |wire: &Wire| while matches!(wire.send(BytesMut::zeroed(100_000)), Sent::Whole) {};
        let (near, _far) = pair();
        fill(&near);
        assert!(matches!(near.send(BytesMut::zeroed(10)), Sent::Nothing(frame) if frame.len() == 10));
        let (near, _far) = encrypted_pair();
        fill(&near);
        assert!(matches!(near.send(BytesMut::zeroed(10)), Sent::Begun(rest) if rest.len() > 10));
    }

    #[test]
    fn send_full_drops_the_oldest_and_never_cuts_a_frame() {
        let (near, far) = pair();
        send_until_full(&near, &Wire::plain(far));
        let (near, far) = encrypted_pair();
        send_until_full(&near, &far);
    }

    fn send_until_full(near: &Arc<Wire>, far: &Wire) {
        const FRAME: usize = 10_000;
        const FRAMES: u32 = 5_000;
        let shared = Shared::new(1, Room::endless(), None);
        let peer = Arc::new(Peer::new(NodeId(2), Lane::Messages));
        let number = peer.connect(near, true, 1).unwrap();
        let writer = {
            let (peer, near) = (Arc::clone(&peer), Arc::clone(near));
            thread::spawn(move || {
                let (mut batch, mut longest) = (Vec::new(), Duration::ZERO);
                while let Some(Taken { begun, waited }) = peer.take(number, &mut batch) {
                    longest = longest.max(waited);
                    near.write(&batch, begun).unwrap();
                }
                longest
            })
        };
        // Far more than the socket's buffers and the queue hold, while nobody reads. Each frame is its number, repeated.
        for n in 0..FRAMES {
            let frame = n.to_le_bytes().repeat(FRAME / 4);
            peer.send(&shared, BytesMut::from(frame.as_slice()), 10 * FRAME);
            assert!(peer.lock().bytes <= 10 * FRAME);
        }
        let dropped = shared.metrics.snapshot().frames_dropped;
        assert!(dropped > 0);
        let mut chunk = vec![0; 64 << 10];
        let mut arrived = BytesMut::new();
        let mut seen = Vec::new();
        while seen.last() != Some(&(FRAMES - 1)) {
            while arrived.len() < FRAME {
                assert!(far.read(&mut chunk, &mut arrived).unwrap(), "it was closed");
            }
            let frame = arrived.split_to(FRAME);
            assert!(frame.chunks(4).all(|chunk| chunk == &frame[..4]), "a frame was cut");
            seen.push(u32::from_le_bytes(frame[..4].try_into().unwrap()));
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.len() as u64 + dropped, u64::from(FRAMES));
        peer.close();
        assert!(writer.join().unwrap() > Duration::ZERO, "frames waited while nobody read");
    }

    #[test]
    fn connect_anew_keeps_what_waits_for_snapshots_but_no_part_of_a_frame() {
        let shared = Shared::new(1, Room::endless(), None);
        let peer = Peer::new(NodeId(2), Lane::Snapshots);
        let (first, _far_first) = pair();
        peer.connect(&first, true, 1).unwrap();
        for n in 0_u8.. {
            peer.send(&shared, BytesMut::from(vec![n; 100_000].as_slice()), usize::MAX);
            if peer.lock().queue.len() == 3 {
                break;
            }
        }
        assert!(peer.lock().begun);
        let (second, _far_second) = pair();
        let number = peer.connect(&second, true, 1).unwrap();
        let mut batch = Vec::new();
        let Taken { begun, .. } = peer.take(number, &mut batch).unwrap();
        assert_eq!((begun, batch.len(), peer.lock().bytes), (0, 200_000, 0));
    }

    #[test]
    fn send_not_connected_counted() {
        let shared = Shared::new(1, Room::endless(), None);
        Peer::new(NodeId(2), Lane::Messages).send(&shared, BytesMut::from(&b"x"[..]), 10);
        assert_eq!(shared.metrics.snapshot().frames_unsent, 1);
    }

    #[test]
    fn members_gone_are_forgotten_once_silent() {
        let peers = Peers::default();
        let member = |n: u64| (NodeId(n), Member { peer: format!("host{n}:1"), ..Member::default() });
        let started = peers.set_members(NodeId(1), [member(1), member(2), member(3)].into());
        assert_eq!(started.iter().map(|peer| peer.id).collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
        assert_eq!(peers.member().unwrap().peer, "host1:1");
        assert!(peers.set_members(NodeId(1), [member(1), member(2)].into()).is_empty(), "2 is dialled already");
        let gone = peers.get(NodeId(3)).unwrap();
        assert_eq!(gone.wait_to_dial(Duration::ZERO), None);
        peers.forget_stranger(NodeId(3));
        assert!(peers.get(NodeId(3)).is_none());
        assert_eq!(peers.get(NodeId(2)).unwrap().wait_to_dial(Duration::ZERO), Some(member(2).1));
        peers.close();
        assert!(peers.admit(NodeId(4), Lane::Messages).is_none());
    }
}
