//! A state that a new cluster begins with: filled from another's, and moved on past everything that one may have told
//! anybody.

use bytes::Bytes;
use hezong_base::LogId;
use hezong_node::{Begun, Chunk};
use hezong_raft::{Base, Membership, SnapshotId};
use hezong_store::{Batch, Store};

use crate::record::StateRecord;
use crate::{Kv, KvError};

/// How far revision and index move on. What the old cluster acknowledged after the state was taken must never be met by
/// an equal or a larger number that means something else: at 100,000 writes a second this lasts for four months. It may be
/// done some 8,000 times before a revision is no longer exact as a JSON number.
pub const STEP: u64 = 1 << 40;

/// The log takes no index from here on.
const INDEX_END: u64 = 1 << 63;

impl<S: Store> Kv<S> {
    /// Fills an empty state with the chunks of another one, whose last entry is `last`.
    ///
    /// # Errors
    /// What `next` says; [`KvError::Corrupt`] for a chunk that is none, or chunks that are of another moment than `last`.
    /// The state is then of no use.
    pub fn fill<E: From<KvError>>(
        &mut self,
        last: LogId,
        mut next: impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        let id = SnapshotId(1);
        if self.state.is_some() || self.shelf.begin(id)? != Begun::At(None) {
            return Err(KvError::Corrupt { what: "a state that should be empty" }.into());
        }
        while let Some(bytes) = next()? {
            // Where it goes on is for whoever continues after a restart; this is done in one go or not at all.
            let chunk = Chunk { bytes, next: Some(Bytes::new()) };
            if !self.shelf.install(id, &chunk)? {
                return Err(KvError::Corrupt { what: "a chunk" }.into());
            }
        }
        self.shelf.install(id, &Chunk { bytes: Bytes::new(), next: None })?;
        let (state, members) = self.shelf.finish(id, &Base { last: Some(last), ..Base::default() })?;
        (self.state, self.membership) = (Some(state), members);
        Ok(())
    }

    /// Gives the state to a new cluster of these members: revision and index move on by [`STEP`], the term by one. Keys,
    /// sessions and idempotency keys stay. Durable on return. Returns what the log of the new cluster stands on.
    ///
    /// # Errors
    /// [`KvError::Corrupt`] for a state to which nothing was ever applied, or one that has no room to move on.
    pub fn refound(&mut self, members: Membership) -> Result<Base, KvError> {
        let room = || KvError::Corrupt { what: "the place of the last entry" };
        let state = self.state.clone().ok_or(KvError::Corrupt { what: "the last entry" })?;
        let moved = |number: u64| number.checked_add(STEP).filter(|moved| *moved < INDEX_END).ok_or_else(room);
        let state = StateRecord {
            term: state.term.checked_add(1).ok_or_else(room)?,
            index: moved(state.index)?,
            revision: moved(state.revision)?,
            installed: false,
            ..state
        };
        let mut batch = Batch::new();
        self.write(&mut batch, &state, Some(&members));
        self.store.apply(&batch)?;
        self.store.persist()?;
        let base = state.base(&members);
        (self.state, self.membership) = (Some(state), members);
        Ok(base)
    }
}
