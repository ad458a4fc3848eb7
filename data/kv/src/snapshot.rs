//! Snapshots: the state in chunks, and a new state built from such chunks beside the old one.
//!
//! A state lies in maps of one **generation**. A snapshot is installed into the maps of a new generation while the old one
//! goes on being read and applied to; with each chunk goes, in the same batch, how far it is, so that a restart goes on
//! there. One batch makes the new generation the current one. What is not needed any more is noted before it is removed,
//! because removing is for good whatever a crash takes back.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{BufMut, Bytes, BytesMut};
use hezong_base::{LogId, sometimes};
use hezong_node::{Begun, Chunk, Snapshot, StateError};
use hezong_raft::{Base, Membership, SnapshotId};
use hezong_store::{Batch, KeyRange, Map, Store, View};
use prost::Message;

use crate::KvError;
use crate::machine::read_state;
use crate::record::{self, Generations, MEMBERSHIP, Maps, MembershipRecord, STATE, StateRecord};

/// Where the [`Generations`] lie.
const GENERATIONS: &[u8] = b"generations";

/// The maps of the current generation, shared with all readers. Whoever opens a view holds the lock meanwhile, so that
/// nobody reads maps of one generation in a view of the next.
pub(crate) type Current = Arc<RwLock<Maps>>;

/// The generations of one state.
pub(crate) struct Shelf<S: Store> {
    store: S,
    name: String,
    /// Where `record` lies.
    map: Map,
    /// As it lies in the store.
    record: Generations,
    current: Current,
    /// The maps of the generation being built.
    staging: Option<Maps>,
    /// How often the state was made durable since a chunk came.
    idle: u32,
}

/// When a generation being built has had no chunk while the state was made durable so often, nobody builds it any more:
/// this replica got on without it.
const IDLE_MAX: u32 = 3;

impl<S: Store> Shelf<S> {
    /// Opens the current generation, and the one being built if there is one.
    pub(crate) fn open(store: S, name: &str) -> Result<Self, KvError> {
        let map = store.map(&format!("{name}.generations"))?;
        let record: Generations = match store.view()?.get(map, GENERATIONS)? {
            Some(bytes) => record::decode(&bytes, "the generations")?,
            None => Generations { next: 1, ..Generations::default() },
        };
        let current = Arc::new(RwLock::new(Maps::open(&store, name, record.current)?));
        let staging = record.staging.map(|staging| Maps::open(&store, name, staging)).transpose()?;
        let mut shelf = Self { store, name: name.to_owned(), map, record, current, staging, idle: 0 };
        shelf.remove_garbage()?;
        Ok(shelf)
    }

    pub(crate) fn maps(&self) -> Maps {
        *self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Current {
        Arc::clone(&self.current)
    }

    /// See [`StateMachine::begin`](hezong_node::StateMachine::begin).
    pub(crate) fn begin(&mut self, id: SnapshotId) -> Result<Begun, KvError> {
        self.idle = 0;
        if self.staging.is_some() && self.record.snapshot == id.0 {
            sometimes!("kv: a snapshot is gone on with after a restart", self.record.cursor.is_some());
            return Ok(if self.record.whole { Begun::Whole } else { Begun::At(self.record.cursor.clone()) });
        }
        sometimes!("kv: a snapshot is begun over another", self.staging.is_some());
        let number = self.record.next;
        // The maps themselves must not be lost when the batch survives that speaks of them.
        let maps = Maps::open(&self.store, &self.name, number)?;
        self.store.persist()?;
        self.record.garbage.extend(self.record.staging);
        self.record = Generations {
            staging: Some(number),
            next: number + 1,
            snapshot: id.0,
            cursor: None,
            whole: false,
            ..self.record.clone()
        };
        self.staging = Some(maps);
        let mut batch = Batch::new();
        self.note(&mut batch);
        self.store.apply(&batch)?;
        self.remove_garbage()?;
        Ok(Begun::At(None))
    }

    /// See [`StateMachine::install`](hezong_node::StateMachine::install).
    pub(crate) fn install(&mut self, id: SnapshotId, chunk: &Chunk) -> Result<bool, KvError> {
        let Some(maps) = self.staging.filter(|_| self.record.snapshot == id.0 && !self.record.whole) else {
            return Ok(false);
        };
        let Ok(pairs) = Pairs::decode(chunk.bytes.clone()) else { return Ok(false) };
        let mut batch = Batch::new();
        for Pair { map, key, value } in pairs.pairs {
            let Some(map) = usize::try_from(map).ok().and_then(|at| maps.all().get(at).copied()) else {
                return Ok(false);
            };
            batch.put(map, key, value);
        }
        self.idle = 0;
        self.record.cursor.clone_from(&chunk.next);
        self.record.whole = chunk.next.is_none();
        self.note(&mut batch);
        self.store.apply(&batch)?;
        Ok(true)
    }

    /// See [`StateMachine::finish`](hezong_node::StateMachine::finish). Returns the state and members it covers.
    pub(crate) fn finish(&mut self, id: SnapshotId, base: &Base) -> Result<(StateRecord, Membership), KvError> {
        let corrupt = || KvError::Corrupt { what: "a snapshot" };
        let maps = self.staging.filter(|_| self.record.snapshot == id.0 && self.record.whole).ok_or_else(corrupt)?;
        let state = read_state(&self.store.view()?, &maps)?.filter(|state| Some(state.last()) == base.last);
        let state = StateRecord { installed: true, ..state.ok_or_else(corrupt)? };
        let mut batch = Batch::new();
        batch.put(maps.meta, STATE, state.encode_to_vec());
        batch.put(maps.meta, MEMBERSHIP, MembershipRecord::from(&base.membership).encode_to_vec());
        let number = self.record.staging.take().ok_or_else(corrupt)?;
        self.record.garbage.push(self.record.current);
        self.record = Generations { current: number, cursor: None, whole: false, snapshot: 0, ..self.record.clone() };
        self.note(&mut batch);
        self.staging = None;
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            self.store.apply(&batch)?;
            *current = maps;
        }
        self.store.persist()?;
        self.remove_garbage()?;
        Ok((state, base.membership.clone()))
    }

    /// The state was made durable. Gives up what nobody builds any more.
    pub(crate) fn persisted(&mut self) -> Result<(), KvError> {
        if self.staging.is_none() {
            return Ok(());
        }
        self.idle += 1;
        if self.idle <= IDLE_MAX {
            return Ok(());
        }
        sometimes!("kv: a snapshot is given up that nobody goes on with");
        self.staging = None;
        self.record.garbage.extend(self.record.staging.take());
        let mut batch = Batch::new();
        self.note(&mut batch);
        self.store.apply(&batch)?;
        self.remove_garbage()
    }

    fn note(&self, batch: &mut Batch) {
        batch.put(self.map, GENERATIONS, self.record.encode_to_vec());
    }

    /// Removes what was noted as not needed any more.
    fn remove_garbage(&mut self) -> Result<(), KvError> {
        if self.record.garbage.is_empty() {
            return Ok(());
        }
        self.store.persist()?;
        for number in std::mem::take(&mut self.record.garbage) {
            for map in Maps::open(&self.store, &self.name, number)?.all() {
                self.store.remove(map)?;
            }
        }
        let mut batch = Batch::new();
        self.note(&mut batch);
        self.store.apply(&batch)?;
        Ok(())
    }
}

/// A state that no longer changes, for other threads to read.
pub(crate) struct KvSnapshot<V: View> {
    pub(crate) view: V,
    pub(crate) maps: Maps,
    pub(crate) last: LogId,
}

impl<V: View> Snapshot for KvSnapshot<V> {
    fn last(&self) -> LogId {
        self.last
    }

    fn chunk(&self, cursor: Option<&[u8]>, bytes_max: usize) -> Result<Chunk, StateError> {
        Ok(read_chunk(&self.view, &self.maps, cursor, bytes_max)?)
    }
}

/// The chunk of `maps` that begins at `cursor`: the number of a map and the last key of it that is behind.
pub(crate) fn read_chunk(
    view: &impl View,
    maps: &Maps,
    cursor: Option<&[u8]>,
    bytes_max: usize,
) -> Result<Chunk, KvError> {
    let (first, mut after) = match cursor {
        None => (0, None),
        Some(cursor) => {
            let (map, key) = cursor.split_first().ok_or(KvError::Corrupt { what: "a cursor" })?;
            (usize::from(*map), Some(key))
        }
    };
    let mut pairs = Pairs::default();
    let mut bytes = 0;
    for (number, map) in (0_u8..).zip(maps.all()).skip(first) {
        let from = after.take().map_or(Bound::Unbounded, Bound::Excluded);
        for pair in view.range(map, KeyRange { from, to: Bound::Unbounded })? {
            let (key, value) = pair?;
            bytes += key.len() + value.len() + PAIR_BYTES;
            let last = key.clone();
            pairs.pairs.push(Pair { map: u32::from(number), key, value });
            if bytes >= bytes_max {
                let mut next = BytesMut::with_capacity(1 + last.len());
                next.put_u8(number);
                next.put_slice(&last);
                return Ok(Chunk { bytes: pairs.encode_to_vec().into(), next: Some(next.freeze()) });
            }
        }
    }
    Ok(Chunk { bytes: pairs.encode_to_vec().into(), next: None })
}

/// What a pair takes besides its key and value, roughly.
const PAIR_BYTES: usize = 12;

/// What is in a chunk.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pairs {
    #[prost(message, repeated, tag = "1")]
    pub(crate) pairs: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    /// The place of its map among [`Maps::all`].
    #[prost(uint32, tag = "1")]
    pub(crate) map: u32,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    value: Bytes,
}
