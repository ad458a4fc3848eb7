//! Reading the state while it is being applied to.

use std::ops::Bound;
use std::sync::PoisonError;

use bytes::Bytes;
use hezong_base::{Index, LogId};
use hezong_node::Chunk;
use hezong_store::{KeyRange, Store, View};
use sha2::{Digest, Sha256};

use crate::machine::read_state;
use crate::record::{Maps, StateRecord, decode_value};
use crate::snapshot::{Current, read_chunk};
use crate::{KvError, Revision};

/// A key with its value and its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision at which it was created; a key that is deleted and set again is created anew.
    pub created: Revision,
    /// The revision of its last change.
    pub modified: Revision,
    /// How often it was set since it was created, that one included: 1 or more.
    pub version: u64,
}

/// A part of a range, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found.
    pub items: Vec<KeyValue>,
    /// Whether the range goes on behind the last item.
    pub more: bool,
}

/// What reads the state of a [`Kv`](crate::Kv) from any thread. Cheap to clone.
#[derive(Clone)]
pub struct KvReader<S: Store> {
    store: S,
    maps: Current,
}

impl<S: Store> KvReader<S> {
    pub(crate) fn new(store: S, maps: Current) -> Self {
        Self { store, maps }
    }

    /// The state as of now; everything read from it is of one and the same index.
    ///
    /// # Errors
    /// [`KvError`]; fatal to the node.
    pub fn view(&self) -> Result<KvView<S::View>, KvError> {
        let (maps, view) = {
            let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
            (*maps, self.store.view()?)
        };
        let state = read_state(&view, &maps)?;
        Ok(KvView { view, maps, state })
    }
}

/// A state that no longer changes. It keeps what it sees from being freed: hold it for a request, not for an hour.
pub struct KvView<V: View> {
    view: V,
    maps: Maps,
    state: Option<StateRecord>,
}

impl<V: View> KvView<V> {
    /// The last entry applied; `None` before the first.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.state.as_ref().map(StateRecord::last)
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> Option<Index> {
        self.applied().map(|last| last.index)
    }

    /// The store's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.count(|state| state.revision))
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.count(|state| state.keys)
    }

    /// How many sessions are open, those whose time is over and that were not swept yet included.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.count(|state| state.sessions)
    }

    /// How many idempotency keys are remembered, those whose time is over and that were not swept yet included.
    #[must_use]
    pub fn once(&self) -> u64 {
        self.count(|state| state.once)
    }

    fn count(&self, of: impl Fn(&StateRecord) -> u64) -> u64 {
        self.state.as_ref().map_or(0, of)
    }

    /// One key.
    ///
    /// # Errors
    /// [`KvError`]; fatal to the node.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, KvError> {
        let stored = self.view.get(self.maps.keys, key)?;
        stored.map(|stored| decode_value(Bytes::copy_from_slice(key), &stored)).transpose()
    }

    /// Keys that begin with `prefix` and lie behind `after`, in byte order: at most `limit` of them, and not many more
    /// bytes than `bytes_max`, but at least one if there is one.
    ///
    /// # Errors
    /// [`KvError`]; fatal to the node.
    pub fn range(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize, bytes_max: usize) -> Result<Page, KvError> {
        let end = KeyRange::prefix_end(prefix);
        let range = KeyRange {
            from: match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            },
            to: end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        };
        let mut page = Page::default();
        let mut bytes = 0;
        for pair in self.view.range(self.maps.keys, range)? {
            if page.items.len() >= limit || bytes >= bytes_max {
                page.more = true;
                break;
            }
            let (key, stored) = pair?;
            bytes += key.len() + stored.len();
            page.items.push(decode_value(key, &stored)?);
        }
        Ok(page)
    }

    /// A part of the whole state, as a snapshot has it, for a backup: `None` is the first, then whatever the one before
    /// named as the next.
    ///
    /// # Errors
    /// [`KvError`]; fatal to the node.
    pub fn chunk(&self, cursor: Option<&[u8]>, bytes_max: usize) -> Result<Chunk, KvError> {
        read_chunk(&self.view, &self.maps, cursor, bytes_max)
    }

    /// SHA-256 over everything this state holds but the members and how it came here. Replicas of the same index have the same one, however their entries
    /// were sliced and however often they crashed; it reads the whole state.
    ///
    /// # Errors
    /// [`KvError`]; fatal to the node.
    pub fn digest(&self) -> Result<[u8; 32], KvError> {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        if let Some(state) = &self.state {
            add(&prost::Message::encode_to_vec(&StateRecord { installed: false, ..state.clone() }));
        }
        let Maps { keys, once, once_order, sessions, sessions_order, meta: _ } = self.maps;
        for map in [keys, once, once_order, sessions, sessions_order] {
            add(b"map");
            for pair in self.view.range(map, KeyRange::ALL)? {
                let (key, value) = pair?;
                add(&key);
                add(&value);
            }
        }
        Ok(hash.finalize().into())
    }
}
