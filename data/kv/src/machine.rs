//! The state machine: entries in, replies out, one batch of the store for each call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hezong_base::{Index, LogId};
use hezong_node::{Begun, Chunk, Scrub, Snapshot, StateError, StateMachine};
use hezong_raft::{Base, Entry, Membership, SnapshotId};
use hezong_store::{Batch, KeyRange, Store, StoreError, View};
use prost::Message;
use thiserror::Error;

use crate::record::{self, MEMBERSHIP, Maps, MembershipRecord, STATE, STORED_FORMAT, StateRecord};
use crate::snapshot::{KvSnapshot, Shelf};
use crate::turn::Turn;
use crate::{DecodeError, KvReader, Weakness};

/// What all replicas must do alike. A part of the format: a cluster runs with one set of rules for as long as it
/// lives, and the server with the default. They are adjustable for tests alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How much log time after the first use an idempotency key is remembered. 10 minutes.
    pub once_window: Duration,
    /// How many are remembered; while as many are live, new ones are refused. 1,000,000, which lets
    /// clients that send a key with every write make 1,666 writes a second on end.
    pub once_max: u64,
    /// How many bytes they count for at most: key, recorded reply and 64 each. 256 MiB.
    pub once_bytes_max: u64,
    /// How many sessions may be open. 100,000.
    pub sessions_max: u64,
    /// How many idempotency keys, and how many sessions, one entry removes at most once their time is over, so that no
    /// entry costs more than another by orders of magnitude. 64.
    pub sweep_max: u64,
    /// The bug this state suffers from.
    #[cfg(feature = "weakened")]
    pub weakness: Option<Weakness>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            once_window: Duration::from_secs(600),
            once_max: 1_000_000,
            once_bytes_max: 256 << 20,
            sessions_max: 100_000,
            sweep_max: 64,
            #[cfg(feature = "weakened")]
            weakness: None,
        }
    }
}

/// A failure that other replicas may not share. The node stops; what was persisted is found again at the next start.
#[derive(Debug, Error)]
pub enum KvError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry of the log cannot be applied by this version.
    #[error("entry {index} cannot be applied")]
    Entry {
        /// Which.
        index: Index,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// Entries were handed in with a gap, or twice: a bug of whoever runs this.
    #[error("entry {found} was handed in where {expected} comes next")]
    Order {
        /// What comes next.
        expected: Index,
        /// What came.
        found: Index,
    },
    /// What lies in the store is not what this version wrote: a damaged disk, or another program.
    #[error("{what} in the state store cannot be decoded; set the state aside and let it be built again from the log")]
    Corrupt {
        /// Which part.
        what: &'static str,
    },
    /// A newer version of the program wrote the state.
    #[error("state store has format {found}, this version knows up to {STORED_FORMAT}; start a newer version")]
    NewerFormat {
        /// The format of the state.
        found: u32,
    },
}

impl From<KvError> for StateError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Store(damaged @ StoreError::Damaged { .. }) => Self::Damaged(Box::new(damaged)),
            error => Self::new(error),
        }
    }
}

/// Keys and values replicated through a log, in a store.
pub struct Kv<S: Store> {
    pub(crate) store: S,
    pub(crate) shelf: Shelf<S>,
    rules: Rules,
    /// As it lies in the store; `None` before the first entry.
    pub(crate) state: Option<StateRecord>,
    /// As it lies in the store.
    pub(crate) membership: Membership,
}

impl<S: Store> Kv<S> {
    /// Opens the state kept under this name in `store`, which is empty the first time.
    ///
    /// # Errors
    /// [`KvError::NewerFormat`], [`KvError::Corrupt`] or [`KvError::Store`]; the store is as it was.
    pub fn open(store: S, name: &str, rules: Rules) -> Result<Self, KvError> {
        let shelf = Shelf::open(store.clone(), name)?;
        let maps = shelf.maps();
        let view = store.view()?;
        let state = read_state(&view, &maps)?;
        let membership = match view.get(maps.meta, MEMBERSHIP)? {
            Some(bytes) => record::decode::<MembershipRecord>(&bytes, "the membership")?.into(),
            None => Membership::default(),
        };
        let mut kv = Self { store, shelf, rules, state, membership };
        if kv.rules.weak(Weakness::OnceLostOnRestart) {
            kv.forget_once()?;
        }
        Ok(kv)
    }

    /// What reads the state while this applies to it.
    #[must_use]
    pub fn reader(&self) -> KvReader<S> {
        KvReader::new(self.store.clone(), self.shelf.current())
    }

    fn apply_all(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, KvError> {
        let state = self.state.clone().unwrap_or_else(|| StateRecord { format: STORED_FORMAT, ..Default::default() });
        let state = StateRecord { installed: false, ..state };
        let mut turn = Turn::new(self.store.view()?, self.shelf.maps(), &self.rules, state);
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(turn.apply(entry)?);
        }
        let (state, membership, mut batch) = turn.finish();
        if replies.is_empty() {
            return Ok(replies);
        }
        if self.rules.weak(Weakness::AppliedApart) {
            self.store.apply(&std::mem::take(&mut batch))?;
        }
        self.write(&mut batch, &state, membership.as_ref());
        self.store.apply(&batch)?;
        self.state = Some(state);
        if let Some(membership) = membership {
            self.membership = membership;
        }
        Ok(replies)
    }

    /// Forgets every idempotency key: what [`Weakness::OnceLostOnRestart`] does.
    fn forget_once(&mut self) -> Result<(), KvError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        (state.once, state.once_bytes, state.once_first) = (0, 0, None);
        let (maps, view) = (self.shelf.maps(), self.store.view()?);
        let mut batch = Batch::new();
        for map in [maps.once, maps.once_order] {
            for pair in view.range(map, KeyRange::ALL)? {
                batch.delete(map, pair?.0);
            }
        }
        batch.put(maps.meta, STATE, state.encode_to_vec());
        Ok(self.store.apply(&batch)?)
    }

    /// Passes on what came of something the node cannot go on without. Where damage was in its way, the state is not to be
    /// opened again as it is: the same would be in the way again.
    fn or_condemned<T>(&self, done: Result<T, KvError>) -> Result<T, StateError> {
        if let Err(KvError::Store(damaged @ StoreError::Damaged { .. })) = &done {
            self.store.condemn(&damaged.to_string());
        }
        Ok(done?)
    }

    /// How far the state is goes into the same batch as the data, or a crash between the two would apply entries twice.
    pub(crate) fn write(&self, batch: &mut Batch, state: &StateRecord, membership: Option<&Membership>) {
        let meta = self.shelf.maps().meta;
        batch.put(meta, STATE, state.encode_to_vec());
        if let Some(membership) = membership {
            batch.put(meta, MEMBERSHIP, MembershipRecord::from(membership).encode_to_vec());
        }
    }
}

/// How far the state of a view is; `None` before the first entry.
pub(crate) fn read_state(view: &impl View, maps: &Maps) -> Result<Option<StateRecord>, KvError> {
    let Some(bytes) = view.get(maps.meta, STATE)? else { return Ok(None) };
    let state: StateRecord = record::decode(&bytes, "the applied state")?;
    if state.format > STORED_FORMAT {
        return Err(KvError::NewerFormat { found: state.format });
    }
    Ok(Some(state))
}

impl<S: Store> StateMachine for Kv<S> {
    /// The members are those of the last membership entry applied: none before the first one, since what a group was
    /// bootstrapped with lies in the base of its log and in no entry.
    fn applied(&self) -> Result<Option<Base>, StateError> {
        Ok(self.state.as_ref().map(|state| state.base(&self.membership)))
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Bytes>, StateError> {
        let applied = self.apply_all(entries);
        self.or_condemned(applied)
    }

    fn persist(&mut self) -> Result<Option<LogId>, StateError> {
        self.store.persist().map_err(KvError::from)?;
        let persisted = self.shelf.persisted();
        self.or_condemned(persisted)?;
        Ok(self.state.as_ref().map(StateRecord::last))
    }

    fn reclaim(&mut self) -> Result<(), StateError> {
        Ok(self.store.reclaim().map_err(KvError::from)?)
    }

    fn scrub(&self) -> Option<Scrub> {
        let mut step = self.store.scrub();
        Some(Box::new(move || Ok(step().map_err(KvError::from)?)))
    }

    fn is_installed(&self) -> Result<bool, StateError> {
        Ok(self.state.as_ref().is_some_and(|state| state.installed))
    }

    fn snapshot(&mut self) -> Result<Option<Arc<dyn Snapshot>>, StateError> {
        let Some(state) = &self.state else { return Ok(None) };
        let mut maps = self.shelf.maps();
        if self.rules.weak(Weakness::SessionsNotInSnapshot) {
            let nothing = self.store.map("nothing").map_err(KvError::from)?;
            (maps.sessions, maps.sessions_order) = (nothing, nothing);
        }
        let view = self.store.view().map_err(KvError::from)?;
        Ok(Some(Arc::new(KvSnapshot { view, maps, last: state.last() })))
    }

    fn begin(&mut self, id: SnapshotId) -> Result<Begun, StateError> {
        let begun = self.shelf.begin(id);
        self.or_condemned(begun)
    }

    fn install(&mut self, id: SnapshotId, chunk: &Chunk) -> Result<bool, StateError> {
        let installed = self.shelf.install(id, chunk);
        self.or_condemned(installed)
    }

    fn finish(&mut self, id: SnapshotId, base: &Base) -> Result<(), StateError> {
        let finished = self.shelf.finish(id, base);
        let (state, membership) = self.or_condemned(finished)?;
        (self.state, self.membership) = (Some(state), membership);
        Ok(())
    }
}
