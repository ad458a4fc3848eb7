//! Proxies before the nodes' peer ports, which hold or delay what passes.
//!
//! Nodes reach each other at the proxies' addresses. Who dials is in the first frame of a connection, or where that is
//! encrypted, told by the system, so that each pair of nodes, and each direction of it, is a link of its own. What is held flows once the link is mended, as after a cut that
//! TCP outlives; a node that gives the connection up and dials anew is held as well.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use hezong_base::NodeId;
use hezong_codec::frame::{Frame, decode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cables::Cables;
use crate::dialler::holder;

/// A first frame is far smaller.
const HELLO_BYTES_MAX: usize = 64 << 10;

/// What a connection by TLS begins with.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    /// All passes.
    #[default]
    Sound,
    /// Nothing passes.
    Cut,
    /// Whatever passes takes so long.
    Slow(Duration),
}

/// From which node to which, by their places.
pub(crate) type Way = (usize, usize);

/// Who dialled.
#[derive(Clone, Copy)]
enum From {
    /// By its first frame. Which place that is may become known later.
    Number(NodeId),
    /// By the process that holds the other end.
    Place(usize),
}

/// One direction of a connection: who dialled, the place that was dialled, and whether it is the way back.
#[derive(Clone, Copy)]
struct Direction {
    /// `None` when nothing tells.
    from: Option<From>,
    to: usize,
    back: bool,
}

/// All links of a cluster.
#[derive(Clone)]
pub(crate) struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    ways: watch::Sender<BTreeMap<Way, Link>>,
    /// Which place a number has. Numbers are given when a node joins, and never again.
    places: Mutex<BTreeMap<NodeId, usize>>,
    /// Which process runs at which place.
    processes: Mutex<BTreeMap<u32, usize>>,
    held: AtomicU64,
    delayed: AtomicU64,
    /// Where nodes have cables, these do in place of proxies what can be done with cables: cut one off from all others.
    cables: Option<Arc<Cables>>,
}

impl Links {
    pub(crate) fn new(cables: Option<Arc<Cables>>) -> Self {
        let (ways, _) = watch::channel(BTreeMap::new());
        let (held, delayed) = Default::default();
        let (places, processes) = Default::default();
        Self { shared: Arc::new(Shared { ways, places, processes, held, delayed, cables }) }
    }

    /// From now on this number stands for this place.
    pub(crate) fn know(&self, number: NodeId, place: usize) {
        self.shared.places.lock().unwrap_or_else(PoisonError::into_inner).insert(number, place);
    }

    /// From now on this process runs at this place.
    pub(crate) fn know_process(&self, process: u32, place: usize) {
        let mut processes = self.shared.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.retain(|_, other| *other != place);
        processes.insert(process, place);
    }

    /// Sets how these links are, and mends all others.
    pub(crate) fn set(&self, links: impl IntoIterator<Item = (Way, Link)>) {
        let ways = links.into_iter().collect();
        if let Some(cables) = &self.shared.cables {
            cables.pull(cut_off(&ways));
        }
        self.shared.ways.send_replace(ways);
    }

    /// How many pieces were held or lost, and how many delayed, since the start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let lost = self.cables().map_or(0, |cables| cables.lost());
        (self.shared.held.load(Ordering::Relaxed) + lost, self.shared.delayed.load(Ordering::Relaxed))
    }

    /// The nodes' cables, where they have some.
    pub(crate) fn cables(&self) -> Option<&Arc<Cables>> {
        self.shared.cables.as_ref()
    }

    /// Listens at `listen` for whoever dials the node at this place, which listens at `to`.
    pub(crate) async fn serve(&self, place: usize, listen: &str, to: &str) -> io::Result<()> {
        let listener = TcpListener::bind(listen).await?;
        let (links, to) = (self.clone(), to.to_owned());
        tokio::spawn(async move {
            while let Ok((dialled, _)) = listener.accept().await {
                let (links, to) = (links.clone(), to.clone());
                // What ends a connection ends this task; the nodes notice by themselves.
                tokio::spawn(async move { links.carry(place, dialled, &to).await });
            }
        });
        Ok(())
    }

    async fn carry(&self, to: usize, mut dialled: TcpStream, at: &str) -> io::Result<()> {
        let mut first = BytesMut::new();
        let from = loop {
            if dialled.read_buf(&mut first).await? == 0 {
                return Ok(());
            }
            if first.first() == Some(&TLS_HANDSHAKE) {
                break self.dialler(&dialled).map(From::Place);
            }
            match decode(&mut first.clone(), HELLO_BYTES_MAX) {
                Ok(None) => {}
                Ok(Some(Frame::Hello(hello))) => break Some(From::Number(hello.from)),
                // Whoever it is, it is for the node to refuse.
                _ => break None,
            }
        };
        let (there, back) = (Direction { from, to, back: false }, Direction { from, to, back: true });
        self.pass(there).await;
        let mut node = TcpStream::connect(at).await?;
        node.set_nodelay(true)?;
        dialled.set_nodelay(true)?;
        node.write_all(&first).await?;
        let (dialled_read, dialled_write) = dialled.into_split();
        let (node_read, node_write) = node.into_split();
        let backwards = tokio::spawn(pump(self.clone(), back, node_read, dialled_write));
        let result = pump(self.clone(), there, dialled_read, node_write).await;
        backwards.abort();
        result
    }

    fn dialler(&self, dialled: &TcpStream) -> Option<usize> {
        let processes = self.shared.processes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let process = holder(dialled.peer_addr().ok()?, dialled.local_addr().ok()?, processes.keys().copied())?;
        processes.get(&process).copied()
    }

    /// Which way this is. Asked each time: a node dials before anybody knows its number.
    fn way(&self, Direction { from, to, back }: Direction) -> Option<Way> {
        let places = self.shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        let from = match from? {
            From::Number(number) => *places.get(&number)?,
            From::Place(place) => place,
        };
        Some(if back { (to, from) } else { (from, to) })
    }

    /// Returns once the link lets something pass.
    async fn pass(&self, direction: Direction) {
        let Some(way) = self.way(direction) else { return };
        let mut ways = self.shared.ways.subscribe();
        let link_of = |ways: &BTreeMap<Way, Link>| ways.get(&way).copied().unwrap_or_default();
        let now = link_of(&ways.borrow());
        match now {
            Link::Sound => {}
            Link::Cut => {
                self.shared.held.fetch_add(1, Ordering::Relaxed);
                // The sender lives as long as we do.
                ways.wait_for(|ways| link_of(ways) != Link::Cut).await.ok();
            }
            Link::Slow(delay) => {
                self.shared.delayed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// Who is cut off from several others, both ways, if nothing else is cut.
fn cut_off(ways: &BTreeMap<Way, Link>) -> Option<usize> {
    let (first, _) = ways.first_key_value()?;
    [first.0, first.1].into_iter().find(|place| {
        let is_of_it = |way: &Way| (way.0 == *place) != (way.1 == *place) && ways.contains_key(&(way.1, way.0));
        ways.len() >= 4 && ways.iter().all(|(way, link)| *link == Link::Cut && is_of_it(way))
    })
}

/// Carries bytes one way until either end is gone.
async fn pump(links: Links, way: Direction, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        links.pass(way).await;
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use hezong_base::NodeId;
    use hezong_codec::frame::encode_hello;
    use hezong_codec::{ClusterId, Hello, Lane, VERSIONS};

    use super::*;

    /// Two ends joined by a proxy: the one that dialled as this node, and the one that was dialled.
    async fn joined(links: &Links, from: NodeId, ports: u16) -> (TcpStream, TcpStream) {
        let node = TcpListener::bind(("127.0.0.1", ports)).await.unwrap();
        let proxy = format!("127.0.0.1:{}", ports + 1);
        links.serve(1, &proxy, &format!("127.0.0.1:{ports}")).await.unwrap();
        let mut dialled = TcpStream::connect(proxy).await.unwrap();
        let mut hello = BytesMut::new();
        let (cluster, to) = (ClusterId(7), NodeId(2));
        let said = Hello { versions: VERSIONS, cluster, from, to, lane: Lane::Messages, member: None };
        encode_hello(&said, &mut hello);
        dialled.write_all(&hello).await.unwrap();
        let (mut taken, _) = node.accept().await.unwrap();
        let mut heard = vec![0; hello.len()];
        taken.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, hello, "what was read to learn who dials is passed on");
        (dialled, taken)
    }

    async fn arrives(at: &mut TcpStream, within: Duration) -> bool {
        let mut byte = [0];
        tokio::time::timeout(within, at.read_exact(&mut byte)).await.is_ok()
    }

    #[tokio::test]
    async fn cut_holds_one_direction_until_mended() {
        let (links, short, long) = (Links::new(None), Duration::from_millis(200), Duration::from_secs(20));
        let (mut dialled, mut taken) = joined(&links, NodeId(1), crate::ports::free_ports(2)).await;
        links.know(NodeId(1), 0);
        links.set([((0, 1), Link::Cut)]);
        dialled.write_all(b"a").await.unwrap();
        taken.write_all(b"b").await.unwrap();
        assert!(arrives(&mut dialled, long).await, "the other direction is sound");
        assert!(!arrives(&mut taken, short).await);
        assert_eq!(links.counts(), (1, 0));
        links.set([]);
        assert!(arrives(&mut taken, long).await, "nothing was lost");
    }

    #[test]
    fn cut_off_is_who_is_cut_off_from_several_both_ways() {
        let cut = |ways: &[Way]| cut_off(&ways.iter().map(|way| (*way, Link::Cut)).collect());
        assert_eq!(cut(&[(2, 0), (0, 2), (2, 1), (1, 2)]), Some(2));
        assert_eq!(cut(&[(0, 1), (2, 3)]), None);
        assert_eq!(cut(&[(0, 1), (0, 2), (0, 3), (0, 4)]), None, "it is mute, and no more");
        assert_eq!(cut(&[(0, 1), (1, 0)]), None, "of two, neither");
        assert_eq!(cut(&[]), None);
        assert_eq!(cut_off(&[((0, 1), Link::Slow(Duration::ZERO))].into()), None);
    }

    #[tokio::test]
    async fn slow_link_delays_and_counts() {
        let (links, delay) = (Links::new(None), Duration::from_millis(150));
        links.know(NodeId(1), 0);
        let (mut dialled, mut taken) = joined(&links, NodeId(1), crate::ports::free_ports(2)).await;
        links.set([((0, 1), Link::Slow(delay))]);
        let sent = std::time::Instant::now();
        dialled.write_all(b"a").await.unwrap();
        assert!(arrives(&mut taken, Duration::from_secs(20)).await);
        assert!(sent.elapsed() >= delay);
        assert_eq!(links.counts(), (0, 1));
    }
}
