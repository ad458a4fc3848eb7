//! The two traits, and ranges of keys.

use std::ops::Bound;

use bytes::Bytes;

use crate::{Batch, StoreError};

/// A key and its value.
pub type Pair = (Bytes, Bytes);

/// An open map, as its store names it. Only the store that handed it out, and its views, understand it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Map(pub(crate) u32);

/// Reads a piece of what is stored again at each call, about a megabyte and from the disk where it can, and tells how
/// much that was; 0 once all was read, and it begins anew. It holds no view, so that it keeps nothing from being freed.
/// [`StoreError::Damaged`] where something is not what was written; every round from then on finds it again.
pub type Scrub = Box<dyn FnMut() -> Result<u64, StoreError> + Send>;

/// Named ordered maps from bytes to bytes. A handle: clones are the same store, which closes when the last handle and
/// the last view are gone. Closing persists nothing that was not persisted before.
///
/// Any number of threads read while one applies; several that apply take turns. After an error nothing is known of what
/// was applied since the last [`Store::persist`]: close it and open it again.
pub trait Store: Clone + Send + Sync + 'static {
    /// A state of the store that no longer changes.
    type View: View;

    /// The map of this name, made empty when there is none. A new map survives a crash once the store was persisted
    /// after it was made. Names are 1 to 200 bytes long; a handful of maps is meant, each costs memory.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn map(&self, name: &str) -> Result<Map, StoreError>;

    /// Lets a map go with all it holds. Views that are open still see it; nothing else may name it any more. It is gone at
    /// once and for good, whatever batches a crash takes back: persist first what says that it is not needed.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn remove(&self, map: Map) -> Result<(), StoreError>;

    /// Applies all changes, or none if the process dies meanwhile. Every view opened once it has returned sees them;
    /// none sees a part. An empty batch is no change.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// The state as of now.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn view(&self) -> Result<Self::View, StoreError>;

    /// Returns once everything applied before the call would survive a crash of the machine.
    ///
    /// # Errors
    /// [`StoreError::Failed`]. Calling it again proves nothing: the operating system may have dropped what it could not
    /// write.
    fn persist(&self) -> Result<(), StoreError>;

    /// Gives the room of what was removed back to the disk, as far as there is room to do so and it is worth its while.
    /// What is in the maps does not change, nor what a crash would leave.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn reclaim(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Has opening it refused from now on as damaged, for this reason. For whoever found damage and lets the store go:
    /// opening it again might not find it before something is to be applied to what is damaged.
    fn condemn(&self, _why: &str) {}

    /// What finds damage while nobody reads what is damaged. Where there is nothing to compare with, it finds nothing.
    fn scrub(&self) -> Scrub {
        Box::new(|| Ok(0))
    }
}

/// A state of a store that no longer changes. It keeps what it sees from being freed: hold it for a request, not for
/// an hour.
pub trait View: Send + Sync + 'static {
    /// A key's value, copied out so that a small value does not pin the block it was read from.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn get(&self, map: Map, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Keys and values within a range, in order; `rev()` walks it backwards.
    ///
    /// # Errors
    /// [`StoreError::Failed`], also from each step.
    fn range(
        &self,
        map: Map,
        range: KeyRange<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<Pair, StoreError>>, StoreError>;
}

/// Which keys: between two bounds in byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// Where it begins.
    pub from: Bound<&'a [u8]>,
    /// Where it ends.
    pub to: Bound<&'a [u8]>,
}

impl<'a> KeyRange<'a> {
    /// Every key.
    pub const ALL: KeyRange<'static> = KeyRange { from: Bound::Unbounded, to: Bound::Unbounded };

    /// From this key on, itself included.
    #[must_use]
    pub fn from(key: &'a [u8]) -> Self {
        Self { from: Bound::Included(key), to: Bound::Unbounded }
    }

    /// Behind this key.
    #[must_use]
    pub fn after(key: &'a [u8]) -> Self {
        Self { from: Bound::Excluded(key), to: Bound::Unbounded }
    }

    /// The same, and before `key`.
    #[must_use]
    pub fn until(self, key: &'a [u8]) -> Self {
        Self { to: Bound::Excluded(key), ..self }
    }

    /// Both bounds, as the standard library's maps take them.
    #[must_use]
    pub fn bounds(self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        (self.from, self.to)
    }

    /// Whether no key can lie in it: its end is before its beginning. The standard library's maps panic on some such
    /// ranges, and a range may come from a client.
    #[must_use]
    pub fn is_empty(self) -> bool {
        match (self.from, self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        }
    }

    /// The first key behind all that begin with `prefix`; `None` when there is none, as for a prefix of 0xff only.
    #[must_use]
    pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
        let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        Some(end)
    }
}
