//! Snapshots of one group: those held for others to fetch, and the one being fetched.
//!
//! The fetching side drives: it asks for a chunk, hands it to the state machine, and asks for the next one while that is
//! being installed, so that one chunk is on its way and one at work. It knows how far it is even after a restart, because
//! the state machine stores that with each chunk. The holding side only answers, and lets a snapshot go when nobody has
//! asked for a while: what it sees cannot be freed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{AskId, GroupId, NodeId, Time, sometimes};
use hezong_codec::{SnapshotBody, SnapshotMessage};
use hezong_raft::{Base, Membership, SnapshotId};

use crate::machine::Chunk;
use crate::{Begun, NodeConfig, NodeEffect, SnapshotWork};

/// What a group has to do with snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// Those held for others.
    held: BTreeMap<SnapshotId, Held>,
    /// Snapshots being taken, and the protocol's name for each.
    taking: BTreeMap<SnapshotId, AskId>,
    /// The one being fetched.
    fetching: Option<Fetching>,
    /// Bytes of chunks sent and received since the start.
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Snapshots installed since the start.
    pub(crate) installed: u64,
}

/// A snapshot held for others.
#[derive(Clone, Copy, Debug)]
struct Held {
    taken_at: Time,
    used_at: Time,
}

impl Held {
    fn until(self, config: &NodeConfig) -> Time {
        (self.used_at + config.snapshot_patience).min(self.taken_at + config.snapshot_age_max)
    }
}

/// A snapshot being fetched.
#[derive(Debug)]
struct Fetching {
    /// The protocol's name for it.
    ask: AskId,
    from: NodeId,
    id: SnapshotId,
    base: Base,
    phase: Phase,
    /// Chunks with the state machine.
    installing: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The state machine looks how much of it is there already.
    Beginning,
    /// The chunk at `cursor` is to be asked for.
    Resting { cursor: Option<Bytes>, until: Time },
    /// It was asked for.
    Asked { cursor: Option<Bytes>, at: Time, tries: u32 },
    /// All chunks are here.
    Whole,
    /// The state machine switches over.
    Finishing,
}

/// How a fetching ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) ask: AskId,
    /// What the state machine stands on now; `None` when the snapshot could not be had.
    pub(crate) base: Option<Base>,
}

/// Chunks on their way and with the state machine at the same time.
const CHUNKS_MAX: u32 = 2;

/// The holding side.
impl Snapshots {
    /// The protocol wants the state as of now held ready.
    pub(crate) fn take(&mut self, group: GroupId, ask: AskId, id: SnapshotId, out: &mut Vec<NodeEffect>) {
        self.taking.insert(id, ask);
        out.push(NodeEffect::Snapshot { group, work: SnapshotWork::Take(id) });
    }

    /// It is held, if the state machine has one to give. Returns the protocol's name for it.
    pub(crate) fn taken(&mut self, now: Time, id: SnapshotId, is_held: bool) -> Option<AskId> {
        if is_held {
            self.held.insert(id, Held { taken_at: now, used_at: now });
        }
        self.taking.remove(&id)
    }

    /// Somebody fetches.
    fn on_fetch(&mut self, now: Time, place: Place, cursor: Option<Bytes>, bytes_max: u64, out: &mut Vec<NodeEffect>) {
        let Place { group, peer: to, id } = place;
        let Some(held) = self.held.get_mut(&id) else {
            sometimes!("node: a snapshot is asked for that is not held");
            return send(to, group, id, SnapshotBody::Gone, out);
        };
        held.used_at = now;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
        out.push(NodeEffect::Snapshot { group, work: SnapshotWork::Read { id, to, cursor, bytes_max } });
    }

    /// What it asked for was read; `None` when the snapshot has been let go meanwhile.
    pub(crate) fn read(
        &mut self,
        place: Place,
        cursor: Option<Bytes>,
        chunk: Option<Chunk>,
        out: &mut Vec<NodeEffect>,
    ) {
        let body = match chunk {
            Some(Chunk { bytes, next }) => {
                self.bytes_sent += bytes.len() as u64;
                SnapshotBody::Chunk { cursor, bytes, next }
            }
            None => SnapshotBody::Gone,
        };
        send(place.peer, place.group, place.id, body, out);
    }

    fn let_go(&mut self, group: GroupId, id: SnapshotId, out: &mut Vec<NodeEffect>) {
        if self.held.remove(&id).is_some() {
            out.push(NodeEffect::Snapshot { group, work: SnapshotWork::Drop(id) });
        }
    }
}

/// The most a chunk may have, whatever is asked for: far below what a frame takes.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Which snapshot, and who has to do with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) group: GroupId,
    pub(crate) peer: NodeId,
    pub(crate) id: SnapshotId,
}

/// The fetching side.
impl Snapshots {
    /// The protocol wants a snapshot fetched. Returns the one given up for it.
    pub(crate) fn fetch(&mut self, ask: AskId, place: Place, base: Base, out: &mut Vec<NodeEffect>) -> Option<Ended> {
        let Place { group, peer: from, id } = place;
        let given_up = self.fetching.take().map(|fetching| Ended { ask: fetching.ask, base: None });
        out.push(NodeEffect::Snapshot { group, work: SnapshotWork::Begin(id) });
        self.fetching = Some(Fetching { ask, from, id, base, phase: Phase::Beginning, installing: 0 });
        given_up
    }

    /// The state machine has told how much of it is there.
    pub(crate) fn begun(&mut self, now: Time, id: SnapshotId, begun: Begun) {
        let Some(fetching) = self.fetching.as_mut().filter(|f| f.id == id && f.phase == Phase::Beginning) else {
            return;
        };
        sometimes!("node: a snapshot is gone on with", !matches!(begun, Begun::At(None)));
        fetching.phase = match begun {
            Begun::At(cursor) => Phase::Resting { cursor, until: now },
            Begun::Whole => Phase::Whole,
        };
    }

    /// A peer says something about a snapshot. Returns the fetching that ended by it.
    pub(crate) fn on_message(
        &mut self,
        now: Time,
        config: &NodeConfig,
        from: NodeId,
        message: SnapshotMessage,
        out: &mut Vec<NodeEffect>,
    ) -> Option<Ended> {
        let SnapshotMessage { group, snapshot: id, body } = message;
        let place = Place { group, peer: from, id };
        match body {
            SnapshotBody::Fetch { cursor, bytes_max } => self.on_fetch(now, place, cursor, bytes_max, out),
            SnapshotBody::Chunk { cursor, bytes, next } => {
                self.on_chunk(now, config, place, cursor, Chunk { bytes, next }, out);
            }
            SnapshotBody::Gone => return self.give_up(Some(id)),
            SnapshotBody::Done => self.let_go(group, id, out),
        }
        None
    }

    fn on_chunk(
        &mut self,
        now: Time,
        config: &NodeConfig,
        Place { group, peer, id }: Place,
        cursor: Option<Bytes>,
        chunk: Chunk,
        out: &mut Vec<NodeEffect>,
    ) {
        let Some(fetching) = self.fetching.as_mut().filter(|f| f.id == id && f.from == peer) else { return };
        // One that comes twice, or after we had asked again, is no longer the one asked for.
        if !matches!(&fetching.phase, Phase::Asked { cursor: asked, .. } if *asked == cursor) {
            sometimes!("node: a chunk comes that is not asked for any more");
            return;
        }
        self.bytes_received += chunk.bytes.len() as u64;
        let pause = config.snapshot_bytes_per_second.map_or(Duration::ZERO, |rate| {
            let nanos = chunk.bytes.len() as u128 * 1_000_000_000 / u128::from(rate.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        fetching.phase = match &chunk.next {
            Some(next) => Phase::Resting { cursor: Some(next.clone()), until: now + pause },
            None => Phase::Whole,
        };
        fetching.installing += 1;
        out.push(NodeEffect::Snapshot { group, work: SnapshotWork::Install { id, chunk } });
    }

    /// The state machine has taken a chunk, or could make nothing of it.
    pub(crate) fn chunk_installed(&mut self, id: SnapshotId, understood: bool) -> Option<Ended> {
        let fetching = self.fetching.as_mut().filter(|fetching| fetching.id == id)?;
        fetching.installing = fetching.installing.saturating_sub(1);
        if understood { None } else { self.give_up(Some(id)) }
    }

    /// Does whatever is due: asks for the next chunk, asks again, gives up, lets snapshots go.
    pub(crate) fn go_on(
        &mut self,
        now: Time,
        group: GroupId,
        config: &NodeConfig,
        out: &mut Vec<NodeEffect>,
    ) -> Option<Ended> {
        let over: Vec<_> = self.held.iter().filter(|(_, held)| held.until(config) <= now).map(|(id, _)| *id).collect();
        sometimes!("node: a snapshot is let go that nobody fetches", !over.is_empty());
        over.into_iter().for_each(|id| self.let_go(group, id, out));
        let fetching = self.fetching.as_mut()?;
        let (cursor, tries) = match &fetching.phase {
            Phase::Resting { cursor, until } if *until <= now && fetching.installing < CHUNKS_MAX => (cursor, 1),
            Phase::Asked { at, tries, .. } if *at + config.snapshot_fetch_timeout <= now && *tries >= TRIES_MAX => {
                sometimes!("node: who holds a snapshot is silent");
                return self.give_up(None);
            }
            Phase::Asked { cursor, at, tries } if *at + config.snapshot_fetch_timeout <= now => (cursor, tries + 1),
            Phase::Beginning | Phase::Resting { .. } | Phase::Asked { .. } | Phase::Whole | Phase::Finishing => {
                return None;
            }
        };
        let cursor = cursor.clone();
        let body = SnapshotBody::Fetch { cursor: cursor.clone(), bytes_max: config.snapshot_chunk_bytes as u64 };
        fetching.phase = Phase::Asked { cursor, at: now, tries };
        send(fetching.from, group, fetching.id, body, out);
        None
    }

    /// What the snapshot covers whose chunks are all with the state machine: it may be switched to.
    pub(crate) fn ready(&self) -> Option<&Base> {
        let fetching = self.fetching.as_ref()?;
        (fetching.phase == Phase::Whole && fetching.installing == 0).then_some(&fetching.base)
    }

    /// Lets the state machine switch over to it.
    pub(crate) fn finish(&mut self, group: GroupId, out: &mut Vec<NodeEffect>) {
        let Some(fetching) = &mut self.fetching else { return };
        fetching.phase = Phase::Finishing;
        let (id, base) = (fetching.id, fetching.base.clone());
        out.push(NodeEffect::Snapshot { group, work: SnapshotWork::Finish { id, base } });
    }

    /// It has. A fetching that took its place meanwhile goes on.
    pub(crate) fn finished(
        &mut self,
        group: GroupId,
        id: SnapshotId,
        base: &Base,
        out: &mut Vec<NodeEffect>,
    ) -> Option<Ended> {
        self.installed += 1;
        let fetching = self.fetching.take_if(|fetching| fetching.id == id)?;
        send(fetching.from, group, id, SnapshotBody::Done, out);
        Some(Ended { ask: fetching.ask, base: Some(base.clone()) })
    }

    /// Gives the fetching up; only that of this name, if one is given.
    pub(crate) fn give_up(&mut self, id: Option<SnapshotId>) -> Option<Ended> {
        // While the state machine switches over, nobody can hold it back.
        let fetching = self
            .fetching
            .take_if(|fetching| id.is_none_or(|id| fetching.id == id) && fetching.phase != Phase::Finishing)?;
        Some(Ended { ask: fetching.ask, base: None })
    }

    /// When `go_on` has something to do.
    pub(crate) fn deadline(&self, config: &NodeConfig) -> Option<Time> {
        let held = self.held.values().map(|held| held.until(config)).min();
        let fetching = self.fetching.as_ref().and_then(|fetching| match &fetching.phase {
            Phase::Resting { until, .. } if fetching.installing < CHUNKS_MAX => Some(*until),
            Phase::Asked { at, .. } => Some(*at + config.snapshot_fetch_timeout),
            Phase::Beginning | Phase::Resting { .. } | Phase::Whole | Phase::Finishing => None,
        });
        held.into_iter().chain(fetching).min()
    }

    /// The members as of the snapshot being fetched.
    pub(crate) fn membership(&self) -> Option<&Membership> {
        self.fetching.as_ref().map(|fetching| &fetching.base.membership)
    }

    pub(crate) fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}

/// How often a chunk is asked for before its holder counts as gone.
const TRIES_MAX: u32 = 5;

fn send(to: NodeId, group: GroupId, snapshot: SnapshotId, body: SnapshotBody, out: &mut Vec<NodeEffect>) {
    out.push(NodeEffect::SendSnapshot { to, message: SnapshotMessage { group, snapshot, body } });
}
